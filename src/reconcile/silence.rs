//! How long a watch may tell nothing: when people are told, and when it is waited for no longer.

use std::time::Duration;

use crate::model::moment::Moment;

/// A view that is older than this is worth a line in the log.
pub const OLD_AFTER: Duration = Duration::from_secs(30);
/// A watch of a server that answers is given up for a list after so much silence: by then it was resumed twice in vain.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// A server that was silent for longer was away: a watch that fails is given time to end, and to be resumed.
const AWAY_AFTER: Duration = Duration::from_secs(45);

/// What people are told about a watch's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceNotice {
    /// The view has become old.
    Old {
        /// For how long nothing was heard.
        silence: Duration,
    },
    /// Something was heard again.
    Renewed {
        /// For how long nothing had been heard.
        after: Duration,
    },
}

/// Remembers what was said, so that each silence is told once, and its end once.
#[derive(Debug, Default)]
pub struct Silence {
    /// When something was last heard before the silence that was told.
    logged: Option<Moment>,
}

impl Silence {
    /// What is to be told now, if `heard` is when something was last heard.
    pub fn look(&mut self, heard: Moment, now: Moment) -> Option<SilenceNotice> {
        match self.logged {
            None if now >= heard + OLD_AFTER => {
                self.logged = Some(heard);
                Some(SilenceNotice::Old { silence: now - heard })
            }
            Some(before) if heard > before => {
                self.logged = None;
                Some(SilenceNotice::Renewed { after: heard - before })
            }
            _ => None,
        }
    }
}

/// When a watch was last known to be up to date, and when its server last answered.
#[derive(Debug)]
pub struct Hearing {
    heard: Moment,
    answered: Moment,
    /// When the server answered first after it had been away.
    back: Moment,
}

impl Hearing {
    /// Of a watch that begins now.
    pub fn new(now: Moment) -> Self {
        Self { heard: now, answered: now, back: now }
    }

    /// When the watch was last known to be up to date.
    pub fn heard(&self) -> Moment {
        self.heard
    }

    /// The watch is up to date.
    pub fn is_alive(&mut self, now: Moment) {
        self.answers(now);
        self.heard = now;
    }

    /// The server answered anything.
    pub fn answers(&mut self, now: Moment) {
        if now > self.answered + AWAY_AFTER {
            self.back = now;
        }
        self.answered = now;
    }

    /// Whether a watch that failed is given up for a list. A server that does not answer at all would not list either, and
    /// after its return the watch is resumed where it was.
    pub fn is_given_up(&self, now: Moment) -> bool {
        now >= self.heard.max(self.back) + GIVEN_UP_AFTER && now <= self.answered + AWAY_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn silence_and_its_end_are_reported_once() {
        let mut silence = Silence::default();
        assert_eq!(silence.look(at(10), at(39)), None);
        assert_eq!(silence.look(at(10), at(41)), Some(SilenceNotice::Old { silence: Duration::from_secs(31) }));
        assert_eq!(silence.look(at(10), at(500)), None);
        assert_eq!(silence.look(at(501), at(502)), Some(SilenceNotice::Renewed { after: Duration::from_secs(491) }));
        assert_eq!(silence.look(at(501), at(503)), None);
        assert_eq!(silence.look(at(501), at(531)), Some(SilenceNotice::Old { silence: Duration::from_secs(30) }));
    }

    fn hearing(answers: impl IntoIterator<Item = u64>) -> Hearing {
        let mut hearing = Hearing::new(at(0));
        answers.into_iter().for_each(|secs| hearing.answers(at(secs)));
        hearing
    }

    #[test]
    fn watch_is_given_up_only_if_server_answers() {
        // The pods are listed again instead.
        assert!(!hearing([30, 59]).is_given_up(at(59)), "too soon");
        assert!(hearing([30, 50]).is_given_up(at(60)));
        assert!(!hearing([30, 50]).is_given_up(at(96)), "it does not answer");
    }

    #[test]
    fn server_that_was_away_is_given_time() {
        let hearing = hearing((60..130).step_by(10));
        assert!(!hearing.is_given_up(at(119)), "the watch may still be resumed");
        assert!(hearing.is_given_up(at(120)));
    }
}
