-- Version 3: why a record is deleted.

-- The reason of a deletion that may be on its way. Null if an earlier version wrote it.
ALTER TABLE records ADD COLUMN removal TEXT;
