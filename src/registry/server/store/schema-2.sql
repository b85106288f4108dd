-- Version 2: to which cluster a writer belongs, and which other writer announced itself.

ALTER TABLE writers ADD COLUMN cluster_uid TEXT;
ALTER TABLE writers ADD COLUMN contender_epoch INTEGER;
ALTER TABLE writers ADD COLUMN contender_instance TEXT;
ALTER TABLE writers ADD COLUMN contender_ms INTEGER;
