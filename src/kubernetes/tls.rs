//! The TLS configuration of the connections to the API server and to a proxy.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    client::danger::ServerCertVerifier,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::kubeconfig::{access::ApiAccess, content::Secret, server::Trust};
use crate::connect::{self, trust::Bundle};

/// Why there is no TLS configuration.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or a key cannot be used. The text names its source and the way to fix it.
    #[error("{0}")]
    Unusable(String),
}

/// Certificates and keys in PEM, read and not yet checked.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct TlsMaterial {
    pub(super) bundle: Option<Secret>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(Secret, Secret)>,
}

pub(super) fn config(access: &ApiAccess, material: &TlsMaterial) -> Result<Arc<ClientConfig>, Error> {
    let verifier = verifier(access, material)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Unusable(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = &material.identity else { return Ok(Arc::new(builder.with_no_client_auth())) };
    // A certificate that a plugin printed has no member in the kubeconfig.
    let named = |problem: &str, of_key: bool| match &access.identity {
        Some((certificate, key)) => Error::Unusable(if of_key { key } else { certificate }.problem(problem)),
        None => Error::Unusable(format!("the credential plugin's client certificate: {problem}")),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.expose()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| named("there is no PEM certificate in it; give one", false))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose());
    let key = key.map_err(|_| named("there is no PEM private key in it; give an unencrypted one", true))?;
    let config = builder.with_client_auth_cert(chain, key);
    let config =
        config.map_err(|error| named(&format!("it does not fit the certificate, or cannot be used: {error}"), true));
    Ok(Arc::new(config?))
}

fn verifier(access: &ApiAccess, material: &TlsMaterial) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let is_needed = access.server.scheme_str() == Some("https")
        || access.proxy.as_ref().is_some_and(|proxy| proxy.address.scheme_str() == Some("https"));
    match (&access.trust, &material.bundle) {
        (Trust::Bundle(content), Some(pem)) => Bundle::from_pem(pem.expose())
            .and_then(|bundle| bundle.verifier())
            .map_err(|error| Error::Unusable(content.problem(&format!("{error}; give certificates in PEM format")))),
        (Trust::System, _) if is_needed => {
            let verifier = Bundle::of_system().and_then(|bundle| bundle.verifier());
            verifier.map_err(|error| Error::Unusable(format!("certificate-authority is not set, and {error}")))
        }
        _ => Ok(connect::trust::any_certificate()),
    }
}
