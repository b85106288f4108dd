//! The result of the search: where the API server is, which certificates to trust, and how to log in.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Uri};
use rustls::pki_types::ServerName;

use super::{address, proxy::Proxy, user::Plugin};

/// The largest kubeconfig, token or certificate, in bytes.
const LARGEST: u64 = 4 << 20;

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<[u8]>);

impl Secret {
    pub(crate) fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Bytes from a file, or from the kubeconfig itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileContent {
    /// `member` names the setting in messages. The file is read again when credentials are renewed.
    File {
        member: String,
        path: PathBuf,
    },
    Inline {
        member: String,
        bytes: Secret,
    },
}

impl FileContent {
    pub(crate) fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Inline { bytes, .. } => Ok(bytes.clone()),
            Self::File { path, .. } => {
                read_file(path).map(Secret::new).map_err(|error| self.problem(&error.to_string()))
            }
        }
    }

    /// Puts the source of the bytes before a problem with them.
    pub(crate) fn problem(&self, problem: &str) -> String {
        match self {
            Self::File { member, path } => format!("{member}: {}: {problem}", path.display()),
            Self::Inline { member, .. } => format!("{member}: {problem}"),
        }
    }
}

/// Which certificates of servers are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Certificates of the authorities of the operating system.
    System,
    /// Certificates of these authorities.
    Bundle(FileContent),
    /// All certificates.
    Anything,
}

/// How a request authenticates, apart from a client certificate.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    None,
    /// A bearer token. The file wins if it can be read.
    Token {
        file: Option<FileContent>,
        inline: Option<Secret>,
    },
    /// The value of the `Authorization` header.
    Basic(HeaderValue),
    /// A credential plugin.
    Plugin(Box<Plugin>),
}

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

/// Reads a regular file of bounded size. A pipe could block for ever.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut contents = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok(contents)
}
