//! An informer against the stand-in for the API server, over real HTTP: what its store holds and what it tells, through
//! everything that a watch may meet. Each case ends with the store equal to the server.

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

/// A stand-in, and an informer on it.
struct World {
    server: Server,
    view: View,
    pod_events: mpsc::Receiver<PodEvent>,
    told: Vec<PodEvent>,
    relist: watch::Sender<u64>,
    metrics: Metrics,
    task: JoinHandle<Result<(), informer::Error>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
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

    /// A stand-in with three pods.
    async fn server() -> Server {
        let server = Server::start(ApiOptions::default()).await.unwrap();
        for name in ["a", "b", "c"] {
            server.create(pod(name).namespace("shop").label("app", name).running()).unwrap();
        }
        server
    }

    /// An informer on a server, which is reached as the cluster says.
    fn watching(
        server: Server,
        cluster: &ClusterConnection,
        scope: PodSelection,
        (relist_interval, probe_after): (Duration, Duration),
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, pod_events) = mpsc::channel(10_000);
        let (relist, asked) = watch::channel(0);
        let writer = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let metrics = Metrics::new(1);
        let setup = WatchSetup {
            scope,
            rule: Arc::new(Rule { writer, labels: AllowList::new(["*"]), annotations: AllowList::default() }),
            relist_interval,
            probe_after,
            pod_events: sender,
            relist: asked,
            common: SharedByWatches::default(),
            clock: Clock::start(),
            metrics: metrics.clone(),
            health: Health::new(1),
        };
        let informer = Informer::new(0, None, cluster, setup);
        let view = View::new([informer.store()]);
        let task = tokio::spawn(informer.run());
        Self { server, view, pod_events, told: Vec::new(), relist, metrics, task }
    }

    /// The UIDs of the pods in the store.
    fn shown(&self) -> BTreeSet<String> {
        self.view.named(0).into_iter().map(|(uid, _)| uid.to_string()).collect()
    }

    async fn listed(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut world = Self::start(faults, PodSelection::default()).await;
        world.equal().await;
        world
    }

    /// Waits until the store holds what the server holds, and everything about it was told.
    async fn equal(&mut self) {
        eventually("the store is equal to the server", SOON, async || {
            let held: BTreeSet<String> = self.shown();
            let uids: BTreeSet<String> = self.server.uids().into_values().collect();
            let listed = self.count("pod_registrar_relists_total");
            if listed && held == uids { Ok(()) } else { Err(format!("{held:?} for {uids:?}")) }
        })
        .await;
        self.hear();
    }

    fn hear(&mut self) {
        while let Ok(pod_event) = self.pod_events.try_recv() {
            self.told.push(pod_event);
        }
    }

    /// Waits until something was told.
    async fn told(&mut self, what: &str, is_it: impl Fn(&PodEvent) -> bool) {
        eventually(what, SOON, async || {
            self.hear();
            if self.told.iter().any(&is_it) { Ok(()) } else { Err(format!("{:?}", self.told)) }
        })
        .await;
    }

    /// Waits until the encoded metrics have this text.
    async fn counted(&self, text: &str) {
        eventually(text, SOON, async || if self.count(text) { Ok(()) } else { Err(self.metrics.encode().unwrap()) })
            .await;
    }

    /// Asks for a new list, and waits for it to be told: it.
    async fn listed_anew(&mut self) -> WatchList {
        self.hear();
        let before = self.lists();
        self.relist.send_modify(|asked| *asked += 1);
        eventually("a new list", SOON, async || {
            self.hear();
            let mut lists = self.told.iter().filter_map(|told| match told {
                PodEvent::Listed { list, .. } => Some(*list),
                _ => None,
            });
            lists.nth(before).ok_or_else(|| format!("{before} lists"))
        })
        .await
    }

    fn lists(&self) -> usize {
        self.told.iter().filter(|s| matches!(s, PodEvent::Listed { .. })).count()
    }

    fn uid(&self, name: &str) -> String {
        self.server.pod("shop", name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    fn ends(&self) -> Vec<(String, Deletion)> {
        let ended = |s: &PodEvent| match s {
            PodEvent::Deletion { uid, why, .. } => Some((uid.to_string(), *why)),
            _ => None,
        };
        self.told.iter().filter_map(ended).collect()
    }

    /// How many lists and watches failed.
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
    let mut world = World::listed([]).await;
    assert_eq!(world.lists(), 1);
    let (a, before) = (world.uid("a"), world.view.len());
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    let told = (a, Deletion::Deleted);
    world.told("the end of a", |s| matches!(s, PodEvent::Deletion { uid, .. } if uid.text() == told.0.as_str())).await;
    assert_eq!((world.ends(), world.view.len()), (vec![told], before));
}

#[tokio::test]
async fn pod_replaced_in_place_gives_two_events() {
    // One MODIFIED event gives the old pod's deletion and an event of the new pod.
    let mut world = World::listed([]).await;
    let old = world.uid("b");
    world.server.replace_in_place(pod("b").namespace("shop").running()).unwrap();
    world.equal().await;
    let new = world.uid("b");
    world.told("the new pod", |s| matches!(s, PodEvent::Applied { uid, .. } if uid.text() == new.as_str())).await;
    assert_eq!(world.ends(), [(old, Deletion::Deleted)]);
}

#[tokio::test]
async fn deletions_missed_by_the_watch_show_by_absence() {
    // The next list lacks the pods, and no deletion event reports them.
    let mut world = World::listed([]).await;
    world.server.delete_silently("shop", "a").unwrap();
    world.server.compact();
    world.server.drop_watches();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    assert!(world.ends().is_empty(), "no event told it: the list did");
}

#[tokio::test]
async fn requested_list_finds_a_lost_event() {
    let mut world = World::listed([]).await;
    world.server.delete_silently("shop", "c").unwrap();
    world.relist.send_modify(|asked| *asked += 1);
    world.equal().await;
    assert!(world.count("relists_total{reason=\"requested\"} 1"));
}

#[tokio::test]
async fn watch_refused_with_410_leads_to_a_relist() {
    let mut world = World::listed([Fault::status(Kind::Watch, 410)]).await;
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    world.told("a second list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods >= 3)).await;
    assert!(world.count("relists_total{reason=\"gone\"} 1"));
}

#[tokio::test]
async fn undecodable_pod_is_not_taken_for_deleted() {
    // Its record stays as it was.
    let mut world = World::listed([]).await;
    let uid = world.uid("b").as_str().into();
    let digest = |world: &World| world.view.get(&uid).unwrap().content.unwrap().digest;
    let before = digest(&world);
    world.server.spoil("b");
    world.relist.send_modify(|asked| *asked += 1);
    eventually("it was counted", SOON, async || {
        if world.count("undecodable_pods_total 1") { Ok(()) } else { Err(String::new()) }
    })
    .await;
    world.equal().await;
    assert_eq!(digest(&world), before, "its record stays as it was");
    assert!(world.ends().is_empty());
}

#[tokio::test]
async fn undecodable_event_restarts_the_watch() {
    let line = r#"{"type":"MODIFIED","object":"what?"}"#;
    let mut world = World::listed([Fault::line(0, line)]).await;
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
    let mut world = World::listed(faults).await;
    world.hear();
    assert_eq!((world.lists(), world.view.len()), (1, 3), "one list was complete");
    assert!(world.count("watch_errors_total 5"));
}

#[tokio::test]
async fn list_older_than_the_view_is_discarded() {
    let mut world = World::listed([]).await;
    let earlier = world.server.snapshot();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    world.server.inject(Fault::stale_list(earlier));
    let lists = world.lists();
    world.relist.send_modify(|asked| *asked += 1);
    eventually("the list was taken again", SOON, async || {
        if world.count("relists_total{reason=\"stale\"} 1") { Ok(()) } else { Err(String::new()) }
    })
    .await;
    world.equal().await;
    eventually("the next list is shown", SOON, async || {
        world.hear();
        if world.lists() == lists + 1 { Ok(()) } else { Err(format!("{}", world.lists())) }
    })
    .await;
    world.equal().await;
}

#[tokio::test]
async fn broken_connections_lose_nothing() {
    let faults = [Fault::cut(Kind::Watch, 1), Fault::end(1), Fault::cut(Kind::Watch, 0)];
    let mut world = World::listed(faults).await;
    for name in ["d", "e", "f", "g"] {
        world.server.create(pod(name).namespace("shop").running()).unwrap();
        world.server.delete("shop", name).unwrap();
    }
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    world.told("the last end", |s| matches!(s, PodEvent::Deletion { .. })).await;
    assert_eq!(world.view.len(), 2);
}

#[tokio::test]
async fn deletion_event_under_a_selector_is_ambiguous() {
    // With a selector, the pod may have been deleted, or changed and deselected.
    let scope = PodSelection { label_selector: Some("app in (a,b)".into()), ..PodSelection::default() };
    let mut world = World::start([], scope).await;
    world.told("the list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods == 2)).await;
    let uid = world.uid("a");
    world.server.update("shop", "a", |pod| pod["metadata"]["labels"]["app"] = "z".into()).unwrap();
    world.told("the end", |s| matches!(s, PodEvent::Deletion { .. })).await;
    assert_eq!(world.ends(), [(uid, Deletion::DeletedOrLeftRule)]);
}

#[tokio::test]
async fn excluded_namespaces_are_not_watched() {
    let scope = PodSelection { excluded_namespaces: vec!["shop".into()], ..PodSelection::default() };
    let mut world = World::start([], scope).await;
    world.told("the list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods == 0)).await;
    world.server.create(pod("x").namespace("other").running()).unwrap();
    world.told("the pod of another namespace", |s| matches!(s, PodEvent::Applied { .. })).await;
    assert_eq!(world.view.len(), 1);
}

#[tokio::test]
async fn list_longer_than_the_relist_interval_completes() {
    let slow = [Fault::delay(Kind::List, Duration::from_millis(300)).always()];
    let mut world = World::with_timers(slow, PodSelection::default(), Duration::from_millis(50), NEVER).await;
    world.equal().await;
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.equal().await;
    eventually("the watch is built anew by the interval", SOON, async || {
        if world.count("relists_total{reason=\"interval\"} 2") { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
}

#[tokio::test]
async fn restored_cluster_is_noticed_despite_silent_watch() {
    let mut world = World::with_timers([], PodSelection::default(), NEVER, Duration::from_millis(500)).await;
    world.equal().await;
    let earlier = world.server.snapshot();
    for name in ["d", "e", "f"] {
        world.server.create(pod(name).namespace("shop").running()).unwrap();
    }
    world.equal().await;
    world.server.restore(earlier);
    world.server.drop_watches();
    eventually("its lists are older than what was seen", SOON, async || {
        if world.count("relists_total{reason=\"stale\"} 2") { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
    assert_eq!(world.view.len(), 6, "nothing is concluded from the first of them");
}
