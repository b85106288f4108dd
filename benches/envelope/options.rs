//! What can be asked of the bench.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{clients, stand_in};

/// Measures pod-registrar from outside: memory, first sync, delays, lossless churn, restarts, repairs and footprint,
/// beside what it is compared with. `cargo bench --bench envelope -- --pods 10000`
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
    /// A stand-in for the API server.
    #[command(hide = true)]
    StandIn(stand_in::Options),
    /// Reads every page and throws it away.
    #[command(hide = true)]
    ReadOnly {
        /// The API server's address.
        api: String,
    },
    /// A controller made of kube's reflector.
    #[command(hide = true)]
    Reflector(clients::Options),
    /// Kills what is left when the bench is gone.
    #[command(hide = true)]
    Reaper,
}

/// Groups of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rows {
    /// Binary, idle memory, start to live.
    Footprint,
    /// First sync, steady and peak memory, a list anew.
    Memory,
    /// Delays and processor time at the rate of --rate.
    Latency,
    /// Faster and faster until the delay is more than a second.
    Ramp,
    /// A restart with nothing changed.
    Restart,
    /// Comparisons that find differences.
    Repair,
}

/// What is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many pods there are.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) pods: u32,
    /// The size of each in kB. By default 3, 5 and 10, as 2 : 5 : 3.
    #[arg(long)]
    pub(crate) pod_kb: Option<u32>,
    /// What they are made from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Which figures; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) rows: Vec<Rows>,
    /// Pods replaced a second when delays are measured; each is three events.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) rate: u64,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// The rates that are tried then, for ten seconds each.
    #[arg(long, value_delimiter = ',', default_values_t = [2_000, 4_000, 6_000])]
    pub(crate) ramp: Vec<u64>,
    /// How often the controller compares, where repairs are measured, in seconds.
    #[arg(long)]
    pub(crate) resync_seconds: Option<u64>,
    /// Instead of the reference registry one that takes everything at once and keeps nothing, so that none is the limit.
    /// Without restarts and repairs, as it would have to remember.
    #[arg(long, conflicts_with = "real")]
    pub(crate) taker: bool,
    /// Measures pod-registrar alone.
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Leaves the others out above so many pods: they need gigabytes.
    #[arg(long, default_value_t = 150_000)]
    pub(crate) peers_up_to: u32,
    /// Memory, sync and processor time at 1,000, 10,000 and 100,000 pods, with the line through them.
    #[arg(long)]
    pub(crate) growth: bool,
    /// The largest size for --growth.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) growth_to: u32,
    /// The pods of a real control plane instead of the stand-in's.
    #[arg(long, value_name = "KUBECONFIG")]
    pub(crate) real: Option<PathBuf>,
    /// Another executable of pod-registrar.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_pod-registrar"))]
    pub(crate) binary: PathBuf,
    /// Flags for `pod-registrar run` besides the bench's own.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) flag: Vec<String>,
    /// Writes all figures to a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws charts into a folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) charts: Option<PathBuf>,
    /// Keeps the processes' logs in a folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) logs: Option<PathBuf>,
    /// What cargo says to a bench.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Options {
    /// Whether a group of figures is wanted, and to be had.
    pub(crate) fn wants(&self, rows: Rows) -> bool {
        let keeps = !self.taker || !matches!(rows, Rows::Restart | Rows::Repair);
        keeps && (self.rows.is_empty() || self.rows.contains(&rows))
    }
}
