//! One turn of the loop, and the work that goes on in the next ones.
//!
//! Nothing else happens for a target during a turn, so none handles all pods or all records at once:
//!
//! | work | in a turn | where it is |
//! | --- | --- | --- |
//! | pods that events show | 1,000, and the rest of a page | [`EventLoop::observe`] |
//! | pods that are projected | 500 | `comparison::projection` |
//! | pods of a complete list, records of an inventory, entries of a full reconcile | 5,000 together | [`EventLoop::compare`] |
//!
//! What a turn leaves is continued at once, after what has arrived in the meantime. Some steps do visit all entries of
//! the ledger: they look at each once, in the order in which they lie in memory, and look nothing up.

use std::time::Duration;

use tokio::sync::mpsc;

use super::EventLoop;
use crate::{
    clock::Clock,
    controller::{comparison::full_reconcile::Survey, error::Error, records::ListedRecords},
    model::moment::Moment,
    reconcile::{
        absence::{
            RELEASED_PER_SECOND,
            check::{CheckFinding, CheckResult},
        },
        pod_event::PodEvent,
    },
    registry::Registry,
};

/// A longer turn is logged.
const LONG_TURN: Duration = Duration::from_millis(10);
/// After events about this number of pods, requests are sent: enough to fill a batch.
const PODS_AT_ONCE: usize = 1_000;

/// When turns begin, and how much each may do.
pub(super) struct Turns {
    clock: Clock,
    /// Pods and records that one turn visits, at most.
    visits: usize,
    /// When this turn received something.
    received_at: Option<Moment>,
}

impl Turns {
    pub(super) fn new(clock: Clock, visits: usize) -> Self {
        Self { clock, visits: visits.max(1), received_at: None }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Something was received.
    pub(super) fn received(&mut self) -> Moment {
        let now = self.now();
        self.received_at = Some(now);
        now
    }

    /// A turn ended. It began when it received something, or when a part was due.
    pub(super) fn ended(&mut self, due_at: Moment) {
        let began = self.received_at.take().unwrap_or(due_at);
        let took = self.now().since(began);
        if took >= LONG_TURN {
            tracing::debug!(seconds = took.as_secs_f64(), "a turn of the event loop was long");
        }
    }
}

impl<R: Registry> EventLoop<R> {
    /// Handles a pod event and the events that wait behind it.
    pub(super) fn observe(&mut self, first: PodEvent, more: &mut mpsc::Receiver<PodEvent>) {
        let now = self.turns.received();
        let when = self.when(now);
        self.comparison.begin_turn();
        let (mut event, mut pods) = (first, 0);
        loop {
            pods += pods_of(&event);
            self.comparison.observe(event, &self.absences, when);
            if pods >= PODS_AT_ONCE || self.comparison.is_turn_over() || self.comparison.takes_list() {
                break;
            }
            let Ok(next) = more.try_recv() else { break };
            event = next;
        }
        self.note_not_made(now);
    }

    /// Decides about records whose pods or backoffs are due, and continues with what earlier turns left.
    pub(super) fn compare(&mut self, now: Moment) {
        let when = self.when(now);
        self.comparison.project_stale(when);
        self.note_not_made(now);
        self.comparison.reconcile_due(when);
        self.release_deletions(now);
        let mut left = self.turns.visits;
        self.comparison.continue_list(&mut left);
        let effects = self.comparison.learn(&mut self.resync, &mut left, self.session.epoch(), now);
        self.apply_resync(effects, now);
        let when = self.when(now);
        if let Some(survey) = self.comparison.reconcile_all(&mut left, when) {
            self.reconciled_all(survey, now);
        }
        if let Some((round, listed)) = self.comparison.unknown_pods_due(now) {
            self.second_listed(round, listed, now);
        }
    }

    /// Queues confirmed deletions. While another writer has the session, none is queued. The queue sends at full rate,
    /// so those that gather in it during an outage would leave together afterwards.
    fn release_deletions(&mut self, now: Moment) {
        let may_release = self.session.is_open()
            && self.availability.lets_through(now)
            && self.comparison.queued_deletions() < RELEASED_PER_SECOND as usize;
        let kinship = self.requests.registry().kinship();
        // A record that is still to be listed may belong to one of these.
        if !may_release || kinship.is_some() && !self.comparison.ledger().is_seeded() {
            return;
        }
        let comparison = &self.comparison;
        let released = self.absences.release(kinship, &|key| comparison.is_leaving(key), now);
        let when = self.when(now);
        released.into_iter().for_each(|deletion| self.comparison.release(deletion, when));
    }

    /// A full reconcile is complete. The previous session says whether the settings changed since; without sessions,
    /// the excluded pods do.
    fn reconciled_all(&mut self, mut survey: Survey, now: Moment) {
        let settings_changed = self.absences.is_scope_changed();
        if settings_changed || !self.availability.features().sessions {
            self.comparison.note_out_of_scope(&mut survey, settings_changed);
        }
        let may_ask = self.session.is_open() && self.availability.lets_through(now);
        let (lists, ledger) = (self.comparison.lists(), self.comparison.ledger());
        let effect = self.absences.derive(survey, may_ask, lists, ledger, now);
        self.apply_absences(effect, now);
    }

    /// Asks the cluster about absences, and the watches for new lists.
    pub(super) fn confirm_absences(&mut self, now: Moment) {
        if self.comparison.ask_for_list(now) {
            self.cluster.relist();
        }
        // The guard needs names from the registry, and its answers lead to deletions.
        if self.availability.lets_through(now) {
            let (lists, ledger) = (self.comparison.lists(), self.comparison.ledger());
            let question = self.absences.next_question(lists, ledger, now);
            self.apply_absences(question, now);
        }
    }

    /// The cluster answered a question about absences.
    pub(super) fn confirmed(&mut self, confirmation: CheckResult) -> Result<(), Error> {
        let now = self.turns.received();
        let CheckResult { round, finding } = confirmation;
        match finding {
            CheckFinding::OtherCluster { expected, found } => return Err(Error::ClusterChanged { expected, found }),
            CheckFinding::Listed(there) => {
                if let Some(listed) = self.comparison.listed(round, there, now) {
                    self.second_listed(round, listed, now);
                }
            }
            CheckFinding::Confirmation(answer) => {
                let effect = self.absences.answered(round, answer, now);
                self.apply_absences(Some(effect), now);
            }
        }
        Ok(())
    }

    fn second_listed(&mut self, round: u64, listed: ListedRecords, now: Moment) {
        let effect = self.absences.second_list(round, listed, now);
        self.apply_absences(effect, now);
    }
}

/// The number of pods that an event is about.
fn pods_of(event: &PodEvent) -> usize {
    if let PodEvent::Page { uids, .. } = event { uids.len().max(1) } else { 1 }
}
