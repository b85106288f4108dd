//! What a kubeconfig or a service account comes to: where the API server is, whom to trust, and how to log in.

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

/// No kubeconfig, token or certificate is larger.
const LARGEST: u64 = 4 << 20;

/// Bytes that are never shown.
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
    /// A file, which is read again.
    File {
        /// Who names it, for messages.
        member: String,
        path: PathBuf,
    },
    Inline {
        member: String,
        bytes: Secret,
    },
}

impl FileContent {
    /// The bytes.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Inline { bytes, .. } => Ok(bytes.clone()),
            Self::File { path, .. } => {
                read_file(path).map(Secret::new).map_err(|error| self.problem(&error.to_string()))
            }
        }
    }

    /// A problem with the bytes, with where they come from.
    pub(crate) fn problem(&self, problem: &str) -> String {
        match self {
            Self::File { member, path } => format!("{member}: {}: {problem}", path.display()),
            Self::Inline { member, .. } => format!("{member}: {problem}"),
        }
    }
}

/// Whose certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that the system trusts.
    System,
    /// Those that lead to these.
    Bundle(FileContent),
    /// Any.
    Anything,
}

/// How a request shows who sends it.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// Not in the request.
    None,
    /// By a token. The file wins where it can be read.
    Token { file: Option<FileContent>, inline: Option<Secret> },
    /// By a name and a password.
    Basic(HeaderValue),
    /// By what a command prints.
    Plugin(Box<Plugin>),
}

/// Where an access comes from, for people.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The context; none in a pod.
    pub(crate) context: Option<String>,
    /// The file that names the API server, or the folder of the service account.
    pub(crate) file: PathBuf,
}

/// The way to an API server.
#[derive(Clone, Debug)]
pub(crate) struct ApiAccess {
    /// Scheme, host, port, and a path that every request's path is put behind.
    pub(crate) server: Uri,
    /// The name that the server's certificate has to be for, instead of the host.
    pub(crate) server_name: Option<ServerName<'static>>,
    pub(crate) trust: Trust,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(FileContent, FileContent)>,
    pub(crate) login: Login,
    /// Whether the user has credentials that are not sent, because the address is plain `http` and not on this
    /// machine. kubectl sends them to no plain `http` address.
    pub(crate) is_withheld: bool,
    /// As whom else the request is to be treated.
    pub(crate) impersonate: HeaderMap,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) namespace: String,
    pub(crate) origin: Origin,
}

impl ApiAccess {
    /// The way to a server that asks for no credentials.
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

/// A file's bytes: a regular file of bounded size, as a pipe would wait for ever.
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
