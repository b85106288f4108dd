//! A JSON object as a value of the engine, whose members become values when a template uses them.
//!
//! Registries that store records as texts return them whole, and most of a record is read as a whole. To convert each
//! of its members into a value and back would take as long as everything else that is done with a record of a list.

use std::sync::Arc;

use minijinja::{
    Value,
    value::{Enumerator, Object},
};
use serde_json::{Map, Value as Json};

use super::values::{Budget, Error, of_json};

#[derive(Debug)]
pub(super) struct ParsedObject(pub(super) Map<String, Json>);

impl ParsedObject {
    /// As if each member were a value: null and undefined members are missing, and null elements are errors.
    pub(super) fn to_json(&self, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
        members(&self.0, budget, depth)
    }
}

/// Members that are null are missing, as in [`of_json`].
fn present(members: &Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    members.iter().filter(|(_, member)| !member.is_null())
}

fn members(object: &Map<String, Json>, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
    let mut copy = Map::new();
    for (name, member) in present(object) {
        budget.take_text(name)?;
        copy.insert(name.clone(), part(member, budget, depth + 1)?);
    }
    Ok(Json::Object(copy))
}

fn part(json: &Json, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
    budget.take_level(depth)?;
    Ok(match json {
        Json::Null => return Err(Error::Undefined),
        Json::Bool(_) | Json::Number(_) => json.clone(),
        Json::String(text) => {
            budget.take_text(text)?;
            json.clone()
        }
        Json::Array(items) => {
            Json::Array(items.iter().map(|item| part(item, budget, depth + 1)).collect::<Result<_, _>>()?)
        }
        Json::Object(object) => members(object, budget, depth)?,
    })
}

impl Object for ParsedObject {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get(key).filter(|member| !member.is_null()).map(of_json)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(present(&self.0).map(|(name, _)| Value::from(name.as_str())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{
        engine::Compiled,
        values::{self, to_json},
    };
    use serde_json::json;

    /// The result with a document as a value, and as this object.
    fn results(text: &str, document: &Json) -> [Result<Option<Json>, values::Error>; 2] {
        let lazy = Value::from_object(ParsedObject(document.as_object().unwrap().clone()));
        [of_json(document), lazy].map(|value| {
            let words = Value::from_pairs([("o", value), ("same", of_json(document))]);
            to_json(&Compiled::new(text).unwrap().evaluate(&words)?, &mut Budget::default())
        })
    }

    #[test]
    fn object_behaves_as_a_map_of_values() {
        let document =
            json!({"b": 1, "a": {"x": [1.5, true, {"y": "z", "n": null}]}, "none": null, "e": "", "u": u64::MAX});
        for text in [
            "o",
            "o.a",
            "o.b",
            "o['a'].x[2].y",
            "o.none | default('d')",
            "o.missing | default('d')",
            "o | length",
            "o | list",
            "o | items | list",
            "o | dictsort",
            "o | json",
            "o.a | json",
            "o is mapping",
            "'none' in o",
            "'b' in o",
            "o == same",
            "same == o",
            "o.a == same.a",
            "[o, 1]",
            "{'in': o}",
            "o.none",
            "o.a.x | first",
            "o | map('upper') | join(',')",
            "1 if o else 2",
            "o ~ ''",
            "o < same",
            "o is defined",
            "[o, same] | unique",
        ] {
            let [value, object] = results(text, &document);
            assert_eq!(object, value, "{text}");
        }
        let [value, object] = results("o", &json!({"a": [1, null]}));
        assert_eq!((&object, &value), (&Err(values::Error::Undefined), &Err(values::Error::Undefined)));
        let [value, object] = results("1 if o else 2", &json!({"a": null}));
        assert_eq!(object, value, "it is empty");
    }

    #[test]
    fn size_of_an_object_is_bounded() {
        let deep = (0..100).fold(json!({}), |inner, _| json!({"a": inner}));
        let many = json!({"a": vec![0; 30_000]});
        let long = json!({"a": "b".repeat(2 << 20)});
        for document in [deep, many, long] {
            let [value, object] = results("o", &document);
            assert!(object.is_err());
            assert_eq!(object, value);
        }
    }
}
