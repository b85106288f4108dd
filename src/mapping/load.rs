//! Loads a targets file: from text to checked targets.
//!
//! All errors of one step are reported together: a document that is not YAML has one error; then come the members of
//! all targets, and last the rules about members that belong together.

use super::{
    members::FromTree,
    place::{Error, Source},
    preset, rules,
    spec::{TargetSpec, TargetsFile, values::PresetName},
    tree::{Node, Tree},
    yaml,
};

/// Errors that are reported. Those after them are usually of the same kind.
const MOST_ERRORS: usize = 50;

/// The targets of a file, in its order.
#[derive(Clone, Debug)]
pub struct LoadedTargets {
    pub targets: Vec<LoadedTarget>,
}

#[derive(Clone, Debug)]
pub struct LoadedTarget {
    pub spec: TargetSpec,
    /// The target after its preset was merged; [`super::show`] prints it.
    pub tree: Tree,
}

impl LoadedTarget {
    /// Whether the registry speaks protocol v1, so that the target describes no records.
    pub fn speaks_v1(&self) -> bool {
        self.spec.connection.preset == Some(PresetName::V1)
    }
}

/// Loads the text of a file. `name` is the file's path, as errors show it.
pub fn load(name: &str, text: &str) -> Result<LoadedTargets, Vec<Error>> {
    let source = Source::new(name, text.trim_start_matches('\u{feff}'));
    let document = yaml::parse(&source)?;
    if document.is_null() {
        let error = source.at(1, 1).error("the file is empty", "write `targets:` and a list of targets");
        return Err(vec![error]);
    }
    let document = with_presets(document)?;
    let mut errors = Vec::new();
    let file = TargetsFile::from_tree(&document, &mut errors);
    let targets = match file {
        Some(file) => with_trees(file, &document),
        None => Vec::new(),
    };
    if errors.is_empty() {
        rules::check(&document, &targets, &mut errors);
    }
    if errors.is_empty() { Ok(LoadedTargets { targets }) } else { Err(in_order(errors)) }
}

/// Replaces each target by what its preset and the target say together.
fn with_presets(document: Tree) -> Result<Tree, Vec<Error>> {
    let Node::Map(mut members) = document.node else { return Ok(document) };
    for (key, value) in &mut members {
        let Node::List(targets) = &mut value.node else { continue };
        if key.text != "targets" {
            continue;
        }
        for target in targets.iter_mut().filter(|target| matches!(target.node, Node::Map(_))) {
            // A wrong name is reported when the member is read.
            let preset = target.get("preset").and_then(|preset| PresetName::from_tree(preset, &mut Vec::new()));
            *target = preset::expand(target.clone(), preset)?;
        }
    }
    Ok(Tree { place: document.place, node: Node::Map(members) })
}

fn with_trees(file: TargetsFile, document: &Tree) -> Vec<LoadedTarget> {
    let Some(Node::List(trees)) = document.get("targets").map(|targets| &targets.node) else { return Vec::new() };
    file.targets.into_iter().zip(trees).map(|(spec, tree)| LoadedTarget { spec, tree: tree.clone() }).collect()
}

/// In the order of the file. An error in a part that aliases repeat is reported once.
pub fn in_order(mut errors: Vec<Error>) -> Vec<Error> {
    errors.sort_by_key(|error| (error.place.line, error.place.column));
    errors.dedup();
    errors.truncate(MOST_ERRORS);
    errors
}

#[cfg(test)]
mod tests;
