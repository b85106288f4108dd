//! Files that load, and wrong files with the whole text of their errors.

use super::*;
use crate::{
    mapping::{
        spec::{RecordSpec, RecordsSpec},
        target::Target,
    },
    model::ids::RecordOwner,
};

/// The variable that writes the expected errors again.
const UPDATE: &str = "POD_REGISTRAR_TEST_UPDATE";

/// A target without a preset that lacks nothing.
const WHOLE: &str = r#"targets:
  - name: cmdb
    url: https://cmdb.example/api/
    body: {pod: "{{ pod }}"}
    put: {path: "a/{{ id }}"}
    delete: {path: "a/{{ id }}"}
"#;

fn only(text: &str) -> LoadedTarget {
    let mut loaded = load("t.yaml", text).unwrap_or_else(|errors| panic!("{text}\n{}", shown(&errors)));
    assert_eq!(loaded.targets.len(), 1);
    loaded.targets.remove(0)
}

fn shown(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// Compares the errors of each document in a file of cases: a title after `## `, the document, `--->`, the errors.
fn check_cases(name: &str, cases: &str) {
    let mut actual = String::new();
    for case in cases.split("## ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (document, _) = rest.split_once("--->\n").unwrap();
        let errors = load("t.yaml", document).map_or_else(|errors| shown(&errors), |_| "no error\n".to_owned());
        actual.push_str(&format!("## {title}\n{document}--->\n{errors}\n"));
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(format!("{}/src/mapping/load/wrong/{name}", env!("CARGO_MANIFEST_DIR")), &actual).unwrap();
    }
    assert!(actual == cases, "{actual}");
}

#[test]
fn wrong_yaml_is_explained() {
    check_cases("yaml.txt", include_str!("wrong/yaml.txt"));
}

#[test]
fn wrong_members_are_explained() {
    check_cases("members.txt", include_str!("wrong/members.txt"));
}

#[test]
fn wrong_combinations_are_explained() {
    check_cases("rules.txt", include_str!("wrong/rules.txt"));
}

#[test]
fn large_file_is_refused() {
    let text = format!("# {}\n", "a".repeat(yaml::MOST_BYTES));
    let errors = load("t.yaml", &text).unwrap_err();
    assert!(shown(&errors).starts_with("t.yaml:1:1: the file is larger than 1 MiB; split it"));
}

#[test]
fn number_of_errors_is_bounded() {
    let items = "3, ".repeat(10_000);
    assert_eq!(load("t.yaml", &format!("targets: [{items}]")).unwrap_err().len(), MOST_ERRORS);
}

#[test]
fn aliases_cannot_multiply_without_bound() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..9 {
        let parts = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
    }
    let errors = shown(&load("t.yaml", &text).unwrap_err());
    assert!(errors.contains("the document is too large; use at most 48 levels and 100000 values"), "{errors}");
}

#[test]
fn shipped_examples_are_accepted() {
    let examples =
        [include_str!("../../../docs/targets/couchdb.yaml"), include_str!("../../../docs/targets/zabbix.yaml")];
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    for text in examples {
        let loaded = load("t.yaml", text).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        for target in loaded.targets {
            Target::compile(&target.spec, &owner).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        }
    }
}

#[test]
fn presets_need_only_name_and_address() {
    for preset in PresetName::NAMES {
        let target = only(&format!("targets: [{{name: a, url: http://a, preset: {preset}}}]"));
        assert_eq!(target.speaks_v1(), *preset == "v1");
        let RecordsSpec { only, kinds, .. } = &target.spec.records;
        let mut records = kinds.iter().map(|(_, kind)| &kind.record).chain([only]);
        let writes = |record: &RecordSpec| record.put.is_some() || record.create.is_some() || !record.batch.is_empty();
        assert_eq!(records.any(writes), *preset != "v1");
    }
}

#[test]
fn members_keep_values_and_places() {
    let target = only(&format!("\u{feff}{WHOLE}    select: {{labelSelector: app=web}}\n    limits: {{timeout: 1m}}\n"));
    let TargetSpec { connection, records, .. } = target.spec;
    assert_eq!((connection.name.text.as_str(), connection.name.place.to_string().as_str()), ("cmdb", "t.yaml:2:11"));
    let timeout = connection.limits.unwrap().timeout.unwrap();
    assert_eq!((timeout.duration.as_secs(), timeout.place.line), (60, 8));
    let put = records.only.put.unwrap().request;
    assert_eq!((put.path.text.as_str(), put.path.place.to_string().as_str()), ("a/{{ id }}", "t.yaml:5:17"));
    assert!(put.method.is_none() && put.query.is_empty() && !records.exclusive.0);
    assert_eq!(records.only.body.unwrap().0.to_json(), serde_json::json!({"pod": "{{ pod }}"}));
    assert_eq!(connection.select.unwrap().label_selector.unwrap().text, "app=web");
}

#[test]
fn whole_numbers_and_booleans_become_texts() {
    let target = only(&format!("{WHOLE}    headers: {{A: 1, B: true, C: 0}}\n"));
    let texts: Vec<&str> = target.spec.records.headers.iter().map(|(_, text)| text.text.as_str()).collect();
    assert_eq!(texts, ["1", "true", "0"]);
}

#[test]
fn statuses_match_codes_and_classes() {
    let target =
        only(&format!("{WHOLE}    outcome: [{{status: [404, 5xx], is: absent}}, {{status: 2xx, is: done}}]\n"));
    let [first, second] = target.spec.records.only.outcome.as_slice() else { panic!() };
    let statuses = first.status.as_ref().unwrap();
    assert!(statuses.matches(404) && statuses.matches(503) && !statuses.matches(400));
    assert!(second.status.as_ref().unwrap().matches(204) && second.outcome.name() == "done");
}

#[test]
fn preset_maps_merge_and_requests_are_replaced() {
    let target = only(
        "targets:\n  - {name: a, url: http://a, preset: rest, body: {node: null, title: x, state: {a: null}}, delete: {path: gone}, \
         item: {body: null}, vars: {n: null}}\n",
    );
    let body = target.tree.get("body").unwrap();
    assert_eq!(body.get("title").unwrap().text(), Some("x"));
    assert!(body.get("node").is_none() && body.get("owner").is_some());
    assert_eq!(body.get("state").unwrap().to_json(), serde_json::json!({}), "a map replaces a text");
    assert_eq!(&*body.get("owner").unwrap().place.source.name, "preset rest");
    assert_eq!(&*body.get("title").unwrap().place.source.name, "t.yaml");
    let delete = target.spec.records.only.delete.unwrap();
    assert!(delete.path.text == "gone" && delete.query.is_empty());
    let item = target.spec.records.only.item.unwrap();
    assert!(item.body.is_none() && item.mark.is_some());
    let vars = target.spec.records.vars;
    assert!(vars.iter().all(|(name, _)| name.text == "collection"), "null removes, also without a preset below");
}

#[test]
fn null_in_a_request_stays() {
    let target = only(&format!("{WHOLE}    find: {{path: a, at: \"\", body: {{a: null}}}}\n    item: {{id: /id}}\n"));
    let find = target.spec.records.only.find.unwrap();
    assert_eq!(find.request.body.unwrap().0.to_json(), serde_json::json!({"a": null}));
}

mod fuzz {
    use super::*;
    use crate::fuzz::{self, ensure};

    #[test]
    fn random_file_is_accepted_or_refused() {
        let presets = ["rest", "etcd", "consul", "webhook", "cloudevents-batched"]
            .map(|name| format!("targets: [{{name: a, url: http://a, preset: {name}, body: {{a: 1}}}}]"));
        let wrong = [include_str!("wrong/members.txt"), include_str!("wrong/rules.txt")];
        let cases = wrong
            .iter()
            .flat_map(|cases| cases.split("--->").map(str::to_owned))
            .filter(|case| case.contains("targets:"));
        let corpus: Vec<Vec<u8>> =
            presets.into_iter().chain([WHOLE.to_owned()]).chain(cases).map(String::into_bytes).collect();
        fuzz::check_slow(2, &corpus, |input, _| {
            let text = String::from_utf8_lossy(input);
            let Err(errors) = load("t.yaml", &text) else { return Ok(()) };
            let bounded = |error: &Error| error.to_string().len() < 3_000 + 2 * error.what.len() + 2 * error.fix.len();
            ensure(!errors.is_empty() && errors.iter().all(bounded), || format!("{errors:?}"))
        });
    }
}
