//! The token that requests need: as a bearer token, or as the password that a browser asks for.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::Error;

/// Admits requests with the token. It holds the token's hash, because hashes have one length: comparing them takes the
/// same time for every token.
pub(super) struct Gate(Option<[u8; 32]>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Gate(token)" } else { "Gate(open)" })
    }
}

impl Gate {
    pub(super) fn new(token: Option<&SecretString>) -> Self {
        Self(token.map(|token| hash(token.expose_secret().as_bytes())))
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let sent = headers.get(AUTHORIZATION).and_then(|value| credential(value.as_bytes()));
        let is_valid = sent.is_some_and(|sent| bool::from(hash(&sent).ct_eq(expected)));
        if is_valid { Ok(()) } else { Err(Error::Unauthorized) }
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The token in the header `authorization`.
fn credential(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, value) = header.split_at(header.iter().position(|byte| *byte == b' ')?);
    let value = value.trim_ascii();
    match scheme.to_ascii_lowercase().as_slice() {
        b"bearer" => Some(value.to_vec()),
        b"basic" => {
            let decoded = BASE64_STANDARD.decode(value).ok()?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            Some(decoded[colon + 1..].to_vec())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(gate: &Gate, header: &str) -> bool {
        gate.check(&HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())])).is_ok()
    }

    #[test]
    fn token_is_a_bearer_token_or_password() {
        let gate = Gate::new(Some(&SecretString::from("s3:cret")));
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert!(admits(&gate, "Bearer s3:cret") && admits(&gate, "bearer  s3:cret"));
        assert!(admits(&gate, &basic("anyone:s3:cret")) && admits(&gate, &basic(":s3:cret")));
        for wrong in ["Bearer s3", "Bearer", "s3:cret", "Token s3:cret", "Basic !", &basic("s3:cret"), ""] {
            assert!(!admits(&gate, wrong), "{wrong}");
        }
        assert_eq!(gate.check(&HeaderMap::new()), Err(Error::Unauthorized));
        assert_eq!(format!("{gate:?}"), "Gate(token)");
    }

    #[test]
    fn gate_without_token_admits_all() {
        let gate = Gate::new(None);
        assert!(admits(&gate, "Bearer x") && gate.check(&HeaderMap::new()).is_ok());
    }
}
