-- Version 2: several kinds of records per target.

-- The name of the record's kind. Null if the target has no `kinds`.
ALTER TABLE records ADD COLUMN kind TEXT;
-- The key of the record that it belongs to.
ALTER TABLE records ADD COLUMN parent TEXT;
