//! Lists: order, consistent pages, selectors, refusals.

use serde_json::{Value, json};

use super::world::{ContractHarness, everywhere, names, text_at, version_of};

async fn create_all(world: &ContractHarness, names: &[&str]) {
    for name in names {
        world.create(name, &json!({"app": name, "all": "yes"})).await;
    }
}

#[tokio::test]
async fn list_is_ordered_with_its_version_first() {
    everywhere(|world| Box::pin(ordered(world))).await;
}

async fn ordered(world: &ContractHarness) {
    let empty = world.list("").await;
    assert_eq!(empty["items"], json!([]));
    create_all(world, &["c", "a", "b"]).await;
    let (code, text) = world.text("GET", &world.pods(""), None).await;
    assert_eq!(code, 200);
    assert!(text.starts_with(r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":""#), "{text}");
    assert!(text.contains(r#""},"items":[{"metadata":{"name":"a","namespace":""#), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(names(&list), ["a", "b", "c"]);
    assert!(list["items"][0].get("kind").is_none(), "items of a list do not name their kind");
    let newest = list["items"].as_array().unwrap().iter().map(version_of).max().unwrap();
    assert!(version_of(&list) >= newest && newest > version_of(&empty));
    let single = world.text("GET", &world.pods("/a"), None).await.1;
    assert!(single.starts_with(r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":""#), "{single}");
}

#[tokio::test]
async fn pages_show_one_moment_whatever_happens_in_between() {
    everywhere(|world| Box::pin(pages(world))).await;
}

async fn pages(world: &ContractHarness) {
    create_all(world, &["a", "c", "e", "g", "i"]).await;
    let first = world.list("limit=2").await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a".into(), "c".into()], &json!(3)));
    world.create("d", &json!({})).await;
    world.delete("e").await;
    world.label("g", &json!({"changed": "yes"})).await;
    let second = world.list(&format!("limit=2&continue={}", text_at(&first, "/metadata/continue"))).await;
    assert_eq!((names(&second), &second["metadata"]["remainingItemCount"]), (vec!["e".into(), "g".into()], &json!(1)));
    assert_eq!(second["items"][1]["metadata"]["labels"]["app"], "g", "the state at the time of the list");
    let third = world.list(&format!("limit=2&continue={}", text_at(&second, "/metadata/continue"))).await;
    assert_eq!(names(&third), ["i"]);
    assert!(third["metadata"].get("continue").is_none() && third["metadata"].get("remainingItemCount").is_none());
    assert_eq!((version_of(&second), version_of(&third)), (version_of(&first), version_of(&first)));
    assert_eq!(names(&world.list("").await), ["a", "c", "d", "g", "i"]);
}

#[tokio::test]
async fn expired_token_answers_410_with_another_token() {
    everywhere(|world| Box::pin(expired(world))).await;
}

async fn expired(world: &ContractHarness) {
    create_all(world, &["a", "b", "d"]).await;
    let first = world.list("limit=1").await;
    let request = world.pods(&format!("?limit=1&continue={}", text_at(&first, "/metadata/continue")));
    world.create("c", &json!({})).await;
    if !world.forget(&request).await {
        return;
    }
    let (code, status) = world.send("GET", &request, None).await;
    assert_eq!((code, text_at(&status, "/reason"), &status["code"]), (410, "Expired".to_owned(), &json!(410)));
    assert!(text_at(&status, "/message").starts_with("The provided continue parameter is too old"), "{status}");
    let rest = world.list(&format!("continue={}", text_at(&status, "/metadata/continue"))).await;
    assert_eq!(names(&rest), ["b", "c", "d"]);
    let exact = format!("?resourceVersion={}&resourceVersionMatch=Exact", version_of(&first));
    let (code, status) = world.send("GET", &world.pods(&exact), None).await;
    assert_eq!((code, text_at(&status, "/reason")), (410, "Expired".to_owned()));
}

#[tokio::test]
async fn selectors_choose_pods() {
    everywhere(|world| Box::pin(select(world))).await;
}

async fn select(world: &ContractHarness) {
    create_all(world, &["a", "b", "c"]).await;
    let only_a = format!("fieldSelector=metadata.name%3Da,metadata.namespace%3D%3D{}", world.namespace);
    for (query, expected) in [
        ("labelSelector=app%3Da", vec!["a"]),
        ("labelSelector=app%3D%3Da,all", vec!["a"]),
        ("labelSelector=app!%3Da", vec!["b", "c"]),
        ("labelSelector=app%20in%20(a,%20c)", vec!["a", "c"]),
        ("labelSelector=app%20notin%20(a,c)", vec!["b"]),
        ("labelSelector=!app", vec![]),
        ("labelSelector=none!%3Dx", vec!["a", "b", "c"]),
        (&only_a, vec!["a"]),
        ("fieldSelector=metadata.name!%3Da", vec!["b", "c"]),
        ("fieldSelector=status.phase%3DRunning", vec![]),
        ("fieldSelector=status.phase%3DPending,spec.nodeName%3D", vec!["a", "b", "c"]),
        ("fieldSelector=status.podIP%3D10.9.9.9", vec![]),
    ] {
        assert_eq!(names(&world.list(query).await), expected, "{query}");
    }
    let page = world.list("limit=1&labelSelector=app%20in%20(a,c)").await;
    assert!(page["metadata"].get("remainingItemCount").is_none(), "a list with a selector does not count");
    let rest = format!("limit=1&labelSelector=app%20in%20(a,c)&continue={}", text_at(&page, "/metadata/continue"));
    let rest = world.list(&rest).await;
    assert_eq!((names(&rest), rest["metadata"].get("continue")), (vec!["c".to_owned()], None));
    let everywhere = format!("/api/v1/pods?fieldSelector=metadata.namespace%3D{}", world.namespace);
    assert_eq!(names(&world.send("GET", &everywhere, None).await.1), ["a", "b", "c"]);
}

#[tokio::test]
async fn resource_version_decides_the_lists_moment() {
    everywhere(|world| Box::pin(moments(world))).await;
}

async fn moments(world: &ContractHarness) {
    create_all(world, &["a", "b"]).await;
    let before = world.now().await;
    world.delete("b").await;
    let all = names(&world.list("").await);
    assert_eq!(all, ["a"]);
    assert_eq!(names(&world.list(&format!("resourceVersion={before}&resourceVersionMatch=NotOlderThan")).await), all);
    assert_eq!(names(&world.list(&format!("resourceVersion={before}")).await), all);
    let exact = world.list(&format!("resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!((names(&exact), version_of(&exact).to_string()), (vec!["a".into(), "b".into()], before.clone()));
    let legacy = world.list(&format!("resourceVersion={before}&limit=1")).await;
    assert_eq!(version_of(&legacy).to_string(), before, "a limit makes the version exact");
    create_all(world, &["c"]).await;
    assert!(world.list("resourceVersion=0&limit=1").await["metadata"].get("continue").is_none(), "0 has no pages");
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    everywhere(|world| Box::pin(refusals(world))).await;
}

async fn refusals(world: &ContractHarness) {
    for (query, code, reason, message) in [
        ("labelSelector=a%20b", 400, "BadRequest", "unable to parse requirement: "),
        ("labelSelector=a%3D(", 400, "BadRequest", "unable to parse requirement: "),
        ("labelSelector=a%20in%20b", 400, "BadRequest", "unable to parse requirement: "),
        ("labelSelector=-a", 400, "BadRequest", ""),
        ("fieldSelector=foo", 400, "BadRequest", "invalid selector: 'foo'; can't understand 'foo'"),
        ("fieldSelector=spec.priority%3D1", 400, "BadRequest", "field label not supported: spec.priority"),
        ("limit=many", 400, "BadRequest", "strconv.ParseInt: parsing \"many\": invalid syntax"),
        ("continue=nonsense", 400, "BadRequest", "invalid continue token: continue key is not valid: "),
        ("resourceVersion=x", 400, "BadRequest", "invalid resource version: resourceVersion: Invalid value: \"x\""),
        ("resourceVersion=99999999999", 504, "Timeout", "Timeout: Too large resource version: 99999999999, current: "),
        (
            "resourceVersionMatch=Exact",
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden",
        ),
        ("watch=true&resourceVersion=x", 500, "", "resourceVersion: Invalid value: \"x\": strconv.ParseUint: "),
        ("watch=true&labelSelector=a%20b", 400, "BadRequest", "unable to parse requirement: "),
        (
            "watch=true&sendInitialEvents=true",
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: ",
        ),
    ] {
        let (got, status) = world.send("GET", &world.pods(&format!("?{query}")), None).await;
        assert_eq!((got, text_at(&status, "/reason").as_str()), (code, reason), "{query}: {status}");
        assert!(text_at(&status, "/message").starts_with(message), "{query}: {status}");
        assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Failure")));
        assert_eq!(status["code"], json!(code));
    }
}
