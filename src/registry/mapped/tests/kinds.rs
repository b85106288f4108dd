//! Several kinds of records: what the memory knows of them, and rounds.

use std::{path::Path, time::Duration};

use super::fake::{Fake, Fault, delete, inventory, pod, uid, write};
use crate::{
    model::{digest::Fingerprint, uid::Uid},
    reconcile::outcome::{Failure, Verdict},
    registry::{
        DesiredRecord, Encoded, ParentRecord, Projection, RecordChange, Registry as _,
        mapped::{
            MappedOperation, TargetClient,
            memory::{MemoryOwner, file::MemoryFile},
        },
    },
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);
/// A registry that cannot be read. It removes ports with their machine.
const MACHINE: &str = r#"
kinds:
  machine:
    body: {title: "{{ pod.name }}"}
    put: {path: "systems/{{ id }}"}
    delete: {path: "systems/{{ id }}"}
"#;
const PORT: &str = r#"
  port:
    of: machine
    cascade: true
    each: "{{ ['eth0', 'eth1'] }}"
    id: "{{ pod.uid }}.{{ each }}"
    body: {title: "{{ each }}", machine: "{{ of.machine.id }}"}
    put: {path: "systems/{{ id }}"}
    delete: {path: "systems/{{ id }}"}
"#;
const ROUND: &str = r#"
round: {every: 1h, begin: {method: PUT, path: systems/round, body: {}}, end: {method: PUT, path: systems/round, body: {}}}
"#;

async fn client(fake: &Fake, members: &str, path: &Path, term: u64) -> TargetClient {
    let [target, cluster, mark, url] = ["t", "c", "m", "u"].map(str::to_owned);
    let owner = MemoryOwner { target, cluster, mark, url };
    let client = fake.client(members).with_memory(Box::new(MemoryFile::new(path.to_owned(), owner)));
    client.prepare(term).await.unwrap();
    client
}

/// The keys of a pod's records: that of the machine, and those of its ports.
fn keys(client: &TargetClient) -> Vec<Uid> {
    let Projection::Records(records) = client.project(&pod(1, "web")) else { panic!() };
    records.into_iter().map(|DesiredRecord { key, .. }| key).collect()
}

fn put(client: &TargetClient, key: &Uid) -> Encoded<MappedOperation> {
    let pod = pod(1, "web");
    let version = crate::model::ids::Version { epoch: 1, seq: 1 };
    client.encode(key, version, RecordChange::Put(&pod, pod.content.as_ref().unwrap())).unwrap()
}

async fn write_all(client: &TargetClient) {
    for key in keys(client) {
        assert_eq!(write(client, put(client, &key)).await, DONE);
    }
}

/// Whether the content of each record is known.
async fn known(client: &TargetClient, keys: &[Uid]) -> Vec<Option<bool>> {
    let items = inventory(client).await.unwrap();
    let is_known = |key: &Uid| {
        let item = items.iter().find(|item| item.uid == *key)?;
        Some(item.fingerprint.unwrap_or_default() != Fingerprint::default())
    };
    keys.iter().map(is_known).collect()
}

#[tokio::test]
async fn memory_knows_kinds_and_parents() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let (path, members) = (folder.path().join("m.db"), format!("{MACHINE}{PORT}"));
    let first = client(&fake, &members, &path, 1 << 20).await;
    write_all(&first).await;
    let keys = keys(&first);
    drop(first);
    let second = client(&fake, &members, &path, 2 << 20).await;
    assert_eq!(known(&second, &keys).await, [Some(true); 3]);
    let kinship = second.kinship().unwrap();
    let machine = Some(ParentRecord { key: keys[0].clone(), cascade: true });
    assert_eq!(keys.iter().map(|key| kinship.depth(key)).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(keys.iter().map(|key| kinship.parent(key)).collect::<Vec<_>>(), [None, machine.clone(), machine]);
    fake.requests();
    assert_eq!(write(&second, delete(&second, &keys[2])).await, DONE);
    assert_eq!(fake.requests(), [format!("DELETE systems/{}.eth1", uid(1))]);
    drop(second);
    let third = client(&fake, &members, &path, 3 << 20).await;
    assert_eq!(known(&third, &keys).await, [Some(true), Some(true), None]);
}

/// Nothing but the attempt says that the registry may hold the port, and which kind it is of.
#[tokio::test]
async fn port_without_an_answer_is_deleted() {
    let fake = Fake::start().await;
    let client = fake.client(&format!("{MACHINE}{PORT}"));
    let keys = keys(&client);
    assert_eq!(write(&client, put(&client, &keys[0])).await, DONE);
    fake.fail([Fault::Lose]);
    assert!(write(&client, put(&client, &keys[2])).await.is_err());
    fake.requests();
    for key in [&keys[2], &keys[0]] {
        assert_eq!(write(&client, delete(&client, key)).await, DONE);
    }
    let machine = format!("DELETE systems/{}", uid(1));
    assert_eq!(fake.requests(), [format!("{machine}.eth1"), machine]);
    assert_eq!(fake.held(), 0);
}

#[tokio::test]
async fn rows_of_a_former_kind_stay() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let (path, members) = (folder.path().join("m.db"), format!("{MACHINE}{PORT}"));
    let first = client(&fake, &members, &path, 1 << 20).await;
    write_all(&first).await;
    let keys = keys(&first);
    drop(first);
    let second = client(&fake, MACHINE, &path, 2 << 20).await;
    assert!(second.kinship().is_none());
    assert_eq!(known(&second, &keys).await, [Some(true), None, None]);
    drop(second);
    assert_eq!(known(&client(&fake, &members, &path, 3 << 20).await, &keys).await, [Some(true); 3]);
}

/// The registry may have removed the ports with their machine.
#[tokio::test]
async fn lost_deletion_makes_children_uncertain() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let (path, members) = (folder.path().join("m.db"), format!("{MACHINE}{PORT}"));
    let first = client(&fake, &members, &path, 1 << 20).await;
    write_all(&first).await;
    let keys = keys(&first);
    for status in [409, 422] {
        fake.fail([Fault::Refuse(status, "no")]);
        write(&first, delete(&first, &keys[0])).await.unwrap();
        assert_eq!(known(&first, &keys).await, [Some(true); 3], "{status}: it was refused");
    }
    fake.fail([Fault::Lose]);
    assert!(write(&first, delete(&first, &keys[0])).await.is_err());
    drop(first);
    let second = client(&fake, &members, &path, 2 << 20).await;
    assert_eq!(known(&second, &keys).await, [Some(false); 3]);
    // The event loop says so of each child before the machine is put again.
    second.may_be_removed(&keys[1]);
    assert_eq!(write(&second, put(&second, &keys[0])).await, DONE);
    drop(second);
    let third = client(&fake, &members, &path, 3 << 20).await;
    assert_eq!(known(&third, &keys).await, [Some(true), Some(false), Some(true)]);
    // The machine is deleted, and the process ends before it notes that its ports are gone.
    assert_eq!(write(&third, delete(&third, &keys[0])).await, DONE);
    drop(third);
    let fourth = client(&fake, &members, &path, 4 << 20).await;
    assert_eq!(known(&fourth, &keys).await, [None; 3]);
}

/// The put of a port had no answer when its machine was deleted, and no request follows.
#[tokio::test]
async fn port_that_left_is_kept_as_gone() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let (path, members) = (folder.path().join("m.db"), format!("{MACHINE}{PORT}"));
    let first = client(&fake, &members, &path, 1 << 20).await;
    let keys = keys(&first);
    assert_eq!(write(&first, put(&first, &keys[0])).await, DONE);
    fake.fail([Fault::Lose]);
    assert!(write(&first, put(&first, &keys[1])).await.is_err());
    assert_eq!(write(&first, delete(&first, &keys[0])).await, DONE);
    assert_eq!(known(&first, &keys).await, [None, Some(false), None]);
    first.removed(&keys[1]);
    drop(first);
    assert_eq!(known(&client(&fake, &members, &path, 2 << 20).await, &keys).await, [None; 3]);
}

#[tokio::test]
async fn round_covers_all_kinds() {
    let client = Fake::start().await.client(&format!("{ROUND}{MACHINE}{PORT}"));
    client.prepare(1 << 20).await.unwrap();
    let keys = keys(&client);
    assert_eq!(known(&client, &keys).await, [None; 3]);
    write_all(&client).await;
    client.send_notice(true).await.unwrap();
    assert_eq!(known(&client, &keys).await, [Some(true); 3], "the round is over");
    client.prepare(2 << 20).await.unwrap();
    assert_eq!(known(&client, &keys).await, [Some(false); 3], "the next term begins one");
    for key in &keys {
        assert_eq!(client.notice_after(true), None, "{key} was not put yet");
        assert_eq!(write(&client, put(&client, key)).await, DONE);
    }
    assert_eq!(client.notice_after(true), Some(Duration::ZERO));
}
