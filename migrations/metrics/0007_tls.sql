-- How long handshakes took, of the first request on each connection; and what each route answered. Rows of before know nothing of it.

ALTER TABLE site_samples  ADD COLUMN tls         BLOB    NOT NULL DEFAULT x'00'; -- histogram; x'00' is an empty one
ALTER TABLE requests      ADD COLUMN tls_us      INTEGER;                        -- microseconds; NULL: it had none, and is not in total_us
ALTER TABLE route_samples ADD COLUMN tls_us      INTEGER NOT NULL DEFAULT 0;     -- of all requests together, microseconds
ALTER TABLE route_samples ADD COLUMN status_none INTEGER NOT NULL DEFAULT 0;     -- answers without a proper status
ALTER TABLE route_samples ADD COLUMN status_1xx  INTEGER NOT NULL DEFAULT 0;     -- answers with a status from 100 to 199, and so on
ALTER TABLE route_samples ADD COLUMN status_2xx  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE route_samples ADD COLUMN status_3xx  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE route_samples ADD COLUMN status_4xx  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE route_samples ADD COLUMN bytes_in    INTEGER NOT NULL DEFAULT 0;     -- received
