//! Compiled requests.

use std::fmt;

use serde_json::Value as Json;

use super::{
    answer::Answer,
    outcome::{Judgement, RequestPurpose, Rules, RulesSpec},
    scope::Scope,
    spec::{
        request::{OutcomeRule, RequestSpec},
        values::{Entries, ReadingText, TemplateText},
    },
    template::{Compiler, Leaf, Part, RenderError, Template},
    url,
    values::{self, Budget, Segments, push_text},
    words::{Position, Word, WordSet},
};

/// A request that can be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderedRequest {
    /// In upper case.
    pub method: String,
    /// The whole address, percent-encoded. Credentials are added when it is sent.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// The id of the change that it is about, if it writes. The same for each attempt.
    pub change: Option<String>,
}

/// Without the values of headers and the body: that of a login holds secrets.
impl fmt::Debug for RenderedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.body.as_ref().map(Vec::len).unwrap_or_default();
        write!(f, "{} {} ({size} bytes)", self.method, self.url)
    }
}

impl RenderedRequest {
    /// The same, about the change with this id.
    #[must_use]
    pub fn about(self, change: &str) -> Self {
        Self { change: Some(change.to_owned()), ..self }
    }
}

/// A compiled request.
#[derive(Debug)]
pub struct RequestTemplate {
    purpose: RequestPurpose,
    method: String,
    base: String,
    path: Leaf,
    query: Vec<(String, Leaf)>,
    headers: Vec<(String, Leaf)>,
    body: RequestBody,
    rules: Rules,
    uses: WordSet,
}

#[derive(Debug)]
enum RequestBody {
    None,
    /// The record's body, as it was rendered.
    Record,
    Template(Template),
    /// Form fields.
    Form(Vec<(String, Leaf)>),
    /// The operations of a batch: one list, or one operation per line.
    Operations {
        lines: bool,
    },
}

/// The members of a target that all of its requests share.
pub(super) struct Shared<'a> {
    /// The base address.
    pub(super) url: &'a str,
    pub(super) headers: &'a Entries<TemplateText>,
    pub(super) rules: &'a [OutcomeRule],
    pub(super) check: Option<&'a TemplateText>,
    pub(super) reason: Option<&'a ReadingText>,
}

impl RequestTemplate {
    pub(super) fn compile(
        spec: &RequestSpec,
        purpose: RequestPurpose,
        lines: bool,
        shared: &Shared<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<Self> {
        let position = position(purpose);
        let path = path(spec, position, compiler);
        let query = entries(&spec.query, position, compiler);
        let headers = headers(spec, shared, position, compiler);
        let body = match (&spec.body, &spec.form) {
            (Some(tree), _) => compiler.tree(position, tree).map(RequestBody::Template),
            (None, Some(form)) => entries(form, position, compiler).map(RequestBody::Form),
            (None, None) => Some(match purpose {
                RequestPurpose::Put | RequestPurpose::Create | RequestPurpose::Update => RequestBody::Record,
                RequestPurpose::Batch => RequestBody::Operations { lines },
                _ => RequestBody::None,
            }),
        };
        let rules = RulesSpec {
            rules: [&spec.outcome, shared.rules],
            check: spec.check.as_ref().or(shared.check),
            reason: shared.reason,
        };
        let rules = Rules::compile(&rules, Position::Answer, compiler);
        let (path, query, headers, body, rules) = (path?, query?, headers?, body?, rules?);
        let form = if let RequestBody::Form(fields) = &body { fields.as_slice() } else { &[] };
        let leaves = query.iter().chain(&headers).chain(form).map(|(_, leaf)| leaf).chain([&path]);
        let of_body = if let RequestBody::Template(template) = &body { template.uses().words } else { WordSet::NONE };
        let uses = leaves.fold(of_body, |words, leaf| words.and(leaf.uses().words));
        let method =
            spec.method.as_ref().map_or_else(|| default_method(purpose).to_owned(), |method| method.text.clone());
        let base = shared.url.trim_end_matches('/').to_owned();
        Some(Self { purpose, method, base, path, query, headers, body, rules, uses })
    }

    pub fn purpose(&self) -> RequestPurpose {
        self.purpose
    }

    /// The words that the request uses.
    pub fn uses(&self) -> WordSet {
        self.uses
    }

    /// Whether the address is that of the record, so that an answer 404 is about the record.
    pub fn addresses_record(&self) -> bool {
        let leaves = self.query.iter().map(|(_, leaf)| leaf).chain([&self.path]);
        leaves
            .fold(WordSet::NONE, |words, leaf| words.and(leaf.uses().words))
            .overlaps(WordSet::of(&[Word::Id, Word::Remote]))
    }

    /// Whether it changes the resource at its address, and neither the address nor a body of its own says which record
    /// that is: it would change all records.
    pub(super) fn changes_all(&self) -> bool {
        let leaves = self.query.iter().chain(&self.headers).map(|(_, leaf)| leaf).chain([&self.path]);
        let of_body = match &self.body {
            RequestBody::Template(template) => template.uses().words,
            RequestBody::Form(fields) => {
                fields.iter().fold(WordSet::NONE, |words, (_, leaf)| words.and(leaf.uses().words))
            }
            _ => WordSet::NONE,
        };
        let words = leaves.fold(of_body, |words, leaf| words.and(leaf.uses().words));
        matches!(&*self.method, "PATCH" | "PUT") && !words.overlaps(WordSet::NAMING)
    }

    pub(super) fn is_patch(&self) -> bool {
        self.method == "PATCH"
    }

    /// Whether it is a PATCH that sends the record's body.
    pub(super) fn patches_with_record(&self) -> bool {
        self.is_patch() && (matches!(self.body, RequestBody::Record) || self.uses.has(Word::Body))
    }

    /// Whether success depends on the answer's body.
    pub fn has_check(&self) -> bool {
        self.rules.has_check()
    }

    pub(super) fn place(&self) -> &super::place::Place {
        self.path.place()
    }

    /// The literal texts of the query and the body, with the names that they have.
    pub(super) fn literals(&self) -> Vec<(String, String)> {
        let constant = |(name, leaf): &(String, Leaf)| Some((name.clone(), leaf.constant()?.to_owned()));
        let mut found: Vec<(String, String)> = self.query.iter().filter_map(constant).collect();
        match &self.body {
            RequestBody::Template(template) => template.literals(&mut found),
            RequestBody::Form(fields) => found.extend(fields.iter().filter_map(constant)),
            _ => {}
        }
        found
    }

    /// Renders the request. `record` is the record's body, if it is a put, create or update without an own body.
    ///
    /// # Errors
    /// A template cannot be rendered, or its result would ask for something else than the file says.
    pub fn render(&self, scope: &Scope, record: Option<&Json>) -> Result<RenderedRequest, RenderError> {
        let body = match &self.body {
            RequestBody::None => None,
            RequestBody::Record => record.map(Json::to_string),
            RequestBody::Template(template) => template.render(scope)?.map(|json| json.to_string()),
            RequestBody::Form(fields) => Some(form(fields, scope)?),
            RequestBody::Operations { lines } => Some(operations(*lines, record)),
        };
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        for (name, leaf) in &self.headers {
            headers.extend(header(leaf, scope)?.map(|value| (name.clone(), value)));
        }
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            let kind = match self.body {
                RequestBody::Form(_) => "application/x-www-form-urlencoded",
                RequestBody::Operations { lines: true } => "application/x-ndjson",
                _ => "application/json",
            };
            headers.push(("Content-Type".to_owned(), kind.to_owned()));
        }
        let url = self.url(scope)?;
        Ok(RenderedRequest {
            method: self.method.clone(),
            url,
            headers,
            body: body.map(String::into_bytes),
            change: None,
        })
    }

    fn url(&self, scope: &Scope) -> Result<String, RenderError> {
        let path = render_path(&self.path, scope)?;
        let mut url = if path.is_empty() { self.base.clone() } else { format!("{}/{path}", self.base) };
        let mut separator = '?';
        for (name, leaf) in &self.query {
            let Some(value) = query_value(leaf, self.needs_filters(), scope)? else { continue };
            url.push(separator);
            url.push_str(&url::encode(name));
            url.push('=');
            url.push_str(&url::encode(&value));
            separator = '&';
        }
        Ok(url)
    }

    /// Whether the request would concern other records without its query.
    fn needs_filters(&self) -> bool {
        matches!(
            self.purpose,
            RequestPurpose::Delete
                | RequestPurpose::Find
                | RequestPurpose::Adopt
                | RequestPurpose::Update
                | RequestPurpose::PrepareFind
        )
    }

    /// Renders each part of the request, and reports each error.
    pub(super) fn try_parts(&self, scope: &Scope, report: &mut dyn FnMut(RenderError)) {
        _ = render_path(&self.path, scope).map_err(&mut *report);
        for (_, leaf) in &self.query {
            _ = query_value(leaf, self.needs_filters(), scope).map_err(&mut *report);
        }
        for (_, leaf) in &self.headers {
            _ = header(leaf, scope).map_err(&mut *report);
        }
        match &self.body {
            RequestBody::Template(template) => template.try_parts(scope, report),
            RequestBody::Form(fields) => {
                fields.iter().for_each(|(_, leaf)| _ = leaf.text(scope).map_err(&mut *report));
            }
            _ => {}
        }
    }

    /// Judges the answer. `scope` holds at least the words of the term.
    pub fn judge(&self, answer: &Answer, scope: &Scope) -> Judgement {
        self.rules.judge(self.purpose, self.uses, answer, scope)
    }
}

fn position(purpose: RequestPurpose) -> Position {
    match purpose {
        RequestPurpose::Put | RequestPurpose::Create | RequestPurpose::Update => Position::Write,
        RequestPurpose::Delete => Position::Delete,
        RequestPurpose::Find => Position::Find,
        RequestPurpose::Adopt => Position::Adopt,
        RequestPurpose::List => Position::List,
        RequestPurpose::Batch => Position::Batch,
        RequestPurpose::PrepareFind | RequestPurpose::PrepareCreate => Position::Prepare,
        RequestPurpose::Notice => Position::Notice,
    }
}

fn default_method(purpose: RequestPurpose) -> &'static str {
    match purpose {
        RequestPurpose::Put => "PUT",
        RequestPurpose::Create | RequestPurpose::Batch | RequestPurpose::PrepareCreate | RequestPurpose::Notice => {
            "POST"
        }
        RequestPurpose::Update => "PATCH",
        RequestPurpose::Delete => "DELETE",
        RequestPurpose::Find | RequestPurpose::Adopt | RequestPurpose::List | RequestPurpose::PrepareFind => "GET",
    }
}

fn path(spec: &RequestSpec, position: Position, compiler: &mut Compiler<'_>) -> Option<Leaf> {
    let words = compiler.words(position).without(WordSet::of(&[Word::Omit]));
    let text = spec.path.text.strip_prefix('/').unwrap_or(&spec.path.text);
    let leaf = compiler.text(position, words, &spec.path.place, text)?;
    for part in leaf.parts() {
        let Part::Text(literal) = part else { continue };
        if let Some(wrong) = literal.chars().find(|c| matches!(c, '?' | '#' | '\\')) {
            let fix = match wrong {
                '?' => "write the query in `query`",
                '#' => "remove the fragment, or write the character as `%23`",
                _ => "write `/`, or the character as `%5C`",
            };
            compiler.fail(&spec.path.place, format!("the path holds `{wrong}`"), fix);
            return None;
        }
        if literal.contains("//") {
            compiler.fail(&spec.path.place, "the path has an empty segment", "remove one of the slashes");
            return None;
        }
    }
    Some(leaf)
}

pub(super) fn entries(
    spec: &Entries<TemplateText>,
    position: Position,
    compiler: &mut Compiler<'_>,
) -> Option<Vec<(String, Leaf)>> {
    let read: Vec<_> =
        spec.iter().map(|(key, text)| Some((key.text.clone(), compiler.leaf(position, text)?))).collect();
    read.into_iter().collect()
}

/// The request's headers, and those of the target that it does not replace.
fn headers(
    spec: &RequestSpec,
    shared: &Shared<'_>,
    position: Position,
    compiler: &mut Compiler<'_>,
) -> Option<Vec<(String, Leaf)>> {
    let mut headers = entries(&spec.headers, position, compiler)?;
    for (name, leaf) in entries(shared.headers, position, compiler)? {
        if !headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(&name)) {
            headers.push((name, leaf));
        }
    }
    Some(headers)
}

/// The path without a slash before it, percent-encoded.
fn render_path(leaf: &Leaf, scope: &Scope) -> Result<String, RenderError> {
    let mut path = String::new();
    let mut ends_with_slash = false;
    for part in leaf.parts() {
        match part {
            Part::Text(literal) => {
                path.push_str(&url::encode_literal(literal));
                ends_with_slash = literal.ends_with('/');
            }
            Part::Expression(expression) => {
                ends_with_slash = false;
                let value = expression.evaluate(&scope.value()).map_err(|cause| leaf.error(cause))?;
                if let Some(Segments(encoded)) = value.downcast_object_ref::<Segments>() {
                    path.push_str(encoded);
                    continue;
                }
                let mut text = String::new();
                push_text(&value, &mut text, &mut Budget::default()).map_err(|cause| leaf.error(cause))?;
                path.push_str(&url::encode(&text));
            }
        }
    }
    match url::check_path(&path, ends_with_slash) {
        // A template that renders nothing would turn the path of one record into the path of all.
        Ok(()) if path.is_empty() && leaf.constant().is_none() => {
            Err(leaf.error(values::Error::Evaluation("the path is empty".to_owned())))
        }
        Ok(()) => Ok(path),
        Err(error) => Err(leaf.error(values::Error::Evaluation(error.to_string()))),
    }
}

fn query_value(leaf: &Leaf, is_filter: bool, scope: &Scope) -> Result<Option<String>, RenderError> {
    let value = leaf.text(scope)?;
    if is_filter && value.as_ref().is_none_or(String::is_empty) {
        let what = "the value of the query is empty; without it, the request would concern other records".to_owned();
        return Err(leaf.error(values::Error::Evaluation(what)));
    }
    Ok(value)
}

pub(super) fn header(leaf: &Leaf, scope: &Scope) -> Result<Option<String>, RenderError> {
    let value = leaf.text(scope)?;
    if value.as_ref().is_some_and(|value| value.chars().any(|c| c.is_control() || !c.is_ascii())) {
        let what = "the value of the header holds a character that is not printable ASCII".to_owned();
        return Err(leaf.error(values::Error::Evaluation(what)));
    }
    Ok(value)
}

/// The fields that are not left out, percent-encoded. A space is `%20`, which every decoder of forms reads.
fn form(fields: &[(String, Leaf)], scope: &Scope) -> Result<String, RenderError> {
    let mut pairs = Vec::with_capacity(fields.len());
    for (name, leaf) in fields {
        pairs.extend(leaf.text(scope)?.map(|value| format!("{}={}", url::encode(name), url::encode(&value))));
    }
    Ok(pairs.join("&"))
}

fn operations(lines: bool, operations: Option<&Json>) -> String {
    match operations {
        Some(Json::Array(operations)) if lines => operations.iter().map(|one| format!("{one}\n")).collect(),
        Some(operations) => operations.to_string(),
        None => "[]".to_owned(),
    }
}
