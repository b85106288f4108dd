//! Finding one record.

use serde_json::Value as Json;

use super::{
    KindClient,
    judge::{Ruling, Stop, rule},
    transport::TargetTransport,
};
use crate::mapping::{
    answer::Answer,
    items::{FindRequest, ItemMark, RegistryItem},
    kind::Kind,
    request::RenderedRequest,
    scope::Scope,
    target::{RenderedRecord, TermWords},
    writes::Held,
};

/// What the registry holds under an id.
#[derive(Debug)]
pub(super) enum Lookup {
    /// It cannot be looked up.
    Unknown,
    Nothing,
    /// A record that is not ours. `is_named` says whether an id or an owner mark was read.
    Foreign {
        is_named: bool,
    },
    Ours(Box<RegistryItem>),
}

impl KindClient {
    pub(super) async fn find(&self, id: &str, held: &Held, term: &TermWords) -> Result<Lookup, Stop> {
        // It is never closed.
        let _turn = self.lookups.acquire().await;
        match look_up(self.kind, &self.transport, id, held, term).await {
            Ok((lookup, _)) => Ok(lookup),
            Err(LookupRefusal::Forbidden(reason)) => Err(self.forbidden(&reason, term).await),
            Err(LookupRefusal::Stop(stop)) => Err(stop),
        }
    }
}

/// Why a record is not looked up.
#[derive(Debug)]
pub(super) enum LookupRefusal {
    /// The credential may not read this record, or any.
    Forbidden(String),
    Stop(Stop),
}

impl<T: Into<Stop>> From<T> for LookupRefusal {
    fn from(stop: T) -> Self {
        Self::Stop(stop.into())
    }
}

/// Looks a record up. Returns also the record as the registry shows it.
pub(super) async fn look_up(
    kind: &Kind,
    transport: &TargetTransport,
    id: &str,
    held: &Held,
    term: &TermWords,
) -> Result<(Lookup, Option<Json>), LookupRefusal> {
    let Some(find) = &kind.find else { return Ok((Lookup::Unknown, None)) };
    let scope = kind.find_scope(term, id, held);
    // It may need the id that the registry assigned, which is not known.
    let Ok(request) = find.request.render(&scope, None) else { return Ok((Lookup::Unknown, None)) };
    let Some((json, answer)) = fetch(find, &request, &scope, transport).await? else {
        return Ok((Lookup::Nothing, None));
    };
    let Some(item) = kind.read_item(&json, &answer, term) else {
        return Err(Stop::rejected("`find` needs `item`, which says how to read a record").into());
    };
    if let Some(cause) = item.rounded.as_ref().filter(|_| item.mark != ItemMark::Foreign) {
        return Err(Stop::rejected(format!("in the answer to `find`, {cause}")).into());
    }
    match (&item.id, item.mark) {
        (id, ItemMark::Foreign) => {
            let is_named = id.is_some() || kind.read_mark(&json, &answer, term).is_some();
            Ok((Lookup::Foreign { is_named }, Some(json)))
        }
        (Some(found), _) if found == id => Ok((Lookup::Ours(Box::new(item)), Some(json))),
        // A registry that ignores a filter returns any record.
        (Some(_), _) => Err(Stop::uncertain("`find` returned the record of another id; check its query").into()),
        (None, _) => Err(Stop::uncertain("`find` returned a record without an id; check `item.id`").into()),
    }
}

/// Sends a request that finds one record. Returns the record and the whole answer, or `None` if there is none.
pub(super) async fn fetch(
    find: &FindRequest,
    request: &RenderedRequest,
    scope: &Scope,
    transport: &TargetTransport,
) -> Result<Option<(Json, Answer)>, LookupRefusal> {
    let exchanged = transport.send(request).await?;
    let judgement = find.request.judge(&exchanged.answer, scope);
    match rule(&judgement, &exchanged, transport) {
        Ruling::Done => {}
        Ruling::Absent => return Ok(None),
        Ruling::Stop(stop) => return Err(stop.into()),
        Ruling::Forbidden(reason) => return Err(LookupRefusal::Forbidden(reason)),
        Ruling::Unchecked(reason) | Ruling::Exists(reason) | Ruling::Stale(reason) => {
            return Err(Stop::uncertain(format!("the record cannot be looked up: {reason}")).into());
        }
    }
    let unreadable = |error| Stop::uncertain(format!("the record cannot be read: {error}"));
    if let Some(json) = find.item(&exchanged.answer, scope).map_err(unreadable)? {
        return Ok(Some((json, exchanged.answer)));
    }
    // An answer without JSON says nothing about the record.
    let Some(cause) = exchanged.answer.not_json() else { return Ok(None) };
    let rule = "; if it says that there is no record, let a rule of `outcome` in `find` make it `absent`";
    let fix = if exchanged.answer.text().trim().is_empty() { rule } else { "" };
    Err(Stop::uncertain(format!("the answer to `find` is not JSON: {cause}{fix}")).into())
}

/// Whether a record in the registry is the one that we would write.
pub(super) fn is_equal(item: &RegistryItem, record: &RenderedRecord) -> bool {
    !item.gone && item.content.fingerprint() == Some(record.fingerprint)
}
