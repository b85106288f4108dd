//! The log when the watches of many namespaces fail together.

use std::{fmt::Debug, sync::Mutex};

use tracing::{Event, Metadata, Subscriber, field, span};

use super::*;

/// The log messages of the current thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn count(&self, message: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(message)).count()
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

#[tokio::test]
async fn outage_of_many_namespaces_logs_few_lines() {
    const NAMESPACES: usize = 40;
    let log = Log::default();
    // With a single dispatcher, tracing asks the default of the thread that first reaches a log line. Another test's thread
    // has none, so the line would stay disabled for this one.
    let _second = tracing::Dispatch::new(Log::default());
    let _logged = tracing::subscriber::set_default(log.clone());
    let server = InformerHarness::server().await;
    server.inject(Fault::status(Kind::List, 503).always());
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let (common, clock, metrics) = (SharedByWatches::default(), Clock::start(), Metrics::new(Health::new(NAMESPACES)));
    let (sender, mut pod_events) = mpsc::channel(10_000);
    let (_relist, asked) = watch::channel(0);
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let rule = Arc::new(Rule { owner, labels: AllowList::default(), annotations: AllowList::default() });
    let mut tasks = tokio::task::JoinSet::new();
    for watch in 0..NAMESPACES {
        let setup = WatchSetup {
            scope: PodSelection::default(),
            rule: rule.clone(),
            relist_interval: NEVER,
            probe_after: NEVER,
            pod_events: sender.clone(),
            relist: asked.clone(),
            common: common.clone(),
            clock,
            metrics: metrics.clone(),
            health: Health::new(NAMESPACES),
        };
        tasks.spawn(Informer::new(watch, Some(&format!("ns-{watch}")), &cluster, setup).run());
    }
    until("every list has failed several times", || server.requests(Kind::List) > 160).await;
    server.clear_faults();
    let mut lists = 0;
    eventually("every list", SOON, async || {
        while let Ok(event) = pod_events.try_recv() {
            lists += usize::from(matches!(event, PodEvent::Listed { .. }));
        }
        if lists == NAMESPACES { Ok(()) } else { Err(lists.to_string()) }
    })
    .await;
    assert_eq!(log.count("request for pods failed"), 1, "{:?}", log.0);
    // The logged failure, and the last one.
    assert!((1..=2).contains(&log.count("succeed again")), "{:?}", log.0);
    assert_eq!(log.count("failing=0"), 1, "{:?}", log.0);
    assert_eq!(log.count("pods listed"), 5, "{:?}", log.0);
}
