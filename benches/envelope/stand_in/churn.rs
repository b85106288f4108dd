//! Churn: pods are replaced at a rate, and each change is logged with its time.
//!
//! One replaced pod is three events: a pod is deleted, another one is created pending in its place, and half a second
//! later that one runs.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Api,
    world::{Change, Happened},
};
use crate::{http::now_ns, latency::Event};

/// Time between replacements.
const TICK: Duration = Duration::from_millis(1);
/// From a pod's creation until it runs.
const STARTS_IN: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(crate) struct Churn {
    pub(crate) running: bool,
    /// Replaced pods.
    pub(crate) pods: u64,
    /// The changes by version. Versions have no gaps.
    pub(crate) log: Vec<Event>,
}

impl Churn {
    /// Notes that changes were written to a watch.
    pub(super) fn written(&mut self, changes: &[Change], at: u64) {
        let Some(first) = self.log.first().map(|logged| logged.version) else { return };
        for change in changes {
            let index = change.after.resource_version.checked_sub(first).and_then(|index| usize::try_from(index).ok());
            if let Some(logged) = index.and_then(|index| self.log.get_mut(index))
                && logged.written_at == 0
            {
                logged.written_at = at;
            }
        }
    }
}

/// Replaces pods at a rate for a while, then lets the pending ones run. False while an earlier churn runs.
pub(super) fn start(api: &Api, per_second: u64, lasts: Duration) -> bool {
    let mut churn = api.churn();
    if churn.running {
        return false;
    }
    *churn = Churn { running: true, ..Churn::default() };
    drop(churn);
    tokio::spawn(run(api.clone(), per_second, lasts));
    true
}

async fn run(api: Api, per_second: u64, lasts: Duration) {
    let begun = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut pending: VecDeque<(Instant, u32)> = VecDeque::new();
    let mut replaced = 0_u64;
    loop {
        ticks.tick().await;
        let elapsed = begun.elapsed();
        let ended = elapsed >= lasts;
        let due =
            if ended { replaced } else { u64::try_from(elapsed.as_micros()).unwrap_or(0) * per_second / 1_000_000 };
        while replaced < due {
            replaced += 1;
            if let Some(slot) = replace(&api) {
                pending.push_back((Instant::now() + STARTS_IN, slot));
            }
        }
        // Also at the end, one by one: all at once they would be a burst that dominates the slowest delays.
        while pending.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            if let Some((_, slot)) = pending.pop_front() {
                let mut world = api.world();
                if let Some(change) = world.advance(slot) {
                    log(&api, &[change]);
                }
            }
        }
        api.churn().pods = replaced;
        api.0.changed.send_replace(());
        if ended && pending.is_empty() {
            api.churn().running = false;
            return;
        }
    }
}

/// Deletes a pod and creates another one in its place.
fn replace(api: &Api) -> Option<u32> {
    let mut world = api.world();
    let deleted = world.delete_one()?;
    let created = world.create(deleted.slot);
    log(api, &[deleted, created]);
    Some(deleted.slot)
}

/// Logs changes while the world is still locked, so that the log has the order of versions.
fn log(api: &Api, changes: &[Change]) {
    let at = now_ns();
    let logged = changes.iter().map(|change| Event {
        happened_at: at,
        written_at: 0,
        deleted: change.happened == Happened::Deleted,
        uid: api.layout().uid(change.slot, change.after.life),
        version: change.after.resource_version,
    });
    api.churn().log.extend(logged);
}
