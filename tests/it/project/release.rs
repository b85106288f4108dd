//! What a release has beside the executable, and when it is refused.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::root;

const CHECKED: [&str; 4] = ["Cargo.toml", "Cargo.lock", "deploy/chart/Chart.yaml", "CHANGELOG.md"];
const NOTES: &str = "### Added\n\n- Everything.";

/// Files that agree on version 1.2.3.
fn released() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("deploy/chart")).unwrap();
    for path in CHECKED {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let current = env!("CARGO_PKG_VERSION");
        let text = match path {
            "CHANGELOG.md" => format!("# Changelog\n\n## [1.2.3] - 2026-01-02\n\n{NOTES}\n\n## [1.2.2] - 2026-01-01\n"),
            "Cargo.lock" => {
                let name = "name = \"pod-registrar\"\n";
                text.replace(&format!("{name}version = \"{current}\""), &format!("{name}version = \"1.2.3\""))
            }
            _ => text.replacen(&format!("ersion: {current}"), "ersion: 1.2.3", 2).replacen(
                &format!("\nversion = \"{current}\""),
                "\nversion = \"1.2.3\"",
                1,
            ),
        };
        fs::write(folder.path().join(path), text).unwrap();
    }
    folder
}

fn check(folder: &Path, tag: &str) -> (bool, String) {
    let mut command = Command::new(root().join(".ci/release-check"));
    let Output { status, stdout, stderr } = command.arg(tag).env("RELEASE_ROOT", folder).output().unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn release_has_notes_of_its_version() {
    let (passed, text) = check(released().path(), "v1.2.3");
    assert!(passed, "{text}");
    assert_eq!(text.trim(), NOTES);
}

#[test]
fn release_with_differing_versions_is_refused() {
    let cases = [
        ("Cargo.toml", "\nversion = \"1.2.3\"", "\nversion = \"1.2.4\"", "version in Cargo.toml is '1.2.4'"),
        ("Cargo.lock", "pod-registrar\"\nversion = \"1.2.3\"", "pod-registrar\"\nversion = \"1.2.4\"", "Cargo.lock"),
        ("deploy/chart/Chart.yaml", "\nversion: 1.2.3", "\nversion: 1.2.4", "version in deploy/chart/Chart.yaml"),
        ("deploy/chart/Chart.yaml", "\nappVersion: 1.2.3", "\nappVersion: 1.2.4", "appVersion in deploy/chart"),
        ("CHANGELOG.md", "[1.2.3] -", "[Unreleased] -", "CHANGELOG.md has no line '## [1.2.3] - YYYY-MM-DD'"),
        ("CHANGELOG.md", "- Everything.", "", "CHANGELOG.md is empty"),
    ];
    for (path, from, to, error) in cases {
        let folder = released();
        let file = folder.path().join(path);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{path}: {from:?}");
        fs::write(&file, text.replace(from, to).replace("### Added", if to.is_empty() { "" } else { "### Added" }))
            .unwrap();
        let (passed, text) = check(folder.path(), "v1.2.3");
        assert!(!passed && text.contains(error), "{path}: {error:?} is not in {text:?}");
    }
    for tag in ["1.2.3", "v1.2", "v1.2.3.4", "v01.2.x", ""] {
        let (passed, text) = check(released().path(), tag);
        assert!(!passed && text.contains("it must be v and a version"), "{tag:?}: {text}");
    }
}

/// The names of all commands, each as the page of settings has it: `targets render`.
fn commands(of: &clap::Command, before: &str) -> Vec<String> {
    let each = of.get_subcommands().flat_map(|command| {
        let name = format!("{before}{}", command.get_name());
        let below = commands(command, &format!("{name} "));
        std::iter::once(name).chain(below)
    });
    each.collect()
}

#[test]
fn release_assets_have_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "--example", "release-assets", "--"]).arg(folder.path());
    let Output { status, stderr, .. } = command.current_dir(root()).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let program = pod_registrar::cli::program();
    for name in commands(&program, "") {
        let page = folder.path().join(format!("man/pod-registrar-{}.1", name.replace(' ', "-")));
        let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(page.contains(".SH OPTIONS") || page.contains(".SH SUBCOMMANDS"), "{name}: {page}");
    }
    // The completion of bash, as bash calls it.
    let script = "source \"$1\"; COMP_WORDS=(pod-registrar targets re); COMP_CWORD=2; _pod_registrar pod-registrar re targets; \
                  echo \"${COMPREPLY[@]}\"";
    let file = folder.path().join("completions/pod-registrar.bash");
    let completed = Command::new("bash").args(["-c", script, "bash"]).arg(file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "render", "{completed:?}");
}
