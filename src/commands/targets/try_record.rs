//! `pod-registrar targets try`: writes made-up records, reads them and deletes them.
//!
//! | step | what it shows |
//! | --- | --- |
//! | prepare | what records refer to is found or created |
//! | put | the record is written, as for a new pod |
//! | list, find | it is read, and what came back otherwise than it was sent |
//! | put again | it is written with other values, as for a changed pod |
//! | delete, delete again | it is deleted, and a deletion without a record succeeds |
//! | batch put, batch delete | two records are written and deleted together, if the target has a batch |
//!
//! Of a target with `kinds`, each kind has these steps: records are put before those that belong to them, and deleted
//! after them. Where lists lag, each step that reads waits for `lag` and reads again before it fails.

mod batch;
mod made_up;
mod outcome;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use self::{
    made_up::MadeUpPod,
    outcome::{Attempted, StepResult},
};
use crate::{
    cli::targets::TrySettings,
    commands::{DONE, Error, FAILED, REFUSED, report, target_settings, targets_file},
    mapping::{
        differences::{differences, view_differences},
        kind::Kind,
        spec::TargetSpec,
        target::{PodRecord, RecordState, RenderedRecord},
        writes::Held,
    },
    model::{
        ids::{DEFAULT_OWNER, RecordOwner, Version},
        uid::Uid,
    },
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::{Failure, Verdict},
    },
    registry::{
        Encoded, RecordChange, Registry as _,
        mapped::{
            MappedOperation, TargetClient,
            reader::{ListedItem, LookedUp, TargetReader},
            recorder::{Exchange, ExchangeLog},
        },
    },
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a Lease, there are no terms.
const TERM: u64 = 1;

/// Returns the exit code: 2 without `--yes`, 1 if a step failed.
pub(super) async fn run(settings: TrySettings, stop: CancellationToken) -> Result<u8, Error> {
    let TrySettings { target: choice, yes, as_cluster: cluster_id, output, log: _ } = settings;
    let loaded = targets_file::find(&choice.targets, &choice.name)?;
    if loaded.speaks_v1() {
        let fix = "test it with pod-registrar demo --registry-url";
        return Err(Error::SpeaksV1 { name: choice.name, fix });
    }
    let spec = loaded.spec;
    let pods = MadeUpPod::all(&spec);
    let owner = RecordOwner { cluster_name: cluster_id.clone(), cluster_id, owner: DEFAULT_OWNER.to_owned() };
    if !yes {
        let lines = announcement(&spec, &pods, &owner)?;
        report::print_lines(&lines).await?;
        return Ok(REFUSED);
    }
    let mut attempt = Attempt::new(&spec, owner, pods, stop)?;
    attempt.run().await;
    let Attempt { results, .. } = &attempt;
    report::print(output.output, || outcome::lines(results), || outcome::json(&choice.name, results)).await?;
    Ok(if results.iter().all(StepResult::is_good) { DONE } else { FAILED })
}

fn announcement(spec: &TargetSpec, pods: &[MadeUpPod; 3], owner: &RecordOwner) -> Result<Vec<String>, Error> {
    let (target, _) = target_settings::compile(spec, owner).map_err(Error::Targets)?;
    let steps = if target.prepare.is_empty() { "" } else { "run the steps of `prepare`, which may create things, " };
    let url = &spec.connection.url.text;
    let [pod, second, third] = pods.each_ref().map(MadeUpPod::full_name);
    let what = if target.has_kinds() { "records" } else { "record" };
    let mut lines = vec![
        format!("With --yes, this command would write to {url}:"),
        format!("it would {steps}put, read, put again and delete the {what} of the made-up pod {pod}."),
    ];
    let batches = target.kinds.iter().any(|kind| !kind.batches.is_empty());
    if batches {
        lines.push(format!("It would put, read and delete those of {second} and {third} in batches."));
    }
    let subject = if batches || target.has_kinds() { "The records have" } else { "The record has" };
    lines.push(format!("{subject} the owner mark {}.", target.mark()));
    Ok(lines)
}

/// One of the records of a made-up pod.
#[derive(Clone)]
struct Identity {
    /// The position of its kind among those of the target.
    kind: usize,
    key: Uid,
}

/// The clients and the results so far.
struct Attempt {
    client: TargetClient,
    reader: TargetReader,
    log: Arc<ExchangeLog>,
    shown: u64,
    sequence: u64,
    owner: RecordOwner,
    pods: [MadeUpPod; 3],
    results: Vec<StepResult>,
    stop: CancellationToken,
}

impl Attempt {
    fn new(
        spec: &TargetSpec,
        owner: RecordOwner,
        pods: [MadeUpPod; 3],
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let log = Arc::new(ExchangeLog::default());
        let unusable = |source| Error::Target { name: spec.connection.name.text.clone(), source };
        let compile = || {
            let (target, login) = target_settings::compile(spec, &owner).map_err(Error::Targets)?;
            // The made-up pod is written even if `select` excludes it.
            Ok::<_, Error>((target.selecting_all(), login))
        };
        let (target, login) = compile()?;
        let client = TargetClient::new(target, &spec.connection, login, REQUEST_TIMEOUT, Some(log.clone()));
        let (target, login) = compile()?;
        let reader = TargetReader::new(target, &spec.connection, login, REQUEST_TIMEOUT, Some(log.clone()));
        let (client, reader) = (client.map_err(unusable)?, reader.map_err(unusable)?);
        Ok(Self { client, reader, log, shown: 0, sequence: 0, owner, pods, results: Vec::new(), stop })
    }

    /// Runs the steps. After a failure or a signal, only the deletion follows.
    async fn run(&mut self) {
        let prepared = self.client.prepare(TERM).await.map(|_| String::new());
        self.add("prepare", Attempted::of(prepared));
        if !self.goes_on() {
            return;
        }
        let found = self.reader.prepare().await.map(|_| ());
        // The client did the same, and more.
        self.shown = self.log.count();
        if let Err(failure) = found {
            return self.add("prepare", Attempted::of(Err(failure)));
        }
        let [pod, second, third] = self.pods.clone();
        self.put_all("put", &[&pod]).await;
        if self.goes_on() {
            self.put_again(&pod).await;
        }
        self.delete_all("delete", &[&pod]).await;
        self.delete_all("delete again", &[&pod]).await;
        self.read_deleted(&pod).await;
        if self.goes_on() {
            self.run_batches(&second, &third).await;
        }
    }

    /// Puts the records of pods and reads them, each record before those that belong to it.
    async fn put_all(&mut self, step: &str, pods: &[&MadeUpPod]) {
        for place in 0.. {
            let of_pods: Vec<_> = pods.iter().filter_map(|pod| Some((*pod, 1, self.key_at(pod, place)?))).collect();
            let Some((_, _, Identity { kind, .. })) = of_pods.first() else { return };
            let step = self.named(*kind, step);
            self.put(&step, &of_pods).await;
            for (pod, variant, identity) in &of_pods {
                if self.goes_on() {
                    self.read(pod, *variant, identity).await;
                }
            }
            if !self.goes_on() {
                return;
            }
        }
    }

    async fn put_again(&mut self, pod: &MadeUpPod) {
        for place in 0.. {
            let Some(identity) = self.key_at(pod, place) else { return };
            let step = self.named(identity.kind, "put again");
            let body = |variant| self.rendered(pod, variant, &identity.key).map(|record| record.body).ok();
            let (before, after) = (body(1), body(2));
            if after.is_none() || before == after {
                let what = match after {
                    None => "the record has another id when the pod's state changes; an update was not tested",
                    Some(_) => "the body does not change with the pod's state; an update was not tested",
                };
                self.add(&step, Attempted::good(what.to_owned()));
                continue;
            }
            self.put(&step, &[(pod, 2, identity.clone())]).await;
            if self.goes_on() {
                self.read(pod, 2, &identity).await;
            }
            if !self.goes_on() {
                return;
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.is_cancelled() && self.results.last().is_none_or(StepResult::is_good)
    }

    /// The name of a step on records of a kind.
    fn named(&self, kind: usize, step: &str) -> String {
        let name = self.reader.target().kinds.get(kind).and_then(|kind| kind.name());
        name.map_or_else(|| step.to_owned(), |name| format!("{name} {step}"))
    }

    fn add(&mut self, step: &str, attempted: Attempted) {
        let exchanges = self.new_exchanges();
        self.results.push(StepResult { step: step.to_owned(), attempted, exchanges });
    }

    /// The exchanges since the last call.
    fn new_exchanges(&mut self) -> Vec<Exchange> {
        let exchanges = self.log.exchanges().into_iter().filter(|exchange| exchange.number > self.shown).collect();
        self.shown = self.log.count();
        exchanges
    }

    fn version(&mut self) -> Version {
        self.sequence += 1;
        Version { epoch: TERM, seq: self.sequence }
    }

    fn records(&self, pod: &MadeUpPod, variant: u8) -> Result<Vec<PodRecord>, String> {
        let record = pod.record(&self.owner, variant);
        let assigned = |kind, key: &Uid| self.client.assigned(kind, key);
        let records = self.reader.target().records(&record, self.reader.term(), &assigned);
        records.map_err(|error| error.to_string())?.ok_or_else(|| "the made-up pod has no record".to_owned())
    }

    /// The record at this place among those of a pod in its first variant.
    fn key_at(&self, pod: &MadeUpPod, place: usize) -> Option<Identity> {
        let record = self.records(pod, 1).ok()?.into_iter().nth(place)?;
        Some(Identity { kind: record.kind, key: record.key })
    }

    fn rendered(&self, pod: &MadeUpPod, variant: u8, key: &Uid) -> Result<RenderedRecord, String> {
        let record = self.records(pod, variant)?.into_iter().find(|record| record.key == *key);
        match record.ok_or_else(|| "the made-up pod has no such record".to_owned())?.state {
            RecordState::Rendered(record) => Ok(record),
            RecordState::Waits => Err("the registry has not told what it assigned to the record above".to_owned()),
            RecordState::Failed(error) => Err(error.to_string()),
        }
    }

    /// Writes records of pods, each in a variant. Several go into one batch.
    async fn put(&mut self, step: &str, records: &[(&MadeUpPod, u8, Identity)]) {
        let attempted = match self.try_put(records).await {
            Ok(verdicts) => Attempted::of_verdict(verdicts),
            Err(error) => Attempted::failed(error),
        };
        self.add(step, attempted);
    }

    async fn try_put(
        &mut self,
        records: &[(&MadeUpPod, u8, Identity)],
    ) -> Result<Result<Vec<Verdict>, Failure>, String> {
        let mut operations = Vec::with_capacity(records.len());
        for (made_up, variant, Identity { key, .. }) in records {
            let (pod, _) = (made_up.pod(&self.owner, *variant)?, self.rendered(made_up, *variant, key)?);
            let Some(content) = &pod.content else { return Err("the made-up pod has no record".to_owned()) };
            let version = self.version();
            let change = RecordChange::Put(&pod, content);
            operations.push(self.client.encode(key, version, change).map_err(|error| error.to_string())?);
        }
        Ok(self.write(operations).await)
    }

    /// Deletes the records of pods, each after those that belong to it.
    async fn delete_all(&mut self, step: &str, pods: &[&MadeUpPod]) {
        let places = pods.iter().filter_map(|pod| Some(self.records(pod, 1).ok()?.len())).max().unwrap_or_default();
        for place in (0..places).rev() {
            let of_pods: Vec<Identity> = pods.iter().filter_map(|pod| self.key_at(pod, place)).collect();
            let step = self.named(of_pods.first().map_or(0, |identity| identity.kind), step);
            let attempted = match self.try_delete(&of_pods).await {
                Ok(verdicts) => Attempted::of_verdict(verdicts),
                Err(error) => Attempted::failed(error),
            };
            self.add(&step, attempted);
        }
    }

    async fn try_delete(&mut self, records: &[Identity]) -> Result<Result<Vec<Verdict>, Failure>, String> {
        let mut operations = Vec::with_capacity(records.len());
        for Identity { key, .. } in records {
            let version = self.version();
            let change = RecordChange::Delete(Removal::Observed(Deletion::Deleted));
            operations.push(self.client.encode(key, version, change).map_err(|error| error.to_string())?);
        }
        Ok(self.write(operations).await)
    }

    /// Writes as a controller does: once more if the client asks to wait for lists that lag.
    async fn write(&self, operations: Vec<Encoded<MappedOperation>>) -> Result<Vec<Verdict>, Failure> {
        let batched = operations.len() > 1;
        let verdicts = self.client.write(TERM, operations.clone(), batched).await?;
        let waits = |verdict: &Verdict| match verdict {
            Verdict::Retry { after, .. } => *after,
            _ => None,
        };
        let Some(after) = verdicts.iter().filter_map(waits).max().filter(|_| self.lag().is_some()) else {
            return Ok(verdicts);
        };
        self.wait(after).await;
        self.learn().await?;
        self.client.write(TERM, operations, batched).await
    }

    /// For how long a list may not show what was written. None if each shows it at once.
    fn lag(&self) -> Option<Duration> {
        let lists = self.reader.target().kinds.iter().filter_map(Kind::list);
        lists.map(|list| list.lag).max().filter(|lag| !lag.is_zero())
    }

    async fn wait(&self, time: Duration) {
        tracing::info!(?time, "lists of the registry may lag; waiting");
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Reads a record with `list` and `find`, and compares it with what was sent. Where lists lag, it is read again.
    async fn read(&mut self, pod: &MadeUpPod, variant: u8, identity: &Identity) {
        let Ok(record) = self.rendered(pod, variant, &identity.key) else { return };
        let mut results = self.read_once(&record).await;
        if let Some(lag) = self.lag().filter(|_| !results.iter().all(StepResult::is_good)) {
            self.wait(lag).await;
            results = self.read_once(&record).await;
        }
        self.results.append(&mut results);
    }

    async fn read_once(&mut self, record: &RenderedRecord) -> Vec<StepResult> {
        let mut results = Vec::new();
        let [list, find] = ["list", "find"].map(|step| self.named(record.kind, step));
        let listed = self.listed(record.kind, &record.id).await;
        let held = held(listed.as_ref().ok().and_then(Option::as_ref).and_then(Option::as_ref));
        let attempted = match listed {
            Ok(None) => None,
            Ok(Some(None)) => Some(Attempted::failed("the list does not show the record with our mark".to_owned())),
            Ok(Some(Some(item))) => Some(compared(self.kind(record.kind), &item, record)),
            Err(failure) => Some(Attempted::of(Err(failure))),
        };
        let exchanges = self.new_exchanges();
        results.extend(attempted.map(|attempted| StepResult { step: list, attempted, exchanges }));
        let attempted = match self.reader.find(self.kind(record.kind), &record.id, &held).await {
            Ok(LookedUp::Unknown) => None,
            Ok(LookedUp::Ours(item)) => Some(compared(self.kind(record.kind), &item, record)),
            Ok(LookedUp::Nothing) => Some(Attempted::failed("the record is not found".to_owned())),
            Ok(LookedUp::Foreign(_)) => Some(Attempted::failed("the record does not show our owner mark".to_owned())),
            Err(failure) => Some(Attempted::of(Err(failure))),
        };
        let exchanges = self.new_exchanges();
        results.extend(attempted.map(|attempted| StepResult { step: find, attempted, exchanges }));
        results
    }

    fn kind(&self, kind: usize) -> &Kind {
        &self.reader.target().kinds[kind]
    }

    /// The record of a kind in its list. The outer `None` says that there is no list.
    #[allow(clippy::option_option, reason = "no list is another thing than no record in it")]
    async fn listed(&self, kind: usize, id: &str) -> Result<Option<Option<ListedItem>>, Failure> {
        let Some(list) = self.reader.list(self.kind(kind)).await? else { return Ok(None) };
        Ok(Some(list.items.into_iter().find(|listed| listed.item.id.as_deref() == Some(id))))
    }

    /// Makes sure that no record is left. Where lists lag, they are read again.
    async fn read_deleted(&mut self, pod: &MadeUpPod) {
        let Ok(records) = self.records(pod, 1) else { return };
        for PodRecord { kind, id, .. } in records {
            self.read_deleted_record(kind, &id).await;
        }
    }

    async fn read_deleted_record(&mut self, kind: usize, id: &str) {
        let mut listed = self.listed(kind, id).await;
        if let Some(lag) = self.lag().filter(|_| shows(&listed)) {
            self.wait(lag).await;
            self.new_exchanges();
            listed = self.listed(kind, id).await;
        }
        let attempted = match listed {
            Ok(None) => return,
            Ok(_) if !shows(&listed) => Attempted::good("the record is gone".to_owned()),
            Ok(_) => Attempted::failed("the list still shows the record".to_owned()),
            Err(failure) => Attempted::of(Err(failure)),
        };
        self.add(&self.named(kind, "list"), attempted);
    }
}

/// Whether a list shows a record that counts.
#[allow(clippy::option_option, reason = "no list is another thing than no record in it")]
fn shows(listed: &Result<Option<Option<ListedItem>>, Failure>) -> bool {
    matches!(listed, Ok(Some(Some(item))) if !item.item.gone)
}

/// What the registry says about the record, for `find`.
fn held(listed: Option<&ListedItem>) -> Held {
    listed.map_or_else(Held::default, |listed| Held {
        remote: listed.item.remote.clone(),
        seen: listed.item.seen.clone(),
    })
}

fn compared(kind: &Kind, item: &ListedItem, record: &RenderedRecord) -> Attempted {
    use crate::mapping::items::ItemContent;
    let differences = match (&item.item.content, &item.shown) {
        (ItemContent::Body(found), _) => view_differences(&kind.view(&record.body), found),
        (_, Some(shown)) => {
            let found = outcome::common_members(shown, &record.body);
            differences(&outcome::common_members(&record.body, &found), &found)
        }
        (_, None) => Vec::new(),
    };
    if item.item.content == ItemContent::Body(serde_json::Value::Null) {
        return Attempted::failed("`item.body` reads nothing; each resync would write the record once more".to_owned());
    }
    match item.equals(record) {
        Some(true) => Attempted::good("it equals what was sent".to_owned()).with(differences),
        None => Attempted::good("it exists; what it holds is not read".to_owned()).with(differences),
        Some(false) => {
            Attempted::failed("it differs from what was sent; each resync would write it once more".to_owned())
                .with(differences)
        }
    }
}
