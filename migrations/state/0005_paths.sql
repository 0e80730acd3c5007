-- Sites that have only a part of their hosts: what is below a path. One host may have several sites, each at a path of its own.

ALTER TABLE sites ADD COLUMN path TEXT NOT NULL DEFAULT ''; -- the beginning of its URLs, without a slash at the end; '': all of them

-- At most one site answers to everybody at a path.
DROP INDEX one_catch_all;
CREATE UNIQUE INDEX one_catch_all ON sites (path) WHERE catch_all = 1;

CREATE TABLE hosts (
    host TEXT    NOT NULL,                                -- lower case, without port
    path TEXT    NOT NULL DEFAULT '',                     -- its site's
    site TEXT    NOT NULL REFERENCES sites (name) ON DELETE CASCADE,
    rank INTEGER NOT NULL,                                -- 0 is the site's first
    PRIMARY KEY (host, path)
) STRICT, WITHOUT ROWID;

INSERT INTO hosts (host, path, site, rank) SELECT host, '', site, rank FROM domains;
DROP TABLE domains;
ALTER TABLE hosts RENAME TO domains;
CREATE INDEX domains_by_site ON domains (site, rank);
