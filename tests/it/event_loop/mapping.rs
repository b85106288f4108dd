//! A fake registry that sees pods otherwise than the store: what it makes of a pod follows from the reason in its
//! status.

use std::collections::{BTreeMap, BTreeSet};

use pod_registrar::{
    model::{self, digest::Digest, ids::Version, pod::Pod, uid::Uid},
    reconcile::outcome::Failure,
    registry::{
        DesiredRecord, DesiredState, Encoded, EncodedBody, Excluded, Features, Kinship, ParentRecord, Projection,
        RecordChange, RenderFailure,
    },
};

use super::{
    fake::{Fake, State},
    world::{EventLoopHarness, pod_with},
};

/// How the fake registry sees pods.
///
/// | reason | the pod |
/// | --- | --- |
/// | `key/body` | has the record `body` under `key`, or under its UID |
/// | `key/body/anything` | the same: not all of the pod is in its record |
/// | `-`, `-key` | is not selected by a condition; its key would be this |
/// | `--key` | is not selected by its namespace; the same |
/// | `!cause` | has a record that cannot be made |
/// | `a/body,b<a/body,c^a/@body` | has three records. `b` and `c` belong to `a`, and the registry removes `c` with it. The body of `c` names what the registry assigned to `a` |
#[derive(Default)]
pub(super) struct Mapping {
    pub(super) keys_are_uids: bool,
    /// The terms for which it was prepared, or was to be.
    pub(super) prepared: Vec<u64>,
    /// The answer to the next requests to prepare.
    pub(super) unprepared: Option<Failure>,
    /// A text in every record, which preparing changes.
    pub(super) dependency: Option<&'static str>,
    /// Projected pods.
    pub(super) projected: usize,
    /// Records that others belong to.
    parents: BTreeSet<String>,
    /// Those of them that the registry held at the last call of `take_moved`.
    before: BTreeSet<String>,
    /// Records that the controller says were removed with their parents.
    pub(super) removed: Vec<String>,
    /// How many records stand above each, by its kind.
    pub(super) depths: BTreeMap<String, usize>,
    /// The parents that the client remembers.
    pub(super) remembered: BTreeMap<String, ParentRecord>,
}

/// What a target of a file supports: no sessions, digests or names.
pub(super) const FEATURES: Features = Features {
    batches: true,
    stated_limits: false,
    inventory: true,
    digests: false,
    sessions: false,
    remembers: false,
    names: false,
};

pub(super) fn mapped(keys_are_uids: bool) -> Fake {
    let registry = Fake::new();
    registry.state().mapping = Some(Mapping { keys_are_uids, ..Mapping::default() });
    registry.state().features = FEATURES;
    registry
}

/// A pod with this reason, created in this second.
pub(super) fn pod_at(uid: &str, reason: &str, second: u8) -> Pod {
    pod_with(uid, reason, &format!("2026-11-23T10:00:{second:02}Z"))
}

/// What the reason of a pod says about one of several records.
struct Part<'r> {
    key: &'r str,
    parent: Option<(&'r str, bool)>,
    body: &'r str,
}

/// None if the reason describes one record.
fn parts(reason: &str) -> Option<Vec<Part<'_>>> {
    if !reason.contains([',', '<', '^']) {
        return None;
    }
    let mut all = Vec::new();
    for text in reason.split(',') {
        let (name, body) = text.split_once('/').unwrap();
        let (key, parent) = match name.split_once(['<', '^']) {
            Some((key, parent)) => (key, Some((parent, name.contains('^')))),
            None => (name, None),
        };
        all.push(Part { key, parent, body });
    }
    Some(all)
}

fn reason(pod: &Pod) -> String {
    pod.content.as_ref().unwrap().record.state.reason.clone().unwrap_or_default()
}

impl Mapping {
    fn see(&self, pod: &Pod) -> Result<Option<(Uid, Digest)>, String> {
        let reason = reason(pod);
        if let Some(cause) = reason.strip_prefix('!') {
            return Err(cause.to_owned());
        }
        let mut parts = reason.split('/');
        let (Some(key), Some(body)) = (parts.next(), parts.next()) else { return Ok(None) };
        let key = if self.keys_are_uids { pod.uid.clone() } else { Uid::from(key) };
        Ok(Some((key, digest(body, self.dependency))))
    }

    fn exclude(&self, pod: &Pod) -> Excluded {
        let reason = pod.content.as_ref().unwrap().record.state.reason.clone().unwrap_or_default();
        let key = Some(reason.trim_start_matches('-')).filter(|key| !key.is_empty()).map(Uid::from);
        let key = if self.keys_are_uids { Some(pod.uid.clone()) } else { key };
        Excluded { keys: key.into_iter().collect(), by_scope: reason.starts_with("--") }
    }
}

pub(super) fn digest(body: &str, dependency: Option<&str>) -> Digest {
    Digest::of_canonical(format!("{body} {}", dependency.unwrap_or_default()).as_bytes())
}

/// The digest of one of several records. None while it waits for its parent.
fn digest_of(part: &Part<'_>, held: &dyn Fn(&str) -> Option<u64>) -> Option<Digest> {
    match part.parent.filter(|_| part.body.starts_with('@')) {
        Some((parent, _)) => held(parent).map(|assigned| digest(&format!("{}{assigned}", part.body), None)),
        None => Some(digest(part.body, None)),
    }
}

/// What the registry assigned to a record that it holds.
fn assigned(state: &State, key: &str) -> Option<u64> {
    state.records.contains_key(key).then_some(1)
}

pub(super) fn project(registry: &Fake, pod: &Pod) -> Projection {
    let mut state = registry.state();
    if state.mapping.is_some()
        && let Some(parts) = parts(&reason(pod))
    {
        let record = |part: &Part<'_>| DesiredRecord {
            key: Uid::from(part.key),
            state: match digest_of(part, &|key| assigned(&state, key)) {
                _ if part.body.starts_with('!') => DesiredState::Failed { cause: part.body.to_owned() },
                Some(digest) => DesiredState::Made(digest.fingerprint()),
                None => DesiredState::Waits,
            },
            parent: part.parent.map(|(key, cascade)| ParentRecord { key: Uid::from(key), cascade }),
        };
        let records = parts.iter().map(record).collect();
        let parents = parts.iter().filter_map(|part| part.parent).map(|(parent, _)| parent.to_owned());
        state.mapping.iter_mut().for_each(|mapping| mapping.parents.extend(parents.clone()));
        return Projection::Records(records);
    }
    let Some(mapping) = state.mapping.as_mut() else { return Projection::identity(pod) };
    mapping.projected += 1;
    let excluded = mapping.exclude(pod);
    match mapping.see(pod) {
        Err(cause) => Projection::Failed { cause },
        Ok(None) => Projection::NotSelected(excluded),
        Ok(Some((key, digest))) => Projection::Record { key, fingerprint: digest.fingerprint() },
    }
}

pub(super) fn prepare(registry: &Fake, term: u64) -> Result<bool, Failure> {
    let mut state = registry.state();
    let Some(mapping) = state.mapping.as_mut() else { return Ok(false) };
    mapping.prepared.push(term);
    mapping.unprepared.clone().map_or(Ok(()), Err)?;
    let is_news = mapping.dependency == Some("old");
    if is_news {
        mapping.dependency = Some("new");
    }
    Ok(is_news)
}

impl Kinship for Fake {
    fn depth(&self, key: &Uid) -> usize {
        self.read(|state| state.mapping.as_ref()?.depths.get(&*key.text()).copied()).unwrap_or_default()
    }

    fn parent(&self, key: &Uid) -> Option<ParentRecord> {
        self.read(|state| state.mapping.as_ref()?.remembered.get(&*key.text()).cloned())
    }
}

pub(super) fn kinship(registry: &Fake) -> Option<&dyn Kinship> {
    let has_kinds = registry.read(|state| state.mapping.as_ref().is_some_and(|mapping| !mapping.depths.is_empty()));
    if has_kinds { Some(registry) } else { None }
}

pub(super) fn removed(registry: &Fake, key: &Uid) {
    registry.state().mapping.iter_mut().for_each(|mapping| mapping.removed.push(key.to_string()));
}

/// The parents that the registry holds now and did not hold before, or the other way round.
pub(super) fn take_moved(registry: &Fake) -> Vec<Uid> {
    let mut state = registry.state();
    let Some(parents) = state.mapping.as_ref().map(|mapping| &mapping.parents) else { return Vec::new() };
    let now: BTreeSet<String> = parents.iter().filter(|key| state.records.contains_key(*key)).cloned().collect();
    let Some(mapping) = state.mapping.as_mut() else { return Vec::new() };
    let moved = mapping.before.symmetric_difference(&now).map(|key| Uid::from(key.as_str())).collect();
    mapping.before = now;
    moved
}

pub(super) fn encode(
    registry: &Fake,
    uid: &Uid,
    version: Version,
    change: RecordChange<'_>,
) -> Result<Encoded, RenderFailure> {
    let body = match change {
        RecordChange::Put(pod, content) => {
            if let Some(parts) = parts(&reason(pod)).filter(|_| registry.read(|state| state.mapping.is_some())) {
                let part = parts.iter().find(|part| *uid == Uid::from(part.key)).unwrap();
                let digest = registry.read(|state| digest_of(part, &|key| assigned(state, key))).unwrap();
                let body = EncodedBody::Put { record: content.canonical.to_vec(), digest };
                return Ok(Encoded::new(uid.clone(), version, body));
            }
            let mapped = registry.read(|state| state.mapping.as_ref().map(|mapping| mapping.see(pod)));
            let digest = match mapped {
                None => content.digest,
                Some(Ok(Some((key, digest)))) if key == *uid => digest,
                Some(seen) => return Err(RenderFailure { cause: format!("{seen:?} instead of {uid}") }),
            };
            EncodedBody::Put { record: content.canonical.to_vec(), digest }
        }
        RecordChange::Delete(removal) => EncodedBody::Delete(removal),
    };
    Ok(Encoded::new(uid.clone(), version, body))
}

impl EventLoopHarness {
    /// Checks that the registry holds exactly these keys and bodies.
    pub(super) fn assert_held(&self, expected: &[(&str, &str)]) {
        let state = self.registry.state();
        let dependency = state.mapping.as_ref().unwrap().dependency;
        let held: BTreeMap<_, _> = state.records.iter().map(|(key, (_, digest))| (key.as_str(), *digest)).collect();
        let expected: BTreeMap<_, _> = expected.iter().map(|(key, body)| (*key, digest(body, dependency))).collect();
        let keys = |map: &BTreeMap<&str, Digest>| map.keys().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&held), keys(&expected));
        assert_eq!(held, expected);
    }

    /// The number of operations that were sent.
    pub(super) fn sent(&self) -> usize {
        self.registry.state().items()
    }
}

/// The fingerprint by which the registry would list a body.
pub(super) fn stored(epoch: u64, body: &str) -> (Version, model::digest::Digest) {
    (Version { epoch, seq: 1 }, digest(body, None))
}
