//! What a registry holds, for commands that change nothing. The types below have no method that writes.

use std::{path::PathBuf, time::Duration};

use super::{Error, targets_file};
use crate::{
    mapping::{
        load::LoadedTarget,
        spec::{ConnectionSpec, auth::AuthSpec},
    },
    model::ids::RecordOwner,
    registry::{
        client::{Config, reader::V1Reader},
        credentials,
        mapped::reader::TargetReader,
    },
};

/// Reads the registry of one target.
pub(super) enum RegistryReader {
    V1(V1Reader),
    Mapped(Box<TargetReader>),
}

impl RegistryReader {
    /// The reader of a target in a file. It reads the files that the target names, and connects later.
    pub(super) fn of_target(loaded: &LoadedTarget, owner: &RecordOwner, timeout: Duration) -> Result<Self, Error> {
        let connection = &loaded.spec.connection;
        let unusable = |source| Error::Target { name: connection.name.text.clone(), source };
        if loaded.speaks_v1() {
            let config = config(connection, timeout).ok_or(credentials::Error::Address).map_err(unusable)?;
            return V1Reader::new(config, owner.clone()).map(Self::V1).map_err(unusable);
        }
        let (target, login) = targets_file::compile(&loaded.spec, owner).map_err(Error::Targets)?;
        let reader = TargetReader::new(target, connection, login, timeout, None);
        reader.map(|reader| Self::Mapped(Box::new(reader))).map_err(unusable)
    }
}

/// The connection of a target that speaks protocol v1.
fn config(connection: &ConnectionSpec, timeout: Duration) -> Option<Config> {
    let token_file = match &connection.auth {
        Some(AuthSpec::Bearer(bearer)) => Some(PathBuf::from(&bearer.token_file.text)),
        _ => None,
    };
    let ca_file = connection.tls.as_ref().and_then(|tls| tls.ca_file.as_ref()).map(|file| PathBuf::from(&file.text));
    let limit = connection.limits.as_ref().and_then(|limits| limits.timeout.as_ref());
    let request_timeout = limit.map_or(timeout, |limit| limit.duration);
    Some(Config { url: connection.url.text.parse().ok()?, token_file, ca_file, request_timeout })
}
