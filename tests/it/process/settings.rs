//! Flags and environment variables: which one wins, and what an error says.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt as _,
    process::Command,
};

use pod_registrar::cli;

use super::world::write_kubeconfig;
use crate::support::Child;

/// `run` without a cluster, which it looks for after all settings are accepted.
const RUN: [&str; 3] = ["run", "--registry-url", "http://127.0.0.1:9"];
/// The error of such a run.
const ACCEPTED: &str = "no cluster found";

/// Runs to the end with only these variables. Returns the exit code and the error.
fn with_variables<V: AsRef<OsStr>>(arguments: &[&str], variables: &[(&str, V)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pod-registrar"));
    let variables = variables.iter().map(|(name, value)| (name, value.as_ref()));
    let output = command.args(arguments).env_clear().envs(variables).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Checks that the error contains this text.
#[track_caller]
fn says<V: AsRef<OsStr>>(arguments: &[&str], variables: &[(&str, V)], expected: &str) {
    let (code, error) = with_variables(arguments, variables);
    assert!(error.contains(expected), "{error}");
    assert_eq!(code, Some(2), "{error}");
}

#[test]
fn variable_is_named_in_its_error() {
    says(&RUN, &[("POD_REGISTRAR_OWNER", "a b")], "error: POD_REGISTRAR_OWNER: \"a b\" is not an id; use 1 to 128");
    says(&RUN, &[("POD_REGISTRAR_NAMESPACE", "a, B")], "POD_REGISTRAR_NAMESPACE: \"B\" is not a namespace");
    says(&RUN, &[("POD_REGISTRAR_MAX_IN_FLIGHT", "-1")], "POD_REGISTRAR_MAX_IN_FLIGHT: \"-1\" is not a number");
    let latin = OsString::from_vec(vec![0xff]);
    says(&RUN, &[("POD_REGISTRAR_CLUSTER_NAME", latin)], "POD_REGISTRAR_CLUSTER_NAME: it is not valid UTF-8");
}

#[test]
fn flag_wins_over_its_variable() {
    let variables = [("POD_REGISTRAR_OWNER", "a b"), ("POD_REGISTRAR_LOG_FORMAT", "xml")];
    says(&[&RUN[..], &["--owner", "ours", "--log-format", "text"]].concat(), &variables, ACCEPTED);
}

#[test]
fn variable_replaces_a_required_flag() {
    says(&["run"], &[("POD_REGISTRAR_REGISTRY_URL", "http://127.0.0.1:9")], ACCEPTED);
    says(
        &["run"],
        &[("POD_REGISTRAR_REGISTRY_URL", "")],
        "--registry-url is missing; set it, or set POD_REGISTRAR_REG",
    );
}

#[test]
fn empty_list_variable_registers_no_labels() {
    let help = |variables: &[(&str, &str)]| {
        let mut help = Command::new(env!("CARGO_BIN_EXE_pod-registrar"));
        let help = help.args(["run", "--help"]).env_clear().envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(help.stdout).unwrap()
    };
    assert!(help(&[]).contains("[default: *]"));
    assert!(!help(&[("POD_REGISTRAR_LABEL_ALLOW", "")]).contains("[default: *]"));
}

#[test]
fn empty_variables_count_as_unset() {
    let page = cli::page::page();
    let names = page.split('`').filter(|name| name.starts_with("POD_REGISTRAR_") && *name != "POD_REGISTRAR_");
    let variables: Vec<(&str, &str)> = names.map(|name| (name, "")).collect();
    assert!(variables.len() > 30, "{variables:?}");
    says(&RUN, &variables, ACCEPTED);
}

#[test]
fn conflict_names_flag_and_variable() {
    let variables = [("POD_REGISTRAR_EXCLUDE_NAMESPACE", "b")];
    let conflict = "--namespace and POD_REGISTRAR_EXCLUDE_NAMESPACE cannot be combined";
    says(&[&RUN[..], &["--namespace", "a"]].concat(), &variables, conflict);
}

#[test]
fn password_in_a_variable_is_not_shown() {
    let variables = [("POD_REGISTRAR_REGISTRY_URL", "https://user:hunter2@registry.example/")];
    let (_, error) = with_variables(&["run"], &variables);
    assert!(error.contains("POD_REGISTRAR_REGISTRY_URL: it holds a user name or a password"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let mut help = Command::new(env!("CARGO_BIN_EXE_pod-registrar"));
    let help = help.args(["run", "--help"]).env_clear().envs(variables).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("POD_REGISTRAR_REGISTRY_URL") && !help.contains("hunter2"), "{help}");
}

/// Returns the exit code, the standard error and the standard output.
async fn ended(arguments: &[&str], code: i32) -> (String, String) {
    let mut child = Child::start(arguments);
    assert_eq!(child.code().await, code, "{arguments:?}: {:?}", child.stderr());
    (child.stderr().join("\n"), child.stdout().join("\n"))
}

#[tokio::test]
async fn rejected_setting_is_named_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = write_kubeconfig(folder.path(), "http://127.0.0.1:9");
    let (kubeconfig, file) = (kubeconfig.to_str().unwrap(), folder.path().join("empty"));
    std::fs::write(&file, "").unwrap();
    let (empty, broken) = (file.to_str().unwrap(), folder.path().join("broken"));
    std::fs::write(&broken, "clusters: 7").unwrap();
    let run = ["run", "--kubeconfig", kubeconfig, "--registry-url", "http://127.0.0.1:9"];
    let refused: Vec<(Vec<&str>, &str)> = vec![
        (vec![], "Usage"),
        (vec!["run", "--kubeconfig", kubeconfig], "--registry-url"),
        (vec!["run", "--kubeconfig", kubeconfig, "--registry-url", "ftp://registry.example"], "--registry-url"),
        (vec!["run", "--kubeconfig", "/nowhere/kubeconfig", "--registry-url", "http://127.0.0.1:9"], "--kubeconfig"),
        (vec!["run", "--kubeconfig", broken.to_str().unwrap(), "--registry-url", "http://127.0.0.1:9"], "clusters"),
        ([&run[..], &["--context", "nobody"]].concat(), "nobody"),
        ([&run[..], &["--no-such-flag"]].concat(), "--no-such-flag"),
        ([&run[..], &["--resync-interval", "10"]].concat(), "--resync-interval"),
        ([&run[..], &["--resync-interval", "1ms"]].concat(), "--resync-interval"),
        ([&run[..], &["--max-in-flight", "0"]].concat(), "--max-in-flight"),
        ([&run[..], &["--owner", "a b"]].concat(), "--owner"),
        ([&run[..], &["--cluster-id", "a b"]].concat(), "--cluster-id"),
        ([&run[..], &["--namespace", "a", "--exclude-namespace", "b"]].concat(), "--exclude-namespace"),
        ([&run[..], &["--label-selector", ""]].concat(), "--label-selector"),
        ([&run[..], &["--registry-token-file", empty]].concat(), "--registry-token-file"),
        ([&run[..], &["--registry-ca-file", empty]].concat(), "--registry-ca-file"),
        ([&run[..], &["--admin-addr", "localhost"]].concat(), "--admin-addr"),
        ([&run[..], &["--log-format", "xml"]].concat(), "--log-format"),
        (vec!["watch", "--kubeconfig", "/nowhere/kubeconfig"], "--kubeconfig"),
        (vec!["registry", "--tls-cert-file", kubeconfig], "--tls"),
        (vec!["registry", "--database", "/nowhere/registry.db"], "--database"),
        (vec!["demo", "--duration", "soon"], "--duration"),
    ];
    for (arguments, named) in refused {
        let (errors, shown) = ended(&arguments, 2).await;
        assert!(errors.contains(named), "{arguments:?}: {errors}");
        assert!(shown.is_empty(), "{arguments:?}: {shown}");
    }
}

#[tokio::test]
async fn password_in_an_address_is_not_repeated() {
    let (errors, _) = ended(&["run", "--registry-url", "https://user:hunter2@registry.example/"], 2).await;
    assert!(errors.contains("--registry-url") && !errors.contains("hunter2"), "{errors}");
}

#[tokio::test]
async fn missing_cluster_is_explained() {
    let (errors, _) = ended(&["watch"], 2).await;
    assert!(errors.contains("--kubeconfig"), "{errors}");
}

#[tokio::test]
async fn help_and_version_exit_with_code_0() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["registry", "--help"]] {
        let (errors, shown) = ended(arguments, 0).await;
        assert!(errors.is_empty() && shown.contains("pod-registrar"), "{arguments:?}: {errors}{shown}");
    }
}

#[test]
fn demo_ignores_the_variables_of_run() {
    // Each of them would be refused, or would take the demo to another cluster or registry.
    let names = ["REGISTRY_URL", "REGISTRY_TOKEN_FILE", "TARGETS", "KUBECONFIG", "CONTEXT", "LOG_FORMAT"];
    let names = names.map(|name| format!("POD_REGISTRAR_{name}"));
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "/no/such/thing")).collect();
    let demo = ["demo", "--pods", "1", "--churn", "0", "--duration", "1s", "--listen", "127.0.0.1:0"];
    let (code, text) = with_variables(&demo, &variables);
    assert_eq!(code, Some(0), "{text}");
}
