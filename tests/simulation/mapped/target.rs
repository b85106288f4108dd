//! The targets, compiled once for all histories, and the records that they should hold.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex},
};

use pod_registrar::{
    mapping::{
        load::load,
        target::{RecordState, Target},
    },
    model::{ids::RecordOwner, pod::Pod, uid::Uid},
};
use serde_json::{Value as Json, json};

use super::Rest;
use crate::cluster::{Cluster, Name};

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
    let mut lines = Vec::new();
    if rest.shares {
        let id = "{{ 'a' if pod.name[-1:] in '012' else 'b' if pod.name[-1:] in '345' else pod.name }}";
        lines.push(format!("id: \"{id}\""));
    }
    let digest = if rest.compares_bodies { "" } else { ", digest: \"{{ digest }}\"" };
    lines.push(format!(
        "body: {{name: \"{{{{ pod.name }}}}\", title: \"  {{{{ state.reason | default('') }}}} \", \
         key: \"{{{{ id }}}}\", owner: \"{{{{ mark }}}}\"{digest}}}"
    ));
    lines.push("delete: {path: \"systems/{{ ID }}\"}".to_owned());
    if rest.assigns {
        lines.push("create: {path: systems, remote: /id}".to_owned());
        lines.push("update: {path: \"systems/{{ ID }}\"}".to_owned());
        lines.push("find: {path: systems, query: {key: \"{{ id }}\"}, at: /results/0}".to_owned());
    } else {
        lines.push("put: {path: \"systems/{{ ID }}\"}".to_owned());
        lines.push("find: {path: \"systems/{{ id }}\", at: \"\"}".to_owned());
    }
    let lag = if rest.lag_ms > 0 { format!(", lag: {}ms", rest.lag_ms) } else { String::new() };
    lines.push(format!("list: {{path: systems, items: /results, next: {{url: /next}}, count: /count{lag}}}"));
    let content = if rest.compares_bodies { "body: ''" } else { "digest: /digest" };
    let remote = if rest.assigns { ", remote: /id" } else { "" };
    lines.push(format!("item: {{id: /key, mark: /owner, {content}{remote}}}"));
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

/// The key and the body of a pod's record.
pub(crate) fn record(rest: Rest, pod: &Pod) -> Option<(Uid, Json)> {
    let target = target(rest);
    let content = pod.content.as_ref()?;
    let records = target.records(&content.record, &target.term(0, &json!({})), &|_, _| None).unwrap()?;
    match records.into_iter().next()?.state {
        RecordState::Rendered(record) => Some((record.key, record.body)),
        state => panic!("{state:?}"),
    }
}

/// The bodies that the registry should store, by key. The pod with the largest UID owns a shared record, because all
/// pods were created at the same time.
pub(crate) fn wanted(rest: Rest, cluster: &Cluster) -> BTreeMap<Uid, Json> {
    let mut pods: Vec<&Pod> = cluster.selected.values().map(|pod| &**pod).collect();
    pods.sort_by(|one, other| one.uid.cmp(&other.uid));
    pods.into_iter().filter_map(|pod| record(rest, pod)).map(|(key, body)| (key, stored(rest, body))).collect()
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
