//! The alerts fire when they should: promtool runs `tests/chart/rules.yaml`, and checks the rules.

use std::process::Output;

use serde_json::Value;

use crate::{
    project::{root, rules, text},
    support::chart::ChartTools,
};

fn assert_succeeds(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn alerts_fire_when_they_should() {
    let Some(tools) = ChartTools::find() else { return };
    let mut spec = rules();
    for rule in
        spec["groups"].as_array_mut().unwrap().iter_mut().flat_map(|group| group["rules"].as_array_mut().unwrap())
    {
        // Otherwise each test would have to repeat them.
        rule.as_object_mut().unwrap().remove("annotations");
    }
    tools.file("rules.json", &spec.to_string());
    let tests = tools.file("tests.yaml", &text("tests/chart/rules.yaml"));
    assert_succeeds(&tools.run("promtool", &["test", "rules", &tests]));
}

/// The command of docs/operations.md that makes a rules file of the manifest.
#[test]
fn rules_file_of_the_page_is_valid() {
    let Some(tools) = ChartTools::find() else { return };
    let page = text("docs/operations.md");
    let command = page.lines().map(str::trim).find(|line| line.starts_with("sed ")).expect("the command");
    let (command, file) = command.split_once(" > ").expect("a redirection");
    let output = std::process::Command::new("sh").args(["-c", command]).current_dir(root()).output().unwrap();
    assert_succeeds(&output);
    let made = tools.file(file, std::str::from_utf8(&output.stdout).unwrap());
    assert_succeeds(&tools.run("promtool", &["check", "rules", "--lint=all", "--lint-fatal", &made]));
    let read: Value = serde_saphyr::from_str(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    assert_eq!(read, rules(), "the rules of the page's command");
}
