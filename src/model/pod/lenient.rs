//! Lenient decoding: a value of an unexpected type is skipped and reported, and everything around it is read.
//!
//! A document is read in one pass. Only invalid JSON is an error, which includes an unpaired surrogate and a number
//! beyond the range of a double.
//!
//! A derived `Deserialize` stops at the first wrong type, in the middle of the document, so the next pods of a list
//! could not be read. `serde_path_to_error` adds the path of that value, but decoding still ends there.

use std::{collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// Characters of a wrong text that an error repeats.
const REPEATED_CHARS: usize = 64;

/// The first value of an unexpected type: its path and what it was.
#[derive(Debug, Default)]
pub(crate) struct TypeError(Option<Box<Found>>);

#[derive(Debug)]
struct Found {
    path: String,
    what: String,
}

impl TypeError {
    /// Notes a value, unless an earlier one was noted.
    fn note(&mut self, what: impl fmt::Display) {
        self.0.get_or_insert_with(|| Box::new(Found { path: String::new(), what: what.to_string() }));
    }

    fn unexpected<T: Read>(&mut self, value: Unexpected<'_>) {
        self.note(format_args!("invalid type: {value}, expected {}", T::EXPECTED));
    }

    /// Reads a part of a value. If it holds the first wrong value, the part's name is added to the path.
    fn within<R>(&mut self, name: impl fmt::Display, read: impl FnOnce(&mut Self) -> R) -> R {
        let noted = self.0.is_some();
        let result = read(self);
        if let Some(found) = self.0.as_mut().filter(|_| !noted) {
            let dot = if found.path.is_empty() || found.path.starts_with('[') { "" } else { "." };
            found.path = format!("{name}{dot}{}", found.path);
        }
        result
    }

    /// The error message, or `None` if every type was right.
    pub(crate) fn cause(self) -> Option<String> {
        self.0.map(|found| match found.path.as_str() {
            "" => found.what,
            path => format!("{path}: {}", found.what),
        })
    }
}

/// A value that is read in place. Each method gets what the document holds, and returns whether the type fits.
pub(crate) trait Read: Default {
    /// Named in the error, for example `a string`.
    const EXPECTED: &'static str;

    fn null(&mut self) -> bool {
        false
    }

    fn boolean(&mut self, _: bool) -> bool {
        false
    }

    fn integer(&mut self, _: i64) -> bool {
        false
    }

    fn text(&mut self, _: &str) -> bool {
        false
    }

    fn list<'de, A: SeqAccess<'de>>(&mut self, mut items: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        type_error.unexpected::<Self>(Unexpected::Seq);
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, mut members: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        type_error.unexpected::<Self>(Unexpected::Map);
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads a whole value, and notes the first part of an unexpected type.
///
/// # Errors
/// The text is not valid JSON.
pub(crate) fn read<'de, T: Read, D: Deserializer<'de>>(deserializer: D) -> Result<(T, TypeError), D::Error> {
    let (mut value, mut type_error) = (T::default(), TypeError::default());
    Slot { value: &mut value, type_error: &mut type_error }.deserialize(deserializer)?;
    Ok((value, type_error))
}

/// The place that a value is read into.
struct Slot<'a, T> {
    value: &'a mut T,
    type_error: &'a mut TypeError,
}

impl<T: Read> Slot<'_, T> {
    /// Notes the value if it does not fit.
    fn took(self, fits: bool, value: Unexpected<'_>) {
        if !fits {
            self.type_error.unexpected::<T>(value);
        }
    }
}

impl<'de, T: Read> DeserializeSeed<'de> for Slot<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Read> Visitor<'de> for Slot<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        let fits = self.value.null();
        self.took(fits, Unexpected::Other("null"));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        let fits = self.value.boolean(value);
        self.took(fits, Unexpected::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        let fits = self.value.integer(value);
        self.took(fits, Unexpected::Signed(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        let fits = i64::try_from(value).is_ok_and(|value| self.value.integer(value));
        self.took(fits, Unexpected::Unsigned(value));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.took(false, Unexpected::Float(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if !self.value.text(value) {
            let start: String = value.chars().take(REPEATED_CHARS).collect();
            self.took(false, Unexpected::Str(&start));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.value.list(items, self.type_error)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.value.object(members, self.type_error)
    }
}

impl Read for String {
    const EXPECTED: &'static str = "a string";

    fn text(&mut self, text: &str) -> bool {
        text.clone_into(self);
        true
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "a boolean";

    fn boolean(&mut self, value: bool) -> bool {
        *self = value;
        true
    }
}

impl Read for i64 {
    const EXPECTED: &'static str = "an integer";

    fn integer(&mut self, value: i64) -> bool {
        *self = value;
        true
    }
}

/// Null is `None`.
impl<T: Read> Read for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn null(&mut self) -> bool {
        true
    }

    fn boolean(&mut self, value: bool) -> bool {
        fill(self, |inner| inner.boolean(value))
    }

    fn integer(&mut self, value: i64) -> bool {
        fill(self, |inner| inner.integer(value))
    }

    fn text(&mut self, text: &str) -> bool {
        fill(self, |inner| inner.text(text))
    }

    fn list<'de, A: SeqAccess<'de>>(&mut self, items: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        self.insert(T::default()).list(items, type_error)
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, members: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        self.insert(T::default()).object(members, type_error)
    }
}

fn fill<T: Read>(option: &mut Option<T>, read: impl FnOnce(&mut T) -> bool) -> bool {
    let mut inner = T::default();
    let fits = read(&mut inner);
    *option = fits.then_some(inner);
    fits
}

/// Null is an empty list.
impl<T: Read> Read for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn null(&mut self) -> bool {
        true
    }

    fn list<'de, A: SeqAccess<'de>>(&mut self, mut items: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        loop {
            let (mut item, index) = (T::default(), self.len());
            let read = type_error.within(format_args!("[{index}]"), |type_error| {
                items.next_element_seed(Slot { value: &mut item, type_error })
            })?;
            match read {
                Some(()) => self.push(item),
                None => return Ok(()),
            }
        }
    }
}

/// Null is an empty object.
impl Read for BTreeMap<String, String> {
    const EXPECTED: &'static str = "an object";

    fn null(&mut self) -> bool {
        true
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, mut members: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            let mut value = String::new();
            type_error.within("*", |type_error| members.next_value_seed(Slot { value: &mut value, type_error }))?;
            self.insert(key, value);
        }
        Ok(())
    }
}

/// Reads a key: the index of a known member, or `None`.
pub(crate) struct MemberNames(pub(crate) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for MemberNames {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberNames {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// An object whose members are read by name. Unknown members are skipped.
pub(crate) trait Object: Default {
    /// At most 32 names.
    const NAMES: &'static [&'static str];
    /// Whether null stands for an object without members.
    const NULL: bool;

    /// Reads the member with the name at `index`.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        index: usize,
        members: &mut A,
        type_error: &mut TypeError,
    ) -> Result<(), A::Error>;
}

impl<T: Object> Read for T {
    const EXPECTED: &'static str = "an object";

    fn null(&mut self) -> bool {
        T::NULL
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, mut members: A, type_error: &mut TypeError) -> Result<(), A::Error> {
        let mut seen = 0_u32;
        while let Some(index) = members.next_key_seed(MemberNames(T::NAMES))? {
            let Some(index) = index else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            type_error.within(T::NAMES[index], |type_error| {
                if seen & 1 << index != 0 {
                    type_error.note("duplicate member");
                }
                self.member(index, &mut members, type_error)
            })?;
            seen |= 1 << index;
        }
        Ok(())
    }
}

/// Reads a member's value. The last of two duplicates counts, as in most readers of JSON.
pub(crate) fn value<'de, T: Read, A: MapAccess<'de>>(
    value: &mut T,
    members: &mut A,
    type_error: &mut TypeError,
) -> Result<(), A::Error> {
    *value = T::default();
    members.next_value_seed(Slot { value, type_error })
}

/// Declares an object: `field: Type = "memberName"`. With `or null`, null stands for an object without members.
macro_rules! object {
    ($(#[$doc:meta])* pub struct $type:ident $(or $null:ident)? { $($field:ident: $of:ty = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $type {
            $(pub $field: $of,)+
        }

        impl $crate::model::pod::lenient::Object for $type {
            const NAMES: &'static [&'static str] = &[$($name),+];
            const NULL: bool = !<[&str]>::is_empty(&[$(stringify!($null))?]);

            fn member<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                index: usize,
                members: &mut A,
                type_error: &mut $crate::model::pod::lenient::TypeError,
            ) -> Result<(), A::Error> {
                #[allow(non_camel_case_types, reason = "the variants are named like the fields")]
                enum At { $($field),+ }
                match index {
                    $(at if at == At::$field as usize =>
                        $crate::model::pod::lenient::value(&mut self.$field, members, type_error),)+
                    _ => Ok(()),
                }
            }
        }
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use crate::model::pod::object::{self, PodObject};

    fn read(text: &str) -> (PodObject, Option<String>) {
        object::read(&mut serde_json::Deserializer::from_str(text)).unwrap()
    }

    #[test]
    fn lenient_decoding_names_the_first_invalid_value() {
        // Everything else is decoded.
        let cases = [
            (r#"{"spec":{"containers":"none"}}"#, r#"spec.containers: invalid type: string "none", expected a list"#),
            (
                r#"{"spec":{"containers":[{"name":"a"},{"name":null}]}}"#,
                "spec.containers[1].name: invalid type: null, expected a string",
            ),
            (
                r#"{"status":{"containerStatuses":[{"state":{"terminated":{"exitCode":0.5}}}]},"spec":7}"#,
                "status.containerStatuses[0].state.terminated.exitCode: \
                 invalid type: floating point `0.5`, expected an integer",
            ),
            (r#"{"spec":{"hostNetwork":{"a":[{}]}}}"#, "spec.hostNetwork: invalid type: map, expected a boolean"),
            (r#"{"status":{"conditions":[null]}}"#, "status.conditions[0]: invalid type: null, expected an object"),
            (r#"{"metadata":{"labels":{"b":[[1]]}}}"#, "metadata.labels.*: invalid type: sequence, expected a string"),
            (
                r#"{"metadata":{"generation":18446744073709551615}}"#,
                "metadata.generation: invalid type: integer `18446744073709551615`, expected an integer",
            ),
            (r#"{"spec":{},"spec":{}}"#, "spec: duplicate member"),
        ];
        for (text, cause) in cases {
            let last = r#","metadata":{"uid":"u","labels":{"a":"b"}}}"#;
            let text = format!("{}{last}", text.strip_suffix('}').unwrap());
            let (pod, found) = read(&text);
            assert_eq!(found.as_deref(), Some(cause), "{text}");
            assert_eq!((pod.metadata.uid.as_deref(), pod.metadata.labels["a"].as_str()), (Some("u"), "b"), "{text}");
        }
    }

    #[test]
    fn only_an_object_or_null_is_a_pod() {
        // A null decodes as a pod without members.
        for (text, cause) in
            [("[1]", "invalid type: sequence"), ("true", "invalid type: boolean"), ("-1", "integer `-1`")]
        {
            assert!(read(text).1.unwrap().contains(cause), "{text}");
        }
        assert_eq!(read("null").1, None);
        assert_eq!(read(r#"{"status":null,"spec":{"containers":null,"nodeName":null}}"#).1, None);
    }

    #[test]
    fn long_value_is_cut_in_the_error() {
        let cause = read(&format!(r#"{{"spec":"{}"}}"#, "x".repeat(1 << 20))).1.unwrap();
        assert!(cause.len() < 200, "{} bytes", cause.len());
    }

    #[test]
    fn last_of_two_duplicate_members_counts() {
        // The error reports the duplicate.
        let twice = read(r#"{"metadata":{"uid":"a"},"metadata":{"name":"n"}}"#);
        assert_eq!((twice.0.metadata.uid, twice.1.as_deref()), (None, Some("metadata: duplicate member")));
    }

    #[test]
    fn invalid_json_is_an_error() {
        for text in [r#"{"spec":"#, r#"{"spec":nothing}"#, "{\"metadata\":{\"uid\":\"\u{1}\"}}", r#"{"other":[1 2]}"#] {
            assert!(object::read(&mut serde_json::Deserializer::from_str(text)).is_err(), "{text}");
        }
    }
}
