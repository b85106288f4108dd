//! The open connections of a server. If the table is full, the oldest connection makes room for a new one.
//!
//! | connection | its age starts with | closed |
//! | --- | --- | --- |
//! | idle | the end of its last request, or its own start | first |
//! | has an open request | the start of that request | only if no connection is idle |
//!
//! Received bytes do not make a connection younger, so a client that sends its request byte by byte counts as idle.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub(super) struct Table {
    limit: usize,
    /// The clock for ages: it counts events.
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

    /// Adds a connection. If the table is full, it closes another one and returns true.
    pub(super) fn enter(self: &Arc<Self>) -> (ConnectionSlot, bool) {
        let id = self.next();
        let slot = Slot { since: AtomicU64::new(id), requests: AtomicUsize::new(0), close: CancellationToken::new() };
        let slot = Arc::new(slot);
        let mut open = self.open.lock();
        let full = open.len() >= self.limit && close_oldest(&mut open);
        open.insert(id, Arc::clone(&slot));
        (ConnectionSlot { id, slot, table: Arc::clone(self) }, full)
    }

    /// Closes the oldest connection, to free a file descriptor.
    pub(super) fn close_oldest(&self) {
        close_oldest(&mut self.open.lock());
    }

    fn next(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
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

/// A connection's place in the table. Dropping it frees the place.
pub(super) struct ConnectionSlot {
    id: u64,
    slot: Arc<Slot>,
    table: Arc<Table>,
}

impl ConnectionSlot {
    /// Waits until the connection must close to make room for a new one.
    pub(super) async fn closed(&self) {
        self.slot.close.cancelled().await;
    }

    /// Counts a request as open until the returned value is dropped.
    pub(super) fn begin(&self) -> OpenRequest {
        self.slot.since.store(self.table.next(), Ordering::Relaxed);
        self.slot.requests.fetch_add(1, Ordering::Relaxed);
        OpenRequest { slot: Arc::clone(&self.slot), table: Arc::clone(&self.table) }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.table.open.lock().remove(&self.id);
    }
}

pub(super) struct OpenRequest {
    slot: Arc<Slot>,
    table: Arc<Table>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.slot.since.store(self.table.next(), Ordering::Relaxed);
        self.slot.requests.fetch_sub(1, Ordering::Relaxed);
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
        drop(first.begin());
        let (_fourth, full) = table.enter();
        assert!(full && is_closed(&second) && !is_closed(&first) && !is_closed(&third));
    }

    #[test]
    fn connections_with_open_requests_are_closed_last() {
        let table = Table::new(2);
        let (busy, _) = table.enter();
        let open_request = busy.begin();
        let (idle, _) = table.enter();
        let (another, full) = table.enter();
        assert!(full && is_closed(&idle) && !is_closed(&busy));
        let _another_request = another.begin();
        let (_new, full) = table.enter();
        assert!(full && is_closed(&busy), "a new connection is accepted although none is idle");
        drop(open_request);
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
        assert!(table.open.lock().is_empty());
    }
}
