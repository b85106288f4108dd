//! The systems: writes, preconditions, pages and limits.

use serde_json::json;

use super::*;

fn members(value: Value) -> SystemMembers {
    let Value::Object(members) = value else { panic!("no object") };
    members
}

fn store() -> SystemStore {
    SystemStore::new(1 << 20)
}

fn put(store: &mut SystemStore, id: &str, value: Value) -> Result<WrittenSystem, Error> {
    store.put(id.to_owned(), &members(value), &WritePrecondition::default(), Instant::now())
}

fn shown(system: &StoredSystem) -> Value {
    serde_json::from_str(&system.text).unwrap()
}

fn list(store: &SystemStore, owner: Option<&str>, limit: usize, after: &str) -> Value {
    let query = ListQuery { owner: owner.map(str::to_owned), limit, after: after.to_owned() };
    serde_json::from_str(&store.list(&query)).unwrap()
}

fn ids(page: &Value) -> Vec<&str> {
    page["results"].as_array().unwrap().iter().map(|system| system["id"].as_str().unwrap()).collect()
}

#[test]
fn put_creates_replaces_and_keeps_equal_systems() {
    let mut store = store();
    let created = put(&mut store, "a", json!({"name": "web", "node": "n1", "revision": 99})).unwrap();
    assert!(created.is_new);
    assert_eq!(shown(&created.system), json!({"id": "a", "name": "web", "node": "n1", "revision": 1}));
    let replaced = put(&mut store, "a", json!({"name": "api"})).unwrap();
    assert!(!replaced.is_new);
    assert_eq!(shown(&replaced.system), json!({"id": "a", "name": "api", "revision": 2}));
    assert_eq!(put(&mut store, "a", json!({"name": "api"})).unwrap().system.revision, 2);
}

#[test]
fn server_assigns_free_ids() {
    let mut store = store();
    put(&mut store, "system-2", json!({})).unwrap();
    let created = store.create(None, &SystemMembers::new(), Instant::now()).unwrap();
    assert_eq!(created.id, "system-3");
    let again = store.create(Some("system-3".into()), &SystemMembers::new(), Instant::now());
    assert_eq!(again.unwrap_err(), Error::Exists("system-3".into()));
}

#[test]
fn patch_changes_only_its_members() {
    let mut store = store();
    put(&mut store, "a", json!({"name": "web", "tags": {"x": 1, "y": 2}, "owner": "o"})).unwrap();
    let patch = members(json!({"id": "b", "name": null, "tags": {"y": 3}}));
    let patched = store.patch("a".into(), patch, &WritePrecondition::default(), Instant::now()).unwrap();
    let expected = json!({"id": "a", "tags": {"x": 1, "y": 3}, "owner": "o", "revision": 2});
    assert_eq!(shown(&patched.system), expected, "the id stays");
    let unknown = store.patch("b".into(), SystemMembers::new(), &WritePrecondition::default(), Instant::now());
    assert_eq!(unknown.unwrap_err(), Error::Unknown("b".into()));
}

#[test]
fn preconditions_refuse_other_revisions() {
    let mut store = store();
    put(&mut store, "a", json!({})).unwrap();
    let expect =
        |revisions: Option<&[u64]>, absent| WritePrecondition { revisions: revisions.map(<[u64]>::to_vec), absent };
    let refused = [
        ("a", expect(Some(&[7]), false)),
        ("a", expect(None, true)),
        ("b", expect(Some(&[]), false)),
        ("b", expect(Some(&[1]), false)),
    ];
    for (id, expected) in refused {
        let written = store.put(id.into(), &SystemMembers::new(), &expected, Instant::now());
        assert_eq!(written.unwrap_err(), Error::Precondition, "{id} {expected:?}");
        assert_eq!(store.remove(id.into(), &expected), Err(Error::Precondition));
    }
    store.put("b".into(), &SystemMembers::new(), &expect(None, true), Instant::now()).unwrap();
    store.remove("b".into(), &expect(Some(&[]), false)).unwrap();
    store.remove("a".into(), &expect(Some(&[3, 1]), false)).unwrap();
    assert_eq!(store.remove("a".into(), &WritePrecondition::default()), Err(Error::Unknown("a".into())));
}

#[test]
fn list_shows_one_owner_page_by_page() {
    let mut store = store();
    for (id, owner) in [("a", "us"), ("b", "them"), ("c", "us"), ("d", "us"), ("e", "us")] {
        put(&mut store, id, json!({"owner": owner})).unwrap();
    }
    put(&mut store, "f", json!({"owner": 5})).unwrap();
    let first = list(&store, Some("us"), 2, "");
    assert_eq!((ids(&first), &first["total"]), (vec!["a", "c"], &json!(4)));
    assert_eq!(first["next"], "/api/systems?owner=us&limit=2&after=c");
    store.remove("a".into(), &WritePrecondition::default()).unwrap();
    let second = list(&store, Some("us"), 2, "c");
    assert_eq!((ids(&second), &second["next"]), (vec!["d", "e"], &Value::Null), "a full last page has no next");
    assert_eq!(ids(&list(&store, Some("nobody"), 2, "")), [""; 0]);
}

#[test]
fn long_pages_end_early() {
    let mut store = SystemStore::new(64 << 20);
    for number in 0..100 {
        put(&mut store, &format!("s{number:03}"), json!({"text": "x".repeat(60_000)})).unwrap();
    }
    let page = list(&store, None, 1_000, "");
    let shown = ids(&page).len();
    assert!((60..80).contains(&shown), "{shown}");
    let last = ids(&page).last().copied().unwrap();
    assert_eq!(page["next"], format!("/api/systems?limit=1000&after={last}"));
}

#[test]
fn systems_are_bounded_in_size() {
    let mut store = SystemStore::new(100_000);
    let long = json!({"text": "x".repeat(40_000)});
    put(&mut store, "a", long.clone()).unwrap();
    put(&mut store, "b", long.clone()).unwrap();
    assert_eq!(put(&mut store, "c", long.clone()).unwrap_err(), Error::Full);
    assert_eq!(put(&mut store, "a", json!({"text": "x".repeat(70_000)})).unwrap_err(), Error::TooLarge);
    put(&mut store, "a", json!({"text": "short"})).unwrap();
    put(&mut store, "c", long).unwrap();
    for id in ["a", "b", "c"] {
        store.remove(id.into(), &WritePrecondition::default()).unwrap();
    }
    assert_eq!(store.bytes, 0);
}

#[test]
fn filter_ignores_upper_and_lower_case() {
    let mut store = store();
    for (id, name) in [("a", "Web-1"), ("b", "api"), ("c", "web-2")] {
        put(&mut store, id, json!({"name": name})).unwrap();
    }
    let shown = store.show("WEB", 1, 5);
    assert_eq!((shown.matching, shown.total), (2, 3));
    assert_eq!(shown.systems[0].0, "c");
}
