//! Lists of pods or of their metadata, in pages of one version or whole.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::stream;

use super::{Api, Asked, failure, mark};
use crate::pods::State;

/// Bytes of a chunk of a body.
const CHUNK: usize = 256 * 1024;

/// A continue token: the list's version, the next slot, and the number of pods that follow.
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

/// A page that is being written.
struct Writer {
    api: Api,
    pods: std::vec::IntoIter<(u32, State)>,
    head: Option<String>,
    metadata_only: bool,
    first: bool,
    done: bool,
}

pub(super) fn answer(api: &Api, asked: &Asked, headers: &HeaderMap) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let metadata_only = accepted.contains("as=PartialObjectMetadataList");
    if !metadata_only {
        mark(&mut api.marks().first_page_at);
    }
    let limit = if asked.limit == 0 { usize::MAX } else { asked.limit };
    let world = api.world();
    let token = match asked.r#continue.as_str() {
        "" => Token { version: world.version(), from: 0, left: world.alive() },
        token => match Token::read(token) {
            Some(token) => token,
            None => return failure(StatusCode::BAD_REQUEST, "BadRequest", "the continue token is invalid"),
        },
    };
    let Some((pods, next)) = world.page(token.version, token.from, limit) else {
        return failure(StatusCode::GONE, "Expired", "the version of the list is too old");
    };
    drop(world);
    if !metadata_only {
        api.marks().lists += u64::from(token.from == 0);
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
    let body = stream::unfold(writer, |writer| std::future::ready(writer.next()));
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response()
}

impl Writer {
    fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
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
        Some((Ok(out.into()), self))
    }
}
