//! The tables compared with a simple model of them.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, property_test};

use super::*;
use crate::{
    model::{
        digest::{Digest, Fingerprint},
        ids::RecordOwner,
        pod::to_record::{self, AllowList, Rule},
    },
    registry::{DesiredRecord, DesiredState, Excluded},
};

fn pod(uid: &str, second: u8) -> Pod {
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let rule = Rule { owner, labels: AllowList::default(), annotations: AllowList::default() };
    let object = serde_json::json!({"metadata": {"uid": uid, "namespace": "n", "name": uid, "resourceVersion": "1",
        "creationTimestamp": format!("2026-11-23T10:00:{second:02}Z")}});
    to_record::desired(serde_json::from_value(object).unwrap(), &rule).unwrap()
}

fn print(n: u8) -> Fingerprint {
    Digest([n; 32]).fingerprint()
}

fn uuid(n: usize) -> Uid {
    Uid::from(format!("5f3c0a4e-7a53-4b4e-9b0a-0a6c{n:08x}").as_str())
}

/// What a pod was last seen to have.
#[derive(Clone)]
struct Seen {
    second: u8,
    records: BTreeMap<Uid, StoredPod>,
}

/// The pod that owns a key, and what it shows, by the definition.
fn owner(model: &BTreeMap<Uid, Seen>, key: &Uid) -> Option<(Uid, StoredPod)> {
    let pods = model.iter().filter_map(|(uid, seen)| Some((uid, seen.second, seen.records.get(key)?)));
    pods.max_by_key(|(uid, second, _)| (*second, (*uid).clone())).map(|(uid, _, shown)| (uid.clone(), *shown))
}

/// One record, or several.
fn projection(records: &BTreeMap<Uid, StoredPod>) -> Projection {
    let fingerprint = |shown: &StoredPod| match shown {
        StoredPod::Record(fingerprint) => DesiredState::Made(*fingerprint),
        StoredPod::Unreadable => DesiredState::Waits,
    };
    let record =
        |(key, shown): (&Uid, &StoredPod)| DesiredRecord { key: key.clone(), state: fingerprint(shown), parent: None };
    match records.first_key_value() {
        Some((key, StoredPod::Record(fingerprint))) if records.len() == 1 => {
            Projection::Record { key: key.clone(), fingerprint: *fingerprint }
        }
        _ => Projection::Records(records.iter().map(record).collect()),
    }
}

/// What is read of a pod.
#[derive(Clone, Debug)]
enum Read {
    /// Its records: none, unreadable or readable, by key.
    Records(Vec<Option<StoredPod>>),
    Failed,
    NotSelected,
    Gone,
}

fn read() -> impl Strategy<Value = Read> {
    let record =
        prop_oneof![4 => any::<u8>().prop_map(|n| StoredPod::Record(print(n))), 1 => Just(StoredPod::Unreadable)];
    prop_oneof![
        6 => vec(option::weighted(0.33, record), 5).prop_map(Read::Records),
        1 => Just(Read::Failed),
        1 => Just(Read::NotSelected),
        2 => Just(Read::Gone),
    ]
}

#[property_test(config = ProptestConfig::with_cases(60))]
fn last_created_pod_owns_each_key(#[strategy = vec((0..12_u8, read()), 0..400)] steps: Vec<(u8, Read)>) {
    let (mut table, mut model) = (KeyedRecords::default(), BTreeMap::<Uid, Seen>::new());
    let keys: Vec<Uid> = (0..5).map(|n| Uid::from(format!("k{n}"))).collect();
    for (n, read) in steps {
        let (name, second) = (format!("p{n}"), n % 5);
        let (uid, pod) = (Uid::from(name.as_str()), pod(&name, second));
        let before = model.clone();
        let left = match read {
            Read::Records(shown) => {
                let records: BTreeMap<_, _> =
                    keys.iter().cloned().zip(shown).filter_map(|(key, shown)| Some((key, shown?))).collect();
                let projection = projection(&records);
                model.insert(uid.clone(), Seen { second, records });
                table.project(&pod, projection).left
            }
            Read::Failed => {
                if let Some(seen) = model.get_mut(&uid) {
                    seen.records.values_mut().for_each(|shown| *shown = StoredPod::Unreadable);
                }
                table.project(&pod, Projection::Failed { cause: "x".into() }).left
            }
            Read::NotSelected => {
                model.remove(&uid);
                table.project(&pod, Projection::NotSelected(Excluded { keys: vec![], by_scope: false })).left
            }
            Read::Gone => {
                model.remove(&uid);
                table.remove(&uid)
            }
        };
        let mut expected = Vec::new();
        for key in &keys {
            let owned = owner(&before, key).is_some_and(|(owner, _)| owner == uid);
            let stays = model.get(&uid).is_some_and(|seen| seen.records.contains_key(key));
            if owned && !stays {
                expected.push(match owner(&model, key) {
                    None => Left::Free(key.clone()),
                    Some((to, _)) => Left::Passed { key: key.clone(), to },
                });
            }
        }
        assert_eq!(left, expected);
        // The loop projects the new owners, which show what they showed last unless they cannot be read.
        for left in left {
            let Left::Passed { to, .. } = left else { continue };
            let seen = model.get(&to).unwrap().clone();
            let pod = self::pod(&to.to_string(), seen.second);
            table.project(&pod, projection(&seen.records));
        }
        for key in &keys {
            let expected = owner(&model, key);
            assert_eq!(table.owner_of(key), expected.as_ref().map(|(uid, _)| uid));
            // A pod that became unreadable before it owned the record shows that once it is projected.
            let shown = expected.map(|(_, shown)| shown);
            assert!(table.shown(key) == shown || table.shown(key) == Some(StoredPod::Unreadable));
            let pods = model.iter().filter(|(_, seen)| seen.records.contains_key(key)).map(|(uid, _)| uid);
            let (mut pods, mut found): (Vec<_>, Vec<_>) = (pods.collect(), table.pods_of(key).collect());
            pods.sort();
            found.sort();
            assert_eq!(found, pods);
        }
    }
    model.keys().for_each(|uid| _ = table.remove(uid));
    assert_eq!(table.len(), 0);
    assert!(keys.iter().all(|key| table.owner_of(key).is_none()));
}

/// What a complete list does.
fn retain(table: &mut KeyedRecords, exists: impl Fn(&Uid) -> bool, is_held: bool) -> Vec<Uid> {
    table.retain_without(0..table.without(), &exists, |_| is_held);
    table.retain_in(0..table.pods(), &exists)
}

#[test]
fn absent_pod_keeps_its_key_for_a_while() {
    let (mut table, key, [a, b]) = (KeyedRecords::default(), Uid::from("k"), ["a", "b"].map(Uid::from));
    for (name, second) in [("a", 1), ("b", 2)] {
        table.project(&pod(name, second), Projection::Record { key: key.clone(), fingerprint: print(second) });
    }
    assert_eq!(retain(&mut table, |uid| *uid == a, true), std::slice::from_ref(&a), "it owns the record now");
    assert_eq!(table.last_keys_of(&b), std::slice::from_ref(&key));
    assert_eq!(table.remove(&b), [], "another pod has the record");
    assert!(retain(&mut table, |_| false, true).is_empty());
    assert_eq!((table.owner_of(&key), table.last_keys_of(&a)), (None, std::slice::from_ref(&key)));
    retain(&mut table, |_| false, true);
    assert_eq!(table.remove(&a), [Left::Free(key.clone())], "its deletion event came after the list");
    table.project(&pod("a", 1), Projection::Record { key, fingerprint: print(1) });
    retain(&mut table, |_| false, true);
    retain(&mut table, |_| false, false);
    assert!(table.last_keys_of(&a).is_empty());
}

#[test]
fn record_takes_at_most_60_bytes_by_uid() {
    let (mut by_pod, mut by_key) = (PodRecords::default(), KeyedRecords::default());
    let template = pod("a", 1);
    for n in 0..50_000 {
        let (uid, fingerprint) = (uuid(n), print(1));
        by_pod.project(&uid, &Projection::Record { key: uid.clone(), fingerprint });
        let pod = Pod { uid, ..template.clone() };
        by_key.project(&pod, Projection::Record { key: uuid(n + 100_000), fingerprint });
    }
    let (pods, keys) = (by_pod.memory() / by_pod.len(), by_key.memory() / by_key.len());
    assert!(pods <= 60 && keys <= 160, "{pods} and {keys} bytes");
}

#[test]
fn causes_of_failure_are_bounded() {
    let mut failed = Failed::default();
    let long = "ä".repeat(2 * CAUSE_CHARS);
    for n in 0..CAUSES_MAX + 50 {
        failed.note(&uuid(n), Some((format!("shop/web-{n}"), &long)));
    }
    let summary = failed.summary();
    assert_eq!((summary.count, summary.first.len()), (CAUSES_MAX + 50, CAUSES_MAX));
    assert!(summary.first.iter().all(|failed| failed.cause.chars().count() == CAUSE_CHARS));
    failed.note(&uuid(0), Some(("shop/web-0".to_owned(), "other")));
    let first = failed.summary().first.swap_remove(0);
    assert_eq!((first.pod.as_str(), first.cause.as_str()), ("shop/web-0", "other"));
    failed.note(&uuid(0), None);
    failed.retain_in(0..failed.pods.len(), |uid| *uid == uuid(1));
    assert_eq!((failed.pods.len(), failed.causes), (1, 1));
}
