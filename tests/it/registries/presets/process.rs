//! `pod-registrar run` between the demo's API server and a registry of others.

use std::{collections::BTreeMap, path::Path, time::Duration};

use pod_registrar::{
    demo::{api::ApiOptions, pod::pod},
    model::{digest::Fingerprint, pod::Pod},
};

use super::{CLUSTERS, Witness};
use crate::{
    process::world::{Kube, name, write_kubeconfig},
    support::{
        Controller, Exchange, Fault, Faults, FaultyProxy, Proxy,
        apiserver::Server,
        eventually,
        registries::{CLUSTER_NAME, TargetWriter},
        until,
    },
};

/// Two intervals and the retries between them take less than [`WITHIN`].
const RESYNC: [&str; 2] = ["--resync-interval", "3s"];
/// The name that the readers use.
const NAMED: [&str; 2] = ["--cluster-name", CLUSTER_NAME];
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// The least number of answers that a fault has to lose, and of requests that a registry that is down has to miss.
const HITS: u64 = 3;
const FAILED: usize = 2;

/// The process between a cluster and a registry. `file` is the targets file.
pub(super) struct Scene<'a, W> {
    pub(super) kube: &'a Kube,
    pub(super) witness: &'a W,
    /// Reads the registry as the process should.
    pub(super) reader: TargetWriter,
}

impl<W: Witness> Scene<'_, W> {
    fn pods(&self) -> Vec<Pod> {
        let names = self.kube.api.uids().into_keys();
        let pods = names.map(|name| {
            let (namespace, name) = name.split_once('/').unwrap();
            self.reader.pod(self.kube.api.pod(namespace, name).unwrap())
        });
        pods.filter(|pod| self.reader.selects(pod)).collect()
    }

    /// The record of the pod with this number.
    fn id(&self, number: usize) -> String {
        self.witness.id(&self.reader.pod(self.kube.api.pod("default", &name(number)).unwrap()))
    }

    /// Waits until the registry equals the cluster.
    pub(super) async fn equal(&self, when: &str) {
        eventually(&format!("the registry equals the cluster {when}"), WITHIN, async || {
            // The list shows what the registry assigned, which some records need.
            let listed = self.reader.inventory().await.map_err(|error| error.to_string())?;
            let wanted = self.reader.desired(&self.pods());
            let lacks = wanted.keys().filter(|key| !listed.contains_key(*key)).count();
            let excess = listed.keys().filter(|key| !wanted.contains_key(*key)).count();
            let differ = listed.iter().filter(|(key, print)| wanted.get(*key).is_some_and(|w| w != *print)).count();
            if lacks + excess + differ == 0 {
                return Ok(());
            }
            Err(format!("{lacks} are missing, {excess} are left over, {differ} differ"))
        })
        .await;
    }
}

/// Creates running pods, each with an address of its own.
pub(super) fn create(kube: &Kube, numbers: std::ops::Range<usize>) {
    for number in numbers {
        // Pods of both clusters have UIDs of their own.
        let pod = pod(name(number)).uid(super::uid(number)).label("app", "web").ip(format!("10.0.0.{number}"));
        kube.api.create(pod.running()).unwrap();
    }
}

/// Changes all that the presets show of a pod.
pub(super) fn change(kube: &Kube, number: usize, to: u8) {
    let changed = kube.api.update("default", &name(number), |pod| {
        pod["metadata"]["labels"]["app.kubernetes.io/name"] = format!("service-{to}").into();
        pod["status"]["podIP"] = format!("10.0.{to}.{number}").into();
        pod["status"]["podIPs"][0]["ip"] = format!("10.0.{to}.{number}").into();
        pod["spec"]["containers"][0]["image"] = format!("web:{to}").into();
    });
    changed.unwrap();
}

pub(super) fn targets(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("targets.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Waits until the registry has equalled the cluster, and nothing is pending.
pub(super) async fn synced(controller: &mut Controller, target: &str) {
    let figure = |name: &str| format!("{name}{{target=\"{target}\"}}");
    let figures = [figure("first_complete_sync_seconds"), figure("pending")];
    eventually("a complete sync", WITHIN, async || {
        let [first, pending] = [controller.figure(&figures[0]).await, controller.figure(&figures[1]).await];
        if first > 0.0 && pending == 0.0 { Ok(()) } else { Err(format!("{first} {pending}")) }
    })
    .await;
}

pub(super) async fn ends(mut controller: Controller) {
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let errors = |line: &&String| line.contains("\"ERROR\"") || line.contains(" ERROR ");
    let errors: Vec<String> = controller.stderr().iter().filter(errors).cloned().collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// What a process has to go through with a registry. `file` makes the targets file for an address, and `writes` tells
/// which requests write records.
pub(super) async fn live(
    url: &str,
    file: impl Fn(&str) -> String,
    mut witness: impl Witness,
    writes: impl Fn(&Exchange) -> bool + Copy + Send + Sync + 'static,
) {
    let kube = Kube::start().await;
    let proxy = Proxy::start(url).await;
    let faults = FaultyProxy::start(proxy.url.strip_prefix("http://").unwrap().to_owned()).await;
    let path = targets(kube.folder.path(), &file(&format!("http://{}", faults.address)));
    let start = |more: &[&str]| Controller::start_with_targets(&kube.kubeconfig, &path, &[&NAMED[..], more].concat());
    let reader = || TargetWriter::new(&file(url), CLUSTERS[0]);
    let written = |mark: usize| -> Vec<String> {
        let seen = proxy.seen_since(mark);
        let text = |exchange: &Exchange| format!("{} {}", exchange.path, String::from_utf8_lossy(&exchange.body));
        seen.iter().filter(|exchange| writes(exchange)).map(text).collect()
    };
    let scene = Scene { kube: &kube, witness: &witness, reader: reader() };
    scene.reader.begin_if_records_need_it().await.unwrap();
    let target = scene.reader.name().to_owned();

    // Registered, changed and deleted.
    create(&kube, 0..40);
    let mut controller = start(&[]);
    scene.equal("at first").await;
    synced(&mut controller, &target).await;
    (0..5).for_each(|number| change(&kube, number, 1));
    kube.delete(5..10);
    create(&kube, 40..45);
    scene.equal("after changes").await;
    controller.ready().await;
    ends(controller).await;

    // A restart without changes writes nothing.
    let mark = proxy.mark();
    let mut controller = start(&[]);
    synced(&mut controller, &target).await;
    ends(controller).await;
    assert_eq!(written(mark), Vec::<String>::new());

    // The process is killed, and pods change before it starts again.
    let mut controller = start(&[]);
    synced(&mut controller, &target).await;
    change(&kube, 11, 2);
    controller.kill();
    change(&kube, 12, 2);
    kube.delete(13..16);
    create(&kube, 45..48);
    let mut controller = start(&[]);
    scene.equal("after a crash").await;
    synced(&mut controller, &target).await;

    // Answers are lost, and one to a write is the first: after the answer to a read, there might be no write at all.
    let (mark, lost) = (proxy.mark(), faults.lost());
    proxy.keep_answers(writes);
    (16..22).for_each(|number| change(&kube, number, 3));
    kube.delete(22..24);
    create(&kube, 48..52);
    until("a write arrives", || !written(mark).is_empty()).await;
    faults.set(Faults { up: Fault::Clear, down: Fault::Truncate(0) });
    proxy.release();
    until("answers are lost", || faults.lost() >= lost + HITS).await;
    faults.repair();
    scene.equal("after lost answers").await;
    ends(controller).await;

    // A person edits and removes records, and adds one with another mark. Another cluster writes to the same registry.
    let foreign = witness.add_foreign("pod-registrar:other:default").await;
    let theirs = witness.records().await[&foreign].clone();
    let neighbour = Neighbour::start(url, &file).await;
    let mut controller = start(&RESYNC);
    synced(&mut controller, &target).await;
    witness.edit(&scene.id(30)).await;
    witness.remove(&scene.id(31)).await;
    scene.equal("after edits by hand").await;
    neighbour.equal().await;
    assert_eq!(witness.records().await[&foreign], theirs, "untouched");
    let ours = scene.reader.desired(&scene.pods()).len();
    assert_eq!(witness.records().await.len(), ours + neighbour.desired().len() + 1);
    drop(scene);

    // The registry is restarted, and pods change in the meantime.
    if let Some(server) = witness.server() {
        server
            .restart(async || {
                let mark = proxy.mark();
                (24..27).for_each(|number| change(&kube, number, 4));
                kube.delete(27..29);
                create(&kube, 52..55);
                let unanswered = |exchange: &&Exchange| exchange.reached == Some(false);
                until("requests fail", || proxy.seen_since(mark).iter().filter(unanswered).count() >= FAILED).await;
            })
            .await;
    }
    let scene = Scene { kube: &kube, witness: &witness, reader: reader() };
    scene.reader.begin_if_records_need_it().await.unwrap();
    scene.equal("after a restart of the registry").await;
    neighbour.equal().await;
    synced(&mut controller, &target).await;
    ends(neighbour.controller).await;
    ends(controller).await;
}

/// Another cluster with a process of its own.
struct Neighbour {
    reader: TargetWriter,
    kube: Kube,
    controller: Controller,
}

impl Neighbour {
    async fn start(url: &str, file: &impl Fn(&str) -> String) -> Self {
        let api = Server::start(ApiOptions::default()).await.unwrap();
        api.set_cluster_uid(CLUSTERS[1]);
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = write_kubeconfig(folder.path(), &api.url());
        let kube = Kube { api, kubeconfig, folder };
        create(&kube, 100..107);
        let path = targets(kube.folder.path(), &file(url));
        let controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[NAMED, RESYNC].concat());
        let neighbour = Self { reader: TargetWriter::new(&file(url), CLUSTERS[1]), kube, controller };
        neighbour.reader.begin_if_records_need_it().await.unwrap();
        neighbour.equal().await;
        neighbour
    }

    fn desired(&self) -> BTreeMap<String, Fingerprint> {
        let pod = |name: String| self.kube.api.pod("default", name.strip_prefix("default/").unwrap()).unwrap();
        let pods: Vec<Pod> = self.kube.api.uids().into_keys().map(|name| self.reader.pod(pod(name))).collect();
        self.reader.desired(&pods)
    }

    async fn equal(&self) {
        eventually("the other cluster is registered", WITHIN, async || match self.reader.inventory().await {
            Ok(listed) if listed == self.desired() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}
