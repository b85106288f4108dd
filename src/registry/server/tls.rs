//! The server's TLS certificate. It is read at the start, and again when its files change.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::sync::watch;

/// How often the files are read again. Certificates are renewed long before they expire.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(60);

/// PEM files for TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's own certificate first.
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    async fn read(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let files = self.clone();
        let read = move || Ok((std::fs::read(files.cert)?, std::fs::read(files.key)?));
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

pub(super) struct Certificate {
    files: TlsFiles,
    content: (Vec<u8>, Vec<u8>),
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Certificate {
    pub(super) async fn load(files: TlsFiles) -> io::Result<Self> {
        let content = files.read().await?;
        let config = watch::Sender::new(server_config(&content)?);
        Ok(Self { files, content, config })
    }

    /// The configuration for new connections. It changes with each renewal.
    pub(super) fn config(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// Loads changed files, for as long as it is polled. If they cannot be used, the previous certificate stays in use.
    pub(super) async fn renew(mut self, every: Duration) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(every).await;
            let read = match self.files.read().await {
                Ok(content) if content == self.content => continue,
                Ok(content) => server_config(&content).map(|config| (content, config)),
                Err(error) => Err(error),
            };
            match read {
                Ok((content, config)) => {
                    self.content = content;
                    self.config.send_replace(config);
                    tracing::info!(cert = %self.files.cert.display(), "certificate changed; using the new one");
                }
                Err(error) => {
                    let cert = self.files.cert.display();
                    tracing::warn!(%cert, %error, "certificate files not usable; the previous ones stay in use");
                }
            }
        }
    }
}

fn server_config((chain, key): &(Vec<u8>, Vec<u8>)) -> io::Result<Arc<ServerConfig>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(files: &TlsFiles) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        fs::write(&files.cert, made.cert.pem()).unwrap();
    }

    #[tokio::test]
    async fn broken_certificate_files_are_not_loaded() {
        // New valid files are loaded without a restart. Another test may have installed the provider.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: folder.path().join("crt"), key: folder.path().join("key") };
        write(&files);
        let certificate = Certificate::load(files.clone()).await.unwrap();
        let config = certificate.config();
        let first = Arc::clone(&config.borrow());
        let check = async {
            fs::write(&files.cert, "not yet").unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(Arc::ptr_eq(&first, &config.borrow()));
            write(&files);
            while Arc::ptr_eq(&first, &config.borrow()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            never = certificate.renew(Duration::from_millis(5)) => match never {},
            done = tokio::time::timeout(Duration::from_secs(10), check) => done.expect("the new certificate is loaded"),
        }
    }
}
