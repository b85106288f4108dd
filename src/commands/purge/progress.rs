//! Follows the event loop: approves what was shown, and notices the end.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    commands::{Error, progress_line::ProgressLine},
    reconcile::{
        absence::hold::{HoldId, HoldSummary},
        status::{ControllerStatus, SessionState},
    },
    registry::mapped::deletion_log::DeletionLog,
    telemetry::metrics::{labels::RecordState, target::TargetMetrics},
};

const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Records that only refused deletions keep for this long are left.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// If the number of records stays the same for this long, the rest is left. The guard may wait for half of it before
/// the first deletion.
const STALLED_AFTER: Duration = Duration::from_secs(120);

pub(super) struct Progress {
    pub(super) status: watch::Receiver<ControllerStatus>,
    pub(super) metrics: TargetMetrics,
    pub(super) approval: mpsc::Sender<HoldId>,
    pub(super) log: DeletionLog,
    /// The number of records that were shown.
    pub(super) shown: usize,
}

impl Progress {
    /// Returns when the registry holds no record of ours, or when nothing is deleted any more.
    pub(super) async fn run(self) -> Result<(), Error> {
        let mut line = ProgressLine::new("deleting");
        let result = self.follow(&mut line).await;
        line.end().await;
        result
    }

    async fn follow(&self, line: &mut ProgressLine) -> Result<(), Error> {
        let (mut approved, mut logged, mut refused_since) = (Vec::new(), Instant::now(), None);
        let (mut least, mut advanced) = (i64::MAX, Instant::now());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let status = self.status.borrow().clone();
            if status.in_sync {
                return Ok(());
            }
            if status.session == SessionState::Fenced {
                return Err(Error::OtherWriter);
            }
            self.approve(&status.holds, &mut approved).await?;
            let counts = Counts::of(&self.metrics);
            let left = usize::try_from(counts.left).unwrap_or_default();
            line.show(self.shown.saturating_sub(left), self.shown).await;
            refused_since = counts.is_refused().then(|| refused_since.unwrap_or_else(Instant::now));
            if left > 0 && self.log.refused() >= left {
                tracing::warn!(left, "the registry refuses to delete the rest; leaving it");
                return Ok(());
            }
            if refused_since.is_some_and(|since: Instant| since.elapsed() >= REFUSED_FOR) {
                return Ok(());
            }
            if counts.all() < least {
                (least, advanced) = (counts.all(), Instant::now());
            } else if advanced.elapsed() >= STALLED_AFTER {
                tracing::warn!(
                    seconds = STALLED_AFTER.as_secs(),
                    "no record was deleted for some time; leaving the rest"
                );
                return Ok(());
            }
            if logged.elapsed() >= LOG_EVERY {
                logged = Instant::now();
                tracing::info!(left = counts.left, refused = counts.parked, "deleting the records");
            }
        }
    }

    /// Approves the holds that only an operator can release.
    async fn approve(&self, holds: &[HoldSummary], approved: &mut Vec<HoldId>) -> Result<(), Error> {
        for hold in holds.iter().filter(|hold| hold.because.needs_operator()) {
            if hold.deletions > self.shown {
                return Err(Error::MoreThanShown);
            }
            if !approved.contains(&hold.id) {
                approved.push(hold.id.clone());
                // The loop that receives it runs as long as this.
                let _ = self.approval.send(hold.id.clone()).await;
            }
        }
        Ok(())
    }
}

/// Records by state.
#[derive(Clone, Copy, Default)]
struct Counts {
    left: i64,
    parked: i64,
    moving: i64,
}

impl Counts {
    fn of(metrics: &TargetMetrics) -> Self {
        let mut counts = Self::default();
        for (state, count) in metrics.figures().records {
            match state {
                _ if state == <&str>::from(RecordState::Parked) => counts.parked = count,
                _ if state == <&str>::from(RecordState::Registered) => counts.left += count,
                _ if state == <&str>::from(RecordState::Uncertain) => {
                    counts.left += count;
                    counts.moving += count;
                }
                _ => counts.moving += count,
            }
        }
        counts
    }

    fn all(self) -> i64 {
        self.left + self.parked + self.moving
    }

    /// Whether nothing is left but what the registry refuses to delete.
    fn is_refused(self) -> bool {
        self.parked > 0 && self.moving == 0
    }
}
