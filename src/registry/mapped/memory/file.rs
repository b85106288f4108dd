//! A memory in a SQLite file. One thread writes it, and commits what waits together.
//!
//! Before each commit, that thread looks whether the path still names the file that is open, and whether its length and
//! the time of its last change are those of the commit before. SQLite does not notice it if another program deletes,
//! cuts or overwrites the file, and what is written then is lost with the process. The file is not read for that:
//! closing a second handle of it would end the lock. Only this thread writes the file, and only in a transaction, so
//! that both are known after each one.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Error, MemoryOwner, Recalled, RoundNote, RowChange, RowStore, StoredRow, rows, schema};
use crate::{
    model::uid::Uid,
    registry::group_commit::{CommitJob, CommitQueue, CommitReply, FailedJob, GroupHooks},
};

const READ_FOLDER: &str = "give this process the right to read its folder";

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
    /// Whether the next write has all rows of a file that was cut or overwritten.
    renews: Arc<AtomicBool>,
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
            let (failed, renews) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
            let (failures, renewals) = (failed.clone(), renews.clone());
            let opened = tokio::task::spawn_blocking(move || {
                // Our own lock has to be gone before.
                drop(before);
                let was_empty = fs::metadata(&path).is_ok_and(|found| found.len() == 0);
                let (conn, last_term) = schema::open(&path, &owner, term, |_| Ok(()))?;
                let read = rows::all(&conn).and_then(|rows| Ok((rows, rows::last_round(&conn)?)));
                let (rows, last_round) = read.map_err(|error| schema::explain(&path, error))?;
                let read = |source| Error::Read { path: path.clone(), source };
                let (file, written) = FileId::at(&path).map_err(read)?;
                let hooks = MemoryHooks { path, owner, term, file, written, renews: renewals, failed: failures };
                Ok((conn, hooks, Recalled { rows, last_term, last_round, was_empty }))
            });
            let (conn, hooks, recalled) = opened.await.map_err(|_| Error::Closed)??;
            let queue = CommitQueue::start("memory", conn, hooks).map_err(Error::Thread)?;
            let mut state = self.state.lock();
            (state.queue, state.failed, state.renews) = (Some(queue), failed, renews);
            Ok(recalled)
        }
        .boxed()
    }

    fn write(&self, rows: Vec<RowChange>, round: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>> {
        let (answer, answered) = oneshot::channel();
        let job: CommitJob = Box::new(move |conn| {
            let cause = rows::write(conn, &rows, round).err();
            let fault = cause.as_ref().map(WriteFault::of);
            let reply: CommitReply = Box::new(move || {
                // Sending fails if the caller is gone. Its rows stay.
                let _ = answer.send(fault);
            });
            if cause.is_none() { Ok(reply) } else { Err(FailedJob { reply, cause }) }
        });
        let state = self.state.lock();
        let is_sent = state.queue.as_ref().is_some_and(|queue| queue.try_send(job));
        let (failed, path) = (state.failed.clone(), self.path.clone());
        drop(state);
        async move {
            if !is_sent {
                return Err(Error::Closed);
            }
            let fault = match answered.await {
                Ok(None) => return Ok(()),
                Ok(Some(fault)) => Some(fault),
                Err(_) => failed.lock().clone(),
            };
            Err(fault.map_or(Error::Closed, |fault| fault.explain(path)))
        }
        .boxed()
    }

    fn renew(&self) {
        self.state.lock().renews.store(true, Ordering::SeqCst);
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
    Failed { cause: String, fix: &'static str },
    Deleted(String),
    Overwritten,
    Replaced,
}

impl WriteFault {
    fn of(error: &rusqlite::Error) -> Self {
        Self::Failed { cause: error.to_string(), fix: schema::fix(error) }
    }

    fn explain(self, path: PathBuf) -> Error {
        match self {
            Self::Failed { cause, fix } => Error::Write { path, cause, fix },
            Self::Deleted(cause) => Error::Deleted { path, cause },
            Self::Overwritten => Error::Overwritten { path },
            Self::Replaced => Error::Replaced { path },
        }
    }
}

/// Identifies a file, whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// How a write leaves a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastWrite {
    length: u64,
    /// By the clock of the file system. None if it has no such times.
    at: Option<SystemTime>,
}

impl LastWrite {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { length: metadata.len(), at: metadata.modified().ok() }
    }
}

impl FileId {
    /// With its last write.
    fn at(path: &Path) -> io::Result<(Self, LastWrite)> {
        fs::metadata(path).map(|metadata| (Self::of(&metadata), LastWrite::of(&metadata)))
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
    /// Our last write.
    written: LastWrite,
    renews: Arc<AtomicBool>,
    failed: Arc<Mutex<Option<WriteFault>>>,
}

impl MemoryHooks {
    /// Writes the rows of a file that was deleted into a new one.
    fn restore(&mut self, conn: &mut Connection) -> Result<(), Error> {
        let explain = |error| schema::explain(&self.path, error);
        let rows: Vec<RowChange> =
            rows::all(conn).map_err(explain)?.into_iter().map(|(key, row)| (key, Some(row))).collect();
        let round = rows::last_round(conn).map_err(explain)?.map(RoundNote::Ended);
        self.begin_file(conn, &rows, round)
    }

    /// Puts an empty file in the place of one that another program wrote.
    fn renew(&mut self, conn: &mut Connection) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(|source| Error::Read { path: self.path.clone(), source })?;
        self.begin_file(conn, &[], None)
    }

    /// Writes the rows into a new file, in one transaction.
    fn begin_file(&mut self, conn: &mut Connection, rows: &[RowChange], round: Option<RoundNote>) -> Result<(), Error> {
        let fill = |new: &Connection| rows::write(new, rows, round);
        let (new, last_term) = schema::open(&self.path, &self.owner, self.term, fill)?;
        if last_term.is_some() {
            // Another process was faster.
            return Err(Error::Replaced { path: self.path.clone() });
        }
        let read = |source| Error::Read { path: self.path.clone(), source };
        (self.file, self.written) = FileId::at(&self.path).map_err(read)?;
        *conn = new;
        Ok(())
    }

    /// Makes sure that the path names the file that is open, and that it has its rows.
    fn check(&mut self, conn: &mut Connection) -> Result<(), WriteFault> {
        match fs::metadata(&self.path) {
            Ok(found) if FileId::of(&found) == self.file && LastWrite::of(&found) == self.written => return Ok(()),
            Ok(found) if FileId::of(&found) == self.file => {
                // Its rows cannot be read any more, so the caller has to have them.
                if !self.renews.load(Ordering::SeqCst) {
                    return Err(WriteFault::Overwritten);
                }
                self.renew(conn)
            }
            Ok(found) if found.len() > 0 => return Err(WriteFault::Replaced),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WriteFault::Failed { cause: error.to_string(), fix: READ_FOLDER });
            }
            // An empty file is left behind if writing it again failed.
            Ok(_) | Err(_) => self.restore(conn),
        }
        .map_err(|error| match error {
            Error::Replaced { .. } => WriteFault::Replaced,
            error => WriteFault::Deleted(error.to_string()),
        })?;
        let path = self.path.display();
        tracing::warn!(%path, "the memory file was deleted or changed while it was in use; it was written again");
        Ok(())
    }

    /// Notes how a transaction left the file, if it is still ours.
    fn note_write(&mut self) {
        if let Ok((file, written)) = FileId::at(&self.path)
            && file == self.file
        {
            self.written = written;
        }
    }
}

impl GroupHooks for MemoryHooks {
    type Learned = ();

    fn begin(&mut self, conn: &mut Connection) -> bool {
        let checked = self.check(conn);
        self.renews.store(false, Ordering::SeqCst);
        let is_usable = checked.is_ok();
        if let Err(fault) = checked {
            *self.failed.lock() = Some(fault);
        }
        is_usable
    }

    fn complete(&mut self, _: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }

    fn committed(&mut self, (): ()) {
        self.note_write();
    }

    /// The target waits and reports it.
    fn failed(&mut self, error: &rusqlite::Error) {
        // It was rolled back, which may have written as well.
        self.note_write();
        *self.failed.lock() = Some(WriteFault::of(error));
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
