//! The change log, as pages and as a stream of events.
//!
//! A stream reads the log from the last number that it sent, whenever the store reports a new change. The log in the
//! database is its only buffer.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, request::Parts},
    response::{
        IntoResponse as _, Response,
        sse::{Event, Sse},
    },
};
use futures::stream;
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    App,
    answer::{HandlerResult, Refusal, json},
    auth::Caller,
    extract::{Number, Params, checked, items_limit, wants_events},
    shares::RequestShare,
};
use crate::registry::server::{
    problem::ProblemKind,
    store::{
        self, StoreFault,
        query::{LoggedChange, LoggedChanges},
    },
    tokens::ClusterAccess,
};

const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 5_000;
/// The longest silence of a stream. Then it sends its place in the log, which shows both sides that the other is alive.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Read before the other parameters, because access is checked first.
#[derive(Deserialize)]
struct ClusterParam {
    cluster: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct ChangeParams {
    since: Option<Number>,
    limit: Option<Number>,
}

/// `GET /v1/changes`
pub(crate) async fn list(State(app): State<App>, request: Request) -> HandlerResult {
    let (mut parts, _) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &()).await?;
    let Params(ClusterParam { cluster }) = Params::from_request_parts(&mut parts, &()).await?;
    if let Some(id) = &cluster {
        caller.must_cover(id)?;
    }
    let cluster = cluster.map(|id| checked("`cluster`", id)).transpose()?;
    let Params(params) = Params::<ChangeParams>::from_request_parts(&mut parts, &()).await?;
    let cluster = cluster.or_else(|| caller.0.only().map(str::to_owned));
    let limit = items_limit(params.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let since = params.since.map(|Number(since)| since);
    let resumed = last_event(&parts)?.or(since);
    if !wants_events(&parts) {
        return Ok(json(StatusCode::OK, &read(&app, cluster, since, limit).await?));
    }
    follow(&app, &caller.0, cluster, resumed, limit).await
}

async fn read(
    app: &App,
    cluster: Option<String>,
    since: Option<u64>,
    limit: usize,
) -> Result<LoggedChanges, StoreFault> {
    app.store.read(move |conn, _| store::query::changes(conn, cluster.as_deref(), since, limit)).await
}

/// The last change that a broken stream delivered. Browsers send it when they reconnect.
fn last_event(parts: &Parts) -> Result<Option<u64>, Refusal> {
    let Some(value) = parts.headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| Number::try_from(text.trim().parse::<u64>().ok()?).ok());
    match number {
        Some(Number(number)) => Ok(Some(number)),
        None => Err(ProblemKind::Schema.with("`Last-Event-ID` must be an integer below 2^53").into()),
    }
}

/// A stream's place in the log.
struct Follower {
    app: App,
    cluster: Option<String>,
    next: u64,
    limit: usize,
    pending: std::vec::IntoIter<LoggedChange>,
    last: watch::Receiver<u64>,
    // Held until the stream ends, since the number of streams is limited.
    _share: RequestShare,
}

async fn follow(
    app: &App,
    caller: &ClusterAccess,
    cluster: Option<String>,
    since: Option<u64>,
    limit: usize,
) -> HandlerResult {
    let share = app.shares.stream(caller).map_err(|_| {
        Refusal::from(ProblemKind::RateLimited.with("too many streams of changes are open; close some"))
    })?;
    let last = app.store.last_change();
    // The first read comes before the answer starts, so that its error can still become the status.
    let first = read(app, cluster.clone(), since, limit).await?;
    let follower = Follower {
        app: app.clone(),
        cluster,
        next: first.next,
        limit,
        pending: first.items.into_iter(),
        last,
        _share: share,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.event().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let mut response: Response = Sse::new(events).into_response();
    // Buffering proxies would delay events.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

impl Follower {
    /// The next event. `None` ends the stream; a client resumes after the last id that it received.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(change) = self.pending.next() {
                let event = Event::default().id(change.n.to_string());
                return event.json_data(&change).ok();
            }
            if *self.last.borrow_and_update() > self.next {
                let read = read(&self.app, self.cluster.clone(), Some(self.next), self.limit).await.ok()?;
                (self.next, self.pending) = (read.next, read.items.into_iter());
                continue;
            }
            tokio::select! {
                () = self.app.stopping.cancelled() => return None,
                changed = self.last.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEPALIVE) => {
                    // An id without data only moves the place to resume from, past changes of other clusters.
                    return Some(Event::default().id(self.next.to_string()).comment("alive"));
                }
            }
        }
    }
}
