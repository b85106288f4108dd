//! Stands between a controller and its registry and notes what arrives when; or is the registry itself, where only the
//! arrival counts.
//!
//! It runs in the bench's own process, so that its cost is nobody's whose figures are shown.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use crate::{
    error::Result,
    http::{Body, Client, full, json, listen, now_ns, serve},
    latency::Arrival,
    operations::{Operation, operations},
    taker,
};

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Requests that write records.
    pub(crate) writes: u64,
    /// Records that were put, and deleted.
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    /// Puts that said what the put before them had said.
    pub(crate) twice: u64,
    /// Readings of the digests of buckets, and of pages of the inventory.
    pub(crate) digests: u64,
    pub(crate) pages: u64,
    /// Everything else.
    pub(crate) others: u64,
    /// Requests that no registry answered.
    pub(crate) unanswered: u64,
    /// When the first and the newest write came, and the newest reading of digests; unix ns.
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
    /// The pods that are registered, where there is no registry behind.
    live: HashMap<u128, ()>,
}

/// The recorder; cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Inner>);

struct Inner {
    client: Client,
    upstream: Option<SocketAddr>,
    seen: Mutex<Seen>,
    address: SocketAddr,
}

/// Stops the recorder when it is dropped.
pub(crate) struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Recorder {
    /// Listens on a free port. Without a registry behind it takes everything.
    pub(crate) async fn start(upstream: Option<SocketAddr>) -> Result<(Self, Running)> {
        let (listener, address) = listen(0).await?;
        let inner = Inner { client: Client::new(), upstream, seen: Mutex::default(), address };
        let recorder = Self(Arc::new(inner));
        let handler = recorder.clone();
        let task =
            tokio::spawn(async move { match serve(listener, move |request| handler.clone().take(request)).await {} });
        Ok((recorder, Running(task)))
    }

    /// Its address, as a registry's.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock()
    }

    /// What was counted since the last reset.
    pub(crate) fn counts(&self) -> Counts {
        self.seen().counts
    }

    /// Takes what arrived since the last reset.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.seen().arrivals)
    }

    /// The pods that are registered, where there is no registry behind.
    pub(crate) fn live(&self) -> Vec<u128> {
        self.seen().live.keys().copied().collect()
    }

    /// Counts from zero. What was put last is still known, to notice what is put twice.
    pub(crate) fn reset(&self) {
        let mut seen = self.seen();
        seen.counts = Counts::default();
        seen.arrivals = Vec::new();
    }

    async fn take(self, request: Request<Incoming>) -> Response<Body> {
        let at = now_ns();
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            return Response::new(full(""));
        };
        let operations = operations(&head.method, head.uri.path(), &body);
        self.note(at, head.uri.path(), &operations);
        let Some(upstream) = self.0.upstream else { return taker::answer(&head.method, head.uri.path(), &operations) };
        match self.forward(upstream, head, body).await {
            Ok(response) => response,
            Err(_) => {
                self.seen().counts.unanswered += 1;
                json(StatusCode::BAD_GATEWAY, "")
            }
        }
    }

    async fn forward(&self, upstream: SocketAddr, head: http::request::Parts, body: Bytes) -> Result<Response<Body>> {
        let failed = |cause: String| crate::error::Error::Http { what: "the registry".into(), cause };
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = Request::builder().method(head.method).uri(format!("http://{upstream}{path}"));
        for name in [header::CONTENT_TYPE, header::ACCEPT, header::AUTHORIZATION] {
            if let Some(value) = head.headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(error.to_string()))?;
        let (mut head, body) = self.0.client.send(request).await?.into_parts();
        let body = body.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers.remove(header::CONNECTION);
        Ok(Response::from_parts(head, full(body)))
    }

    fn note(&self, at: u64, path: &str, operations: &[Operation]) {
        let mut seen = self.seen();
        let Seen { counts, arrivals, digests, live } = &mut *seen;
        if operations.is_empty() {
            if path.ends_with("/pods:digest") {
                counts.digests += 1;
                counts.last_digests_at = at;
            } else if path.ends_with("/pods") {
                counts.pages += 1;
            } else {
                counts.others += 1;
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
                live.insert(uid, ());
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
