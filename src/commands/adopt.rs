//! `pod-registrar adopt`: takes over records that people or other tools made, so that they become those of our pods.
//!
//! For each record that a pod lacks, the registry is asked for one in its place. What would be taken over is shown
//! first. Then each of these pods and the record in its place are read again, and our record is written over the other
//! one, as the controller would write it. Of records that belong together, the parents come first.

mod plan;
mod report;

use std::collections::HashSet;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    plan::{Adoptable, AdoptionPlan, OurRecord},
    report::{AdoptionReport, AdoptionResult},
};
use super::{
    DONE, Error, FAILED, REFUSED, informers, instance,
    lease::{self, Candidate},
    owner,
    progress_line::ProgressLine,
    question::Consent,
    registry_reader::RegistryReader,
    report::print,
    target_settings::{self, TargetConnection, TargetKind, TargetSettings},
};
use crate::{
    cli::orders::AdoptSettings,
    clock::Clock,
    kubernetes::{client::ClusterConnection, kubeconfig::Environment, lease::LeaseClient, pods},
    mapping::{kind::Kind, target::RenderedRecord},
    model::{ids::Version, pod::to_record::Rule},
    reconcile::{
        election::Leadership,
        outcome::{Failure, Verdict},
    },
    registry::{
        Encoded, RecordChange, Registry as _,
        mapped::{
            MappedOperation, TargetClient,
            adoption::{NOT_LOOKED_UP, Occupant},
            reader::TargetReader,
        },
    },
    telemetry::{health::Health, metrics::Metrics},
};

const PARENT_FAILED: &str = "the record that it belongs to has to be taken over first";
const CHANGED: &str = "the registry holds another record in its place by now; run the command again";
const NO_VERDICT: &str = "the client gave no verdict";

pub(super) async fn run(
    settings: AdoptSettings,
    environment: Environment,
    stop: CancellationToken,
) -> Result<u8, Error> {
    let targets = TargetSettings::of(settings.registry.clone())?;
    let names: Vec<&'static str> = targets.iter().map(|target| target.name).collect();
    let target = target_settings::choose(targets, settings.name.as_deref())?;
    let TargetKind::Mapped(spec) = &target.kind else {
        let fix = "its records always name their owner, so there is nothing to adopt";
        return Err(Error::SpeaksV1 { name: target.name.to_owned(), fix });
    };
    lease::check(&target, &settings.election)?;
    let cluster = informers::cluster(settings.cluster.clone(), environment)?;
    let planning = async {
        let owner = owner::of_cluster(settings.owner.clone(), &cluster.client()).await?;
        let rule = owner::rule(&owner, &settings.record);
        let mut reader = RegistryReader::of_spec(spec, &owner, target.request_timeout)?;
        if !reader.target().kinds.iter().any(Kind::can_be_adopted) {
            return Err(Error::Unfit { name: target.name.to_owned(), why: NOT_LOOKED_UP });
        }
        let scope = informers::scope(settings.scope.clone());
        let client = cluster.client();
        let plan = AdoptionPlan::make(&mut reader, &client, &scope, &rule, settings.from.as_deref()).await?;
        Ok::<_, Error>((owner, rule, reader, plan))
    };
    let (owner, rule, reader, plan) = stop.run_until_cancelled(planning).await.unwrap_or(Err(Error::Stopped))?;
    let mut report = AdoptionReport::new(target.name, plan);
    let format = settings.output.output;
    let consent = Consent { yes: settings.yes, format, stop: stop.clone() };
    let shown = report.plan.adoptable.len();
    if shown == 0 || !consent.is_given("adopt them", shown, report.lines()).await? {
        let code = if shown == 0 { DONE } else { REFUSED };
        print(format, || report.lines(), || report.json()).await?;
        return Ok(code);
    }
    let TargetConnection::Mapped(client) = target.connect(&owner, None)? else { return Ok(FAILED) };
    let (clock, metrics) = (Clock::start(), Metrics::new(Health::new(1)));
    let instance = instance::name(settings.election.instance.as_deref());
    let leases = settings.election.lease.clone().map(|lease| LeaseClient::new(cluster.client(), lease.into()));
    let candidate = Candidate { instance: &instance, targets: names, clock, metrics };
    let adoption = Adoption { client: &client, reader: &reader, cluster: &cluster, rule: &rule, clock, stop: &stop };
    lease::while_leading(leases, &settings.election, candidate, async |leadership| {
        adoption.run(leadership, &mut report).await
    })
    .await?;
    print(format, || report.lines(), || report.json()).await?;
    Ok(if report.is_done() { DONE } else { FAILED })
}

/// The writes.
struct Adoption<'a> {
    client: &'a TargetClient,
    reader: &'a TargetReader,
    cluster: &'a ClusterConnection,
    rule: &'a Rule,
    clock: Clock,
    stop: &'a CancellationToken,
}

impl Adoption<'_> {
    /// Ends early after a signal, and when this process no longer leads.
    async fn run(&self, leadership: watch::Receiver<Leadership>, report: &mut AdoptionReport) -> Result<(), Error> {
        let epoch = instance::started_at();
        let term = || leadership.borrow().term(self.clock.now()).map(|term| term.number(epoch));
        let Some(number) = term() else { return Ok(()) };
        let failed = |why: Failure| Error::Request { what: "cannot prepare the target", why: why.to_string() };
        self.client.prepare(number).await.map_err(failed)?;
        for OurRecord { kind, key, id, item } in &report.plan.parents {
            self.client.take_over(*kind, key, id, item);
        }
        let mut failed = HashSet::new();
        let (mut progress, total) = (ProgressLine::new("adopting"), report.plan.adoptable.len());
        report.has_begun = true;
        for (index, adoptable) in report.plan.adoptable.iter().enumerate() {
            if self.stop.is_cancelled() || term() != Some(number) {
                break;
            }
            let version = Version { epoch, seq: u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1) };
            let RenderedRecord { key, parent, .. } = &adoptable.record;
            let result = match parent {
                Some(parent) if failed.contains(parent) => AdoptionResult::NotAdopted(PARENT_FAILED.to_owned()),
                _ => self.adopt(adoptable, version).await,
            };
            if !matches!(result, AdoptionResult::Adopted) {
                failed.insert(key.clone());
            }
            report.results.push(result);
            progress.show(index + 1, total).await;
        }
        progress.end().await;
        Ok(())
    }

    async fn adopt(&self, adoptable: &Adoptable, version: Version) -> AdoptionResult {
        let write = async {
            let Some(operation) = self.read_again(adoptable, version).await? else { return Ok(None) };
            Ok::<_, String>(Some(self.client.write(version.epoch, vec![operation], false).await))
        };
        let verdict = match write.await {
            Err(why) => return AdoptionResult::NotAdopted(why),
            Ok(None) => return AdoptionResult::Adopted,
            Ok(Some(Ok(verdicts))) => verdicts.into_iter().next(),
            // It may have been applied.
            Ok(Some(Err(failure @ Failure::Broken(_)))) => Some(Verdict::Uncertain { cause: failure.to_string() }),
            Ok(Some(Err(failure))) => return AdoptionResult::NotAdopted(failure.to_string()),
        };
        match verdict {
            Some(Verdict::Done) => AdoptionResult::Adopted,
            Some(Verdict::Rejected { cause } | Verdict::Retry { cause, .. }) => AdoptionResult::NotAdopted(cause),
            Some(Verdict::Stale { .. } | Verdict::Tombstoned { .. }) => AdoptionResult::NotAdopted(CHANGED.to_owned()),
            Some(Verdict::Uncertain { cause }) => self.look(adoptable, cause).await,
            None => self.look(adoptable, NO_VERDICT.to_owned()).await,
        }
    }

    /// Reads the pod and the record in its place again. Returns what is to be written, if it is not ours already.
    ///
    /// # Errors
    /// Why it cannot be taken over.
    async fn read_again(
        &self,
        adoptable: &Adoptable,
        version: Version,
    ) -> Result<Option<Encoded<MappedOperation>>, String> {
        let (namespace, name) = (&adoptable.namespace, &adoptable.name);
        let read = pods::get(&self.cluster.client(), namespace, name, self.rule).await;
        let read = read.map_err(|error| error.to_string())?;
        let pod = read.map(|read| read.pod).filter(|pod| pod.uid == adoptable.pod);
        let pod = pod.ok_or("the pod is gone")?;
        let content = pod.content.as_ref().ok_or("the pod cannot be read")?;
        let RenderedRecord { kind, key, id, .. } = &adoptable.record;
        let found = match self.reader.occupant(&adoptable.record).await.map_err(|failure| failure.to_string())? {
            Occupant::Ours(item) => {
                // Records that belong to it name it.
                self.client.take_over(*kind, key, id, &item);
                return Ok(None);
            }
            Occupant::Foreign(found) if found.is_still(&adoptable.found) => found,
            Occupant::Foreign(_) | Occupant::Nothing => return Err(CHANGED.to_owned()),
            Occupant::Unusable(why) => return Err(why),
        };
        self.client.take_over(*kind, key, id, &found.item);
        let operation = self.client.encode(key, version, RecordChange::Put(&pod, content));
        operation.map(Some).map_err(|failure| failure.cause)
    }

    /// The write may have been applied, or may still arrive.
    async fn look(&self, adoptable: &Adoptable, cause: String) -> AdoptionResult {
        match self.reader.is_ours(&adoptable.record, adoptable.found.item.remote.as_ref()).await {
            Ok(true) => AdoptionResult::Adopted,
            Ok(false) | Err(_) => AdoptionResult::Unknown(cause),
        }
    }
}
