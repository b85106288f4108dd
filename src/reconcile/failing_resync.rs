//! A resync that fails again and again: when a person has to act, and what the status page shows.
//!
//! | the list of records | a person has to act after |
//! | --- | --- |
//! | is refused or contradicts itself | 3 tries, and a minute |
//! | cannot be read for another reason | 5 minutes |

use std::time::Duration;

use super::status::FailedResync;
use crate::model::moment::Moment;

const TRIES: u32 = 3;
const BY_ITSELF: Duration = Duration::from_secs(60);
const OTHERWISE: Duration = Duration::from_secs(300);

/// Tries to read the registry's records, none of which reached the end.
#[derive(Debug)]
pub struct FailingResync {
    since: Moment,
    tries: u32,
    cause: String,
    is_reported: bool,
}

impl FailingResync {
    pub fn begin(now: Moment) -> Self {
        Self { since: now, tries: 0, cause: String::new(), is_reported: false }
    }

    /// A try failed. `lasts` says whether the cause is probably there until a person acts. Returns whether to ask for
    /// one: once.
    pub fn failed(&mut self, cause: String, lasts: bool, now: Moment) -> bool {
        self.tries = self.tries.saturating_add(1);
        self.cause = cause;
        let time = now.since(self.since);
        let needs_operator = time >= OTHERWISE || (lasts && self.tries >= TRIES && time >= BY_ITSELF);
        needs_operator && !std::mem::replace(&mut self.is_reported, true)
    }

    pub fn status(&self, now: Moment) -> FailedResync {
        FailedResync { seconds: now.since(self.since).as_secs(), tries: self.tries, cause: self.cause.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn lasting_fault_is_reported_once() {
        // A try every 25 seconds.
        for (lasts, expected) in [(true, vec![75]), (false, vec![300])] {
            let mut failing = FailingResync::begin(at(0));
            let tries = (0..40).map(|n| n * 25);
            let reports: Vec<u64> = tries.filter(|secs| failing.failed("cause".into(), lasts, at(*secs))).collect();
            assert_eq!(reports, expected);
            assert_eq!(failing.status(at(1_000)), FailedResync { seconds: 1_000, tries: 40, cause: "cause".into() });
        }
        let mut rare = FailingResync::begin(at(0));
        assert!(!rare.failed("cause".into(), true, at(0)) && !rare.failed("cause".into(), true, at(299)));
        assert!(rare.failed("cause".into(), false, at(301)));
    }
}
