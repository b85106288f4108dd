//! The commands and their flags.
//!
//! The comments of the fields are the help texts; `docs/settings.md` is generated from them. The parser of a flag
//! checks its value, and `Command::check` checks combinations of flags.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, ArgMatches, Args, Parser, Subcommand, error::ErrorKind};
use reqwest::Url;

use super::{
    conformance::ConformanceSettings,
    export::ExportSettings,
    files,
    inspect::{CheckSettings, ExplainSettings, PlanSettings, RegistriesSettings, StatusSettings},
    orders::{AdoptSettings, PurgeSettings},
    refusal::{Checked, origin, refuse},
    targets::{OwnerSettings, TargetsSettings},
    values::{self, LeaseName},
};
use crate::{
    reconcile::{absence::hold::HoldId, receipts::ReceiptKind},
    telemetry::logging::LogFormat,
};

/// Each namespace has its own watch. Beyond this number, one watch of all namespaces costs the API server less.
const NAMESPACES_MAX: usize = 500;

const ENDPOINTS: &str = "Endpoints and intervals";

/// The version. `.ci/build` adds the commit: `0.1.0 (5ca368b0c1d2)`.
const VERSION: &str = match option_env!("POD_REGISTRAR_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Keeps an external registry equal to the pods of a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "pod-registrar", version = VERSION, arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Program {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the registry equal to the pods of the cluster until stopped.
    Run(Box<RunSettings>),
    /// Serve the reference registry.
    Registry(ReferenceRegistrySettings),
    /// Show the whole system at work: a reference registry, a controller, and pods that come and go. The pods are
    /// simulated unless --kubeconfig or --context is set.
    Demo(DemoSettings),
    /// Print the cluster's pods as they come and go, without a registry.
    Watch(WatchSettings),
    /// Approve the deletions of one hold.
    Approve(ApproveSettings),
    /// Look at the targets of a targets file, and try them.
    Targets(Box<TargetsSettings>),
    /// Print which records the controller would write and delete now. Changes nothing. Exits with code 3 if there are
    /// any.
    Plan(Box<PlanSettings>),
    /// Check what `run` needs: files, rights, the API server, the registries and the clocks. Changes nothing. Exits
    /// with code 1 if a check fails.
    Check(Box<CheckSettings>),
    /// Explain one pod: its record, what each registry holds of it, and what the controller would do next. Changes
    /// nothing.
    Explain(Box<ExplainSettings>),
    /// Show the status of the running controller: which registries are equal to the cluster, what waits and why, and
    /// how far long work is. Changes nothing. Exits with code 3 unless all of them are equal.
    Status(StatusSettings),
    /// Test whether a registry follows protocol v1. Writes records under a cluster id of its own, and removes them
    /// at the end. Exits with code 1 if a must is broken.
    Conformance(Box<ConformanceSettings>),
    /// Delete all records of this cluster id and owner from one registry. Shows them first, and asks. Stop the
    /// controller first.
    Purge(Box<PurgeSettings>),
    /// Take over records that people or other tools made in one registry, so that they are kept equal to their pods.
    /// Shows them first, and asks. Stop the controller first.
    Adopt(Box<AdoptSettings>),
}

#[derive(Clone, Debug, Args)]
pub struct RunSettings {
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub scope: ScopeSettings,
    #[command(flatten)]
    pub record: RecordSettings,
    #[command(flatten)]
    pub registry: RegistrySettings,
    #[command(flatten)]
    pub identity: IdentitySettings,
    #[command(flatten)]
    pub election: ElectionSettings,
    #[command(flatten)]
    pub holds: HoldSettings,
    #[command(flatten)]
    pub receipts: ReceiptSettings,
    /// IP address and port that serve health, metrics and status. `[::]` listens on IPv6 and IPv4, and `0.0.0.0` on
    /// IPv4 only. A port alone, such as `:8080`, means `[::]`.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080", value_parser = Checked(values::address))]
    #[arg(help_heading = ENDPOINTS)]
    pub admin_addr: SocketAddr,
    /// How often to compare the records in the registry with the pods. At least 1s.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = Checked(values::interval))]
    #[arg(help_heading = ENDPOINTS)]
    pub resync_interval: Duration,
    /// How often to list all pods again. At least 1s.
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = Checked(values::interval))]
    #[arg(help_heading = ENDPOINTS)]
    pub relist_interval: Duration,
    /// File for the last 1000 requests to each registry of --targets and their answers, one JSON document per line,
    /// without credentials. Written every few seconds. Protocol v1 is not recorded.
    #[arg(long = "record", value_name = "FILE", value_parser = Checked(files::creatable))]
    #[arg(help_heading = ENDPOINTS)]
    pub exchanges: Option<PathBuf>,
    #[command(flatten)]
    pub export: ExportSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct ReferenceRegistrySettings {
    /// IP address and port to serve the registry on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070", value_parser = Checked(values::address))]
    pub listen: SocketAddr,
    /// Database file, created if it does not exist. Without it, records are kept in memory and lost at exit.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::creatable))]
    pub database: Option<PathBuf>,
    /// File with the bearer tokens to accept. Without it, no token is needed.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::readable))]
    pub tokens_file: Option<PathBuf>,
    #[command(flatten)]
    pub tls: Option<TlsArgs>,
    #[command(flatten)]
    pub log: LogSettings,
}

/// The files that HTTPS needs. Without them, the reference registry serves HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct TlsArgs {
    /// PEM file with the certificate chain for HTTPS, the server's own certificate first. Needs --tls-key-file.
    #[arg(long, value_name = "FILE", required = false, requires = "tls_key_file")]
    #[arg(value_parser = Checked(files::certificates))]
    pub tls_cert_file: PathBuf,
    /// PEM file with the private key of the certificate. Needs --tls-cert-file.
    #[arg(long, value_name = "FILE", required = false, requires = "tls_cert_file")]
    #[arg(value_parser = Checked(files::private_key))]
    pub tls_key_file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct DemoSettings {
    /// How many pods exist at a time. 0 to 100000.
    #[arg(long, value_name = "COUNT", default_value = "50", allow_negative_numbers = true)]
    #[arg(value_parser = Checked(values::number(0..=100_000_usize, "use a whole number up to 100000")))]
    pub pods: usize,
    /// How many pods are replaced per second. 0 to 1000, and fractions such as 0.5.
    #[arg(long, value_name = "RATE", default_value = "2", allow_negative_numbers = true)]
    #[arg(value_parser = Checked(values::number(0.0..=1000.0, "use a number from 0 to 1000, such as 0.5")))]
    pub churn: f64,
    /// How long to run. At least 1s. Default: until interrupted.
    #[arg(long, value_name = "DURATION", value_parser = Checked(values::interval))]
    pub duration: Option<Duration>,
    /// IP address and port to serve the registry and its page on. Not used with --registry-url.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070", value_parser = Checked(values::address))]
    pub listen: SocketAddr,
    /// Address of another registry to write to, to test that registry. Default: a reference registry in this process.
    #[arg(long, value_name = "URL", value_parser = Checked(values::registry_url))]
    pub registry_url: Option<Url>,
    /// File with the bearer token for that registry. Needs --registry-url.
    #[arg(long, value_name = "FILE", requires = "registry_url", value_parser = Checked(files::token))]
    pub registry_token_file: Option<PathBuf>,
    /// YAML file with more registries to write to, beside the first one. With it, the demo also runs an ordinary REST
    /// inventory, which docs/examples/demo-targets.yaml describes.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::readable))]
    pub targets: Option<PathBuf>,
    /// IP address and port to serve that inventory and its page on. Used only with --targets.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7071", value_parser = Checked(values::address))]
    pub inventory_listen: SocketAddr,
    /// Seed of the random changes: the same seed repeats them. Default: a random seed.
    #[arg(long, value_name = "NUMBER")]
    #[arg(value_parser = Checked(values::number(0..=u64::MAX, "use a whole number, at least 0")))]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct WatchSettings {
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub scope: ScopeSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct ApproveSettings {
    /// Name of the hold, as the log, the Event and the status page show it.
    #[arg(value_parser = Checked(values::hold))]
    pub hold: HoldId,
    /// Lease that the controller reads approvals from: its --approval-lease, or else its --lease.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "pod-registrar/pod-registrar")]
    #[arg(help_heading = "Held deletions", value_parser = Checked(values::lease))]
    pub approval_lease: LeaseName,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterSettings {
    /// Kubeconfig of the cluster. Default: the cluster that kubectl would use, which is that of KUBECONFIG, then of
    /// ~/.kube/config, then of the pod's service account.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::readable))]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Default: its current context.
    #[arg(long, value_name = "NAME", value_parser = Checked(values::context))]
    pub context: Option<String>,
}

/// Which pods are selected. The API server checks the selectors: it rejects the first list if one is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Selection")]
pub struct ScopeSettings {
    /// Select only pods in these namespaces. At most 500; each has its own watch. Default: all namespaces, with one
    /// watch.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = Checked(values::namespace))]
    pub namespace: Vec<String>,
    /// Select no pods in these namespaces. Cannot be combined with --namespace.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = Checked(values::namespace))]
    pub exclude_namespace: Vec<String>,
    /// Select only pods with matching labels. The syntax is that of kubectl: `app=web,!canary`.
    #[arg(long, value_name = "SELECTOR", value_parser = Checked(values::selector))]
    pub label_selector: Option<String>,
    /// Select only pods with matching fields. The syntax is that of kubectl: `spec.nodeName=node-1`.
    #[arg(long, value_name = "SELECTOR", value_parser = Checked(values::selector))]
    pub field_selector: Option<String>,
}

/// Which parts of a pod are registered.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Record")]
pub struct RecordSettings {
    /// Keys of the pod labels to register; `*` and `?` are wildcards. `--label-allow=` registers none, as does an
    /// empty variable.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', default_value = "*")]
    #[arg(value_parser = Checked(values::pattern))]
    pub label_allow: Vec<String>,
    /// Keys of the pod annotations to register; `*` and `?` are wildcards. Default: none.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', value_parser = Checked(values::pattern))]
    pub annotation_allow: Vec<String>,
}

/// How to reach the registries that records are written to, and how fast to write.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistrySettings {
    #[command(flatten)]
    pub connection: RegistriesSettings,
    /// How many requests to a registry may be in flight at a time. 1 to 64.
    #[arg(long, value_name = "COUNT", default_value = "4", allow_negative_numbers = true)]
    #[arg(value_parser = Checked(values::number(1..=64_usize, "use a whole number from 1 to 64")))]
    pub max_in_flight: usize,
    /// How many records may be written to a registry per second. At least 1.
    #[arg(long, value_name = "COUNT", default_value = "20000", allow_negative_numbers = true)]
    #[arg(value_parser = Checked(values::number(1..=u32::MAX, "use a whole number, at least 1")))]
    pub max_writes_per_second: u32,
}

/// The names under which records are written, and the cluster that had them before.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Identity")]
pub struct IdentitySettings {
    #[command(flatten)]
    pub names: OwnerSettings,
    /// UID of the kube-system namespace of a former cluster that this cluster replaces under the same --cluster-id. The
    /// controller takes over its records. Without this flag, the controller exits if the id belongs to a cluster with
    /// another UID.
    #[arg(long, value_name = "UID", value_parser = Checked(values::id))]
    pub replaces_cluster_uid: Option<String>,
}

/// Which of several replicas writes.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Leader election")]
pub struct ElectionSettings {
    /// Lease with which several replicas elect their leader. It must exist; it may be empty. Without it, this process
    /// always leads, so run only one.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Checked(values::lease))]
    pub lease: Option<LeaseName>,
    /// How long a leader may go without renewing its Lease before a standby takes over. 3s to 5m, in whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = Checked(values::lease_duration))]
    pub lease_duration: Duration,
    /// Name of this process among the replicas. Default: the host's name, which is the pod's name.
    #[arg(long, value_name = "NAME", value_parser = Checked(values::id))]
    pub instance: Option<String>,
}

/// How held deletions are approved.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Held deletions")]
pub struct HoldSettings {
    /// Lease whose annotation approves held deletions. Default: the Lease of --lease.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Checked(values::lease))]
    pub approval_lease: Option<LeaseName>,
    /// Ask for approval before deleting the records of existing pods that changed settings no longer select: true or
    /// false.
    #[arg(long, value_name = "BOOL", default_value = "true", action = ArgAction::Set)]
    #[arg(value_parser = Checked(values::boolean))]
    pub hold_on_scope_change: bool,
}

/// How users of the cluster learn that a pod is registered.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Receipts")]
pub struct ReceiptSettings {
    /// Tell users of the cluster that a pod is registered: `event` writes an Event about a new pod, `gate` sets the
    /// condition of the readiness gate `pod-registrar/registered`, and `annotation` writes the ids of the pod's records
    /// to it. Each needs a right. Default: none.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = Checked(values::receipt))]
    pub receipts: Vec<Option<ReceiptKind>>,
}

/// How to write the log.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogSettings {
    /// Format of the log on standard error: text or json. RUST_LOG sets the log levels (default `info`).
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = Checked(values::log_format))]
    pub log_format: LogFormat,
}

impl Command {
    pub fn log_format(&self) -> LogFormat {
        let log = match self {
            Self::Run(settings) => &settings.log,
            Self::Registry(settings) => &settings.log,
            Self::Demo(settings) => &settings.log,
            Self::Watch(settings) => &settings.log,
            Self::Approve(settings) => &settings.log,
            Self::Targets(settings) => settings.command.log(),
            Self::Plan(settings) => &settings.log,
            Self::Check(settings) => &settings.log,
            Self::Explain(settings) => &settings.log,
            Self::Status(settings) => &settings.log,
            Self::Conformance(settings) => &settings.log,
            Self::Purge(settings) => &settings.log,
            Self::Adopt(settings) => &settings.log,
        };
        log.log_format
    }

    /// Whether the lines of the log are also sent to a collector.
    pub fn exports_logs(&self) -> bool {
        matches!(self, Self::Run(settings) if settings.export.collector.sends_logs())
    }

    /// Checks combinations of flags, and fills in defaults that depend on another flag.
    pub(super) fn check(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        match self {
            Self::Run(settings) => {
                let RecordSettings { label_allow, annotation_allow } = &mut settings.record;
                [label_allow, annotation_allow].into_iter().for_each(drop_empty);
                if settings.holds.approval_lease.is_none() {
                    settings.holds.approval_lease.clone_from(&settings.election.lease);
                }
                settings.registry.connection.check(matches)?;
                settings.scope.check(matches)
            }
            Self::Watch(settings) => settings.scope.check(matches),
            Self::Plan(settings) => settings.check(matches),
            Self::Check(settings) => settings.check(matches),
            Self::Explain(settings) => settings.registries.check(matches),
            Self::Purge(settings) => settings.registry.connection.check(matches),
            Self::Adopt(settings) => {
                settings.registry.connection.check(matches)?;
                settings.scope.check(matches)
            }
            Self::Registry(_)
            | Self::Demo(_)
            | Self::Approve(_)
            | Self::Targets(_)
            | Self::Status(_)
            | Self::Conformance(_) => Ok(()),
        }
    }
}

impl ScopeSettings {
    pub(super) fn check(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let Self { namespace: only, exclude_namespace: except, label_selector: _, field_selector: _ } = self;
        for names in [&mut *only, &mut *except] {
            drop_empty(names);
            names.sort_unstable();
            names.dedup();
        }
        let namespace = origin(matches, "namespace");
        if only.len() > NAMESPACES_MAX {
            let why = format_args!(
                "{namespace}: {} namespaces are more than {NAMESPACES_MAX}; watch all namespaces, and select pods with \
                 --exclude-namespace or --label-selector",
                only.len()
            );
            return Err(refuse(ErrorKind::TooManyValues, why));
        }
        if !only.is_empty() && !except.is_empty() {
            let except = origin(matches, "exclude-namespace");
            let why = format_args!("{namespace} and {except} cannot be combined; keep one of them");
            return Err(refuse(ErrorKind::ArgumentConflict, why));
        }
        Ok(())
    }
}

/// Drops the empty items of a list, which a trailing comma makes.
fn drop_empty(list: &mut Vec<String>) {
    list.retain(|item| !item.is_empty());
}
