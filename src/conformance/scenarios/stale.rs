//! Sessions that miss their heartbeats: what is shown of them, and what is still accepted.
//!
//! Two sessions become stale. The first one is replaced: its records stay, and `previous` says `stale`. The second one
//! writes, and then renews itself. Each has the smallest time to live that the protocol allows.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    batches::fits,
    sessions::{member, previous_state},
};
use crate::{
    conformance::{
        probe::{Probe, expect},
        rules::sessions as rules,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// The smallest time to live, in seconds.
const TTL: u64 = 1;
/// A longer time to live than this is not waited for, in seconds.
const TTL_MOST: u64 = 5;
/// How long after its time to live a session may still be shown as live.
const SHOWN_WITHIN: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_millis(200);
const KEPT: &str = "stale-kept";
const DELETED: &str = "stale-deleted";
const WRITTEN: &str = "stale-written";

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let (replaced, epoch) = open(suite).await?;
    // The session before it was closed.
    previous_state(suite, &replaced, "closed");
    let Some(wait) = wait(suite, &replaced) else { return Ok(()) };
    let seq = suite.seqs(2);
    suite.place(OWNER, KEPT, (epoch, seq + 1)).await?;
    suite.place(OWNER, DELETED, (epoch, seq + 2)).await?;
    let (probe, entry) = until_stale(suite, wait).await?;
    if entry.is_null() {
        suite.skip(&rules::STALE_SHOWN, "the registry does not show the cluster");
    } else {
        suite.judge(&rules::STALE_SHOWN, &probe, member(&entry, "state", &json!("stale")));
    }
    let is_shown = entry["state"] == "stale";
    kept(suite).await?;
    let (renewed, epoch) = open(suite).await?;
    if is_shown {
        previous_state(suite, &renewed, "stale");
    }
    until_stale(suite, wait).await?;
    writes(suite, epoch).await?;
    kept(suite).await?;
    let probe = suite.heartbeat(OWNER, &json!({"epoch": epoch, "instance": "conformance", "ttlSeconds": 90})).await?;
    suite.judge(&rules::STALE_RENEWED, &probe, probe.is(&[200]));
    let (probe, entry) = suite.shown(OWNER).await?;
    if is_shown {
        suite.judge(&rules::STALE_RENEWED, &probe, member(&entry, "state", &json!("live")));
    }
    Ok(())
}

async fn open(suite: &mut Suite) -> Result<(Probe, u64), Halt> {
    let opened = suite.open(OWNER, &json!({"instance": "conformance", "ttlSeconds": TTL})).await?;
    suite.need("opening a session with a time to live of 1 s", &opened, &[200, 201])?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    Ok((opened, epoch))
}

/// How long the session is live. Skips the rules if that is too long.
fn wait(suite: &mut Suite, opened: &Probe) -> Option<Duration> {
    let granted = opened.number("/ttlSeconds").unwrap_or(TTL);
    if granted <= TTL_MOST {
        return Some(Duration::from_secs(granted));
    }
    let rules = [&rules::STALE_SHOWN, &rules::STALE_KEEPS_RECORDS, &rules::STALE_ACCEPTS_WRITES, &rules::STALE_RENEWED];
    let why = format!("the registry grants {granted} s instead of {TTL} s");
    rules.into_iter().for_each(|rule| suite.skip(rule, &why));
    None
}

/// Waits until the time to live has passed, and then until the session is shown as stale or should be.
async fn until_stale(suite: &mut Suite, wait: Duration) -> Result<(Probe, Value), Halt> {
    tokio::time::sleep(wait + ASK_EVERY).await;
    let latest = Instant::now() + SHOWN_WITHIN;
    loop {
        let (probe, entry) = suite.shown(OWNER).await?;
        if entry["state"] == "stale" || Instant::now() >= latest {
            return Ok((probe, entry));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn kept(suite: &mut Suite) -> Result<(), Halt> {
    let found = suite.find(OWNER, KEPT).await?;
    suite.judge(&rules::STALE_KEEPS_RECORDS, &found, found.is(&[200]));
    let reading = suite.read(OWNER, "limit=100").await?;
    if let Some(page) = reading.pages.last() {
        let outcome = expect(reading.item(KEPT).is_some(), || format!("expected the record {KEPT}"));
        suite.judge(&rules::STALE_KEEPS_RECORDS, page, outcome);
    }
    Ok(())
}

async fn writes(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(3);
    let record = suite.record(OWNER, WRITTEN, (epoch, seq + 1), "written");
    let probe = suite.put(OWNER, WRITTEN, &record).await?;
    suite.judge(&rules::STALE_ACCEPTS_WRITES, &probe, probe.is(&[201]));
    let probe = suite.delete(OWNER, DELETED, (epoch, seq + 2)).await?;
    suite.judge(&rules::STALE_ACCEPTS_WRITES, &probe, probe.is(&[204]));
    let deletion = json!({"op": "delete", "id": WRITTEN, "version": {"epoch": epoch, "seq": seq + 3}});
    if suite.claims.has("batch") && fits(suite, &deletion) {
        let probe = suite.batch(epoch, &[deletion]).await?;
        suite.judge(&rules::STALE_ACCEPTS_WRITES, &probe, probe.is(&[200]));
    }
    Ok(())
}
