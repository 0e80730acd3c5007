-- What each release of a site answered, by the hour.

CREATE TABLE release_samples (
    step_s      INTEGER NOT NULL,                         -- what a row stands for, seconds: 3600
    series      INTEGER NOT NULL REFERENCES series (id),  -- the site
    at_ms       INTEGER NOT NULL,                         -- when that began; a multiple of step_s
    "release"   TEXT    NOT NULL,
    status_none INTEGER NOT NULL,                         -- answers without a proper status
    status_1xx  INTEGER NOT NULL,                         -- answers with a status from 100 to 199, and so on
    status_2xx  INTEGER NOT NULL,
    status_3xx  INTEGER NOT NULL,
    status_4xx  INTEGER NOT NULL,
    errors      INTEGER NOT NULL,                         -- answers with a status from 500 to 599
    bytes_in    INTEGER NOT NULL,                         -- received
    bytes_out   INTEGER NOT NULL,                         -- sent
    tls_us      INTEGER NOT NULL,                         -- what each phase took of all requests together, microseconds
    accept_us   INTEGER NOT NULL,
    queue_us    INTEGER NOT NULL,
    app_us      INTEGER NOT NULL,
    body_us     INTEGER NOT NULL,
    send_us     INTEGER NOT NULL,
    latency     BLOB    NOT NULL,                         -- histogram (HistogramSnapshot::to_bytes) of whole requests
    PRIMARY KEY (step_s, series, at_ms, "release")
) STRICT, WITHOUT ROWID;
