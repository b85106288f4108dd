//! Numbers and texts as bytes, and their reader.
//!
//! The bytes never leave the process. A reader returns zeros and empty texts after their end, so reading cannot fail or
//! panic.

use std::{borrow::Cow, fmt::Write};

use uuid::{Uuid, fmt::Hyphenated};

use crate::model::uid::canonical_uuid;

/// Bits of a number per character in [`TextWriter`]; one more bit says that another character follows.
const PART_BITS: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct ByteWriter(pub(super) Vec<u8>);

impl ByteWriter {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes a number with seven bits per byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            let [low, ..] = number.to_le_bytes();
            self.0.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.0.push(low);
    }

    /// Writes a number so that it is short if it is near zero on either side.
    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// Writes the number of items that follow.
    pub(super) fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    /// Writes a text in full. A UUID at its end takes 16 bytes.
    pub(super) fn text(&mut self, text: &str) {
        match uuid_at_end(text) {
            Some((head, uuid)) => {
                self.count(head.len() << 1 | 1);
                self.bytes(head.as_bytes());
                self.bytes(uuid.as_bytes());
            }
            None => {
                self.count(text.len() << 1);
                self.bytes(text.as_bytes());
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ByteReader<'a>(pub(super) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((bytes, rest)) = self.0.split_first_chunk() else {
            self.0 = &[];
            return [0; N];
        };
        self.0 = rest;
        *bytes
    }

    pub(super) fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    pub(super) fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    /// The number of items that follow. Each takes at least one byte, which bounds the result.
    pub(super) fn count(&mut self) -> usize {
        usize::try_from(self.number()).unwrap_or(usize::MAX).min(self.0.len())
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub(super) fn text(&mut self) -> Cow<'a, str> {
        let head = self.number();
        let text = str::from_utf8(self.take(usize::try_from(head >> 1).unwrap_or(usize::MAX))).unwrap_or_default();
        if head & 1 == 0 {
            return Cow::Borrowed(text);
        }
        let mut uuid = [0; Hyphenated::LENGTH];
        let uuid = Uuid::from_bytes(self.array()).hyphenated().encode_lower(&mut uuid);
        Cow::Owned([text, uuid].concat())
    }
}

/// Splits off a canonical UUID at the end of a text.
fn uuid_at_end(text: &str) -> Option<(&str, Uuid)> {
    let (head, tail) = text.split_at_checked(text.len().checked_sub(Hyphenated::LENGTH)?)?;
    Some((head, canonical_uuid(tail)?))
}

/// Joins texts and numbers into one text, which pods can share. A length precedes each text, so different parts never
/// join into the same text.
#[derive(Debug, Default)]
pub(super) struct TextWriter(pub(super) String);

impl TextWriter {
    pub(super) fn number(&mut self, mut number: usize) {
        loop {
            let [low, ..] = number.to_le_bytes();
            let low = low & ((1 << PART_BITS) - 1);
            number >>= PART_BITS;
            self.0.push(char::from(if number > 0 { low | 1 << PART_BITS } else { low }));
            if number == 0 {
                return;
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.push_str(text);
    }

    pub(super) fn optional(&mut self, text: Option<&str>) {
        self.number(text.map_or(0, |text| text.len() + 1));
        self.0.push_str(text.unwrap_or_default());
    }

    /// Writes a text without its length. Nothing may follow it.
    pub(super) fn last(&mut self, text: &str) {
        self.0.push_str(text);
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TextReader<'a>(pub(super) &'a str);

impl<'a> TextReader<'a> {
    pub(super) fn number(&mut self) -> usize {
        let mut number = 0;
        for shift in (0..usize::BITS).step_by(6) {
            let low = self.0.bytes().next().unwrap_or_default();
            self.0 = self.0.get(1..).unwrap_or_default();
            number |= usize::from(low & ((1 << PART_BITS) - 1)) << shift;
            if low >> PART_BITS == 0 {
                break;
            }
        }
        number
    }

    /// The number of items that follow. Each takes at least one byte, which bounds the result.
    pub(super) fn count(&mut self) -> usize {
        self.number().min(self.0.len())
    }

    pub(super) fn text(&mut self) -> &'a str {
        let len = self.number();
        self.take(len)
    }

    pub(super) fn optional(&mut self) -> Option<&'a str> {
        let len = self.number().checked_sub(1)?;
        Some(self.take(len))
    }

    pub(super) fn last(self) -> &'a str {
        self.0
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (text, rest) = self.0.split_at_checked(len).unwrap_or_default();
        self.0 = rest;
        text
    }
}

/// Whether the value formats as exactly this text.
pub(super) fn is_written(value: impl std::fmt::Display, text: &str) -> bool {
    struct Same<'a>(&'a str);
    impl Write for Same<'_> {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    let mut same = Same(text);
    write!(same, "{value}").is_ok() && same.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33";

    #[test]
    fn numbers_come_back() {
        let mut numbers: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1, u64::MAX << bit]).collect();
        numbers.extend([0, 127, 128, 16_383, 16_384, u64::MAX]);
        let mut writer = ByteWriter::default();
        for number in &numbers {
            writer.number(*number);
            writer.signed(number.cast_signed());
        }
        let mut reader = ByteReader(&writer.0);
        for number in &numbers {
            assert_eq!((reader.number(), reader.signed()), (*number, number.cast_signed()));
        }
        assert!(reader.0.is_empty());
    }

    #[test]
    fn small_numbers_are_short() {
        let len = |number: i64| {
            let mut writer = ByteWriter::default();
            writer.signed(number);
            writer.0.len()
        };
        assert_eq!([0, -1, 63, -64, 64, i64::MIN].map(len), [1, 1, 1, 1, 2, 10]);
    }

    #[test]
    fn texts_come_back_and_trailing_uuids_are_short() {
        let upper = UUID.to_uppercase();
        let other = format!("{UUID}é");
        let texts = ["", "a", "\0", UUID, &format!("ä{UUID}"), &upper, &other, &UUID.replace('-', "0"), &UUID[1..]];
        for text in texts {
            let mut writer = ByteWriter::default();
            writer.text(text);
            let short = text.ends_with(UUID);
            assert_eq!(writer.0.len(), 1 + text.len() - if short { 20 } else { 0 }, "{text}");
            let mut reader = ByteReader(&writer.0);
            assert_eq!((reader.text(), reader.0.len()), (text.into(), 0));
        }
    }

    #[test]
    fn parts_with_any_content_come_back() {
        let long = "x".repeat(5_000);
        let texts = ["", "\0", "@", "A", "1:a", &long, "ä"];
        let mut parts = TextWriter::default();
        for (at, text) in texts.iter().enumerate() {
            parts.number(at * 1_000_000_007);
            parts.text(text);
            parts.optional(Some(text));
            parts.optional(None);
        }
        parts.last(&long);
        let mut reader = TextReader(&parts.0);
        for (at, text) in texts.iter().enumerate() {
            assert_eq!((reader.number(), reader.text()), (at * 1_000_000_007, *text));
            assert_eq!((reader.optional(), reader.optional()), (Some(*text), None));
        }
        assert_eq!(reader.last(), long);
    }

    #[test]
    fn reading_past_the_end_gives_nothing() {
        let mut reader = ByteReader(&[0xff, 0xff]);
        assert_eq!(reader.number(), 0x3fff);
        assert_eq!((reader.byte(), reader.number(), reader.signed(), reader.text()), (0, 0, 0, "".into()));
        assert_eq!((reader.count(), reader.take(9), reader.array()), (0, &[][..], [0; 4]));
        let mut parts = TextReader("\u{7f}ä");
        assert_eq!((parts.number(), parts.text(), parts.optional()), (255, "", None));
        assert_eq!(ByteReader(&[0xff; 40]).number(), u64::MAX);
        assert_eq!(ByteReader(&[200, 1, 7]).count(), 1, "no more items than bytes");
    }

    #[test]
    fn value_matches_only_its_exact_text() {
        assert!(is_written(7, "7") && is_written("", ""));
        assert!(!is_written(7, "07") && !is_written(7, "70") && !is_written(70, "7"));
    }
}
