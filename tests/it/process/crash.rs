//! The controller is killed at random moments, under churn.

use std::time::Duration;

use super::{
    churn::{Churn, assert_in_order},
    world::{CLUSTER, ProcessHarness},
};
use crate::support::{SOON, seed};

const ROUNDS: usize = 8;
const PODS: usize = 150;

#[tokio::test]
async fn kills_at_random_moments_lose_and_invent_nothing() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..PODS);
    let mut churn = Churn::new(&world.kube, seed());
    for _ in 0..ROUNDS {
        let mut controller = world.controller();
        let moment = Duration::from_millis(churn.random.u64(..600));
        churn.go_on(moment).await;
        controller.kill();
        // Fewer than the absence guard lets through at once.
        for _ in 0..10 {
            churn.step();
        }
    }
    let _controller = world.controller();
    churn.go_on(Duration::from_millis(300)).await;
    // On a slow machine, more pods may be gone unseen than go without a second list.
    world.kube.equals(&world.registry(), SOON * 4).await;
    let gone = churn.gone;
    assert_in_order(&world.registry().changes(CLUSTER).await.unwrap(), &gone);
}
