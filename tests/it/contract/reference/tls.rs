//! TLS: a valid certificate is served, and an invalid one is refused.

use std::{fs, net::TcpListener};

use pod_registrar::registry::server::{
    serve::{Error, RegistryServer, ServerOptions},
    tls::TlsFiles,
};
use serde_json::json;

use super::{Server, install_provider};

/// Writes a certificate for this host and its key into a folder.
fn certificate(folder: &std::path::Path) -> (TlsFiles, reqwest::Certificate) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.join("tls.crt"), key: folder.join("tls.key") };
    fs::write(&files.cert, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap())
}

#[tokio::test]
async fn protocol_works_over_tls() {
    // The page's cookie is sent over TLS only.
    let folder = tempfile::tempdir().unwrap();
    let (tls, trusted) = certificate(folder.path());
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "secret *\n").unwrap();
    let options = ServerOptions { tls: Some(tls), tokens_file: Some(tokens), ..ServerOptions::default() };
    let server = Server::over(options, "https", vec![trusted]).await;
    let reply = server.send(server.request("GET", "/v1/capabilities").bearer_auth("secret")).await;
    assert_eq!((reply.status, reply.json()["protocol"].clone()), (200, json!("v1")));
    let login = server.call("POST", "/page/login", Some(&json!({"token": "secret"}))).await;
    assert!(login.headers["set-cookie"].to_str().unwrap().ends_with("; Secure"));
    // Plain HTTP gets no answer that could be mistaken for one.
    let plain = server.base.replacen("https", "http", 1);
    assert!(server.client.get(plain).send().await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn unusable_certificate_ends_the_server() {
    // The error names the file.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let (tls, _) = certificate(folder.path());
    fs::write(&tls.key, "no key").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ServerOptions { tls: Some(tls), ..ServerOptions::default() };
    let server = RegistryServer::open(options).unwrap();
    let error = server.serve(listener, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }) && error.to_string().contains("tls.key"), "{error}");
}
