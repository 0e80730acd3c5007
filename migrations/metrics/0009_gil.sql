-- How long threads waited for the GIL without getting it. Rows of before know nothing of it.

ALTER TABLE process_samples ADD COLUMN gil_stalls     INTEGER NOT NULL DEFAULT 0; -- waits that began and took too long
ALTER TABLE process_samples ADD COLUMN gil_stalled_us INTEGER NOT NULL DEFAULT 0; -- how long they lasted, microseconds
ALTER TABLE process_samples ADD COLUMN gil_longest_us INTEGER NOT NULL DEFAULT 0; -- the longest of them
