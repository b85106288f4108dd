//! Prints a target after its preset was merged, with the origin of each member.

use super::{
    place::Place,
    tree::{Node, Tree},
};

/// The column of the origins, if the text before leaves room.
const ORIGIN_COLUMN: usize = 72;

/// The target as YAML. A comment at the end of a line names the file and line, or the preset.
pub fn show(tree: &Tree) -> String {
    let mut lines = Vec::new();
    block(tree, 0, &mut lines);
    lines.iter().map(|(text, place)| format!("{text:<ORIGIN_COLUMN$} # {}\n", origin(place))).collect()
}

/// The origin of each value that is neither a map nor a list with content, by JSON Pointer.
pub fn origins(tree: &Tree) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(tree, "", &mut found);
    found
}

fn collect(tree: &Tree, at: &str, found: &mut Vec<(String, String)>) {
    match &tree.node {
        Node::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                collect(value, &format!("{at}/{}", key.text.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Node::List(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| collect(item, &format!("{at}/{index}"), found));
        }
        _ => found.push((at.to_owned(), origin(&tree.place))),
    }
}

fn origin(place: &Place) -> String {
    let name = &place.source.name;
    if name.starts_with("preset ") { name.to_string() } else { format!("{name}:{}", place.line) }
}

fn block<'t>(tree: &'t Tree, indent: usize, lines: &mut Vec<(String, &'t Place)>) {
    match &tree.node {
        Node::Map(entries) => {
            for (key, value) in entries {
                entry(format!("{:indent$}{}:", "", scalar(&key.text)), &key.place, value, indent + 2, lines);
            }
        }
        Node::List(items) => {
            for item in items {
                entry(format!("{:indent$}-", ""), &item.place, item, indent + 2, lines);
            }
        }
        _ => {}
    }
}

fn entry<'t>(start: String, place: &'t Place, value: &'t Tree, indent: usize, lines: &mut Vec<(String, &'t Place)>) {
    let leaf = match &value.node {
        Node::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Node::List(items) if items.is_empty() => "[]".to_owned(),
        Node::Map(_) | Node::List(_) => {
            lines.push((start, place));
            return block(value, indent, lines);
        }
        Node::Null => "null".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Number(number) => number.to_string(),
        Node::Text(text) => scalar(text),
    };
    lines.push((format!("{start} {leaf}"), &value.place));
}

/// A text as YAML: plain if that is certainly a text, else in quotes.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '$'))
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'_' | b'-' | b'.' | b'$'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::{origins, show};
    use crate::mapping::{load::load, place::Source, spec::values::PresetName, yaml};

    #[test]
    fn members_show_their_origin() {
        let text = "targets:\n  - name: cmdb\n    preset: rest\n    url: https://a.example/\n    body: {node: null, x: \"{{ pod.uid }}\"}\n";
        let target = &load("t.yaml", text).unwrap().targets[0];
        let shown = show(&target.tree);
        let lines: Vec<String> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "name: cmdb # t.yaml:2",
            "body: # t.yaml:5",
            "owner: \"{{ mark }}\" # preset rest",
            "x: \"{{ pod.uid }}\" # t.yaml:5",
            "limit: 500 # preset rest",
        ] {
            assert!(lines.iter().any(|shown| shown == line), "{line}\n{shown}");
        }
        assert!(!shown.contains("node:"), "null removes: {shown}");
        let origins = origins(&target.tree);
        let origin = |pointer: &str| origins.iter().find(|(at, _)| at == pointer).map(|(_, origin)| origin.as_str());
        assert_eq!((origin("/body/x"), origin("/list/query/limit")), (Some("t.yaml:5"), Some("preset rest")));
    }

    #[test]
    fn shown_target_is_the_same_document() {
        for preset in PresetName::NAMES.iter().filter(|name| **name != "v1") {
            let text = format!(
                "targets: [{{name: a, preset: {preset}, url: http://a, vars: {{\"on\": [], x: {{}}, y: [[1, {{a: \"1\"}}]]}}}}]"
            );
            let target = &load("t.yaml", &text).unwrap().targets[0];
            let again = yaml::parse(&Source::new("shown", &show(&target.tree))).unwrap();
            assert_eq!(again.to_json(), target.tree.to_json());
        }
    }
}
