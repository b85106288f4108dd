//! The preset `skydns` against etcd and CoreDNS.

use std::net::IpAddr;

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::json;

use super::{
    CLUSTERS, created,
    etcd::{Keys, writes},
    exercise, lose_answers, object,
    process::{create, ends, live, synced, targets},
};
use crate::process::world::{Kube, name};
use crate::support::{
    Controller, SOON, eventually,
    registries::{BuiltRegistries, DnsAnswer, HttpRegistry, TargetWriter, resolve},
};

const ROOT: &str = "/skydns/example/cluster/pods";

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: dns, preset: skydns, url: {url}/}}\n")
}

fn file_6(url: &str) -> String {
    format!("targets:\n  - {{name: dns6, preset: skydns, url: {url}/, vars: {{separator: \":\"}}}}\n")
}

fn keys(etcd: HttpRegistry) -> Keys {
    let id = |pod: &Pod| format!("{ROOT}/{}/{}/{}-4", pod.namespace, pod.name, pod.uid);
    Keys { etcd, root: ROOT, id, foreign: format!("{ROOT}/shop/web-1/theirs-4") }
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
    // The record has no image, so that the second change is none.
    lose_answers(&etcd.url.clone(), file, &keys(etcd)).await;
}

#[tokio::test]
async fn skydns_equals_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    live(&etcd.url.clone(), file, keys(etcd), writes).await;
}

#[tokio::test]
async fn coredns_resolves_pods_of_both_families() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, "pods.cluster.example").await;
    let (four, six) =
        (TargetWriter::new(&file(&etcd.url), CLUSTERS[0]), TargetWriter::new(&file_6(&etcd.url), CLUSTERS[0]));
    four.begin(1).await.unwrap();
    six.begin(1).await.unwrap();
    let object = |number, addresses: &[&str]| {
        let mut object = created(object(number));
        object["status"]["podIP"] = addresses[0].into();
        object["status"]["podIPs"] = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        object
    };
    let both = ["10.0.0.1", "fd00::1"];
    let pods = [
        (1, four.pod(object(1, &both)), &both[..]),
        (2, four.pod(object(2, &["fd00::2", "10.0.0.2"])), &["10.0.0.2", "fd00::2"]),
        (3, four.pod(object(3, &["fd00::3"])), &["fd00::3"]),
        (4, four.pod(object(4, &["10.0.0.4"])), &["10.0.0.4"]),
    ];
    for (_, pod, _) in &pods {
        for writer in [&four, &six] {
            if writer.selects(pod) {
                assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
            }
        }
    }
    for (writer, wanted) in [(&four, [1, 2, 4]), (&six, [1, 2, 3])] {
        let wanted: Vec<Pod> =
            pods.iter().filter(|(number, ..)| wanted.contains(number)).map(|(_, pod, _)| pod.clone()).collect();
        super::listed(writer, &wanted).await;
    }
    let expect = async |number: usize, code: u8, addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let (name, wanted) = (format!("web-{number}.shop.pods.cluster.example"), DnsAnswer { code, addresses });
        eventually(&name, SOON, async || match resolve(coredns.address, &name).await? {
            answer if answer == wanted => Ok(()),
            answer => Err(format!("{answer:?} and not {wanted:?}")),
        })
        .await;
    };
    for (number, _, addresses) in &pods {
        expect(*number, 0, addresses).await;
    }
    for (number, pod, _) in &pods {
        for writer in [&four, &six] {
            if writer.selects(pod) {
                assert_eq!(writer.delete(&writer.record(pod).0).await, Ok(Verdict::Done));
            }
        }
        expect(*number, 3, &[]).await;
    }
}

/// Two targets in one file, one per address family.
#[tokio::test]
async fn coredns_follows_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let coredns = registries.coredns(&keys.etcd, "pods.cluster.example").await;
    let kube = Kube::start().await;
    let text = file(&keys.etcd.url) + file_6(&keys.etcd.url).strip_prefix("targets:\n").unwrap();
    let path = targets(kube.folder.path(), &text);
    create(&kube, 0..6);
    let dual = |number: usize| {
        let changed = kube.api.update("default", &name(number), |pod| {
            let four = pod["status"]["podIPs"][0].clone();
            pod["status"]["podIPs"] = json!([four, {"ip": format!("fd00::{number}")}]);
        });
        changed.unwrap();
    };
    (0..3).for_each(dual);
    let expect = async |number: usize, addresses: &[String]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let code = if addresses.is_empty() { 3 } else { 0 };
        let (name, wanted) = (format!("{}.default.pods.cluster.example", name(number)), DnsAnswer { code, addresses });
        eventually(&name, SOON, async || match resolve(coredns.address, &name).await? {
            answer if answer == wanted => Ok(()),
            answer => Err(format!("{answer:?} and not {wanted:?}")),
        })
        .await;
    };
    let (four, six) = (|number: usize| format!("10.0.0.{number}"), |number: usize| format!("fd00::{number}"));
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &["--resync-interval", "3s"]);
    for number in 0..6 {
        let addresses = if number < 3 { vec![four(number), six(number)] } else { vec![four(number)] };
        expect(number, &addresses).await;
    }
    // The second family comes, a name goes, and a pod ends.
    dual(4);
    expect(4, &[four(4), six(4)]).await;
    kube.delete(1..2);
    expect(1, &[]).await;
    let ended = kube.api.update("default", &name(2), |pod| pod["status"]["phase"] = "Succeeded".into());
    ended.unwrap();
    expect(2, &[]).await;
    let change = kube.api.update("default", &name(0), |pod| pod["status"]["podIPs"] = json!([{"ip": "fd00::9"}]));
    change.unwrap();
    expect(0, &["fd00::9".to_owned()]).await;
    synced(&mut controller, "dns").await;
    synced(&mut controller, "dns6").await;
    ends(controller).await;
}
