//! The registries that a command writes to: the one that flags describe, or those of a targets file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::Url;
use serde_json::Value as Json;

use super::Error;
use crate::{
    cli::{flags::RegistrySettings, inspect::RegistriesSettings},
    files,
    mapping::{
        guarantees,
        load::{self, LoadedTarget},
        login::LoginTemplate,
        place,
        spec::{ConnectionSpec, TargetSpec, auth::AuthSpec},
        target::{Target, shared_lists},
        tree::Tree,
    },
    model::ids::{DEFAULT_TARGET, RecordOwner},
    registry::{
        client::{Client, Config},
        mapped::{
            TargetClient,
            memory::{MemoryOwner, file::MemoryFile},
            recorder::ExchangeLog,
        },
    },
};

/// One registry, and how fast to write to it.
#[derive(Clone, Debug)]
pub(super) struct TargetSettings {
    /// Its name in metrics, logs, names of holds and `/status`.
    pub(super) name: &'static str,
    /// What selects its pods among those of the process, without places in the file.
    pub(super) select: Option<Json>,
    pub(super) kind: TargetKind,
    pub(super) request_timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_writes_per_second: u32,
}

#[derive(Clone, Debug)]
pub(super) enum TargetKind {
    /// A registry that speaks protocol v1.
    V1(RegistryAddress),
    /// A registry whose records and requests a file describes.
    Mapped(Box<TargetSpec>),
}

/// Where a registry that speaks protocol v1 is.
#[derive(Clone, Debug)]
pub(super) enum RegistryAddress {
    /// Described by flags, which errors name.
    OfFlags(Config),
    /// Described by a targets file, whose members errors name.
    OfFile { config: Config, spec: Box<TargetSpec> },
}

/// The client of a target.
pub(super) enum TargetConnection {
    V1(Box<Client>),
    Mapped(Box<TargetClient>),
}

impl TargetSettings {
    /// The targets that the flags ask for. Reads the targets file, if there is one.
    pub(super) fn of(settings: RegistrySettings) -> Result<Vec<Self>, Error> {
        let RegistrySettings { connection, max_in_flight, max_writes_per_second } = settings;
        let RegistriesSettings {
            registry_url,
            targets,
            registry_token_file: token_file,
            registry_ca_file: ca_file,
            request_timeout,
        } = connection;
        let default =
            |name, kind| Self { name, select: None, kind, request_timeout, max_in_flight, max_writes_per_second };
        if let Some(path) = targets {
            let owner = stand_in();
            let loaded = load(&path, &owner)?;
            let targets: Vec<Self> = loaded.into_iter().map(|target| of_file(target, default)).collect();
            // The files of all targets are read once, so that a forgotten mount is reported at once.
            targets.iter().try_for_each(|target| target.connect(&owner, None).map(drop))?;
            return Ok(targets);
        }
        // The parser of the flags requires one of the two.
        let Some(url) = registry_url else { return Ok(Vec::new()) };
        let config = Config { url, token_file, ca_file, request_timeout };
        Ok(vec![default(DEFAULT_TARGET, TargetKind::V1(RegistryAddress::OfFlags(config)))])
    }

    /// What kind of registry it is: the preset, or `custom`.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            TargetKind::V1(_) => "v1",
            TargetKind::Mapped(spec) => spec.connection.preset.map_or("custom", |preset| preset.name()),
        }
    }

    /// The path of its memory.
    pub(super) fn memory(&self) -> Option<&str> {
        match &self.kind {
            TargetKind::V1(_) => None,
            TargetKind::Mapped(spec) => spec.connection.memory.as_ref().map(|file| file.text.as_str()),
        }
    }

    /// Makes the client. It reads the files that the settings name, and connects later.
    pub(super) fn connect(
        &self,
        owner: &RecordOwner,
        log: Option<Arc<ExchangeLog>>,
    ) -> Result<TargetConnection, Error> {
        Ok(match &self.kind {
            TargetKind::V1(RegistryAddress::OfFlags(config)) => {
                TargetConnection::V1(Box::new(Client::new(config.clone(), owner.clone())?))
            }
            TargetKind::V1(RegistryAddress::OfFile { config, spec }) => {
                let rate = spec.connection.limits.as_ref().and_then(|limits| limits.requests_per_second);
                let client = Client::of_targets_file(config.clone(), owner.clone(), rate.map(|rate| rate.0));
                let client = client.map_err(|source| self.unusable(source))?;
                TargetConnection::V1(Box::new(match &spec.connection.select {
                    None => client,
                    Some(_) => client.selecting(compile(spec, owner).map_err(Error::Targets)?.0),
                }))
            }
            TargetKind::Mapped(spec) => {
                let (target, login) = compile(spec, owner).map_err(Error::Targets)?;
                let client = TargetClient::new(target, &spec.connection, login, self.request_timeout, log);
                let client = client.map_err(|source| self.unusable(source))?.with_lookups(self.max_in_flight);
                TargetConnection::Mapped(Box::new(match memory_file(client.target(), &spec.connection, owner) {
                    None => client,
                    Some(file) => client.with_memory(Box::new(file)),
                }))
            }
        })
    }

    /// Whether the registry may refuse all writers with an older term than that of the last one.
    pub(super) fn names_terms(&self) -> bool {
        let TargetKind::Mapped(spec) = &self.kind else { return false };
        compile(spec, &stand_in()).is_ok_and(|(target, _)| guarantees::names_terms(&target))
    }

    /// Its memory, which is not opened.
    pub(super) fn memory_file(&self, owner: &RecordOwner) -> Result<Option<MemoryFile>, Error> {
        let TargetKind::Mapped(spec) = &self.kind else { return Ok(None) };
        let (target, _) = compile(spec, owner).map_err(Error::Targets)?;
        Ok(memory_file(&target, &spec.connection, owner))
    }

    fn unusable(&self, source: crate::registry::credentials::Error) -> Error {
        Error::Target { name: self.name.to_owned(), source }
    }
}

/// The only target, or the one with this name.
pub(super) fn choose(mut targets: Vec<TargetSettings>, name: Option<&str>) -> Result<TargetSettings, Error> {
    let known = targets.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let at = match name {
        None if targets.len() == 1 => Some(0),
        None => return Err(Error::WhichTarget(known)),
        Some(name) => targets.iter().position(|target| target.name == name),
    };
    match at {
        Some(at) => Ok(targets.swap_remove(at)),
        None => Err(Error::NoSuchTarget { name: name.unwrap_or_default().to_owned(), known }),
    }
}

fn memory_file(target: &Target, connection: &ConnectionSpec, owner: &RecordOwner) -> Option<MemoryFile> {
    let path = PathBuf::from(&connection.memory.as_ref()?.text);
    let owner = MemoryOwner {
        target: target.name().to_owned(),
        cluster: owner.cluster_id.clone(),
        mark: target.mark().to_owned(),
        url: connection.url.text.clone(),
    };
    Some(MemoryFile::new(path, owner))
}

/// The cluster's identity is not known at the start. Whatever is wrong in a template is wrong for every cluster.
pub(super) fn stand_in() -> RecordOwner {
    let [cluster_id, cluster_name, owner] = ["cluster-id", "cluster-name", "owner"].map(str::to_owned);
    RecordOwner { cluster_id, cluster_name, owner }
}

pub(super) fn load(path: &Path, owner: &RecordOwner) -> Result<Vec<LoadedTarget>, Error> {
    let unreadable = |source| Error::TargetsFile { path: path.to_owned(), source };
    let bytes = files::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))?;
    let loaded = load::load(&path.display().to_string(), &text).map_err(Error::Targets)?;
    let (mut targets, mut errors) = (Vec::new(), Vec::new());
    for target in &loaded.targets {
        match compile(&target.spec, owner) {
            Ok((compiled, _)) => targets.push((target, compiled)),
            Err(wrong) => errors.extend(wrong),
        }
    }
    errors.extend(shared_lists::check(&targets));
    drop(targets);
    if errors.is_empty() { Ok(loaded.targets) } else { Err(Error::Targets(load::in_order(errors))) }
}

pub(super) fn compile(
    spec: &TargetSpec,
    owner: &RecordOwner,
) -> Result<(Target, Option<LoginTemplate>), Vec<place::Error>> {
    let target = Target::compile(spec, owner)?;
    let login = match &spec.connection.auth {
        Some(AuthSpec::Login(login)) => Some(LoginTemplate::compile(login, &spec.connection.url, owner)?),
        _ => None,
    };
    Ok((target, login))
}

/// A target of a file. Its own limits come before those of the flags.
fn of_file(loaded: LoadedTarget, default: impl Fn(&'static str, TargetKind) -> TargetSettings) -> TargetSettings {
    let speaks_v1 = loaded.speaks_v1();
    let spec = loaded.spec;
    // A process has the same targets until it ends, and their names label its metrics.
    let name: &'static str = Box::leak(spec.connection.name.text.clone().into_boxed_str());
    let mut settings = default(name, TargetKind::Mapped(Box::new(spec.clone())));
    settings.select = loaded.tree.get("select").map(Tree::to_json);
    if let Some(limits) = &spec.connection.limits {
        settings.request_timeout = limits.timeout.as_ref().map_or(settings.request_timeout, |limit| limit.duration);
        settings.max_in_flight =
            limits.in_flight.and_then(|limit| usize::try_from(limit.0).ok()).unwrap_or(settings.max_in_flight);
    }
    if speaks_v1 && let Some(config) = config(&spec.connection, settings.request_timeout) {
        settings.kind = TargetKind::V1(RegistryAddress::OfFile { config, spec: Box::new(spec) });
    }
    settings
}

/// The connection of a target that speaks protocol v1.
pub(super) fn config(connection: &ConnectionSpec, request_timeout: Duration) -> Option<Config> {
    let token_file = match &connection.auth {
        Some(AuthSpec::Bearer(bearer)) => Some(PathBuf::from(&bearer.token_file.text)),
        _ => None,
    };
    let ca_file = connection.tls.as_ref().and_then(|tls| tls.ca_file.as_ref()).map(|file| PathBuf::from(&file.text));
    let url: Url = connection.url.text.parse().ok()?;
    Some(Config { url, token_file, ca_file, request_timeout })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{self, orders::OrderElectionSettings, values::LeaseName},
        commands::lease,
        demo::pod::pod,
        model::pod::to_record::{self, AllowList, Rule},
        registry::{Excluded, Projection, Registry as _},
    };

    fn targets(text: &str) -> Result<Vec<TargetSettings>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut settings = cli::defaults("http://127.0.0.1:9").unwrap().registry;
        (settings.connection.registry_url, settings.connection.targets) = (None, Some(file.path().to_owned()));
        TargetSettings::of(settings)
    }

    const FILE: &str = "
targets:
  - {name: a, preset: v1, url: http://a, limits: {inFlight: 2, timeout: 3s}, select: {namespaces: [shop]}}
  - {name: b, preset: rest, url: http://b}
  - {name: c, preset: v1, url: http://c}
";

    #[test]
    fn limits_of_a_target_come_before_flags() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let targets = targets(FILE).unwrap();
        let shown = |target: &TargetSettings| {
            (target.name, target.kind_name(), target.max_in_flight, target.request_timeout.as_secs())
        };
        let shown: Vec<_> = targets.iter().map(shown).collect();
        assert_eq!(shown, [("a", "v1", 2, 3), ("b", "rest", 4, 10), ("c", "v1", 4, 10)]);
    }

    #[test]
    fn targets_with_terms_need_the_lease() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = "targets:\n  - {name: a, preset: etcd, url: http://a}\n  - {name: b, preset: skydns, url: http://b, \
                    vars: {zone: b.example}}\n  - {name: c, preset: rest, url: http://c}\n  - {name: d, preset: v1, url: http://d}\n";
        let targets = targets(file).unwrap();
        let mut election =
            OrderElectionSettings { lease: None, lease_duration: Duration::from_secs(15), instance: None };
        let refused = |election: &OrderElectionSettings| -> Vec<bool> {
            targets.iter().map(|target| lease::check(target, election).is_err()).collect()
        };
        assert_eq!(refused(&election), [true, true, false, false]);
        election.lease = Some(LeaseName { namespace: "a".into(), name: "b".into() });
        assert_eq!(refused(&election), [false; 4]);
    }

    #[test]
    fn target_of_protocol_v1_selects_pods() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (targets, owner) = (targets(FILE).unwrap(), stand_in());
        let rule = Rule { owner: owner.clone(), labels: AllowList::default(), annotations: AllowList::default() };
        let mut object = pod("web").uid("u-1").build();
        object["metadata"]["resourceVersion"] = "1".into();
        object["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z".into();
        let object = serde_json::from_value(object).unwrap();
        let pod = to_record::desired(object, &rule).unwrap();
        let projection = |target: &TargetSettings| match target.connect(&owner, None).unwrap() {
            TargetConnection::V1(client) => (client.is_identity(), client.project(&pod)),
            TargetConnection::Mapped(_) => panic!("it speaks v1"),
        };
        let excluded = Excluded { keys: vec![pod.uid.clone()], by_scope: true };
        assert_eq!(projection(&targets[0]), (false, Projection::NotSelected(excluded)), "it is in another namespace");
        assert_eq!(projection(&targets[2]), (true, Projection::identity(&pod)));
    }
}
