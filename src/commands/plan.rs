//! `pod-registrar plan`: prints which records the controller would write and delete now.
//!
//! Each registry is read first, then the pods are listed once. Whether a record is written is decided by the
//! controller's own function. The controller confirms that pods are gone before it deletes their records; this command
//! does not.
//!
//! A target without a `list` cannot be compared. The others are.

pub(super) mod held;
mod report;

use std::collections::{HashMap, HashSet};

use self::{held::HeldRecords, report::PlanReport};
use super::{DIFFERS, DONE, Error, FAILED, informers, owner, registry_reader::Registries, report::print};
use crate::{
    cli::inspect::PlanSettings,
    kubernetes::{
        kubeconfig::Environment,
        pods::{self, ReadPod},
    },
    model::{digest::Fingerprint, moment::Moment, uid::Uid},
    reconcile::{
        decide::{Action, Wanted, decide},
        ledger::entry::Known,
    },
};

/// What a target makes of a pod.
pub(super) enum Sight {
    /// The pod has this record, and the registry is known to hold this.
    Record {
        key: Uid,
        id: Option<String>,
        fingerprint: Fingerprint,
        known: Known,
        /// Why it cannot be sent, if it has to.
        refusal: Option<String>,
    },
    /// The pod has this record, which cannot be made before the registry holds another one that it belongs to.
    Waits {
        key: Uid,
        id: String,
    },
    NotSelected,
    /// It has no record for this reason. A registered record stays as it is.
    Unreadable(String),
    /// The same for one of several records.
    Failed {
        key: Uid,
        why: String,
    },
}

/// A pod as the plan shows it.
struct SeenPod {
    name: String,
    uid: Uid,
    created: String,
    /// Per target, what it makes of the pod: one sight per record, or one that says why there is none.
    sights: Vec<Vec<Sight>>,
}

/// A change that the controller would make.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlannedChange {
    /// Namespace and name, if the pod is known.
    pod: Option<String>,
    id: String,
    reason: &'static str,
}

/// The plan for one target.
#[derive(Default)]
pub(super) struct TargetPlan {
    name: String,
    /// Pods that have a record.
    pods: usize,
    /// Records of ours in the registry.
    records: usize,
    put: Vec<PlannedChange>,
    delete: Vec<PlannedChange>,
    /// Records to put that cannot be sent, and why. The controller parks them.
    parked: Vec<(PlannedChange, String)>,
    /// Pods without a record, and why.
    unreadable: Vec<(String, String)>,
    /// Why nothing is planned.
    no_plan: Option<NoPlan>,
}

/// Why nothing is known about a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlan {
    #[error("cannot be compared: the target has no `list`; see pod-registrar explain")]
    NotListed,
    #[error("{0}")]
    Failed(String),
}

pub(super) async fn run(settings: PlanSettings, environment: Environment) -> Result<u8, Error> {
    let PlanSettings { cluster, scope, record, registries, owner, output, log: _ } = settings;
    let registries = Registries::load(registries)?;
    let client = informers::cluster(cluster, environment)?.client();
    let owner = owner::of_cluster(owner, &client).await?;
    let mut held = Vec::new();
    for (name, reader) in registries.each_reader(&owner) {
        held.push((
            name,
            match reader {
                Ok(reader) => HeldRecords::read(reader).await,
                Err(error) => Err(NoPlan::Failed(error.to_string())),
            },
        ));
    }
    let rule = owner::rule(&owner, &record);
    let see = |read: ReadPod| see(read, &held);
    let pods = pods::list(&client, &informers::scope(scope), &rule, usize::MAX, see).await?;
    let plans = held.iter().enumerate().map(|(index, (name, held))| plan(index, name, held, &pods));
    let report = PlanReport(plans.collect());
    print(output.output, || report.lines(), || report.json()).await?;
    Ok(match &report {
        report if report.has_failed() => FAILED,
        report if report.is_in_sync() => DONE,
        _ => DIFFERS,
    })
}

fn see(read: ReadPod, held: &[(String, Result<HeldRecords, NoPlan>)]) -> SeenPod {
    let sights = held.iter().map(|(_, held)| match held {
        Ok(held) => held.see(&read),
        // Nothing is planned for this target.
        Err(_) => vec![Sight::NotSelected],
    });
    let sights = sights.collect();
    let pod = read.pod;
    let created = pod.content.map(|content| content.record.times.created).unwrap_or_default();
    SeenPod { name: format!("{}/{}", pod.namespace, pod.name), uid: pod.uid, created, sights }
}

/// The plan for the target with this index.
fn plan(index: usize, name: &str, held: &Result<HeldRecords, NoPlan>, pods: &[SeenPod]) -> TargetPlan {
    let mut plan = TargetPlan { name: name.to_owned(), ..TargetPlan::default() };
    let held = match held {
        Ok(held) => held,
        Err(why) => return TargetPlan { no_plan: Some(why.clone()), ..plan },
    };
    plan.records = held.len();
    let (mut excluded, mut kept) = (HashSet::new(), HashSet::new());
    let mut wanted: HashMap<&Uid, (&SeenPod, &Sight)> = HashMap::new();
    for pod in pods {
        for sight in &pod.sights[index] {
            match sight {
                Sight::NotSelected => _ = excluded.insert(pod.uid.clone()),
                Sight::Unreadable(why) => {
                    kept.insert(pod.uid.clone());
                    plan.unreadable.push((pod.name.clone(), why.clone()));
                }
                Sight::Failed { key, why } => {
                    kept.insert(key.clone());
                    plan.unreadable.push((pod.name.clone(), why.clone()));
                }
                // Several pods may have the same record. The pod that was created last owns it.
                Sight::Record { key, .. } | Sight::Waits { key, .. } => match wanted.get(key) {
                    Some((other, _)) if !is_newer(pod, other) => {}
                    _ => _ = wanted.insert(key, (pod, sight)),
                },
            }
        }
    }
    plan.pods = wanted.values().map(|(pod, _)| &pod.uid).collect::<HashSet<_>>().len();
    for (pod, sight) in wanted.values() {
        let Some((id, reason)) = put(sight) else { continue };
        let change = PlannedChange { pod: Some(pod.name.clone()), id, reason };
        match sight {
            Sight::Record { refusal: Some(why), .. } => plan.parked.push((change, why.clone())),
            _ => plan.put.push(change),
        }
    }
    for (key, id) in held.of_ours() {
        if !wanted.contains_key(key) && !kept.contains(key) {
            let is_excluded = excluded.contains(key);
            let reason = if is_excluded { "the target does not select the pod" } else { "no selected pod has it" };
            plan.delete.push(PlannedChange { pod: None, id: id.to_owned(), reason });
        }
    }
    plan.put.sort_by(|a, b| (&a.pod, &a.id).cmp(&(&b.pod, &b.id)));
    plan.parked.sort_by(|(a, _), (b, _)| (&a.pod, &a.id).cmp(&(&b.pod, &b.id)));
    plan.delete.sort_by(|a, b| a.id.cmp(&b.id));
    plan
}

/// The id of a record that has to be put, and why.
fn put(sight: &Sight) -> Option<(String, &'static str)> {
    match sight {
        Sight::Record { key, id, fingerprint, known, .. } => {
            let action = decide(Wanted::Present(*fingerprint), *known, None, Moment::START);
            let reason = if *known == Known::Absent { "no record" } else { "the record differs" };
            let id = id.clone().unwrap_or_else(|| key.to_string());
            matches!(action, Action::Put(_)).then_some((id, reason))
        }
        Sight::Waits { id, .. } => Some((id.clone(), "the record that it belongs to is missing")),
        Sight::NotSelected | Sight::Unreadable(_) | Sight::Failed { .. } => None,
    }
}

fn is_newer(pod: &SeenPod, other: &SeenPod) -> bool {
    (&pod.created, pod.uid.to_string()) > (&other.created, other.uid.to_string())
}

#[cfg(test)]
mod tests;
