//! Leases: one elects the leader, and one lists held deletions and takes their approvals.
//!
//! A Lease is read and replaced as a JSON document. This keeps annotations, labels and the fields of later Kubernetes
//! releases.

pub mod approvals;
mod document;
pub mod elector;

use std::fmt;

use http::{Method, Request, header::CONTENT_TYPE};
use kube::Client;
use serde_json::Value;

use super::failures::words;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRef {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for LeaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Sends requests about one Lease, without retries and time limits.
pub struct LeaseClient {
    client: Client,
    lease: LeaseRef,
}

impl LeaseClient {
    pub fn new(client: Client, lease: LeaseRef) -> Self {
        Self { client, lease }
    }

    /// Whether the Lease exists.
    ///
    /// # Errors
    /// The request failed, in words for a person.
    pub async fn exists(&self) -> Result<bool, String> {
        match self.get().await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(words(&error)),
        }
    }

    async fn get(&self) -> Result<Value, kube::Error> {
        self.send(Method::GET, "application/json", Vec::new()).await
    }

    /// Replaces the Lease, unless it changed since the document's resource version (409).
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
