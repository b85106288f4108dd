//! Which guarantees hold for a registry, by what its target can do.

use super::{
    batch::BatchRequest,
    items::ItemReading,
    request::RequestTemplate,
    target::Target,
    words::{Word, WordSet},
    writes::Writes,
};

/// How far a guarantee holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuaranteeLevel {
    Full,
    Partial,
    None,
}

impl GuaranteeLevel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "yes",
            Self::Partial => "partly",
            Self::None => "no",
        }
    }
}

/// A guarantee, and how far it holds for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarantee {
    pub name: &'static str,
    pub level: GuaranteeLevel,
    /// What it rests on, or what is missing.
    pub because: &'static str,
}

/// The guarantees that depend on what the registry can do, in the order of the documentation.
pub fn guarantees(target: &Target) -> [Guarantee; 5] {
    [foreign_records(target), downtime(target), restart(target), drift(target), former_leader(target)]
}

fn foreign_records(target: &Target) -> Guarantee {
    let (level, because) = if target.reads_mark() {
        (GuaranteeLevel::Full, "each record shows its owner mark")
    } else if target.exclusive {
        (GuaranteeLevel::Partial, "`exclusive: true` says that all records are ours; their marks are not read")
    } else {
        (GuaranteeLevel::Full, "without a mark, only records that this process wrote are deleted")
    };
    Guarantee { name: "records of others are not touched", level, because }
}

fn downtime(target: &Target) -> Guarantee {
    let shows_ours = target.reads_mark() || target.exclusive;
    let (level, because) = match target.list() {
        Some(_) if shows_ours => (GuaranteeLevel::Full, "`list` shows records without a pod"),
        Some(_) => (GuaranteeLevel::None, "`list` does not show whose a record is; read the mark with `item.mark`"),
        None => (GuaranteeLevel::None, "there is no `list`, so records of earlier processes are not known"),
    };
    Guarantee { name: "pods deleted during downtime are removed", level, because }
}

fn restart(target: &Target) -> Guarantee {
    let (level, because) = match (target.list(), compares(target)) {
        (Some(_), true) => (GuaranteeLevel::Full, "`list` shows what each record holds"),
        (Some(_), false) => (GuaranteeLevel::Partial, "each record is written once per term; `list` shows only its id"),
        (None, _) if target.find.is_some() => (GuaranteeLevel::Partial, "each record is looked up once per term"),
        (None, _) => (GuaranteeLevel::None, "each record is written once per term; nothing can be read"),
    };
    Guarantee { name: "a restart writes only differences", level, because }
}

fn drift(target: &Target) -> Guarantee {
    let compares_body = target.item().is_some_and(ItemReading::reads_body);
    let (level, because) = match (target.list(), compares(target)) {
        (Some(_), true) if compares_body => (GuaranteeLevel::Full, "`item.body` shows edits of other members too"),
        (Some(_), true) => (GuaranteeLevel::Full, "`item.digest` shows other records; edits that keep it stay unseen"),
        (Some(_), false) => (GuaranteeLevel::Partial, "missing records are written again; edited ones stay unseen"),
        (None, _) => (GuaranteeLevel::None, "there is no `list` to compare with"),
    };
    Guarantee { name: "drift is repaired at a resync", level, because }
}

fn former_leader(target: &Target) -> Guarantee {
    let used = used_by_writes(target);
    let (level, because) = if used.has(Word::Term) {
        (GuaranteeLevel::Full, "writes name their term; the registry has to refuse an older one")
    } else if used.has(Word::Seen) || used.has(Word::Change) {
        (GuaranteeLevel::Partial, "writes name a revision or an order; the registry has to compare it")
    } else {
        (GuaranteeLevel::Partial, "by the Lease alone; a late write is repaired at the next resync")
    };
    Guarantee { name: "late writes of a former leader are refused", level, because }
}

/// Whether a list shows what a record holds.
fn compares(target: &Target) -> bool {
    target.item().is_some_and(|item| item.reads_digest() || item.reads_body())
}

/// The words in all requests that write.
fn used_by_writes(target: &Target) -> WordSet {
    let writes: Vec<&RequestTemplate> = match &target.writes {
        Writes::Put(put) => vec![&put.request],
        Writes::CreateUpdate { create, update } => vec![&create.request, &update.request],
        Writes::Batches | Writes::Nothing => Vec::new(),
    };
    let writes = writes.into_iter().map(RequestTemplate::uses);
    writes.chain(target.batches.iter().map(BatchRequest::put_uses)).fold(WordSet::NONE, WordSet::and)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mapping::load::load, model::ids::RecordOwner};

    fn levels(members: &str) -> [GuaranteeLevel; 5] {
        let text = format!("targets:\n  - {{name: a, url: http://a, {members}}}\n");
        let loaded = load("t.yaml", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let target = Target::compile(&loaded.targets[0].spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
        guarantees(&target).map(|guarantee| guarantee.level)
    }

    #[test]
    fn guarantees_follow_from_requests_and_readings() {
        use GuaranteeLevel::{Full, None, Partial};
        assert_eq!(levels("preset: rest"), [Full, Full, Full, Full, Partial]);
        assert_eq!(levels("preset: etcd"), [Full; 5]);
        let writes = r#"body: {a: "{{ mark }}"}, put: {path: "p/{{ id }}"}, delete: {path: "p/{{ id }}"}"#;
        assert_eq!(levels(writes), [Full, None, None, None, Partial]);
        let list = format!("{writes}, list: {{path: p, items: /i}}, item: {{id: /id, mark: /a}}");
        assert_eq!(levels(&list), [Full, Full, Partial, Partial, Partial]);
        let find = format!(r#"{writes}, find: {{path: "p/{{{{ id }}}}", at: ""}}, item: {{id: /id, mark: /a}}"#);
        assert_eq!(levels(&find), [Full, None, Partial, None, Partial]);
    }
}
