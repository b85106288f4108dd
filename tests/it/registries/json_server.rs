//! Facts about json-server that `docs/examples/targets-json-server.yaml` relies on.

use serde_json::json;

use crate::support::registries::BuiltRegistries;

#[tokio::test]
async fn json_server_creates_only_with_post() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let server = registries.json_server().await;
    assert_eq!(server.put("/systems/a", &json!({"name": "web"})).await.status, 404, "PUT does not create");
    assert_eq!(server.post("/systems", &json!({"id": "a", "name": "web"})).await.status, 201);
    let again = server.post("/systems", &json!({"id": "a"})).await;
    assert_eq!(again.status, 500);
    assert!(again.body.as_str().unwrap().contains("duplicate id"), "{again:?}");
    let replaced = server.put("/systems/a", &json!({"owner": "m"})).await;
    assert_eq!((replaced.status, replaced.body), (200, json!({"id": "a", "owner": "m"})), "PUT replaces, with the id");
    assert_eq!(server.delete("/systems/a").await.status, 200);
    assert_eq!(server.delete("/systems/a").await.status, 404);
    assert_eq!(server.get("/systems/a").await.status, 404);
}

#[tokio::test]
async fn json_server_links_the_next_page() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let server = registries.json_server().await;
    for id in ["a", "b", "c"] {
        server.post("/systems", &json!({"id": id, "owner": "pod-registrar:c:o"})).await;
    }
    server.post("/systems", &json!({"id": "d", "owner": "other"})).await;
    let list =
        async |page: u32| server.get(&format!("/systems?owner=pod-registrar%3Ac%3Ao&_page={page}&_limit=2")).await;
    let (first, last) = (list(1).await, list(2).await);
    assert_eq!((first.header("x-total-count"), first.body.as_array().unwrap().len()), ("3", 2));
    let next = first.header("link").split(", ").find(|link| link.ends_with("rel=\"next\"")).unwrap();
    assert!(next.starts_with(&format!("<{}/systems?", server.url)), "{next}");
    assert_eq!(last.body.as_array().unwrap().len(), 1);
    assert!(!last.header("link").contains("rel=\"next\""), "{last:?}");
}
