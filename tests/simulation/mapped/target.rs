//! The targets, compiled once for all histories, and the records that they should hold.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex},
};

use pod_registrar::{
    mapping::{
        kind::Kind,
        load::load,
        target::{
            Target,
            records::{PodRecord, RecordRendering},
        },
    },
    model::{ids::RecordOwner, pod::Pod, uid::Uid},
};
use serde_json::{Value as Json, json};

use super::{PartRecords, Rest};
use crate::cluster::{Cluster, Name};

/// The client is given another one.
const MEMORY: &str = "    memory: /nowhere\n";

/// Our owner mark.
pub(crate) const MARK: &str = "pod-registrar:c:o";

/// The target of a kind of registry.
pub(crate) fn target(rest: Rest) -> &'static Target {
    static TARGETS: LazyLock<Mutex<HashMap<Rest, &'static Target>>> = LazyLock::new(Mutex::default);
    TARGETS.lock().unwrap().entry(rest).or_insert_with(|| Box::leak(Box::new(compile(rest))))
}

fn compile(rest: Rest) -> Target {
    let file = format!("targets:\n  - name: rest\n    url: http://registry/\n{}", members(rest));
    let loaded = load("targets.yaml", &file).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    Target::compile(&loaded.targets[0].spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn members(rest: Rest) -> String {
    if rest.parts == PartRecords::None {
        let memory = if rest.remembers { MEMORY } else { "" };
        return memory.to_owned() + &record_members(rest, "", "");
    }
    let parent = if rest.assigns { "remote" } else { "id" };
    let of_part = format!("kind: part, parent: \"{{{{ of.system.{parent} }}}}\"");
    let cascade = rest.parts == PartRecords::Cascade;
    // The number of parts changes with the pod.
    let last = "(state.reason | default('0'))[-1:]";
    let each = format!("{{{{ [] if {last} in '0369' else [0] if {last} in '147' else [0, 1] }}}}");
    let part = format!("    of: system\n    cascade: {cascade}\n    each: \"{each}\"\n")
        + &record_members(rest, "part", &of_part);
    let system = record_members(rest, "system", "kind: system");
    let kind = |name: &str, members: String| {
        let members: String = members.lines().map(|line| format!("    {line}\n")).collect();
        format!("      {name}:\n{members}")
    };
    let memory = if rest.remembers { MEMORY } else { "" };
    let kinds = kind("part", part) + &kind("system", system);
    // The registry answers 424 while a part lacks its parent.
    format!("{memory}    outcome: [{{status: 424, is: retry}}]\n    kinds:\n{kinds}")
}

/// The members of one kind. `more` are further members of its body.
fn record_members(rest: Rest, kind: &str, more: &str) -> String {
    let mut lines = Vec::new();
    if kind == "part" {
        lines.push("id: \"{{ pod.uid }}.{{ each }}\"".to_owned());
    } else if rest.shares {
        let id = "{{ 'a' if pod.name[-1:] in '012' else 'b' if pod.name[-1:] in '345' else pod.name }}";
        lines.push(format!("id: \"{id}\""));
    }
    let digest = if rest.compares_bodies { "" } else { ", digest: \"{{ digest }}\"" };
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    lines.push(format!(
        "body: {{name: \"{{{{ pod.name }}}}\", title: \"  {{{{ state.reason | default('') }}}} \", \
         key: \"{{{{ id }}}}\", owner: \"{{{{ mark }}}}\"{digest}{more}}}"
    ));
    lines.push("delete: {path: \"systems/{{ ID }}\"}".to_owned());
    if rest.assigns {
        lines.push("create: {path: systems, remote: /id}".to_owned());
        lines.push("update: {path: \"systems/{{ ID }}\"}".to_owned());
    } else {
        lines.push("put: {path: \"systems/{{ ID }}\"}".to_owned());
    }
    if !rest.remembers {
        lines.extend(readings(rest, kind));
    }
    if rest.batches {
        lines.push(
            "batch: [{path: bulk, body: {operations: \"{{ operations }}\"}, max: {records: 3}, atomic: true, \
             put: [{op: put, id: \"{{ id }}\", record: \"{{ body }}\"}], delete: [{op: delete, id: \"{{ id }}\"}]}]"
                .to_owned(),
        );
    }
    let id = if rest.assigns { "remote" } else { "id" };
    lines.iter().map(|line| format!("    {}\n", line.replace("{{ ID }}", &format!("{{{{ {id} }}}}")))).collect()
}

/// The members that read records of a kind.
fn readings(rest: Rest, kind: &str) -> Vec<String> {
    let find = match rest.assigns {
        true => "find: {path: systems, query: {key: \"{{ id }}\"}, at: /results/0}",
        false => "find: {path: \"systems/{{ id }}\", at: \"\"}",
    };
    let lag = if rest.lag_ms > 0 { format!(", lag: {}ms", rest.lag_ms) } else { String::new() };
    let query = if kind.is_empty() { String::new() } else { format!(", query: {{kind: {kind}}}") };
    let list = format!("list: {{path: systems{query}, items: /results, next: {{url: /next}}, count: /count{lag}}}");
    let content = if rest.compares_bodies { "body: ''" } else { "digest: /digest" };
    let remote = if rest.assigns { ", remote: /id" } else { "" };
    let item = format!("item: {{id: /key, mark: /owner, {content}{remote}}}");
    vec![find.to_owned(), list, item]
}

/// The keys and bodies of a pod's records. `remote` tells what the registry assigned to the record with an id.
pub(crate) fn records(rest: Rest, pod: &Pod, remote: &dyn Fn(&str) -> Option<Json>) -> Vec<(Uid, Json)> {
    let target = target(rest);
    let Some(content) = pod.content.as_ref() else { return Vec::new() };
    let records = |assigned: &dyn Fn(usize, &Uid) -> Option<Json>| {
        target.records(&content.record, &target.term(0, &json!({})), assigned).unwrap().unwrap_or_default()
    };
    let ids: HashMap<Uid, String> = records(&|_, _| None).into_iter().map(|record| (record.key, record.id)).collect();
    // A part whose parent is missing is missing, too.
    let assigned = |_: usize, key: &Uid| Some(remote(&ids[key]).unwrap_or_default());
    let body = |record: PodRecord| match record.state {
        RecordRendering::Rendered(record) => Some((record.key, record.body)),
        RecordRendering::Failed(_) => None,
        state @ RecordRendering::Waits => panic!("{state:?}"),
    };
    records(&assigned).into_iter().filter_map(body).collect()
}

/// The key and the body of a pod's own record.
pub(crate) fn record(rest: Rest, pod: &Pod) -> Option<(Uid, Json)> {
    records(rest, pod, &|_| None).into_iter().next()
}

/// The key of the record that the registry holds.
pub(crate) fn key_of(rest: Rest, row: &Json) -> Uid {
    kind_of(rest, row).key(row["key"].as_str().unwrap_or_default())
}

pub(crate) fn kind_of(rest: Rest, row: &Json) -> &'static Kind {
    let is_part = row["kind"] == "part";
    target(rest).kinds.iter().find(|kind| (kind.name() == Some("part")) == is_part).unwrap()
}

/// The bodies that the registry should store, by key. The pod with the largest UID owns a shared record, because all
/// pods were created at the same time.
pub(crate) fn wanted(rest: Rest, cluster: &Cluster, remote: &dyn Fn(&str) -> Option<Json>) -> BTreeMap<Uid, Json> {
    let mut pods: Vec<&Pod> = cluster.selected.values().map(|pod| &**pod).collect();
    pods.sort_by(|one, other| one.uid.cmp(&other.uid));
    let records = pods.into_iter().flat_map(|pod| records(rest, pod, remote));
    records.map(|(key, body)| (key, stored(rest, body))).collect()
}

/// The key of all pods of this name, if they may share it.
pub(crate) fn shared_key(name: Name) -> String {
    match name % 10 {
        0..3 => "a".to_owned(),
        3..6 => "b".to_owned(),
        _ => format!("pod-{name}"),
    }
}

/// What the registry stores of a body.
pub(crate) fn stored(rest: Rest, mut body: Json) -> Json {
    if rest.trims
        && let Some(title) = body["title"].as_str().map(str::trim).map(str::to_owned)
    {
        body["title"] = title.into();
    }
    body
}
