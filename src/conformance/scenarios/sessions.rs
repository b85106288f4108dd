//! Sessions: a writer's first one, its successors, heartbeats, contenders, closing, and two owners side by side.

use std::time::Duration;

use serde_json::{Value, json};

use super::{access::LONG_ID, stale};
use crate::{
    conformance::{
        probe::{Expectation, Probe, as_json, expect},
        rules::sessions as rules,
        suite::{Halt, OTHER_OWNER, Suite},
    },
    model::ids::{DEFAULT_OWNER as OWNER, INTEGER_LIMIT},
};

/// Texts of 128 characters that a server must not change: quotes, spaces at the ends, and characters beyond ASCII.
const INSTANCE: &str = " conformance \"1\" <ä 🚀> {a=b} instance-instance-instance-instance-insta\
    nce-instance-instance-instance-instance-instance-instance ";
const SCOPE: &str = "Scope: a,b; NOT json {\"x\": 1} größe 0123456789012345678901234567890123\
    456789012345678901234567890123456789012345678901234567890 ";
const CLUSTER_NAME: &str = "conformance";
const SUCCESSOR: &str = "conformance-2";
const CLUSTER_UID: &str = LONG_ID;
/// A time to live that no registry grants.
const LONGEST_TTL: u64 = 1_000_000_000;
/// The wait between two heartbeats whose `expiresAt` must differ, also if the registry has whole seconds.
const BETWEEN_HEARTBEATS: Duration = Duration::from_millis(1_100);

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    before_the_first(suite).await?;
    let first = first(suite).await?;
    let second = second(suite, first).await?;
    fencing(suite, first, second).await?;
    heartbeats(suite, second).await?;
    contender(suite, first, second).await?;
    min_epoch(suite, second).await?;
    texts_stay(suite).await?;
    let last = suite.session(OWNER).await?;
    closing(suite, last).await?;
    stale::run(suite).await?;
    owners(suite).await?;
    epoch_limit(suite).await
}

async fn before_the_first(suite: &mut Suite) -> Result<(), Halt> {
    let (probe, _) = suite.shown(OWNER).await?;
    suite.judge(&rules::CLUSTER_UNKNOWN, &probe, probe.is(&[404]));
    let probe = suite.page(OWNER, "").await?;
    let outcome = probe.is(&[200]).and_then(|()| probe.has("/items", &json!([])));
    suite.judge(&rules::INVENTORY_EMPTY, &probe, outcome.and_then(|()| probe.has("/count", &json!(0))));
    let record = suite.record(OWNER, "no-session", (1, 1), "no-session");
    let probe = suite.put(OWNER, "no-session", &record).await?;
    suite.judge(&rules::NO_SESSION, &probe, probe.refuses(409, "unknown-session"));
    Ok(())
}

/// Opens the first session with everything that a session can have, and writes a record in it.
async fn first(suite: &mut Suite) -> Result<u64, Halt> {
    let body = json!({
        "clusterName": CLUSTER_NAME, "instance": INSTANCE, "ttlSeconds": 90, "scope": SCOPE, "minEpoch": 0,
        "clusterUid": CLUSTER_UID,
    });
    let opened = suite.open(OWNER, &body).await?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    let outcome = opened.is(&[201]).and_then(|()| expect(epoch > 0, || "expected `epoch` from 1".to_owned()));
    suite.judge(&rules::SESSION_OPENED, &opened, outcome);
    suite.need("opening a session", &opened, &[200, 201])?;
    let ttl = opened.number("/ttlSeconds");
    let granted = ttl.is_some_and(|ttl| (1..=90).contains(&ttl));
    suite.judge(&rules::TTL_GRANTED, &opened, expect(granted, || format!("expected 1 to 90, got {}", as_json(&ttl))));
    let previous = opened.json().get("previous").is_none();
    let outcome = expect(previous, || "the first session of a writer has no `previous`".to_owned());
    suite.judge(&rules::PREVIOUS, &opened, outcome);
    let seq = suite.seqs(1);
    suite.place(OWNER, "kept", (epoch, seq + 1)).await?;
    shown(suite, epoch).await?;
    Ok(epoch)
}

/// What is shown of the first session.
async fn shown(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let (probe, entry) = suite.shown(OWNER).await?;
    let outcome = probe.is(&[200]).and_then(|()| member(&entry, "epoch", &json!(epoch)));
    suite.judge(&rules::CLUSTER_SHOWN, &probe, outcome);
    suite.judge(&rules::CLUSTER_SHOWS_STATE, &probe, member(&entry, "state", &json!("live")));
    suite.judge(&rules::TEXTS_UNCHANGED, &probe, unchanged(&entry));
    let expiry = expect(entry["expiresAt"].is_string(), || "expected `expiresAt` of the owner".to_owned());
    suite.judge(&rules::CLUSTER_SHOWS_EXPIRY, &probe, expiry);
    suite.judge_time(&probe, "/owners/0/expiresAt");
    match probe.json().get("name") {
        None => suite.skip(&rules::CLUSTER_NAME_KEPT, "the registry shows no `name`, which is allowed"),
        Some(_) => suite.judge(&rules::CLUSTER_NAME_KEPT, &probe, probe.has("/name", &json!(CLUSTER_NAME))),
    }
    match entry.get("clusterUid") {
        None => suite.skip(&rules::CLUSTER_UID_KEPT, "the registry does not show `clusterUid`, which is allowed"),
        Some(_) => suite.judge(&rules::CLUSTER_UID_KEPT, &probe, member(&entry, "clusterUid", &json!(CLUSTER_UID))),
    }
    suite.judge(&rules::CLUSTER_SHOWS_PODS, &probe, member(&entry, "pods", &json!(1)));
    Ok(())
}

/// Whether the texts of the first session came back as they were sent. `scope` may be absent.
fn unchanged(session: &Value) -> Expectation {
    member(session, "instance", &json!(INSTANCE))?;
    if session.get("scope").is_none() { Ok(()) } else { member(session, "scope", &json!(SCOPE)) }
}

pub(super) fn member(entry: &Value, name: &str, value: &Value) -> Expectation {
    expect(entry.get(name) == Some(value), || match entry.get(name) {
        Some(found) => format!("expected `{name}` {value}, got {found}"),
        None => format!("expected `{name}` {value}, and it is missing"),
    })
}

async fn second(suite: &mut Suite, first: u64) -> Result<u64, Halt> {
    let opened = suite.open(OWNER, &json!({"instance": SUCCESSOR, "ttlSeconds": 90})).await?;
    suite.judge(&rules::OPENING_SUCCEEDS, &opened, opened.is(&[201]));
    suite.need("opening a session", &opened, &[200, 201])?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    previous(suite, &opened, first);
    let reading = suite.read(OWNER, "limit=100").await?;
    let found = reading.item("kept").and_then(|item| item.pointer("/version/epoch")).and_then(Value::as_u64);
    if let Some(page) = reading.pages.last() {
        let outcome =
            expect(found == Some(first), || format!("expected the record with epoch {first}, got {}", as_json(&found)));
        suite.judge(&rules::RECORDS_KEEP_EPOCH, page, outcome);
    }
    let found = suite.find(OWNER, "kept").await?;
    suite.judge(&rules::RECORDS_KEEP_EPOCH, &found, found.has("/version/epoch", &json!(first)));
    // This session has neither: both are those of the first one, if the registry showed them.
    let (probe, entry) = suite.shown(OWNER).await?;
    if !suite.is_skipped(&rules::CLUSTER_UID_KEPT) {
        suite.judge(&rules::CLUSTER_UID_KEPT, &probe, member(&entry, "clusterUid", &json!(CLUSTER_UID)));
    }
    if !suite.is_skipped(&rules::CLUSTER_NAME_KEPT) {
        suite.judge(&rules::CLUSTER_NAME_KEPT, &probe, probe.has("/name", &json!(CLUSTER_NAME)));
    }
    Ok(epoch)
}

/// Judges the state of the session that this one replaced, if the registry sends it.
pub(super) fn previous_state(suite: &mut Suite, opened: &Probe, state: &str) {
    if opened.json().get("previous").is_some() {
        suite.judge(&rules::PREVIOUS_MEMBERS, opened, opened.has("/previous/state", &json!(state)));
    }
}

fn previous(suite: &mut Suite, opened: &Probe, first: u64) {
    let Some(previous) = opened.json().get("previous") else {
        suite.judge(&rules::PREVIOUS, opened, Err("expected `previous`, and it is missing".to_owned()));
        let why = "the registry does not send `previous`";
        let rules = [&rules::PREVIOUS_MEMBERS, &rules::PREVIOUS_SCOPE, &rules::PREVIOUS_CLUSTER_UID];
        return rules.into_iter().for_each(|rule| suite.skip(rule, why));
    };
    let outcome = member(previous, "epoch", &json!(first)).and_then(|()| member(previous, "state", &json!("live")));
    suite.judge(&rules::PREVIOUS_MEMBERS, opened, outcome);
    suite.judge(&rules::TEXTS_UNCHANGED, opened, unchanged(previous));
    let scope = expect(previous.get("scope").is_some(), || "expected `previous.scope`, and it is missing".to_owned());
    suite.judge(&rules::PREVIOUS_SCOPE, opened, scope);
    suite.judge(&rules::PREVIOUS_CLUSTER_UID, opened, member(previous, "clusterUid", &json!(CLUSTER_UID)));
}

async fn fencing(suite: &mut Suite, first: u64, second: u64) -> Result<(), Halt> {
    let seq = suite.seqs(2);
    let record = suite.record(OWNER, "fenced", (first, seq + 1), "fenced");
    let probe = suite.put(OWNER, "fenced", &record).await?;
    suite.judge(&rules::FENCED_WRITE, &probe, probe.refuses(409, "stale-epoch"));
    let probe = suite.delete(OWNER, "kept", (first, seq + 2)).await?;
    suite.judge(&rules::FENCED_WRITE, &probe, probe.refuses(409, "stale-epoch"));
    let record = suite.record(OWNER, "fenced", (second + 1, 1), "fenced");
    let probe = suite.put(OWNER, "fenced", &record).await?;
    suite.judge(&rules::HIGHER_EPOCH, &probe, probe.refuses(409, "unknown-session"));
    Ok(())
}

fn beat(epoch: u64) -> Value {
    json!({"epoch": epoch, "instance": SUCCESSOR, "ttlSeconds": 90, "synced": true, "counts": {"pods": 1, "pending": 0}})
}

async fn heartbeats(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let before = suite.heartbeat(OWNER, &beat(epoch)).await?;
    let has_expiry = expect(before.text("/expiresAt").is_some(), || "expected `expiresAt`".to_owned());
    let outcome = before.is(&[200]).and_then(|()| before.has("/epoch", &json!(epoch))).and(has_expiry);
    suite.judge(&rules::HEARTBEAT, &before, outcome);
    suite.judge_time(&before, "/expiresAt");
    tokio::time::sleep(BETWEEN_HEARTBEATS).await;
    written(suite, epoch, before.text("/expiresAt")).await?;
    let after = suite.heartbeat(OWNER, &beat(epoch)).await?;
    let (was, is) = (before.text("/expiresAt"), after.text("/expiresAt"));
    let outcome = expect(is.is_some() && was != is, || {
        format!("expected another time than {}, got {}", as_json(&was), as_json(&is))
    });
    suite.judge(&rules::EXPIRES_AT_CHANGES, &after, outcome);
    let (probe, entry) = suite.shown(OWNER).await?;
    match entry.get("synced") {
        None => suite.skip(&rules::SYNCED, "the registry does not show `synced`, which is allowed"),
        Some(_) => suite.judge(&rules::SYNCED, &probe, member(&entry, "synced", &json!(true))),
    }
    let bare = suite.heartbeat(OWNER, &json!({"epoch": epoch, "ttlSeconds": 90})).await?;
    suite.judge(&rules::HEARTBEAT_MEMBERS, &bare, bare.is(&[200]));
    let (probe, entry) = suite.shown(OWNER).await?;
    if entry.get("synced").is_some() {
        suite.judge(&rules::SYNCED, &probe, member(&entry, "synced", &json!(false)));
    }
    times_to_live(suite, epoch).await
}

/// A write does not prolong the session.
async fn written(suite: &mut Suite, epoch: u64, expiry: Option<&str>) -> Result<(), Halt> {
    let seq = suite.seqs(1) + 1;
    suite.place(OWNER, "between-heartbeats", (epoch, seq)).await?;
    let (probe, entry) = suite.shown(OWNER).await?;
    match (expiry, entry["expiresAt"].as_str()) {
        (Some(_), Some(_)) => {
            suite.judge(&rules::WRITES_RENEW_NOTHING, &probe, member(&entry, "expiresAt", &json!(expiry)));
        }
        _ => suite.skip(&rules::WRITES_RENEW_NOTHING, "the registry does not show `expiresAt`"),
    }
    Ok(())
}

/// Heartbeats with another time to live than the session was opened with.
async fn times_to_live(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let long = suite.heartbeat(OWNER, &beat(epoch)).await?;
    let short = suite.heartbeat(OWNER, &json!({"epoch": epoch, "instance": SUCCESSOR, "ttlSeconds": 1})).await?;
    let (late, early) = (long.text("/expiresAt"), short.text("/expiresAt"));
    let is_earlier = matches!((late, early), (Some(late), Some(early)) if early < late);
    let outcome =
        expect(is_earlier, || format!("expected `expiresAt` before {}, got {}", as_json(&late), as_json(&early)));
    suite.judge(&rules::HEARTBEAT_TTL, &short, outcome);
    let probe = suite.heartbeat(OWNER, &json!({"epoch": epoch, "instance": SUCCESSOR, "ttlSeconds": 0})).await?;
    suite.judge(&rules::TTL_BELOW_ONE, &probe, probe.refuses(422, "schema"));
    let probe = suite.heartbeat(OWNER, &beat(epoch)).await?;
    suite.need("a heartbeat", &probe, &[200])
}

async fn contender(suite: &mut Suite, first: u64, second: u64) -> Result<(), Halt> {
    let stale = json!({"epoch": first, "instance": INSTANCE, "ttlSeconds": 90});
    let probe = suite.heartbeat(OWNER, &stale).await?;
    suite.judge(&rules::HEARTBEAT_EPOCH, &probe, probe.refuses(409, "stale-epoch"));
    let noted = suite.heartbeat(OWNER, &beat(second)).await?;
    suite.judge(&rules::CONTENDER_HARMLESS, &noted, noted.is(&[200]));
    suite.judge_time(&noted, "/contender/seenAt");
    let outcome = noted.has("/contender/epoch", &json!(first));
    let outcome = outcome.and_then(|()| noted.has("/contender/instance", &json!(INSTANCE)));
    let is_noted = outcome.is_ok();
    suite.judge(&rules::CONTENDER, &noted, outcome);
    if is_noted {
        let (probe, entry) = suite.shown(OWNER).await?;
        let shown = expect(entry["contender"]["epoch"] == first, || "expected `contender` of the owner".to_owned());
        suite.judge(&rules::CONTENDER, &probe, shown);
    }
    let higher = suite.heartbeat(OWNER, &beat(second + 1)).await?;
    suite.judge(&rules::HEARTBEAT_EPOCH, &higher, higher.refuses(409, "unknown-session"));
    let probe = suite.close(OWNER, first).await?;
    suite.judge(&rules::HEARTBEAT_EPOCH, &probe, probe.refuses(409, "stale-epoch"));
    let probe = suite.close(OWNER, second + 1).await?;
    suite.judge(&rules::HEARTBEAT_EPOCH, &probe, probe.refuses(409, "unknown-session"));
    let waiting = json!({"epoch": 0, "instance": INSTANCE, "ttlSeconds": 90});
    let probe = suite.heartbeat(OWNER, &waiting).await?;
    suite.judge(&rules::HEARTBEAT_EPOCH_ZERO, &probe, probe.refuses(409, "stale-epoch"));
    let newest = suite.heartbeat(OWNER, &beat(second)).await?;
    suite.judge(&rules::CONTENDER_HARMLESS, &newest, newest.is(&[200]));
    let found = suite.find(OWNER, "kept").await?;
    suite.judge(&rules::CONTENDER_HARMLESS, &found, found.is(&[200]));
    if is_noted {
        suite.judge(&rules::CONTENDER, &newest, newest.has("/contender/epoch", &json!(0)));
    } else {
        suite.skip(&rules::CONTENDER_KEPT, "the registry notes no contender");
    }
    Ok(())
}

async fn min_epoch(suite: &mut Suite, second: u64) -> Result<(), Halt> {
    let min = second + 1_000;
    let opened = suite.open(OWNER, &json!({"instance": SUCCESSOR, "ttlSeconds": 90, "minEpoch": min})).await?;
    suite.need("opening a session", &opened, &[200, 201])?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    let outcome = expect(epoch > min, || format!("expected an epoch above {min}, got {epoch}"));
    suite.judge(&rules::EPOCH_ABOVE_MIN_EPOCH, &opened, outcome);
    if suite.is_passed(&rules::PREVIOUS_CLUSTER_UID) {
        let outcome = opened.has("/previous/clusterUid", &json!(CLUSTER_UID));
        suite.judge(&rules::CLUSTER_UID_KEPT, &opened, outcome);
    }
    let probe = suite.heartbeat(OWNER, &beat(epoch)).await?;
    if !suite.is_skipped(&rules::CONTENDER_KEPT) {
        let kept = expect(probe.json().get("contender").is_some(), || "expected `contender`".to_owned());
        suite.judge(&rules::CONTENDER_KEPT, &probe, kept);
    }
    let probe = suite.open(OWNER, &json!({"instance": SUCCESSOR, "ttlSeconds": 0})).await?;
    suite.judge(&rules::TTL_BELOW_ONE, &probe, probe.refuses(422, "schema"));
    let probe = suite.open(OWNER, &json!({"instance": SUCCESSOR, "ttlSeconds": LONGEST_TTL})).await?;
    let ttl = probe.number("/ttlSeconds");
    let granted = expect(ttl.is_some_and(|ttl| (1..=LONGEST_TTL).contains(&ttl)), || format!("got {}", as_json(&ttl)));
    suite.judge(&rules::TTL_REDUCED, &probe, probe.is(&[201]).and(granted));
    Ok(())
}

/// A heartbeat, and closing, leave the texts of the session.
async fn texts_stay(suite: &mut Suite) -> Result<(), Halt> {
    let opened = suite.open(OWNER, &json!({"instance": INSTANCE, "scope": SCOPE, "ttlSeconds": 90})).await?;
    suite.need("opening a session", &opened, &[200, 201])?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    let (_, before) = suite.shown(OWNER).await?;
    if before.is_null() {
        return Ok(());
    }
    let shows_scope = before.get("scope").is_some();
    let stay = |entry: &Value| {
        member(entry, "instance", &json!(INSTANCE))?;
        if shows_scope { member(entry, "scope", &json!(SCOPE)) } else { Ok(()) }
    };
    suite.heartbeat(OWNER, &beat(epoch)).await?;
    let (probe, entry) = suite.shown(OWNER).await?;
    suite.judge_as("texts-unchanged-by-heartbeats".to_owned(), &rules::TEXTS_UNCHANGED, &probe, stay(&entry));
    suite.close(OWNER, epoch).await?;
    let (probe, entry) = suite.shown(OWNER).await?;
    suite.judge_as("texts-unchanged-by-closing".to_owned(), &rules::TEXTS_UNCHANGED, &probe, stay(&entry));
    Ok(())
}

async fn closing(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(1) + 1;
    suite.place(OWNER, "closing", (epoch, seq)).await?;
    let probe = suite.close(OWNER, epoch).await?;
    suite.judge(&rules::SESSION_CLOSED, &probe, probe.is(&[204]));
    let found = suite.find(OWNER, "closing").await?;
    suite.judge(&rules::CLOSING_KEEPS_RECORDS, &found, found.is(&[200]));
    let reading = suite.read(OWNER, "limit=100").await?;
    if let Some(page) = reading.pages.last() {
        let is_listed = reading.item("closing").is_some();
        let outcome = expect(is_listed, || "expected the record of the closed session".to_owned());
        suite.judge(&rules::CLOSING_KEEPS_RECORDS, page, outcome);
    }
    let (probe, entry) = suite.shown(OWNER).await?;
    suite.judge(&rules::CLUSTER_SHOWS_STATE, &probe, member(&entry, "state", &json!("closed")));
    let seq = suite.seqs(2);
    let record = suite.record(OWNER, "closed", (epoch, seq + 1), "closed");
    let probe = suite.put(OWNER, "closed", &record).await?;
    suite.judge(&rules::CLOSED_SESSION_REFUSED, &probe, probe.refuses(409, "unknown-session"));
    let probe = suite.heartbeat(OWNER, &beat(epoch)).await?;
    suite.judge(&rules::CLOSED_SESSION_REFUSED, &probe, probe.refuses(409, "unknown-session"));
    let record = suite.record(OWNER, "closed", (epoch - 1, seq + 2), "closed");
    let probe = suite.put(OWNER, "closed", &record).await?;
    suite.judge(&rules::CLOSED_STALE_EPOCH, &probe, probe.refuses(409, "stale-epoch"));
    let probe = suite.close(OWNER, epoch).await?;
    suite.judge(&rules::CLOSED_AGAIN, &probe, probe.is(&[204]));
    Ok(())
}

/// The list of clusters, while both owners have records.
async fn list(suite: &mut Suite) -> Result<(), Halt> {
    let own = suite.read(OWNER, "limit=500").await?.items.len();
    let (probe, entry) = suite.shown(OWNER).await?;
    suite.judge(&rules::CLUSTER_SHOWS_PODS, &probe, member(&entry, "pods", &json!(own)));
    let records = own + 1;
    let probe = suite.get("v1/clusters".to_owned()).await?;
    let ids: Vec<&str> = probe.list("/items").iter().filter_map(|item| item["id"].as_str()).collect();
    if matches!(probe.status(), Some(404 | 405)) {
        let rules = [&rules::CLUSTER_LIST, &rules::CLUSTER_LIST_PODS];
        let why = "the registry lists no clusters, which is allowed";
        rules.into_iter().for_each(|rule| suite.skip(rule, why));
        return Ok(());
    }
    suite.need("the list of clusters", &probe, &[200])?;
    let own = probe.list("/items").iter().find(|item| item["id"] == suite.cluster.as_str()).cloned();
    let pods = member(&own.unwrap_or_default(), "pods", &json!(records));
    suite.judge(&rules::CLUSTER_LIST_PODS, &probe, pods);
    let outcome = expect(ids.contains(&suite.cluster.as_str()), || "expected the cluster of this run".to_owned());
    let outcome = outcome.and(expect(ids.is_sorted(), || "expected clusters ordered by id".to_owned()));
    suite.judge(&rules::CLUSTER_LIST, &probe, outcome);
    Ok(())
}

async fn owners(suite: &mut Suite) -> Result<(), Halt> {
    let (own, seq) = (suite.session(OWNER).await?, suite.seqs(4));
    suite.place(OWNER, "shared", (own, seq + 1)).await?;
    let other = suite.session(OTHER_OWNER).await?;
    let probe = suite.heartbeat(OWNER, &beat(own)).await?;
    suite.judge(&rules::OWNERS_APART_SESSIONS, &probe, probe.is(&[200]));
    let record = suite.record(OTHER_OWNER, "shared", (other, seq + 2), "of the other owner");
    let probe = suite.put(OTHER_OWNER, "shared", &record).await?;
    suite.judge(&rules::OWNERS_APART_RECORDS, &probe, probe.is(&[201]));
    let probe = suite.find(OWNER, "shared").await?;
    suite.judge(&rules::OWNERS_APART_RECORDS, &probe, probe.has("/pod/name", &json!("placed")));
    let probe = suite.get(suite.at(OWNER, "/pods/shared", &format!("owner={OWNER}"))).await?;
    suite.judge(&rules::OWNER_DEFAULT, &probe, probe.has("/pod/name", &json!("placed")));
    list(suite).await?;
    let reading = suite.read(OTHER_OWNER, "limit=100").await?;
    let (ids, page) = (reading.ids(), reading.pages.last());
    let outcome = expect(ids == ["shared"], || format!("expected the one record of this owner, got {}", as_json(&ids)));
    page.into_iter().for_each(|page| suite.judge(&rules::OWNERS_APART_RECORDS, page, outcome.clone()));
    suite.delete(OTHER_OWNER, "shared", (other, seq + 3)).await?;
    let probe = suite.find(OWNER, "shared").await?;
    suite.judge(&rules::OWNERS_APART_RECORDS, &probe, probe.is(&[200]));
    tombstones_apart(suite, own).await?;
    let probe = suite.get(suite.at(OTHER_OWNER, "", "")).await?;
    let names: Vec<&str> = probe.list("/owners").iter().filter_map(|entry| entry["owner"].as_str()).collect();
    let both = [OWNER, OTHER_OWNER].iter().all(|owner| names.contains(owner));
    let outcome = expect(both, || format!("expected both owners, got {}", as_json(&names)));
    suite.judge(&rules::CLUSTER_SHOWS_OWNERS, &probe, outcome);
    Ok(())
}

/// A tombstone of the other owner, with a higher version than the put of this one.
async fn tombstones_apart(suite: &mut Suite, own: u64) -> Result<(), Halt> {
    const ID: &str = "tombstones-apart";
    let opened = suite.open(OTHER_OWNER, &json!({"instance": SUCCESSOR, "ttlSeconds": 90, "minEpoch": own})).await?;
    suite.need("opening a session", &opened, &[200, 201])?;
    let (other, seq) = (opened.number("/epoch").unwrap_or_default(), suite.seqs(2));
    let probe = suite.delete(OTHER_OWNER, ID, (other, seq + 2)).await?;
    suite.need("a deletion", &probe, &[200, 204])?;
    let record = suite.record(OWNER, ID, (own, seq + 1), "apart");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::OWNERS_APART_RECORDS, &probe, probe.is(&[201]));
    Ok(())
}

/// Last, because a registry that accepts it has no epoch left for this owner.
async fn epoch_limit(suite: &mut Suite) -> Result<(), Halt> {
    let body = json!({"instance": SUCCESSOR, "ttlSeconds": 90, "minEpoch": INTEGER_LIMIT - 1});
    let probe = suite.open(OTHER_OWNER, &body).await?;
    suite.judge(&rules::EPOCH_LIMIT, &probe, probe.refuses(422, "schema"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_longest_that_are_promised() {
        assert_eq!((INSTANCE.chars().count(), SCOPE.chars().count(), CLUSTER_UID.len()), (128, 128, 128));
        // The reference server drops longer instances of contenders.
        assert!(INSTANCE.len() <= 256);
    }
}
