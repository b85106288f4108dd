//! Writing several records in one request.
//!
//! Records that have to be looked up first are looked up before, several at a time. Those that may be written then
//! leave together.
//!
//! | answer to the request | consequence |
//! | --- | --- |
//! | done, with results | each record has the result that names it; one that no result names is uncertain, or done if only failures are named |
//! | done, without results | all records are done |
//! | refused, and results name records | these have their result, the others are sent again without them |
//! | refused, atomic | the batch is divided until the record at fault is alone |
//! | refused, not atomic | uncertain: the request may have been applied in part |
//! | anything else | as for a request of its own |

mod members;

use std::collections::{HashMap, VecDeque};

use futures::{StreamExt as _, stream};

use self::members::{Member, MemberResult, assign, change_of, chunks, faults};
use super::{
    KindClient, MappedOperation,
    delete::RecordDeletion,
    judge::{Ruling, Stop, rule, verdict},
    knowledge::Knowledge,
    put::{Put, STRIKES_MAX, id_of},
    table::Fact,
};
use crate::{
    mapping::{
        answer::Answer,
        batch::{BatchRequest, BatchResult},
        outcome::Judgement,
        spec::request::RuleOutcome,
        target::TermWords,
        writes::{Held, Writes},
    },
    model::uid::Uid,
    reconcile::outcome::{Failure, Verdict},
    registry::Encoded,
};

/// Bytes of a bulk request, if the file sets no limit.
pub(super) const BYTES: usize = 1 << 20;

/// What one bulk request says about its members.
enum Outcome {
    /// By position in the request.
    Verdicts(Vec<Result<(), Stop>>),
    /// Nothing was applied. These members are at fault; if there are none, it is not known which.
    Refused(HashMap<usize, MemberResult>, Judgement),
    Failed(Stop),
}

impl KindClient {
    /// Sends operations in as few requests as possible. Returns one verdict per operation, in the same order.
    pub(super) async fn write_batch(
        &self,
        operations: &[Encoded<MappedOperation>],
        term: &TermWords,
    ) -> Result<Vec<Verdict>, Failure> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; operations.len()];
        let mut bulk: Vec<Vec<Member<'_>>> = self.kind.batches.iter().map(|_| Vec::new()).collect();
        let mut alone = Vec::new();
        let indexes: Vec<_> = operations.iter().map(|encoded| self.batch_of(encoded)).collect();
        // One that would be alone in a batch has its own request.
        let together = |index: &usize| indexes.iter().filter(|other| **other == Some(*index)).count() > 1;
        let members: Vec<_> = operations
            .iter()
            .zip(&indexes)
            .enumerate()
            .map(|(place, (encoded, index))| {
                let index = index.filter(|index| together(index) || !self.has_own_request(encoded));
                self.member(place, encoded, index, term)
            })
            .collect();
        let mut members = stream::iter(members).buffered(self.lookups_max.max(1)).enumerate();
        while let Some((place, member)) = members.next().await {
            match member {
                Ok(Some((batch, member))) => bulk[batch].push(member),
                Ok(None) => alone.push(place),
                Err(stop) => {
                    let ends_lookups = matches!(stop, Stop::Failure(_));
                    let verdict = self.unless_first(stop, &verdicts)?;
                    if ends_lookups {
                        // The registry would answer the other lookups in the same way.
                        verdicts[place..].fill(Some(verdict));
                        break;
                    }
                    verdicts[place] = Some(verdict);
                }
            }
        }
        drop(members);
        for (batch, members) in self.kind.batches.iter().zip(bulk) {
            self.send_members(batch, members, term, &mut verdicts).await?;
        }
        for place in alone {
            let result = self.write_one(&operations[place], term).await;
            verdicts[place] = Some(match result {
                Ok(verdict) => verdict,
                Err(failure) => self.unless_first(failure.into(), &verdicts)?,
            });
        }
        let unknown = || Verdict::Uncertain { cause: "no result names the record".to_owned() };
        Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(unknown)).collect())
    }

    /// A failure of the first request is one of the whole call. Later, the verdicts that there are must not be lost.
    pub(super) fn unless_first(&self, stop: Stop, verdicts: &[Option<Verdict>]) -> Result<Verdict, Failure> {
        match stop {
            Stop::Verdict(verdict) => Ok(verdict),
            Stop::Failure(failure) if verdicts.iter().all(Option::is_none) => Err(failure),
            Stop::Failure(Failure::StaleEpoch) => Err(Failure::StaleEpoch),
            Stop::Failure(Failure::Broken(cause)) => Ok(Verdict::Uncertain { cause }),
            Stop::Failure(failure) => Ok(Verdict::Retry { after: None, cause: failure.to_string() }),
        }
    }

    /// The batch that an operation can go with.
    fn batch_of(&self, encoded: &Encoded<MappedOperation>) -> Option<usize> {
        let is_put = matches!(encoded.body, MappedOperation::Put(_));
        self.kind.batches.iter().position(|batch| if is_put { batch.puts() } else { batch.deletes() })
    }

    fn has_own_request(&self, encoded: &Encoded<MappedOperation>) -> bool {
        match encoded.body {
            MappedOperation::Put(_) => matches!(self.kind.writes, Writes::Put(_) | Writes::CreateUpdate { .. }),
            MappedOperation::Delete { .. } => self.kind.delete.is_some(),
        }
    }

    pub(super) fn put_operations_lack_words(&self, put: &Put<'_>, known: &Knowledge) -> bool {
        let scope = || self.kind.write_scope(put.record, &known.held, &put.change);
        self.kind
            .batches
            .iter()
            .find(|batch| batch.puts())
            .is_some_and(|batch| known.lacks(batch.put_uses()) && batch.put_operations(&scope()).is_err())
    }

    /// The member of a batch for an operation. None if it needs requests of its own.
    async fn member<'a>(
        &self,
        place: usize,
        encoded: &'a Encoded<MappedOperation>,
        index: Option<usize>,
        term: &TermWords,
    ) -> Result<Option<(usize, Member<'a>)>, Stop> {
        let Some(index) = index else { return Ok(None) };
        let batch = &self.kind.batches[index];
        let mut known = self.records.lock().knowledge(&encoded.uid);
        let (id, change, operations) = match &encoded.body {
            MappedOperation::Put(_) if known.is_uncertain => return Ok(None),
            MappedOperation::Put(record) => {
                let put = self.put_of(encoded, record, term);
                let lacks_words = self.put_operations_lack_words(&put, &known);
                if self.read_first(&put, &mut known, lacks_words).await? {
                    return Err(Stop::Verdict(Verdict::Done));
                }
                let scope = self.kind.write_scope(record, &known.held, &put.change);
                (record.id.clone(), put.change.id, batch.put_operations(&scope))
            }
            MappedOperation::Delete { removal, .. } => {
                let deletion = self.deletion_of(encoded, *removal, term);
                if !self.is_permitted(&deletion, &mut known).await? {
                    return Err(Stop::Verdict(Verdict::Done));
                }
                let id = id_of(&encoded.uid, &known).into_owned();
                let RecordDeletion { change, removal, .. } = &deletion;
                let scope = self.kind.delete_scope(term, &id, &known.held, change, removal);
                (id, change.id.clone(), batch.delete_operations(&scope))
            }
        };
        let operations = operations.map_err(|error| Stop::rejected(error.to_string()))?;
        let bytes = operations.iter().map(|operation| operation.to_string().len() + 1).sum();
        let record = if let MappedOperation::Put(record) = &encoded.body { Some(&**record) } else { None };
        let creates = record.is_some() && !known.has(Fact::Exists) && batch.assigns();
        Ok(Some((index, Member { place, key: &encoded.uid, id, change, record, operations, bytes, creates })))
    }

    async fn send_members(
        &self,
        batch: &BatchRequest,
        members: Vec<Member<'_>>,
        term: &TermWords,
        verdicts: &mut [Option<Verdict>],
    ) -> Result<(), Failure> {
        let mut rest: VecDeque<Vec<Member<'_>>> = chunks(batch, members).into();
        while let Some(chunk) = rest.pop_front() {
            let outcome = self.send_chunk(batch, &chunk, term).await;
            match outcome {
                Outcome::Verdicts(results) => {
                    for (member, result) in chunk.iter().zip(results) {
                        verdicts[member.place] = Some(match verdict(result) {
                            Ok(verdict) => verdict,
                            Err(failure) => self.unless_first(failure.into(), verdicts)?,
                        });
                    }
                }
                Outcome::Refused(faults, whole) => {
                    let is_alone = chunk.len() == 1;
                    let at_fault = |index: usize| is_alone || faults.contains_key(&index);
                    let mut innocent = Vec::new();
                    for (index, member) in chunk.into_iter().enumerate() {
                        if at_fault(index) {
                            let result = self.refused(&member, faults.get(&index), &whole);
                            verdicts[member.place] = Some(match verdict(result) {
                                Ok(verdict) => verdict,
                                Err(failure) => self.unless_first(failure.into(), verdicts)?,
                            });
                        } else {
                            innocent.push(member);
                        }
                    }
                    // Without a name, halves show which record is at fault.
                    let half = if faults.is_empty() { innocent.len() / 2 } else { innocent.len() };
                    let other = innocent.split_off(half);
                    for part in [other, innocent].into_iter().filter(|part| !part.is_empty()) {
                        rest.push_front(part);
                    }
                }
                Outcome::Failed(stop) => {
                    let verdict = self.unless_first(stop, verdicts)?;
                    let left = chunk.iter().chain(rest.iter().flatten());
                    left.for_each(|member| verdicts[member.place] = Some(verdict.clone()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn send_chunk(&self, batch: &BatchRequest, chunk: &[Member<'_>], term: &TermWords) -> Outcome {
        let creates = || chunk.iter().filter(|member| member.creates);
        chunk.iter().for_each(|member| self.begin_member(member));
        if let Err(failure) = self.save().await {
            chunk.iter().for_each(|member| self.refused_member(member));
            return Outcome::Failed(failure.into());
        }
        creates().for_each(|member| self.records.lock().begin_create(member.key, &member.id));
        let outcome = self.exchange_chunk(batch, chunk, term).await;
        match &outcome {
            Outcome::Failed(Stop::Failure(Failure::Broken(_))) => {
                creates().for_each(|member| self.records.lock().create_unanswered(member.key));
            }
            Outcome::Failed(Stop::Verdict(Verdict::Uncertain { .. })) | Outcome::Verdicts(_) => {
                // Those with a clear result are not uncertain any more.
                creates().for_each(|member| self.records.lock().create_ended(member.key));
            }
            Outcome::Refused(..) | Outcome::Failed(_) => {
                chunk.iter().for_each(|member| self.refused_member(member));
            }
        }
        outcome
    }

    fn begin_member(&self, member: &Member<'_>) {
        let mut records = self.records.lock();
        match member.record {
            Some(record) => records.begin_put(member.key, record),
            None => records.begin_deletion(member.key),
        }
    }

    /// The registry clearly refused the member, which has changed nothing.
    fn refused_member(&self, member: &Member<'_>) {
        let mut records = self.records.lock();
        if member.creates {
            records.not_created(member.key);
        }
        records.refused(member.key);
    }

    async fn exchange_chunk(&self, batch: &BatchRequest, chunk: &[Member<'_>], term: &TermWords) -> Outcome {
        let operations = chunk.iter().flat_map(|member| member.operations.iter().cloned()).collect();
        let request = match batch.render(term.scope(), operations) {
            Ok(request) => request.about(&change_of(chunk)),
            Err(error) => return Outcome::Failed(Stop::rejected(error.to_string())),
        };
        let exchanged = match self.transport.send(&request).await {
            Ok(exchanged) => exchanged,
            Err(failure) => return Outcome::Failed(failure.into()),
        };
        let judgement = batch.judge(&exchanged.answer, term.scope());
        let reason = self.transport.clean(&judgement.reason);
        let answer = &exchanged.answer;
        let results = || batch.results(answer, term.scope());
        match rule(&judgement, &exchanged, &self.transport) {
            Ruling::Done if !batch.has_results() => {
                Outcome::Verdicts(chunk.iter().map(|member| self.done(member, &Held::default())).collect())
            }
            Ruling::Done => Outcome::Verdicts(self.by_results(batch, chunk, results(), answer)),
            Ruling::Absent
            | Ruling::Exists(_)
            | Ruling::Stale(_)
            | Ruling::Stop(Stop::Verdict(Verdict::Rejected { .. })) => {
                if batch.atomic || chunk.len() == 1 {
                    Outcome::Refused(faults(chunk, results().unwrap_or_default()), Judgement { reason, ..judgement })
                } else if exchanged.answer.status == 413 {
                    Outcome::Failed(Failure::TooLarge.into())
                } else {
                    Outcome::Failed(Failure::Broken(reason).into())
                }
            }
            Ruling::Unchecked(reason) => {
                Outcome::Verdicts(chunk.iter().map(|member| Err(self.unchecked(member.key, reason.clone()))).collect())
            }
            Ruling::Forbidden(reason) => match self.forbidden(&reason, term).await {
                Stop::Verdict(_) if batch.atomic || chunk.len() == 1 => {
                    Outcome::Refused(HashMap::new(), Judgement { reason, ..judgement })
                }
                Stop::Verdict(_) => Outcome::Failed(Failure::Broken(reason).into()),
                stop => Outcome::Failed(stop),
            },
            Ruling::Stop(stop) => Outcome::Failed(stop),
        }
    }

    /// The registry acknowledged a member.
    fn done(&self, member: &Member<'_>, held: &Held) -> Result<(), Stop> {
        if let Some(cause) = held.rounded().filter(|_| member.record.is_some()) {
            return Err(Stop::uncertain(cause));
        }
        let mut records = self.records.lock();
        match member.record {
            Some(_) if member.creates && held.remote.is_none() && self.results_tell_remote() => {
                return Err(Stop::uncertain("the result has no value where `remote` reads it"));
            }
            Some(record) => records.acknowledged(member.key, record, held),
            None => records.deleted(member.key),
        }
        Ok(())
    }

    fn results_tell_remote(&self) -> bool {
        self.kind.batches.iter().find(|batch| batch.puts()).is_some_and(BatchRequest::reads_remote)
    }

    fn by_results(
        &self,
        batch: &BatchRequest,
        chunk: &[Member<'_>],
        results: Option<Vec<BatchResult>>,
        answer: &Answer,
    ) -> Vec<Result<(), Stop>> {
        let Some(results) = results else {
            let cause = match answer.not_json() {
                Some(cause) => format!("the answer to the batch is not JSON: {cause}"),
                None => "the answer to the batch has no list where `results.items` reads it".to_owned(),
            };
            return chunk.iter().map(|_| Err(Stop::uncertain(cause.clone()))).collect();
        };
        let nothing_named = match results.len() {
            0 => "the list that `results.items` reads is empty, so no result names the record".to_owned(),
            count => format!("none of the {count} results names the record; check `results.id` or `results.index`"),
        };
        let mut named = assign(chunk, results);
        let result = |(index, member): (usize, &Member<'_>)| match named.remove(&index) {
            Some(result) => self.judged(member, &result.judgement, &result.held),
            None if batch.names_failures_only() => self.done(member, &Held::default()),
            None => Err(Stop::uncertain(nothing_named.clone())),
        };
        chunk.iter().enumerate().map(result).collect()
    }

    fn judged(&self, member: &Member<'_>, judgement: &Judgement, held: &Held) -> Result<(), Stop> {
        let reason = self.transport.clean(&judgement.reason);
        match judgement.outcome {
            RuleOutcome::Done | RuleOutcome::Uncertain => {}
            RuleOutcome::Absent if member.record.is_none() => {}
            _ => self.refused_member(member),
        }
        match judgement.outcome {
            RuleOutcome::Done => self.done(member, held),
            RuleOutcome::Absent if member.record.is_none() => {
                self.unless_on_its_way(member.key)?;
                self.done(member, held)
            }
            RuleOutcome::Reject | RuleOutcome::Absent => Err(Stop::rejected(reason)),
            RuleOutcome::Exists | RuleOutcome::Stale => self.as_uncertain(member.key, reason),
            RuleOutcome::Retry | RuleOutcome::Pause => Err(Stop::retry(reason)),
            RuleOutcome::Uncertain => Err(Stop::uncertain(reason)),
            RuleOutcome::Fenced => Err(Failure::StaleEpoch.into()),
        }
    }

    /// The registry holds another record than the one that was to be replaced. The next attempt is a request of its
    /// own, and reads the record first if it can. The third time in a row, the record is parked.
    fn as_uncertain(&self, key: &Uid, reason: String) -> Result<(), Stop> {
        let mut records = self.records.lock();
        records.mark_uncertain(key);
        records.contradicted(key);
        if records.strike(key) < STRIKES_MAX { Err(Stop::retry(reason)) } else { Err(Stop::rejected(reason)) }
    }

    /// The result of a member that is at fault for the refusal of its request, with or without a result of its own.
    fn refused(&self, member: &Member<'_>, own: Option<&MemberResult>, whole: &Judgement) -> Result<(), Stop> {
        match (own, whole.outcome) {
            (Some(MemberResult { judgement, held }), _) => self.judged(member, judgement, held),
            (None, RuleOutcome::Exists | RuleOutcome::Stale) => self.as_uncertain(member.key, whole.reason.clone()),
            (None, _) => Err(Stop::rejected(whole.reason.clone())),
        }
    }

    /// Writes one record in a batch of its own.
    pub(super) async fn put_in_batch(&self, put: &Put<'_>) -> Result<(), Stop> {
        let batch = self.kind.batches.iter().find(|batch| batch.puts());
        let batch = batch.ok_or_else(|| Stop::rejected("the target has no request that writes"))?;
        let known = self.records.lock().knowledge(put.key);
        let creates = !known.has(Fact::Exists) && batch.assigns();
        if creates && known.is_uncertain {
            // Without `find`, only the next list shows whether it exists.
            return Err(Stop::retry("the last create had no clear answer; waiting for the next list"));
        }
        let scope = self.kind.write_scope(put.record, &known.held, &put.change);
        let operations = batch.put_operations(&scope).map_err(|error| Stop::rejected(error.to_string()))?;
        let id = put.record.id.clone();
        let (record, change) = (Some(put.record), put.change.id.clone());
        let member = Member { place: 0, key: put.key, id, change, record, operations, bytes: 0, creates };
        self.send_alone(batch, member, &put.term).await
    }

    /// Deletes one record in a batch of its own.
    pub(super) async fn delete_in_batch(&self, deletion: &RecordDeletion<'_>, known: &Knowledge) -> Result<(), Stop> {
        let batch = self.kind.batches.iter().find(|batch| batch.deletes());
        let batch = batch.ok_or_else(|| Stop::rejected("the target has no request that deletes"))?;
        let id = id_of(deletion.key, known).into_owned();
        let RecordDeletion { change, removal, term, .. } = deletion;
        let scope = self.kind.delete_scope(term, &id, &known.held, change, removal);
        let operations = batch.delete_operations(&scope).map_err(|error| Stop::rejected(error.to_string()))?;
        let (record, change) = (None, change.id.clone());
        let member = Member { place: 0, key: deletion.key, id, change, record, operations, bytes: 0, creates: false };
        self.send_alone(batch, member, term).await
    }

    async fn send_alone(&self, batch: &BatchRequest, member: Member<'_>, term: &TermWords) -> Result<(), Stop> {
        let alone = [member];
        match self.send_chunk(batch, &alone, term).await {
            Outcome::Verdicts(results) => results.into_iter().next().unwrap_or(Ok(())),
            Outcome::Refused(faults, whole) => self.refused(&alone[0], faults.get(&0), &whole),
            Outcome::Failed(stop) => Err(stop),
        }
    }
}
