//! Decides which servers are trusted.
//!
//! rustls rejects a server's certificate that is also an authority. `openssl req -x509` makes such certificates, and
//! Go, curl and OpenSSL accept one that is itself in the bundle. So does this verifier:
//!
//! | server's certificate | accepted if |
//! | --- | --- |
//! | chains to a certificate of the bundle | rustls' own verifier accepts it |
//! | is itself in the bundle, byte for byte | it is valid now and for the host's name |
//!
//! The server must always prove that it has the certificate's key, even if [`any_certificate`] accepts all
//! certificates.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use super::failures::{causes, is_untrusted};

/// Characters of a decoder's reason, which may quote the file.
const REASON_CHARS: usize = 200;

/// Why a bundle of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no PEM certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A PEM block is truncated or is not base64.
    #[error("PEM block {number} cannot be read: {reason}")]
    Pem {
        /// Counts from 1.
        number: usize,
        reason: String,
    },
    #[error("none of its {0} PEM blocks is an X.509 certificate")]
    NoAuthority(usize),
    #[error("this system has no certificates of authorities")]
    NoSystemAuthorities,
    #[error("the certificates cannot be used: {0}")]
    Verifier(String),
    #[error("there is no unencrypted PEM private key in its file")]
    NoKey,
    #[error("the private key does not fit the certificate, or cannot be used: {0}")]
    Key(String),
}

/// Trusted certificates. At least one of them is valid X.509.
#[derive(Clone)]
pub struct Bundle {
    roots: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl Bundle {
    /// Reads a PEM text. Other PEM blocks and text between blocks are skipped.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
        let blocks = CertificateDer::pem_slice_iter(pem).zip(1..);
        let certificates: Result<Vec<_>, Error> = blocks
            .map(|(block, number)| {
                block
                    .map_err(|error| Error::Pem { number, reason: causes(&error).chars().take(REASON_CHARS).collect() })
            })
            .collect();
        Self::from_der(certificates?)
    }

    pub fn from_der(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        // Like Go, this skips certificates that cannot be parsed.
        let (readable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        match (readable, certificates.len()) {
            (_, 0) => Err(Error::NoCertificate),
            (0, blocks) => Err(Error::NoAuthority(blocks)),
            _ => Ok(Self { roots: Arc::new(roots), certificates: certificates.into() }),
        }
    }

    /// The operating system's certificates, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub fn of_system() -> Result<Self, Error> {
        Self::from_der(rustls_native_certs::load_native_certs().certs).map_err(|_| Error::NoSystemAuthorities)
    }

    /// A verifier that trusts only these certificates.
    pub fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let chain = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider());
        let chain = chain.build().map_err(|error| Error::Verifier(error.to_string()))?;
        Ok(Arc::new(Verifier { trusted: Some((chain, self.certificates.clone())), algorithms: algorithms() }))
    }
}

/// A client configuration with this verifier, and with a client certificate and its key in PEM, if there are any.
pub fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Verifier(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Error::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Error::NoKey)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| Error::Key(error.to_string()))
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundle of {} certificates", self.certificates.len())
    }
}

pub fn any_certificate() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier { trusted: None, algorithms: algorithms() })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

#[derive(Debug)]
struct Verifier {
    /// rustls' verifier and the bundle's certificates. None accepts every certificate.
    trusted: Option<(Arc<WebPkiServerVerifier>, Arc<[CertificateDer<'static>]>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some((chain, own)) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // rustls checks the dates first; `expired_certificate_of_the_bundle_is_refused` tests that.
            Err(rustls::Error::InvalidCertificate(error)) if is_untrusted(&error) && own.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// A server's certificate that is its own authority, as from `openssl req -x509`.
    fn self_signed(name: &str, years: (i32, i32)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verify(
        bundle: &[&CertificateDer<'static>],
        shown: &CertificateDer<'_>,
        host: &str,
    ) -> Result<(), rustls::Error> {
        let bundle = Bundle::from_der(bundle.iter().map(|der| (*der).clone()).collect()).unwrap();
        let host = ServerName::try_from(host).unwrap();
        // In 2026.
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_428_000));
        bundle.verifier().unwrap().verify_server_cert(shown, &[], &host, &[], now).map(drop)
    }

    #[test]
    fn own_authority_in_bundle_is_trusted() {
        let (own, other) = (self_signed("a.example", (2020, 2040)), self_signed("a.example", (2020, 2040)));
        assert_eq!(verify(&[&own], &own, "a.example"), Ok(()));
        assert_eq!(verify(&[&other, &own], &own, "a.example"), Ok(()));
        assert!(verify(&[&other], &own, "a.example").is_err(), "the same name and another key");
    }

    #[test]
    fn any_certificate_accepts_other_names_and_dates() {
        let (own, host) = (self_signed("a.example", (2020, 2021)), ServerName::try_from("b.example").unwrap());
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_428_000));
        assert!(any_certificate().verify_server_cert(&own, &[], &host, &[], now).is_ok());
    }

    #[test]
    fn certificate_in_bundle_needs_the_hosts_name() {
        let own = self_signed("a.example", (2020, 2040));
        let error = verify(&[&own], &own, "b.example").unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }

    #[test]
    fn expired_certificate_of_the_bundle_is_refused() {
        for years in [(2020, 2021), (2035, 2040)] {
            let own = self_signed("a.example", years);
            let error = verify(&[&own], &own, "a.example").unwrap_err();
            assert!(error.to_string().contains("invalid peer certificate"), "{years:?} {error}");
        }
    }

    #[test]
    fn client_certificate_needs_its_own_key() {
        let made = |()| rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let (own, other) = (made(()), made(()));
        let bundle = Bundle::from_pem(own.cert.pem().as_bytes()).unwrap();
        let config =
            |cert: &str, key: &str| client_config(bundle.verifier().unwrap(), Some((cert.as_bytes(), key.as_bytes())));
        let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        assert!(config(&cert, &key).is_ok());
        assert!(matches!(config(&cert, &other.signing_key.serialize_pem()), Err(Error::Key(_))));
        assert!(matches!(config(&cert, "no key"), Err(Error::NoKey)));
        assert!(matches!(config("no certificate", &key), Err(Error::NoCertificate)));
    }

    #[test]
    fn pem_without_certificate_is_refused_by_name() {
        let pem = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap().cert.pem();
        for good in [pem.clone(), format!("\u{feff}{pem}"), pem.replace('\n', "\r\n"), format!("comment\n{pem}\n\n")] {
            assert!(Bundle::from_pem(good.as_bytes()).is_ok(), "{good:?}");
        }
        let key = pem.replace("CERTIFICATE", "PRIVATE KEY");
        for bad in ["", "hello", key.as_str(), &pem.replace("-----END", "----END"), &pem.replace("MII", "%%%")] {
            let error = Bundle::from_pem(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("PEM"), "{bad:?}: {error}");
        }
        let other = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(matches!(Bundle::from_pem(other.as_bytes()), Err(Error::NoAuthority(1))));
        assert!(Bundle::from_pem(format!("{other}{pem}").as_bytes()).is_ok(), "skipped, as in Go");
    }
}
