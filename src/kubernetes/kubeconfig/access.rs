//! The result of the search: where the API server is, which certificates to trust, and how to log in.

use std::path::PathBuf;

use http::{HeaderMap, Uri};
use rustls::pki_types::ServerName;

use super::{address, content::FileContent, proxy::Proxy, server::Trust, user::Login};

/// The source of an access, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// None for a service account.
    pub(crate) context: Option<String>,
    /// The file that names the API server, or the folder of the service account.
    pub(crate) file: PathBuf,
}

/// Everything that is needed to connect to an API server.
#[derive(Clone, Debug)]
pub(crate) struct ApiAccess {
    /// Scheme, host, port, and a prefix for the paths of requests.
    pub(crate) server: Uri,
    /// The name that the server's certificate must have, instead of the host.
    pub(crate) server_name: Option<ServerName<'static>>,
    pub(crate) trust: Trust,
    /// The client certificate and its key.
    pub(crate) identity: Option<(FileContent, FileContent)>,
    pub(crate) login: Login,
    /// Whether the user's credentials are not sent, because the address is plain `http` and not on this machine.
    /// kubectl never sends them to a plain `http` address.
    pub(crate) is_withheld: bool,
    /// The headers of an impersonated user.
    pub(crate) impersonate: HeaderMap,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) namespace: String,
    pub(crate) origin: Origin,
}

impl ApiAccess {
    /// The access to a server without credentials.
    pub(crate) fn anonymous(server: &str) -> Result<Self, String> {
        Ok(Self {
            server: address::server(server)?,
            server_name: None,
            trust: Trust::System,
            identity: None,
            login: Login::None,
            is_withheld: false,
            impersonate: HeaderMap::new(),
            proxy: None,
            namespace: "default".to_owned(),
            origin: Origin { context: None, file: PathBuf::new() },
        })
    }
}
