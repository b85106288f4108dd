use std::net::IpAddr;

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::json;

use super::{created, etcd::Keys, exercise, lose_answers, object};
use crate::support::{
    SOON, eventually,
    registries::{BuiltRegistries, DnsAnswer, HttpRegistry, TargetWriter, resolve},
};

const ROOT: &str = "/skydns/example/cluster/pods";

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: dns, preset: skydns, url: {url}/}}\n")
}

fn file_6(url: &str) -> String {
    format!("targets:\n  - {{name: dns6, preset: skydns, url: {url}/, vars: {{separator: \":\"}}}}\n")
}

fn keys(etcd: &HttpRegistry) -> Keys<'_> {
    let id = |pod: &Pod| format!("{ROOT}/{}/{}/{}-4", pod.namespace, pod.name, pod.uid);
    Keys { etcd, root: ROOT, id, foreign: "/skydns/example/cluster/pods/shop/web-1/theirs-4" }
}

#[tokio::test]
async fn skydns_preset_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    exercise(&etcd.url, file, &keys(&etcd)).await;
}

#[tokio::test]
async fn skydns_preset_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    // The record has no image, so that the second change is none.
    lose_answers(&etcd.url, file, &keys(&etcd)).await;
}

#[tokio::test]
async fn coredns_resolves_pods_of_both_families() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let coredns = registries.coredns(&etcd, "pods.cluster.example").await;
    let (four, six) = (TargetWriter::new(&file(&etcd.url), "c1"), TargetWriter::new(&file_6(&etcd.url), "c1"));
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
