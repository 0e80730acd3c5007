-- Who got to no site, and whom the limits of a site refused. Rows of before know nothing of it.

ALTER TABLE box_samples  ADD COLUMN dropped_malformed  INTEGER NOT NULL DEFAULT 0; -- clients: what they said was no request
ALTER TABLE box_samples  ADD COLUMN dropped_slow       INTEGER NOT NULL DEFAULT 0; -- the head of their request did not come in time
ALTER TABLE box_samples  ADD COLUMN dropped_handshake  INTEGER NOT NULL DEFAULT 0; -- they did not agree on keys
ALTER TABLE box_samples  ADD COLUMN dropped_flood      INTEGER NOT NULL DEFAULT 0; -- they flooded their connection
ALTER TABLE box_samples  ADD COLUMN dropped_crowd      INTEGER NOT NULL DEFAULT 0; -- they had too many connections
ALTER TABLE box_samples  ADD COLUMN dropped_in_the_way INTEGER NOT NULL DEFAULT 0; -- others needed their place
ALTER TABLE box_samples  ADD COLUMN dropped_no_room    INTEGER NOT NULL DEFAULT 0; -- there was no place for them
ALTER TABLE box_samples  ADD COLUMN dropped_no_memory  INTEGER NOT NULL DEFAULT 0; -- there was no memory for them
ALTER TABLE box_samples  ADD COLUMN dropped_refused    INTEGER NOT NULL DEFAULT 0; -- requests that a rule for addresses refuses
ALTER TABLE site_samples ADD COLUMN limited            INTEGER NOT NULL DEFAULT 0; -- requests that a limit of the site refused
