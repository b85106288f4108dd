//! Capabilities first; at the end addresses, tokens, and the form of all problems that the run has seen.

use serde_json::{Value, json};

use crate::{
    conformance::{
        http::Credentials,
        probe::{Expectation, Probe, as_json, expect},
        rules::access as rules,
        suite::{CAPABILITIES, Claims, Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// The default limits of a registry that claims none.
const DEFAULTS: [(&str, u64); 3] = [("maxBatchItems", 500), ("maxBatchBytes", 4_194_304), ("maxRecordBytes", 65_536)];

/// An id of 128 characters with all that ids may have.
pub(super) const LONG_ID: &str = "a:b@c~d.e_f-012345678901234567890123456789012345678901234567890123456789012345678901234567\
     89012345678901234567890123456789012345";

/// Reads what the registry claims.
pub(super) async fn capabilities(suite: &mut Suite) -> Result<(), Halt> {
    let probe = suite.get(CAPABILITIES.to_owned()).await?;
    if let Some(status @ (401 | 403)) = probe.status() {
        let why =
            format!("the registry refuses the token: status {status}; give one for all clusters with --token-file");
        return Err(Halt::Unreachable(why));
    }
    let outcome = probe.is(&[200]).and_then(|()| probe.has("/protocol", &json!("v1")));
    let is_usable = outcome.is_ok();
    suite.judge(&rules::CAPABILITIES, &probe, outcome);
    if !is_usable {
        return Err(Halt::Run("the registry does not answer with capabilities of protocol v1".to_owned()));
    }
    suite.judge(&rules::CAPABILITIES_MEMBERS, &probe, members(&probe));
    let limit = |name: &str, default: u64| {
        let claimed = probe.number(&format!("/{name}")).unwrap_or(default);
        usize::try_from(claimed).unwrap_or(usize::MAX)
    };
    let [items, batch, record] = DEFAULTS.map(|(name, default)| limit(name, default));
    let features = probe.list("/features").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    suite.claims = Claims { features, max_batch_items: items, max_batch_bytes: batch, max_record_bytes: record };
    Ok(())
}

fn members(probe: &Probe) -> Expectation {
    for (name, _) in DEFAULTS {
        let found = probe.json().get(name);
        let is_right = found.is_none_or(|value| value.as_u64().is_some_and(|limit| limit > 0));
        expect(is_right, || format!("expected `{name}` to be a whole number of at least 1"))?;
    }
    let features = probe.json().get("features");
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    expect(features.is_none_or(is_list), || "expected `features` to be a list of texts".to_owned())
}

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    unknown_addresses(suite).await?;
    tokens(suite).await?;
    let end = ids(suite).await;
    problems(suite);
    if let Some(probe) = suite.nulls.take() {
        let outcome = expect(!probe.has_null(), || "expected no member that is `null`".to_owned());
        suite.judge(&rules::ABSENT_NOT_NULL, &probe, outcome);
    }
    end
}

async fn unknown_addresses(suite: &mut Suite) -> Result<(), Halt> {
    let probe = suite.get("v1/conformance-unknown".to_owned()).await?;
    suite.judge(&rules::NOT_FOUND, &probe, probe.refuses(404, "not-found"));
    let probe = suite.send("DELETE", "v1/capabilities".to_owned(), None).await?;
    let allow = probe.answer.as_ref().ok().and_then(|answer| answer.allow.clone());
    let outcome = probe.refuses(405, "method-not-allowed");
    let outcome = outcome.and_then(|()| expect(allow.is_some(), || "expected the header `Allow`".to_owned()));
    suite.judge(&rules::METHOD_NOT_ALLOWED, &probe, outcome);
    let probe = suite.send("HEAD", "v1/capabilities".to_owned(), None).await?;
    match probe.status() {
        Some(200) => suite.judge(&rules::HEAD, &probe, Ok(())),
        _ => suite.skip(&rules::HEAD, "HEAD is not answered, which is allowed"),
    }
    Ok(())
}

async fn ids(suite: &mut Suite) -> Result<(), Halt> {
    let body = json!({"instance": "conformance", "ttlSeconds": 90, "conformanceUnknown": {"a": [1]}});
    let opened = suite.open(OWNER, &body).await?;
    suite.judge(&rules::UNKNOWN_PARAMETERS, &opened, opened.is(&[201]));
    let probe = suite.page(OWNER, "conformanceUnknown=1").await?;
    suite.judge(&rules::UNKNOWN_PARAMETERS, &probe, probe.is(&[200]));
    let epoch = suite.session(OWNER).await?;
    let counts = json!({"pods": 1, "pending": 0, "conformanceUnknown": 1});
    let beat = json!({"epoch": epoch, "ttlSeconds": 90, "counts": counts, "conformanceUnknown": [1]});
    let probe = suite.heartbeat(OWNER, &beat).await?;
    suite.judge(&rules::UNKNOWN_PARAMETERS, &probe, probe.is(&[200]));
    let seq = suite.seqs(2);
    let record = suite.record(OWNER, LONG_ID, (epoch, seq + 1), "ids");
    let put = suite.put(OWNER, LONG_ID, &record).await?;
    suite.judge(&rules::IDS, &put, put.is(&[201]));
    let found = suite.find(OWNER, LONG_ID).await?;
    suite.judge(&rules::IDS, &found, found.is(&[200]));
    let found = suite.find(OWNER, &LONG_ID.replace(':', "%3A").replace('@', "%40").replace('~', "%7E")).await?;
    suite.judge(&rules::IDS_ESCAPED, &found, found.is(&[200]));
    for path in [suite.at(OWNER, "/pods", &format!("owner={LONG_ID}")), format!("v1/clusters/{LONG_ID}/pods")] {
        let empty = suite.get(path).await?;
        suite.judge(&rules::IDS, &empty, empty.is(&[200]).and_then(|()| empty.has("/count", &json!(0))));
    }
    Ok(())
}

async fn tokens(suite: &mut Suite) -> Result<(), Halt> {
    if !suite.has_token() {
        let why = "the run has no token; give one with --token-file";
        let rules = [&rules::TOKEN_MISSING, &rules::TOKEN_EVERYWHERE, &rules::TOKEN_UNKNOWN, &rules::TOKEN_FIRST];
        rules.into_iter().for_each(|rule| suite.skip(rule, why));
        return other_token(suite).await;
    }
    let pods = suite.at(OWNER, "/pods", "");
    let probe = suite.send_as("GET", pods.clone(), None, Credentials::None).await?;
    let scheme = probe.answer.as_ref().ok().and_then(|answer| answer.www_authenticate.clone()).unwrap_or_default();
    let names_scheme = expect(scheme.contains("Bearer"), || "expected WWW-Authenticate: Bearer".to_owned());
    suite.judge(&rules::TOKEN_MISSING, &probe, probe.refuses(401, "unauthorized").and(names_scheme));
    let probe = suite.send_as("GET", pods, None, Credentials::Unknown).await?;
    suite.judge(&rules::TOKEN_UNKNOWN, &probe, probe.refuses(401, "unauthorized"));
    let (query, body) = (suite.at(OWNER, "/pods", "limit=0"), suite.at(OWNER, "/session", ""));
    for (method, path, body) in [("GET", query, None), ("POST", body, Some("{".to_owned()))] {
        let probe = suite.send_as(method, path, body, Credentials::None).await?;
        suite.judge(&rules::TOKEN_FIRST, &probe, probe.refuses(401, "unauthorized"));
    }
    token_everywhere(suite).await?;
    other_token(suite).await
}

/// Reads and writes with the token of another cluster. The body of the write would be refused too, with another status.
async fn other_token(suite: &mut Suite) -> Result<(), Halt> {
    if !suite.has_other_token() {
        suite.skip(&rules::TOKEN_OTHER, "the run has no token of another cluster; give one with --other-token-file");
        return Ok(());
    }
    let (pods, session) = (suite.at(OWNER, "/pods", ""), suite.at(OWNER, "/session", ""));
    let (pod, entry) = (suite.at(OWNER, "/pods/token", ""), suite.at(OWNER, "", ""));
    let broken = || Some("{".to_owned());
    let requests = [("GET", pods, None), ("GET", entry, None), ("PUT", pod, broken()), ("POST", session, broken())];
    for (method, path, body) in requests {
        let probe = suite.send_as(method, path, body, Credentials::Other).await?;
        suite.judge(&rules::TOKEN_OTHER, &probe, probe.refuses(403, "forbidden"));
    }
    Ok(())
}

/// Sends a request to each address without a token, and with an unknown one.
async fn token_everywhere(suite: &mut Suite) -> Result<(), Halt> {
    let pod = suite.at(OWNER, "/pods/token", "");
    let required = [
        ("GET", "v1/capabilities".to_owned()),
        ("GET", suite.at(OWNER, "", "")),
        ("GET", suite.at(OWNER, "/pods", "")),
        ("GET", pod.clone()),
        ("PUT", pod),
        ("DELETE", suite.at(OWNER, "/pods/token", "epoch=1&seq=1")),
        ("POST", suite.at(OWNER, "/session", "")),
        ("PUT", suite.at(OWNER, "/session", "")),
        ("DELETE", suite.at(OWNER, "/session", "epoch=1")),
    ];
    // A registry may lack them, and answer 404 to everyone.
    let optional = [
        ("POST", suite.at(OWNER, "/pods:batch", "")),
        ("GET", suite.at(OWNER, "/pods:digest", "")),
        ("GET", "v1/changes".to_owned()),
        ("GET", "v1/clusters".to_owned()),
    ];
    let all = required.map(|of| (of, false)).into_iter().chain(optional.map(|of| (of, true)));
    for ((method, path), is_optional) in all {
        for credentials in [Credentials::None, Credentials::Unknown] {
            let body = ["POST", "PUT"].contains(&method).then(|| "{}".to_owned());
            let probe = suite.send_as(method, path.clone(), body, credentials).await?;
            let is_absent = is_optional && matches!(probe.status(), Some(404 | 405));
            let outcome = if is_absent { Ok(()) } else { probe.refuses(401, "unauthorized") };
            suite.judge(&rules::TOKEN_EVERYWHERE, &probe, outcome);
        }
    }
    Ok(())
}

/// Judges the form of every problem of the run.
fn problems(suite: &mut Suite) {
    for probe in std::mem::take(&mut suite.problems) {
        let Ok(answer) = &probe.answer else { continue };
        let media_type = answer.media_type.split(';').next().unwrap_or_default().trim();
        let is_problem = media_type.eq_ignore_ascii_case("application/problem+json");
        let outcome = expect(is_problem, || format!("expected application/problem+json, got {}", as_json(&media_type)));
        suite.judge(&rules::PROBLEM_MEDIA_TYPE, &probe, outcome);
        let prefix = "urn:pod-registrar:problem:";
        let has_type = probe.text("/type").is_some_and(|found| found.starts_with(prefix));
        let outcome = expect(has_type, || format!("expected `type` to begin with {prefix}"));
        suite.judge(&rules::PROBLEM_TYPE, &probe, outcome);
        let has_detail = probe.text("/detail").is_some_and(|detail| !detail.is_empty());
        suite.judge(&rules::PROBLEM_DETAIL, &probe, expect(has_detail, || "expected `detail`".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_id_has_128_characters() {
        assert_eq!(LONG_ID.len(), 128);
        assert!(crate::model::ids::is_valid_id(LONG_ID));
    }
}
