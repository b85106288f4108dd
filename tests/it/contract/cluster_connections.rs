//! Connections to the API server: what the error of a failed one says, which certificates and proxies are used, and how
//! replaced certificates and tokens are picked up.

use std::{fs, path::PathBuf};

use pod_registrar::{
    demo::api::ApiOptions,
    kubernetes::{client::ClusterConnection, identity, kubeconfig::Search},
    registry::server::tls::TlsFiles,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    contract::{hostile_registry::Authority, registry_client::install_provider},
    support::{
        ForwardProxy, SOON, TlsFront,
        apiserver::{Fault, Kind, Request, Server},
        eventually,
    },
};

/// An API server without TLS, and a folder for certificates.
struct ConnectionHarness {
    api: Server,
    folder: TempDir,
}

impl ConnectionHarness {
    async fn start() -> Self {
        install_provider();
        Self { api: Server::start(ApiOptions::default()).await.unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn authority(&self, name: &str) -> (Authority, PathBuf) {
        Authority::new(self.folder.path(), name)
    }

    fn sign(&self, authority: &Authority, name: &str, host: &str) -> TlsFiles {
        authority.sign(self.folder.path(), name, host, false)
    }

    /// From now on, requests need this token.
    fn accept_only(&self, token: &'static str) {
        self.api.clear_faults();
        let is_other = move |request: &Request| request.authorization.as_deref() != Some(token);
        self.api.inject(Fault::status(Kind::Namespace, 401).always().when(is_other));
    }

    /// Starts TLS in front of the API server.
    async fn tls(&self, files: &TlsFiles, clients: Option<&PathBuf>) -> TlsFront {
        let to = self.api.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
        TlsFront::start(to, files, clients.map(PathBuf::as_path)).await
    }

    /// Connects with a kubeconfig whose cluster and user have these members.
    fn cluster(&self, cluster: &Value, user: &Value) -> Result<ClusterConnection, String> {
        let document = json!({
            "current-context": "c",
            "clusters": [{"name": "k", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        });
        let path = self.path("config");
        fs::write(&path, document.to_string()).unwrap();
        let search = Search { kubeconfig: Some(path), ..Search::default() };
        ClusterConnection::find(&search).map_err(|error| error.to_string())
    }
}

async fn ask(cluster: &ClusterConnection) -> Result<String, String> {
    identity::read(&cluster.client()).await.map_err(|error| error.to_string())
}

/// Copies a certificate and its key, as a rotation does.
fn copy(from: &TlsFiles, to: &TlsFiles) {
    fs::copy(&from.cert, &to.cert).unwrap();
    fs::copy(&from.key, &to.key).unwrap();
}

#[tokio::test]
async fn failed_api_connection_names_cause_and_member() {
    let world = ConnectionHarness::start().await;
    let (own, ca) = world.authority("own");
    let (_, other) = world.authority("other");
    let good = world.tls(&world.sign(&own, "good", "127.0.0.1"), None).await;
    let elsewhere = world.tls(&world.sign(&own, "elsewhere", "api.example"), None).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = world.api.url().replace("http://", "https://");
    for (server, ca, parts) in [
        (format!("https://{}", good.address), &other, ["not trusted", "certificate-authority", "UnknownIssuer"]),
        (format!("https://{}", elsewhere.address), &ca, ["another name", "server in the kubeconfig", "api.example"]),
        (plain, &ca, ["does not speak TLS", "http://", "server in the kubeconfig"]),
        (
            format!("http://{}", good.address),
            &ca,
            ["https://", "server in the kubeconfig", "cannot reach the API server"],
        ),
        (format!("https://{closed}"), &ca, ["nothing listens", "server in the kubeconfig", "Connection refused"]),
    ] {
        let cluster = world.cluster(&json!({"server": server, "certificate-authority": ca}), &json!({})).unwrap();
        let text = ask(&cluster).await.unwrap_err();
        assert!(parts.iter().all(|part| text.contains(part)), "{server}: {text}");
    }
    let named = json!({
        "server": format!("https://{}", elsewhere.address),
        "certificate-authority": ca,
        "tls-server-name": "api.example",
    });
    ask(&world.cluster(&named, &json!({})).unwrap()).await.unwrap();
}

#[tokio::test]
async fn self_signed_api_certificate_is_trusted() {
    // The kubeconfig names the certificate itself as the authority.
    let world = ConnectionHarness::start().await;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let files = TlsFiles { cert: world.path("own.crt"), key: world.path("own.key") };
    fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    let front = world.tls(&files, None).await;
    let server = format!("https://{}", front.address);
    let cluster = json!({"server": server, "certificate-authority": files.cert});
    ask(&world.cluster(&cluster, &json!({})).unwrap()).await.unwrap();
}

#[tokio::test]
async fn replaced_authority_is_used_after_a_failed_handshake() {
    let world = ConnectionHarness::start().await;
    let ((first, first_ca), (second, second_ca)) = (world.authority("first"), world.authority("second"));
    let ca = world.path("ca.crt");
    fs::copy(first_ca, &ca).unwrap();
    let front = world.tls(&world.sign(&first, "a", "127.0.0.1"), None).await;
    let server = format!("https://{}", front.address);
    let cluster = world.cluster(&json!({"server": server, "certificate-authority": ca}), &json!({})).unwrap();
    ask(&cluster).await.unwrap();
    fs::copy(second_ca, &ca).unwrap();
    front.replace(&world.sign(&second, "b", "127.0.0.1"), None);
    asked_at_once(&cluster).await;
}

/// Checks that the next request over a new connection succeeds. The old connection may fail the request before it.
async fn asked_at_once(cluster: &ClusterConnection) {
    if let Err(error) = ask(cluster).await {
        assert!(error.contains("closed") || error.contains("reset"), "{error}");
        ask(cluster).await.unwrap();
    }
}

#[tokio::test]
async fn replaced_client_certificate_is_used_without_a_restart() {
    let world = ConnectionHarness::start().await;
    let (own, ca) = world.authority("own");
    let ((first, first_ca), (second, second_ca)) = (world.authority("first"), world.authority("second"));
    let files = TlsFiles { cert: world.path("client.crt"), key: world.path("client.key") };
    copy(&world.sign(&first, "a", "client"), &files);
    let served = world.sign(&own, "served", "127.0.0.1");
    let front = world.tls(&served, Some(&first_ca)).await;
    let cluster = json!({"server": format!("https://{}", front.address), "certificate-authority": ca});
    let user = json!({"client-certificate": files.cert, "client-key": files.key});
    let without = ask(&world.cluster(&cluster, &json!({})).unwrap()).await.unwrap_err();
    assert!(without.contains("cannot reach the API server"), "{without}");
    let cluster = world.cluster(&cluster, &user).unwrap();
    ask(&cluster).await.unwrap();
    copy(&world.sign(&second, "b", "client"), &files);
    front.replace(&served, Some(&second_ca));
    eventually("the new certificate is used", SOON, async || ask(&cluster).await).await;
}

#[tokio::test]
async fn plugin_gives_a_client_certificate_and_its_successor() {
    let world = ConnectionHarness::start().await;
    let (own, ca) = world.authority("own");
    let ((first, first_ca), (second, second_ca)) = (world.authority("first"), world.authority("second"));
    let credential = |files: &TlsFiles| {
        let text = |path: &PathBuf| fs::read_to_string(path).unwrap();
        let status = json!({"clientCertificateData": text(&files.cert), "clientKeyData": text(&files.key)});
        let api_version = "client.authentication.k8s.io/v1";
        let credential = json!({"kind": "ExecCredential", "apiVersion": api_version, "status": status});
        fs::write(world.path("credential"), credential.to_string()).unwrap();
    };
    credential(&world.sign(&first, "a", "client"));
    let served = world.sign(&own, "served", "127.0.0.1");
    let front = world.tls(&served, Some(&first_ca)).await;
    let cluster = json!({"server": format!("https://{}", front.address), "certificate-authority": ca});
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [world.path("credential")],
    });
    let cluster = world.cluster(&cluster, &json!({"exec": exec})).unwrap();
    ask(&cluster).await.unwrap();
    credential(&world.sign(&second, "b", "client"));
    front.replace(&served, Some(&second_ca));
    eventually("the new certificate is used", SOON, async || ask(&cluster).await).await;
}

#[tokio::test]
async fn requests_go_through_the_proxy_of_the_kubeconfig() {
    let world = ConnectionHarness::start().await;
    let (own, ca) = world.authority("own");
    let front = world.tls(&world.sign(&own, "served", "api.example"), None).await;
    let proxy = ForwardProxy::start(front.address).await;
    let cluster = json!({
        "server": "https://api.example:6443",
        "certificate-authority": ca,
        "proxy-url": format!("http://me:p%40ss@{}", proxy.address),
    });
    ask(&world.cluster(&cluster, &json!({})).unwrap()).await.unwrap();
    let heads = proxy.asked();
    assert!(heads.len() == 1 && heads[0].starts_with("CONNECT api.example:6443 "), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic bwu6cebzcw=="), "{heads:?}");
    let refused = json!({"server": "https://api.example:6443", "proxy-url": "ftp://proxy"});
    let text = world.cluster(&refused, &json!({})).err().unwrap();
    assert!(text.contains("cluster \"k\": proxy-url") && text.contains("ftp"), "{text}");
}

#[tokio::test]
async fn socks_proxy_carries_requests() {
    let world = ConnectionHarness::start().await;
    let (own, ca) = world.authority("own");
    let front = world.tls(&world.sign(&own, "served", "api.example"), None).await;
    let proxy = ForwardProxy::start(front.address).await;
    let cluster = json!({
        "server": "https://api.example:6443",
        "certificate-authority": ca,
        "proxy-url": format!("socks5://me:p%40ss@{}", proxy.address),
    });
    ask(&world.cluster(&cluster, &json!({})).unwrap()).await.unwrap();
    assert_eq!(proxy.asked(), ["SOCKS5 me:p@ss api.example:6443"]);
    let api = world.api.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let proxy = ForwardProxy::start(api).await;
    let plain = json!({"server": "http://api.example", "proxy-url": format!("socks5://me:@{}", proxy.address)});
    ask(&world.cluster(&plain, &json!({})).unwrap()).await.unwrap();
    assert_eq!(proxy.asked(), ["SOCKS5 me: api.example:80"]);
}

#[tokio::test]
async fn failing_proxy_is_named_with_its_setting() {
    let world = ConnectionHarness::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = world.api.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    for (server, scheme, proxy, parts) in [
        ("https://a.example", "http", closed.to_string(), ["nothing listens", "Connection refused"]),
        ("https://a.example", "socks5", closed.to_string(), ["nothing listens", "Connection refused"]),
        ("http://a.example", "http", closed.to_string(), ["nothing listens", "Connection refused"]),
        // The API server is used as a server that is not a proxy.
        ("https://a.example", "http", api.clone(), ["refuses the tunnel to a.example:443", "status 404"]),
        (
            "https://a.example",
            "socks5",
            api,
            ["no SOCKS 5 connection to a.example:443", "failed parsing server response"],
        ),
    ] {
        let cluster = json!({"server": server, "proxy-url": format!("{scheme}://me:s3cret@{proxy}")});
        let text = ask(&world.cluster(&cluster, &json!({})).unwrap()).await.unwrap_err();
        let named = format!("cannot reach the API server {server}: the proxy {scheme}://{proxy}: ");
        assert!(text.contains(&named) && text.contains("proxy-url in the kubeconfig"), "{named} in {text}");
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains("s3cret"), "{parts:?} in {text}");
    }
}

#[tokio::test]
async fn proxy_reads_requests_without_tls() {
    let world = ConnectionHarness::start().await;
    let api = world.api.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let proxy = ForwardProxy::start(api).await;
    let url = format!("http://me:p%40ss@{}", proxy.address);
    let cluster = json!({"server": "http://api.example", "proxy-url": url});
    ask(&world.cluster(&cluster, &json!({})).unwrap()).await.unwrap();
    let heads = proxy.asked();
    assert!(heads.len() == 1 && heads[0].starts_with("GET http://api.example/api/v1/namespaces/"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic bwu6cebzcw=="), "{heads:?}");
}

#[tokio::test]
async fn unusable_authority_is_refused_by_its_member() {
    let world = ConnectionHarness::start().await;
    for (member, value) in [("certificate-authority-data", "aGVsbG8="), ("certificate-authority", "ca.crt")] {
        fs::write(world.path("ca.crt"), "hello").unwrap();
        let cluster = json!({"server": "https://127.0.0.1:1", member: value});
        let text = world.cluster(&cluster, &json!({})).err().unwrap();
        assert!(text.contains(&format!("cluster \"k\": {member}:")) && text.contains("PEM"), "{text}");
    }
}

#[tokio::test]
async fn refused_token_is_read_again_at_once() {
    let world = ConnectionHarness::start().await;
    fs::write(world.path("token"), "\u{feff} first \r\n").unwrap();
    world.accept_only("Bearer first");
    let (_front, cluster) = TlsFront::of_cluster(&world.api.url(), world.folder.path()).await;
    let cluster = world.cluster(&cluster, &json!({"tokenFile": "token"})).unwrap();
    ask(&cluster).await.unwrap();
    fs::write(world.path("token"), "second\n").unwrap();
    world.accept_only("Bearer second");
    ask(&cluster).await.unwrap();
    // A token that is never accepted is named in the error.
    world.accept_only("Bearer third");
    let text = ask(&cluster).await.unwrap_err();
    assert!(text.contains("401") && text.contains("the credentials were not accepted"), "{text}");
}

/// A wrong local clock makes a valid token look expired, so the server decides.
#[tokio::test]
async fn expired_plugin_token_is_used_until_refused() {
    let world = ConnectionHarness::start().await;
    let script = r#"echo run >> "$0.runs"
printf '{"apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t%s","expirationTimestamp":"%s"}}' \
"$(grep -c run "$0.runs")" 2020-01-01T00:00:00Z"#;
    fs::write(world.path("plugin"), script).unwrap();
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": [world.path("plugin")],
    });
    let (_front, cluster) = TlsFront::of_cluster(&world.api.url(), world.folder.path()).await;
    let cluster = world.cluster(&cluster, &json!({"exec": exec})).unwrap();
    world.accept_only("Bearer t1");
    for _ in 0..5 {
        ask(&cluster).await.unwrap();
    }
    world.accept_only("Bearer t2");
    ask(&cluster).await.unwrap();
}
