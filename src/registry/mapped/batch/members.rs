//! The members of a bulk request, and the results that name them.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::BYTES;
use crate::{
    mapping::{
        batch::{BatchRequest, BatchResult},
        outcome::Judgement,
        spec::request::RuleOutcome,
        target::RenderedRecord,
        writes::Held,
    },
    model::{digest::Digest, uid::Uid},
};

/// One record of a batch.
pub(super) struct Member<'a> {
    /// Its position in the caller's list.
    pub(super) place: usize,
    pub(super) key: &'a Uid,
    pub(super) id: String,
    /// The id of its change.
    pub(super) change: String,
    /// The record to write. None for a deletion.
    pub(super) record: Option<&'a RenderedRecord>,
    pub(super) operations: Vec<Json>,
    pub(super) bytes: usize,
    /// Whether a second request would make a second record.
    pub(super) creates: bool,
}

/// The result of a batch for one of its members.
#[derive(Clone)]
pub(super) struct MemberResult {
    pub(super) judgement: Judgement,
    pub(super) held: Held,
}

/// Divides members so that each request is within the limits.
pub(super) fn chunks<'a>(batch: &BatchRequest, members: Vec<Member<'a>>) -> Vec<Vec<Member<'a>>> {
    // The request's own members need some room.
    let most_bytes = batch.limits.bytes.unwrap_or(BYTES).saturating_mul(9) / 10;
    let (most_records, most_operations) = (batch.limits.records, batch.limits.operations);
    let mut chunks: Vec<Vec<Member<'_>>> = Vec::new();
    let (mut bytes, mut operations) = (0, 0);
    for member in members {
        let fits = chunks.last().is_some_and(|chunk| {
            most_records.is_none_or(|most| chunk.len() < most)
                && most_operations.is_none_or(|most| operations + member.operations.len() <= most)
                && bytes + member.bytes <= most_bytes
        });
        if !fits {
            (bytes, operations) = (0, 0);
            chunks.push(Vec::new());
        }
        bytes += member.bytes;
        operations += member.operations.len();
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(member);
        }
    }
    chunks
}

/// The id of what a bulk request is about: the same for each attempt to send the same changes together.
pub(super) fn change_of(chunk: &[Member<'_>]) -> String {
    if let [alone] = chunk {
        return alone.change.clone();
    }
    let ids: Vec<&str> = chunk.iter().map(|member| member.change.as_str()).collect();
    Digest::of_canonical(ids.join(" ").as_bytes()).fingerprint().hex()
}

/// The members that the results of a refused request name. A success among them was not applied either.
pub(super) fn faults(chunk: &[Member<'_>], results: Vec<BatchResult>) -> HashMap<usize, MemberResult> {
    let named = assign(chunk, results).into_iter();
    named.filter(|(_, result)| result.judgement.outcome != RuleOutcome::Done).collect()
}

/// The result of each member that the answer names, by its id or by the positions of its operations. The worst counts.
pub(super) fn assign(chunk: &[Member<'_>], results: Vec<BatchResult>) -> HashMap<usize, MemberResult> {
    let by_id: HashMap<&str, usize> =
        chunk.iter().enumerate().map(|(index, member)| (member.id.as_str(), index)).collect();
    let owners: Vec<usize> =
        chunk.iter().enumerate().flat_map(|(index, member)| vec![index; member.operations.len()]).collect();
    let mut named: HashMap<usize, MemberResult> = HashMap::new();
    for BatchResult { id, operations, judgement, held } in results {
        let by_id = id.as_deref().and_then(|id| by_id.get(id).copied());
        let by_position = operations.iter().filter_map(|position| owners.get(*position).copied());
        for index in by_id.into_iter().chain(by_position) {
            let result = MemberResult { judgement: judgement.clone(), held: held.clone() };
            let Some(known) = named.get_mut(&index) else {
                named.insert(index, result);
                continue;
            };
            if known.judgement.outcome == RuleOutcome::Done {
                // The results of two operations may tell one value each.
                let Held { remote, seen } = std::mem::take(&mut known.held);
                *known = result;
                known.held =
                    Held { remote: known.held.remote.take().or(remote), seen: known.held.seen.take().or(seen) };
            }
        }
    }
    named
}
