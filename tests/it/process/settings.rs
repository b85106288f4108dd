//! Settings that are refused: before anything is done, with a text that names the setting.

use super::world::write_kubeconfig;
use crate::support::Child;

/// Ends with this code; what it wrote to standard error and output.
async fn ended(arguments: &[&str], code: i32) -> (String, String) {
    let mut child = Child::start(arguments);
    assert_eq!(child.code().await, code, "{arguments:?}: {:?}", child.stderr());
    (child.stderr().join("\n"), child.stdout().join("\n"))
}

#[tokio::test]
async fn refused_settings_end_with_code_2_and_say_which_and_how_to_mend_it() {
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
        ([&run[..], &["--label-selector", "a in b"]].concat(), "--label-selector"),
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
        let (told, shown) = ended(&arguments, 2).await;
        assert!(told.contains(named), "{arguments:?}: {told}");
        assert!(shown.is_empty(), "{arguments:?}: {shown}");
    }
}

#[tokio::test]
async fn a_password_in_an_address_is_refused_and_not_repeated() {
    let (told, _) = ended(&["run", "--registry-url", "https://user:hunter2@registry.example/"], 2).await;
    assert!(told.contains("--registry-url") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn without_a_service_account_there_is_no_cluster_and_the_text_says_what_to_do() {
    let (told, _) = ended(&["watch"], 2).await;
    assert!(told.contains("--kubeconfig"), "{told}");
}

#[tokio::test]
async fn help_and_version_end_with_code_0() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["registry", "--help"]] {
        let (told, shown) = ended(arguments, 0).await;
        assert!(told.is_empty() && shown.contains("pod-registrar"), "{arguments:?}: {told}{shown}");
    }
}
