//! From the members of a target to compiled templates.

use std::sync::Arc;

use minijinja::Value;

use super::{Selection, Target};
use crate::{
    mapping::{
        kind::{
            Kind,
            compile::{self as kind, Common, optional},
        },
        notices::TargetNotices,
        place,
        request::Shared,
        scope::Scope,
        selector::LabelSelector,
        spec::{KindSpec, RecordsSpec, SelectSpec, TargetSpec, values::TemplateText},
        template::{Compiler, KindWords},
        values,
        vars::Vars,
        words::{Position, Word, WordSet},
        writes::PrepareStep,
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
    let (kind, variables, prepared) = (KindWords::NONE, &variables[..], &prepared[..]);
    let mut compiler = Compiler { vars: &vars, variables, prepared, kind, errors: &mut errors };
    let mark = mark(records.mark.as_ref(), owner, &vars, &mut compiler);
    let select = connection.select.as_ref().map_or(Some(Selection::default()), |spec| selection(spec, &mut compiler));
    let shared = Shared {
        url: &connection.url.text,
        headers: &records.headers,
        rules: &records.only.outcome,
        check: records.only.check.as_ref(),
        reason: records.only.reason.as_ref(),
    };
    let prepare = prepare(records, &shared, &mut compiler);
    let notices = TargetNotices::compile(records, &shared, &mut compiler);
    let pages = connection.limits.as_ref().and_then(|limits| limits.pages).map_or(PAGES, |pages| pages.0);
    let common =
        Common { shared, mark: mark.as_ref().map_or("", |(mark, _)| mark), exclusive: records.exclusive.0, pages };
    let kinds = kinds(records, &common, &mut compiler);
    let compiled = (|| {
        let (mark, base) = mark.clone()?;
        let (select, prepare, notices, kinds) = (select?, prepare?, notices?, kinds?);
        let of_select = select.when.as_ref().map(|when| when.uses().words);
        let needed = kinds.iter().map(|kind: &Kind| kind.needed).chain(of_select).fold(WordSet::NONE, WordSet::and);
        let (name, remembers) = (connection.name.text.clone(), connection.memory.is_some());
        Some(Target { name, base, mark, remembers, select, prepare, notices, kinds, needed })
    })();
    if let (Some(target), true) = (compiled, errors.is_empty()) { Ok(target) } else { Err(errors) }
}

/// The kinds of the file, or the nameless one.
fn kinds(records: &RecordsSpec, common: &Common<'_>, compiler: &mut Compiler<'_>) -> Option<Vec<Kind>> {
    if records.kinds.is_empty() {
        return kind::nameless(&records.only, common, compiler).map(|kind| vec![kind]);
    }
    let ordered = parents_first(records);
    let names: Vec<&str> = ordered.iter().map(|(name, _)| *name).collect();
    let family = |spec: &KindSpec| -> Vec<&(&str, &KindSpec)> {
        let above =
            |spec: &KindSpec| ordered.iter().find(|(name, _)| spec.of.as_ref().is_some_and(|of| of.text == *name));
        std::iter::successors(above(spec), |(_, spec)| above(spec)).collect()
    };
    let compiled: Vec<Option<Kind>> = ordered
        .iter()
        .enumerate()
        .map(|(index, (name, spec))| {
            let parent = spec.of.as_ref().and_then(|of| names.iter().position(|name| *name == of.text));
            let above = family(spec);
            kind::named(name, index, parent, spec, &above, common, compiler)
        })
        .collect();
    compiled.into_iter().collect()
}

/// The kinds, each behind the one that it belongs to. The rules of the file forbid circles.
fn parents_first(records: &RecordsSpec) -> Vec<(&str, &KindSpec)> {
    let mut left: Vec<(&str, &KindSpec)> = records.kinds.iter().map(|(key, kind)| (key.text.as_str(), kind)).collect();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_left = |name: &str| left.iter().any(|(other, _)| *other == name);
        let next = left.iter().position(|(_, kind)| kind.of.as_ref().is_none_or(|of| !is_left(&of.text)));
        ordered.push(left.remove(next.unwrap_or_default()));
    }
    ordered
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

fn prepare(records: &RecordsSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Vec<PrepareStep>> {
    let all = compiler.prepared;
    let step = |(at, spec)| {
        // A step can only use those before it.
        let mut compiler = compiler.with_prepared(all.get(..at).unwrap_or_default());
        PrepareStep::compile(spec, shared, &mut compiler)
    };
    let steps: Vec<_> = records.prepare.iter().enumerate().map(step).collect();
    steps.into_iter().collect()
}
