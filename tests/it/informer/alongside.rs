//! Lists that arrive page by page while a watch is open: neither undoes what the other has shown.

use std::time::Instant;

use super::*;

/// A server with this many more pods, and an informer that has listed them. Lists take several pages.
async fn large(pods: usize) -> InformerHarness {
    let server = InformerHarness::server().await;
    for number in 0..pods {
        server.create(pod(format!("many-{number:04}")).namespace("shop").running()).unwrap();
    }
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    world
}

/// Requests a new list whose second page hangs, and waits until that page is requested.
async fn hang_second_page(world: &mut InformerHarness) {
    world.server.inject(Fault::hang(Kind::List).when(Request::is_continued));
    world.relist.send_modify(|asked| *asked += 1);
    until("the second page is requested", || world.server.pending_faults() == 0).await;
}

#[tokio::test]
async fn events_arrive_while_a_list_hangs() {
    let mut world = large(600).await;
    hang_second_page(&mut world).await;
    world.read_events();
    let (lists, begun) = (world.lists(), Instant::now());
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.server.delete("shop", "a").unwrap();
    world.reported("the new pod", |s| matches!(s, PodEvent::Applied { name, .. } if &**name == "d")).await;
    world.reported("the end", |s| matches!(s, PodEvent::Deletion { .. })).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    world.equal().await;
    assert_eq!(world.lists(), lists, "the list is not complete yet");
}

/// The list differs from later events about its pods: the events are newer.
#[tokio::test]
async fn list_undoes_no_newer_event() {
    let mut world = large(600).await;
    // The second page arrives late; until then, events change pods of both pages.
    world.server.inject(Fault::delay(Kind::List, Duration::from_millis(1_500)).when(Request::is_continued));
    let before = world.lists();
    world.relist.send_modify(|asked| *asked += 1);
    until("the second page is requested", || world.server.pending_faults() == 0).await;
    for name in ["a", "many-0000", "many-0599"] {
        world.server.delete("shop", name).unwrap();
    }
    for name in ["many-0001", "many-0598"] {
        world.server.update("shop", name, |pod| pod["metadata"]["labels"]["app"] = "new".into()).unwrap();
    }
    world.server.replace_in_place(pod("many-0597").namespace("shop").running()).unwrap();
    world.server.create(pod("d").namespace("shop").running()).unwrap();
    world.equal().await;
    world.read_events();
    assert_eq!(world.lists(), before, "all events arrive before the list is complete");
    let digest = |world: &InformerHarness, name: &str| {
        let uid = world.server.pod("shop", name).unwrap()["metadata"]["uid"].as_str().unwrap().into();
        world.view.get(&uid).unwrap().content.unwrap().digest
    };
    let right = ["many-0001", "many-0598", "many-0597"].map(|name| digest(&world, name));
    world.reported("the list", |s| matches!(s, PodEvent::Listed { list, .. } if list.pods == 603)).await;
    eventually("the list", SOON, async || {
        world.read_events();
        if world.lists() == before + 1 { Ok(()) } else { Err(format!("{}", world.lists())) }
    })
    .await;
    world.equal().await;
    assert_eq!(["many-0001", "many-0598", "many-0597"].map(|name| digest(&world, name)), right);
    // The watch that follows the list repeats no event, and misses none.
    world.server.delete("shop", "b").unwrap();
    world.equal().await;
    assert_eq!(world.deletions().len(), 5, "{:?}", world.deletions());
    assert!(world.count("relists_total{reason=\"stale\"} 0"));
}

#[tokio::test]
async fn pods_are_shown_with_their_page() {
    let server = InformerHarness::server().await;
    for number in 0..600 {
        server.create(pod(format!("many-{number:04}")).namespace("shop").running()).unwrap();
    }
    server.inject(Fault::hang(Kind::List).when(Request::is_continued));
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.reported("the first page", |s| matches!(s, PodEvent::Page { uids, .. } if uids.len() == 500)).await;
    assert_eq!((world.lists(), world.view.len()), (0, 500));
}

/// A list of 40 pages, with one in twelve requests refused, is one list and not one per refusal.
#[tokio::test]
async fn refused_pages_do_not_begin_the_list_again() {
    let server = InformerHarness::server().await;
    for number in 0..2_000 {
        server.create(pod(format!("many-{number:04}")).namespace("shop").running()).unwrap();
    }
    for at in [1, 2, 3] {
        server.inject(Fault::status(Kind::List, 503).skip(at));
    }
    let cluster = ClusterConnection::at(&server.url()).unwrap();
    let mut world = InformerHarness::watching(server, &cluster, PodSelection::default(), (NEVER, NEVER));
    world.equal().await;
    let first = world.server.seen().iter().filter(|r| r.kind == Kind::List && !r.is_continued()).count();
    assert_eq!((first, world.errors()), (1, 3));
    assert!(!world.events.iter().any(|event| matches!(event, PodEvent::ListFailed { .. })), "passing faults");
}

#[tokio::test]
async fn refused_list_is_reported_and_retried() {
    let mut world = InformerHarness::start([Fault::status(Kind::List, 403).times(2)], PodSelection::default()).await;
    world.reported("the refusal", |s| *s == PodEvent::ListFailed { watch: 0 }).await;
    world.equal().await;
    assert_eq!((world.lists(), world.errors()), (1, 2));
}

#[tokio::test]
async fn every_kind_of_watch_end_backs_off() {
    // Each failure is counted.
    let bookmark =
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"VERSION"}}}"#;
    let server = InformerHarness::server().await;
    let version = server.pod("shop", "c").unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let bookmark = bookmark.replace("VERSION", &version);
    drop(server);
    let faults = [
        Fault::end(0),
        Fault::line(0, format!("{bookmark}\n{{\"type\":")),
        Fault::line(0, "<html>"),
        Fault::status(Kind::Watch, 503),
        Fault::status(Kind::Watch, 400),
        Fault::html(Kind::Watch),
        Fault::error_event(0, pod_registrar::demo::api::status::StatusError::new(500, "etcd is away")),
        Fault::line(
            0,
            format!(r#"{{"type":"DELETED","object":{{"metadata":{{"uid":"../x","resourceVersion":"{version}"}}}}}}"#),
        ),
    ];
    for fault in faults {
        let what = format!("{fault:?}");
        let mut world = InformerHarness::listed([]).await;
        until("the watch is open", || world.server.open_watches() == 1).await;
        world.server.inject(fault.always());
        let before = (world.server.requests(Kind::Watch), world.server.requests(Kind::List));
        let begun = Instant::now();
        world.server.drop_watches();
        until("the third watch", || world.server.requests(Kind::Watch) >= before.0 + 3).await;
        // Delays of at least 0.1, 0.2 and 0.4 s precede these watches.
        assert!(begun.elapsed() >= Duration::from_millis(700), "{what}: {:?}", begun.elapsed());
        // At most one list follows the end of each watch.
        let lists = world.server.requests(Kind::List) - before.1;
        assert!(lists <= 4, "{what}: {lists} lists");
        assert!(world.errors() >= 2, "{what}: {} errors", world.errors());
        world.server.clear_faults();
        world.server.delete("shop", "a").unwrap();
        world.equal().await;
    }
}
