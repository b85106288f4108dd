//! Which records can be taken over, and why others cannot.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;

use crate::{
    commands::Error,
    kubernetes::{
        client::PodSelection,
        pods::{self, ReadPod},
    },
    mapping::target::{RecordState, RenderedRecord},
    model::{pod::to_record::Rule, uid::Uid},
    reconcile::outcome::Failure,
    registry::mapped::{
        adoption::{ForeignRecord, Occupant},
        reader::TargetReader,
    },
};

/// Lookups in flight.
const LOOKUPS: usize = 4;

/// A record of others that can become the record of a pod.
pub(super) struct Adoptable {
    pub(super) pod: Uid,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) record: RenderedRecord,
    pub(super) found: ForeignRecord,
}

/// A pod whose record is not taken over although there is one, or may be one.
pub(super) struct LeftOut {
    pub(super) pod: String,
    pub(super) why: String,
}

#[derive(Default)]
pub(super) struct AdoptionPlan {
    /// Pods that have a record of ours.
    pub(super) registered: usize,
    /// Pods in whose place the registry has nothing.
    pub(super) without: usize,
    pub(super) adoptable: Vec<Adoptable>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A pod and the record that it should have.
struct Wanted {
    pod: Uid,
    namespace: String,
    name: String,
    created: String,
    record: RenderedRecord,
}

impl AdoptionPlan {
    /// `from` is the mark of the records to take over. Without it, only records without a mark are.
    pub(super) async fn make(
        mut reader: TargetReader,
        client: &Client,
        scope: &PodSelection,
        rule: &Rule,
        from: Option<&str>,
    ) -> Result<Self, Error> {
        let failed = |why: Failure| Error::Request { what: "cannot read the registry", why: why.to_string() };
        reader.prepare().await.map_err(failed)?;
        let ours = ours(&reader).await.map_err(failed)?;
        let mut plan = Self::default();
        let rendered = pods::list(client, scope, rule, usize::MAX, |read| wanted(&reader, read)).await?;
        let mut by_key: HashMap<Uid, Wanted> = HashMap::new();
        for wanted in rendered.into_iter().flatten() {
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(left) => {
                    plan.left_out.push(left);
                    continue;
                }
            };
            if ours.contains(&wanted.record.key) {
                plan.registered += 1;
                continue;
            }
            // The pod that was created last has the record, as for the controller.
            let is_older = |other: &Wanted| (&other.created, &other.pod) > (&wanted.created, &wanted.pod);
            if !by_key.get(&wanted.record.key).is_some_and(is_older) {
                by_key.insert(wanted.record.key.clone(), wanted);
            }
        }
        let reader = &reader;
        let lookups = stream::iter(by_key.into_values()).map(async |wanted| {
            let occupant = reader.occupant(&wanted.record).await?;
            Ok::<_, Failure>((wanted, occupant))
        });
        let found: Vec<_> = lookups.buffer_unordered(LOOKUPS).try_collect().await.map_err(failed)?;
        found.into_iter().for_each(|(wanted, occupant)| plan.add(wanted, occupant, from));
        plan.refuse_shared();
        plan.adoptable.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        plan.left_out.sort_by(|a, b| a.pod.cmp(&b.pod));
        Ok(plan)
    }

    fn add(&mut self, wanted: Wanted, occupant: Occupant, from: Option<&str>) {
        let Wanted { pod, namespace, name, record, .. } = wanted;
        let full_name = format!("{namespace}/{name}");
        let found = match occupant {
            Occupant::Ours => return self.registered += 1,
            Occupant::Nothing => return self.without += 1,
            Occupant::Unknown => {
                let why = "the target has neither `adopt` nor `find`, or `item.mark` is missing".to_owned();
                return self.left_out.push(LeftOut { pod: full_name, why });
            }
            Occupant::Foreign(found) => *found,
        };
        match &found.mark {
            mark if mark.as_deref() == from => {
                self.adoptable.push(Adoptable { pod, namespace, name, record, found });
            }
            Some(mark) => {
                let why = format!("the record has the owner mark {mark:?}; to take it over, add --from {mark:?}");
                self.left_out.push(LeftOut { pod: full_name, why });
            }
            None => {
                let why = "the record has no owner mark; to take it over, leave --from out".to_owned();
                self.left_out.push(LeftOut { pod: full_name, why });
            }
        }
    }

    /// A record that is found for several pods is that of none.
    fn refuse_shared(&mut self) {
        let mut pods: HashMap<String, usize> = HashMap::new();
        let identity = |one: &Adoptable| format!("{:?} {:?}", one.found.item.remote, one.found.item.id);
        self.adoptable.iter().for_each(|one| *pods.entry(identity(one)).or_default() += 1);
        let (shared, own): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.adoptable).into_iter().partition(|one| pods[&identity(one)] > 1);
        self.adoptable = own;
        let why = "the same record is found for several pods";
        let left = |one: Adoptable| LeftOut { pod: format!("{}/{}", one.namespace, one.name), why: why.to_owned() };
        self.left_out.extend(shared.into_iter().map(left));
    }
}

/// The keys of our records. Empty if the registry cannot list them.
async fn ours(reader: &TargetReader) -> Result<HashSet<Uid>, Failure> {
    let mut ours = HashSet::new();
    for kind in &reader.target().kinds {
        let list = reader.list(kind).await?.unwrap_or_default();
        let ids = list.items.into_iter().filter(|listed| !listed.item.gone).filter_map(|listed| listed.item.id);
        ours.extend(ids.map(|id| kind.key(&id)));
    }
    Ok(ours)
}

/// `None` if the pod has no record.
fn wanted(reader: &TargetReader, read: ReadPod) -> Option<Result<Wanted, LeftOut>> {
    let pod = read.pod;
    let left = |why: String| Some(Err(LeftOut { pod: pod.full_name(), why }));
    let Some(content) = &pod.content else { return left(read.undecodable.unwrap_or_default()) };
    // The target has no `kinds`, so there is at most one, which waits for no other.
    let records = match reader.target().records(&content.record, reader.term(), &|_, _| None) {
        Ok(records) => records.unwrap_or_default(),
        Err(error) => return left(error.to_string()),
    };
    match records.into_iter().next()?.state {
        RecordState::Rendered(record) => Some(Ok(Wanted {
            pod: pod.uid.clone(),
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            created: content.record.times.created.clone(),
            record,
        })),
        RecordState::Failed(error) => left(error.to_string()),
        RecordState::Waits => None,
    }
}
