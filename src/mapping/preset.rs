//! Presets, and how a target overrides one.
//!
//! Maps merge member by member. Requests, credentials and lists are replaced whole, because half of an old request and
//! half of a new one are rarely a request. `null` removes a member. Every value keeps its place, so that the result
//! says where each member came from.

use super::{
    place::{Error, Source},
    spec::values::PresetName,
    tree::{Node, Tree},
    yaml,
};

/// Members of a target, and of a kind, that are replaced whole.
const WHOLE: [&str; 8] = ["auth", "sign", "put", "create", "update", "delete", "list", "find"];

impl PresetName {
    /// The description. Protocol v1 has none: it is not described but built in.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::Rest => Some(include_str!("presets/rest.yaml")),
            Self::Etcd => Some(include_str!("presets/etcd.yaml")),
            Self::Skydns => Some(include_str!("presets/skydns.yaml")),
            Self::Consul => Some(include_str!("presets/consul.yaml")),
            Self::Netbox => Some(include_str!("presets/netbox.yaml")),
            Self::Elasticsearch => Some(include_str!("presets/elasticsearch.yaml")),
            Self::Nautobot => Some(include_str!("presets/nautobot.yaml")),
            Self::Port => Some(include_str!("presets/port.yaml")),
            Self::Postgrest => Some(include_str!("presets/postgrest.yaml")),
            Self::Servicenow => Some(include_str!("presets/servicenow.yaml")),
            Self::Webhook => Some(include_str!("presets/webhook.yaml")),
            Self::Cloudevents => Some(include_str!("presets/cloudevents.yaml")),
            Self::CloudeventsBinary => Some(include_str!("presets/cloudevents-binary.yaml")),
            Self::CloudeventsBatched => Some(include_str!("presets/cloudevents-batched.yaml")),
        }
    }
}

/// What a map describes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// A target, or one of its kinds.
    Records,
    Kinds,
    Other,
}

impl Level {
    fn of_member(self, name: &str) -> Self {
        match self {
            Self::Records if name == "kinds" => Self::Kinds,
            Self::Kinds => Self::Records,
            _ => Self::Other,
        }
    }
}

/// The target on top of its preset. A target without a preset is returned without its `null` members.
pub fn expand(target: Tree, preset: Option<PresetName>) -> Result<Tree, Vec<Error>> {
    let Some((preset, text)) = preset.and_then(|preset| Some((preset, preset.text()?))) else {
        return Ok(merge(None, target, Level::Records));
    };
    let base = yaml::parse(&Source::new(&format!("preset {}", preset.name()), text))?;
    Ok(merged(base, target))
}

/// `over` on top of `base`.
pub(super) fn merged(base: Tree, over: Tree) -> Tree {
    merge(Some(base), over, Level::Records)
}

fn merge(base: Option<Tree>, over: Tree, level: Level) -> Tree {
    let Node::Map(overrides) = over.node else { return over };
    let mut entries = match base.map(|base| base.node) {
        Some(Node::Map(entries)) => entries,
        _ => Vec::new(),
    };
    for (key, value) in overrides {
        let before = entries.iter().position(|(known, _)| known.text == key.text);
        if value.is_null() {
            before.map(|at| entries.remove(at));
            continue;
        }
        let whole = level == Level::Records && WHOLE.contains(&key.text.as_str());
        let base = before.map(|at| entries[at].1.clone());
        let value = if whole { value } else { merge(base, value, level.of_member(&key.text)) };
        match before {
            Some(at) => entries[at] = (key, value),
            None => entries.push((key, value)),
        }
    }
    Tree { place: over.place, node: Node::Map(entries) }
}
