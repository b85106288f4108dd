//! Facts about CoreDNS and its etcd plugin that the preset `skydns` relies on.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{
    SOON, eventually,
    registries::{BuiltRegistries, DnsAnswer, HttpRegistry, resolve, resolve_reverse},
};

const ZONE: &str = "pods.cluster.example";
const ROOT: &str = "/skydns/example/cluster/pods";
const NO_ERROR: u8 = 0;
const FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const REFUSED: u8 = 5;

async fn put(etcd: &HttpRegistry, key: &str, value: &str) {
    put_at(etcd, &format!("{ROOT}/{key}"), value).await;
}

async fn put_at(etcd: &HttpRegistry, key: &str, value: &str) {
    let body = json!({"key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value)});
    assert_eq!(etcd.post("/v3/kv/put", &body).await.status, 200);
}

async fn delete(etcd: &HttpRegistry, key: &str) {
    let body = json!({"key": BASE64_STANDARD.encode(format!("{ROOT}/{key}"))});
    assert_eq!(etcd.post("/v3/kv/deleterange", &body).await.status, 200);
}

fn value(host: &str) -> String {
    let value: Value = json!({"host": host, "ttl": 30, "owner": "pod-registrar:c:o", "digest": "00"});
    value.to_string()
}

async fn expect(server: SocketAddr, name: &str, code: u8, hosts: &[&str]) {
    let mut addresses: Vec<IpAddr> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    addresses.sort_unstable();
    let wanted = DnsAnswer { code, addresses };
    eventually(name, SOON, async || match resolve(server, &format!("{name}.{ZONE}")).await? {
        answer if answer == wanted => Ok(()),
        answer => Err(format!("{answer:?} and not {wanted:?}")),
    })
    .await;
}

#[tokio::test]
async fn coredns_resolves_what_is_written_to_etcd() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, &[ZONE]).await;
    let server = coredns.address;
    expect(server, "web-0.shop", NO_SUCH_NAME, &[]).await;
    put(&etcd, "shop/web-0/a-4", &value("10.0.0.1")).await;
    put(&etcd, "shop/web-0/a-6", &value("fd00::1")).await;
    expect(server, "web-0.shop", NO_ERROR, &["10.0.0.1", "fd00::1"]).await;
    put(&etcd, "shop/web-0/a-4", &value("10.0.0.2")).await;
    expect(server, "web-0.shop", NO_ERROR, &["10.0.0.2", "fd00::1"]).await;
    delete(&etcd, "shop/web-0/a-4").await;
    expect(server, "web-0.shop", NO_ERROR, &["fd00::1"]).await;
    delete(&etcd, "shop/web-0/a-6").await;
    expect(server, "web-0.shop", NO_SUCH_NAME, &[]).await;
}

#[tokio::test]
async fn coredns_answers_with_all_keys_below() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, &[ZONE]).await;
    let server = coredns.address;
    // The pods of a StatefulSet that follow each other have the same name for a while.
    put(&etcd, "shop/web-1/old-4", &value("10.0.0.1")).await;
    put(&etcd, "shop/web-1/new-4", &value("10.0.0.2")).await;
    put(&etcd, "shop/web-10/other-4", &value("10.0.0.3")).await;
    expect(server, "web-1.shop", NO_ERROR, &["10.0.0.1", "10.0.0.2"]).await;
    expect(server, "shop", NO_ERROR, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]).await;
    // A value that is not JSON hides the others of its name, but no other name.
    put(&etcd, "shop/web-1/foreign", "text").await;
    expect(server, "web-1.shop", FAILURE, &[]).await;
    expect(server, "web-10.shop", NO_ERROR, &["10.0.0.3"]).await;
}

#[tokio::test]
async fn coredns_answers_reverse_names_of_its_zones() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, &[ZONE, "10.in-addr.arpa", "d.f.ip6.arpa"]).await;
    let expect = async |address: &str, code: u8, names: &[&str]| {
        eventually(address, SOON, async || match resolve_reverse(coredns.address, address.parse().unwrap()).await? {
            (found, all) if found == code && all == names => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    expect("10.0.0.1", NO_SUCH_NAME, &[]).await;
    let name = format!("web-0.shop.{ZONE}");
    put_at(&etcd, "/skydns/arpa/in-addr/10/0/0/1", &value(&format!("{name}."))).await;
    let digits = format!("f/d/{}1", "0/".repeat(29));
    put_at(&etcd, &format!("/skydns/arpa/ip6/{digits}"), &value(&format!("{name}."))).await;
    expect("10.0.0.1", NO_ERROR, &[&name]).await;
    expect("fd00::1", NO_ERROR, &[&name]).await;
    // Only the key of exactly this name counts.
    put_at(&etcd, "/skydns/arpa/in-addr/10/0/0/2/web-0", &value(&format!("{name}."))).await;
    put_at(&etcd, "/skydns/arpa/in-addr/10/0/0/3", &value(&format!("{name}."))).await;
    expect("10.0.0.3", NO_ERROR, &[&name]).await;
    expect("10.0.0.2", NO_SUCH_NAME, &[]).await;
    // Another zone is refused.
    put_at(&etcd, "/skydns/arpa/in-addr/192/0/2/1", &value(&format!("{name}."))).await;
    expect("192.0.2.1", REFUSED, &[]).await;
}
