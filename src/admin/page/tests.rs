//! The page: what it shows, in which order, that texts of others stay texts, and its bounds.

use super::*;
use crate::admin::status::{
    ShownBacklog, ShownChange, ShownCluster, ShownFailedRender, ShownFailedRenders, ShownHold, ShownLeader,
    ShownRecord, ShownRefusedRecord, ShownState, ShownTarget, ShownWork,
};

const HOSTILE: &str = "</main><script>alert(1)</script>\"'&";

fn equal(name: &str) -> ShownTarget {
    let mut state = ShownState { in_sync: true, ..ShownState::default() };
    state.session.state = "open".to_owned();
    state.records.insert("registered".to_owned(), 1_200);
    ShownTarget {
        name: name.to_owned(),
        kind: "v1".to_owned(),
        compared_seconds_ago: Some(300.0),
        state,
        ..ShownTarget::default()
    }
}

fn status(targets: Vec<ShownTarget>) -> StatusDocument {
    StatusDocument {
        version: "0.1.0".to_owned(),
        time: "2026-11-30T12:00:00Z".to_owned(),
        instance: "pod-registrar-1:a-1".to_owned(),
        cluster: Some(ShownCluster { id: "3eb7".to_owned(), name: "prod-eu".to_owned() }),
        leader: Some(ShownLeader { lease: "a/b".to_owned(), holder: "pod-registrar-1:a-1".to_owned() }),
        watch_silence_seconds: vec![0.3],
        targets,
        ..StatusDocument::default()
    }
}

fn record(pod: &str) -> ShownRecord {
    ShownRecord { id: format!("id-{pod}"), kind: None, uid: None, pod: Some(pod.to_owned()) }
}

/// A target with as much of everything as the status can have.
fn full(name: &str, text: &str) -> ShownTarget {
    let mut target = equal(name);
    target.outage = Some(text.to_owned());
    target.stopped = Some(text.to_owned());
    target.backlog = ShownBacklog { in_flight: 1_000, retrying: 2, deletions: 3, changed: 4, missing: 5, differing: 6 };
    let parked = ShownRefusedRecord { record: record(text), cause: Some(text.to_owned()), seconds_ago: Some(60.0) };
    target.parked = vec![parked; 10];
    target.changes = vec![ShownChange { change: text.to_owned(), record: record(text), seconds_ago: 5.0 }; 20];
    let kinds = ["resync", "fullReconcile", "writes"].map(str::to_owned);
    target.work = kinds.map(|what| ShownWork { what, done: 1, total: Some(2), ..ShownWork::default() }).into();
    target.state.records.insert("parked".to_owned(), 1_010);
    let failed = ShownFailedRender { uid: text.to_owned(), pod: text.to_owned(), cause: text.to_owned() };
    target.state.failed_renders = ShownFailedRenders { count: 100, pods: vec![failed; 5] };
    let hold = ShownHold {
        id: "0123456789ab".to_owned(),
        target: name.to_owned(),
        deletions: 12,
        because: text.to_owned(),
        records: vec![record(text); 5],
        approve: Some(format!("pod-registrar approve 0123456789ab --approval-lease {text}")),
    };
    target.state.holds = vec![hold; 12];
    target
}

fn page(status: &StatusDocument) -> String {
    render(status).unwrap()
}

/// The headings, in order.
fn sections(page: &str) -> Vec<&str> {
    page.split("<h2>").skip(1).filter_map(|part| part.split('<').next()).collect()
}

#[test]
fn equal_registry_is_said_in_one_sentence() {
    let page = page(&status(vec![equal("default")]));
    assert!(page.contains("class=\"good\" role=\"status\">The registry is equal to the cluster.</p>"), "{page}");
    assert_eq!(sections(&page), ["Registries", "This process"]);
    assert!(page.contains("<title>prod-eu – pod-registrar</title>") && page.contains("1,200"), "{page}");
    let compared =
        "<time datetime=\"2026-11-30T11:55:00Z\" title=\"2026-11-30T11:55:00Z\">5 min ago <small>11:55:00 UTC";
    assert!(page.contains(compared), "{page}");
}

#[test]
fn page_without_targets_is_whole() {
    let page = page(&StatusDocument::default());
    assert!(page.contains("No registry is set.") && page.ends_with("</html>\n"), "{page}");
    assert_eq!(sections(&page), ["This process"]);
}

#[test]
fn wrong_things_come_first() {
    let page = page(&status(vec![equal("a"), full("b", "no route")]));
    let expected = [
        "Needs attention",
        "Held deletions",
        "Rejected records",
        "Records that cannot be made",
        "Under way",
        "Registries",
        "Recent changes",
        "This process",
    ];
    assert_eq!(sections(&page), expected);
    assert!(page.contains("<strong>b: </strong>Requests to the registry fail: no route</li>"), "{page}");
    let [wrong, good] = ["<th scope=\"row\">b ", "<th scope=\"row\">a "].map(|row| page.find(row).unwrap());
    assert!(wrong < good, "{page}");
}

#[test]
fn hold_shows_the_command_that_approves() {
    let page = page(&status(vec![full("a", "ns/lease")]));
    let command = "<pre><code>pod-registrar approve 0123456789ab --approval-lease ns&#x2f;lease</code></pre>";
    assert!(page.contains(command) && page.contains("12 deletions"), "{page}");
    assert!(page.contains("2 more holds of a"), "{page}");
}

#[test]
fn texts_of_others_stay_texts() {
    let mut status = status(vec![full(HOSTILE, HOSTILE), full("b", HOSTILE)]);
    (status.instance, status.owner) = (HOSTILE.to_owned(), Some(HOSTILE.to_owned()));
    status.cluster = Some(ShownCluster { id: HOSTILE.to_owned(), name: HOSTILE.to_owned() });
    status.leader = Some(ShownLeader { lease: HOSTILE.to_owned(), holder: HOSTILE.to_owned() });
    let page = page(&status);
    assert_eq!((page.matches("<script").count(), page.matches("</main>").count()), (1, 1), "{page}");
    assert!(!page.contains("\"'&") && page.contains("&lt;script&gt;"), "{page}");
}

#[test]
fn page_has_a_bounded_size() {
    // 20 targets with everything, and a million more rejected records.
    let mut targets: Vec<ShownTarget> =
        (0..20).map(|number| full(&format!("registry-{number}"), &"w".repeat(253))).collect();
    targets[0].state.records.insert("parked".to_owned(), 1_000_110);
    let page = page(&status(targets));
    assert!(
        page.contains("and 1,000,000 more records of registry-0") && page.contains("and 95 more pods of"),
        "{page}"
    );
    assert_eq!(page.matches("<time").count(), 20 + 200 + 20, "compared, rejected, changed");
    assert!(page.len() < 1 << 20, "{}", page.len());
}
