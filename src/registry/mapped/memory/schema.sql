-- Version 1. It is applied in one transaction with its number (PRAGMA user_version).

-- What the memory is for, in one row.
CREATE TABLE memory (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  target  TEXT NOT NULL,
  cluster TEXT NOT NULL,
  mark    TEXT NOT NULL,
  url     TEXT NOT NULL,
  -- The last term that used it.
  term    INTEGER,
  -- When the last round ended, in milliseconds since 1970. Null if it did not.
  round   INTEGER
) STRICT;

-- A change that may be on its way has an epoch; that of a put has a fingerprint, too.
CREATE TABLE records (
  key         TEXT PRIMARY KEY,
  id          TEXT,
  remote      TEXT,
  seen        TEXT,
  held        BLOB,
  fingerprint BLOB,
  epoch       INTEGER,
  seq         INTEGER,
  began       INTEGER
) STRICT, WITHOUT ROWID;
