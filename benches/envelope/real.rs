//! The same questions to a real control plane: what the stand-in makes believe is checked against what is.
//!
//! The plane's pods are taken as they are. They come and go only in a namespace of the bench's own, bound to no node that
//! runs, and are deleted at the end.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, interval, sleep},
};

use crate::{
    error::{Error, Result},
    http::now_ns,
    latency::{Delays, Event},
    peers,
    pods::read_uuid,
    recorder::Recorder,
    registry::Registry,
    report::{Report, Unit},
    run::Run,
    stats::{median, to_f64, wide},
    subject::{Kind, Place, Subject},
    truth::Truth,
};

/// Where pods come and go.
const NAMESPACE: &str = "envelope-bench";
/// Requests to the API server under way at a time.
const IN_FLIGHT: usize = 8;
/// How often a list is read by us and by a client that throws it away: the server's own time varies by half.
const TURNS: usize = 5;
/// A list takes no longer.
const LIST: Duration = Duration::from_secs(300);
/// What is still missing then is missing for good.
const QUIET: Duration = Duration::from_secs(20);
/// Memory that is given back is given back by then.
const REST: Duration = Duration::from_secs(5);

/// A control plane.
struct Plane {
    client: Client,
    pods: Api<Pod>,
    kubeconfig: PathBuf,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Http { what: "the control plane".into(), cause: error.to_string() }
}

impl Plane {
    async fn connect(kubeconfig: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.map_err(failed)?).map_err(failed)?;
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

    /// Reads all pages and throws them away: seconds and megabytes.
    async fn read_only(&self) -> Result<(f64, f64)> {
        let begun = Instant::now();
        let (mut bytes, mut next) = (0, String::new());
        loop {
            let uri = format!("/api/v1/pods?limit=500{next}");
            let request = Request::get(uri).body(Vec::new()).map_err(failed)?;
            let text = self.client.request_text(request).await.map_err(failed)?;
            bytes += text.len();
            let token = text.split_once(r#""continue":""#).and_then(|(_, rest)| rest.split('"').next());
            let Some(token) = token.filter(|token| !token.is_empty()) else { break };
            next = format!("&continue={token}");
        }
        Ok((begun.elapsed().as_secs_f64(), to_f64(bytes) / 1e6))
    }

    /// The pods that are there, with their versions.
    async fn living(&self) -> Result<HashMap<u128, u64>> {
        let all: Api<Pod> = Api::all(self.client.clone());
        let mut page = ListParams::default().limit(500);
        let mut living = HashMap::new();
        loop {
            let list = all.list_metadata(&page).await.map_err(failed)?;
            for pod in list.items {
                let uid = pod.metadata.uid.and_then(|uid| read_uuid(uid.as_bytes())).unwrap_or_default();
                let version = pod.metadata.resource_version.and_then(|version| version.parse().ok());
                living.insert(uid, version.unwrap_or_default());
            }
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                return Ok(living);
            }
        }
    }

    /// Creates a pod and, a second later, deletes it; when the server had said yes to each. Its garbage collector may be
    /// first, as the pod's node is none.
    async fn life(&self, number: u64) -> Result<Vec<Event>> {
        let name = format!("envelope-{number}-{:x}", fastrand::u32(..));
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "envelope", "number": number.to_string()}},
            "spec": {"nodeName": "envelope-no-such-node", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "registry.example.com/team/app:1.0.0"}]},
        }))
        .map_err(failed)?;
        let created = self.pods.create(&PostParams::default(), &pod).await.map_err(failed)?;
        let uid = created.metadata.uid.and_then(|uid| read_uuid(uid.as_bytes())).unwrap_or_default();
        let version = created.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or_default();
        let event = |deleted| Event { happened_at: now_ns(), told_at: 0, deleted, uid, version };
        let added = event(false);
        sleep(Duration::from_secs(1)).await;
        match self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await {
            Ok(_) => Ok(vec![added, event(true)]),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(vec![added]),
            Err(error) => Err(failed(error)),
        }
    }

    /// Lets pods come and go at a rate, as far as the server keeps up with it.
    async fn churn(self: &Arc<Self>, rate: u64, seconds: u64) -> Result<Vec<Event>> {
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX));
        let end = Instant::now() + Duration::from_secs(seconds);
        let (mut lives, mut events, mut number) = (JoinSet::new(), Vec::new(), 0);
        let most = usize::try_from(rate * 2).unwrap_or(usize::MAX).max(IN_FLIGHT);
        while Instant::now() < end {
            ticks.tick().await;
            while lives.len() >= most {
                events.extend(ended(lives.join_next().await)?);
            }
            let plane = Arc::clone(self);
            lives.spawn(async move { plane.life(number).await });
            number += 1;
        }
        while let Some(life) = lives.join_next().await {
            events.extend(ended(Some(life))?);
        }
        Ok(events)
    }
}

/// The events of a life that ended.
fn ended(life: Option<std::result::Result<Result<Vec<Event>>, JoinError>>) -> Result<Vec<Event>> {
    life.map_or(Ok(Vec::new()), |life| life.map_err(failed)?)
}

impl Run<'_> {
    /// Memory, first sync and delays with the pods of a control plane.
    pub(crate) async fn real(&self, kubeconfig: &Path, work: &Path, report: &mut Report) -> Result<()> {
        let plane = Arc::new(Plane::connect(kubeconfig).await?);
        let pods = plane.living().await?.len();
        let megabytes = self.in_turns(&plane, report).await?;
        report.note(format!("{pods} pods on a real control plane, {megabytes:.0} MB."));
        let mut kinds = vec![self.ours(&[])];
        if let Some(binary) = peers::informer(work)?.filter(|_| !self.options.no_peers) {
            let mut informer = |flags| kinds.push(Kind::Informer { binary: binary.clone(), flags });
            informer(vec!["--protobuf", "--transform"]);
            informer(vec!["--transform"]);
            informer(Vec::new());
        }
        for kind in kinds {
            self.real_of(&plane, &kind, report).await?;
        }
        Ok(())
    }

    /// From the start to the first write beside a client that reads the same list and throws it away, in turns; the middle of
    /// each. Says how many megabytes a list has.
    async fn in_turns(&self, plane: &Plane, report: &mut Report) -> Result<f64> {
        let (mut read_only, mut ours, mut megabytes) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..TURNS {
            let (seconds, came) = plane.read_only().await?;
            read_only.push(seconds);
            megabytes = came;
            ours.push(self.first_write(plane).await?);
        }
        let (name, task) = (self.ours(&[]).name(), "start to first write, in turns");
        let middle = |seconds: &[f64]| median(seconds).unwrap_or_default();
        report.add("read only", task, None, Unit::Seconds, middle(&read_only));
        report.add(&name, task, None, Unit::Seconds, middle(&ours));
        let share = middle(&read_only) / middle(&ours);
        report.add(&name, "share of it that is the API server's own", Some(">= 0.85"), Unit::Times, share);
        report.note(format!("Seconds in turns: a list that is thrown away {read_only:.2?}, ours {ours:.2?}."));
        Ok(megabytes)
    }

    /// Seconds from our start until the whole list is in and the first record is written to an empty registry.
    async fn first_write(&self, plane: &Plane) -> Result<f64> {
        let registry = Registry::start(&self.options.binary, self.scratch, self.logs, self.reaper).await?;
        let (recorder, _running) = Recorder::start(Some(registry.address)).await?;
        let url = recorder.url();
        let place = Place { kubeconfig: &plane.kubeconfig, registry: &url, folder: self.logs, reaper: self.reaper };
        let begun = now_ns();
        let mut subject = Subject::start(&self.ours(&[]), &place).await?;
        let wrote = async || {
            let at = recorder.counts().first_write_at;
            Ok((at > 0).then_some(at).ok_or_else(|| "nothing written".to_owned()))
        };
        let at = subject.process.until("the first write", LIST, wrote).await?;
        subject.process.stop().await?;
        Ok(wide(at.saturating_sub(begun)) / 1e9)
    }

    async fn real_of(&self, plane: &Arc<Plane>, kind: &Kind, report: &mut Report) -> Result<()> {
        let name = kind.name();
        let registry = if kind.is_ours() {
            Some(Registry::start(&self.options.binary, self.scratch, self.logs, self.reaper).await?)
        } else {
            None
        };
        let (recorder, _running) = Recorder::start(registry.as_ref().map(|registry| registry.address)).await?;
        let url = recorder.url();
        let place = Place { kubeconfig: &plane.kubeconfig, registry: &url, folder: self.logs, reaper: self.reaper };
        let begun = now_ns();
        let mut subject = Subject::start(kind, &place).await?;
        let truth = settle(plane, registry.as_ref(), &recorder, &mut subject).await?;
        let counts = recorder.counts();
        let (peak, processor) = (subject.process.memory()?.peak, subject.process.processor_time()?);
        sleep(REST).await;
        let steady = wide(subject.process.memory()?.now);
        report.add(&name, "memory after the first sync", None, Unit::Bytes, steady);
        report.truth(&name, "memory after the first sync", truth, counts.twice);
        report.add(&name, "peak, to steady", Some("<= 1.5"), Unit::Times, wide(peak) / steady);
        let since = |to: u64| wide(to.saturating_sub(begun)) / 1e9;
        report.add(&name, "start to first write", None, Unit::Seconds, since(counts.first_write_at));
        report.add(&name, "start to last write", None, Unit::Seconds, since(counts.last_write_at));
        report.add(&name, "requests for it", None, Unit::Count, wide(counts.writes));
        report.add(&name, "processor time of the first sync", None, Unit::Seconds, processor.as_secs_f64());
        self.real_churn(plane, (&name, registry.as_ref(), &recorder), &mut subject, report).await
    }

    async fn real_churn(
        &self,
        plane: &Arc<Plane>,
        (name, registry, recorder): (&str, Option<&Registry>, &Recorder),
        subject: &mut Subject,
        report: &mut Report,
    ) -> Result<()> {
        recorder.reset();
        let before = subject.process.processor_time()?;
        let events = plane.churn(self.options.rate, self.options.seconds).await?;
        let truth = settle(plane, registry, recorder, subject).await?;
        let spent = subject.process.processor_time()?.saturating_sub(before).as_secs_f64();
        let (counts, delays) = (recorder.counts(), Delays::of(&events, &recorder.take_arrivals()));
        for (which, value) in [("p50", delays.p50), ("p99", delays.p99)] {
            let task = format!("answer to a change to request, {which}");
            report.add(name, &task, None, Unit::Milliseconds, value);
            report.truth(name, &task, truth, counts.twice);
        }
        report.add(
            name,
            "processor time a change",
            None,
            Unit::Microseconds,
            spent * 1e6 / to_f64(events.len().max(1)),
        );
        report.note(format!(
            "{name}: {} pods came and went at {} a second, {} requests.",
            events.len() / 2,
            wide(events.len() as u64) / 2.0 / wide(self.options.seconds.max(1)),
            counts.writes
        ));
        Ok(())
    }
}

/// Waits until what is registered is what is there, or nothing was written for a while.
async fn settle(
    plane: &Plane,
    registry: Option<&Registry>,
    recorder: &Recorder,
    subject: &mut Subject,
) -> Result<Truth> {
    let (mut writes, mut since) = (0, Instant::now());
    loop {
        subject.process.check()?;
        sleep(Duration::from_millis(500)).await;
        let now = recorder.counts().writes;
        if now != writes {
            (writes, since) = (now, Instant::now());
            continue;
        }
        let living = plane.living().await?;
        let truth = match registry {
            Some(registry) => {
                let held = registry.held().await?;
                Truth::of(&living, held.iter().map(|(uid, held)| (*uid, Some(held.version))))
            }
            None => Truth::of(&living, recorder.live().into_iter().map(|uid| (uid, None))),
        };
        if truth.holds() || since.elapsed() > QUIET {
            return Ok(truth);
        }
    }
}
