//! Liveness of one watch: how long it has been silent, and whether its cluster was restored from a backup.
//!
//! After a restore, a watch may start at a version that the cluster has not reached yet. The API server accepts it and
//! stays silent, so the restore would go unnoticed until the next list. After a period without events, a probe requests
//! the cluster's newest version.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};

use super::list::{self, ListSource};
use crate::{
    model::{ids::compare_resource_versions, moment::Moment},
    reconcile::{freshness::NewestVersion, silence::Hearing},
};

/// Delay of a probe after a failure. An unreachable API server may have been restored.
const PROBE_AFTER_FAILURE: Duration = Duration::from_secs(5);
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// The cluster's newest version.
pub(super) type Probed = Result<String, list::Error>;

pub(super) struct Liveness {
    source: ListSource,
    pub(super) hearing: Hearing,
    /// Delay of a probe after an event.
    probe_after: Duration,
    probe_at: Moment,
    probe: Option<Probe>,
}

/// A request for the cluster's newest version.
struct Probe {
    /// The newest version that was seen before the request.
    seen: Option<String>,
    answer: BoxFuture<'static, Probed>,
}

impl Liveness {
    pub(super) fn new(source: ListSource, probe_after: Duration, now: Moment) -> Self {
        Self { source, hearing: Hearing::new(now), probe_after, probe_at: now, probe: None }
    }

    /// The watch began or delivered an event.
    pub(super) fn note_event(&mut self, now: Moment) {
        self.probe_at = now + self.probe_after;
    }

    /// The watch failed.
    pub(super) fn failed(&mut self, now: Moment) {
        self.probe_at = now + self.probe_after.min(PROBE_AFTER_FAILURE);
    }

    /// Starts a probe if one is due.
    pub(super) fn probe(&mut self, newest: &NewestVersion, now: Moment) {
        if now < self.probe_at || self.probe.is_some() {
            return;
        }
        let source = self.source.clone();
        let answer = async move { source.newest_version(PROBE_WITHIN).await }.boxed();
        self.probe = Some(Probe { seen: newest.version().map(str::to_owned), answer });
    }

    /// The answer to the running probe. Pending if there is none.
    pub(super) async fn answer(&mut self) -> Probed {
        match &mut self.probe {
            Some(probe) => (&mut probe.answer).await,
            None => std::future::pending().await,
        }
    }

    /// Whether the answer to a probe is older than what was seen before the probe. False for a failed probe: then the
    /// watch fails and retries as well.
    pub(super) fn is_older(&mut self, probed: Probed, now: Moment) -> bool {
        self.probe_at = now + self.probe_after;
        let (Some(Probe { seen, .. }), Ok(found)) = (self.probe.take(), probed) else { return false };
        self.hearing.answers(now);
        seen.is_some_and(|seen| compare_resource_versions(&found, &seen).is_some_and(|order| order.is_lt()))
    }
}
