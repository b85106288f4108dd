//! The open connections of a server, up to a limit.
//!
//! | connection | since | closed for a new one |
//! | --- | --- | --- |
//! | waits for a request, or for its client to read | its last request, or its start | first, the oldest one |
//! | has a request in work | the start of that request | only if every connection has one, the oldest one |
//!
//! Bytes alone do not make a connection younger: a client that sends its request byte by byte still waits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// Which connections are open. Time is a count of events, which is all that "oldest" needs.
pub(super) struct Table {
    limit: usize,
    events: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Slot>>>,
}

struct Slot {
    since: AtomicU64,
    requests: AtomicUsize,
    close: CancellationToken,
}

impl Table {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, events: AtomicU64::new(0), open: Mutex::default() })
    }

    /// Adds a connection. If the table is full, another one is closed for it, and the answer says so.
    pub(super) fn enter(self: &Arc<Self>) -> (ConnectionSlot, bool) {
        let id = self.next();
        let slot = Slot { since: AtomicU64::new(id), requests: AtomicUsize::new(0), close: CancellationToken::new() };
        let slot = Arc::new(slot);
        let mut open = self.open();
        let full = open.len() >= self.limit && close_oldest(&mut open);
        open.insert(id, Arc::clone(&slot));
        (ConnectionSlot { id, slot, table: Arc::clone(self) }, full)
    }

    /// Closes the oldest connection, where the process has no file descriptor left for another one.
    pub(super) fn close_oldest(&self) {
        close_oldest(&mut self.open());
    }

    fn next(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Slot>>> {
        self.open.lock()
    }
}

fn close_oldest(open: &mut BTreeMap<u64, Arc<Slot>>) -> bool {
    let age = |slot: &Slot| (slot.requests.load(Ordering::Relaxed) > 0, slot.since.load(Ordering::Relaxed));
    let oldest = open.iter().min_by_key(|(_, slot)| age(slot)).map(|(id, _)| *id);
    let closed = oldest.and_then(|id| open.remove(&id));
    closed.is_some_and(|slot| {
        slot.close.cancel();
        true
    })
}

/// A connection's place in the table, free again when this is dropped.
pub(super) struct ConnectionSlot {
    id: u64,
    slot: Arc<Slot>,
    table: Arc<Table>,
}

impl ConnectionSlot {
    /// Waits until the connection has to end because a new one needs its place.
    pub(super) async fn closed(&self) {
        self.slot.close.cancelled().await;
    }

    /// For the requests of this connection.
    pub(super) fn requests(&self) -> OpenRequests {
        OpenRequests { slot: Arc::clone(&self.slot), table: Arc::clone(&self.table) }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.table.open().remove(&self.id);
    }
}

/// Counts a connection's requests in work.
pub(super) struct OpenRequests {
    slot: Arc<Slot>,
    table: Arc<Table>,
}

impl OpenRequests {
    /// A request has come; it is in work until the returned value is dropped.
    pub(super) fn begin(&self) -> InWork {
        self.slot.since.store(self.table.next(), Ordering::Relaxed);
        self.slot.requests.fetch_add(1, Ordering::Relaxed);
        InWork(Self { slot: Arc::clone(&self.slot), table: Arc::clone(&self.table) })
    }
}

/// A request in work.
pub(super) struct InWork(OpenRequests);

impl Drop for InWork {
    fn drop(&mut self) {
        let OpenRequests { slot, table } = &self.0;
        slot.since.store(table.next(), Ordering::Relaxed);
        slot.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(place: &ConnectionSlot) -> bool {
        place.slot.close.is_cancelled()
    }

    #[test]
    fn full_table_closes_the_oldest_idle_connection() {
        let table = Table::new(3);
        let [first, second, third] = [(); 3].map(|()| table.enter().0);
        drop(first.requests().begin());
        let (_fourth, full) = table.enter();
        assert!(full && is_closed(&second) && !is_closed(&first) && !is_closed(&third));
    }

    #[test]
    fn requests_in_work_are_closed_last() {
        let table = Table::new(2);
        let (busy, _) = table.enter();
        let in_work = busy.requests().begin();
        let (idle, _) = table.enter();
        let (another, full) = table.enter();
        assert!(full && is_closed(&idle) && !is_closed(&busy));
        let _also_in_work = another.requests().begin();
        let (_new, full) = table.enter();
        assert!(full && is_closed(&busy), "a new connection is accepted though all are in work");
        drop(in_work);
    }

    #[test]
    fn ended_connections_free_their_places() {
        let table = Table::new(1);
        drop(table.enter());
        let (place, full) = table.enter();
        assert!(!full && !is_closed(&place));
        table.close_oldest();
        assert!(is_closed(&place));
        drop(place);
        assert!(table.open().is_empty());
    }
}
