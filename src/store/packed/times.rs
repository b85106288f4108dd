//! Timestamps as small numbers: the first one relative to a recent day, the others relative to the first.
//!
//! A record has five times and is packed at every event, so the digits are parsed and formatted here: a general parser
//! and formatter take three times as long. Only a text that formats back to itself is packed; others are written in
//! full.

use jiff::{SignedDuration, civil::DateTime};

use super::bytes::{ByteReader, ByteWriter};
use crate::model::record::Times;

/// 2025-01-01. Seconds within four years of it take four bytes.
const NEAR_SECONDS: i64 = 1_735_689_600;
const NEAR_MILLIS: i64 = NEAR_SECONDS * 1_000;

/// Bits of the first byte: which optional times exist, and how all are written.
const OPTIONAL: [u8; 4] = [1, 2, 4, 8];
const WHOLE_SECONDS: u8 = 16;
const WRITTEN_OUT: u8 = 32;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// Length of a timestamp in characters.
const CHARS: usize = 24;

pub(super) fn pack(times: &Times, writer: &mut ByteWriter) {
    let optional = [&times.scheduled, &times.started, &times.deletion_requested, &times.finished];
    let mut flags = 0;
    for (time, flag) in optional.iter().zip(OPTIONAL) {
        flags |= if time.is_some() { flag } else { 0 };
    }
    let all = || std::iter::once(&times.created).chain(optional.iter().filter_map(|time| time.as_ref()));
    let mut millis = [0; OPTIONAL.len() + 1];
    let mut count = 0;
    for (slot, time) in millis.iter_mut().zip(all()) {
        let Some(moment) = parse(time) else {
            writer.byte(flags | WRITTEN_OUT);
            return all().for_each(|time| writer.text(time));
        };
        *slot = moment;
        count += 1;
    }
    let [created, ..] = millis;
    let seconds = millis.iter().all(|moment| moment % 1_000 == 0);
    let unit = if seconds { 1_000 } else { 1 };
    writer.byte(flags | if seconds { WHOLE_SECONDS } else { 0 });
    writer.signed((created - NEAR_MILLIS) / unit);
    for moment in millis.iter().take(count).skip(1) {
        writer.signed((moment - created) / unit);
    }
}

pub(super) fn expand(reader: &mut ByteReader<'_>) -> Times {
    let flags = reader.byte();
    let unit = if flags & WHOLE_SECONDS == 0 { 1 } else { 1_000 };
    let mut from = NEAR_MILLIS;
    let mut next = |first: bool| {
        if flags & WRITTEN_OUT != 0 {
            return reader.text().into_owned();
        }
        let moment = reader.signed().saturating_mul(unit).saturating_add(from);
        if first {
            from = moment;
        }
        str::from_utf8(&format(moment)).map(str::to_owned).unwrap_or_default()
    };
    let created = next(true);
    let [scheduled, started, deletion_requested, finished] =
        OPTIONAL.map(|flag| (flags & flag != 0).then(|| next(false)));
    Times { created, scheduled, started, deletion_requested, finished }
}

/// Parses `2026-11-23T10:00:00.000Z` to milliseconds since 1970. Returns `None` if the text does not format back to
/// itself.
fn parse(text: &str) -> Option<i64> {
    let bytes: &[u8; CHARS] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| {
        bytes.iter().take(to).skip(from).fold(0_i32, |all, digit| all * 10 + i32::from(digit.wrapping_sub(b'0')))
    };
    let small = |from, to| i8::try_from(number(from, to)).ok();
    let (year, month, day) = (i16::try_from(number(0, 4)).ok()?, small(5, 7)?, small(8, 10)?);
    let (hour, minute, second) = (small(11, 13)?, small(14, 16)?, small(17, 19)?);
    let nanos = number(20, 23).checked_mul(1_000_000)?;
    let time = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    let millis = i64::try_from(time.duration_since(EPOCH).as_millis()).ok()?;
    // This compares the separators, too.
    (format(millis) == *bytes).then_some(millis)
}

/// Formats milliseconds since 1970. The result is wrong for years without four digits, which are never packed.
fn format(millis: i64) -> [u8; CHARS] {
    let time = EPOCH.saturating_add(SignedDuration::from_millis(millis));
    let date = [(4, time.year()), (7, time.month().into()), (10, time.day().into())];
    let clock = [(13, time.hour().into()), (16, time.minute().into()), (19, time.second().into())];
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (end, mut number) in date.into_iter().chain(clock).chain([(23, time.millisecond())]) {
        for digit in text.iter_mut().take(end).rev().take_while(|digit| **digit == b'0') {
            *digit = b'0' + u8::try_from(number.rem_euclid(10)).unwrap_or_default();
            number = number.div_euclid(10);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(times: &Times) -> (Times, usize) {
        let mut writer = ByteWriter::default();
        pack(times, &mut writer);
        let mut reader = ByteReader(&writer.0);
        let expanded = expand(&mut reader);
        assert!(reader.0.is_empty());
        (expanded, writer.0.len())
    }

    fn created(text: &str) -> Times {
        Times { created: text.into(), scheduled: None, started: None, deletion_requested: None, finished: None }
    }

    #[test]
    fn moments_match_the_calendar() {
        // Every day of eight centuries, and the first and last years of four digits.
        for day in (-200_000_i64..100_000).chain([-719_528, 2_932_894]) {
            let second = day * 86_400 + day.rem_euclid(86_400);
            let moment = jiff::Timestamp::from_millisecond(second * 1_000 + day.rem_euclid(1_000)).unwrap();
            let text = format!("{moment:.3}");
            assert_eq!(parse(&text), Some(moment.as_millisecond()), "{text}");
        }
    }

    #[test]
    fn invalid_times_are_written_out() {
        let odd = [
            "",
            "2026-02-29T00:00:00.000Z",
            "2026-11-23T24:00:00.000Z",
            "2026-11-23T10:00:60.000Z",
            "2026-11-23T10:00:00.00Z",
            "2026-11-23t10:00:00.000Z",
            "2026-11-23T10:00:00.000z",
            "20\u{e9}6-11-23T10:00:00.00Z",
            "+026-11-23T10:00:00.000Z",
            "2026-11-23T10:00:00.0000",
        ];
        for text in odd {
            assert_eq!(parse(text), None, "{text}");
            let times = Times { started: Some("2026-11-23T10:00:00.000Z".into()), ..created(text) };
            assert_eq!(there_and_back(&times).0, times);
            let times = Times { finished: Some(text.into()), ..created("2026-11-23T10:00:00.000Z") };
            assert_eq!(there_and_back(&times).0, times);
        }
    }

    #[test]
    fn usual_times_are_short() {
        let time = |text: &str| Some(text.to_owned());
        let mut times = Times {
            scheduled: time("2026-11-23T10:00:00.000Z"),
            started: time("2026-11-23T10:00:02.000Z"),
            deletion_requested: time("2026-11-23T11:00:00.000Z"),
            finished: time("2026-11-23T09:59:59.000Z"),
            ..created("2026-11-23T10:00:00.000Z")
        };
        assert_eq!(there_and_back(&times), (times.clone(), 10));
        times.finished = time("2026-11-23T09:59:59.001Z");
        assert_eq!(there_and_back(&times), (times.clone(), 16));
        times = created("9999-12-31T23:59:59.999Z");
        assert_eq!(there_and_back(&times), (times.clone(), 8));
    }
}
