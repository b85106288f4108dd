//! The RFC 8785 form of JSON values, of which digests are made.

use serde_json::Value;

/// Integers up to this size are written alike by RFC 8785, which takes numbers as `f64`, and by serde.
const EXACT: u64 = 1 << 53;

/// The RFC 8785 form of a value.
///
/// # Errors
/// None in practice: serialization fails only for numbers that are not finite, and a [`Value`] has none.
pub fn to_vec(value: &Value) -> serde_json::Result<Vec<u8>> {
    // The canonicalizer takes ten times as long.
    if !is_canonical(value) {
        return serde_json_canonicalizer::to_vec(value);
    }
    // Most records need no larger one.
    let mut bytes = Vec::with_capacity(2048);
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

/// Whether the output of serde is canonical.
fn is_canonical(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => {
            number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs)).is_some_and(|size| size <= EXACT)
        }
        Value::Array(items) => items.iter().all(is_canonical),
        Value::Object(members) => members.iter().all(|(name, member)| is_in_order(name) && is_canonical(member)),
    }
}

/// Whether this name stands at the same place in both forms: RFC 8785 orders members by UTF-16 units and a map by
/// bytes, and the two agree on ASCII.
fn is_in_order(name: &str) -> bool {
    name.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    const TEXTS: [&str; 10] =
        ["", "a", "B", "ä", "\u{fb33}", "😀", "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}", "\u{2028}", "10", "a.b/c"];

    fn value(rng: &mut fastrand::Rng, depth: u8) -> Value {
        let text = |rng: &mut fastrand::Rng| TEXTS[rng.usize(..TEXTS.len())].to_owned();
        match rng.u8(..if depth == 0 { 6 } else { 8 }) {
            0 => json!(rng.i64(..)),
            1 => json!(rng.i64(-3..3)),
            2 => json!([EXACT, EXACT + 1, u64::MAX, 0][rng.usize(..4)]),
            3 => json!([0.0, -0.0, 1.0, 1.5, 1e21, 1e-7, f64::MAX][rng.usize(..7)]),
            4 => json!(rng.bool().then(|| rng.bool())),
            5 => json!(text(rng)),
            6 => (0..rng.u8(..4)).map(|_| value(rng, depth - 1)).collect(),
            _ => Value::Object((0..rng.u8(..5)).map(|_| (text(rng), value(rng, depth - 1))).collect::<Map<_, _>>()),
        }
    }

    #[test]
    fn form_is_that_of_the_canonicalizer() {
        for seed in 0..3_000 {
            let value = value(&mut fastrand::Rng::with_seed(seed), 3);
            let expected = serde_json_canonicalizer::to_vec(&value).unwrap();
            assert_eq!(to_vec(&value).unwrap(), expected, "seed {seed}: {value}");
        }
    }

    #[test]
    fn ordinary_records_need_no_canonicalizer() {
        assert!(is_canonical(&json!({"a": [1, -2, null, true, "ä\n"], "b": {"c": EXACT}})));
        for other in [json!({"ä": 1}), json!(1.0), json!(EXACT + 1), json!([{"a": 0.5}])] {
            assert!(!is_canonical(&other), "{other}");
        }
    }
}
