//! Presets, and how a target overrides one.
//!
//! Maps merge member by member. Requests, credentials and lists are replaced whole, because half of an old request and
//! half of a new one are rarely a request. `null` removes a member. Every value keeps its place, so that the result
//! says where each member came from.

use super::{
    place::{Error, Source},
    spec::values::PresetName,
    tree::{Key, Node, Tree},
    yaml,
};

/// Members of a target that are replaced whole.
const WHOLE: [&str; 7] = ["auth", "put", "create", "update", "delete", "list", "find"];

impl PresetName {
    /// The description. Protocol v1 has none: it is not described but built in.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::Rest => Some(include_str!("presets/rest.yaml")),
            Self::Etcd => Some(include_str!("presets/etcd.yaml")),
            Self::Skydns => Some(include_str!("presets/skydns.yaml")),
            Self::Consul => Some(include_str!("presets/consul.yaml")),
        }
    }
}

/// The target on top of its preset. A target without a preset is returned without its `null` members.
pub fn expand(target: Tree, preset: Option<PresetName>) -> Result<Tree, Vec<Error>> {
    let preset = preset.and_then(|preset| Some((preset.name(), preset.text()?)));
    let base = match preset {
        Some((name, text)) => yaml::parse(&Source::new(&format!("preset {name}"), text))?,
        None => Tree { place: target.place.clone(), node: Node::Map(Vec::new()) },
    };
    Ok(merge(base, target, true))
}

/// `top` says that the trees are targets.
fn merge(base: Tree, over: Tree, top: bool) -> Tree {
    let (Node::Map(mut entries), Node::Map(overrides)) = (base.node, &over.node) else { return over };
    for (key, value) in overrides {
        let before = entries.iter().position(|(known, _)| known.text == key.text);
        if value.is_null() {
            before.map(|at| entries.remove(at));
            continue;
        }
        let entry = match before {
            Some(at) if !(top && WHOLE.contains(&key.text.as_str())) => entries[at].1.clone(),
            // Merging with an empty map removes `null` members.
            _ => Tree { place: value.place.clone(), node: Node::Map(Vec::new()) },
        };
        let whole = top && WHOLE.contains(&key.text.as_str());
        let value = if whole { value.clone() } else { merge(entry, value.clone(), false) };
        place_entry(&mut entries, before, (key.clone(), value));
    }
    Tree { place: over.place, node: Node::Map(entries) }
}

fn place_entry(entries: &mut Vec<(Key, Tree)>, at: Option<usize>, entry: (Key, Tree)) {
    match at {
        Some(at) => entries[at] = entry,
        None => entries.push(entry),
    }
}
