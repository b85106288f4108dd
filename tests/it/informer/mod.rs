//! An informer against the demo's API server, over real HTTP: its store and its events, whatever happens to the watch.
//! Each test ends with a store that equals the server.

mod alongside;
mod faults;
mod outage;
mod silence;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pod_registrar::{
    clock::Clock,
    demo::{api::ApiOptions, pod::pod},
    kubernetes::{
        client::{ClusterConnection, PodSelection},
        watch::informer::{self, Informer, SharedByWatches, WatchSetup},
    },
    model::{
        ids::RecordOwner,
        pod::to_record::{AllowList, Rule},
    },
    reconcile::{
        deletion::Deletion,
        pod_event::{PodEvent, WatchList},
    },
    store::View,
    telemetry::{health::Health, metrics::Metrics},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::support::{
    SOON, TlsFront,
    apiserver::{Fault, Kind, Request, Server},
    eventually, until,
};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

/// The demo's API server, and an informer on it.
struct InformerHarness {
    server: Server,
    view: View,
    pod_events: mpsc::Receiver<PodEvent>,
    events: Vec<PodEvent>,
    relist: watch::Sender<u64>,
    metrics: Metrics,
    task: JoinHandle<Result<(), informer::Error>>,
}

impl Drop for InformerHarness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl InformerHarness {
    async fn start(faults: impl IntoIterator<Item = Fault>, scope: PodSelection) -> Self {
        Self::with_timers(faults, scope, NEVER, NEVER).await
    }

    async fn with_timers(
        faults: impl IntoIterator<Item = Fault>,
        scope: PodSelection,
        relist_interval: Duration,
        probe_after: Duration,
    ) -> Self {
        let server = Self::server().await;
        for fault in faults {
            server.inject(fault);
        }
        let cluster = ClusterConnection::at(&server.url()).unwrap();
        Self::watching(server, &cluster, scope, (relist_interval, probe_after))
    }

    /// A server with three pods.
    async fn server() -> Server {
        let server = Server::start(ApiOptions::default()).await.unwrap();
        for name in ["a", "b", "c"] {
            server.create(pod(name).namespace("shop").label("app", name).running()).unwrap();
        }
        server
    }

    /// Starts an informer on a server that is reached as `cluster` says.
    fn watching(
        server: Server,
        cluster: &ClusterConnection,
        scope: PodSelection,
        (relist_interval, probe_after): (Duration, Duration),
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, pod_events) = mpsc::channel(10_000);
        let (relist, asked) = watch::channel(0);
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let metrics = Metrics::new(Health::new(1));
        let setup = WatchSetup {
            scope,
            rule: Arc::new(Rule { owner, labels: AllowList::new(["*"]), annotations: AllowList::default() }),
            relist_interval,
            probe_after,
            pod_events: sender,
            relist: asked,
            common: SharedByWatches::default(),
            clock: Clock::start(),
            metrics: metrics.clone(),
            health: Health::new(1),
            receipts: None,
        };
        let informer = Informer::new(0, None, cluster, setup);
        let view = View::new([informer.store()]);
        let task = tokio::spawn(informer.run());
        Self { server, view, pod_events, events: Vec::new(), relist, metrics, task }
    }

    /// The UIDs of the pods in the store.
    fn stored(&self) -> BTreeSet<String> {
        self.view.named(0).into_iter().map(|(uid, _)| uid.to_string()).collect()
    }

    async fn listed(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut world = Self::start(faults, PodSelection::default()).await;
        world.equal().await;
        world
    }

    /// Waits until the store equals the server, and reads all events.
    async fn equal(&mut self) {
        eventually("the store equals the server", SOON, async || {
            let held: BTreeSet<String> = self.stored();
            let uids: BTreeSet<String> = self.server.uids().into_values().collect();
            let listed = self.count("pod_registrar_relists_total");
            if listed && held == uids { Ok(()) } else { Err(format!("{held:?} for {uids:?}")) }
        })
        .await;
        self.read_events();
    }

    fn read_events(&mut self) {
        while let Ok(pod_event) = self.pod_events.try_recv() {
            self.events.push(pod_event);
        }
    }

    /// Waits until an event is reported.
    async fn reported(&mut self, what: &str, is_it: impl Fn(&PodEvent) -> bool) {
        eventually(what, SOON, async || {
            self.read_events();
            if self.events.iter().any(&is_it) { Ok(()) } else { Err(format!("{:?}", self.events)) }
        })
        .await;
    }

    /// Waits until the encoded metrics contain this text.
    async fn counted(&self, text: &str) {
        eventually(text, SOON, async || if self.count(text) { Ok(()) } else { Err(self.metrics.encode().unwrap()) })
            .await;
    }

    /// Requests a new list and waits until it is reported.
    async fn list_again(&mut self) -> WatchList {
        self.read_events();
        let before = self.lists();
        self.relist.send_modify(|asked| *asked += 1);
        eventually("a new list", SOON, async || {
            self.read_events();
            let mut lists = self.events.iter().filter_map(|event| match event {
                PodEvent::Listed { list, .. } => Some(*list),
                _ => None,
            });
            lists.nth(before).ok_or_else(|| format!("{before} lists"))
        })
        .await
    }

    fn lists(&self) -> usize {
        self.events.iter().filter(|s| matches!(s, PodEvent::Listed { .. })).count()
    }

    fn uid(&self, name: &str) -> String {
        self.server.pod("shop", name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    fn deletions(&self) -> Vec<(String, Deletion)> {
        let ended = |s: &PodEvent| match s {
            PodEvent::Deletion { uid, why, .. } => Some((uid.to_string(), *why)),
            _ => None,
        };
        self.events.iter().filter_map(ended).collect()
    }

    /// The number of failed lists and watches.
    fn errors(&self) -> usize {
        let metrics = self.metrics.encode().unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("pod_registrar_watch_errors_total "));
        line.unwrap().parse().unwrap()
    }

    fn count(&self, metric: &str) -> bool {
        self.metrics.encode().unwrap().contains(metric)
    }
}

#[tokio::test]
async fn watched_changes_are_stored_and_reported() {
    let mut world = InformerHarness::listed([]).await;
    assert_eq!(world.lists(), 1);
    let (a, before) = (world.uid("a"), world.view.len());
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    let deletion = (a, Deletion::Deleted);
    world
        .reported(
            "the deletion of a",
            |s| matches!(s, PodEvent::Deletion { uid, .. } if uid.text() == deletion.0.as_str()),
        )
        .await;
    assert_eq!((world.deletions(), world.view.len()), (vec![deletion], before));
}

#[tokio::test]
async fn pod_replaced_in_place_gives_two_events() {
    // One MODIFIED event becomes a deletion of the old pod and an event of the new one.
    let mut world = InformerHarness::listed([]).await;
    let old = world.uid("b");
    world.server.replace_in_place(pod("b").namespace("shop").running()).unwrap();
    world.equal().await;
    let new = world.uid("b");
    world.reported("the new pod", |s| matches!(s, PodEvent::Applied { uid, .. } if uid.text() == new.as_str())).await;
    assert_eq!(world.deletions(), [(old, Deletion::Deleted)]);
}

#[tokio::test]
async fn deletions_missed_by_the_watch_show_by_absence() {
    // The next list lacks the pods, and no deletion event reports them.
    let mut world = InformerHarness::listed([]).await;
    world.server.delete_silently("shop", "a").unwrap();
    world.server.compact();
    world.server.drop_watches();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    assert!(world.deletions().is_empty(), "the list shows it, not an event");
}

#[tokio::test]
async fn requested_list_finds_a_lost_event() {
    let mut world = InformerHarness::listed([]).await;
    world.server.delete_silently("shop", "c").unwrap();
    world.relist.send_modify(|asked| *asked += 1);
    world.equal().await;
    assert!(world.count("relists_total{reason=\"requested\"} 1"));
}

#[tokio::test]
async fn watch_refused_with_410_leads_to_a_relist() {
    let mut world = InformerHarness::listed([Fault::status(Kind::Watch, 410)]).await;
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    world.reported("a second list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods >= 3)).await;
    assert!(world.count("relists_total{reason=\"gone\"} 1"));
}

#[tokio::test]
async fn undecodable_pod_is_not_taken_for_deleted() {
    let mut world = InformerHarness::listed([]).await;
    let uid = world.uid("b").as_str().into();
    let digest = |world: &InformerHarness| world.view.get(&uid).unwrap().content.unwrap().digest;
    let before = digest(&world);
    world.server.spoil("b");
    world.relist.send_modify(|asked| *asked += 1);
    eventually("it is counted", SOON, async || {
        if world.count("undecodable_pods_total 1") { Ok(()) } else { Err(String::new()) }
    })
    .await;
    world.equal().await;
    assert_eq!(digest(&world), before, "its record is kept");
    assert!(world.deletions().is_empty());
}

#[tokio::test]
async fn undecodable_event_restarts_the_watch() {
    let line = r#"{"type":"MODIFIED","object":"what?"}"#;
    let mut world = InformerHarness::listed([Fault::line(0, line)]).await;
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    assert!(world.count("watch_errors_total"));
}

#[tokio::test]
async fn failed_lists_show_nothing_and_are_retried() {
    let faults = [
        Fault::status(Kind::List, 401),
        Fault::status(Kind::List, 403),
        Fault::status(Kind::List, 500),
        Fault::html(Kind::List),
        Fault::cut(Kind::List, 0),
    ];
    let mut world = InformerHarness::listed(faults).await;
    world.read_events();
    assert_eq!((world.lists(), world.view.len()), (1, 3), "one list is complete");
    assert!(world.count("watch_errors_total 5"));
}

#[tokio::test]
async fn list_older_than_the_view_is_discarded() {
    let mut world = InformerHarness::listed([]).await;
    let earlier = world.server.snapshot();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    world.server.inject(Fault::stale_list(earlier));
    let lists = world.lists();
    world.relist.send_modify(|asked| *asked += 1);
    eventually("the list is requested again", SOON, async || {
        if world.count("relists_total{reason=\"stale\"} 1") { Ok(()) } else { Err(String::new()) }
    })
    .await;
    world.equal().await;
    eventually("the next list is stored", SOON, async || {
        world.read_events();
        if world.lists() == lists + 1 { Ok(()) } else { Err(format!("{}", world.lists())) }
    })
    .await;
    world.equal().await;
}

#[tokio::test]
async fn broken_connections_lose_nothing() {
    let faults = [Fault::cut(Kind::Watch, 1), Fault::end(1), Fault::cut(Kind::Watch, 0)];
    let mut world = InformerHarness::listed(faults).await;
    for name in ["d", "e", "f", "g"] {
        world.server.create(pod(name).namespace("shop").running()).unwrap();
        world.server.delete("shop", name).unwrap();
    }
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    world.reported("the last deletion", |s| matches!(s, PodEvent::Deletion { .. })).await;
    assert_eq!(world.view.len(), 2);
}

#[tokio::test]
async fn deletion_event_under_a_selector_is_ambiguous() {
    // With a selector, the pod may have been deleted, or changed and deselected.
    let scope = PodSelection { label_selector: Some("app in (a,b)".into()), ..PodSelection::default() };
    let mut world = InformerHarness::start([], scope).await;
    world.reported("the list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods == 2)).await;
    let uid = world.uid("a");
    world.server.update("shop", "a", |pod| pod["metadata"]["labels"]["app"] = "z".into()).unwrap();
    world.reported("the end", |s| matches!(s, PodEvent::Deletion { .. })).await;
    assert_eq!(world.deletions(), [(uid, Deletion::DeletedOrLeftSelection)]);
}

#[tokio::test]
async fn excluded_namespaces_are_not_watched() {
    let scope = PodSelection { excluded_namespaces: vec!["shop".into()], ..PodSelection::default() };
    let mut world = InformerHarness::start([], scope).await;
    world.reported("the list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods == 0)).await;
    world.server.create(pod("x").namespace("other").running()).unwrap();
    world.reported("the pod of another namespace", |s| matches!(s, PodEvent::Applied { .. })).await;
    assert_eq!(world.view.len(), 1);
}

#[tokio::test]
async fn list_longer_than_the_relist_interval_completes() {
    let slow = [Fault::delay(Kind::List, Duration::from_millis(300)).always()];
    let mut world = InformerHarness::with_timers(slow, PodSelection::default(), Duration::from_millis(50), NEVER).await;
    world.equal().await;
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    eventually("the interval leads to a list", SOON, async || {
        if world.count("relists_total{reason=\"interval\"} 2") { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
}

#[tokio::test]
async fn restored_cluster_is_noticed_despite_silent_watch() {
    let mut world = InformerHarness::with_timers([], PodSelection::default(), NEVER, Duration::from_millis(500)).await;
    world.equal().await;
    let earlier = world.server.snapshot();
    for name in ["d", "e", "f"] {
        world.server.create(pod(name).namespace("shop").running()).unwrap();
    }
    world.equal().await;
    world.server.restore(earlier);
    world.server.drop_watches();
    eventually("its lists are stale", SOON, async || {
        if world.count("relists_total{reason=\"stale\"} 2") { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
    assert_eq!(world.view.len(), 6, "the first stale list changes nothing");
}
