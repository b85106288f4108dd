//! Moments as small numbers: the first one since a day not long ago, the others since the first.
//!
//! Arithmetic of its own, as a record has five of them and is packed at every event: a general parser and formatter take
//! three times as long. What is packed was formatted again before, and was the same text.

use super::wire::{Reader, Writer};
use crate::model::record::Times;

/// 2025-01-01: seconds within four years of it take four bytes.
const NEAR_SECONDS: i64 = 1_735_689_600;
const NEAR_MILLIS: i64 = NEAR_SECONDS * 1_000;

/// Bits of the first byte: which of the optional ones there are, and how all are written.
const OPTIONAL: [u8; 4] = [1, 2, 4, 8];
const WHOLE_SECONDS: u8 = 16;
const WRITTEN_OUT: u8 = 32;

/// The characters of a moment.
const CHARS: usize = 24;

pub(super) fn pack(times: &Times, writer: &mut Writer) {
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

pub(super) fn expand(reader: &mut Reader<'_>) -> Times {
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

/// Milliseconds since 1970 of a text like `2026-11-23T10:00:00.000Z`; none if it would not be formatted like it is.
fn parse(text: &str) -> Option<i64> {
    let bytes: &[u8; CHARS] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| {
        bytes.iter().take(to).skip(from).fold(0, |all, digit| all * 10 + i64::from(digit.wrapping_sub(b'0')))
    };
    let days = days(number(0, 4), number(5, 7), number(8, 10));
    let seconds = (days * 24 + number(11, 13)) * 3_600 + number(14, 16) * 60 + number(17, 19);
    let millis = seconds * 1_000 + number(20, 23);
    (format(millis) == *bytes).then_some(millis)
}

/// The text of a moment. Years outside of four digits come out wrong, and are never packed.
fn format(millis: i64) -> [u8; CHARS] {
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let parts =
        [(4, year), (7, month), (10, day), (13, rest / 3_600_000), (16, rest / 60_000 % 60), (19, rest / 1_000 % 60)];
    for (end, mut number) in parts.into_iter().chain([(23, rest % 1_000)]) {
        for digit in text.iter_mut().take(end).rev().take_while(|digit| **digit == b'0') {
            *digit = b'0' + u8::try_from(number.rem_euclid(10)).unwrap_or_default();
            number = number.div_euclid(10);
        }
    }
    text
}

/// Days since 1970 of a date. Years begin in March here, so that a leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(times: &Times) -> (Times, usize) {
        let mut writer = Writer::default();
        pack(times, &mut writer);
        let mut reader = Reader(&writer.0);
        let expanded = expand(&mut reader);
        assert!(reader.0.is_empty());
        (expanded, writer.0.len())
    }

    fn created(text: &str) -> Times {
        Times { created: text.into(), scheduled: None, started: None, deletion_requested: None, finished: None }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        // Every day of eight centuries, and the ends of four digits.
        for day in (-200_000_i64..100_000).chain([-719_528, 2_932_894]) {
            let second = day * 86_400 + day.rem_euclid(86_400);
            let moment = jiff::Timestamp::from_millisecond(second * 1_000 + day.rem_euclid(1_000)).unwrap();
            let text = format!("{moment:.3}");
            assert_eq!(parse(&text), Some(moment.as_millisecond()), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_written_out() {
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
