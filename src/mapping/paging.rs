//! Reading a list page by page.
//!
//! A list is complete or it fails: a page that comes twice, a page of another address, too many pages, a last page that
//! says it is a part, and a number of records that differs from the registry's count are errors.

use std::{borrow::Cow, collections::HashSet, time::Duration};

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::{
    answer::Answer,
    outcome::{Judgement, RequestPurpose},
    reading::{Reading, Readings},
    request::{RenderedRequest, RequestTemplate, Shared},
    scope::Scope,
    spec::{
        reading::{ListSpec, NextSpec},
        request::RuleOutcome,
    },
    template::{Compiler, Leaf, RenderError, Template},
    url, values,
    words::{Position, Word},
};

const PARTIAL_CONTENT: u16 = 206;
/// Pages without a record that may follow each other if nothing says whether there is a next one. Registries that
/// filter after they divided a collection have some.
const EMPTY_PAGES: u32 = 100;

/// Names of parameters that limit the records of a page.
const LIMITS: [&str; 12] = [
    "$top",
    "count",
    "limit",
    "max",
    "maxresults",
    "page_size",
    "pagesize",
    "per_page",
    "perpage",
    "size",
    "sysparm_limit",
    "top",
];

/// Why a list fails as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the list was refused: {}", .0.reason)]
    Refused(Judgement),
    #[error("{0}")]
    Render(RenderError),
    #[error("the answer is not JSON: {0}")]
    NotJson(String),
    #[error(
        "the answer has no list where `items` reads it; if an empty list is left out, end its template with \
         `| default([])`"
    )]
    NoItems,
    #[error("the next page is {0:?}, which is not below `url`")]
    Address(String),
    #[error("`while` says that there is a next page, and `then` reads nothing")]
    NoPage,
    #[error("page {0} comes a second time")]
    Repeated(u32),
    #[error("the list has more than {0} pages; raise `limits.pages` if that is correct")]
    TooManyPages(u32),
    #[error("the list has {read} records and the registry counts {counted}")]
    Count { read: u64, counted: u64 },
    #[error("the answer has no number where `count` reads it")]
    NoCount,
    #[error(
        "the registry counted {before} records and on a later page {after}: one was deleted, and the pages may have \
         skipped another; add `find`, or use pages that begin after a record instead of at a number"
    )]
    CountFell { before: u64, after: u64 },
    #[error("{0}")]
    Item(String),
    #[error("the page holds {0} records, as many as it may; the list has no `next`, so further records may be missing")]
    MayBeCut(usize),
    #[error(
        "the answer says that it holds a part of the records ({0}), and the list ends with it; add `next`, or ask for all"
    )]
    Partial(String),
    #[error(
        "{0} pages in a row hold no record; say in `while` whether there is a next page, such as \
         `while: \"{{{{ answer.items | length > 0 }}}}\"`"
    )]
    Endless(u32),
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Self {
        Self::Render(error)
    }
}

/// The request that reads all records.
#[derive(Debug)]
pub struct ListRequest {
    request: RequestTemplate,
    base: String,
    items: Reading,
    next: Option<Next>,
    count: Option<Reading>,
    /// For how long a list may not show what was written.
    pub lag: Duration,
    /// The number of records that a page may hold, if the file says so.
    page_limits: Vec<usize>,
}

#[derive(Debug)]
enum Next {
    Url(Reading),
    Link,
    Page { start: Option<Template>, then: Readings, condition: Option<Leaf> },
}

/// What to ask for.
#[derive(Debug)]
enum Ask {
    Page(Option<Json>),
    Url(String),
    Nothing,
}

/// The reading of one list. Ask for [`Self::request`], give the answer to [`Self::take`], until there is no request.
#[derive(Debug)]
pub struct ListReader<'t> {
    list: &'t ListRequest,
    scope: Scope,
    limit: u32,
    pages: u32,
    asked: HashSet<[u8; 32]>,
    current: String,
    ask: Ask,
    read: u64,
    /// Pages without a record, since the last one with some.
    empty_pages: u32,
    counted: Option<u64>,
    /// Whether the list fails if its count falls.
    is_strict: bool,
}

impl ListRequest {
    pub(super) fn compile(spec: &ListSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Self> {
        let items = Reading::compile(&spec.items, Position::Answer, compiler);
        if let Some(items) = &items {
            items.reads_something("items", &spec.items, compiler);
        }
        let count = match &spec.count {
            None => Some(None),
            Some(count) => Reading::compile(count, Position::Answer, compiler).map(Some),
        };
        let next = match &spec.next {
            None => Some(None),
            Some(next) => Next::compile(next, compiler).map(Some),
        };
        let request = RequestTemplate::compile(&spec.request, RequestPurpose::List, false, shared, compiler)?;
        let then = spec.next.as_ref().and_then(|next| next.then.as_ref());
        if let Some(then) = then.filter(|_| !request.uses().has(Word::Page)) {
            let fix = "use `{{ page }}` in the request of `list`, such as in its `query`";
            compiler.fail(&then.0.place, "`next.then` reads a page that no request asks for", fix);
        }
        let is_limit = |name: &str| LIMITS.contains(&name.to_ascii_lowercase().as_str());
        let limits = request.literals().into_iter().filter(|(name, _)| is_limit(name));
        let page_limits = limits.filter_map(|(_, value)| value.parse().ok()).filter(|limit| *limit > 0).collect();
        let lag = spec.lag.as_ref().map(|lag| lag.duration).unwrap_or_default();
        let base = shared.url.trim_end_matches('/').to_owned();
        Some(Self { request, base, items: items?, next: next?, count: count?, lag, page_limits })
    }

    /// Begins to read a list. `scope` holds the words of the term. `is_strict` says whether a count that falls between
    /// two pages is an error: pages that begin at a number skip a record after each one that is deleted.
    ///
    /// # Errors
    /// `next.start` cannot be rendered.
    pub(super) fn read(&self, scope: &Scope, limit: u32, is_strict: bool) -> Result<ListReader<'_>, RenderError> {
        let start = match &self.next {
            Some(Next::Page { start: Some(start), .. }) => start.render(scope)?,
            _ => None,
        };
        Ok(ListReader {
            list: self,
            scope: scope.clone(),
            limit,
            pages: 0,
            asked: HashSet::new(),
            current: String::new(),
            ask: Ask::Page(start),
            read: 0,
            empty_pages: 0,
            counted: None,
            is_strict,
        })
    }
}

impl Next {
    fn compile(spec: &NextSpec, compiler: &mut Compiler<'_>) -> Option<Self> {
        if let Some(url) = &spec.url {
            return Reading::compile(url, Position::Next, compiler).map(Self::Url);
        }
        let Some(then) = &spec.then else { return Some(Self::Link) };
        let start = match &spec.start {
            None => Some(None),
            Some(start) => compiler.tree(Position::FirstPage, start).map(Some),
        };
        let condition = match &spec.condition {
            None => Some(None),
            Some(condition) => compiler.condition(Position::Next, condition).map(Some),
        };
        let then = Readings::compile(then, Position::Next, compiler);
        Some(Self::Page { start: start?, then: then?, condition: condition? })
    }
}

impl ListReader<'_> {
    /// The next request. `None` if the list is complete.
    ///
    /// # Errors
    /// A template cannot be rendered, the page was asked for before, or there are too many pages.
    pub fn request(&mut self) -> Result<Option<RenderedRequest>, Error> {
        let request = match &self.ask {
            Ask::Nothing => return Ok(None),
            Ask::Page(page) => self.list.request.render(&self.page_scope(page.as_ref()), None)?,
            Ask::Url(url) => {
                let first = self.list.request.render(&self.page_scope(None), None)?;
                RenderedRequest { url: url.clone(), ..first }
            }
        };
        if self.pages >= self.limit {
            return Err(Error::TooManyPages(self.limit));
        }
        self.pages += 1;
        let mut hash = Sha256::new();
        hash.update(request.url.as_bytes());
        hash.update([0]);
        hash.update(request.body.as_deref().unwrap_or_default());
        for (name, value) in &request.headers {
            hash.update(format!("\0{name}\0{value}"));
        }
        if !self.asked.insert(hash.finalize().into()) {
            return Err(Error::Repeated(self.pages));
        }
        self.current.clone_from(&request.url);
        Ok(Some(request))
    }

    /// Takes the answer to the last request, and gives each of its records to `each`, one after the other: a page has
    /// many, which take more memory once they are read. Returns their number.
    ///
    /// # Errors
    /// The list fails as a whole, or `each` says why it does.
    pub fn take(&mut self, answer: &Answer, each: impl FnMut(&Json) -> Result<(), String>) -> Result<usize, Error> {
        let judgement = self.list.request.judge(answer, &self.scope);
        if judgement.outcome != RuleOutcome::Done {
            return Err(Error::Refused(judgement));
        }
        let found = self.list.items.read(answer.json(), || answer.scope(&self.scope))?;
        let Some(Json::Array(items)) = found.as_deref() else {
            return Err(answer.not_json().map_or(Error::NoItems, |cause| Error::NotJson(cause.to_owned())));
        };
        self.read += u64::try_from(items.len()).unwrap_or(u64::MAX);
        // A rule says that this refusal means: no further records.
        let is_end = answer.status >= 400 && items.is_empty();
        if let Some(count) = &self.list.count {
            let counted = count.text(answer.json(), || answer.scope(&self.scope))?;
            let counted = counted.and_then(|text| text.parse().ok());
            let after = match (counted, is_end) {
                (Some(counted), _) => counted,
                (None, true) => self.counted.unwrap_or_default(),
                (None, false) => return Err(Error::NoCount),
            };
            if let Some(before) = self.counted.replace(after).filter(|before| self.is_strict && *before > after) {
                return Err(Error::CountFell { before, after });
            }
        }
        items.iter().try_for_each(each).map_err(Error::Item)?;
        self.empty_pages = if items.is_empty() { self.empty_pages + 1 } else { 0 };
        self.ask = if is_end { Ask::Nothing } else { self.next(answer, items.len())? };
        match (&self.ask, self.counted) {
            (Ask::Nothing, Some(counted)) if counted != self.read => Err(Error::Count { read: self.read, counted }),
            (Ask::Nothing, None) => {
                let has_next = self.list.next.is_some();
                part(answer, has_next || judgement.by_rule).map_or(Ok(items.len()), |part| Err(Error::Partial(part)))
            }
            _ => Ok(items.len()),
        }
    }

    /// Whether the pages may have skipped a record, which nothing showed.
    pub fn may_skip(&self) -> bool {
        self.pages > 1 && self.read > 0 && !(self.is_strict && self.list.count.is_some())
    }

    fn next(&self, answer: &Answer, items: usize) -> Result<Ask, Error> {
        let page = if let Ask::Page(page) = &self.ask { page.as_ref() } else { None };
        let scope = || answer.scope(&self.page_scope(page));
        match &self.list.next {
            // The count shows whether the list is complete.
            None if self.counted.is_none() && self.list.page_limits.contains(&items) => Err(Error::MayBeCut(items)),
            None => Ok(Ask::Nothing),
            Some(Next::Url(reading)) => match reading.text(answer.json(), scope)? {
                Some(next) if !next.is_empty() => self.address(&next).map(Ask::Url),
                _ => Ok(Ask::Nothing),
            },
            Some(Next::Link) => link(answer).map_or(Ok(Ask::Nothing), |next| self.address(&next).map(Ask::Url)),
            Some(Next::Page { then, condition, .. }) => {
                if let Some(condition) = condition
                    && !condition.holds(&scope())?
                {
                    return Ok(Ask::Nothing);
                }
                let next = then.read(answer.json(), &scope)?;
                let next = next.filter(|next| next.as_str() != Some(""));
                match next {
                    // A list that goes on needs a page, or it would begin again.
                    None if condition.is_some() => Err(Error::NoPage),
                    None => Ok(Ask::Nothing),
                    Some(_) if condition.is_none() && self.empty_pages >= EMPTY_PAGES => {
                        Err(Error::Endless(EMPTY_PAGES))
                    }
                    page => Ok(Ask::Page(page)),
                }
            }
        }
    }

    fn page_scope(&self, page: Option<&Json>) -> Scope {
        self.scope.with(vec![(Word::Page, page.map(values::of_answer).unwrap_or_default())])
    }

    /// The address of the next page: only its path and query are used, on our own origin.
    fn address(&self, next: &str) -> Result<String, Error> {
        url::next_page(&self.list.base, &self.current, next).ok_or_else(|| Error::Address(values::shorten(next, 200)))
    }
}

/// How the last answer of a list shows that the registry holds more records: by the end of its range and the number of
/// all, or by its status, unless further pages or a rule explain that.
fn part(answer: &Answer, explains_status: bool) -> Option<String> {
    let range = answer.header("content-range").unwrap_or_default();
    let ends = || {
        // Such as `items 0-9/17`.
        let (range, all) = range.split_once('/')?;
        let last: u64 = range.rsplit_once('-')?.1.trim().parse().ok()?;
        Some((last, all.trim().parse::<u64>().ok()?))
    };
    match ends() {
        Some((last, all)) => (last + 1 < all).then(|| format!("Content-Range: {}", values::shorten(range, 60))),
        None => (answer.status == PARTIAL_CONTENT && !explains_status).then(|| format!("status {PARTIAL_CONTENT}")),
    }
}

/// The address that the header `Link` gives the relation `next`.
fn link(answer: &Answer) -> Option<String> {
    answer.headers("link").flat_map(links).find(|(_, parameters)| is_next(parameters)).map(|(url, _)| url.into_owned())
}

/// The addresses of a header, each with its parameters.
fn links(header: &str) -> Vec<(Cow<'_, str>, &str)> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some((url, after)) = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        let end = after.find('<').unwrap_or(after.len());
        found.push((Cow::Borrowed(url), &after[..end]));
        rest = &after[end..];
    }
    found
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel") && value.split_whitespace().any(|one| one.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests;
