//! What single values change.

use pod_registrar::mapping::load;
use serde_json::{Value, json};

use super::{
    cases::CASES,
    coherent::{assert_coherent, settings},
};
use crate::support::chart::{ChartTools, RELEASE, chart, object};

/// The objects of a case.
fn of(tools: &ChartTools, name: &str) -> Vec<Value> {
    let case = CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"));
    tools.objects(case.values, case.arguments)
}

fn count(objects: &[Value], kind: &str) -> usize {
    objects.iter().filter(|object| object["kind"] == kind).count()
}

fn pod_spec(objects: &[Value]) -> &Value {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    &deployment["spec"]["template"]["spec"]
}

fn checksum(objects: &[Value], name: &str) -> Value {
    let template = &object(objects, "Deployment", RELEASE)["spec"]["template"];
    let checksum = template["metadata"]["annotations"][name].clone();
    assert!(checksum.as_str().is_some_and(|text| text.len() == 64), "{name}: {checksum}");
    checksum
}

#[test]
fn own_registry_replaces_the_reference_registry() {
    let Some(tools) = ChartTools::find() else { return };
    let objects = of(&tools, "own registry");
    assert_eq!((count(&objects, "StatefulSet"), count(&objects, "NetworkPolicy")), (0, 1));
    let settings = settings(&objects);
    assert_eq!(settings["POD_REGISTRAR_REGISTRY_URL"], "https://registry.example/");
    assert_eq!(settings["POD_REGISTRAR_REGISTRY_CA_FILE"], "/etc/pod-registrar/ca.crt");
    let open = of(&tools, "registry without credentials");
    assert!(!pod_spec(&open).to_string().contains("/etc/pod-registrar"), "{:#}", pod_spec(&open));
    let both = of(&tools, "targets beside the reference registry");
    assert_eq!(count(&both, "StatefulSet"), 1);
}

#[test]
fn targets_file_is_valid_and_rolls_the_pods() {
    let Some(tools) = ChartTools::find() else { return };
    for name in ["targets as a list", "targets as a text"] {
        let objects = of(&tools, name);
        let file = object(&objects, "ConfigMap", "pod-registrar-targets")["data"]["targets.yaml"].as_str().unwrap();
        let loaded = load::load("targets.yaml", file);
        assert!(loaded.is_ok(), "{name}: {file}");
        // These settings would be refused beside it.
        let all = settings(&objects);
        assert!(all.keys().all(|key| !key.starts_with("POD_REGISTRAR_REGISTRY_")), "{all:?}");
        assert!(!pod_spec(&objects).to_string().contains("POD_REGISTRAR_REGISTRY_"));
        assert_eq!(count(&objects, "StatefulSet"), 0);
    }
    let one = "targets: [{name: a, preset: rest, url: 'https://a.example/'}]";
    let other = one.replace("a.example", "b.example");
    let [before, same, after] =
        [one, one, &other].map(|values| checksum(&tools.objects(values, &[]), "checksum/targets"));
    assert!(before == same && before != after);
}

#[test]
fn other_settings_roll_the_pods() {
    let Some(tools) = ChartTools::find() else { return };
    let [before, after] =
        ["", "settings: {owner: other}"].map(|values| checksum(&tools.objects(values, &[]), "checksum/settings"));
    assert_ne!(before, after);
    let labelled = checksum(&tools.objects("commonLabels: {a: b}", &[]), "checksum/settings");
    assert_eq!(before, labelled, "the labels of the ConfigMap are no settings");
}

#[test]
fn existing_targets_are_mounted_under_their_name() {
    let Some(tools) = ChartTools::find() else { return };
    let objects = of(&tools, "existing targets");
    let volumes = pod_spec(&objects)["volumes"].as_array().unwrap();
    let expected = json!({"name": "targets", "configMap": {
        "name": "our-targets", "items": [{"key": "registries.yaml", "path": "targets.yaml"}]}});
    assert!(volumes.contains(&expected), "{volumes:#?}");
    assert_eq!(settings(&objects)["POD_REGISTRAR_TARGETS"], "/etc/pod-registrar-targets/targets.yaml");
}

#[test]
fn namespaces_replace_the_right_to_all_pods() {
    let Some(tools) = ChartTools::find() else { return };
    let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
    let objects = of(&tools, "namespaces");
    let roles: Vec<&Value> =
        objects.iter().filter(|object| object["metadata"]["name"] == "pod-registrar-pods").collect();
    assert_eq!(roles.len(), 4, "a Role and a RoleBinding for each");
    assert!(roles.iter().filter(|role| role["kind"] == "Role").all(|role| role["rules"] == pods));
    let identity = json!([{
        "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}]);
    assert_eq!(object(&objects, "ClusterRole", RELEASE)["rules"], identity);
    assert_eq!(settings(&objects)["POD_REGISTRAR_NAMESPACE"], "default,kube-public");
    let least = of(&tools, "no right in the cluster");
    assert_eq!((count(&least, "ClusterRole"), count(&least, "ClusterRoleBinding")), (0, 0));
    let elsewhere = of(&tools, "rights from elsewhere");
    assert_eq!((count(&elsewhere, "Role"), count(&elsewhere, "ServiceAccount")), (0, 0));
}

#[test]
fn receipts_bring_the_rights_they_need() {
    let Some(tools) = ChartTools::find() else { return };
    let none = of(&tools, "default");
    assert!(!settings(&none).contains_key("POD_REGISTRAR_RECEIPTS"));
    assert!(!Value::from(none).to_string().contains("patch"), "no right to change a pod");
    let all = of(&tools, "receipts");
    assert_eq!(settings(&all)["POD_REGISTRAR_RECEIPTS"], "event,gate,annotation");
    assert_eq!(object(&all, "ClusterRole", "pod-registrar-receipts")["rules"].as_array().unwrap().len(), 3);
    let some = of(&tools, "receipts in namespaces");
    let gate = json!([{"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}]);
    let roles = some.iter().filter(|object| object["metadata"]["name"] == "pod-registrar-receipts");
    let (roles, bindings): (Vec<_>, Vec<_>) = roles.partition(|object| object["kind"] == "Role");
    assert_eq!((roles.len(), bindings.len()), (2, 2));
    assert!(roles.iter().all(|role| role["rules"] == gate) && count(&some, "ClusterRole") == 1);
}

#[test]
fn approvals_can_have_a_lease() {
    let Some(tools) = ChartTools::find() else { return };
    let objects = of(&tools, "approvals of their own");
    assert_eq!(count(&objects, "Lease"), 2);
    assert_eq!(settings(&objects)["POD_REGISTRAR_APPROVAL_LEASE"], "pod-registrar/pod-registrar-approvals");
}

#[test]
fn memory_is_used_by_one_pod_unless_shared() {
    let Some(tools) = ChartTools::find() else { return };
    for (name, strategy) in [("memory of one replica", "Recreate"), ("memory of two replicas", "RollingUpdate")] {
        let objects = of(&tools, name);
        assert_eq!(object(&objects, "Deployment", RELEASE)["spec"]["strategy"]["type"], strategy);
        assert!(pod_spec(&objects).to_string().contains("/var/lib/pod-registrar"));
        let check = object(&objects, "Pod", "pod-registrar-check");
        assert!(!check.to_string().contains("persistentVolumeClaim"), "the check needs no memory");
    }
}

#[test]
fn services_have_the_families_asked_for() {
    let Some(tools) = ChartTools::find() else { return };
    let objects = tools.objects("service: {ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4]}", &[]);
    for name in ["pod-registrar", "registry"] {
        let spec = &object(&objects, "Service", name)["spec"];
        assert_eq!(
            (&spec["ipFamilyPolicy"], &spec["ipFamilies"]),
            (&json!("RequireDualStack"), &json!(["IPv6", "IPv4"]))
        );
    }
}

#[test]
fn openshift_assigns_groups_itself() {
    let Some(tools) = ChartTools::find() else { return };
    let group = |objects: &[Value]| {
        object(objects, "StatefulSet", "registry")["spec"]["template"]["spec"]["securityContext"]
            .get("fsGroup")
            .cloned()
    };
    assert_eq!(group(&of(&tools, "OpenShift")), None);
    assert_eq!(group(&of(&tools, "default")), Some(json!(65532)));
    assert_eq!(group(&tools.objects("referenceRegistry: {fsGroup: 0}", &[])), None);
}

#[test]
fn settings_keep_their_text() {
    let Some(tools) = ChartTools::find() else { return };
    let settings = settings(&of(&tools, "every setting"));
    for (name, text) in [
        ("EXCLUDE_NAMESPACE", "kube-system,kube-public"),
        ("LABEL_ALLOW", ""),
        ("MAX_WRITES_PER_SECOND", "20000000"),
        ("CLUSTER_NAME", "Production, Europe: #1"),
        ("HOLD_ON_SCOPE_CHANGE", "false"),
        ("REPLACES_CLUSTER_UID", "3eb7722a-add0-4ac4-b0d4-43a98cab3cca"),
    ] {
        assert_eq!(settings[&format!("POD_REGISTRAR_{name}")], text, "{name}");
    }
}

#[test]
fn alerts_follow_the_values() {
    let Some(tools) = ChartTools::find() else { return };
    let values = "\
replicaCount: 1
prometheusRule:
  enabled: true
  namespace: monitoring
  labels: {release: prometheus}
  disabledAlerts: [PodRegistrarRetries]
  runbookPrefix: https://git.example/infra/
  severities: {page: critical}
";
    let objects = tools.objects(values, &[]);
    let rule = object(&objects, "PrometheusRule", RELEASE);
    assert_eq!(rule["metadata"]["namespace"], "monitoring");
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let rules = rule["spec"]["groups"][0]["rules"].as_array().unwrap();
    let names: Vec<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert!(!names.contains(&"PodRegistrarRetries") && !names.contains(&"PodRegistrarNoStandby"), "{names:?}");
    assert_eq!((names.len(), &rules[0]["labels"]["severity"]), (10, &json!("critical")));
    let page = "https://git.example/infra/docs/operations.md#podregistrardoesnotwrite";
    assert_eq!(rules[0]["annotations"]["runbook_url"], page);
}

#[test]
fn scrape_annotations_yield_to_the_servicemonitor() {
    let Some(tools) = ChartTools::find() else { return };
    let annotations = |values: &str| {
        let objects = tools.objects(values, &[]);
        object(&objects, "Deployment", RELEASE)["spec"]["template"]["metadata"]["annotations"].clone()
    };
    assert_eq!(annotations("")["prometheus.io/port"], "8080");
    assert_eq!(annotations("serviceMonitor: {enabled: true}").get("prometheus.io/port"), None);
}

/// In a chart of yours: Helm adds `global` to its values.
#[test]
fn chart_works_as_a_part_of_another() {
    let Some(tools) = ChartTools::find() else { return };
    let parent = tools.home.path().join("platform");
    std::fs::create_dir_all(parent.join("charts")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let dependency = format!("dependencies: [{{name: pod-registrar, version: {version}}}]\n");
    let manifest = format!("apiVersion: v2\nname: platform\nversion: 1.0.0\n{dependency}");
    std::fs::write(parent.join("Chart.yaml"), manifest).unwrap();
    std::fs::write(parent.join("values.yaml"), "global: {region: eu}\npod-registrar: {replicaCount: 3}\n").unwrap();
    std::os::unix::fs::symlink(chart(), parent.join("charts/pod-registrar")).unwrap();
    let output = tools.run("helm", &["template", RELEASE, parent.to_str().unwrap(), "--namespace", RELEASE]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects = crate::support::chart::documents(std::str::from_utf8(&output.stdout).unwrap());
    assert_coherent(&objects);
    assert_eq!(object(&objects, "Deployment", RELEASE)["spec"]["replicas"], 3);
}

#[test]
fn helm_lint_finds_nothing() {
    let Some(tools) = ChartTools::find() else { return };
    let output = tools.run("helm", &["lint", "--strict", &chart()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The notes of an installation name every Secret that the pods wait for.
#[test]
fn notes_name_the_secrets() {
    let Some(tools) = ChartTools::find() else { return };
    for case in CASES {
        let values = tools.file("values.yaml", case.values);
        let arguments = ["install", RELEASE, &chart(), "--namespace", RELEASE, "--dry-run=client", "--values", &values];
        let output = tools.run("helm", &arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, notes) = text.split_once("\nNOTES:\n").unwrap_or_else(|| panic!("{}: {text}", case.name));
        let objects = tools.objects(case.values, case.arguments);
        let specs = objects.iter().filter(|object| object["kind"] != "Pod");
        let volumes = specs
            .flat_map(|object| object["spec"]["template"]["spec"]["volumes"].as_array().cloned().unwrap_or_default());
        for secret in volumes.filter_map(|volume| volume["secret"]["secretName"].as_str().map(str::to_owned)) {
            assert!(notes.contains(&secret), "{}: {secret} in {notes}", case.name);
        }
    }
}
