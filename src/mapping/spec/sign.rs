//! Signatures of requests.
//!
//! The client signs a request after it was rendered and has its credentials, so that no template can read a secret.

use super::values::{FilePath, HeaderName, LiteralText};
use crate::mapping::members::{choice, members, names};

choice! {
    /// How requests are signed, so that the receiver knows who sent them.
    pub enum SignSpec("`sign`") {
        /// Standard Webhooks: requests that write have the headers `webhook-id`, `webhook-timestamp` and
        /// `webhook-signature`.
        StandardWebhooks(StandardWebhooksSpec) = "standardWebhooks",
        /// HMAC-SHA256 of the body, in a header of every request.
        Hmac(HmacSpec) = "hmac",
    }
}

members! {
    /// Standard Webhooks.
    pub struct StandardWebhooksSpec("`sign.standardWebhooks`") {
        /// The files that hold the secrets, such as `whsec_…`. Requests are signed with each of them, so that two
        /// secrets are valid while one replaces the other.
        pub secret_files: Vec<FilePath> = "secretFiles",
    }
}

members! {
    /// HMAC-SHA256 of the body.
    pub struct HmacSpec("`sign.hmac`") {
        /// The header that holds the signature.
        pub header: HeaderName = "header",
        /// The file that holds the secret, whose bytes are the key.
        pub secret_file: FilePath = "secretFile",
        /// How the signature is written. Default: hex.
        pub encoding: Option<SignatureEncoding> = "encoding",
        /// A text before the signature, such as `sha256=`.
        pub prefix: Option<LiteralText> = "prefix",
    }
}

names! {
    /// How a signature is written.
    pub enum SignatureEncoding("an encoding") {
        /// Hexadecimal digits in lower case.
        Hex = "hex",
        /// Base64 with padding.
        Base64 = "base64",
    }
}

/// The headers of Standard Webhooks: the id of the message, its time, and its signatures.
pub const WEBHOOK_HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

impl SignSpec {
    /// The headers that the client sets.
    pub fn headers(&self) -> Vec<&str> {
        match self {
            Self::StandardWebhooks(_) => WEBHOOK_HEADERS.to_vec(),
            Self::Hmac(spec) => vec![&spec.header.text],
        }
    }
}
