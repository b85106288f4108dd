//! Logs to standard error, as text for people or as JSON for collectors.

use std::env;

use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::stderr::Stderr;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line an event, for people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// The environment variable that the filter is read from: levels, by target or for all.
pub const FILTER_VARIABLE: &str = "RUST_LOG";

/// What is logged where the environment says nothing.
const DEFAULT_FILTER: &str = "info";

/// The Kubernetes client logs a list that it cannot decode as a whole (megabytes, with whatever the pods' specs hold), and
/// every failed attempt at ERROR. We report both ourselves, once and bounded, so its own lines stay off
/// unless the filter asks for these targets by name.
const QUIET_TARGETS: &str = "kube_client=off,kube_runtime=off";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment variable is set, but not to a filter.
    #[error("{FILTER_VARIABLE} is not a log filter ({0}); use a level such as `debug`, or `info,pod_registrar=debug`")]
    Filter(#[from] ParseError),
    /// The environment variable is set, but not to text.
    #[error("{FILTER_VARIABLE} is not valid UTF-8; use a level such as `debug`, or leave it out")]
    NotText,
    /// The process has a subscriber already.
    #[error("logging was set up twice: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging to standard error for the whole process. To be called once, before anything is logged.
///
/// # Errors
/// Where the filter in the environment cannot be read, or logging is set up already.
pub fn init(format: LogFormat, stderr: Stderr) -> Result<(), Error> {
    let filter = match env::var(FILTER_VARIABLE) {
        Ok(text) => filter(&text)?,
        Err(env::VarError::NotPresent) => filter("")?,
        Err(env::VarError::NotUnicode(_)) => return Err(Error::NotText),
    };
    tracing_subscriber::registry().with(layer(format, move || stderr.clone()).with_filter(filter)).try_init()?;
    Ok(())
}

/// Later directives win over earlier ones of the same target, so what the operator wrote wins over our defaults.
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
        // Escape codes would end in the files of log collectors; a terminal that shows them is the rarer reader.
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
