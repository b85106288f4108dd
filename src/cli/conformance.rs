//! The flags of `pod-registrar conformance`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Url;

use super::{files, flags::LogSettings, refusal::Checked, values};

#[derive(Clone, Debug, Args)]
pub struct ConformanceSettings {
    /// Address of the registry, http or https, without the protocol's own path `/v1`.
    #[arg(value_name = "URL", value_parser = Checked(values::registry_url))]
    pub url: Url,
    /// File with a bearer token for all clusters of the registry. Without it, no token is sent.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::token))]
    pub token_file: Option<PathBuf>,
    /// File with a bearer token for another cluster only. With it, the run asks whether the registry refuses it.
    #[arg(long, value_name = "FILE", value_parser = Checked(files::token))]
    pub other_token_file: Option<PathBuf>,
    /// PEM files with the certificate authorities to trust, instead of the system's.
    #[arg(long, value_name = "FILE", value_delimiter = ',', value_parser = Checked(files::certificates))]
    pub ca_file: Vec<PathBuf>,
    /// How long one request may take. 1ms to 5m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = Checked(values::request_timeout))]
    pub request_timeout: Duration,
    /// Command that restarts the registry, such as `systemctl restart registry`. It is run with `sh -c`, for 2m at
    /// most, and ends when the old process is gone. With it, the run asks what the registry still knows afterwards.
    #[arg(long, value_name = "COMMAND", value_parser = Checked(values::command))]
    pub restart_command: Option<String>,
    /// Format of the report on standard output: text, json, or junit for XML that CI systems read.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = Checked(values::report_format))]
    pub output: values::ReportFormat,
    /// List the checks that passed, too. Used only with text.
    #[arg(long)]
    pub verbose: bool,
    #[command(flatten)]
    pub log: LogSettings,
}
