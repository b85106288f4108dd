//! What the registry acknowledged before a restart, asked for afterwards. Last, because it may not come back.

use serde_json::{Value, json};

use super::sessions::member;
use crate::{
    conformance::{
        probe::{Probe, expect},
        restart::restart,
        rules::{changes::CHANGES_SINCE, restart as rules},
        suite::{Halt, OTHER_OWNER, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

const KEPT: &str = "restart-kept";
const DELETED: &str = "restart-deleted";
const AFTER: &str = "restart-after";
const INSTANCE: &str = "conformance-restart";
const SCOPE: &str = "the scope before the restart";
/// Longer than a restart takes.
const TTL: u64 = 3_600;

/// What was acknowledged before the restart.
struct Before {
    epoch: u64,
    /// The session of the other owner, which is closed.
    closed: u64,
    /// The seq before those of this scenario.
    seq: u64,
    /// As it is read.
    record: Value,
    /// What is shown of the session.
    shown: Value,
    /// None without changes.
    changes: Option<ChangesBefore>,
}

struct ChangesBefore {
    /// The number before those of this scenario.
    since: u64,
    items: Value,
    last: u64,
}

pub(super) async fn run(suite: &mut Suite, command: &str) -> Result<(), Halt> {
    let before = write(suite).await?;
    restart(suite, command).await?;
    let is_kept = session(suite, &before).await?;
    record(suite, &before).await?;
    changes(suite, &before).await?;
    if is_kept {
        versions(suite, &before).await?;
    } else {
        let why = "the session was lost, so that nothing can be written in it";
        [&rules::RESTART_KEEPS_VERSIONS, &rules::RESTART_KEEPS_TOMBSTONES]
            .into_iter()
            .for_each(|rule| suite.skip(rule, why));
    }
    next(suite, &before).await
}

/// A record, a tombstone, an open session and a closed one.
async fn write(suite: &mut Suite) -> Result<Before, Halt> {
    let closed = suite.session(OTHER_OWNER).await?;
    let probe = suite.close(OTHER_OWNER, closed).await?;
    suite.need("closing a session", &probe, &[200, 204])?;
    let opened = suite.open(OWNER, &json!({"instance": INSTANCE, "scope": SCOPE, "ttlSeconds": TTL})).await?;
    suite.need("opening a session", &opened, &[200, 201])?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    let since = suite.page(OWNER, "limit=1").await?.number("/asOf").unwrap_or_default();
    let seq = suite.seqs(20);
    for (id, at) in [(KEPT, 5), (DELETED, 6)] {
        suite.place(OWNER, id, (epoch, seq + at)).await?;
    }
    let probe = suite.delete(OWNER, DELETED, (epoch, seq + 10)).await?;
    suite.need("a deletion", &probe, &[200, 204])?;
    let found = suite.find(OWNER, KEPT).await?;
    suite.need("reading a record", &found, &[200])?;
    let (_, shown) = suite.shown(OWNER).await?;
    let mut changes = None;
    if suite.claims.has("changes") {
        let page = read(suite, since).await?;
        suite.need("reading the changes", &page, &[200])?;
        let (items, last) = (page.json()["items"].clone(), page.number("/next").unwrap_or_default());
        changes = Some(ChangesBefore { since, items, last });
    }
    Ok(Before { epoch, closed, seq, record: found.json().clone(), shown, changes })
}

async fn read(suite: &mut Suite, since: u64) -> Result<Probe, Halt> {
    suite.get(format!("v1/changes?cluster={}&since={since}", suite.cluster)).await
}

/// Whether the session goes on.
async fn session(suite: &mut Suite, before: &Before) -> Result<bool, Halt> {
    let rule = &rules::RESTART_KEEPS_SESSION;
    let (probe, shown) = suite.shown(OWNER).await?;
    for name in ["epoch", "instance", "scope", "clusterUid"] {
        // What was not shown before need not be shown afterwards.
        if let Some(value) = before.shown.get(name) {
            suite.judge(rule, &probe, member(&shown, name, value));
        }
    }
    let beat = |epoch: u64| json!({"epoch": epoch, "instance": INSTANCE, "ttlSeconds": TTL});
    let probe = suite.heartbeat(OTHER_OWNER, &beat(before.closed)).await?;
    suite.judge(rule, &probe, probe.refuses(409, "unknown-session"));
    let probe = suite.heartbeat(OWNER, &beat(before.epoch)).await?;
    let outcome = probe.is(&[200]);
    let is_kept = outcome.is_ok();
    suite.judge(rule, &probe, outcome);
    Ok(is_kept)
}

/// The record by its id, and in the inventory.
async fn record(suite: &mut Suite, before: &Before) -> Result<(), Halt> {
    let rule = &rules::RESTART_KEEPS_RECORDS;
    let found = suite.find(OWNER, KEPT).await?;
    let same = expect(*found.json() == before.record, || "expected the record as it was before the restart".to_owned());
    suite.judge(rule, &found, found.is(&[200]).and(same));
    let reading = suite.read(OWNER, "view=digest&limit=500").await?;
    let item = reading.item(KEPT);
    let of = |name: &str| item.and_then(|item| item.get(name));
    let same = ["digest", "version"].into_iter().all(|name| match (of(name), before.record.get(name)) {
        (Some(Value::Object(listed)), Some(Value::Object(known))) => {
            ["epoch", "seq"].into_iter().all(|part| listed.get(part) == known.get(part))
        }
        (listed, known) => listed == known,
    });
    if let Some(page) = reading.pages.last() {
        let outcome = expect(same, || "expected the record with its digest and version in the inventory".to_owned());
        suite.judge(rule, page, outcome);
    }
    let found = suite.find(OWNER, DELETED).await?;
    suite.judge(rule, &found, found.is(&[404]));
    Ok(())
}

async fn changes(suite: &mut Suite, before: &Before) -> Result<(), Halt> {
    let Some(known) = &before.changes else {
        let why = "the registry does not claim the feature `changes`";
        [&rules::RESTART_KEEPS_CHANGES, &rules::RESTART_KEEPS_NUMBERS]
            .into_iter()
            .for_each(|rule| suite.skip(rule, why));
        return Ok(());
    };
    if !suite.is_passed(&CHANGES_SINCE) {
        suite.skip(&rules::RESTART_KEEPS_CHANGES, "`since` is not followed, so that it is not known what to expect");
        return Ok(());
    }
    let page = read(suite, known.since).await?;
    let same = expect(page.json()["items"] == known.items, || "expected the changes of before the restart".to_owned());
    suite.judge(&rules::RESTART_KEEPS_CHANGES, &page, page.is(&[200]).and(same));
    let page = read(suite, known.last).await?;
    suite.judge(&rules::RESTART_KEEPS_CHANGES, &page, page.is(&[200]));
    Ok(())
}

/// Late operations in the session of before the restart.
async fn versions(suite: &mut Suite, before: &Before) -> Result<(), Halt> {
    let late = suite.record(OWNER, DELETED, (before.epoch, before.seq + 7), "late");
    let probe = suite.put(OWNER, DELETED, &late).await?;
    suite.judge(&rules::RESTART_KEEPS_TOMBSTONES, &probe, probe.refuses(409, "tombstoned"));
    if suite.is_broken(&rules::RESTART_KEEPS_RECORDS) {
        suite.skip(&rules::RESTART_KEEPS_VERSIONS, "the record was lost");
        return Ok(());
    }
    let late = suite.record(OWNER, KEPT, (before.epoch, before.seq + 4), "late");
    let probe = suite.put(OWNER, KEPT, &late).await?;
    suite.judge(&rules::RESTART_KEEPS_VERSIONS, &probe, probe.refuses(409, "stale-version"));
    Ok(())
}

/// The next session, and the next change.
async fn next(suite: &mut Suite, before: &Before) -> Result<(), Halt> {
    let opened = suite.open(OWNER, &json!({"instance": INSTANCE, "ttlSeconds": TTL})).await?;
    suite.need("opening a session", &opened, &[200, 201])?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    let outcome = expect(epoch > before.epoch, || format!("expected an epoch above {}, got {epoch}", before.epoch));
    suite.judge(&rules::RESTART_KEEPS_EPOCH, &opened, outcome);
    let Some(known) = &before.changes else { return Ok(()) };
    suite.place(OWNER, AFTER, (epoch, before.seq + 20)).await?;
    let page = suite.page(OWNER, "limit=1").await?;
    let as_of = page.number("/asOf").unwrap_or_default();
    let outcome = expect(as_of > known.last, || format!("expected the next change above {}, got {as_of}", known.last));
    suite.judge(&rules::RESTART_KEEPS_NUMBERS, &page, outcome);
    Ok(())
}
