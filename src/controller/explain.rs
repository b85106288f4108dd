//! What the event loop knows about the record of one pod, for people.
//!
//! A question comes with the channel for its answer. The loop answers from its own state, between other work, and asks
//! nothing.

use std::time::Duration;

use tokio::sync::oneshot;

use super::receipts::ReceiptQuestion;
use crate::{
    model::{label::RecordLabel, moment::Moment, uid::Uid},
    reconcile::{
        absence::hold::{HoldSummary, RecordHold},
        decide::Action,
        ledger::entry::Known,
        session::Phase,
        status::SessionState,
    },
};

/// What a loop is asked.
pub enum Question {
    Pod(PodQuestion),
    Receipts(ReceiptQuestion),
}

/// Asks a loop about the record of a pod.
pub struct PodQuestion {
    /// The UID of the pod.
    pub pod: Uid,
    pub reply: oneshot::Sender<PodExplanation>,
}

/// The answer of one loop.
#[derive(Clone, Debug)]
pub struct PodExplanation {
    /// None if the pod has no record that is known.
    pub record: Option<RecordLabel>,
    /// The pod that has the record, if it is another one.
    pub other_pod: Option<String>,
    pub stage: RecordStage,
    /// Why the record cannot be made.
    pub cause: Option<String>,
    /// What the registry is believed to hold.
    pub registry: &'static str,
    /// Time since the oldest change that is not acknowledged.
    pub pending_for: Option<Duration>,
    pub hold: Option<HoldSummary>,
    pub last_answer: Option<RecordAnswer>,
    pub session: SessionState,
    /// Why requests to the registry fail at the moment.
    pub outage: Option<String>,
    pub next: NextStep,
}

/// Where a record stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum RecordStage {
    /// Neither this process nor the registry knows of a record, or the registry was not read yet.
    Unknown,
    /// The target does not select the pod.
    NotSelected,
    RenderFailed,
    /// The pod cannot be read.
    Unreadable,
    Absent,
    Registered,
    Pending,
    InFlight,
    Parked,
    /// It is not certain yet that the pod is gone.
    Confirming,
    Held,
}

/// An answer of the registry about one record that was not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAnswer {
    /// `rejected`, `notApplied` or `uncertain`.
    pub outcome: &'static str,
    pub cause: String,
    /// Time since the answer.
    pub age: Duration,
}

/// What happens next, and in what time if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextStep {
    pub what: String,
    pub within: Option<Duration>,
}

/// The record of a pod, as it is compared.
pub(super) struct ComparedRecord {
    /// None if the pod has no record that is known.
    pub(super) key: Option<Uid>,
    pub(super) label: Option<RecordLabel>,
    /// What the registry is believed to hold, and what to do about it.
    pub(super) decided: Option<(Known, Action)>,
    pub(super) selection: Selection,
    /// The pod that has the record, if it is another one.
    pub(super) other_pod: Option<String>,
    pub(super) pending_for: Option<Duration>,
}

/// Whether a record is made of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Selected,
    /// The target does not select the pod.
    NotSelected,
    /// The pod cannot be read.
    Unreadable,
    /// The record cannot be made, for this reason.
    Failed(String),
}

/// What is the same for all records of a target.
pub(super) struct Circumstances {
    pub(super) leads: bool,
    pub(super) phase: Phase,
    /// The end of a pause of all requests, during an outage.
    pub(super) paused_until: Option<Moment>,
    pub(super) resync_at: Moment,
    /// Why requests to the registry fail at the moment.
    pub(super) outage: Option<String>,
}

impl ComparedRecord {
    fn stage(&self, held: bool) -> RecordStage {
        match (&self.selection, self.decided) {
            (Selection::Failed(_), _) => RecordStage::RenderFailed,
            (selection, Some((known, action))) => stage(action, known, selection, held),
            (Selection::NotSelected, None) => RecordStage::NotSelected,
            (_, None) => RecordStage::Unknown,
        }
    }

    /// Explains the record to people.
    pub(super) fn explain(
        self,
        hold: Option<RecordHold>,
        last_answer: Option<RecordAnswer>,
        circumstances: Circumstances,
        now: Moment,
    ) -> PodExplanation {
        let stage = self.stage(hold.is_some());
        let Circumstances { leads, phase, paused_until, resync_at, outage } = circumstances;
        let facts = RecordFacts {
            stage,
            action: self.decided.map(|(_, action)| action),
            leads,
            phase,
            paused_until,
            resync_at,
            hold: hold.as_ref().map(|hold| match hold.retry_at {
                _ if hold.summary.because.needs_operator() => HeldUntil::Approved(hold.summary.id.to_string()),
                at => HeldUntil::Confirmed(at),
            }),
        };
        PodExplanation {
            stage,
            other_pod: self.other_pod,
            cause: if let Selection::Failed(cause) = self.selection { Some(cause) } else { None },
            registry: word(self.decided.map_or(Known::Unknown, |(known, _)| known)),
            pending_for: self.pending_for,
            hold: hold.map(|hold| hold.summary),
            last_answer,
            session: phase.into(),
            outage,
            next: next(&facts, now),
            record: self.label,
        }
    }
}

/// What decides about the next step.
struct RecordFacts {
    stage: RecordStage,
    /// None for a pod without a known record.
    action: Option<Action>,
    leads: bool,
    phase: Phase,
    /// The end of a pause of all requests, during an outage.
    paused_until: Option<Moment>,
    resync_at: Moment,
    hold: Option<HeldUntil>,
}

/// What ends a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HeldUntil {
    /// An operator approves the hold of this name.
    Approved(String),
    /// The next attempt to confirm it. None while that is under way.
    Confirmed(Option<Moment>),
}

/// Where a record stands, from the decision about it.
fn stage(action: Action, known: Known, selection: &Selection, held: bool) -> RecordStage {
    match action {
        Action::UpToDate if *selection == Selection::Unreadable => RecordStage::Unreadable,
        Action::UpToDate => RecordStage::Registered,
        Action::Forget if *selection == Selection::NotSelected => RecordStage::NotSelected,
        Action::Forget => RecordStage::Absent,
        Action::InFlight => RecordStage::InFlight,
        Action::Parked => RecordStage::Parked,
        Action::AwaitConfirmation if held => RecordStage::Held,
        Action::AwaitConfirmation | Action::AwaitList => RecordStage::Confirming,
        Action::AwaitInventory if matches!(known, Known::Unknown) => RecordStage::Unknown,
        Action::AwaitInventory | Action::Put(_) | Action::Delete(_) | Action::Wait(_) => RecordStage::Pending,
    }
}

/// The next step, from what decides about it.
fn next(facts: &RecordFacts, now: Moment) -> NextStep {
    let step = |what: &str, at: Option<Moment>| NextStep { what: what.to_owned(), within: at.map(|at| at.since(now)) };
    match facts.stage {
        RecordStage::RenderFailed => return step("nothing, until the pod or the settings change", None),
        RecordStage::Unreadable => return step("nothing: the record stays as it is until the pod can be read", None),
        RecordStage::NotSelected => return step("nothing: the target does not select the pod", None),
        _ if !facts.leads => return step("nothing: another replica leads, and writes", None),
        _ => {}
    }
    match facts.phase {
        Phase::Open { .. } => {}
        Phase::Fenced { .. } => return step("nothing: another process writes for the same cluster id and owner", None),
        _ => return step("waits for the session with the registry", None),
    }
    let Some(action) = facts.action else { return step("nothing: this process knows no record of the pod", None) };
    match (action, &facts.hold) {
        (Action::UpToDate, _) => step("compared at the next resync", Some(facts.resync_at)),
        (Action::Forget, _) => step("nothing: neither the cluster nor the registry has it", None),
        (Action::AwaitConfirmation, Some(HeldUntil::Approved(id))) => NextStep {
            what: format!("waits until its pod is back, or you approve its deletion: pod-registrar approve {id}"),
            within: None,
        },
        (Action::AwaitConfirmation, Some(HeldUntil::Confirmed(at))) => {
            step("its deletion is confirmed again, or you approve it", *at)
        }
        (Action::AwaitConfirmation, None) => step("its deletion waits for its confirmation or its turn", None),
        (Action::AwaitList, _) => step("waits for a list that shows whether the pod exists", None),
        (Action::InFlight, _) => step("waits for the registry's answer", None),
        _ if facts.paused_until.is_some() => step("waits until the registry answers again", facts.paused_until),
        (Action::AwaitInventory, _) => step("waits until the registry's records were read", None),
        (Action::Parked, _) => {
            step("sent again at the next resync, or when the record or the settings change", Some(facts.resync_at))
        }
        (Action::Wait(until), _) => step("sent again after its backoff", Some(until)),
        (Action::Delete(_), _) => step("deleted when its turn comes", None),
        (Action::Put(_), _) => step("sent when its turn comes", None),
    }
}

/// The word for what the registry is believed to hold.
fn word(known: Known) -> &'static str {
    match known {
        Known::Unknown => "unknown",
        Known::Assumed(_) => "assumed",
        Known::Absent => "absent",
        Known::Registered(_) => "registered",
        Known::Uncertain => "uncertain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::digest::Digest,
        reconcile::deletion::{Deletion, Removal},
    };

    const NOW: Moment = Moment::from_secs(100);

    fn facts(action: Action) -> RecordFacts {
        RecordFacts {
            stage: stage(action, Known::Absent, &Selection::Selected, false),
            action: Some(action),
            leads: true,
            phase: Phase::Open { epoch: 1, heartbeat_at: None },
            paused_until: None,
            resync_at: Moment::from_secs(160),
            hold: None,
        }
    }

    fn shown(facts: &RecordFacts) -> (String, Option<u64>) {
        let NextStep { what, within } = next(facts, NOW);
        (what.split([':', ',']).next().unwrap().to_owned(), within.map(|within| within.as_secs()))
    }

    fn put() -> Action {
        Action::Put(Digest::of_canonical(b"a").fingerprint())
    }

    #[test]
    fn each_action_has_a_stage_and_step() {
        let delete = Action::Delete(Removal::Observed(Deletion::Deleted));
        for (action, expected, what, within) in [
            (Action::UpToDate, RecordStage::Registered, "compared at the next resync", Some(60)),
            (put(), RecordStage::Pending, "sent when its turn comes", None),
            (delete, RecordStage::Pending, "deleted when its turn comes", None),
            (Action::Wait(Moment::from_secs(107)), RecordStage::Pending, "sent again after its backoff", Some(7)),
            (Action::InFlight, RecordStage::InFlight, "waits for the registry's answer", None),
            (Action::Parked, RecordStage::Parked, "sent again at the next resync", Some(60)),
            (Action::AwaitInventory, RecordStage::Pending, "waits until the registry's records were read", None),
            (Action::AwaitList, RecordStage::Confirming, "waits for a list that shows whether the pod exists", None),
            (Action::Forget, RecordStage::Absent, "nothing", None),
        ] {
            let facts = facts(action);
            assert_eq!((facts.stage, shown(&facts)), (expected, (what.to_owned(), within)), "{action:?}");
        }
    }

    #[test]
    fn standby_and_outage_come_first() {
        let standby = RecordFacts { leads: false, ..facts(put()) };
        assert_eq!(next(&standby, NOW).what, "nothing: another replica leads, and writes");
        let closed = RecordFacts { phase: Phase::Opening, ..facts(put()) };
        assert_eq!(shown(&closed).0, "waits for the session with the registry");
        let paused = RecordFacts { paused_until: Some(Moment::from_secs(109)), ..facts(put()) };
        assert_eq!(shown(&paused), ("waits until the registry answers again".to_owned(), Some(9)));
        let registered = RecordFacts { paused_until: paused.paused_until, ..facts(Action::UpToDate) };
        assert_eq!(shown(&registered).0, "compared at the next resync");
    }

    #[test]
    fn held_record_names_its_approval() {
        let facts = |hold| RecordFacts { hold, ..facts(Action::AwaitConfirmation) };
        let approved = facts(Some(HeldUntil::Approved("0123456789ab".into())));
        assert!(next(&approved, NOW).what.ends_with("pod-registrar approve 0123456789ab"));
        let retried = facts(Some(HeldUntil::Confirmed(Some(Moment::from_secs(130)))));
        assert_eq!(next(&retried, NOW).within, Some(Duration::from_secs(30)));
        let confirming = |held| stage(Action::AwaitConfirmation, Known::Uncertain, &Selection::Selected, held);
        assert_eq!([true, false].map(confirming), [RecordStage::Held, RecordStage::Confirming]);
        assert_eq!(stage(Action::Forget, Known::Absent, &Selection::NotSelected, false), RecordStage::NotSelected);
    }
}
