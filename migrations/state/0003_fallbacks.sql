-- Releases that kept ending soon after they went live: an earlier one serves in their place.

CREATE TABLE fallbacks (
    site    TEXT    NOT NULL PRIMARY KEY REFERENCES sites (name) ON DELETE CASCADE,
    release TEXT    NOT NULL,                             -- the one that was live and did not hold
    problem TEXT    NOT NULL,                             -- how it ended, in one line
    at_ms   INTEGER NOT NULL,                             -- when the earlier one took over
    FOREIGN KEY (site, release) REFERENCES releases (site, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
