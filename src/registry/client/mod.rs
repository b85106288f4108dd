//! The client of protocol v1. `docs/protocol-v1.md` has a table of every status and what the controller does.
//!
//! Each answer passes through one function here that bounds it and turns it into a value: `batch_verdicts`,
//! `single_verdict`, `opened_session` and so on. They need no connection, so that fuzz tests can call them.

pub(crate) mod encode;
pub(crate) mod http;
pub mod judge;
pub mod reader;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use reqwest::{Method, Url};
use serde_json::json;

use super::protocol::{
    BATCH, BatchResults, CapabilitiesDocument, ClusterInfo, DIGEST_INVENTORY, HeartbeatAccepted, InventoryAnswer,
    ItemResult, ListedRecord, PROTOCOL,
};
use super::{
    Capabilities, Encoded, EncodedBody, Excluded, Features, Projection, RecordChange, RecordName, Registry,
    RenderFailure,
    credentials::Error,
    http::HttpAnswer,
    inventory::{Bucket, BucketDigests, InventoryItem, InventoryPage},
    session::{Contender, Heartbeat, OpenSession, SessionOpened},
};
use crate::{
    connect::failures::one_line,
    mapping::target::{Target, TermWords},
    model::{
        digest::Digest,
        ids::{DEFAULT_OWNER, INTEGER_LIMIT, RecordOwner, Version, is_namespace_name, is_pod_name, is_valid_id},
        pod::Pod,
        uid::Uid,
    },
    reconcile::{
        outcome::{Failure, OperationKind, Verdict},
        takeover::{ReportedSession, SessionHolder},
    },
};
use http::{FLAGS, LARGE_ANSWER, MEMBERS, NAME_CHARS, RECORD_ANSWER, RegistryHttp, SMALL_ANSWER};
use judge::ProblemDetail;

/// The number of a registry's features that are read. The protocol has five.
const FEATURES_MAX: usize = 64;

/// Bytes per operation that are read of the answer to a batch. Some registries explain rejections at length.
const RESULT_BYTES: usize = 16 << 10;
/// Bytes of a page token, which becomes part of an address.
const PAGE_TOKEN_MAX: usize = 1_024;
/// Operations and bytes of a batch, at most. A registry's own limits count only if they are lower.
const BATCH_MAX: (usize, usize) = (5_000, 16 << 20);

const ACCEPTED: u16 = 202;

#[derive(Clone, Debug)]
pub struct Config {
    /// The protocol's paths are below this address.
    pub url: Url,
    /// The file with the bearer token. It is read again every 30 s, and after the registry refused the token.
    pub token_file: Option<PathBuf>,
    /// PEM certificates of the authorities to trust instead of the system's. The file is read again every 30 s, and
    /// after a connection failed.
    pub ca_file: Option<PathBuf>,
    /// The limit from sending a request to the last byte of its answer.
    pub request_timeout: Duration,
}

/// A client of one registry, for one writer.
pub struct Client {
    http: RegistryHttp,
    owner: RecordOwner,
    /// Which pods have a record, if not all.
    select: Option<(Target, TermWords)>,
}

impl Client {
    /// Makes a client of the registry that flags describe. It reads the CA file and the token file, and connects later.
    pub fn new(config: Config, owner: RecordOwner) -> Result<Self, Error> {
        Ok(Self { http: RegistryHttp::new(config, &FLAGS, None)?, owner, select: None })
    }

    /// The same for a target of a targets file, whose members errors name.
    pub fn of_targets_file(
        config: Config,
        owner: RecordOwner,
        requests_per_second: Option<f64>,
    ) -> Result<Self, Error> {
        Ok(Self { http: RegistryHttp::new(config, &MEMBERS, requests_per_second)?, owner, select: None })
    }

    /// The same for the pods that the target selects. Only its `select` is used.
    #[must_use]
    pub fn selecting(self, target: Target) -> Self {
        let term = target.term(0, &json!({}));
        Self { select: Some((target, term)), ..self }
    }

    /// The address of a path below the writer's cluster. It names the owner unless that is the default.
    fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut query = query.to_vec();
        if self.owner.owner != DEFAULT_OWNER {
            query.push(("owner", self.owner.owner.clone()));
        }
        self.http.url(&format!("v1/clusters/{}{path}", self.owner.cluster_id), &query)
    }

    async fn get(&self, url: Url, most: usize) -> Result<HttpAnswer, Failure> {
        self.http.send(Method::GET, url, None, most).await
    }

    async fn send_json<T: serde::Serialize>(&self, method: Method, url: Url, body: &T) -> Result<HttpAnswer, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::Broken(format!("request not encoded: {e}")))?;
        self.http.send(method, url, Some(body), SMALL_ANSWER).await
    }

    async fn write_batch(&self, epoch: u64, operations: &[Encoded]) -> Result<Vec<Verdict>, Failure> {
        let body = encode::batch(epoch, operations);
        let most = operations.len().saturating_mul(RESULT_BYTES).clamp(SMALL_ANSWER, LARGE_ANSWER);
        let answer = self.http.send(Method::POST, self.url("/pods:batch", &[]), Some(body), most).await?;
        batch_verdicts(&answer, operations)
    }

    async fn write_one(&self, operation: &Encoded) -> Result<Verdict, Failure> {
        let path = format!("/pods/{}", operation.uid);
        let (kind, answer) = match &operation.body {
            EncodedBody::Put { record, .. } => {
                let url = self.url(&path, &[]);
                (OperationKind::Put, self.http.send(Method::PUT, url, Some(record.clone()), SMALL_ANSWER).await?)
            }
            EncodedBody::Delete(removal) => {
                let (reason, observed) = encode::removal(*removal);
                let Version { epoch, seq } = operation.version;
                let query = [
                    ("epoch", epoch.to_string()),
                    ("seq", seq.to_string()),
                    ("reason", reason.to_owned()),
                    ("observed", observed.to_owned()),
                ];
                let url = self.url(&path, &query);
                (OperationKind::Delete, self.http.send(Method::DELETE, url, None, SMALL_ANSWER).await?)
            }
        };
        // A web page with 404 may come from a proxy that did not ask the registry.
        let uncertain = kind == OperationKind::Delete && matches!(answer.status, 404 | 410) && answer.is_web_page();
        if answer.status == ACCEPTED || uncertain {
            return self.read_record_back(operation, answer.status).await;
        }
        single_verdict(kind, &answer, operation)
    }

    /// Reads the record's address after an answer that does not say whether the operation is done. If the address does
    /// not show the result yet, the operation is sent again later.
    async fn read_record_back(&self, operation: &Encoded, status: u16) -> Result<Verdict, Failure> {
        let answer = self.get(self.url(&format!("/pods/{}", operation.uid), &[]), RECORD_ANSWER).await?;
        Ok(verdict_of_stored(&answer, operation, status))
    }
}

fn batch_verdicts(answer: &HttpAnswer, operations: &[Encoded]) -> Result<Vec<Verdict>, Failure> {
    let BatchResults { results } = answer.json()?;
    let in_order = results.len() == operations.len()
        && results.iter().zip(operations).all(|(result, operation)| result.id == *operation.uid.text());
    if !in_order {
        let problem = "results in another number or order than the operations";
        return Err(Failure::Broken(problem.into()));
    }
    Ok(results.into_iter().zip(operations).map(|(result, operation)| item_verdict(result, operation)).collect())
}

/// The verdict on an operation that was a request of its own.
fn single_verdict(kind: OperationKind, answer: &HttpAnswer, operation: &Encoded) -> Result<Verdict, Failure> {
    let detail = answer.problem_detail();
    if judge::concerns_every_request(kind, answer.status, &detail.problem) {
        return Err(judge::judge_request(answer.status, detail));
    }
    match judge::judge_operation(kind, answer.status, detail) {
        Verdict::Done if kind == OperationKind::Put => {
            let stored: ListedRecord = answer.json()?;
            Ok(check_digest(Some(stored.digest), operation))
        }
        Verdict::Done if answer.success().is_ok() && answer.is_web_page() => {
            Err(Failure::Broken(format!("status {} with a web page; does a proxy answer?", answer.status)))
        }
        verdict => Ok(verdict),
    }
}

/// The verdict from the record's address, for an operation that was answered with this status.
fn verdict_of_stored(answer: &HttpAnswer, operation: &Encoded, status: u16) -> Verdict {
    #[derive(serde::Deserialize)]
    struct Shown {
        digest: Digest,
    }
    let uncertain = |cause: &str| Verdict::Uncertain { cause: format!("answered with status {status}, and {cause}") };
    match (&operation.body, answer.status) {
        (EncodedBody::Delete(_), 404 | 410) => Verdict::Done,
        (EncodedBody::Put { digest, .. }, 200) => match answer.json::<Shown>() {
            Ok(shown) if shown.digest == *digest => Verdict::Done,
            _ => uncertain("another record is still there"),
        },
        (EncodedBody::Delete(_), 200) => uncertain("the record is still there"),
        (_, status) => uncertain(&format!("its record's address answers {status}")),
    }
}

/// Every registry that speaks the protocol has sessions and an inventory, whatever features it lists.
fn capabilities_in(answer: &HttpAnswer) -> Result<Capabilities, Failure> {
    let CapabilitiesDocument { protocol, max_batch_items, max_batch_bytes, max_record_bytes, features } =
        answer.json()?;
    if protocol != PROTOCOL {
        let protocol = one_line(&protocol, NAME_CHARS);
        let problem = format!("the registry speaks protocol {protocol:?}, this controller {PROTOCOL:?}");
        return Err(Failure::Broken(problem));
    }
    let has = |feature: &str| features.iter().take(FEATURES_MAX).any(|found| found == feature);
    Ok(Capabilities {
        // A batch is built in memory before it is sent.
        max_batch_items: max_batch_items.min(BATCH_MAX.0),
        max_batch_bytes: max_batch_bytes.min(BATCH_MAX.1),
        max_record_bytes: Some(max_record_bytes),
        features: Features { batches: has(BATCH), digests: has(DIGEST_INVENTORY), ..Features::ALL },
    })
}

fn opened_session(answer: &HttpAnswer) -> Result<SessionOpened, Failure> {
    let mut opened: SessionOpened = answer.json()?;
    if !(1..INTEGER_LIMIT).contains(&opened.epoch) {
        return Err(Failure::Broken(format!("epoch {} is not from 1 to 2^53 - 1", opened.epoch)));
    }
    opened.previous = opened.previous.map(bounded);
    Ok(opened)
}

fn bounded(session: ReportedSession) -> ReportedSession {
    ReportedSession {
        epoch: session.epoch.min(INTEGER_LIMIT - 1),
        instance: one_line(&session.instance, NAME_CHARS),
        scope: session.scope.map(|scope| one_line(&scope, NAME_CHARS)),
        cluster_uid: session.cluster_uid.filter(|uid| is_valid_id(uid)),
        state: session.state,
    }
}

fn contender_in(answer: &HttpAnswer) -> Result<Option<Contender>, Failure> {
    let accepted: HeartbeatAccepted = answer.json()?;
    Ok(accepted.contender.map(|mut contender| {
        contender.instance = contender.instance.map(|instance| one_line(&instance, NAME_CHARS));
        contender
    }))
}

fn session_holder_in(answer: &HttpAnswer, owner: &str) -> Result<Option<SessionHolder>, Failure> {
    let cluster: ClusterInfo = match answer.json() {
        Err(Failure::NotFound) => return Ok(None),
        answer => answer?,
    };
    let ours = cluster.owners.into_iter().find(|found| found.owner == owner);
    Ok(ours.map(|found| SessionHolder {
        session: bounded(found.session),
        heartbeat: found.expires_at.map(|at| one_line(&at, NAME_CHARS)),
        records: found.pods,
    }))
}

/// Checks the ids, and bounds the page token.
fn inventory_page(answer: &HttpAnswer) -> Result<InventoryPage, Failure> {
    let InventoryAnswer::<ListedRecord> { items, next, count, as_of } = answer.json()?;
    let next = next.filter(|token| !token.is_empty());
    if let Some(bytes) = next.as_ref().map(String::len).filter(|bytes| *bytes > PAGE_TOKEN_MAX) {
        return Err(Failure::Broken(format!("a page token of {bytes} bytes; {PAGE_TOKEN_MAX} are allowed")));
    }
    let items: Result<Vec<_>, Failure> = items.into_iter().map(inventory_item).collect();
    Ok(InventoryPage { items: items?, next, count, as_of })
}

fn inventory_item(listed: ListedRecord) -> Result<InventoryItem, Failure> {
    let ListedRecord { id, digest, version } = listed;
    if !is_valid_id(&id) {
        let problem = "an id is invalid; it must have 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -";
        return Err(Failure::Inventory(problem.to_owned()));
    }
    Ok(InventoryItem { uid: id.into(), fingerprint: Some(digest.fingerprint()), version: Some(version) })
}

/// The namespace and name in a record. They become part of the API server's addresses, so names that no pod can have
/// count as absent.
fn record_name_in(answer: &HttpAnswer, uid: &Uid) -> Result<Option<RecordName>, Failure> {
    #[derive(serde::Deserialize)]
    struct Record {
        pod: RecordPod,
    }
    #[derive(serde::Deserialize)]
    struct RecordPod {
        uid: String,
        namespace: String,
        name: String,
    }
    let RecordPod { uid: found, namespace, name } = match answer.json::<Record>() {
        Err(Failure::NotFound | Failure::Expired) => return Ok(None),
        answer => answer?.pod,
    };
    if found != *uid.text() {
        let found = one_line(&found, NAME_CHARS);
        return Err(Failure::Broken(format!("the record of {uid} was requested, the answer has that of {found}")));
    }
    if !is_namespace_name(&namespace) || !is_pod_name(&name) {
        let (namespace, name) = (one_line(&namespace, NAME_CHARS), one_line(&name, NAME_CHARS));
        // At DEBUG, so that a hostile registry cannot fill the log. The guarded deletions that follow are logged once.
        tracing::debug!(%uid, namespace, name, "record has an invalid pod name; treating the name as unknown");
        return Ok(None);
    }
    Ok(Some(RecordName { namespace, name }))
}

fn item_verdict(result: ItemResult, operation: &Encoded) -> Verdict {
    let ItemResult { status, digest, problem, retry_after_seconds, .. } = result;
    let kind = match operation.body {
        EncodedBody::Put { .. } => OperationKind::Put,
        EncodedBody::Delete(_) => OperationKind::Delete,
    };
    let detail = problem.as_ref().map(http::problem_detail).unwrap_or_default();
    let detail = ProblemDetail { retry_after: retry_after_seconds.map(Duration::from_secs), ..detail };
    match judge::judge_operation(kind, status, detail) {
        Verdict::Done => check_digest(digest, operation),
        other => other,
    }
}

/// A put is acknowledged only if the stored digest is the one that was sent.
fn check_digest(stored: Option<Digest>, operation: &Encoded) -> Verdict {
    let EncodedBody::Put { digest, .. } = &operation.body else { return Verdict::Done };
    match stored {
        Some(stored) if stored != *digest => {
            Verdict::Uncertain { cause: format!("the registry stored another digest than was sent: {stored}") }
        }
        _ => Verdict::Done,
    }
}

impl Registry for Client {
    type Operation = EncodedBody;

    fn is_identity(&self) -> bool {
        self.select.is_none()
    }

    fn project(&self, pod: &Pod) -> Projection {
        let Some((target, term)) = &self.select else { return Projection::identity(pod) };
        let Some(content) = &pod.content else { return Projection::Unreadable };
        match target.selects(&content.record, term) {
            Ok(true) => Projection::identity(pod),
            Ok(false) => Projection::NotSelected(Excluded {
                keys: vec![pod.uid.clone()],
                by_scope: !target.has_in_scope(&content.record),
            }),
            Err(error) => Projection::Failed { cause: error.to_string() },
        }
    }

    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        capabilities_in(&self.get(self.http.url("v1/capabilities", &[]), SMALL_ANSWER).await?)
    }

    async fn open_session(&self, request: OpenSession) -> Result<SessionOpened, Failure> {
        opened_session(&self.send_json(Method::POST, self.url("/session", &[]), &request).await?)
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<Option<Contender>, Failure> {
        let answer = self.send_json(Method::PUT, self.url("/session", &[]), &beat).await?;
        contender_in(&answer)
    }

    async fn close_session(&self, epoch: u64) -> Result<(), Failure> {
        let url = self.url("/session", &[("epoch", epoch.to_string())]);
        self.http.send(Method::DELETE, url, None, SMALL_ANSWER).await?.success()
    }

    async fn session_holder(&self) -> Result<Option<SessionHolder>, Failure> {
        session_holder_in(&self.get(self.url("", &[]), SMALL_ANSWER).await?, &self.owner.owner)
    }

    fn encode(&self, key: &Uid, version: Version, change: RecordChange<'_>) -> Result<Encoded, RenderFailure> {
        let body = match change {
            RecordChange::Put(pod, content) => {
                EncodedBody::Put { record: encode::record(pod, content, version), digest: content.digest }
            }
            RecordChange::Delete(removal) => EncodedBody::Delete(removal),
        };
        Ok(Encoded::new(key.clone(), version, body))
    }

    async fn write(&self, epoch: u64, operations: Vec<Encoded>, batched: bool) -> Result<Vec<Verdict>, Failure> {
        match operations.as_slice() {
            [operation] if !batched => Ok(vec![self.write_one(operation).await?]),
            operations => self.write_batch(epoch, operations).await,
        }
    }

    async fn bucket_digests(&self, buckets: usize) -> Result<BucketDigests, Failure> {
        let url = self.url("/pods:digest", &[("buckets", buckets.to_string())]);
        let digests: BucketDigests = self.get(url, LARGE_ANSWER).await?.json()?;
        if digests.buckets.len() != buckets {
            let found = digests.buckets.len();
            return Err(Failure::Broken(format!("the answer has {found} buckets, {buckets} were requested")));
        }
        Ok(digests)
    }

    async fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> Result<InventoryPage, Failure> {
        let mut query = vec![("view", "digest".to_owned()), ("limit", limit.to_string())];
        if let Some(bucket) = bucket {
            query.extend([("bucket", bucket.index.to_string()), ("buckets", bucket.of.to_string())]);
        }
        query.extend(page.map(|page| ("page", page)));
        inventory_page(&self.get(self.url("/pods", &query), LARGE_ANSWER).await?)
    }

    async fn record_name(&self, uid: Uid) -> Result<Option<RecordName>, Failure> {
        record_name_in(&self.get(self.url(&format!("/pods/{uid}"), &[]), RECORD_ANSWER).await?, &uid)
    }

    fn refresh_credential(&self) {
        self.http.refresh_token();
    }
}
