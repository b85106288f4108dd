//! Judges the writes that a [`RestRegistry`](super::RestRegistry) receives: what nobody should have sent is a finding.
//!
//! | finding | unless |
//! | --- | --- |
//! | a record is written, and nothing changes | the answer to its last write may have been lost |
//! | a record of another owner is changed or removed | |
//! | a second record of one owner has the same `uid` | |
//!
//! The header `x-owner` of a request names its sender.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// If a client, the registry or the network breaks, the answers to the writes of this time may not have arrived.
const ON_THE_WAY: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Journal {
    /// The last write of each record.
    last: HashMap<String, LastWrite>,
    loses_answers: bool,
    pub(super) writes: usize,
    pub(super) findings: Vec<String>,
}

struct LastWrite {
    at: Instant,
    /// Whether its answer may have been lost.
    in_doubt: bool,
}

impl Journal {
    /// Notes a write of a record.
    pub(super) fn wrote(&mut self, record: &str, changed: bool) {
        self.writes += 1;
        let now = LastWrite { at: Instant::now(), in_doubt: self.loses_answers };
        let before = self.last.insert(record.to_owned(), now);
        if !changed && !before.as_ref().is_some_and(|write| write.in_doubt) {
            // With the time, because the logs of the controllers tell what happened then.
            let (at, before) = (jiff::Timestamp::now(), before.map(|write| write.at.elapsed()));
            self.findings
                .push(format!("{record} was written again without a change at {at}, {before:?} after a write"));
        }
    }

    pub(super) fn find(&mut self, what: String) {
        self.findings.push(what);
    }

    /// From now on answers may be lost, or arrive. Those to the latest writes may be lost as well.
    pub(super) fn lose_answers(&mut self, lose: bool) {
        self.loses_answers = lose;
        for write in self.last.values_mut().filter(|write| write.at.elapsed() < ON_THE_WAY) {
            write.in_doubt = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needless_write_is_found_once_answers_arrive() {
        let mut journal = Journal::default();
        journal.wrote("a", true);
        journal.lose_answers(false);
        journal.wrote("a", false);
        assert!(journal.findings.is_empty(), "its answer may have been lost");
        journal.loses_answers = true;
        journal.wrote("a", true);
        journal.loses_answers = false;
        journal.wrote("a", false);
        assert!(journal.findings.is_empty(), "its answer was lost");
        journal.wrote("a", false);
        assert_eq!((journal.findings.len(), journal.writes), (1, 5));
    }
}
