//! The thread that writes: jobs in, one commit for those that wait together, answers out.

use std::{
    io,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    StoreFault,
    prune::{Retention, prune},
    query::last_change,
};
use crate::registry::server::clock::ServerClock;

/// Jobs that wait; a caller beyond them waits for a place.
const QUEUE: usize = 256;
/// Jobs that share one commit, at most.
const GROUP: usize = 64;

/// Tells a caller how its job ended, once that is certain.
type Reply = Box<dyn FnOnce() + Send>;
/// Does the work within a savepoint. `Err` takes it back.
type Job = Box<dyn FnOnce(&Connection, i64) -> Result<Reply, Reply> + Send>;

pub(super) struct Worker {
    // Emptied by `close`: the thread ends when the last sender is gone.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    last_change: watch::Receiver<u64>,
}

impl Worker {
    pub(super) fn start(
        conn: Connection,
        retention: Retention,
        clock: ServerClock,
    ) -> Result<Self, crate::registry::server::store::OpenError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (changed, last) = watch::channel(last_change(&conn)?);
        let thread = thread::Builder::new().name("registry-store".to_owned()).spawn(move || {
            work(conn, receiver, &changed, &retention, &clock);
        })?;
        Ok(Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), last_change: last })
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
        let job: Job = Box::new(move |conn, now| {
            let result = work(conn, now);
            let good = result.is_ok();
            let reply: Reply = Box::new(move || {
                // Nobody waits any more when the caller hung up; what was done stays done.
                let _ = answer.send(result);
            });
            if good { Ok(reply) } else { Err(reply) }
        });
        let jobs = self.jobs.lock().clone();
        jobs.ok_or(StoreFault::Unknown)?.send(job).await.map_err(|_| StoreFault::Unknown)?;
        answered.await.map_err(|_| StoreFault::Unknown)?
    }

    pub(super) async fn close(&self) {
        drop(self.jobs.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join().map_err(|_| io::Error::other("panicked")));
            if !matches!(joined.await, Ok(Ok(()))) {
                tracing::error!("the store's thread ended by a panic");
            }
        }
    }
}

fn work(
    mut conn: Connection,
    mut jobs: mpsc::Receiver<Job>,
    changed: &watch::Sender<u64>,
    retention: &Retention,
    clock: &ServerClock,
) {
    while let Some(first) = jobs.blocking_recv() {
        match group(&mut conn, first, &mut jobs, retention, clock) {
            Ok((replies, last)) => {
                replies.into_iter().for_each(|reply| reply());
                changed.send_if_modified(|known| std::mem::replace(known, last) != last);
            }
            // The replies are dropped with the group: every caller learns that nobody knows.
            Err(error) => tracing::error!(%error, "a commit to the database failed"),
        }
    }
    // What is in the log goes into the database, so that the next start is quick; a failure costs only that.
    if let Err(error) = conn.close() {
        tracing::warn!(error = %error.1, "closing the database failed");
    }
}

fn group(
    conn: &mut Connection,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    retention: &Retention,
    clock: &ServerClock,
) -> rusqlite::Result<(Vec<Reply>, u64)> {
    let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = clock.now_ms();
    let mut replies = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        let savepoint = tx.savepoint()?;
        match job(&savepoint, now) {
            Ok(reply) => {
                savepoint.commit()?;
                replies.push(reply);
            }
            Err(reply) => {
                savepoint.finish()?;
                replies.push(reply);
            }
        }
        next = if replies.len() < GROUP { jobs.try_recv().ok() } else { None };
    }
    prune(&tx, retention, now)?;
    let last = last_change(&tx)?;
    tx.commit()?;
    Ok((replies, last))
}
