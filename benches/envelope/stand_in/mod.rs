//! An API server for a million pods, which holds some bytes per pod and writes a pod's JSON when it is requested.
//!
//! The demo's API server holds every pod as a document, and would need gigabytes beside the controller that is
//! measured. This one is a process of its own, plain HTTP/1.1 on loopback. It serves what a controller requests: one
//! namespace, and pods by list, page, name and watch, with bookmarks and expired versions. Below `/control` the bench
//! starts churn and reads the state.

mod churn;
mod list;
mod watch;
pub(crate) mod world;

use std::{io::Read as _, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch as signal;

use crate::{
    error::{Error, Result},
    http::{listen, serve},
    pods::{self, Layout, push_uuid},
};
use churn::Churn;
use world::World;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) pods: u32,
    #[arg(long)]
    pub(crate) seed: u64,
    /// The size of each pod in kB; a mix of 3, 5 and 10 by default.
    #[arg(long)]
    pub(crate) pod_kb: Option<u32>,
    /// Changes that watches and pages can go back.
    #[arg(long, default_value_t = 500_000)]
    pub(crate) history: usize,
}

/// The state, and what happened since the last reset.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) alive: u64,
    pub(crate) churning: bool,
    /// Pods that the newest churn replaced, and its changes.
    pub(crate) replaced: u64,
    pub(crate) changes: u64,
    #[serde(flatten)]
    pub(crate) marks: Marks,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) lists: u64,
    /// When the first page was requested, when the first watch began, and when a watch that begins with all pods had
    /// delivered them; Unix ns, 0 if it has not happened.
    pub(crate) first_page_at: u64,
    pub(crate) watch_at: u64,
    pub(crate) delivered_all_at: u64,
}

/// Sets a mark, unless it is set.
fn mark(mark: &mut u64) {
    if *mark == 0 {
        *mark = crate::http::now_ns();
    }
}

#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    layout: Layout,
    world: Mutex<World>,
    /// Something changed.
    changed: signal::Sender<()>,
    /// The history expired.
    expired: signal::Sender<u64>,
    marks: Mutex<Marks>,
    churn: Mutex<Churn>,
}

/// The query of a list or a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    limit: usize,
    r#continue: String,
    watch: String,
    resource_version: String,
    send_initial_events: String,
    allow_watch_bookmarks: String,
    timeout_seconds: Option<u64>,
}

fn is_set(flag: &str) -> bool {
    matches!(flag, "1" | "true")
}

impl Api {
    fn new(options: &Options) -> Self {
        let layout = Layout::new(options.seed, options.pods, options.pod_kb);
        let world = World::new(&layout, options.seed, options.history);
        Self(Arc::new(Inner {
            layout,
            world: Mutex::new(world),
            changed: signal::Sender::new(()),
            expired: signal::Sender::new(0),
            marks: Mutex::default(),
            churn: Mutex::default(),
        }))
    }

    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.marks.lock()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock()
    }

    fn churn(&self) -> MutexGuard<'_, Churn> {
        self.0.churn.lock()
    }

    fn router(self) -> Router {
        Router::new()
            .route("/api/v1/namespaces/kube-system", get(kube_system))
            .route("/api/v1/pods", get(pods))
            .route("/api/v1/namespaces/{namespace}/pods/{name}", get(pod))
            .route("/control/stats", get(stats))
            .route("/control/pods", get(living))
            .route("/control/events", get(async |State(api): State<Self>| Json(api.churn().log.clone())))
            .route("/control/reset", post(async |State(api): State<Self>| *api.marks() = Marks::default()))
            .route("/control/expire", post(async |State(api): State<Self>| api.expire()))
            .route("/control/churn", post(begin_churn))
            .fallback(async || failure(StatusCode::NOT_FOUND, "NotFound", "not in the stand-in"))
            .with_state(self)
    }

    fn expire(&self) {
        self.0.expired.send_modify(|times| *times += 1);
        self.0.changed.send_replace(());
    }
}

async fn kube_system(State(api): State<Api>) -> Json<Value> {
    let mut uid = Vec::new();
    push_uuid(&mut uid, api.layout().cluster_uid());
    let metadata = json!({"name": "kube-system", "uid": String::from_utf8_lossy(&uid), "resourceVersion": "1"});
    Json(json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}))
}

async fn pods(State(api): State<Api>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    if is_set(&asked.watch) { watch::answer(&api, &asked) } else { list::answer(&api, &asked, &headers) }
}

/// One pod by name. All pods are searched: only the absence guard requests single pods.
async fn pod(State(api): State<Api>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let mut text = Vec::new();
    let found = api.world().living().find(|(slot, state)| {
        text.clear();
        api.layout().push_namespace(*slot, &mut text);
        let split = text.len();
        api.layout().push_name(*slot, *state, &mut text);
        text[..split] == *namespace.as_bytes() && text[split..] == *name.as_bytes()
    });
    let Some((slot, state)) = found else {
        return failure(StatusCode::NOT_FOUND, "NotFound", "there is no such pod");
    };
    text.clear();
    api.layout().push_object(slot, state, &mut text);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

async fn stats(State(api): State<Api>) -> Json<Stats> {
    let (marks, alive) = (*api.marks(), api.world().alive());
    let churn = api.churn();
    let (churning, replaced, changes) = (churn.running, churn.pods, churn.log.len() as u64);
    Json(Stats { alive, churning, replaced, changes, marks })
}

async fn living(State(api): State<Api>) -> Json<Vec<(u128, u64)>> {
    let world = api.world();
    Json(world.living().map(|(slot, state)| (api.layout().uid(slot, state.life), state.resource_version)).collect())
}

/// A rate in pods per second, and a duration.
#[derive(Deserialize)]
struct Rate {
    rate: u64,
    seconds: u64,
}

async fn begin_churn(State(api): State<Api>, Query(Rate { rate, seconds }): Query<Rate>) -> StatusCode {
    let is_begun = churn::start(&api, rate, Duration::from_secs(seconds));
    if is_begun { StatusCode::OK } else { StatusCode::CONFLICT }
}

/// A Status as the API server sends it.
fn status(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code.as_u16()})
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response {
    (code, Json(status(code, reason, message))).into_response()
}

/// Serves until standard input ends, which it does with the bench.
pub(crate) async fn run(options: Options) -> Result<()> {
    let (listener, address) = listen().await?;
    let api =
        tokio::task::spawn_blocking(move || Api::new(&options)).await.map_err(Error::in_step("laying out pods"))?;
    crate::say(&format!("listening on {address}"));
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        _ = orphaned => Ok(()),
        failed = serve(listener, api.router()) => failed,
    }
}
