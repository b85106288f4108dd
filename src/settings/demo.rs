//! The settings of `demo`.

use std::{net::SocketAddr, time::Duration};

use super::{ClusterSettings, Refusal, Sources, flags, run::log_format, values};
use crate::telemetry::LogFormat;

/// Everything that `demo` needs to know.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// How many pods live at a time; up to 100,000.
    pub pods: usize,
    /// How many pods are replaced a second; 0 to 1,000.
    pub churn: f64,
    /// When to stop; `None`: when interrupted.
    pub duration: Option<Duration>,
    /// Where the registry and its page are served.
    pub listen: SocketAddr,
    /// Makes the run repeatable; `None`: another run every time.
    pub seed: Option<u64>,
    /// The cluster to use instead of the stand-in.
    pub cluster: ClusterSettings,
    /// How logs are written.
    pub log_format: LogFormat,
}

impl DemoSettings {
    pub(super) fn read(flags: flags::Demo, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Demo { pods, churn, duration, listen, seed, cluster, log } = flags;
        let count = values::number(0..=100_000, "give a whole number up to 100000");
        let rate = values::number(0.0..=1000.0, "give a number from 0 to 1000, such as 0.5");
        let any = values::number(0..=u64::MAX, "give a whole number");
        Ok(Self {
            pods: sources.read("pods", &pods, count)?,
            churn: sources.read("churn", &churn, rate)?,
            duration: sources.read_optional("duration", duration, values::interval)?,
            listen: sources.read("listen", &listen, values::address)?,
            seed: sources.read_optional("seed", seed, any)?,
            cluster: ClusterSettings::read(cluster, sources)?,
            log_format: log_format(log, sources)?,
        })
    }
}
