//! From the members of a target to compiled templates.

use std::sync::Arc;

use minijinja::Value;

use super::{Selection, Target, facts::WriteFacts};
use crate::{
    mapping::{
        batch::BatchRequest,
        items::{FindRequest, ItemReading},
        notices::TargetNotices,
        outcome::RequestPurpose,
        paging::ListRequest,
        place,
        request::{RequestTemplate, Shared},
        scope::Scope,
        selector::LabelSelector,
        spec::{RecordsSpec, SelectSpec, TargetSpec, values::TemplateText},
        template::{Compiler, Leaf, Template},
        values,
        vars::Vars,
        words::{Position, Word, WordSet},
        writes::{PrepareStep, WriteTemplate, Writes},
    },
    model::ids::RecordOwner,
};

/// Pages of a list, if the file sets no limit.
const PAGES: u32 = 10_000;

pub(super) fn target(spec: &TargetSpec, owner: &RecordOwner) -> Result<Target, Vec<place::Error>> {
    let mut errors = Vec::new();
    let (connection, records) = (&spec.connection, &spec.records);
    let prepared: Vec<(String, Vec<String>)> = records.prepare.iter().map(kept_names).collect();
    let vars = Arc::new(Vars::compile(&records.vars, &prepared, &mut errors));
    let variables = vars.names();
    let mut compiler = Compiler { vars: &vars, variables: &variables, prepared: &prepared, errors: &mut errors };
    let shared = Shared {
        url: &connection.url.text,
        headers: &records.headers,
        rules: &records.outcome,
        check: records.check.as_ref(),
        reason: records.reason.as_ref(),
    };
    let mark = mark(records.mark.as_ref(), owner, &vars, &mut compiler);
    let select = connection.select.as_ref().map_or(Some(Selection::default()), |spec| selection(spec, &mut compiler));
    let id = optional(records.id.as_ref(), |id| id_leaf(id, &mut compiler));
    let body = optional(records.body.as_ref(), |body| compiler.tree(Position::Body, body).map(Arc::new));
    let prepare = prepare(records, &shared, &mut compiler);
    let writes = writes(records, &shared, &mut compiler);
    let notices = TargetNotices::compile(records, &shared, &mut compiler);
    let delete = optional(records.delete.as_ref(), |spec| {
        RequestTemplate::compile(spec, RequestPurpose::Delete, false, &shared, &mut compiler)
    });
    let find = optional(records.find.as_ref(), |spec| {
        FindRequest::compile(spec, RequestPurpose::Find, &shared, &mut compiler)
    });
    let adopt = optional(records.adopt.as_ref(), |spec| {
        FindRequest::compile(spec, RequestPurpose::Adopt, &shared, &mut compiler)
    });
    let list = optional(records.list.as_ref(), |spec| ListRequest::compile(spec, &shared, &mut compiler));
    let ours = body.as_ref().and_then(Option::as_ref);
    let item = optional(records.item.as_ref(), |spec| ItemReading::compile(spec, ours, &mut compiler));
    let batches: Vec<_> =
        records.batch.iter().map(|spec| BatchRequest::compile(spec, &shared, &mut compiler)).collect();
    let batches: Option<Vec<BatchRequest>> = batches.into_iter().collect();
    if let Some(Some(delete)) = &delete {
        names_one_record(delete, &mut compiler);
    }
    let compiled = (|| {
        let (mark, base) = mark?;
        let (select, id, body, writes, batches) = (select?, id?, body?, writes?, batches?);
        let adopt = adopt?;
        let of_adopt = adopt.as_ref().map_or(WordSet::NONE, |adopt| adopt.request.uses());
        let needed = needed(&select, id.as_ref(), body.as_deref(), &writes, &batches).and(of_adopt);
        Some(Target {
            name: connection.name.text.clone(),
            base,
            mark,
            exclusive: records.exclusive.0,
            remembers: connection.memory.is_some(),
            select,
            id,
            body,
            writes,
            delete: delete?,
            find: find?,
            adopt,
            list: list?,
            item: item?,
            batches,
            prepare: prepare?,
            notices: notices?,
            facts: WriteFacts::default(),
            needed,
            pages: connection.limits.as_ref().and_then(|limits| limits.pages).map_or(PAGES, |pages| pages.0),
        })
    })();
    if let (Some(target), true) = (compiled, errors.is_empty()) { Ok(target) } else { Err(errors) }
}

/// `Some(None)` if the member is absent, `None` if it is wrong.
#[allow(clippy::option_option, reason = "an absent member is no error")]
fn optional<S, T>(spec: Option<&S>, compile: impl FnOnce(&S) -> Option<T>) -> Option<Option<T>> {
    match spec {
        None => Some(None),
        Some(spec) => compile(spec).map(Some),
    }
}

fn kept_names(spec: &crate::mapping::spec::reading::PrepareSpec) -> (String, Vec<String>) {
    (spec.name.text.clone(), spec.keep.iter().map(|(key, _)| key.text.clone()).collect())
}

/// The rendered mark, and the scope with the words that never change.
fn mark(
    spec: Option<&TemplateText>,
    owner: &RecordOwner,
    vars: &Arc<Vars>,
    compiler: &mut Compiler<'_>,
) -> Option<(String, Scope)> {
    let cluster = [("id", owner.cluster_id.as_str()), ("name", owner.cluster_name.as_str())];
    let words = vec![
        (Word::Cluster, Value::from_pairs(cluster)),
        (Word::Owner, Value::from(owner.owner.as_str())),
        (Word::Omit, values::omit()),
    ];
    let base = Scope::new(vars.clone(), words);
    let mark = match spec {
        None => format!("pod-registrar:{}:{}", owner.cluster_id, owner.owner),
        Some(spec) => {
            let leaf = compiler.leaf(Position::Mark, spec)?;
            match leaf.text(&base) {
                Ok(Some(mark)) if mark.contains(&owner.cluster_id) => mark,
                Ok(_) => {
                    let fix = "add `{{ cluster.id }}`, so that two clusters never delete each other's records";
                    compiler.fail(&spec.place, "the mark does not contain the cluster's id", fix);
                    return None;
                }
                Err(error) => {
                    compiler.fail(&spec.place, error.cause.to_string(), "correct the template");
                    return None;
                }
            }
        }
    };
    let base = base.with(vec![(Word::Mark, Value::from(mark.as_str()))]);
    Some((mark, base))
}

fn selection(spec: &SelectSpec, compiler: &mut Compiler<'_>) -> Option<Selection> {
    let when = optional(spec.when.as_ref(), |when| compiler.condition(Position::When, when))?;
    // The text was checked when the file was read.
    let labels = spec.label_selector.as_ref().and_then(|selector| LabelSelector::parse(&selector.text).ok());
    let namespaces = spec.namespaces.iter().map(|namespace| namespace.text.clone()).collect();
    Some(Selection { namespaces, labels, when })
}

fn id_leaf(spec: &TemplateText, compiler: &mut Compiler<'_>) -> Option<Leaf> {
    let leaf = compiler.leaf(Position::Id, spec)?;
    if !leaf.uses().words.overlaps(WordSet::RECORD.without(WordSet::of(&[Word::Cluster, Word::Owner]))) {
        compiler.fail(&spec.place, "the id is the same for all pods", "use `pod` in it, such as `{{ pod.uid }}`");
        return None;
    }
    Some(leaf)
}

fn prepare(records: &RecordsSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Vec<PrepareStep>> {
    let steps: Vec<_> = records.prepare.iter().map(|spec| PrepareStep::compile(spec, shared, compiler)).collect();
    steps.into_iter().collect()
}

fn writes(records: &RecordsSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Writes> {
    let mut write = |spec, kind| WriteTemplate::compile(spec, kind, shared, compiler);
    match (&records.put, &records.create, &records.update) {
        (Some(put), ..) => write(put, RequestPurpose::Put).map(Writes::Put),
        (None, Some(create), Some(update)) => {
            let (create, update) = (write(create, RequestPurpose::Create), write(update, RequestPurpose::Update));
            Some(Writes::CreateUpdate { create: create?, update: update? })
        }
        _ if records.batch.iter().any(|batch| !batch.put.is_empty()) => Some(Writes::Batches),
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

fn needed(
    select: &Selection,
    id: Option<&Leaf>,
    body: Option<&Template>,
    writes: &Writes,
    batches: &[BatchRequest],
) -> WordSet {
    let requests: Vec<&WriteTemplate> = match writes {
        Writes::Put(put) => vec![put],
        Writes::CreateUpdate { create, update } => vec![create, update],
        Writes::Batches | Writes::Nothing => Vec::new(),
    };
    let leaves = select.when.iter().chain(id).map(|leaf| leaf.uses().words);
    let of_body = body.map(|body| body.uses().words);
    let of_requests = requests.into_iter().map(|write| write.request.uses());
    let of_batches = batches.iter().map(BatchRequest::put_uses);
    leaves.chain(of_body).chain(of_requests).chain(of_batches).fold(WordSet::NONE, WordSet::and)
}
