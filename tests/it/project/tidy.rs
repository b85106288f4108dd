//! Rules for the sources: which module may use which, headers, sizes, and the purity of the core.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::project::{self, code, code_without_tests, is_test};

/// The modules that a module may use. A new one is a decision, which `src/lib.rs` describes first.
const ARROWS: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("reconcile", &["model"]),
    ("mapping", &["model", "reconcile"]),
    ("store", &["model"]),
    ("telemetry", &[]),
    ("clock", &["model"]),
    ("connect", &[]),
    ("files", &[]),
    ("listen", &[]),
    ("kubernetes", &["clock", "connect", "files", "model", "reconcile", "store", "telemetry"]),
    ("registry", &["connect", "files", "listen", "mapping", "model", "reconcile"]),
    ("conformance", &["connect", "files", "model"]),
    ("controller", &["clock", "model", "reconcile", "registry", "store", "telemetry"]),
    ("otlp", &["clock", "connect", "files", "model", "reconcile", "telemetry"]),
    ("admin", &["listen", "telemetry"]),
    ("demo", &["listen", "model"]),
    ("cli", &["files", "model", "reconcile", "telemetry"]),
    ("fuzz", &["demo"]),
];

/// These may use everything.
const ROOTS: [&str; 3] = ["commands", "main", "lib"];

/// Random input, which is compiled only into tests: every module may test itself with it.
const TEST_MODULE: &str = "fuzz";

/// The modules without IO, clock and randomness.
const CORE: [&str; 4] = ["src/model", "src/reconcile", "src/mapping", "src/store/packed"];

/// Crates without IO, clock and randomness.
const PURE: [&str; 19] = [
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
    "strum",
    "http",
    "serde_saphyr",
    "minijinja",
    "base64",
];

/// Names that stand for IO, a clock or randomness, also when they are written as full paths.
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
    // Seeds are arguments.
    "Rng::new",
    "fastrand::u",
];

/// The files that may read the wall clock, and their purpose. All other code uses the monotonic clock, so that a
/// changed wall clock affects no wait, limit, order or deletion.
const WALL_CLOCK_READERS: [(&str, &str); 14] = [
    ("src/registry/mapped/sign.rs", "the time in a signature, which receivers compare with theirs"),
    ("src/registry/mapped/mod.rs", "the times of changes and rounds, for templates that send them"),
    ("src/registry/http.rs", "converts a Retry-After date into a bounded wait"),
    ("src/kubernetes/lease/elector.rs", "times in the Lease, which the program does not read"),
    ("src/kubernetes/plugin.rs", "converts the expiry of a plugin's credentials into a monotonic time"),
    ("src/kubernetes/lease/approvals.rs", "the time of an Event"),
    ("src/kubernetes/receipts/request.rs", "the times of conditions and Events"),
    ("src/registry/server/clock.rs", "the reference registry: the times of sessions, and the age of its log"),
    ("src/demo/api/store.rs", "the demo's API server: the times in its objects"),
    ("src/commands/check/clocks.rs", "compares the clocks of servers with this one, for a person"),
    ("src/commands/run/export.rs", "the times in traces, which others compare"),
    ("src/telemetry/log_export.rs", "the times of log lines for a collector"),
    ("src/commands/run/status.rs", "the time of a status, for people"),
    ("src/commands/instance.rs", "the first epoch for a registry without sessions"),
];

const MOST_LINES: usize = 500;

const COMMENT_COLUMNS: usize = 120;

#[test]
fn comments_wrap() {
    let mut long = Vec::new();
    for file in ["src", "tests", "benches", "examples"].into_iter().flat_map(project::sources) {
        let mut in_block = false;
        for (number, line) in (1..).zip(fs::read_to_string(&file).unwrap().lines()) {
            let Some(comment) = line.trim_start().strip_prefix("//") else {
                in_block = false;
                continue;
            };
            let comment = comment.trim_start_matches(['/', '!']).trim_start();
            in_block ^= comment.starts_with("```");
            // Drawings, rows of tables and targets of links cannot wrap.
            let cannot_wrap = in_block || comment.starts_with('|') || comment.contains("]: ");
            if !cannot_wrap && line.chars().count() > COMMENT_COLUMNS {
                long.push(format!("{}:{number}: {line}", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn modules_use_only_the_modules_they_may() {
    for file in project::sources("src") {
        let module = module(&file);
        let used: BTreeSet<String> = modules_used(&code(&file)).into_iter().filter(|used| *used != module).collect();
        if ROOTS.contains(&module.as_str()) {
            continue;
        }
        let (_, allowed) = ARROWS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| {
            panic!("{} belongs to no module of the table; add it and the modules that it may use", file.display())
        });
        for used in used.into_iter().filter(|used| used != TEST_MODULE || !is_test(&file)) {
            assert!(allowed.contains(&used.as_str()), "{}: {module} must not use {used}", file.display());
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
    let expected = WALL_CLOCK_READERS.map(|(file, _)| project::root().join(file));
    assert_eq!(
        found,
        BTreeSet::from(expected),
        "a new reader of the wall clock is a decision: add its purpose to the table"
    );
    assert!(code(&project::root().join("src/clock.rs")).contains("use tokio::time::Instant"), "the clock is monotonic");
}

#[test]
fn every_file_is_short_and_has_a_header() {
    for file in ["src", "tests", "benches"].into_iter().flat_map(project::sources) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with //!", file.display());
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines, more than {MOST_LINES}", file.display());
    }
}

#[test]
fn modules_are_found_in_every_kind_of_path() {
    let text =
        "use crate::model::Uid;\nuse crate::{registry::{v1::Item, Verdict}, sync};\nlet a = crate::demo::run();\n";
    let expected = ["demo", "model", "registry", "sync"].map(str::to_owned);
    assert_eq!(modules_used(text), BTreeSet::from(expected));
}

/// The first part of the path below `src`, without the extension.
fn module(file: &Path) -> String {
    let below = file.strip_prefix(project::root().join("src")).unwrap();
    let first = PathBuf::from(below.components().next().unwrap().as_os_str());
    first.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn modules_used(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(heads_of_group(group)),
            None => modules.extend(head(rest)),
        }
    }
    modules
}

/// The first names of the parts of a group, up to its closing brace.
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

/// The first name of a path, if it can be a module.
fn head(path: &str) -> Option<String> {
    let name: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
}
