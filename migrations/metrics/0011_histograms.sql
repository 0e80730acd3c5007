-- How long each phase lasted, by route and release too; and all histograms of a row in fewer bytes. In rows of before each histogram, or
-- the sum alone, is in the column of its own name, which newer rows leave empty.

ALTER TABLE site_samples    ADD COLUMN histograms BLOB NOT NULL DEFAULT x''; -- packed: whole requests, then each phase from tls to send
ALTER TABLE route_samples   ADD COLUMN histograms BLOB NOT NULL DEFAULT x'';
ALTER TABLE release_samples ADD COLUMN histograms BLOB NOT NULL DEFAULT x'';
