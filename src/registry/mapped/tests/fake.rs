//! A REST registry on loopback that misbehaves on request, and clients of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value as Json, json};

use crate::{
    mapping::{
        load::load,
        login::LoginTemplate,
        spec::{TargetSpec, auth::AuthSpec},
        target::Target,
    },
    model::{
        ids::{RecordOwner, Version},
        pod::{
            Pod,
            object::PodObject,
            to_record::{AllowList, Rule, desired},
        },
        uid::Uid,
    },
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::{Failure, Verdict},
    },
    registry::{
        Encoded, RecordChange, Registry as _,
        mapped::{MappedOperation, TargetClient, reader::TargetReader, recorder::ExchangeLog},
    },
};

/// The mark of the clients.
pub(super) const MARK: &str = "pod-registrar:c1:o";

/// What the next request meets.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It is answered so, and has no effect.
    Refuse(u16, &'static str),
    /// It has its effect, and its answer is lost.
    Lose,
    /// It has its effect, and a proxy answers with this status.
    Replace(u16),
    /// It has no effect, and the registry asks to wait with this status.
    AskToWait(u16),
    /// It has no effect, and the body of the answer is this.
    Say(String),
}

#[derive(Default)]
pub(super) struct Contents {
    pub(super) records: BTreeMap<String, Json>,
    /// Whether the registry assigns ids.
    pub(super) assigns: bool,
    /// Whether it refuses to create a second record with a `uid`.
    pub(super) is_unique: bool,
    /// Whether a PATCH leaves members that it does not name, and clears those that are null.
    pub(super) merges: bool,
    /// Whether updates are answered as if there were no record.
    pub(super) is_read_only: bool,
    next_id: u64,
    /// Method, and path with query.
    pub(super) requests: Vec<(String, String)>,
    pub(super) bodies: Vec<String>,
    pub(super) headers: Vec<HeaderMap>,
    pub(super) faults: VecDeque<Fault>,
    /// Called while a request is on its way.
    pub(super) on_request: Option<Box<dyn Fn() + Send>>,
    /// Ids that lists leave out.
    pub(super) hidden: BTreeSet<String>,
    /// Changes what is stored.
    pub(super) edit: Option<fn(&mut Json)>,
    pub(super) page_size: usize,
    /// Added to the count.
    pub(super) miscount: i64,
    /// Whether batches have a result per item. Otherwise they are atomic.
    pub(super) per_item: bool,
    /// Whether atomic refusals name the operation at fault.
    pub(super) names_faults: bool,
    /// The header `authorization` that is accepted.
    pub(super) expects: Option<String>,
    /// The revision of all records.
    pub(super) revision: u64,
    /// Whether writes must name the revision of the record.
    pub(super) compares: bool,
    /// The status for a write that names another one. Default: 412.
    pub(super) conflict: Option<u16>,
}

#[derive(Clone)]
pub(super) struct Fake {
    contents: Arc<Mutex<Contents>>,
    pub(super) address: String,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let contents = Arc::new(Mutex::new(Contents { page_size: 100, ..Contents::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().fallback(handle).with_state(contents.clone());
        // It ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { contents, address }
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }

    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.contents().faults.extend(faults);
    }

    /// The number of records that it holds.
    pub(super) fn held(&self) -> usize {
        self.contents().records.len()
    }

    /// The methods and paths of the requests since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.contents().requests);
        requests.into_iter().map(|(method, path)| format!("{method} {path}")).collect()
    }

    /// The members of a target with ids that we choose.
    pub(super) fn client(&self, members: &str) -> TargetClient {
        self.client_with(members, None)
    }

    pub(super) fn client_with(&self, members: &str, log: Option<Arc<ExchangeLog>>) -> TargetClient {
        self.make_client(members, &owner(), log)
    }

    pub(super) fn client_of(&self, members: &str, owner: &RecordOwner) -> TargetClient {
        self.make_client(members, owner, None)
    }

    /// What the commands read the registry with.
    pub(super) fn reader(&self, members: &str) -> TargetReader {
        let (target, spec) = self.compile(members, &owner());
        TargetReader::new(target, &spec.connection, None, Duration::from_secs(5), None).unwrap()
    }

    fn compile(&self, members: &str, owner: &RecordOwner) -> (Target, TargetSpec) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let indented: String = members.lines().map(|line| format!("    {line}\n")).collect();
        let file = format!("targets:\n  - name: t\n    url: http://{}/\n{indented}", self.address);
        let mut loaded = load("targets.yaml", &file).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let spec = loaded.targets.swap_remove(0).spec;
        let target = Target::compile(&spec, owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
        (target, spec)
    }

    fn make_client(&self, members: &str, owner: &RecordOwner, log: Option<Arc<ExchangeLog>>) -> TargetClient {
        let (target, spec) = self.compile(members, owner);
        let login = match &spec.connection.auth {
            Some(AuthSpec::Login(login)) => Some(LoginTemplate::compile(login, &spec.connection.url, owner).unwrap()),
            _ => None,
        };
        TargetClient::new(target, &spec.connection, login, Duration::from_secs(5), log).unwrap()
    }
}

/// The target most tests use.
pub(super) const REST: &str = r#"
body: {title: "{{ pod.name }}", node: "{{ placement.node | default(omit) }}", owner: "{{ mark }}", digest: "{{ digest }}"}
put: {path: "systems/{{ id }}"}
delete: {path: "systems/{{ id }}"}
find: {path: "systems/{{ id }}", at: ""}
list: {path: systems, query: {owner: "{{ mark }}"}, items: /results, next: {url: /next}, count: /count}
item: {id: /id, mark: /owner, digest: /digest}
"#;

/// The same without lookups before the first put.
pub(super) fn exclusive() -> String {
    format!("{REST}exclusive: true\n")
}

/// A target whose registry assigns ids.
pub(super) const ASSIGNED: &str = r#"
body: {title: "{{ pod.name }}", uid: "{{ id }}", owner: "{{ mark }}", digest: "{{ digest }}"}
create: {path: systems, remote: /id}
update: {path: "systems/{{ remote }}"}
delete: {path: "systems/{{ remote }}"}
find: {path: systems, query: {uid: "{{ id }}"}, at: /results/0}
list: {path: systems, query: {owner: "{{ mark }}"}, items: /results, next: {url: /next}, count: /count}
item: {id: /uid, remote: /id, mark: /owner, digest: /digest}
"#;

pub(super) fn owner() -> RecordOwner {
    RecordOwner { cluster_id: "c1".into(), cluster_name: "prod".into(), owner: "o".into() }
}

/// The UID of a pod in these tests.
pub(super) fn uid(n: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{n:02x}")
}

pub(super) fn pod(n: u8, name: &str) -> Pod {
    let object: PodObject = serde_json::from_value(json!({"metadata": {
        "name": name, "namespace": "shop", "uid": uid(n), "resourceVersion": "7",
        "creationTimestamp": "2026-11-23T10:00:00Z"}}))
    .unwrap();
    desired(object, &Rule { owner: owner(), labels: AllowList::default(), annotations: AllowList::default() }).unwrap()
}

/// Encodes the record of a pod, under its key.
pub(super) fn put(client: &TargetClient, pod: &Pod) -> Encoded<MappedOperation> {
    let crate::registry::Projection::Record { key, fingerprint } = client.project(pod) else { panic!() };
    let encoded = client.encode(&key, version(), RecordChange::Put(pod, pod.content.as_ref().unwrap())).unwrap();
    assert_eq!(encoded.fingerprint, Some(fingerprint));
    encoded
}

pub(super) fn delete(client: &TargetClient, key: &Uid) -> Encoded<MappedOperation> {
    client.encode(key, version(), RecordChange::Delete(Removal::Observed(Deletion::Deleted))).unwrap()
}

fn version() -> Version {
    static SEQUENCE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    Version { epoch: 1_795_428_000, seq: SEQUENCE.fetch_add(1, std::sync::atomic::Ordering::Relaxed) }
}

pub(super) async fn write(client: &TargetClient, operation: Encoded<MappedOperation>) -> Result<Verdict, Failure> {
    client.write(1, vec![operation], false).await.map(|mut verdicts| verdicts.remove(0))
}

pub(super) async fn write_pod(client: &TargetClient, n: u8, name: &str) -> Result<Verdict, Failure> {
    write(client, put(client, &pod(n, name))).await
}

pub(super) async fn delete_pod(client: &TargetClient, n: u8) -> Result<Verdict, Failure> {
    write(client, delete(client, &Uid::from(uid(n)))).await
}

/// All records of the inventory: key, and whether the fingerprint is that of the pod with this name.
pub(super) async fn inventory(
    client: &TargetClient,
) -> Result<Vec<crate::registry::inventory::InventoryItem>, Failure> {
    let (mut items, mut token) = (Vec::new(), None);
    loop {
        let page = client.inventory(None, token, 100).await?;
        items.extend(page.items);
        if page.next.is_none() {
            assert_eq!(page.count, items.len() as u64);
            return Ok(items);
        }
        token = page.next;
    }
}

pub(super) fn cause(result: Result<Verdict, Failure>) -> String {
    match result {
        Ok(Verdict::Rejected { cause }) => format!("rejected: {cause}"),
        Ok(Verdict::Uncertain { cause }) => format!("uncertain: {cause}"),
        Ok(Verdict::Retry { cause, .. }) => format!("retry: {cause}"),
        other => format!("{other:?}"),
    }
}

async fn handle(
    State(contents): State<Arc<Mutex<Contents>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut contents = contents.lock();
    contents.requests.push((method.to_string(), uri.to_string().trim_start_matches('/').to_owned()));
    contents.bodies.push(String::from_utf8_lossy(&body).into_owned());
    contents.headers.push(headers.clone());
    if let Some(on_request) = &contents.on_request {
        on_request();
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !uri.path().starts_with("/login") && contents.expects.is_some() && given != contents.expects.as_deref() {
        let echo = format!("{{\"error\": \"refused: {}\"}}", given.unwrap_or_default());
        return (StatusCode::UNAUTHORIZED, echo).into_response();
    }
    let fault = contents.faults.pop_front();
    match fault {
        Some(Fault::Refuse(status, text)) => {
            let status = StatusCode::from_u16(status).unwrap();
            return (status, text).into_response();
        }
        Some(Fault::Say(text)) => return text.into_response(),
        Some(Fault::AskToWait(status)) => {
            return (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, "7")], "").into_response();
        }
        _ => {}
    }
    let sent: Json = serde_json::from_slice(&body).unwrap_or_default();
    let answer = contents.answer(&method, &uri, &headers, sent);
    match fault {
        Some(Fault::Lose) => (StatusCode::BAD_GATEWAY, "bad gateway").into_response(),
        Some(Fault::Replace(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        _ => answer,
    }
}

fn reply(status: u16, json: &Json) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(json.clone())).into_response()
}

/// A document after a merge patch.
fn merged(mut document: Json, patch: Json) -> Json {
    let Json::Object(patch) = patch else { return patch };
    if !document.is_object() {
        document = json!({});
    }
    let members = document.as_object_mut().unwrap();
    for (name, member) in patch {
        match members.remove(&name) {
            _ if member.is_null() => {}
            before => _ = members.insert(name, merged(before.unwrap_or_default(), member)),
        }
    }
    document
}

impl Contents {
    fn answer(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, sent: Json) -> Response {
        let path = uri.path().trim_matches('/').to_owned();
        let query: BTreeMap<String, String> = reqwest::Url::parse(&format!("http://x{uri}"))
            .unwrap()
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        match (method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
            ("PUT", ["systems", id]) => self.store((*id).to_owned(), headers, sent),
            ("POST", ["systems"]) if self.is_unique && self.records.values().any(|held| held["uid"] == sent["uid"]) => {
                reply(409, &json!({"error": "exists"}))
            }
            ("POST", ["systems"]) => {
                let id = if self.assigns {
                    self.next_id += 1;
                    self.next_id.to_string()
                } else {
                    sent["id"].as_str().unwrap_or_default().to_owned()
                };
                if self.records.contains_key(&id) {
                    return reply(409, &json!({"error": "exists"}));
                }
                self.store(id, headers, sent)
            }
            ("PATCH", ["systems", id]) if self.is_read_only || !self.records.contains_key(*id) => {
                reply(404, &json!({"error": "none"}))
            }
            ("PATCH", ["systems", id]) => {
                let merged = if self.merges { merged(self.records[*id].clone(), sent) } else { sent };
                self.store((*id).to_owned(), headers, merged)
            }
            ("DELETE", ["systems", id]) => match self.records.remove(*id) {
                Some(_) => StatusCode::NO_CONTENT.into_response(),
                None => reply(404, &json!({"error": "none"})),
            },
            ("GET", ["systems", id]) => match self.records.get(*id) {
                Some(record) => reply(200, record),
                None => reply(404, &json!({"error": "none"})),
            },
            ("GET", ["systems"]) => self.list(&query),
            ("POST", ["bulk"]) => self.bulk(&sent),
            ("POST", ["login"]) => reply(200, &json!({"token": "login-token-1", "seconds": 100})),
            _ => reply(404, &json!({"error": "no such path"})),
        }
    }

    fn store(&mut self, id: String, headers: &HeaderMap, sent: Json) -> Response {
        if sent["title"] == "poison" {
            return reply(422, &json!({"error": "the title is poison"}));
        }
        let held = self.records.get(&id).map(|record| record["revision"].to_string());
        let named = headers.get("if-match").and_then(|value| value.to_str().ok()).map(str::to_owned);
        if self.compares && held != named {
            return reply(self.conflict.unwrap_or(412), &json!({"error": "revision"}));
        }
        self.revision += 1;
        let mut record = sent;
        record["id"] = if self.assigns { json!(id.parse::<u64>().unwrap()) } else { json!(id) };
        record["revision"] = json!(self.revision);
        if let Some(edit) = self.edit {
            edit(&mut record);
        }
        let answer = reply(200, &record);
        self.records.insert(id, record);
        answer
    }

    fn list(&mut self, query: &BTreeMap<String, String>) -> Response {
        let wanted = |record: &Json| {
            query.iter().all(|(name, value)| ["page"].contains(&name.as_str()) || record[name] == value.as_str())
        };
        let is_lookup = query.contains_key("uid");
        let is_shown = |id: &String| is_lookup || !self.hidden.contains(id);
        let shown = self.records.iter().filter(|(id, record)| wanted(record) && is_shown(id));
        let all: Vec<Json> = shown.map(|(_, record)| record.clone()).collect();
        let start: usize = query.get("page").and_then(|page| page.parse().ok()).unwrap_or(0);
        let results: Vec<Json> = all.iter().skip(start).take(self.page_size).cloned().collect();
        let next = start + results.len();
        let others = query.iter().filter(|(name, _)| *name != "page");
        let others: String = others.map(|(name, value)| format!("&{name}={value}")).collect();
        let next = (next < all.len()).then(|| format!("/systems?page={next}{others}"));
        let count = i64::try_from(all.len()).unwrap() + self.miscount;
        reply(200, &json!({"results": results, "next": next, "count": count}))
    }

    fn bulk(&mut self, sent: &Json) -> Response {
        let operations = sent["operations"].as_array().cloned().unwrap_or_default();
        let is_poison = |operation: &Json| operation["record"]["title"] == "poison";
        if !self.per_item
            && let Some(fault) = operations.iter().position(is_poison)
        {
            let errors = if self.names_faults { json!([{"index": fault, "what": "poison"}]) } else { json!([]) };
            return reply(400, &json!({"errors": errors}));
        }
        let mut results = Vec::new();
        for operation in &operations {
            let id = operation["id"].as_str().unwrap().to_owned();
            let mut revision = Json::Null;
            let (status, reason) = match operation["op"].as_str() {
                Some("put") if is_poison(operation) => (422, "poison"),
                Some("put") => {
                    let mut record = operation["record"].clone();
                    record["id"] = json!(id);
                    self.revision += 1;
                    revision = json!(self.revision);
                    record["revision"] = revision.clone();
                    self.records.insert(id.clone(), record);
                    (200, "")
                }
                _ => (if self.records.remove(&id).is_some() { 200 } else { 404 }, ""),
            };
            results.push(json!({"id": id, "status": status, "reason": reason, "revision": revision}));
        }
        results.retain(|result| !self.hidden.contains(result["id"].as_str().unwrap()));
        reply(200, &json!({"results": results, "errors": []}))
    }
}
