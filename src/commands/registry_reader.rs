//! What a registry holds, for commands that change nothing. The types below have no method that writes.

use std::{path::PathBuf, time::Duration};

use super::{Error, targets_file};
use crate::{
    cli::inspect::RegistriesSettings,
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

/// The reader of one target, with its name.
pub(super) struct NamedReader {
    pub(super) name: String,
    pub(super) reader: RegistryReader,
}

/// The registries that the flags describe. The targets file is read before anything is sent.
pub(super) struct Registries {
    targets: Vec<LoadedTarget>,
    settings: RegistriesSettings,
}

/// The name of the target that flags describe.
const ONLY_TARGET: &str = "default";

impl Registries {
    pub(super) fn load(settings: RegistriesSettings) -> Result<Self, Error> {
        let targets = settings.targets.as_deref().map(targets_file::load).transpose()?.unwrap_or_default();
        Ok(Self { targets, settings })
    }

    /// Makes the readers, which read the files that the settings name, and connect later.
    pub(super) fn readers(&self, owner: &RecordOwner) -> Result<Vec<NamedReader>, Error> {
        let timeout = self.settings.request_timeout;
        if let Some(url) = self.settings.registry_url.clone() {
            let RegistriesSettings { registry_token_file: token_file, registry_ca_file: ca_file, .. } =
                self.settings.clone();
            let config = Config { url, token_file, ca_file, request_timeout: timeout };
            let reader = RegistryReader::V1(V1Reader::new(config, owner.clone())?);
            return Ok(vec![NamedReader { name: ONLY_TARGET.to_owned(), reader }]);
        }
        let named = |loaded: &LoadedTarget| {
            let name = loaded.spec.connection.name.text.clone();
            Ok(NamedReader { name, reader: RegistryReader::of_target(loaded, owner, timeout)? })
        };
        self.targets.iter().map(named).collect()
    }
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
