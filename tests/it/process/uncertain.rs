//! Answers that leave open whether a write was applied.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    churn::{Churn, assert_in_order},
    world::{CLUSTER, ProcessHarness},
};
use crate::support::{Garble, SOON, eventually, seed};

#[tokio::test]
async fn garbled_answers_are_no_acknowledgements_and_lose_nothing() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..50);
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (garbled, count) = (Arc::new(AtomicUsize::new(0)), 20);
    let counted = Arc::clone(&garbled);
    world.proxy.garble(move || {
        let garble = match random.u8(..20) {
            0..3 => Garble::Page(200),
            3..6 => Garble::Page(502),
            6..9 => Garble::Half,
            9 => Garble::Wait(if random.bool() { 503 } else { 429 }),
            _ => return None,
        };
        counted.fetch_add(1, Ordering::Relaxed);
        Some(garble)
    });
    let mut controller = world.controller();
    let mut churn = Churn::new(&world.kube, seed);
    let deadline = Instant::now() + SOON;
    while garbled.load(Ordering::Relaxed) < count {
        churn.go_on(Duration::from_millis(100)).await;
        assert!(Instant::now() < deadline, "{garbled:?} of {count} answers were garbled");
    }
    world.proxy.ungarble();
    churn.step();
    world.kube.equals(&world.registry(), SOON * 2).await;
    eventually("nothing is uncertain", SOON, async || {
        match (controller.figure("pending").await, controller.figure("records{state=\"uncertain\"}").await) {
            (0.0, 0.0) => Ok(()),
            figures => Err(format!("{figures:?}")),
        }
    })
    .await;
    assert_in_order(&world.registry().changes(CLUSTER).await.unwrap(), &churn.gone);
}
