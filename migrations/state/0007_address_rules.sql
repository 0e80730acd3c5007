-- Addresses that are refused, and those that are let in all the same; in force at once.

CREATE TABLE address_rules (
    id         INTEGER NOT NULL PRIMARY KEY,              -- in the order in which they were made
    action     TEXT    NOT NULL CHECK (action IN ('allow', 'deny')), -- what becomes of requests from there
    network    TEXT    NOT NULL,                          -- an address, or a network in CIDR notation
    site       TEXT    NOT NULL DEFAULT '',               -- the site that it holds for; empty: all
    reason     TEXT,                                      -- why, as whoever made it says
    who        TEXT    NOT NULL,                          -- the user who made it; cli: over the control socket
    created_ms INTEGER NOT NULL,                          -- when it was made
    expires_ms INTEGER,                                   -- from when on it holds no longer; NULL: never
    UNIQUE (action, network, site)
) STRICT;
