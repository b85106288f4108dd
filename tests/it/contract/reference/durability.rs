//! Acknowledged writes survive when the database is opened again.

use pod_registrar::registry::server::{
    clock::ServerClock,
    store::{OpenError, RecordStore, prune::Retention},
};

use super::{Server, refused};

#[tokio::test]
async fn everything_acknowledged_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry.db");
    let server = Server::with_file(file.clone()).await;
    let epoch = server.open().await;
    server.fill(epoch, 20).await;
    server.delete("p3", epoch, 100).await;
    let before = server.get("/v1/clusters/c/pods:digest?buckets=256").await.json();
    let session = server.get("/v1/clusters/c").await.json();
    server.stop().await;
    // A clean stop leaves one file that can be copied.
    assert!(!folder.path().join("registry.db-wal").exists());

    let server = Server::with_file(file).await;
    assert_eq!(server.get("/v1/clusters/c/pods:digest?buckets=256").await.json(), before);
    assert_eq!(server.get("/v1/clusters/c").await.json(), session);
    assert_eq!(server.put("p3", epoch, 100, "late").await.problem(), refused(409, "tombstoned"));
    assert_eq!(server.put("p3", epoch, 101, "back").await.status, 201);
    assert_eq!(server.open().await, epoch + 1);
    assert_eq!(server.store.changes_since(0).await.unwrap().last().unwrap().n, 22);
    server.stop().await;
}

#[tokio::test]
async fn copied_files_hold_every_acknowledged_write() {
    // The files are copied while the registry runs.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with_file(folder.path().join("registry.db")).await;
    let epoch = server.open().await;
    server.fill(epoch, 50).await;
    // A crash leaves this: the database and its log as they are now, without a clean close.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["registry.db", "registry.db-wal"] {
        std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    let restarted = Server::with_file(crashed.path().join("registry.db")).await;
    assert_eq!(restarted.records().await.len(), 50);
    assert_eq!(restarted.store.changes_since(0).await.unwrap().len(), 50);
    restarted.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn unusable_database_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let error = RecordStore::open(Some(folder.path()), Retention::default(), ServerClock::default()).err().unwrap();
    assert!(matches!(error, OpenError::Sqlite(_)), "{error}");
    let text = folder.path().join("text");
    std::fs::write(&text, "this is not a database, but long enough to be opened as one".repeat(20)).unwrap();
    let error = RecordStore::open(Some(&text), Retention::default(), ServerClock::default()).err().unwrap();
    assert!(error.to_string().contains("--database"), "{error}");
}

#[tokio::test]
async fn concurrent_writes_of_many_clients_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with_file(folder.path().join("registry.db")).await;
    let epoch = server.open().await;
    let ids: Vec<String> = (0..100).map(|n| format!("q{n}")).collect();
    let writes = ids.iter().zip(1..).map(|(id, seq)| server.put(id, epoch, seq, "web"));
    for reply in futures::future::join_all(writes).await {
        assert_eq!(reply.status, 201);
    }
    assert_eq!(server.get("/v1/clusters/c/pods").await.json()["count"], 100);
    server.stop().await;
}
