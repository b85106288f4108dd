//! The collector of the settings.

use crate::{cli::export::CollectorSettings, otlp::connection::Collector};

/// None without an address.
pub(super) fn collector(settings: CollectorSettings) -> Option<Collector> {
    let CollectorSettings { otlp_endpoint, otlp_headers_file, otlp_ca_file, otlp_timeout, export_logs: _ } = settings;
    otlp_endpoint.map(|endpoint| Collector {
        endpoint,
        headers_file: otlp_headers_file,
        ca_file: otlp_ca_file,
        timeout: otlp_timeout,
    })
}
