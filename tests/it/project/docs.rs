//! The documents: line lengths, links, words to avoid, and lists that must match the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use pod_registrar::{
    mapping::{guarantees::guarantees, load::load, target::Target},
    model::ids::RecordOwner,
    telemetry::{health::Health, metrics::Metrics},
};

use crate::project::{self, pages};

const COLUMNS: usize = 100;
const CELL_CHARS: usize = 90;

/// Pages with long table cells: this one is generated from the help texts of the flags.
const LONG_CELLS: [&str; 1] = ["docs/settings.md"];

/// Words to avoid in documents, in lower case.
const AVOID: [&str; 13] = [
    "anew",
    "so many",
    "somebody",
    "anybody",
    "nobody",
    "whoever",
    "mend",
    "mends",
    "mended",
    "mending",
    "told",
    "meanwhile",
    "of those",
];

/// Capitalized words in files that read the environment, which are not names of variables.
const NOT_VARIABLES: [&str; 6] = ["POST", "DELETE", "PATCH", "ERROR", "RUST_LOG", "HOME"];

const VARIABLE_PREFIX: &str = "POD_REGISTRAR_TEST_";

/// A page with its code blocks emptied, so that line numbers stay.
fn prose(text: &str) -> Vec<&str> {
    let mut code = false;
    text.lines()
        .map(|line| {
            let is_fence = line.trim_start().starts_with("```");
            code ^= is_fence;
            if code || is_fence { "" } else { line }
        })
        .collect()
}

/// A line without the text between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

fn is_link_alone(line: &str) -> bool {
    let line = line.trim_start_matches("- ").trim();
    let starts = ["[", "![", "<"].iter().any(|start| line.starts_with(start));
    starts && (line.ends_with(')') || line.ends_with(']') || line.ends_with('>') || line.contains("]: "))
}

fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "/");
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn lines_wrap_and_cells_are_short() {
    let mut long = Vec::new();
    for page in pages() {
        let text = project::text(&page);
        for (number, line) in (1..).zip(prose(&text)) {
            let is_long = match line.starts_with('|') {
                true => !LONG_CELLS.contains(&&*page) && cells(line).iter().any(|c| c.chars().count() > CELL_CHARS),
                false => line.chars().count() > COLUMNS && !is_link_alone(line),
            };
            if is_long {
                long.push(format!("{page}:{number}: {line}"));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn words_are_plain() {
    let mut found = Vec::new();
    for page in pages() {
        let text = project::text(&page);
        // A phrase may span two lines.
        let lines: Vec<String> = prose(&text).into_iter().map(|line| without_code(line).to_lowercase()).collect();
        for (number, line) in (1..).zip(&lines) {
            let next = lines.get(number).map_or("", |line| line.split_whitespace().next().unwrap_or_default());
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
            let padded = format!(" {} ", words.join(" "));
            let joined = format!("{padded}{next} ");
            for avoid in AVOID {
                let (in_line, across) =
                    (format!(" {avoid} "), avoid.contains(' ') && joined.contains(&format!(" {avoid} ")));
                if padded.contains(&in_line) || across {
                    found.push(format!("{page}:{number}: {avoid:?} in {line:?}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The anchors that GitHub makes from the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let times = seen.entry(slug.clone()).or_default();
            *times += 1;
            if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
        })
        .collect()
}

/// The targets of inline links, images and reference definitions.
fn links(text: &str) -> Vec<String> {
    let joined = prose(text).join("\n");
    let mut found = Vec::new();
    for (at, _) in joined.match_indices("](") {
        found.extend(joined[at + 2..].split(')').next().map(str::to_owned));
    }
    for line in joined.lines().filter(|line| line.starts_with('[')) {
        found.extend(line.split_once("]: ").map(|(_, target)| target.trim().to_owned()));
    }
    found
}

#[test]
fn relative_links_resolve() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = project::text(&page);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
            let folder = project::root().join(&page).parent().unwrap().to_owned();
            let target: PathBuf = if path.is_empty() { project::root().join(&page) } else { folder.join(path) };
            let resolves = match anchor {
                None => target.exists(),
                Some(anchor) => fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor)),
            };
            if !resolves {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn links_and_anchors_are_read() {
    let text = "# A `b`: c\n## 150,000 pods\n## A b c\n```sh\n# no heading\n[no](link)\n```\n[x](y.md#z) ![p][q]\n[q]: r.png\n";
    let expected = ["a-b-c", "150000-pods", "a-b-c-1"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
    assert_eq!(links(text), ["y.md#z", "r.png"]);
}

/// The metrics of the program: name, type, and the values of all labels.
pub(super) fn metrics() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics = Metrics::new(Health::new(1));
    let _default = metrics.target("default");
    let text = metrics.encode().unwrap();
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let labels = text.lines().filter_map(|line| line.strip_prefix(&name)?.strip_prefix('{'));
        // In `NAME="VALUE",NAME="VALUE"}`, every second part is a value.
        let values = labels.flat_map(|labels| labels.split('"').collect::<Vec<_>>().into_iter().skip(1).step_by(2));
        let values = values.filter(|value| !value.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned);
        found.insert(name.clone(), (kind.to_owned(), values.collect()));
    }
    found
}

#[test]
fn operations_page_lists_the_metrics() {
    let text = project::text("docs/operations.md");
    let (_, section) = text.split_once("\n## Metrics\n").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `pod_registrar_")).map(cells);
    let listed: BTreeMap<String, String> =
        rows.map(|cells| (cells[0].trim_matches('`').to_owned(), cells[1].clone())).collect();
    let metrics = metrics();
    let expected: BTreeMap<String, String> =
        metrics.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    assert_eq!(listed, expected, "docs/operations.md and the program");
    for (name, (_, values)) in metrics {
        let unknown: Vec<_> = values.iter().filter(|value| !section.contains(&format!("`{value}`"))).collect();
        assert!(unknown.is_empty(), "{name} has values that the page does not explain: {unknown:?}");
    }
    assert_eq!(super::alerts::unknown_series(&text), Vec::<String>::new());
}

/// All names in a text that begin with the prefix of the tests' variables.
fn variables(text: &str) -> BTreeSet<String> {
    let name = |at: usize| text[at..].split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap();
    let names = text.match_indices(VARIABLE_PREFIX).map(|(at, _)| name(at).to_owned());
    names.filter(|name| name != VARIABLE_PREFIX).collect()
}

/// The files of tests, benches and checks, except this one.
fn sources() -> Vec<PathBuf> {
    let folders = ["tests", "benches", "src"];
    let sources =
        folders.into_iter().flat_map(project::sources).filter(|file| !file.ends_with("tests/it/project/docs.rs"));
    sources.chain([project::root().join(".ci/run")]).collect()
}

#[test]
fn contributing_page_lists_the_variables() {
    let page = project::text("CONTRIBUTING.md");
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(cells);
    let listed: BTreeSet<String> = rows.flat_map(|cells| variables(&cells[0])).collect();
    let used = sources().iter().flat_map(|file| variables(&fs::read_to_string(file).unwrap())).collect();
    assert_eq!(listed, used, "the table of CONTRIBUTING.md, and what tests, benches and .ci/run use");
}

#[test]
fn settings_page_lists_every_flag() {
    const PAGE: &str = "docs/settings.md";
    const UPDATE: &str = "POD_REGISTRAR_TEST_UPDATE";
    let page = pod_registrar::cli::page::page();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(project::root().join(PAGE), &page).unwrap();
    }
    let long = page.lines().find(|line| line.chars().count() > 100);
    assert_eq!(long, None, "lines wrap at 100 columns");
    let is_current = project::text(PAGE) == page;
    assert!(is_current, "the flags have changed; write {PAGE}: {UPDATE}=1 cargo test --test it settings_page");
}

#[test]
fn schema_describes_targets_files() {
    const FILE: &str = "docs/targets.schema.json";
    const UPDATE: &str = "POD_REGISTRAR_TEST_UPDATE";
    let schema = serde_json::to_string_pretty(&pod_registrar::mapping::schema::schema()).unwrap() + "\n";
    if std::env::var_os(UPDATE).is_some() {
        fs::write(project::root().join(FILE), &schema).unwrap();
    }
    let is_current = fs::read_to_string(project::root().join(FILE)).is_ok_and(|file| file == schema);
    assert!(is_current, "the members have changed; write {FILE}: {UPDATE}=1 cargo test --test it schema_describes");
}

#[test]
fn test_variables_have_the_prefix() {
    let is_name = |word: &str| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let reads = |code: &str| ["env::var(", "env::var_os("].iter().any(|call| code.contains(call));
    let is_test = |file: &Path| !file.starts_with(project::root().join("src")) || file.ends_with("src/fuzz/mod.rs");
    for file in sources().into_iter().filter(|file| is_test(file)) {
        let code = fs::read_to_string(&file).unwrap();
        if !reads(&code) {
            continue;
        }
        let literals = code.split('"').filter(|word| is_name(word) && !word.starts_with("CARGO_"));
        let wrong: Vec<_> =
            literals.filter(|word| !word.starts_with(VARIABLE_PREFIX) && !NOT_VARIABLES.contains(word)).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?} do not begin with {VARIABLE_PREFIX}", file.display());
    }
}

/// The steps of `.ci/run`, in order.
fn steps() -> Vec<String> {
    let script = project::text(".ci/run");
    let (_, list) = script.split_once("\nsteps=(").expect("the list of steps");
    list.split(')').next().unwrap().split_whitespace().map(str::to_owned).collect()
}

/// The steps of all `.ci/run` calls in a file.
fn called(path: &str) -> BTreeSet<String> {
    let text = project::text(path);
    let calls = text.lines().filter_map(|line| line.trim().trim_start_matches("- run: ").strip_prefix(".ci/run "));
    let names = calls.flat_map(|rest| rest.split_whitespace().collect::<Vec<_>>());
    names.filter(|name| !name.starts_with(['-', '{'])).map(str::to_owned).collect()
}

#[test]
fn workflow_runs_all_steps_but_the_cluster() {
    let steps = steps();
    let expected: BTreeSet<String> = steps.iter().filter(|step| *step != "cluster").cloned().collect();
    assert_eq!(called(".github/workflows/ci.yml"), expected);
    let unknown: Vec<String> =
        called("justfile").into_iter().chain(called("CONTRIBUTING.md")).filter(|name| !steps.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are no steps of .ci/run");
    let script = project::text(".ci/run");
    for step in steps {
        assert!(script.contains(&format!("\nstep_{step}() {{\n")), "{step}");
    }
    let workflow = project::text(".github/workflows/ci.yml");
    let jobs = workflow.matches("runs-on:").count();
    assert!(jobs > 0 && workflow.matches("timeout-minutes:").count() == jobs, "every job has a time limit");
}

/// What becomes of a late write of a former leader, on the pages of presets and by `targets check`.
#[test]
fn preset_pages_agree_with_checks() {
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let is_by_lease = |text: &str| text.contains("by the Lease alone");
    let mut compared = Vec::new();
    for page in pages().into_iter().filter(|page| page.starts_with("docs/targets/")) {
        let text = project::text(&page);
        let row = text.lines().find(|line| line.starts_with("| a late "));
        let file = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let Some((row, file)) = row.zip(file.filter(|file| file.starts_with("targets:"))) else { continue };
        let loaded = load(&page, file).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let target = Target::compile(&loaded.targets[0].spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let [.., late_writes] = guarantees(&target);
        assert_eq!(is_by_lease(row), is_by_lease(&late_writes.because), "{page}: {row} {}", late_writes.because);
        compared.push(page);
    }
    assert!(compared.len() >= 10, "{compared:?}");
}
