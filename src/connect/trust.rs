//! Which servers are trusted.
//!
//! rustls refuses a certificate of an authority where a server's certificate should be. `openssl req -x509` makes such
//! certificates, and Go, curl and OpenSSL accept one that is itself in the given bundle. So does this verifier:
//!
//! | server's certificate | accepted when |
//! | --- | --- |
//! | leads to a certificate of the bundle | rustls' own verifier accepts it |
//! | is byte for byte in the bundle | it is valid now and for the host's name |
//!
//! The server always has to prove that it holds the certificate's key, also where [`any_certificate`] accepts every
//! certificate.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

/// Characters of a reason, which may quote the file.
const REASON_CHARS: usize = 200;

/// Why certificates cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text has no PEM certificate in it.
    #[error("there is no PEM certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A PEM block is cut or has other characters than base64.
    #[error("PEM block {number} cannot be read: {reason}")]
    Pem {
        /// Which certificate of the text, from 1.
        number: usize,
        /// What the decoder says.
        reason: String,
    },
    /// No PEM block holds an X.509 certificate.
    #[error("none of its {0} PEM blocks is an X.509 certificate")]
    NoAuthority(usize),
    /// The system has no certificates.
    #[error("this system has no certificates of authorities")]
    NoSystemAuthorities,
    /// rustls refuses the certificates.
    #[error("the certificates cannot be used: {0}")]
    Verifier(String),
}

/// Certificates that a server's certificate must be or lead to. At least one of them can be used.
#[derive(Clone)]
pub struct Bundle {
    roots: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl Bundle {
    /// The certificates of a PEM text. Other PEM blocks and text between blocks are skipped.
    ///
    /// # Errors
    /// When a block cannot be decoded, or there is no certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
        let blocks = CertificateDer::pem_slice_iter(pem).zip(1..);
        let certificates: Result<Vec<_>, Error> = blocks
            .map(|(block, number)| {
                block.map_err(|error| Error::Pem {
                    number,
                    reason: crate::connect::explain::causes(&error).chars().take(REASON_CHARS).collect(),
                })
            })
            .collect();
        Self::from_der(certificates?)
    }

    /// These certificates.
    ///
    /// # Errors
    /// When there is no X.509 certificate among them.
    pub fn from_der(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        // As Go does: what cannot be read spoils nothing else.
        let (readable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        match (readable, certificates.len()) {
            (_, 0) => Err(Error::NoCertificate),
            (0, blocks) => Err(Error::NoAuthority(blocks)),
            _ => Ok(Self { roots: Arc::new(roots), certificates: certificates.into() }),
        }
    }

    /// The system's certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_system() -> Result<Self, Error> {
        Self::from_der(rustls_native_certs::load_native_certs().certs).map_err(|_| Error::NoSystemAuthorities)
    }

    /// A verifier that trusts these certificates alone.
    ///
    /// # Errors
    /// When rustls refuses the certificates.
    pub fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let chain = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider());
        let chain = chain.build().map_err(|error| Error::Verifier(error.to_string()))?;
        Ok(Arc::new(Verifier { trusted: Some((chain, self.certificates.clone())), algorithms: algorithms() }))
    }

    /// A client's settings that trust these certificates alone, without a certificate of the client.
    ///
    /// # Errors
    /// When rustls refuses the certificates.
    pub fn client_config(&self) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Error::Verifier(error.to_string()))?;
        Ok(builder.dangerous().with_custom_certificate_verifier(self.verifier()?).with_no_client_auth())
    }
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

/// A verifier that accepts every certificate.
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
    /// rustls' verifier and the bundle's certificates; none: every certificate is accepted.
    trusted: Option<(Arc<WebPkiServerVerifier>, Arc<[CertificateDer<'static>]>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Whether rustls refused the certificate only because of what it is used for here, or because it leads nowhere.
    /// rustls looks at the dates first, which `an_expired_certificate_of_the_bundle_is_refused` holds.
    fn is_only_no_chain(error: &rustls::Error) -> bool {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.to_string() == "CaUsedAsEndEntity"
            }
            _ => false,
        }
    }
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
            Err(error) if Self::is_only_no_chain(&error) && own.contains(end_entity) => {
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

    /// As `openssl req -x509` makes it: its own authority and a server's certificate at once.
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
    fn an_expired_certificate_of_the_bundle_is_refused() {
        for years in [(2020, 2021), (2035, 2040)] {
            let own = self_signed("a.example", years);
            let error = verify(&[&own], &own, "a.example").unwrap_err();
            assert!(error.to_string().contains("invalid peer certificate"), "{years:?} {error}");
        }
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
        assert!(Bundle::from_pem(format!("{other}{pem}").as_bytes()).is_ok(), "as Go, which skips it");
    }
}
