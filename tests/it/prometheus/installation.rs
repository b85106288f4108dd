//! An installation as the manifests make it, with a Prometheus that scrapes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pod_registrar::demo::{api::Api, pod::pod};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{scaled::scaled, server::Prometheus};
use crate::{
    process::world::{CLUSTER, Kube, name, write_kubeconfig},
    project::rules,
    support::{Controller, Proxy, Reader, RegistryProcess, SOON, chart::ChartTools, eventually, http_client},
};

/// The number by which most tests divide the times of the rules: 5 minutes become 10 seconds.
pub(super) const FAST: u32 = 30;
/// The same for faults after which the controller itself does something within a minute, sooner than the rules' 5
/// minutes.
pub(super) const SLOW: u32 = 4;
/// The pods of the cluster. One changes at a time.
const PODS: usize = 20;
const CHANGE_EVERY: Duration = Duration::from_millis(300);
/// How long a fault goes on after its alerts fire: longer than half an hour of the rules, divided by [`FAST`].
const GOES_ON: Duration = Duration::from_secs(70);
const TOKEN: &str = "the-token-of-the-controller";
const READER: &str = "the-token-of-the-test";
/// Short, as the times of the rules are.
pub(super) const LEASE: [&str; 4] = ["--lease", "default/registrar", "--lease-duration", "6s"];

/// The cluster, the registry, two replicas named `a` and `b`, and Prometheus.
pub(super) struct Installation {
    pub(super) kube: Kube,
    pub(super) registry: RegistryProcess,
    pub(super) proxy: Proxy,
    pub(super) prometheus: Prometheus,
    pub(super) replicas: BTreeMap<&'static str, Controller>,
    scraped: BTreeMap<&'static str, String>,
    keep_pods: Arc<AtomicBool>,
    changes: JoinHandle<()>,
    _tools: ChartTools,
}

impl Installation {
    /// A healthy installation, or `None` and a notice if the tools are not built.
    pub(super) async fn start(by: u32) -> Option<Self> {
        let tools = ChartTools::find()?;
        let kube = Kube::start().await;
        kube.create(0..PODS);
        create_lease(&kube).await;
        let tokens = kube.folder.path().join("tokens");
        std::fs::write(&tokens, tokens_file(TOKEN)).unwrap();
        std::fs::write(kube.folder.path().join("token"), TOKEN).unwrap();
        let flags = ["--tokens-file", tokens.to_str().unwrap()];
        let registry = RegistryProcess::start_with(kube.folder.path(), &flags).await;
        let proxy = Proxy::start(&registry.url).await;
        let prometheus = Prometheus::start(&tools, &scaled(rules(), by), by).await;
        let keep_pods = Arc::new(AtomicBool::new(false));
        let changes = tokio::spawn(change(kube.api.content(), Arc::clone(&keep_pods)));
        let (replicas, scraped) = (BTreeMap::new(), BTreeMap::new());
        let mut world =
            Self { kube, registry, proxy, prometheus, replicas, scraped, keep_pods, changes, _tools: tools };
        for pod in ["a", "b"] {
            world.run(pod, &LEASE).await;
            world.replicas.get_mut(pod).unwrap().ready().await;
        }
        world.is_healthy().await;
        Some(world)
    }

    /// Starts a replica with these flags, besides the usual ones, and scrapes it.
    pub(super) async fn run(&mut self, pod: &'static str, flags: &[&str]) {
        let proxy = self.proxy.url.clone();
        self.run_with(pod, &proxy, flags).await;
    }

    /// The same for a registry at this address.
    pub(super) async fn run_with(&mut self, pod: &'static str, registry: &str, flags: &[&str]) {
        let kubeconfig = self.kubeconfig(pod);
        let token = self.kube.folder.path().join("token");
        let usual = ["--instance", pod, "--registry-token-file", token.to_str().unwrap()];
        let mut controller = Controller::start(&kubeconfig, registry, &[&usual, flags].concat());
        let address = controller.address().await;
        self.replicas.insert(pod, controller);
        self.scrape(pod, address);
    }

    pub(super) fn scrape(&mut self, pod: &'static str, address: String) {
        self.scraped.insert(pod, address);
        self.prometheus.scrape(&self.scraped);
    }

    pub(super) fn do_not_scrape(&mut self, pod: &str) {
        self.scraped.remove(pod);
        self.prometheus.scrape(&self.scraped);
    }

    /// A kubeconfig with the name of the pod as its token.
    pub(super) fn kubeconfig(&self, pod: &str) -> PathBuf {
        let folder = self.kube.folder.path().join(pod);
        std::fs::create_dir_all(&folder).unwrap();
        let path = write_kubeconfig(&folder, &self.kube.api.url());
        let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        document["users"][0]["user"] = json!({"token": pod});
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }

    /// Deletes no pods from now on, and waits until the registry knows.
    pub(super) async fn keep_pods(&self) {
        self.keep_pods.store(true, Ordering::Relaxed);
        self.kube.equals(&self.reader(), SOON).await;
    }

    /// Stops a replica. Prometheus goes on to scrape its address.
    pub(super) async fn stop(&mut self, pod: &'static str) {
        let mut replica = self.replicas.remove(pod).unwrap();
        replica.terminate();
        assert_eq!(replica.code().await, 0);
    }

    /// Stops both replicas, and starts them again with these flags, besides those for the Lease.
    pub(super) async fn restart(&mut self, flags: &[&str]) {
        for pod in ["b", "a"] {
            self.stop(pod).await;
        }
        for pod in ["a", "b"] {
            self.run(pod, &[&LEASE[..], flags].concat()).await;
        }
    }

    /// From now on, the registry accepts this token of the controller only.
    pub(super) async fn registry_accepts(&mut self, token: &str) {
        std::fs::write(self.kube.folder.path().join("tokens"), tokens_file(token)).unwrap();
        self.registry.kill();
        self.registry.start_again().await;
    }

    pub(super) fn reader(&self) -> Reader {
        self.registry.reader().with_token(READER)
    }

    /// Waits until Prometheus sees a writer, a standby, and no alert.
    pub(super) async fn is_healthy(&self) {
        eventually("a healthy installation", 8 * SOON, async || {
            let state = "sum(pod_registrar_writer) == 1 and count(pod_registrar_leader) >= 2";
            match (self.prometheus.query(state).await?.len(), self.prometheus.firing().await?) {
                (1, firing) if firing.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Waits until these alerts fire. No others fire while the fault goes on.
    pub(super) async fn fires(&self, alerts: &[&str]) {
        let expected: BTreeSet<String> = alerts.iter().map(ToString::to_string).collect();
        eventually("the alerts fire", 8 * SOON, async || {
            let firing = self.prometheus.firing().await?;
            if firing == expected { Ok(()) } else { Err(format!("{firing:?}, not {expected:?}")) }
        })
        .await;
        self.only_these_fire(&expected).await;
    }

    /// Checks for a while that these alerts fire, and that no others have fired.
    pub(super) async fn only_these_fire(&self, expected: &BTreeSet<String>) {
        let until = Instant::now() + GOES_ON;
        while Instant::now() < until {
            let (firing, fired) = (self.prometheus.firing().await.unwrap(), self.prometheus.fired().await.unwrap());
            assert_eq!((&firing, &fired), (expected, expected), "what fires now, and what has fired");
            tokio::time::sleep(CHANGE_EVERY).await;
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.changes.abort();
    }
}

/// One changed, or deleted and created, pod at a time.
async fn change(api: Api, keep_pods: Arc<AtomicBool>) {
    for step in 0_usize.. {
        let name = name(step % PODS);
        if step % 8 == 7 && !keep_pods.load(Ordering::Relaxed) {
            api.delete("default", &name).unwrap();
            api.create(pod(name).label("app", "web").running()).unwrap();
        } else {
            api.update("default", &name, |pod| pod["metadata"]["labels"]["step"] = step.to_string().into()).unwrap();
        }
        tokio::time::sleep(CHANGE_EVERY).await;
    }
}

/// Creates an empty Lease, as the deployment does.
async fn create_lease(kube: &Kube) {
    let path = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(path).json(&lease).send().await.unwrap().status(), 201);
}

fn tokens_file(controller: &str) -> String {
    format!("{controller} {CLUSTER}\n{READER} *\n")
}
