//! A proxy between a controller and its registry that records each request and its time. Without a registry, it is a
//! [`sink`] or an [`Inventory`]. It runs in the bench's own process, so that its processor time is in no figure of a
//! controller.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, request},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    error::{Error, Result},
    http::{Client, listen, now_ns, serve},
    inventory::Inventory,
    latency::Arrival,
    operations::{Operation, operations},
    sink,
};

/// Counts since the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Requests that write records.
    pub(crate) writes: u64,
    /// Records that were put, and deleted.
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    /// Puts of the record that was put before.
    pub(crate) twice: u64,
    /// Requests for the digests of buckets, and for pages of the inventory.
    pub(crate) digests: u64,
    pub(crate) pages: u64,
    /// Requests that the registry did not answer.
    pub(crate) unanswered: u64,
    /// Unix ns.
    pub(crate) first_write_at: u64,
    pub(crate) last_write_at: u64,
    pub(crate) last_digests_at: u64,
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    arrivals: Vec<Arrival>,
    /// The beginning of the digest that was put last, by pod.
    digests: HashMap<u128, u64>,
    /// The registered pods, if there is no registry.
    live: HashSet<u128>,
}

/// What answers the requests.
pub(crate) enum Behind {
    Registry(SocketAddr),
    Inventory(Inventory),
    Sink,
}

#[derive(Clone)]
pub(crate) struct Recorder(Arc<Inner>);

struct Inner {
    client: Client,
    behind: Behind,
    seen: Mutex<Seen>,
    address: SocketAddr,
}

impl Recorder {
    /// Listens on a free port until the handle is dropped.
    pub(crate) async fn start(behind: Behind) -> Result<(Self, AbortOnDropHandle<Result<()>>)> {
        let (listener, address) = listen().await?;
        let recorder = Self(Arc::new(Inner { client: Client::new()?, behind, seen: Mutex::default(), address }));
        let router = Router::new().fallback(take).with_state(recorder.clone());
        Ok((recorder, AbortOnDropHandle::new(tokio::spawn(serve(listener, router)))))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.seen().counts
    }

    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.seen().arrivals)
    }

    /// The registered pods, if there is no registry.
    pub(crate) fn live(&self) -> Vec<u128> {
        self.seen().live.iter().copied().collect()
    }

    /// Counts from zero. The digests stay, to notice a record that is sent twice.
    pub(crate) fn reset(&self) {
        let mut seen = self.seen();
        (seen.counts, seen.arrivals) = Default::default();
    }

    async fn forward(&self, upstream: SocketAddr, head: request::Parts, body: Bytes) -> Result<Response> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = HeaderMap::new();
        for name in [header::CONTENT_TYPE, header::ACCEPT, header::AUTHORIZATION] {
            headers.extend(head.headers.get(&name).map(|value| (name, value.clone())));
        }
        let answer = self.0.client.send(head.method, &format!("http://{upstream}{path}"), headers, body).await?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for name in [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONNECTION] {
            headers.remove(name);
        }
        let body = answer.bytes().await.map_err(Error::in_step("the registry"))?;
        Ok((status, headers, body).into_response())
    }

    fn note(&self, at: u64, path: &str, operations: &[Operation]) {
        let mut seen = self.seen();
        let Seen { counts, arrivals, digests, live } = &mut *seen;
        if operations.is_empty() {
            if path.ends_with("/pods:digest") {
                counts.digests += 1;
                counts.last_digests_at = at;
            } else if path.ends_with("/pods") || path.ends_with("/systems") {
                counts.pages += 1;
            }
            return;
        }
        counts.writes += 1;
        if counts.first_write_at == 0 {
            counts.first_write_at = at;
        }
        counts.last_write_at = at;
        for operation in operations {
            let Operation { uid, put, version, digest } = *operation;
            arrivals.push(Arrival { at, uid, version, put });
            if put {
                counts.puts += 1;
                live.insert(uid);
                if let Some(digest) = digest {
                    counts.twice += u64::from(digests.insert(uid, digest) == Some(digest));
                }
            } else {
                counts.deletes += 1;
                digests.remove(&uid);
                live.remove(&uid);
            }
        }
    }
}

async fn take(State(recorder): State<Recorder>, request: Request) -> Response {
    // A request arrives with its head.
    let at = now_ns();
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let operations = operations(&head.method, head.uri.path(), &body);
    recorder.note(at, head.uri.path(), &operations);
    let upstream = match &recorder.0.behind {
        Behind::Registry(address) => *address,
        Behind::Inventory(inventory) => return inventory.answer(&head.method, &head.uri, &body),
        Behind::Sink => return sink::answer(&head.method, head.uri.path(), &operations),
    };
    match recorder.forward(upstream, head, body).await {
        Ok(response) => response,
        Err(_) => {
            recorder.seen().counts.unanswered += 1;
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}
