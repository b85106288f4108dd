//! What a registry holds of one pod, and what the controller would do.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{
    commands::{
        plan::held::{known, refusal},
        registry_reader::RegistryReader,
    },
    kubernetes::pods::ReadPod,
    mapping::{
        differences::{ValueDifference, differences, view_differences},
        items::ItemContent,
        kind::Kind,
        target::{RenderedRecord, records::RecordRendering},
        writes::Held,
    },
    model::{digest::Digest, moment::Moment, pod::RecordContent, uid::Uid},
    reconcile::{
        decide::{Action, Wanted, decide},
        ledger::entry::Known,
        outcome::Failure,
    },
    registry::{
        Projection,
        client::reader::V1Reader,
        mapped::reader::{ListedItem, LookedUp, TargetReader},
    },
};

/// One record of a pod in one target.
#[derive(Default)]
pub(super) struct Explained {
    /// The name of its kind, if the target has `kinds`.
    kind: Option<String>,
    id: Option<String>,
    /// The record that the registry should hold.
    record: Option<Value>,
    /// What the registry holds.
    held: Option<Value>,
    differences: Vec<ValueDifference>,
    next: String,
}

/// The records of a pod, or one without an id that says why there is none.
pub(super) async fn explain(reader: RegistryReader, read: &ReadPod) -> Result<Vec<Explained>, Failure> {
    let Some(content) = &read.pod.content else {
        let cause = read.undecodable.clone().unwrap_or_default();
        let next = format!("nothing: the pod cannot be read, so a registered record stays as it is: {cause}");
        return Ok(vec![Explained { next, ..Explained::default() }]);
    };
    match reader {
        RegistryReader::V1(reader) => of_v1(&reader, read, content).await.map(|explained| vec![explained]),
        RegistryReader::Mapped(reader) => of_mapped(*reader, content).await,
    }
}

/// A pod that the cluster no longer has. `id` is that of its record, if the controller knows it.
pub(super) async fn explain_gone(reader: RegistryReader, uid: &Uid, id: Option<&str>) -> Result<Explained, Failure> {
    let explained = |id: Option<&str>, held| Explained { id: id.map(str::to_owned), held, ..Explained::default() };
    match (reader, id) {
        (RegistryReader::V1(reader), _) => Ok(explained(Some(&uid.text()), reader.record(uid).await?)),
        (RegistryReader::Mapped(_), None) => Ok(explained(None, None)),
        (RegistryReader::Mapped(mut reader), Some(id)) => {
            reader.prepare().await?;
            let mut held = None;
            for kind in &reader.target().kinds {
                held = match look_up(&reader, kind, id).await? {
                    LookedUp::Unknown | LookedUp::Nothing => continue,
                    LookedUp::Foreign(held) => Some(held),
                    LookedUp::Ours(item) => item.shown,
                };
                break;
            }
            Ok(explained(Some(id), held))
        }
    }
}

async fn of_v1(reader: &V1Reader, read: &ReadPod, content: &RecordContent) -> Result<Explained, Failure> {
    let held = reader.record(&read.pod.uid).await?;
    let id = Some(read.pod.uid.to_string());
    if matches!(reader.project(&read.pod), Projection::NotSelected(_)) {
        return Ok(Explained { id, next: not_selected(held.is_some()), held, ..Explained::default() });
    }
    let record: Value = serde_json::from_slice(&content.canonical).unwrap_or_default();
    let stored = held.as_ref().map(|held| held["digest"].as_str().and_then(|text| text.parse::<Digest>().ok()));
    let known = match stored {
        None => Known::Absent,
        Some(None) => Known::Uncertain,
        Some(Some(digest)) => Known::Registered(digest.fingerprint()),
    };
    let next = next(known, content.digest.fingerprint());
    let differences = held.as_ref().map(|held| differences(&record, held)).unwrap_or_default();
    Ok(Explained { id, record: Some(record), held, differences, next, kind: None })
}

async fn of_mapped(mut reader: TargetReader, content: &RecordContent) -> Result<Vec<Explained>, Failure> {
    let missing = reader.prepare().await?;
    // Without a list that can be used, the controller writes nothing.
    reader.probe().await?;
    let cannot = |error: &dyn std::fmt::Display| {
        let first = if missing.is_empty() { String::new() } else { format!(" (`prepare`: {})", missing.join(", ")) };
        format!("nothing: the record cannot be rendered: {error}{first}")
    };
    // What the registry assigned to the records that others belong to. These stand before the others.
    let mut assigned: HashMap<Uid, Value> = HashMap::new();
    let mut all: Vec<Explained> = Vec::new();
    loop {
        let known = |_: usize, key: &Uid| assigned.get(key).cloned();
        let records = match reader.target().records(&content.record, reader.term(), &known) {
            Ok(Some(records)) => records,
            Ok(None) => return Ok(vec![Explained { next: not_selected(false), ..Explained::default() }]),
            Err(error) => return Ok(vec![Explained { next: cannot(&error), ..Explained::default() }]),
        };
        // Each turn explains one record.
        let Some(record) = records.into_iter().nth(all.len()) else { return Ok(all) };
        let kind = &reader.target().kinds[record.kind];
        let (id, name) = (Some(record.id.clone()), kind.name().map(str::to_owned));
        let explained = Explained { id, kind: name, ..Explained::default() };
        all.push(match record.state {
            RecordRendering::Failed(error) => Explained { next: cannot(&error), ..explained },
            RecordRendering::Waits => {
                let next = "nothing: it waits for a record that it belongs to";
                Explained { next: next.to_owned(), ..explained }
            }
            RecordRendering::Rendered(record) => {
                let looked_up = look_up(&reader, kind, &record.id).await?;
                if let LookedUp::Ours(item) = &looked_up {
                    assigned.extend(item.item.remote.clone().map(|remote| (record.key.clone(), remote)));
                }
                with_held(kind, &record, looked_up, explained)
            }
        });
    }
}

fn with_held(kind: &Kind, record: &RenderedRecord, looked_up: LookedUp, explained: Explained) -> Explained {
    let explained = Explained { record: Some(record.body.clone()), ..explained };
    match looked_up {
        LookedUp::Unknown => Explained { next: "unknown: the record cannot be looked up".to_owned(), ..explained },
        LookedUp::Nothing => Explained { next: next_of(kind, record, None), ..explained },
        LookedUp::Foreign(held) => {
            let next = "nothing: the registry has a record with this id and another owner mark, so it is parked";
            Explained { held: Some(held), next: next.to_owned(), ..explained }
        }
        LookedUp::Ours(item) => {
            let next = next_of(kind, record, Some(&item));
            let differences = match &item.item.content {
                ItemContent::Body(view) => view_differences(&kind.view(&record.body), view),
                _ => Vec::new(),
            };
            Explained { held: item.shown, differences, next, ..explained }
        }
    }
}

/// Looks the record up with `find`, or searches the list.
async fn look_up(reader: &TargetReader, kind: &Kind, id: &str) -> Result<LookedUp, Failure> {
    match reader.find(kind, id, &Held::default()).await? {
        LookedUp::Unknown => {}
        found => return Ok(found),
    }
    let Some(list) = reader.list(kind).await? else { return Ok(LookedUp::Unknown) };
    let is_ours = |listed: &ListedItem| listed.item.id.as_deref() == Some(id) && !listed.item.gone;
    Ok(list.items.into_iter().find(is_ours).map_or(LookedUp::Nothing, |item| LookedUp::Ours(Box::new(item))))
}

/// What happens next to a record of which the registry shows this.
fn next_of(kind: &Kind, record: &RenderedRecord, listed: Option<&ListedItem>) -> String {
    let known = known(listed, record);
    let is_put = matches!(decide(Wanted::Present(record.fingerprint), known, None, Moment::START), Action::Put(_));
    match refusal(kind, record, listed).filter(|_| is_put) {
        Some(cause) => format!("nothing: the record cannot be sent, so it is parked: {cause}"),
        None => next(known, record.fingerprint),
    }
}

fn next(known: Known, desired: crate::model::digest::Fingerprint) -> String {
    let what = match decide(Wanted::Present(desired), known, None, Moment::START) {
        Action::Put(_) if known == Known::Absent => "put: the registry has no such record",
        Action::Put(_) => "put: the registry holds another record",
        _ => "nothing: the registry holds the record",
    };
    what.to_owned()
}

fn not_selected(is_held: bool) -> String {
    let what = match is_held {
        true => "delete, after approval if the settings changed: the target does not select the pod",
        false => "nothing: the target does not select the pod",
    };
    what.to_owned()
}

impl Explained {
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { kind, id, record, held, differences, next: _ } = self;
        let mut lines: Vec<String> = kind.iter().map(|kind| format!("  kind:     {kind}")).collect();
        lines.extend(id.iter().map(|id| format!("  id:       {id}")));
        lines.extend(record.iter().map(|record| format!("  record:   {record}")));
        let held = held.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
        lines.push(format!("  registry: {held}"));
        for ValueDifference { pointer, sent, came_back } in differences {
            let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
            lines.push(format!("  {pointer} should be {} and is {}", shown(sent), shown(came_back)));
        }
        lines
    }

    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    pub(super) fn next(&self) -> &str {
        &self.next
    }

    pub(super) fn json(&self, target: &str) -> Value {
        let Self { kind: _, id, record, held, differences, next } = self;
        let difference = |difference: &ValueDifference| json!({"pointer": difference.pointer, "desired": difference.sent, "held": difference.came_back});
        json!({
            "target": target, "id": id, "record": record, "registry": held, "next": next,
            "differences": differences.iter().map(difference).collect::<Vec<_>>(),
        })
    }
}
