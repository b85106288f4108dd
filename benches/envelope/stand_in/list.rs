//! Lists, in pages of one version or whole, of pods or of their metadata alone.

use std::{convert::Infallible, sync::atomic::Ordering};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode, header::ACCEPT};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use super::{Api, add, failure};
use crate::{
    http::{Body, json, now_ns, number, query},
    pods::State,
};

/// The size of a chunk of a body.
const CHUNK: usize = 256 * 1024;

/// Where a list goes on: its version, the next place, and how many pods are still to come.
struct Token {
    version: u64,
    from: u32,
    left: u64,
}

impl Token {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut next = || parts.next()?.parse::<u64>().ok();
        Some(Self { version: next()?, from: u32::try_from(next()?).ok()?, left: next()? })
    }
}

/// A page while it is written.
struct Writer {
    api: Api,
    pods: std::vec::IntoIter<(u32, State)>,
    /// What is written first.
    head: Option<String>,
    metadata_only: bool,
    first: bool,
    done: bool,
}

/// Answers a list.
pub(super) fn answer(api: &Api, request: &Request<Incoming>) -> Response<Body> {
    let uri = request.uri();
    let accepts =
        |text: &str| request.headers().get(ACCEPT).is_some_and(|value| value.to_str().unwrap_or("").contains(text));
    let metadata_only = accepts("as=PartialObjectMetadataList");
    if !metadata_only {
        let at = now_ns();
        let _ = api.counts().first_page_at.compare_exchange(0, at, Ordering::Relaxed, Ordering::Relaxed);
    }
    let limit = number(uri, "limit")
        .filter(|limit| *limit > 0)
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let world = api.world();
    let token = match query(uri, "continue").filter(|token| !token.is_empty()).map(Token::read) {
        None => Token { version: world.version(), from: 0, left: world.alive() },
        Some(Some(token)) => token,
        Some(None) => return failure(StatusCode::BAD_REQUEST, "BadRequest", "the continue token is none"),
    };
    let Some((pods, next)) = world.page(token.version, token.from, limit) else {
        return failure(StatusCode::GONE, "Expired", "the version of the list is too old");
    };
    drop(world);
    if !metadata_only {
        add(&api.counts().lists, usize::from(token.from == 0));
        add(&api.counts().pages, 1);
    }
    let left = token.left.saturating_sub(pods.len() as u64);
    let (kind, version) =
        if metadata_only { ("PartialObjectMetadataList", "meta.k8s.io/v1") } else { ("PodList", "v1") };
    let mut head =
        format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"resourceVersion":"{}""#, token.version);
    if left > 0 {
        head.push_str(&format!(r#","continue":"{}.{next}.{left}","remainingItemCount":{left}"#, token.version));
    }
    head.push_str(r#"},"items":["#);
    let writer =
        Writer { api: api.clone(), pods: pods.into_iter(), head: Some(head), metadata_only, first: true, done: false };
    let body = StreamBody::new(stream::unfold(writer, |writer| std::future::ready(writer.next())));
    let mut response = json(StatusCode::OK, Bytes::new());
    *response.body_mut() = body.boxed_unsync();
    response
}

impl Writer {
    fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        if self.done {
            return None;
        }
        let mut out = Vec::with_capacity(CHUNK + 32 * 1024);
        out.extend_from_slice(self.head.take().unwrap_or_default().as_bytes());
        while out.len() < CHUNK {
            let Some((slot, state)) = self.pods.next() else {
                out.extend_from_slice(b"]}");
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            if self.metadata_only {
                self.api.layout().push_metadata_item(slot, state, &mut out);
            } else {
                self.api.layout().push_item(slot, state, &mut out);
            }
        }
        if !self.metadata_only {
            add(&self.api.counts().list_bytes, out.len());
            self.api.counts().last_page_at.store(now_ns(), Ordering::Relaxed);
        }
        Some((Ok(Frame::data(out.into())), self))
    }
}
