//! Under which names records are written, for commands that end.

use std::time::Duration;

use kube::Client;

use super::Error;
use crate::{
    cli::{flags::RecordSettings, targets::OwnerSettings},
    kubernetes::identity,
    model::{
        ids::RecordOwner,
        pod::to_record::{AllowList, Rule},
    },
};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The owner of records. The cluster is asked for its identity unless a flag gives it.
pub(super) async fn of_cluster(settings: OwnerSettings, client: &Client) -> Result<RecordOwner, Error> {
    let why = match settings.cluster_id {
        Some(_) => return Ok(made_up(settings, "")),
        None => match tokio::time::timeout(ANSWER_WITHIN, identity::read(client)).await {
            Ok(Ok(uid)) => return Ok(made_up(settings, &uid)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {ANSWER_WITHIN:?}; check the API server, or set --cluster-id"),
        },
    };
    Err(Error::Request { what: "cannot read the cluster's identity", why })
}

/// The owner of records in a cluster with this id, unless a flag gives another.
pub(super) fn made_up(settings: OwnerSettings, id: &str) -> RecordOwner {
    let OwnerSettings { cluster_id, cluster_name, owner } = settings;
    let cluster_id = cluster_id.unwrap_or_else(|| id.to_owned());
    let cluster_name = cluster_name.unwrap_or_else(|| cluster_id.clone());
    RecordOwner { cluster_id, cluster_name, owner }
}

/// How records are made of pods.
pub(super) fn rule(owner: &RecordOwner, settings: &RecordSettings) -> Rule {
    let globs = |globs: &[String]| AllowList::new(globs.iter().map(String::as_str));
    let RecordSettings { label_allow, annotation_allow } = settings;
    Rule { owner: owner.clone(), labels: globs(label_allow), annotations: globs(annotation_allow) }
}
