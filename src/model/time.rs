//! Parsing of Kubernetes timestamps.

use jiff::{Timestamp, fmt::temporal::Pieces};

/// Parses an RFC 3339 time.
///
/// RFC 3339 ends with the year 9999, and jiff's [`Timestamp`] 26 hours earlier. Times in between are returned as
/// [`Timestamp::MAX`], because some tools write the last second of 9999 for "never".
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let pieces = Pieces::parse(text).ok()?;
        let is_whole = pieces.time().is_some() && pieces.offset().is_some();
        (is_whole && pieces.date().year() == 9999).then_some(Timestamp::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rfc_3339_time_is_read() {
        for (text, expected) in [
            ("1970-01-01T01:00:00+01:00", Some(Timestamp::UNIX_EPOCH)),
            ("9999-12-31T23:59:59Z", Some(Timestamp::MAX)),
            ("9999-12-31T23:59:59.999999999-12:00", Some(Timestamp::MAX)),
            ("9999-12-31", None),
            ("9999-12-31T23:59:59", None),
            ("9999-12-32T23:59:59Z", None),
            ("never", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
