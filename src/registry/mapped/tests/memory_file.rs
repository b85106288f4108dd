//! The file of a memory while a process uses it, and what a change that is sent again says.

use std::{fs, path::Path};

use super::{
    fake::{Fake, Fault, cause, delete_pod, pod, put, uid, write, write_pod},
    memory::{DONE, HOOK, client, file, header, known, remembered},
};
use crate::{
    model::{digest::Fingerprint, uid::Uid},
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::{Failure, Verdict},
    },
    registry::{
        RecordChange, Registry as _,
        mapped::{
            TargetClient,
            memory::{RoundNote, RowStore as _, StoredRow},
        },
    },
};

const REASONS: &str = r#"
body: {title: "{{ pod.name }}"}
put: {path: "systems/{{ id }}"}
delete: {path: "systems/{{ id }}", headers: {X-Change: "{{ change.id }}", X-Reason: "{{ removal.reason }}"}}
"#;

async fn delete_because(client: &TargetClient, removal: Removal) -> Result<Verdict, Failure> {
    let mut operation = put(client, &pod(1, "web"));
    let deletion = client.encode(&operation.uid, operation.version, RecordChange::Delete(removal)).unwrap();
    operation.body = deletion.body;
    write(client, operation).await
}

fn change_and_reason(fake: &Fake) -> [String; 2] {
    ["x-change", "x-reason"].map(|name| header(fake, name))
}

#[tokio::test]
async fn deletion_keeps_its_reason_with_its_id() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, REASONS, &path, 1 << 20).await;
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    // A deletion that was refused was not received, so that the next one is another change.
    fake.fail([Fault::Refuse(422, "no")]);
    assert!(cause(delete_because(&first, Removal::LeftSelection).await).starts_with("rejected"));
    let [refused, reason] = change_and_reason(&fake);
    assert_eq!(reason, "left-rule");
    fake.fail([Fault::Lose]);
    assert!(delete_because(&first, Removal::Observed(Deletion::Deleted)).await.is_err());
    let [id, reason] = change_and_reason(&fake);
    assert!(reason == "deleted" && id != refused, "{id} {reason}");
    drop(first);
    // The next process knows only that the pod is absent.
    let second = client(&fake, REASONS, &path, 2 << 20).await;
    assert_eq!(delete_because(&second, Removal::Inferred).await, DONE);
    assert_eq!(change_and_reason(&fake), [id, "deleted".to_owned()]);
    // The deletion of a later record is another change.
    assert_eq!(write_pod(&second, 1, "web").await, DONE);
    assert_eq!(delete_because(&second, Removal::Inferred).await, DONE);
    assert_eq!(header(&fake, "x-reason"), "absent");
}

#[tokio::test]
async fn deletion_of_an_earlier_release_changes_its_id() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, REASONS, &path, 1 << 20).await;
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    fake.fail([Fault::Lose]);
    assert!(delete_pod(&first, 1).await.is_err());
    let [id, _] = change_and_reason(&fake);
    drop(first);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("UPDATE records SET removal = NULL").unwrap();
    drop(conn);
    // Nothing says whether the content is the same.
    let second = client(&fake, REASONS, &path, 2 << 20).await;
    assert_eq!(delete_because(&second, Removal::Inferred).await, DONE);
    assert_ne!(header(&fake, "x-change"), id);
}

fn row(kind: &str) -> StoredRow {
    StoredRow { kind: Some(kind.to_owned()), held: Some(Fingerprint::default()), ..StoredRow::default() }
}

#[tokio::test]
async fn deleted_file_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let store = file(&path);
    store.open(1 << 20).await.unwrap();
    store.write(vec![(Uid::from("a"), Some(row("one")))], Some(RoundNote::Ended(7))).await.unwrap();
    fs::remove_file(&path).unwrap();
    // As if the disk had been full when it was written again.
    fs::write(&path, "").unwrap();
    store.write(vec![(Uid::from("b"), Some(row("two")))], None).await.unwrap();
    // Also if nothing is written any more.
    fs::remove_file(&path).unwrap();
    drop(store);
    let recalled = file(&path).open(2 << 20).await.unwrap();
    assert_eq!(recalled.rows, [(Uid::from("a"), row("one")), (Uid::from("b"), row("two"))]);
    assert_eq!((recalled.last_term, recalled.last_round), (Some(1 << 20), Some(7)));
}

#[tokio::test]
async fn resync_notices_that_the_file_is_gone() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let client = client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    fs::remove_file(&path).unwrap();
    assert_eq!(remembered(&client).await, known(&["01"]));
    assert!(path.exists());
    // A folder that is gone cannot be written to, until it is back.
    let moved = folder.path().join("moved");
    fs::create_dir(folder.path().join("memory")).unwrap();
    let path = folder.path().join("memory/m.db");
    let client = self::client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    fs::rename(folder.path().join("memory"), &moved).unwrap();
    let error = memory_error(&client, 3).await;
    assert!(error.contains("was deleted while this process uses it"), "{error}");
    fs::create_dir(folder.path().join("memory")).unwrap();
    client.capabilities().await.unwrap();
    assert_eq!(write_pod(&client, 3, "web").await, DONE);
    drop(client);
    assert_eq!(remembered(&self::client(&fake, HOOK, &path, 2 << 20).await).await, known(&["02", "03"]));
}

#[tokio::test]
async fn cut_file_is_written_again() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let client = client(&fake, HOOK, &path, 1 << 20).await;
    for length in [0, 100, 5_000] {
        for n in 1..40 {
            assert_eq!(write_pod(&client, n, "web").await, DONE);
        }
        let before = remembered(&client).await;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        // One is written, the others are as they were.
        assert_eq!(write_pod(&client, 1, "other").await, DONE);
        let error = file(&path).read().await.unwrap_err().to_string();
        assert!(error.contains("another process uses the memory"), "the new file is locked, too: {error}");
        fs::copy(&path, folder.path().join("copy.db")).unwrap();
        let rows = file(&folder.path().join("copy.db")).read().await.unwrap();
        assert_eq!((rows.len(), before.len()), (39, 39), "{length}");
        assert!(rows.iter().all(|(_, row)| row.held.is_some()), "{length}");
    }
    // Also if nothing is written: before each resync.
    let before = remembered(&client).await;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(remembered(&client).await, before);
    drop(client);
    assert_eq!(remembered(&self::client(&fake, HOOK, &path, 2 << 20).await).await, before);
}

/// With the same length, as by a backup of it that is copied over it.
#[tokio::test]
async fn overwritten_file_is_written_again() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let client = client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let backup = fs::read(&path).unwrap();
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    let before = remembered(&client).await;
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, &backup).unwrap();
    // The clock of a file system is coarse.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    file.set_modified(later).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(backup.len()).unwrap());
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    drop(client);
    assert_eq!(before, known(&["01", "02"]));
    assert_eq!(remembered(&self::client(&fake, HOOK, &path, 2 << 20).await).await, before);
}

/// Many writes of our own are not taken for those of another program.
#[tokio::test]
async fn own_writes_are_told_from_others() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let client = client(&fake, HOOK, &path, 1 << 20).await;
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let first = inode();
    for n in 2..60 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    assert_eq!(inode(), first, "the file was not begun again");
}

#[tokio::test]
async fn empty_file_is_told_from_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let opened = async |term| {
        let recalled = file(&path).open(term).await.unwrap();
        (recalled.was_empty, recalled.last_term)
    };
    assert_eq!(opened(1 << 20).await, (false, None));
    assert_eq!(opened(2 << 20).await, (false, Some(1 << 20)));
    fs::write(&path, "").unwrap();
    assert_eq!(opened(3 << 20).await, (true, None));
}

#[tokio::test]
async fn replaced_file_pauses_the_target() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let client = client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    // A backup is restored at the wrong time.
    let backup = folder.path().join("backup.db");
    fs::copy(&path, &backup).unwrap();
    fs::rename(&backup, &path).unwrap();
    let before = fs::read(&path).unwrap();
    fake.requests();
    let error = memory_error(&client, 2).await;
    assert!(error.contains("another file is in the place of the memory") && error.contains("m.db"), "{error}");
    assert_eq!(fake.requests(), Vec::<String>::new(), "nothing is sent that could not be remembered");
    assert!(matches!(client.capabilities().await, Err(Failure::Memory(_))), "it stays paused");
    assert_eq!(fs::read(&path).unwrap(), before, "the other file is left as it is");
    fs::remove_file(&path).unwrap();
    client.capabilities().await.unwrap();
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    drop(client);
    assert_eq!(remembered(&self::client(&fake, HOOK, &path, 2 << 20).await).await, known(&["01", "02"]));
}

async fn memory_error(client: &TargetClient, n: u8) -> String {
    match write_pod(client, n, "web").await {
        Err(Failure::Memory(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_are_read_without_a_change() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let keys = async |path: &Path| {
        let rows = file(path).read().await.map_err(|error| error.to_string())?;
        Ok::<_, String>(rows.into_iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>())
    };
    let error = keys(&path).await.unwrap_err();
    assert!(error.contains("there is no memory") && !path.exists(), "{error}");
    let client = client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let error = keys(&path).await.unwrap_err();
    assert!(error.contains("another process uses the memory"), "{error}");
    drop(client);
    let before = fs::read(&path).unwrap();
    assert_eq!(keys(&path).await, Ok(vec![uid(1)]));
    assert_eq!(fs::read(&path).unwrap(), before);
}
