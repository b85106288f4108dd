//! Compares a record that was sent with what came back, for people.

use serde_json::Value as Json;

use super::fingerprint::form;

/// Differences that are reported. Those after them are usually of the same kind.
const MOST: usize = 50;

/// A value that came back otherwise than it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueDifference {
    /// A JSON Pointer into the record.
    pub pointer: String,
    /// `None` if it was not sent.
    pub sent: Option<Json>,
    /// `None` if it is missing.
    pub came_back: Option<Json>,
}

/// The values of `sent` that `found` holds otherwise. What others added does not count.
pub fn differences(sent: &Json, found: &Json) -> Vec<ValueDifference> {
    let mut differences = Vec::new();
    compare(Some(sent), Some(found), false, String::new(), &mut differences);
    differences.truncate(MOST);
    differences
}

/// The differences of what is compared of two records. What was added counts.
pub fn view_differences(sent: &Json, found: &Json) -> Vec<ValueDifference> {
    let mut differences = Vec::new();
    compare(Some(sent), Some(found), true, String::new(), &mut differences);
    differences.truncate(MOST);
    differences
}

fn compare(
    sent: Option<&Json>,
    found: Option<&Json>,
    counts_added: bool,
    pointer: String,
    differences: &mut Vec<ValueDifference>,
) {
    match (sent, found) {
        (Some(Json::Object(sent)), Some(Json::Object(found))) => {
            let at = |name: &str| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            for (name, sent) in sent {
                compare(Some(sent), found.get(name), counts_added, at(name), differences);
            }
            for (name, found) in found.iter().filter(|(name, _)| counts_added && !sent.contains_key(*name)) {
                compare(None, Some(found), counts_added, at(name), differences);
            }
        }
        (Some(Json::Array(sent)), Some(Json::Array(found))) if sent.len() == found.len() => {
            for (index, (sent, found)) in sent.iter().zip(found).enumerate() {
                compare(Some(sent), Some(found), counts_added, format!("{pointer}/{index}"), differences);
            }
        }
        (Some(sent), Some(found)) if contains(found, sent) => {}
        (sent, found) if differences.len() < MOST => {
            differences.push(ValueDifference { pointer, sent: sent.cloned(), came_back: found.cloned() });
        }
        _ => {}
    }
}

/// Whether a record contains what we render. Members that others added do not matter.
fn contains(found: &Json, desired: &Json) -> bool {
    match (found, desired) {
        (Json::Object(found), Json::Object(desired)) => desired.iter().all(|(name, desired)| {
            // Many registries return null, or nothing, for an empty value.
            let is_empty = |json: &Json| match json {
                Json::String(text) => text.is_empty(),
                Json::Array(items) => items.is_empty(),
                Json::Object(members) => members.is_empty(),
                _ => false,
            };
            match found.get(name) {
                None | Some(Json::Null) => is_empty(desired),
                Some(found) => contains(found, desired),
            }
        }),
        (Json::Array(found), Json::Array(desired)) => {
            found.len() == desired.len() && found.iter().zip(desired).all(|(found, desired)| contains(found, desired))
        }
        (Json::Number(found), Json::Number(desired)) => form(found) == form(desired),
        (found, desired) => found == desired,
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
        let difference =
            |pointer: &str, sent, came_back| ValueDifference { pointer: pointer.into(), sent: Some(sent), came_back };
        assert_eq!(
            found,
            [
                difference("/a/b~1c", json!(" x "), Some(json!("x"))),
                difference("/list", json!([1, 2]), Some(json!([1])))
            ]
        );
        let large = |number: u64| json!({"n": number});
        assert_eq!(differences(&large((1 << 53) + 1), &large(1 << 53)).len(), 1);
        assert_eq!(differences(&json!({"a": 1}), &json!({})), [difference("/a", json!(1), None)]);
    }

    #[test]
    fn record_contains_what_is_rendered() {
        let found = json!({"a": {"b": 1.0, "theirs": true}, "list": [{"x": 1, "y": 2}], "none": null});
        for desired in [json!({}), json!({"a": {"b": 1}}), json!({"list": [{"x": 1}]}), json!({"none": "", "q": []})] {
            assert!(contains(&found, &desired), "{desired}");
        }
        for desired in [json!({"a": {"b": 2}}), json!({"list": []}), json!({"list": [{"x": 1}, 2]}), json!({"q": 0})] {
            assert!(!contains(&found, &desired), "{desired}");
        }
    }

    #[test]
    fn view_differences_name_added_values() {
        let added = ValueDifference { pointer: "/a/c".into(), sent: None, came_back: Some(json!(2)) };
        assert_eq!(view_differences(&json!({"a": {"b": 1}}), &json!({"a": {"b": 1, "c": 2}})), [added]);
        assert_eq!(view_differences(&json!({"a": 1}), &json!({"a": 1.0})), []);
    }
}
