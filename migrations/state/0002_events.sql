-- What happened to sites and to the appliance; outlives the sites it is about.

CREATE TABLE events (
    id      INTEGER NOT NULL PRIMARY KEY,                 -- in the order in which they were written, whatever the clock said
    at_ms   INTEGER NOT NULL,                             -- when it happened
    kind    TEXT    NOT NULL,                             -- deploy, deploy-failed, engine-crash …: EventKind in the code
    site    TEXT,                                         -- the site's name; NULL for what concerns the whole box
    release TEXT,                                         -- the release that it is about
    text    TEXT    NOT NULL                              -- for people, in one line
) STRICT;

CREATE INDEX events_by_time ON events (at_ms);
