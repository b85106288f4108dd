//! What the loop tells people about single pods, and about held records.

use pod_registrar::{
    controller::explain::{PodExplanation, RecordStage},
    reconcile::{election::Leadership, outcome::Failure, status::SessionState},
};

use super::{
    fake::Fake,
    mapping::{mapped, pod_at},
    world::{EventLoopHarness, LookUp, SECOND, many, options, pod},
};

fn shown(explanation: &PodExplanation) -> (RecordStage, &'static str, Option<u64>) {
    (explanation.stage, explanation.registry, explanation.next.within.map(|within| within.as_secs()))
}

#[tokio::test(start_paused = true)]
async fn rejected_record_shows_answer_and_next_resync() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("a", "1"), pod("b", "1")]).await;
    let explained = world.explain("a").await;
    assert_eq!((explained.stage, explained.registry), (RecordStage::Registered, "registered"));
    assert!(explained.last_answer.is_none() && explained.session == SessionState::Open);
    registry.state().poison.insert("a".into());
    world.apply(pod("a", "2")).await;
    world.pass(10 * SECOND).await;
    let explained = world.explain("a").await;
    let (stage, known, within) = shown(&explained);
    assert_eq!((stage, known), (RecordStage::Parked, "registered"));
    assert!(within.is_some_and(|seconds| (1_600..=2_000).contains(&seconds)), "{explained:?}");
    let answer = explained.last_answer.unwrap();
    assert!(answer.outcome == "rejected" && (9..=10).contains(&answer.age.as_secs()), "{answer:?}");
    assert_eq!(explained.record.unwrap().pod.unwrap(), "default/a");
    // Once the registry accepts the record, its refusal no longer matters.
    registry.state().poison.clear();
    world.apply(pod("a", "3")).await;
    world.pass(SECOND).await;
    let explained = world.explain("a").await;
    assert!(explained.stage == RecordStage::Registered && explained.last_answer.is_none(), "{explained:?}");
}

#[tokio::test(start_paused = true)]
async fn pending_deletion_is_explained_during_an_outage() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("a", "1")]).await;
    registry.state().down = Some(Failure::Unreachable("down".into()));
    world.pass(60 * SECOND).await;
    world.delete("a").await;
    world.pass(30 * SECOND).await;
    let explained = world.explain("a").await;
    assert_eq!((explained.stage, explained.registry), (RecordStage::Pending, "registered"), "{explained:?}");
    assert_eq!(explained.pending_for.unwrap().as_secs(), 30);
    assert!(explained.next.what.contains("until the registry answers") && explained.next.within.is_some());
    assert!(explained.outage.unwrap().contains("cannot be reached"));
    assert_eq!(explained.record.unwrap().pod.unwrap(), "default/a", "the name of the deleted pod");
    registry.state().down = None;
    world.pass(60 * SECOND).await;
    assert_eq!(world.explain("a").await.stage, RecordStage::Absent);
    assert_eq!(world.explain("never").await.stage, RecordStage::Absent);
}

#[tokio::test(start_paused = true)]
async fn standby_says_that_another_replica_writes() {
    let registry = Fake::new();
    let world = &mut EventLoopHarness::start_as(Leadership::Follower, registry, [pod("a", "1")], options());
    world.list().await;
    world.pass(5 * SECOND).await;
    let explained = world.explain("a").await;
    assert_eq!((explained.stage, explained.session), (RecordStage::Unknown, SessionState::Standby));
    assert!(explained.next.what.contains("another replica leads"), "{explained:?}");
}

#[tokio::test(start_paused = true)]
async fn records_of_shared_ids_are_named() {
    let pods = [pod_at("a", "k/1", 1), pod_at("b", "k/2", 2), pod_at("c", "-", 1), pod_at("d", "!no label", 1)];
    let mut world = EventLoopHarness::settled(mapped(false), pods).await;
    let explained = world.explain("a").await;
    let record = explained.record.unwrap();
    assert_eq!((record.id.as_deref(), record.pod.as_deref()), (Some("id of k"), Some("default/b")));
    assert_eq!((explained.stage, explained.other_pod.as_deref()), (RecordStage::Registered, Some("default/b")));
    assert_eq!(world.explain("c").await.stage, RecordStage::NotSelected);
    let failed = world.explain("d").await;
    assert_eq!((failed.stage, failed.cause.as_deref()), (RecordStage::RenderFailed, Some("no label")));
    // Its key is still known after its pod is gone.
    world.registry.state().down = Some(Failure::Unreachable("down".into()));
    world.delete("b").await;
    world.delete("a").await;
    world.pass(SECOND).await;
    let gone = world.explain("b").await;
    assert_eq!((gone.stage, gone.record.unwrap().id.as_deref()), (RecordStage::Pending, Some("id of k")));
}

#[tokio::test(start_paused = true)]
async fn hold_shows_ids_of_its_first_records() {
    let pods = (0..60).map(|n| pod_at(&format!("p{n:02}"), &format!("k{n:02}/1"), 0));
    let mut world = EventLoopHarness::settled(mapped(false), pods).await;
    world.pods.clear();
    world.list().await;
    world.pass(60 * SECOND).await;
    let [hold] = world.held().try_into().unwrap();
    let ids: Vec<_> = hold.first.iter().map(|label| label.id_or_key()).collect();
    assert_eq!(ids, ["id of k00", "id of k01", "id of k02", "id of k03", "id of k04"]);
    let explained = world.explain("p00").await;
    assert_eq!((explained.stage, explained.hold.unwrap().id), (RecordStage::Held, hold.id.clone()));
    assert!(explained.next.what.ends_with(&format!("pod-registrar approve {}", hold.id)));
}

#[tokio::test(start_paused = true)]
async fn hold_names_pods_by_their_records() {
    // After a restart, only the registry knows the names of absent pods.
    let registry = Fake::new();
    let world = EventLoopHarness::settled(registry.clone(), many(4, "a")).await;
    world.stop().await.unwrap();
    let mut world = EventLoopHarness::start(registry, many(3, "a"), options());
    world.look_up = LookUp::StillThere;
    world.trusted = false;
    world.list().await;
    world.pass(60 * SECOND).await;
    let [hold] = world.held().try_into().unwrap();
    let named: Vec<_> = hold.first.iter().map(|label| (label.id_or_key(), label.pod.clone())).collect();
    assert_eq!(named, [("uid-00003".to_owned(), Some("default/uid-00003".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn hold_shows_names_of_departed_pods() {
    let mut world = EventLoopHarness::settled(Fake::new(), many(60, "a")).await;
    world.pods.clear();
    world.list().await;
    world.pass(60 * SECOND).await;
    let [hold] = world.held().try_into().unwrap();
    assert_eq!(hold.first[0].pod.as_deref(), Some("default/uid-00000"));
}
