//! Deleting one record. Only a record that is known to be ours is deleted.

use serde_json::Value as Json;

use super::{
    KindClient,
    find::Lookup,
    judge::{Ruling, Stop, rule},
    knowledge::Knowledge,
    put::id_of,
    table::Fact,
};
use crate::{
    mapping::{
        batch::BatchRequest,
        target::TermWords,
        words::Word,
        writes::{ChangeWords, RemovalWords},
    },
    model::uid::Uid,
    reconcile::outcome::Failure,
};

/// Requests that delete, per operation.
const DELETES_MAX: usize = 2;
const REFUSED: &str = "the registry refuses to delete the record";

/// A record to be deleted.
pub(super) struct RecordDeletion<'a> {
    pub(super) key: &'a Uid,
    pub(super) change: ChangeWords,
    pub(super) removal: RemovalWords,
    pub(super) term: TermWords,
}

/// Whether a record may be deleted.
enum Permit {
    Granted,
    /// There is nothing to delete.
    Nothing,
    /// The record belongs to another owner.
    Foreign,
}

impl KindClient {
    pub(super) async fn delete(&self, deletion: &RecordDeletion<'_>) -> Result<(), Stop> {
        if self.kind.cascade && !self.deletes() {
            // The registry removes it with its parent.
            self.records.lock().deleted(deletion.key);
            return Ok(());
        }
        let mut known = self.records.lock().knowledge(deletion.key);
        let mut refusal: Option<(String, Option<Json>)> = None;
        for _ in 0..DELETES_MAX {
            if !self.is_permitted(deletion, &mut known).await? {
                return Ok(());
            }
            // The same revision, or none: it was refused for another reason, such as records that belong to it.
            if let Some((reason, _)) = refusal.take_if(|(_, seen)| *seen == known.held.seen) {
                return Err(Stop::retry(format!("{REFUSED}: {reason}")));
            }
            match self.delete_once(deletion, &known).await? {
                ruling @ (Ruling::Done | Ruling::Absent) => {
                    if matches!(ruling, Ruling::Absent) {
                        self.unless_on_its_way(deletion.key)?;
                    }
                    self.records.lock().deleted(deletion.key);
                    return Ok(());
                }
                // It is read again, and its mark with it.
                Ruling::Stale(reason) | Ruling::Exists(reason) if self.kind.find.is_none() => {
                    return Err(Stop::retry(format!("{REFUSED}: {reason}")));
                }
                Ruling::Stale(reason) | Ruling::Exists(reason) => {
                    refusal = Some((reason, known.held.seen.clone()));
                    known.is_uncertain = true;
                }
                Ruling::Unchecked(reason) => return Err(self.unchecked(deletion.key, reason)),
                Ruling::Forbidden(reason) => return Err(self.forbidden(&reason, &deletion.term).await),
                Ruling::Stop(stop) => return Err(stop),
            }
        }
        let reason = refusal.map_or_else(String::new, |(reason, _)| format!(": {reason}"));
        Err(Stop::retry(format!("the record keeps changing{reason}")))
    }

    fn deletes(&self) -> bool {
        self.kind.delete.is_some() || self.kind.batches.iter().any(BatchRequest::deletes)
    }

    /// Whether a deletion has to be sent. If not, it is done.
    pub(super) async fn is_permitted(
        &self,
        deletion: &RecordDeletion<'_>,
        known: &mut Knowledge,
    ) -> Result<bool, Stop> {
        match self.permit(deletion, known).await? {
            Permit::Granted => return Ok(true),
            Permit::Nothing => self.records.lock().deleted(deletion.key),
            Permit::Foreign => self.records.lock().is_foreign(deletion.key),
        }
        Ok(false)
    }

    /// Makes sure that the record is ours.
    async fn permit(&self, deletion: &RecordDeletion<'_>, known: &mut Knowledge) -> Result<Permit, Stop> {
        if !self.kind.key_is_id() && known.id.is_none() && !known.is_uncertain {
            // Its id is not known.
            return self.unless_unread(deletion.key);
        }
        // The pod of an observed deletion had this very id.
        if !deletion.removal.observed {
            let renamed = self.records.lock().may_be_renamed(deletion.key, &id_of(deletion.key, known));
            renamed.map_or(Ok(()), |cause| Err(Stop::retry(cause)))?;
        }
        let lacks_words = self.deletion_lacks_words(deletion, known);
        let is_ours = if self.kind.reads_mark() {
            known.has(Fact::Verified) || known.has(Fact::Written)
        } else {
            known.may_be_written() || self.kind.exclusive
        };
        let is_read_again = self.kind.reads_mark() && self.records.lock().deletion_log.is_some();
        if is_ours && !lacks_words && !known.is_uncertain && !is_read_again {
            return Ok(Permit::Granted);
        }
        if !is_ours && !self.kind.reads_mark() {
            // Nothing shows whose it is.
            return Ok(Permit::Foreign);
        }
        match self.find(&id_of(deletion.key, known), &known.held, &deletion.term).await? {
            Lookup::Nothing => self.unless_on_its_way(deletion.key).map(|()| Permit::Nothing),
            Lookup::Foreign { .. } => Ok(Permit::Foreign),
            Lookup::Ours(item) => {
                let id = id_of(deletion.key, known).into_owned();
                let mut records = self.records.lock();
                records.found(deletion.key, &id, &item, None);
                *known = records.knowledge(deletion.key);
                if item.gone { Ok(Permit::Nothing) } else { Ok(Permit::Granted) }
            }
            // The registry refused a write and may have applied it; the record is still ours.
            Lookup::Unknown if is_ours && (known.has(Fact::Exists) || !lacks_words) => Ok(Permit::Granted),
            Lookup::Unknown if known.is_uncertain => {
                Err(Stop::retry("the last create had no clear answer; waiting for the next list"))
            }
            Lookup::Unknown => self.unless_unread(deletion.key),
        }
    }

    /// Neither a list nor a write showed the record. If a list is still to come, it may show it.
    fn unless_unread(&self, key: &Uid) -> Result<Permit, Stop> {
        if self.records.lock().may_be_listed(key) {
            return Err(Stop::retry("waiting for a list that shows whether the registry holds the record"));
        }
        Ok(Permit::Nothing)
    }

    /// Whether its request cannot be rendered because the registry has not told a word that it uses.
    fn deletion_lacks_words(&self, deletion: &RecordDeletion<'_>, known: &Knowledge) -> bool {
        let id = id_of(deletion.key, known);
        let RecordDeletion { change, removal, term, .. } = deletion;
        let scope = || self.kind.delete_scope(term, &id, &known.held, change, removal);
        let single = self.kind.delete.as_ref();
        single.is_some_and(|delete| known.lacks(delete.uses()) && delete.render(&scope(), None).is_err())
            || self
                .kind
                .batches
                .iter()
                .find(|batch| batch.deletes())
                .is_some_and(|batch| known.lacks(batch.delete_uses()) && batch.delete_operations(&scope()).is_err())
    }

    async fn delete_once(&self, deletion: &RecordDeletion<'_>, known: &Knowledge) -> Result<Ruling, Stop> {
        let Some(delete) = &self.kind.delete else {
            return self.delete_in_batch(deletion, known).await.map(|()| Ruling::Done);
        };
        let id = id_of(deletion.key, known);
        let RecordDeletion { change, removal, term, .. } = deletion;
        let scope = self.kind.delete_scope(term, &id, &known.held, change, removal);
        let request = delete.render(&scope, None).map_err(|error| Stop::rejected(error.to_string()))?.about(&change.id);
        self.records.lock().begin_deletion(deletion.key);
        self.save().await.inspect_err(|_| self.records.lock().refused(deletion.key))?;
        let exchanged = self.transport.send(&request).await.inspect_err(|failure| {
            if !matches!(failure, Failure::Broken(_)) {
                self.records.lock().refused(deletion.key);
            }
        })?;
        let judgement = delete.judge(&exchanged.answer, &scope);
        if matches!(exchanged.answer.status, 404 | 410) && !judgement.by_rule {
            let status = exchanged.answer.status;
            // It may come from a proxy that did not ask the registry.
            if exchanged.answer.is_html() {
                return Err(Stop::uncertain(format!("status {status} with a web page")));
            }
            // No list would show that the record is still there.
            if self.kind.list().is_none() && !delete.addresses_record() {
                let what = "which is not about the record: its id is not in the address of `delete`";
                return Err(Stop::uncertain(format!("status {status}, {what}; write a rule for it in `outcome`")));
            }
        }
        let ruling = rule(&judgement, &exchanged, &self.transport);
        // Other records may need it. That says nothing about its content.
        let is_needed = matches!(ruling, Ruling::Exists(_) | Ruling::Stale(_)) && !delete.uses().has(Word::Seen);
        if is_needed || ruling.is_refusal() {
            self.records.lock().refused(deletion.key);
        }
        Ok(ruling)
    }
}
