//! Records of typical pods and of edge cases.

use super::*;

fn rule() -> Rule {
    Rule {
        owner: RecordOwner {
            cluster_id: "0d2b6d5e-9f2f-4d53-8f0e-1c9c6c9d1a11".into(),
            cluster_name: "prod-eu".into(),
            owner: "pod-registrar".into(),
        },
        labels: AllowList::new(["*"]),
        annotations: AllowList::default(),
    }
}

fn pod(json: serde_json::Value) -> PodObject {
    serde_json::from_value(json).unwrap()
}

fn typical() -> serde_json::Value {
    serde_json::json!({
        "metadata": {
            "name": "web-7c6f5d9b88-x2x9k", "namespace": "shop", "uid": "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33",
            "resourceVersion": "88123", "creationTimestamp": "2026-11-23T10:00:00Z",
            "labels": {"app.kubernetes.io/name": "web", "pod-template-hash": "7c6f5d9b88"},
            "annotations": {"team": "a"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7c6f5d9b88",
                "uid": "aa11bb22-0000-4000-8000-000000000001", "controller": true}],
        },
        "spec": {"nodeName": "node-3", "serviceAccountName": "web",
            "containers": [{"name": "web", "image": "registry.example/web:1.4", "env": [{"name": "KEY", "value": "secret"}]}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.64.0.7",
            "hostIPs": [{"ip": "192.0.2.1"}], "podIPs": [{"ip": "10.64.0.7"}], "startTime": "2026-11-23T10:00:02Z",
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "state": {"running": {}}}]},
    })
}

fn text(pod: &Pod) -> String {
    String::from_utf8(pod.content.as_ref().unwrap().canonical.to_vec()).unwrap()
}

/// The protocol's test vectors publish this digest for this pod. A release that changes it rewrites every record once,
/// and its changelog must say so.
#[test]
fn the_golden_record_keeps_its_digest() {
    let pod = desired(pod(typical()), &rule()).unwrap();
    assert_eq!(
        pod.content.unwrap().digest.to_string(),
        "sha256:b8051a4368fa2b67237f08693073dc102839eae628097bad6468b55cb9504040"
    );
}

#[test]
fn environment_and_last_applied_configuration_are_never_sent() {
    let mut json = typical();
    json["metadata"]["annotations"][NEVER_SENT] = "secret".into();
    json["metadata"]["annotations"]["cmdb.pod-registrar/record-id"] = "a secret receipt".into();
    let rule = Rule { annotations: AllowList::new(["*"]), ..rule() };
    let record = text(&desired(pod(json), &rule).unwrap());
    assert!(record.contains(r#""annotations":{"team":"a"}"#) && !record.contains("secret"), "{record}");
}

#[test]
fn globs_choose_labels_and_stars_match_slashes() {
    let rule = Rule { labels: AllowList::new(["app.*"]), ..rule() };
    let record = text(&desired(pod(typical()), &rule).unwrap());
    assert!(record.contains("app.kubernetes.io/name") && !record.contains("pod-template-hash"), "{record}");
}

#[test]
fn lifecycle_follows_deletion_before_phase() {
    let cases = [
        (None, Some("Pending"), "pending"),
        (None, None, "pending"),
        (None, Some("Running"), "active"),
        (None, Some("Unknown"), "active"),
        (None, Some("Succeeded"), "finished"),
        (None, Some("Failed"), "finished"),
        (Some("2026-11-23T10:05:30Z"), Some("Running"), "terminating"),
        (Some("2026-11-23T10:05:30Z"), Some("Succeeded"), "terminating"),
    ];
    for (deleted, phase, lifecycle) in cases {
        let mut json = typical();
        json["metadata"]["deletionTimestamp"] = deleted.into();
        json["status"]["phase"] = phase.into();
        let record = text(&desired(pod(json), &rule()).unwrap());
        assert!(record.contains(&format!(r#""lifecycle":"{lifecycle}""#)), "{deleted:?} {phase:?}: {record}");
    }
}

#[test]
fn deletion_request_is_one_grace_period_earlier() {
    let mut json = typical();
    json["metadata"]["deletionTimestamp"] = "2026-11-23T10:05:30Z".into();
    json["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let record = text(&desired(pod(json), &rule()).unwrap());
    assert!(record.contains(r#""deletionRequested":"2026-11-23T10:05:00.000Z""#), "{record}");
}

/// API servers accept such numbers and dates: a grace period has no upper bound.
#[test]
fn incomputable_times_are_left_out() {
    for grace in [i64::MAX, i64::MIN, i64::MAX - 1, 400_000_000_000, -400_000_000_000] {
        let mut json = typical();
        json["metadata"]["deletionTimestamp"] = "2026-11-23T10:05:30Z".into();
        json["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        let record = text(&desired(pod(json), &rule()).unwrap());
        assert!(record.contains(r#""lifecycle":"terminating""#), "{grace}: {record}");
        assert!(!record.contains("deletionRequested\":\""), "{grace}: {record}");
    }
    let mut json = typical();
    json["status"]["startTime"] = "+12026-11-23T10:00:02Z".into();
    let record = text(&desired(pod(json), &rule()).unwrap());
    assert!(!record.contains("12026") && record.contains(r#""phase":"Running""#), "{record}");
}

#[test]
fn reason_comes_from_the_pod_or_a_container() {
    let mut json = typical();
    json["status"]["containerStatuses"][0]["state"] = serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}});
    assert!(text(&desired(pod(json.clone()), &rule()).unwrap()).contains(r#""reason":"CrashLoopBackOff""#));
    json["status"]["reason"] = "Evicted".into();
    assert!(text(&desired(pod(json.clone()), &rule()).unwrap()).contains(r#""reason":"Evicted""#));
    json["status"]["reason"] = serde_json::Value::Null;
    json["status"]["containerStatuses"][0]["state"] =
        serde_json::json!({"terminated": {"reason": "Completed", "exitCode": 0, "finishedAt": "2026-11-23T10:09:00Z"}});
    json["status"]["phase"] = "Succeeded".into();
    let record = text(&desired(pod(json), &rule()).unwrap());
    assert!(!record.contains(r#""reason""#) && record.contains(r#""finished":"2026-11-23T10:09:00.000Z""#), "{record}");
}

#[test]
fn containers_carry_their_role() {
    let mut json = typical();
    json["spec"]["initContainers"] = serde_json::json!([{"name": "a"}, {"name": "b", "restartPolicy": "Always"}]);
    json["spec"]["ephemeralContainers"] = serde_json::json!([{"name": "debug"}]);
    let record = text(&desired(pod(json), &rule()).unwrap());
    for expected in
        [r#"{"name":"a","role":"init"}"#, r#"{"name":"b","role":"sidecar"}"#, r#"{"name":"debug","role":"ephemeral"}"#]
    {
        assert!(record.contains(expected), "{expected} in {record}");
    }
}

#[test]
fn oversized_members_are_cut_and_named() {
    let mut json = typical();
    json["metadata"]["annotations"] = serde_json::json!({"note": "x".repeat(30_000)});
    let many: Vec<_> =
        (0..500).map(|n| serde_json::json!({"name": format!("c{n}"), "image": "i".repeat(60)})).collect();
    json["spec"]["containers"] = many.into();
    let rule = Rule { annotations: AllowList::new(["*"]), ..rule() };
    let record = text(&desired(pod(json), &rule).unwrap());
    assert!(record.len() <= BUDGET_BYTES);
    assert!(record.contains(r#""truncated":["annotations","containers"]"#), "{record}");
    assert_eq!(record.matches(r#""role":"app""#).count(), CONTAINERS_KEPT);
}

#[test]
fn pod_without_valid_identity_or_time_is_refused() {
    // The error names the member that is missing or invalid.
    let mut json = typical();
    json["metadata"]["creationTimestamp"] = "yesterday".into();
    let error = desired(pod(json.clone()), &rule()).unwrap_err();
    assert_eq!(error, Error::Time { member: "metadata.creationTimestamp", found: "yesterday".into() });
    json["metadata"]["uid"] = serde_json::Value::Null;
    assert_eq!(desired(pod(json), &rule()).unwrap_err(), Error::Missing("metadata.uid"));
}

#[test]
fn deployment_needs_a_matching_pod_template_hash() {
    let mut json = typical();
    json["metadata"]["labels"]["pod-template-hash"] = "other".into();
    assert!(!text(&desired(pod(json), &rule()).unwrap()).contains("Deployment"));
}

#[test]
fn last_second_of_9999_is_a_valid_time() {
    let mut json = typical();
    json["metadata"]["creationTimestamp"] = "9999-12-31T23:59:59Z".into();
    let record = text(&desired(pod(json), &rule()).unwrap());
    assert!(record.contains(r#""created":"9999-12-30T2"#), "{record}");
}

/// Rare states of pods and their records.
#[test]
fn rare_pod_states_have_a_defined_record() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change, &[&str]); 8] = [
        (
            "terminating for hours because of a finalizer: registered until the object is deleted",
            |pod| {
                pod["metadata"]["deletionTimestamp"] = "2026-11-23T04:00:30Z".into();
                pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
                pod["metadata"]["finalizers"] = serde_json::json!(["example.com/hold"]);
            },
            &[r#""lifecycle":"terminating""#, r#""deletionRequested":"2026-11-23T04:00:00.000Z""#],
        ),
        (
            "deleted by force: terminating without a grace period, followed by a deletion event",
            |pod| {
                pod["metadata"]["deletionTimestamp"] = "2026-11-23T10:05:00Z".into();
                pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            },
            &[r#""lifecycle":"terminating""#, r#""deletionRequested":"2026-11-23T10:05:00.000Z""#],
        ),
        (
            "mirror of a static pod: its owner is its node, and its id is that of the API object",
            |pod| {
                pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "0f2b".into();
                pod["metadata"]["ownerReferences"] = serde_json::json!([{"apiVersion": "v1", "kind": "Node",
                    "name": "node-3", "uid": "n", "controller": true}]);
            },
            &[
                r#""uid":"5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33""#,
                r#""workload":[{"apiVersion":"v1","kind":"Node","name":"node-3","uid":"n"}]"#,
            ],
        ),
        (
            "succeeded: finished, and registered until the object is deleted",
            |pod| pod["status"]["phase"] = "Succeeded".into(),
            &[r#""lifecycle":"finished","phase":"Succeeded""#],
        ),
        (
            "evicted: failed, with the reason of the pod",
            |pod| {
                pod["status"]["phase"] = "Failed".into();
                pod["status"]["reason"] = "Evicted".into();
            },
            &[r#""lifecycle":"finished","phase":"Failed""#, r#""reason":"Evicted""#],
        ),
        (
            "node lost: the pod may still run, so it is active and not ready",
            |pod| {
                pod["status"]["phase"] = "Unknown".into();
                pod["status"]["reason"] = "NodeLost".into();
                pod["status"]["conditions"][0]["status"] = "Unknown".into();
            },
            &[r#""lifecycle":"active","phase":"Unknown","ready":false,"reason":"NodeLost""#],
        ),
        (
            "not scheduled: pending, without a placement",
            |pod| {
                pod["spec"]["nodeName"] = serde_json::Value::Null;
                pod["status"] = serde_json::json!({"phase": "Pending"});
            },
            &[r#""state":{"lifecycle":"pending","phase":"Pending"}"#],
        ),
        (
            "unknown future phase: active",
            |pod| pod["status"]["phase"] = "Hibernating".into(),
            &[r#""lifecycle":"active","phase":"Hibernating""#],
        ),
    ];
    for (case, change, expected) in cases {
        let mut json = typical();
        change(&mut json);
        let record = text(&desired(pod(json), &rule()).unwrap());
        for part in expected {
            assert!(record.contains(part), "{case}: no {part} in {record}");
        }
    }
}

#[test]
fn overlong_name_is_refused() {
    // A long phase and a long list of addresses are cut to fit instead.
    let mut json = typical();
    json["spec"]["nodeName"] = "n".repeat(254).into();
    assert_eq!(desired(pod(json), &rule()).unwrap_err(), Error::Long("spec.nodeName"));
    let mut json = typical();
    json["status"]["phase"] = "x".repeat(100_000).into();
    json["status"]["podIPs"] = vec![serde_json::json!({"ip": "10.64.0.7"}); 5_000].into();
    let record = text(&desired(pod(json), &rule()).unwrap());
    assert!(record.len() <= BUDGET_BYTES && record.contains(r#""truncated":["placement"]"#), "{record}");
}

/// Text with the characters that JSON writers treat differently: control characters, quotes, separators, and characters
/// around the surrogates and beyond.
fn any_text(rng: &mut fastrand::Rng) -> String {
    let any = |rng: &mut fastrand::Rng| match rng.u8(..4) {
        0 => rng.char('\0'..='\u{9f}'),
        1 => ['"', '\\', '/', '\u{2028}', '\u{2029}', '\u{d7ff}', '\u{e000}', '\u{ffff}', '\u{10000}'][rng.usize(..9)],
        2 => rng.char('\0'..=char::MAX),
        _ => rng.char('a'..='z'),
    };
    (0..rng.usize(..12)).map(|_| any(rng)).collect()
}

fn any_pairs(rng: &mut fastrand::Rng) -> Pairs {
    let ascii = rng.bool();
    let key = |text: String| if ascii { text.replace(|c: char| !c.is_ascii(), "-") } else { text };
    (0..rng.usize(..6)).map(|_| (key(any_text(rng)), any_text(rng))).collect()
}

fn any_record(rng: &mut fastrand::Rng) -> Record {
    fn some<T>(rng: &mut fastrand::Rng, make: impl Fn(&mut fastrand::Rng) -> T) -> Option<T> {
        rng.bool().then(|| make(rng))
    }
    fn many<T>(rng: &mut fastrand::Rng, make: impl Fn(&mut fastrand::Rng) -> T) -> Vec<T> {
        (0..rng.usize(..4)).map(|_| make(rng)).collect()
    }
    let text = any_text;
    Record {
        owner: text(rng),
        cluster: ClusterName { id: text(rng), name: text(rng) },
        pod: PodName {
            uid: text(rng),
            namespace: text(rng),
            name: text(rng),
            labels: any_pairs(rng),
            annotations: any_pairs(rng),
        },
        workload: many(rng, |rng| WorkloadRef {
            kind: text(rng),
            api_version: text(rng),
            name: text(rng),
            uid: some(rng, text),
            derived: rng.bool(),
        }),
        placement: Placement {
            node: some(rng, text),
            host_ips: many(rng, text),
            pod_ips: many(rng, text),
            host_network: rng.bool(),
        },
        state: PodState {
            lifecycle: [Lifecycle::Pending, Lifecycle::Active, Lifecycle::Terminating, Lifecycle::Finished]
                [rng.usize(..4)],
            phase: some(rng, text),
            ready: some(rng, fastrand::Rng::bool),
            reason: some(rng, text),
        },
        containers: many(rng, |rng| Container {
            name: text(rng),
            role: [Role::Init, Role::Sidecar, Role::App, Role::Ephemeral][rng.usize(..4)],
            image: some(rng, text),
            image_id: some(rng, text),
            ready: some(rng, fastrand::Rng::bool),
            restarts: some(rng, |rng| rng.u64(..INTEGER_LIMIT) >> rng.u8(..53)),
        }),
        service_account: some(rng, text),
        times: Times {
            created: text(rng),
            scheduled: some(rng, text),
            started: some(rng, text),
            deletion_requested: some(rng, text),
            finished: some(rng, text),
        },
        truncated: many(rng, |_| TruncatedPart::Labels),
    }
}

/// Serde's output equals that of a canonicalizer: same order, same escapes.
#[test]
fn records_are_written_in_canonical_form() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut ascii = 0;
    for round in 0..500 {
        let record = any_record(&mut rng);
        ascii += usize::from(record.pod.labels.keys().chain(record.pod.annotations.keys()).all(|key| key.is_ascii()));
        let written = record.canonical().unwrap();
        let expected = serde_json_canonicalizer::to_vec(&record).unwrap();
        assert_eq!(String::from_utf8(written), String::from_utf8(expected), "seed {seed}, round {round}");
    }
    assert!((50..450).contains(&ascii), "seed {seed}: {ascii} records have ASCII keys only");
    let mut record = any_record(&mut rng);
    for code in 0..=0x2030_u32 {
        record.owner = char::from_u32(code).unwrap().to_string();
        record.pod.labels = [("key".to_owned(), record.owner.clone())].into();
        record.pod.annotations.clear();
        let expected = serde_json_canonicalizer::to_vec(&record).unwrap();
        assert_eq!(record.canonical().unwrap(), expected, "U+{code:04X}");
    }
}
