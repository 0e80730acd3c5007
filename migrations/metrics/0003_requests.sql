-- Requests one by one, or some of them. Bounded for each site.

CREATE TABLE requests (
    id         INTEGER NOT NULL PRIMARY KEY,
    request_id TEXT    NOT NULL,
    at_ms      INTEGER NOT NULL,                          -- when its head arrived
    site       TEXT    NOT NULL,
    "release"  TEXT    NOT NULL,                          -- the one that was live
    method     TEXT    NOT NULL,
    path       TEXT    NOT NULL,                          -- without the query
    status     INTEGER NOT NULL,                          -- 0: no head was sent
    notable    INTEGER NOT NULL,                          -- 1: it failed or was slow
    served_by  TEXT    NOT NULL,                          -- app, static, upstream, proxy
    error      TEXT,                                      -- what went wrong
    bytes_in   INTEGER NOT NULL,
    bytes_out  INTEGER NOT NULL,
    accept_us  INTEGER,                                   -- phases, microseconds; NULL: it had none
    queue_us   INTEGER,
    app_us     INTEGER,
    body_us    INTEGER,
    send_us    INTEGER,
    total_us   INTEGER NOT NULL,
    client     TEXT,                                      -- address
    user_agent TEXT
) STRICT;

CREATE INDEX requests_by_request ON requests (request_id);
CREATE INDEX requests_by_time ON requests (at_ms);
CREATE INDEX requests_by_site ON requests (site, notable, id);
