//! The command line of the bench.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{clients, described::Form, stand_in};

/// Measures pod-registrar as a process: executable, memory, first sync, latency, restart and repair, beside its peers.
///
/// Example: cargo bench --bench envelope -- --pods 10000
#[derive(Debug, Parser)]
#[command(name = "envelope")]
pub(crate) struct Program {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// The other processes of the bench.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    #[command(hide = true)]
    StandIn(stand_in::Options),
    #[command(hide = true)]
    ReadOnly { api: String },
    #[command(hide = true)]
    Reflector(clients::Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rows {
    /// Size of the executable, memory without pods, time to the first answer of /livez.
    Footprint,
    /// Memory after the first sync, peak memory, a re-list.
    Memory,
    /// Delay from a change to its request, and processor time per event, at the rate of --rate.
    Latency,
    /// A restart without changes.
    Restart,
    /// Resyncs that find differences; for a described target, a full reconcile without differences.
    Repair,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Number of pods.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) pods: u32,
    /// Size of each pod in kB. [default: a mix of 3, 5 and 10 as 2:5:3]
    #[arg(long)]
    pub(crate) pod_kb: Option<u32>,
    /// Seed of the pods.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Groups of figures, separated by commas. [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) rows: Vec<Rows>,
    /// Pods replaced per second in the latency rows. Each is three events.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) rate: u64,
    /// Duration of the latency rows in seconds.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// --resync-interval in the repair rows, in seconds. [default: 10, and 1 more per 25,000 pods]
    #[arg(long)]
    pub(crate) resync_seconds: Option<u64>,
    /// Replaces the reference registry with one that accepts everything and keeps nothing. Skips restart and repair.
    #[arg(long)]
    pub(crate) sink: bool,
    /// Measures targets that a file describes, too: forms, separated by commas. Use it with --sink, because memory is
    /// compared.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMS")]
    pub(crate) described: Vec<Form>,
    /// Measures pod-registrar alone.
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Number of pods above which peers are skipped, because they need gigabytes of memory.
    #[arg(long, default_value_t = 150_000)]
    pub(crate) peers_up_to: u32,
    /// Measures with the pods of a real control plane. Creates and deletes pods in the namespace envelope-bench.
    #[arg(long, value_name = "KUBECONFIG")]
    pub(crate) real: Option<PathBuf>,
    /// Executable of pod-registrar. [default: the one of this build]
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_pod-registrar"), hide_default_value = true)]
    pub(crate) binary: PathBuf,
    /// Adds a flag to `pod-registrar run`. Repeatable.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) flag: Vec<String>,
    /// Writes all figures to a file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keeps the logs of all processes in a folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) logs: Option<PathBuf>,
    /// Passed by cargo to every bench.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Options {
    /// Whether a group is measured. A sink keeps nothing to restart with or to repair.
    pub(crate) fn wants(&self, rows: Rows) -> bool {
        let is_possible = !self.sink || !matches!(rows, Rows::Restart | Rows::Repair);
        is_possible && self.names(rows)
    }

    /// The same for a target that a file describes: its registry keeps the records.
    pub(crate) fn names(&self, rows: Rows) -> bool {
        self.rows.is_empty() || self.rows.contains(&rows)
    }
}
