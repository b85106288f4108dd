//! Reads the identity of the cluster: the UID of the `kube-system` namespace, which exists as long as the cluster.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use super::failures::{Right, describe};
use crate::model::ids::is_valid_id;

/// The namespace whose UID identifies the cluster.
pub const NAMESPACE: &str = "kube-system";

/// Why the cluster's identity is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request failed.
    #[error("cannot read the namespace {NAMESPACE}: {why}")]
    Read {
        /// What went wrong, and how to fix it.
        why: String,
        /// Whether a right is missing (403).
        is_refused: bool,
    },
    /// The API server returned another object, or a UID that is not valid.
    #[error("the answer is not the namespace {NAMESPACE} with a UID; is this a Kubernetes API server?")]
    Unusable,
}

pub async fn read(client: &Client) -> Result<String, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get_metadata(NAMESPACE).await.map_err(|error| unread(&error))?;
    let found = namespace.metadata;
    let uid = found.uid.filter(|uid| is_valid_id(uid) && found.name.as_deref() == Some(NAMESPACE));
    uid.ok_or(Error::Unusable)
}

fn unread(error: &kube::Error) -> Error {
    let right = Right { group: "", resource: "namespaces", verbs: &["get"], name: Some(NAMESPACE), namespace: None };
    let is_refused = matches!(error, kube::Error::Api(status) if status.code == 403);
    let without = if is_refused { ", or name the cluster with --cluster-id" } else { "" };
    Error::Read { why: format!("{}{without}", describe(error, &right)), is_refused }
}
