//! Runs the checks of the absence guard: is this still the same cluster, and are these pods really gone?
//!
//! The rights of the watches are enough: only watched namespaces are listed, and a pod without the right to read it
//! counts as present. Answers are bounded in bytes and in time. Anything but a pod or a list of pods counts as no
//! answer.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Client,
    api::{GetParams, ListParams},
    core::Request,
};
use tokio::sync::mpsc;

use super::{
    client::PodSelection,
    failures::Right,
    identity,
    watch::{
        list::{self, BuiltRequest, ListStep},
        pod_object::Watched,
    },
};
use crate::{
    clock::Clock,
    model::{
        ids::{is_namespace_name, is_pod_name, is_valid_id},
        pod::PodRef,
        uid::Uid,
    },
    reconcile::{
        absence::check::{Check, CheckFinding, CheckResult, Confirmation},
        paging::Paging,
    },
};

/// Time limit of a check. Listing the largest cluster takes a minute or two.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Time limit of a request, which is also the default limit of the API server.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// A list with more pods is taken for an endless one.
const PODS_MAX: usize = 2_000_000;

/// The cluster that every check must find.
pub struct ExpectedCluster {
    /// The UID of `kube-system` at the start, if it could be read.
    pub uid: Option<String>,
    /// Whether the operator named the cluster with a flag. Its identity then need not be readable.
    pub named: bool,
}

const NO_UID: Error = Error::Unusable("a pod with a UID");
const NO_JSON: Error = Error::Unusable("JSON of the API server");

/// Why a check has no result.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no answer within {REQUEST_WITHIN:?}")]
    Late,
    #[error("the API server answered 403: a right is missing; {0}")]
    Forbidden(String),
    #[error("it does not exist")]
    Missing,
    #[error("the answer is not {0}; is there a proxy in between?")]
    Unusable(&'static str),
    #[error("{0}")]
    List(list::Error),
    #[error("the list expired before its last page")]
    Expired,
    #[error("the registry names a pod that cannot exist")]
    Name,
}

/// The right to read pods is missing, in this namespace or in all.
fn forbidden(namespace: Option<&str>) -> Error {
    Error::Forbidden(Right::to_pods(namespace).advice())
}

/// Runs checks until their sender or the receiver of results is gone.
pub async fn run(
    client: Client,
    scope: PodSelection,
    cluster: ExpectedCluster,
    mut checks: mpsc::Receiver<Check>,
    answers: mpsc::Sender<CheckResult>,
) {
    while let Some(check) = checks.recv().await {
        let round = check.round();
        let finding = match other_cluster(&client, &cluster).await {
            Err(error) => CheckFinding::Confirmation(Confirmation::Unanswered(error.to_string())),
            Ok(Some(other)) => other,
            Ok(None) => {
                let late = CheckFinding::Confirmation(Confirmation::Unanswered(format!(
                    "it took longer than {ANSWER_WITHIN:?}"
                )));
                tokio::time::timeout(ANSWER_WITHIN, answer(&client, &scope, check)).await.unwrap_or(late)
            }
        };
        if answers.send(CheckResult { round, finding }).await.is_err() {
            return;
        }
    }
}

/// Whether the API server belongs to another cluster now. If the identity was unreadable at the start, any later one
/// passes.
async fn other_cluster(client: &Client, cluster: &ExpectedCluster) -> Result<Option<CheckFinding>, identity::Error> {
    match (identity::read(client).await, &cluster.uid) {
        (Ok(found), Some(expected)) if found != *expected => {
            Ok(Some(CheckFinding::OtherCluster { expected: expected.clone(), found }))
        }
        (Ok(_), _) => Ok(None),
        (Err(identity::Error::Read { is_refused: true, .. }), _) if cluster.named => Ok(None),
        (Err(error), _) => Err(error),
    }
}

async fn answer(client: &Client, scope: &PodSelection, check: Check) -> CheckFinding {
    let all_pods = PodSelection::default();
    let listed = match check {
        Check::LookUp { pods, .. } => return CheckFinding::Confirmation(look_up(client, &pods).await),
        Check::Whole { .. } => list_pods(client, &all_pods, &[]).await,
        Check::List { except, .. } => list_pods(client, scope, &except).await,
        Check::Find { pods, not_looked_up, .. } => find(client, scope, pods).await.map(|mut there| {
            there.extend(not_looked_up);
            there
        }),
    };
    match listed {
        Ok(uids) => CheckFinding::Listed(uids),
        Err(error) => CheckFinding::Confirmation(Confirmation::Unanswered(format!("pods cannot be listed: {error}"))),
    }
}

/// The pods of the scope, without some namespaces. The requests name no resource version, so no list is older than
/// its request.
async fn list_pods(client: &Client, scope: &PodSelection, except: &[String]) -> Result<HashSet<Uid>, Error> {
    let mut uids = HashSet::new();
    if scope.namespaces.is_empty() {
        list_one(client, None, scope, &mut uids).await?;
        return Ok(uids);
    }
    for namespace in scope.namespaces.iter().filter(|namespace| !except.contains(namespace)) {
        list_one(client, Some(namespace), scope, &mut uids).await?;
    }
    Ok(uids)
}

/// Adds the pods of one namespace, or of all. Failed pages are retried.
async fn list_one(
    client: &Client,
    namespace: Option<&str>,
    scope: &PodSelection,
    uids: &mut HashSet<Uid>,
) -> Result<(), Error> {
    let turns = list::PageTurns::default();
    let source = list::ListSource::new(client.clone(), namespace.map(str::to_owned), scope, turns, Clock::start());
    let mut steps = list::ListSource { only_metadata: true, ..source }.list(Paging::default());
    let mut found = HashSet::new();
    while let Some(step) = steps.next().await {
        let page = match step {
            ListStep::Page(page) => page,
            ListStep::Failed(failed) if failed.is_stuck => {
                let is_forbidden = failed.error.status() == Some(403);
                return Err(if is_forbidden { forbidden(namespace) } else { Error::List(failed.error) });
            }
            ListStep::Begins | ListStep::Failed(_) => continue,
        };
        if !page.is_consistent {
            return Err(Error::Expired);
        }
        if page.is_first {
            found.clear();
        }
        for pod in &page.items {
            found.insert(valid_uid(pod)?);
        }
        if found.len() > PODS_MAX {
            return Err(Error::Unusable("a list with an end"));
        }
    }
    uids.extend(found);
    Ok(())
}

/// Looks up pods one by one. A pod is gone after a 404, or if its name belongs to another UID.
async fn look_up(client: &Client, pods: &[PodRef]) -> Confirmation {
    if pods.is_empty() {
        // The check was about the cluster's identity only.
        return Confirmation::Gone;
    }
    let mut there = 0;
    for PodRef { uid, namespace, name } in pods {
        match uid_of(client, namespace, name).await {
            Ok(found) => there += usize::from(found.as_ref() == Some(uid)),
            Err(error) => return Confirmation::Unanswered(format!("pod {uid} cannot be looked up: {error}")),
        }
    }
    if there == 0 { Confirmation::Gone } else { Confirmation::StillThere(there) }
}

/// Which of these pods exist, selected or not. Namespaces of the scope are listed. Pods elsewhere are looked up one by
/// one, and count as present if that is forbidden.
async fn find(client: &Client, scope: &PodSelection, pods: Vec<PodRef>) -> Result<HashSet<Uid>, Error> {
    let mut by_namespace: BTreeMap<String, Vec<(Uid, String)>> = BTreeMap::new();
    for PodRef { uid, namespace, name } in pods {
        by_namespace.entry(namespace).or_default().push((uid, name));
    }
    let mut there = HashSet::new();
    for (namespace, pods) in by_namespace {
        if scope.namespaces.contains(&namespace) {
            let mut all = HashSet::new();
            list_one(client, Some(&namespace), &PodSelection::default(), &mut all).await?;
            there.extend(pods.into_iter().map(|(uid, _)| uid).filter(|uid| all.contains(uid)));
            continue;
        }
        for (uid, name) in pods {
            match uid_of(client, &namespace, &name).await {
                Ok(found) if found.as_ref() != Some(&uid) => {}
                Ok(_) | Err(Error::Forbidden(_)) => _ = there.insert(uid),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(there)
}

/// The UID of the pod with this name, if it exists. Without the right to get pods, it uses a list narrowed to the name.
async fn uid_of(client: &Client, namespace: &str, name: &str) -> Result<Option<Uid>, Error> {
    if !is_pod_name(name) {
        return Err(Error::Name);
    }
    let path = path(namespace)?;
    let request = Request::new(&path).get_metadata(name, &GetParams::default());
    let answer = request_body(client, request, namespace).await;
    match answer.and_then(|body| serde_json::from_slice::<Watched>(&body).map_err(|_| NO_JSON)) {
        Ok(pod) if pod.name() != name => Err(Error::Unusable("the pod")),
        Ok(pod) if pod.pod.as_ref().is_ok_and(|pod| pod.kind.is_some()) => Ok(Some(valid_uid(&pod)?)),
        Ok(_) => Err(Error::Unusable("a pod")),
        Err(Error::Missing) => Ok(None),
        Err(Error::Forbidden(_)) => {
            let params = ListParams::default().fields(&format!("metadata.name={name}")).limit(2);
            let body = request_body(client, Request::new(&path).list_metadata(&params), namespace).await?;
            let items = list::items(&body).map_err(|_| Error::Unusable("a list of pods"))?;
            items.iter().find(|pod| pod.name() == name).map(valid_uid).transpose()
        }
        Err(error) => Err(error),
    }
}

fn path(namespace: &str) -> Result<String, Error> {
    if is_namespace_name(namespace) { Ok(format!("/api/v1/namespaces/{namespace}/pods")) } else { Err(Error::Name) }
}

/// Sends a request for one pod of a namespace and reads the answer.
async fn request_body(client: &Client, request: BuiltRequest, namespace: &str) -> Result<Vec<u8>, Error> {
    let answered = tokio::time::timeout(REQUEST_WITHIN, list::fetch(client, request, 1)).await;
    answered.map_err(|_| Error::Late)?.map_err(|error| match error.status() {
        Some(403) => forbidden(Some(namespace)),
        Some(404) => Error::Missing,
        _ => Error::List(error),
    })
}

fn valid_uid(pod: &Watched) -> Result<Uid, Error> {
    pod.uid().filter(|uid| is_valid_id(uid)).map(Uid::from).ok_or(NO_UID)
}

#[cfg(test)]
mod tests;
