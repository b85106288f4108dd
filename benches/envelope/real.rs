//! Measures with the pods of a real control plane, to check the stand-in.
//!
//! The bench lists the pods that are there. It creates and deletes pods in a namespace of its own, on a node that does
//! not exist.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{
    clients::{kube_client, token_in},
    error::{Error, Result},
    http::now_ns,
    latency::{Delays, Event},
    peers,
    pods::read_uuid,
    report::Unit,
    run::Run,
    stats::{median, to_f64, wide},
    subject::{Kind, Subject},
    truth::Truth,
    world::Target,
};

const NAMESPACE: &str = "envelope-bench";
/// Requests to the API server in flight at a time.
const IN_FLIGHT: usize = 8;
/// Lists that pod-registrar and a client that discards them read in turns, because the server's time varies by half.
const TURNS: usize = 5;
/// Time limit of a first sync.
const SYNC: Duration = Duration::from_secs(300);
/// A record that is missing after this time without a write counts as lost.
const QUIET: Duration = Duration::from_secs(20);
/// Time until freed memory is returned to the system.
const REST: Duration = Duration::from_secs(5);

struct Plane {
    client: Client,
    pods: Api<Pod>,
    kubeconfig: PathBuf,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::in_step("the control plane")(error)
}

impl Plane {
    async fn connect(kubeconfig: &Path) -> Result<Self> {
        let client = kube_client(kubeconfig).await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).map_err(failed)?;
        match namespaces.create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(error)),
        }
        let pods = Api::namespaced(client.clone(), NAMESPACE);
        Ok(Self { client, pods, kubeconfig: kubeconfig.to_owned() })
    }

    /// Reads all pages and discards them: seconds and megabytes.
    async fn read_only(&self) -> Result<(f64, f64)> {
        let begun = Instant::now();
        let (mut bytes, mut next) = (0, String::new());
        loop {
            let uri = format!("/api/v1/pods?limit=500{next}");
            let request = Request::get(uri).body(Vec::new()).map_err(failed)?;
            let text = self.client.request_text(request).await.map_err(failed)?;
            bytes += text.len();
            let Some(token) = token_in(&text) else { break };
            next = format!("&continue={token}");
        }
        Ok((begun.elapsed().as_secs_f64(), to_f64(bytes) / 1e6))
    }

    /// The living pods and their versions.
    async fn living(&self) -> Result<HashMap<u128, u64>> {
        let all: Api<Pod> = Api::all(self.client.clone());
        let mut page = ListParams::default().limit(500);
        let mut living = HashMap::new();
        loop {
            let list = all.list_metadata(&page).await.map_err(failed)?;
            for pod in list.items {
                let uid = pod.metadata.uid.and_then(|uid| read_uuid(&uid)).unwrap_or_default();
                let version = pod.metadata.resource_version.and_then(|version| version.parse().ok());
                living.insert(uid, version.unwrap_or_default());
            }
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                return Ok(living);
            }
        }
    }

    /// Creates a pod and deletes it after a second. The time of an event is that of the server's response. The garbage
    /// collector may delete the pod first, because its node does not exist.
    async fn life(&self, number: u64) -> Result<Vec<Event>> {
        let name = format!("envelope-{number}-{:x}", fastrand::u32(..));
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "envelope", "number": number.to_string()}},
            "spec": {"nodeName": "envelope-no-such-node", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "registry.example.com/team/app:1.0.0"}]},
        }))
        .map_err(failed)?;
        let created = self.pods.create(&PostParams::default(), &pod).await.map_err(failed)?;
        let uid = created.metadata.uid.and_then(|uid| read_uuid(&uid)).unwrap_or_default();
        let version = created.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or_default();
        let event = |deleted| Event { happened_at: now_ns(), written_at: 0, deleted, uid, version };
        let added = event(false);
        sleep(Duration::from_secs(1)).await;
        match self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await {
            Ok(_) => Ok(vec![added, event(true)]),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(vec![added]),
            Err(error) => Err(failed(error)),
        }
    }

    /// Creates and deletes pods at a rate, as far as the server keeps up with it.
    async fn churn(self: &Arc<Self>, rate: u64, seconds: u64) -> Result<Vec<Event>> {
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX));
        let end = Instant::now() + Duration::from_secs(seconds);
        let (mut lives, mut events, mut number) = (JoinSet::new(), Vec::new(), 0);
        let most = usize::try_from(rate * 2).unwrap_or(usize::MAX).max(IN_FLIGHT);
        while Instant::now() < end {
            ticks.tick().await;
            if lives.len() >= most
                && let Some(life) = lives.join_next().await
            {
                events.extend(life.map_err(failed)??);
            }
            let plane = Arc::clone(self);
            lives.spawn(async move { plane.life(number).await });
            number += 1;
        }
        while let Some(life) = lives.join_next().await {
            events.extend(life.map_err(failed)??);
        }
        Ok(events)
    }
}

impl Run<'_> {
    /// Measures memory, first sync and latency with the pods of a control plane.
    pub(crate) async fn real(&mut self, kubeconfig: &Path, work: &Path) -> Result<()> {
        let plane = Arc::new(Plane::connect(kubeconfig).await?);
        let pods = plane.living().await?.len();
        let megabytes = self.in_turns(&plane, pods).await?;
        self.report.note(format!("{pods} pods on a real control plane, {megabytes:.0} MB."));
        let mut kinds = vec![self.ours(&[])];
        if !self.options.no_peers
            && let Some(binary) = peers::informer(work)?
        {
            let flags = [vec!["--protobuf", "--transform"], vec!["--transform"], Vec::new()];
            kinds.extend(flags.map(|flags| Kind::Informer { binary: binary.clone(), flags }));
        }
        for kind in kinds {
            self.real_of(&plane, &kind).await?;
        }
        Ok(())
    }

    /// The first sync, in turns with a client that discards the same list. Returns the megabytes of the list.
    async fn in_turns(&mut self, plane: &Plane, pods: usize) -> Result<f64> {
        let (mut read_only, mut ours, mut megabytes) = (Vec::new(), Vec::new(), 0.0);
        let mut processor = Vec::new();
        for _ in 0..TURNS {
            let (seconds, came) = plane.read_only().await?;
            read_only.push(seconds);
            megabytes = came;
            let (seconds, spent) = self.first_sync(plane, pods).await?;
            ours.push(seconds);
            processor.push(spent);
        }
        let (name, task) = (self.ours(&[]).name(), "first sync, in turns");
        let middle = |seconds: &[f64]| median(seconds).unwrap_or_default();
        let report = &mut self.report;
        report.add("read only", task, None, Unit::Seconds, middle(&read_only));
        report.add(&name, task, None, Unit::Seconds, middle(&ours));
        report.add(&name, "first sync, in turns: processor time", None, Unit::Seconds, middle(&processor));
        let share = middle(&read_only) / middle(&ours);
        report.add(&name, "share of the list in the first sync", None, Unit::Ratio, share);
        report.note(format!(
            "In turns: a discarded list {read_only:.2?} s, first sync {ours:.2?} s, its processor time {processor:.2?} s."
        ));
        Ok(megabytes)
    }

    /// Seconds from the start until an empty registry has a record of each pod, and processor seconds.
    async fn first_sync(&self, plane: &Plane, pods: usize) -> Result<(f64, f64)> {
        let kind = self.ours(&[]);
        let target = Target::of(&kind, self.places).await?;
        let begun = now_ns();
        let mut subject = Subject::start(&kind, &plane.kubeconfig, &target.recorder.url(), &self.places.logs).await?;
        let synced = async || {
            let counts = target.recorder.counts();
            let all = counts.puts >= pods as u64;
            Ok(all.then_some(counts.last_write_at).ok_or_else(|| format!("{} of {pods} records", counts.puts)))
        };
        let at = subject.process.until("the first sync", SYNC, synced).await?;
        let spent = subject.process.processor_time()?.as_secs_f64();
        subject.process.stop().await?;
        Ok((wide(at.saturating_sub(begun)) / 1e9, spent))
    }

    async fn real_of(&mut self, plane: &Arc<Plane>, kind: &Kind) -> Result<()> {
        let name = kind.name();
        let target = Target::of(kind, self.places).await?;
        let begun = now_ns();
        let mut subject = Subject::start(kind, &plane.kubeconfig, &target.recorder.url(), &self.places.logs).await?;
        let truth = settle(plane, &target, &mut subject).await?;
        let counts = target.recorder.counts();
        let (peak, processor) = (subject.process.memory()?.peak, subject.process.processor_time()?);
        sleep(REST).await;
        let steady = wide(subject.process.memory()?.now);
        let report = &mut self.report;
        report.add(&name, "memory after the first sync", None, Unit::Bytes, steady);
        report.truth(&name, "memory after the first sync", truth);
        report.add(&name, "peak / steady memory", Some("<= 1.5"), Unit::Ratio, wide(peak) / steady);
        let since = |to: u64| wide(to.saturating_sub(begun)) / 1e9;
        report.add(&name, "start to first write", None, Unit::Seconds, since(counts.first_write_at));
        report.add(&name, "start to last write", None, Unit::Seconds, since(counts.last_write_at));
        report.add(&name, "first sync: requests", None, Unit::Count, wide(counts.writes));
        report.add(&name, "first sync: processor time", None, Unit::Seconds, processor.as_secs_f64());
        self.real_churn(plane, &name, &target, &mut subject).await
    }

    async fn real_churn(
        &mut self,
        plane: &Arc<Plane>,
        name: &str,
        target: &Target,
        subject: &mut Subject,
    ) -> Result<()> {
        target.recorder.reset();
        let before = subject.process.processor_time()?;
        let events = plane.churn(self.options.rate, self.options.seconds).await?;
        let truth = settle(plane, target, subject).await?;
        let spent = subject.process.processor_time()?.saturating_sub(before).as_secs_f64();
        let delays = Delays::of(&events, &target.recorder.take_arrivals());
        let report = &mut self.report;
        for (which, value) in [("p50", delays.p50), ("p99", delays.p99)] {
            let task = format!("answer to a change to request, {which}");
            report.add(name, &task, None, Unit::Milliseconds, value);
            report.truth(name, &task, truth);
        }
        let each = spent * 1e6 / to_f64(events.len().max(1));
        report.add(name, "processor time per change", None, Unit::Microseconds, each);
        report.note(format!(
            "{name}: {} pods were created and deleted, {} per second, with {} requests.",
            events.len() / 2,
            wide(events.len() as u64) / 2.0 / wide(self.options.seconds.max(1)),
            target.recorder.counts().writes
        ));
        Ok(())
    }
}

/// Waits until the registry equals the cluster, or nothing has been written for a while.
async fn settle(plane: &Plane, target: &Target, subject: &mut Subject) -> Result<Truth> {
    let (mut writes, mut since) = (0, Instant::now());
    loop {
        subject.process.check()?;
        sleep(Duration::from_millis(500)).await;
        let now = target.recorder.counts().writes;
        if now != writes {
            (writes, since) = (now, Instant::now());
            continue;
        }
        let truth = target.truth(&plane.living().await?).await?;
        if truth.is_equal() || since.elapsed() > QUIET {
            return Ok(truth);
        }
    }
}
