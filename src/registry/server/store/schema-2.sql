-- Version 2: the UID of a writer's cluster, and the newest contender.

ALTER TABLE writers ADD COLUMN cluster_uid TEXT;
ALTER TABLE writers ADD COLUMN contender_epoch INTEGER;
ALTER TABLE writers ADD COLUMN contender_instance TEXT;
ALTER TABLE writers ADD COLUMN contender_ms INTEGER;
