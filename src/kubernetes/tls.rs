//! The TLS configuration of the connections to the API server and to a proxy.

use std::sync::Arc;

use rustls::{ClientConfig, client::danger::ServerCertVerifier};

use super::kubeconfig::{access::ApiAccess, content::Secret, server::Trust};
use crate::connect::trust::{self, Bundle};

/// Certificates and keys in PEM, read and not yet checked.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct TlsMaterial {
    pub(super) bundle: Option<Secret>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(Secret, Secret)>,
}

/// # Errors
/// A certificate or a key cannot be used. The text names its source and the way to fix it.
pub(super) fn config(access: &ApiAccess, material: &TlsMaterial) -> Result<Arc<ClientConfig>, String> {
    let identity = material.identity.as_ref().map(|(certificate, key)| (certificate.expose(), key.expose()));
    let config = trust::client_config(verifier(access, material)?, identity);
    // A certificate that a plugin printed has no member in the kubeconfig.
    let named = |problem: &str, of_key: bool| match &access.identity {
        Some((certificate, key)) => if of_key { key } else { certificate }.problem(problem),
        None => format!("the credential plugin's client certificate: {problem}"),
    };
    config.map(Arc::new).map_err(|error| match error {
        trust::Error::NoCertificate => named("there is no PEM certificate in it; give one", false),
        trust::Error::NoKey => named("there is no PEM private key in it; give an unencrypted one", true),
        trust::Error::Key(error) => {
            named(&format!("it does not fit the certificate, or cannot be used: {error}"), true)
        }
        error => error.to_string(),
    })
}

fn verifier(access: &ApiAccess, material: &TlsMaterial) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let is_needed = access.server.scheme_str() == Some("https")
        || access.proxy.as_ref().is_some_and(|proxy| proxy.address.scheme_str() == Some("https"));
    match (&access.trust, &material.bundle) {
        (Trust::Bundle(content), Some(pem)) => Bundle::from_pem(pem.expose())
            .and_then(|bundle| bundle.verifier())
            .map_err(|error| content.problem(&format!("{error}; give certificates in PEM format"))),
        (Trust::System, _) if is_needed => {
            let verifier = Bundle::of_system().and_then(|bundle| bundle.verifier());
            verifier.map_err(|error| format!("certificate-authority is not set, and {error}"))
        }
        _ => Ok(trust::any_certificate()),
    }
}
