-- A database of the reference registry with schema version 1: one record, and one that was deleted.
PRAGMA application_id = 1884448103;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE bodies (
  writer INTEGER NOT NULL,
  id     TEXT NOT NULL,
  body   TEXT NOT NULL,
  PRIMARY KEY (writer, id)
) STRICT;
INSERT INTO "bodies" VALUES(1,'cfd7de88-8f3b-41f0-9cf9-8063f9416f65','{"cluster":{"id":"f8f8462e-beca-474c-abf8-ca054dd61ca5","name":"demo"},"containers":[{"image":"registry.example.com/shop/storefront:1.3.0","imageId":"registry.example.com/team/app@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1","name":"storefront-9pmgz4rzdx-slr2r","ready":true,"restarts":0,"role":"app"}],"digest":"sha256:5ca89827970cb8c12e49324d43bfc30f65c86ea475fe1bc3f934de31c1d7c292","owner":"pod-registrar","placement":{"hostIPs":["192.168.0.10"],"node":"node-2","podIPs":["10.64.0.1"]},"pod":{"labels":{"app.kubernetes.io/name":"storefront","pod-template-hash":"9pmgz4rzdx"},"name":"storefront-9pmgz4rzdx-slr2r","namespace":"shop","uid":"cfd7de88-8f3b-41f0-9cf9-8063f9416f65"},"schema":1,"serviceAccount":"default","state":{"lifecycle":"active","phase":"Running","ready":true},"times":{"created":"2026-11-30T19:57:52.000Z","scheduled":"2026-11-30T19:57:53.000Z","started":"2026-11-30T19:57:53.000Z"},"version":{"epoch":1,"generation":1,"resourceVersion":"6254","seq":17},"workload":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"storefront-9pmgz4rzdx","uid":"0cc64f27-0000-4000-8000-a16358a79df6"},{"apiVersion":"apps/v1","derived":true,"kind":"Deployment","name":"storefront"}]}');
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
INSERT INTO "changes" VALUES(12,1796068671659,'f8f8462e-beca-474c-abf8-ca054dd61ca5','pod-registrar','delete','0204f2c5-8e73-43a4-8fd7-533378049e78','shop','storefront-ln9x68kpbl-2xb8s',1,12,'deleted','watch');
INSERT INTO "changes" VALUES(14,1796068672193,'f8f8462e-beca-474c-abf8-ca054dd61ca5','pod-registrar','put','cfd7de88-8f3b-41f0-9cf9-8063f9416f65','shop','storefront-9pmgz4rzdx-slr2r',1,13,NULL,NULL);
INSERT INTO "changes" VALUES(17,1796068673717,'f8f8462e-beca-474c-abf8-ca054dd61ca5','pod-registrar','put','cfd7de88-8f3b-41f0-9cf9-8063f9416f65','shop','storefront-9pmgz4rzdx-slr2r',1,17,NULL,NULL);
CREATE TABLE clusters (
  id   TEXT PRIMARY KEY,
  name TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO "clusters" VALUES('f8f8462e-beca-474c-abf8-ca054dd61ca5','demo');
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
INSERT INTO "records" VALUES(1,'cfd7de88-8f3b-41f0-9cf9-8063f9416f65',1,17,X'5CA89827970CB8C12E49324D43BFC30F65C86EA475FE1BC3F934DE31C1D7C292',6196,'active','shop','storefront-9pmgz4rzdx-slr2r','shop/storefront-9pmgz4rzdx-slr2r
cfd7de88-8f3b-41f0-9cf9-8063f9416f65
node-2');
CREATE TABLE tombstones (
  writer INTEGER NOT NULL,
  id     TEXT NOT NULL,
  epoch  INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  at_ms  INTEGER NOT NULL,
  PRIMARY KEY (writer, id)
) STRICT, WITHOUT ROWID;
INSERT INTO "tombstones" VALUES(1,'0204f2c5-8e73-43a4-8fd7-533378049e78',1,12,1796068671659);
CREATE TABLE totals (tombstones INTEGER NOT NULL) STRICT;
INSERT INTO "totals" VALUES(1);
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
INSERT INTO "writers" VALUES(1,'f8f8462e-beca-474c-abf8-ca054dd61ca5','pod-registrar',1,'controller:e88a2d82-17677-207f5d79','26c0492a35f30c7af13dba57d104a99199a9e864f1e98452cae4435897d62ea5',1796068757252,1,1,1);
CREATE INDEX records_by_bucket ON records (writer, bucket);
CREATE INDEX tombstones_by_age ON tombstones (at_ms);
CREATE INDEX changes_by_cluster ON changes (cluster, n);
CREATE TRIGGER tombstone_added AFTER INSERT ON tombstones BEGIN UPDATE totals SET tombstones = tombstones + 1; END;
CREATE TRIGGER tombstone_dropped AFTER DELETE ON tombstones BEGIN UPDATE totals SET tombstones = tombstones - 1; END;
CREATE TRIGGER record_added AFTER INSERT ON records
  BEGIN UPDATE writers SET pods = pods + 1 WHERE writer = new.writer; END;
CREATE TRIGGER record_dropped AFTER DELETE ON records
  BEGIN UPDATE writers SET pods = pods - 1 WHERE writer = old.writer; END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('changes',17);
COMMIT;
