-- What was measured: the samples of each second, and their roll-ups to 10 s, 1 min and 1 h. May be deleted: only history is lost.
-- A row sums up `samples` samples of one second each. Columns `_sum`, `_min` and `_max` are a figure over them; other
-- counts are sums.

CREATE TABLE series (
    id   INTEGER NOT NULL PRIMARY KEY,
    kind TEXT    NOT NULL CHECK (kind IN ('site', 'process')),
    name TEXT    NOT NULL,                                -- of the site; of the process: supervisor, engine, blog.1
    UNIQUE (kind, name)
) STRICT;

-- Seconds in which a site did nothing have no row: that somebody looked is told by box_samples.
CREATE TABLE site_samples (
    step_s        INTEGER NOT NULL,                       -- what a row stands for, seconds: 1, 10, 60, 3600
    series        INTEGER NOT NULL REFERENCES series (id),
    at_ms         INTEGER NOT NULL,                       -- when that began; a multiple of step_s
    samples       INTEGER NOT NULL,                       -- seconds in which the site did something
    status_none   INTEGER NOT NULL,                       -- answers without a proper status
    status_1xx    INTEGER NOT NULL,                       -- answers with a status from 100 to 199, and so on
    status_2xx    INTEGER NOT NULL,
    status_3xx    INTEGER NOT NULL,
    status_4xx    INTEGER NOT NULL,
    status_5xx    INTEGER NOT NULL,
    by_app        INTEGER NOT NULL,                       -- answers made by the application
    by_static     INTEGER NOT NULL,                       -- answers made from files
    by_proxy      INTEGER NOT NULL,                       -- answers made by the proxy itself
    bytes_in      INTEGER NOT NULL,                       -- received
    bytes_out     INTEGER NOT NULL,                       -- sent
    answers_max   INTEGER NOT NULL,                       -- answers of the busiest second
    in_flight_sum INTEGER NOT NULL,                       -- requests being served
    in_flight_min INTEGER NOT NULL,
    in_flight_max INTEGER NOT NULL,
    latency       BLOB    NOT NULL,                       -- histogram (HistogramSnapshot::to_bytes) of whole requests
    accept        BLOB    NOT NULL,                       -- the same of each phase
    queue         BLOB    NOT NULL,
    app           BLOB    NOT NULL,
    body          BLOB    NOT NULL,
    send          BLOB    NOT NULL,
    PRIMARY KEY (step_s, series, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE process_samples (
    step_s          INTEGER NOT NULL,
    series          INTEGER NOT NULL REFERENCES series (id),
    at_ms           INTEGER NOT NULL,
    samples         INTEGER NOT NULL,
    cpu_us          INTEGER NOT NULL,                     -- CPU time used, microseconds
    cpu_us_max      INTEGER NOT NULL,                     -- the same in the busiest second
    pss_sum         INTEGER NOT NULL,                     -- bytes; what is shared is divided among those who share it
    pss_min         INTEGER NOT NULL,
    pss_max         INTEGER NOT NULL,
    rss_sum         INTEGER NOT NULL,                     -- bytes
    rss_min         INTEGER NOT NULL,
    rss_max         INTEGER NOT NULL,
    threads_sum     INTEGER NOT NULL,
    threads_min     INTEGER NOT NULL,
    threads_max     INTEGER NOT NULL,
    descriptors_sum INTEGER NOT NULL,                     -- open ones
    descriptors_min INTEGER NOT NULL,
    descriptors_max INTEGER NOT NULL,
    PRIMARY KEY (step_s, series, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE box_samples (
    step_s       INTEGER NOT NULL,
    at_ms        INTEGER NOT NULL,
    samples      INTEGER NOT NULL,
    cpu_ppm_sum  INTEGER NOT NULL,                        -- busy share of all cores together, millionths
    cpu_ppm_min  INTEGER NOT NULL,
    cpu_ppm_max  INTEGER NOT NULL,
    memory_sum   INTEGER NOT NULL,                        -- bytes used: total less what is available
    memory_min   INTEGER NOT NULL,
    memory_max   INTEGER NOT NULL,
    memory_total INTEGER NOT NULL,                        -- bytes there are
    disk_sum     INTEGER NOT NULL,                        -- bytes used of the file system with the state directory
    disk_min     INTEGER NOT NULL,
    disk_max     INTEGER NOT NULL,
    disk_total   INTEGER NOT NULL,                        -- bytes it has
    load_sum     INTEGER NOT NULL,                        -- load average of a minute, thousandths
    load_min     INTEGER NOT NULL,
    load_max     INTEGER NOT NULL,
    received     INTEGER NOT NULL,                        -- bytes over all network interfaces but the loopback
    sent         INTEGER NOT NULL,
    PRIMARY KEY (step_s, at_ms)
) STRICT, WITHOUT ROWID;
