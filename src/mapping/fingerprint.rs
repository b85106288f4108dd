//! Fingerprints of records: two records with one fingerprint are equal.
//!
//! They are made of what serde writes, in which members are in the order of their names, with one form for each number:
//! `1.0` is `1`. Unlike RFC 8785, integers keep all of their digits.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Number, Value as Json};

use crate::model::digest::{Digest, Fingerprint};

/// All whole numbers up to this one have a floating-point number of their own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// JSON, with one form for each number.
pub(super) struct Exact<'j>(pub(super) &'j Json);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Number(number) => form(number).serialize(serializer),
            Json::Array(items) => serializer.collect_seq(items.iter().map(Exact)),
            Json::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, Exact(value)))),
            simple => simple.serialize(serializer),
        }
    }
}

/// The fingerprint of a value that is made of [`Exact`] parts.
pub(super) fn of(value: &impl Serialize) -> Fingerprint {
    // Most records need no larger one.
    let mut bytes = Vec::with_capacity(2048);
    // It fails only for keys that are no texts.
    let _ = serde_json::to_writer(&mut bytes, value);
    Digest::of_canonical(&bytes).fingerprint()
}

/// The integer that a number is, if it is one.
pub(super) fn form(number: &Number) -> Cow<'_, Number> {
    match number.as_f64().filter(|value| number.is_f64() && value.fract() == 0.0 && value.abs() < EXACT) {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 53 bits")]
        Some(whole) => Cow::Owned((whole as i64).into()),
        None => Cow::Borrowed(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_tells_all_numbers_apart() {
        let of = |text: &str| of(&Exact(&serde_json::from_str(text).unwrap()));
        for (one, same) in [("1", "1.0"), (r#"{"a":[0]}"#, r#"{"a":[-0.0]}"#), ("[100, 1.5]", "[1e2, 15e-1]")] {
            assert_eq!(of(one), of(same), "{one}");
        }
        for (one, other) in [
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709551614"),
            (r#"{"\u00e9":[-9007199254740993,0.5]}"#, r#"{"\u00e9":[-9007199254740992,0.5]}"#),
            ("1", "\"1\""),
            ("1", "1.5"),
        ] {
            assert_ne!(of(one), of(other), "{one}");
        }
    }
}
