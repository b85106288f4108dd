//! A part of a JSON document as a value of the engine. Its members and elements become values when a template uses
//! them.
//!
//! Answers have lists of records, and registries that store records as texts return them whole. To convert all of it
//! into values and back would take as long as everything else that is done with a list.

use std::sync::Arc;

use minijinja::{
    Value,
    value::{Enumerator, Object, ObjectRepr},
};
use serde_json::{Map, Value as Json};

use super::values::{Budget, Error, of_answer};

/// A map or a list in a document.
#[derive(Debug)]
pub(super) struct JsonPart {
    document: Arc<Json>,
    /// Where it is.
    path: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Member(Box<str>),
    Element(usize),
}

impl JsonPart {
    /// The value of a document.
    pub(super) fn value(document: Arc<Json>) -> Value {
        match &*document {
            Json::Object(_) | Json::Array(_) => Value::from_object(Self { document, path: Vec::new() }),
            simple => of_answer(simple),
        }
    }

    /// As it was parsed, with its null members and elements.
    pub(super) fn json(&self) -> &Json {
        self.follow(&self.document)
    }

    /// The same, if it is a part of this document.
    pub(super) fn json_in<'j>(&self, document: &'j Json) -> Option<&'j Json> {
        std::ptr::eq(&*self.document, document).then(|| self.follow(document))
    }

    fn follow<'j>(&self, document: &'j Json) -> &'j Json {
        let part = self.path.iter().try_fold(document, |at, step| match step {
            Step::Member(name) => at.get(&**name),
            Step::Element(index) => at.get(index),
        });
        part.unwrap_or(&Json::Null)
    }

    fn part(&self, json: &Json, step: Step) -> Value {
        match json {
            Json::Object(_) | Json::Array(_) => {
                let path = self.path.iter().cloned().chain([step]).collect();
                Value::from_object(Self { document: self.document.clone(), path })
            }
            simple => of_answer(simple),
        }
    }

    /// As if each part were a value: null and undefined members are missing, and null elements are errors.
    pub(super) fn to_json(&self, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
        copy(self.json(), budget, depth)
    }
}

/// Members that are null are missing, as in [`of_answer`].
fn present(members: &Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    members.iter().filter(|(_, member)| !member.is_null())
}

fn copy(json: &Json, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
    let below = |json: &Json, budget: &mut Budget| {
        budget.take_level(depth + 1)?;
        copy(json, budget, depth + 1)
    };
    Ok(match json {
        Json::Null => return Err(Error::Undefined),
        Json::Bool(_) | Json::Number(_) => json.clone(),
        Json::String(text) => {
            budget.take_text(text)?;
            json.clone()
        }
        Json::Array(items) => Json::Array(items.iter().map(|item| below(item, budget)).collect::<Result<_, _>>()?),
        Json::Object(object) => {
            let mut copied = Map::new();
            for (name, member) in present(object) {
                budget.take_text(name)?;
                copied.insert(name.clone(), below(member, budget)?);
            }
            Json::Object(copied)
        }
    })
}

impl Object for JsonPart {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.json().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.json() {
            Json::Array(items) => {
                let index = key.as_usize()?;
                Some(self.part(items.get(index)?, Step::Element(index)))
            }
            _ => self.get_value_by_str(key.as_str()?),
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let member = self.json().as_object()?.get(key).filter(|member| !member.is_null())?;
        Some(self.part(member, Step::Member(key.into())))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json() {
            Json::Array(items) => Enumerator::Seq(items.len()),
            Json::Object(members) => {
                Enumerator::Values(present(members).map(|(name, _)| Value::from(name.as_str())).collect())
            }
            _ => Enumerator::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{
        engine::Compiled,
        values::{self, of_json, to_json},
    };
    use serde_json::json;

    /// The result with a document as a value, and as this object.
    fn results(text: &str, document: &Json) -> [Result<Option<Json>, values::Error>; 2] {
        let lazy = JsonPart::value(Arc::new(document.clone()));
        [of_json(document), lazy].map(|value| {
            let words = Value::from_pairs([("o", value), ("same", of_json(document))]);
            to_json(&Compiled::new(text).unwrap().evaluate(&words)?, &mut Budget::default())
        })
    }

    #[test]
    fn part_behaves_as_a_value() {
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
            "o.a.x",
            "o.a.x | list",
            "o.a.x | length",
            "o.a.x | last",
            "o.a.x | json",
            "o.a.x | reverse | list",
            "o.a.x[1:]",
            "o.a.x[-1].y",
            "o.a.x[7] | default('d')",
            "o.a.x == same.a.x",
            "same.a.x == o.a.x",
            "1.5 in o.a.x",
            "o.a.x is sequence",
            "o.a.x is iterable",
            "o.a.x ~ ''",
            "o.a.x | map('json') | join(' ')",
            "o.a.x | select('mapping') | map(attribute='y') | list",
            "[o.a.x, 1]",
            "2 if o.a.x else 3",
            "{'z': 1} | chain(o)",
            "o.a.x | zip(same.a.x) | list",
            "[o, same] | unique",
        ] {
            let [value, object] = results(text, &document);
            assert_eq!(object, value, "{text}");
        }
        for text in ["o[0]", "o[1].b", "o | map('json') | list", "o | first", "o | last", "o"] {
            let [value, object] = results(text, &json!(["a", {"b": [[1]]}]));
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
