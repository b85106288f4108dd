//! Lists the pods of a selection once, and reads one pod, for commands that end.

use std::time::Duration;

use futures::StreamExt as _;
use kube::{Client, api::GetParams, core::Request};

use super::{
    client::PodSelection,
    failures::Right,
    watch::{
        list::{self, ListSource, ListStep, PageTurns},
        pod_object::Watched,
    },
};
use crate::{
    clock::Clock,
    model::{
        ids::is_valid_id,
        pod::{
            Pod,
            to_record::{self, Rule},
        },
    },
    reconcile::paging::Paging,
};

/// Time limit of a request for one pod.
const ONE_POD_WITHIN: Duration = Duration::from_secs(30);

/// Why there are no pods.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A page failed repeatedly, or in a way that a retry does not change.
    #[error("cannot list the pods: {0}")]
    List(String),
    /// The pod exists and cannot be read, or the request failed.
    #[error("cannot read the pod: {0}")]
    Read(String),
}

/// A pod as it was read.
#[derive(Clone, Debug)]
pub struct ReadPod {
    /// Without content if the object could not be decoded.
    pub pod: Pod,
    /// Why it has no content.
    pub undecodable: Option<String>,
}

/// Lists at most `most` pods of the selection. Only what `keep` makes of each pod is kept.
///
/// # Errors
/// The list is not complete, for another reason than `most`.
pub async fn list<T>(
    client: &Client,
    scope: &PodSelection,
    rule: &Rule,
    most: usize,
    mut keep: impl FnMut(ReadPod) -> T,
) -> Result<Vec<T>, Error> {
    let namespaces: Vec<Option<String>> = match scope.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    let mut pods = Vec::new();
    for namespace in namespaces {
        let source = ListSource::new(client.clone(), namespace, scope, PageTurns::default(), Clock::start());
        list_one(&source, most, &mut pods, &mut |object| read_object(object, rule).map(&mut keep)).await?;
    }
    pods.truncate(most);
    Ok(pods)
}

async fn list_one<T>(
    source: &ListSource,
    most: usize,
    pods: &mut Vec<T>,
    keep: &mut impl FnMut(Watched) -> Option<T>,
) -> Result<(), Error> {
    let mut steps = source.list(Paging::default());
    let before = pods.len();
    while let Some(step) = steps.next().await {
        let page = match step {
            ListStep::Page(page) => page,
            ListStep::Failed(failed) if failed.is_stuck || failed.failures > 2 => {
                return Err(Error::List(explained(&failed.error, source.namespace.as_deref())));
            }
            ListStep::Begins | ListStep::Failed(_) => continue,
        };
        if page.is_first {
            pods.truncate(before);
        }
        pods.extend(page.items.into_iter().filter_map(&mut *keep));
        if pods.len() >= most {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads one pod. `None` if there is none of this name.
///
/// # Errors
/// The request failed, or the answer is not a pod.
pub async fn get(client: &Client, namespace: &str, name: &str, rule: &Rule) -> Result<Option<ReadPod>, Error> {
    let path = <Watched as kube::Resource>::url_path(&(), Some(namespace));
    let request = Request::new(path).get(name, &GetParams::default());
    let fetched = tokio::time::timeout(ONE_POD_WITHIN, list::fetch(client, request, 1)).await;
    let body = match fetched.map_err(|_| Error::Read(format!("no answer within {ONE_POD_WITHIN:?}")))? {
        Err(error) if error.status() == Some(404) => return Ok(None),
        fetched => fetched.map_err(|error| Error::Read(explained(&error, Some(namespace))))?,
    };
    let object: Watched = serde_json::from_slice(&body).map_err(|error| Error::Read(error.to_string()))?;
    let unusable = || Error::Read("the answer is not a pod with a UID; is there a proxy in between?".to_owned());
    read_object(object, rule).map(Some).ok_or_else(unusable)
}

fn explained(error: &list::Error, namespace: Option<&str>) -> String {
    match error.status() {
        Some(403) => format!("{error}; {}", Right::to_pods(namespace).advice()),
        _ => error.to_string(),
    }
}

/// `None` if the object has no valid UID.
fn read_object(mut object: Watched, rule: &Rule) -> Option<ReadPod> {
    let decoded = object.take_pod().and_then(|pod| to_record::desired(pod, rule).map_err(|error| error.to_string()));
    let cause = match decoded {
        Ok(pod) => return Some(ReadPod { pod, undecodable: None }),
        Err(cause) => cause,
    };
    let uid = object.uid().filter(|uid| is_valid_id(uid))?;
    let pod = to_record::unreadable(uid, object.namespace(), object.name(), object.resource_version());
    Some(ReadPod { pod, undecodable: Some(cause) })
}
