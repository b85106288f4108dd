//! What holds for the objects of the chart with any values: names, selectors, rights and settings fit together.

use std::collections::{BTreeMap, BTreeSet};

use pod_registrar::cli::{self, flags::Command};
use serde_json::{Value, json};

use super::cases::CASES;
use crate::{
    project::root,
    support::chart::{ChartTools, RELEASE},
};

#[test]
#[expect(clippy::print_stdout, reason = "the case is shown if the test fails")]
fn objects_of_every_case_fit_together() {
    let Some(tools) = ChartTools::find() else { return };
    for case in CASES {
        println!("{}", case.name);
        assert_coherent(&tools.objects(case.values, case.arguments));
    }
}

/// A label selector that has only labels.
type Labels = BTreeMap<String, String>;

pub(super) fn assert_coherent(objects: &[Value]) {
    let identities: BTreeSet<_> = objects.iter().map(identity).collect();
    assert_eq!(identities.len(), objects.len(), "{identities:#?}");
    for object in objects {
        assert!(object["kind"] != "Secret" && object["kind"] != "Namespace", "{object:#}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/instance"], RELEASE, "{object:#}");
    }
    let pods: Vec<(&Value, &Value)> = objects.iter().filter_map(pod).collect();
    for (_, spec) in &pods {
        assert_restricted(spec);
        assert_mounts_have_volumes(spec);
        assert_variables_are_settings(spec);
    }
    assert_selectors_match(objects, &pods);
    assert_rights_fit(objects);
    assert_settings_are_accepted(objects);
}

fn identity(object: &Value) -> String {
    format!("{} {} {}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"])
}

/// Labels and specification of the pods of an object.
fn pod(object: &Value) -> Option<(&Value, &Value)> {
    let pod = match object["kind"].as_str() {
        Some("Deployment" | "StatefulSet") => &object["spec"]["template"],
        Some("Pod") => object,
        _ => return None,
    };
    Some((&pod["metadata"]["labels"], &pod["spec"]))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn assert_restricted(spec: &Value) {
    let context = &spec["securityContext"];
    assert_eq!(
        (&context["runAsNonRoot"], &context["seccompProfile"]),
        (&json!(true), &json!({"type": "RuntimeDefault"}))
    );
    for member in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(spec.get(member).is_none(), "{member}");
    }
    assert_eq!(spec["enableServiceLinks"], false);
    assert!(spec["automountServiceAccountToken"].is_boolean(), "it is never left to the account");
    for container in items(&spec["containers"]) {
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        assert_eq!(container["securityContext"], expected);
    }
    for id in ["runAsUser", "runAsGroup"] {
        assert!(!spec.to_string().contains(id), "{id}");
    }
}

fn assert_mounts_have_volumes(spec: &Value) {
    let names = |list: &Value| -> Vec<String> { items(list).map(|item| item["name"].to_string()).collect() };
    let claims = ["\"data\"".to_owned()];
    let volumes: BTreeSet<_> = names(&spec["volumes"]).into_iter().chain(claims).collect();
    for container in items(&spec["containers"]) {
        let mounts = names(&container["volumeMounts"]);
        assert!(mounts.iter().all(|mount| volumes.contains(mount)), "{mounts:?} of {volumes:?}");
        assert!(names(&spec["volumes"]).iter().all(|volume| mounts.contains(volume)), "{mounts:?} of {volumes:?}");
    }
}

fn assert_variables_are_settings(spec: &Value) {
    let page = cli::page::page();
    for variable in items(&spec["containers"]).flat_map(|container| items(&container["env"])) {
        let name = variable["name"].as_str().unwrap();
        assert!(!name.starts_with("POD_REGISTRAR_") || page.contains(&format!("`{name}`")), "{name}");
    }
}

fn labels(value: &Value) -> Labels {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value:#}"))
}

/// Every selector of an object matches the pods of exactly one object.
fn assert_selectors_match(objects: &[Value], pods: &[(&Value, &Value)]) {
    let pods: Vec<Labels> = pods.iter().map(|(of_pod, _)| labels(of_pod)).collect();
    for object in objects {
        let spec = &object["spec"];
        let selector = match object["kind"].as_str().unwrap() {
            "Service" => &spec["selector"],
            "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
            "Deployment" | "StatefulSet" | "PodDisruptionBudget" => &spec["selector"]["matchLabels"],
            _ => continue,
        };
        let selector = labels(selector);
        let matching = pods.iter().filter(|pod| selector.iter().all(|(name, value)| pod.get(name) == Some(value)));
        assert_eq!(matching.count(), 1, "{}: {selector:?}", identity(object));
    }
}

/// The account of the pods has the rights, and they name the Leases of the settings.
fn assert_rights_fit(objects: &[Value]) {
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let leases: BTreeSet<String> =
        of_kind("Lease").map(|lease| format!("{RELEASE}/{}", lease["metadata"]["name"].as_str().unwrap())).collect();
    let settings = settings(objects);
    for name in ["POD_REGISTRAR_LEASE", "POD_REGISTRAR_APPROVAL_LEASE"] {
        assert!(settings.get(name).is_none_or(|lease| leases.contains(lease)), "{name} of {leases:?}");
    }
    assert_eq!(leases.len(), settings.keys().filter(|name| name.ends_with("_LEASE")).count(), "every Lease is used");
    let account = of_kind("Deployment").next().unwrap()["spec"]["template"]["spec"]["serviceAccountName"].clone();
    let bindings = of_kind("RoleBinding").chain(of_kind("ClusterRoleBinding"));
    for binding in bindings {
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": account, "namespace": RELEASE}]),
            "{binding:#}"
        );
        let role = objects.iter().any(|object| {
            object["kind"] == binding["roleRef"]["kind"]
                && object["metadata"]["name"] == binding["roleRef"]["name"]
                && object["metadata"]["namespace"] == binding["metadata"]["namespace"]
        });
        assert!(role, "{binding:#}");
    }
    let rules =
        of_kind("Role").flat_map(|role| items(&role["rules"])).filter(|rule| rule["resources"] == json!(["leases"]));
    for rule in rules {
        let granted = items(&rule["resourceNames"]).map(|name| format!("{RELEASE}/{}", name.as_str().unwrap()));
        assert_eq!(granted.collect::<BTreeSet<_>>(), leases);
    }
}

/// The ConfigMap with the settings.
pub(super) fn settings(objects: &[Value]) -> Labels {
    let is = |object: &&Value| object["kind"] == "ConfigMap" && object["data"].get("POD_REGISTRAR_LEASE").is_some();
    labels(&objects.iter().find(is).expect("the settings")["data"])
}

/// The program takes the settings. Files that exist only in a pod are left out.
fn assert_settings_are_accepted(objects: &[Value]) {
    let targets = root().join("deploy/targets/targets.yaml");
    let flags = settings(objects).into_iter().filter_map(|(variable, value)| {
        let flag = variable.strip_prefix("POD_REGISTRAR_").unwrap().to_lowercase().replace('_', "-");
        match &*flag {
            "registry-ca-file" | "otlp-ca-file" | "otlp-headers-file" => None,
            "targets" => Some(format!("--targets={}", targets.display())),
            _ => Some(format!("--{flag}={value}")),
        }
    });
    let arguments: Vec<String> = ["pod-registrar".to_owned(), "run".to_owned()].into_iter().chain(flags).collect();
    match cli::parse(&arguments) {
        Ok(Command::Run(_)) => {}
        other => panic!("{arguments:?}: {other:?}"),
    }
}
