//! The comparison: what should be registered, what the registry is believed to hold, and what follows for each record.
//!
//! It owns the desired records, the ledger and the queue. Pod events, complete lists, inventories and answers change
//! the first two; then [`decide`] says for a record what to do, and the ledger and the queue follow. It sends nothing:
//! delivery takes the keys from the queue, and `absences` judges what a full reconcile found to be absent.
//!
//! | what happens | file |
//! | --- | --- |
//! | a record is decided about, and the queue follows | [`decisions`] |
//! | a pod event, and a complete list | [`intake`], [`list_intake`] |
//! | pods of a registry that sees them otherwise than the store does | [`projection`] |
//! | all records are decided about | [`full_reconcile`] |
//! | records that belong together are written in order | [`relatives`] |
//! | people and the writer of receipts ask about a pod | [`registration`] |
//!
//! [`decide`]: crate::reconcile::decide::decide

mod decisions;
pub(super) mod full_reconcile;
mod intake;
mod list_intake;
mod projection;
mod registration;
mod relatives;

use std::{collections::HashSet, sync::Arc};

use self::{full_reconcile::FullReconcile, list_intake::ListIntake};
use super::{
    lists::Lists,
    queue::{Lane, Queue},
    records::{DesiredRecords, ListedRecords},
    resync::{Resync, ResyncEffect},
    unknown_pods::UnknownPods,
};
use crate::{
    model::{label::RecordLabel, moment::Moment, pod::PodRef, uid::Uid, uid_map::UidMap},
    reconcile::{absence::check::Check, ledger::Ledger, progress::WorkProgress, status::FailedRenders},
    registry::Registry,
    store::View,
};

/// The least number of observed deletions to remember while nothing is sent to the registry.
const DELETIONS_AT_LEAST: usize = 10_000;

pub(super) struct Comparison<R> {
    registry: Arc<R>,
    records: DesiredRecords,
    ledger: Ledger,
    queue: Queue,
    lists: Lists,
    /// The complete list that is being taken in.
    list: Option<ListIntake>,
    /// Records whose pods are not in the store, and for which no list begun since they were last seen counts.
    awaiting_list: UidMap<()>,
    full_reconcile: FullReconcile,
    unknown_pods: UnknownPods,
    not_made: Vec<NotMade>,
}

/// The time of a step, and whether the session was open then.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) now: Moment,
    pub(super) session_open: bool,
}

/// What is to be written: the queued keys, and the ledger with what is pending.
pub(super) struct Outbox<'a> {
    pub(super) queue: &'a mut Queue,
    pub(super) ledger: &'a mut Ledger,
}

/// A record that could not be made of its pod, and why.
pub(super) struct NotMade {
    pub(super) label: RecordLabel,
    pub(super) cause: String,
}

impl<R: Registry> Comparison<R> {
    pub(super) fn new(registry: Arc<R>, view: View, lists: Lists) -> Self {
        Self {
            records: DesiredRecords::new(view, &*registry),
            registry,
            ledger: Ledger::default(),
            queue: Queue::default(),
            lists,
            list: None,
            awaiting_list: UidMap::default(),
            full_reconcile: FullReconcile::default(),
            unknown_pods: UnknownPods::default(),
            not_made: Vec::new(),
        }
    }

    /// When a list of unknown pods counts, or the watches have to list again.
    pub(super) fn due_at(&self, now: Moment) -> Option<Moment> {
        [self.unknown_pods.due_at(), self.lists.due_at()].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// This process no longer leads. The next leader sends what is pending.
    pub(super) fn stand_by(&mut self) {
        self.ledger.step_down(self.deletions_kept());
        self.ledger.abandon_reading();
        self.queue = Queue::default();
        self.awaiting_list.clear();
        self.request_reconcile();
    }

    /// The least number of observed deletions to remember while nothing is sent to the registry: more than there are
    /// during a takeover, and few enough that a standby needs no more memory than a leader.
    fn deletions_kept(&self) -> usize {
        (self.records.len() / 4).max(DELETIONS_AT_LEAST)
    }

    /// Whether nothing is sent to the registry, and nothing is known of it.
    fn is_silent(&self, when: When) -> bool {
        !when.session_open && !self.ledger.is_seeded()
    }
}

/// What the other parts read and change.
impl<R: Registry> Comparison<R> {
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The ledger to change, with the records that it is compared with.
    pub(super) fn ledger_and_records(&mut self) -> (&mut Ledger, &DesiredRecords) {
        (&mut self.ledger, &self.records)
    }

    pub(super) fn outbox(&mut self) -> Outbox<'_> {
        Outbox { queue: &mut self.queue, ledger: &mut self.ledger }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Queued deletions that were not tried yet.
    pub(super) fn queued_deletions(&self) -> usize {
        self.queue.ready(Lane::Delete)
    }

    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The number of pods that the watches report, whether the target selects them or not.
    pub(super) fn pods(&self) -> usize {
        self.records.view().len()
    }

    /// The number of desired records.
    pub(super) fn desired(&self) -> usize {
        self.records.len()
    }

    /// Pods whose records cannot be made.
    pub(super) fn failed(&self) -> usize {
        self.records.failed()
    }

    pub(super) fn failed_renders(&self) -> FailedRenders {
        self.records.failed_renders()
    }

    /// The records that could not be made since the last call.
    pub(super) fn take_not_made(&mut self) -> Vec<NotMade> {
        std::mem::take(&mut self.not_made)
    }

    /// A record as people know it.
    pub(super) fn label(&self, key: Uid) -> RecordLabel {
        self.records.label(key, &*self.registry)
    }

    /// The registry named the pods of these records, which are absent.
    pub(super) fn note_names(&mut self, pods: &[PodRef]) {
        self.records.note_names(pods);
    }

    /// Whether the registry is believed to hold what is desired, by all that this process knows.
    pub(super) fn is_equal(&self) -> bool {
        self.ledger.is_seeded()
            && self.lists.over_all().is_some()
            && self.ledger.pending_count() == 0
            && self.is_settled()
            && self.records.failed() == 0
            && self.records.is_projected()
    }

    /// Whether no absence waits for a list or a full reconcile.
    pub(super) fn is_settled(&self) -> bool {
        self.awaiting_list.is_empty() && self.full_reconcile.is_done()
    }

    /// Whether a turn has left something that can be done at once.
    pub(super) fn has_more_to_do(&self) -> bool {
        self.records.has_more_to_do() || self.takes_list() || !self.full_reconcile.is_done()
    }

    pub(super) fn begin_turn(&mut self) {
        self.records.begin_turn();
    }

    /// Whether enough pods were projected in this turn.
    pub(super) fn is_turn_over(&self) -> bool {
        self.records.is_turn_over()
    }

    /// A registry that does not say how many records it has is expected to have those that it had the last time.
    pub(super) fn expecting(&self, progress: WorkProgress) -> WorkProgress {
        let before = Some(self.ledger.owned() as u64).filter(|owned| *owned > progress.done);
        WorkProgress { total: progress.total.or(before), ..progress }
    }

    /// Continues with the inventory that `resync` reads in the session `epoch`.
    pub(super) fn learn(
        &mut self,
        resync: &mut Resync,
        left: &mut usize,
        epoch: Option<u64>,
        now: Moment,
    ) -> Vec<ResyncEffect> {
        let kinship = self.registry.kinship();
        let families = &mut self.records.families;
        let mut note_parent = |key: &Uid| {
            if let Some(parent) = kinship.and_then(|kinship| kinship.parent(key)) {
                families.note_held(key, &parent);
            }
        };
        resync.learn(left, epoch, &mut self.ledger, &mut note_parent, now)
    }
}

/// Lists that the guard or an absence asks for.
impl<R: Registry> Comparison<R> {
    /// An absence waits for a newer list.
    pub(super) fn need_list(&mut self) {
        self.lists.set_needed(true);
    }

    /// Whether to ask the watches for new lists now. Counts the request.
    pub(super) fn ask_for_list(&mut self, now: Moment) -> bool {
        self.lists.ask_again(now)
    }

    /// The namespaces of these records are known: the list of one namespace is enough to show that a pod is absent.
    pub(super) fn place(&mut self, named: &[PodRef]) {
        for PodRef { uid, namespace, .. } in named {
            if let Some(watch) = self.lists.watch_of(namespace) {
                self.ledger.set_watch(uid, watch);
                self.request_reconcile();
            }
        }
    }

    /// The cluster was asked.
    pub(super) fn asked(&mut self, check: &Check) {
        self.unknown_pods.asked(self.records.keys_are_uids(), check);
    }

    /// The cluster listed these pods for the guard. Returns their records, unless some of them are unknown: they come
    /// from [`Self::unknown_pods_due`] later.
    #[must_use]
    pub(super) fn listed(&mut self, round: u64, there: HashSet<Uid>, now: Moment) -> Option<ListedRecords> {
        let listed = self.records.listed(there);
        self.unknown_pods.listed(round, listed, now)
    }

    /// A list whose unknown pods had time to be reported by a watch, with its round.
    #[must_use]
    pub(super) fn unknown_pods_due(&mut self, now: Moment) -> Option<(u64, ListedRecords)> {
        let (round, mut listed) = self.unknown_pods.take_due(now)?;
        let unknown = std::mem::take(&mut listed.unknown);
        let again = self.records.listed(unknown);
        listed.keys.extend(again.keys);
        listed.excluded.extend(again.excluded);
        if !again.unknown.is_empty() {
            // Each absent record may belong to one of these pods.
            listed.keys.extend(self.records.absent_keys(&self.ledger));
        }
        Some((round, listed))
    }
}
