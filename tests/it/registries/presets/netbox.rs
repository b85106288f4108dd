//! The preset `netbox` against a stand-in from NetBox's documentation and sources.

use std::{collections::BTreeMap, path::Path};

use pod_registrar::{
    demo::pod::PodBuilder,
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::{
    CLUSTERS, Witness, created, exercise, listed, lose_answers, object, pods,
    process::{Scene, create, ends, live, synced, targets},
    uid,
};
use crate::process::world::{Kube, name};
use crate::support::{
    Child, Controller, Exchange, Proxy,
    registries::{CLUSTER_NAME, NetBoxFake, READ_TOKEN, TargetWriter, WRITE_TOKEN},
    until,
};

const MACHINES: &str = "virtualization/virtual-machines";

/// A file for this address, with a token in a file of a folder. `more` are further members of the target.
fn file_with(url: &str, folder: &Path, token: &str, more: &str) -> String {
    let path = folder.join("token");
    std::fs::write(&path, token).unwrap();
    let auth = format!("{{bearer: {{tokenFile: {}}}}}", path.display());
    // A create without an answer is looked up, and sent again only when it cannot arrive any more.
    let limits = "{timeout: 5s}";
    format!("targets:\n  - {{name: netbox, preset: netbox, url: {url}/api/, auth: {auth}, limits: {limits}{more}}}\n")
}

fn file(url: &str, folder: &Path) -> String {
    file_with(url, folder, WRITE_TOKEN, "")
}

fn is_write(exchange: &Exchange) -> bool {
    exchange.method != "GET"
}

impl Witness for NetBoxFake {
    async fn records(&self) -> BTreeMap<String, Value> {
        NetBoxFake::records(self)
    }

    async fn edit(&self, id: &str) {
        NetBoxFake::edit(self, id, &json!({"description": "edited"}));
    }

    async fn remove(&self, id: &str) {
        NetBoxFake::remove(self, id);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        let fields = json!({"registrar_id": "theirs", "registrar_owner": mark});
        let machine = json!({"name": "shop/web-1", "cluster": 0, "status": "active", "description": "", "comments": "",
            "primary_ip4": null, "primary_ip6": null, "custom_fields": fields});
        self.add(MACHINES, machine);
        "vm/theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        format!("vm/{}", pod.uid)
    }
}

/// A NetBox, a folder, and a writer whose term began.
async fn begun() -> (NetBoxFake, tempfile::TempDir, TargetWriter) {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    let writer = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    (fake, folder, writer)
}

fn both_families(number: usize) -> Value {
    let mut object = created(object(number));
    object["status"]["podIPs"] = json!([{"ip": format!("10.0.0.{number}")}, {"ip": format!("fd00::{number}")}]);
    object
}

fn is_retry(verdict: &Result<Verdict, Failure>, cause: &str) -> bool {
    matches!(verdict, Ok(Verdict::Retry { cause: shown, .. }) if shown.contains(cause))
}

#[tokio::test]
async fn netbox_preset_keeps_its_promises() {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    exercise(&fake.url, |url| file(url, folder.path()), &fake).await;
}

/// No second object is made for a create whose answer is lost.
#[tokio::test]
async fn netbox_preset_survives_lost_answers() {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    lose_answers(&fake.url, |url| file(url, folder.path()), &fake).await;
    assert_eq!(fake.count("ipam/ip-addresses"), 0);
}

#[tokio::test]
async fn netbox_equals_the_cluster() {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    live(&fake.url.clone(), |url| file(url, folder.path()), fake, is_write).await;
}

#[tokio::test]
async fn netbox_prepares_once_and_shows_all_values() {
    let (fake, folder, writer) = begun().await;
    let pod = writer.pod(both_families(1));
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    listed(&writer, &[pod]).await;
    let (uid, mark) = (uid(1), writer.mark());
    let machine = fake.record(&format!("vm/{uid}"));
    let shown = json!({"name": machine["name"], "status": machine["status"], "comments": machine["comments"]});
    assert_eq!(
        shown,
        json!({"name": "shop/web-1", "status": "active", "comments": "registry.example.com/team/app:1.0.0"})
    );
    assert_eq!(machine["custom_fields"]["registrar_owner"], mark);
    let interface = fake.record(&format!("interface/{uid}"));
    assert_eq!((&interface["name"], &interface["virtual_machine"]), (&"eth0".into(), &machine["id"]));
    for (family, text) in [("4", "10.0.0.1/32"), ("6", "fd00::1/128")] {
        let host = text.split_once('/').unwrap().0;
        let address = fake.record(&format!("address/{uid}/{host}"));
        assert_eq!((&address["address"], &address["assigned_object_id"]), (&text.into(), &interface["id"]));
        assert_eq!(machine[format!("primary_ip{family}")], address["id"]);
    }
    // Another installation finds what the first one prepared.
    let other = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[1]);
    other.begin(1).await.unwrap();
    let prepared = ["virtualization/cluster-types", "virtualization/clusters", "extras/custom-fields"];
    assert_eq!(prepared.map(|path| fake.count(path)), [1, 1, 3]);
}

#[tokio::test]
async fn netbox_writes_parents_first_and_deletes_once() {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    let (kube, proxy) = (Kube::start().await, Proxy::start(&fake.url).await);
    let path = targets(kube.folder.path(), &file(&proxy.url, folder.path()));
    let reader = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[0]);
    reader.begin(1).await.unwrap();
    create(&kube, 0..2);
    let addresses = |number: usize, addresses: &[&str]| {
        let changed = kube.api.update("default", &name(number), |pod| {
            pod["status"]["podIPs"] = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        });
        changed.unwrap();
    };
    addresses(0, &["10.0.0.50", "fd00::50"]);
    let scene = Scene { kube: &kube, witness: &fake, reader };
    let start = || Controller::start_with_targets(&kube.kubeconfig, &path, &["--cluster-name", CLUSTER_NAME]);
    let writes = |mark: usize| -> Vec<String> {
        let seen = proxy.seen_since(mark);
        let line = |exchange: &Exchange| format!("{} {}", exchange.method, exchange.path.split('?').next().unwrap());
        seen.iter().filter(|exchange| is_write(exchange)).map(line).collect()
    };
    let mut controller = start();
    scene.equal("at first").await;
    synced(&mut controller, "netbox").await;
    let lines = writes(0);
    let places = |beginning: &str| -> Vec<usize> {
        (0..lines.len()).filter(|place| lines[*place].starts_with(beginning)).collect()
    };
    let (machines, interfaces) = (places("POST /api/virtualization/virtual-m"), places("POST /api/virtualization/i"));
    let (addresses_made, primaries) = (places("POST /api/ipam"), places("PATCH"));
    assert_eq!([machines.len(), interfaces.len(), addresses_made.len(), primaries.len()], [2, 2, 3, 3], "{lines:#?}");
    assert!(machines[0] < interfaces[0] && interfaces[0] < addresses_made[0], "{lines:#?}");
    assert!(addresses_made[0] < primaries[0] && addresses_made[2] < primaries[2], "{lines:#?}");
    // An address goes, and the machine has no primary one of this family any more.
    let mark = proxy.mark();
    addresses(0, &["10.0.0.50"]);
    scene.equal("without an address").await;
    assert!(matches!(&*writes(mark), [one] if one.starts_with("DELETE /api/ipam/ip-addresses/")), "{:?}", writes(mark));
    // NetBox removes the others together with the machine.
    let mark = proxy.mark();
    kube.delete(0..1);
    scene.equal("without a pod").await;
    synced(&mut controller, "netbox").await;
    assert!(
        matches!(&*writes(mark), [one] if one.starts_with(&format!("DELETE /api/{MACHINES}/"))),
        "{:?}",
        writes(mark)
    );
    ends(controller).await;
    // After a restart, the controller does not know which records belong together.
    kube.delete(1..2);
    let mut controller = start();
    scene.equal("without a pod that went in between").await;
    synced(&mut controller, "netbox").await;
    assert_eq!(fake.records(), BTreeMap::new());
    ends(controller).await;
}

#[tokio::test]
async fn netbox_address_goes_to_the_next_pod() {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    let kube = Kube::start().await;
    let path = targets(kube.folder.path(), &file(&fake.url, folder.path()));
    let reader = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[0]);
    reader.begin(1).await.unwrap();
    let scene = Scene { kube: &kube, witness: &fake, reader };
    create(&kube, 7..9);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &["--cluster-name", CLUSTER_NAME]);
    scene.equal("at first").await;
    let reuse = kube.api.update("default", &name(8), |pod| pod["status"]["podIPs"] = json!([{"ip": "10.0.0.7"}]));
    reuse.unwrap();
    let former = format!("address/{}/10.0.0.8", uid(8));
    until("the former address is gone", || !fake.records().contains_key(&former)).await;
    kube.delete(7..8);
    scene.equal("when the former pod is gone").await;
    // A finished pod has a machine, and its address is free.
    let ended = kube.api.update("default", &name(8), |pod| pod["status"]["phase"] = "Succeeded".into());
    ended.unwrap();
    create(&kube, 9..10);
    let reuse = kube.api.update("default", &name(9), |pod| pod["status"]["podIPs"] = json!([{"ip": "10.0.0.7"}]));
    reuse.unwrap();
    scene.equal("when a pod has the address of a finished one").await;
    assert_eq!(fake.record(&format!("vm/{}", uid(8)))["status"], "offline");
    assert_eq!(fake.record(&format!("address/{}/10.0.0.7", uid(9)))["address"], "10.0.0.7/32");
    synced(&mut controller, "netbox").await;
    ends(controller).await;
}

#[tokio::test]
async fn netbox_name_waits_until_it_is_free() {
    let (fake, _folder, writer) = begun().await;
    let former = writer.pod(created(object(1)));
    assert_eq!(writer.put(&former).await, Ok(Verdict::Done));
    // The next pod of a StatefulSet has the same name.
    let next = writer.pod(created(object(1).uid(uid(2)).ip("10.0.0.2")));
    let verdict = writer.put(&next).await;
    assert!(is_retry(&verdict, "must be unique per cluster"), "{verdict:?}");
    assert_eq!(writer.remove(&former).await, Ok(Verdict::Done));
    assert_eq!(writer.put(&next).await, Ok(Verdict::Done));
    listed(&writer, &[next]).await;
    assert_eq!(fake.count(MACHINES), 1);
}

#[tokio::test]
async fn netbox_names_have_64_characters_and_differ() {
    let (fake, _folder, writer) = begun().await;
    let long = |end: &str| format!("{}{end}", "web-".repeat(20));
    let with_name = |number: usize, end: &str| -> PodBuilder {
        let pod = pod_registrar::demo::pod::pod(long(end)).namespace("a-namespace-with-a-long-name");
        pod.uid(uid(number)).ip(format!("10.0.0.{number}"))
    };
    let pods = [(1, "a"), (2, "b")].map(|(number, end)| writer.pod(created(with_name(number, end))));
    for pod in &pods {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    let names = [1, 2].map(|number| fake.record(&format!("vm/{}", uid(number)))["name"].as_str().unwrap().to_owned());
    assert_eq!(names.each_ref().map(|name| name.len()), [64, 64], "{names:?}");
    assert_ne!(names[0], names[1]);
    listed(&writer, &pods).await;
}

#[tokio::test]
async fn netbox_host_network_has_only_a_machine() {
    let (fake, _folder, writer) = begun().await;
    let mut object = created(object(1));
    object["spec"]["hostNetwork"] = true.into();
    let pod = writer.pod(object);
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    assert_eq!(fake.records().into_keys().collect::<Vec<_>>(), [format!("vm/{}", uid(1))]);
    listed(&writer, &[pod]).await;
}

/// Writes the records that differ, as the controller does.
async fn repair(writer: &TargetWriter, pod: &Pod) -> usize {
    let mut repaired = 0;
    loop {
        let listed = writer.inventory().await.unwrap();
        let differing =
            writer.records(pod).into_iter().find(|(key, print)| listed.get(&key.to_string()) != Some(print));
        let Some((key, _)) = differing else { return repaired };
        assert_eq!(writer.put_record(pod, &key).await, Ok(Verdict::Done));
        repaired += 1;
    }
}

#[tokio::test]
async fn netbox_edits_by_hand_are_repaired() {
    let (fake, _folder, writer) = begun().await;
    let pod = writer.pod(both_families(1));
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    let before = fake.records();
    let (machine, interface) = (format!("vm/{}", pod.uid), format!("interface/{}", pod.uid));
    let address = format!("address/{}/10.0.0.1", pod.uid);
    let edits = [
        (&machine, json!({"name": "renamed", "status": "failed"})),
        (&machine, json!({"primary_ip6": null})),
        (&address, json!({"address": "10.0.0.9/32"})),
        (&interface, json!({"name": "eth7"})),
    ];
    for (record, members) in edits {
        fake.edit(record, &members);
        assert_eq!((repair(&writer, &pod).await, fake.records() == before), (1, true), "{record} {members}");
    }
    // An address that is assigned to nothing cannot be a primary one.
    fake.edit(&machine, &json!({"primary_ip4": null}));
    fake.edit(&address, &json!({"assigned_object_type": null, "assigned_object_id": null}));
    writer.inventory().await.unwrap();
    let verdict = writer.put_record(&pod, &writer.records(&pod)[4].0).await;
    assert!(is_retry(&verdict, "is not assigned to this VM"), "{verdict:?}");
    assert_eq!((repair(&writer, &pod).await, fake.records() == before), (2, true));
    // NetBox removes the addresses together with the interface.
    fake.remove(&interface);
    assert_eq!(repair(&writer, &pod).await, 5);
    listed(&writer, &[pod]).await;
    assert_eq!(fake.records().len(), before.len());
}

#[tokio::test]
async fn netbox_machine_with_dependents_is_retried() {
    let (fake, _folder, writer) = begun().await;
    let [pod] = pods(&writer, 1..2).try_into().unwrap();
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    fake.protect(Some(&format!("vm/{}", pod.uid)));
    let key = writer.records(&pod)[0].0.clone();
    let verdict = writer.delete(&key).await;
    assert!(matches!(verdict, Ok(Verdict::Retry { .. })), "{verdict:?}");
    fake.protect(None);
    assert_eq!(writer.delete(&key).await, Ok(Verdict::Done));
    assert_eq!(fake.records(), BTreeMap::new());
}

#[tokio::test]
async fn netbox_lists_more_than_a_page() {
    let (fake, folder, writer) = begun().await;
    let all = pods(&writer, 1..12);
    for pod in &all {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    let neighbour = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[1]);
    neighbour.begin(1).await.unwrap();
    let other = pods(&neighbour, 21..24);
    for pod in &other {
        assert_eq!(neighbour.put(pod).await, Ok(Verdict::Done));
    }
    fake.set_page_max(3);
    listed(&writer, &all).await;
    listed(&neighbour, &other).await;
}

#[tokio::test]
async fn netbox_vrfs_separate_equal_addresses() {
    let (fake, folder, first) = begun().await;
    for name in ["one", "two"] {
        fake.add("ipam/vrfs", json!({"name": name, "enforce_unique": true}));
    }
    let pod_of = |writer: &TargetWriter, number| writer.pod(created(object(number).ip("10.0.0.1")));
    assert_eq!(first.put(&pod_of(&first, 1)).await, Ok(Verdict::Done));
    for (number, vrf, cluster) in [(2, "one", CLUSTERS[0]), (3, "two", CLUSTERS[1])] {
        let more = format!(", kinds: {{address: {{body: {{vrf: {{name: {vrf}}}}}}}}}");
        let writer = TargetWriter::new(&file_with(&fake.url, folder.path(), WRITE_TOKEN, &more), cluster);
        writer.begin(1).await.unwrap();
        assert_eq!(writer.put(&pod_of(&writer, number)).await, Ok(Verdict::Done), "{vrf}");
    }
    assert_eq!(fake.count("ipam/ip-addresses"), 3);
    let verdict = first.put(&pod_of(&first, 4)).await;
    assert!(is_retry(&verdict, "Duplicate IP address"), "{verdict:?}");
}

#[tokio::test]
async fn commands_try_and_check_a_netbox() {
    let (fake, folder, kube) = (NetBoxFake::start().await, tempfile::tempdir().unwrap(), Kube::start().await);
    let path = targets(folder.path(), &file(&fake.url, folder.path()));
    let run = async |arguments: &[&str]| {
        let targets = ["--targets", path.to_str().unwrap()];
        let mut child = Child::start(&[arguments, &targets].concat());
        assert_eq!(child.code().await, 0, "{:#?} {:#?}", child.stdout(), child.stderr());
        child.stdout().join("\n")
    };
    let shown = run(&["targets", "try", "netbox", "--yes"]).await;
    assert!(shown.contains("primary4 put: ok"), "{shown}");
    assert_eq!(fake.records(), BTreeMap::new(), "nothing is left");
    let shown = run(&["targets", "check", "netbox", "--kubeconfig", kube.kubeconfig.to_str().unwrap()]).await;
    assert!(shown.contains("vm: list") && shown.contains("primary6: list"), "{shown}");
}

#[tokio::test]
async fn netbox_without_rights_stops_the_target() {
    let (fake, folder) = (NetBoxFake::start().await, tempfile::tempdir().unwrap());
    for token in [READ_TOKEN, "nbt_other.0123456789abcdef"] {
        let writer = TargetWriter::new(&file_with(&fake.url, folder.path(), token, ""), CLUSTERS[0]);
        let refused = writer.begin(1).await;
        assert!(matches!(refused, Err(Failure::Unauthorized { status: 403, .. })), "{refused:?}");
    }
    assert_eq!(fake.count("extras/custom-fields"), 0);
}
