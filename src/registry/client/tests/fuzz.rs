//! Fuzz tests of the registry's answers. An answer acknowledges only what it says, waits are bounded, and texts that go
//! into a log are short.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::registry::client::{
    Config, batch_verdicts, capabilities_in,
    http::{FLAGS, RegistryHttp},
    inventory_page, judge, opened_session, record_name_in, session_holder_in, single_verdict,
};
use crate::registry::protocol::HeartbeatAccepted;
use crate::{
    fuzz::{self, Found, ensure},
    model::{
        digest::Digest,
        ids::{INTEGER_LIMIT, Version, is_namespace_name, is_pod_name},
        uid::Uid,
    },
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::{Failure, OperationKind, RETRY_AFTER_MAX, Verdict},
    },
    registry::{
        Encoded, EncodedBody,
        http::{HttpAnswer, parse_retry_after},
        inventory::BucketDigests,
    },
};

/// Bytes of a text that may be logged.
const TEXT_BYTES: usize = 2_000;
const STATUSES: [u16; 22] =
    [200, 200, 200, 201, 204, 207, 207, 100, 301, 400, 401, 403, 404, 409, 409, 410, 413, 422, 429, 500, 503, 599];

/// The operations that the corpus answers.
fn operations() -> [Encoded; 2] {
    let version = Version { epoch: 7, seq: 12 };
    let put = EncodedBody::Put { record: b"{}".to_vec(), digest: Digest::default() };
    let delete = EncodedBody::Delete(Removal::Observed(Deletion::Deleted));
    [("a", put), ("b", delete)].map(|(id, body)| Encoded::new(Uid::from(id), version, body))
}

#[test]
fn fuzzed_answer_acknowledges_only_what_it_says() {
    let operations = operations();
    fuzz::check(&fuzz::corpus::replies(), |body, rng| {
        let status = STATUSES[rng.usize(..STATUSES.len())];
        let wait = rng.bool().then(|| Duration::from_secs(rng.u64(..=300)));
        let answer = HttpAnswer { status, headers: HeaderMap::new(), retry_after: wait, body: body.to_vec() };
        batch(&answer, &operations)?;
        let [put, delete] = &operations;
        one(OperationKind::Put, &answer, put)?;
        one(OperationKind::Delete, &answer, delete)?;
        control(&answer)
    });
}

fn batch(answer: &HttpAnswer, operations: &[Encoded; 2]) -> Found {
    match batch_verdicts(answer, operations) {
        Err(failure) => self::failure(&failure),
        Ok(verdicts) => {
            // The body is read again without the protocol's types.
            let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            let results = body["results"].as_array().or_else(|| body[0].as_array()).ok_or("no results")?;
            ensure(verdicts.len() == 2 && results.len() == 2, || "another number".to_owned())?;
            ensure((200..300).contains(&answer.status), || format!("status {}", answer.status))?;
            verdicts.iter().try_for_each(self::verdict)
        }
    }
}

fn one(kind: OperationKind, answer: &HttpAnswer, operation: &Encoded) -> Found {
    match single_verdict(kind, answer, operation) {
        Err(failure) => self::failure(&failure),
        Ok(Verdict::Done) => {
            let done = match kind {
                OperationKind::Delete => [200, 204, 404, 410].contains(&answer.status),
                OperationKind::Put => {
                    [200, 201].contains(&answer.status) && serde_json::from_slice::<Value>(&answer.body).is_ok()
                }
            };
            ensure(done, || format!("status {} counts as done", answer.status))
        }
        Ok(verdict) => self::verdict(&verdict),
    }
}

fn control(answer: &HttpAnswer) -> Found {
    match capabilities_in(answer) {
        Err(failure) => self::failure(&failure)?,
        Ok(found) => {
            let fits = found.max_batch_items <= 5_000 && found.max_batch_bytes <= 16 << 20;
            ensure(fits, || format!("{found:?}"))?;
        }
    }
    match opened_session(answer) {
        Err(failure) => self::failure(&failure)?,
        Ok(opened) => {
            let text = opened.previous.map_or(0, |previous| previous.instance.len());
            ensure(opened.epoch < INTEGER_LIMIT && text <= 512, || format!("epoch {}", opened.epoch))?;
        }
    }
    match session_holder_in(answer, "pod-registrar") {
        Err(failure) => self::failure(&failure)?,
        Ok(holder) => {
            ensure(holder.is_none_or(|holder| holder.session.epoch < INTEGER_LIMIT), || "its epoch".to_owned())?
        }
    }
    if let Ok(Some(name)) = record_name_in(answer, &Uid::from("a")) {
        let named = is_namespace_name(&name.namespace) && is_pod_name(&name.name);
        ensure(named, || format!("{name:?}"))?;
    }
    if let Ok(page) = inventory_page(answer) {
        ensure(page.next.is_none_or(|token| token.len() <= 1_024), || "a long page token".to_owned())?;
    }
    for failure in [
        inventory_page(answer).err(),
        record_name_in(answer, &Uid::from("a")).err(),
        answer.json::<HeartbeatAccepted>().err(),
        answer.json::<BucketDigests>().err(),
        Some(judge::judge_request(answer.status, answer.problem_detail())),
    ] {
        failure.as_ref().map_or(Ok(()), self::failure)?;
    }
    Ok(())
}

fn verdict(verdict: &Verdict) -> Found {
    let (text, wait, current) = match verdict {
        Verdict::Done => ("", None, None),
        Verdict::Retry { after, cause } => (cause.as_str(), *after, None),
        Verdict::Rejected { cause } | Verdict::Uncertain { cause } => (cause.as_str(), None, None),
        Verdict::Stale { current } | Verdict::Tombstoned { current } => ("", None, *current),
    };
    fit(text)?;
    ensure(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX), || format!("{wait:?}"))?;
    let is_valid = |version: Version| version.epoch < INTEGER_LIMIT && version.seq < INTEGER_LIMIT;
    ensure(current.is_none_or(|current| is_valid(current.version)), || format!("{current:?}"))
}

fn failure(failure: &Failure) -> Found {
    if let Failure::Throttled { after, .. } = failure {
        ensure(after.is_none_or(|wait| wait <= RETRY_AFTER_MAX), || format!("{after:?}"))?;
    }
    fit(&failure.to_string())
}

/// The text is short and has one line.
fn fit(text: &str) -> Found {
    ensure(text.len() <= TEXT_BYTES, || format!("a text of {} bytes", text.len()))?;
    ensure(!text.contains(char::is_control), || format!("control characters in {text:?}"))
}

#[test]
fn fuzzed_retry_after_is_bounded() {
    let texts = ["7", "Mon, 23 Nov 2026 10:00:30 GMT", "-3", "31536000", "Monday, 23-Nov-26 10:00:30 GMT"];
    let corpus = texts.map(|text| serde_json::json!(text).to_string().into_bytes());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_428_000);
    fuzz::check(&corpus, |input, _| {
        let text = String::from_utf8_lossy(input);
        let text = serde_json::from_slice::<String>(input).unwrap_or_else(|_| text.into_owned());
        let wait = parse_retry_after(&text, now);
        ensure(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX), || format!("{wait:?}"))
    });
}

#[test]
fn fuzzed_page_token_stays_in_the_query() {
    let url = "https://registry.example/base/".parse().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (file, _) = authority();
    let (ca_file, request_timeout) = (Some(file.to_path_buf()), Duration::from_secs(1));
    let config = Config { url, token_file: None, ca_file, request_timeout };
    let http = RegistryHttp::new(config, &FLAGS, None).unwrap();
    let corpus = [br#""18c.0123456789abcdef.a""#.to_vec(), br#""a/b?c=d#e&page=2""#.to_vec()];
    fuzz::check(&corpus, |input, _| {
        let token = String::from_utf8_lossy(input).into_owned();
        let url = http.url("v1/clusters/c/pods", &[("view", "digest".to_owned()), ("page", token.clone())]);
        let origin = (url.scheme(), url.host_str(), url.path());
        ensure(origin == ("https", Some("registry.example"), "/base/v1/clusters/c/pods"), || url.to_string())?;
        let pairs: Vec<_> = url.query_pairs().collect();
        ensure(pairs.len() == 2 && pairs[1].1 == token && url.fragment().is_none(), || url.to_string())
    });
}

/// A file with the certificate of an authority, and its content.
fn authority() -> (tempfile::TempPath, Vec<u8>) {
    let pem = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, &pem).unwrap();
    (file, pem.into_bytes())
}

#[test]
fn fuzzed_files_are_accepted_or_refused_briefly() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (file, pem) = authority();
    let url: reqwest::Url = "https://registry.example/".parse().unwrap();
    fuzz::check_slow(10, &[pem, b"a-token\n".to_vec()], |input, rng: &mut Rng| {
        std::fs::write(&file, input).map_err(|error| error.to_string())?;
        let path = Some(file.to_path_buf());
        let (token_file, ca_file) = if rng.bool() { (path, None) } else { (None, path) };
        let config = Config { url: url.clone(), token_file, ca_file, request_timeout: Duration::from_secs(1) };
        let made = RegistryHttp::new(config, &FLAGS, None).map(drop);
        made.map_or_else(|error| ensure(error.to_string().len() < TEXT_BYTES, || "a long refusal".to_owned()), Ok)
    });
}
