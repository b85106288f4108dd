//! Decides when a process may take over the session of another one, if there is no Lease to decide it: when the session
//! is closed, stale, or has missed a heartbeat.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::session::TTL;
use crate::model::moment::Moment;

/// A live session is taken over if its heartbeat is not renewed for this long. Heartbeats come every third of the ttl,
/// and one may be slow.
const MISSED_AFTER: Duration = Duration::from_secs(TTL.as_secs() / 3 + 15);
/// A process that waits for another session announces itself after this time, which is longer than a hand-over takes.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(15);
/// Time between two requests that ask for the session of the other process.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A session that the registry reports, and the process that opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedSession {
    pub epoch: u64,
    /// The name of the process.
    pub instance: String,
    /// The text of a [`crate::reconcile::declaration::Declaration`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The UID of the `kube-system` namespace of its cluster, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    pub state: SessionLiveness,
}

/// The newest session of this owner, and what else the registry reports with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionHolder {
    pub session: ReportedSession,
    /// Changes with each heartbeat. None if the registry does not report heartbeats.
    pub heartbeat: Option<String>,
    /// The number of records that the registry holds of this owner.
    pub records: u64,
}

impl ReportedSession {
    /// Whether the session is closed or stale.
    pub fn is_over(&self) -> bool {
        self.state != SessionLiveness::Live
    }
}

/// The state of a session in the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionLiveness {
    #[default]
    Live,
    /// The heartbeat is overdue. Writes are still accepted.
    Stale,
    /// The writer closed the session.
    Closed,
}

/// The session of another process, observed by our monotonic clock.
#[derive(Debug, Default)]
pub struct Takeover {
    observed: Option<(u64, Option<String>, Moment)>,
    waiting_since: Option<Moment>,
}

impl Takeover {
    /// Whether this session may be replaced. `ours` says whether this process or an earlier run of it did
    /// open it.
    ///
    /// # Errors
    /// The session is live and belongs to another process. Contains the time of the next check.
    pub fn check(&mut self, other: &SessionHolder, ours: bool, now: Moment) -> Result<(), Moment> {
        if other.session.is_over() || ours {
            *self = Self::default();
            return Ok(());
        }
        let seen = (other.session.epoch, other.heartbeat.clone());
        let since = match &self.observed {
            Some((epoch, heartbeat, since)) if (*epoch, heartbeat.clone()) == seen => *since,
            _ => now,
        };
        // Without a heartbeat to observe, the registry has to say that the session is over.
        if other.heartbeat.is_some() && now >= since + MISSED_AFTER {
            *self = Self::default();
            return Ok(());
        }
        self.observed = Some((seen.0, seen.1, since));
        self.waiting_since.get_or_insert(now);
        Err(now + LOOK_EVERY)
    }

    /// The epoch with which this process announces itself to the other writer, once it has waited longer than a
    /// hand-over takes. The registry refuses the epoch and reports the attempt to the writer.
    pub fn announcement_epoch(&self, now: Moment) -> Option<u64> {
        let (epoch, ..) = self.observed.as_ref()?;
        self.waiting_since.filter(|since| now >= *since + ANNOUNCED_AFTER).map(|_| epoch.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    fn live(heartbeat: &str) -> SessionHolder {
        let session = ReportedSession { epoch: 3, instance: "b:2".into(), ..ReportedSession::default() };
        SessionHolder { session, heartbeat: Some(heartbeat.into()), records: 0 }
    }

    #[test]
    fn live_session_is_taken_over_after_missed_heartbeat() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.check(&live("1"), false, at(0)), Err(at(5)));
        assert_eq!(takeover.check(&live("2"), false, at(30)), Err(at(35)), "it is alive");
        assert_eq!(takeover.check(&live("2"), false, at(74)), Err(at(79)));
        assert_eq!(takeover.check(&live("2"), false, at(75)), Ok(()));
        let silent = SessionHolder { heartbeat: None, ..live("") };
        assert!(takeover.check(&silent, false, at(0)).is_err());
        assert!(takeover.check(&silent, false, at(900)).is_err(), "the registry has to say that it is over");
    }

    #[test]
    fn long_wait_is_announced() {
        let mut takeover = Takeover::default();
        assert!(takeover.check(&live("1"), false, at(0)).is_err());
        assert_eq!(takeover.announcement_epoch(at(14)), None);
        assert!(takeover.check(&live("2"), false, at(44)).is_err());
        assert_eq!(takeover.announcement_epoch(at(15)), Some(2), "an epoch that the registry refuses");
        assert_eq!(takeover.check(&live("2"), false, at(89)), Ok(()));
        assert_eq!(takeover.announcement_epoch(at(200)), None);
    }

    #[test]
    fn own_or_ended_session_is_replaced_at_once() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.check(&live("1"), true, at(0)), Ok(()));
        let mut stale = live("1");
        stale.session.state = SessionLiveness::Stale;
        assert_eq!(takeover.check(&stale, false, at(0)), Ok(()));
    }
}
