//! The UID of a pod, which identifies its record.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Uuid, fmt::Hyphenated};

/// The UID of a pod. Cheap to clone.
///
/// API servers assign UUIDs, which take 16 bytes here and no heap. Any other text is kept as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Kept);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kept {
    Uuid(Uuid),
    Other(Arc<str>),
}

pub struct UidText<'a>(Written<'a>);

enum Written<'a> {
    Uuid([u8; Hyphenated::LENGTH]),
    Other(&'a str),
}

impl Uid {
    pub fn text(&self) -> UidText<'_> {
        UidText(match &self.0 {
            Kept::Uuid(uuid) => {
                let mut text = [0; Hyphenated::LENGTH];
                uuid.hyphenated().encode_lower(&mut text);
                Written::Uuid(text)
            }
            Kept::Other(text) => Written::Other(text),
        })
    }
}

/// Parses a canonical UUID (lower-case, hyphenated). Returns `None` for any other text, so that formatting always gives
/// back the same text.
pub(crate) fn canonical_uuid(text: &str) -> Option<Uuid> {
    let may_be = text.len() == Hyphenated::LENGTH && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    may_be.then(|| Uuid::try_parse(text).ok()).flatten()
}

impl Deref for UidText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            // The bytes are ASCII: hexadecimal digits and hyphens.
            Written::Uuid(text) => std::str::from_utf8(text).unwrap_or_default(),
            Written::Other(text) => text,
        }
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(canonical_uuid(text).map_or_else(|| Kept::Other(text.into()), Kept::Uuid))
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl PartialEq<&str> for UidText<'_> {
    fn eq(&self, text: &&str) -> bool {
        **self == **text
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({})", &*self.text())
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::property_test;

    use super::*;

    const UUID: &str = "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33";

    #[test]
    fn uid_keeps_any_text_and_uuids_without_heap() {
        assert!(matches!(Uid::from(UUID).0, Kept::Uuid(_)));
        let others = ["", "a", "5F3C0A4E-7A53-4B4E-9B0A-0A6C1F0C2D33", "5f3c0a4e7a534b4e9b0a0a6c1f0c2d33"];
        let nearly = ["5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d3", "5f3c0a4e-7a53-4b4e-9b0a00a6c1f0c2d33", &"-".repeat(36)];
        for text in others.iter().chain(&nearly) {
            assert!(matches!(Uid::from(*text).0, Kept::Other(_)), "{text}");
        }
        for text in std::iter::once(&UUID).chain(&others).chain(&nearly) {
            let uid = Uid::from(*text);
            assert_eq!((&*uid.text(), uid.to_string().as_str()), (*text, *text));
            assert_eq!(serde_json::to_value(&uid).unwrap(), *text);
            assert_eq!(serde_json::from_value::<Uid>((*text).into()).unwrap(), uid);
        }
    }

    #[property_test]
    fn uids_sort_like_their_texts(a: [u8; 16], b: [u8; 16]) {
        let [a, b] = [a, b].map(|bytes| Uid(Kept::Uuid(Uuid::from_bytes(bytes))));
        assert_eq!(a.cmp(&b), a.text().cmp(&b.text()), "{a} {b}");
    }

    #[test]
    fn a_uid_is_small() {
        assert!(size_of::<Uid>() <= 24);
    }
}
