//! How long a watch may tell nothing: when people are told, and when it is waited for no longer.

use std::time::Duration;

use super::Moment;

/// A view that is older than this is worth a line in the log.
pub const OLD_AFTER: Duration = Duration::from_secs(30);
/// A watch of a server that answers is given up for a list after so much silence: by then it was resumed twice in vain.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// Whoever has answered within this time is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// What people are told about a watch's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
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
    told: Option<Moment>,
}

impl Silence {
    /// What is to be told now, if `heard` is when something was last heard.
    pub fn look(&mut self, heard: Moment, now: Moment) -> Option<Notice> {
        match self.told {
            None if now >= heard + OLD_AFTER => {
                self.told = Some(heard);
                Some(Notice::Old { silence: now - heard })
            }
            Some(before) if heard > before => {
                self.told = None;
                Some(Notice::Renewed { after: heard - before })
            }
            _ => None,
        }
    }
}

/// Whether a watch is given up for a list. A server that does not answer at all would not list either, and the watch is
/// then resumed where it was as soon as it does.
pub fn is_given_up(heard: Moment, answered: Moment, now: Moment) -> bool {
    now >= heard + GIVEN_UP_AFTER && now <= answered + ANSWERS_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn a_silence_is_told_once_and_its_end_once() {
        let mut silence = Silence::default();
        assert_eq!(silence.look(at(10), at(39)), None);
        assert_eq!(silence.look(at(10), at(41)), Some(Notice::Old { silence: at(31) }));
        assert_eq!(silence.look(at(10), at(500)), None);
        assert_eq!(silence.look(at(501), at(502)), Some(Notice::Renewed { after: at(491) }));
        assert_eq!(silence.look(at(501), at(503)), None);
        assert_eq!(silence.look(at(501), at(531)), Some(Notice::Old { silence: at(30) }));
    }

    #[test]
    fn only_a_server_that_answers_is_asked_for_a_list_instead() {
        assert!(!is_given_up(at(0), at(59), at(59)), "too soon");
        assert!(is_given_up(at(0), at(50), at(60)));
        assert!(!is_given_up(at(0), at(50), at(81)), "it does not answer");
    }
}
