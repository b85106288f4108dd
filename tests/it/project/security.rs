//! The defences of the threat model have tests, and unsafe code is forbidden.

use std::{collections::BTreeSet, fs, path::Path};

use crate::project;

/// The tests in the list at the end of the page.
fn named(text: &str) -> BTreeSet<&str> {
    let (_, list) = text.split_once("\n## Tests of each defence\n").expect("the list of tests");
    list.split_whitespace().filter(|word| word.contains("::")).collect()
}

#[test]
fn threat_model_names_tests_that_exist() {
    let text = project::text("SECURITY.md");
    let tests = named(&text);
    assert!(tests.len() >= 25, "{tests:#?}");
    let sources: Vec<_> = project::sources("src").into_iter().chain(project::sources("tests")).collect();
    for test in tests {
        let (module, name) = test.rsplit_once("::").unwrap();
        // The tests of a module are in its file, or in one beside it.
        let folder = module.split("::").find(|part| *part != "tests").unwrap();
        let below = |file: &Path| file.strip_prefix(project::root()).unwrap().to_str().unwrap().contains(folder);
        let found = sources.iter().filter(|file| below(file)).any(|file| {
            let code = fs::read_to_string(file).unwrap();
            code.contains(&format!("fn {name}("))
        });
        assert!(found, "{test} is named and does not exist");
    }
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    assert!(project::text("Cargo.toml").contains("unsafe_code = \"forbid\""), "no lint can be allowed again");
    for root in ["src/lib.rs", "src/main.rs", "tests/it/main.rs"] {
        assert!(project::text(root).contains("\n#![forbid(unsafe_code)]\n"), "{root}");
    }
}
