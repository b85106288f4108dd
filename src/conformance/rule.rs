//! A rule of the protocol: its level, the sentence of `docs/protocol-v1.md` that states it, and how to follow it.

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Must,
    Should,
    /// A registry may leave it out; then the rule is skipped.
    May,
}

#[derive(Clone, Copy, Debug)]
pub struct ProtocolRule {
    /// The name of its constant, from which the id is made.
    pub name: &'static str,
    pub level: Level,
    /// A heading of the page.
    pub section: &'static str,
    /// A sentence below this heading, without marks of emphasis and links. Cells of a table are divided by ` | `.
    pub sentence: &'static str,
    pub fix: &'static str,
}

impl ProtocolRule {
    /// The id in the report, such as `epoch-grows`.
    pub fn id(&self) -> String {
        self.name.to_lowercase().replace('_', "-")
    }
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        }
    }
}

/// Declares rules as constants, and all of them as `RULES`.
macro_rules! rules {
    ($($name:ident: $level:ident, $section:literal, $sentence:literal, $fix:literal;)*) => {
        $(pub const $name: ProtocolRule = ProtocolRule {
            name: stringify!($name),
            level: Level::$level,
            section: $section,
            sentence: $sentence,
            fix: $fix,
        };)*
        pub const RULES: &[ProtocolRule] = &[$($name),*];
    };
}

pub(super) use rules;
