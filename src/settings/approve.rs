//! The settings of `approve`.

use super::{ClusterSettings, LeaseName, Refusal, Sources, flags, run::log_format, values};
use crate::{model::brake::HoldId, telemetry::LogFormat};

/// Everything that `approve` needs to know.
#[derive(Clone, Debug)]
pub struct ApproveSettings {
    /// What is approved.
    pub hold: HoldId,
    /// Where it is said.
    pub lease: LeaseName,
    /// How the API server is reached.
    pub cluster: ClusterSettings,
    /// How logs are written.
    pub log_format: LogFormat,
}

impl ApproveSettings {
    pub(super) fn read(flags: flags::Approve, sources: &Sources) -> Result<Self, Refusal> {
        let flags::Approve { hold, approval_lease, cluster, log } = flags;
        Ok(Self {
            hold: Sources::read_positional("HOLD", &hold, values::hold)?,
            lease: sources.read("approval_lease", &approval_lease, values::lease)?,
            cluster: ClusterSettings::read(cluster, sources)?,
            log_format: log_format(log, sources)?,
        })
    }
}
