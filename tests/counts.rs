//! The allocations of the program, counted without a clock, so that they are the same on every machine.
//!
//! The bounds are what was measured when they were set, with a margin. A change that exceeds one makes every pod or
//! every event more expensive; raise the bound only with a reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the counts are shown with --nocapture")]

use allocation_counter::{AllocationInfo, measure};
use kube::core::WatchEvent;
use pod_registrar::{
    kubernetes::watch::pod_object::Watched,
    mapping::{load, samples, target::Target},
    model::{
        ids::RecordOwner,
        moment::Moment,
        pod::to_record::{self, AllowList, Rule},
        uid::Uid,
    },
    reconcile::{
        ledger::Ledger,
        outcome::OperationKind,
        trace::{AttemptOutcome, Sampling, TracedAttempt, Tracer},
    },
    registry::protocol::BatchResults,
    store::{self, View},
    telemetry::{health::Health, metrics::Metrics},
};

#[path = "../benches/envelope/pods/mod.rs"]
#[allow(dead_code, reason = "the bench uses more of it")]
mod pods;

use pods::{Layout, State};

/// Pods of 3, 5 and 10 kB in several hundred workloads, mostly Deployments.
const PODS: u32 = 10_000;

fn rule() -> Rule {
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    Rule { owner, labels: AllowList::new(["*"]), annotations: AllowList::default() }
}

/// The line of a watch about a pod.
fn line(layout: &Layout, slot: u32, version: u64) -> Vec<u8> {
    let mut line = br#"{"type":"MODIFIED","object":"#.to_vec();
    layout.push_object(slot, State { revision: 1, resource_version: version, alive: true, life: 0 }, &mut line);
    line.extend_from_slice(b"}\n");
    line
}

/// Takes a line into the store. Returns the pod's UID.
fn take(line: &[u8], rule: &Rule, store: &mut store::StoreWriter) -> Uid {
    let WatchEvent::<Watched>::Modified(watched) = serde_json::from_slice(line).unwrap() else { panic!("{line:?}") };
    let pod = to_record::desired(watched.pod.unwrap(), rule).unwrap();
    store.apply(&pod);
    pod.uid
}

fn per_pod(bytes: i64) -> i64 {
    bytes / i64::from(PODS)
}

#[test]
fn event_takes_few_allocations_and_leaks_none() {
    let (layout, rule, mut store) = (Layout::new(1, PODS, None), rule(), store::StoreWriter::default());
    let lines = |version| (0..1_000).map(|slot| line(&layout, slot, version)).collect::<Vec<_>>();
    lines(7).iter().for_each(|line| _ = take(line, &rule, &mut store));
    let (mut total, again) = (AllocationInfo::default(), lines(8));
    for line in &again {
        let counted = measure(|| _ = take(line, &rule, &mut store));
        total.count_total += counted.count_total;
        total.count_current += counted.count_current;
    }
    let an_event = total.count_total / 1_000;
    println!("{an_event} allocations per event");
    assert!(an_event <= 100, "{an_event} allocations per event");
    // The store keeps a text once when two pods share it, so some events add a text and others remove one.
    assert!(total.count_current.abs() < 100, "{} allocations are left after 1,000 events", total.count_current);
}

#[test]
fn pod_takes_few_bytes_in_store_and_ledger() {
    let (layout, rule) = (Layout::new(1, PODS, None), rule());
    let (mut store, mut ledger) = (store::StoreWriter::default(), Ledger::default());
    let view = View::new([store.store()]);
    let stored = measure(|| (0..PODS).for_each(|slot| _ = take(&line(&layout, slot, 7), &rule, &mut store)));
    assert_eq!(view.len(), PODS as usize);
    let believed = measure(|| view.each_of_watch(0, |uid| ledger.pod_seen(uid, 0, Moment::from_secs(1))));
    let (stored, believed) = (per_pod(stored.bytes_current), per_pod(believed.bytes_current));
    println!("{stored} bytes per pod in the store, {believed} in the ledger");
    assert!(stored <= 250 && believed <= 90, "{stored} bytes per pod in the store, {believed} in the ledger");
}

#[test]
fn relist_takes_no_second_store() {
    let (layout, rule, mut store) = (Layout::new(1, PODS, None), rule(), store::StoreWriter::default());
    let list = |store: &mut store::StoreWriter| {
        store.begin_list(None);
        for slot in 0..PODS {
            let line = line(&layout, slot, 7);
            let WatchEvent::<Watched>::Modified(watched) = serde_json::from_slice(&line).unwrap() else { panic!() };
            store.list_item(&to_record::desired(watched.pod.unwrap(), &rule).unwrap());
        }
        store.end_list();
    };
    let first = measure(|| list(&mut store));
    let second = measure(|| list(&mut store));
    println!(
        "{} bytes after the first list, at most {} more during the second one",
        first.bytes_current, second.bytes_max
    );
    assert!(second.bytes_max * 10 <= first.bytes_current.unsigned_abs(), "{} more", second.bytes_max);
}

#[test]
fn registry_answer_costs_no_multiple_of_its_size() {
    // A million small values in place of a number or a short text; they would take 32 bytes each if they were built.
    let values = format!("[{}0]", "0,".repeat(1 << 20));
    for member in [
        format!(r#""retryAfterSeconds":{values}"#),
        format!(r#""problem":{{"type":"x","detail":{values}}}"#),
        format!(r#""problem":{{"type":"x","current":{values}}}"#),
        format!(r#""unknown":{values}"#),
    ] {
        let answer = format!(r#"{{"results":[{{"id":"a","status":429,{member}}}]}}"#);
        let bytes = measure(|| _ = serde_json::from_str::<BatchResults>(&answer).unwrap()).bytes_max;
        assert!(bytes <= 3 * answer.len() as u64, "{} bytes became {bytes}: {}", answer.len(), &answer[..80]);
    }
}

#[test]
fn rendering_a_record_takes_few_allocations() {
    let by_digest = include_str!("../src/mapping/target/fixtures/rest.yaml");
    let by_body = by_digest.replace("      digest: \"{{ digest }}\"\n", "").replace("digest: /digest", "body: ''");
    for (text, at_most) in [(by_digest, 150), (&by_body, 160)] {
        let loaded = load::load("rest.yaml", text).unwrap();
        let target = Target::compile(&loaded.targets[0].spec, &rule().owner).unwrap();
        let (term, [record, ..]) = (target.term(1, &serde_json::Value::Null), samples::all("c", "c", "o"));
        let counted = measure(|| _ = target.records(&record, &term, &|_, _| None).unwrap()).count_total;
        println!("{counted} allocations per rendered record");
        assert!(counted <= at_most, "{counted} allocations per rendered record");
    }
}

#[test]
fn change_without_trace_takes_no_allocation() {
    // Without tracing, only the histogram sees a change. With it, one that is not sampled is hashed, and leaves
    // nothing.
    let metrics = Metrics::new(Health::new(0)).target("default");
    let mut tracer = Tracer::new("default", Sampling::new(1e-12, 1));
    let (key, since) = (Uid::from("5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33"), Moment::from_secs(1));
    let (outcome, answered_at) = (AttemptOutcome::Done, Moment::from_millis(1_020));
    let last = TracedAttempt { sent_at: since, answered_at, outcome, status: Some(200), changes: 1 };
    let counted = measure(|| {
        assert_eq!(tracer.traceparent(&key, since), None);
        assert_eq!(tracer.acknowledged(&key, OperationKind::Put, since, last), None);
        metrics.acknowledged_after(answered_at.since(since), None);
    });
    assert_eq!(counted.count_total, 0);
}
