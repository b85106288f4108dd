//! The store compared with a simple model of it.

use std::collections::BTreeMap;

use super::*;
use crate::model::pod::{
    object::PodObject,
    to_record::{self, AllowList, Rule},
};

fn rule() -> Rule {
    let owner = crate::model::ids::RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    Rule { owner, labels: AllowList::new(["*"]), annotations: AllowList::default() }
}

fn pod(uid: &str, namespace: &str, name: &str, body: u32) -> Pod {
    let object: PodObject = serde_json::from_value(serde_json::json!({
        "metadata": {"uid": uid, "namespace": namespace, "name": name, "resourceVersion": body.to_string(),
            "labels": {"app": namespace, "pod": name}, "creationTimestamp": "2026-11-23T10:00:00Z"},
        "status": {"reason": body.to_string()},
    }))
    .unwrap();
    to_record::desired(object, &rule()).unwrap()
}

fn uids(view: &View) -> Vec<String> {
    let mut uids = Vec::new();
    view.each_of_watch(0, |uid| uids.push(uid.to_string()));
    uids.sort();
    uids
}

/// The pods that the store should hold, and the pod that should have each name.
#[derive(Default)]
struct Model {
    pods: BTreeMap<Uid, Pod>,
    by_name: BTreeMap<(Box<str>, Box<str>), Uid>,
}

impl Model {
    fn apply(&mut self, pod: &Pod) -> Option<Uid> {
        if self.is_newer(&pod.uid, pod) {
            return None;
        }
        let other = self.put(pod)?;
        if self.is_newer(&other, pod) {
            self.by_name.insert((pod.namespace.clone(), pod.name.clone()), other);
            return None;
        }
        Some(other)
    }

    fn is_newer(&self, uid: &Uid, than: &Pod) -> bool {
        let number = |pod: &Pod| pod.resource_version.parse::<u32>().unwrap();
        self.pods.get(uid).is_some_and(|pod| number(pod) > number(than))
    }

    fn put(&mut self, pod: &Pod) -> Option<Uid> {
        let name = (pod.namespace.clone(), pod.name.clone());
        let before = self.pods.insert(pod.uid.clone(), pod.clone());
        if let Some(before) = before.filter(|before| (&before.namespace, &before.name) != (&name.0, &name.1)) {
            self.unname(&before);
        }
        if pod.name.is_empty() {
            return None;
        }
        self.by_name.insert(name, pod.uid.clone()).filter(|other| *other != pod.uid)
    }

    fn remove(&mut self, uid: &Uid) {
        if let Some(pod) = self.pods.remove(uid) {
            self.unname(&pod);
        }
    }

    fn unname(&mut self, pod: &Pod) {
        let name = (pod.namespace.clone(), pod.name.clone());
        if self.by_name.get(&name) == Some(&pod.uid) {
            self.by_name.remove(&name);
        }
    }
}

/// A random pod from few UIDs, fewer names and two namespaces, so that all of them collide.
fn any(rng: &mut fastrand::Rng, most: u32) -> Pod {
    let (uid, name) = (rng.u32(..most), rng.u32(..most / 2 + 1));
    let uid = if uid % 3 == 0 { format!("id-{uid}") } else { format!("5f3c0a4e-7a53-4b4e-9b0a-0a6c{uid:08x}") };
    let namespace = if rng.bool() { "a" } else { "b" };
    if rng.u8(..8) == 0 {
        let name = if rng.bool() { String::new() } else { format!("pod-{name}") };
        return to_record::unreadable(&uid, namespace, &name, "7");
    }
    pod(&uid, namespace, &format!("pod-{name}"), rng.u32(..1_000))
}

#[test]
fn store_holds_shown_pods_and_owners_of_names() {
    for round in 0..40 {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let most = [3, 20, 200][round % 3];
        let (mut writer, mut model) = (StoreWriter::default(), Model::default());
        let view = View::new([writer.store()]);
        for _ in 0..400 {
            match rng.u8(..100) {
                0..60 => {
                    let pod = any(&mut rng, most);
                    let other = writer.apply(&pod);
                    assert_eq!(other, model.apply(&pod), "seed {seed}");
                    other.iter().for_each(|other| model.remove(other));
                }
                60..98 => {
                    let pod = any(&mut rng, most);
                    let stays = model.is_newer(&pod.uid, &pod);
                    assert_eq!(writer.remove(&pod.uid, &pod.resource_version), !stays, "seed {seed}");
                    if !stays {
                        model.remove(&pod.uid);
                    }
                }
                _ => {
                    writer.begin_list(None);
                    let mut listed = Model::default();
                    for _ in 0..rng.u32(..most) {
                        let pod = any(&mut rng, most);
                        writer.list_item(&pod);
                        listed.put(&pod);
                    }
                    writer.end_list();
                    model = listed;
                }
            }
            assert_eq!(view.len(), model.pods.len(), "seed {seed}");
        }
        for (uid, pod) in &model.pods {
            assert_eq!(view.get(uid).as_ref(), Some(pod), "seed {seed}");
            assert_eq!(view.shown(uid), Some(pod.shown()), "seed {seed}");
        }
        let mut expected: Vec<String> = model.pods.keys().map(Uid::to_string).collect();
        expected.sort();
        assert_eq!(uids(&view), expected, "seed {seed}");
        model.pods.keys().for_each(|uid| _ = writer.remove(uid, "1000"));
        assert!(view.is_empty() && writer.pods.read().is_clean(), "seed {seed}: texts or names are left");
    }
}

#[test]
fn incoming_list_adds_pods_before_removing_any() {
    let mut writer = StoreWriter::default();
    let view = View::new([writer.store()]);
    writer.apply(&pod("old", "n", "web-0", 1));
    writer.apply(&pod("gone", "n", "web-1", 1));
    writer.begin_list(None);
    writer.list_item(&pod("new", "n", "web-0", 2));
    assert_eq!(uids(&view), ["gone", "new", "old"]);
    // The list breaks off, and another one begins.
    writer.begin_list(None);
    writer.list_item(&pod("other", "n", "web-1", 3));
    assert_eq!(uids(&view), ["gone", "new", "old", "other"]);
    writer.end_list();
    assert_eq!(uids(&view), ["other"]);
    assert_eq!(writer.apply(&pod("last", "n", "web-1", 4)), Some("other".into()), "the name is known");
    assert_eq!(uids(&view), ["last"]);
}

/// Events and a list of version 20 at the same time.
#[test]
fn newer_events_outlive_a_list() {
    let mut writer = StoreWriter::default();
    let view = View::new([writer.store()]);
    let body = |uid: &str| view.get(&uid.into()).map(|pod| pod.resource_version.to_string());
    for (uid, version) in [("unchanged", 5), ("changed", 5), ("unseen", 5), ("missed", 5)] {
        writer.apply(&pod(uid, "n", uid, version));
    }
    writer.begin_list(Some("20"));
    writer.apply(&pod("changed", "n", "changed", 21));
    writer.apply(&pod("created", "n", "created", 22));
    // Its deletion was before the list's version, and its event is still to come.
    writer.apply(&pod("late", "n", "late", 19));
    writer.apply(&pod("later", "n", "later", 9));
    assert!(!writer.list_item(&pod("unchanged", "n", "unchanged", 5)));
    assert!(!writer.list_item(&pod("changed", "n", "changed", 7)));
    assert!(writer.list_item(&pod("unseen", "n", "unseen", 18)));
    assert!(writer.list_item(&pod("later", "n", "later", 10)));
    writer.apply(&pod("unchanged", "n", "unchanged", 23));
    writer.end_list();
    assert_eq!(uids(&view), ["changed", "created", "later", "unchanged", "unseen"]);
    let bodies = ["unchanged", "changed", "unseen", "later"].map(body);
    assert_eq!(bodies, ["23", "21", "18", "10"].map(|version| Some(version.to_owned())));
}

/// A watch that lags behind a list.
#[test]
fn older_events_undo_no_list() {
    let mut writer = StoreWriter::default();
    let view = View::new([writer.store()]);
    writer.begin_list(Some("20"));
    writer.list_item(&pod("changed", "n", "changed", 18));
    writer.list_item(&pod("back", "n", "back", 19));
    writer.list_item(&pod("next", "n", "web-0", 20));
    assert_eq!(writer.apply(&pod("changed", "n", "changed", 15)), None);
    assert!(!writer.remove(&"back".into(), "16"));
    assert_eq!(writer.apply(&pod("before", "n", "web-0", 17)), None);
    assert_eq!(uids(&view), ["back", "before", "changed", "next"], "the deletion event is still to come");
    assert!(writer.remove(&"before".into(), "18"));
    assert_eq!(writer.apply(&pod("last", "n", "web-0", 21)), Some("next".into()), "it has kept its name");
    writer.end_list();
    assert_eq!(uids(&view), ["back", "changed", "last"]);
    assert_eq!(&*view.get(&"changed".into()).unwrap().resource_version, "18");
}

/// After a restore of the cluster, an older list counts: without its version, it wins.
#[test]
fn restored_list_wins_over_newer_versions() {
    let mut writer = StoreWriter::default();
    let view = View::new([writer.store()]);
    writer.apply(&pod("a", "n", "a", 50));
    writer.apply(&pod("b", "n", "b", 51));
    writer.begin_list(None);
    assert!(writer.list_item(&pod("a", "n", "a", 7)));
    writer.end_list();
    assert_eq!(uids(&view), ["a"]);
    assert_eq!(&*view.get(&"a".into()).unwrap().resource_version, "7");
}
