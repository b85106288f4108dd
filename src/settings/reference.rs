//! The settings of `registry`.

use std::{net::SocketAddr, path::PathBuf};

use super::{Problem, Refusal, Sources, files, flags, run::log_format, values};
use crate::telemetry::LogFormat;

/// Everything that `registry` needs to know.
#[derive(Clone, Debug)]
pub struct ReferenceSettings {
    /// Where it is served.
    pub listen: SocketAddr,
    /// The database file, which may not be there yet; `None`: in memory.
    pub database: Option<PathBuf>,
    /// The tokens that are accepted; `None`: everybody is let in.
    pub tokens_file: Option<PathBuf>,
    /// What to serve HTTPS with; `None`: HTTP.
    pub tls: Option<TlsFiles>,
    /// How logs are written.
    pub log_format: LogFormat,
}

/// A server's certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificates: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl ReferenceSettings {
    pub(super) fn read(flags: flags::Registry, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Registry { listen, database, tokens_file, tls_cert_file, tls_key_file, log } = flags;
        let certificates = sources.read_optional("tls_cert_file", tls_cert_file, files::certificates)?;
        let tls = match (certificates, sources.read_optional("tls_key_file", tls_key_file, files::private_key)?) {
            (Some(certificates), Some(key)) => Some(TlsFiles { certificates, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                let problem = Problem::new("only one of them is set", "give both for HTTPS, or none for HTTP");
                return Err(sources.combination("tls_cert_file", "tls_key_file", problem));
            }
        };
        Ok(Self {
            listen: sources.read("listen", &listen, values::address)?,
            database: sources.read_optional("database", database, files::creatable)?,
            tokens_file: sources.read_optional("tokens_file", tokens_file, files::readable)?,
            tls,
            log_format: log_format(log, sources)?,
        })
    }
}
