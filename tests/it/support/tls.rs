//! TLS in front of a server that speaks plain HTTP, and a forward proxy.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use pod_registrar::registry::server::tls::TlsFiles;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// Ends TLS and passes the bytes on. It stops when it is dropped.
pub(crate) struct TlsFront {
    pub(crate) address: SocketAddr,
    config: Arc<watch::Sender<Arc<ServerConfig>>>,
    task: AbortHandle,
}

impl TlsFront {
    /// Listens with this certificate in front of `to` (`host:port`). Clients need a certificate of `clients`, if given.
    pub(crate) async fn start(to: String, files: &TlsFiles, clients: Option<&Path>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(watch::Sender::new(server_config(files, clients)));
        let task = tokio::spawn(accept(listener, to, config.clone())).abort_handle();
        Self { address, config, task }
    }

    /// Listens in front of the API server at `url`. Returns the cluster of a kubeconfig for it.
    pub(crate) async fn of_cluster(url: &str, folder: &Path) -> (Self, Value) {
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let files = TlsFiles { cert: folder.join("front.crt"), key: folder.join("front.key") };
        std::fs::write(&files.cert, own.cert.pem()).unwrap();
        std::fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
        let to = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let front = Self::start(to, &files, None).await;
        let cluster = json!({"server": format!("https://{}", front.address), "certificate-authority": files.cert});
        (front, cluster)
    }

    /// Uses other certificates from now on. Open connections end.
    pub(crate) fn replace(&self, files: &TlsFiles, clients: Option<&Path>) {
        self.config.send_replace(server_config(files, clients));
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server_config(files: &TlsFiles, clients: Option<&Path>) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(clients).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert).unwrap().collect::<Result<_, _>>().unwrap();
    Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap())
}

async fn accept(listener: TcpListener, to: String, config: Arc<watch::Sender<Arc<ServerConfig>>>) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (to, mut config) = (to.clone(), config.subscribe());
        open.spawn(async move {
            let acceptor = TlsAcceptor::from(config.borrow_and_update().clone());
            let Ok(mut inside) = acceptor.accept(stream).await else { return };
            let mut outside = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut inside, &mut outside) => {}
                _ = config.changed() => {}
            }
        });
    }
}

/// A proxy that passes everything on to one server: tunnels by CONNECT or SOCKS 5, and requests in plain HTTP. It stops
/// when it is dropped.
pub(crate) struct ForwardProxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl ForwardProxy {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let record = asked.clone();
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(forward(client, to, record.clone()));
            }
        });
        Self { address, asked, task: task.abort_handle() }
    }

    /// The request of each connection: the head of its first request, or `SOCKS5 USER:PASSWORD HOST:PORT`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, to: SocketAddr, record: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let mut head = vec![client.read_u8().await?];
    if head == [5] {
        let asked = socks(&mut client).await?;
        record.lock().unwrap().push(asked);
    } else {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        record.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
        if head.starts_with(b"CONNECT ") {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        } else {
            server.write_all(&head).await?;
        }
    }
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// The handshake of SOCKS 5 (RFC 1928) after its first byte, with a user name and a password (RFC 1929).
async fn socks(client: &mut TcpStream) -> io::Result<String> {
    async fn text(client: &mut TcpStream) -> io::Result<String> {
        let mut bytes = vec![0; client.read_u8().await?.into()];
        client.read_exact(&mut bytes).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    let methods = text(client).await?;
    assert_eq!(methods, "\u{2}", "a user name and a password");
    client.write_all(&[5, 2]).await?;
    assert_eq!(client.read_u8().await?, 1);
    let (user, password) = (text(client).await?, text(client).await?);
    client.write_all(&[1, 0]).await?;
    assert_eq!(client.read_u32().await?, 0x0501_0003, "CONNECT to a DNS name");
    let (host, port) = (text(client).await?, client.read_u16().await?);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(format!("SOCKS5 {user}:{password} {host}:{port}"))
}
