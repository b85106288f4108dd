//! The flags of commands that change the records of one target because an operator says so.

use clap::Args;

use super::{
    flags::{ClusterSettings, ElectionSettings, LogSettings, RecordSettings, RegistrySettings, ScopeSettings},
    targets::{OutputSettings, OwnerSettings},
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
    pub election: ElectionSettings,
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
    pub election: ElectionSettings,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}
