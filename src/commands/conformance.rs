//! `pod-registrar conformance`: asks a registry whether it follows protocol v1, and prints the report.

use tokio_util::sync::CancellationToken;

use super::{DONE, Error, FAILED, REFUSED, report};
use crate::{
    cli::{
        conformance::ConformanceSettings,
        values::{OutputFormat, ReportFormat},
    },
    conformance::{
        http::Access,
        report::junit,
        rule::Level,
        run::{self, Conformance, Ending},
    },
};

/// Returns the exit code: 1 if a must is broken or the run did not end, 2 if the registry never answered or refuses the
/// token.
pub(super) async fn run(settings: ConformanceSettings, stop: CancellationToken) -> Result<u8, Error> {
    let ConformanceSettings {
        url,
        token_file,
        other_token_file,
        ca_file: ca_files,
        request_timeout,
        restart_command,
        output,
        verbose,
        log: _,
    } = settings;
    let cluster = format!("conformance-{:08x}", fastrand::u32(..));
    tracing::info!(cluster, "the run writes under a cluster id of its own");
    let access = Access { url, token_file, other_token_file, ca_files, request_timeout };
    let Conformance { report, ending } = run::run(access, cluster, restart_command.as_deref(), &stop).await?;
    match output {
        ReportFormat::Junit => report::print_lines(&[junit::xml(&report)]).await?,
        ReportFormat::Text => report::print(OutputFormat::Table, || report.lines(verbose), || report.json()).await?,
        ReportFormat::Json => report::print(OutputFormat::Json, Vec::new, || report.json()).await?,
    }
    let is_broken = report.broken(Level::Must).next().is_some();
    Ok(match ending {
        Ending::Unreachable => REFUSED,
        Ending::Complete if !is_broken => DONE,
        Ending::Complete | Ending::Cut | Ending::Interrupted => FAILED,
    })
}
