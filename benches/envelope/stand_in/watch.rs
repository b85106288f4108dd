//! Watches: from a version on, or with all pods first, with bookmarks, until the client's timeout or an order to forget.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::{
    sync::watch as signal,
    time::{Instant, sleep_until},
};

use super::{Api, add, status, world::Change};
use crate::http::{Body, json, now_ns, number, query};

/// How many changes are taken under one lock, and how many pods of a beginning.
const BATCH: usize = 128;
/// How often a bookmark is sent, and how long before the end the last one.
const BOOKMARKS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(2));
/// Of a client that names no timeout.
const TIMEOUT_SECS: u64 = 1_800;

struct Watch {
    api: Api,
    /// Everything up to this version was told.
    at: u64,
    /// The place from which on pods of the beginning are still to be told.
    initial: Option<u32>,
    changed: signal::Receiver<()>,
    expired: signal::Receiver<u64>,
    end: Instant,
    bookmark: Option<Instant>,
    ended: bool,
    _open: Open,
}

/// Counts the watches that are open.
struct Open(Api);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counts().open_watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a watch.
pub(super) fn answer(api: &Api, request: &Request<Incoming>) -> Response<Body> {
    let uri = request.uri();
    let flag = |name| query(uri, name) == Some("true") || query(uri, name) == Some("1");
    let initial = flag("sendInitialEvents");
    let now = api.world().version();
    let asked = number(uri, "resourceVersion").filter(|version| *version > 0 && !initial);
    let counts = api.counts();
    add(&counts.watches, 1);
    add(&counts.open_watches, 1);
    let started = if initial { &counts.first_page_at } else { &counts.watch_at };
    let _ = started.compare_exchange(0, now_ns(), Ordering::Relaxed, Ordering::Relaxed);
    let begun = Instant::now();
    let watch = Watch {
        api: api.clone(),
        at: asked.unwrap_or(now),
        initial: initial.then_some(0),
        changed: api.0.changed.subscribe(),
        expired: api.0.expired.subscribe(),
        end: begun + Duration::from_secs(number(uri, "timeoutSeconds").unwrap_or(TIMEOUT_SECS)),
        bookmark: flag("allowWatchBookmarks").then(|| begun + BOOKMARKS.0),
        ended: false,
        _open: Open(api.clone()),
    };
    let mut response = json(StatusCode::OK, Bytes::new());
    *response.body_mut() = StreamBody::new(stream::unfold(watch, Watch::next)).boxed_unsync();
    response
}

impl Watch {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        let mut out = Vec::new();
        while out.is_empty() {
            if self.ended {
                return None;
            }
            self.changed.mark_unchanged();
            if self.expired.has_changed().unwrap_or(true) {
                self.forget(&mut out);
            } else if let Some(from) = self.initial {
                self.tell_initial(from, &mut out);
            } else {
                self.tell_changes(&mut out);
            }
            if out.is_empty() && !self.ended {
                self.wait(&mut out).await;
            }
        }
        add(&self.api.counts().watch_bytes, out.len());
        Some((Ok(Frame::data(out.into())), self))
    }

    /// The history is gone: a real server answers 200 and says so as the last event.
    fn forget(&mut self, out: &mut Vec<u8>) {
        let gone = status(410, "Expired", "too old resource version");
        out.extend_from_slice(format!("{{\"type\":\"ERROR\",\"object\":{gone}}}\n").as_bytes());
        self.ended = true;
    }

    fn tell_initial(&mut self, from: u32, out: &mut Vec<u8>) {
        let page = self.api.world().page(self.at, from, BATCH);
        let Some((pods, next)) = page else { return self.forget(out) };
        for (slot, state) in &pods {
            out.extend_from_slice(br#"{"type":"ADDED","object":"#);
            self.api.layout().push_object(*slot, *state, out);
            out.extend_from_slice(b"}\n");
        }
        self.initial = Some(next);
        if pods.len() < BATCH {
            self.initial = None;
            push_bookmark(self.at, r#","annotations":{"k8s.io/initial-events-end":"true"}"#, out);
        }
        add(&self.api.counts().list_bytes, out.len());
        if self.initial.is_none() {
            self.api.counts().told_all_at.store(now_ns(), Ordering::Relaxed);
        }
        self.api.counts().last_page_at.store(now_ns(), Ordering::Relaxed);
    }

    fn tell_changes(&mut self, out: &mut Vec<u8>) {
        let changes = self.api.world().since(self.at, BATCH);
        let Some(changes) = changes else { return self.forget(out) };
        for Change { slot, happened, after, .. } in &changes {
            out.extend_from_slice(format!(r#"{{"type":"{}","object":"#, happened.as_str()).as_bytes());
            self.api.layout().push_object(*slot, *after, out);
            out.extend_from_slice(b"}\n");
        }
        let Some(last) = changes.last() else { return };
        self.at = last.after.resource_version;
        add(&self.api.counts().events, changes.len());
        let sent_at = now_ns();
        self.api.churn().told(&changes, sent_at);
    }

    /// Waits for a change, an order to forget, the end, or the time of a bookmark.
    async fn wait(&mut self, out: &mut Vec<u8>) {
        let bookmark = self.bookmark.unwrap_or(self.end);
        tokio::select! {
            // An order to forget is told here as well.
            _ = self.changed.changed() => {}
            () = sleep_until(self.end) => self.ended = true,
            () = sleep_until(bookmark) => {
                push_bookmark(self.at, "", out);
                let last = self.end.checked_sub(BOOKMARKS.1).filter(|last| *last > Instant::now());
                let next = Instant::now() + BOOKMARKS.0;
                self.bookmark = Some(last.map_or(next, |last| last.min(next)));
            }
        }
    }
}

fn push_bookmark(version: u64, annotations: &str, out: &mut Vec<u8>) {
    let text = format!(
        "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":\
         {{\"resourceVersion\":\"{version}\"{annotations}}},\"spec\":{{\"containers\":null}},\"status\":{{}}}}}}\n"
    );
    out.extend_from_slice(text.as_bytes());
}
