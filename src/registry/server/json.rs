//! Reads JSON by the rules of the protocol: no duplicate name at any depth, no null, integers between -2^53 and 2^53.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::model::ids::INTEGER_LIMIT;

/// A JSON value that follows these rules.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, an array, a string, a boolean or an integer below 2^53")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        if value < INTEGER_LIMIT { Ok(value.into()) } else { Err(E::custom("a number is not below 2^53")) }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() < INTEGER_LIMIT {
            Ok(value.into())
        } else {
            Err(E::custom("a number is not above -2^53"))
        }
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a number is not an integer below 2^53"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Err(E::custom("null is not allowed: leave the member out"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            // The error has only the length of the name, which may be a secret or very long.
            let length = name.len();
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom(format_args!("a name of {length} bytes occurs twice in an object")));
            }
        }
        Ok(object.into())
    }
}

/// Reads a whole text by these rules, and then as `T`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let Strict(value) = serde_json::from_str(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// An object whose members are still raw text, so that one malformed member does not affect the others.
pub(crate) struct Shallow<'a> {
    members: Vec<(String, &'a RawValue)>,
    /// Whether a name occurs twice. Then the first member of that name counts.
    pub(crate) duplicate: bool,
}

impl<'a> Shallow<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// A member, if it is a string.
    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    /// A member as `T`, read strictly.
    pub(crate) fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let raw = self.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
        parse(raw.get()).map_err(|error| format!("`{name}`: {error}"))
    }

    /// A member that may be absent, read strictly.
    pub(crate) fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        self.get(name).map(|_| self.required(name)).transpose()
    }

    /// Checks the members that are not named in `but` by the strict rules.
    pub(crate) fn check_others(&self, but: &[&str]) -> Result<(), String> {
        for (name, raw) in &self.members {
            if !but.contains(&name.as_str()) {
                serde_json::from_str::<Strict>(raw.get()).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Shallow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Shallow<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shallow<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                let names: BTreeSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                let duplicate = names.len() != members.len();
                Ok(Shallow { members, duplicate })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> Result<Value, String> {
        parse::<Value>(text)
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        assert!(strict(r#"{"a":1,"b":{"a":1}}"#).is_ok());
        assert!(strict(r#"{"a":1,"a":1}"#).is_err());
        assert!(strict(r#"{"x":[{"a":1,"\u0061":2}]}"#).is_err());
    }

    #[test]
    fn numbers_are_integers_below_two_to_the_53() {
        assert!(strict("[9007199254740991,-9007199254740991,0]").is_ok());
        for bad in ["9007199254740992", "-9007199254740992", "1.5", "1e3", "18446744073709551616"] {
            assert!(strict(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nulls_deep_nesting_and_rubbish_are_refused() {
        for bad in [r#"{"a":null}"#, "", "{", "[1,]", r#""\ud800""#, "{} {}", &"[".repeat(10_000)] {
            assert!(strict(bad).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn shallow_object_reads_its_members_one_by_one() {
        let object: Shallow<'_> = serde_json::from_str(r#"{"id":"a","bad":{"x":1,"x":2},"n":null}"#).unwrap();
        assert!(!object.duplicate);
        assert_eq!(object.string("id").as_deref(), Some("a"));
        assert!(object.required::<Value>("bad").is_err());
        assert!(object.check_others(&["bad", "n"]).is_ok());
        assert!(object.check_others(&["bad"]).is_err());
        assert_eq!(object.optional::<u64>("missing"), Ok(None));
    }
}
