//! Stores sessions, records, tombstones and the change log in SQLite.
//!
//! One thread owns the connection that writes. It commits waiting writes together, so that many small writes share one
//! wait for the disk, and answers each after the commit. Reads use connections of their own and never wait for a write,
//! except with a database in memory, which has one connection.

pub(crate) mod apply;
pub mod prune;
pub mod query;
pub(crate) mod read;
mod schema;
pub(crate) mod session;
mod worker;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot, watch};

use super::clock::ServerClock;
use crate::registry::protocol::Problem;
use prune::Retention;
use query::LoggedChange;
use worker::Worker;

/// Connections for reads.
const READERS: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not accessible, is not a database, or another process holds its lock.
    #[error("cannot open the database: {0}; check --database, its folder's permissions and free space")]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "the database {} has schema version {found}, and this release knows {known}; use the release that wrote it, \
         restore a copy from before the upgrade, or choose another --database",
        path.display()
    )]
    NewerSchema { path: PathBuf, found: i64, known: usize },
    #[error("the database was not written by this program; choose another --database")]
    NotOurs,
    #[error(
        "the database's file system does not support a write-ahead log (journal mode {mode}); \
         put --database on a local disk"
    )]
    NoWal { mode: String },
    #[error("cannot start the store's thread: {0}; check the limits on threads and memory")]
    Thread(#[from] std::io::Error),
}

/// Why a read or write of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The protocol forbids it. Nothing was changed.
    #[error("refused: {}", .0.name())]
    Refused(Box<Problem>),
    /// The disk is full or broken, or another process holds the lock of the database.
    #[error("the database failed: {0}; check free space and the disk")]
    Sqlite(#[from] rusqlite::Error),
    /// The commit failed or the store is closed. The write may have been applied.
    #[error("the store did not answer; it is stopping or its commit failed")]
    Unknown,
}

impl From<Box<Problem>> for StoreFault {
    fn from(problem: Box<Problem>) -> Self {
        Self::Refused(problem)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct RecordStore(Arc<Inner>);

struct Inner {
    worker: Worker,
    readers: Option<Readers>,
    clock: ServerClock,
}

/// Connections for reads. There is one permit per connection in the list.
struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl RecordStore {
    /// Opens the database file, or without one a database in memory.
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

    /// Finishes the waiting calls and closes every connection. Later calls fail.
    pub async fn close(&self) {
        if let Some(Readers { free, permits }) = &self.0.readers {
            // With all permits, all connections are in the list. They close first, since the last connection moves the
            // write-ahead log into the database, which a reader cannot do.
            if let Ok(_all) = permits.acquire_many(READERS).await {
                free.lock().clear();
                permits.close();
            }
        }
        self.0.worker.close().await;
    }

    /// Follows the number of the last committed change.
    pub(crate) fn last_change(&self) -> watch::Receiver<u64> {
        self.0.worker.last_change()
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Runs `work` in a transaction, which may be shared with other writes, and returns after the commit. An error
    /// rolls back the changes of `work` alone.
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
        // The closure owns the connection and the permit, so that it returns both even if the caller is gone.
        tokio::task::spawn_blocking(move || {
            let taken = free.lock().pop();
            if let Some(conn) = taken {
                // It only reads, so that rolling back at the end changes nothing.
                let result = conn.unchecked_transaction().map_err(Into::into).and_then(|tx| work(&tx, now));
                let _ = sender.send(result);
                free.lock().push(conn);
            }
            drop(permit);
        })
        .await
        .map_err(|_| StoreFault::Unknown)?;
        receiver.await.map_err(|_| StoreFault::Unknown)?
    }

    /// The logged changes after number `n`, for tests and the demo.
    pub async fn changes_since(&self, n: u64) -> Result<Vec<LoggedChange>, StoreFault> {
        self.read(move |conn, _| query::logged(conn, None, n, usize::MAX)).await
    }
}
