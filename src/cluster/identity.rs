//! Which cluster this is: the UID of the `kube-system` namespace, which lives as long as the cluster does.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

/// The namespace whose UID is the cluster's id.
pub const NAMESPACE: &str = "kube-system";

/// Why the cluster's id is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not give the namespace.
    #[error("cannot read the namespace {NAMESPACE}: {0}; the controller needs the right to get this one namespace")]
    Read(#[source] kube::Error),
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
    let namespace = namespaces.get_metadata(NAMESPACE).await.map_err(Error::Read)?;
    namespace.metadata.uid.filter(|uid| !uid.is_empty()).ok_or(Error::NoUid)
}
