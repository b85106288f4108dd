//! Which records can be taken over, and why others cannot.
//!
//! The kinds of a target are planned one after the other, parents first: what the registry assigned to a record, ours
//! or one that is to be taken over, decides how those that belong to it look.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use serde_json::Value as Json;

use crate::{
    commands::Error,
    kubernetes::{
        client::PodSelection,
        pods::{self, ReadPod},
    },
    mapping::{
        items::RegistryItem,
        kind::Kind,
        target::{
            RenderedRecord,
            records::{PodRecord, RecordRendering},
        },
        template::RenderError,
    },
    model::{
        pod::{Pod, to_record::Rule},
        uid::Uid,
    },
    reconcile::outcome::Failure,
    registry::mapped::{
        adoption::{ForeignRecord, NOT_LOOKED_UP, Occupant},
        reader::TargetReader,
    },
};

/// Lookups in flight.
const LOOKUPS: usize = 4;

const SHARED: &str = "the same record is found for several pods";
const LACKS_PARENT: &str = "the record that it belongs to is missing; enter that one by hand, and adopt both";

/// A record of others that can become the record of a pod.
pub(super) struct Adoptable {
    pub(super) pod: Uid,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The kind of the record, if the target has `kinds`.
    pub(super) kind: Option<String>,
    pub(super) record: RenderedRecord,
    pub(super) found: ForeignRecord,
}

/// A pod whose record is not taken over although there is one, or may be one.
pub(super) struct LeftOut {
    pub(super) pod: String,
    pub(super) why: String,
}

/// A record of ours that others may belong to.
pub(super) struct OurRecord {
    /// The position of its kind among those of the target.
    pub(super) kind: usize,
    pub(super) key: Uid,
    pub(super) id: String,
    pub(super) item: RegistryItem,
}

#[derive(Default)]
pub(super) struct AdoptionPlan {
    /// Whether pods may have several records.
    pub(super) has_kinds: bool,
    /// Records of ours that pods have.
    pub(super) registered: usize,
    /// Records of pods in whose place the registry has nothing.
    pub(super) without: usize,
    /// Each behind its parent.
    pub(super) adoptable: Vec<Adoptable>,
    pub(super) left_out: Vec<LeftOut>,
    /// Records of ours to which others may belong.
    pub(super) parents: Vec<OurRecord>,
}

/// A record that a pod should have.
struct Wanted {
    /// The position of the pod among those that are read.
    pod: usize,
    record: RenderedRecord,
    /// Whether the registry lacks the record that this one belongs to.
    lacks_parent: bool,
}

/// The records that are ours, or will be, with what the registry assigned to them.
type OurRemotes = HashMap<Uid, Option<Json>>;

impl AdoptionPlan {
    /// `from` is the mark of the records to take over. Without it, only records without a mark are.
    pub(super) async fn make(
        reader: &mut TargetReader,
        client: &Client,
        scope: &PodSelection,
        rule: &Rule,
        from: Option<&str>,
    ) -> Result<Self, Error> {
        let failed = |why: Failure| Error::Request { what: "cannot read the registry", why: why.to_string() };
        let missing = reader.prepare().await.map_err(failed)?;
        let reader = &*reader;
        let mut plan = Self { has_kinds: reader.target().has_kinds(), ..Self::default() };
        let mut ours = plan.read_ours(reader).await.map_err(failed)?;
        let read = pods::list(client, scope, rule, usize::MAX, |read| read).await?;
        let pods = plan.usable(reader, read, &missing);
        for kind in &reader.target().kinds {
            let wanted = plan.wanted(reader, kind, &pods, &ours);
            if !kind.can_be_adopted() {
                // Of all its records, because it is the same for each of them.
                let name = kind.name().unwrap_or_default();
                plan.left_out.push(LeftOut { pod: "-".to_owned(), why: format!("the kind {name} {NOT_LOOKED_UP}") });
                continue;
            }
            let found = look_up(reader, wanted).await.map_err(failed)?;
            plan.add_kind(kind, &pods, found, from, &mut ours);
        }
        plan.left_out.sort_by(|a, b| a.pod.cmp(&b.pod));
        Ok(plan)
    }

    /// Lists our records. Finds none if the registry cannot list them.
    async fn read_ours(&mut self, reader: &TargetReader) -> Result<OurRemotes, Failure> {
        let mut ours = OurRemotes::new();
        for kind in &reader.target().kinds {
            let list = reader.list(kind).await?.unwrap_or_default();
            for listed in list.items.into_iter().filter(|listed| !listed.item.gone) {
                if let Some(id) = listed.item.id.clone() {
                    self.note_ours(kind, kind.key(&id), id, listed.item, &mut ours);
                }
            }
        }
        Ok(ours)
    }

    fn note_ours(&mut self, kind: &Kind, key: Uid, id: String, item: RegistryItem, ours: &mut OurRemotes) {
        ours.insert(key.clone(), item.remote.clone());
        if self.has_kinds {
            self.parents.push(OurRecord { kind: kind.index(), key, id, item });
        }
    }

    /// The pods whose records are known. The others are left out. `missing` are the steps of `prepare` that found
    /// nothing.
    fn usable(&mut self, reader: &TargetReader, read: Vec<ReadPod>, missing: &[String]) -> Vec<Pod> {
        let mut usable = Vec::with_capacity(read.len());
        for ReadPod { pod, undecodable, .. } in read {
            let why = match &pod.content {
                None => undecodable.unwrap_or_default(),
                Some(_) => match records(reader, &pod, &OurRemotes::new()) {
                    Ok(_) => {
                        usable.push(pod);
                        continue;
                    }
                    Err(error) if missing.is_empty() => error.to_string(),
                    Err(_) => {
                        format!("`prepare` has to create first: {}; start the controller once", missing.join(", "))
                    }
                },
            };
            self.left_out.push(LeftOut { pod: pod.full_name(), why });
        }
        usable
    }

    /// The records of a kind that pods lack, as far as they can be made.
    fn wanted(&mut self, reader: &TargetReader, kind: &Kind, pods: &[Pod], ours: &OurRemotes) -> Vec<Wanted> {
        let mut by_key: HashMap<Uid, Wanted> = HashMap::new();
        for (at, pod) in pods.iter().enumerate() {
            let all = records(reader, pod, ours).unwrap_or_default();
            for PodRecord { key, parent, state, .. } in all.into_iter().filter(|record| record.kind == kind.index()) {
                if ours.contains_key(&key) {
                    self.registered += 1;
                    continue;
                }
                let record = match state {
                    RecordRendering::Rendered(record) => record,
                    // The registry lacks its parent, so it lacks this one as well.
                    RecordRendering::Waits => {
                        self.without += 1;
                        continue;
                    }
                    RecordRendering::Failed(error) => {
                        self.left_out.push(LeftOut { pod: pod.full_name(), why: error.to_string() });
                        continue;
                    }
                };
                let lacks_parent = parent.is_some_and(|parent| !ours.contains_key(&parent));
                let wanted = Wanted { pod: at, record, lacks_parent };
                // The pod that was created last has the record, as for the controller.
                if by_key.get(&key).is_none_or(|other| rank(&pods[other.pod]) <= rank(pod)) {
                    by_key.insert(key, wanted);
                }
            }
        }
        by_key.into_values().collect()
    }

    /// Takes what was found in the places of a kind's records.
    fn add_kind(
        &mut self,
        kind: &Kind,
        pods: &[Pod],
        found: Vec<(Wanted, Occupant)>,
        from: Option<&str>,
        ours: &mut OurRemotes,
    ) {
        let mut adoptable = Vec::new();
        for (Wanted { pod, record, lacks_parent }, occupant) in found {
            let pod = &pods[pod];
            let left = |why: &str| LeftOut { pod: pod.full_name(), why: why.to_owned() };
            match occupant {
                Occupant::Ours(item) => {
                    self.registered += 1;
                    self.note_ours(kind, record.key.clone(), record.id, *item, ours);
                }
                Occupant::Nothing => self.without += 1,
                Occupant::Unusable(why) => self.left_out.push(left(&why)),
                Occupant::Foreign(found) => match reason_against(&found, from) {
                    Some(why) => self.left_out.push(left(&why)),
                    None if lacks_parent => self.left_out.push(left(LACKS_PARENT)),
                    None => adoptable.push(Adoptable {
                        pod: pod.uid.clone(),
                        namespace: pod.namespace.to_string(),
                        name: pod.name.to_string(),
                        kind: kind.name().map(str::to_owned),
                        record,
                        found: *found,
                    }),
                },
            }
        }
        let mut own = self.without_shared(adoptable);
        ours.extend(own.iter().map(|one| (one.record.key.clone(), one.found.item.remote.clone())));
        own.sort_by(|a, b| (&a.namespace, &a.name, &a.record.id).cmp(&(&b.namespace, &b.name, &b.record.id)));
        self.adoptable.extend(own);
    }

    /// A record that is found for several pods is that of none.
    fn without_shared(&mut self, adoptable: Vec<Adoptable>) -> Vec<Adoptable> {
        let mut times: HashMap<String, usize> = HashMap::new();
        let identity = |one: &Adoptable| format!("{:?} {:?}", one.found.item.remote, one.found.item.id);
        adoptable.iter().for_each(|one| *times.entry(identity(one)).or_default() += 1);
        let (shared, own): (Vec<_>, Vec<_>) = adoptable.into_iter().partition(|one| times[&identity(one)] > 1);
        let left = |one: Adoptable| LeftOut { pod: format!("{}/{}", one.namespace, one.name), why: SHARED.to_owned() };
        self.left_out.extend(shared.into_iter().map(left));
        own
    }
}

/// The records of a pod, if it is selected.
fn records(reader: &TargetReader, pod: &Pod, ours: &OurRemotes) -> Result<Vec<PodRecord>, RenderError> {
    let Some(content) = &pod.content else { return Ok(Vec::new()) };
    let assigned = |_: usize, key: &Uid| ours.get(key).cloned().flatten();
    Ok(reader.target().records(&content.record, reader.term(), &assigned)?.unwrap_or_default())
}

fn rank(pod: &Pod) -> (Option<&str>, &Uid) {
    (pod.content.as_ref().map(|content| content.record.times.created.as_str()), &pod.uid)
}

async fn look_up(reader: &TargetReader, wanted: Vec<Wanted>) -> Result<Vec<(Wanted, Occupant)>, Failure> {
    let lookups = stream::iter(wanted).map(async |wanted| {
        let occupant = reader.occupant(&wanted.record).await?;
        Ok::<_, Failure>((wanted, occupant))
    });
    lookups.buffer_unordered(LOOKUPS).try_collect().await
}

/// Why a record of others is not taken over.
fn reason_against(found: &ForeignRecord, from: Option<&str>) -> Option<String> {
    match &found.mark {
        mark if mark.as_deref() == from => None,
        Some(mark) => Some(format!("the record has the owner mark {mark:?}; to take it over, add --from {mark:?}")),
        None => Some("the record has no owner mark; to take it over, leave --from out".to_owned()),
    }
}
