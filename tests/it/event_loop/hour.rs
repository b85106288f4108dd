//! One hour without a registry, while 1,000 pods per second come and go.

use pod_registrar::reconcile::outcome::{Failure, OperationKind};
use tokio::time::Instant;

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

/// The number of pods that exist at any time.
const LIVING: usize = 2_000;
/// The most writes per second.
const LIMIT: u32 = 400;

/// One second of churn: 1,000 pods are created, and the 1,000 oldest are deleted.
async fn churn(world: &mut EventLoopHarness, next: &mut usize) {
    for _ in 0..1_000 {
        world.apply(pod(&format!("uid-{next:05}"), "a")).await;
        world.delete(&format!("uid-{:05}", *next - LIVING)).await;
        *next += 1;
    }
    world.pass(SECOND).await;
}

/// Memory is bounded by the pods that exist and the records that may be registered, however many came and went.
fn assert_bounded(world: &EventLoopHarness, may_hold: usize) {
    let most = LIVING + may_hold;
    let (ledger, entries) = (world.figure("ledger_entries"), world.figure("queue_entries"));
    assert!(ledger <= most, "{ledger} ledger entries for {LIVING} pods and {may_hold} records");
    // The queue drops its outdated entries before there are twice as many of them as of valid ones.
    assert!(entries <= 4 * most + 1_000, "{entries} queue entries");
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
    // The registry may have applied the writes that were in flight when the connections were reset.
    registry.state().down = Some(Failure::Broken("the connection was reset".into()));
    // The hour passes in minutes. Each of them has one second of churn, the first has twenty.
    for minute in 0..60 {
        let busy = if minute == 0 { 20 } else { 1 };
        for _ in 0..busy {
            churn(&mut world, &mut next).await;
        }
        world.pass((60 - busy) * SECOND).await;
        assert_bounded(&world, LIVING + 2_000);
    }
    let held = registry.read(|state| state.records.len());
    assert_eq!(held, LIVING, "every pod that it holds is deleted by now");
    registry.state().down = None;
    let ended = Instant::now();
    for _ in 0..5 {
        world.pass(3 * SECOND).await;
    }
    world.assert_equal();
    assert_eq!(world.figure("ledger_entries"), LIVING, "entries of deleted pods are dropped");
    let caught_up = registry.read(|state| {
        let writes = state.writes.iter().filter(|write| write.at >= ended);
        writes.flat_map(|write| write.items.iter().map(|item| (write.at, item.kind))).collect::<Vec<_>>()
    });
    for window in caught_up.windows(2 * LIMIT as usize + 1) {
        assert!(window[window.len() - 1].0 - window[0].0 >= SECOND, "more writes per second than allowed");
    }
    let last_delete = caught_up.iter().rposition(|(_, kind)| *kind == OperationKind::Delete).unwrap();
    let first_put = caught_up.iter().position(|(_, kind)| *kind == OperationKind::Put).unwrap();
    let early = caught_up[..last_delete].iter().filter(|(_, kind)| *kind == OperationKind::Put).count();
    assert!(early <= 500, "{early} puts before the last deletion, the first is number {first_put}");
    assert!(caught_up.len() <= 2 * LIVING + 2_500, "{} operations", caught_up.len());
}
