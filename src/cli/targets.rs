//! The flags of `pod-registrar targets`, whose commands look at one target of a targets file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    files,
    flags::{ClusterSettings, LogSettings, RecordSettings},
    refusal::Checked,
    values::{self, OutputFormat},
};
use crate::model::ids::DEFAULT_OWNER;

#[derive(Clone, Debug, Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct TargetsSettings {
    #[command(subcommand)]
    pub command: TargetsCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TargetsCommand {
    /// Print a target as its preset and the file describe it, with the origin of each member.
    Show(ShowSettings),
    /// Print every request of a target without sending it. Credentials are shown as `***`.
    Render(RenderSettings),
    /// Read the registry of a target: what it holds, one record as it is read, and which guarantees hold. Changes
    /// nothing.
    Check(CheckTargetSettings),
    /// Write made-up records to the registry of a target, read them and delete them: one alone, and two in a batch if
    /// the target has one. Shows each request and its answer.
    Try(TrySettings),
}

#[derive(Clone, Debug, Args)]
pub struct ShowSettings {
    #[command(flatten)]
    pub target: TargetChoice,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct RenderSettings {
    #[command(flatten)]
    pub target: TargetChoice,
    /// Names of pods, as `NAMESPACE/NAME` or `NAME`. Default: all pods.
    #[arg(value_name = "POD", value_parser = Checked(values::pod))]
    pub pods: Vec<String>,
    /// File with Pod objects, as `kubectl get pods -o json` or `-o yaml` prints them. Default: three sample pods.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::readable))]
    pub pods_file: Option<PathBuf>,
    /// Render the cluster's pods, at most 1000.
    #[arg(long, conflicts_with = "pods_file")]
    pub from_cluster: bool,
    #[command(flatten)]
    pub record: RecordSettings,
    #[command(flatten)]
    pub owner: OwnerSettings,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct CheckTargetSettings {
    #[command(flatten)]
    pub target: TargetChoice,
    #[command(flatten)]
    pub owner: OwnerSettings,
    #[command(flatten)]
    pub cluster: ClusterSettings,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct TrySettings {
    #[command(flatten)]
    pub target: TargetChoice,
    /// Write to the registry. Without this flag, the command says what it would do and exits with code 2.
    #[arg(long)]
    pub yes: bool,
    /// Id of the cluster in the made-up record and in its owner mark. Use one that no controller has: a controller
    /// deletes records with its own mark.
    #[arg(long, value_name = "ID", default_value = "pod-registrar-try", value_parser = Checked(values::id))]
    pub as_cluster: String,
    #[command(flatten)]
    pub output: OutputSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Args)]
pub struct TargetChoice {
    /// Name of the target.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// File that describes the targets.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::readable))]
    pub targets: PathBuf,
}

/// The names under which records are written.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Identity")]
pub struct OwnerSettings {
    /// Id of the cluster in the registry. Default: the UID of the kube-system namespace.
    #[arg(long, value_name = "ID", value_parser = Checked(values::id))]
    pub cluster_id: Option<String>,
    /// Name of the cluster, for people. Default: the cluster's id.
    #[arg(long, value_name = "NAME", value_parser = Checked(values::display_name))]
    pub cluster_name: Option<String>,
    /// Name of the installation. Two installations in one cluster never change each other's records.
    #[arg(long, value_name = "ID", default_value = DEFAULT_OWNER, value_parser = Checked(values::id))]
    pub owner: String,
}

/// How to print the result.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputSettings {
    /// Format of the result on standard output: table or json.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = Checked(values::output_format))]
    pub output: OutputFormat,
}

impl TargetsCommand {
    pub(super) fn log(&self) -> &LogSettings {
        match self {
            Self::Show(settings) => &settings.log,
            Self::Render(settings) => &settings.log,
            Self::Check(settings) => &settings.log,
            Self::Try(settings) => &settings.log,
        }
    }
}
