//! The registry's memory: sessions, records, tombstones and the log of changes, in SQLite.
//!
//! One thread owns the connection that writes. What waits for it is done in one transaction, so that many small
//! writes share one wait for the disk; each is answered after the commit. Reads of a file go to connections of
//! their own and never wait for a write.

pub(crate) mod apply;
pub mod prune;
pub mod query;
pub(crate) mod read;
mod schema;
pub(crate) mod session;
mod worker;

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot, watch};

use prune::Retention;
use query::{LoggedChange, StoredRecord};
use query::{all_changes, all_records};

use super::clock::ServerClock;
use crate::registry::protocol::Problem;
use worker::Worker;

/// Connections that read at the same time.
const READERS: u32 = 4;

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite refused: no permission, no space, not a database, locked for long.
    #[error("cannot open the database: {0}; check --database, its folder's permissions and free space")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a newer release.
    #[error(
        "the database has schema version {found}, this release knows {known}: \
         use the release that wrote it, or another --database"
    )]
    NewerSchema {
        /// The version in the file.
        found: i64,
        /// The newest version that this release knows.
        known: usize,
    },
    /// The file is another program's database.
    #[error("the database was not written by this program; choose another --database")]
    NotOurs,
    /// The file system cannot hold a write-ahead log.
    #[error("the database's file system does not take a write-ahead log (journal mode {mode}); use a local disk")]
    NoWal {
        /// The mode that SQLite fell back to.
        mode: String,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the store's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The protocol forbids it; nothing was changed.
    #[error("refused: {}", .0.name())]
    Refused(Box<Problem>),
    /// SQLite failed: the disk is full or broken, or a lock was held for long.
    #[error("the database failed: {0}; check free space and the disk")]
    Sqlite(#[from] rusqlite::Error),
    /// The commit failed or the store was closed: whether it was done is unknown.
    #[error("the store did not answer; it is stopping or its commit failed")]
    Unknown,
}

impl From<Box<Problem>> for StoreFault {
    fn from(problem: Box<Problem>) -> Self {
        Self::Refused(problem)
    }
}

/// A handle to the store. Cheap to clone.
#[derive(Clone)]
pub struct RecordStore(Arc<Inner>);

struct Inner {
    worker: Worker,
    readers: Option<Readers>,
    clock: ServerClock,
}

/// Connections to the file; the semaphore counts those in the list.
struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl RecordStore {
    /// Opens the database file, or a database in memory.
    ///
    /// # Errors
    /// When the file cannot be opened, is not ours, or was written by a newer release.
    pub fn open(file: Option<&Path>, retention: Retention, clock: ServerClock) -> Result<Self, OpenError> {
        let conn = schema::open_writer(file)?;
        let readers = match file {
            None => None,
            Some(path) => {
                let free = (0..READERS).map(|_| schema::open_reader(path)).collect::<Result<Vec<_>, _>>()?;
                let permits = Arc::new(Semaphore::new(free.len()));
                Some(Readers { free: Arc::new(Mutex::new(free)), permits })
            }
        };
        let worker = Worker::start(conn, retention, clock.clone())?;
        Ok(Self(Arc::new(Inner { worker, readers, clock })))
    }

    /// Closes every connection, after what waits for it is done. Later calls fail.
    pub async fn close(&self) {
        if let Some(Readers { free, permits }) = &self.0.readers {
            // With all permits in hand all connections are in the list. They go first: the last connection to be
            // closed moves the log into the database, and readers may not.
            if let Ok(_all) = permits.acquire_many(READERS).await {
                free.lock().clear();
                permits.close();
            }
        }
        self.0.worker.close().await;
    }

    /// The number of the last change that was committed; it wakes whoever follows the changes.
    pub(crate) fn last_change(&self) -> watch::Receiver<u64> {
        self.0.worker.last_change()
    }

    /// The time, as milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Runs `work` in a transaction of its own (or one shared with neighbours) and answers after the commit.
    /// An error takes back what `work` did.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, i64) -> Result<T, StoreFault> + Send + 'static,
    {
        self.0.worker.run(work).await
    }

    /// Runs `work` on one consistent view of the database.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, i64) -> Result<T, StoreFault> + Send + 'static,
    {
        let Some(readers) = &self.0.readers else { return self.write(work).await };
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(|_| StoreFault::Unknown)?;
        let free = Arc::clone(&readers.free);
        let now = self.now_ms();
        let (sender, receiver) = oneshot::channel();
        // The closure owns connection and permit: both come back also when nobody waits for the answer any more.
        tokio::task::spawn_blocking(move || {
            let taken = free.lock().pop();
            if let Some(conn) = taken {
                let _ = sender.send(consistent(&conn, now, work));
                free.lock().push(conn);
            }
            drop(permit);
        })
        .await
        .map_err(|_| StoreFault::Unknown)?;
        receiver.await.map_err(|_| StoreFault::Unknown)?
    }

    /// Every record of a writer by id, for tests and demonstrations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn records(
        &self,
        cluster: &str,
        owner: &str,
    ) -> Result<std::collections::BTreeMap<String, StoredRecord>, StoreFault> {
        let (cluster, owner) = (cluster.to_owned(), owner.to_owned());
        self.read(move |conn, _| all_records(conn, &cluster, &owner)).await
    }

    /// The whole log of changes that is kept, for tests and demonstrations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changes(&self) -> Result<Vec<LoggedChange>, StoreFault> {
        self.changes_since(0).await
    }

    /// The changes that are kept of those after number `n`, for tests and demonstrations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changes_since(&self, n: u64) -> Result<Vec<LoggedChange>, StoreFault> {
        self.read(move |conn, _| all_changes(conn, n)).await
    }
}

fn consistent<T>(
    conn: &Connection,
    now: i64,
    work: impl FnOnce(&Connection, i64) -> Result<T, StoreFault>,
) -> Result<T, StoreFault> {
    // Nothing was written, so that it does not matter how the transaction ends.
    let tx = conn.unchecked_transaction()?;
    work(&tx, now)
}
