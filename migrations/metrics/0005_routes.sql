-- Where a site's time went, by route: the ones that took most of a minute or an hour, and the others together.

CREATE TABLE route_samples (
    step_s    INTEGER NOT NULL,                           -- what a row stands for, seconds: 60, 3600
    series    INTEGER NOT NULL REFERENCES series (id),    -- the site
    at_ms     INTEGER NOT NULL,                           -- when that began; a multiple of step_s
    route     TEXT    NOT NULL,                           -- pattern of paths: /posts/*; or: other
    errors    INTEGER NOT NULL,                           -- answers with a status from 500 to 599
    bytes_out INTEGER NOT NULL,                           -- sent
    accept_us INTEGER NOT NULL,                           -- what each phase took of all requests together, microseconds
    queue_us  INTEGER NOT NULL,
    app_us    INTEGER NOT NULL,
    body_us   INTEGER NOT NULL,
    send_us   INTEGER NOT NULL,
    latency   BLOB    NOT NULL,                           -- histogram (HistogramSnapshot::to_bytes) of whole requests
    PRIMARY KEY (step_s, series, at_ms, route)
) STRICT, WITHOUT ROWID;
