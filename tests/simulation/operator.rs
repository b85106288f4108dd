//! The rest of a process's surroundings: signs of life from its watches, and the operator.

use std::{collections::HashMap, time::Duration};

use pod_registrar::{
    reconcile::{
        absence::hold::{HoldId, HoldReason, HoldSummary},
        status::ControllerStatus,
    },
    telemetry::health::Health,
};
use tokio::sync::{mpsc, watch};

use crate::world::Shared;

/// The time between two looks of the operator, and the number of looks before an approval.
const TICK: Duration = Duration::from_secs(3);
const LASTS_TICKS: u32 = 40;

/// The watches show signs of life.
pub(crate) async fn live(health: Health, watches: usize) {
    loop {
        (0..watches).for_each(|watch| health.watch_alive(watch));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// After the last fault, the operator approves the holds that need an approval.
///
/// The operator looks at the pods first. A hold that contains living pods is not approved: the process has not seen
/// them yet, because its lists are older than what it has seen, or fail.
pub(crate) async fn approve_when_healed(
    shared: Shared,
    process: usize,
    status: watch::Receiver<ControllerStatus>,
    operator: mpsc::Sender<HoldId>,
) {
    // No history changes settings: such a hold means that an earlier process declared that it needs the operator.
    let mut shown_ticks = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let healed = shared.world().healed;
        let sees_all = shared.world().sees_all(process);
        let holds = status.borrow().holds.clone();
        let operator_needed =
            |hold: &HoldSummary| matches!(hold.because, HoldReason::NearlyAll { .. } | HoldReason::ScopeChanged);
        // A hold that ends without an approval is left alone.
        let mut lasts = |hold: &HoldSummary| {
            let ticks: &mut u32 = shown_ticks.entry(hold.id.clone()).or_default();
            *ticks += 1;
            *ticks >= LASTS_TICKS
        };
        for hold in holds.into_iter().filter(|hold| healed && operator_needed(hold) && lasts(hold) && sees_all) {
            shared.world().processes[process].approved = true;
            if operator.send(hold.id).await.is_err() {
                return;
            }
        }
    }
}
