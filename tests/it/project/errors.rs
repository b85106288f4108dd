//! The table of ERROR lines in docs/operations.md must match the messages in the sources.

use std::collections::BTreeSet;

use crate::project;

/// A message in the sources that no reader sees: a line of a test.
const OF_TESTS: &str = "a whole list";

/// The messages of all calls of `error!`: the last string of each.
fn messages() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in project::sources("src") {
        let text = std::fs::read_to_string(&source).unwrap();
        for call in text.split("error!(").skip(1) {
            // Only the macro of tracing has fields or a text here; `compile_error!` and others are not used.
            let end = call.find(");").unwrap_or_else(|| panic!("{}: no end of a call", source.display()));
            // A string over two lines ends its first one with a backslash.
            let joined: Vec<&str> = call[..end].split("\\\n").map(str::trim_start).collect();
            let joined = joined.concat();
            let last = joined.split('"').nth_back(1).unwrap_or_else(|| panic!("{}: no text", source.display()));
            found.insert(last.to_owned());
        }
    }
    found.remove(OF_TESTS);
    found
}

/// The beginnings of messages in the section, each without its `…`.
fn documented() -> BTreeSet<String> {
    let page = project::text("docs/operations.md");
    let (_, section) = page.split_once("\n### ERROR lines\n").unwrap();
    let section = section.split("\n## ").next().unwrap().replace('\n', " ");
    let table = section.split_once("| message |").unwrap().1;
    table.split('`').skip(1).step_by(2).filter_map(|code| Some(code.strip_suffix('…')?.trim_end().to_owned())).collect()
}

#[test]
fn every_error_line_has_a_row() {
    let (messages, documented) = (messages(), documented());
    assert!(messages.len() > 15, "{messages:#?}");
    let lacks = messages.iter().filter(|message| !documented.iter().any(|start| message.starts_with(start)));
    let lacks: Vec<&String> = lacks.collect();
    assert!(lacks.is_empty(), "not in docs/operations.md, ERROR lines: {lacks:#?}");
    let excess = documented.iter().filter(|start| !messages.iter().any(|message| message.starts_with(&***start)));
    let excess: Vec<&String> = excess.collect();
    assert!(excess.is_empty(), "docs/operations.md, ERROR lines, has messages that do not exist: {excess:#?}");
}
