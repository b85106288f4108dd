//! The last exchanges with a registry, to find out why it answers as it does. They hold no credentials: requests are
//! kept as they were before credentials were added, and credentials are removed from answers.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;

/// Exchanges that are kept.
const EXCHANGES: usize = 1_000;
/// Bytes of a body that are kept.
const BODY: usize = 4 << 10;

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// Counts from 1.
    pub number: u64,
    pub method: String,
    pub url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body of the answer, or why there is none.
    pub answer: String,
    pub milliseconds: u64,
}

/// The last exchanges.
#[derive(Debug, Default)]
pub struct ExchangeLog(Mutex<(u64, VecDeque<Exchange>)>);

impl ExchangeLog {
    pub(super) fn add(&self, mut exchange: Exchange) {
        exchange.body = cut(exchange.body);
        exchange.answer = cut(exchange.answer);
        let (number, kept) = &mut *self.0.lock();
        *number += 1;
        exchange.number = *number;
        if kept.len() == EXCHANGES {
            kept.pop_front();
        }
        kept.push_back(exchange);
    }

    /// The kept exchanges, the oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.0.lock().1.iter().cloned().collect()
    }

    /// The number of exchanges so far, with those that are no longer kept.
    pub fn count(&self) -> u64 {
        self.0.lock().0
    }

    /// The kept exchanges, one JSON object per line.
    pub fn lines(&self) -> String {
        let line = |exchange: &Exchange| serde_json::to_string(exchange).unwrap_or_default() + "\n";
        self.0.lock().1.iter().map(line).collect()
    }
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn cut(mut text: String) -> String {
    if text.len() > BODY {
        let end = (0..=BODY).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorder_keeps_the_last_exchanges_bounded() {
        let log = ExchangeLog::default();
        for number in 0..EXCHANGES + 5 {
            log.add(Exchange {
                number: 0,
                method: "PUT".into(),
                url: format!("http://registry/{number}"),
                body: "ä".repeat(BODY),
                status: Some(200),
                answer: String::new(),
                milliseconds: 1,
            });
        }
        let kept = log.exchanges();
        assert_eq!((kept.len(), kept[0].number), (EXCHANGES, 6));
        assert!(kept.iter().all(|exchange| exchange.body.len() < BODY + 4));
        assert_eq!(log.lines().lines().count(), EXCHANGES);
    }
}
