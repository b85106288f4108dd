//! Turns a pod object into the record that the registry should hold: which members, which labels, and how large.

use super::{
    Pod, RecordContent,
    object::{Condition, ContainerSpec, ContainerStatus, Ip, Metadata, OwnerReference, Pairs, PodObject, Status},
    receipt,
};
use crate::model::{
    ids::{INTEGER_LIMIT, RecordOwner, is_valid_id},
    record::{
        ClusterName, Container, Lifecycle, Placement, PodName, PodState, Record, Role, Times, TruncatedPart,
        WorkloadRef,
    },
    uid::Uid,
};
use wildmatch::WildMatch;

/// Size limit of a record, in bytes. Beyond it the largest parts are cut and named in `truncated`.
const BUDGET_BYTES: usize = 20_000;
/// Containers that remain after a cut.
const CONTAINERS_KEPT: usize = 20;
/// Addresses that remain after a cut. A pod has one per address family.
const ADDRESSES_KEPT: usize = 16;
/// Characters of a reason or a phase, which the API does not limit.
const REASON_CHARS: usize = 256;
/// Characters of a name, which the API server limits.
const NAME_CHARS: usize = 253;
/// Characters of a wrong text that an error repeats.
const REPEATED_CHARS: usize = 64;
/// This annotation holds the whole object, including its secrets, so it never leaves the cluster.
const NEVER_SENT: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The keys of labels or annotations that are sent: globs, in which `*` also matches a slash.
#[derive(Clone, Debug, Default)]
pub struct AllowList(Vec<WildMatch>);

impl AllowList {
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        Self(globs.into_iter().map(WildMatch::new).collect())
    }

    fn filter(&self, mut pairs: Pairs) -> Pairs {
        pairs.retain(|key, _| {
            key != NEVER_SENT && !receipt::is_receipt(key) && self.0.iter().any(|glob| glob.matches(key))
        });
        pairs
    }
}

/// What a record depends on besides the pod.
#[derive(Clone, Debug)]
pub struct Rule {
    pub owner: RecordOwner,
    pub labels: AllowList,
    pub annotations: AllowList,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the object has no {0}; a pod without it cannot be registered")]
    Missing(&'static str),
    #[error("{0} is longer than 253 characters, which an API server does not accept; check the proxies before it")]
    Long(&'static str),
    #[error("the UID {0:?} is not a valid id: 1 to 128 of [A-Za-z0-9._~:@-], the first alphanumeric")]
    Uid(String),
    #[error("{member} is {found:?}, which is not an RFC 3339 time")]
    Time { member: &'static str, found: String },
    #[error("the record has no canonical form: {0}")]
    Canonical(String),
}

/// Builds the pod and its desired record.
///
/// # Errors
/// The object lacks its UID, name, namespace or creation time, or one of these or a reference is not valid.
pub fn desired(mut object: PodObject, rule: &Rule) -> Result<Pod, Error> {
    let resource_version = object.metadata.resource_version.take();
    let generation = object.metadata.generation;
    let record = record(object, rule)?;
    if !is_valid_id(&record.pod.uid) {
        return Err(Error::Uid(record.pod.uid.chars().take(REPEATED_CHARS).collect()));
    }
    Ok(Pod {
        uid: Uid::from(record.pod.uid.as_str()),
        namespace: record.pod.namespace.as_str().into(),
        name: record.pod.name.as_str().into(),
        resource_version: named("metadata.resourceVersion", resource_version)?.unwrap_or_default().into(),
        generation: generation.filter(|generation| (0..INTEGER_LIMIT.cast_signed()).contains(generation)),
        content: Some(within_budget(record)?),
    })
}

/// A pod of whose object only the identity could be read.
pub fn unreadable(uid: &str, namespace: &str, name: &str, resource_version: &str) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: namespace.into(),
        name: name.into(),
        resource_version: resource_version.into(),
        generation: None,
        content: None,
    }
}

fn record(object: PodObject, rule: &Rule) -> Result<Record, Error> {
    let PodObject { kind: _, metadata: meta, spec, mut status } = object;
    let (state, times) = (state(&meta, &status), times(&meta, &status));
    let workload = workload(meta.owner_references, &meta.labels);
    let host_network = spec.host_network.unwrap_or_default();
    Ok(Record {
        owner: rule.owner.owner.clone(),
        cluster: ClusterName::from(&rule.owner),
        pod: PodName {
            uid: required("metadata.uid", meta.uid)?,
            namespace: required("metadata.namespace", meta.namespace)?,
            name: required("metadata.name", meta.name)?,
            labels: rule.labels.filter(meta.labels),
            annotations: rule.annotations.filter(meta.annotations),
        },
        workload,
        placement: Placement {
            node: named("spec.nodeName", spec.node_name)?,
            host_ips: addresses(std::mem::take(&mut status.host_ips), status.host_ip.take()),
            pod_ips: addresses(std::mem::take(&mut status.pod_ips), status.pod_ip.take()),
            host_network,
        },
        state,
        service_account: named("spec.serviceAccountName", spec.service_account_name)?,
        containers: containers([
            (spec.init_containers, Role::Init, status.init_container_statuses),
            (spec.containers, Role::App, status.container_statuses),
            (spec.ephemeral_containers, Role::Ephemeral, status.ephemeral_container_statuses),
        ]),
        times: times?,
        truncated: Vec::new(),
    })
}

fn required(member: &'static str, name: Option<String>) -> Result<String, Error> {
    named(member, name)?.ok_or(Error::Missing(member))
}

/// Returns a name that is not empty, and checks its length.
fn named(member: &'static str, name: Option<String>) -> Result<Option<String>, Error> {
    let name = filled(name);
    if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS) {
        Err(Error::Long(member))
    } else {
        Ok(name)
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn addresses(all: Vec<Ip>, first: Option<String>) -> Vec<String> {
    let all: Vec<_> = all.into_iter().filter_map(|ip| filled(ip.ip)).collect();
    if all.is_empty() { filled(first).into_iter().collect() } else { all }
}

/// The controller of the pod, and the Deployment, whose name follows from the name of the ReplicaSet. No other object
/// is read.
fn workload(owners: Vec<OwnerReference>, labels: &Pairs) -> Vec<WorkloadRef> {
    let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
        return Vec::new();
    };
    let deployment = deployment_behind(&owner, labels).map(|name| WorkloadRef {
        kind: "Deployment".into(),
        api_version: owner.api_version.clone(),
        name,
        uid: None,
        derived: true,
    });
    let OwnerReference { api_version, kind, name, uid, .. } = owner;
    let direct = WorkloadRef { kind, api_version, name, uid: filled(Some(uid)), derived: false };
    std::iter::once(direct).chain(deployment).collect()
}

fn deployment_behind(owner: &OwnerReference, labels: &Pairs) -> Option<String> {
    let hash = labels.get("pod-template-hash").filter(|hash| !hash.is_empty())?;
    let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    (owner.kind == "ReplicaSet" && owner.api_version.starts_with("apps/") && !name.is_empty()).then(|| name.to_owned())
}

fn state(meta: &Metadata, status: &Status) -> PodState {
    let lifecycle = match status.phase.as_deref() {
        _ if meta.deletion_timestamp.is_some() => Lifecycle::Terminating,
        Some("Succeeded" | "Failed") => Lifecycle::Finished,
        None | Some("" | "Pending") => Lifecycle::Pending,
        Some(_) => Lifecycle::Active,
    };
    PodState {
        lifecycle,
        phase: filled(status.phase.clone()).map(shortened),
        ready: condition(status, "Ready").map(|ready| ready.status == "True"),
        reason: reason(status).map(shortened),
    }
}

fn shortened(text: String) -> String {
    if text.len() <= REASON_CHARS { text } else { text.chars().take(REASON_CHARS).collect() }
}

fn condition<'a>(status: &'a Status, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.kind == kind)
}

/// The reason of the pod, or of the first container that waits, or of the first one that failed.
fn reason(status: &Status) -> Option<String> {
    let all = || status.init_container_statuses.iter().chain(&status.container_statuses);
    let waiting = || all().find_map(|c| filled(c.state.waiting.as_ref()?.reason.clone()));
    let failed = || {
        let mut ends = all().filter_map(|c| c.state.terminated.as_ref());
        ends.find_map(|end| filled(end.reason.clone().filter(|_| end.exit_code != Some(0))))
    };
    filled(status.reason.clone()).or_else(waiting).or_else(failed)
}

/// The containers of one role with their statuses.
type OfRole = (Vec<ContainerSpec>, Role, Vec<ContainerStatus>);

fn containers(roles: [OfRole; 3]) -> Vec<Container> {
    let of_role = |(specs, role, mut statuses): OfRole| {
        specs.into_iter().map(move |spec| container(spec, role, &mut statuses)).collect::<Vec<_>>()
    };
    roles.into_iter().flat_map(of_role).collect()
}

fn container(spec: ContainerSpec, role: Role, statuses: &mut [ContainerStatus]) -> Container {
    let status = statuses.iter_mut().find(|status| status.name == spec.name);
    let (image_id, ready, restarts) =
        status.map(|status| (status.image_id.take(), status.ready, status.restart_count)).unwrap_or_default();
    let role = match spec.restart_policy.as_deref() {
        Some("Always") if role == Role::Init => Role::Sidecar,
        _ => role,
    };
    Container {
        name: spec.name,
        role,
        image: filled(spec.image),
        image_id: filled(image_id),
        ready,
        restarts: restarts.and_then(|count| u64::try_from(count).ok()).filter(|count| *count < INTEGER_LIMIT),
    }
}

fn times(meta: &Metadata, status: &Status) -> Result<Times, Error> {
    let created = meta.creation_timestamp.as_deref().ok_or(Error::Missing("metadata.creationTimestamp"))?;
    let scheduled = condition(status, "PodScheduled").filter(|c| c.status == "True");
    let ends = status.container_statuses.iter().filter_map(|c| c.state.terminated.as_ref()?.finished_at.as_deref());
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")).then(|| ends.max()).flatten();
    Ok(Times {
        created: time(created, 0).ok_or_else(|| Error::Time {
            member: "metadata.creationTimestamp",
            found: created.chars().take(REPEATED_CHARS).collect(),
        })?,
        scheduled: scheduled.and_then(|c| time(c.last_transition_time.as_deref()?, 0)),
        started: status.start_time.as_deref().and_then(|text| time(text, 0)),
        // The API stores when the grace period ends; the deletion was requested that much earlier. A grace period may
        // be any number, so the result may not exist.
        deletion_requested: meta
            .deletion_timestamp
            .as_deref()
            .and_then(|text| time(text, meta.deletion_grace_period_seconds.unwrap_or_default())),
        finished: finished.and_then(|text| time(text, 0)),
    })
}

/// Formats the time that is `earlier_secs` before `text`: RFC 3339 in UTC with milliseconds. Returns `None` if there is
/// no such time, or if its year does not have four digits.
fn time(text: &str, earlier_secs: i64) -> Option<String> {
    let time = crate::model::time::parse(text)?.checked_sub(jiff::SignedDuration::from_secs(earlier_secs)).ok()?;
    Some(format!("{time:.3}")).filter(|written| !written.starts_with('-'))
}

/// Cuts one part after another until the record fits into [`BUDGET_BYTES`].
fn within_budget(record: Record) -> Result<RecordContent, Error> {
    type Cut = (TruncatedPart, fn(&mut Record));
    let cuts: [Cut; 7] = [
        (TruncatedPart::Annotations, |r| r.pod.annotations.clear()),
        (TruncatedPart::Placement, |r| {
            r.placement.host_ips.truncate(ADDRESSES_KEPT);
            r.placement.pod_ips.truncate(ADDRESSES_KEPT);
        }),
        (TruncatedPart::Containers, |r| r.containers.truncate(CONTAINERS_KEPT)),
        (TruncatedPart::Labels, |r| r.pod.labels.clear()),
        (TruncatedPart::Containers, |r| r.containers.clear()),
        (TruncatedPart::Workload, |r| r.workload.clear()),
        (TruncatedPart::Placement, |r| (r.placement.host_ips, r.placement.pod_ips) = (Vec::new(), Vec::new())),
    ];
    let mut content = content(record)?;
    for (part, cut) in cuts {
        if content.canonical.len() <= BUDGET_BYTES {
            break;
        }
        let mut record = content.record.clone();
        cut(&mut record);
        if record != content.record && !record.truncated.contains(&part) {
            record.truncated.push(part);
        }
        content = self::content(record)?;
    }
    Ok(content)
}

fn content(record: Record) -> Result<RecordContent, Error> {
    RecordContent::of(record).map_err(|error| Error::Canonical(error.to_string()))
}

#[cfg(test)]
mod tests;
