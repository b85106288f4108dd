//! What the loop shows of its work: changes, rejected records, the backlog by reason, and how far long work is.

use pod_registrar::{
    controller::options::ControllerOptions,
    reconcile::{
        activity::{Activity, WorkKind},
        outcome::{Failure, OperationKind, Verdict},
    },
};

use super::{
    fake::{Fake, Fault},
    world::{EventLoopHarness, SECOND, many, options, pod},
};

fn changes(activity: &Activity) -> Vec<(OperationKind, &str)> {
    activity.changes.iter().map(|change| (change.kind, change.label.pod.as_deref().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn last_changes_have_names_of_pods() {
    let mut world = EventLoopHarness::settled(Fake::new(), [pod("a", "1"), pod("b", "1")]).await;
    world.pass(2 * SECOND).await;
    world.apply(pod("a", "2")).await;
    world.pass(2 * SECOND).await;
    world.delete("b").await;
    world.pass(2 * SECOND).await;
    let shown = world.activity();
    let expected = [(OperationKind::Delete, "default/b"), (OperationKind::Put, "default/a")];
    assert_eq!(changes(&shown)[..2], expected, "{shown:?}");
    assert_eq!(shown.changes.len(), 4);
    assert!(shown.compared_at.is_some() && shown.work.is_empty() && shown.outage.is_none(), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn rejected_record_has_words_of_registry() {
    let registry = Fake::new();
    registry.state().poison.insert("a".into());
    let mut world = EventLoopHarness::start(registry, [pod("a", "1"), pod("b", "1")], options());
    world.list().await;
    world.pass(10 * SECOND).await;
    let shown = world.activity();
    let [parked] = &shown.parked[..] else { panic!("{shown:?}") };
    assert_eq!(parked.label.pod.as_deref(), Some("default/a"));
    assert!(!parked.answer.as_ref().unwrap().0.is_empty(), "{shown:?}");
    assert_eq!((shown.backlog.waiting(), shown.backlog.in_flight), (0, 0), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn change_that_is_refused_is_shown() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("a", "1")]).await;
    let full = Fault::Items(Verdict::Retry { after: None, cause: "status 507: disk full".into() });
    registry.state().faults.extend(vec![full; 40]);
    world.apply(pod("a", "2")).await;
    world.pass(2 * SECOND).await;
    assert_eq!(world.activity().refused, None, "a few attempts are nothing unusual");
    world.pass(60 * SECOND).await;
    let refused = world.activity().refused.unwrap();
    assert_eq!(refused.label.pod.as_deref(), Some("default/a"));
    assert_eq!(refused.answer.unwrap().0, "status 507: disk full");
    registry.state().faults.clear();
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(world.activity().refused, None);
}

#[tokio::test(start_paused = true)]
async fn outage_shows_its_backlog_by_reason() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(10, "1")).await;
    world.pass(2 * SECOND).await;
    registry.state().down = Some(Failure::Unreachable("down".into()));
    for pod in many(4, "2") {
        world.apply(pod).await;
    }
    let gone = many(10, "1").last().unwrap().uid.to_string();
    world.delete(&gone).await;
    world.pass(30 * SECOND).await;
    let shown = world.activity();
    assert!(shown.outage.as_ref().is_some_and(|why| why.contains("down")), "{shown:?}");
    // The first of them were sent, and failed.
    assert_eq!(shown.backlog.waiting() + shown.backlog.in_flight, 5, "{shown:?}");
    assert!(shown.backlog.deletions + shown.backlog.retrying > 0, "{shown:?}");
    registry.state().down = None;
    world.pass(60 * SECOND).await;
    let after = world.activity();
    assert_eq!((after.backlog.waiting(), after.outage), (0, None));
}

#[tokio::test(start_paused = true)]
async fn first_sync_shows_how_far_it_is() {
    // 2,000 records at 100 per second.
    let settings = ControllerOptions { max_writes_per_second: 100, ..options() };
    let mut world = EventLoopHarness::start(Fake::new(), many(2_000, "1"), settings);
    world.list().await;
    world.pass(10 * SECOND).await;
    let (shown, now) = (world.activity(), world.clock.now());
    let work = shown.work.iter().find(|work| work.kind == WorkKind::Writes).unwrap_or_else(|| panic!("{shown:?}"));
    let (done, total) = (work.progress.done, work.progress.total.unwrap());
    // It begins when it is noticed, after the first writes.
    assert!((800..=1_200).contains(&done) && (1_800..=2_000).contains(&total), "{shown:?}");
    let left = work.progress.remaining(now).unwrap().as_secs();
    assert!((6..=14).contains(&left), "{left} s left: {shown:?}");
    world.pass(30 * SECOND).await;
    assert!(world.is_in_sync() && world.activity().work.is_empty(), "{:?}", world.activity());
}
