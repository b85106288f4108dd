//! The certificate: loaded at the start, and loaded again when its files change.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::sync::watch;

/// How often the files are looked at. Certificates are renewed long before they end.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The certificate and key to serve TLS with.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain in PEM form, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key in PEM form.
    pub key: PathBuf,
}

impl TlsFiles {
    async fn read(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let files = self.clone();
        let read = move || Ok((std::fs::read(files.cert)?, std::fs::read(files.key)?));
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

/// A certificate in use.
pub(super) struct Certificate {
    files: TlsFiles,
    content: (Vec<u8>, Vec<u8>),
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads the files.
    pub(super) async fn load(files: TlsFiles) -> io::Result<Self> {
        let content = files.read().await?;
        let config = watch::Sender::new(server_config(&content)?);
        Ok(Self { files, content, config })
    }

    /// What connections are accepted with; it follows every renewal.
    pub(super) fn config(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// Takes up new files for as long as it is polled. Files that cannot be used leave the old ones in use.
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
                    tracing::info!(cert = %self.files.cert.display(), "the certificate was renewed");
                }
                Err(error) => {
                    tracing::warn!(cert = %self.files.cert.display(), %error, "the new certificate cannot be used yet");
                }
            }
        }
    }
}

/// Reads a certificate chain and its key, both PEM.
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
        // New valid files are loaded without a restart.
        // Installed by another test is as good.
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
            done = tokio::time::timeout(Duration::from_secs(10), check) => done.expect("it was not taken up"),
        }
    }
}
