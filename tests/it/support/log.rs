//! The log of a test that runs in one thread.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tracing::{Dispatch, Event, Metadata, Subscriber, field, span, subscriber::DefaultGuard};

/// The log messages of the current thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Begins to keep the messages, until the guards are dropped.
    pub(crate) fn start() -> (Self, (Dispatch, DefaultGuard)) {
        let log = Self::default();
        // With a single dispatcher, tracing asks the default of the thread that first reaches a log line. Another
        // test's thread has none, so the line would stay disabled for this one.
        let second = Dispatch::new(Self::default());
        let logged = tracing::subscriber::set_default(log.clone());
        (log, (second, logged))
    }

    /// The messages that contain a text.
    pub(crate) fn count(&self, message: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(message)).count()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("pod_registrar")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl field::Visit for Text {
            fn record_debug(&mut self, field: &field::Field, value: &dyn Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
