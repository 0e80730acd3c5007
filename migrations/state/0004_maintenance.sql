-- Sites that an operator has put into maintenance: everybody gets 503 there.

ALTER TABLE sites ADD COLUMN maintenance INTEGER NOT NULL DEFAULT 0 CHECK (maintenance IN (0, 1)); -- whether it is
