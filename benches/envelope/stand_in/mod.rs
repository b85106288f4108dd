//! A stand-in for the API server's pods that can hold a million of them: what it serves is made when it is asked for.
//!
//! A process of its own, over plain HTTP/1.1 on loopback. It knows what a controller needs: one namespace, pods by list,
//! page, name and watch, bookmarks, and histories that are forgotten. Below `/control` the bench lets pods come and go and
//! asks what there is.

mod churn;
mod control;
mod list;
mod watch;
pub(crate) mod world;

use std::{
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Args;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch as signal;

use crate::{
    error::Result,
    http::{Body, json, listen, query, serve},
    pods::{self, Layout, push_uuid},
};
use churn::Churn;
use world::World;

/// What the stand-in holds.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many pods.
    #[arg(long)]
    pub(crate) pods: u32,
    /// What they are made from.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Their size in kB; a mix of 3, 5 and 10 by default.
    #[arg(long)]
    pub(crate) pod_kb: Option<u32>,
    /// How many changes are remembered.
    #[arg(long, default_value_t = 500_000)]
    pub(crate) history: usize,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lists: AtomicU64,
    pub(crate) pages: AtomicU64,
    pub(crate) watches: AtomicU64,
    pub(crate) open_watches: AtomicU64,
    pub(crate) list_bytes: AtomicU64,
    pub(crate) watch_bytes: AtomicU64,
    pub(crate) events: AtomicU64,
    /// When the first page was asked for, when the newest page had been made, when a watch began after it, and when all
    /// pods had been told to a watch that began with them; unix ns.
    pub(crate) first_page_at: AtomicU64,
    pub(crate) last_page_at: AtomicU64,
    pub(crate) watch_at: AtomicU64,
    pub(crate) told_all_at: AtomicU64,
}

/// The stand-in; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    layout: Layout,
    world: Mutex<World>,
    /// Tells that something changed.
    changed: signal::Sender<()>,
    /// Counts how often all watches were told that their history is gone.
    expired: signal::Sender<u64>,
    counts: Counts,
    churn: Mutex<Churn>,
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
            counts: Counts::default(),
            churn: Mutex::default(),
        }))
    }

    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn counts(&self) -> &Counts {
        &self.0.counts
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock()
    }

    fn churn(&self) -> MutexGuard<'_, Churn> {
        self.0.churn.lock()
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if let Some(order) = path.strip_prefix("/control/") {
            return control::answer(&self, order, request.uri());
        }
        if request.method() != Method::GET {
            return failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "it can only be read");
        }
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "api", "v1", "namespaces", "kube-system"] => self.kube_system(),
            ["", "api", "v1", "pods"] if is_watch(&request) => watch::answer(&self, &request),
            ["", "api", "v1", "pods"] => list::answer(&self, &request),
            ["", "api", "v1", "namespaces", namespace, "pods", name] => self.pod(namespace, name),
            ["", "version"] => json(StatusCode::OK, r#"{"major":"1","minor":"33","gitVersion":"v1.33.0"}"#),
            _ => failure(StatusCode::NOT_FOUND, "NotFound", "not in the stand-in"),
        }
    }

    fn kube_system(&self) -> Response<Body> {
        let mut uid = Vec::new();
        push_uuid(&mut uid, self.layout().cluster_uid());
        let uid = String::from_utf8_lossy(&uid);
        let text = format!(
            r#"{{"kind":"Namespace","apiVersion":"v1","metadata":{{"name":"kube-system","uid":"{uid}","resourceVersion":"1"}}}}"#
        );
        json(StatusCode::OK, text)
    }

    /// One pod by name. It is looked for among all: only deletions that are in doubt ask for it.
    fn pod(&self, namespace: &str, name: &str) -> Response<Body> {
        let world = self.world();
        let mut text = Vec::new();
        let found = world.living().find(|(slot, state)| {
            text.clear();
            self.layout().push_namespace(*slot, &mut text);
            let split = text.len();
            self.layout().push_name(*slot, *state, &mut text);
            text[..split] == *namespace.as_bytes() && text[split..] == *name.as_bytes()
        });
        let Some((slot, state)) = found else {
            return failure(StatusCode::NOT_FOUND, "NotFound", "there is no such pod");
        };
        drop(world);
        text.clear();
        self.layout().push_object(slot, state, &mut text);
        json(StatusCode::OK, text)
    }
}

fn is_watch(request: &Request<Incoming>) -> bool {
    matches!(query(request.uri(), "watch"), Some("1" | "true"))
}

/// The text of a failure as the API server has it.
fn status(code: u16, reason: &str, message: &str) -> String {
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
    )
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    json(code, status(code.as_u16(), reason, message))
}

fn add(to: &AtomicU64, count: usize) {
    to.fetch_add(count as u64, Ordering::Relaxed);
}

/// Serves until standard input ends, which it does with the bench.
pub(crate) async fn run(options: Options) -> Result<()> {
    let (listener, address) = listen(0).await?;
    let api = tokio::task::spawn_blocking(move || Api::new(&options))
        .await
        .map_err(|error| crate::error::Error::Serve(std::io::Error::other(error)))?;
    crate::say(&format!("listening on {address}"));
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        _ = orphaned => Ok(()),
        never = serve(listener, move |request| api.clone().answer(request)) => match never {},
    }
}
