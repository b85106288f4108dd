//! Time limits of a watch that reports nothing: after 30 s it is logged, after 60 s it may be replaced by a list.

use std::time::Duration;

use crate::model::moment::Moment;

/// A watch that is not up to date for this long is logged.
pub const OLD_AFTER: Duration = Duration::from_secs(30);
/// A watch that is silent for this long, while its server answers, is replaced by a list. By then it was resumed twice
/// without success.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// A server that was silent for longer was away. Its watches get time to fail and to be resumed.
const AWAY_AFTER: Duration = Duration::from_secs(45);

/// When a watch was last up to date, and when its server last answered.
#[derive(Debug)]
pub struct Hearing {
    heard: Moment,
    answered: Moment,
    /// When the server first answered after it had been away.
    back: Moment,
}

impl Hearing {
    pub fn new(now: Moment) -> Self {
        Self { heard: now, answered: now, back: now }
    }

    pub fn heard(&self) -> Moment {
        self.heard
    }

    /// The watch reported something, so it is up to date.
    pub fn note_alive(&mut self, now: Moment) {
        self.answers(now);
        self.heard = now;
    }

    /// The server answered any request.
    pub fn answers(&mut self, now: Moment) {
        if now > self.answered + AWAY_AFTER {
            self.back = now;
        }
        self.answered = now;
    }

    /// Whether to replace a failed watch by a list. A server that does not answer would not list either; after its
    /// return, the watch is resumed.
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
        assert!(!hearing([30, 50]).is_given_up(at(96)), "the server does not answer");
    }

    #[test]
    fn server_that_was_away_is_given_time() {
        let hearing = hearing((60..130).step_by(10));
        assert!(!hearing.is_given_up(at(119)), "the watch may still be resumed");
        assert!(hearing.is_given_up(at(120)));
    }
}
