-- What the appliance must not lose: sites, their releases and hosts, variables, users and sessions.

CREATE TABLE sites (
    name         TEXT    NOT NULL PRIMARY KEY,            -- [a-z0-9-]{1,63}
    live_release TEXT,                                    -- id of the release that is served; NULL before the first deploy is done
    live_ms      INTEGER,                                 -- when it became live
    stopped      INTEGER NOT NULL DEFAULT 0,              -- 1: an operator stopped it
    catch_all    INTEGER NOT NULL DEFAULT 0,              -- 1: answers to hosts that no site names
    created_ms   INTEGER NOT NULL,                        -- when its first deploy began
    FOREIGN KEY (name, live_release) REFERENCES releases (site, id) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

-- At most one site answers to everybody.
CREATE UNIQUE INDEX one_catch_all ON sites (catch_all) WHERE catch_all = 1;

CREATE TABLE domains (
    host TEXT    NOT NULL PRIMARY KEY,                    -- lower case, without port
    site TEXT    NOT NULL REFERENCES sites (name) ON DELETE CASCADE,
    rank INTEGER NOT NULL                                 -- 0 is the site's first
) STRICT, WITHOUT ROWID;

CREATE INDEX domains_by_site ON domains (site, rank);

CREATE TABLE releases (
    site       TEXT    NOT NULL REFERENCES sites (name) ON DELETE CASCADE,
    id         TEXT    NOT NULL,                          -- sorts by time: 20261120-114213-3f2a
    created_ms INTEGER NOT NULL,                          -- when its deploy began
    state      TEXT    NOT NULL CHECK (state IN ('staging', 'ready', 'failed')),
    problem    TEXT,                                      -- why it failed, in one line
    PRIMARY KEY (site, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE variables (
    site  TEXT NOT NULL REFERENCES sites (name) ON DELETE CASCADE,
    name  TEXT NOT NULL,                                  -- of an environment variable
    value TEXT NOT NULL,                                  -- may be a secret: never logged
    PRIMARY KEY (site, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    name          TEXT    NOT NULL PRIMARY KEY,           -- of the dashboard's login
    password_hash TEXT    NOT NULL,                       -- argon2id, PHC string
    created_ms    INTEGER NOT NULL                        -- when the account was made
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    token_hash BLOB    NOT NULL PRIMARY KEY,              -- SHA-256 of the cookie's value, which is kept nowhere
    user       TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    csrf_token TEXT    NOT NULL,                          -- what requests that change something must carry
    created_ms INTEGER NOT NULL,                          -- when the login was
    expires_ms INTEGER NOT NULL                           -- from when on it is worth nothing
) STRICT, WITHOUT ROWID;
