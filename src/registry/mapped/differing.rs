//! Records that the registry returns otherwise than they were sent.
//!
//! ```text
//!   acknowledged --listed otherwise--> differs --written again, acknowledged--> rewritten --listed so again--> settled
//! ```
//!
//! A settled record is left as it is: otherwise each resync would write it. A listed record that differs in another way
//! begins again. One that was shown as it was sent is never settled: whatever changes it later is an edit.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::model::{digest::Fingerprint, uid::Uid};

/// Records per term whose body is kept, to say how what came back differs from it. The others differ likewise.
const EXPLAINED_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct DifferingRecords {
    records: HashMap<Uid, Differing>,
    /// Bodies of rewritten records.
    sent: HashMap<Uid, Json>,
    explained: usize,
    /// Records that are settled.
    settled: usize,
    /// Records that were settled since the last list, without a body.
    unexplained: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Differing {
    sent: Fingerprint,
    shown: Fingerprint,
    /// Whether it was written again since.
    rewritten: bool,
    is_settled: bool,
}

impl DifferingRecords {
    pub(super) fn remove(&mut self, key: &Uid) {
        if let Some(differing) = self.records.remove(key) {
            self.settled -= usize::from(differing.is_settled);
            self.sent.remove(key);
        }
    }

    /// The number of settled records.
    pub(super) fn settled(&self) -> usize {
        self.settled
    }

    /// The registry acknowledged a put.
    pub(super) fn acknowledged(&mut self, key: &Uid, sent: Fingerprint, body: &Json) {
        match self.records.get_mut(key) {
            Some(differing) if differing.sent == sent => {
                differing.rewritten = true;
                if self.explained + self.sent.len() < EXPLAINED_MAX {
                    self.sent.insert(key.clone(), body.clone());
                }
            }
            Some(_) => self.remove(key),
            None => {}
        }
    }

    /// A list shows another record than was acknowledged. Returns the fingerprint that counts as held.
    pub(super) fn listed(&mut self, key: &Uid, sent: Fingerprint, shown: Fingerprint) -> Fingerprint {
        match self.records.get_mut(key) {
            Some(known) if (known.sent, known.shown, known.rewritten) == (sent, shown, true) => {
                if !std::mem::replace(&mut known.is_settled, true) {
                    self.settled += 1;
                    self.unexplained += usize::from(!self.sent.contains_key(key));
                }
                sent
            }
            _ => {
                self.remove(key);
                let differing = Differing { sent, shown, rewritten: false, is_settled: false };
                self.records.insert(key.clone(), differing);
                shown
            }
        }
    }

    /// The body of a record that was just settled, to be explained once.
    pub(super) fn take_settled(&mut self, key: &Uid) -> Option<Json> {
        self.records.get(key).filter(|differing| differing.is_settled)?;
        let body = self.sent.remove(key)?;
        self.explained += 1;
        Some(body)
    }

    /// A list is complete. Returns the number of settled records that were not explained.
    pub(super) fn take_unexplained(&mut self) -> usize {
        std::mem::take(&mut self.unexplained)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::digest::Digest;

    #[test]
    fn first_settled_records_are_explained() {
        let other = Digest::of_canonical(b"other").fingerprint();
        let mut differing = DifferingRecords::default();
        for n in 0..EXPLAINED_MAX + 3 {
            let (key, body) = (Uid::from(format!("k{n}")), json!({"n": n}));
            let ours = Digest::of_canonical(body.to_string().as_bytes()).fingerprint();
            assert_eq!(differing.listed(&key, ours, other), other);
            differing.acknowledged(&key, ours, &body);
            assert_eq!(differing.take_settled(&key), None, "it may have been another cause");
            assert_eq!(differing.listed(&key, ours, other), ours);
            assert_eq!(differing.take_settled(&key), (n < EXPLAINED_MAX).then_some(body));
            assert_eq!(differing.listed(&key, ours, other), ours);
            assert_eq!(differing.take_settled(&key), None, "once");
        }
        assert_eq!((differing.settled(), differing.take_unexplained()), (EXPLAINED_MAX + 3, 3));
        assert_eq!(differing.take_unexplained(), 0);
    }
}
