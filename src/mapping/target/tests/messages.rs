//! The presets whose records are messages.

use serde_json::json;

use super::{answer, body, change, delete, put, render, sample, target, term};
use crate::mapping::{
    spec::request::RuleOutcome,
    target::Target,
    writes::{ChangeKind, Held, Writes},
};

const PRESETS: [&str; 4] = ["webhook", "cloudevents", "cloudevents-binary", "cloudevents-batched"];

fn of_preset(preset: &str) -> Target {
    target(&format!("targets: [{{name: t, preset: {preset}, url: \"https://r.example/in\"}}]"))
}

#[test]
fn receiver_that_is_gone_pauses_the_target() {
    for preset in PRESETS {
        let target = of_preset(preset);
        let record = render(&target, &sample(0));
        let scope = target.kinds[0].write_scope(&record, &Held::default(), &change(ChangeKind::Put));
        for status in [404, 410] {
            let answer = answer(status, &json!({}));
            let outcome = |request: &crate::mapping::request::RequestTemplate| request.judge(&answer, &scope).outcome;
            if let Writes::Put(put) = &target.kinds[0].writes {
                assert_eq!(outcome(&put.request), RuleOutcome::Pause, "{preset} {status}");
            }
            let deletions = target.kinds[0].delete.iter().map(outcome);
            let batches =
                target.kinds[0].batches.iter().map(|batch| batch.judge(&answer, term(&target).scope()).outcome);
            let outcomes: Vec<_> = deletions.chain(batches).collect();
            assert_eq!(outcomes, [RuleOutcome::Pause], "{preset} {status}");
        }
    }
}

#[test]
fn webhook_says_what_happened() {
    let target = of_preset("webhook");
    let record = render(&target, &sample(0));
    let request = put(&target, &record, &Held::default());
    assert_eq!((&*request.method, &*request.url), ("POST", "https://r.example/in"));
    let sent = body(&request);
    assert_eq!((&sent["type"], &sent["timestamp"]), (&json!("pod.upserted"), &json!("2026-01-02T03:04:05.000Z")));
    assert_eq!(sent["data"], record.body);
    let sent = body(&delete(&target, &record.id, &Held::default()).unwrap());
    let expected =
        json!({"id": record.id, "cluster": {"id": "c1", "name": "prod"}, "reason": "deleted", "observed": true});
    assert_eq!((&sent["type"], &sent["data"]), (&json!("pod.deleted"), &expected));
}

#[test]
fn binary_event_is_in_headers() {
    let target = of_preset("cloudevents-binary");
    let record = render(&target, &sample(0));
    let request = put(&target, &record, &Held::default());
    let header = |name: &str| request.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!((header("ce-id"), header("ce-source")), (Some("c-1"), Some("/clusters/c1")));
    assert_eq!(header("Content-Type"), Some("application/json"));
    assert_eq!(body(&request), record.body);
}
