//! Credentials from files and plugins, at the start and later.

use std::{fs, path::Path};

use super::*;
use crate::kubernetes::kubeconfig::{self, Search};

/// An access whose user has these members, in YAML's flow style. Relative paths start in the folder.
fn access(folder: &Path, user: &str) -> ApiAccess {
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://h', insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n"
    );
    let path = folder.join("config");
    fs::write(&path, text).unwrap();
    kubeconfig::find(&Search { kubeconfig: Some(path), ..Search::default() }).unwrap()
}

async fn header(source: &CredentialSource) -> String {
    source.current().await.unwrap().header.unwrap().to_str().unwrap().to_owned()
}

async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Waits for the running task and applies its result.
async fn settle(source: &CredentialSource) {
    _ = source.current().await;
    let task = source.state.lock().task.clone();
    if let Some(task) = task {
        _ = task.await;
        _ = source.current().await;
    }
}

#[tokio::test]
async fn token_file_is_trimmed_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    for text in ["s3cret", "s3cret\n", "s3cret\r\n", "  s3cret \t\n\n", "\u{feff}s3cret\n"] {
        fs::write(&token, text).unwrap();
        let source = CredentialSource::new(access(folder.path(), "tokenFile: token")).unwrap();
        assert_eq!(header(&source).await, "Bearer s3cret", "{text:?}");
    }
    for text in ["", " \r\n", "\u{feff}\n", "s3 cret", "s3cret\ns3cret", "s3cr\u{e9}t", "s3\0cret"] {
        fs::write(&token, text).unwrap();
        let problem = CredentialSource::new(access(folder.path(), "tokenFile: token")).err().unwrap().to_string();
        assert!(problem.contains("user \"u\": tokenFile") && problem.contains(token.to_str().unwrap()), "{problem}");
        assert!(!problem.contains("s3"), "{problem}");
    }
}

#[tokio::test]
async fn token_stays_while_its_file_is_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "first").unwrap();
    let source = CredentialSource::new(access(folder.path(), "tokenFile: token")).unwrap();
    for text in [Some(""), None] {
        match text {
            Some(text) => fs::write(&token, text).unwrap(),
            None => fs::remove_file(&token).unwrap(),
        }
        advance(READ_EVERY).await;
        settle(&source).await;
        assert_eq!(header(&source).await, "Bearer first", "{text:?}");
        let mut warned = source.state.lock().warned;
        assert!(warned.over(), "a warning was logged");
    }
    fs::write(&token, "second").unwrap();
    advance(Duration::from_secs(60)).await;
    settle(&source).await;
    assert_eq!(header(&source).await, "Bearer second");
}

#[tokio::test]
async fn plugin_with_an_unusable_token_is_named() {
    // The token has characters that cannot be sent in a header.
    let folder = tempfile::tempdir().unwrap();
    let credential = r#"{"apiVersion":"client.authentication.k8s.io/v1","status":{"token":"s3\u0000cret"}}"#;
    fs::write(folder.path().join("credential"), credential).unwrap();
    let exec = "apiVersion: client.authentication.k8s.io/v1, command: cat, args";
    let user = format!("exec: {{{exec}: ['{}/credential']}}", folder.path().display());
    let problem =
        CredentialSource::new(access(folder.path(), &user)).unwrap().current().await.err().unwrap().to_string();
    assert!(problem.contains("plugin cat") && problem.contains("the token has characters"), "{problem}");
    assert!(!problem.contains("s3"), "{problem}");
}

#[tokio::test]
async fn plugin_token_is_renewed_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"echo run >> "$0.runs"
printf '{"apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t%s","expirationTimestamp":"%s"}}' \
"$(grep -c run "$0.runs")" "$(date -u -d "@$(($(date +%s) + 3600))" +%Y-%m-%dT%H:%M:%SZ)""#;
    let path = folder.path().join("plugin");
    fs::write(&path, script).unwrap();
    let exec = "apiVersion: client.authentication.k8s.io/v1, command: sh, args";
    let source =
        CredentialSource::new(access(folder.path(), &format!("exec: {{{exec}: ['{}']}}", path.display()))).unwrap();
    assert_eq!(header(&source).await, "Bearer t1");
    advance(Duration::from_secs(3_500)).await;
    settle(&source).await;
    assert_eq!(header(&source).await, "Bearer t1");
    advance(Duration::from_secs(80)).await;
    settle(&source).await;
    assert_eq!(header(&source).await, "Bearer t2", "20 s before its end");
}
