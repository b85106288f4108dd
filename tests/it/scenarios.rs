//! The table of fault scenarios in `tests/SCENARIOS.md`: complete, and about tests that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::project;

/// The scenarios have these numbers.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=98;

/// Where a scenario may be said not to apply: there is nothing in the program that it could strike.
const MAY_NOT_APPLY: [u32; 3] = [25, 26, 48];

/// What a scenario may put to the test, in the order of the table's legend.
const PROMISES: [&str; 16] = [
    "identity",
    "no phantom",
    "no false delete",
    "freshness",
    "brake",
    "order",
    "acknowledge before forgetting",
    "fencing",
    "scope",
    "confidentiality",
    "bounded memory",
    "convergence",
    "replaced watch",
    "no delay by others",
    "repair",
    "liveness",
];

const NOT_APPLICABLE: &str = "not applicable: ";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: u32,
    fault: String,
    promises: Vec<String>,
    proof: String,
}

fn table() -> (String, Vec<Row>) {
    let text = project::text("tests/SCENARIOS.md");
    let rows = rows(&text);
    (text, rows)
}

/// The rows that begin with a number.
fn rows(text: &str) -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
    lines
        .filter_map(|cells| {
            let number = cells.get(1)?.parse().ok()?;
            let [_, _, fault, promises, proof, _] = cells.as_slice() else { panic!("not four cells: {cells:?}") };
            let promises = promises.split(", ").map(str::to_owned).collect();
            Some(Row { number, fault: fault.clone(), promises, proof: proof.clone() })
        })
        .collect()
}

/// The names of tests in a cell, if there is nothing else in it.
fn names(proof: &str) -> Option<Vec<&str>> {
    let names = proof.split(", ").map(|name| name.strip_prefix('`')?.strip_suffix('`'));
    names.collect()
}

/// Every test of the project, as module and function.
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

/// A file's module, without the name of the program or of the test binary `it`; tests beside a module count as its own.
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

/// The functions under a test's attribute that are run by default.
fn tests_in(text: &str) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
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
fn every_scenario_has_one_row_in_its_place() {
    let (_, rows) = table();
    let found: Vec<u32> = rows.iter().map(|row| row.number).collect();
    assert_eq!(found, NUMBERS.collect::<Vec<u32>>(), "one row a number, in order");
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_there_is_none() {
    let (tests, (_, rows)) = (tests(), table());
    for Row { number, fault, proof, .. } in rows {
        assert!(!fault.is_empty(), "{number} names no fault");
        if let Some(reason) = proof.strip_prefix(NOT_APPLICABLE) {
            assert!(MAY_NOT_APPLY.contains(&number), "{number} applies, it needs a test");
            assert!(reason.split_whitespace().count() >= 5 && !reason.contains('`'), "{number} gives no reason");
            continue;
        }
        let names = names(&proof).unwrap_or_else(|| panic!("{number} has something else than names: {proof}"));
        let unknown: Vec<_> = names.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(unknown.is_empty(), "{number} names tests that do not exist: {unknown:?}");
        let once: BTreeSet<_> = names.iter().collect();
        assert_eq!(once.len(), names.len(), "{number} names a test twice");
    }
}

#[test]
fn promises_are_those_of_the_legend_and_each_is_put_to_the_test() {
    let (text, rows) = table();
    let legend = text.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**: "));
    let legend: Vec<&str> = legend.map(|(promise, _)| promise).collect();
    assert_eq!(legend, PROMISES, "the legend");
    let mut tried: BTreeMap<&str, u32> = PROMISES.iter().map(|promise| (*promise, 0)).collect();
    for Row { number, promises, .. } in &rows {
        for promise in promises {
            let count = tried.get_mut(promise.as_str());
            *count.unwrap_or_else(|| panic!("{number} is about {promise:?}, which is no promise")) += 1;
        }
    }
    let untried: Vec<_> = tried.iter().filter(|(_, count)| **count == 0).collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn a_table_is_read_as_it_is_written() {
    let text = "| number | fault |\n| --- | --- |\n| 7 | a fault | order, brake | `a::b`, `c::d` |\n| no | row |\n";
    let [row] = rows(text).try_into().unwrap();
    assert_eq!((row.number, row.promises.as_slice()), (7, ["order".to_owned(), "brake".to_owned()].as_slice()));
    assert_eq!(names(&row.proof), Some(vec!["a::b", "c::d"]));
    assert_eq!(names("`a::b` and more"), None);
    assert_eq!(names("not yet tested"), None);
}

#[test]
fn tests_are_found_by_their_attribute() {
    let text = "#[test]\nfn one() {}\nfn none() {}\n#[tokio::test(start_paused = true)]\n// Why.\nasync fn two() {}\n\
                #[test]\n#[ignore = \"slow\"]\nfn three() {}\n";
    assert_eq!(tests_in(text), ["one", "two"]);
    let module = |path: &str| module(&project::root().join(path));
    let paths =
        ["src/model/brake.rs", "src/model/ledger_tests.rs", "src/admin/tests.rs", "src/telemetry/metrics/mod.rs"];
    assert_eq!(paths.map(module), ["model::brake", "model::ledger", "admin", "telemetry::metrics"]);
    let paths =
        ["tests/it/informer.rs", "tests/it/reference/mod.rs", "tests/it/event_loop/start.rs", "tests/other/main.rs"];
    assert_eq!(paths.map(module), ["informer", "reference", "event_loop::start", "other"]);
}
