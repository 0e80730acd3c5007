-- Requests that failed: each with its exceptions, and the groups that have the same traceback. Bounded for each site.

CREATE TABLE failures (
    id          INTEGER NOT NULL PRIMARY KEY,
    at_ms       INTEGER NOT NULL,                         -- when it was told
    kind        TEXT    NOT NULL CHECK (kind IN ('exception', 'deadline', 'answer')),
    site        TEXT    NOT NULL,
    "release"   TEXT    NOT NULL,
    worker      TEXT,                                     -- blog.1; NULL: the embedded interpreter
    request_id  TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    path        TEXT    NOT NULL,                         -- without the query
    age_ms      INTEGER NOT NULL,                         -- how long it had been served
    fingerprint TEXT    NOT NULL,                         -- the same for the same traceback; empty: no exception was seen
    place       TEXT,                                     -- views.py:12 in index
    raised      TEXT    NOT NULL,                         -- JSON, the chain of exceptions with their frames
    printed     TEXT    NOT NULL                          -- what the thread printed for the request
) STRICT;

CREATE INDEX failures_by_request ON failures (request_id);
CREATE INDEX failures_by_group ON failures (site, fingerprint, id);

CREATE TABLE failure_groups (
    site        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    kind        TEXT    NOT NULL,                         -- as in failures
    type        TEXT    NOT NULL,                         -- of the exception
    message     TEXT    NOT NULL,                         -- of the last one
    place       TEXT,                                     -- of the last one
    "release"   TEXT    NOT NULL,                         -- of the last one
    request_id  TEXT    NOT NULL,                         -- of the last one
    count       INTEGER NOT NULL,
    first_ms    INTEGER NOT NULL,
    last_ms     INTEGER NOT NULL,
    PRIMARY KEY (site, fingerprint)
) STRICT, WITHOUT ROWID;
