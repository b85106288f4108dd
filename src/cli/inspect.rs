//! The flags of commands that compare a cluster with its registries and change neither.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgMatches, Args, error::ErrorKind};
use reqwest::Url;

use super::{
    export::CollectorSettings,
    files,
    flags::{ClusterSettings, LogSettings, ReceiptSettings, RecordSettings, ScopeSettings},
    refusal::{Checked, origin, refuse},
    targets::{OutputSettings, OwnerSettings},
    values::{self, LeaseName, PodReference},
};

#[derive(Clone, Debug, Args)]
pub struct PlanSettings {
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub scope: ScopeSettings,
    #[command(flatten)]
    pub record: RecordSettings,
    #[command(flatten)]
    pub registries: RegistriesSettings,
    #[command(flatten)]
    pub owner: OwnerSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct CheckSettings {
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub scope: ScopeSettings,
    #[command(flatten)]
    pub registries: RegistriesSettings,
    #[command(flatten)]
    pub owner: OwnerSettings,
    /// Lease with which several replicas elect their leader.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Checked(values::lease))]
    #[arg(help_heading = "Leader election")]
    pub lease: Option<LeaseName>,
    /// Lease whose annotation approves held deletions. Default: the Lease of --lease.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Checked(values::lease))]
    #[arg(help_heading = "Held deletions")]
    pub approval_lease: Option<LeaseName>,
    #[command(flatten)]
    pub receipts: ReceiptSettings,
    #[command(flatten)]
    pub collector: CollectorSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct ExplainSettings {
    /// The pod.
    #[arg(value_name = "NAMESPACE/POD", value_parser = Checked(values::pod_reference))]
    pub pod: PodReference,
    /// Address of the running controller's --admin-addr, such as http://127.0.0.1:8080. It reports the state of the
    /// pod's records, what the registry last answered, and what happens next, also for a pod that was deleted lately.
    #[arg(long, value_name = "URL", value_parser = Checked(values::admin_url))]
    pub admin: Option<Url>,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub record: RecordSettings,
    #[command(flatten)]
    pub registries: RegistriesSettings,
    #[command(flatten)]
    pub owner: OwnerSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct StatusSettings {
    /// Address of the running controller, such as http://127.0.0.1:8080. Default: the port of --admin-addr on this
    /// machine.
    #[arg(value_name = "URL", value_parser = Checked(values::admin_url))]
    pub url: Option<Url>,
    /// The --admin-addr of a controller on this machine, for use without a URL.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080", value_parser = Checked(values::address))]
    pub admin_addr: SocketAddr,
    /// Show the state again every second, until a signal.
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// How to reach the registries.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistriesSettings {
    /// Address of the registry, http or https, without the protocol's own path `/v1`. Required without --targets.
    #[arg(long, value_name = "URL", required_unless_present = "targets", value_parser = Checked(values::registry_url))]
    pub registry_url: Option<Url>,
    /// File that describes the registries, instead of --registry-url, --registry-token-file and --registry-ca-file. It
    /// is read at the start. The other flags below are the defaults for its targets.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::readable))]
    pub targets: Option<PathBuf>,
    /// File with the bearer token for the registry. `run` reads it again every 30s, and when the registry rejects the
    /// token.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::token))]
    pub registry_token_file: Option<PathBuf>,
    /// PEM file with the certificate authorities to trust for the registry, instead of the system's. `run` reads it
    /// again every 30s, and when a connection fails.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::certificates))]
    pub registry_ca_file: Option<PathBuf>,
    /// How long one request to a registry may take. 1ms to 5m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = Checked(values::request_timeout))]
    pub request_timeout: Duration,
}

impl RegistriesSettings {
    /// The targets file says everything about its registries, so that the flags of a single registry are refused beside
    /// it.
    pub(super) fn check(&self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let Self { registry_url, targets, registry_token_file, registry_ca_file, request_timeout: _ } = self;
        let of_one = [
            ("registry-url", registry_url.is_some()),
            ("registry-token-file", registry_token_file.is_some()),
            ("registry-ca-file", registry_ca_file.is_some()),
        ];
        let other = of_one.iter().find(|(_, is_set)| *is_set && targets.is_some());
        let Some((other, _)) = other else { return Ok(()) };
        let (targets, other) = (origin(matches, "targets"), origin(matches, other));
        let why = format_args!("{targets} and {other} cannot be combined; write the registry into the file");
        Err(refuse(ErrorKind::ArgumentConflict, why))
    }
}

impl CheckSettings {
    pub(super) fn check(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.registries.check(matches)?;
        self.scope.check(matches)
    }
}

impl PlanSettings {
    pub(super) fn check(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.registries.check(matches)?;
        self.scope.check(matches)
    }
}
