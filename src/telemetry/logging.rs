//! Sets up the log on standard error, as text for people or as JSON for log collectors.

use std::env;

use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{log_export::LogExport, stderr::Stderr};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line per event, for people.
    #[default]
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// The environment variable with the filter: levels, for all targets or by target.
pub const FILTER_VARIABLE: &str = "RUST_LOG";

const DEFAULT_FILTER: &str = "info";

/// The Kubernetes client logs the whole body of a list that it cannot decode, secrets of pod specs included, and every
/// failed attempt at ERROR. This program logs both itself, bounded, so these targets are off unless the filter names
/// them.
const QUIET_TARGETS: &str = "kube_client=off,kube_runtime=off";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{FILTER_VARIABLE} is not a log filter ({0}); use a level such as `debug`, or `info,pod_registrar=debug`")]
    Filter(#[from] ParseError),
    #[error("{FILTER_VARIABLE} is not valid UTF-8; use a level such as `debug`, or unset it")]
    NotText,
    /// A defect, or a test that runs the program in its own process.
    #[error("logging was set up twice: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the whole process, on standard error and with `export`. Call it once, before anything is logged.
///
/// # Errors
/// If the environment has no valid filter, or logging is set up already.
pub fn init(format: LogFormat, stderr: Stderr, export: Option<LogExport>) -> Result<(), Error> {
    let filter = match env::var(FILTER_VARIABLE) {
        Ok(text) => filter(&text)?,
        Err(env::VarError::NotPresent) => filter("")?,
        Err(env::VarError::NotUnicode(_)) => return Err(Error::NotText),
    };
    let export = export.map(|export| export.with_filter(filter.clone()));
    let stderr = layer(format, move || stderr.clone()).with_filter(filter);
    tracing_subscriber::registry().with(stderr).with(export).try_init()?;
    Ok(())
}

/// Later directives of a target win over earlier ones, so the operator's filter wins over these defaults.
fn filter(text: &str) -> Result<Targets, ParseError> {
    let text = if text.trim().is_empty() { DEFAULT_FILTER } else { text };
    format!("{QUIET_TARGETS},{text}").parse()
}

fn layer<W>(format: LogFormat, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        // Without colours: log collectors would store the escape codes.
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter_text: &str, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = layer(format, move || writer.clone()).with_filter(filter(filter_text).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let text = logged(LogFormat::Json, "", || tracing::info!(pods = 3, "listed"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["message"], &line["pods"], &line["level"]), (&"listed".into(), &3.into(), &"INFO".into()));
    }

    #[test]
    fn text_has_no_escape_codes() {
        let text = logged(LogFormat::Text, "", || tracing::warn!(pods = 3, "listed"));
        assert!(text.contains("listed") && text.contains("pods=3") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn kubernetes_client_logs_only_when_named() {
        let act = || tracing::error!(target: "kube_client::client", "a whole list");
        assert_eq!(logged(LogFormat::Text, "", act), "");
        assert_eq!(logged(LogFormat::Text, "trace", act), "");
        assert!(logged(LogFormat::Text, "info,kube_client=error", act).contains("a whole list"));
    }

    #[test]
    fn info_is_the_default_level() {
        assert_eq!(logged(LogFormat::Text, "", || tracing::debug!("hidden")), "");
        assert!(logged(LogFormat::Text, "debug", || tracing::debug!("shown")).contains("shown"));
    }

    #[test]
    fn invalid_filter_is_refused() {
        assert!(filter("pod_registrar=loud").is_err());
    }
}
