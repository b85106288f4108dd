//! What others learn: the status in each turn, metrics and what people see of the target once per second, and answers
//! to questions about pods.

use tracing::Span;

use super::EventLoop;
use crate::{
    controller::{
        comparison::NotMade,
        explain::{Circumstances, PodExplanation, PodQuestion, Question},
        receipts::ReceiptQuestion,
        report::{Counted, FailedRecord, LoopCounts, RecordFault},
    },
    model::{moment::Moment, uid::Uid},
    reconcile::{
        activity::{Activity, Work, WorkKind},
        ledger::pending::AttemptKind,
        outcome::OperationKind,
        receipts::TargetRecords,
        status::{Ability, ControllerStatus},
    },
    registry::{Features, Registry, trace::log_span},
};

impl<R: Registry> EventLoop<R> {
    /// Whether the registry is believed to be equal to the cluster.
    pub(super) fn is_in_sync(&self, now: Moment) -> bool {
        self.session.is_open()
            && self.reporter.watches_live()
            && self.resync.is_current(now)
            && self.absences.are_idle()
            && self.comparison.is_equal()
    }

    /// Reports to everyone who looks at the target.
    pub(super) fn report(&mut self, now: Moment) {
        let in_sync = self.is_in_sync(now);
        if in_sync {
            self.session.note_in_sync();
        }
        if self.reporter.set_in_sync(in_sync, self.comparison.pods()) {
            self.session.beat_soon(now);
        }
        let counts = LoopCounts {
            pods: self.comparison.pods(),
            held: self.absences.held(),
            failed: self.comparison.failed(),
            queue_entries: self.comparison.queue().entries(),
        };
        let counted = self.reporter.report(self.comparison.ledger(), &counts, now);
        if let Some(counted) = counted {
            self.show_activity(&counted, now);
            let Features { inventory, remembers, .. } = self.availability.features();
            let may_resync = inventory && !remembers && self.session.is_open() && self.comparison.ledger().is_seeded();
            if may_resync && !self.delivery.allows(AttemptKind::Retry, now) {
                self.resync.begin_early(counted.uncertain, now);
            }
        }
        let comparison = &self.comparison;
        let controller_status = ControllerStatus {
            session: self.session.phase().into(),
            epoch: self.session.epoch(),
            in_sync,
            ability: self.ability(now),
            holds: self.display.holds(self.absences.holds(), &|key| comparison.label(key.clone())),
            failed_renders: self.comparison.failed_renders(),
            failed_resync: self.resync.failed(now),
            left_differing: self.requests.registry().left_differing(),
        };
        self.reporter.show(controller_status, self.session.phase());
    }

    /// Whether this process could do a leader's work.
    fn ability(&self, now: Moment) -> Ability {
        match () {
            () if !self.comparison.lists().has_page() => Ability::WithoutPods,
            () if self.term.current().is_some() && self.availability.is_cut_off(now) => Ability::CutOff,
            () => Ability::Able,
        }
    }

    /// Shows what was counted, and what else goes on.
    fn show_activity(&mut self, counted: &Counted, now: Moment) {
        let comparison = &self.comparison;
        let under_way = [
            (WorkKind::Resync, self.resync.progress().map(|progress| comparison.expecting(progress))),
            (WorkKind::FullReconcile, comparison.reconcile_progress()),
        ];
        let work = under_way.into_iter().filter_map(|(kind, progress)| Some(Work { kind, progress: progress? }));
        let activity = Activity {
            backlog: counted.backlog,
            work: work.collect(),
            outage: self.reporter.outage().map(ToString::to_string),
            compared_at: self.resync.compared_at(),
            ..Activity::default()
        };
        self.display.show(activity, counted, &|key| comparison.label(key.clone()), now);
    }

    /// Reports what went wrong with a record.
    pub(super) fn note(&mut self, failed: FailedRecord, now: Moment) {
        self.display.note(&failed, now);
        let FailedRecord { key, fault, cause, trace } = failed;
        let span = trace.as_deref().map_or_else(Span::none, log_span);
        span.in_scope(|| self.reporter.note(&self.comparison.label(key), fault, &cause, now));
    }

    /// Reports the records that could not be made of their pods.
    pub(super) fn note_not_made(&mut self, now: Moment) {
        for NotMade { label, cause } in self.comparison.take_not_made() {
            self.reporter.note(&label, RecordFault::NotMade, &cause, now);
        }
    }

    /// The registry acknowledged an operation on a record.
    pub(super) fn acknowledged(&mut self, key: Uid, kind: OperationKind, now: Moment) {
        self.receipts.acknowledged(&key, kind, self.comparison.owner_of(&key), now);
        self.display.acknowledged(key, kind, now);
    }

    pub(super) fn answer(&self, question: Question) {
        // The one who asked may have stopped waiting.
        match question {
            Question::Pod(PodQuestion { pod, reply }) if !reply.is_closed() => _ = reply.send(self.explain(&pod)),
            Question::Receipts(ReceiptQuestion { pods, reply }) if !reply.is_closed() => {
                _ = reply.send(pods.iter().map(|pod| self.target_records(pod)).collect());
            }
            Question::Pod(_) | Question::Receipts(_) => {}
        }
    }

    fn target_records(&self, pod: &Uid) -> TargetRecords {
        if self.leads() { self.comparison.target_records(pod) } else { TargetRecords::default() }
    }

    fn explain(&self, pod: &Uid) -> PodExplanation {
        let now = self.turns.now();
        let record = self.comparison.record_of(pod, now);
        let hold = record.key.as_ref().and_then(|key| self.absences.hold_of(key));
        let last_answer = record.key.as_ref().and_then(|key| self.display.last_answer(key, now));
        let circumstances = Circumstances {
            leads: self.leads(),
            phase: self.session.phase(),
            paused_until: self.availability.due_at().filter(|at| *at > now && self.availability.is_failing()),
            resync_at: self.resync.regular_at(),
            outage: self.reporter.outage().map(ToString::to_string),
        };
        record.explain(hold, last_answer, circumstances, now)
    }
}
