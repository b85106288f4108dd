//! What a registry holds, for commands that change nothing. The types below have no method that writes.

use std::time::Duration;

use super::{Error, target_settings};
use crate::{
    cli::inspect::RegistriesSettings,
    mapping::{load::LoadedTarget, spec::TargetSpec},
    model::ids::{DEFAULT_TARGET, RecordOwner},
    registry::{
        client::{Config, reader::V1Reader},
        credentials,
        mapped::reader::TargetReader,
    },
};

/// Reads the registry of one target.
pub(super) enum RegistryReader {
    V1(Box<V1Reader>),
    Mapped(Box<TargetReader>),
}

/// The registries that the flags describe. The targets file is read before anything is sent.
pub(super) struct Registries {
    targets: Vec<LoadedTarget>,
    settings: RegistriesSettings,
}

impl Registries {
    pub(super) fn load(settings: RegistriesSettings) -> Result<Self, Error> {
        let targets = settings
            .targets
            .as_deref()
            .map(|path| target_settings::load(path, &target_settings::stand_in()))
            .transpose()?
            .unwrap_or_default();
        Ok(Self { targets, settings })
    }

    /// The number of targets in the file. `None` if flags describe the only registry.
    pub(super) fn described(&self) -> Option<usize> {
        self.settings.targets.is_some().then_some(self.targets.len())
    }

    /// Makes the reader of each target, which reads the files that the settings name, and connects later. There is an
    /// error per target whose files cannot be used.
    pub(super) fn each_reader(&self, owner: &RecordOwner) -> Vec<(String, Result<RegistryReader, Error>)> {
        let timeout = self.settings.request_timeout;
        if let Some(url) = self.settings.registry_url.clone() {
            let RegistriesSettings { registry_token_file: token_file, registry_ca_file: ca_file, .. } =
                self.settings.clone();
            let config = Config { url, token_file, ca_file, request_timeout: timeout };
            let reader = V1Reader::new(config, owner.clone()).map(|reader| RegistryReader::V1(Box::new(reader)));
            return vec![(DEFAULT_TARGET.to_owned(), reader.map_err(Error::from))];
        }
        let named = |loaded: &LoadedTarget| {
            let name = loaded.spec.connection.name.text.clone();
            (name, RegistryReader::of_target(loaded, owner, timeout))
        };
        self.targets.iter().map(named).collect()
    }
}

impl RegistryReader {
    /// The reader of a target in a file. It reads the files that the target names, and connects later.
    pub(super) fn of_target(loaded: &LoadedTarget, owner: &RecordOwner, timeout: Duration) -> Result<Self, Error> {
        let connection = &loaded.spec.connection;
        let unusable = |source| Error::Target { name: connection.name.text.clone(), source };
        let (target, login) = target_settings::compile(&loaded.spec, owner).map_err(Error::Targets)?;
        if loaded.speaks_v1() {
            let limit = connection.limits.as_ref().and_then(|limits| limits.timeout.as_ref());
            let config = target_settings::config(connection, limit.map_or(timeout, |limit| limit.duration));
            let config = config.ok_or(credentials::Error::Address).map_err(unusable)?;
            let select = connection.select.as_ref().map(|_| target);
            let reader = V1Reader::of_target(config, owner.clone(), select).map_err(unusable)?;
            return Ok(Self::V1(Box::new(reader)));
        }
        let reader = TargetReader::new(target, connection, login, timeout, None);
        reader.map(|reader| Self::Mapped(Box::new(reader))).map_err(unusable)
    }

    /// The reader of a registry that a file describes.
    pub(super) fn of_spec(spec: &TargetSpec, owner: &RecordOwner, timeout: Duration) -> Result<TargetReader, Error> {
        let (target, login) = target_settings::compile(spec, owner).map_err(Error::Targets)?;
        let unusable = |source| Error::Target { name: spec.connection.name.text.clone(), source };
        TargetReader::new(target, &spec.connection, login, timeout, None).map_err(unusable)
    }
}
