//! How much one turn of the loop handles at most.

use pod_registrar::controller::options::{ControllerOptions, VISITS_PER_TURN};

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, options, pod},
};

const PODS: usize = 600;

/// Lists all pods again. Returns the number of turns in which that was not done yet: the loop lets other tasks go on
/// after each of them.
async fn turns_of_a_list(visits_per_turn: usize) -> usize {
    let pods = (0..PODS).map(|n| pod(&format!("p{n}"), "a"));
    let options = ControllerOptions { visits_per_turn, ..options() };
    let mut world = EventLoopHarness::start(Fake::new(), pods, options);
    world.list().await;
    world.pass(5 * SECOND).await;
    assert!(world.is_in_sync());
    world.list().await;
    let mut turns = 0;
    for _ in 0..10 * PODS {
        tokio::task::yield_now().await;
        turns += usize::from(!world.is_in_sync());
    }
    assert!(world.is_in_sync());
    turns
}

#[tokio::test(start_paused = true)]
async fn full_reconcile_goes_on_in_the_next_turns() {
    assert!(turns_of_a_list(VISITS_PER_TURN).await <= 1);
    for visits in [1, 10] {
        // The loop is out of sync while it looks at all records, not while it notes the pods of the list.
        let turns = turns_of_a_list(visits).await;
        assert!((PODS / visits - 1..=PODS / visits + 2).contains(&turns), "{turns} turns with {visits} visits each");
    }
}
