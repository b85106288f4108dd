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
    use proptest::{collection::vec, prelude::*, property_test, sample::select};
    use serde_json::json;

    use super::*;

    const TEXTS: [&str; 10] =
        ["", "a", "B", "ä", "\u{fb33}", "😀", "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}", "\u{2028}", "10", "a.b/c"];

    fn value() -> impl Strategy<Value = Value> {
        let text = select(&TEXTS).prop_map(str::to_owned);
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            (-3..3_i64).prop_map(Value::from),
            select(&[EXACT, EXACT + 1, u64::MAX, 0]).prop_map(Value::from),
            select(&[0.0, -0.0, 1.0, 1.5, 1e21, 1e-7, f64::MAX]).prop_map(Value::from),
            any::<Option<bool>>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 40, 5, move |inner| {
            let members = vec((text.clone(), inner.clone()), 0..5);
            prop_oneof![
                vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[property_test(config = ProptestConfig::with_cases(3_000))]
    fn form_is_that_of_the_canonicalizer(#[strategy = value()] value: Value) {
        assert_eq!(to_vec(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
    }

    #[test]
    fn ordinary_records_need_no_canonicalizer() {
        assert!(is_canonical(&json!({"a": [1, -2, null, true, "ä\n"], "b": {"c": EXACT}})));
        for other in [json!({"ä": 1}), json!(1.0), json!(EXACT + 1), json!([{"a": 0.5}])] {
            assert!(!is_canonical(&other), "{other}");
        }
    }
}
