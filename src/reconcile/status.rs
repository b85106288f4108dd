//! The status of the controller, for `/status`, the elector and the watcher of approvals.

use super::{absence::hold::HoldSummary, session::Phase};
use crate::model::uid::Uid;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerStatus {
    pub session: SessionState,
    pub epoch: Option<u64>,
    /// Whether the registry is believed to equal the cluster.
    pub in_sync: bool,
    /// Whether the process can lead.
    pub ability: Ability,
    /// Deletions that wait for an approval or for the return of their pods.
    pub holds: Vec<HoldSummary>,
    /// Pods whose records cannot be made. These stay as they are.
    pub failed_renders: FailedRenders,
    /// The last resync did not read all records of the registry.
    pub failed_resync: Option<FailedResync>,
    /// Records that the registry returns otherwise than they were sent, and that are left so.
    pub left_differing: usize,
}

/// Tries to read the registry's records, none of which reached the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailedResync {
    /// Since the first of them.
    pub seconds: u64,
    pub tries: u32,
    /// Why the last one failed.
    pub cause: String,
}

/// Pods whose records cannot be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedRenders {
    pub count: usize,
    /// The first of them.
    pub first: Vec<FailedRender>,
}

/// Why the record of a pod cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRender {
    /// The UID of the pod.
    pub uid: Uid,
    /// Its namespace and name.
    pub pod: String,
    pub cause: String,
}

impl ControllerStatus {
    /// The status of a process, from those of its targets. It is able to lead if it is for one of them.
    ///
    /// The session is the one that is furthest from being open; only a single target has an epoch here.
    pub fn of_all<'a>(targets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut targets = targets.into_iter();
        let mut all = targets.next().cloned().unwrap_or_default();
        for target in targets {
            all.epoch = None;
            all.session = all.session.min(target.session);
            all.in_sync &= target.in_sync;
            all.ability = all.ability.best(target.ability);
            all.holds.extend(target.holds.iter().cloned());
            all.failed_resync = all.failed_resync.max(target.failed_resync.clone());
            all.left_differing += target.left_differing;
            all.failed_renders.count += target.failed_renders.count;
            all.failed_renders.first.extend(target.failed_renders.first.iter().cloned());
        }
        all
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ability {
    #[default]
    WithoutPods,
    Able,
    /// It leads and cannot reach the registry for a minute or longer.
    CutOff,
}

impl Ability {
    fn best(self, other: Self) -> Self {
        match (self, other) {
            (Self::Able, _) | (_, Self::Able) => Self::Able,
            (Self::CutOff, Self::CutOff) => Self::CutOff,
            // The other target waits for the same pods.
            _ => Self::WithoutPods,
        }
    }
}

/// Shown by its name in lower case. The first ones need attention most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum SessionState {
    /// Another writer took over the session.
    Fenced,
    /// No session is open.
    #[default]
    Closed,
    /// Another replica leads.
    Standby,
    Open,
}

impl From<Phase> for SessionState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Closed { .. } | Phase::Opening => Self::Closed,
            Phase::Standby => Self::Standby,
            Phase::Open { .. } => Self::Open,
            Phase::Fenced { .. } => Self::Fenced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(session: SessionState, ability: Ability) -> ControllerStatus {
        ControllerStatus {
            session,
            ability,
            epoch: Some(7),
            in_sync: true,
            holds: Vec::new(),
            failed_renders: FailedRenders::default(),
            failed_resync: None,
            left_differing: 0,
        }
    }

    #[test]
    fn process_leads_if_one_target_is_able() {
        use Ability::{Able, CutOff, WithoutPods};
        for (abilities, expected) in [
            (vec![Able], Able),
            (vec![CutOff, Able], Able),
            (vec![WithoutPods, Able], Able),
            (vec![CutOff, CutOff], CutOff),
            (vec![CutOff, WithoutPods], WithoutPods),
            (vec![], WithoutPods),
        ] {
            let targets: Vec<_> = abilities.iter().map(|ability| status(SessionState::Open, *ability)).collect();
            assert_eq!(ControllerStatus::of_all(&targets).ability, expected, "{abilities:?}");
        }
    }

    #[test]
    fn process_shows_the_session_that_needs_attention() {
        let open = status(SessionState::Open, Ability::Able);
        assert_eq!(ControllerStatus::of_all([&open]), open);
        let fenced = ControllerStatus { in_sync: false, ..status(SessionState::Fenced, Ability::Able) };
        let all = ControllerStatus::of_all([&open, &fenced, &status(SessionState::Closed, Ability::Able)]);
        assert_eq!((all.session, all.epoch, all.in_sync), (SessionState::Fenced, None, false));
    }
}
