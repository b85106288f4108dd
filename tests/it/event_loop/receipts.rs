//! What the loop tells the writer of receipts, and that it never waits for it.

use std::collections::BTreeSet;

use pod_registrar::{
    controller::receipts::ReceiptSink,
    reconcile::{
        election::Leadership,
        outcome::Failure,
        receipts::{Acknowledgement, ReceiptKinds, Registration, TargetRecords},
    },
};
use tokio::sync::mpsc;

use super::{
    fake::Fake,
    mapping,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

const ALL: ReceiptKinds = ReceiptKinds { event: true, gate: true, annotation: true };

/// A writer that reads nothing by itself, with room for this many acknowledgements.
fn sink(kinds: ReceiptKinds, room: usize) -> (ReceiptSink, mpsc::Receiver<Acknowledgement>) {
    let (acknowledgements, told) = mpsc::channel(room);
    (ReceiptSink { kinds, acknowledgements }, told)
}

fn start(registry: Fake, sink: ReceiptSink, pods: usize) -> EventLoopHarness {
    EventLoopHarness::start_with(Some(sink), Leadership::Alone, registry, many(pods, "1"), options())
}

/// The pods that were told of since the last call, each with whether its record is new.
fn told(receiver: &mut mpsc::Receiver<Acknowledgement>) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    while let Ok(Acknowledgement { pod, is_new, target: "default" }) = receiver.try_recv() {
        all.push((pod.to_string(), is_new));
    }
    all.sort();
    all
}

fn registered(id: &str) -> TargetRecords {
    TargetRecords { registration: Registration::Registered, ids: vec![id.to_owned()] }
}

#[tokio::test(start_paused = true)]
async fn only_watched_pods_have_new_records() {
    let (sink, mut receiver) = sink(ALL, 1_000);
    let mut world = start(Fake::new(), sink, 2);
    world.list().await;
    world.pass(5 * SECOND).await;
    let [first, second] = ["uid-00000", "uid-00001"].map(str::to_owned);
    assert_eq!(told(&mut receiver), [(first, false), (second, false)], "the first sync writes no Event per pod");
    world.apply(pod("new", "1")).await;
    world.pass(SECOND).await;
    assert_eq!(told(&mut receiver), [("new".to_owned(), true)]);
    world.apply(pod("new", "2")).await;
    world.pass(SECOND).await;
    assert_eq!(told(&mut receiver), [("new".to_owned(), false)]);
    world.delete("new").await;
    world.pass(SECOND).await;
    assert_eq!(told(&mut receiver), [("new".to_owned(), false)]);
    // A pod that only its receipts changed is not written.
    let writes = world.registry.state().items();
    world.apply(pod("uid-00000", "1")).await;
    world.pass(SECOND).await;
    assert_eq!((world.registry.state().items(), told(&mut receiver)), (writes, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn new_record_is_told_after_retries() {
    let (sink, mut receiver) = sink(ReceiptKinds { event: true, ..ReceiptKinds::default() }, 1_000);
    let mut world = start(Fake::new(), sink, 1);
    world.list().await;
    world.pass(5 * SECOND).await;
    assert_eq!(told(&mut receiver), [], "without other receipts, only new records are told");
    world.registry.state().down = Some(Failure::Broken("lost".into()));
    world.apply(pod("new", "1")).await;
    world.pass(20 * SECOND).await;
    assert_eq!(told(&mut receiver), []);
    world.registry.state().down = None;
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(told(&mut receiver), [("new".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn full_queue_of_receipts_delays_nothing() {
    // The writer hangs: nobody reads what the loop tells. The same loop without a writer is the measure.
    let synced = async |sink: Option<ReceiptSink>| {
        let registry = Fake::new();
        let mut world =
            EventLoopHarness::start_with(sink, Leadership::Alone, registry.clone(), many(3_000, "1"), options());
        world.list().await;
        while !world.is_in_sync() {
            world.pass(SECOND / 100).await;
        }
        for changed in many(500, "2") {
            world.apply(changed).await;
        }
        world.pass(10 * SECOND).await;
        world.assert_equal();
        let state = registry.state();
        let writes = state.writes.iter().map(|write| write.items.len()).collect::<Vec<_>>();
        (writes, world.figure("receipts_total{kind=\"gate\",outcome=\"dropped\"}"), world.clock.now())
    };
    let (sink, receiver) = sink(ALL, 10);
    let (writes, dropped, at) = synced(Some(sink)).await;
    assert_eq!((dropped, receiver.len()), (3_490, 10));
    let without = synced(None).await;
    assert_eq!((without.0, without.1), (writes, 0));
    assert_eq!(without.2, at, "to the millisecond of the paused clock");
}

#[tokio::test(start_paused = true)]
async fn answers_follow_the_registry() {
    let (sink, _receiver) = sink(ALL, 1_000);
    let registry = Fake::new();
    let mut world = start(registry.clone(), sink, 2);
    assert_eq!(world.records_of("uid-00000").await, TargetRecords::default(), "before the first list");
    world.list().await;
    world.pass(5 * SECOND).await;
    assert_eq!(world.records_of("uid-00000").await, registered("uid-00000"));
    assert_eq!(world.records_of("unknown").await.registration, Registration::Unknown);
    registry.state().poison.insert("bad".into());
    world.apply(pod("bad", "1")).await;
    world.pass(SECOND).await;
    assert_eq!(world.records_of("bad").await.registration, Registration::Waiting);
    // An older version is registered, so its id is known.
    registry.state().down = Some(Failure::Unreachable("down".into()));
    world.apply(pod("uid-00001", "2")).await;
    world.pass(SECOND).await;
    let waiting = TargetRecords { registration: Registration::Waiting, ids: vec!["uid-00001".into()] };
    assert_eq!(world.records_of("uid-00001").await, waiting);
    assert_eq!(world.records_of("uid-00000").await, registered("uid-00000"));
    world.lead(Leadership::Follower);
    world.pass(SECOND).await;
    assert_eq!(world.records_of("uid-00000").await, TargetRecords::default(), "only the leader knows");
}

#[tokio::test(start_paused = true)]
async fn answers_follow_the_mapping() {
    let pods = [pod("one", "k/1"), pod("other", "-k2"), pod("several", "x/1,y<x/1"), pod("broken", "!cause")];
    let (sink, mut receiver) = sink(ALL, 1_000);
    let registry = mapping::mapped(false);
    let mut world = EventLoopHarness::start_with(Some(sink), Leadership::Alone, registry.clone(), pods, options());
    world.list().await;
    world.pass(60 * SECOND).await;
    let told = told(&mut receiver);
    assert!(told.iter().all(|(_, is_new)| !is_new), "{told:?}: also of a record that waited for another one");
    let pods: BTreeSet<&str> = told.iter().map(|(pod, _)| pod.as_str()).collect();
    assert_eq!(pods, BTreeSet::from(["one", "several"]));
    let mut answers = Vec::new();
    for name in ["one", "other", "several", "broken"] {
        let TargetRecords { registration, ids } = world.records_of(name).await;
        answers.push((registration, ids.len()));
    }
    use Registration::{NotSelected, Registered, Waiting};
    assert_eq!(answers, [(Registered, 1), (NotSelected, 0), (Registered, 2), (Waiting, 0)]);
    // The answer is about the pod as the store has it, although its event was not handled yet.
    registry.state().down = Some(Failure::Unreachable("down".into()));
    world.apply(pod("one", "k/2")).await;
    assert_eq!(world.records_of("one").await.registration, Waiting);
}
