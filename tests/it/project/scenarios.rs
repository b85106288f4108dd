//! The scenarios of `docs/scenarios.md` and the guarantees of `docs/guarantees.md` have tests, and these tests exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::project;

const NUMBERS: std::ops::RangeInclusive<u32> = 1..=99;

/// Scenarios that may be marked as not applicable: the program has no such part.
const MAY_NOT_APPLY: [u32; 2] = [25, 26];

/// The names of the guarantees, in the order of the page.
const GUARANTEES: [&str; 16] = [
    "identity",
    "no phantom",
    "no wrong deletion",
    "freshness",
    "absence guard",
    "order",
    "no lost change",
    "fencing",
    "scope",
    "confidentiality",
    "bounded memory",
    "convergence",
    "live watch",
    "isolation",
    "repair",
    "liveness",
];

const NOT_APPLICABLE: &str = "not applicable: ";

/// A scenario, with its entries in both parts of the page.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: u32,
    fault: String,
    guarantees: Vec<String>,
    proof: Vec<String>,
}

fn page() -> (String, Vec<Row>) {
    let text = project::text("docs/scenarios.md");
    let rows = rows(&text);
    (text, rows)
}

/// The rows of the tables that begin with a number and have two more cells, joined with the list of tests.
fn rows(text: &str) -> Vec<Row> {
    let (tables, list) = text.split_once("```text\n").expect("the list of tests");
    let mut proofs = proofs(list.split("```").next().unwrap());
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let rows: Vec<Row> = tables
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter_map(|cells| {
            let [_, number, fault, guarantees, _] = cells.as_slice() else { return None };
            let number = number.parse().ok()?;
            let guarantees = guarantees.split(", ").map(str::to_owned).collect();
            let proof = proofs.remove(&number).unwrap_or_else(|| panic!("{number} has no line in the list of tests"));
            Some(Row { number, fault: fault.clone(), guarantees, proof })
        })
        .collect();
    assert!(proofs.is_empty(), "the list of tests has numbers that no table has: {:?}", proofs.keys());
    rows
}

/// The list of tests: a number begins an entry, and further lines are indented.
fn proofs(list: &str) -> BTreeMap<u32, Vec<String>> {
    let (mut found, mut current) = (BTreeMap::<u32, Vec<String>>::new(), 0);
    for line in list.lines() {
        let (number, test) = line.split_at_checked(3).unwrap_or_else(|| panic!("no test in {line:?}"));
        if !number.trim().is_empty() {
            current = number.trim().parse().unwrap_or_else(|_| panic!("no number in {line:?}"));
            assert!(!found.contains_key(&current), "{current} is in the list twice");
        }
        found.entry(current).or_default().push(test.to_owned());
    }
    found
}

/// All tests of the project, as module and function.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "tests"] {
        for file in project::sources(folder) {
            let module = module(&file);
            let text = fs::read_to_string(&file).unwrap();
            found.extend(tests_in(&text).into_iter().map(|name| format!("{module}::{name}")));
        }
    }
    found
}

/// The module of a file, without the name of the program or of the test binary `it`. Tests beside a module count as its
/// own.
fn module(file: &Path) -> String {
    let below = file.strip_prefix(project::root()).unwrap().with_extension("");
    let mut parts: Vec<&str> = below.iter().map(|part| part.to_str().unwrap()).collect();
    parts.remove(0);
    if below.starts_with("tests/it") {
        parts.remove(0);
    }
    if parts.len() > 1 && parts.last().is_some_and(|last| ["mod", "tests", "main"].contains(last)) {
        parts.pop();
    }
    let module = parts.join("::");
    module.strip_suffix("_tests").map(str::to_owned).unwrap_or(module)
}

/// The test functions that are not ignored.
fn tests_in(text: &str) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if project::TEST_ATTRIBUTES.iter().any(|attribute| line.starts_with(attribute)) {
            pending = true;
        } else if line.starts_with("#[ignore") {
            pending = false;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| pending && !line.starts_with("//")) {
            found.extend(rest.split('(').next().map(str::to_owned));
            pending = false;
        }
    }
    found
}

#[test]
fn scenarios_are_complete_and_in_order() {
    let (_, rows) = page();
    let found: Vec<u32> = rows.iter().map(|row| row.number).collect();
    assert_eq!(found, NUMBERS.collect::<Vec<u32>>(), "one row per number, in order");
}

#[test]
fn scenarios_name_tests_that_exist() {
    let (tests, (_, rows)) = (tests(), page());
    for Row { number, fault, proof, .. } in rows {
        assert!(!fault.is_empty(), "{number} names no fault");
        if let Some(reason) = proof[0].strip_prefix(NOT_APPLICABLE) {
            assert!(MAY_NOT_APPLY.contains(&number), "{number} applies, it needs a test");
            assert!(reason.split_whitespace().count() >= 5 && !reason.contains("::"), "{number} gives no reason");
            continue;
        }
        let unknown: Vec<_> = proof.iter().filter(|name| !tests.contains(*name)).collect();
        assert!(unknown.is_empty(), "{number} names tests that do not exist: {unknown:?}");
        let once: BTreeSet<_> = proof.iter().collect();
        assert_eq!(once.len(), proof.len(), "{number} names a test twice");
    }
}

#[test]
fn guarantees_are_listed_and_all_are_tested() {
    let (text, rows) = page();
    let listed = text.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**: "));
    let listed: Vec<&str> = listed.map(|(guarantee, _)| guarantee).collect();
    assert_eq!(listed, GUARANTEES, "the list of guarantees");
    let mut tested: BTreeMap<&str, u32> = GUARANTEES.iter().map(|guarantee| (*guarantee, 0)).collect();
    for Row { number, guarantees, .. } in &rows {
        for guarantee in guarantees {
            let count = tested.get_mut(guarantee.as_str());
            *count.unwrap_or_else(|| panic!("{number} is about {guarantee:?}, which is not in the list")) += 1;
        }
    }
    let untested: Vec<_> = tested.iter().filter(|(_, count)| **count == 0).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn every_guarantee_names_modules_with_tests() {
    let text = project::text("docs/guarantees.md");
    let (guarantees, list) = text.split_once("\n## Tests of each guarantee\n").expect("the list of tests");
    let rows = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
        let lines = lines.filter(|(numbers, _)| numbers.starts_with(|c: char| c.is_ascii_digit()));
        lines.map(|(numbers, text)| (numbers.to_owned(), text.to_owned())).collect()
    };
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("{text:?} is not a number"));
    let given: Vec<usize> = rows(guarantees).iter().map(|(numbers, _)| number(numbers)).collect();
    let tested: Vec<usize> = rows(list).iter().flat_map(|(numbers, _)| numbers.split(", ").map(number)).collect();
    assert_eq!(given, (1..=given.len()).collect::<Vec<_>>(), "numbers are in order");
    assert_eq!(given, tested, "every guarantee is in the list of tests");
    let tests = tests();
    for (numbers, modules) in rows(list) {
        for module in modules.split('`').skip(1).step_by(2) {
            let prefix = format!("{module}::");
            assert!(tests.iter().any(|test| test.starts_with(&prefix)), "{numbers}: {module} has no tests");
        }
    }
}

#[test]
fn page_is_read_as_written() {
    let text = "| | fault | guarantees |\n| --- | --- | --- |\n| 7 | a fault | order, scope |\n| no | row | here |\n\
                ```text\n7  a::b\n   c::d\n```\n";
    let [row] = rows(text).try_into().unwrap();
    assert_eq!((row.number, row.guarantees.as_slice()), (7, ["order".to_owned(), "scope".to_owned()].as_slice()));
    assert_eq!(row.proof, ["a::b", "c::d"]);
}

#[test]
fn tests_are_found_by_their_attribute() {
    let text = "#[test]\nfn one() {}\nfn none() {}\n#[tokio::test(start_paused = true)]\n// Why.\nasync fn two() {}\n\
                #[test]\n#[ignore = \"slow\"]\nfn three() {}\n#[property_test]\nfn four(n: u8) {}\n";
    assert_eq!(tests_in(text), ["one", "two", "four"]);
    let module = |path: &str| module(&project::root().join(path));
    let paths =
        ["src/model/digest.rs", "src/model/ledger_tests.rs", "src/admin/tests.rs", "src/telemetry/metrics/mod.rs"];
    assert_eq!(paths.map(module), ["model::digest", "model::ledger", "admin", "telemetry::metrics"]);
    let paths =
        ["tests/it/project/docs.rs", "tests/it/informer/mod.rs", "tests/it/event_loop/start.rs", "tests/other/main.rs"];
    assert_eq!(paths.map(module), ["project::docs", "informer", "event_loop::start", "other"]);
}
