//! A memory in a SQLite file. One thread writes it, and commits what waits together.
//!
//! Before each commit, that thread looks whether the path still names the file that is open. SQLite does not notice it
//! if another program deletes the file, and what is written then is lost with the process.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Error, MemoryOwner, Recalled, RoundNote, RowChange, RowStore, StoredRow, rows, schema};
use crate::{
    model::uid::Uid,
    registry::group_commit::{CommitJob, CommitQueue, CommitReply, GroupHooks},
};

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
    failed: Arc<Mutex<Option<WriteFault>>>,
    /// Closed, and perhaps not at its end yet.
    closing: Option<CommitQueue>,
}

impl MemoryFile {
    /// Opens nothing yet: only the leader uses the file.
    pub fn new(path: PathBuf, owner: MemoryOwner) -> Self {
        Self { path, owner, state: Mutex::default() }
    }

    /// Reads the rows of a file that no process uses, and changes nothing.
    ///
    /// # Errors
    /// There is no such file, it cannot be read, it belongs to something else, or a process uses it.
    pub async fn read(&self) -> Result<Vec<(Uid, StoredRow)>, Error> {
        let (path, owner) = (self.path.clone(), self.owner.clone());
        let read = tokio::task::spawn_blocking(move || schema::read(&path, &owner));
        read.await.map_err(|_| Error::Closed)?
    }
}

impl RowStore for MemoryFile {
    fn open(&self, term: u64) -> BoxFuture<'_, Result<Recalled, Error>> {
        self.close();
        let before = self.state.lock().closing.take();
        let (path, owner) = (self.path.clone(), self.owner.clone());
        async move {
            let failed = Arc::new(Mutex::new(None));
            let failures = failed.clone();
            let opened = tokio::task::spawn_blocking(move || {
                // Our own lock has to be gone before.
                drop(before);
                let (conn, last_term) = schema::open(&path, &owner, term, |_| Ok(()))?;
                let read = rows::all(&conn).and_then(|rows| Ok((rows, rows::last_round(&conn)?)));
                let (rows, last_round) = read.map_err(|error| schema::explain(&path, error))?;
                let read = |source| Error::Read { path: path.clone(), source };
                let file = FileId::at(&path).map_err(read)?;
                let hooks = MemoryHooks { path, owner, term, file, failed: failures };
                Ok((conn, hooks, Recalled { rows, last_term, last_round }))
            });
            let (conn, hooks, recalled) = opened.await.map_err(|_| Error::Closed)??;
            let queue = CommitQueue::start("memory", conn, hooks).map_err(Error::Thread)?;
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
                Err(_) => match failed.lock().clone() {
                    Some(WriteFault::Replaced) => return Err(Error::Replaced { path }),
                    Some(WriteFault::Deleted(cause)) => return Err(Error::Deleted { path, cause }),
                    Some(WriteFault::Failed(cause)) => cause,
                    None => "it is closed".to_owned(),
                },
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

/// Why nothing is written.
#[derive(Clone, Debug)]
enum WriteFault {
    Failed(String),
    Deleted(String),
    Replaced,
}

/// Identifies a file, whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

struct MemoryHooks {
    path: PathBuf,
    owner: MemoryOwner,
    term: u64,
    /// The file that is open.
    file: FileId,
    failed: Arc<Mutex<Option<WriteFault>>>,
}

impl MemoryHooks {
    /// Writes the rows into a new file, in one transaction.
    fn restore(&mut self, conn: &mut Connection) -> Result<(), Error> {
        let explain = |error| schema::explain(&self.path, error);
        let rows: Vec<RowChange> =
            rows::all(conn).map_err(explain)?.into_iter().map(|(key, row)| (key, Some(row))).collect();
        let round = rows::last_round(conn).map_err(explain)?.map(RoundNote::Ended);
        let fill = |new: &Connection| rows::write(new, &rows, round);
        let (new, last_term) = schema::open(&self.path, &self.owner, self.term, fill)?;
        if last_term.is_some() {
            // Another process was faster.
            return Err(Error::Replaced { path: self.path.clone() });
        }
        self.file = FileId::at(&self.path).map_err(|source| Error::Read { path: self.path.clone(), source })?;
        *conn = new;
        Ok(())
    }
}

impl GroupHooks for MemoryHooks {
    type Learned = ();

    fn begin(&mut self, conn: &mut Connection) -> bool {
        let fault = match fs::metadata(&self.path) {
            Ok(found) if FileId::of(&found) == self.file => return true,
            Ok(found) if found.len() > 0 => WriteFault::Replaced,
            Err(error) if error.kind() != io::ErrorKind::NotFound => WriteFault::Failed(error.to_string()),
            // An empty file is left behind if writing it again failed.
            Ok(_) | Err(_) => match self.restore(conn) {
                Ok(()) => {
                    let path = self.path.display();
                    tracing::warn!(%path, "the memory file was deleted while it was in use; it was written again");
                    return true;
                }
                Err(Error::Replaced { .. }) => WriteFault::Replaced,
                Err(error) => WriteFault::Deleted(error.to_string()),
            },
        };
        *self.failed.lock() = Some(fault);
        false
    }

    fn complete(&mut self, _: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }

    fn committed(&mut self, (): ()) {}

    /// The target waits and reports it.
    fn failed(&mut self, error: &rusqlite::Error) {
        *self.failed.lock() = Some(WriteFault::Failed(error.to_string()));
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
