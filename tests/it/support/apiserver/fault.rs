//! Scripted faults: what goes wrong, for which requests, and how often.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use axum::http::Request as HttpRequest;
use pod_registrar::demo::api::{status::StatusError, store::Snapshot};

/// The purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A list of pods, or a page of one.
    List,
    Watch,
    /// A get of one pod.
    Get,
    /// A creation, replacement or deletion of a pod.
    Write,
    /// A patch of a pod, which is a receipt.
    Apply,
    /// Namespaces: the identity of the cluster.
    Namespace,
    Lease,
    Event,
    /// Anything else: the version, discovery, unknown paths.
    Other,
}

impl Kind {
    fn of<B>(http: &HttpRequest<B>, params: &BTreeMap<String, String>) -> Self {
        let path: Vec<&str> = http.uri().path().trim_matches('/').split('/').collect();
        let reads = http.method() == "GET";
        let watches = params.get("watch").is_some_and(|value| value != "false" && value != "0");
        match path.as_slice() {
            ["api", "v1", "pods"] | ["api", "v1", "namespaces", _, "pods"] if reads && watches => Self::Watch,
            ["api", "v1", "pods"] | ["api", "v1", "namespaces", _, "pods"] if reads => Self::List,
            ["api", "v1", "namespaces", _, "pods", ..] if reads => Self::Get,
            ["api", "v1", "namespaces", _, "pods", ..] if http.method() == "PATCH" => Self::Apply,
            ["api", "v1", "namespaces", _, "pods", ..] => Self::Write,
            ["api", "v1", "namespaces", ..] => Self::Namespace,
            ["apis", "coordination.k8s.io", _, "namespaces", ..] => Self::Lease,
            ["apis", "events.k8s.io", _, "namespaces", ..] => Self::Event,
            _ => Self::Other,
        }
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    /// The parameters of the query, decoded.
    pub(crate) params: BTreeMap<String, String>,
    /// The value of the `authorization` header.
    pub(crate) authorization: Option<String>,
}

impl Request {
    pub(super) fn new<B>(http: &HttpRequest<B>, params: BTreeMap<String, String>) -> Self {
        let authorization = http.headers().get("authorization").and_then(|value| value.to_str().ok());
        Self {
            kind: Kind::of(http, &params),
            path: http.uri().path().to_owned(),
            params,
            authorization: authorization.map(str::to_owned),
        }
    }

    /// Whether it requests a further page of a list.
    pub(crate) fn is_continued(&self) -> bool {
        self.params.get("continue").is_some_and(|token| !token.is_empty())
    }
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    Answer(Box<StatusError>),
    Html,
    Hang,
    Delay(Duration),
    Empty,
    MissingPage,
    Stale(Snapshot),
    Stream(StreamFault),
}

/// How a body goes wrong after a number of complete items (list) or events (watch).
#[derive(Clone, Debug)]
pub(super) struct StreamFault {
    pub(super) after: usize,
    pub(super) how: How,
}

#[derive(Clone, Debug)]
pub(super) enum How {
    /// Nothing more is sent, and the body does not end.
    Stall,
    /// Half of the next item, then the connection is closed.
    Cut,
    /// The body ends as usual.
    End,
    /// An ERROR event, then the end.
    Error(Box<StatusError>),
    /// This line, which may be invalid; then the watch continues.
    Line(String),
}

type Predicate = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

/// One fault of the script. It applies once, unless [`Fault::times`] or [`Fault::always`] says otherwise. A request
/// meets at most one fault: the first one of the script that matches.
#[derive(Clone)]
pub(crate) struct Fault {
    kind: Kind,
    when: Option<Predicate>,
    skip: usize,
    times: usize,
    effect: Effect,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:?} x{} after {}: {:?})", self.kind, self.times, self.skip, self.effect)
    }
}

impl Fault {
    fn new(kind: Kind, effect: Effect) -> Self {
        Self { kind, when: None, skip: 0, times: 1, effect }
    }

    fn stream(kind: Kind, after: usize, how: How) -> Self {
        Self::new(kind, Effect::Stream(StreamFault { after, how }))
    }

    /// An HTTP status with the usual `Status` body: 401, 403, 410, 429, 500, 503 and so on.
    pub(crate) fn status(kind: Kind, code: u16) -> Self {
        Self::failure(kind, StatusError::new(code, "a scripted fault"))
    }

    /// Any failure, for example with a `Retry-After`.
    pub(crate) fn failure(kind: Kind, failure: StatusError) -> Self {
        Self::new(kind, Effect::Answer(Box::new(failure)))
    }

    /// The HTML page of a proxy, with status 200.
    pub(crate) fn html(kind: Kind) -> Self {
        Self::new(kind, Effect::Html)
    }

    /// No answer, not even headers.
    pub(crate) fn hang(kind: Kind) -> Self {
        Self::new(kind, Effect::Hang)
    }

    /// The usual answer, later.
    pub(crate) fn delay(kind: Kind, by: Duration) -> Self {
        Self::new(kind, Effect::Delay(by))
    }

    /// A list without items, at the current resource version, although there are pods.
    pub(crate) fn empty_list() -> Self {
        Self::new(Kind::List, Effect::Empty)
    }

    /// A page whose continue token skips the next page, although its pods are counted as remaining.
    pub(crate) fn missing_page() -> Self {
        Self::new(Kind::List, Effect::MissingPage)
    }

    /// An expired continue token: 410 for the second page of a list or a later one.
    pub(crate) fn expired_token() -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result.";
        Self::failure(Kind::List, StatusError::new(410, message)).when(Request::is_continued)
    }

    /// A list of an earlier moment, with the resource version of that moment.
    pub(crate) fn stale_list(at: Snapshot) -> Self {
        Self::new(Kind::List, Effect::Stale(at))
    }

    /// Silence after this many items or events; the connection stays open.
    pub(crate) fn stall(kind: Kind, after: usize) -> Self {
        Self::stream(kind, after, How::Stall)
    }

    /// A closed connection in the middle of an item or event, after this many complete ones.
    pub(crate) fn cut(kind: Kind, after: usize) -> Self {
        Self::stream(kind, after, How::Cut)
    }

    /// A regular end of the watch after this many events.
    pub(crate) fn end(after: usize) -> Self {
        Self::stream(Kind::Watch, after, How::End)
    }

    /// An ERROR event after this many events, for example with 410.
    pub(crate) fn error_event(after: usize, failure: StatusError) -> Self {
        Self::stream(Kind::Watch, after, How::Error(Box::new(failure)))
    }

    /// Any line after this many events; the watch continues.
    pub(crate) fn line(after: usize, line: impl Into<String>) -> Self {
        Self::stream(Kind::Watch, after, How::Line(line.into()))
    }

    /// Applies to this many requests.
    #[must_use]
    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Applies until the script is cleared.
    #[must_use]
    pub(crate) fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Skips this many requests of its kind.
    #[must_use]
    pub(crate) fn skip(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Applies only to requests of its kind that match.
    #[must_use]
    pub(crate) fn when(mut self, predicate: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(predicate));
        self
    }
}

/// The faults that still apply to a request.
#[derive(Debug, Default)]
pub(super) struct Script(VecDeque<Fault>);

impl Script {
    pub(super) fn push(&mut self, fault: Fault) {
        self.0.push_back(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The effect on this request.
    pub(super) fn strike(&mut self, request: &Request) -> Option<Effect> {
        let mut struck = None;
        for (index, fault) in self.0.iter_mut().enumerate() {
            if fault.kind != request.kind || fault.when.as_ref().is_some_and(|when| !when(request)) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.times != usize::MAX {
                fault.times = fault.times.saturating_sub(1);
            }
            struck = Some((index, fault.times == 0, fault.effect.clone()));
            break;
        }
        let (index, spent, effect) = struck?;
        if spent {
            self.0.remove(index);
        }
        Some(effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: Kind, token: &str) -> Request {
        let params = BTreeMap::from([("continue".to_owned(), token.to_owned())]);
        Request { kind, path: "/".into(), params, authorization: None }
    }

    #[test]
    fn faults_strike_in_order_as_often_as_set() {
        let mut script = Script::default();
        script.push(Fault::status(Kind::Watch, 503).times(2).skip(1));
        script.push(Fault::expired_token());
        script.push(Fault::html(Kind::List).always());
        assert!(script.strike(&request(Kind::Watch, "")).is_none());
        for _ in 0..2 {
            assert!(matches!(script.strike(&request(Kind::Watch, "")), Some(Effect::Answer(_))));
        }
        assert!(script.strike(&request(Kind::Watch, "")).is_none());
        assert!(matches!(script.strike(&request(Kind::List, "")), Some(Effect::Html)));
        assert!(matches!(script.strike(&request(Kind::List, "x")), Some(Effect::Answer(_))));
        assert!(matches!(script.strike(&request(Kind::List, "x")), Some(Effect::Html)));
        assert_eq!(script.len(), 1);
    }
}
