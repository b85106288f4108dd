//! Pods that come and go at a rate, and the record of what happened when.
//!
//! One pod a second is three events a second: a pod that is deleted, one that is created pending in its place, and, half
//! a second later, that one running.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Api,
    world::{Change, Happened},
};
use crate::http::now_ns;

/// How often the rate is caught up with.
const TICK: Duration = Duration::from_millis(1);
/// From a pod's creation until it runs.
const STARTS_IN: Duration = Duration::from_millis(500);

/// A change, when it happened and when it was told to the watch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) happened_at: u64,
    pub(crate) told_at: u64,
    pub(crate) happened: Happened,
    pub(crate) uid: u128,
    pub(crate) version: u64,
}

/// A run of changes.
#[derive(Debug, Default)]
pub(crate) struct Churn {
    pub(crate) running: bool,
    pub(crate) stop: bool,
    /// Pods that were replaced so far.
    pub(crate) pods: u64,
    /// What happened, by version: versions have no gaps.
    pub(crate) log: VecDeque<Logged>,
}

impl Churn {
    /// Notes that changes were handed to a watch.
    pub(super) fn told(&mut self, changes: &[Change], at: u64) {
        let Some(first) = self.log.front().map(|logged| logged.version) else { return };
        for change in changes {
            let index = change.after.resource_version.checked_sub(first).and_then(|index| usize::try_from(index).ok());
            if let Some(logged) = index.and_then(|index| self.log.get_mut(index))
                && logged.told_at == 0
            {
                logged.told_at = at;
            }
        }
    }
}

/// Replaces pods at a rate for a while, then lets those that are pending run. A second run at a time is refused.
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
        let ended = elapsed >= lasts || api.churn().stop;
        let due =
            if ended { replaced } else { u64::try_from(elapsed.as_micros()).unwrap_or(0) * per_second / 1_000_000 };
        while replaced < due {
            replaced += 1;
            if let Some(slot) = replace(&api) {
                pending.push_back((Instant::now() + STARTS_IN, slot));
            }
        }
        // At the end as well each in its time: all at once they would be one change in sixty, and the slowest.
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

/// Notes changes, while the world is still locked: they are told in this order.
fn log(api: &Api, changes: &[Change]) {
    let at = now_ns();
    let logged = changes.iter().map(|change| Logged {
        happened_at: at,
        told_at: 0,
        happened: change.happened,
        uid: api.layout().uid(change.slot, change.after.life),
        version: change.after.resource_version,
    });
    api.churn().log.extend(logged);
}
