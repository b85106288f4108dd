//! Facts about PocketBase that `docs/examples/targets-pocketbase.yaml` relies on.

use serde_json::{Value, json};

use crate::support::registries::BuiltRegistries;

const RECORDS: &str = "/api/collections/systems/records";

fn id(number: u32) -> String {
    format!("8c1f0f52-3d5f-4f6c-9a9e-{number:012}")
}

fn record(number: u32, owner: &str) -> Value {
    json!({"id": id(number), "name": "web", "addresses": ["10.0.0.1"], "owner": owner, "digest": "00", "unknown": 1})
}

#[tokio::test]
async fn pocketbase_creates_and_updates_with_our_ids() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (server, _) = registries.pocketbase().await;
    let created = server.post(RECORDS, &record(1, "m")).await;
    assert_eq!((created.status, created.text("/id")), (200, id(1)));
    assert_eq!(created.body.get("unknown"), None, "members without a field are ignored");
    let again = server.post(RECORDS, &record(1, "m")).await;
    assert_eq!((again.status, again.text("/data/id/code")), (400, "validation_pk_invalid".to_owned()));
    let one = format!("{RECORDS}/{}", id(1));
    assert_eq!(server.put(&one, &record(1, "m")).await.status, 404, "there is no PUT");
    assert_eq!(server.patch(&one, &json!({"name": "db"})).await.status, 200);
    assert_eq!(server.get(&one).await.text("/name"), "db");
    assert_eq!(server.patch(&format!("{RECORDS}/{}", id(2)), &json!({"name": "db"})).await.status, 404);
    assert_eq!(server.delete(&one).await.status, 204);
    assert_eq!(server.delete(&one).await.status, 404);
    assert_eq!(server.get(&one).await.status, 404);
}

#[tokio::test]
async fn pocketbase_lists_one_owner_in_pages() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (server, _) = registries.pocketbase().await;
    for (number, owner) in [(1, "pod-registrar:c:o"), (2, "pod-registrar:c:o"), (3, "pod-registrar:c:o"), (4, "other")]
    {
        assert_eq!(server.post(RECORDS, &record(number, owner)).await.status, 200);
    }
    let list = async |page: u32| {
        let filter = "filter=owner%20%3D%20%22pod-registrar%3Ac%3Ao%22";
        server.get(&format!("{RECORDS}?{filter}&sort=id&perPage=2&page={page}")).await.body
    };
    let ids =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
    let (first, last) = (list(1).await, list(2).await);
    assert_eq!((ids(&first), ids(&last)), (vec![json!(id(1)), json!(id(2))], vec![json!(id(3))]));
    assert_eq!((&first["totalItems"], &first["totalPages"]), (&json!(3), &json!(2)));
    assert_eq!(server.get(&format!("{RECORDS}?filter=none%3D1")).await.status, 400, "an unknown field");
}

#[tokio::test]
async fn pocketbase_forbids_what_needs_a_token() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (mut server, token) = registries.pocketbase().await;
    // A token that is expired or wrong is as good as none: 403 and never 401.
    for wrong in ["", "wrong"] {
        server.authorize("authorization", wrong);
        assert_eq!(server.get(RECORDS).await.status, 403);
        assert_eq!(server.post(RECORDS, &record(1, "m")).await.status, 403);
    }
    // A rule hides the records from it, and the list is empty.
    server.authorize("authorization", &token);
    assert_eq!(server.post(RECORDS, &record(1, "m")).await.status, 200);
    let rule = json!({"listRule": "@request.auth.id != ''"});
    assert_eq!(server.patch("/api/collections/systems", &rule).await.status, 200);
    server.authorize("authorization", "wrong");
    let hidden = server.get(RECORDS).await;
    assert_eq!((hidden.status, &hidden.body["totalItems"]), (200, &json!(0)));
}
