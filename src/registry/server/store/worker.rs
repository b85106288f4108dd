//! The thread that writes. It runs waiting jobs in one transaction, commits, and then answers them.

use std::{
    io,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    OpenError, StoreFault,
    prune::{Retention, prune},
    query::last_change,
};
use crate::registry::server::clock::ServerClock;

/// Jobs in the queue. Callers wait while it is full.
const QUEUE: usize = 256;
/// Jobs per commit, at most.
const GROUP: usize = 64;

/// Sends the result to the caller, after the commit.
type Reply = Box<dyn FnOnce() + Send>;
/// Runs within a savepoint. `Err` rolls it back.
type Job = Box<dyn FnOnce(&Connection, i64) -> Result<Reply, Reply> + Send>;

pub(super) struct Worker {
    // `close` empties it. The thread ends when the last sender is gone.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    last_change: watch::Receiver<u64>,
}

impl Worker {
    pub(super) fn start(conn: Connection, retention: Retention, clock: ServerClock) -> Result<Self, OpenError> {
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
            let succeeded = result.is_ok();
            let reply: Reply = Box::new(move || {
                // Sending fails if the caller is gone. Its write stays.
                let _ = answer.send(result);
            });
            if succeeded { Ok(reply) } else { Err(reply) }
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
                tracing::error!("store thread panicked; please report this bug");
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
            // The group's replies are dropped, which its callers see as `StoreFault::Unknown`.
            Err(error) => tracing::error!(%error, "database commit failed; check free space and the disk"),
        }
    }
    // Closing moves the write-ahead log into the database. If it fails, only the next start is slower.
    if let Err(error) = conn.close() {
        tracing::warn!(error = %error.1, "database not closed cleanly; the next start recovers it");
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
        replies.push(match job(&savepoint, now) {
            Ok(reply) => {
                savepoint.commit()?;
                reply
            }
            Err(reply) => {
                savepoint.finish()?;
                reply
            }
        });
        next = if replies.len() < GROUP { jobs.try_recv().ok() } else { None };
    }
    prune(&tx, retention, now)?;
    let last = last_change(&tx)?;
    tx.commit()?;
    Ok((replies, last))
}
