//! The lease of two processes: which one holds it, and which one leads.

use std::time::Duration;

use pod_registrar::reconcile::election::{LeaderTerm, Leadership};

use crate::world::{Shared, SimulatedWorld};

/// The time between two renewals.
const TURN: Duration = Duration::from_secs(2);
/// A holder that cannot renew the lease stops this long after its last renewal.
const LEADS_FOR: Duration = Duration::from_secs(10);
/// Others may take the lease this long after its last renewal.
const LASTS_MS: u64 = 15_000;

#[derive(Default)]
pub(crate) struct Lease {
    holder: Option<usize>,
    term: u64,
    renewed: u64,
    /// The slots whose processes cannot reach the lease.
    pub(crate) cut: [bool; 2],
}

/// Keeps the lease of a history whose processes share one.
pub(crate) async fn keep(shared: Shared) {
    loop {
        shared.world().turn_lease();
        tokio::time::sleep(TURN).await;
    }
}

impl SimulatedWorld {
    /// The holder releases the lease.
    pub(crate) fn release_lease(&mut self, number: usize) {
        if self.lease.holder == Some(number) {
            self.lease.holder = None;
        }
    }

    /// A third party takes the lease from the process in a slot, and releases it.
    pub(crate) fn lose_lease(&mut self, slot: usize) {
        let Some(number) = self.slots[slot].filter(|number| self.lease.holder == Some(*number)) else { return };
        self.lease.holder = None;
        self.lease.term += 1;
        self.processes[number].leadership.send_replace(Leadership::Follower);
    }

    fn turn_lease(&mut self) {
        let now = self.now();
        let reaches = |number: usize| {
            let slot = self.slots.iter().position(|there| *there == Some(number));
            slot.is_some_and(|slot| !self.lease.cut[slot])
        };
        let held = self.lease.holder.filter(|number| reaches(*number) || now < self.lease.renewed + LASTS_MS);
        let holder = held.or_else(|| self.slots.into_iter().flatten().find(|number| reaches(*number)));
        let Some(number) = holder else { return };
        if !reaches(number) {
            return;
        }
        if self.lease.holder != Some(number) {
            self.lease.term += 1;
            self.processes[number].fenced_at = None;
        }
        (self.lease.holder, self.lease.renewed) = (Some(number), now);
        let (term, process) = (self.lease.term, &self.processes[number]);
        let until = process.clock.now() + LEADS_FOR;
        if process.leadership.borrow().term(process.clock.now()) != Some(LeaderTerm::Elected(term)) {
            let instance = process.instance.clone();
            self.trace(|| format!("{instance} leads, term {term}"));
        }
        self.processes[number].leadership.send_replace(Leadership::Leader { term, until });
    }
}
