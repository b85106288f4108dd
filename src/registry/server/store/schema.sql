-- Version 1. Applied in one transaction together with its number (PRAGMA user_version).

CREATE TABLE clusters (
  id   TEXT PRIMARY KEY,
  name TEXT
) STRICT, WITHOUT ROWID;

-- One row a (cluster, owner) that ever opened a session; its current session.
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

-- Small rows, so that reading an inventory or its bucket digests touches few pages.
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

-- AUTOINCREMENT: a number is never given twice, also after everything was pruned.
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

-- Counting by reading every row would make each page and each prune cost as much as the whole table.
CREATE TABLE totals (tombstones INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES (0);
CREATE TRIGGER tombstone_added AFTER INSERT ON tombstones BEGIN UPDATE totals SET tombstones = tombstones + 1; END;
CREATE TRIGGER tombstone_dropped AFTER DELETE ON tombstones BEGIN UPDATE totals SET tombstones = tombstones - 1; END;
CREATE TRIGGER record_added AFTER INSERT ON records
  BEGIN UPDATE writers SET pods = pods + 1 WHERE writer = new.writer; END;
CREATE TRIGGER record_dropped AFTER DELETE ON records
  BEGIN UPDATE writers SET pods = pods - 1 WHERE writer = old.writer; END;
