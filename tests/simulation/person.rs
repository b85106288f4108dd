//! What is around a process besides the cluster and the registry: signs of life, and a person.

use std::{collections::HashMap, time::Duration};

use pod_registrar::{
    reconcile::{
        absence::hold::{HoldId, HoldReason, HoldSummary},
        status::ControllerStatus,
    },
    telemetry::metrics::Metrics,
};
use tokio::sync::{mpsc, watch};

use crate::world::Shared;

/// How often a person looks, and how often a hold is seen before it is approved.
const TICK: Duration = Duration::from_secs(3);
const LASTS_TICKS: u32 = 40;

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
    stands: watch::Receiver<ControllerStatus>,
    person: mpsc::Sender<HoldId>,
) {
    // Nobody changes the settings of a history: where a hold says so, an earlier process declared that a person is needed.
    let mut shown_ticks = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let healed = shared.world().healed;
        let holds = stands.borrow().holds.clone();
        let person_needed =
            |hold: &HoldSummary| matches!(hold.because, HoldReason::NearlyAll { .. } | HoldReason::ScopeChanged);
        // A hold that is about to end by itself is left alone.
        let mut lasts = |hold: &HoldSummary| {
            let ticks: &mut u32 = shown_ticks.entry(hold.id.clone()).or_default();
            *ticks += 1;
            *ticks >= LASTS_TICKS
        };
        for hold in holds.into_iter().filter(|hold| healed && person_needed(hold) && lasts(hold)) {
            if person.send(hold.id).await.is_err() {
                return;
            }
        }
    }
}
