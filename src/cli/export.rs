//! The flags that send traces and log lines to a collector.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args};
use reqwest::Url;

use super::{
    files,
    refusal::Checked,
    values::{self, number},
};

/// Where traces and log lines are sent, and which ones.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Traces and logs")]
pub struct ExportSettings {
    #[command(flatten)]
    pub collector: CollectorSettings,
    /// Share of the acknowledged changes whose traces are sent, from 0 to 1. Up to 10 per second that took longer than
    /// 1s are sent besides.
    #[arg(long, value_name = "RATIO", default_value = "0.1", allow_negative_numbers = true)]
    #[arg(value_parser = Checked(number(0.0..=1.0, "use a number from 0 to 1, such as 0.1")))]
    pub trace_ratio: f64,
}

/// The collector, and whether it gets log lines.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Traces and logs")]
pub struct CollectorSettings {
    /// Address of an OpenTelemetry collector that takes OTLP over HTTP, such as http://collector:4318. `/v1/traces` and
    /// `/v1/logs` are added to it. Without it, nothing is sent.
    #[arg(long, value_name = "URL", value_parser = Checked(values::collector_url))]
    pub otlp_endpoint: Option<Url>,
    /// File with headers for the collector, one per line, such as `Authorization: Bearer TOKEN`. It is read again every
    /// minute. Needs --otlp-endpoint.
    #[arg(long, value_name = "FILE", requires = "otlp_endpoint", value_parser = Checked(files::headers))]
    pub otlp_headers_file: Option<PathBuf>,
    /// PEM file with the certificate authorities to trust for the collector, instead of the system's. It is read again
    /// every minute. Needs --otlp-endpoint.
    #[arg(long, value_name = "FILE", requires = "otlp_endpoint", value_parser = Checked(files::certificates))]
    pub otlp_ca_file: Option<PathBuf>,
    /// How long a request to the collector may take. 1ms to 5m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = Checked(values::request_timeout))]
    pub otlp_timeout: Duration,
    /// Send the lines of the log, too: true or false. They stay on standard error.
    #[arg(long, value_name = "BOOL", default_value = "false", action = ArgAction::Set)]
    #[arg(value_parser = Checked(values::boolean))]
    pub export_logs: bool,
}

impl CollectorSettings {
    /// Whether the lines of the log are sent.
    pub fn sends_logs(&self) -> bool {
        self.export_logs && self.otlp_endpoint.is_some()
    }
}
