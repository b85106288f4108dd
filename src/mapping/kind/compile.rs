//! From the members of one kind of records to compiled templates.

use std::sync::Arc;

use super::{Kind, facts::WriteFacts};
use crate::mapping::{
    batch::BatchRequest,
    check::KindAbove,
    items::{FindRequest, ItemReading},
    outcome::RequestPurpose,
    paging::ListRequest,
    request::{RequestTemplate, Shared},
    spec::{KindSpec, RecordSpec, request::OutcomeRule, values::TemplateText},
    template::{Compiler, KindWords, Leaf, Template},
    words::{Position, Word, WordSet},
    writes::{WriteTemplate, Writes},
};

/// What the kinds of a target share.
pub(in crate::mapping) struct Common<'a> {
    pub(in crate::mapping) shared: Shared<'a>,
    pub(in crate::mapping) mark: &'a str,
    pub(in crate::mapping) exclusive: bool,
    /// Pages of a list.
    pub(in crate::mapping) pages: u32,
}

/// How records of a kind follow from a pod and from other records.
#[derive(Default)]
struct Family {
    name: Option<String>,
    index: usize,
    parent: Option<usize>,
    cascade: bool,
    each: Option<Leaf>,
    when: Option<Leaf>,
}

/// The only kind of a target without `kinds`.
pub(in crate::mapping) fn nameless(
    spec: &RecordSpec,
    common: &Common<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Kind> {
    kind(Family::default(), spec, common, &common.shared, compiler)
}

/// A kind of `kinds`. `above` are the kinds that it belongs to, the nearest first, and `parent` is the position of
/// that.
pub(in crate::mapping) fn named(
    name: &str,
    index: usize,
    parent: Option<usize>,
    spec: &KindSpec,
    above: &[&(&str, &KindSpec)],
    common: &Common<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Kind> {
    let inherits_each = above.iter().any(|(_, kind)| kind.each.is_some());
    let above: Vec<KindAbove> = above.iter().map(|(name, kind)| kind_above(name, &kind.record)).collect();
    let words = |has_each: bool| {
        let each = if has_each { WordSet::NONE } else { WordSet::of(&[Word::Each]) };
        let of = if above.is_empty() { WordSet::of(&[Word::Of]) } else { WordSet::NONE };
        KindWords { lacking: each.and(of), above: &above, secrets: &[] }
    };
    let mut inner = compiler.of_kind(words(inherits_each));
    let each = optional(spec.each.as_ref(), |each| inner.condition(Position::KindEach, each));
    let mut inner = compiler.of_kind(words(inherits_each || spec.each.is_some()));
    let when = optional(spec.when.as_ref(), |when| inner.condition(Position::KindWhen, when));
    let Shared { url, headers, rules, check, reason } = &common.shared;
    // The rules of a kind come before those of the target.
    let rules: Vec<OutcomeRule> = spec.record.outcome.iter().chain(*rules).cloned().collect();
    let shared = Shared {
        url,
        headers,
        rules: &rules,
        check: spec.record.check.as_ref().or(*check),
        reason: spec.record.reason.as_ref().or(*reason),
    };
    let (name, cascade) = (Some(name.to_owned()), spec.cascade.0);
    let family = each.zip(when).map(|(each, when)| Family { name, index, parent, cascade, each, when });
    let is_correct = family.is_some();
    let kind = kind(family.unwrap_or_default(), &spec.record, common, &shared, &mut inner);
    kind.filter(|_| is_correct)
}

fn kind_above(name: &str, spec: &RecordSpec) -> KindAbove {
    let writes = [&spec.put, &spec.create].into_iter().flatten();
    let is_read = writes.filter_map(|write| write.remote.as_ref()).next().is_some();
    // After a start, only `item` tells it.
    let reads_remote = spec.item.as_ref().map_or(is_read, |item| item.remote.is_some());
    KindAbove { name: name.to_owned(), reads_remote }
}

fn kind(
    family: Family,
    spec: &RecordSpec,
    common: &Common<'_>,
    shared: &Shared<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Kind> {
    let id = optional(spec.id.as_ref(), |id| id_leaf(id, compiler));
    let body = optional(spec.body.as_ref(), |body| compiler.tree(Position::Body, body).map(Arc::new));
    let writes = writes(spec, shared, compiler);
    let delete = optional(spec.delete.as_ref(), |spec| {
        RequestTemplate::compile(spec, RequestPurpose::Delete, false, shared, compiler)
    });
    let find = optional(spec.find.as_ref(), |spec| FindRequest::compile(spec, RequestPurpose::Find, shared, compiler));
    let adopt =
        optional(spec.adopt.as_ref(), |spec| FindRequest::compile(spec, RequestPurpose::Adopt, shared, compiler));
    let list = optional(spec.list.as_ref(), |spec| ListRequest::compile(spec, shared, compiler));
    let ours = body.as_ref().and_then(Option::as_ref);
    let item = optional(spec.item.as_ref(), |spec| ItemReading::compile(spec, ours, compiler));
    let batches: Vec<_> = spec.batch.iter().map(|spec| BatchRequest::compile(spec, shared, compiler)).collect();
    let batches: Option<Vec<BatchRequest>> = batches.into_iter().collect();
    if let Some(Some(delete)) = &delete {
        names_one_record(delete, compiler);
    }
    changes_one_record(writes.as_ref(), compiler);
    let Family { name, index, parent, cascade, each, when } = family;
    let (id, body, writes, adopt, batches) = (id?, body?, writes?, adopt?, batches?);
    let stored = needed(id.iter(), body.as_deref(), &writes, &batches);
    if let Some(digest) = spec.item.as_ref().and_then(|item| item.digest.as_ref()).filter(|_| !stored.has(Word::Digest))
    {
        let fix = "write `{{ digest }}` into a member of `body`";
        compiler.fail(&digest.place, "nothing stores the digest that `item.digest` reads", fix);
    }
    if let Some(mark) = spec.item.as_ref().and_then(|item| item.mark.as_ref())
        && !common.exclusive
        // `target::marks` judges those that belong to another one.
        && parent.is_none()
        && !mark.text.contains("{{")
        && !stored.has(Word::Mark)
    {
        let fix = "write `{{ mark }}` into a member of `body`";
        compiler.fail(&mark.place, "nothing stores the owner mark that `item.mark` reads", fix);
    }
    let of_adopt = adopt.as_ref().map_or(WordSet::NONE, |adopt| adopt.request.uses());
    let needed = needed(each.iter().chain(&when).chain(&id), body.as_deref(), &writes, &batches).and(of_adopt);
    Some(Kind {
        name,
        index,
        mark: common.mark.to_owned(),
        exclusive: common.exclusive,
        parent,
        cascade,
        each,
        when,
        id,
        body,
        writes,
        delete: delete?,
        find: find?,
        adopt,
        list: list?,
        item: item?,
        batches,
        facts: WriteFacts::default(),
        stores_mark: stored.has(Word::Mark),
        needed,
        pages: common.pages,
    })
}

/// `Some(None)` if the member is absent, `None` if it is wrong.
#[allow(clippy::option_option, reason = "an absent member is no error")]
pub(in crate::mapping) fn optional<S, T>(spec: Option<&S>, compile: impl FnOnce(&S) -> Option<T>) -> Option<Option<T>> {
    match spec {
        None => Some(None),
        Some(spec) => compile(spec).map(Some),
    }
}

fn id_leaf(spec: &TemplateText, compiler: &mut Compiler<'_>) -> Option<Leaf> {
    let leaf = compiler.leaf(Position::Id, spec)?;
    let same_for_all = WordSet::of(&[Word::Cluster, Word::Owner]);
    if !leaf.uses().words.overlaps(WordSet::RECORD.and(WordSet::of(&[Word::Each])).without(same_for_all)) {
        compiler.fail(&spec.place, "the id is the same for all pods", "use `pod` in it, such as `{{ pod.uid }}`");
        return None;
    }
    Some(leaf)
}

fn writes(spec: &RecordSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Writes> {
    let mut write = |spec, purpose| WriteTemplate::compile(spec, purpose, shared, compiler);
    match (&spec.put, &spec.create, &spec.update) {
        (Some(put), ..) => write(put, RequestPurpose::Put).map(Writes::Put),
        (None, Some(create), Some(update)) => {
            let (create, update) = (write(create, RequestPurpose::Create), write(update, RequestPurpose::Update));
            Some(Writes::CreateUpdate { create: create?, update: update? })
        }
        _ if spec.batch.iter().any(|batch| !batch.put.is_empty()) => Some(Writes::Batches),
        _ => Some(Writes::Nothing),
    }
}

/// A delete that names no record would concern all of them.
fn names_one_record(delete: &RequestTemplate, compiler: &mut Compiler<'_>) {
    if !delete.uses().overlaps(WordSet::of(&[Word::Id, Word::Remote])) {
        let place = delete.place().clone();
        compiler.fail(&place, "`delete` does not say which record", "use `{{ id }}` or `{{ remote }}` in it");
    }
}

/// A PATCH of a collection changes all of its records. A PUT can be the call of a procedure that finds the record in
/// the body, but not where another request creates records.
fn changes_one_record(writes: Option<&Writes>, compiler: &mut Compiler<'_>) {
    let (name, write) = match writes {
        Some(Writes::Put(put)) if put.request.is_patch() => ("put", put),
        Some(Writes::CreateUpdate { update, .. }) => ("update", update),
        _ => return,
    };
    if write.request.changes_all() {
        let place = write.request.place().clone();
        let fix = "use `{{ id }}` or `{{ remote }}` in its `path` or `query`";
        compiler.fail(&place, format!("`{name}` does not say which record, so it may change all of them"), fix);
    }
}

fn needed<'l>(
    leaves: impl Iterator<Item = &'l Leaf>,
    body: Option<&Template>,
    writes: &Writes,
    batches: &[BatchRequest],
) -> WordSet {
    let requests: Vec<&WriteTemplate> = match writes {
        Writes::Put(put) => vec![put],
        Writes::CreateUpdate { create, update } => vec![create, update],
        Writes::Batches | Writes::Nothing => Vec::new(),
    };
    let leaves = leaves.map(|leaf| leaf.uses().words);
    let of_body = body.map(|body| body.uses().words);
    let of_requests = requests.into_iter().map(|write| write.request.uses());
    let of_batches = batches.iter().map(BatchRequest::put_uses);
    leaves.chain(of_body).chain(of_requests).chain(of_batches).fold(WordSet::NONE, WordSet::and)
}
