//! Limits similar log messages: the first ones of each text are logged, the others are counted per minute.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::model::moment::Moment;

/// The number of texts that are counted separately. Others are counted together.
const TEXTS: usize = 32;
/// The leading characters that distinguish texts.
const CHARS: usize = 200;
const EVERY: Duration = Duration::from_secs(60);
/// A text that has not occurred for this long counts as new.
const FORGET: Duration = Duration::from_secs(3_600);
const OTHER: &str = "other causes";

#[derive(Clone, Debug)]
pub struct Tally {
    first: u64,
    texts: BTreeMap<Arc<str>, Count>,
    logged_at: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    logged: u64,
    unlogged: u64,
    last_at: Moment,
}

impl Tally {
    /// Logs the first messages of each text one by one.
    pub fn of_first(first: u64) -> Self {
        Self { first, texts: BTreeMap::new(), logged_at: Moment::START }
    }

    /// Counts a message. Returns whether to log it.
    pub fn note(&mut self, text: &str, now: Moment) -> bool {
        let end = text.char_indices().nth(CHARS).map_or(text.len(), |(end, _)| end);
        let text = &text[..end];
        self.texts.retain(|_, count| count.unlogged > 0 || now < count.last_at + FORGET);
        let text = if self.texts.contains_key(text) || self.texts.len() < TEXTS { text } else { OTHER };
        let count = match self.texts.get_mut(text) {
            Some(count) => count,
            None => self.texts.entry(text.into()).or_insert(Count { logged: 0, unlogged: 0, last_at: now }),
        };
        count.last_at = now;
        let first = count.logged < self.first;
        *(if first { &mut count.logged } else { &mut count.unlogged }) += 1;
        first
    }

    /// The texts with messages that were not logged, and their number, once per minute.
    pub fn due(&mut self, now: Moment) -> Vec<(Arc<str>, u64)> {
        if now < self.logged_at + EVERY {
            return Vec::new();
        }
        self.logged_at = now;
        let counts = self.texts.iter_mut().filter(|(_, count)| count.unlogged > 0);
        counts.map(|(text, count)| (text.clone(), std::mem::take(&mut count.unlogged))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn first_messages_are_logged_and_others_counted() {
        let mut tally = Tally::of_first(3);
        let logged = (0..20_000).filter(|n| tally.note(if n % 2 == 0 { "schema" } else { "owner" }, at(70)));
        assert_eq!(logged.count(), 6);
        assert_eq!(tally.due(at(70)), [("owner".into(), 9_997), ("schema".into(), 9_997)]);
        assert!(!tally.note("schema", at(80)));
        assert_eq!((tally.due(at(129)), tally.due(at(130))), (vec![], vec![("schema".into(), 1)]));
        assert!(tally.note("schema", at(80 + 3_600)), "it counts as new");
    }

    #[test]
    fn distinct_texts_are_bounded() {
        let (mut tally, long) = (Tally::of_first(3), "é".repeat(5_000));
        let logged = (0..20_000).filter(|n| tally.note(&format!("pod {n}: {long}"), at(1)));
        assert_eq!(logged.count(), TEXTS + 3);
        assert!(tally.texts.len() <= TEXTS + 1 && tally.texts.keys().all(|text| text.len() <= 2 * CHARS));
    }
}
