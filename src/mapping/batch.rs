//! Bulk requests: what one record adds to them, and the results that their answers name.

use serde_json::Value as Json;

use super::{
    answer::Answer,
    outcome::{Judgement, RequestPurpose, Rules, RulesSpec},
    place::Place,
    reading::Reading,
    request::{RenderedRequest, RequestTemplate, Shared},
    scope::Scope,
    spec::request::{BatchSpec, RequestSpec, ResultsSpec},
    template::{Compiler, RenderError, Template},
    values,
    words::{Position, Word, WordSet},
    writes::Held,
};

/// The status of a result that shows something else than a status: no rule and no default takes it for a success.
const NO_STATUS: u16 = 0;

/// Limits of one bulk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub records: Option<usize>,
    pub operations: Option<usize>,
    pub bytes: Option<usize>,
}

/// A bulk request.
#[derive(Debug)]
pub struct BatchRequest {
    request: RequestTemplate,
    put: Vec<Template>,
    delete: Vec<Template>,
    pub limits: BatchLimits,
    /// Whether a refused request changed nothing, so that it can be split to find the record at fault.
    pub atomic: bool,
    results: Option<Results>,
}

#[derive(Debug)]
struct Results {
    items: Reading,
    id: Option<Reading>,
    index: Option<Reading>,
    remote: Option<Reading>,
    seen: Option<Reading>,
    status: Option<Reading>,
    rules: Rules,
    failures_only: bool,
}

/// The result of one record in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchResult {
    pub id: Option<String>,
    /// The positions of its operations, from 0.
    pub operations: Vec<usize>,
    pub judgement: Judgement,
    /// What the result says about the record.
    pub held: Held,
}

impl BatchRequest {
    pub(super) fn compile(spec: &BatchSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Self> {
        let request = RequestTemplate::compile(&spec.request, RequestPurpose::Batch, spec.lines.0, shared, compiler);
        if let Some(request) = request.as_ref().filter(|request| !request.uses().has(Word::Operations)) {
            sends_operations(&spec.request, request.place(), compiler);
        }
        let mut operations = |position, trees: &[_]| -> Option<Vec<Template>> {
            let compiled: Vec<_> = trees.iter().map(|tree| compiler.tree(position, tree)).collect();
            compiled.into_iter().collect()
        };
        let (put, delete) = (operations(Position::Write, &spec.put), operations(Position::Delete, &spec.delete));
        let results = match &spec.results {
            None => Some(None),
            Some(results) => Results::compile(results, shared, compiler).map(Some),
        };
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let limits = BatchLimits {
            records: spec.max.records.map(|count| size(count.0)),
            operations: spec.max.operations.map(|count| size(count.0)),
            bytes: spec.max.bytes.map(|bytes| size(bytes.0)),
        };
        Some(Self { request: request?, put: put?, delete: delete?, limits, atomic: spec.atomic.0, results: results? })
    }

    /// The words in a request that writes records.
    pub fn put_uses(&self) -> WordSet {
        self.put.iter().fold(self.request.uses(), |words, template| words.and(template.uses().words))
    }

    /// The words in a request that deletes records.
    pub fn delete_uses(&self) -> WordSet {
        self.delete.iter().fold(self.request.uses(), |words, template| words.and(template.uses().words))
    }

    pub fn puts(&self) -> bool {
        !self.put.is_empty()
    }

    pub fn deletes(&self) -> bool {
        !self.delete.is_empty()
    }

    /// Whether the answer names results. If not, every record has the result of the request.
    pub fn has_results(&self) -> bool {
        self.results.is_some()
    }

    /// Whether the registry assigns the ids of the records that it writes.
    pub fn assigns(&self) -> bool {
        self.reads_remote() || self.put_uses().has(Word::Remote)
    }

    /// Whether its results tell what the registry assigned.
    pub fn reads_remote(&self) -> bool {
        self.results.as_ref().is_some_and(|results| results.remote.is_some())
    }

    /// Whether its results tell the revisions of records.
    pub fn reads_seen(&self) -> bool {
        self.results.as_ref().is_some_and(|results| results.seen.is_some())
    }

    /// Whether a record that no result names succeeded. Otherwise it is uncertain.
    pub fn names_failures_only(&self) -> bool {
        self.results.as_ref().is_some_and(|results| results.failures_only)
    }

    /// The operations that one record to write adds.
    ///
    /// # Errors
    /// A template cannot be rendered.
    pub fn put_operations(&self, scope: &Scope) -> Result<Vec<Json>, RenderError> {
        render(&self.put, scope)
    }

    /// The operations that one record to delete adds.
    ///
    /// # Errors
    /// A template cannot be rendered.
    pub fn delete_operations(&self, scope: &Scope) -> Result<Vec<Json>, RenderError> {
        render(&self.delete, scope)
    }

    /// The request for some operations. `scope` holds the words of the term.
    ///
    /// # Errors
    /// A template cannot be rendered.
    pub fn render(&self, scope: &Scope, operations: Vec<Json>) -> Result<RenderedRequest, RenderError> {
        let operations = Json::Array(operations);
        if self.request.uses().has(Word::Operations) {
            let scope = scope.with(vec![(Word::Operations, values::of_json(&operations))]);
            return self.request.render(&scope, None);
        }
        self.request.render(scope, Some(&operations))
    }

    pub(super) fn try_puts(&self, scope: &Scope, report: &mut dyn FnMut(RenderError)) {
        self.put.iter().for_each(|template| template.try_parts(scope, report));
    }

    pub(super) fn try_deletes(&self, scope: &Scope, report: &mut dyn FnMut(RenderError)) {
        self.delete.iter().for_each(|template| template.try_parts(scope, report));
    }

    pub(super) fn try_request(&self, scope: &Scope, report: &mut dyn FnMut(RenderError)) {
        self.request.try_parts(scope, report);
    }

    pub(super) fn place(&self) -> &Place {
        self.request.place()
    }

    /// Judges the answer to the whole request.
    pub fn judge(&self, answer: &Answer, scope: &Scope) -> Judgement {
        self.request.judge(answer, scope)
    }

    /// The results that the answer names. `None` if it cannot be read: then every record is uncertain.
    pub fn results(&self, answer: &Answer, scope: &Scope) -> Option<Vec<BatchResult>> {
        let results = self.results.as_ref()?;
        let scope = answer.scope(scope);
        let items = results.items.read(answer.json(), || scope.clone()).ok()?;
        match items.as_deref() {
            Some(Json::Array(items)) => Some(items.iter().map(|item| results.read(item, answer, &scope)).collect()),
            None if results.failures_only && answer.json().is_some() => Some(Vec::new()),
            _ => None,
        }
    }
}

impl Results {
    fn compile(spec: &ResultsSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Self> {
        let mut reading = |text: &Option<_>| match text {
            None => Some(None),
            Some(text) => Reading::compile(text, Position::Item, compiler).map(Some),
        };
        let (id, index, status) = (reading(&spec.id), reading(&spec.index), reading(&spec.status));
        let (remote, seen) = (reading(&spec.remote), reading(&spec.seen));
        let items = Reading::compile(&spec.items, Position::Answer, compiler);
        let rules = RulesSpec { rules: [&spec.outcome, shared.rules], check: None, reason: spec.reason.as_ref() };
        let rules = Rules::compile(&rules, Position::Item, compiler);
        let failures_only = spec.failures_only.0;
        let (remote, seen, rules) = (remote?, seen?, rules?);
        Some(Self { items: items?, id: id?, index: index?, remote, seen, status: status?, rules, failures_only })
    }

    fn read(&self, item: &Json, answer: &Answer, scope: &Scope) -> BatchResult {
        let scope = scope.with(vec![(Word::Item, values::of_answer(item))]);
        let read = |reading: &Option<Reading>| reading.as_ref()?.read(Some(item), || scope.clone()).ok()?;
        let id = self.id.as_ref().and_then(|id| id.text(Some(item), || scope.clone()).ok()?);
        let operations = match read(&self.index).as_deref() {
            Some(Json::Array(all)) => all.iter().filter_map(position).collect(),
            Some(one) => position(one).into_iter().collect(),
            None => Vec::new(),
        };
        // Without a status, a result of a list of failures is a failure, and others have the status of the answer. What
        // is no status says nothing.
        let status = match read(&self.status).as_deref() {
            None if self.failures_only => 400,
            None => answer.status,
            Some(status) => position(status).and_then(|status| u16::try_from(status).ok()).unwrap_or(NO_STATUS),
        };
        let kept = |reading| read(reading).map(std::borrow::Cow::into_owned);
        let held = Held { remote: kept(&self.remote), seen: kept(&self.seen) };
        BatchResult { id, operations, judgement: self.rules.judge_result(status, item, &scope), held }
    }
}

/// A body without the operations would change no record, and its answer would be a success.
fn sends_operations(spec: &RequestSpec, path: &Place, compiler: &mut Compiler<'_>) {
    let of_form = || Some(spec.form.as_ref()?.first().map_or(path, |(key, _)| &key.place));
    if let Some(place) = spec.body.as_ref().map(|body| &body.0.place).or_else(of_form) {
        let fix = "write `{{ operations }}` where the list of them belongs, or remove the body";
        compiler.fail(place, "the batch has a body without `operations`", fix);
    }
}

fn render(templates: &[Template], scope: &Scope) -> Result<Vec<Json>, RenderError> {
    let mut operations = Vec::with_capacity(templates.len());
    for template in templates {
        operations.extend(template.render(scope)?);
    }
    Ok(operations)
}

fn position(json: &Json) -> Option<usize> {
    match json {
        Json::Number(number) => usize::try_from(number.as_u64()?).ok(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}
