//! Changes a document as JSON. The result is JSON of another shape than a parser expects.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Changes a document in one to four places. Bytes that are not JSON stay as they are.
pub(super) fn change(bytes: &[u8], corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(bytes) else { return bytes.to_vec() };
    for _ in 0..rng.usize(1..=4) {
        let other = serde_json::from_slice(&corpus[rng.usize(..corpus.len())]).unwrap_or_default();
        one(place(&mut document, rng), &other, rng);
    }
    document.to_string().into_bytes()
}

/// A random place in a document, as often near its leaves as near its root.
fn place<'a>(document: &'a mut Value, rng: &mut Rng) -> &'a mut Value {
    let mut at = document;
    for _ in 0..rng.usize(..8) {
        if is_leaf(at) {
            break;
        }
        at = match at {
            Value::Object(members) => {
                let chosen = rng.usize(..members.len());
                members.values_mut().nth(chosen).unwrap()
            }
            Value::Array(items) => {
                let chosen = rng.usize(..items.len());
                &mut items[chosen]
            }
            leaf => leaf,
        };
    }
    at
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

fn one(at: &mut Value, other: &Value, rng: &mut Rng) {
    match (at, rng.u8(..10)) {
        (Value::Object(members), 0..5) if !members.is_empty() => member(members, rng),
        (Value::Array(items), 0..5) if !items.is_empty() => item(items, rng),
        (at, 5) => *at = place(&mut other.clone(), rng).clone(),
        (at, 6) => {
            let inner = at.take();
            *at = if rng.bool() { json!([inner]) } else { json!({ "items": inner }) };
        }
        (Value::String(text), 0..5) => *text = altered(text, rng),
        (at, _) => *at = anything(rng),
    }
}

/// Removes a member, changes its name or value, or adds many.
fn member(members: &mut Map<String, Value>, rng: &mut Rng) {
    let name = members.keys().nth(rng.usize(..members.len())).unwrap().clone();
    match rng.u8(..5) {
        0 => _ = members.remove(&name),
        1 => {
            let value = members.remove(&name).unwrap_or_default();
            members.insert(altered(&name, rng), value);
        }
        2 => _ = members.insert(name, Value::Null),
        3 => _ = members.insert(name, anything(rng)),
        _ => {
            for number in 0..rng.usize(..300) {
                members.insert(format!("{name}-{number}"), name.as_str().into());
            }
        }
    }
}

/// Removes an item, repeats it, replaces it, or shuffles the items.
fn item(items: &mut Vec<Value>, rng: &mut Rng) {
    let chosen = rng.usize(..items.len());
    match rng.u8(..4) {
        0 => _ = items.remove(chosen),
        1 => {
            let copy = items[chosen].clone();
            items.extend(std::iter::repeat_n(copy, rng.usize(..100)));
        }
        2 => rng.shuffle(items),
        _ => items[chosen] = anything(rng),
    }
}

/// A value that parsers often do not expect.
fn anything(rng: &mut Rng) -> Value {
    const NUMBERS: [f64; 6] = [0.5, -0.0, 1e300, -1e300, 1e-300, 9_007_199_254_740_993.0];
    const INTEGERS: [u64; 7] = [0, 1, 65_536, 1 << 32, (1 << 53) - 1, 1 << 53, u64::MAX];
    match rng.u8(..12) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => NUMBERS[rng.usize(..NUMBERS.len())].into(),
        3 => INTEGERS[rng.usize(..INTEGERS.len())].into(),
        4 => [-1, i64::MIN, i64::MAX, -9_007_199_254_740_992][rng.usize(..4)].into(),
        5 => json!([]),
        6 => json!({}),
        7 => (0..rng.usize(1..110)).fold(json!(1), |inner, _| json!([inner])),
        8 => (0..rng.usize(1..110)).fold(json!(1), |inner, _| json!({ "a": inner })),
        _ => text(rng).into(),
    }
}

/// A text that parsers often do not expect.
pub(super) fn text(rng: &mut Rng) -> String {
    const TEXTS: [&str; 30] = [
        "",
        " ",
        "a",
        "0",
        "-1",
        "*",
        "null",
        "../../etc/passwd",
        "a/b?c=d#e",
        "%00%ff%",
        "\u{0}",
        "\n\r\t\u{1b}[31m",
        "\u{feff}",
        "\u{202e}txet",
        "\u{fffd}\u{10ffff}",
        "ﬀİı\u{345}",
        "\"\\'`<script>",
        "'; DROP TABLE records; --",
        "18446744073709551616",
        "99999999999999999999999999999999999999999",
        "2026-11-23T10:00:00Z",
        "2026-11-23T10:00:00.000Z",
        "0000-00-00T00:00:00.000Z",
        "-009999-01-02T01:59:59Z",
        "9999-12-30T22:00:00.999Z",
        "2026-11-23T10:00:00+25:61",
        "2026-11-23T23:59:60Z",
        "Mon, 23 Nov 2026 10:00:00 GMT",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "urn:pod-registrar:problem:stale-version",
    ];
    match rng.u8(..40) {
        0 => "x".repeat(rng.usize(..70_000)),
        1 => "ü\u{0}".repeat(rng.usize(..10_000)),
        2..6 => (0..rng.usize(..40)).map(|_| rng.char(..)).collect(),
        _ => TEXTS[rng.usize(..TEXTS.len())].to_owned(),
    }
}

/// A text of which a part is removed, doubled or replaced.
pub(super) fn altered(of: &str, rng: &mut Rng) -> String {
    let letters: Vec<char> = of.chars().collect();
    let at = rng.usize(..=letters.len());
    let (before, after) = letters.split_at(at);
    let (before, after): (String, String) = (before.iter().collect(), after.iter().collect());
    match rng.u8(..5) {
        0 => before,
        1 => format!("{before}{before}{after}"),
        2 => of.to_uppercase(),
        3 => format!("{before}{}{after}", rng.char(..)),
        _ => format!("{before}{}{after}", text(rng)),
    }
}
