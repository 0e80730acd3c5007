-- What requests of a site came to in its cache. Rows of before know nothing of it.

ALTER TABLE site_samples ADD COLUMN by_cache          INTEGER NOT NULL DEFAULT 0; -- answers that were stored
ALTER TABLE site_samples ADD COLUMN cache_hits        INTEGER NOT NULL DEFAULT 0; -- of those that might be: fresh ones
ALTER TABLE site_samples ADD COLUMN cache_stale       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE site_samples ADD COLUMN cache_revalidated INTEGER NOT NULL DEFAULT 0; -- their source said that they are still right
ALTER TABLE site_samples ADD COLUMN cache_misses      INTEGER NOT NULL DEFAULT 0; -- answers of the source
ALTER TABLE site_samples ADD COLUMN cache_bypassed    INTEGER NOT NULL DEFAULT 0; -- answers of the source, past the cache
ALTER TABLE site_samples ADD COLUMN cache_saved       INTEGER NOT NULL DEFAULT 0; -- bytes of bodies that did not come from the source
