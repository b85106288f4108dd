//! Whole targets: the descriptions of real registries, and records with hostile content.

use super::{records::RecordRendering, *};
use crate::mapping::{
    answer::Answer,
    items::{ItemMark, RegistryItem},
    load,
    request::RenderedRequest,
    samples,
    spec::{request::RuleOutcome, values::PresetName},
    writes::{ChangeKind, ChangeWords, Held, RemovalWords, Writes},
};
use serde_json::json;

mod forms;
mod fuzz;
mod kinds;
mod messages;
mod mistakes;
mod sizes;

pub(super) fn owner() -> RecordOwner {
    RecordOwner { cluster_id: "c1".into(), cluster_name: "prod".into(), owner: "pod-registrar".into() }
}

pub(super) fn try_target(text: &str) -> Result<Target, String> {
    let show = |errors: Vec<place::Error>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    let loaded = load::load("targets.yaml", text).map_err(show)?;
    Target::compile(&loaded.targets[0].spec, &owner()).map_err(show)
}

fn target(text: &str) -> Target {
    try_target(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn sample(index: usize) -> Record {
    let [running, created, finished] = samples::all("c1", "prod", "pod-registrar");
    [running, created, finished].into_iter().nth(index).unwrap()
}

fn term(target: &Target) -> TermWords {
    target.term(7, &json!({}))
}

fn change(kind: ChangeKind) -> ChangeWords {
    ChangeWords { id: "c-1".into(), order: 12, time: "2026-01-02T03:04:05.000Z".into(), kind }
}

fn removal() -> RemovalWords {
    RemovalWords { reason: "deleted".into(), observed: true }
}

impl Target {
    /// The record of a pod, of a target without `kinds`.
    pub(in crate::mapping) fn render(
        &self,
        record: &Record,
        term: &TermWords,
    ) -> Result<Option<RenderedRecord>, RenderError> {
        let Some(mut records) = self.records(record, term, &|_, _| None)? else { return Ok(None) };
        match records.remove(0).state {
            RecordRendering::Rendered(record) => Ok(Some(record)),
            RecordRendering::Failed(error) => Err(error),
            RecordRendering::Waits => panic!("it belongs to no other record"),
        }
    }
}

fn render(target: &Target, record: &Record) -> RenderedRecord {
    target.render(record, &term(target)).unwrap().unwrap()
}

fn put(target: &Target, record: &RenderedRecord, held: &Held) -> RenderedRequest {
    let Writes::Put(put) = &target.kinds[0].writes else { panic!("no put") };
    let scope = target.kinds[0].write_scope(record, held, &change(ChangeKind::Put));
    put.request.render(&scope, Some(&record.body)).unwrap()
}

fn delete(target: &Target, id: &str, held: &Held) -> Result<RenderedRequest, RenderError> {
    let scope = target.kinds[0].delete_scope(&term(target), id, held, &change(ChangeKind::Delete), &removal());
    target.kinds[0].delete.as_ref().unwrap().render(&scope, None)
}

fn body(request: &RenderedRequest) -> Json {
    serde_json::from_slice(request.body.as_deref().unwrap()).unwrap()
}

fn answer(status: u16, body: &Json) -> Answer {
    Answer::new(status, [], body.to_string().as_bytes())
}

const REST: &str = include_str!("fixtures/rest.yaml");
const ETCD: &str = include_str!("fixtures/etcd.yaml");
const CONSUL: &str = include_str!("fixtures/consul.yaml");

#[test]
fn rest_record_is_put_and_deleted() {
    let target = target(REST);
    let record = render(&target, &sample(0));
    assert_eq!(&*record.key.text(), &*record.id);
    let request = put(&target, &record, &Held::default());
    assert_eq!((&*request.method, &*request.url), ("PUT", &*format!("https://cmdb.example/api/systems/{}", record.id)));
    let expected = json!({
        "title": "shop/web-7d4b9c6f5d-x2x8q", "addresses": ["10.64.0.7", "2001:db8::7"], "node": "node-1",
        "owner": "pod-registrar:c1:pod-registrar", "digest": record.digest.unwrap().hex(),
    });
    assert_eq!(body(&request), expected);
    let without = json!({"title": expected["title"], "addresses": expected["addresses"], "node": "node-1"});
    assert_eq!(record.digest, Some(record.fingerprint));
    assert_eq!(record.fingerprint, fingerprint(&without), "the digest leaves out the mark and itself");
    assert_eq!(request.headers, [("Content-Type".to_owned(), "application/json".to_owned())]);
    let request = delete(&target, &record.id, &Held::default()).unwrap();
    assert_eq!((&*request.method, request.body, request.headers.len()), ("DELETE", None, 0));
}

#[test]
fn omitted_member_is_left_out() {
    let target = target(REST);
    assert_eq!(render(&target, &sample(1)).body.get("node"), None);
}

#[test]
fn unused_member_does_not_change_fingerprint() {
    let target = target(REST);
    let (mut record, before) = (sample(0), render(&target, &sample(0)));
    record.state.reason = Some("CrashLoopBackOff".to_owned());
    assert_eq!(render(&target, &record).fingerprint, before.fingerprint);
    record.placement.node = Some("node-2".to_owned());
    assert_ne!(render(&target, &record).fingerprint, before.fingerprint);
}

#[test]
fn preset_compares_what_the_registry_shows() {
    let target = target("targets: [{name: t, preset: etcd, url: 'http://etcd.example/'}]");
    let record = render(&target, &sample(0));
    assert_eq!((record.digest, record.body.get("digest")), (None, None));
    let kv = |body: &Json| {
        let b64 = |text: &str| base64::prelude::Engine::encode(&base64::prelude::BASE64_STANDARD, text);
        json!({"key": b64(&record.id), "value": b64(&body.to_string()), "mod_revision": "42"})
    };
    let read = |body: &Json| {
        let kv = kv(body);
        target.kinds[0].read_item(&kv, &answer(200, &json!({"kvs": [kv]})), &term(&target)).unwrap()
    };
    let mut shown = record.body.clone();
    shown["theirs"] = json!(1);
    let item = read(&shown);
    assert_eq!((&item.id, item.mark), (&Some(record.id.clone()), crate::mapping::items::ItemMark::Ours));
    assert_eq!(item.content.fingerprint(), Some(record.fingerprint));
    shown["state"]["lifecycle"] = json!("edited");
    assert_ne!(read(&shown).content.fingerprint(), Some(record.fingerprint));
}

#[test]
fn hostile_values_stay_values() {
    let target = target(CONSUL);
    let mut record = sample(0);
    let long = "x".repeat(63);
    record.pod.labels = [
        ("managed-by", "pod-registrar:other:owner"),
        ("quote", "\"},{\"a\":\"\n\u{1b}[2J"),
        ("emoji", "😀"),
        ("path", "../../etc"),
        ("template", "{{ mark }}{% raw %}"),
        (&long, &long),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let body = render(&target, &record).body;
    assert_eq!(body["Meta"]["managed-by"], "pod-registrar:c1:pod-registrar", "a label does not replace the mark");
    assert_eq!(body["Meta"]["quote"], "\"},{\"a\":\"\n\u{1b}[2J");
    assert_eq!(body["Meta"]["template"], "{{ mark }}{% raw %}");
    assert_eq!(
        (&body["Meta"]["emoji"], &body["Meta"]["path"], &body["Meta"][&long]),
        (&json!("😀"), &json!("../../etc"), &json!(long))
    );
    for (key, label) in [("app.kubernetes.io/name", "../"), ("app.kubernetes.io/name", "😀")] {
        record.pod.labels.insert(key.to_owned(), label.to_owned());
        assert!(target.render(&record, &term(&target)).is_err(), "{label} leaves no DNS label");
    }
}

#[test]
fn hostile_id_is_one_segment_or_an_error() {
    let target = target(REST);
    let url = |id: &str| delete(&target, id, &Held::default()).map(|request| request.url);
    assert_eq!(url("a/../b?c=d#e").unwrap(), "https://cmdb.example/api/systems/a%2F..%2Fb%3Fc%3Dd%23e");
    assert_eq!(url("%2e%2e").unwrap(), "https://cmdb.example/api/systems/%252e%252e");
    for id in ["", ".", ".."] {
        assert!(url(id).is_err(), "{id:?}");
    }
}

#[test]
fn etcd_record_is_written_in_a_transaction() {
    let target = target(ETCD);
    let record = render(&target, &sample(0));
    assert_eq!(record.id, format!("/systems/c1/{}", sample(0).pod.uid));
    assert_eq!(
        (record.key.clone(), &*target.kinds[0].key(&record.id).text()),
        (target.kinds[0].key(&record.id), &*record.key.text())
    );
    let request = put(&target, &record, &Held::default());
    let sent = body(&request);
    assert_eq!(request.url, "https://etcd.example:2379/v3/kv/txn");
    assert_eq!(sent["compare"][0]["value"], "MDAwMDAwMDAwMDAwMDAwMDAwMDc=", "term 7 in 20 digits");
    assert_eq!(sent["compare"][1]["mod_revision"], "0");
    let later = put(&target, &record, &Held { seen: Some(json!("41")), remote: None });
    assert_eq!(body(&later)["compare"][1]["mod_revision"], "41");
    let value = sent["success"][0]["request_put"]["value"].as_str().unwrap().to_owned();
    let kv = json!({"key": sent["success"][0]["request_put"]["key"], "value": value, "mod_revision": "42"});
    let item = target.kinds[0].read_item(&kv, &answer(200, &json!({"kvs": [kv]})), &term(&target)).unwrap();
    assert_eq!(
        (item.id, item.mark, item.seen),
        (Some(record.id), crate::mapping::items::ItemMark::Ours, Some(json!("42")))
    );
    assert_eq!(item.content, crate::mapping::items::ItemContent::Digest(Some(record.fingerprint)));
}

#[test]
fn etcd_answers_are_judged_by_rules() {
    let target = target(ETCD);
    let Writes::Put(put) = &target.kinds[0].writes else { panic!("no put") };
    let judged = |status: u16, body: &Json| put.request.judge(&answer(status, body), term(&target).scope());
    let header = json!({"revision": "9"});
    let done = judged(200, &json!({"header": header, "succeeded": true}));
    assert_eq!((done.outcome, done.by_rule), (RuleOutcome::Done, false));
    let fence = |value: &str| json!({"header": header, "responses": [{"response_range": {"kvs": [{"value": value}]}}]});
    assert_eq!(judged(200, &fence("MDAwMDAwMDAwMDAwMDAwMDAwMDg=")).outcome, RuleOutcome::Fenced);
    assert_eq!(judged(200, &fence("MDAwMDAwMDAwMDAwMDAwMDAwMDc=")).outcome, RuleOutcome::Stale);
    assert_eq!(judged(200, &json!({"succeeded": true})).outcome, RuleOutcome::Uncertain, "check fails");
    assert_eq!(judged(503, &json!({})).outcome, RuleOutcome::Retry);
    let held = put.held(&answer(200, &json!({"header": header})), term(&target).scope());
    assert_eq!(held, Held { remote: None, seen: Some(json!("9")) });
    let moved = Answer::new(301, [("Location".into(), "https://r.example/x/".into())], b"moved");
    let judged = put.request.judge(&moved, term(&target).scope());
    assert_eq!(judged.reason, "status 301 leads to https://r.example/x/; correct `url` or `path`");
}

#[test]
fn consul_records_are_written_in_batches() {
    let target = target(CONSUL);
    let record = render(&target, &sample(0));
    assert_eq!(record.body["Service"], "web");
    assert_eq!(render(&target, &sample(1)).body["Service"], "web", "without the label, the name of the root");
    let batch = &target.kinds[0].batches[0];
    let scope = target.kinds[0].write_scope(&record, &Held::default(), &change(ChangeKind::Put));
    let operations = batch.put_operations(&scope).unwrap();
    assert_eq!(operations[0]["Service"]["Service"], record.body);
    assert_eq!(operations[0]["Service"]["Node"], "k8s-c1");
    let request = batch.render(term(&target).scope(), operations.clone()).unwrap();
    assert_eq!((body(&request), &*request.method), (Json::Array(operations), "PUT"));
    let failed = answer(409, &json!({"Errors": [{"OpIndex": 3, "What": "bad\nname"}]}));
    assert_eq!(batch.judge(&failed, term(&target).scope()).outcome, RuleOutcome::Reject);
    let results = batch.results(&failed, term(&target).scope()).unwrap();
    assert_eq!((&*results[0].operations, &*results[0].judgement.reason), (&[3_usize][..], "status 400: bad name"));
    assert_eq!(results[0].judgement.outcome, RuleOutcome::Reject);
    let request = delete(&target, "a", &Held::default()).unwrap();
    assert_eq!(body(&request), json!({"Node": "k8s-c1", "ServiceID": "a"}));
}

#[test]
fn consul_list_encodes_the_filter() {
    let target = target(CONSUL);
    let mut reader = target.kinds[0].read_list(&term(&target)).map(Option::unwrap).unwrap();
    let request = reader.request().unwrap().unwrap();
    let query = "filter=Meta%5B%22managed-by%22%5D%20%3D%3D%20%22pod-registrar%3Ac1%3Apod-registrar%22";
    assert_eq!(request.url, format!("https://consul.example:8501/v1/catalog/node-services/k8s-c1?{query}"));
    let page = json!({"Services": [{"ID": "a", "Meta": {"managed-by": "other"}}, {"ID": "b", "Meta": {"managed-by": target.mark()}}]});
    let (page, mut marks) = (answer(200, &page), Vec::new());
    let read = |item: &Json| {
        marks.extend(target.kinds[0].read_item(item, &page, &term(&target)).map(|item| item.mark));
        Ok(())
    };
    assert_eq!(reader.take(&page, read), Ok(2));
    assert_eq!(marks, [ItemMark::Foreign, ItemMark::Ours]);
    assert!(reader.request().unwrap().is_none());
}

#[test]
fn examples_load_without_errors() {
    for (name, text) in [("rest", REST), ("etcd", ETCD), ("consul", CONSUL)] {
        if let Err(errors) = try_target(text) {
            panic!("{name}: {errors}");
        }
    }
}

/// A small target with some members replaced or added.
/// With a put that reads `remote`.
const READS_REMOTE: &str = "put: {path: \"x/{{ id }}\", remote: /id}\n";

fn small(members: &str) -> String {
    let mut all = vec![
        ("name", "t"),
        ("url", "https://r.example/api/"),
        ("body", "{n: \"{{ pod.name }}\"}"),
        ("put", "{path: \"x/{{ id }}\"}"),
        ("delete", "{path: \"x/{{ id }}\"}"),
    ];
    let given: Vec<(&str, &str)> = members.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    all.retain(|(name, _)| !given.iter().any(|(own, _)| own == name));
    let lines = all.into_iter().chain(given).map(|(name, value)| format!("    {name}: {value}\n"));
    format!("targets:\n  -\n{}", lines.collect::<String>())
}

#[test]
fn wrong_targets_are_errors_with_places() {
    for (members, error) in [
        (
            r#"body: {n: "{{ placement.node }}"}"#,
            "for a pod that was just created, the value is undefined; give a fallback",
        ),
        (r#"body: {n: "{{ times.finished | epoch }}"}"#, "for a running pod, the value is undefined"),
        (r#"body: {n: "{{ workload[0].name }}"}"#, "for a pod that was just created, the value is undefined"),
        (r#"body: {n: "{{ pod.name | date('%Y') }}"}"#, "for a running pod, the text is not an RFC 3339 time"),
        (r#"body: {n: "{{ change.id }}"}"#, "`body` cannot use `change`: it changes by itself"),
        (r#"put: {path: "x/{{ id }}", seen: /v, query: {v: "{{ seen }}"}}"#, "the value is undefined; give a fallback"),
        (r#"put: {path: "x/{{ id }}?a=b"}"#, "the path holds `?`; write the query in `query`"),
        (r#"put: {path: "x//{{ id }}"}"#, "the path has an empty segment"),
        (r#"put: {path: "x/{{ state.reason | default('') }}/y"}"#, "has an empty segment"),
        (r#"put: {path: "x/{{ id }}", headers: {Authorization: a}}"#, "the client sets the header `Authorization`"),
        (r#"put: {path: "x/{{ id }}", headers: {"a b": a}}"#, "`a b` is not the name of a header"),
        (r#"delete: {path: x}"#, "`delete` does not say which record"),
        (
            r#"delete: {path: x, query: {filter: "id eq {{ id[:0] }}!"}}"#,
            "`delete` is the same request for two records",
        ),
        (r#"delete: {path: "x/{{ id if false else 'all' }}"}"#, "`delete` is the same request for two records"),
        ("find: {path: x, at: /0}\nitem: {id: /id}", "`find` is the same request for two records"),
        (
            "batch: [{path: x, delete: ['{{ id | length }}'], max: {records: 2}}]",
            "`delete` of the batch is the same for two records",
        ),
        (r#"delete: {path: "x/{{ pod.uid }}"}"#, "`delete` cannot use `pod`: the pod is gone"),
        (r#"id: "{{ cluster.id }}""#, "the id is the same for all pods"),
        (r#"mark: "me""#, "the mark does not contain `cluster.id`"),
        (r#"mark: "{{ cluster.id[:0] }}""#, "the mark does not contain the cluster's id"),
        (r#"select: {when: "{{ pod.name }}"}"#, "the condition is string, not a boolean"),
        (r#"select: {when: "{{ state.ready }} and true"}"#, "the condition is not one template"),
    ] {
        let found = try_target(&small(members)).err().unwrap_or_default();
        assert!(found.contains(error), "{members}: {found}");
        assert!(found.starts_with("targets.yaml:"), "{found}");
    }
}

#[test]
fn templates_of_unknown_values_are_not_judged() {
    for members in [
        r#"body: {team: "{{ pod.labels.team }}", json: "{{ pod.annotations.a | fromjson }}"}"#,
        &format!("{READS_REMOTE}delete: {{path: \"x/{{{{ remote.a.b }}}}\"}}"),
        r#"select: {when: "{{ pod.labels.team == 'shop' }}"}"#,
    ] {
        if let Err(errors) = try_target(&small(members)) {
            panic!("{members}: {errors}");
        }
    }
}

#[test]
fn requests_are_tried_with_rendered_ids() {
    let members = |id: &str, part: usize| {
        let second = format!("x/{{{{ (id | split('/') | list)[{part}] }}}}");
        format!(
            "{id}\nput: {{path: \"x/{{{{ id }}}}\"}}\ndelete: {{path: \"{second}\"}}\nfind: {{path: \"{second}\", at: \"\"}}\nitem: {{id: /id}}"
        )
    };
    let id = r#"id: "{{ pod.namespace }}/{{ pod.uid }}""#;
    assert!(try_target(&small(&members(id, 1))).is_ok());
    for (id, part) in [(id, 2), ("exclusive: true", 1)] {
        let errors = try_target(&small(&members(id, part))).err().unwrap_or_default();
        assert_eq!(errors.matches("the value is undefined").count(), 2, "{id}: {errors}");
    }
}

#[test]
fn request_without_its_filter_is_refused() {
    let query = r#"{id: "{{ id }}", other: "{{ remote | default(omit) }}"}"#;
    let target = target(&small(&format!("{READS_REMOTE}delete: {{path: x, query: {query}}}")));
    let held = |remote: &str| Held { remote: Some(json!(remote)), seen: None };
    let url = delete(&target, "a&b", &held("r")).unwrap().url;
    assert_eq!(url, "https://r.example/api/x?id=a%26b&other=r");
    for held in [Held::default(), held("")] {
        let error = delete(&target, "a", &held).unwrap_err().to_string();
        assert!(error.contains("the value of the query is empty"), "{error}");
    }
}

#[test]
fn header_with_control_characters_is_refused() {
    let target = target(&small(r#"delete: {path: "x/{{ id }}", headers: {X-Id: "{{ id }}"}}"#));
    assert_eq!(delete(&target, "a", &Held::default()).unwrap().headers, [("X-Id".to_owned(), "a".to_owned())]);
    for id in ["a\r\nHost: evil", "a\0", "é"] {
        assert!(delete(&target, id, &Held::default()).is_err(), "{id:?}");
    }
}

#[test]
fn segments_separate_parts_of_a_path() {
    let target = target(&small(r#"delete: {path: "/x/{{ id | segments }}/"}"#));
    let url = |id: &str| delete(&target, id, &Held::default()).map(|request| request.url);
    assert_eq!(url("a/b c").unwrap(), "https://r.example/api/x/a/b%20c/");
    assert!(url("a//b").is_err() && url("a/../b").is_err() && url("/a").is_err());
}

#[test]
fn pods_are_selected() {
    let select =
        r#"select: {namespaces: [shop], labelSelector: "team=shop", when: "{{ state.lifecycle != 'finished' }}"}"#;
    let target = target(&small(select));
    let selected = |record: &Record| target.render(record, &term(&target)).unwrap().is_some();
    assert_eq!([0, 1, 2].map(|index| selected(&sample(index))), [true, false, false]);
    let mut other = sample(0);
    other.pod.namespace = "bank".to_owned();
    assert!(!selected(&other));
}

#[test]
fn shared_id_has_one_key() {
    let target = target(&small(r#"id: "{{ pod.namespace }}.{{ root.kind | lower }}.{{ root.name }}""#));
    let (mut first, mut second) = (sample(0), sample(0));
    (first.pod.uid, second.pod.uid) = ("a".to_owned(), "b".to_owned());
    let (first, second) = (render(&target, &first), render(&target, &second));
    assert_eq!((&*first.id, first.key.clone()), ("shop.deployment.web", second.key));
    assert_eq!(first.key.text().len(), 36);
    let mut long = sample(0);
    long.workload.iter_mut().for_each(|workload| workload.name = "x".repeat(2_000));
    assert!(target.render(&long, &term(&target)).is_err(), "ids are bounded");
}

#[test]
fn presets_compile_for_every_sample() {
    for preset in PresetName::NAMES.iter().filter(|name| **name != "v1") {
        let text = format!("targets: [{{name: t, preset: {preset}, url: \"https://r.example/\"}}]");
        if let Err(errors) = try_target(&text) {
            panic!("{preset}: {errors}");
        }
    }
}

const PLAIN: &str = r#"
targets:
  - name: t
    url: http://a
    body: {name: "{{ pod.name }}", node: "{{ placement.node | default(omit) }}", meta: {owner: "{{ mark }}", n: 1}}
    put: {path: "a/{{ id }}", query: {seq: "{{ seen.s if seen is defined else omit }}"}}
    delete: {path: "a/{{ id }}"}
    find: {path: "a/{{ id }}", at: ""}
    item: {id: /id, seen: {s: /seq, t: /term}, mark: /m/o, body: {name: /title, meta: {n: /m/n}}}
"#;

#[test]
fn only_members_that_are_read_are_compared() {
    let target = target(PLAIN);
    let record = render(&target, &sample(0));
    let mut shown = json!({"id": record.id, "title": record.body["name"], "m": {"n": 1.0, "o": target.mark()}, "x": 1});
    let read = |shown: &Json| {
        let item = target.kinds[0].read_item(shown, &answer(200, shown), &term(&target)).unwrap();
        item.content.fingerprint().unwrap()
    };
    assert_eq!(read(&shown), record.fingerprint);
    shown["m"]["n"] = json!(2);
    assert_ne!(read(&shown), record.fingerprint);
    let misspelt = PLAIN.replace("body: {name: /title", "body: {nmae: /title");
    let error = try_target(&misspelt).unwrap_err();
    assert!(error.contains("`item.body` reads `nmae`, which `body` does not have; write `name`"), "{error}");
}

#[test]
fn revision_may_be_a_map() {
    let target = target(PLAIN);
    let shown = json!({"id": "a", "seq": 5, "term": 1});
    let item = target.kinds[0].read_item(&shown, &answer(200, &shown), &term(&target)).unwrap();
    assert_eq!(item.seen, Some(json!({"s": 5, "t": 1})));
    let record = render(&target, &sample(0));
    let url = |seen| put(&target, &record, &Held { remote: None, seen }).url;
    assert_eq!((url(None).contains('?'), url(item.seen).ends_with("?seq=5")), (false, true));
}

/// Zabbix keeps the mark and the digest in a list, between texts of ours.
#[test]
fn digest_covers_texts_around_the_mark() {
    let body = r#"{note: "{{ pod.annotations.note }} by {{ mark }}", tags: [{owner: "{{ mark }}"}, {note: "{{ pod.annotations.tag }}"}]}"#;
    let target = target(&REST.replace("node: \"{{ placement.node | default(omit) }}\"", &format!("more: {body}")));
    let digest = |note: &str, tag: &str| {
        let mut record = sample(0);
        record.pod.annotations.extend([("note".into(), note.into()), ("tag".into(), tag.into())]);
        render(&target, &record).digest
    };
    assert_eq!(digest("a", "b"), digest("a", "b"));
    assert!(digest("a", "b") != digest("c", "b") && digest("a", "b") != digest("a", "c"));
}
