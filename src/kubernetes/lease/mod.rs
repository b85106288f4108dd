//! Leases: the one that elects a leader, and the one on which held deletions are listed and approved.
//!
//! A Lease is read and replaced as the JSON document that it is. Annotations, labels and fields of later Kubernetes
//! releases therefore survive.

pub mod approvals;
pub mod elector;

use std::fmt;

use http::{Method, Request, header::CONTENT_TYPE};
use kube::Client;
use serde_json::Value;

/// The name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "its fields are the two parts of the name")]
pub struct LeaseRef {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for LeaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Requests about one Lease. None is retried, and none has a time limit of its own.
pub struct LeaseClient {
    client: Client,
    lease: LeaseRef,
}

impl LeaseClient {
    /// A client for this Lease.
    pub fn new(client: Client, lease: LeaseRef) -> Self {
        Self { client, lease }
    }

    async fn get(&self) -> Result<Value, kube::Error> {
        self.send(Method::GET, "application/json", Vec::new()).await
    }

    /// Replaces the Lease, unless it was changed since the document's version.
    async fn put(&self, document: &Value) -> Result<Value, kube::Error> {
        self.send(Method::PUT, "application/json", document.to_string().into_bytes()).await
    }

    async fn merge(&self, patch: &Value) -> Result<Value, kube::Error> {
        self.send(Method::PATCH, "application/merge-patch+json", patch.to_string().into_bytes()).await
    }

    async fn send(&self, method: Method, content: &'static str, body: Vec<u8>) -> Result<Value, kube::Error> {
        let LeaseRef { namespace, name } = &self.lease;
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content).body(body);
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }
}
