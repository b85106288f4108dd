//! Rules about the sources that nobody should have to remember: arrows between rooms, headers, sizes, purity of the core.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::project::{self, code, code_without_tests, is_test};

/// Which rooms a room may use. A new arrow is a decision: it belongs on the map in `src/lib.rs` first.
const ARROWS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("reconcile", &["model"]),
    ("store", &["model"]),
    ("telemetry", &[]),
    ("clock", &["model"]),
    ("connect", &[]),
    ("listen", &[]),
    ("kubernetes", &["clock", "connect", "model", "reconcile", "store", "telemetry"]),
    ("registry", &["connect", "listen", "model", "reconcile"]),
    ("controller", &["clock", "model", "reconcile", "registry", "store", "telemetry"]),
    ("admin", &["listen", "telemetry"]),
    ("demo", &["model"]),
    ("cli", &["model", "reconcile", "telemetry"]),
    ("fuzz", &["demo"]),
];

/// These see everything: the composition root, the program and the map.
const ROOTS: [&str; 3] = ["commands", "main", "lib"];

/// Random inputs, which are compiled into tests alone: every room may test itself with them.
const TEST_ROOM: &str = "fuzz";

/// Where every decision is, and what a pod and a record are.
const CORE: [&str; 3] = ["src/model", "src/reconcile", "src/store/packed"];

/// Crates that neither wait nor reach outside.
const PURE: [&str; 15] = [
    "std",
    "core",
    "crate",
    "super",
    "self",
    "serde",
    "serde_json",
    "serde_json_canonicalizer",
    "sha2",
    "jiff",
    "thiserror",
    "uuid",
    "wildmatch",
    "hashbrown",
    "uuid",
];

/// What of the standard library reaches outside, and what must not be written out by a full path.
const IMPURE: [&str; 21] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "std::io",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "async fn",
    "async move",
    ".await",
    "tokio::",
    "kube::",
    "kube_runtime::",
    "k8s_openapi::",
    "axum::",
    "reqwest::",
    "tracing::",
    // Seeds are handed in.
    "Rng::new",
    "fastrand::u",
];

/// Where the time of day may be read, and what for. Everything else goes by the monotonic clock, so that a clock that is set
/// decides nothing: no wait, no limit, no order, no deletion.
const TIME_OF_DAY: [(&str, &str); 7] = [
    ("src/registry/client/http.rs", "a Retry-After that is a date, whose wait is capped"),
    ("src/kubernetes/lease/elector.rs", "what a Lease shows of its holder; nobody here reads it"),
    ("src/kubernetes/plugin.rs", "how long a plugin's credentials last; read once, then the monotonic clock counts"),
    ("src/kubernetes/lease/approvals.rs", "when an Event says that it happened"),
    (
        "src/registry/server/clock.rs",
        "the reference registry: what it shows of sessions, and for how long it keeps its log",
    ),
    (
        "src/commands/run.rs",
        "the first epoch for a registry without sessions; read once, then the monotonic clock counts",
    ),
    ("src/demo/api/store.rs", "the stand-in for the API server: the times in its objects"),
];

const MOST_LINES: usize = 500;

#[test]
fn modules_use_only_the_modules_they_may() {
    for file in project::sources("src") {
        let room = room(&file);
        let used: BTreeSet<String> = rooms_used(&code(&file)).into_iter().filter(|used| *used != room).collect();
        if ROOTS.contains(&room.as_str()) {
            continue;
        }
        let (_, allowed) = ARROWS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| {
            panic!("{} is in no room of the table; add the room and what it may use", file.display())
        });
        for used in used.into_iter().filter(|used| used != TEST_ROOM || !is_test(&file)) {
            assert!(allowed.contains(&used.as_str()), "{}: {room} must not use {used}", file.display());
        }
    }
}

#[test]
fn other_modules_are_imported_by_full_path() {
    for file in project::sources("src") {
        assert!(!code(&file).contains("super::super"), "{}: write crate::… instead", file.display());
    }
}

#[test]
fn core_is_pure() {
    for file in CORE.into_iter().flat_map(project::sources) {
        let code = code_without_tests(&file);
        for path in code.lines().map(str::trim).filter_map(|line| line.strip_prefix("use ")) {
            let first = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            let own = code.contains(&format!("mod {first};"));
            assert!(own || PURE.contains(&first), "{}: use {path}", file.display());
        }
        for impure in IMPURE {
            assert!(!code.contains(impure), "{}: {impure} in the core", file.display());
        }
    }
}

#[test]
fn only_listed_files_read_the_wall_clock() {
    const READS: [&str; 8] = [
        "SystemTime::",
        "Timestamp::now",
        "Zoned::now",
        "UNIX_EPOCH",
        "Utc::now",
        "Local::now",
        "clock_gettime",
        "chrono::",
    ];
    let reads = |file: &Path| READS.iter().any(|read| code_without_tests(file).contains(read));
    let found: BTreeSet<PathBuf> = project::sources("src").into_iter().filter(|file| reads(file)).collect();
    let expected = TIME_OF_DAY.map(|(file, _)| project::root().join(file));
    assert_eq!(found, BTreeSet::from(expected), "a new reader of the time of day is a decision: say what for");
    assert!(code(&project::root().join("src/clock.rs")).contains("use tokio::time::Instant"), "the clock is monotonic");
}

#[test]
fn every_file_is_short_and_has_a_header() {
    for file in ["src", "tests", "benches"].into_iter().flat_map(project::sources) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with //!", file.display());
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines, more than {MOST_LINES}", file.display());
    }
}

#[test]
fn modules_are_found_in_every_kind_of_path() {
    let text =
        "use crate::model::Uid;\nuse crate::{registry::{v1::Item, Verdict}, sync};\nlet a = crate::demo::run();\n";
    let expected = ["demo", "model", "registry", "sync"].map(str::to_owned);
    assert_eq!(rooms_used(text), BTreeSet::from(expected));
}

/// The first part of the path below `src`, without the ending.
fn room(file: &Path) -> String {
    let below = file.strip_prefix(project::root().join("src")).unwrap();
    let first = PathBuf::from(below.components().next().unwrap().as_os_str());
    first.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(heads_of_group(group)),
            None => rooms.extend(head(rest)),
        }
    }
    rooms
}

/// The names that stand first in the parts of a group, which goes on until its brace is closed.
fn heads_of_group(group: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let mut heads = BTreeSet::new();
    let mut part = String::new();
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(head(&std::mem::take(&mut part))),
            _ if depth == 0 => part.push(c),
            _ => {}
        }
    }
    heads.extend(head(&part));
    heads
}

/// A path's first name, where it can be a module's.
fn head(path: &str) -> Option<String> {
    let name: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
}
