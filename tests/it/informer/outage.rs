//! The log when the watches of many namespaces fail together.

use super::*;
use crate::support::Log;

#[tokio::test]
async fn outage_of_many_namespaces_logs_few_lines() {
    const NAMESPACES: usize = 40;
    let (log, _logged) = Log::start();
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
            receipts: None,
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
    assert_eq!(log.count("request for pods failed"), 1, "{:?}", log.lines());
    // The logged failure, and the last one.
    assert!((1..=2).contains(&log.count("succeed again")), "{:?}", log.lines());
    assert_eq!(log.count("failing=0"), 1, "{:?}", log.lines());
    assert_eq!(log.count("pods listed"), 5, "{:?}", log.lines());
}
