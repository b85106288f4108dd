//! Reads the registry of a target for people. Unlike the client, it remembers nothing, and it has no method that
//! writes.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value as Json, json};

use super::{
    find::{Lookup, LookupRefusal, look_up},
    identify::ListedIds,
    judge::{self, failure},
    recorder::ExchangeLog,
    transport::TargetTransport,
};
use crate::{
    mapping::{
        answer::Answer,
        items::{ItemMark, RegistryItem},
        kind::Kind,
        login::LoginTemplate,
        outcome::Judgement,
        paging::Error as ListError,
        spec::{ConnectionSpec, request::RuleOutcome},
        target::{RenderedRecord, Target, TermWords},
        writes::{Held, PrepareStep},
    },
    reconcile::outcome::{Failure, Verdict},
    registry::credentials::Error,
};

/// Reads the records of one target.
pub struct TargetReader {
    target: Target,
    pub(super) transport: TargetTransport,
    term: TermWords,
    /// Whether a step of `prepare` found nothing. What it would create may be what the list reads.
    lacks_prepared: bool,
}

/// A record of a list.
#[derive(Clone, Debug)]
pub struct ListedItem {
    /// As the registry shows it. Only of the first page.
    pub shown: Option<Json>,
    pub item: RegistryItem,
}

/// A complete list.
#[derive(Clone, Debug, Default)]
pub struct ListResult {
    pub pages: u32,
    /// Records of all owners.
    pub records: u64,
    /// Records that are ours, or may be: those of a target that reads no marks.
    pub items: Vec<ListedItem>,
}

/// What a registry holds under an id.
#[derive(Clone, Debug)]
pub enum LookedUp {
    /// It cannot be looked up: there is no `find`, or it needs what only the registry knows.
    Unknown,
    Nothing,
    Foreign(Json),
    Ours(Box<ListedItem>),
}

impl TargetReader {
    /// Makes a reader. It reads the files that `connection` names, and connects later.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(
        target: Target,
        connection: &ConnectionSpec,
        login: Option<LoginTemplate>,
        timeout: Duration,
        log: Option<Arc<ExchangeLog>>,
    ) -> Result<Self, Error> {
        let term = target.term(0, &json!({}));
        let transport = TargetTransport::new(connection, login, timeout, log)?;
        Ok(Self { transport, target, term, lacks_prepared: false })
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The words to render records with.
    pub fn term(&self) -> &TermWords {
        &self.term
    }

    /// Finds what records refer to. Returns the names of the steps of `prepare` that found nothing: the controller
    /// would create it. Records that use them cannot be rendered.
    ///
    /// # Errors
    /// The registry does not answer, or refuses.
    pub async fn prepare(&mut self) -> Result<Vec<String>, Failure> {
        let (mut prepared, mut missing) = (Map::new(), Vec::new());
        for step in &self.target.prepare {
            let words = self.target.term(0, &Json::Object(prepared.clone()));
            match self.find_step(step, &words).await? {
                Some(kept) => _ = prepared.insert(step.name.clone(), kept),
                None => missing.push(step.name.clone()),
            }
        }
        self.term = self.target.term(0, &Json::Object(prepared));
        self.lacks_prepared = !missing.is_empty();
        Ok(missing)
    }

    async fn find_step(&self, step: &PrepareStep, words: &TermWords) -> Result<Option<Json>, Failure> {
        let Some(find) = &step.find else { return Ok(None) };
        let scope = words.scope();
        let unusable = |error: String| Failure::Broken(self.transport.clean(&format!("`prepare`: {error}")));
        // It may use what a step before it would keep.
        let Ok(request) = find.request.render(scope, None) else { return Ok(None) };
        let exchanged = self.transport.send(&request).await?;
        let judgement = find.request.judge(&exchanged.answer, scope);
        match judgement.outcome {
            RuleOutcome::Absent => return Ok(None),
            RuleOutcome::Done => {}
            _ => return Err(failure(&judgement, &exchanged, &self.transport)),
        }
        let item = find.item(&exchanged.answer, scope).map_err(|error| unusable(error.to_string()))?;
        item.map(|item| step.kept(&item, "find", &exchanged.answer, scope).map_err(unusable)).transpose()
    }

    /// Reads the first page of the first list. Returns its header `Date`; the outer `None` says that there is no list.
    ///
    /// # Errors
    /// The registry does not answer, or refuses.
    #[allow(clippy::option_option, reason = "no list is another thing than no date")]
    pub async fn probe(&self) -> Result<Option<Option<String>>, Failure> {
        let unusable = |error: String| Failure::Inventory(self.transport.clean(&error));
        let Some(kind) = self.target.kinds.first() else { return Ok(None) };
        let reader = kind.read_list(&self.term).map_err(|error| unusable(error.to_string()))?;
        let Some(mut reader) = reader else { return Ok(None) };
        let Some(request) = reader.request().map_err(|error| unusable(error.to_string()))? else { return Ok(None) };
        let exchanged = self.transport.send(&request).await?;
        let (mut listed, mut is_first) = (ListedIds::default(), true);
        let identify = |shown: &Json| {
            let Some(item) = kind.read_to_compare(shown, &exchanged.answer, &self.term) else { return Ok(()) };
            identify(kind, &item, std::mem::take(&mut is_first), &mut listed)
        };
        match reader.take(&exchanged.answer, identify) {
            Ok(_) => Ok(Some(exchanged.answer.header("date").map(str::to_owned))),
            Err(ListError::Refused(judgement)) if self.is_not_there_yet(&judgement) => Ok(Some(None)),
            Err(ListError::Refused(judgement)) => Err(failure(&judgement, &exchanged, &self.transport)),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Reads all records of a kind. `None` if the registry cannot list them.
    ///
    /// # Errors
    /// The list fails as a whole.
    pub async fn list(&self, kind: &Kind) -> Result<Option<ListResult>, Failure> {
        let unusable = |error: String| Failure::Inventory(self.transport.clean(&error));
        let reader = kind.read_list(&self.term).map_err(|error| unusable(error.to_string()))?;
        let Some(mut reader) = reader else { return Ok(None) };
        let (mut result, mut listed) = (ListResult::default(), ListedIds::default());
        while let Some(request) = reader.request().map_err(|error| unusable(error.to_string()))? {
            let exchanged = self.transport.send(&request).await?;
            let answer: &Answer = &exchanged.answer;
            let (shows, mut is_first) = (result.pages == 0, true);
            let add = |shown: &Json| {
                let Some(item) = kind.read_item(shown, answer, &self.term) else { return Ok(()) };
                identify(kind, &item, std::mem::take(&mut is_first), &mut listed)?;
                if item.mark != ItemMark::Foreign {
                    result.items.push(ListedItem { shown: shows.then(|| shown.clone()), item });
                }
                Ok(())
            };
            let records = match reader.take(answer, add) {
                Ok(records) => records,
                Err(ListError::Refused(judgement)) if self.is_not_there_yet(&judgement) => return Ok(Some(result)),
                Err(ListError::Refused(judgement)) => return Err(failure(&judgement, &exchanged, &self.transport)),
                Err(error) => return Err(unusable(error.to_string())),
            };
            result.pages += 1;
            result.records += u64::try_from(records).unwrap_or(u64::MAX);
        }
        Ok(Some(result))
    }

    fn is_not_there_yet(&self, judgement: &Judgement) -> bool {
        self.lacks_prepared && judgement.outcome == RuleOutcome::Absent
    }

    /// Looks one record of a kind up.
    ///
    /// # Errors
    /// The registry does not answer, or its answer cannot be read.
    pub async fn find(&self, kind: &Kind, id: &str, held: &Held) -> Result<LookedUp, Failure> {
        let found = look_up(kind, &self.transport, id, held, &self.term).await;
        Ok(match found.map_err(reason)? {
            (Lookup::Unknown, _) => LookedUp::Unknown,
            (Lookup::Nothing, _) => LookedUp::Nothing,
            (Lookup::Foreign { .. }, shown) => LookedUp::Foreign(shown.unwrap_or_default()),
            (Lookup::Ours(item), shown) => LookedUp::Ours(Box::new(ListedItem { shown, item: *item })),
        })
    }
}

/// Refuses a record that contradicts what was read, as the client does. A process that just started wrote nothing, so
/// that a record without a mark is ours only if all are.
fn identify(kind: &Kind, item: &RegistryItem, is_first: bool, listed: &mut ListedIds) -> Result<(), String> {
    let is_ours = match item.mark {
        ItemMark::Ours => true,
        ItemMark::Foreign => false,
        ItemMark::NotRead => kind.exclusive,
    };
    listed.take(kind, item, is_first, is_ours, |_| None).map(|_| ())
}

impl ListedItem {
    /// Whether this is the record that we would write. `None` if the registry shows only that it exists.
    pub fn equals(&self, record: &RenderedRecord) -> Option<bool> {
        use crate::mapping::items::ItemContent;
        match self.item.content {
            ItemContent::Presence if !self.item.gone => None,
            _ => Some(super::find::is_equal(&self.item, record)),
        }
    }
}

pub(super) fn reason(refusal: LookupRefusal) -> Failure {
    let stop = match refusal {
        LookupRefusal::Forbidden(reason) => return judge::unauthorized(403, &reason),
        LookupRefusal::Stop(stop) => stop,
    };
    match judge::verdict(Err(stop)) {
        Err(failure) => failure,
        Ok(Verdict::Rejected { cause } | Verdict::Retry { cause, .. } | Verdict::Uncertain { cause }) => {
            Failure::Broken(cause)
        }
        Ok(verdict) => Failure::Broken(format!("{verdict:?}")),
    }
}
