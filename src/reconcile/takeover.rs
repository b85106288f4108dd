//! Taking over the session of another process: when that is allowed without a Lease, and what is told meanwhile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::session::TTL;
use crate::model::moment::Moment;

/// A live session is taken over after its heartbeat was not renewed for this long: heartbeats come every third of the
/// ttl, and one may be slow.
const MISSED_AFTER: Duration = Duration::from_secs(TTL.as_secs() / 3 + 15);
/// How long a process waits for another one's session before it announces itself: longer than a hand-over takes.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(15);
/// How often the session is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The writer that holds a session, and how the session stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherWriter {
    /// Its epoch.
    pub epoch: u64,
    /// The process.
    pub instance: String,
    /// What its session declares of the settings by which its records are selected, if it declares anything.
    pub scope: Option<String>,
    /// The UID of the `kube-system` namespace of its cluster, if it is known.
    pub cluster_uid: Option<String>,
    /// A text that changes with each heartbeat, if the registry tells one.
    pub heartbeat: Option<String>,
    /// Records that the registry holds of this writer.
    pub records: u64,
    /// How its session stands.
    pub state: SessionLiveness,
}

impl OtherWriter {
    /// Whether its session is stale or closed.
    pub fn is_over(&self) -> bool {
        self.state != SessionLiveness::Live
    }
}

/// How a session stands in the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionLiveness {
    /// Its heartbeat is not older than its ttl.
    #[default]
    Live,
    /// Its heartbeat is overdue. Its writes are still accepted.
    Stale,
    /// Its writer stopped as asked.
    Closed,
}

/// What is known of another process's session, by our own monotonic time.
#[derive(Debug, Default)]
pub struct Takeover {
    observed: Option<(u64, Option<String>, Moment)>,
    waiting_since: Option<Moment>,
}

impl Takeover {
    /// Whether a session may be opened in the place of this one, and when to look again otherwise. `ours` says whether an
    /// earlier life of this process opened it.
    ///
    /// # Errors
    /// The session is live and another process's, and no heartbeat was missed yet.
    pub fn check(&mut self, other: &OtherWriter, ours: bool, now: Moment) -> Result<(), Moment> {
        if other.is_over() || ours {
            *self = Self::default();
            return Ok(());
        }
        let seen = (other.epoch, other.heartbeat.clone());
        let since = match &self.observed {
            Some((epoch, heartbeat, since)) if (*epoch, heartbeat.clone()) == seen => *since,
            _ => now,
        };
        // Without a heartbeat to look at, the registry has to say that the session is over.
        if other.heartbeat.is_some() && now >= since + MISSED_AFTER {
            *self = Self::default();
            return Ok(());
        }
        self.observed = Some((seen.0, seen.1, since));
        self.waiting_since.get_or_insert(now);
        Err(now + LOOK_EVERY)
    }

    /// The epoch with which this process announces itself to the writer that it waits for, once it has waited so long
    /// that the other one does not merely hand over. The registry refuses it, and tells the writer.
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

    fn live(heartbeat: &str) -> OtherWriter {
        OtherWriter { epoch: 3, instance: "b:2".into(), heartbeat: Some(heartbeat.into()), ..OtherWriter::default() }
    }

    #[test]
    fn live_session_is_taken_over_after_missed_heartbeat() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.check(&live("1"), false, at(0)), Err(at(5)));
        assert_eq!(takeover.check(&live("2"), false, at(30)), Err(at(35)), "it lives");
        assert_eq!(takeover.check(&live("2"), false, at(74)), Err(at(79)));
        assert_eq!(takeover.check(&live("2"), false, at(75)), Ok(()));
        let silent = OtherWriter { heartbeat: None, ..live("") };
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
        assert_eq!(takeover.check(&OtherWriter { state: SessionLiveness::Stale, ..live("1") }, false, at(0)), Ok(()));
    }
}
