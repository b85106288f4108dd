//! The flags of commands that change the records of one target because an operator says so.

use std::time::Duration;

use clap::Args;

use super::{
    flags::{ClusterSettings, LogSettings, RecordSettings, RegistrySettings, ScopeSettings},
    refusal::Checked,
    targets::{OutputSettings, OwnerSettings},
    values::{self, LeaseName},
};

#[derive(Clone, Debug, Args)]
pub struct PurgeSettings {
    /// Name of the target in the targets file. Not needed if there is only one.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Delete the records without asking.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub registry: RegistrySettings,
    #[command(flatten)]
    pub owner: OwnerSettings,
    #[command(flatten)]
    pub election: OrderElectionSettings,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct AdoptSettings {
    /// Name of the target in the targets file. Not needed if there is only one.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Owner mark of the records to take over. Default: only records without an owner mark are taken over.
    #[arg(long, value_name = "MARK")]
    pub from: Option<String>,
    /// Adopt the records without asking.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub registry: RegistrySettings,
    #[command(flatten)]
    pub owner: OwnerSettings,
    #[command(flatten)]
    pub scope: ScopeSettings,
    #[command(flatten)]
    pub record: RecordSettings,
    #[command(flatten)]
    pub election: OrderElectionSettings,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// How a command makes sure that no controller writes beside it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Leader election")]
pub struct OrderElectionSettings {
    /// Lease of the controller. The command holds it while it writes, and refuses to run while a controller leads.
    /// Without it, nothing keeps a controller from writing at the same time, so stop the controller yourself.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Checked(values::lease))]
    pub lease: Option<LeaseName>,
    /// How long the Lease stays taken if this command dies: the --lease-duration of the controller. The command waits
    /// that long and 5s more for a Lease that is taken. 3s to 5m, in whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = Checked(values::lease_duration))]
    pub lease_duration: Duration,
    /// Name of this process in the Lease, and in its session with the registry. Default: the host's name.
    #[arg(long, value_name = "NAME", value_parser = Checked(values::id))]
    pub instance: Option<String>,
}
