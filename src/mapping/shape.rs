//! The shapes of words: which members they have. A wrong member is an error when the file is loaded.

use super::words::Word;

/// What is known about a value before it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Any value, with any members.
    Any,
    Text,
    Number,
    Bool,
    List(&'static Shape),
    /// A map whose keys are not known.
    Map(&'static Shape),
    Members(&'static [(&'static str, Shape)]),
}

const TEXT: Shape = Shape::Text;
const TEXTS: Shape = Shape::List(&TEXT);
const TEXT_MAP: Shape = Shape::Map(&TEXT);

const CLUSTER: &[(&str, Shape)] = &[("id", TEXT), ("name", TEXT)];
const POD: &[(&str, Shape)] =
    &[("annotations", TEXT_MAP), ("labels", TEXT_MAP), ("name", TEXT), ("namespace", TEXT), ("uid", TEXT)];
const WORKLOAD: &[(&str, Shape)] =
    &[("apiVersion", TEXT), ("derived", Shape::Bool), ("kind", TEXT), ("name", TEXT), ("uid", TEXT)];
const PLACEMENT: &[(&str, Shape)] =
    &[("hostIPs", TEXTS), ("hostNetwork", Shape::Bool), ("node", TEXT), ("podIPs", TEXTS)];
const STATE: &[(&str, Shape)] = &[("lifecycle", TEXT), ("phase", TEXT), ("ready", Shape::Bool), ("reason", TEXT)];
const CONTAINER: &[(&str, Shape)] = &[
    ("image", TEXT),
    ("imageId", TEXT),
    ("name", TEXT),
    ("ready", Shape::Bool),
    ("restarts", Shape::Number),
    ("role", TEXT),
];
const TIMES: &[(&str, Shape)] =
    &[("created", TEXT), ("deletionRequested", TEXT), ("finished", TEXT), ("scheduled", TEXT), ("started", TEXT)];
const CHANGE: &[(&str, Shape)] =
    &[("id", TEXT), ("kind", TEXT), ("order", Shape::Number), ("sequence", TEXT), ("time", TEXT)];
const REMOVAL: &[(&str, Shape)] = &[("observed", Shape::Bool), ("reason", TEXT)];

impl Shape {
    pub(super) fn of(word: Word) -> Self {
        match word {
            Word::Cluster => Self::Members(CLUSTER),
            Word::Pod => Self::Members(POD),
            Word::Workload => Self::List(&Self::Members(WORKLOAD)),
            Word::Root => Self::Members(WORKLOAD),
            Word::Placement => Self::Members(PLACEMENT),
            Word::State => Self::Members(STATE),
            Word::Containers => Self::List(&Self::Members(CONTAINER)),
            Word::Times => Self::Members(TIMES),
            Word::Change => Self::Members(CHANGE),
            Word::Removal => Self::Members(REMOVAL),
            Word::Truncated => TEXTS,
            Word::Header => TEXT_MAP,
            Word::Status | Word::Term => Self::Number,
            Word::Digest | Word::Id | Word::Mark | Word::Owner | Word::ServiceAccount | Word::Text => TEXT,
            Word::Operations => Self::List(&Self::Any),
            _ => Self::Any,
        }
    }

    /// The shape of a member, or the names of the members that exist.
    pub(super) fn member(self, name: &str) -> Result<Self, Vec<&'static str>> {
        match self {
            Self::Any => Ok(Self::Any),
            Self::Map(value) => Ok(*value),
            Self::Members(members) => {
                let found = members.iter().find(|(member, _)| *member == name).map(|(_, shape)| *shape);
                found.ok_or_else(|| members.iter().map(|(member, _)| *member).collect())
            }
            Self::Text | Self::Number | Self::Bool | Self::List(_) => Err(Vec::new()),
        }
    }

    pub(super) fn element(self) -> Self {
        match self {
            Self::List(element) => *element,
            Self::Map(_) | Self::Members(_) => TEXT,
            _ => Self::Any,
        }
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Members(_) => "a map",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_know_members_of_the_record() {
        assert_eq!(Shape::of(Word::Pod).member("name"), Ok(Shape::Text));
        assert_eq!(Shape::of(Word::Pod).member("labels").and_then(|labels| labels.member("any/key")), Ok(Shape::Text));
        assert_eq!(Shape::of(Word::Containers).element().member("imageId"), Ok(Shape::Text));
        assert_eq!(Shape::of(Word::Term).member("number"), Err(Vec::new()));
        assert!(Shape::of(Word::State).member("lifecycel").is_err_and(|names| names.contains(&"lifecycle")));
        assert_eq!(Shape::of(Word::Answer).member("anything"), Ok(Shape::Any));
    }
}
