//! Watches: one line per change after a resource version, until the client's timeout.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, http::StatusCode, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Api,
    history::HistoryEntry,
    object::JsonObject,
    query::Query,
    selector::Selector,
    status::{StatusError, json_response},
    store::ApiState,
};

/// Changes that are read from the history under one lock.
const BATCH: usize = 256;

/// Time before its timeout at which a watch sends its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The annotation of the bookmark after the initial events.
const INITIAL_EVENTS_END: &str = r#","annotations":{"k8s.io/initial-events-end":"true"}"#;

/// The range of the default timeout, in seconds.
const DEFAULT_TIMEOUT: std::ops::Range<u64> = 1_800..3_600;

#[derive(Debug)]
struct Filter {
    namespace: Option<String>,
    selector: Selector,
}

impl Filter {
    fn matches(&self, pod: &JsonObject) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == pod.names().0) && self.selector.matches(pod)
    }

    /// The event of a change. A pod that leaves the selection is deleted, and one that enters it is added.
    fn see(&self, change: &HistoryEntry) -> Option<(&'static str, Arc<JsonObject>)> {
        let before = change.before.as_ref().filter(|before| self.matches(before));
        let now = !change.deleted && self.matches(&change.object);
        match (before, now) {
            (None, true) => Some(("ADDED", change.object.clone())),
            (Some(_), true) => Some(("MODIFIED", change.object.clone())),
            (Some(_), false) if change.deleted => Some(("DELETED", change.object.clone())),
            // The last state that matched, with the version of the change after which it no longer does.
            (Some(before), false) => Some(("DELETED", Arc::new(before.at(change.resource_version).ok()?))),
            (None, false) => None,
        }
    }
}

struct Session {
    api: Api,
    filter: Filter,
    /// Changes up to this resource version were sent or did not match.
    at: u64,
    /// The server's resource version when the watch began.
    began: u64,
    generation: u64,
    pending: VecDeque<Bytes>,
    changed: watch::Receiver<()>,
    deadline: Instant,
    next_bookmark: Option<Instant>,
    ended: bool,
}

pub(super) fn respond(api: &Api, namespace: Option<String>, query: &Query) -> Response {
    let changed = api.shared.changed.subscribe();
    let filter = Filter { namespace, selector: query.selector.clone() };
    let now = Instant::now();
    let mut pending = VecDeque::new();
    let (at, began, generation, timeout, ended) = {
        let mut state = api.state();
        let (at, ended) = match begin(&state, &filter, query) {
            Ok((at, present)) => {
                pending.extend(present.iter().map(|pod| line("ADDED", pod)));
                if query.initial_events && query.bookmarks {
                    pending.push_back(bookmark(at, INITIAL_EVENTS_END));
                }
                (at, false)
            }
            // A real server answers 200 and sends this as the first and last event.
            Err(failure) => {
                pending.push_back(error_line(&failure));
                (state.resource_version, true)
            }
        };
        let timeout = query.timeout.unwrap_or_else(|| Duration::from_secs(state.random.u64(DEFAULT_TIMEOUT)));
        (at, state.resource_version, state.generation, timeout, ended)
    };
    let mut session = Session {
        api: api.clone(),
        filter,
        at,
        began,
        generation,
        pending,
        changed,
        deadline: now + timeout,
        next_bookmark: None,
        ended,
    };
    if query.bookmarks {
        session.schedule_bookmark(now);
    }
    json_response(StatusCode::OK, Body::from_stream(stream::unfold(session, Session::next)))
}

/// The resource version at which a watch starts, and the pods of its initial events.
fn begin(state: &ApiState, filter: &Filter, query: &Query) -> Result<(u64, Vec<Arc<JsonObject>>), StatusError> {
    match query.resource_version {
        Some(version) if query.initial_events && version > state.resource_version => {
            Err(StatusError::too_large(version, state.resource_version))
        }
        _ if query.initial_events => {
            let present = state.pods.values().filter(|pod| filter.matches(pod)).cloned().collect();
            Ok((state.resource_version, present))
        }
        Some(version) if !state.history.holds(version) => Err(StatusError::too_old(version, state.resource_version)),
        version => Ok((version.unwrap_or(state.resource_version), Vec::new())),
    }
}

fn line(kind: &str, pod: &JsonObject) -> Bytes {
    let mut line = BytesMut::with_capacity(pod.item().len() + 96);
    line.put_slice(br#"{"type":""#);
    line.put_slice(kind.as_bytes());
    line.put_slice(br#"","object":"#);
    pod.write_single(&mut line);
    line.put_slice(b"}\n");
    line.freeze()
}

/// A bookmark: a pod with nothing but a resource version.
fn bookmark(at: u64, annotations: &str) -> Bytes {
    format!(
        "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":\
         {{\"resourceVersion\":\"{at}\"{annotations}}},\"spec\":{{\"containers\":null}},\"status\":{{}}}}}}\n"
    )
    .into()
}

fn error_line(failure: &StatusError) -> Bytes {
    format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", failure.body()).into()
}

impl Session {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(line) = self.pending.pop_front() {
                return Some((Ok(line), self));
            }
            if self.ended || Instant::now() >= self.deadline {
                return None;
            }
            self.changed.mark_unchanged();
            if !self.pull() {
                return None;
            }
            if self.pending.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Reads the next changes from the history. False ends the watch.
    fn pull(&mut self) -> bool {
        let changes = {
            let state = self.api.state();
            if state.generation != self.generation {
                return false;
            }
            // The watch is too slow for the history. Its client starts another one.
            let Some(changes) = state.history.since(self.at, BATCH) else { return false };
            self.at = match changes.last() {
                Some(last) if changes.len() == BATCH => last.resource_version,
                _ => self.at.max(state.resource_version),
            };
            changes
        };
        let seen = changes.iter().filter_map(|change| self.filter.see(change));
        self.pending.extend(seen.map(|(kind, pod)| line(kind, &pod)));
        true
    }

    /// Waits for a change, the deadline, or the time of a bookmark, which it adds.
    async fn wait(&mut self) {
        let due = self.next_bookmark.unwrap_or(self.deadline);
        tokio::select! {
            biased;
            () = sleep_until(self.deadline) => {}
            // It cannot fail, because this session holds the sender too.
            _ = self.changed.changed() => {}
            () = sleep_until(due) => {
                // As on a real server, there is no bookmark before the first change.
                if self.at > self.began {
                    self.pending.push_back(bookmark(self.at, ""));
                }
                self.schedule_bookmark(Instant::now());
            }
        }
    }

    /// About once a minute, and once shortly before the timeout.
    fn schedule_bookmark(&mut self, now: Instant) {
        let regular = now + self.api.shared.options.bookmark_every;
        let last = self.deadline.checked_sub(LAST_BOOKMARK).filter(|last| *last > now && *last < regular);
        self.next_bookmark = Some(last.unwrap_or(regular));
    }
}
