//! Which cluster this is: the UID of the `kube-system` namespace, which lives as long as the cluster does.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use super::words::{Right, explain};

/// The namespace whose UID is the cluster's id.
pub const NAMESPACE: &str = "kube-system";

/// Why the cluster's id is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not give the namespace. `is_refused`: for want of a right.
    #[error("cannot read the namespace {NAMESPACE}: {why}")]
    Read {
        /// What went wrong, and how to fix it.
        why: String,
        /// Whether a right is missing.
        is_refused: bool,
    },
    /// The namespace has no UID.
    #[error("the namespace {NAMESPACE} has no UID; is this a Kubernetes API server?")]
    NoUid,
}

/// Reads the cluster's id.
///
/// # Errors
/// When the API server does not answer, refuses, or the namespace has no UID.
pub async fn read(client: &Client) -> Result<String, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get_metadata(NAMESPACE).await.map_err(|error| unread(&error))?;
    namespace.metadata.uid.filter(|uid| !uid.is_empty()).ok_or(Error::NoUid)
}

fn unread(error: &kube::Error) -> Error {
    let right = Right { group: "", resource: "namespaces", verbs: &["get"], name: Some(NAMESPACE), namespace: None };
    let is_refused = matches!(error, kube::Error::Api(status) if status.code == 403);
    let without = if is_refused { ", or name the cluster with --cluster-id" } else { "" };
    Error::Read { why: format!("{}{without}", explain(error, &right)), is_refused }
}
