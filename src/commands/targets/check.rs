//! `pod-registrar targets check`: reads the registry of a target, and changes nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    cli::targets::CheckTargetSettings,
    commands::{DONE, Error, informers, owner, registry_reader::RegistryReader, report, targets_file},
    kubernetes::kubeconfig::Environment,
    mapping::{
        guarantees::{Guarantee, guarantees},
        items::{ItemContent, ItemMark, RegistryItem},
    },
    model::ids::RecordOwner,
    reconcile::outcome::Failure,
    registry::{
        client::reader::V1Reader,
        mapped::reader::{ListResult, ListedItem, TargetReader},
    },
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found. Each line has a name.
#[derive(Default)]
struct Findings {
    lines: Vec<(String, String)>,
    json: serde_json::Map<String, Value>,
}

pub(super) async fn run(settings: CheckTargetSettings, environment: Environment) -> Result<u8, Error> {
    let CheckTargetSettings { target: choice, owner, cluster, output, log: _ } = settings;
    let loaded = targets_file::find(&choice.targets, &choice.name)?;
    let owner = match owner.cluster_id {
        Some(_) => owner::made_up(owner, ""),
        None => owner::of_cluster(owner, &informers::cluster(cluster, environment)?.client()).await?,
    };
    let mut findings = Findings::default();
    let kind = targets_file::kind(&loaded.spec);
    findings.add("target", "target", format!("{} ({kind})", choice.name), json!({"name": choice.name, "kind": kind}));
    let url = &loaded.spec.connection.url.text;
    findings.add("url", "url", url.clone(), json!(url));
    let read = match RegistryReader::of_target(&loaded, &owner, REQUEST_TIMEOUT)? {
        RegistryReader::V1(reader) => of_v1(&reader, &owner, &mut findings).await,
        RegistryReader::Mapped(mut reader) => of_mapped(&mut reader, &mut findings).await,
    };
    report::print(output.output, || findings.table(), || Value::Object(findings.json.clone())).await?;
    let failed = |error: Failure| Error::Request { what: "the check failed", why: error.to_string() };
    read.map(|()| DONE).map_err(failed)
}

impl Findings {
    /// `name` is that of the line, and `key` that of the member.
    fn add(&mut self, name: &str, key: &str, line: String, json: Value) {
        self.lines.push((name.to_owned(), line));
        self.json.insert(key.to_owned(), json);
    }

    fn table(&self) -> Vec<String> {
        let row = |(name, line): &(String, String)| [name.clone(), line.clone()];
        report::table(&self.lines.iter().map(row).collect::<Vec<_>>())
    }
}

async fn of_v1(reader: &V1Reader, owner: &RecordOwner, findings: &mut Findings) -> Result<(), Failure> {
    let (capabilities, took) = timed(reader.capabilities()).await;
    let features = capabilities?.features;
    let shown = json!({"batches": features.batches, "digests": features.digests});
    findings.add("features", "features", format!("{shown} ({took} ms)"), shown);
    let holder = reader.session_holder().await?;
    let line = holder.as_ref().map_or_else(
        || "none".to_owned(),
        |holder| {
            format!("epoch {}, held by {}, {} records", holder.session.epoch, holder.session.instance, holder.records)
        },
    );
    findings.add("session", "session", line, json!(holder.map(|holder| holder.session.instance)));
    let (items, took) = timed(reader.inventory()).await;
    let ours = items?.len();
    let line = format!("{ours} records of {} in cluster {} ({took} ms)", owner.owner, owner.cluster_id);
    findings.add("list", "list", line, json!({"ours": ours, "milliseconds": took}));
    Ok(())
}

async fn of_mapped(reader: &mut TargetReader, findings: &mut Findings) -> Result<(), Failure> {
    let mark = reader.target().mark().to_owned();
    findings.add("owner mark", "mark", mark.clone(), json!(mark));
    let shown = guarantees(reader.target());
    let missing = reader.prepare().await?;
    if !reader.target().prepare.is_empty() {
        let line = match missing.as_slice() {
            [] => "everything that records refer to was found".to_owned(),
            missing => format!("the controller would create: {}", missing.join(", ")),
        };
        findings.add("prepare", "prepare", line, json!({"missing": missing}));
    }
    let mut of_kinds = serde_json::Map::new();
    for kind in &reader.target().kinds {
        let (list, took) = timed(reader.list(kind)).await;
        // Those of several kinds are members of their own.
        let mut own = Findings::default();
        match list? {
            None => own.add("list", "list", "the target has no `list`, so nothing was read".to_owned(), Value::Null),
            Some(list) => add_list(&list, took, &mut own),
        }
        match kind.name() {
            None => findings.json.extend(own.json),
            Some(name) => _ = of_kinds.insert(name.to_owned(), Value::Object(own.json)),
        }
        let prefixed =
            |(line, what)| (kind.name().map_or_else(|| String::clone(&line), |kind| format!("{kind}: {line}")), what);
        findings.lines.extend(own.lines.into_iter().map(prefixed));
    }
    if reader.target().has_kinds() {
        findings.json.insert("kinds".to_owned(), Value::Object(of_kinds));
    }
    for Guarantee { name, level, because } in &shown {
        findings.lines.push((level.name().to_owned(), format!("{name}: {because}")));
    }
    let guarantees = shown.map(
        |guarantee| json!({"guarantee": guarantee.name, "holds": guarantee.level.name(), "because": guarantee.because}),
    );
    findings.json.insert("guarantees".to_owned(), Value::from(guarantees.to_vec()));
    Ok(())
}

fn add_list(list: &ListResult, took: u128, findings: &mut Findings) {
    let of_mark = |mark| list.items.iter().filter(|listed| listed.item.mark == mark).count() as u64;
    let (ours, unmarked) = (of_mark(ItemMark::Ours), of_mark(ItemMark::NotRead));
    let foreign = list.records - ours - unmarked;
    let gone = list.items.iter().filter(|listed| listed.item.gone).count();
    let mut line =
        format!("{} records on {} pages: {ours} of ours, {foreign} of others ({took} ms)", list.records, list.pages);
    if unmarked > 0 {
        line = format!("{line}; {unmarked} whose mark is not read");
    }
    if gone > 0 {
        line = format!("{line}; {gone} of them count as deleted");
    }
    let json = json!({
        "pages": list.pages, "records": list.records, "ours": ours, "foreign": foreign, "unmarked": unmarked,
        "gone": gone, "milliseconds": u64::try_from(took).unwrap_or(u64::MAX),
    });
    findings.add("list", "list", line, json);
    let without_digest = list.items.iter().filter(|listed| listed.item.content == ItemContent::Digest(None)).count();
    if without_digest > 0 {
        let line =
            format!("{without_digest} of ours have no digest where `item.digest` reads it; they are written again");
        findings.add("digest", "digest", line, json!({"missing": without_digest}));
    }
    let ours = |listed: &&ListedItem| listed.shown.is_some() && listed.item.mark == ItemMark::Ours;
    let example = list.items.iter().find(ours).or_else(|| list.items.iter().find(|listed| listed.shown.is_some()));
    if let Some(ListedItem { shown, item }) = example {
        let (shown, read) = (shown.clone().unwrap_or_default(), read_item(item));
        findings.add("one record", "record", shown.to_string(), shown);
        findings.add("is read as", "readAs", read.to_string(), read);
    }
}

/// What the readings of `item` find in a record.
pub(super) fn read_item(item: &RegistryItem) -> Value {
    let RegistryItem { id, remote, seen, mark, content, gone, rounded: _ } = item;
    let mark = match mark {
        ItemMark::Ours => "ours",
        ItemMark::Foreign => "foreign",
        ItemMark::NotRead => "not read",
    };
    let mut read = json!({"id": id, "mark": mark});
    if let Some(remote) = remote {
        read["remote"] = remote.clone();
    }
    if let Some(seen) = seen {
        read["seen"] = seen.clone();
    }
    match content {
        ItemContent::Digest(digest) => read["digest"] = digest.map(|digest| digest.hex()).into(),
        ItemContent::Body(body) => read["body"] = body.clone(),
        ItemContent::BodyFingerprint(_) | ItemContent::Presence => {}
    }
    if *gone {
        read["gone"] = true.into();
    }
    read
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, u128) {
    let begun = Instant::now();
    (work.await, begun.elapsed().as_millis())
}
