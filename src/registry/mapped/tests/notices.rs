//! Signs of life, and rounds.

use std::{path::Path, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fake::{Fake, Fault, inventory, write_pod};
use crate::{
    model::digest::Fingerprint,
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Registry as _,
        mapped::{
            TargetClient,
            memory::{Error, MemoryOwner, Recalled, RoundNote, RowChange, RowStore, file::MemoryFile},
        },
    },
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);
const ROUND: &str = r#"
body: {title: "{{ pod.name }}"}
put: {path: "systems/{{ id }}"}
delete: {path: "systems/{{ id }}"}
round:
  every: 1h
  begin: {method: PUT, path: systems/round, headers: {X-Change: "{{ change.id }}"}, body: {kind: "{{ change.kind }}", at: "{{ change.time }}"}}
  end: {method: PUT, path: systems/round, headers: {X-Change: "{{ change.id }}"}, body: {kind: "{{ change.kind }}", at: "{{ change.time }}"}}
"#;
const ALIVE: &str = r#"
body: {title: "{{ pod.name }}"}
put: {path: "systems/{{ id }}"}
delete: {path: "systems/{{ id }}"}
keepalive: {every: 1h, request: {method: PUT, path: "systems/alive", body: {id: "{{ change.id }}", mark: "{{ mark }}"}}}
"#;

async fn client(fake: &Fake, memory: Option<&Path>, term: u64) -> TargetClient {
    let client = fake.client(ROUND);
    let client = match memory {
        None => client,
        Some(path) => {
            let [target, cluster, mark, url] = ["t", "c", "m", "u"].map(str::to_owned);
            let owner = MemoryOwner { target, cluster, mark, url };
            client.with_memory(Box::new(MemoryFile::new(path.to_owned(), owner)))
        }
    };
    client.prepare(term).await.unwrap();
    client
}

/// The number of records whose content the inventory knows, and of the others.
async fn known(client: &TargetClient) -> (usize, usize) {
    let items = inventory(client).await.unwrap();
    let unknown = items.iter().filter(|item| item.fingerprint.unwrap_or_default() == Fingerprint::default()).count();
    (items.len() - unknown, unknown)
}

/// The ids of the requests around rounds, such as `begin`, without the number of the round.
fn rounds(fake: &Fake) -> Vec<String> {
    let contents = fake.contents();
    let headers = contents.headers.iter().filter_map(|headers| headers.get("x-change"));
    headers.map(|id| id.to_str().unwrap().to_owned()).collect()
}

fn kinds(fake: &Fake) -> Vec<String> {
    rounds(fake).iter().map(|id| id.rsplit_once('-').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn round_ends_after_every_record_was_put() {
    let fake = Fake::start().await;
    let client = client(&fake, None, 1 << 20).await;
    assert_eq!(known(&client).await, (0, 0));
    assert_eq!(kinds(&fake), ["begin"], "before the first record");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(client.notice_after(false), None, "the registry does not equal the cluster");
    client.send_notice(false).await.unwrap();
    assert_eq!(kinds(&fake), ["begin"]);
    assert_eq!(client.notice_after(true), Some(Duration::ZERO));
    client.send_notice(true).await.unwrap();
    assert_eq!(kinds(&fake), ["begin", "end"]);
    let [begin, end] = rounds(&fake).try_into().unwrap();
    assert_eq!(begin.strip_suffix("begin"), end.strip_suffix("end"), "one round, one number");
    assert_eq!(client.notice_after(true), None);
    let left = client.inventory_again_after().unwrap();
    assert!(left > Duration::from_secs(3_590) && left <= Duration::from_secs(3_600), "{left:?}");
    // It is not due: the inventory knows what was acknowledged.
    assert_eq!(known(&client).await, (1, 0));
    assert_eq!(kinds(&fake).len(), 2);

    // The next term begins one at once, and puts what the term before wrote.
    client.prepare(2 << 20).await.unwrap();
    assert_eq!(known(&client).await, (0, 1));
    assert_eq!(client.notice_after(true), None, "a record was not put yet");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(known(&client).await, (1, 0));
    client.send_notice(true).await.unwrap();
    assert_eq!(kinds(&fake), ["begin", "end", "begin", "end"]);
}

/// Keeps nothing. The first write waits.
struct SlowStore(Mutex<Option<oneshot::Receiver<()>>>);

impl RowStore for SlowStore {
    fn open(&self, _: u64) -> BoxFuture<'_, Result<Recalled, Error>> {
        Box::pin(std::future::ready(Ok(Recalled::default())))
    }

    fn write(&self, _: Vec<RowChange>, _: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>> {
        let waits = self.0.lock().take();
        Box::pin(async move {
            if let Some(waits) = waits {
                waits.await.unwrap();
            }
            Ok(())
        })
    }

    fn close(&self) {}
}

#[tokio::test]
async fn put_begun_before_the_round_is_repeated() {
    let fake = Fake::start().await;
    let (go, waits) = oneshot::channel();
    let client = fake.client(ROUND).with_memory(Box::new(SlowStore(Mutex::new(Some(waits)))));
    client.prepare(1 << 20).await.unwrap();
    let put = write_pod(&client, 1, "web");
    let round = async {
        inventory(&client).await.unwrap();
        go.send(()).unwrap();
    };
    let (verdict, ()) = tokio::join!(put, round);
    assert_eq!((verdict, kinds(&fake)), (DONE, vec!["begin".to_owned()]));
    assert_eq!(client.notice_after(true), None, "it may have arrived before");
    assert_eq!(known(&client).await, (0, 1), "so it is sent again");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(client.notice_after(true), Some(Duration::ZERO));
}

#[tokio::test]
async fn begin_without_an_answer_is_repeated() {
    let fake = Fake::start().await;
    let client = client(&fake, None, 1 << 20).await;
    fake.fail([Fault::Lose]);
    assert!(client.inventory(None, None, 100).await.is_err());
    fake.fail([Fault::Refuse(422, "no")]);
    assert!(matches!(client.inventory(None, None, 100).await, Err(Failure::Refused { status: 422, .. })));
    assert_eq!(known(&client).await, (0, 0));
    let ids = rounds(&fake);
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // So is the end.
    fake.fail([Fault::Lose]);
    assert!(client.send_notice(true).await.is_err());
    pass(client.notice_after(true).unwrap()).await;
    client.send_notice(true).await.unwrap();
    assert_eq!(rounds(&fake)[3], rounds(&fake)[4]);
}

#[tokio::test]
async fn memory_knows_when_a_round_ended() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("m.db");
    let first = client(&fake, Some(&path), 1 << 20).await;
    assert_eq!(known(&first).await, (0, 0));
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    first.send_notice(true).await.unwrap();
    drop(first);
    let second = client(&fake, Some(&path), 2 << 20).await;
    assert_eq!(known(&second).await, (1, 0), "a restart begins no round");
    assert_eq!(kinds(&fake), ["begin", "end"]);
    drop(second);
    // One that was not finished begins again.
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE memory SET round = round - 3600000", []).unwrap();
    drop(conn);
    let third = client(&fake, Some(&path), 3 << 20).await;
    assert_eq!(known(&third).await, (0, 1));
    drop(third);
    let fourth = client(&fake, Some(&path), 4 << 20).await;
    assert_eq!(known(&fourth).await, (0, 1));
    assert_eq!(kinds(&fake), ["begin", "end", "begin", "begin"]);
}

/// Lets time pass at once.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn failed_keepalive_is_repeated_within_its_interval() {
    let fake = Fake::start().await;
    let client = fake.client(&ALIVE.replace("1h", "2s"));
    client.prepare(1 << 20).await.unwrap();
    let faults = [
        Fault::Refuse(500, "no"),
        Fault::Refuse(503, "no"),
        Fault::Lose,
        Fault::Refuse(404, "no"),
        Fault::Refuse(400, "no"),
    ];
    for (count, fault) in (1..).zip(faults) {
        fake.fail([fault.clone()]);
        assert!(client.send_notice(false).await.is_err(), "{fault:?}");
        let after = client.notice_after(false).unwrap();
        assert!(!after.is_zero() && after <= Duration::from_secs(2), "{fault:?}: {after:?}");
        client.send_notice(false).await.unwrap();
        assert_eq!(fake.contents().requests.len(), count, "it is not due yet");
        pass(after).await;
    }
    client.send_notice(false).await.unwrap();
    fake.fail([Fault::Lose]);
    pass(Duration::from_secs(2)).await;
    assert!(client.send_notice(false).await.is_err());
    assert!(client.notice_after(false).unwrap() <= Duration::from_secs(1), "the success before counts");
}

#[tokio::test]
async fn keepalive_is_sent_once_per_period() {
    let fake = Fake::start().await;
    let client = fake.client(ALIVE);
    client.prepare(1 << 20).await.unwrap();
    assert_eq!(client.notice_after(false), Some(Duration::ZERO));
    fake.fail([Fault::Refuse(429, "")]);
    assert!(matches!(client.send_notice(false).await, Err(Failure::Throttled { .. })));
    pass(client.notice_after(false).unwrap()).await;
    client.send_notice(false).await.unwrap();
    client.send_notice(true).await.unwrap();
    assert_eq!(fake.requests(), ["PUT systems/alive"; 2], "one that was refused, and one");
    assert!(client.notice_after(false).unwrap() > Duration::from_secs(3_590));
    assert_eq!(fake.contents().records["alive"]["mark"], "pod-registrar:c1:o");
    assert!(!client.capabilities().await.unwrap().features.inventory, "it is no round");
}
