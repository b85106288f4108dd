//! Requests to the registry, and their replies.
//!
//! A part of the loop returns a [`Request`] as a value; [`Requests`] sends it, and the loop hands the [`Reply`] to the
//! part it belongs to. A new request needs a variant here, a line in [`Request::send_to`], and a line in
//! `event_loop::replies` for its reply.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tracing::Instrument as _;

use super::inventory::{InventoryReader, ReadStep};
use crate::{
    model::{pod::PodRef, uid::Uid},
    reconcile::{
        election::LeaderTerm,
        outcome::{Failure, Verdict},
        pace::SentBatch,
        takeover::SessionHolder,
    },
    registry::{
        Capabilities, Encoded, Registry,
        session::{Contender, Heartbeat, OpenSession, SessionOpened},
        trace::RequestTrace,
    },
};

/// A request to the registry, besides writes.
pub(super) enum Request {
    /// Asks what the registry can do. The answer also shows that the registry is back after an outage.
    Capabilities,
    OpenSession {
        /// The term in which it is sent.
        term: LeaderTerm,
        open: OpenSession,
    },
    /// Prepares a registry without sessions for the writes of a term.
    Prepare {
        term: LeaderTerm,
        /// The number of the term for the registry.
        number: u64,
    },
    /// Closes a session that was opened after its term had ended.
    CloseSession {
        epoch: u64,
    },
    /// A request about the target as a whole.
    Notice {
        in_sync: bool,
    },
    Heartbeat(Heartbeat),
    /// Asks who holds the session.
    Holder {
        asked: AskedHolder,
        /// A heartbeat to send first. The registry refuses it, and reports this process to the writer that holds the
        /// session.
        announcement: Option<Heartbeat>,
    },
    /// Continues to read the inventory.
    Inventory {
        epoch: u64,
        reading: InventoryReader,
    },
    /// Asks for the namespaces and names of these pods' records.
    Names {
        about: NamesPurpose,
        uids: Vec<Uid>,
    },
}

/// A request that writes records.
pub(super) struct WriteRequest<O> {
    pub(super) sent: Sent,
    pub(super) operations: Vec<Encoded<O>>,
}

/// Why the registry is asked who holds the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedHolder {
    /// Before this process opens a session, in this term.
    ToOpen { term: LeaderTerm },
    /// Another writer fenced this one.
    Fenced,
}

/// Why the registry is asked for the names of records.
pub(super) enum NamesPurpose {
    /// To look up a sample of absent pods in the cluster.
    Sample {
        /// The question of the absence guard.
        round: u64,
        /// Whether the registry may hold none of them, so that it may name none.
        is_uncertain: bool,
    },
    /// To find out which pods are no longer selected after a change of settings.
    Sorting {
        /// The question of the absence guard.
        round: u64,
        /// Pods beyond the limit.
        not_looked_up: Vec<Uid>,
    },
    /// To find the watch that has to show these pods, by their namespaces.
    Places,
}

/// What a write request is about.
pub(super) struct Sent {
    pub(super) epoch: u64,
    pub(super) uids: Vec<Uid>,
    /// Whether it is a batch.
    pub(super) batched: bool,
    pub(super) batch: SentBatch,
    /// None without tracing.
    pub(super) trace: Option<RequestTrace>,
}

/// The result of a request.
pub(super) enum Reply {
    Capabilities(Result<Capabilities, Failure>),
    SessionOpened { term: LeaderTerm, result: Result<SessionOpened, Failure> },
    Prepared { term: LeaderTerm, result: Result<bool, Failure> },
    SessionClosed,
    Notice(Result<(), Failure>),
    Heartbeat { epoch: u64, result: Result<Option<Contender>, Failure> },
    Holder { asked: AskedHolder, result: Result<Option<SessionHolder>, Failure> },
    Inventory { epoch: u64, step: ReadStep },
    Names { about: NamesPurpose, result: Result<Vec<PodRef>, Failure> },
    Written { sent: Sent, result: Result<Vec<Verdict>, Failure> },
}

impl Request {
    async fn send_to<R: Registry>(self, registry: &R) -> Reply {
        match self {
            Self::Capabilities => Reply::Capabilities(registry.capabilities().await),
            Self::OpenSession { term, open } => {
                Reply::SessionOpened { term, result: registry.open_session(open).await }
            }
            Self::Prepare { term, number } => Reply::Prepared { term, result: registry.prepare(number).await },
            Self::CloseSession { epoch } => {
                if let Err(error) = registry.close_session(epoch).await {
                    tracing::debug!(epoch, %error, "the session is not closed; another replaced it, or it becomes stale");
                }
                Reply::SessionClosed
            }
            Self::Notice { in_sync } => Reply::Notice(registry.send_notice(in_sync).await),
            Self::Heartbeat(beat) => Reply::Heartbeat { epoch: beat.epoch, result: registry.heartbeat(beat).await },
            Self::Holder { asked, announcement } => {
                if let Some(beat) = announcement {
                    // The registry needs to see it. The answer is always a refusal.
                    let _ = registry.heartbeat(beat).await;
                }
                Reply::Holder { asked, result: registry.session_holder().await }
            }
            Self::Inventory { epoch, reading } => Reply::Inventory { epoch, step: reading.step(registry).await },
            Self::Names { about, uids } => Reply::Names { about, result: names(registry, uids).await },
        }
    }
}

impl<O> WriteRequest<O> {
    async fn send_to<R: Registry<Operation = O>>(self, registry: &R) -> Reply {
        let Self { sent, operations } = self;
        let write = registry.write(sent.epoch, operations, sent.batched);
        let result = match sent.trace.clone() {
            Some(trace) => trace.around(write).await,
            None => write.await,
        };
        Reply::Written { sent, result }
    }
}

/// Pods without a record are left out: their absence needs no confirmation.
async fn names<R: Registry>(registry: &R, uids: Vec<Uid>) -> Result<Vec<PodRef>, Failure> {
    let mut names = Vec::new();
    for uid in uids {
        if let Some(name) = registry.record_name(uid.clone()).await? {
            names.push(PodRef { uid, namespace: name.namespace, name: name.name });
        }
    }
    Ok(names)
}

/// The requests in flight.
pub(super) struct Requests<R> {
    registry: Arc<R>,
    others: JoinSet<Reply>,
    /// Write requests, which are abandoned when the term ends.
    writes: JoinSet<Reply>,
}

impl<R: Registry> Requests<R> {
    pub(super) fn new(registry: Arc<R>) -> Self {
        Self { registry, others: JoinSet::new(), writes: JoinSet::new() }
    }

    pub(super) fn registry(&self) -> &R {
        &self.registry
    }

    pub(super) fn send(&mut self, request: Request) {
        let registry = self.registry.clone();
        self.others.spawn(async move { request.send_to(&*registry).await }.in_current_span());
    }

    pub(super) fn write(&mut self, request: WriteRequest<R::Operation>) {
        let registry = self.registry.clone();
        self.writes.spawn(async move { request.send_to(&*registry).await }.in_current_span());
    }

    pub(super) fn writes_in_flight(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn abandon_writes(&mut self) {
        self.writes = JoinSet::new();
    }

    /// Waits for the next reply. Returns none if no request is in flight.
    pub(super) async fn next(&mut self) -> Option<Reply> {
        loop {
            let ended = tokio::select! {
                biased;
                Some(ended) = self.others.join_next() => ended,
                Some(ended) = self.writes.join_next() => ended,
                else => return None,
            };
            if let Some(reply) = reply(ended) {
                return Some(reply);
            }
        }
    }
}

fn reply(ended: Result<Reply, JoinError>) -> Option<Reply> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(reply) => Some(reply),
        // A request that panicked is a defect. Without its reply the loop would wait forever.
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => None,
    }
}
