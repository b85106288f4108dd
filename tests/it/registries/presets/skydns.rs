//! The preset `skydns` against etcd and CoreDNS.

use std::net::{IpAddr, SocketAddr};

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::{Value, json};

use super::{
    CLUSTERS, Witness as _, created,
    etcd::{Keys, login, restrict, writes},
    exercise, lose_answers, object, pods,
    process::{create, ends, live, synced, targets},
};
use crate::process::world::{Kube, name};
use crate::support::{
    Controller, SOON, eventually,
    registries::{BuiltRegistries, DnsAnswer, HttpRegistry, TargetWriter, resolve, resolve_reverse},
};

const ZONE: &str = "pods.cluster.example";
const ROOT: &str = "/skydns/example/cluster/pods";
/// The zones of names and of addresses.
const ZONES: [&str; 3] = [ZONE, "10.in-addr.arpa", "d.f.ip6.arpa"];

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: dns, preset: skydns, url: {url}/}}\n")
}

fn keys(etcd: HttpRegistry) -> Keys {
    let id = |pod: &Pod| format!("{ROOT}/{}/{}/{}-4", pod.namespace, pod.name, pod.uid);
    Keys { etcd, root: "/skydns", id, foreign: format!("{ROOT}/shop/web-1/theirs-4") }
}

/// A running pod with these addresses.
fn with_addresses(number: usize, addresses: &[&str]) -> Value {
    let mut object = created(object(number));
    object["status"]["podIP"] = addresses.first().copied().into();
    object["status"]["podIPs"] = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    object
}

/// Waits until a name has exactly these addresses.
async fn expect(server: SocketAddr, name: &str, addresses: &[&str]) {
    let mut addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    addresses.sort_unstable();
    let code = if addresses.is_empty() { 3 } else { 0 };
    let (name, wanted) = (format!("{name}.{ZONE}"), DnsAnswer { code, addresses });
    eventually(&name, SOON, async || match resolve(server, &name).await? {
        answer if answer == wanted => Ok(()),
        answer => Err(format!("{answer:?} and not {wanted:?}")),
    })
    .await;
}

/// Waits until an address has exactly this name.
async fn expect_reverse(server: SocketAddr, address: &str, name: Option<&str>) {
    let names: Vec<String> = name.iter().map(|name| format!("{name}.{ZONE}")).collect();
    let wanted = (if names.is_empty() { 3 } else { 0 }, names);
    eventually(address, SOON, async || match resolve_reverse(server, address.parse().unwrap()).await? {
        answer if answer == wanted => Ok(()),
        answer => Err(format!("{answer:?} and not {wanted:?}")),
    })
    .await;
}

#[tokio::test]
async fn skydns_preset_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    exercise(&etcd.url.clone(), file, &keys(etcd)).await;
}

#[tokio::test]
async fn skydns_preset_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    // The records have no image, so that the second change is none.
    lose_answers(&etcd.url.clone(), file, &keys(etcd)).await;
}

#[tokio::test]
async fn skydns_equals_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    live(&etcd.url.clone(), file, keys(etcd), writes).await;
}

#[tokio::test]
async fn coredns_resolves_pods_in_both_directions() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, &ZONES).await;
    let writer = TargetWriter::new(&file(&etcd.url), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let addresses: [&[&str]; 4] = [&["10.0.0.1", "fd00::1"], &["fd00::2", "10.0.0.2"], &["fd00::3"], &["10.0.0.4"]];
    let pods: Vec<Pod> =
        (1..).zip(addresses).map(|(number, addresses)| writer.pod(with_addresses(number, addresses))).collect();
    for (pod, addresses) in pods.iter().zip(addresses) {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
        let name = format!("{}.shop", pod.name);
        expect(coredns.address, &name, addresses).await;
        for address in addresses {
            expect_reverse(coredns.address, address, Some(&name)).await;
        }
    }
    super::listed(&writer, &pods).await;
    for (pod, addresses) in pods.iter().zip(addresses) {
        assert_eq!(writer.remove(pod).await, Ok(Verdict::Done));
        expect(coredns.address, &format!("{}.shop", pod.name), &[]).await;
        for address in addresses {
            expect_reverse(coredns.address, address, None).await;
        }
    }
}

#[tokio::test]
async fn host_network_gives_no_reverse_name() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let mut object = with_addresses(1, &["10.0.0.1"]);
    object["spec"]["hostNetwork"] = true.into();
    let writer = TargetWriter::new(&file(&keys.etcd.url), CLUSTERS[0]);
    assert!(!writer.selects(&writer.pod(object.clone())));
    // A file that selects such pods gives them names.
    let all = file(&keys.etcd.url).replace("preset: skydns", "preset: skydns, select: null");
    let writer = TargetWriter::new(&all, CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let pod = writer.pod(object);
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    let records = keys.records().await;
    assert_eq!(records.keys().collect::<Vec<_>>(), [&(keys.id)(&pod)]);
}

#[tokio::test]
async fn skydns_writes_with_the_rights_of_its_page() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (etcd, folder) = (registries.etcd().await, tempfile::tempdir().unwrap());
    let term = format!("/pod-registrar:{}:pod-registrar/term", CLUSTERS[0]);
    restrict(&etcd, &[&format!("{ROOT}/"), "/skydns/arpa/", &term]).await;
    let file = format!("targets:\n  - {{name: dns, preset: skydns, url: {}/, {}}}\n", etcd.url, login(folder.path()));
    let writer = TargetWriter::new(&file, CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let pods = pods(&writer, 1..3);
    for pod in &pods {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    super::listed(&writer, &pods).await;
    assert_eq!(writer.remove(&pods[0]).await, Ok(Verdict::Done));
    super::listed(&writer, &pods[1..]).await;
}

#[tokio::test]
async fn skydns_may_leave_reverse_names_out() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let kinds = "kinds: {address: null, name: {body: {ttl: 5}}}";
    let names = file(&keys.etcd.url).replace("preset: skydns", &format!("preset: skydns, {kinds}"));
    let writer = TargetWriter::new(&names, CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let pod = writer.pod(with_addresses(1, &["10.0.0.1"]));
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    let records = keys.records().await;
    let ttls: Vec<(&String, &Value)> = records.iter().map(|(key, value)| (key, &value["ttl"])).collect();
    assert_eq!(ttls, [(&(keys.id)(&pod), &5.into())]);
}

/// The keys of a target per address family have the same ids and values.
#[tokio::test]
async fn skydns_keeps_keys_of_both_families() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let writer = TargetWriter::new(&file(&keys.etcd.url), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let pod = writer.pod(with_addresses(1, &["10.0.0.1", "fd00::1"]));
    for (family, host) in [(4, "10.0.0.1"), (6, "fd00::1")] {
        let value = json!({"host": host, "ttl": 30, "owner": writer.mark()});
        keys.store(&format!("{ROOT}/shop/web-1/{}-{family}", pod.uid), &value).await;
    }
    let (listed, wanted) = (writer.inventory().await.unwrap(), writer.desired(std::slice::from_ref(&pod)));
    assert_eq!((listed.len(), wanted.len()), (2, 4));
    assert!(listed.iter().all(|(key, print)| wanted.get(key) == Some(print)), "{listed:?} {wanted:?}");
}

#[tokio::test]
async fn reverse_name_of_another_cluster_stays() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let writer = TargetWriter::new(&file(&keys.etcd.url), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let theirs = json!({"host": "web-1.other.example.", "owner": "pod-registrar:other:default"});
    let key = "/skydns/arpa/in-addr/10/0/0/1";
    keys.store(key, &theirs).await;
    let [pod] = pods(&writer, 1..2).try_into().unwrap();
    let verdict = writer.put(&pod).await;
    assert!(matches!(&verdict, Ok(Verdict::Rejected { cause }) if cause.contains("owner mark")), "{verdict:?}");
    let records = keys.records().await;
    assert_eq!((records.len(), &records[key]), (2, &theirs), "the name is written");
    writer.inventory().await.unwrap();
    assert_eq!(writer.remove(&pod).await, Ok(Verdict::Done));
    assert_eq!(keys.records().await.into_iter().collect::<Vec<_>>(), [(key.to_owned(), theirs)]);
}

#[tokio::test]
async fn coredns_follows_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, &ZONES).await;
    let server = coredns.address;
    let kube = Kube::start().await;
    let path = targets(kube.folder.path(), &file(&etcd.url));
    create(&kube, 0..6);
    let addresses = |number: usize, addresses: &[&str]| {
        let changed = kube.api.update("default", &name(number), |pod| {
            pod["status"]["podIPs"] = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        });
        changed.unwrap();
    };
    let both = |number: usize| [format!("10.0.0.{number}"), format!("fd00::{number}")];
    for number in 0..3 {
        addresses(number, &both(number).each_ref().map(String::as_str));
    }
    let full = |number: usize| format!("{}.default", name(number));
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &["--resync-interval", "3s"]);
    for number in 0..6 {
        let all = both(number);
        let all: Vec<&str> = all.iter().map(String::as_str).take(if number < 3 { 2 } else { 1 }).collect();
        expect(server, &full(number), &all).await;
        for address in all {
            expect_reverse(server, address, Some(&full(number))).await;
        }
    }
    // The second family comes, a pod goes, and another one ends.
    addresses(4, &["10.0.0.4", "fd00::4"]);
    expect(server, &full(4), &["10.0.0.4", "fd00::4"]).await;
    expect_reverse(server, "fd00::4", Some(&full(4))).await;
    kube.delete(1..2);
    expect(server, &full(1), &[]).await;
    expect_reverse(server, "fd00::1", None).await;
    let ended = kube.api.update("default", &name(2), |pod| pod["status"]["phase"] = "Succeeded".into());
    ended.unwrap();
    expect(server, &full(2), &[]).await;
    expect_reverse(server, "10.0.0.2", None).await;
    addresses(0, &["fd00::9"]);
    expect(server, &full(0), &["fd00::9"]).await;
    expect_reverse(server, "fd00::9", Some(&full(0))).await;
    expect_reverse(server, "10.0.0.0", None).await;
    synced(&mut controller, "dns").await;
    ends(controller).await;
}

#[tokio::test]
async fn reverse_name_follows_a_reused_address() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, &ZONES).await;
    let server = coredns.address;
    let kube = Kube::start().await;
    let path = targets(kube.folder.path(), &file(&etcd.url));
    let full = |number: usize| format!("{}.default", name(number));
    let reuse = |number: usize| {
        kube.api.update("default", &name(number), |pod| pod["status"]["podIPs"] = json!([{"ip": "10.0.0.7"}])).unwrap();
    };
    create(&kube, 7..8);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &["--resync-interval", "3s"]);
    expect_reverse(server, "10.0.0.7", Some(&full(7))).await;
    // The next pod has the address before the former one is gone.
    create(&kube, 8..9);
    expect_reverse(server, "10.0.0.8", Some(&full(8))).await;
    reuse(8);
    expect(server, &full(8), &["10.0.0.7"]).await;
    kube.delete(7..8);
    expect(server, &full(7), &[]).await;
    expect_reverse(server, "10.0.0.7", Some(&full(8))).await;
    // The former pod ended, and is still there.
    let ended = kube.api.update("default", &name(8), |pod| pod["status"]["phase"] = "Succeeded".into());
    ended.unwrap();
    expect_reverse(server, "10.0.0.7", None).await;
    create(&kube, 9..10);
    reuse(9);
    expect_reverse(server, "10.0.0.7", Some(&full(9))).await;
    kube.delete(8..9);
    expect(server, &full(8), &[]).await;
    synced(&mut controller, "dns").await;
    expect_reverse(server, "10.0.0.7", Some(&full(9))).await;
    kube.delete(9..10);
    expect_reverse(server, "10.0.0.7", None).await;
    ends(controller).await;
}
