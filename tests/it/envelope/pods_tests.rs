//! Pods that are generated from a seed.

use super::pods::{Layout, State, read_uuid};
use k8s_openapi::api::core::v1::Pod as ApiPod;

fn running(version: u64) -> State {
    State { life: 0, revision: 1, resource_version: version, alive: true }
}

fn item(layout: &Layout, slot: u32, state: State) -> Vec<u8> {
    let mut out = Vec::new();
    layout.push_item(slot, state, &mut out);
    out
}

#[test]
fn each_seed_makes_its_own_text() {
    let texts = |seed| {
        let layout = Layout::new(seed, 500, None);
        (0..500).map(|slot| item(&layout, slot, running(7))).collect::<Vec<_>>()
    };
    assert_eq!(texts(1), texts(1));
    assert!(texts(1) != texts(2));
}

#[test]
fn pods_have_the_requested_size() {
    for kilobytes in [3_u32, 5, 10] {
        let layout = Layout::new(11, 300, Some(kilobytes));
        for slot in 0..300 {
            let length = item(&layout, slot, running(1_234)).len();
            let wanted = kilobytes as usize * 1_000;
            assert!((wanted * 9 / 10..wanted * 12 / 10).contains(&length), "{length} for {kilobytes} kB");
        }
    }
}

#[test]
fn pods_decode_and_say_what_they_are() {
    let layout = Layout::new(3, 3_000, None);
    let mut kinds = std::collections::BTreeSet::new();
    let mut uids = std::collections::BTreeSet::new();
    for slot in (0..3_000).step_by(3) {
        for revision in [0, 1, 3] {
            let state = State { revision, ..running(99) };
            let mut text = Vec::new();
            layout.push_object(slot, state, &mut text);
            let pod: ApiPod = serde_json::from_slice(&text).unwrap();
            let uid = pod.metadata.uid.unwrap();
            assert_eq!(read_uuid(&uid), Some(layout.uid(slot, 0)));
            uids.insert(uid);
            kinds.insert(pod.metadata.owner_references.unwrap()[0].kind.clone());
            assert!(pod.metadata.managed_fields.unwrap().len() > usize::from(revision > 0));
            assert_eq!(pod.metadata.resource_version.as_deref(), Some("99"));
            let restarts = pod.status.unwrap().container_statuses.map(|all| all[0].restart_count);
            assert_eq!(restarts, (revision > 0).then(|| i32::try_from(revision).unwrap() - 1));
        }
    }
    assert_eq!((uids.len(), kinds.len()), (1_000, 4));
    let next = State { life: 1, ..running(5) };
    assert!(layout.uid(0, 0) != layout.uid(0, 1) && item(&layout, 0, next) != item(&layout, 0, running(5)));
}
