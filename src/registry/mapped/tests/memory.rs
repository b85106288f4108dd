//! The memory: what it holds when a process ends, and files that cannot be used.

use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::fake::{Fake, Fault, cause, delete_pod, inventory, pod, put, uid, write_pod};
use crate::{
    model::{digest::Fingerprint, uid::Uid},
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Registry as _,
        mapped::{
            TargetClient,
            memory::{
                ChangeContent, Error, MemoryOwner, Recalled, RoundNote, RowChange, RowStore, StoredRow,
                file::MemoryFile,
            },
        },
    },
};

pub(super) const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);
/// A registry that cannot be read.
pub(super) const HOOK: &str = r#"
body: {title: "{{ pod.name }}"}
put: {path: "systems/{{ id }}", headers: {X-Change: "{{ change.id }}", X-Time: "{{ change.time }}"}}
delete: {path: "systems/{{ id }}", headers: {X-Change: "{{ change.id }}"}}
"#;
const BATCH: &str = r#"
batch: [{path: bulk, body: {operations: "{{ operations }}"}, put: [{op: put, id: "{{ id }}", record: "{{ body }}"}], max: {records: 50}, atomic: true}]
"#;

fn owner() -> MemoryOwner {
    let [target, cluster, mark, url] = ["t", "c1", "pod-registrar:c1:o", "http://t/"].map(str::to_owned);
    MemoryOwner { target, cluster, mark, url }
}

pub(super) fn file(path: &Path) -> MemoryFile {
    MemoryFile::new(path.to_owned(), owner())
}

/// A client with a memory, in a term.
pub(super) async fn client(fake: &Fake, members: &str, path: &Path, term: u64) -> TargetClient {
    let client = fake.client(members).with_memory(Box::new(file(path)));
    client.prepare(term).await.unwrap();
    client
}

/// The inventory: the last digits of the ids, and whether the content is known.
pub(super) async fn remembered(client: &TargetClient) -> Vec<(String, bool)> {
    let items = inventory(client).await.unwrap().into_iter();
    let mut shown: Vec<_> = items
        .map(|item| {
            (item.uid.to_string()[34..].to_owned(), item.fingerprint.unwrap_or_default() != Fingerprint::default())
        })
        .collect();
    shown.sort();
    shown
}

pub(super) fn known(ids: &[&str]) -> Vec<(String, bool)> {
    ids.iter().map(|id| ((*id).to_owned(), true)).collect()
}

/// The header of the last request.
pub(super) fn header(fake: &Fake, name: &str) -> String {
    fake.contents().headers.last().unwrap()[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn memory_is_the_inventory_of_the_next_process() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, HOOK, &path, 1 << 20).await;
    assert!(first.capabilities().await.unwrap().features.inventory);
    for n in 1..=3 {
        assert_eq!(write_pod(&first, n, "web").await, DONE);
    }
    assert_eq!(delete_pod(&first, 2).await, DONE);
    assert_eq!(remembered(&first).await, known(&["01", "03"]));
    let acknowledged = put(&first, &pod(3, "web")).fingerprint;
    drop(first);

    let second = client(&fake, HOOK, &path, 2 << 20).await;
    assert_eq!(remembered(&second).await, known(&["01", "03"]));
    let items = inventory(&second).await.unwrap();
    let third = items.iter().find(|item| item.uid == Uid::from(uid(3))).unwrap();
    assert_eq!(third.fingerprint, acknowledged, "nothing is written again");
    // The pod was deleted while no process ran.
    assert_eq!(delete_pod(&second, 1).await, DONE);
    assert_eq!(fake.contents().records.keys().cloned().collect::<Vec<_>>(), [uid(3)]);
    drop(second);
    assert_eq!(remembered(&client(&fake, HOOK, &path, 3 << 20).await).await, known(&["03"]));
}

#[tokio::test]
async fn change_without_an_answer_keeps_its_id() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, HOOK, &path, 1 << 20).await;
    fake.fail([Fault::Lose]);
    assert!(write_pod(&first, 1, "web").await.is_err());
    let [id, time] = ["x-change", "x-time"].map(|name| header(&fake, name));
    drop(first);

    let second = client(&fake, HOOK, &path, 2 << 20).await;
    assert_eq!(remembered(&second).await, [("01".to_owned(), false)]);
    assert_eq!(inventory(&second).await.unwrap()[0].fingerprint, None, "the registry may hold it or not");
    assert_eq!(write_pod(&second, 1, "web").await, DONE);
    assert_eq!(["x-change", "x-time"].map(|name| header(&fake, name)), [id.clone(), time]);
    // Another content, and a deletion, are other changes.
    assert_eq!(write_pod(&second, 1, "other").await, DONE);
    assert_ne!(header(&fake, "x-change"), id);
    fake.fail([Fault::Lose]);
    assert!(delete_pod(&second, 1).await.is_err());
    let id = header(&fake, "x-change");
    drop(second);
    let third = client(&fake, HOOK, &path, 3 << 20).await;
    assert_eq!(remembered(&third).await, [("01".to_owned(), false)]);
    assert_eq!(cause(delete_pod(&third, 1).await), "Ok(Done)", "it is gone already");
    assert_eq!(header(&fake, "x-change"), id);
    assert_eq!(remembered(&third).await, []);
}

#[tokio::test]
async fn refused_first_put_leaves_no_row() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    for members in [HOOK.to_owned(), format!("{HOOK}{BATCH}")] {
        let client = client(&fake, &members, &folder.path().join("m.db"), 1 << 20).await;
        assert!(cause(write_pod(&client, 1, "poison").await).starts_with("rejected"));
        assert_eq!(remembered(&client).await, []);
        // A record that exists stays.
        assert_eq!(write_pod(&client, 1, "web").await, DONE);
        assert!(cause(write_pod(&client, 1, "poison").await).starts_with("rejected"));
        assert_eq!(remembered(&client).await.len(), 1);
        assert_eq!(delete_pod(&client, 1).await, DONE);
    }
}

#[tokio::test]
async fn refused_change_leaves_what_was_acknowledged() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    assert!(cause(write_pod(&first, 1, "poison").await).starts_with("rejected"));
    assert_eq!(remembered(&first).await, known(&["01"]), "the pod may return to its former state");
    fake.fail([Fault::Refuse(422, "no")]);
    assert!(cause(delete_pod(&first, 1).await).starts_with("rejected"));
    drop(first);
    let second = client(&fake, HOOK, &path, 2 << 20).await;
    assert_eq!(remembered(&second).await, known(&["01"]), "a restart writes nothing");
    // A refusal says nothing about an earlier request without an answer.
    fake.fail([Fault::Lose]);
    assert!(write_pod(&second, 1, "other").await.is_err());
    assert!(cause(write_pod(&second, 1, "poison").await).starts_with("rejected"));
    let unknown = [("01".to_owned(), false)];
    assert_eq!(remembered(&second).await, unknown);
    drop(second);
    let third = client(&fake, HOOK, &path, 3 << 20).await;
    assert_eq!(remembered(&third).await, unknown);
    assert_eq!(write_pod(&third, 1, "web").await, DONE);
    assert_eq!(remembered(&third).await, known(&["01"]));
}

#[tokio::test]
async fn refused_batch_leaves_what_was_acknowledged() {
    const ITEMS: &str = "results: {items: /results, id: /id, status: /status}}]";
    for (batch, per_item) in [(BATCH.to_owned(), false), (BATCH.replace("atomic: true}]", ITEMS), true)] {
        let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.contents().per_item = per_item;
        let members = format!("{HOOK}{batch}");
        let path = folder.path().join("m.db");
        let first = client(&fake, &members, &path, 1 << 20).await;
        for names in [["web", "web", "web"], ["poison", "web", "poison"]] {
            let puts = (1..).zip(names).map(|(n, name)| put(&first, &pod(n, name))).collect();
            assert_eq!(first.write(1, puts, true).await.unwrap().len(), 3);
        }
        let puts = [(1, "web"), (4, "poison")].map(|(n, name)| put(&first, &pod(n, name)));
        first.write(1, puts.into(), true).await.unwrap();
        let ids = ["01", "02", "03"];
        assert_eq!(remembered(&first).await, known(&ids), "{members}");
        drop(first);
        assert_eq!(remembered(&client(&fake, &members, &path, 2 << 20).await).await, known(&ids));
    }
}

#[tokio::test]
async fn assigned_ids_are_remembered() {
    const CREATE: &str = r#"
body: {title: "{{ pod.name }}", uid: "{{ id }}", owner: "{{ mark }}"}
create: {path: systems, remote: /id}
update: {path: "systems/{{ remote }}"}
delete: {path: "systems/{{ remote }}"}
find: {path: systems, query: {uid: "{{ id }}"}, at: /results/0}
item: {id: /uid, remote: /id, mark: /owner}
"#;
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.contents().assigns = true;
    let path = folder.path().join("m.db");
    let first = client(&fake, CREATE, &path, 1 << 20).await;
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    // Its answer is lost: whether it exists is found out before a second one is created.
    fake.fail([Fault::Refuse(404, "{}"), Fault::Lose]);
    assert!(write_pod(&first, 2, "web").await.is_err());
    drop(first);
    fake.requests();
    let second = client(&fake, CREATE, &path, 2 << 20).await;
    assert_eq!(write_pod(&second, 1, "other").await, DONE);
    assert_eq!(fake.requests(), ["PATCH systems/1"]);
    assert_eq!(write_pod(&second, 2, "web").await, DONE);
    assert_eq!(fake.requests()[0], format!("GET systems?uid={}", uid(2)));
    assert_eq!(fake.held(), 2);
    assert_eq!(delete_pod(&second, 1).await, DONE);
    assert_eq!(fake.requests(), ["DELETE systems/1"]);
}

/// A proxy answers so, for a moment. Nothing else would ever delete the record.
#[tokio::test]
async fn status_404_of_shared_address_deletes_nothing() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let members = HOOK.replace(
        "delete: {path: \"systems/{{ id }}\"",
        "delete: {method: POST, path: login, body: {gone: \"{{ id }}\"}",
    );
    let path = folder.path().join("m.db");
    let hook = client(&fake, &members, &path, 1 << 20).await;
    assert_eq!(write_pod(&hook, 1, "web").await, DONE);
    fake.fail([Fault::Refuse(404, "default backend - 404")]);
    let uncertain = cause(delete_pod(&hook, 1).await);
    assert!(uncertain.contains("uncertain: status 404, which is not about the record"), "{uncertain}");
    assert_eq!(remembered(&hook).await.len(), 1);
    let before = hook.answers();
    assert_eq!(delete_pod(&hook, 1).await, DONE);
    assert!(remembered(&hook).await.is_empty() && hook.answers() != before);
    let before = hook.answers();
    assert_eq!(delete_pod(&hook, 9).await, DONE, "it was never written");
    assert_eq!(hook.answers(), before, "the registry was not asked");
    drop(hook);
    // A rule says what it means.
    let hook = client(&fake, &format!("{members}outcome: [{{status: 404, is: absent}}]\n"), &path, 2 << 20).await;
    assert_eq!(write_pod(&hook, 1, "web").await, DONE);
    fake.fail([Fault::Refuse(404, "{}")]);
    assert_eq!(delete_pod(&hook, 1).await, DONE);
}

/// How many requests there were before, and the rows.
type Written = (usize, Vec<RowChange>);

/// A store that notes how many requests there were when rows were written.
#[derive(Clone, Default)]
struct Notes {
    fake: Option<Fake>,
    seen: Arc<Mutex<Vec<Written>>>,
}

impl RowStore for Notes {
    fn open(&self, _: u64) -> BoxFuture<'_, Result<Recalled, Error>> {
        Box::pin(std::future::ready(Ok(Recalled::default())))
    }

    fn write(&self, rows: Vec<RowChange>, _: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>> {
        let requests = self.fake.as_ref().map_or(0, |fake| fake.contents().requests.len());
        if !rows.is_empty() {
            self.seen.lock().push((requests, rows));
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) {}
}

#[tokio::test]
async fn rows_are_written_around_each_request() {
    for members in [HOOK.to_owned(), format!("{HOOK}{BATCH}")] {
        let fake = Fake::start().await;
        let notes = Notes { fake: Some(fake.clone()), ..Notes::default() };
        let client = fake.client(&members).with_memory(Box::new(notes.clone()));
        client.prepare(1 << 20).await.unwrap();
        let several = (1..=5).map(|n| put(&client, &pod(n, "web"))).collect();
        let several = if members == HOOK { vec![put(&client, &pod(1, "web"))] } else { several };
        let count = several.len();
        client.write(1, several, true).await.unwrap();
        assert_eq!(delete_pod(&client, 1).await, DONE);
        let seen = std::mem::take(&mut *notes.seen.lock());
        let is_put = |content| matches!(content, ChangeContent::Put(_));
        let shown = |row: &Option<StoredRow>| {
            row.as_ref().map(|row| (row.held.is_some(), row.attempt.map(|attempt| is_put(attempt.content))))
        };
        let shown: Vec<_> = seen.iter().map(|(sent, rows)| (*sent, rows.len(), shown(&rows[0].1))).collect();
        let expected = [
            (0, count, Some((false, Some(true)))),
            (1, count, Some((true, None))),
            (1, 1, Some((true, Some(false)))),
            (2, 1, None),
        ];
        assert_eq!(shown, expected, "{members}");
    }
}

#[tokio::test]
async fn memory_of_something_else_is_refused_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    file(&path).open(1 << 20).await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let others = [
        MemoryOwner { target: "other".into(), ..owner() },
        MemoryOwner { cluster: "other".into(), ..owner() },
        MemoryOwner { mark: "other".into(), ..owner() },
        MemoryOwner { url: "http://other/".into(), ..owner() },
    ];
    for (other, what) in others.into_iter().zip(["target", "cluster", "owner mark", "address"]) {
        let error = MemoryFile::new(path.clone(), other).open(1 << 20).await.unwrap_err().to_string();
        assert!(error.contains(&format!("belongs to the {what} ")) && error.contains("path of its own"), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    file(&path).open(1 << 20).await.unwrap();
}

#[tokio::test]
async fn unusable_file_is_refused_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let store = file(&path);
    store.open(1 << 20).await.unwrap();
    let rows = (0..500_u32).map(|n| {
        let row = StoredRow { remote: Some("\"x\"".repeat(20)), ..StoredRow::default() };
        (Uid::from(format!("{n:08}-0000-4000-8000-000000000000")), Some(row))
    });
    store.write(rows.collect(), None).await.unwrap();
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let sql = |text: &str| {
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(text).unwrap();
        drop(conn);
        std::fs::read(&path).unwrap()
    };
    let mut torn = good.clone();
    torn[8192..16384].fill(0x5a);
    let cases = [
        (b"targets: []\n".to_vec(), "was not written as a memory"),
        (torn, "is damaged"),
        (good[..20_000].to_vec(), "is damaged"),
        (sql("PRAGMA user_version = 9"), "has version 9, and this release knows 3"),
        (sql("PRAGMA user_version = 3; UPDATE records SET held = x'00'"), "is damaged"),
        (sql("PRAGMA application_id = 7"), "was not written as a memory"),
    ];
    for (bytes, what) in cases {
        std::fs::write(&path, &bytes).unwrap();
        let error = file(&path).open(1 << 20).await.unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("m.db"), "{what}: {error}");
        assert!(!error.contains('\n'), "it is one line of a log: {error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}");
    }
    std::fs::write(&path, good).unwrap();
    assert_eq!(file(&path).open(1 << 20).await.unwrap().rows.len(), 500);
    let error = file(&folder.path().join("none/m.db")).open(1 << 20).await.unwrap_err().to_string();
    assert!(error.contains("cannot open the memory") && error.contains("a folder"), "{error}");
}

#[tokio::test]
async fn memory_of_an_earlier_release_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let store = file(&path);
    store.open(1 << 20).await.unwrap();
    let row = StoredRow { id: Some("a".into()), held: Some(Fingerprint::default()), ..StoredRow::default() };
    store.write(vec![(Uid::from("key"), Some(row.clone()))], None).await.unwrap();
    drop(store);
    let conn = rusqlite::Connection::open(&path).unwrap();
    // As the first version had it.
    for column in ["kind", "parent", "removal"] {
        conn.execute_batch(&format!("ALTER TABLE records DROP COLUMN {column}")).unwrap();
    }
    conn.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(conn);
    assert_eq!(file(&path).open(2 << 20).await.unwrap().rows, [(Uid::from("key"), row)]);
}

#[tokio::test]
async fn memory_has_one_user_at_a_time() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, HOOK, &path, 1 << 20).await;
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    let second = fake.client(HOOK).with_memory(Box::new(file(&path)));
    let failure = second.prepare((1 << 20) + 1).await.unwrap_err().to_string();
    assert!(failure.contains("another process uses the memory"), "{failure}");
    // The leadership moves, and comes back.
    first.end_term();
    second.prepare((1 << 20) + 1).await.unwrap();
    assert_eq!(remembered(&second).await, known(&["01"]));
    assert!(matches!(write_pod(&first, 2, "web").await, Err(Failure::Memory(_))), "its term is over");
    assert_eq!(write_pod(&second, 3, "web").await, DONE);
    second.end_term();
    first.prepare((1 << 20) + 2).await.unwrap();
    assert_eq!(remembered(&first).await, known(&["01", "03"]));
}

#[tokio::test]
async fn unusable_memory_is_tried_again_with_probes() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    std::fs::write(&path, "something else").unwrap();
    let client = fake.client(HOOK).with_memory(Box::new(file(&path)));
    client.capabilities().await.unwrap();
    assert!(matches!(client.prepare(1 << 20).await, Err(Failure::Memory(_))));
    assert!(matches!(client.capabilities().await, Err(Failure::Memory(_))), "it stays paused");
    std::fs::remove_file(&path).unwrap();
    client.capabilities().await.unwrap();
    client.prepare(1 << 20).await.unwrap();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    // A process that does not lead any more does not open it.
    client.end_term();
    client.capabilities().await.unwrap();
    assert_eq!(remembered(&self::client(&fake, HOOK, &path, 2 << 20).await).await, known(&["01"]));
}

#[tokio::test]
async fn memory_that_did_not_follow_is_uncertain() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let term = (7 << 20) + 5;
    assert_eq!(write_pod(&client(&fake, HOOK, &path, term).await, 1, "web").await, DONE);
    assert_eq!(remembered(&client(&fake, HOOK, &path, term + 1).await).await, known(&["01"]));
    // Another process led in between, without this file.
    let late = client(&fake, HOOK, &path, term + 3).await;
    assert_eq!(remembered(&late).await, [("01".to_owned(), false)]);
    assert_eq!(inventory(&late).await.unwrap()[0].fingerprint, None, "the other process may have removed it");
    assert_eq!(write_pod(&late, 1, "web").await, DONE);
    assert_eq!(remembered(&late).await, known(&["01"]));
}

#[tokio::test]
async fn full_disk_pauses_writes_and_recovers() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let memory = Arc::new(file(&folder.path().join("m.db")));
    let client = fake.client(HOOK).with_memory(Box::new(Shared(memory.clone())));
    client.prepare(1 << 20).await.unwrap();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    memory.run("PRAGMA max_page_count = 1").await;
    let full = until_full(&client).await;
    assert!(full.ends_with("m.db: database or disk is full; free space on its disk"), "{full}");
    fake.requests();
    for n in 200..220 {
        assert!(matches!(write_pod(&client, n, &"long".repeat(15)).await, Err(Failure::Memory(_))));
    }
    assert_eq!(fake.requests().len(), 0, "nothing is sent that could not be remembered");
    memory.run("PRAGMA max_page_count = 1000000").await;
    client.capabilities().await.unwrap();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let before = remembered(&client).await;
    drop(client);
    drop(memory);
    let next = self::client(&fake, HOOK, &folder.path().join("m.db"), 2 << 20).await;
    assert_eq!(remembered(&next).await, before, "nothing that was acknowledged is lost");
}

/// Writes pods until the memory is full. Returns the error.
async fn until_full(client: &TargetClient) -> String {
    for n in 2..200 {
        match write_pod(client, n, &"long".repeat(15)).await {
            Ok(Verdict::Done) => {}
            Err(Failure::Memory(error)) => return error,
            other => panic!("{other:?}"),
        }
    }
    panic!("the memory is never full");
}

/// A memory that the test keeps, too.
struct Shared(Arc<MemoryFile>);

impl RowStore for Shared {
    fn open(&self, term: u64) -> BoxFuture<'_, Result<Recalled, Error>> {
        self.0.open(term)
    }

    fn write(&self, rows: Vec<RowChange>, round: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>> {
        self.0.write(rows, round)
    }

    fn close(&self) {
        self.0.close();
    }
}
