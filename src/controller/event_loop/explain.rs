//! Answers to questions about one pod, and the names of records in the log.

use tracing::Span;

use super::EventLoop;
use crate::{
    controller::{
        explain::{
            HeldUntil, PodExplanation, PodQuestion, Question, RecordAnswer, RecordFacts, RecordStage, next, stage, word,
        },
        records::RecordsOfPod,
        report::{RecordFault, RecordNotice},
    },
    model::{
        label::RecordLabel,
        moment::Moment,
        pod::{Pod, PodRef, StoredPod},
        recent::Recent,
        uid::Uid,
    },
    reconcile::{
        absence::hold::HoldSummary,
        ledger::{entry::Known, pending::Pending},
    },
    registry::{RecordId, Registry, trace::log_span},
};

/// Answers to keep, at least. Each takes less than 400 bytes.
const ANSWERS_KEPT: usize = 500;
/// Names of absent pods to keep, at least. The guard asks for those of a sample of 20.
const NAMES_KEPT: usize = 100;
/// Characters of a cause that is kept.
const CAUSE_CHARS: usize = 256;

/// The last answers about records, by their keys, without those that were a success since.
#[derive(Default)]
pub(super) struct LastAnswers {
    recent: Recent<KeptAnswer>,
}

struct KeptAnswer {
    outcome: &'static str,
    cause: Box<str>,
    at: Moment,
}

impl LastAnswers {
    fn note(&mut self, key: &Uid, fault: RecordFault, cause: &str, at: Moment) {
        let cause = cause.chars().take(CAUSE_CHARS).collect();
        self.recent.insert(key, KeptAnswer { outcome: fault.into(), cause, at }, ANSWERS_KEPT);
    }

    /// Why the registry rejected the record, and when it said so.
    pub(super) fn rejection(&self, key: &Uid) -> Option<(String, Moment)> {
        self.recent.get(key).map(|answer| (answer.cause.to_string(), answer.at))
    }

    fn of(&self, key: &Uid, now: Moment) -> Option<RecordAnswer> {
        let KeptAnswer { outcome, cause, at } = self.recent.get(key)?;
        Some(RecordAnswer { outcome, cause: cause.to_string(), age: now.since(*at) })
    }
}

/// The holds as they were last shown. Finding the names of records takes time, so it is done once per hold.
#[derive(Default)]
pub(super) struct ShownHolds {
    of_guard: Vec<HoldSummary>,
    named: Vec<HoldSummary>,
}

impl<R: Registry> EventLoop<R> {
    /// Reports what went wrong with a record.
    pub(super) fn note(&mut self, notice: RecordNotice, now: Moment) {
        let RecordNotice { key, fault, cause, trace } = notice;
        self.last_answers.note(&key, fault, &cause, now);
        let label = self.label(key);
        let span = trace.as_deref().map_or_else(Span::none, log_span);
        span.in_scope(|| self.reporter.note(&label, fault, &cause, now));
    }

    /// The operation on a record is over. A success makes earlier answers irrelevant.
    pub(super) fn forget_last_answer(&mut self, key: &Uid) {
        let is_failing = |pending: &Pending| {
            let attempts = pending.attempts();
            attempts.failures > 0 || attempts.parked.is_some() || attempts.tried.is_some()
        };
        if !self.ledger.pending(key).is_some_and(is_failing) {
            self.last_answers.recent.remove(key);
        }
    }

    /// The registry named the pods of these records, which are absent.
    pub(super) fn note_names(&mut self, pods: &[PodRef]) {
        for PodRef { uid, namespace, name } in pods {
            self.registered_names.insert(uid, format!("{namespace}/{name}").into(), NAMES_KEPT);
        }
    }

    /// A record as people know it.
    pub(super) fn label(&self, key: Uid) -> RecordLabel {
        let pod = self.records.pod_of(&key);
        let known = self.requests.registry().record_id(&key, pod.as_ref());
        let (kind, id) = known.map_or((None, None), |RecordId { kind, id }| (kind, id));
        let name = pod.as_ref().map(Pod::full_name);
        let uid = pod.map(|pod| pod.uid).or_else(|| self.records.keys_are_uids().then(|| key.clone()));
        let registered = || self.registered_names.get(&key).map(|name| name.to_string());
        let pod = name.or_else(|| self.records.view().departed(uid.as_ref()?)).or_else(registered);
        RecordLabel { key, kind, id, uid, pod }
    }

    /// The holds, with names for the records that they show.
    pub(super) fn holds(&mut self) -> Vec<HoldSummary> {
        let holds = self.absences.guard.holds();
        if self.shown_holds.of_guard != holds {
            let named = |hold: &HoldSummary| {
                let first = hold.first.iter().map(|label| self.label(label.key.clone())).collect();
                HoldSummary { first, ..hold.clone() }
            };
            let named = holds.iter().map(named).collect();
            self.shown_holds = ShownHolds { of_guard: holds, named };
        }
        self.shown_holds.named.clone()
    }

    pub(super) fn answer(&self, question: Question) {
        match question {
            // The one who asked may have stopped waiting.
            Question::Pod(PodQuestion { pod, reply }) if !reply.is_closed() => _ = reply.send(self.explain(&pod)),
            Question::Receipts(question) if !question.reply.is_closed() => self.answer_receipts(question),
            Question::Pod(_) | Question::Receipts(_) => {}
        }
    }

    /// Of several records, the first that is pending, or else the first one.
    fn most_urgent(&self, mut keys: Vec<Uid>) -> Option<Uid> {
        let pending = keys.iter().position(|key| self.ledger.pending(key).is_some());
        (!keys.is_empty()).then(|| keys.swap_remove(pending.unwrap_or_default()))
    }

    fn explain(&self, pod: &Uid) -> PodExplanation {
        let now = self.clock.now();
        let RecordsOfPod { keys, selected, failed } = self.records.records_of(pod);
        let key = self.most_urgent(keys);
        let decided = key.as_ref().map(|key| (self.ledger.known(key), self.decision(key, now)));
        let hold = key.as_ref().and_then(|key| self.absences.guard.hold_of(key));
        let stage = match decided {
            _ if failed.is_some() => RecordStage::RenderFailed,
            Some((known, action)) => {
                let shown = key.as_ref().and_then(|key| self.records.shown_by(None, key));
                stage(action, known, selected, shown != Some(StoredPod::Unreadable), hold.is_some())
            }
            None if !selected => RecordStage::NotSelected,
            None => RecordStage::Unknown,
        };
        let facts = RecordFacts {
            stage,
            action: decided.map(|(_, action)| action),
            leads: self.leads(),
            phase: self.session.phase(),
            paused_until: self.availability.due_at().filter(|at| *at > now && self.availability.is_failing()),
            resync_at: self.resync.regular_at(),
            hold: hold.as_ref().map(|hold| match hold.retry_at {
                _ if hold.summary.because.needs_operator() => HeldUntil::Approved(hold.summary.id.to_string()),
                at => HeldUntil::Confirmed(at),
            }),
        };
        let owner = key.as_ref().and_then(|key| self.records.owner_of(key)).filter(|owner| *owner != pod);
        let pending = key.as_ref().and_then(|key| self.ledger.pending(key));
        let answer = |key: &Uid| self.last_answers.of(key, now);
        PodExplanation {
            stage,
            other_pod: owner.and_then(|owner| self.records.view().get(owner)).map(|pod| pod.full_name()),
            cause: failed,
            registry: word(decided.map_or(Known::Unknown, |(known, _)| known)),
            pending_for: pending.map(|pending| now.since(pending.since())),
            hold: hold.map(|hold| hold.summary),
            last_answer: key.as_ref().and_then(answer),
            session: facts.phase.into(),
            outage: self.reporter.outage().map(ToString::to_string),
            next: next(&facts, now),
            record: key.map(|key| self.label(key)),
        }
    }
}
