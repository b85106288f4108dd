//! Credentials and certificates.
//!
//! The client adds credentials after a request was rendered, so that no template can read them.

use super::values::{Entries, FilePath, HeaderName, LiteralText, ReadingText, RemoteUrl, TemplateText, TemplateTree};
use crate::mapping::members::{choice, members};

choice! {
    /// How requests are authenticated.
    pub enum AuthSpec("`auth`") {
        /// A token in the header `Authorization`.
        Bearer(BearerSpec) = "bearer",
        /// HTTP basic authentication.
        Basic(BasicSpec) = "basic",
        /// A secret in a header.
        Header(HeaderSecretSpec) = "header",
        /// A secret in the query.
        Query(QuerySecretSpec) = "query",
        /// A secret in the request's body.
        Body(BodySecretSpec) = "body",
        /// OAuth 2.0 client credentials.
        Oauth2(Oauth2Spec) = "oauth2",
        /// A request that exchanges secrets for a token.
        Login(Box<LoginSpec>) = "login",
    }
}

members! {
    /// A token in the header `Authorization`.
    pub struct BearerSpec("`auth.bearer`") {
        /// The file that holds the token.
        pub token_file: FilePath = "tokenFile",
        /// The word before the token. Default: `Bearer`.
        pub scheme: Option<LiteralText> = "scheme",
    }
}

members! {
    /// HTTP basic authentication.
    pub struct BasicSpec("`auth.basic`") {
        /// The user's name.
        pub username: LiteralText = "username",
        /// The file that holds the password.
        pub password_file: FilePath = "passwordFile",
    }
}

members! {
    /// A secret in a header.
    pub struct HeaderSecretSpec("`auth.header`") {
        /// The header's name.
        pub name: HeaderName = "name",
        /// A text before the secret, such as `Token `.
        pub prefix: Option<LiteralText> = "prefix",
        /// The file that holds the secret.
        pub file: FilePath = "file",
    }
}

members! {
    /// A secret in the query.
    pub struct QuerySecretSpec("`auth.query`") {
        /// The parameter's name.
        pub name: LiteralText = "name",
        /// The file that holds the secret.
        pub file: FilePath = "file",
    }
}

members! {
    /// A secret in the request's body.
    pub struct BodySecretSpec("`auth.body`") {
        /// A JSON Pointer to the member that holds the secret.
        pub at: ReadingText = "at",
        /// The file that holds the secret.
        pub file: FilePath = "file",
    }
}

members! {
    /// OAuth 2.0 client credentials.
    pub struct Oauth2Spec("`auth.oauth2`") {
        /// The address of the token endpoint.
        pub token_url: RemoteUrl = "tokenUrl",
        /// The client's id.
        pub client_id: LiteralText = "clientId",
        /// The file that holds the client's secret.
        pub client_secret_file: FilePath = "clientSecretFile",
        /// The scopes to ask for.
        pub scopes: Vec<LiteralText> = "scopes",
        /// Further parameters of the token request, such as `audience`.
        pub params: Entries<LiteralText> = "params",
    }
}

members! {
    /// A POST request that exchanges secrets for a token.
    pub struct LoginSpec("`auth.login`") {
        /// The path, joined to `url`.
        pub path: TemplateText = "path",
        /// The body. Only here and in the headers, templates can use `secret.NAME`.
        pub body: TemplateTree = "body",
        /// The headers of this request. Those of the target are not sent with it.
        pub headers: Entries<TemplateText> = "headers",
        /// The files that hold the secrets, by name.
        pub secrets: Entries<FilePath> = "secrets",
        /// How to read the token from the answer.
        pub token: ReadingText = "token",
        /// How to read the token's lifetime in seconds from the answer.
        pub expires: Option<ReadingText> = "expires",
        /// The header that carries the token. Default: `Authorization`, with `Bearer ` before the token.
        pub header: Option<HeaderName> = "header",
    }
}

members! {
    /// Trusted certificate authorities and the client certificate, in PEM format.
    pub struct TlsSpec("`tls`") {
        /// Trusted certificate authorities. Default: those of the system.
        pub ca_file: Option<FilePath> = "caFile",
        /// The client certificate. It needs `keyFile`.
        pub cert_file: Option<FilePath> = "certFile",
        /// The private key of the client certificate.
        pub key_file: Option<FilePath> = "keyFile",
    }
}
