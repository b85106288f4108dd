//! Errors and defaults of whole command lines, without an environment.

mod fuzz;

use std::{fs, path::Path, time::Duration};

use super::*;
use crate::cli::{flags::ClusterSettings, values::LeaseName};

const RUN: [&str; 3] = ["run", "--registry-url", "https://registry.example/a"];

fn command(arguments: &[&str]) -> Result<Command, clap::Error> {
    parse_with(Program::command(), ["pod-registrar"].iter().chain(arguments).copied())
}

fn run(more: &[&str]) -> Result<RunSettings, clap::Error> {
    match command(&[&RUN, more].concat())? {
        Command::Run(settings) => Ok(*settings),
        other => panic!("{other:?}"),
    }
}

/// Asserts that the settings are rejected with an error that has all the parts.
#[track_caller]
fn rejected<T: std::fmt::Debug>(result: Result<T, clap::Error>, parts: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(error.exit_code(), 2, "{text}");
}

fn file(folder: &tempfile::TempDir, name: &str, contents: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn command_line_of_the_program_is_well_formed() {
    with_variables(Program::command()).debug_assert();
}

#[test]
fn only_the_demo_has_no_variables() {
    let program = with_variables(Program::command());
    for command in program.get_subcommands().filter(|command| !command.has_subcommands()) {
        let has_variable = command.get_arguments().any(|flag| flag.get_env().is_some());
        assert_eq!(has_variable, command.get_name() != "demo", "{}", command.get_name());
    }
}

#[test]
fn lease_is_named_by_namespace_and_name() {
    let settings = run(&["--lease", "kube-system/pod-registrar.example", "--instance", "web-0"]).unwrap().election;
    let lease = LeaseName { namespace: "kube-system".into(), name: "pod-registrar.example".into() };
    assert_eq!((settings.lease, settings.instance.as_deref()), (Some(lease), Some("web-0")));
}

#[test]
fn values_out_of_bounds_are_rejected() {
    for (flag, value, part) in [
        ("--namespace", "Shop", "is not a namespace"),
        ("--exclude-namespace", "kube-*", "is not a namespace"),
        ("--label-selector", "", "it is empty"),
        ("--field-selector", " ", "it is empty"),
        ("--label-allow", "a b", "matches no key"),
        ("--annotation-allow", "ä", "matches no key"),
        ("--request-timeout", "0s", "1ms to 5m"),
        ("--request-timeout", "6m", "1ms to 5m"),
        ("--max-in-flight", "0", "1 to 64"),
        ("--max-in-flight", "-1", "1 to 64"),
        ("--hold-on-scope-change", "yes", "true or false"),
        ("--approval-lease", "registrar", "does not name a Lease"),
        ("--max-in-flight", "65", "1 to 64"),
        ("--max-writes-per-second", "0", "at least 1"),
        ("--cluster-id", "/", "is not an id"),
        ("--cluster-name", "a\nb", "is not a name"),
        ("--lease", "pod-registrar", "does not name a Lease"),
        ("--lease", "a/b/c", "does not name a Lease"),
        ("--lease", "/b", "does not name a Lease"),
        ("--lease-duration", "2s", "3s to 5m"),
        ("--lease-duration", "3500ms", "whole seconds"),
        ("--lease-duration", "301s", "3s to 5m"),
        ("--instance", "a b", "is not an id"),
        ("--admin-addr", "localhost:8080", "IP address and a port"),
        ("--resync-interval", "999ms", "at least 1s"),
        ("--relist-interval", "soon", "is not a duration"),
        ("--relist-interval", "8785h", "at most a year"),
        ("--relist-interval", "1m ago", "out of bounds"),
        ("--otlp-endpoint", "collector:4318", "http or https"),
        ("--otlp-endpoint", "http://collector:4318/v1/traces", "remove that"),
        ("--otlp-endpoint", "http://me:pw@collector:4318", "--otlp-headers-file"),
        ("--otlp-timeout", "0s", "1ms to 5m"),
        ("--trace-ratio", "1.1", "from 0 to 1"),
        ("--trace-ratio", "-0.1", "from 0 to 1"),
        ("--export-logs", "yes", "true or false"),
        ("--log-format", "xml", "text or json"),
    ] {
        rejected(run(&[flag, value]), &[&format!("{flag}: "), part]);
    }
}

#[test]
fn lists_use_repeated_flags_or_commas() {
    let namespaces = |arguments: &[&str]| run(arguments).unwrap().scope.namespace;
    assert_eq!(namespaces(&["--namespace", "b", "--namespace", "a", "--namespace", "b"]), ["a", "b"]);
    assert_eq!(namespaces(&["--namespace", "a, b,"]), ["a", "b"]);
    assert_eq!(namespaces(&["--namespace", "", "--exclude-namespace", "a"]), [""; 0]);
    assert_eq!(run(&["--label-allow", ""]).unwrap().record.label_allow, [""; 0]);
}

#[test]
fn chosen_and_excluded_namespaces_are_rejected() {
    let parts = ["--namespace and --exclude-namespace cannot be combined; keep one of them"];
    rejected(run(&["--namespace", "a", "--exclude-namespace", "b"]), &parts);
}

#[test]
fn required_flag_is_named_with_its_variable() {
    rejected(command(&["run"]), &["--registry-url is missing; set it, or set POD_REGISTRAR_REGISTRY_URL"]);
}

#[test]
fn targets_take_the_place_of_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let (targets, token) = (file(&folder, "targets", "targets: []"), file(&folder, "token", "secret"));
    let Ok(Command::Run(settings)) = command(&["run", "--targets", &targets]) else { panic!() };
    assert!(settings.registry.connection.registry_url.is_none() && settings.registry.connection.targets.is_some());
    rejected(run(&["--targets", &targets]), &["--targets and --registry-url cannot be combined"]);
    let with_token = ["run", "--targets", &targets, "--registry-token-file", &token];
    rejected(command(&with_token), &["--targets and --registry-token-file cannot be combined"]);
}

#[test]
fn token_of_the_demo_needs_its_registry() {
    let folder = tempfile::tempdir().unwrap();
    let token = file(&folder, "token", "secret");
    let demo = ["demo", "--registry-token-file", &token];
    rejected(command(&demo), &["--registry-url is missing"]);
    command(&[&demo[..], &["--registry-url", "http://127.0.0.1:9"]].concat()).unwrap();
}

#[test]
fn approvals_are_on_the_lease_of_the_election() {
    let lease = |arguments: &[&str]| run(arguments).unwrap().holds.approval_lease.map(|lease| lease.name);
    assert_eq!(lease(&[]), None);
    assert_eq!(lease(&["--lease", "a/b"]).as_deref(), Some("b"));
    assert_eq!(lease(&["--lease", "a/b", "--approval-lease", "a/c"]).as_deref(), Some("c"));
}

#[test]
fn defaults_are_those_of_the_flags() {
    // The demo uses them.
    let (defaults, settings) = (defaults("https://registry.example/a").unwrap(), run(&[]).unwrap());
    assert_eq!(format!("{defaults:?}"), format!("{settings:?}"));
    assert_eq!(settings.registry.max_writes_per_second, 20_000);
    assert_eq!(settings.registry.connection.registry_url.unwrap().as_str(), "https://registry.example/a/");
    assert_eq!(settings.relist_interval, Duration::from_secs(6 * 3600));
    assert_eq!(settings.record.label_allow, ["*"]);
}

#[test]
fn too_many_namespaces_are_rejected() {
    let named = |count: usize| (0..count).map(|n| format!("ns-{n}")).collect::<Vec<_>>().join(",");
    run(&["--namespace", &named(500)]).unwrap();
    let parts = ["--namespace: 501 namespaces are more than 500", "watch all namespaces"];
    rejected(run(&["--namespace", &named(501)]), &parts);
}

#[test]
fn addresses_that_are_no_registry_are_rejected() {
    for (url, part) in [
        ("registry.example", "is not an address"),
        ("ftp://registry.example", "scheme"),
        ("https://me@registry.example", "user name"),
        ("https://registry.example?x=1", "query"),
        ("https://registry.example#x", "fragment"),
        ("https://registry.example/cmdb/v1/", "ends in /v1"),
        ("", "it is empty"),
    ] {
        rejected(command(&["run", "--registry-url", url]), &["--registry-url: ", part]);
    }
}

#[test]
fn unreadable_files_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--kubeconfig", "--registry-token-file", "--registry-ca-file"] {
        rejected(run(&[flag, "/nowhere/file"]), &[flag, "/nowhere/file cannot be read", "check the path"]);
        rejected(run(&[flag, folder.path().to_str().unwrap()]), &[flag, "not a regular file"]);
        rejected(run(&[flag, &file(&folder, "empty", "")]), &[flag, "is empty"]);
        rejected(run(&[flag, ""]), &[flag, "the path is empty"]);
    }
    rejected(run(&["--registry-token-file", &file(&folder, "blank", " \n")]), &["does not hold a token"]);
    let two = run(&["--registry-token-file", &file(&folder, "two", "one\ntwo\n")]);
    rejected(two, &["does not hold a token"]);
    rejected(run(&["--registry-ca-file", &file(&folder, "text", "hello")]), &["holds no certificate"]);
}

#[test]
fn readable_files_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let token = file(&folder, "token", "secret\n");
    let authorities = file(&folder, "ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let config = file(&folder, "config", "apiVersion: v1\n");
    let files = ["--registry-token-file", &token, "--registry-ca-file", &authorities, "--kubeconfig", &config];
    let settings = run(&[&files[..], &["--context", "a"]].concat()).unwrap();
    assert_eq!(settings.registry.connection.registry_token_file.as_deref(), Some(Path::new(&token)));
    let cluster = ClusterSettings { kubeconfig: Some(config.into()), context: Some("a".into()) };
    assert_eq!(settings.cluster, cluster);
}

#[test]
fn registry_checks_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = file(&folder, "cert.pem", "-----BEGIN CERTIFICATE-----\n");
    let key = file(&folder, "key.pem", "-----BEGIN PRIVATE KEY-----\n");
    let database = folder.path().join("new.db");
    let arguments =
        ["registry", "--tls-cert-file", &certificate, "--tls-key-file", &key, "--database", database.to_str().unwrap()];
    let Ok(Command::Registry(settings)) = command(&arguments) else { panic!() };
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7070");
    assert_eq!((settings.database, settings.tls.is_some()), (Some(database), true));
    let missing = |flag, variable| format!("{flag} is missing; set it, or set {variable}");
    let (no_key, no_certificate) = (
        missing("--tls-key-file", "POD_REGISTRAR_TLS_KEY_FILE"),
        missing("--tls-cert-file", "POD_REGISTRAR_TLS_CERT_FILE"),
    );
    rejected(command(&["registry", "--tls-cert-file", &certificate]), &[&no_key]);
    rejected(command(&["registry", "--tls-key-file", &key]), &[&no_certificate]);
    rejected(command(&["registry", "--tls-key-file", &certificate]), &["holds no private key"]);
    rejected(command(&["registry", "--database", "/nowhere/a.db"]), &["/nowhere is not a directory"]);
    rejected(command(&["registry", "--tokens-file", "/nowhere/a"]), &["cannot be read"]);
}

#[test]
fn demo_checks_its_numbers() {
    let Ok(Command::Demo(settings)) = command(&["demo", "--churn", "0.5", "--duration", "20s"]) else { panic!() };
    assert_eq!((settings.pods, settings.churn, settings.seed), (50, 0.5, None));
    for (flag, value) in [
        ("--pods", "-1"),
        ("--pods", "100001"),
        ("--churn", "NaN"),
        ("--churn", "-1"),
        ("--seed", "x"),
        ("--duration", "0s"),
    ] {
        rejected(command(&["demo", &format!("{flag}={value}")]), &[flag]);
    }
}

#[test]
fn watch_selects_pods() {
    let Ok(Command::Watch(settings)) = command(&["watch", "--label-selector", "a=b"]) else { panic!() };
    assert_eq!(settings.scope.label_selector.as_deref(), Some("a=b"));
}

#[test]
fn help_and_version_exit_with_code_0() {
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(command(&arguments).unwrap_err().exit_code(), 0);
    }
    for arguments in [&[][..], &["stop"], &["run", "--colour"], &["watch", "--owner", "a"]] {
        assert_eq!(command(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
    }
}
