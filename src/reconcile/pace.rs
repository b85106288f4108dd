//! The size of batches and the number of requests in flight, learned from the answers of the registry.
//!
//! | the registry | items per batch | bytes per batch | requests in flight |
//! | --- | --- | --- | --- |
//! | answers a full batch within a quarter of the time limit | doubled | | |
//! | answers it within half of the limit | an eighth more | | |
//! | does not answer a batch in time | halved, and at most three quarters for five minutes | | |
//! | finds a batch too large (413, or 400 for a batch larger than any before) | | between what worked and what did not | |
//! | refuses a request (429, 503) | | | one; then one more per round, up to what worked |
//! | refuses three full ones in a row (429) although each waited as asked | halved, and at most three quarters for a minute | | |
//!
//! Doubling is safe even if a registry's time grows with the square of the items. It costs a few small batches at the
//! start: with four requests in flight and at most 500 items per batch, 13 more than full batches would be. If an
//! operator has stated the size of batches, the first one is full.
//!
//! All of it outlives an outage. Batches that a failure divided do not count: their records may be at fault.

use std::time::Duration;

use crate::model::moment::Moment;

/// Items of the first batch. A registry that needs 300 ms per record answers it within ten seconds.
const FIRST_ITEMS: usize = 32;
/// More items than any registry accepts.
const ITEMS_MAX: usize = 1 << 20;
/// A size that timed out or was too large is remembered for this long.
const REMEMBER_SIZE: Duration = Duration::from_secs(300);
/// A number of requests in flight that was refused is remembered for this long.
const REMEMBER_SLOTS: Duration = Duration::from_secs(60);
/// For this long after an answer, a batch of that size or less is not assumed to be refused for its size.
const TRUST_BYTES: Duration = Duration::from_secs(60);
/// After this many refusals in a row that followed a long enough wait, the batch itself may be the reason.
const REFUSED_IN_A_ROW: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    pub items: usize,
    /// An upper bound.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct SentBatch {
    pub size: BatchSize,
    pub at: Moment,
    /// Whether it is a part of a failed batch.
    pub divided: bool,
}

#[derive(Clone, Debug)]
pub struct Pace {
    /// The time limit of a request.
    timeout: Duration,
    items: usize,
    /// Whether `items` is what an operator stated, or was learned since.
    is_trusted: bool,
    /// A number of items that was too large. It counts until this moment.
    items_failed: Option<(usize, Moment)>,
    /// The most bytes that were answered, and when last.
    bytes_answered: Option<(usize, Moment)>,
    /// The fewest bytes that were too many. They count until this moment.
    bytes_failed: Option<(usize, Moment)>,
    slots: Option<Slots>,
    refused: Refusals,
}

/// The number of requests in flight after a refusal.
#[derive(Clone, Copy, Debug)]
struct Slots {
    open: usize,
    /// The limit before `until`.
    ceiling: usize,
    until: Moment,
    answered: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    last_at: Option<Moment>,
    asked: Option<Duration>,
    after_waiting: u32,
}

impl Pace {
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            items: FIRST_ITEMS,
            is_trusted: false,
            items_failed: None,
            bytes_answered: None,
            bytes_failed: None,
            slots: None,
            refused: Refusals::default(),
        }
    }

    /// An operator has stated that the registry takes this number of items: the first batch may be as large.
    pub fn trust(&mut self, items: usize) {
        if !std::mem::replace(&mut self.is_trusted, true) {
            self.items = self.items.max(items);
        }
    }

    /// The number of requests that may be in flight, up to `most`.
    pub fn slots(&self, most: usize) -> usize {
        self.slots.map_or(most, |slots| slots.open.min(most))
    }

    /// The size limit of the next batch. `most` is the limit of the registry.
    pub fn limit(&self, most: BatchSize, now: Moment) -> BatchSize {
        BatchSize { items: self.items.min(most.items), bytes: self.bytes(now).min(most.bytes) }
    }

    fn bytes(&self, now: Moment) -> usize {
        match self.bytes_failed {
            Some((failed, until)) if now < until => match self.bytes_answered {
                None => failed / 2,
                // Close enough: each further step costs a refusal.
                Some((answered, _)) if failed - answered <= answered / 8 => answered,
                Some((answered, _)) => answered.midpoint(failed),
            },
            _ => usize::MAX,
        }
    }

    pub fn answered(&mut self, sent: &SentBatch, now: Moment) {
        if self.refused.last_at.is_none_or(|last_at| sent.at >= last_at) {
            self.refused.after_waiting = 0;
            self.open_slots(now);
        }
        if self.bytes_answered.is_none_or(|(answered, _)| sent.size.bytes >= answered) {
            self.bytes_answered = Some((sent.size.bytes, now));
            self.bytes_failed = self.bytes_failed.filter(|(failed, _)| sent.size.bytes < *failed);
        }
        if !sent.divided && sent.size.items >= self.items {
            let took = now.since(sent.at);
            let next = match self.items {
                items if took <= self.timeout / 4 => items * 2,
                items if took <= self.timeout / 2 => items + (items / 8).max(1),
                items => items,
            };
            let failed = self.items_failed.filter(|(_, until)| now < *until);
            let most = failed.map_or(ITEMS_MAX, |(failed, _)| failed - failed / 4);
            self.items = next.min(most).max(self.items);
        }
    }

    fn open_slots(&mut self, now: Moment) {
        let Some(slots) = &mut self.slots else { return };
        slots.answered += 1;
        if slots.answered >= slots.open && (slots.open < slots.ceiling || now >= slots.until) {
            (slots.open, slots.answered) = (slots.open + 1, 0);
        }
    }

    /// A batch failed and may have been applied. Returns whether it took too long.
    pub fn failed(&mut self, sent: &SentBatch, now: Moment) -> bool {
        let slow = now.since(sent.at) >= self.timeout / 2;
        // Several batches of one size count once.
        let is_full = sent.size.items <= self.items && sent.size.items * 2 >= self.items;
        if slow && is_full && !sent.divided {
            self.halve(sent.size.items, now + REMEMBER_SIZE);
        }
        slow
    }

    fn halve(&mut self, items: usize, until: Moment) {
        self.items = (items / 2).max(1);
        self.items_failed = Some((items, until));
    }

    /// A batch was refused for its size. If that is not `certain`, its content may be the reason.
    pub fn too_large(&mut self, size: BatchSize, certain: bool, now: Moment) {
        if let Some((_, at)) = self.bytes_answered.filter(|(answered, _)| size.bytes <= *answered) {
            if !certain && now < at + TRUST_BYTES {
                return;
            }
            self.bytes_answered = None;
        }
        let before = self.bytes_failed.filter(|(_, until)| now < *until);
        let failed = before.map_or(size.bytes, |(failed, _)| failed.min(size.bytes));
        self.bytes_failed = Some((failed, now + REMEMBER_SIZE));
    }

    /// A batch was refused for now while this many requests were in flight. The registry may have asked for a wait.
    pub fn refused(&mut self, sent: &SentBatch, in_flight: usize, asked: Option<Duration>, now: Moment) {
        if self.refused.last_at.is_some_and(|last_at| sent.at < last_at) {
            // It was sent before the last refusal arrived, so it says nothing new.
            return;
        }
        let waited = self.refused.last_at.map_or(Duration::ZERO, |last_at| sent.at.since(last_at));
        // If no wait was asked for, a longer wait may be enough, as in an outage.
        let is_full = sent.size.items * 2 >= self.items;
        if is_full && self.refused.asked.is_some_and(|asked| !asked.is_zero() && waited >= asked) {
            self.refused.after_waiting += 1;
        }
        (self.refused.last_at, self.refused.asked) = (Some(now), asked);
        if self.refused.after_waiting >= REFUSED_IN_A_ROW {
            self.refused.after_waiting = 0;
            self.halve(sent.size.items, now + REMEMBER_SLOTS);
        }
        let ceiling = in_flight.saturating_sub(1).max(1);
        self.slots = Some(Slots { open: 1, ceiling, until: now + REMEMBER_SLOTS, answered: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const MOST: BatchSize = BatchSize { items: 500, bytes: 4 << 20 };

    const fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn batch(items: usize, at: Moment) -> SentBatch {
        SentBatch { size: BatchSize { items, bytes: items * 300 }, at, divided: false }
    }

    /// Sends `items` in full batches to a registry that needs this long per batch. Returns the number of requests, how
    /// many timed out, and the total time.
    fn run(needs: impl Fn(usize) -> Duration, mut items: usize) -> (usize, usize, Duration) {
        let (mut pace, mut now, mut requests, mut late) = (Pace::new(TIMEOUT), at(0), 0, 0);
        while items > 0 {
            let sent = batch(pace.limit(MOST, now).items.min(items), now);
            requests += 1;
            if needs(sent.size.items) > TIMEOUT {
                now += TIMEOUT;
                assert!(pace.failed(&sent, now));
                late += 1;
            } else {
                now += needs(sent.size.items);
                pace.answered(&sent, now);
                items -= sent.size.items;
            }
        }
        (requests, late, now.since_start())
    }

    #[test]
    fn fast_registry_gets_full_batches_at_once() {
        let (requests, late, _) = run(|_| ms(20), 150_000);
        assert!(requests <= 305 && late == 0, "{requests} requests, {late} late");
    }

    #[test]
    fn slow_start_takes_few_more_requests() {
        let (mut pace, mut items, mut requests) = (Pace::new(TIMEOUT), 150_000, 0);
        while items > 0 {
            // Four are in flight at a time.
            let sent: Vec<SentBatch> = (0..4)
                .map(|_| {
                    let size = pace.limit(MOST, at(0)).items.min(items);
                    items -= size;
                    batch(size, at(0))
                })
                .filter(|sent| sent.size.items > 0)
                .collect();
            requests += sent.len();
            sent.iter().for_each(|sent| pace.answered(sent, at(20)));
        }
        assert_eq!(requests, 150_000 / MOST.items + 13);
    }

    #[test]
    fn stated_size_is_sent_first_and_halved() {
        for fast in [0, 3] {
            let mut pace = Pace::new(TIMEOUT);
            pace.trust(MOST.items);
            (0..fast).for_each(|_| pace.answered(&batch(MOST.items, at(0)), at(20)));
            assert_eq!(pace.limit(MOST, at(20)).items, MOST.items);
            // Four full batches that time out together count once.
            (0..4).for_each(|_| _ = pace.failed(&batch(MOST.items, at(20)), at(10_020)));
            pace.trust(MOST.items);
            assert_eq!(pace.limit(MOST, at(10_020)).items, MOST.items / 2, "after {fast} fast answers");
        }
    }

    #[test]
    fn slow_records_never_time_out() {
        for per_record in [25, 100, 300] {
            let (_, late, took) = run(|items| ms(per_record * items as u64), 5_000);
            assert_eq!((late, took), (0, ms(per_record * 5_000)), "{per_record} ms per record");
        }
        let (_, late, _) = run(|items| ms(1_000 * items as u64), 500);
        assert_eq!(late, 2, "one second per record");
    }

    #[test]
    fn slow_answers_do_not_keep_batches_small() {
        // The answer takes the same time, whatever the size of the batch.
        for whatever in [1_000, 2_400, 4_000] {
            let (requests, late, _) = run(|_| ms(whatever), 20_000);
            assert!(requests <= 85 && late == 0, "{requests} requests, {late} late, {whatever} ms each");
        }
    }

    #[test]
    fn size_that_times_out_is_remembered() {
        // A hundred records are answered at once, and more are never answered.
        let (requests, late, _) = run(|items| if items > 100 { ms(60_000) } else { ms(10) }, 20_000);
        assert!(late == 1 && requests <= 220, "{late} of {requests} are late");
    }

    #[test]
    fn divided_batches_do_not_change_the_pace() {
        let mut pace = Pace::new(TIMEOUT);
        let sent = SentBatch { divided: true, ..batch(32, at(0)) };
        assert!(pace.failed(&sent, at(10_000)), "it took too long");
        pace.answered(&sent, at(1));
        assert_eq!(pace.limit(MOST, at(10_000)).items, 32);
    }

    #[test]
    fn bytes_settle_below_a_proxys_limit() {
        for limit in [1_000, 16_384, 100_000, 1 << 20] {
            for certain in [true, false] {
                let (mut pace, mut refused) = (Pace::new(TIMEOUT), 0);
                for step in 0..100 {
                    let now = at(step * 100);
                    let most = pace.limit(MOST, now);
                    let items = most.items.min(most.bytes / 300).max(1);
                    let sent = batch(items, now);
                    if sent.size.bytes > limit {
                        refused += 1;
                        pace.too_large(sent.size, certain, now);
                    } else {
                        pace.answered(&sent, now);
                    }
                }
                let most = pace.limit(MOST, at(10_000)).bytes;
                let (least, limit) = (limit.min(500 * 300) * 3 / 4, limit.max(300));
                assert!(most >= least && refused <= 8, "{most} of {limit}, {refused} refused");
            }
        }
    }

    #[test]
    fn refused_record_does_not_shrink_batches() {
        let mut pace = Pace::new(TIMEOUT);
        (0..9).for_each(|n| pace.answered(&batch(pace.items.min(500), at(n)), at(n)));
        let before = pace.limit(MOST, at(20));
        (1..200).for_each(|items| pace.too_large(batch(items, at(20)).size, false, at(20)));
        assert_eq!(pace.limit(MOST, at(20)), before);
    }

    #[test]
    fn slots_close_at_a_refusal_and_open_slowly() {
        let mut pace = Pace::new(TIMEOUT);
        assert_eq!(pace.slots(4), 4);
        (0..4).for_each(|_| pace.refused(&batch(32, at(0)), 4, Some(ms(1_000)), at(5)));
        let mut slots = Vec::new();
        for n in 0..7 {
            slots.push(pace.slots(4));
            pace.answered(&batch(1, at(1_000 + n)), at(1_000 + n));
        }
        assert_eq!(slots, [1, 2, 2, 3, 3, 3, 3], "four were refused");
        (0..10).for_each(|n| pace.answered(&batch(1, at(60_006 + n)), at(60_006 + n)));
        assert_eq!(pace.slots(4), 4, "the refusal is forgotten after a minute");
    }

    #[test]
    fn batch_shrinks_when_waiting_does_not_help() {
        let mut pace = Pace::new(TIMEOUT);
        for n in 0..4 {
            assert_eq!(pace.limit(MOST, at(n * 1_000)).items, 32);
            pace.refused(&batch(32, at(n * 1_000)), 1, Some(ms(900)), at(n * 1_000));
        }
        assert_eq!(pace.limit(MOST, at(4_000)).items, 16);
    }
}
