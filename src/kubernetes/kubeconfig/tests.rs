//! Kubeconfigs that kubectl accepts, and their meaning here.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::kubernetes::kubeconfig::access::ApiAccess;
use crate::kubernetes::kubeconfig::content::FileContent;
use crate::kubernetes::kubeconfig::server::Trust;
use crate::kubernetes::kubeconfig::user::Login;

/// A kubeconfig whose only cluster and user have these members, in YAML's flow style.
fn document(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn environment(variables: &[(&'static str, &str)]) -> Environment {
    Environment::of(|name| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into()))
}

fn found_with(text: &str, variables: &[(&'static str, &str)]) -> Result<ApiAccess, Error> {
    let folder = folder();
    let path = write(&folder, "config", text);
    find(&Search { kubeconfig: Some(path), context: None, environment: environment(variables) })
}

fn found(cluster: &str, user: &str) -> Result<ApiAccess, Error> {
    found_with(&document(cluster, user), &[])
}

const SERVER: &str = "server: 'https://h:1'";

#[track_caller]
fn refused(result: Result<ApiAccess, Error>, words: &[&str]) {
    let text = result.err().unwrap_or_else(|| panic!("taken, not {words:?}")).to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
}

#[test]
fn server_address_is_read_as_kubectl_reads_it() {
    let tls = "certificate-authority-data: YQ==, ";
    for (extra, server, expected) in [
        ("", "https://h", "https://h/"),
        ("", "HTTPS://h:6443/", "https://h:6443/"),
        ("", "https://h:6443/k8s/clusters/c-1/", "https://h:6443/k8s/clusters/c-1/"),
        ("", "https://h?a=b#c", "https://h/"),
        ("", "127.0.0.1:6443", "http://127.0.0.1:6443/"),
        (tls, "127.0.0.1:6443", "http://127.0.0.1:6443/"),
        ("insecure-skip-tls-verify: true, ", "localhost", "http://localhost/"),
        ("", "[::1]:6443", "http://[::1]:6443/"),
        ("", "https://[fd00::1]:6443", "https://[fd00::1]:6443/"),
        ("", "http://h:", "http://h/"),
    ] {
        let access = found(&format!("{extra}server: '{server}'"), "").unwrap();
        assert_eq!(access.server.to_string(), expected, "{server}");
    }
}

#[test]
fn server_address_that_cannot_be_used_is_refused() {
    for (server, word) in [
        ("//host", "host"),
        ("host/path", "HOST:PORT"),
        ("https://h:99999", "99999"),
        ("https://h:0", "port"),
        ("https://h:x", "port"),
        ("ftp://h", "ftp"),
        ("https://", "host"),
        ("https://me:hunter2@h", "user name"),
        ("https://a b", "a b"),
        ("https://[::1", "host"),
        ("https://[fe80::1%25eth0]", "host"),
        ("", "not set"),
    ] {
        let result = found(&format!("server: '{server}'"), "");
        let text = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        refused(result, &["cluster \"k\": server", word]);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn blank_member_is_absent() {
    let access = found(
        "server: 'http://h', certificate-authority-data: '', certificate-authority: '', tls-server-name: '', \
         proxy-url: ''",
        "client-certificate-data: '', client-key-data: '', token: '', tokenFile: '', username: '', \
         password: ' ', as: ''",
    );
    let access = access.unwrap();
    assert!(access.trust == Trust::System && access.identity.is_none() && access.proxy.is_none());
    assert!(matches!(access.login, Login::None) && access.impersonate.is_empty() && access.server_name.is_none());
    let access = found(SERVER, "token: '', exec: {apiVersion: client.authentication.k8s.io/v1, command: a}").unwrap();
    assert!(matches!(access.login, Login::Plugin(_)), "{:?}", access.login);
    let access = found("server: 'https://h', certificate-authority-data: ~", "tokenFile: t, token: ~").unwrap();
    assert!(matches!(access.login, Login::Token { file: Some(_), inline: None }));
}

#[test]
fn line_ends_in_base64_are_skipped() {
    let text = document("server: 'https://h', certificate-authority-data: X", "");
    for data in ["|\n      aGVs\n      bG8=\n", "\"aGVsbG8=\\n\"\n", "\"aGVs\\r\\nbG8=\"\n"] {
        let block = text.replace(
            "clusters: [{name: k, cluster: {server: 'https://h', certificate-authority-data: X}}]\n",
            &format!("clusters:\n- name: k\n  cluster:\n    server: https://h\n    certificate-authority-data: {data}"),
        );
        let access = found_with(&block, &[]).unwrap_or_else(|error| panic!("{error} in {block}"));
        let Trust::Bundle(bundle) = &access.trust else { panic!("{:?}", access.trust) };
        assert_eq!(bundle.read().unwrap().expose(), b"hello");
    }
    refused(
        found("server: 'https://h', certificate-authority-data: '%'", ""),
        &["certificate-authority-data", "base64"],
    );
}

#[test]
fn members_that_exclude_each_other_are_refused() {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: a}";
    for (cluster, user, words) in [
        (SERVER, "token: a, username: b", ["username", "token"]),
        (SERVER, "tokenFile: a, password: b", ["username", "token"]),
        (SERVER, "client-certificate: a", ["client-key", "set"]),
        (SERVER, "client-key: a", ["client-certificate", "set"]),
        (SERVER, "client-key-data: YQ==", ["client-certificate", "set"]),
        (SERVER, "client-certificate: a, client-certificate-data: YQ==, client-key: k", ["client-certificate", "both"]),
        (SERVER, "auth-provider: {name: oidc}", ["auth-provider", "exec"]),
        (SERVER, "as-groups: [a]", ["as:", "as-groups"]),
        (SERVER, "as-user-extra: {a: [b]}", ["as:", "as-user-extra"]),
        (SERVER, "token: 'a b'", ["token", "blanks"]),
        (SERVER, "exec: {command: a}", ["exec.apiVersion", "set"]),
        (SERVER, "exec: {apiVersion: client.authentication.k8s.io/v1}", ["exec.command", "set"]),
        (SERVER, "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: a}", ["v1alpha1", "v1beta1"]),
        ("server: h, insecure-skip-tls-verify: true, certificate-authority: a", "", ["insecure", "authority"]),
        (
            "server: h, certificate-authority: a, certificate-authority-data: YQ==",
            "",
            ["certificate-authority", "both"],
        ),
        ("server: h, tls-server-name: 'a b'", "", ["tls-server-name", "name"]),
        ("server: h, proxy-url: 'ftp://p'", "", ["proxy-url", "ftp"]),
        ("server: h, proxy-url: 'p:3128'", "", ["proxy-url", "scheme"]),
    ] {
        let words = if words[1] == "both" { [words[0], "one of the two"] } else { words };
        refused(found(cluster, user), &words);
    }
    let always = exec.replace("command: a", "command: a, interactiveMode: Always");
    refused(found(SERVER, &always), &["exec.interactiveMode", "terminal"]);
}

#[test]
fn login_follows_client_gos_precedence() {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: a}";
    let login = |user: &str| found(SERVER, user).unwrap().login;
    assert!(matches!(login("token: old, tokenFile: new"), Login::Token { file: Some(_), inline: Some(_) }));
    assert!(matches!(login(&format!("token: a, {exec}")), Login::Token { .. }));
    assert!(matches!(login("token: a, client-key: b"), Login::Token { .. }));
    assert!(matches!(login(&format!("username: a, {exec}")), Login::Basic(_)));
    assert!(matches!(login(&format!("client-certificate: a, client-key: b, {exec}")), Login::None));
    assert!(matches!(login(exec), Login::Plugin(_)));
    assert!(matches!(login(&format!("auth-provider: ~, {exec}")), Login::Plugin(_)));
}

#[test]
fn credentials_are_withheld_from_plain_http() {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: a}";
    for user in ["token: a", "tokenFile: a", "username: a", "client-certificate: a, client-key: b", exec] {
        let access = found("server: 'http://h'", &format!("{user}, as: jane")).unwrap();
        assert!(matches!(access.login, Login::None) && access.identity.is_none() && access.is_withheld, "{user}");
        assert_eq!(access.impersonate.len(), 1, "kubectl sends no credential, but whom to act as");
        assert!(!found(SERVER, user).unwrap().is_withheld);
    }
    assert!(!found("server: 'http://h'", "").unwrap().is_withheld);
    let withheld = |cluster: &str| found(cluster, "token: a").unwrap().is_withheld;
    assert!(!withheld("server: 'http://127.0.0.1:1'") && !withheld("server: 'http://[::1]'"));
    assert!(withheld("server: 'http://localhost', proxy-url: 'http://p'"), "the proxy could read it");
}

#[test]
fn impersonation_becomes_headers() {
    let user = "as: jane, as-uid: '7', as-groups: [a, b], as-user-extra: {'Acme.com/Project%': [x, y]}";
    let headers = found(SERVER, user).unwrap().impersonate;
    let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(all("impersonate-user"), ["jane"]);
    assert_eq!(all("impersonate-uid"), ["7"]);
    assert_eq!(all("impersonate-group"), ["a", "b"]);
    assert_eq!(all("impersonate-extra-acme.com%2fproject%25"), ["x", "y"]);
    refused(found(SERVER, "as: \"a\\nb\""), &["as", "header"]);
}

#[test]
fn plugin_gets_the_cluster_if_it_asks() {
    let cluster = "server: 'https://h', certificate-authority-data: YQ==, extensions: \
                   [{name: client.authentication.k8s.io/exec, extension: {a: 1}}]";
    let exec =
        |more: &str| format!("exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./a, args: ~{more}}}");
    let plugin = |more: &str| match found(cluster, &exec(more)).unwrap().login {
        Login::Plugin(plugin) => plugin,
        other => panic!("{other:?}"),
    };
    let expected = serde_json::json!({
        "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "spec": {
            "interactive": false,
            "cluster": {"server": "https://h", "certificate-authority-data": "YQ==", "config": {"a": 1}},
        },
    });
    assert_eq!(plugin(", provideClusterInfo: true").info, expected);
    assert_eq!(plugin("").info["spec"], serde_json::json!({"interactive": false}));
    assert!(plugin("").command.is_absolute(), "relative to the kubeconfig");
    let shown = format!("{:?}", plugin(", env: [{name: A, value: s3cret}]"));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn first_file_that_names_something_wins() {
    let folder = folder();
    let a = write(&folder, "a", "users: [{name: u, user: {token: first}}]\nclusters: ~\n");
    fs::create_dir(folder.path().join("sub")).unwrap();
    let b = write(&folder, "sub/b", document("server: 'https://h', certificate-authority: ca.crt", "token: second"));
    let c =
        write(&folder, "c", "current-context: other\ncontexts: [{name: other, context: {cluster: k, user: nobody}}]");
    let missing = folder.path().join("missing");
    let list = std::env::join_paths([&missing, &a, &b, &c]).unwrap();
    let environment = environment(&[("KUBECONFIG", list.to_str().unwrap())]);
    let search = |context: Option<&str>| Search {
        kubeconfig: None,
        context: context.map(str::to_owned),
        environment: environment.clone(),
    };
    let access = find(&search(None)).unwrap();
    let Login::Token { inline: Some(token), .. } = &access.login else { panic!("{:?}", access.login) };
    assert_eq!((token.expose(), access.origin.context.as_deref()), (&b"first"[..], Some("c")));
    let Trust::Bundle(FileContent::File { path, .. }) = &access.trust else { panic!("{:?}", access.trust) };
    assert_eq!(path, &folder.path().join("sub/ca.crt"), "relative to its own file");
    refused(find(&search(Some("other"))), &["context \"other\": user", "nobody"]);
    refused(find(&search(Some("x"))), &["\"x\"", "c, other"]);
}

#[test]
fn cluster_is_found_where_kubectl_finds_it() {
    let home = folder();
    fs::create_dir(home.path().join(".kube")).unwrap();
    write(&home, ".kube/config", document("server: 'http://home'", ""));
    let other = write(&home, "other", document("server: 'http://other'", ""));
    let (home, other) = (home.path().to_str().unwrap(), other.to_str().unwrap().to_owned());
    let host = |search: &Search| find(search).unwrap().server.host().unwrap().to_owned();
    let by = |variables: &[(&'static str, &str)]| Search { environment: environment(variables), ..Search::default() };
    assert_eq!(host(&by(&[("HOME", home)])), "home");
    assert_eq!(host(&by(&[("HOME", home), ("KUBECONFIG", "")])), "home", "empty is not set");
    assert_eq!(host(&by(&[("HOME", home), ("KUBECONFIG", &other)])), "other");
    let flag = Search { kubeconfig: Some(other.into()), ..by(&[("KUBECONFIG", "/missing")]) };
    assert_eq!(host(&flag), "other");
    refused(find(&by(&[("HOME", "/missing")])), &["no cluster found", "/missing/.kube/config", "--kubeconfig"]);
    let context = Search { context: Some("zz".into()), ..by(&[("KUBECONFIG", "/missing/a:/missing/b")]) };
    refused(find(&context), &["\"zz\"", "searched: /missing/a, /missing/b", "--kubeconfig"]);
    refused(find(&Search { context: Some("zz".into()), ..Search::default() }), &["\"zz\"", "HOME is not set"]);
    let flag = Search { kubeconfig: Some("/missing".into()), ..Search::default() };
    refused(find(&flag), &["/missing", "check the path"]);
}

#[test]
fn invalid_kubeconfig_is_refused_without_quoting_it() {
    for text in [
        "token: s3cret: x",
        "[s3cret]",
        "users: s3cret",
        "users: [{name: u, user: {exec: s3cret}}]",
        "\tusers: s3cret",
        "apiVersion: v2",
        "kind: Pod",
    ] {
        let error = found_with(text, &[]).unwrap_err().to_string();
        assert!(!error.contains("s3cret") && error.contains("config"), "{error}");
    }
    let twice = "contexts: [{name: a}, {name: a}]";
    refused(found_with(twice, &[]), &["contexts", "\"a\"", "twice"]);
    refused(found_with("{}", &[]), &["current-context", "--context"]);
    let bom = format!("\u{feff}{}", document(SERVER, ""));
    assert!(found_with(&bom, &[]).is_ok());
}

#[test]
fn member_that_cannot_be_read_is_named() {
    let command = "apiVersion: client.authentication.k8s.io/v1, command: a";
    for (user, words) in [
        (format!("exec: {{{command}, args: s3cret}}"), ["users[0].user.exec.args", "line 6", "wrong type"]),
        (format!("exec: {{{command}, env: {{s3cret: b}}}}"), ["users[0].user.exec.env", "line 6", "wrong type"]),
        ("as: a, as-groups: s3cret".to_owned(), ["users[0].user.as-groups", "line 6", "wrong type"]),
        ("token: s3cret, token: s3cret2".to_owned(), ["users[0].user", "line 6", "twice"]),
    ] {
        let error = found(SERVER, &user).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains("s3cret"), "{words:?} in {error}");
    }
    refused(found_with("users: {u: {}}", &[]), &["config: users, line 1, column 8", "wrong type"]);
}

#[test]
fn first_of_several_documents_counts() {
    let text = format!("---\n{}---\n{}", document(SERVER, ""), document("server: 'https://other'", ""));
    assert_eq!(found_with(&text, &[]).unwrap().server.host(), Some("h"));
}

#[test]
fn only_the_chosen_context_is_checked() {
    let text = format!(
        "{}- name: broken\n  user: {{auth-provider: {{name: gcp}}, client-key-data: '%'}}\n",
        document(SERVER, "").replace("users: [{name: u, user: {}}]\n", "users:\n- name: u\n")
    );
    assert!(found_with(&text, &[]).is_ok(), "{:?}", found_with(&text, &[]));
    let no_user = document(SERVER, "").replace(", user: u}", "}");
    assert!(found_with(&no_user, &[]).is_ok(), "a context without a user");
}

#[test]
fn proxy_is_used_where_kubectl_uses_one() {
    let proxy = |cluster: &str, variables: &[(&'static str, &str)]| {
        let access = found_with(&document(cluster, ""), variables).unwrap();
        access.proxy.map(|proxy| proxy.shown)
    };
    let (https, http) = ("server: 'https://h.example:6443'", "server: 'http://h.example'");
    let named = format!("{https}, proxy-url: 'http://p:3128'");
    assert_eq!(proxy(&named, &[("HTTPS_PROXY", "http://x")]).as_deref(), Some("http://p:3128"));
    let socks = format!("{https}, proxy-url: 'socks5://p'");
    assert_eq!(proxy(&socks, &[]).as_deref(), Some("socks5://p:1080"));
    assert_eq!(proxy(https, &[("HTTPS_PROXY", "p:3128")]).as_deref(), Some("http://p:3128"));
    assert_eq!(proxy(https, &[("https_proxy", "https://p")]).as_deref(), Some("https://p:443"));
    assert_eq!(proxy(https, &[("HTTP_PROXY", "http://p")]), None);
    assert_eq!(proxy(http, &[("HTTP_PROXY", "http://p")]).as_deref(), Some("http://p:80"));
    assert_eq!(proxy(https, &[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "other, .example")]), None);
    let broken = ("HTTPS_PROXY", "http://u:p@ss word@proxy:3128");
    assert_eq!(proxy(http, &[broken]), None, "a variable that is not used stops nothing");
    assert_eq!(proxy("server: 'https://127.0.0.1:6443'", &[broken]), None);
    let error = found_with(&document(https, ""), &[broken]).unwrap_err().to_string();
    assert!(error.contains("HTTPS_PROXY") && !error.contains("ss word"), "{error}");
}

#[test]
fn service_account_needs_only_what_is_used() {
    let mount = folder();
    let pod = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let find = |variables: &[(&'static str, &str)]| in_cluster::find(mount.path(), &environment(variables));
    assert_eq!(find(&[]).unwrap_err(), None, "not a pod");
    let problem = find(&pod).unwrap_err().unwrap();
    assert!(problem.contains(mount.path().to_str().unwrap()) && problem.contains("token"), "{problem}");
    write(&mount, "token", "s3cret\n");
    write(&mount, "ca.crt", "x");
    let access = find(&pod).unwrap();
    assert_eq!((access.server.to_string().as_str(), access.namespace.as_str()), ("https://10.0.0.1:443/", "default"));
    write(&mount, "namespace", "shop\n");
    let six = [("KUBERNETES_SERVICE_HOST", "fd00::1"), pod[1]];
    let access = find(&six).unwrap();
    assert_eq!((access.server.to_string().as_str(), access.namespace.as_str()), ("https://[fd00::1]:443/", "shop"));
    let broken = [pod[0], pod[1], ("HTTPS_PROXY", "::not a proxy::")];
    assert!(find(&broken).unwrap().proxy.is_none());
}

#[test]
fn environment_is_never_shown() {
    let shown = format!("{:?}", environment(&[("HTTPS_PROXY", "http://u:s3cret@p")]));
    assert!(shown.contains("HTTPS_PROXY") && !shown.contains("s3cret"), "{shown}");
}
