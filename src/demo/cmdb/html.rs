//! The texts of the page for the values of systems and for ages.

use std::time::Duration;

use serde_json::Value;

/// Characters of a cell. The system's own address shows the rest.
const CELL_CHARS: usize = 300;

/// A value as a person reads it: a list of texts or numbers with commas, other lists and objects as JSON.
pub(super) fn cell(value: &Value) -> String {
    let mut text = match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.iter().any(|item| item.is_array() || item.is_object()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(CELL_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// An age in one unit.
pub(super) fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_show_values_in_short() {
        assert_eq!(cell(&json!(["10.0.0.1", 2, null])), "10.0.0.1, 2, null");
        assert_eq!(cell(&json!([{"a": 1}])), r#"[{"a":1}]"#);
        assert_eq!((cell(&json!([])), cell(&json!(true))), (String::new(), "true".to_owned()));
        assert_eq!(cell(&json!("ä".repeat(1_000))).chars().count(), CELL_CHARS + 1);
    }

    #[test]
    fn age_has_one_unit() {
        assert_eq!([59, 119, 7_200].map(|seconds| age(Duration::from_secs(seconds))), ["59 s", "1 min", "2 h"]);
    }
}
