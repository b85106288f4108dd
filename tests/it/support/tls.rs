//! TLS before a server that speaks plain HTTP, and a proxy that speaks CONNECT.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use pod_registrar::reference::TlsFiles;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
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
    /// Listens with this certificate before `to` (`host:port`). Clients have to show a certificate by `clients`, if given.
    pub(crate) async fn start(to: String, files: &TlsFiles, clients: Option<&Path>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(watch::Sender::new(server_config(files, clients)));
        let task = tokio::spawn(accept(listener, to, config.clone())).abort_handle();
        Self { address, config, task }
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

/// A proxy that opens tunnels, all of them to one server. It stops when it is dropped.
pub(crate) struct Connect {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Connect {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let asked = heads.clone();
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let asked = asked.clone();
                open.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await?);
                    }
                    asked.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                    copy_bidirectional(&mut client, &mut TcpStream::connect(to).await?).await
                });
            }
        });
        Self { address, heads, task: task.abort_handle() }
    }

    /// The heads of all requests for a tunnel.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        self.task.abort();
    }
}
