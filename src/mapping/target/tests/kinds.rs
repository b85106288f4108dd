//! Several kinds of records: which a pod has, what their templates may use, and which errors are found.

use super::*;
use crate::mapping::guarantees::{GuaranteeLevel, guarantees};

/// Machines, their interface, its addresses, and the first address of a machine.
const NETBOX: &str = include_str!("../fixtures/netbox.yaml");

/// A target with these kinds.
fn kinds(members: &str) -> Result<Target, String> {
    try_target(&format!("targets:\n  - name: t\n    url: http://t.example/\n    kinds:\n{members}"))
}

/// What the registry assigned: the kind's position times 100, if it is below `known`.
fn assigned(known: usize) -> impl Fn(usize, &Uid) -> Option<Json> {
    move |kind, _| (kind < known).then(|| json!(kind * 100))
}

fn records(target: &Target, record: &Record, known: usize) -> Vec<PodRecord> {
    let term = target.term(7, &json!({"clusterType": {"id": 1}, "cluster": {"id": 2}}));
    target.records(record, &term, &assigned(known)).unwrap().unwrap()
}

fn bodies(records: &[PodRecord]) -> Vec<(String, Option<Json>)> {
    let body = |record: &PodRecord| match &record.state {
        RecordState::Rendered(rendered) => Some(rendered.body.clone()),
        RecordState::Waits => None,
        RecordState::Failed(error) => panic!("{error}"),
    };
    records.iter().map(|record| (record.id.clone(), body(record))).collect()
}

#[test]
fn records_refer_to_those_above() {
    let target = target(NETBOX);
    let names: Vec<_> = target.kinds.iter().map(|kind| kind.name().unwrap()).collect();
    assert_eq!(names, ["vm", "interface", "address", "primary4"], "the file has them in another order");
    let record = sample(0);
    let uid = &record.pod.uid;
    let all = records(&target, &record, 9);
    let without_marks = |body: &Option<Json>| {
        let mut body = body.clone().unwrap();
        body.as_object_mut().unwrap().remove("custom_fields");
        body
    };
    let shown: Vec<(String, Json)> = bodies(&all).iter().map(|(id, body)| (id.clone(), without_marks(body))).collect();
    let expected = [
        (uid.clone(), json!({"name": "shop/web-7d4b9c6f5d-x2x8q", "cluster": 2, "status": "active"})),
        (format!("{uid}/eth0"), json!({"virtual_machine": 0, "name": "eth0"})),
        (format!("{uid}/10.64.0.7"), json!({"address": "10.64.0.7/32", "assigned_object_id": 100})),
        (format!("{uid}/2001:db8::7"), json!({"address": "2001:db8::7/128", "assigned_object_id": 100})),
        (format!("{uid}/primary4"), json!({"primary_ip4": 200})),
    ];
    assert_eq!(shown, expected);
    let parents: Vec<_> = all.iter().map(|record| record.parent.as_ref()).collect();
    assert_eq!(parents, [None, Some(&all[0].key), Some(&all[1].key), Some(&all[1].key), Some(&all[2].key)]);
    let RecordState::Rendered(primary) = &all[4].state else { panic!() };
    let put = put_of(&target.kinds[3], primary, &Held::default());
    assert_eq!(put.url, "https://netbox.example/api/virtualization/virtual-machines/0/", "`of` has grandparents");
}

fn put_of(kind: &crate::mapping::kind::Kind, record: &RenderedRecord, held: &Held) -> RenderedRequest {
    let Writes::Put(put) = &kind.writes else { panic!("no put") };
    put.request.render(&kind.write_scope(record, held, &change(ChangeKind::Put)), Some(&record.body)).unwrap()
}

#[test]
fn record_waits_until_parent_is_known() {
    let target = target(NETBOX);
    let waiting = |known| {
        let states = records(&target, &sample(0), known);
        states.iter().filter(|record| matches!(record.state, RecordState::Waits)).count()
    };
    assert_eq!([0, 1, 2, 3].map(waiting), [4, 3, 1, 0]);
    let mut record = sample(0);
    record.placement.host_network = true;
    assert_eq!(records(&target, &record, 9).len(), 2, "an address has a record only in the pod's own network");
}

#[test]
fn pod_without_elements_has_no_record() {
    let members = "      address: {each: \"{{ placement.podIPs }}\", id: \"{{ each }}\", body: {a: \"{{ each }}\"}, put: {path: \"a/{{ id }}\"}, delete: {path: \"a/{{ id }}\"}}\n";
    let target = kinds(members).unwrap();
    assert!(records(&target, &sample(1), 9).is_empty(), "it was just created");
    let [first, second] = records(&target, &sample(0), 9).try_into().unwrap();
    assert_eq!((&*first.id, &*second.id), ("10.64.0.7", "2001:db8::7"));
    assert_ne!(first.key, second.key);
    let mut twice = sample(0);
    twice.placement.pod_ips = vec!["10.0.0.1".into(), "10.0.0.1".into()];
    let error = target.records(&twice, &term(&target), &|_, _| None).unwrap_err();
    assert!(error.to_string().contains("two records of the pod have the id \"10.0.0.1\""), "{error}");
    twice.placement.pod_ips = (0..600).map(|n| n.to_string()).collect();
    let error = target.records(&twice, &term(&target), &|_, _| None).unwrap_err();
    assert!(error.to_string().contains("more than 500 elements"), "{error}");
}

#[test]
fn kinds_with_one_id_have_different_keys() {
    let kind = |name: &str| {
        format!(
            "      {name}: {{body: {{a: 1}}, put: {{path: \"{name}/{{{{ id }}}}\"}}, delete: {{path: \"{name}/{{{{ id }}}}\"}}}}\n"
        )
    };
    let target = kinds(&(kind("a") + &kind("b"))).unwrap();
    let [a, b] = records(&target, &sample(0), 0).try_into().unwrap();
    assert_eq!(a.id, b.id);
    assert_ne!(a.key, b.key);
    assert_eq!(target.kinds[1].key(&b.id), b.key);
    assert!(!target.keys_are_uids());
    assert_eq!(target.keys_of(&sample(0), &term(&target)), [a.key, b.key]);
}

#[test]
fn wrong_words_of_kinds_are_explained() {
    let requests = "put: {path: \"a/{{ id }}\"}, delete: {path: \"a/{{ id }}\"}";
    let two = |vm: &str, port: &str| {
        kinds(&format!("      port: {{{port}, {requests}}}\n      vm: {{{vm}, {requests}}}\n")).map(drop).unwrap_err()
    };
    let vm = "body: {a: 1}";
    let cases = [
        (
            two("body: {a: \"{{ each }}\"}", vm),
            "`body` cannot use `each`: neither this kind nor one that it belongs to",
        ),
        (two("body: {a: \"{{ of.vm.id }}\"}", vm), "`body` cannot use `of`: this record belongs to no other"),
        (two(vm, "of: vm, body: {a: \"{{ of.vn.id }}\"}"), "this record belongs to no kind `vn`"),
        (two(vm, "of: vm, body: {a: \"{{ of.vm.name }}\"}"), "`of.vm` has no member `name`, in"),
        (two(vm, "of: vm, body: {a: \"{{ of.vm.remote }}\"}"), "`remote` of the kind `vm` is not read, in"),
        (two(vm, "of: vm, id: \"{{ of.vm.id }}\", body: {a: 1}"), "`id` cannot use `of`: it is not known when the pod"),
        (
            two(vm, "each: \"{{ pod.name }}\", id: \"{{ each }}\", body: {a: 1}"),
            "for a running pod, the value is string, not a list",
        ),
        (two(vm, "when: \"{{ pod.name }}\", body: {a: 1}"), "the condition is string, not a boolean"),
        (
            two(vm, "each: \"{{ placement.podIPs }}\", id: \"{{ each }}\", body: {a: \"{{ each.b.c }}\"}"),
            "targets.yaml:5:",
        ),
        (
            two("body: {a: 1}, find: {path: \"{{ each }}\", at: \"\"}, item: {id: /id}", vm),
            "`find` cannot use `each`: the pod is gone when it is sent",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
    let of_none = try_target(&small("body: {a: \"{{ each }}\"}")).unwrap_err();
    assert!(of_none.contains("cannot use `each`"), "{of_none}");
}

#[test]
fn weakest_kind_decides_about_a_guarantee() {
    let target = target(NETBOX);
    let drift = &guarantees(&target)[3];
    assert_eq!(drift.level, GuaranteeLevel::Partial);
    assert!(drift.because.starts_with("vm, interface, address: `item.digest`"), "{}", drift.because);
    assert!(drift.because.contains("; primary4: `item.body` shows every edit"), "{}", drift.because);
}

#[test]
fn preset_members_of_kinds_are_merged() {
    let base = yaml("kinds: {a: {body: {x: 1, y: 2}, put: {path: p, method: POST}}, b: {body: {z: 1}}}");
    let over = yaml("kinds: {a: {body: {y: null}, put: {path: q}}, b: null}");
    let merged = crate::mapping::preset::merged(base, over).to_json();
    assert_eq!(merged, json!({"kinds": {"a": {"body": {"x": 1}, "put": {"path": "q"}}}}));
}

fn yaml(text: &str) -> crate::mapping::tree::Tree {
    crate::mapping::yaml::parse(&place::Source::new("t", text)).unwrap()
}
