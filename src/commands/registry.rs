//! `pod-registrar registry`: the reference registry.

use tokio_util::sync::CancellationToken;

use super::{Error, run::listen};
use crate::{
    cli::{self, flags::ReferenceRegistrySettings},
    registry::server::{
        serve::{RegistryServer, ServerOptions},
        tls::TlsFiles,
    },
};

/// Serves the reference registry until `stop` is cancelled.
pub(super) async fn run(settings: ReferenceRegistrySettings, stop: CancellationToken) -> Result<(), Error> {
    let ReferenceRegistrySettings { listen: address, database, tokens_file, tls, log: _ } = settings;
    let listener = listen(address, "choose another address with --listen")?.into_std().map_err(Error::Start)?;
    let tls = tls.map(|cli::flags::TlsArgs { tls_cert_file: cert, tls_key_file: key }| TlsFiles { cert, key });
    let registry = RegistryServer::open(ServerOptions { database, tokens_file, tls, ..ServerOptions::default() })?;
    Ok(registry.serve(listener, stop.cancelled_owned()).await?)
}
