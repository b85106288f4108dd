//! Compares a record that was sent with what came back, for people.

use serde_json::Value as Json;

/// Differences that are reported. Those after them are usually of the same kind.
const MOST: usize = 50;

/// A value that came back otherwise than it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueDifference {
    /// A JSON Pointer into the record.
    pub pointer: String,
    pub sent: Json,
    /// `None` if it is missing.
    pub came_back: Option<Json>,
}

/// The values of `sent` that `found` holds otherwise. What others added does not count.
pub fn differences(sent: &Json, found: &Json) -> Vec<ValueDifference> {
    let mut differences = Vec::new();
    compare(sent, Some(found), String::new(), &mut differences);
    differences.truncate(MOST);
    differences
}

fn compare(sent: &Json, found: Option<&Json>, pointer: String, differences: &mut Vec<ValueDifference>) {
    match (sent, found) {
        (Json::Object(sent), Some(Json::Object(found))) => {
            for (name, sent) in sent {
                let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(sent, found.get(name), at, differences);
            }
        }
        (Json::Array(sent), Some(Json::Array(found))) if sent.len() == found.len() => {
            for (index, (sent, found)) in sent.iter().zip(found).enumerate() {
                compare(sent, Some(found), format!("{pointer}/{index}"), differences);
            }
        }
        (sent, Some(found)) if super::items::contains(found, sent) => {}
        (sent, found) if differences.len() < MOST => {
            differences.push(ValueDifference { pointer, sent: sent.clone(), came_back: found.cloned() });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_values_by_pointer() {
        let sent = json!({"a": {"b/c": " x "}, "list": [1, 2], "n": 1, "same": [{"x": 1}]});
        let found = json!({"a": {"b/c": "x"}, "list": [1], "theirs": 1, "n": 1.0, "same": [{"x": 1, "y": 2}]});
        let found = differences(&sent, &found);
        let difference = |pointer: &str, sent, came_back| ValueDifference { pointer: pointer.into(), sent, came_back };
        assert_eq!(
            found,
            [
                difference("/a/b~1c", json!(" x "), Some(json!("x"))),
                difference("/list", json!([1, 2]), Some(json!([1])))
            ]
        );
        assert_eq!(differences(&json!({"a": 1}), &json!({})), [difference("/a", json!(1), None)]);
    }
}
