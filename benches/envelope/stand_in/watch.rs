//! Watches: from a version, or with all pods first, until the client's timeout or until the history expires.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::stream;
use tokio::{
    sync::watch as signal,
    time::{Instant, sleep_until},
};

use super::{Api, Asked, is_set, mark, status, world::Change};
use crate::http::now_ns;

/// Changes, and initial pods, that are read under one lock.
const BATCH: usize = 128;
/// The interval of bookmarks, and the time of the last one before the end.
const BOOKMARKS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(2));
/// For a client without a timeout.
const TIMEOUT_SECS: u64 = 1_800;

struct Watch {
    api: Api,
    /// Everything up to this version was written.
    at: u64,
    /// The slot from which pods are still to be written before the first change.
    initial: Option<u32>,
    changed: signal::Receiver<()>,
    expired: signal::Receiver<u64>,
    end: Instant,
    bookmark: Option<Instant>,
    ended: bool,
}

pub(super) fn answer(api: &Api, asked: &Asked) -> Response {
    let is_initial = is_set(&asked.send_initial_events);
    let now = api.world().version();
    let version = asked.resource_version.parse().ok().filter(|version| *version > 0 && !is_initial);
    let mut marks = api.marks();
    mark(if is_initial { &mut marks.first_page_at } else { &mut marks.watch_at });
    drop(marks);
    let begun = Instant::now();
    let watch = Watch {
        api: api.clone(),
        at: version.unwrap_or(now),
        initial: is_initial.then_some(0),
        changed: api.0.changed.subscribe(),
        expired: api.0.expired.subscribe(),
        end: begun + Duration::from_secs(asked.timeout_seconds.unwrap_or(TIMEOUT_SECS)),
        bookmark: is_set(&asked.allow_watch_bookmarks).then(|| begun + BOOKMARKS.0),
        ended: false,
    };
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(stream::unfold(watch, Watch::next))).into_response()
}

impl Watch {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut out = Vec::new();
        while out.is_empty() {
            if self.ended {
                return None;
            }
            self.changed.mark_unchanged();
            if self.expired.has_changed().unwrap_or(true) {
                self.expire(&mut out);
            } else if let Some(from) = self.initial {
                self.write_initial(from, &mut out);
            } else {
                self.write_changes(&mut out);
            }
            if out.is_empty() && !self.ended {
                self.wait(&mut out).await;
            }
        }
        Some((Ok(out.into()), self))
    }

    /// The history expired: a real server answers 200 and reports it as the last event.
    fn expire(&mut self, out: &mut Vec<u8>) {
        let gone = status(StatusCode::GONE, "Expired", "too old resource version");
        out.extend_from_slice(format!("{{\"type\":\"ERROR\",\"object\":{gone}}}\n").as_bytes());
        self.ended = true;
    }

    fn write_initial(&mut self, from: u32, out: &mut Vec<u8>) {
        let page = self.api.world().page(self.at, from, BATCH);
        let Some((pods, next)) = page else { return self.expire(out) };
        for (slot, state) in &pods {
            out.extend_from_slice(br#"{"type":"ADDED","object":"#);
            self.api.layout().push_object(*slot, *state, out);
            out.extend_from_slice(b"}\n");
        }
        self.initial = Some(next);
        if pods.len() < BATCH {
            self.initial = None;
            push_bookmark(self.at, r#","annotations":{"k8s.io/initial-events-end":"true"}"#, out);
            self.api.marks().delivered_all_at = now_ns();
        }
    }

    fn write_changes(&mut self, out: &mut Vec<u8>) {
        let changes = self.api.world().since(self.at, BATCH);
        let Some(changes) = changes else { return self.expire(out) };
        for Change { slot, happened, after, .. } in &changes {
            out.extend_from_slice(format!(r#"{{"type":"{}","object":"#, happened.as_str()).as_bytes());
            self.api.layout().push_object(*slot, *after, out);
            out.extend_from_slice(b"}\n");
        }
        let Some(last) = changes.last() else { return };
        self.at = last.after.resource_version;
        self.api.churn().written(&changes, now_ns());
    }

    /// Waits for a change, the expiry of the history, the end, or the time of a bookmark.
    async fn wait(&mut self, out: &mut Vec<u8>) {
        let bookmark = self.bookmark.unwrap_or(self.end);
        tokio::select! {
            // An expiry is signalled here, too.
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
