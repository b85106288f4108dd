//! What is around a process besides the cluster and the registry: signs of life, and a person.

use std::time::Duration;

use pod_registrar::{
    model::{
        Standing,
        brake::{HeldBecause, HoldId, Shown},
    },
    telemetry::Metrics,
};
use tokio::sync::{mpsc, watch};

use crate::world::Shared;

/// The watches show signs of life.
pub(crate) async fn live(metrics: Metrics, watches: usize) {
    loop {
        (0..watches).for_each(|watch| metrics.watch_alive(watch));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// A person approves what only a person can, once nothing goes wrong any more.
pub(crate) async fn approve_when_healed(
    shared: Shared,
    stands: watch::Receiver<Standing>,
    person: mpsc::Sender<HoldId>,
) {
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let healed = shared.world().healed;
        let holds = stands.borrow().holds.clone();
        let person_needed = |hold: &Shown| matches!(hold.because, HeldBecause::NearlyAll { .. });
        for hold in holds.into_iter().filter(|hold| healed && person_needed(hold)) {
            if person.send(hold.id).await.is_err() {
                return;
            }
        }
    }
}
