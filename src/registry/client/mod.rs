//! The client of protocol v1.

pub mod credentials;
pub(crate) mod encode;
pub(crate) mod http;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use reqwest::{Method, Url};

use super::protocol::{
    BATCH, BatchResults, CapabilitiesDocument, ClusterInfo, DIGEST_INVENTORY, HeartbeatAccepted, ItemResult, PROTOCOL,
    StoredRecordInfo,
};
use super::{
    Capabilities, Encoded, EncodedBody, Features, RecordChange, RecordName, Registry,
    inventory::{Bucket, BucketDigests, InventoryPage},
    session::{Contender, Heartbeat, OpenSession, SessionOpened},
};
use crate::{
    model::{
        digest::Digest,
        ids::{DEFAULT_OWNER, INTEGER_LIMIT, RecordOwner, Version, is_namespace_name, is_pod_name, is_valid_id},
        uid::Uid,
    },
    reconcile::{
        outcome::{self, Failure, OperationKind, ProblemDetail, Verdict},
        takeover::OtherWriter,
    },
};
use credentials::Error;
use http::{HttpAnswer, LARGE_ANSWER, NAME_CHARS, RECORD_ANSWER, RegistryHttp, SMALL_ANSWER, fit_for_logs};

/// Features of a registry that are read; the protocol knows five.
const FEATURES_MAX: usize = 64;

/// Bytes of the answer to a batch that are read at most, per operation. Registries explain rejections at length.
const RESULT_BYTES: usize = 16 << 10;
/// Bytes of a page's token: it becomes part of an address.
const PAGE_TOKEN_MAX: usize = 1_024;
/// What a registry can make us send at once, however much it says that it takes: items and bytes of a batch.
const BATCH_MAX: (usize, usize) = (5_000, 16 << 20);

/// The status of what will be done later.
const ACCEPTED: u16 = 202;

/// Where the registry is, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address below which the protocol's paths begin.
    pub url: Url,
    /// The file that holds the bearer token; read again now and then, and when the token is refused.
    pub token_file: Option<PathBuf>,
    /// PEM certificates that the registry's certificate must lead to, instead of the system's; read again now and then,
    /// and when no connection can be made.
    pub ca_file: Option<PathBuf>,
    /// From sending a request to the last byte of its answer.
    pub request_timeout: Duration,
}

/// A client of one registry, for one writer.
pub struct Client {
    http: RegistryHttp,
    writer: RecordOwner,
}

impl Client {
    /// Makes a client; connects to nothing yet.
    ///
    /// # Errors
    /// When the CA file or the token file cannot be read.
    pub fn new(config: Config, writer: RecordOwner) -> Result<Self, Error> {
        let Config { url, token_file, ca_file, request_timeout } = config;
        Ok(Self { http: RegistryHttp::new(url, token_file, ca_file, request_timeout)?, writer })
    }

    /// The address of a path below the writer's cluster; the owner is named unless it is the default.
    fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut query = query.to_vec();
        if self.writer.owner != DEFAULT_OWNER {
            query.push(("owner", self.writer.owner.clone()));
        }
        self.http.url(&format!("v1/clusters/{}{path}", self.writer.cluster_id), &query)
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
                    ("reason", reason.as_str().to_owned()),
                    ("observed", observed.as_str().to_owned()),
                ];
                let url = self.url(&path, &query);
                (OperationKind::Delete, self.http.send(Method::DELETE, url, None, SMALL_ANSWER).await?)
            }
        };
        // A proxy may say of an address that there is nothing, without having asked the registry.
        let doubtful_end = kind == OperationKind::Delete && matches!(answer.status, 404 | 410) && answer.is_page();
        if answer.status == ACCEPTED || doubtful_end {
            return self.look_after(operation, answer.status).await;
        }
        single_verdict(kind, &answer, operation)
    }

    /// What became of an operation whose answer does not say that it is done: whether the registry shows it done already.
    /// If not, it is sent again later, and looked after again.
    async fn look_after(&self, operation: &Encoded, status: u16) -> Result<Verdict, Failure> {
        let answer = self.get(self.url(&format!("/pods/{}", operation.uid), &[]), RECORD_ANSWER).await?;
        Ok(verdict_of_stored(&answer, operation, status))
    }
}

/// What became of the operations of a batch.
fn batch_verdicts(answer: &HttpAnswer, operations: &[Encoded]) -> Result<Vec<Verdict>, Failure> {
    let BatchResults { results } = answer.json()?;
    let in_order = results.len() == operations.len()
        && results.iter().zip(operations).all(|(result, operation)| result.id == *operation.uid.text());
    if !in_order {
        let problem = "results in another number or order than the operations";
        return Err(Failure::Broken(problem.into()));
    }
    Ok(results.into_iter().zip(operations).map(|(result, operation)| judge(result, operation)).collect())
}

/// What became of an operation that was a request of its own.
fn single_verdict(kind: OperationKind, answer: &HttpAnswer, operation: &Encoded) -> Result<Verdict, Failure> {
    let said = answer.said();
    if outcome::concerns_every_request(kind, answer.status, &said.problem) {
        return Err(outcome::judge_request(answer.status, said));
    }
    match outcome::judge_operation(kind, answer.status, said) {
        Verdict::Done if kind == OperationKind::Put => {
            let stored: StoredRecordInfo = answer.json()?;
            Ok(check_digest(Some(stored.digest), operation))
        }
        Verdict::Done if answer.success().is_ok() && answer.is_page() => {
            Err(Failure::Broken(format!("status {} with a web page; does a proxy answer?", answer.status)))
        }
        verdict => Ok(verdict),
    }
}

/// What a record's address shows of an operation that was answered with this status.
fn verdict_of_stored(answer: &HttpAnswer, operation: &Encoded, status: u16) -> Verdict {
    #[derive(serde::Deserialize)]
    struct Shown {
        digest: Digest,
    }
    let later = |cause: &str| Verdict::Uncertain { cause: format!("answered with status {status}, and {cause}") };
    match (&operation.body, answer.status) {
        (EncodedBody::Delete(_), 404 | 410) => Verdict::Done,
        (EncodedBody::Put { digest, .. }, 200) => match answer.json::<Shown>() {
            Ok(shown) if shown.digest == *digest => Verdict::Done,
            _ => later("another record is still there"),
        },
        (EncodedBody::Delete(_), 200) => later("the record is still there"),
        (_, status) => later(&format!("its record's address answers {status}")),
    }
}

/// What a registry can do. Every registry that speaks the protocol has sessions and an inventory.
fn capabilities_in(answer: &HttpAnswer) -> Result<Capabilities, Failure> {
    let CapabilitiesDocument { protocol, max_batch_items, max_batch_bytes, max_record_bytes, features } =
        answer.json()?;
    if protocol != PROTOCOL {
        let protocol = fit_for_logs(&protocol, NAME_CHARS);
        let problem = format!("the registry speaks protocol {protocol:?}, this controller {PROTOCOL:?}");
        return Err(Failure::Broken(problem));
    }
    let has = |feature: &str| features.iter().take(FEATURES_MAX).any(|found| found == feature);
    Ok(Capabilities {
        // A batch is built in memory before it is sent.
        max_batch_items: max_batch_items.min(BATCH_MAX.0),
        max_batch_bytes: max_batch_bytes.min(BATCH_MAX.1),
        max_record_bytes,
        features: Features { batches: has(BATCH), digests: has(DIGEST_INVENTORY), sessions: true, inventory: true },
    })
}

/// The session that a registry opened.
fn opened_session(answer: &HttpAnswer) -> Result<SessionOpened, Failure> {
    let mut opened: SessionOpened = answer.json()?;
    if !(1..INTEGER_LIMIT).contains(&opened.epoch) {
        return Err(Failure::Broken(format!("epoch {} is not from 1 and below 2^53", opened.epoch)));
    }
    if let Some(previous) = &mut opened.previous {
        previous.instance = fit_for_logs(&previous.instance, NAME_CHARS);
        previous.scope = previous.scope.as_ref().map(|scope| fit_for_logs(scope, NAME_CHARS));
        previous.cluster_uid = previous.cluster_uid.take().filter(|uid| is_valid_id(uid));
    }
    Ok(opened)
}

/// Another writer that a registry tells of in its answer to a heartbeat.
fn contender_in(answer: &HttpAnswer) -> Result<Option<Contender>, Failure> {
    let accepted: HeartbeatAccepted = answer.json()?;
    Ok(accepted.contender.map(|mut contender| {
        contender.instance = contender.instance.map(|instance| fit_for_logs(&instance, NAME_CHARS));
        contender
    }))
}

/// The one that holds a writer's session, as the registry shows it.
fn session_holder_in(answer: &HttpAnswer, owner: &str) -> Result<Option<OtherWriter>, Failure> {
    let cluster: ClusterInfo = match answer.json() {
        Err(Failure::NotFound) => return Ok(None),
        answer => answer?,
    };
    let ours = cluster.owners.into_iter().find(|found| found.owner == owner);
    Ok(ours.map(|found| OtherWriter {
        epoch: found.epoch.min(INTEGER_LIMIT - 1),
        instance: fit_for_logs(&found.instance, NAME_CHARS),
        scope: found.scope.map(|scope| fit_for_logs(&scope, NAME_CHARS)),
        cluster_uid: found.cluster_uid.filter(|uid| is_valid_id(uid)),
        heartbeat: found.expires_at.map(|at| fit_for_logs(&at, NAME_CHARS)),
        records: found.pods,
        state: found.state,
    }))
}

/// A page of an inventory. Its ids are checked by whoever compares them.
fn inventory_page(answer: &HttpAnswer) -> Result<InventoryPage, Failure> {
    let mut page: InventoryPage = answer.json()?;
    page.next = page.next.filter(|token| !token.is_empty());
    match page.next.as_ref().map(String::len) {
        Some(bytes) if bytes > PAGE_TOKEN_MAX => {
            Err(Failure::Broken(format!("a page token of {bytes} bytes; {PAGE_TOKEN_MAX} are allowed")))
        }
        _ => Ok(page),
    }
}

/// Under which name a registry holds a pod. The name becomes part of the API server's addresses: one that no pod can have
/// is none.
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
        let found = fit_for_logs(&found, NAME_CHARS);
        return Err(Failure::Broken(format!("asked for the record of {uid} and got that of {found}")));
    }
    if !is_namespace_name(&namespace) || !is_pod_name(&name) {
        let (namespace, name) = (fit_for_logs(&namespace, NAME_CHARS), fit_for_logs(&name, NAME_CHARS));
        // The hold that comes of it is logged once: a hostile registry must not fill the log.
        tracing::debug!(%uid, namespace, name, "registry names a pod as none can be named; treating the name as unknown");
        return Ok(None);
    }
    Ok(Some(RecordName { namespace, name }))
}

/// What became of one operation of a batch.
fn judge(result: ItemResult, operation: &Encoded) -> Verdict {
    let ItemResult { status, digest, problem, retry_after_seconds, .. } = result;
    let kind = match operation.body {
        EncodedBody::Put { .. } => OperationKind::Put,
        EncodedBody::Delete(_) => OperationKind::Delete,
    };
    let said = problem.as_ref().map(http::said).unwrap_or_default();
    let said = ProblemDetail { retry_after: retry_after_seconds.map(Duration::from_secs), ..said };
    match outcome::judge_operation(kind, status, said) {
        Verdict::Done => check_digest(digest, operation),
        other => other,
    }
}

/// A put is acknowledged only if what is stored is what was sent.
fn check_digest(stored: Option<Digest>, operation: &Encoded) -> Verdict {
    let EncodedBody::Put { digest, .. } = &operation.body else { return Verdict::Done };
    match stored {
        Some(stored) if stored != *digest => {
            Verdict::Uncertain { cause: format!("the registry stored {stored}, which is not what was sent") }
        }
        _ => Verdict::Done,
    }
}

impl Registry for Client {
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

    async fn session_holder(&self) -> Result<Option<OtherWriter>, Failure> {
        session_holder_in(&self.get(self.url("", &[]), SMALL_ANSWER).await?, &self.writer.owner)
    }

    fn encode(&self, uid: &Uid, version: Version, change: RecordChange<'_>) -> Encoded {
        let body = match change {
            RecordChange::Put(pod, content) => {
                EncodedBody::Put { record: encode::record(pod, content, version), digest: content.digest }
            }
            RecordChange::Delete(removal) => EncodedBody::Delete(removal),
        };
        Encoded { uid: uid.clone(), version, body }
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
            return Err(Failure::Broken(format!("{found} buckets where {buckets} were asked for")));
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
