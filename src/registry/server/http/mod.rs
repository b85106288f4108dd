//! The server's addresses, and the layers that every request passes.
//!
//! ```text
//! time limit > same site? > (protocol only) credential > share of the server > handler
//! ```

mod answer;
mod auth;
mod batch;
mod body;
mod changes;
mod extract;
pub mod page;
mod pods;
mod sessions;
mod shares;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, post, put},
};
use tokio_util::sync::CancellationToken;

use super::{problem::ProblemKind, store::RecordStore, tokens::Tokens};
use crate::listen::document::{HTML, file};
use answer::Refusal;
use auth::{Caller, Logins};
use shares::Shares;

/// The limit of one request, including the time that it waits.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The state that all handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: RecordStore,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) shares: Arc<Shares>,
    /// Ends the streams of changes when the server stops.
    pub(crate) stopping: CancellationToken,
    /// Whether the server speaks TLS. Then cookies get the attribute `Secure`.
    pub(crate) secure: bool,
}

impl App {
    pub(crate) fn new(store: RecordStore, tokens: Tokens, secure: bool, stopping: CancellationToken) -> Self {
        Self {
            store,
            shares: Arc::new(Shares::new(tokens.accesses())),
            tokens: Arc::new(tokens),
            logins: Arc::default(),
            stopping,
            secure,
        }
    }
}

/// Method, path and handler.
type Route = (&'static str, &'static str, MethodRouter<App>);

/// The addresses of the protocol. They need a credential if the server has tokens.
fn protocol_routes() -> Vec<Route> {
    vec![
        ("GET", "/v1/capabilities", get(sessions::capabilities)),
        ("GET", "/v1/clusters", get(sessions::clusters)),
        ("GET", "/v1/clusters/{cluster}", get(sessions::cluster)),
        ("POST", "/v1/clusters/{cluster}/session", post(sessions::open)),
        ("PUT", "/v1/clusters/{cluster}/session", put(sessions::heartbeat)),
        ("DELETE", "/v1/clusters/{cluster}/session", delete(sessions::close)),
        ("GET", "/v1/clusters/{cluster}/pods", get(pods::list)),
        ("GET", "/v1/clusters/{cluster}/pods:digest", get(pods::digest)),
        ("POST", "/v1/clusters/{cluster}/pods:batch", post(batch::batch)),
        ("GET", "/v1/clusters/{cluster}/pods/{id}", get(pods::get)),
        ("PUT", "/v1/clusters/{cluster}/pods/{id}", put(batch::put)),
        ("DELETE", "/v1/clusters/{cluster}/pods/{id}", delete(batch::delete)),
        ("GET", "/v1/changes", get(changes::list)),
    ]
}

/// The addresses that need no credential.
fn open_routes() -> Vec<Route> {
    vec![
        ("GET", "/", file(HTML, include_str!("../page/index.html"))),
        ("GET", "/page/app.js", file("text/javascript; charset=utf-8", include_str!("../page/app.js"))),
        ("GET", "/page/style.css", file("text/css; charset=utf-8", include_str!("../page/style.css"))),
        ("GET", "/page/icon.svg", file("image/svg+xml", include_str!("../page/icon.svg"))),
        ("POST", "/page/login", post(auth::login)),
        ("POST", "/page/logout", post(auth::logout)),
        ("GET", "/openapi.json", file("application/json", page::OPENAPI)),
        ("GET", "/healthz", get(page::health)),
    ]
}

/// Every method and path of the server.
pub fn endpoints() -> Vec<(&'static str, &'static str)> {
    protocol_routes().iter().chain(&open_routes()).map(|(method, path, _)| (*method, *path)).collect()
}

pub(crate) fn router(app: App) -> Router {
    let collect = |routes: Vec<Route>| {
        let router = routes.into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
        router.method_not_allowed_fallback(page::method_not_allowed)
    };
    // The last layer is the outermost: a caller without a valid credential takes no share.
    let protocol = collect(protocol_routes())
        .layer(middleware::from_fn_with_state(app.clone(), with_share))
        .layer(middleware::from_fn_with_state(app.clone(), auth::check));
    collect(open_routes())
        .merge(protocol)
        .fallback(page::not_found)
        .layer(middleware::from_fn(auth::same_site))
        .layer(middleware::from_fn(with_timeout))
        .with_state(app)
}

async fn with_share(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(Caller(access)) = request.extensions().get().cloned() else { return next.run(request).await };
    match app.shares.work(&access).await {
        Ok(_share) => next.run(request).await,
        Err(_) => Refusal::from(ProblemKind::Unavailable.with("the registry is stopping; try again")).into_response(),
    }
}

async fn with_timeout(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::from(ProblemKind::Unavailable.with("the request took longer than 30 s")).into_response(),
    }
}
