//! The declaration of a session about the settings that select its records, so that neither a restart nor the next
//! leader forgets it. The registry stores it as the text `scope`.

use std::fmt;

/// The declaration of [`DeclaredSettings::Unsettled`].
const UNSETTLED: &str = "unsettled";
/// The declaration of [`DeclaredSettings::OperatorNeeded`]. Registries store this text, so it does not change.
const OPERATOR_NEEDED: &str = "doubted";
/// The end of a declaration that was made while another writer may have been alive.
const CONTESTED: &str = " contested";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub settings: DeclaredSettings,
    /// Whether another writer may be alive.
    pub contested: bool,
}

/// Which settings selected the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredSettings {
    /// The settings with this hash select all records.
    Hash(String),
    /// Records that only other settings selected may remain. The declaration is no hash, so the fact survives a restart
    /// and a return to the old settings.
    Unsettled,
    /// Nearly all records had no pod, and no operator has approved their deletion yet. Only a declaration keeps this
    /// fact: the share of these records shrinks as the cluster's own records are added.
    OperatorNeeded,
}

impl Declaration {
    pub fn parse(text: &str) -> Self {
        let (settings, contested) = text.strip_suffix(CONTESTED).map_or((text, false), |settings| (settings, true));
        let settings = match settings {
            UNSETTLED => DeclaredSettings::Unsettled,
            OPERATOR_NEEDED => DeclaredSettings::OperatorNeeded,
            hash => DeclaredSettings::Hash(hash.to_owned()),
        };
        Self { settings, contested }
    }
}

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.settings {
            DeclaredSettings::Hash(hash) => hash,
            DeclaredSettings::Unsettled => UNSETTLED,
            DeclaredSettings::OperatorNeeded => OPERATOR_NEEDED,
        })?;
        f.write_str(if self.contested { CONTESTED } else { "" })
    }
}

impl DeclaredSettings {
    /// What a process with the settings `ours` declares after a session that declared `before`, if there was one.
    pub fn after(before: Option<Self>, ours: &str) -> Self {
        match before {
            Some(Self::OperatorNeeded) => Self::OperatorNeeded,
            Some(before) if before != Self::Hash(ours.to_owned()) => Self::Unsettled,
            _ => Self::Hash(ours.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeclaredSettings::{Hash, OperatorNeeded, Unsettled};

    fn hash(text: &str) -> DeclaredSettings {
        Hash(text.to_owned())
    }

    #[test]
    fn changed_settings_are_declared_as_unsettled() {
        let after = |before| DeclaredSettings::after(before, "ours");
        assert_eq!((after(None), after(Some(hash("ours")))), (hash("ours"), hash("ours")));
        assert_eq!(after(Some(hash("theirs"))), Unsettled);
        assert_eq!(after(Some(Unsettled)), Unsettled, "for the next process, too");
        assert_eq!(after(Some(OperatorNeeded)), OperatorNeeded);
    }

    #[test]
    fn declaration_is_stored_as_text() {
        let texts = [(hash("ours"), "ours"), (Unsettled, "unsettled"), (OperatorNeeded, "doubted")];
        for (settings, text) in texts {
            for (contested, end) in [(false, ""), (true, " contested")] {
                let declaration = Declaration { settings: settings.clone(), contested };
                assert_eq!(declaration.to_string(), format!("{text}{end}"));
                assert_eq!(Declaration::parse(&declaration.to_string()), declaration);
            }
        }
    }
}
