//! An hour without a registry, with a thousand pods a second that come and go.

use pod_registrar::reconcile::outcome::{Failure, OperationKind};
use tokio::time::Instant;

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

/// Pods that live at a time.
const LIVING: usize = 2_000;
/// Records that may be written a second.
const LIMIT: u32 = 400;

/// A second's churn: a thousand pods come, and the thousand that have lived longest go.
async fn churn(world: &mut EventLoopHarness, next: &mut usize) {
    for _ in 0..1_000 {
        world.apply(pod(&format!("uid-{next:05}"), "a")).await;
        world.delete(&format!("uid-{:05}", *next - LIVING)).await;
        *next += 1;
    }
    world.pass(SECOND).await;
}

/// What memory is spent on is bounded by what lives and what the registry may hold, however much came and went.
fn assert_bounded(world: &EventLoopHarness, may_hold: usize) {
    let most = LIVING + may_hold;
    let (ledger, entries) = (world.figure("ledger_entries"), world.figure("queue_entries"));
    assert!(ledger <= most, "{ledger} ledger entries where {LIVING} live and {may_hold} may be held");
    // Entries that are passed over are dropped before they are twice as many as those that count.
    assert!(entries <= 4 * most + 1_000, "{entries} entries of the queue");
}

#[tokio::test(start_paused = true)]
async fn hour_without_a_registry_keeps_memory_bounded() {
    // An hour of churn takes no more memory than a minute, and deletions are then sent first.
    let registry = Fake::new();
    let limited = pod_registrar::controller::options::ControllerOptions { max_writes_per_second: LIMIT, ..options() };
    let mut world = EventLoopHarness::start(registry.clone(), many(LIVING, "a"), limited);
    world.list().await;
    world.pass(20 * SECOND).await;
    world.assert_equal();
    let mut next = LIVING;
    // What was in flight when it broke off may have been applied.
    registry.state().down = Some(Failure::Broken("the connection was reset".into()));
    // The hour passes in minutes, in each of which some seconds are as busy as all could be.
    for minute in 0..60 {
        let busy = if minute == 0 { 20 } else { 1 };
        for _ in 0..busy {
            churn(&mut world, &mut next).await;
        }
        world.pass((60 - busy) * SECOND).await;
        assert_bounded(&world, LIVING + 2_000);
    }
    let owed = registry.read(|state| state.records.len());
    assert_eq!(owed, LIVING, "all that it holds is gone by now");
    registry.state().down = None;
    let ended = Instant::now();
    for _ in 0..5 {
        world.pass(3 * SECOND).await;
    }
    world.assert_equal();
    assert_eq!(world.figure("ledger_entries"), LIVING, "and what is gone is forgotten");
    let caught_up = registry.read(|state| {
        let writes = state.writes.iter().filter(|write| write.at >= ended);
        writes.flat_map(|write| write.items.iter().map(|item| (write.at, item.kind))).collect::<Vec<_>>()
    });
    for window in caught_up.windows(2 * LIMIT as usize + 1) {
        assert!(window[window.len() - 1].0 - window[0].0 >= SECOND, "more than the limit in a second");
    }
    let last_delete = caught_up.iter().rposition(|(_, kind)| *kind == OperationKind::Delete).unwrap();
    let first_put = caught_up.iter().position(|(_, kind)| *kind == OperationKind::Put).unwrap();
    let early = caught_up[..last_delete].iter().filter(|(_, kind)| *kind == OperationKind::Put).count();
    assert!(early <= 500, "{early} puts before the last deletion, the first is number {first_put}");
    assert!(caught_up.len() <= 2 * LIVING + 2_500, "{} operations", caught_up.len());
}
