//! Signatures of requests, with secrets from files.
//!
//! | kind | signed | headers |
//! | --- | --- | --- |
//! | Standard Webhooks | `ID.TIMESTAMP.BODY` of requests that write | `webhook-id`, `webhook-timestamp`, `webhook-signature` |
//! | HMAC | the body of every request | one that the file names |
//!
//! The id of a message is that of the change, so that a receiver recognizes an attempt that it has seen. The time is
//! that of the attempt.

use std::time::SystemTime;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use reqwest::header::{HeaderMap, HeaderName};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    auth::{Outgoing, sensitive},
    secrets::{Content, SecretFile},
};
use crate::{
    mapping::spec::sign::{HmacSpec, SignSpec, SignatureEncoding, WEBHOOK_HEADERS},
    reconcile::outcome::Failure,
    registry::credentials::Error,
};

/// Before the base64 of a secret. Some receivers show it without.
const WEBHOOK_SECRET: &str = "whsec_";
/// Receivers write secrets with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How requests are signed.
pub(super) enum Signer {
    None,
    /// Signs with each secret, in this order.
    StandardWebhooks(Vec<SecretFile>),
    Hmac {
        header: HeaderName,
        prefix: String,
        encoding: SignatureEncoding,
        secret: SecretFile,
    },
}

impl Signer {
    /// Reads the files.
    pub(super) fn new(spec: Option<&SignSpec>) -> Result<Self, Error> {
        Ok(match spec {
            None => Self::None,
            Some(SignSpec::StandardWebhooks(spec)) => {
                let setting = "sign.standardWebhooks.secretFiles";
                let files = spec.secret_files.iter();
                let secrets = files.map(|file| SecretFile::new(&file.text, Content::WebhookSecret, setting));
                Self::StandardWebhooks(secrets.collect::<Result<_, _>>()?)
            }
            Some(SignSpec::Hmac(HmacSpec { header, secret_file, encoding, prefix, .. })) => Self::Hmac {
                // The name was checked when the file was read.
                header: HeaderName::from_bytes(header.text.as_bytes()).map_err(|_| Error::Address)?,
                prefix: prefix.as_ref().map(|prefix| prefix.text.clone()).unwrap_or_default(),
                encoding: encoding.unwrap_or(SignatureEncoding::Hex),
                secret: SecretFile::new(&secret_file.text, Content::Password, "sign.hmac.secretFile")?,
            },
        })
    }

    /// Signs a request whose body is final. `change` is the id of what it is about, if it writes.
    pub(super) fn sign(&self, request: &mut Outgoing, change: Option<&str>) -> Result<(), Failure> {
        let body = request.body.as_deref().unwrap_or_default();
        match (self, change) {
            (Self::None, _) | (Self::StandardWebhooks(_), None) => Ok(()),
            (Self::StandardWebhooks(secrets), Some(id)) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                let headers = standard_webhooks(secrets, id, now, body)?;
                request.headers.extend(headers);
                Ok(())
            }
            (Self::Hmac { header, prefix, encoding, secret }, _) => {
                let signature = tag(secret.text().expose_secret().as_bytes(), &[body]);
                let text = match encoding {
                    SignatureEncoding::Hex => signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
                    SignatureEncoding::Base64 => STANDARD.encode(signature),
                };
                request.headers.insert(header.clone(), sensitive(&format!("{prefix}{text}"))?);
                Ok(())
            }
        }
    }

    fn files(&self) -> &[SecretFile] {
        match self {
            Self::None => &[],
            Self::StandardWebhooks(secrets) => secrets,
            Self::Hmac { secret, .. } => std::slice::from_ref(secret),
        }
    }

    /// Reads the files again. Returns whether a secret has changed.
    pub(super) fn refresh(&self) -> bool {
        // Each of them, also after one that has changed.
        self.files().iter().fold(false, |changed, file| file.refresh() | changed)
    }

    /// What must not be shown.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let whole = self.files().iter().map(SecretFile::text);
        whole.flat_map(|secret| [bare(&secret).into(), secret]).collect()
    }
}

/// The headers of a message that is sent at this time, in seconds since 1970.
fn standard_webhooks(secrets: &[SecretFile], id: &str, at: u64, body: &[u8]) -> Result<HeaderMap, Failure> {
    let head = format!("{id}.{at}.");
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let text = secret.text();
        // It was checked when the file was read.
        let key =
            LENIENT.decode(bare(&text)).map_err(|_| Failure::Unreachable("the secret is not base64".to_owned()))?;
        signatures.push(format!("v1,{}", STANDARD.encode(tag(&key, &[head.as_bytes(), body]))));
    }
    let values = [sensitive(id)?, at.into(), sensitive(&signatures.join(" "))?];
    Ok(WEBHOOK_HEADERS.map(HeaderName::from_static).into_iter().zip(values).collect())
}

fn tag(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// The base64 of a secret of Standard Webhooks.
fn bare(secret: &SecretString) -> &str {
    let text = secret.expose_secret();
    text.strip_prefix(WEBHOOK_SECRET).unwrap_or(text)
}

/// What is wrong with a secret of Standard Webhooks.
pub(super) fn check_webhook_secret(secret: &SecretString) -> Result<(), &'static str> {
    match LENIENT.decode(bare(secret)) {
        Ok(key) if key.is_empty() => Err("has nothing after whsec_"),
        Ok(_) => Ok(()),
        Err(_) => Err("is not base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&file, text).unwrap();
        file
    }

    fn secret(text: &str) -> SecretFile {
        SecretFile::new(&file(text).to_string_lossy(), Content::WebhookSecret, "s").unwrap()
    }

    #[test]
    fn signature_is_that_of_the_specification() {
        // The example of the specification's libraries.
        let secrets = [secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")];
        let body = br#"{"test": 2432232314}"#;
        let headers = standard_webhooks(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        let text = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(text("webhook-id"), "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(text("webhook-timestamp"), "1614265330");
        assert_eq!(text("webhook-signature"), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn unusable_secret_file_is_called_by_its_name() {
        let error = |text: &str, content| {
            SecretFile::new(&file(text).to_string_lossy(), content, "sign.SETTING").unwrap_err().to_string()
        };
        for (text, what) in [("\n", "is empty"), ("whsec_", "has nothing after whsec_"), ("a b", "has white space")] {
            let error = error(text, Content::WebhookSecret);
            assert!(error.starts_with("the secret file /") && error.contains(what), "{error}");
            assert!(error.ends_with("Give such a file with sign.SETTING"), "{error}");
        }
        let error = error("\n", Content::Password);
        assert!(error.starts_with("the registry's secret file /") && error.ends_with("it is empty"), "{error}");
        let missing = SecretFile::new("/missing", Content::Password, "sign.SETTING").unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the registry's secret file /missing: "), "{missing}");
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let [first, second] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "c2Vjb25kLXNlY3JldA"];
        let sign = |secrets: &[SecretFile]| {
            let headers = standard_webhooks(secrets, "m", 1, b"{}").unwrap();
            headers["webhook-signature"].to_str().unwrap().to_owned()
        };
        let each = [sign(&[secret(first)]), sign(&[secret(second)])];
        assert_eq!(sign(&[secret(first), secret(second)]), each.join(" "));
        assert_ne!(each[0], each[1]);
    }

    #[test]
    fn hmac_signs_the_body_of_every_request() {
        let key = file("It's a Secret to Everybody");
        let spec = |encoding, prefix: &str| {
            let text = format!(
                "targets:\n  - {{name: a, preset: rest, url: http://a, sign: {{hmac: {{header: X-Signature, \
                 secretFile: {}, encoding: {encoding}, prefix: \"{prefix}\"}}}}}}\n",
                key.display()
            );
            let loaded = crate::mapping::load::load("t.yaml", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
            loaded.targets[0].spec.connection.sign.clone()
        };
        let header = |spec: Option<SignSpec>, change| {
            let url = "http://a/".parse().unwrap();
            let mut request = Outgoing { url, headers: HeaderMap::new(), body: Some(b"Hello, World!".to_vec()) };
            Signer::new(spec.as_ref()).unwrap().sign(&mut request, change).unwrap();
            request.headers["x-signature"].to_str().unwrap().to_owned()
        };
        // The example of GitHub's documentation.
        let hex = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(header(spec("hex", "sha256="), Some("change")), hex);
        assert_eq!(header(spec("hex", "sha256="), None), hex);
        assert_eq!(header(spec("base64", "v0="), None), "v0=dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=");
    }

    #[test]
    fn unusable_webhook_secret_is_refused() {
        for (text, what) in [("whsec_", "nothing after"), ("whsec_a*b", "not base64"), ("", "empty")] {
            let file = file(text);
            let error =
                SecretFile::new(&file.to_string_lossy(), Content::WebhookSecret, "sign.s").unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(&*file.to_string_lossy()), "{error}");
        }
    }

    #[test]
    fn secrets_of_signatures_are_hidden() {
        let signer = Signer::StandardWebhooks(vec![secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]);
        let text = "a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw b MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw c";
        let shown = crate::registry::mapped::secrets::redact(text, &signer.secrets());
        assert!(!shown.contains("MfKQ") && shown.contains("***"), "{shown}");
    }
}
