//! Records that were just created, and that lists, lookups and their own addresses may not show yet.
//!
//! A registry with a `lag` may accept a create and carry it out later. Until then it answers 404 to an update or a
//! deletion of the record, and `find` shows nothing. A second create would make a second record, and a deletion that
//! counts as done would leave the record behind. So within `lag`, such an answer is no evidence: the change is retried.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::model::uid::Uid;

#[derive(Debug)]
pub(super) struct FreshRecords {
    lag: Duration,
    /// Until when each record may not be shown.
    until: HashMap<Uid, Instant>,
}

impl FreshRecords {
    pub(super) fn new(lag: Duration) -> Self {
        Self { lag, until: HashMap::new() }
    }

    /// The registry acknowledged a create.
    pub(super) fn created(&mut self, key: &Uid) {
        let now = Instant::now();
        self.hide_until(key, now + self.lag, now);
    }

    /// A lookup or a list showed a record whose create had no clear answer. Others may not show it `until` then.
    pub(super) fn appeared(&mut self, key: &Uid, until: Instant) {
        let now = Instant::now();
        self.hide_until(key, until.min(now + self.lag), now);
    }

    fn hide_until(&mut self, key: &Uid, until: Instant, now: Instant) {
        if until <= now {
            return;
        }
        if self.until.len() == self.until.capacity() {
            self.forget_shown(now);
        }
        self.until.insert(key.clone(), until);
    }

    /// Forgets the records that everything shows at this moment.
    pub(super) fn forget_shown(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }

    pub(super) fn remove(&mut self, key: &Uid) {
        self.until.remove(key);
    }

    /// For how long the registry may not show the record yet.
    pub(super) fn hidden_for(&self, key: &Uid) -> Option<Duration> {
        let left = self.until.get(key)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn created_record_is_hidden_for_the_lag() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut fresh = FreshRecords::new(LAG);
        fresh.created(&a);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((fresh.hidden_for(&a), fresh.hidden_for(&b)), (Some(Duration::from_secs(1)), None));
        // An uncertain create may arrive after longer than the lag. One that was shown is there.
        fresh.appeared(&b, Instant::now() + 3 * LAG);
        assert_eq!(fresh.hidden_for(&b), Some(LAG));
        fresh.appeared(&b, Instant::now() + Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((fresh.hidden_for(&a), fresh.hidden_for(&b)), (None, Some(Duration::from_secs(1))));
        fresh.forget_shown(Instant::now());
        assert_eq!(fresh.until.len(), 1);
        fresh.remove(&b);
        assert_eq!(fresh.hidden_for(&b), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_hidden_without_a_lag() {
        let a = Uid::from("a");
        let mut fresh = FreshRecords::new(Duration::ZERO);
        fresh.created(&a);
        fresh.appeared(&a, Instant::now() + LAG);
        assert_eq!((fresh.hidden_for(&a), fresh.until.len()), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_records_are_bounded() {
        let mut fresh = FreshRecords::new(LAG);
        for n in 0..10_000 {
            fresh.created(&Uid::from(format!("k{n}")));
            tokio::time::advance(LAG / 100).await;
        }
        assert!(fresh.until.capacity() < 1_000);
    }
}
