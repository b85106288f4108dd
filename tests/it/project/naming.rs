//! Rules for names and words in the sources.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::project;

/// Each type has one name; only `Error` exists in many modules.
const IN_EVERY_MODULE: &str = "Error";
const TEST_NAME_WORDS: usize = 8;
/// Words and phrases that make a sentence hard to understand.
const VAGUE: [&str; 12] = [
    "anew",
    "so many",
    "somebody",
    "whoever",
    "meanwhile",
    "of those",
    "mend",
    "mends",
    "mended",
    "what is none",
    "how it stands",
    "by itself alone",
];

#[test]
fn public_types_have_names_of_their_own() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in project::sources("src") {
        for name in project::code_without_tests(&file).lines().filter_map(public_type) {
            places.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    places.retain(|name, files| name != IN_EVERY_MODULE && files.len() > 1);
    assert!(places.is_empty(), "names that stand for several types: {places:#?}");
}

#[test]
fn modules_re_export_nothing() {
    for file in project::sources("src") {
        for line in project::code(&file).lines().map(str::trim) {
            let Some(path) = line.strip_prefix("pub").and_then(|rest| rest.split_once(" use ")) else { continue };
            // A macro can leave its own file only by a re-export.
            let is_macro = !path.1.contains("::") && !path.1.contains('{');
            assert!(is_macro || path.0.contains(' '), "{}: {line}", file.display());
        }
    }
}

#[test]
fn unit_tests_stand_in_one_place() {
    for file in project::sources("src") {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!text.contains("#[path"), "{}: a module's file has the module's name", file.display());
        assert!(!name.ends_with("_tests"), "{}: name it tests.rs, below its module", file.display());
        let opens = text.matches("#[cfg(test)]\nmod tests {").count();
        assert!(opens == 0 || text.trim_end().ends_with('}'), "{}: tests end the file", file.display());
        assert!(opens <= 1, "{}: one module of tests per file", file.display());
    }
}

#[test]
fn test_names_have_eight_words_at_most() {
    let mut long = Vec::new();
    for file in all_sources() {
        let text = fs::read_to_string(&file).unwrap();
        let names = project::TEST_ATTRIBUTES
            .iter()
            .flat_map(|attribute| text.split(attribute).skip(1))
            .filter_map(function_name);
        long.extend(
            names
                .filter(|name| name.split('_').count() > TEST_NAME_WORDS)
                .map(|name| format!("{}: {name}", file.display())),
        );
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn texts_use_plain_words() {
    let mut found = Vec::new();
    for file in all_sources().filter(|file| !file.ends_with("naming.rs") && !file.ends_with("docs.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let words = format!(" {} ", line.to_lowercase().replace(|c: char| !c.is_alphanumeric(), " "));
            let vague = VAGUE.iter().find(|word| words.contains(&format!(" {word} ")));
            found.extend(vague.map(|word| format!("{}:{}: {word}", file.display(), number + 1)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn all_sources() -> impl Iterator<Item = PathBuf> {
    ["src", "tests", "benches"].into_iter().flat_map(project::sources)
}

/// The name of the public type that a line declares.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = if rest.starts_with('(') { rest.split_once(')')?.1 } else { rest };
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| rest.trim_start().strip_prefix(kind))?;
    // A macro's variable, such as `$name`, is no name.
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

fn function_name(after_attribute: &str) -> Option<&str> {
    let (_, rest) = after_attribute.split_once("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn public_types_are_recognized() {
    let lines = ["pub struct A;", "    pub(super) enum B {", "pub(crate) trait C: Send {", "struct D;", "pub fn e() {"];
    assert_eq!(lines.map(public_type), [Some("A"), Some("B"), Some("C"), None, None]);
    assert_eq!(function_name("]\nasync fn f() {"), Some("f"));
    assert!(Path::new("src/lib.rs").ends_with("lib.rs"));
}
