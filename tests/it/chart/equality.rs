//! The chart and the manifests for kustomize are the same objects.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::{
    project::root,
    support::chart::{ChartTools, RELEASE},
};

/// Labels that Helm's users expect, and that tell nothing about the objects.
const HELM_LABELS: [&str; 4] =
    ["app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"];
/// Annotations with which the chart replaces the pods.
const CHECKSUMS: [&str; 2] = ["checksum/settings", "checksum/targets"];

/// The objects by kind and name, without what only Helm needs, and without the namespace: Helm's user creates it.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let kept = objects.into_iter().filter(|object| !is_hook(object) && object["kind"] != "Namespace");
    let mut found = BTreeMap::new();
    for mut object in kept {
        strip(&mut object);
        let name = format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        assert!(found.insert(name.clone(), object).is_none(), "{name} exists twice");
    }
    found
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"].get("helm.sh/hook").is_some()
}

/// Removes the labels and annotations of Helm, and maps that are empty then. Sorts lists without an order.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !HELM_LABELS.contains(&&**name) && !CHECKSUMS.contains(&&**name));
            members.values_mut().for_each(strip);
            members.retain(|_, member| !member.is_null() && member.as_object().is_none_or(|map| !map.is_empty()));
            for name in ["volumes", "volumeMounts"] {
                if let Some(list) = members.get_mut(name).and_then(Value::as_array_mut) {
                    list.sort_by_key(|item| item["name"].to_string());
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The manifests without labels have some in the chart.
fn drop_labels_that_only_the_chart_has(ours: &mut BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) {
    for (name, object) in ours {
        let has = theirs.get(name).is_some_and(|object| object["metadata"].get("labels").is_some());
        if !has && let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("labels");
        }
    }
}

fn assert_equal(chart: Vec<Value>, kustomize: Vec<Value>) {
    let (mut chart, kustomize) = (comparable(chart), comparable(kustomize));
    drop_labels_that_only_the_chart_has(&mut chart, &kustomize);
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&kustomize));
    for (name, object) in &chart {
        assert!(*object == kustomize[name], "{name}: {object:#} of the chart, {:#} of kustomize", kustomize[name]);
    }
}

#[test]
fn default_values_equal_the_manifests() {
    let Some(tools) = ChartTools::find() else { return };
    let chart = tools.objects("", &[]);
    assert!(chart.iter().any(is_hook), "the pod of `helm test`");
    let manifests = tools.kustomize(&root().join("deploy"));
    assert!(manifests.len() >= 14);
    assert_equal(chart, manifests);
}

#[test]
fn monitoring_equals_its_component() {
    let Some(tools) = ChartTools::find() else { return };
    let copy = tools.home.path().join("deploy");
    copy_folder(&root().join("deploy"), &copy);
    let listed = copy.join("kustomization.yaml");
    // The lines that a reader removes the `#` of.
    let text = fs::read_to_string(&listed).unwrap();
    let text = text.replace("# components:\n", "components:\n").replace("#   - chart/", "  - chart/");
    fs::write(listed, text).unwrap();
    let kustomize = tools.kustomize(&copy);
    let values = "serviceMonitor: {enabled: true}\nprometheusRule: {enabled: true}\ndashboard: {enabled: true}\n";
    assert_equal(tools.objects(values, &[]), kustomize);
}

#[test]
fn receipts_equal_their_component() {
    let Some(tools) = ChartTools::find() else { return };
    let copy = tools.home.path().join("deploy");
    copy_folder(&root().join("deploy"), &copy);
    let listed = copy.join("kustomization.yaml");
    let text = fs::read_to_string(&listed).unwrap();
    let text = text.replace("# components:\n", "components:\n").replace("#   - receipts\n", "  - receipts\n");
    fs::write(listed, text).unwrap();
    let kustomize = tools.kustomize(&copy);
    let values = "receipts: {event: true, gate: true, annotation: true}\n";
    assert_equal(tools.objects(values, &[]), kustomize);
}

/// The component for targets, and the same targets as values.
#[test]
fn targets_equal_their_component() {
    let Some(tools) = ChartTools::find() else { return };
    let copy = tools.home.path().join("deploy");
    copy_folder(&root().join("deploy"), &copy);
    let listed = copy.join("kustomization.yaml");
    let text = fs::read_to_string(&listed).unwrap();
    let text = text.replace("# components:\n#   - targets\n", "components:\n  - targets\n");
    fs::write(listed, text.replace("\n  - registry\n", "\n")).unwrap();
    let kustomize = tools.kustomize(&copy);
    let file = root().join("deploy/targets/targets.yaml");
    let chart = tools.objects("", &["--set-file", &format!("targets={}", file.to_str().unwrap())]);
    // The name that kustomize generates ends with a hash.
    let mut names = kustomize.iter().filter_map(|object| object["metadata"]["name"].as_str());
    let hashed = names.find(|name| name.starts_with("pod-registrar-targets-")).unwrap().to_owned();
    let text = Value::from(kustomize).to_string().replace(&hashed, &format!("{RELEASE}-targets"));
    let Value::Array(kustomize) = serde_json::from_str(&text).unwrap() else { unreachable!() };
    assert_equal(chart, kustomize);
}

/// Copies the manifests, and the files that they name.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => assert!(fs::copy(entry.path(), target).is_ok()),
        }
    }
}
