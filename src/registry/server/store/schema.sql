-- Version 1. It is applied in one transaction with its number (PRAGMA user_version).

CREATE TABLE clusters (
  id   TEXT PRIMARY KEY,
  name TEXT
) STRICT, WITHOUT ROWID;

-- One row per writer (cluster, owner) that ever opened a session, with its newest session.
CREATE TABLE writers (
  writer     INTEGER PRIMARY KEY,
  cluster    TEXT NOT NULL,
  owner      TEXT NOT NULL,
  epoch      INTEGER NOT NULL,
  instance   TEXT NOT NULL,
  scope      TEXT,
  expires_ms INTEGER NOT NULL,
  closed     INTEGER NOT NULL DEFAULT 0,
  synced     INTEGER NOT NULL DEFAULT 0,
  pods       INTEGER NOT NULL DEFAULT 0,
  UNIQUE (cluster, owner)
) STRICT;

-- Bodies have a table of their own: rows here are small, and reading an inventory or bucket digests touches few pages.
CREATE TABLE records (
  writer    INTEGER NOT NULL,
  id        TEXT NOT NULL,
  epoch     INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  digest    BLOB NOT NULL,
  bucket    INTEGER NOT NULL,
  lifecycle TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name      TEXT NOT NULL,
  search    TEXT NOT NULL,
  PRIMARY KEY (writer, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_by_bucket ON records (writer, bucket);

CREATE TABLE bodies (
  writer INTEGER NOT NULL,
  id     TEXT NOT NULL,
  body   TEXT NOT NULL,
  PRIMARY KEY (writer, id)
) STRICT;

CREATE TABLE tombstones (
  writer INTEGER NOT NULL,
  id     TEXT NOT NULL,
  epoch  INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  at_ms  INTEGER NOT NULL,
  PRIMARY KEY (writer, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_by_age ON tombstones (at_ms);

-- AUTOINCREMENT, so that no number is used twice, even after all rows were pruned.
CREATE TABLE changes (
  n         INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms     INTEGER NOT NULL,
  cluster   TEXT NOT NULL,
  owner     TEXT NOT NULL,
  op        TEXT NOT NULL,
  id        TEXT NOT NULL,
  namespace TEXT,
  name      TEXT,
  epoch     INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  reason    TEXT,
  observed  TEXT
) STRICT;
CREATE INDEX changes_by_cluster ON changes (cluster, n);

-- Triggers keep these counts. Counting rows would read the whole table for each page and each prune.
CREATE TABLE totals (tombstones INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES (0);
CREATE TRIGGER tombstone_added AFTER INSERT ON tombstones BEGIN UPDATE totals SET tombstones = tombstones + 1; END;
CREATE TRIGGER tombstone_dropped AFTER DELETE ON tombstones BEGIN UPDATE totals SET tombstones = tombstones - 1; END;
CREATE TRIGGER record_added AFTER INSERT ON records
  BEGIN UPDATE writers SET pods = pods + 1 WHERE writer = new.writer; END;
CREATE TRIGGER record_dropped AFTER DELETE ON records
  BEGIN UPDATE writers SET pods = pods - 1 WHERE writer = old.writer; END;
