//! Members that a record leaves out, and that a PATCH has to name with null, or they stay in the registry.
//!
//! | members of | their names |
//! | --- | --- |
//! | a map | are those of the template |
//! | a map with `$key`, or a text that is one expression | are made of data: the registry shows which it holds |
//!
//! A PATCH replaces lists as a whole, so nothing in them is cleared.

use serde_json::Value as Json;

use super::{MapTemplate, Template};
use crate::mapping::words::Word;

impl Template {
    /// Adds null to a rendered value for each member that it leaves out. `shown` is what the registry shows of it.
    pub(in crate::mapping) fn clear(&self, sent: &mut Json, shown: Option<&Json>) {
        match self {
            Self::Map(map) => map.clear(sent, shown),
            Self::Leaf(_) => clear_shown(sent, shown),
            Self::Constant(_) | Self::List(..) => {}
        }
    }

    /// Whether a rendered value has a map whose names are made of data.
    pub(in crate::mapping) fn has_made_names(&self, sent: &Json) -> bool {
        match (self, sent) {
            (Self::Map(map), Json::Object(members)) => {
                let makes_names = map.each.as_ref().is_some_and(|each| each.key.is_some());
                let in_member =
                    |(name, member): &(String, Self)| members.get(name).is_some_and(|sent| member.has_made_names(sent));
                makes_names || map.members.iter().any(in_member)
            }
            (Self::Leaf(_), Json::Object(_)) => true,
            _ => false,
        }
    }

    /// Whether a member with a fixed name may be left out.
    pub(in crate::mapping) fn omits_members(&self) -> bool {
        let Self::Map(map) = self else { return false };
        map.members.iter().any(|(_, member)| match member {
            Self::Leaf(leaf) => leaf.uses.words.has(Word::Omit),
            other => other.omits_members(),
        })
    }
}

impl MapTemplate {
    fn clear(&self, sent: &mut Json, shown: Option<&Json>) {
        // It is a list, which has no members.
        let Json::Object(members) = sent else { return };
        for (name, member) in &self.members {
            match members.get_mut(name) {
                Some(sent) => member.clear(sent, shown.and_then(|shown| shown.get(name))),
                None => _ = members.insert(name.clone(), Json::Null),
            }
        }
        let Some(each) = self.each.as_ref().filter(|each| each.key.is_some()) else { return };
        for (name, shown) in shown.and_then(Json::as_object).into_iter().flatten() {
            match members.get_mut(name) {
                Some(sent) => each.value.clear(sent, Some(shown)),
                None => _ = members.insert(name.clone(), Json::Null),
            }
        }
    }
}

/// Adds null for what only the registry has.
fn clear_shown(sent: &mut Json, shown: Option<&Json>) {
    let (Json::Object(sent), Some(Json::Object(shown))) = (sent, shown) else { return };
    for (name, shown) in shown {
        match sent.get_mut(name) {
            Some(sent) => clear_shown(sent, Some(shown)),
            None => _ = sent.insert(name.clone(), Json::Null),
        }
    }
}
