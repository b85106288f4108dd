//! `pod-registrar registry`: the reference registry.

use tokio_util::sync::CancellationToken;

use super::{Error, controller::listen};
use crate::{
    reference::{Options, Registry, TlsFiles},
    settings::ReferenceSettings,
};

/// Serves the reference registry until it is asked to stop.
pub(super) async fn run(settings: ReferenceSettings, stop: CancellationToken) -> Result<(), Error> {
    let ReferenceSettings { listen: address, database, tokens_file, tls, log_format: _ } = settings;
    let listener = listen(address, "choose another address with --listen")?.into_std().map_err(Error::Start)?;
    let tls = tls.map(|files| TlsFiles { cert: files.certificates, key: files.key });
    let registry = Registry::open(Options { database, tokens_file, tls, ..Options::default() })?;
    Ok(registry.serve(listener, stop.cancelled_owned()).await?)
}
