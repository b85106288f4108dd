//! Writing one record.
//!
//! ```text
//!   must be looked up? --find--> foreign: parked | equal: done | ours, nothing: goes on
//!   known to exist --> update --absent--> create          not known --> create --exists--> find --ours--> update
//!   put, update --stale--> find --ours--> once more
//! ```
//!
//! A record that is gone counts as not known to exist. If the registry keeps its key, a create is answered *exists*,
//! and the update brings the record back.
//!
//! | a record is looked up before it is written | because |
//! | --- | --- |
//! | it is not known, and the write may replace it | another writer may own it |
//! | a create had no clear answer | a second one would make a second record; the first may still arrive, or be hidden |
//! | the registry has no list, and it was not read in this term | it may hold the record already |
//! | lists lag, the registry assigns ids, and no list of this term is late enough | the leader before may have created it |
//! | it is to be created, and the last list lacks it although it was there, or shows no record of ours | `unlisted` |
//! | it is to be created, the registry assigns ids, and one list of several pages lacks it | `unlisted` |
//! | its request cannot be rendered without `seen` or `remote`, which are not known | the lookup tells them |
//! | it is an update that clears members whose names are made of data | the lookup tells them |
//!
//! Where lists lag and the registry assigns ids, no record is created before `lag` and the request time-out have passed
//! since the term began: until then, the leader's last create may be missing in lists and lookups.

use std::borrow::Cow;

use super::{
    KindClient,
    find::{Lookup, is_equal},
    judge::{Ruling, Stop, rule},
    knowledge::Knowledge,
    shown::Unshown,
    table::Fact,
};
use crate::{
    mapping::{
        items::{ItemContent, RegistryItem},
        target::{RenderedRecord, TermWords},
        writes::{ChangeWords, Held, WriteTemplate, Writes},
    },
    model::uid::Uid,
    reconcile::outcome::{Failure, Verdict},
};

/// Requests that write, per operation.
const WRITES_MAX: usize = 3;
/// A record is parked when this many answers in a row did not meet the check.
pub(super) const STRIKES_MAX: u8 = 3;

const NEVER_SHOWN: &str = "the registry acknowledged this record, and its list lacks it, so no second one is created; check \
    `item.mark` and the query of `list`, or add `find`";
const OTHER_MARK: &str = "the registry returns a record that this process created with another owner mark, so no more are \
    created; it may cut or change the mark";

const FOREIGN: &str = "a record with this id has another owner mark; it is not touched";
const NAMELESS: &str = "`find` reads something without an id and an owner mark, which is not touched; if this answer says \
    that there is no record, let a rule of `outcome` in `find` make it `absent`";
const ONE_LIST: &str = "one list of several pages lacks it, and may have skipped it; waiting for the next list";
const UNCLEAR: &str = "the last create had no clear answer; it may still arrive, or not be shown yet";
const FRESH: &str = "the record was created a moment ago, and the registry does not show it yet; waiting for `lag`";
const UNTOLD: &str = "waiting for a list that shows the `remote` or `seen` of the record, which its update needs";
const UNNAMED: &str = "the registry says that this record exists, and `item` does not read the `remote` or `seen` that its \
    update needs; add it to `item`, or delete the record there";

/// A record to be written.
pub(super) struct Put<'a> {
    pub(super) key: &'a Uid,
    pub(super) record: &'a RenderedRecord,
    pub(super) change: ChangeWords,
    pub(super) term: TermWords,
}

impl KindClient {
    pub(super) async fn put(&self, put: &Put<'_>) -> Result<(), Stop> {
        let mut known = self.records.lock().knowledge(put.key);
        let lacks_words = self.put_lacks_words(put, &known);
        if self.read_first(put, &mut known, lacks_words).await? {
            return Ok(());
        }
        let mut changed = None;
        for _ in 0..WRITES_MAX {
            match self.write_once(put, &known).await? {
                Ruling::Done => return Ok(()),
                // Something else than the registry may say so, and a second create would make a second record.
                Ruling::Absent if known.has(Fact::Exists) && self.assigns() && self.kind.find.is_some() => {
                    if self.look_up(put, &mut known).await? {
                        return Ok(());
                    }
                }
                Ruling::Absent if known.has(Fact::Exists) && self.creates() => {
                    self.unless_on_its_way(put.key)?;
                    self.records.lock().is_absent(put.key);
                    known = Knowledge::default();
                }
                Ruling::Absent => return Err(Stop::rejected("there is nothing at the record's address")),
                Ruling::Exists(reason) => self.after_exists(put, &mut known, reason).await?,
                Ruling::Stale(reason) => {
                    if self.after_stale(put, &mut known, &reason).await? {
                        return Ok(());
                    }
                    changed = Some(reason);
                }
                Ruling::Unchecked(reason) => return Err(self.unchecked(put.key, reason)),
                Ruling::Forbidden(reason) => return Err(self.forbidden(&reason, &put.term).await),
                Ruling::Stop(stop) => return Err(stop),
            }
        }
        Err(match changed {
            Some(reason) => Stop::retry(format!("the record keeps changing: {reason}")),
            None => self.contradicted(put.key),
        })
    }

    /// No write was taken, although each answer led to another one. The third time in a row, the record is parked.
    fn contradicted(&self, key: &Uid) -> Stop {
        const CAUSE: &str = "the registry's answers contradict each other: it refuses to create the record because it \
            exists, and to update it because it does not";
        if self.records.lock().strike(key) < STRIKES_MAX { Stop::retry(CAUSE) } else { Stop::rejected(CAUSE) }
    }

    /// Looks the record up if it has to be read before it is written. Returns whether it is there already.
    pub(super) async fn read_first(
        &self,
        put: &Put<'_>,
        known: &mut Knowledge,
        lacks_words: bool,
    ) -> Result<bool, Stop> {
        self.unless_unshown(known)?;
        self.unless_unlisted(put, known).await?;
        let is_needed = lacks_words || self.is_looked_up_first(put.key, known) || self.needs_shown_names(put, known);
        let looks_up = self.kind.find.is_some() && is_needed;
        if looks_up && self.look_up(put, known).await? {
            return Ok(true);
        }
        self.unless_untold(put, known)?;
        Ok(false)
    }

    /// A record that this process created, and that nothing has shown yet, cannot be updated if that needs its name.
    fn unless_untold(&self, put: &Put<'_>, known: &Knowledge) -> Result<(), Stop> {
        let is_unread = known.has(Fact::Exists)
            && known.has(Fact::Written)
            && !known.has(Fact::Shown)
            && self.kind.list().is_some();
        if is_unread && self.put_lacks_words(put, known) { Err(Stop::retry(UNTOLD)) } else { Ok(()) }
    }

    /// A record that an earlier term may have created is not created.
    fn unless_unshown(&self, known: &Knowledge) -> Result<(), Stop> {
        if known.has(Fact::Exists) || !self.assigns() {
            return Ok(());
        }
        let stop = |after, cause: &str| Err(Stop::Verdict(Verdict::Retry { after, cause: cause.to_owned() }));
        match self.records.lock().unshown() {
            Unshown::For(left) => stop(Some(left), "an earlier term may have created it, and lists lag"),
            Unshown::UntilRead if self.kind.find.is_none() => {
                stop(None, "an earlier term may have created it; waiting for the next list")
            }
            Unshown::MaybeSkipped if self.kind.find.is_none() => stop(None, ONE_LIST),
            Unshown::UntilRead | Unshown::MaybeSkipped | Unshown::IsMissing => Ok(()),
        }
    }

    /// A second record is not created if the registry does not show what it acknowledged.
    async fn unless_unlisted(&self, put: &Put<'_>, known: &Knowledge) -> Result<(), Stop> {
        if known.has(Fact::Exists) || !(self.creates() || self.assigns()) {
            return Ok(());
        }
        if self.kind.find.is_none() {
            let unlisted = &mut self.records.lock().unlisted;
            if unlisted.is_lacking_once(put.key) {
                return Err(Stop::retry(ONE_LIST));
            }
            return if unlisted.was_never_shown(put.key) { Err(Stop::rejected(NEVER_SHOWN)) } else { Ok(()) };
        }
        let first = self.records.lock().unlisted.first().filter(|(key, _)| key != put.key).cloned();
        let Some((key, id)) = first.filter(|_| self.assigns()) else { return Ok(()) };
        let held = self.records.lock().knowledge(&key).held;
        match self.find(&id, &held, &put.term).await? {
            Lookup::Ours(item) => {
                self.records.lock().learn(&key, &id, &item);
                Ok(())
            }
            Lookup::Foreign { .. } => Err(Stop::rejected(OTHER_MARK)),
            // It lags, or is deleted.
            Lookup::Nothing | Lookup::Unknown => Ok(()),
        }
    }

    /// Whether the request cannot be rendered because the registry has not told a word that it uses.
    fn put_lacks_words(&self, put: &Put<'_>, known: &Knowledge) -> bool {
        let write = match &self.kind.writes {
            Writes::Put(write) => write,
            Writes::CreateUpdate { create, .. } if !known.has(Fact::Exists) => create,
            Writes::CreateUpdate { update, .. } => update,
            Writes::Batches => return self.put_operations_lack_words(put, known),
            Writes::Nothing => return false,
        };
        let scope = || self.kind.write_scope(put.record, &known.held, &put.change);
        known.lacks(write.request.uses()) && write.request.render(&scope(), Some(&put.record.body)).is_err()
    }

    /// Whether only the registry tells which members an update has to clear.
    fn needs_shown_names(&self, put: &Put<'_>, known: &Knowledge) -> bool {
        let (Writes::Put(write) | Writes::CreateUpdate { update: write, .. }) = &self.kind.writes else { return false };
        known.has(Fact::Exists) && known.shown.is_none() && self.kind.clears_shown_names(write, put.record)
    }

    /// Whether a record to be created may be there, although no list shows it.
    fn may_be_unlisted(&self, key: &Uid, known: &Knowledge) -> bool {
        let mut records = self.records.lock();
        let may_hide = self.assigns() && records.unlisted.shows_none();
        !known.has(Fact::Exists) && (may_hide || (self.creates() || self.assigns()) && records.unlisted.is_lacking(key))
    }

    fn is_looked_up_first(&self, key: &Uid, known: &Knowledge) -> bool {
        let may_be_foreign = self.kind.may_meet_others() && !known.has(Fact::Verified) && !known.has(Fact::Written);
        let may_be_held = self.kind.list().is_none() && !known.has(Fact::Verified);
        let is_unshown =
            self.assigns() && !known.has(Fact::Exists) && self.records.lock().unshown() != Unshown::IsMissing;
        known.is_uncertain || may_be_foreign || may_be_held || is_unshown || self.may_be_unlisted(key, known)
    }

    /// That a registry shows no record proves nothing while a create may still arrive, or not be shown yet.
    pub(super) fn unless_on_its_way(&self, key: &Uid) -> Result<(), Stop> {
        let records = self.records.lock();
        let stop =
            |after, cause: &str| Err(Stop::Verdict(Verdict::Retry { after: Some(after), cause: cause.to_owned() }));
        match (records.create_may_show(key), records.hidden_for(key)) {
            (Some(after), _) => stop(after, UNCLEAR),
            (None, Some(after)) => stop(after, FRESH),
            (None, None) => Ok(()),
        }
    }

    /// Looks the record up. Returns whether it is there already.
    pub(super) async fn look_up(&self, put: &Put<'_>, known: &mut Knowledge) -> Result<bool, Stop> {
        match self.find(&put.record.id, &known.held, &put.term).await? {
            Lookup::Unknown => Ok(false),
            Lookup::Foreign { is_named } => Err(foreign(is_named)),
            Lookup::Nothing => {
                if self.creates() || self.assigns() || known.is_uncertain {
                    self.unless_on_its_way(put.key)?;
                }
                self.records.lock().is_absent(put.key);
                *known = Knowledge::default();
                Ok(false)
            }
            Lookup::Ours(item) => Ok(self.found(put, known, &item)),
        }
    }

    /// The record was found and is ours. Returns whether it is equal.
    fn found(&self, put: &Put<'_>, known: &mut Knowledge, item: &RegistryItem) -> bool {
        let mut records = self.records.lock();
        let equal = is_equal(item, put.record);
        records.found(put.key, &put.record.id, item, equal.then_some(put.record));
        *known = records.knowledge(put.key);
        if let ItemContent::Body(shown) = &item.content {
            known.shown = Some(shown.clone());
        }
        equal
    }

    /// The registry says that the record exists.
    async fn after_exists(&self, put: &Put<'_>, known: &mut Knowledge, reason: String) -> Result<(), Stop> {
        let was_known = known.has(Fact::Exists);
        self.records.lock().not_created(put.key);
        match self.find(&put.record.id, &known.held, &put.term).await? {
            Lookup::Foreign { is_named } => Err(foreign(is_named)),
            // With another revision, it is not the record that was to be written.
            Lookup::Ours(item) if !was_known || item.seen != known.held.seen => {
                self.found(put, known, &item);
                self.brought_back(put, known)
            }
            // Without `find`, a list of this term showed it as gone.
            Lookup::Unknown if !was_known && known.has(Fact::Verified) => self.brought_back(put, known),
            // A list may lag, and so may `find`.
            Lookup::Nothing if self.records.lock().strike(put.key) < STRIKES_MAX => {
                let after = self.kind.list().map(|list| list.lag).filter(|lag| !lag.is_zero());
                Err(Stop::Verdict(Verdict::Retry { after, cause: format!("exists and is not found: {reason}") }))
            }
            Lookup::Nothing => {
                Err(Stop::rejected(format!("the registry says that it exists, and shows none: {reason}")))
            }
            Lookup::Unknown | Lookup::Ours(_) => Err(Stop::rejected(reason)),
        }
    }

    /// A record of ours that is gone and keeps its key cannot be created: an update brings it back.
    fn brought_back(&self, put: &Put<'_>, known: &mut Knowledge) -> Result<(), Stop> {
        known.facts.set(Fact::Exists, true);
        if self.put_lacks_words(put, known) { Err(Stop::rejected(UNNAMED)) } else { Ok(()) }
    }

    /// The record changed since it was read. Returns whether it is equal to what is to be written.
    async fn after_stale(&self, put: &Put<'_>, known: &mut Knowledge, reason: &str) -> Result<bool, Stop> {
        let (seen, was_known) = (known.held.seen.clone(), known.has(Fact::Exists));
        match self.find(&put.record.id, &known.held, &put.term).await? {
            Lookup::Foreign { is_named } => Err(foreign(is_named)),
            Lookup::Ours(item) => {
                if self.found(put, known, &item) {
                    return Ok(true);
                }
                if !was_known {
                    self.brought_back(put, known)?;
                }
                if known.held.seen == seen { Err(Stop::retry(reason)) } else { Ok(false) }
            }
            Lookup::Nothing => {
                if self.creates() || self.assigns() {
                    self.unless_on_its_way(put.key)?;
                }
                self.records.lock().is_absent(put.key);
                let was_absent = seen.is_none() && !known.has(Fact::Exists);
                *known = Knowledge::default();
                if was_absent { Err(Stop::retry(reason)) } else { Ok(false) }
            }
            Lookup::Unknown => Err(Stop::retry(reason)),
        }
    }

    fn creates(&self) -> bool {
        matches!(self.kind.writes, Writes::CreateUpdate { .. })
    }

    /// Whether a second create would make a second record.
    pub(super) fn assigns(&self) -> bool {
        self.kind.assigns()
    }

    /// Sends one request that writes the record.
    async fn write_once(&self, put: &Put<'_>, known: &Knowledge) -> Result<Ruling, Stop> {
        let (write, is_create) = match &self.kind.writes {
            Writes::Put(write) => (write, false),
            Writes::CreateUpdate { create, .. } if !known.has(Fact::Exists) => (create, true),
            Writes::CreateUpdate { update, .. } => (update, false),
            Writes::Batches => return self.put_in_batch(put).await.map(|()| Ruling::Done),
            Writes::Nothing => return Err(Stop::rejected("the target has no request that writes")),
        };
        let assigns = is_create && self.assigns();
        if assigns && known.is_uncertain {
            // Without `find`, only the next list shows whether it exists.
            return Err(Stop::retry("the last create had no clear answer; waiting for the next list"));
        }
        let clearing = (write.clears() && !is_create).then(|| self.kind.clearing(put.record, known.shown.as_ref()));
        let sent = clearing.as_ref().unwrap_or(put.record);
        let scope = self.kind.write_scope(sent, &known.held, &put.change);
        let request = write.request.render(&scope, Some(&sent.body));
        let request = request.map_err(|error| Stop::rejected(error.to_string()))?.about(&put.change.id);
        self.records.lock().begin_put(put.key, put.record);
        self.save().await.inspect_err(|_| self.put_refused(put.key))?;
        if assigns {
            self.records.lock().begin_create(put.key, &put.record.id);
        }
        let exchanged = self.transport.send(&request).await.inspect_err(|failure| match failure {
            Failure::Broken(_) => self.records.lock().create_unanswered(put.key),
            _ => self.put_refused(put.key),
        })?;
        let judgement = write.request.judge(&exchanged.answer, &scope);
        let ruling = rule(&judgement, &exchanged, &self.transport);
        match &ruling {
            Ruling::Done => {
                let answer = held(write, &exchanged.answer, &scope, &known.held);
                let is_missing = is_create && write.reads_remote() && answer.remote.is_none();
                let missing = || "the answer to `create` has no value where `remote` reads it".to_owned();
                if let Some(cause) = answer.rounded().or_else(|| is_missing.then(missing)) {
                    self.records.lock().create_ended(put.key);
                    return Ok(Ruling::Unchecked(cause));
                }
                self.records.lock().acknowledged(put.key, put.record, &answer);
            }
            // A proxy answered, and not the registry.
            Ruling::Stop(Stop::Failure(Failure::Broken(_))) => self.records.lock().create_unanswered(put.key),
            Ruling::Stop(Stop::Verdict(Verdict::Uncertain { .. })) | Ruling::Unchecked(_) => {
                self.records.lock().create_ended(put.key);
            }
            // It holds another record than the one that was to be written.
            Ruling::Absent | Ruling::Exists(_) | Ruling::Stale(_) => {
                let mut records = self.records.lock();
                records.not_created(put.key);
                records.not_taken(put.key);
            }
            Ruling::Forbidden(_) | Ruling::Stop(_) => self.put_refused(put.key),
        }
        Ok(ruling)
    }

    /// The registry clearly refused a put, which has changed nothing.
    fn put_refused(&self, key: &Uid) {
        let mut records = self.records.lock();
        records.not_created(key);
        records.refused(key);
    }

    /// The answer did not meet its check. Returns the verdict: the third time, the record is parked.
    pub(super) fn unchecked(&self, key: &Uid, reason: String) -> Stop {
        if self.records.lock().strike(key) < STRIKES_MAX { Stop::uncertain(reason) } else { Stop::rejected(reason) }
    }

    /// The registry forbids the request. If it allows others, it refuses only this record.
    pub(super) async fn forbidden(&self, reason: &str, term: &TermWords) -> Stop {
        // Records are written only after everything is prepared.
        match self.probe(term, true).await {
            Ok(true) => Stop::rejected(reason),
            Ok(false) => super::judge::unauthorized(403, reason).into(),
            Err(failure) => failure.into(),
        }
    }
}

/// What the registry says about a record that it wrote. A revision that it does not name is unknown now.
fn held(
    write: &WriteTemplate,
    answer: &crate::mapping::answer::Answer,
    scope: &crate::mapping::scope::Scope,
    before: &Held,
) -> Held {
    let answer = write.held(answer, scope);
    Held { remote: answer.remote.or_else(|| before.remote.clone()), seen: answer.seen }
}

fn foreign(is_named: bool) -> Stop {
    Stop::rejected(if is_named { FOREIGN } else { NAMELESS })
}

/// The id of a record in the registry.
pub(super) fn id_of<'a>(key: &'a Uid, known: &'a Knowledge) -> Cow<'a, str> {
    known.id.as_deref().map_or_else(|| Cow::Owned(key.to_string()), Cow::Borrowed)
}
