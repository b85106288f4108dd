//! Compares the clocks of servers with this one. Tokens and certificates are refused by a server whose clock is wrong.

use std::time::{Duration, SystemTime};

use super::CheckLine;

/// A difference that a server tolerates.
const TOLERATED: Duration = Duration::from_secs(60);

/// The line for a server whose answer had this header `Date`.
pub(super) fn line(name: String, date: Option<&str>) -> CheckLine {
    compare(name, date, SystemTime::now())
}

fn compare(name: String, date: Option<&str>, now: SystemTime) -> CheckLine {
    let Some(time) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return CheckLine::skipped(name, "the answer has no usable header Date");
    };
    let (difference, direction) = match now.duration_since(time) {
        Ok(behind) => (behind, "behind"),
        Err(ahead) => (ahead.duration(), "ahead of"),
    };
    let seconds = difference.as_secs();
    if difference <= TOLERATED {
        return CheckLine::ok(name, format!("differs by {seconds} s"));
    }
    let what = format!("the server's clock is {seconds} s {direction} this one");
    CheckLine::failed(name, what, "synchronize the clocks, for example with NTP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::CheckStatus;

    #[test]
    fn clock_may_differ_by_a_minute() {
        let date = "Mon, 23 Nov 2026 10:00:00 GMT";
        let now = httpdate::parse_http_date(date).unwrap();
        let result = |now, date| compare("clock".into(), date, now).result;
        let minute = Duration::from_secs(60);
        assert_eq!(result(now + minute, Some(date)), CheckStatus::Ok);
        assert_eq!(result(now - minute, Some(date)), CheckStatus::Ok);
        let line = compare("clock".into(), Some(date), now + 2 * minute);
        assert_eq!((line.result, line.what.contains("120 s behind")), (CheckStatus::Failed, true));
        assert_eq!(result(now - 2 * minute, Some(date)), CheckStatus::Failed);
        assert_eq!((result(now, None), result(now, Some("soon"))), (CheckStatus::Skipped, CheckStatus::Skipped));
    }
}
