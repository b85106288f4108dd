//! A memory in a SQLite file. One thread writes it, and commits what waits together.

use std::{path::PathBuf, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Error, MemoryOwner, Recalled, RoundNote, RowChange, RowStore, rows, schema};
use crate::registry::group_commit::{CommitJob, CommitQueue, CommitReply, GroupHooks};

/// The file of one target.
pub struct MemoryFile {
    path: PathBuf,
    owner: MemoryOwner,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: Option<CommitQueue>,
    /// Why the last commit failed. For the calls whose replies are dropped with it.
    failed: Arc<Mutex<Option<String>>>,
    /// Closed, and perhaps not at its end yet.
    closing: Option<CommitQueue>,
}

impl MemoryFile {
    /// Opens nothing yet: only the leader uses the file.
    pub fn new(path: PathBuf, owner: MemoryOwner) -> Self {
        Self { path, owner, state: Mutex::default() }
    }
}

impl RowStore for MemoryFile {
    fn open(&self, term: u64) -> BoxFuture<'_, Result<Recalled, Error>> {
        self.close();
        let before = self.state.lock().closing.take();
        let (path, owner) = (self.path.clone(), self.owner.clone());
        async move {
            let opened = tokio::task::spawn_blocking(move || {
                // Our own lock has to be gone before.
                drop(before);
                let (conn, last_term) = schema::open(&path, &owner, term)?;
                let read = rows::all(&conn).and_then(|rows| Ok((rows, rows::last_round(&conn)?)));
                let (rows, last_round) = read.map_err(|error| schema::explain(&path, error))?;
                Ok((conn, Recalled { rows, last_term, last_round }))
            });
            let (conn, recalled) = opened.await.map_err(|_| Error::Closed)??;
            let failed = Arc::new(Mutex::new(None));
            let queue = CommitQueue::start("memory", conn, MemoryHooks(failed.clone())).map_err(Error::Thread)?;
            let mut state = self.state.lock();
            (state.queue, state.failed) = (Some(queue), failed);
            Ok(recalled)
        }
        .boxed()
    }

    fn write(&self, rows: Vec<RowChange>, round: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>> {
        let (answer, answered) = oneshot::channel();
        let job: CommitJob = Box::new(move |conn| {
            let result = rows::write(conn, &rows, round);
            let succeeded = result.is_ok();
            let reply: CommitReply = Box::new(move || {
                // Sending fails if the caller is gone. Its rows stay.
                let _ = answer.send(result.map_err(|error| error.to_string()));
            });
            if succeeded { Ok(reply) } else { Err(reply) }
        });
        let state = self.state.lock();
        let is_sent = state.queue.as_ref().is_some_and(|queue| queue.try_send(job));
        let (failed, path) = (state.failed.clone(), self.path.clone());
        drop(state);
        async move {
            if !is_sent {
                return Err(Error::Closed);
            }
            let cause = match answered.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(cause)) => cause,
                Err(_) => failed.lock().clone().unwrap_or_else(|| "it is closed".to_owned()),
            };
            Err(Error::Write { path, cause })
        }
        .boxed()
    }

    fn close(&self) {
        let mut state = self.state.lock();
        let Some(queue) = state.queue.take() else { return };
        queue.finish();
        // Its thread may still write. An earlier one ended before this one began.
        state.closing = Some(queue);
    }
}

struct MemoryHooks(Arc<Mutex<Option<String>>>);

impl GroupHooks for MemoryHooks {
    type Learned = ();

    fn complete(&mut self, _: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }

    fn committed(&mut self, (): ()) {}

    /// The target waits and reports it.
    fn failed(&mut self, error: &rusqlite::Error) {
        *self.0.lock() = Some(error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl MemoryFile {
        /// Runs a pragma on the connection that writes, outside of what is tested.
        pub(crate) async fn run(&self, pragma: &'static str) {
            let (answer, answered) = oneshot::channel();
            let job: CommitJob = Box::new(move |conn| {
                let result = conn.query_row(pragma, [], |_| Ok(()));
                Ok(Box::new(move || _ = answer.send(result)))
            });
            assert!(self.state.lock().queue.as_ref().unwrap().try_send(job));
            answered.await.unwrap().unwrap();
        }
    }
}
