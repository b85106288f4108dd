//! The certificate: loaded at the start, and loaded again when its files change.

use std::{io, path::PathBuf, time::Duration};

use axum_server::tls_rustls::RustlsConfig;

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
    config: RustlsConfig,
}

impl Certificate {
    /// Reads the files.
    pub(super) async fn load(files: TlsFiles) -> io::Result<Self> {
        let content = files.read().await?;
        let config = RustlsConfig::from_pem(content.0.clone(), content.1.clone()).await?;
        Ok(Self { files, content, config })
    }

    /// What connections are accepted with; it follows every renewal.
    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Takes up new files for as long as it is polled. Files that cannot be used leave the old ones in use.
    pub(super) async fn renew(mut self, every: Duration) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(every).await;
            let read = match self.files.read().await {
                Ok(content) if content == self.content => continue,
                Ok(content) => {
                    self.config.reload_from_pem(content.0.clone(), content.1.clone()).await.map(|()| content)
                }
                Err(error) => Err(error),
            };
            match read {
                Ok(content) => {
                    self.content = content;
                    tracing::info!(cert = %self.files.cert.display(), "the certificate was renewed");
                }
                Err(error) => {
                    tracing::warn!(cert = %self.files.cert.display(), %error, "the new certificate cannot be used yet");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;

    fn write(files: &TlsFiles) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        fs::write(&files.cert, made.cert.pem()).unwrap();
    }

    #[tokio::test]
    async fn new_files_are_taken_up_and_broken_ones_are_not() {
        // Installed by another test is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: folder.path().join("crt"), key: folder.path().join("key") };
        write(&files);
        let certificate = Certificate::load(files.clone()).await.unwrap();
        let config = certificate.config();
        let first = config.get_inner();
        let check = async {
            fs::write(&files.cert, "not yet").unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(Arc::ptr_eq(&first, &config.get_inner()));
            write(&files);
            while Arc::ptr_eq(&first, &config.get_inner()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            never = certificate.renew(Duration::from_millis(5)) => match never {},
            done = tokio::time::timeout(Duration::from_secs(10), check) => done.expect("it was not taken up"),
        }
    }
}
