//! Records that may be one record under two ids.

use std::collections::{BTreeMap, HashMap};

use crate::model::{digest::Fingerprint, uid::Uid};

/// Records that are alike in one way, at most: the others say the same.
const ALIKE_MAX: usize = 16;

/// In which way the record of a listed id is like another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alike {
    /// The letters and digits of the ids are equal, without case.
    InForm,
    /// Those of the listed id begin those of the other.
    Cut,
    /// Their content is equal.
    InContent,
}

/// Finds records by the form of their ids and by their content.
#[derive(Debug, Default)]
pub(super) struct AlikeIndex {
    forms: BTreeMap<String, Vec<Uid>>,
    contents: HashMap<Fingerprint, Vec<Uid>>,
}

impl AlikeIndex {
    pub(super) fn insert(&mut self, key: &Uid, id: &str, content: Option<Fingerprint>) {
        self.forms.entry(form(id)).or_default().push(key.clone());
        if let Some(content) = content {
            self.contents.entry(content).or_default().push(key.clone());
        }
    }

    /// Some of the records that are like the one with this id and content, the most alike first.
    pub(super) fn alike(
        &self,
        key: &Uid,
        id: &str,
        content: Option<Fingerprint>,
        is_meant: impl Fn(&Uid) -> bool,
    ) -> Vec<(Uid, Alike)> {
        if self.forms.is_empty() {
            return Vec::new();
        }
        let form = form(id);
        let longer = self.forms.range(form.clone()..).take_while(|(other, _)| other.starts_with(&form));
        let cut = longer.skip_while(|(other, _)| **other == form).flat_map(|(_, keys)| keys);
        let in_form = self.forms.get(&form).into_iter().flatten();
        let in_content = content.and_then(|content| self.contents.get(&content)).into_iter().flatten();
        let is_meant = |other: &&Uid| *other != key && is_meant(other);
        let in_form = in_form.filter(is_meant).take(ALIKE_MAX).map(|key| (key.clone(), Alike::InForm));
        let cut = cut.filter(is_meant).take(ALIKE_MAX).map(|key| (key.clone(), Alike::Cut));
        let in_content = in_content.filter(is_meant).take(ALIKE_MAX).map(|key| (key.clone(), Alike::InContent));
        in_form.chain(cut).chain(in_content).collect()
    }
}

/// The letters and digits of an id in lower case, or all of it if it has none.
fn form(id: &str) -> String {
    let form: String = id.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if form.is_empty() { id.to_owned() } else { form }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_alike_in_form_or_cut() {
        let mut index = AlikeIndex::default();
        let keys = ["urn:pod/Ab-1", "web-10", "--"].map(Uid::from);
        keys.iter().for_each(|key| index.insert(key, &key.text(), None));
        let alike = |id: &str| index.alike(&Uid::from(id), id, None, |_| true);
        for id in ["URN-POD-AB-1", "{urn:podab1}", "urnpodab1"] {
            assert_eq!(alike(id), [(keys[0].clone(), Alike::InForm)], "{id}");
        }
        assert_eq!(alike("urn:pod/A"), [(keys[0].clone(), Alike::Cut)]);
        assert_eq!(alike("web-1"), [(keys[1].clone(), Alike::Cut)]);
        for id in ["web-100", "pod/Ab-1", "web-2", "---", "web-10"] {
            assert!(alike(id).is_empty(), "{id}");
        }
    }
}
