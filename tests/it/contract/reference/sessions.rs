//! Sessions: epochs, fencing, expiry, and how clusters are listed.

use serde_json::json;

use super::{Server, record, refused};

#[tokio::test]
async fn new_epoch_is_above_all_known_epochs() {
    // The epoch is above the client's `minEpoch` and above that of the session before.
    let server = Server::start().await;
    let body = json!({"instance": "a", "ttlSeconds": 90, "scope": "x", "minEpoch": 6, "later": {"x": 1}});
    let first = server.call("POST", "/v1/clusters/c/session", Some(&body)).await;
    assert_eq!((first.status, first.json()), (201, json!({"epoch": 7, "ttlSeconds": 90})));

    let second = server.call("POST", "/v1/clusters/c/session", Some(&json!({"instance": "b", "ttlSeconds": 9}))).await;
    let previous = json!({"epoch": 7, "instance": "a", "scope": "x", "state": "live"});
    assert_eq!(second.json(), json!({"epoch": 8, "ttlSeconds": 9, "previous": previous}));

    // Epochs of different owners are independent.
    let other = server.call("POST", "/v1/clusters/c/session?owner=blue", Some(&body)).await;
    assert_eq!(other.json(), json!({"epoch": 7, "ttlSeconds": 90}));
    server.stop().await;
}

#[tokio::test]
async fn stale_session_still_writes() {
    // A write leaves it stale, and a heartbeat makes it live again, whatever instance it names.
    let server = Server::start().await;
    let epoch = server.open().await;
    server.clock.advance_ms(90_000);
    let owner = |reply: super::Reply| reply.json()["owners"][0].clone();
    assert_eq!(owner(server.get("/v1/clusters/c").await)["state"], "stale");
    assert_eq!(server.put("a", epoch, 1, "web").await.status, 201);
    assert_eq!(owner(server.get("/v1/clusters/c").await)["state"], "stale");

    let counts = json!({"pods": 1, "pending": 0});
    let beat = json!({"epoch": epoch, "instance": "other", "ttlSeconds": 90, "synced": true, "counts": counts});
    let reply = server.call("PUT", "/v1/clusters/c/session", Some(&beat)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({"epoch": epoch, "expiresAt": "2026-11-23T10:03:00.000Z"}));
    let shown = server.get("/v1/clusters/c").await.json();
    assert_eq!(
        shown,
        json!({"id": "c", "name": "prod-eu", "owners": [{"owner": "pod-registrar", "epoch": epoch, "instance": "i",
            "scope": "s", "state": "live", "expiresAt": "2026-11-23T10:03:00.000Z", "synced": true, "pods": 1}]})
    );
    server.stop().await;
}

#[tokio::test]
async fn only_the_current_epoch_writes_beats_and_closes() {
    let server = Server::start().await;
    assert_eq!(server.put("a", 1, 1, "web").await.problem(), refused(409, "unknown-session"));
    let old = server.open().await;
    let new = server.open().await;
    let beat = |epoch: u64| json!({"epoch": epoch, "ttlSeconds": 90});
    for (epoch, name) in [(old, "stale-epoch"), (new + 1, "unknown-session")] {
        let expected = refused(409, name);
        assert_eq!(server.put("a", epoch, 1, "web").await.problem(), expected);
        assert_eq!(server.delete("a", epoch, 1).await.problem(), expected);
        assert_eq!(server.batch(epoch, vec![super::put_op("a", epoch, 1, "x")]).await.problem(), expected);
        assert_eq!(server.call("PUT", "/v1/clusters/c/session", Some(&beat(epoch))).await.problem(), expected);
        let close = format!("/v1/clusters/c/session?epoch={epoch}");
        assert_eq!(server.call("DELETE", &close, None).await.problem(), expected);
    }
    assert!(server.records().await.is_empty());
    assert_eq!(server.put("a", new, 1, "web").await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn a_closed_session_deletes_nothing_and_writes_nothing() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("a", epoch, 1, "web").await;
    let close = format!("/v1/clusters/c/session?epoch={epoch}");
    let before = server.get("/v1/clusters/c").await.json()["owners"][0].clone();
    assert_eq!((&before["state"], &before["synced"]), (&json!("live"), &json!(false)));
    for _ in 0..2 {
        assert_eq!(server.call("DELETE", &close, None).await.status, 204);
    }
    let closed = server.get("/v1/clusters/c").await.json()["owners"][0].clone();
    assert_eq!((&closed["state"], &closed["expiresAt"]), (&json!("closed"), &before["expiresAt"]));
    assert_eq!(server.get("/v1/clusters/c/pods/a").await.status, 200);
    assert_eq!(server.put("b", epoch, 2, "web").await.problem(), refused(409, "unknown-session"));
    let again = server.call("POST", "/v1/clusters/c/session", Some(&json!({"instance": "b", "ttlSeconds": 9}))).await;
    assert_eq!(again.json()["previous"]["state"], "closed");
    server.stop().await;
}

#[tokio::test]
async fn clusters_are_listed_with_their_pods_and_owners() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/clusters").await.json(), json!({"items": []}));
    assert_eq!(server.get("/v1/clusters/c").await.problem(), refused(404, "not-found"));
    let epoch = server.open().await;
    server.fill(epoch, 3).await;
    server.call("POST", "/v1/clusters/c/session?owner=blue", Some(&json!({"instance": "i", "ttlSeconds": 9}))).await;
    let mut other = record("x", 1, 1, "web");
    other["owner"] = json!("blue");
    assert_eq!(server.call("PUT", "/v1/clusters/c/pods/x?owner=blue", Some(&other)).await.status, 201);
    let items = server.get("/v1/clusters").await.json()["items"].clone();
    assert_eq!((&items[0]["id"], &items[0]["name"], &items[0]["pods"]), (&json!("c"), &json!("prod-eu"), &json!(4)));
    assert_eq!(items[0]["owners"][0]["owner"], "blue");
    assert_eq!(items[0]["owners"][1]["pods"], 3);
    let shown = server.get("/v1/clusters/c?owner=other").await.json();
    assert_eq!(shown["owners"], items[0]["owners"], "all owners, whatever `owner` names");
    server.stop().await;
}

#[tokio::test]
async fn long_times_to_live_are_reduced() {
    let server = Server::start().await;
    let open = json!({"instance": "a", "ttlSeconds": 1_000_000, "minEpoch": (1_u64 << 53) - 2});
    let opened = server.call("POST", "/v1/clusters/c/session", Some(&open)).await.json();
    assert_eq!(opened, json!({"epoch": (1_u64 << 53) - 1, "ttlSeconds": 86_400}));
    let beat = |ttl: u64| json!({"epoch": opened["epoch"], "ttlSeconds": ttl});
    for (ttl, expires) in [(1_000_000, "2026-11-24T10:00:00.000Z"), (9, "2026-11-23T10:00:09.000Z")] {
        let reply = server.call("PUT", "/v1/clusters/c/session", Some(&beat(ttl))).await;
        assert_eq!(reply.json()["expiresAt"], expires);
    }
    let reply = server.call("PUT", "/v1/clusters/c/session", Some(&beat(0))).await;
    assert_eq!(reply.problem(), refused(422, "schema"));
    server.stop().await;
}

#[tokio::test]
async fn session_bodies_are_checked() {
    let server = Server::start().await;
    for body in [
        json!({}),
        json!({"instance": "a", "ttlSeconds": 0}),
        json!({"instance": "a", "ttlSeconds": -1}),
        json!({"instance": "a", "ttlSeconds": 9, "minEpoch": 9_007_199_254_740_991_u64}),
        json!({"instance": "a", "ttlSeconds": 9, "scope": null}),
        json!([]),
    ] {
        let reply = server.call("POST", "/v1/clusters/c/session", Some(&body)).await;
        assert_eq!(reply.problem(), refused(422, "schema"), "{body}");
    }
    let twice =
        server.request("POST", "/v1/clusters/c/session").body(r#"{"instance":"a","ttlSeconds":9,"ttlSeconds":9}"#);
    assert_eq!(server.send(twice).await.problem(), refused(422, "schema"));
    let reply = server.call("DELETE", "/v1/clusters/c/session", None).await;
    assert_eq!(reply.problem(), refused(422, "schema"));
    server.stop().await;
}

#[tokio::test]
async fn clock_jump_changes_no_decision() {
    // A jump of one hour in either direction changes only what is shown.
    const HOUR_MS: i64 = 3_600_000;
    let server = Server::start().await;
    let epoch = server.open().await;
    server.fill(epoch, 3).await;
    assert_eq!(server.delete("p0", epoch, 10).await.status, 204);
    let mut seq = 10;
    for jump in [HOUR_MS, -2 * HOUR_MS, HOUR_MS] {
        server.clock.advance_ms(jump);
        seq += 10;
        assert_eq!(server.put("p1", epoch, seq, &format!("web-{seq}")).await.status, 200, "it still writes");
        assert_eq!(
            server.put("p2", epoch, 2, "late").await.problem(),
            refused(409, "stale-version"),
            "the order is kept"
        );
        assert_eq!(
            server.put("p0", epoch, 5, "late").await.problem(),
            refused(409, "tombstoned"),
            "a deleted record stays deleted"
        );
        let beat = json!({"epoch": epoch, "ttlSeconds": 90});
        assert_eq!(server.call("PUT", "/v1/clusters/c/session", Some(&beat)).await.status, 200);
        assert_eq!(server.get("/v1/clusters/c/pods").await.json()["count"], 2, "a clock jump deletes nothing");
        assert_eq!(server.get("/v1/changes?since=0").await.json()["next"], 4 + (seq - 10) / 10, "the log continues");
    }
    server.stop().await;
}

#[tokio::test]
async fn session_keeps_cluster_uid_and_reports_a_contender() {
    let server = Server::start().await;
    let open = |uid: Option<&str>| match uid {
        Some(uid) => json!({"instance": "a", "ttlSeconds": 90, "clusterUid": uid}),
        None => json!({"instance": "a", "ttlSeconds": 90}),
    };
    let path = "/v1/clusters/c/session";
    assert_eq!(server.call("POST", path, Some(&open(Some("u-1")))).await.status, 201);
    let second = server.call("POST", path, Some(&open(None))).await.json();
    assert_eq!((&second["epoch"], &second["previous"]["clusterUid"]), (&json!(2), &json!("u-1")));
    assert_eq!(
        server.get("/v1/clusters/c").await.json()["owners"][0]["clusterUid"],
        "u-1",
        "a session without it keeps it"
    );
    assert_eq!(server.call("POST", path, Some(&open(Some("../x")))).await.problem(), refused(422, "schema"));

    let beat = |epoch: u64| json!({"epoch": epoch, "ttlSeconds": 90, "instance": "b"});
    assert_eq!(server.call("PUT", path, Some(&beat(2))).await.json().get("contender"), None);
    assert_eq!(server.call("PUT", path, Some(&beat(1))).await.problem(), refused(409, "stale-epoch"));
    let contender = json!({"epoch": 1, "instance": "b", "seenAt": "2026-11-23T10:00:00.000Z"});
    let mut found = server.call("PUT", path, Some(&beat(2))).await.json()["contender"].take();
    found["seenAt"] = contender["seenAt"].clone();
    assert_eq!(found, contender);
    assert_eq!(server.get("/v1/clusters/c").await.json()["owners"][0]["contender"]["epoch"], 1);
    assert_eq!(server.call("POST", path, Some(&open(None))).await.json()["epoch"], 3);
    let kept = server.call("PUT", path, Some(&beat(3))).await.json()["contender"].take();
    assert_eq!(kept, contender, "a new session keeps the contender");
    server.clock.advance_ms(90_000);
    assert_eq!(server.call("PUT", path, Some(&beat(3))).await.json().get("contender"), None, "the contender is gone");
    server.stop().await;
}
