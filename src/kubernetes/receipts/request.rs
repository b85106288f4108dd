//! One receipt: the request, what its answer means, and the retries.
//!
//! | answer | what follows |
//! | --- | --- |
//! | success | the receipt is written |
//! | 404, 409, 422 about the UID, or the namespace is being deleted | the pod is gone; another one may have its name |
//! | 403 | no receipt of this kind is tried in the namespace for a minute, then for longer |
//! | another 4xx, except 401 and 429 | the receipt is not tried again before the next pass |
//! | none within 10 s, 401, 429, 5xx | two more attempts after a backoff, then all receipts pause |
//!
//! Conditions and annotations are applied on the server with a field manager of our own. The UID in the applied object
//! makes the API server refuse to change another pod of the same name.

use std::{collections::BTreeMap, time::Duration};

use http::{Method, Request, header};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    kubernetes::{failures::Right, receipts::KindRight, watch::list},
    model::{
        digest::Digest,
        ids::{is_namespace_name, is_pod_name},
        pod::receipt::GATE,
        uid::Uid,
    },
    reconcile::{receipts::ReceiptKind, retry},
};

/// The field manager of conditions and annotations, and the reporting controller of Events.
const MANAGER: &str = "pod-registrar";
/// Time limit of an attempt.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;
/// The first and the longest delay between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// The API server refuses an Event with a longer note.
const NOTE_BYTES: usize = 1_000;
/// Characters of the name of an Event that are made of a hash.
const HASH_CHARS: usize = 24;

/// Why a receipt was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the pod is gone")]
    Gone,
    /// A right is missing, or a policy forbids it.
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unanswered(String),
}

/// The pod that a receipt is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReceiptPod {
    pub(super) uid: Uid,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReceiptWrite {
    Gate,
    /// All annotations that are receipts.
    Annotations(BTreeMap<String, String>),
    Event {
        target: &'static str,
        ids: Vec<String>,
    },
}

impl ReceiptWrite {
    pub(super) fn kind(&self) -> ReceiptKind {
        match self {
            Self::Gate => ReceiptKind::Gate,
            Self::Annotations(_) => ReceiptKind::Annotation,
            Self::Event { .. } => ReceiptKind::Event,
        }
    }
}

/// Writes receipts.
#[derive(Clone)]
pub(super) struct ReceiptClient {
    pub(super) client: Client,
    /// The `reportingInstance` of Events.
    pub(super) instance: String,
    /// Whether rights are granted in namespaces, not in the cluster.
    pub(super) rights_by_namespace: bool,
}

impl ReceiptClient {
    /// Writes the receipts of one pod. If the pod is gone or the API server does not answer, the rest is not tried.
    pub(super) async fn write_all(
        self,
        pod: ReceiptPod,
        receipts: Vec<ReceiptWrite>,
        mut rng: fastrand::Rng,
    ) -> (ReceiptPod, Vec<(ReceiptWrite, Result<(), Error>)>) {
        let (mut results, mut end) = (Vec::new(), None);
        for receipt in receipts {
            let result = match &end {
                Some(error) => Err(Error::clone(error)),
                None => self.write(&pod, &receipt, &mut rng).await,
            };
            if let Err(error @ (Error::Gone | Error::Unanswered(_))) = &result {
                end = Some(error.clone());
            }
            results.push((receipt, result));
        }
        (pod, results)
    }

    async fn write(&self, pod: &ReceiptPod, receipt: &ReceiptWrite, rng: &mut fastrand::Rng) -> Result<(), Error> {
        if !is_namespace_name(&pod.namespace) || !is_pod_name(&pod.name) {
            return Err(Error::Refused("the pod has no usable name".to_owned()));
        }
        let mut failures = 0;
        loop {
            let (error, after) = match self.attempt(pod, receipt).await {
                Err((Error::Unanswered(error), after)) => (error, after),
                answered => return answered.map_err(|(error, _)| error),
            };
            failures += 1;
            if failures == ATTEMPTS {
                return Err(Error::Unanswered(error));
            }
            let own = retry::backoff(BACKOFF.0, BACKOFF.1, failures, rng.u64(..));
            tokio::time::sleep(after.map_or(own, |after| own.max(after.min(BACKOFF.1)))).await;
        }
    }

    /// Sends the request once. An error comes with the time that the API server asked to wait.
    async fn attempt(&self, pod: &ReceiptPod, receipt: &ReceiptWrite) -> Result<(), (Error, Option<Duration>)> {
        let request = self.request(pod, receipt).map_err(|error| (Error::Refused(error.to_string()), None))?;
        let answered = tokio::time::timeout(ANSWER_WITHIN, list::fetch(&self.client, Ok(request), 1)).await;
        let Ok(answered) = answered else {
            return Err((Error::Unanswered(format!("no answer from the API server within {ANSWER_WITHIN:?}")), None));
        };
        let Err(error) = answered else { return Ok(()) };
        let list::Error::Refused { code, message, retry_after, .. } = &error else {
            return Err((Error::Unanswered(error.to_string()), None));
        };
        let is_event = receipt.kind() == ReceiptKind::Event;
        let error = match code {
            // An earlier attempt has written it, or an earlier process.
            409 if is_event => return Ok(()),
            404 | 409 => Error::Gone,
            422 if message.contains("metadata.uid") => Error::Gone,
            403 if message.contains("because it is being terminated") => Error::Gone,
            403 => {
                let KindRight { group, resource, verbs } = KindRight::of(receipt.kind());
                let namespace = self.rights_by_namespace.then_some(&*pod.namespace);
                let right = Right { group, resource, verbs, name: None, namespace };
                Error::Forbidden(format!("{error}; {}", right.advice()))
            }
            401 | 429 | 500.. => return Err((Error::Unanswered(error.to_string()), *retry_after)),
            _ => Error::Refused(error.to_string()),
        };
        Err((error, None))
    }

    fn request(&self, pod: &ReceiptPod, receipt: &ReceiptWrite) -> Result<Request<Vec<u8>>, http::Error> {
        let ReceiptPod { uid, namespace, name } = pod;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        match receipt {
            ReceiptWrite::Gate => {
                let condition = json!({
                    "type": GATE,
                    "status": "True",
                    "lastTransitionTime": seconds(Timestamp::now()),
                    "reason": "Registered",
                    "message": "all registries that select the pod hold its record",
                });
                apply(&format!("{path}/status"), pod, &json!({"status": {"conditions": [condition]}}))
            }
            ReceiptWrite::Annotations(annotations) => {
                apply(&path, pod, &json!({"metadata": {"annotations": annotations}}))
            }
            ReceiptWrite::Event { target, ids } => {
                let hash = Digest::of_canonical(format!("{target}/{uid}").as_bytes()).hex();
                let event = json!({
                    "apiVersion": "events.k8s.io/v1",
                    "kind": "Event",
                    "metadata": {
                        "name": format!("pod-registrar-{}", &hash[..HASH_CHARS]),
                        "namespace": namespace,
                    },
                    "eventTime": format!("{:.6}", Timestamp::now()),
                    "action": "Register",
                    "reason": "Registered",
                    "type": "Normal",
                    "note": note(target, ids),
                    "regarding": {
                        "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid.to_string(),
                    },
                    "reportingController": MANAGER,
                    "reportingInstance": self.instance.chars().take(128).collect::<String>(),
                });
                let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
                let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
                request.body(event.to_string().into_bytes())
            }
        }
    }
}

/// A server-side apply of these fields to exactly this pod.
fn apply(path: &str, pod: &ReceiptPod, fields: &Value) -> Result<Request<Vec<u8>>, http::Error> {
    let mut object = fields.clone();
    object["apiVersion"] = "v1".into();
    object["kind"] = "Pod".into();
    object["metadata"]["name"] = (*pod.name).into();
    object["metadata"]["namespace"] = (*pod.namespace).into();
    object["metadata"]["uid"] = pod.uid.to_string().into();
    // Nobody else has a reason to own these fields.
    let uri = format!("{path}?fieldManager={MANAGER}&force=true");
    let request = Request::builder().method(Method::PATCH).uri(uri);
    // The whole pod is not needed in the answer. JSON is YAML.
    let request = request
        .header(header::ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json")
        .header(header::CONTENT_TYPE, "application/apply-patch+yaml");
    request.body(object.to_string().into_bytes())
}

/// Without fractions, as Kubernetes writes times.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn note(target: &str, ids: &[String]) -> String {
    let mut note = match ids {
        [] => format!("target {target}: the registry holds the record of this pod"),
        ids => format!("target {target}: the registry holds the record of this pod: {}", ids.join(", ")),
    };
    while note.len() > NOTE_BYTES {
        note.pop();
    }
    note
}
