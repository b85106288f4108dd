//! Registries of others, as `tests/registries/build` builds them, and stand-ins for others, which are
//! built from documentation.
//!
//! Each runs on a free port of loopback with its data in a folder of its own, and ends with the test.

mod consul;
mod dns;
mod elasticsearch;
mod nautobot;
mod netbox;
mod port;
mod postgrest;
mod server;
mod servicenow;
mod stand_in;
mod writer;

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{child::Child, poll::notice};

pub(crate) use consul::{ConsulFake, FULL_TOKEN, SERVICE_TOKEN};
pub(crate) use dns::{DnsAnswer, resolve, resolve_reverse};
pub(crate) use elasticsearch::ElasticsearchFake;
pub(crate) use nautobot::{READER_TOKEN, WRITER_TOKEN};
pub(crate) use netbox::{NetBoxFake, READ_TOKEN, WRITE_TOKEN};
pub(crate) use port::PortFake;
pub(crate) use postgrest::PostgrestFake;
pub(crate) use server::{Answer, HttpRegistry, RegistryCalls};
pub(crate) use servicenow::ServiceNowFake;
pub(crate) use writer::{CLUSTER_NAME, TargetWriter};

const VARIABLE: &str = "POD_REGISTRAR_TEST_REGISTRIES";
/// The password of the account in PocketBase.
pub(crate) const PASSWORD: &str = "not-a-secret";
const USER: &str = "registrar@example.com";

/// The folder with the built registries.
pub(crate) struct BuiltRegistries(PathBuf);

impl BuiltRegistries {
    /// The registries, or `None` and a notice if they are not built.
    pub(crate) fn find() -> Option<Self> {
        match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            Some(folder) => Some(Self(folder.into())),
            None => {
                notice(&format!("skipped: {VARIABLE} is not set; tests/registries/build prints its value"));
                None
            }
        }
    }

    fn program(&self, name: &str) -> PathBuf {
        let program = self.0.join(name);
        assert!(program.exists(), "{VARIABLE}: {} does not exist; run tests/registries/build", program.display());
        program
    }

    pub(crate) async fn etcd(&self) -> HttpRegistry {
        let program = self.program("etcd");
        server::start("/health", move |port, data| {
            let (url, peer) = (loopback(port), loopback(server::free_port()));
            let cluster = format!("default={peer}");
            let flags = [
                ["--data-dir", data],
                ["--listen-client-urls", &url],
                ["--advertise-client-urls", &url],
                ["--listen-peer-urls", &peer],
                ["--initial-advertise-peer-urls", &peer],
                ["--initial-cluster", &cluster],
                ["--log-level", "warn"],
            ];
            Child::start_other(&program, flags.as_flattened(), &[])
        })
        .await
    }

    /// CoreDNS for these zones, with the keys of an etcd below `/skydns`.
    pub(crate) async fn coredns(&self, etcd: &HttpRegistry, zones: &[&str]) -> dns::DnsServer {
        dns::DnsServer::start(&self.program("coredns"), zones, &etcd.url).await
    }

    /// A collection `systems` of json-server.
    pub(crate) async fn json_server(&self) -> HttpRegistry {
        let script = self.program("json-server/server.js");
        let script = script.to_str().expect("a path of plain characters").to_owned();
        server::start("/systems", move |port, data| {
            let file = format!("{data}/systems.json");
            if !Path::new(&file).exists() {
                std::fs::write(&file, json!({"systems": []}).to_string()).unwrap();
            }
            Child::start_other(Path::new("node"), &[&script, &port.to_string(), &file], &[])
        })
        .await
    }

    /// A receiver of messages of this kind: `webhooks` or `events`. It verifies webhooks with these secrets.
    pub(crate) async fn receiver(&self, kind: &'static str, secrets: &[&str]) -> HttpRegistry {
        let script = self.program("receivers/server.js");
        let script = script.to_str().expect("a path of plain characters").to_owned();
        let secrets = json!(secrets).to_string();
        server::start("/messages", move |port, data| {
            std::fs::write(format!("{data}/secrets.json"), &secrets).unwrap();
            Child::start_other(Path::new("node"), &[&script, &port.to_string(), data, kind], &[])
        })
        .await
    }

    /// Makes the account in a PocketBase. If it exists, its tokens are no longer valid.
    pub(crate) async fn set_pocketbase_password(&self, registry: &HttpRegistry) {
        let data = registry.data();
        let account = ["superuser", "upsert", USER, PASSWORD, "--dir", &data];
        let mut upsert = Child::start_other(&self.program("pocketbase"), &account, &[]);
        assert_eq!(upsert.code().await, 0, "{:?}", upsert.stderr());
    }

    /// PocketBase with the collection `systems` that `docs/examples/targets-pocketbase.yaml` asks for, and a token.
    pub(crate) async fn pocketbase(&self) -> (HttpRegistry, String) {
        let program = self.program("pocketbase");
        let mut registry = server::start("/api/health", move |port, data| {
            let serve = ["serve", "--http", &format!("127.0.0.1:{port}"), "--dir", data];
            Child::start_other(&program, &serve, &[])
        })
        .await;
        self.set_pocketbase_password(&registry).await;
        let login = json!({"identity": USER, "password": PASSWORD});
        let answer = registry.post("/api/collections/_superusers/auth-with-password", &login).await;
        let token = answer.text("/token");
        registry.authorize("authorization", &token);
        let created = registry.post("/api/collections", &collection()).await;
        assert_eq!(created.status, 200, "{created:?}");
        (registry, token)
    }
}

fn loopback(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn collection() -> serde_json::Value {
    let id = json!({"name": "id", "type": "text", "primaryKey": true, "required": true, "system": true,
        "min": 36, "max": 36, "pattern": "^[a-z0-9-]+$", "autogeneratePattern": ""});
    let texts = ["namespace", "name", "state", "node", "owner"];
    let texts = texts.into_iter().map(|name| json!({"name": name, "type": "text"}));
    let lists = ["addresses", "images"].into_iter().map(|name| json!({"name": name, "type": "json"}));
    let fields: Vec<_> = std::iter::once(id).chain(texts).chain(lists).collect();
    let indexes = ["CREATE INDEX systems_by_owner ON systems (owner)"];
    json!({"name": "systems", "type": "base", "fields": fields, "indexes": indexes})
}
