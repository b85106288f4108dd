//! Describes failed connections: what is wrong, which setting to change, and the chain of causes.
//!
//! HTTP clients print only the outermost layer of an error, `client error (Connect)`. The reason is some layers below.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, Error as Tls};

/// Number of layers of an error that are read.
const LAYERS_MAX: usize = 12;
/// Length of all causes of an error, in characters.
const CHARS_MAX: usize = 900;

/// The names of a connection's settings, such as `--registry-url`, for messages.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames {
    pub address: &'static str,
    /// The setting with the trusted certificates.
    pub authorities: &'static str,
    pub timeout: &'static str,
}

/// What is wrong with a connection and what to change, from the error's innermost layer that reveals it.
fn advice(error: &(dyn Error + 'static), names: &SettingNames) -> Option<String> {
    layers(error).filter_map(|layer| names.advice_on(layer)).last()
}

impl SettingNames {
    fn advice_on(&self, layer: &(dyn Error + 'static)) -> Option<String> {
        let Self { address, .. } = self;
        if let Some(tls) = layer.downcast_ref::<Tls>() {
            return self.advice_on_tls(tls);
        }
        if let Some(io) = layer.downcast_ref::<io::Error>() {
            return self.advice_on_io(io);
        }
        match (layer.downcast_ref::<hyper::Error>(), layer.downcast_ref::<reqwest::Error>()) {
            (Some(http), _) if http.is_parse() => {
                Some(format!("the server does not speak HTTP here; use https:// or another port in {address}"))
            }
            (Some(http), _) => (http.is_incomplete_message() || http.is_closed()).then(|| self.closed()),
            (None, Some(error)) if error.is_timeout() => Some(self.timed_out()),
            _ => self.advice_on_name_server(&layer.to_string()),
        }
    }

    fn advice_on_io(&self, error: &io::Error) -> Option<String> {
        let Self { address, .. } = self;
        Some(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at this address; check host and port of {address}")
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                format!("no route leads to this address; check the network and the host of {address}")
            }
            io::ErrorKind::TimedOut => self.timed_out(),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => self.closed(),
            _ => return self.advice_on_name_server(&error.to_string()),
        })
    }

    /// Errors of the system's resolver differ only in their text.
    fn advice_on_name_server(&self, text: &str) -> Option<String> {
        if !text.starts_with("failed to lookup address information") {
            return None;
        }
        Some(if text.contains("Temporary failure") || text.contains("Try again") {
            "the name server does not answer; check the DNS of this machine or pod".to_owned()
        } else {
            format!("there is no such host; check the host of {}", self.address)
        })
    }

    fn advice_on_tls(&self, error: &Tls) -> Option<String> {
        use AlertDescription as Alert;
        Some(match error {
            Tls::InvalidCertificate(error) => self.advice_on_certificate(error),
            Tls::InvalidMessage(_) => {
                format!("the server does not speak TLS here; use http:// or another port in {}", self.address)
            }
            Tls::AlertReceived(Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA) => {
                "the server refuses the client's certificate, or requires one; check the client's certificate"
                    .to_owned()
            }
            Tls::AlertReceived(Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity)
            | Tls::PeerIncompatible(_) => format!(
                "the server and this program have no TLS version or algorithm in common; the server's key may be on \
                 P-521, which is not supported; {SUPPORTED}, over TLS 1.2 or 1.3"
            ),
            _ => return None,
        })
    }

    fn advice_on_certificate(&self, error: &CertificateError) -> String {
        let Self { address, authorities, .. } = self;
        let unsupported = |name: String| {
            format!("the server's certificate uses an algorithm that is not supported: {name}; {SUPPORTED}")
        };
        match error {
            error if is_untrusted(error) => format!(
                "the server's certificate is signed by an authority that is not trusted; give the authority's \
                 certificate with {authorities}"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "the server's certificate is for another name; use a name from the certificate in {address}, or \
                 add this name to the certificate"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired; renew it, or set this machine's clock".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; wait, or set this machine's clock".to_owned()
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
                unsupported(algorithm(signature_algorithm_id))
            }
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id,
                public_key_algorithm_id,
            } => {
                let (signature, key) = (algorithm(signature_algorithm_id), algorithm(public_key_algorithm_id));
                unsupported(format!("{signature} with a key of {key}"))
            }
            CertificateError::BadSignature => {
                unsupported("a wrong signature, or an RSA key below 2048 bits".to_owned())
            }
            _ => "the server's certificate cannot be used; replace it".to_owned(),
        }
    }

    fn timed_out(&self) -> String {
        let Self { timeout, .. } = self;
        format!("there was no answer in time; check the network, or raise {timeout} if the server is slow")
    }

    fn closed(&self) -> String {
        let Self { address, .. } = self;
        format!("the connection was closed without an answer; if the server speaks TLS, use https:// in {address}")
    }
}

/// Whether a certificate is rejected because it has no trusted issuer, or is itself an authority outside of the bundle.
pub(super) fn is_untrusted(error: &CertificateError) -> bool {
    match error {
        CertificateError::UnknownIssuer => true,
        CertificateError::Other(other) => other.0.to_string() == "CaUsedAsEndEntity",
        _ => false,
    }
}

const SUPPORTED: &str = "use a certificate and a chain with keys of ECDSA P-256 or P-384, Ed25519, or RSA with 2048 \
     bits or more, signed with SHA-256 or SHA-384 (RSA also SHA-512)";

/// Describes an error in one sentence: the advice if the cause is known, and all causes.
pub fn describe(error: &(dyn Error + 'static), names: &SettingNames) -> String {
    let causes = causes(error);
    match advice(error, names) {
        Some(advice) => format!("{advice} ({causes})"),
        None => causes,
    }
}

/// An error and all its causes in one line. A layer whose text is the end of the one before is left out.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut all: Vec<String> = Vec::new();
    for text in layers(error).map(|layer| layer.to_string()) {
        if all.last().is_some_and(|before| before.ends_with(&text)) {
            continue;
        }
        all.push(text);
    }
    one_line(&all.join(": "), CHARS_MAX)
}

/// Makes a text of others fit for a log: short, and in one line.
pub fn one_line(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An error and its sources. An I/O error does not name the error that it wraps as its source.
pub fn layers<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(LAYERS_MAX)
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => error.source(),
    }
}

/// Encoded object identifiers and the names of their algorithms. The first match counts. Curves come first, because a
/// key's identifier has the kind of key before the curve.
const ALGORITHMS: [(&[u8], &str); 16] = [
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "ECDSA P-521"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], "ECDSA P-384"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "ECDSA P-224"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "ECDSA secp256k1"),
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "ECDSA P-256"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04], "ECDSA with SHA-512"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03], "ECDSA with SHA-384"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], "ECDSA with SHA-256"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "ECDSA with SHA-1"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], "RSA with SHA-1"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04], "RSA with MD5"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "RSA-PSS"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01], "RSA"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04], "DSA"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x70], "Ed25519"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x71], "Ed448"),
];

/// The name of an algorithm, or its identifier in hexadecimal.
fn algorithm(identifier: &[u8]) -> String {
    let found = ALGORITHMS.iter().find(|(bytes, _)| identifier.windows(bytes.len()).any(|window| window == *bytes));
    match found {
        Some((_, name)) => (*name).to_owned(),
        None => identifier.iter().take(24).fold("identifier ".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: SettingNames = SettingNames { address: "--url", authorities: "--ca", timeout: "--timeout" };

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Layer(#[source] io::Error);

    #[test]
    fn every_layer_of_an_error_is_shown_once() {
        let tls = Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = Layer(io::Error::other(tls));
        assert_eq!(causes(&error), "client error (Connect): invalid peer certificate: UnknownIssuer");
        assert!(describe(&error, &NAMES).starts_with("the server's certificate is signed by an authority"));
        assert!(describe(&error, &NAMES).contains("--ca"));
    }

    #[test]
    fn causes_are_short_and_in_one_line() {
        let error = Layer(io::Error::other("a\nb".repeat(10_000)));
        assert!(causes(&error).len() <= CHARS_MAX && !causes(&error).contains('\n'));
    }

    #[test]
    fn cause_is_found_below_any_number_of_layers() {
        let of = |error: io::Error| advice(&Layer(io::Error::other(error)), &NAMES).unwrap_or_default();
        assert!(of(io::ErrorKind::ConnectionRefused.into()).starts_with("nothing listens at this address"));
        assert!(of(io::ErrorKind::TimedOut.into()).contains("raise --timeout"));
        let lookup = "failed to lookup address information: ";
        assert!(of(io::Error::other(format!("{lookup}Name or service not known"))).contains("no such host"));
        let busy = format!("{lookup}Temporary failure in name resolution");
        assert!(of(io::Error::other(busy)).starts_with("the name server does not answer"));
        assert_eq!(of(io::Error::other("something else")), "");
    }

    #[test]
    fn unsupported_algorithm_is_named() {
        let error = |key: &[u8]| CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: ALGORITHMS[5].0.to_vec(),
            public_key_algorithm_id: key.to_vec(),
        };
        let p521 = [&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], ALGORITHMS[0].0].concat();
        let advice = |key: &[u8]| advice(&Tls::InvalidCertificate(error(key)), &NAMES).unwrap();
        assert!(advice(&p521).contains("ECDSA with SHA-512 with a key of ECDSA P-521"), "{}", advice(&p521));
        assert!(advice(&[1, 2, 3]).contains("identifier 010203"));
        let alert = super::advice(&Tls::AlertReceived(AlertDescription::HandshakeFailure), &NAMES).unwrap();
        assert!(alert.contains("P-521"));
    }
}
