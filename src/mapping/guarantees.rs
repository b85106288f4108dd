//! Which guarantees hold for a registry, by what its target can do.

use super::{
    batch::BatchRequest,
    items::ItemReading,
    kind::Kind,
    target::Target,
    words::{Word, WordSet},
    writes::Writes,
};

/// How far a guarantee holds, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    pub because: String,
}

/// A kind of records, and the target that it belongs to.
#[derive(Clone, Copy)]
struct Subject<'t> {
    target: &'t Target,
    kind: &'t Kind,
}

/// How far a guarantee holds for one kind of records.
struct OfKind {
    name: &'static str,
    level: GuaranteeLevel,
    because: &'static str,
}

/// The guarantees that depend on what the registry can do, in the order of the documentation. Of several kinds, the one
/// for which a guarantee is weakest counts.
pub fn guarantees(target: &Target) -> [Guarantee; 5] {
    [foreign_records, downtime, restart, drift, former_leader].map(|guarantee| weakest(target, guarantee))
}

/// Whether the registry may compare the term of a write, and refuse all writers with an older one.
pub fn names_terms(target: &Target) -> bool {
    target.kinds.iter().any(|kind| words_of_writes(kind).any(|words| words.has(Word::Term)))
}

fn weakest(target: &Target, guarantee: fn(Subject<'_>) -> OfKind) -> Guarantee {
    let of_kind = |kind| (Kind::name(kind).unwrap_or_default(), guarantee(Subject { target, kind }));
    let of_kinds: Vec<(&str, OfKind)> = target.kinds.iter().map(of_kind).collect();
    let level = of_kinds.iter().map(|(_, of_kind)| of_kind.level).max().unwrap_or(GuaranteeLevel::None);
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (kind, OfKind { because, .. }) in &of_kinds {
        match reasons.iter_mut().find(|(reason, _)| reason == because) {
            Some((_, kinds)) => kinds.push(kind),
            None => reasons.push((because, vec![kind])),
        }
    }
    let because = match reasons.as_slice() {
        [(reason, _)] => (*reason).to_owned(),
        several => {
            let of_kinds = several.iter().map(|(reason, kinds)| format!("{}: {reason}", kinds.join(", ")));
            of_kinds.collect::<Vec<_>>().join("; ")
        }
    };
    Guarantee { name: of_kinds.first().map_or("", |(_, of_kind)| of_kind.name), level, because }
}

fn foreign_records(Subject { kind, .. }: Subject<'_>) -> OfKind {
    let is_looked_up = kind.find.is_some() && kind.reads_mark();
    let (level, because) = if kind.exclusive {
        (GuaranteeLevel::Full, "`exclusive: true` says that no other writer uses this target's ids and collection")
    } else if kind.replaces_unread() && !is_looked_up {
        (
            GuaranteeLevel::Partial,
            "none is deleted; a put replaces a record with the same id. Add `find` and `item.mark` to look it up first",
        )
    } else if kind.reads_mark() {
        (GuaranteeLevel::Full, "each record shows its owner mark")
    } else {
        (GuaranteeLevel::Partial, "without a mark, only records that this process wrote are deleted")
    };
    OfKind { name: "records of others are not touched", level, because }
}

fn downtime(Subject { target, kind }: Subject<'_>) -> OfKind {
    let (level, because) = match kind.list() {
        Some(_) if shows_ours(kind) => (GuaranteeLevel::Full, "`list` shows records without a pod"),
        Some(_) => (GuaranteeLevel::None, "`list` does not show whose a record is; read the mark with `item.mark`"),
        None if target.remembers => {
            (GuaranteeLevel::Full, "`memory` holds the records without a pod, while its file follows the leader")
        }
        None if target.notices.round.is_some() => {
            (GuaranteeLevel::Partial, "`round` shows the receiver which records it did not put")
        }
        None => (
            GuaranteeLevel::None,
            "there is neither `list` nor `memory`, so records of earlier processes are not known",
        ),
    };
    OfKind { name: "pods deleted during downtime are removed", level, because }
}

fn restart(subject: Subject<'_>) -> OfKind {
    let (level, because) = match reads(subject) {
        Reads::Contents => (GuaranteeLevel::Full, "`list` shows what each record holds"),
        Reads::Presence => {
            (GuaranteeLevel::None, "each record is written once per term; `list` shows only that it exists")
        }
        Reads::Unmarked { .. } => {
            (GuaranteeLevel::None, "each record is written once per start; `list` does not show whose it is")
        }
        Reads::Found => (GuaranteeLevel::Full, "`find` reads each record once per term, before it is written"),
        Reads::Remembered => {
            (GuaranteeLevel::Full, "`memory` holds what was acknowledged, while its file follows the leader")
        }
        Reads::Nothing => (GuaranteeLevel::None, "each record is written once per term; nothing shows what it holds"),
    };
    OfKind { name: "a restart writes only differences", level, because }
}

fn drift(subject: Subject<'_>) -> OfKind {
    let Subject { target, kind } = subject;
    let (level, because) = match reads(subject) {
        Reads::Contents if kind.item().is_some_and(ItemReading::reads_whole_body) => {
            (GuaranteeLevel::Full, "`item.body` shows every edit of a member that `body` has")
        }
        Reads::Contents if kind.item().is_some_and(ItemReading::reads_body) => {
            (GuaranteeLevel::Partial, "`item.body` reads some members of `body`; edits of the others stay unseen")
        }
        Reads::Contents => {
            (GuaranteeLevel::Partial, "`item.digest` is compared; edits that keep the digest stay unseen")
        }
        Reads::Presence => (GuaranteeLevel::Partial, "missing records are written again; edited ones stay unseen"),
        Reads::Unmarked { contents: true } => {
            (GuaranteeLevel::Partial, "only records that this process wrote are compared")
        }
        Reads::Unmarked { contents: false } => {
            (GuaranteeLevel::Partial, "only records that this process wrote are written again if they are missing")
        }
        Reads::Found => (GuaranteeLevel::Partial, "each record is compared once per term; there is no `list`"),
        Reads::Remembered | Reads::Nothing if target.notices.round.is_some() => {
            (GuaranteeLevel::Partial, "`round` puts every record again, whatever the registry holds")
        }
        Reads::Remembered | Reads::Nothing => (GuaranteeLevel::None, "there is nothing to compare with"),
    };
    OfKind { name: "drift is repaired at a resync", level, because }
}

fn former_leader(subject: Subject<'_>) -> OfKind {
    let kind = subject.kind;
    let uses = |word| words_of_writes(kind).all(|words| words.has(word));
    let (level, because) = if uses(Word::Term) {
        (GuaranteeLevel::Full, "writes name their term; the registry has to refuse an older one")
    } else if uses(Word::Seen) || kind.orders_writes() {
        (GuaranteeLevel::Partial, "writes name a revision or an order; the registry has to compare it")
    } else {
        (GuaranteeLevel::Partial, by_the_lease(reads(subject)))
    };
    OfKind { name: "late writes of a former leader are refused", level, because }
}

/// What becomes of a late write if only the Lease separates two leaders.
fn by_the_lease(reads: Reads) -> &'static str {
    match reads {
        Reads::Contents | Reads::Unmarked { contents: true } => {
            "by the Lease alone; a late write is repaired at the next resync"
        }
        Reads::Presence | Reads::Unmarked { contents: false } => {
            "by the Lease alone; a late deletion is repaired at the next resync, another write in the next term"
        }
        Reads::Found | Reads::Remembered | Reads::Nothing => "by the Lease alone; no `list` shows a late write",
    }
}

/// What the target reads of its records.
#[derive(Clone, Copy)]
enum Reads {
    /// `list` shows what they hold.
    Contents,
    /// `list` shows that they exist.
    Presence,
    /// `list` does not show whose they are, so it is used only for those that this process wrote.
    Unmarked {
        contents: bool,
    },
    /// There is no `list`; `find` shows what each of them holds.
    Found,
    /// A file remembers what was written.
    Remembered,
    Nothing,
}

fn reads(Subject { target, kind }: Subject<'_>) -> Reads {
    let contents = kind.item().is_some_and(|item| item.reads_digest() || item.reads_body());
    match kind.list() {
        Some(_) if !shows_ours(kind) => Reads::Unmarked { contents },
        Some(_) if contents => Reads::Contents,
        Some(_) => Reads::Presence,
        None if target.remembers => Reads::Remembered,
        None if contents && kind.find.is_some() => Reads::Found,
        None => Reads::Nothing,
    }
}

fn shows_ours(kind: &Kind) -> bool {
    kind.reads_mark() || kind.exclusive
}

/// The words of each request that may replace a record.
fn words_of_writes(kind: &Kind) -> impl Iterator<Item = WordSet> {
    let single = match &kind.writes {
        Writes::Put(put) => Some(put.request.uses()),
        Writes::CreateUpdate { update, .. } => Some(update.request.uses()),
        Writes::Batches | Writes::Nothing => None,
    };
    single.into_iter().chain(kind.batches.iter().filter(|batch| batch.puts()).map(BatchRequest::put_uses))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mapping::load::load, model::ids::RecordOwner};

    /// What the guarantees are for a target with these members.
    fn shown(members: &str) -> [Guarantee; 5] {
        let text = format!("targets:\n  - {{name: a, url: http://a, {members}}}\n");
        let loaded = load("t.yaml", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let target = Target::compile(&loaded.targets[0].spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
        guarantees(&target)
    }

    #[test]
    fn guarantees_follow_from_requests_and_readings() {
        use GuaranteeLevel::{Full, None, Partial};
        let body = r#"body: {a: "{{ mark }}", b: "{{ digest }}"}, delete: {path: "p/{{ id }}"}"#;
        let put = r#"put: {path: "p/{{ id }}"}"#;
        let [list, find] = ["list: {path: p, items: /i}", r#"find: {path: "p/{{ id }}", at: ""}"#];
        let [digest, compared] = ["mark: /a, seen: /s, digest: /b", "mark: /a, body: {b: /b}"];
        let item = |readings: &str| format!("{body}, {put}, {list}, item: {{id: /id{readings}}}");
        let found = |readings: &str| format!("{body}, {put}, {find}, item: {{id: /id, {readings}}}");
        let by_seen = r#"put: {path: "p/{{ id }}", headers: {If-Match: "{{ seen | default(omit) }}"}}"#;
        let if_none = by_seen.replace("}\"}}", "}\", If-None-Match: \"{{ omit if seen is defined else '*' }}\"}}");
        let by = |member: &str| put.replace("}}\"", &format!("}}}}\", query: {{c: \"{{{{ change.{member} }}}}\"}}"));
        let batch = r#", batch: [{path: b, put: [{id: "{{ id }}"}], max: {records: 2}}]"#;
        let round = "round: {every: 1h, begin: {path: b}, end: {path: e}}";
        // In the order of the tables in docs/targets.md.
        let cases = [
            ("preset: etcd".to_owned(), [Full; 5], "older one"),
            ("preset: rest".to_owned(), [Full, Full, Full, Full, Partial], "at the next resync"),
            ("preset: consul".to_owned(), [Full, Full, Full, Full, Partial], "at the next resync"),
            // Without a revision, nothing is compared.
            (item(&format!(", {digest}")).replace(put, by_seen), [Partial, Full, Full, Partial, Partial], "revision"),
            (item(&format!(", {digest}")).replace(put, &if_none), [Full, Full, Full, Partial, Partial], "revision"),
            (item(&format!(", {digest}")).replace(put, &by("id")), [Partial, Full, Full, Partial, Partial], "repaired"),
            (item(&format!(", {digest}")).replace(put, &by("time")), [Partial, Full, Full, Partial, Partial], "order"),
            (item(&format!(", {digest}")), [Partial, Full, Full, Partial, Partial], "late write is repaired"),
            // A batch writes as well.
            (
                item(&format!(", {digest}")).replace(put, &if_none) + batch,
                [Partial, Full, Full, Partial, Partial],
                "late write is repaired",
            ),
            (item(&format!(", {compared}")), [Partial, Full, Full, Full, Partial], "late write is repaired"),
            // The member `c` is not read.
            (
                item(&format!(", {compared}")).replacen("}\"}", "}\", c: 1, d: \"{{ pod.name }}\"}", 1),
                [Partial, Full, Full, Partial, Partial],
                "late write is repaired",
            ),
            (
                item(", digest: /b") + ", exclusive: true",
                [Full, Full, Full, Partial, Partial],
                "late write is repaired",
            ),
            (item(", mark: /a"), [Partial, Full, None, Partial, Partial], "late deletion is repaired"),
            (item(", digest: /b"), [Partial, None, None, Partial, Partial], "late write is repaired"),
            (item(""), [Partial, None, None, Partial, Partial], "late deletion is repaired"),
            (found(digest), [Full, None, Full, Partial, Partial], "no `list`"),
            (found("mark: /a"), [Full, None, None, None, Partial], "no `list`"),
            (found("digest: /b"), [Partial, None, Full, Partial, Partial], "no `list`"),
            (found(digest) + r#", id: "o-{{ pod.uid }}""#, [Full, None, Full, Partial, Partial], "no `list`"),
            (format!("{body}, {put}, memory: /m"), [Partial, Full, Full, None, Partial], "no `list`"),
            (found(digest) + ", memory: /m", [Full, Full, Full, None, Partial], "no `list`"),
            (format!("{body}, {put}, {round}"), [Partial, Partial, None, Partial, Partial], "no `list`"),
            (format!("{body}, {put}, memory: /m, {round}"), [Partial, Full, Full, Partial, Partial], "no `list`"),
            (format!("{body}, {put}"), [Partial, None, None, None, Partial], "no `list`"),
        ];
        for (members, levels, late_write) in cases {
            let shown = shown(&members);
            assert_eq!(shown.each_ref().map(|guarantee| guarantee.level), levels, "{members}");
            assert!(shown[4].because.contains(late_write), "{members}: {}", shown[4].because);
        }
    }
}
