//! The manifests, the image and the documents against the code: names, ports, paths, rights and versions.

use std::{fs, process::Command, time::Duration};

use pod_registrar::{
    admin::{self, Pages},
    cli::{self, flags},
    mapping::load,
    telemetry::{health::Health, metrics::Metrics},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

use crate::{
    project::{chart::VALUES, manifests, pages, root, templates, text},
    support::notice,
};

/// All rights, by manifest.
const RULES: [(&str, &str); 3] = [
    (
        "deploy/clusterrole.yaml",
        "\
rules:
  - apiGroups: [\"\"]
    resources: [pods]
    verbs: [get, list, watch]
  - apiGroups: [\"\"]
    resources: [namespaces]
    resourceNames: [kube-system]
    verbs: [get]
",
    ),
    (
        "deploy/role.yaml",
        "\
rules:
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [pod-registrar]
    verbs: [get, update]
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create]
",
    ),
    (
        "deploy/receipts/clusterrole.yaml",
        "\
rules:
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create]
  - apiGroups: [\"\"]
    resources: [pods/status]
    verbs: [patch]
  - apiGroups: [\"\"]
    resources: [pods]
    verbs: [patch]
",
    ),
];

/// The requirements of restricted Pod Security, plus a read-only file system.
const HARDENING: [&str; 6] = [
    "runAsNonRoot: true",
    "type: RuntimeDefault",
    "allowPrivilegeEscalation: false",
    "readOnlyRootFilesystem: true",
    "drop: [ALL]",
    "enableServiceLinks: false",
];

/// Former names, which only the change log mentions.
const RENAMED: [&str; 1] = ["POD_REGISTRAR_SHARED"];

const WORKLOADS: [&str; 2] = ["deploy/deployment.yaml", "deploy/registry/statefulset.yaml"];

fn default_ports() -> (u16, u16) {
    let run = cli::defaults("http://registry.example");
    let registry = cli::parse(["pod-registrar", "registry"]);
    match (run, registry) {
        (Ok(run), Ok(flags::Command::Registry(registry))) => (run.admin_addr.port(), registry.listen.port()),
        other => panic!("{other:?}"),
    }
}

/// The values of a key, on all lines.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let prefix = format!("{key}: ");
    text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(&prefix)).collect()
}

fn uncommented(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The flags of one command on the settings page.
fn section(command: &str) -> String {
    let page = cli::page::page();
    let section = page.split_once(&format!("\n## `pod-registrar {command}`\n")).unwrap().1;
    section.split("\n## ").next().unwrap().to_owned()
}

fn variables(text: &str) -> Vec<&str> {
    let name = |at: usize| text[at..].split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap();
    text.match_indices("POD_REGISTRAR_").map(|(at, _)| name(at)).collect()
}

#[test]
fn rights_are_exactly_those_in_use() {
    for (path, rules) in RULES {
        let role = uncommented(&text(path));
        assert!(role.ends_with(rules), "{role}");
    }
    let granting = manifests().into_iter().filter(|(_, text)| text.lines().any(|line| line == "rules:"));
    assert_eq!(granting.count(), RULES.len(), "rights are granted only in these manifests");
}

#[test]
fn pods_are_restricted() {
    let namespace = text("deploy/namespace.yaml");
    assert!(namespace.contains("\n    pod-security.kubernetes.io/enforce: restricted\n"), "{namespace}");
    for workload in WORKLOADS {
        let manifest = text(workload);
        for line in HARDENING {
            assert_eq!(manifest.matches(line).count(), 1, "{workload}: {line}");
        }
    }
    assert!(text("deploy/registry/statefulset.yaml").contains("automountServiceAccountToken: false"));
}

#[test]
fn deployment_runs_two_replicas() {
    // One replica writes, and a disruption leaves one running.
    let deployment = text("deploy/deployment.yaml");
    for (key, value) in
        [("replicas", "2"), ("type", "RollingUpdate"), ("maxUnavailable", "0"), ("fieldPath", "metadata.name")]
    {
        assert_eq!(values(&deployment, key)[0], value, "{key}");
    }
    assert_eq!(
        values(&deployment, "whenUnsatisfiable"),
        ["ScheduleAnyway"; 2],
        "spreading is a hint, not a requirement"
    );
    let budget = text("deploy/poddisruptionbudget.yaml");
    assert_eq!(values(&budget, "maxUnavailable"), ["1"]);
    for label in ["app.kubernetes.io/name: pod-registrar\n", "app.kubernetes.io/component: registrar\n"] {
        assert!(budget.contains(label) && deployment.contains(label), "{label}");
    }
}

#[test]
fn shipped_lease_is_empty_and_matches_the_settings() {
    // Applying the manifest again removes nothing from a Lease in use.
    let lease = uncommented(&text("deploy/lease.yaml"));
    let expected = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: pod-registrar\n";
    assert_eq!(lease, expected);
    let setting = text("deploy/configmap.yaml");
    assert_eq!(values(&setting, "POD_REGISTRAR_LEASE"), ["pod-registrar/pod-registrar"]);
    assert_eq!(values(&text("deploy/kustomization.yaml"), "namespace"), ["pod-registrar"]);
    let listed = text("deploy/kustomization.yaml");
    for file in ["lease.yaml", "role.yaml", "rolebinding.yaml", "poddisruptionbudget.yaml", "service.yaml"] {
        assert!(listed.contains(&format!("  - {file}\n")), "{file}");
    }
}

#[test]
fn ports_match_the_programs_defaults() {
    let (admin, registry) = default_ports();
    assert_eq!(values(&text("deploy/deployment.yaml"), "containerPort"), [admin.to_string()]);
    assert_eq!(values(&text("deploy/deployment.yaml"), "prometheus.io/port"), [format!("\"{admin}\"")]);
    assert_eq!(values(&text("deploy/service.yaml"), "port"), [admin.to_string()]);
    let statefulset = text("deploy/registry/statefulset.yaml");
    assert_eq!(values(&statefulset, "containerPort"), [registry.to_string()]);
    assert!(statefulset.contains(&format!("value: \"[::]:{registry}\"\n")));
    assert_eq!(values(&text("deploy/registry/service.yaml"), "port"), [registry.to_string()]);
    assert!(text("deploy/configmap.yaml").contains(&format!("http://registry.pod-registrar.svc:{registry}\n")));
    assert!(text("Dockerfile").contains(&format!("EXPOSE {admin} {registry}\n")));
}

#[test]
fn variables_name_settings_of_the_command() {
    for (path, manifest) in manifests() {
        let command = if path.parent().unwrap().ends_with("registry") { "registry" } else { "run" };
        let settings = section(command);
        for variable in variables(&manifest) {
            assert!(settings.contains(&format!("`{variable}`")), "{}: {variable}", path.display());
        }
    }
    let all = cli::page::page();
    for (path, template) in templates() {
        // The others are made of the names of values, which `chart.rs` checks.
        for variable in variables(&template).into_iter().filter(|name| *name != "POD_REGISTRAR_") {
            assert!(all.contains(&format!("`{variable}`")), "{}: {variable}", path.display());
        }
    }
    for page in pages() {
        for variable in variables(&text(&page)) {
            // Variables of the tests are not settings of the program.
            let known = variable.starts_with("POD_REGISTRAR_TEST_") || all.contains(&format!("`{variable}`"));
            assert!(known || RENAMED.contains(&variable), "{page}: {variable}");
        }
    }
}

/// The commands between two marks of a page, which `.ci/run` runs.
fn commands(page: &str, mark: &str) -> String {
    let page = text(page);
    let (_, rest) = page.split_once(&format!("<!-- {mark} -->\n")).expect("the first mark");
    let (commands, _) = rest.split_once(&format!("<!-- /{mark} -->")).expect("the second mark");
    commands.to_owned()
}

fn deploy_commands() -> String {
    commands("README.md", "deploy")
}

#[test]
fn no_token_is_shipped() {
    let commands = deploy_commands();
    for (path, template) in templates() {
        assert!(!["kind: Secret", "stringData:"].iter().any(|part| template.contains(part)), "{}", path.display());
    }
    for (path, manifest) in manifests() {
        let shipped = ["kind: Secret", "stringData:", "secretGenerator:"].iter().any(|part| manifest.contains(part));
        assert!(!shipped, "{}", path.display());
        for name in values(&manifest, "secretName") {
            let made = format!("kubectl -n pod-registrar create secret generic {name} --from-literal=");
            assert!(commands.contains(&made), "the README does not create the Secret {name}");
        }
    }
    assert!(commands.contains("/dev/urandom"));
    let script = text(".ci/run");
    for run in ["deployed_by README.md deploy\n", "deployed_by docs/install.md helm\n"] {
        assert!(script.contains(run), "{run}");
    }
    // Both ways need the same Secrets.
    let secrets =
        |text: &str| text.lines().filter(|line| line.contains("secret")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(secrets(&self::commands("docs/install.md", "helm")), secrets(&commands));
}

#[test]
fn secret_keys_match_the_configured_files() {
    let commands = deploy_commands();
    for (workload, key, variable) in [
        ("deploy/deployment.yaml", "token", "POD_REGISTRAR_REGISTRY_TOKEN_FILE"),
        ("deploy/registry/statefulset.yaml", "tokens", "POD_REGISTRAR_TOKENS_FILE"),
    ] {
        let expected = format!("name: {variable}\n              value: /etc/pod-registrar/{key}\n");
        assert!(text(workload).contains(&expected), "{workload}: {expected}");
        assert!(commands.contains(&format!("--from-literal={key}=\"$token")), "{commands}");
    }
}

/// Clusters such as OpenShift assign user and group ids, and refuse pods with fixed ones.
#[test]
fn user_ids_are_left_to_the_cluster() {
    for workload in WORKLOADS {
        let manifest = text(workload);
        for id in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"] {
            assert!(!manifest.contains(id), "{workload}: {id}");
        }
        assert_eq!(values(&manifest, "defaultMode"), ["0444"], "{workload}: readable by any user id");
    }
    let listed = text("deploy/registry/kustomization.yaml");
    assert!(listed.contains("components:\n") && listed.contains("  - volume-group\n"), "{listed}");
    assert_eq!(values(&text("deploy/registry/volume-group/kustomization.yaml"), "value"), ["65532", "OnRootMismatch"]);
}

#[test]
fn network_policies_admit_named_clients_only() {
    let ours = uncommented(&text("deploy/networkpolicy.yaml"));
    let from = "    - from:\n        - namespaceSelector:\n            matchLabels:\n\
                \x20             kubernetes.io/metadata.name: monitoring\n";
    assert!(ours.contains(from) && ours.matches("- from:").count() == 1, "{ours}");
    for (path, manifest) in manifests().into_iter().filter(|(_, manifest)| manifest.contains("kind: NetworkPolicy")) {
        let open = ["Selector: {}", "- {}", "ingress: []"].iter().any(|part| uncommented(&manifest).contains(part));
        assert!(!open, "{} admits every pod", path.display());
    }
}

/// A copy of the manifests with the component `targets`, whose file has this text, as `kubectl kustomize` renders it.
/// None if there is no kubectl.
fn rendered_with_targets(file: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, manifest) in manifests() {
        let copy = folder.path().join(path.strip_prefix(root().join("deploy")).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        // The lines that a reader removes the `#` of.
        let manifest = manifest.replace("# components:\n#   - targets\n", "components:\n  - targets\n");
        fs::write(copy, manifest).unwrap();
    }
    fs::write(folder.path().join("targets/targets.yaml"), file).unwrap();
    let rendered = Command::new("kubectl").arg("kustomize").arg(folder.path()).output().ok()?;
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    Some(String::from_utf8(rendered.stdout).unwrap())
}

#[test]
fn another_targets_file_rolls_the_deployment() {
    let file = text("deploy/targets/targets.yaml");
    assert!(load::load("deploy/targets/targets.yaml", &file).is_ok());
    let Some(rendered) = rendered_with_targets(&file) else {
        return notice("skipped: there is no kubectl");
    };
    // The generated ConfigMap, and the volume of the Deployment.
    let names = |rendered: &str| -> Vec<String> {
        let names = values(rendered, "name").into_iter().filter(|name| name.starts_with("pod-registrar-targets-"));
        names.map(str::to_owned).collect()
    };
    let before = names(&rendered);
    assert!(before.len() == 2 && before[0] == before[1], "{before:?}");
    assert_eq!(values(&rendered, "POD_REGISTRAR_TARGETS"), ["/etc/pod-registrar-targets/targets.yaml"]);
    // These settings would be refused beside it.
    assert!(!rendered.contains("POD_REGISTRAR_REGISTRY_"), "{rendered}");
    let after = names(&rendered_with_targets(&file.replace("inventory.example", "other.example")).unwrap());
    assert!(after.len() == 2 && after[0] == after[1] && after[0] != before[0], "{before:?} {after:?}");
}

#[test]
fn memory_follows_the_measured_figures() {
    let deployment = text("deploy/deployment.yaml");
    // In Mi: 15 MB and 256 bytes per pod, plus 20 % during a list.
    let needed = |pods: u64| ((15_000_000 + 256 * pods) * 12 / 10) >> 20;
    let [request, limit] = values(&deployment, "memory").try_into().unwrap();
    let mib = |text: &str| text.strip_suffix("Mi").unwrap().parse::<u64>().unwrap();
    assert!(mib(request) >= needed(150_000) && mib(limit) >= needed(1_000_000), "{request}, {limit}");
    let pages = ["docs/performance.md", "docs/operations.md", "README.md", "deploy/deployment.yaml", VALUES];
    for page in pages {
        let words: Vec<_> = text(page).split_whitespace().map(str::to_owned).collect();
        let figures = words.join(" ").replace(" of memory", "").replace(" # ", " ");
        assert!(figures.contains("15 MB plus 256 bytes per pod"), "{page} has other figures");
    }
}

#[test]
fn versions_agree() {
    let kustomization = text("deploy/kustomization.yaml");
    assert_eq!(values(&kustomization, "newTag"), [env!("CARGO_PKG_VERSION")]);
    let number = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let dockerfile = text("Dockerfile");
    let image = dockerfile.split_once("FROM rust:").unwrap().1.split('-').next().unwrap();
    assert!(number(image) >= number(env!("CARGO_PKG_RUST_VERSION")), "the Dockerfile's Rust {image} is too old");
}

#[test]
fn image_names_a_numeric_user() {
    // Numeric, because `runAsNonRoot` cannot check a name.
    let dockerfile = text("Dockerfile");
    assert!(dockerfile.contains("\nUSER 65532:65532\n") && dockerfile.contains("\nFROM scratch\n"));
    assert!(dockerfile.contains(".ci/build /out/pod-registrar\n") && text(".ci/image").contains("\n.ci/build "));
}

#[tokio::test]
async fn probes_request_paths_that_are_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::new(0);
    let metrics = Metrics::new(health.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let pod = |_, _| -> futures::future::BoxFuture<'static, admin::JsonPage> { unreachable!("no probe asks for it") };
    let pages = Pages { health, metrics, status: Box::new(admin::status::StatusDocument::default), pod: Box::new(pod) };
    let server = tokio::spawn(admin::serve(listener, pages, async move { drop(stopped.await) }));
    let deployment = text("deploy/deployment.yaml");
    let paths = values(&deployment, "path");
    assert_eq!(paths, ["/livez", "/readyz"]);
    for path in paths {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    drop(stop);
    timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
}
