//! The settings of `run` and `watch`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use reqwest::Url;

use super::{Problem, Refusal, Sources, files, flags, selectors, values};
use crate::telemetry::LogFormat;

/// Namespaces that can be watched one by one: more would overload an API server, and one watch of all costs less.
const NAMESPACES_MAX: usize = 500;

/// Everything that `run` needs to know.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// How the API server is reached.
    pub cluster: ClusterSettings,
    /// Which pods are registered.
    pub scope: ScopeSettings,
    /// What of a pod is registered.
    pub record: RecordSettings,
    /// How the registry is reached.
    pub registry: RegistrySettings,
    /// Under which name.
    pub identity: IdentitySettings,
    /// Which of several replicas writes.
    pub election: ElectionSettings,
    /// What becomes of deletions that are held.
    pub holds: HoldSettings,
    /// Where health and metrics are served.
    pub admin_addr: SocketAddr,
    /// How often the registry is compared with what it should hold; at least a second.
    pub resync_interval: Duration,
    /// How often all pods are listed anew; at least a second.
    pub relist_interval: Duration,
    /// How logs are written.
    pub log_format: LogFormat,
}

/// Everything that `watch` needs to know.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// How the API server is reached.
    pub cluster: ClusterSettings,
    /// Which pods are shown.
    pub scope: ScopeSettings,
    /// How logs are written.
    pub log_format: LogFormat,
}

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// A kubeconfig, which was readable at start. `None`: the one that kubectl would use, or a pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context, instead of the current one.
    pub context: Option<String>,
}

/// Which pods are registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSettings {
    /// Of which namespaces.
    pub namespaces: Namespaces,
    /// In the API server's syntax, which was checked.
    pub label_selector: Option<String>,
    /// In the API server's syntax, which was checked; whether pods have these fields was not.
    pub field_selector: Option<String>,
}

/// A choice of namespaces. The sets are never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Every one.
    All,
    /// These.
    Only(BTreeSet<String>),
    /// Every one but these.
    Except(BTreeSet<String>),
}

/// What of a pod is registered, as patterns with `*` and `?` over keys. An empty list allows none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// Which labels.
    pub label_allow: Vec<String>,
    /// Which annotations.
    pub annotation_allow: Vec<String>,
}

/// How the registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Its address: http or https, no credentials, query or fragment, with a path that ends in a slash.
    pub url: Url,
    /// The bearer token; it was there at start, and is read again at run time.
    pub token_file: Option<PathBuf>,
    /// The authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take; 1 ms to 5 min.
    pub request_timeout: Duration,
    /// How many requests are under way at a time; 1 to 64.
    pub max_in_flight: usize,
    /// How many records are written a second; at least 1.
    pub max_writes_per_second: u32,
}

/// Under which name records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// A valid id; `None`: the UID of the `kube-system` namespace.
    pub cluster_id: Option<String>,
    /// `None`: the cluster's id.
    pub cluster_name: Option<String>,
    /// A valid id.
    pub owner: String,
    /// The UID of the `kube-system` namespace of a cluster that this one replaces.
    pub replaces_cluster_uid: Option<String>,
}

/// Which of several replicas writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionSettings {
    /// `None`: there is one process only.
    pub lease: Option<LeaseName>,
    /// Whole seconds, 3 s to 5 min.
    pub lease_duration: Duration,
    /// A valid id; `None`: the host's name.
    pub instance: Option<String>,
}

/// Where a Lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// A valid namespace.
    pub namespace: String,
    /// A valid name of an object.
    pub name: String,
}

/// What becomes of deletions that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldSettings {
    /// The Lease whose annotation says what a person approved; `None`: nobody can.
    pub lease: Option<LeaseName>,
    /// Whether what left because the settings changed is held.
    pub on_scope_change: bool,
}

impl RunSettings {
    pub(super) fn read(flags: flags::Run, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Run {
            cluster,
            scope,
            record,
            target,
            identity,
            election,
            holds,
            admin_addr,
            resync_interval,
            relist_interval,
            log,
        } = flags;
        let election = ElectionSettings::read(election, sources)?;
        Ok(Self {
            cluster: ClusterSettings::read(cluster, sources)?,
            scope: ScopeSettings::read(scope, sources)?,
            record: RecordSettings::read(record, sources)?,
            registry: RegistrySettings::read(target, sources)?,
            identity: IdentitySettings::read(identity, sources)?,
            holds: HoldSettings::read(holds, election.lease.as_ref(), sources)?,
            election,
            admin_addr: sources.read("admin_addr", &admin_addr, values::address)?,
            resync_interval: sources.read("resync_interval", &resync_interval, values::interval)?,
            relist_interval: sources.read("relist_interval", &relist_interval, values::interval)?,
            log_format: log_format(log, sources)?,
        })
    }
}

impl WatchSettings {
    pub(super) fn read(flags: flags::Watch, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Watch { cluster, scope, log } = flags;
        Ok(Self {
            cluster: ClusterSettings::read(cluster, sources)?,
            scope: ScopeSettings::read(scope, sources)?,
            log_format: log_format(log, sources)?,
        })
    }
}

impl ClusterSettings {
    pub(super) fn read(flags: flags::Cluster, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Cluster { kubeconfig, context } = flags;
        Ok(Self {
            kubeconfig: sources.read_optional("kubeconfig", kubeconfig, files::readable)?,
            context: sources.read_optional("context", context, values::context)?,
        })
    }
}

impl ScopeSettings {
    fn read(flags: flags::Scope, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Scope { namespace, exclude_namespace, label_selector, field_selector } = flags;
        let only: BTreeSet<String> = sources.read_all("namespace", &namespace, values::namespace)?;
        if only.len() > NAMESPACES_MAX {
            let problem = Problem::new(
                format!(
                    "{} namespaces are named; each needs a watch of its own, and {NAMESPACES_MAX} are possible",
                    only.len()
                ),
                "watch all namespaces, and use --exclude-namespace or --label-selector to select pods",
            );
            return Err(Refusal::Invalid { origin: sources.name("namespace"), problem });
        }
        let except: BTreeSet<String> = sources.read_all("exclude_namespace", &exclude_namespace, values::namespace)?;
        let namespaces = match (only.is_empty(), except.is_empty()) {
            (true, true) => Namespaces::All,
            (false, true) => Namespaces::Only(only),
            (true, false) => Namespaces::Except(except),
            (false, false) => {
                let problem = Problem::new(
                    "only one of them can be used",
                    "name the namespaces that are wanted, or those that are not",
                );
                return Err(sources.combination("namespace", "exclude_namespace", problem));
            }
        };
        Ok(Self {
            namespaces,
            label_selector: sources.read_optional("label_selector", label_selector, selectors::label)?,
            field_selector: sources.read_optional("field_selector", field_selector, selectors::field)?,
        })
    }
}

impl RecordSettings {
    fn read(flags: flags::Record, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Record { label_allow, annotation_allow } = flags;
        Ok(Self {
            label_allow: sources.read_all("label_allow", &label_allow, values::pattern)?,
            annotation_allow: sources.read_all("annotation_allow", &annotation_allow, values::pattern)?,
        })
    }
}

impl RegistrySettings {
    fn read(flags: flags::Target, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Target {
            registry_url,
            registry_token_file,
            registry_ca_file,
            request_timeout,
            max_in_flight,
            max_writes_per_second,
        } = flags;
        let url = sources.required("registry_url", registry_url, "the address of the registry")?;
        let per_second = values::number(1..=u32::MAX, "give a whole number, at least 1");
        Ok(Self {
            url: sources.read("registry_url", &url, values::registry_url)?,
            token_file: sources.read_optional("registry_token_file", registry_token_file, files::token)?,
            ca_file: sources.read_optional("registry_ca_file", registry_ca_file, files::certificates)?,
            request_timeout: sources.read("request_timeout", &request_timeout, values::request_timeout)?,
            max_in_flight: sources.read("max_in_flight", &max_in_flight, values::number(1..=64, "give 1 to 64"))?,
            max_writes_per_second: sources.read("max_writes_per_second", &max_writes_per_second, per_second)?,
        })
    }
}

impl IdentitySettings {
    fn read(flags: flags::Identity, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Identity { cluster_id, cluster_name, owner, replaces_cluster_uid } = flags;
        Ok(Self {
            cluster_id: sources.read_optional("cluster_id", cluster_id, values::id)?,
            cluster_name: sources.read_optional("cluster_name", cluster_name, values::display_name)?,
            owner: sources.read("owner", &owner, values::id)?,
            replaces_cluster_uid: sources.read_optional("replaces_cluster_uid", replaces_cluster_uid, values::id)?,
        })
    }
}

impl ElectionSettings {
    fn read(flags: flags::Election, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Election { lease, lease_duration, instance } = flags;
        Ok(Self {
            lease: sources.read_optional("lease", lease, values::lease)?,
            lease_duration: sources.read("lease_duration", &lease_duration, values::lease_duration)?,
            instance: sources.read_optional("instance", instance, values::id)?,
        })
    }
}

impl HoldSettings {
    /// Approvals are read from the replicas' own lease unless another one is named.
    fn read(flags: flags::Holds, own: Option<&LeaseName>, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Holds { approval_lease, hold_on_scope_change } = flags;
        let named = sources.read_optional("approval_lease", approval_lease, values::lease)?;
        Ok(Self {
            lease: named.or_else(|| own.cloned()),
            on_scope_change: sources.read("hold_on_scope_change", &hold_on_scope_change, values::boolean)?,
        })
    }
}

pub(super) fn log_format(flags: flags::Log, sources: &Sources) -> Result<LogFormat, Refusal> {
    let flags::Log { log_format } = flags;
    sources.read("log_format", &log_format, values::log_format)
}
