-- Who may do what, with which credential, and who did what.

ALTER TABLE users ADD COLUMN role TEXT NOT NULL DEFAULT 'admin' CHECK (role IN ('viewer', 'operator', 'admin')); -- what the user may do

ALTER TABLE sessions ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0; -- when a request last used it, to the minute
UPDATE sessions SET seen_ms = created_ms;

CREATE TABLE tokens (
    name       TEXT    NOT NULL PRIMARY KEY,              -- what an operator calls it
    token_hash BLOB    NOT NULL UNIQUE,                   -- SHA-256 of the token, which is kept nowhere
    user       TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE, -- for whom it acts; it may do no more than this user
    scopes     TEXT    NOT NULL,                          -- what it may do, separated by blanks: Scope in the code
    created_ms INTEGER NOT NULL,                          -- when it was made
    expires_ms INTEGER,                                   -- from when on it is worth nothing; NULL: never
    used_ms    INTEGER                                    -- when a request last used it, to the minute; NULL: none did
) STRICT, WITHOUT ROWID;

-- Outlives the users and sites it is about.
CREATE TABLE audit (
    id     INTEGER NOT NULL PRIMARY KEY,                  -- in the order in which they began, whatever the clock said
    at_ms  INTEGER NOT NULL,                              -- when it was asked for
    who    TEXT    NOT NULL,                              -- the user; cli: over the control socket
    token  TEXT,                                          -- the token that was used
    client TEXT    NOT NULL,                              -- the address; over the control socket the uid
    action TEXT    NOT NULL,                              -- restart, deploy, add-user …: Action in the code
    target TEXT,                                          -- the site or user that it is about
    detail TEXT,                                          -- what else there is to know; never a secret
    status INTEGER                                        -- of the answer; NULL: it had none
) STRICT;
