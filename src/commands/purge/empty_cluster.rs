//! A cluster without pods, as the event loop sees it: each list is empty, and every pod is gone.

use std::{collections::HashSet, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    clock::Clock,
    reconcile::{
        absence::check::{Check, CheckFinding, CheckResult, Confirmation},
        pod_event::{PodEvent, WatchList},
    },
    telemetry::health::Health,
};

/// The only watch.
const WATCH: usize = 0;
/// A watch that is silent for longer counts as failed.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct EmptyCluster {
    pub(super) clock: Clock,
    pub(super) health: Health,
    pub(super) pod_event: mpsc::Sender<PodEvent>,
    pub(super) relists: watch::Receiver<u64>,
    pub(super) checks: mpsc::Receiver<Check>,
    pub(super) check_result: mpsc::Sender<CheckResult>,
}

impl EmptyCluster {
    /// Lists and answers until the event loop ends.
    pub(super) async fn run(mut self) {
        if !self.list().await {
            return;
        }
        loop {
            self.health.watch_alive(WATCH);
            let goes_on = tokio::select! {
                changed = self.relists.changed() => changed.is_ok() && self.list().await,
                check = self.checks.recv() => match check {
                    Some(check) => self.answer(&check).await,
                    None => false,
                },
                () = tokio::time::sleep(ALIVE_EVERY) => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn list(&self) -> bool {
        let list = WatchList { begun: self.clock.now(), pods: 0, trusted: true, identified: true };
        self.health.watch_listed(WATCH);
        self.pod_event.send(PodEvent::Listed { watch: WATCH, list }).await.is_ok()
    }

    async fn answer(&self, check: &Check) -> bool {
        let finding = match check {
            Check::Whole { .. } | Check::List { .. } | Check::Find { .. } => CheckFinding::Listed(HashSet::new()),
            Check::LookUp { .. } => CheckFinding::Confirmation(Confirmation::Gone),
        };
        self.check_result.send(CheckResult { round: check.round(), finding }).await.is_ok()
    }
}
