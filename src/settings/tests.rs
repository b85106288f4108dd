//! Each refusal, from a whole command line.

use std::{fs, path::Path};

use super::*;

const RUN: [&str; 3] = ["run", "--registry-url", "https://registry.example/a"];

fn with_environment(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, Refusal> {
    let arguments = ["pod-registrar"].iter().chain(arguments);
    let look_up = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    parse(arguments, look_up)
}

fn run(more: &[&str]) -> Result<RunSettings, Refusal> {
    run_with(more, &[])
}

fn run_with(more: &[&str], environment: &[(&str, &str)]) -> Result<RunSettings, Refusal> {
    match with_environment(&[&RUN, more].concat(), environment)? {
        Command::Run(settings) => Ok(*settings),
        other => panic!("{other:?}"),
    }
}

/// Asserts that the settings are refused with a text that has all the parts.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, parts: &[&str]) {
    let refusal = result.unwrap_err();
    let text = refusal.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(refusal.exit_code(), 2, "{text}");
}

fn file(folder: &tempfile::TempDir, name: &str, contents: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_defaults_are_what_the_help_says() {
    let settings = run(&[]).unwrap();
    assert_eq!(settings.cluster.kubeconfig, None);
    assert_eq!(settings.scope.namespaces, Namespaces::All);
    assert_eq!(
        (settings.record.label_allow.as_slice(), settings.record.annotation_allow.len()),
        (&["*".to_owned()][..], 0)
    );
    assert_eq!(settings.registry.url.as_str(), "https://registry.example/a/");
    assert_eq!((settings.registry.max_in_flight, settings.registry.max_writes_per_second), (4, 20_000));
    assert_eq!(settings.registry.request_timeout.as_secs(), 10);
    assert_eq!(
        settings.identity,
        IdentitySettings {
            cluster_id: None,
            cluster_name: None,
            owner: "pod-registrar".into(),
            replaces_cluster_uid: None
        }
    );
    let lease_duration = std::time::Duration::from_secs(15);
    assert_eq!(settings.election, ElectionSettings { lease: None, lease_duration, instance: None });
    assert_eq!(settings.admin_addr.to_string(), "[::]:8080");
    assert_eq!((settings.resync_interval.as_secs(), settings.relist_interval.as_secs()), (1800, 21600));
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let environment = [("POD_REGISTRAR_OWNER", "theirs"), ("POD_REGISTRAR_MAX_IN_FLIGHT", "7")];
    let settings = run_with(&["--owner", "ours"], &environment).unwrap();
    assert_eq!((settings.identity.owner.as_str(), settings.registry.max_in_flight), ("ours", 7));
}

#[test]
fn an_empty_variable_is_none() {
    let settings = run_with(&[], &[("POD_REGISTRAR_OWNER", ""), ("POD_REGISTRAR_CLUSTER_ID", "")]).unwrap();
    assert_eq!((settings.identity.owner.as_str(), settings.identity.cluster_id), ("pod-registrar", None));
}

#[test]
fn lists_are_repeated_or_have_commas() {
    let both = Namespaces::Only(["a".to_owned(), "b".to_owned()].into());
    assert_eq!(run(&["--namespace", "a", "--namespace", "b"]).unwrap().scope.namespaces, both);
    assert_eq!(run_with(&[], &[("POD_REGISTRAR_NAMESPACE", "a, b,")]).unwrap().scope.namespaces, both);
    assert!(run(&["--label-allow", ""]).unwrap().record.label_allow.is_empty());
}

#[test]
fn a_refusal_names_where_the_value_came_from() {
    refused(run(&["--owner", "a b"]), &["--owner: \"a b\" is not an id; use 1 to 128"]);
    refused(run_with(&[], &[("POD_REGISTRAR_OWNER", "a b")]), &["POD_REGISTRAR_OWNER: \"a b\" is not an id"]);
}

#[test]
fn a_lease_is_named_by_namespace_and_name() {
    let settings = run(&["--lease", "kube-system/pod-registrar.example", "--instance", "web-0"]).unwrap().election;
    let lease = LeaseName { namespace: "kube-system".into(), name: "pod-registrar.example".into() };
    assert_eq!((settings.lease, settings.instance.as_deref()), (Some(lease), Some("web-0")));
}

#[test]
fn a_missing_address_is_asked_for() {
    refused(with_environment(&["run"], &[]), &["--registry-url", "POD_REGISTRAR_REGISTRY_URL"]);
    with_environment(&["run"], &[("POD_REGISTRAR_REGISTRY_URL", "http://127.0.0.1:7070")]).unwrap();
}

#[test]
fn values_that_are_out_of_bounds() {
    for (flag, value, part) in [
        ("--namespace", "Shop", "is not a namespace"),
        ("--exclude-namespace", "kube-*", "is not a namespace"),
        ("--label-selector", "app in prod", "is not a label's key"),
        ("--field-selector", "phase", "an operator and a value"),
        ("--label-allow", "a b", "matches no key"),
        ("--annotation-allow", "ä", "matches no key"),
        ("--request-timeout", "0s", "1ms to 5m"),
        ("--request-timeout", "6m", "1ms to 5m"),
        ("--max-in-flight", "0", "1 to 64"),
        ("--max-in-flight", "-1", "1 to 64"),
        ("--hold-on-scope-change", "yes", "true or false"),
        ("--approval-lease", "registrar", "is not a Lease's place"),
        ("--max-in-flight", "65", "1 to 64"),
        ("--max-writes-per-second", "0", "at least 1"),
        ("--cluster-id", "/", "is not an id"),
        ("--cluster-name", "a\nb", "is not a name"),
        ("--lease", "pod-registrar", "is not a Lease's place"),
        ("--lease", "a/b/c", "is not a Lease's place"),
        ("--lease", "/b", "is not a Lease's place"),
        ("--lease-duration", "2s", "3s to 5m"),
        ("--lease-duration", "3500ms", "whole seconds"),
        ("--lease-duration", "301s", "3s to 5m"),
        ("--instance", "a b", "is not an id"),
        ("--admin-addr", "localhost:8080", "IP address and a port"),
        ("--resync-interval", "999ms", "at least 1s"),
        ("--relist-interval", "soon", "is not a duration"),
        ("--log-format", "xml", "text or json"),
    ] {
        refused(run(&[flag, value]), &[&format!("{flag}: "), part]);
    }
}

/// Each namespace is watched by itself.
#[test]
fn too_many_namespaces_are_refused() {
    let named = |count: usize| (0..count).map(|n| format!("ns-{n}")).collect::<Vec<_>>().join(",");
    run(&["--namespace", &named(500)]).unwrap();
    let parts = ["--namespace: 501 namespaces are named", "watch all namespaces"];
    refused(run(&["--namespace", &named(501)]), &parts);
    refused(run_with(&[], &[("POD_REGISTRAR_NAMESPACE", &named(501))]), &["POD_REGISTRAR_NAMESPACE: 501"]);
}

#[test]
fn addresses_of_registries() {
    for (url, part) in [
        ("registry.example", "is not an address"),
        ("ftp://registry.example", "scheme"),
        ("https://me@registry.example", "user name"),
        ("https://registry.example?x=1", "query"),
        ("https://registry.example#x", "fragment"),
        ("https://registry.example/cmdb/v1/", "ends in /v1"),
        ("", "it is empty"),
    ] {
        refused(with_environment(&["run", "--registry-url", url], &[]), &["--registry-url: ", part]);
    }
}

#[test]
fn settings_that_exclude_or_need_each_other() {
    refused(run(&["--namespace", "a", "--exclude-namespace", "b"]), &["--namespace and --exclude-namespace"]);
    let environment = [("POD_REGISTRAR_EXCLUDE_NAMESPACE", "b")];
    refused(run_with(&["--namespace", "a"], &environment), &["--namespace and POD_REGISTRAR_EXCLUDE_NAMESPACE"]);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--kubeconfig", "--registry-token-file", "--registry-ca-file"] {
        refused(run(&[flag, "/nowhere/file"]), &[flag, "/nowhere/file cannot be read", "check the path"]);
        refused(run(&[flag, folder.path().to_str().unwrap()]), &[flag, "not a regular file"]);
        refused(run(&[flag, &file(&folder, "empty", "")]), &[flag, "is empty"]);
        refused(run(&[flag, ""]), &[flag, "the path is empty"]);
    }
    refused(run(&["--registry-token-file", &file(&folder, "blank", " \n")]), &["does not hold a token"]);
    let two = run(&["--registry-token-file", &file(&folder, "two", "one\ntwo\n")]);
    refused(two, &["does not hold a token"]);
    refused(run(&["--registry-ca-file", &file(&folder, "text", "hello")]), &["holds no certificate"]);
}

#[test]
fn files_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let token = file(&folder, "token", "secret\n");
    let authorities = file(&folder, "ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let config = file(&folder, "config", "apiVersion: v1\n");
    let files = ["--registry-token-file", &token, "--registry-ca-file", &authorities, "--kubeconfig", &config];
    let settings = run(&[&files[..], &["--context", "a"]].concat()).unwrap();
    assert_eq!(settings.registry.token_file.as_deref(), Some(Path::new(&token)));
    let cluster = ClusterSettings { kubeconfig: Some(config.into()), context: Some("a".into()) };
    assert_eq!(settings.cluster, cluster);
}

#[test]
fn the_registry_command() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = file(&folder, "cert.pem", "-----BEGIN CERTIFICATE-----\n");
    let key = file(&folder, "key.pem", "-----BEGIN PRIVATE KEY-----\n");
    let database = folder.path().join("new.db");
    let arguments =
        ["registry", "--tls-cert-file", &certificate, "--tls-key-file", &key, "--database", database.to_str().unwrap()];
    let Ok(Command::Registry(settings)) = with_environment(&arguments, &[]) else { panic!() };
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7070");
    assert_eq!((settings.database, settings.tls.is_some()), (Some(database), true));
    let both = ["--tls-cert-file and --tls-key-file", "give both"];
    refused(with_environment(&["registry", "--tls-cert-file", &certificate], &[]), &both);
    refused(with_environment(&["registry", "--tls-key-file", &key], &[]), &both);
    refused(with_environment(&["registry", "--tls-key-file", &certificate], &[]), &["holds no private key"]);
    refused(with_environment(&["registry", "--database", "/nowhere/a.db"], &[]), &["/nowhere is not a folder"]);
    refused(with_environment(&["registry", "--tokens-file", "/nowhere/a"], &[]), &["cannot be read"]);
}

#[test]
fn the_demo_command() {
    let Ok(Command::Demo(settings)) = with_environment(&["demo", "--churn", "0.5", "--duration", "20s"], &[]) else {
        panic!()
    };
    assert_eq!((settings.pods, settings.churn, settings.seed), (50, 0.5, None));
    for (flag, value) in [
        ("--pods", "-1"),
        ("--pods", "100001"),
        ("--churn", "NaN"),
        ("--churn", "-1"),
        ("--seed", "x"),
        ("--duration", "0s"),
    ] {
        refused(with_environment(&["demo", &format!("{flag}={value}")], &[]), &[flag]);
    }
}

#[test]
fn the_watch_command() {
    let Ok(Command::Watch(settings)) = with_environment(&["watch", "--label-selector", "a=b"], &[]) else { panic!() };
    assert_eq!(settings.scope.label_selector.as_deref(), Some("a=b"));
}

#[test]
fn help_and_version_are_no_failures() {
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(with_environment(&arguments, &[]).unwrap_err().exit_code(), 0);
    }
    for arguments in [&[][..], &["stop"], &["run", "--colour"], &["watch", "--owner", "a"]] {
        assert_eq!(with_environment(arguments, &[]).unwrap_err().exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let look_up = |name: &str| (name == "POD_REGISTRAR_OWNER").then(|| OsString::from_vec(vec![0xff]));
    refused(parse(["pod-registrar"].iter().chain(&RUN), look_up), &["POD_REGISTRAR_OWNER: it is not valid UTF-8"]);
}

#[test]
fn the_table_has_every_flag_once() {
    let table = reference_table();
    let row = "| `--max-in-flight` | `POD_REGISTRAR_MAX_IN_FLIGHT` | `4` | How many requests to the registry are under way at a time, 1 to 64 |";
    assert_eq!(table.matches(row).count(), 1, "{table}");
    assert!(table.contains("| `--namespace`, repeatable | `POD_REGISTRAR_NAMESPACE` |  |"), "{table}");
}
