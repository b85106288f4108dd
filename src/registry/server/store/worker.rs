//! The queue of the store's writes, and what each commit does besides them: it prunes, and numbers the changes.

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::{
    OpenError, StoreFault,
    prune::{Retention, prune},
    query::last_change,
};
use crate::registry::{
    group_commit::{CommitJob, CommitQueue, CommitReply, FailedJob, GroupHooks},
    server::clock::ServerClock,
};

pub(super) struct Worker {
    queue: std::sync::Arc<CommitQueue>,
    last_change: watch::Receiver<u64>,
    clock: ServerClock,
}

/// What a commit does besides the writes.
struct StoreHooks {
    changed: watch::Sender<u64>,
    retention: Retention,
    clock: ServerClock,
}

impl Worker {
    pub(super) fn start(conn: Connection, retention: Retention, clock: ServerClock) -> Result<Self, OpenError> {
        let (changed, last_change) = watch::channel(last_change(&conn)?);
        let hooks = StoreHooks { changed, retention, clock: clock.clone() };
        let queue = CommitQueue::start("registry-store", conn, hooks)?;
        Ok(Self { queue: queue.into(), last_change, clock })
    }

    pub(super) fn last_change(&self) -> watch::Receiver<u64> {
        self.last_change.clone()
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, i64) -> Result<T, StoreFault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let clock = self.clock.clone();
        let job: CommitJob = Box::new(move |conn| {
            let result = work(conn, clock.now_ms());
            let succeeded = result.is_ok();
            let reply: CommitReply = Box::new(move || {
                // Sending fails if the caller is gone. Its write stays.
                let _ = answer.send(result);
            });
            if succeeded { Ok(reply) } else { Err(FailedJob { reply, cause: None }) }
        });
        if !self.queue.send(job).await {
            return Err(StoreFault::Unknown);
        }
        answered.await.map_err(|_| StoreFault::Unknown)?
    }

    pub(super) async fn close(&self) {
        let queue = self.queue.clone();
        // Joining blocks. It fails only if the runtime is ending.
        let _ = tokio::task::spawn_blocking(move || queue.join()).await;
    }
}

impl GroupHooks for StoreHooks {
    type Learned = u64;

    fn complete(&mut self, tx: &Connection) -> rusqlite::Result<u64> {
        prune(tx, &self.retention, self.clock.now_ms())?;
        last_change(tx)
    }

    fn committed(&mut self, last: u64) {
        self.changed.send_if_modified(|known| std::mem::replace(known, last) != last);
    }

    /// Callers see dropped replies as `StoreFault::Unknown`.
    fn failed(&mut self, error: &rusqlite::Error) {
        tracing::error!(%error, "database commit failed; check free space and the disk");
    }
}
