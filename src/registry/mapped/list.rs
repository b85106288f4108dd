//! Reading all records, page by page. A list is complete, or nothing is concluded from it.

use serde_json::Value as Json;
use tokio::time::Instant;

use super::{
    KindClient, identify::ListedIds, ineffective::IneffectiveReport, judge::failure, renamed::RenamedRecords,
    unlisted::Coverage,
};
use crate::{
    mapping::{
        answer::Answer,
        differences::view_differences,
        items::{ItemContent, ItemMark, RegistryItem},
        paging::{Error as ListError, ListReader},
        request::RenderedRequest,
        spec::request::RuleOutcome,
        target::TermWords,
        values::shorten,
    },
    model::{digest::Fingerprint, uid::Uid},
    reconcile::outcome::Failure,
    registry::inventory::{InventoryItem, InventoryPage},
};

/// Records of a page that are ours, with the fingerprints to report.
type ListedPage = Vec<(Uid, Fingerprint)>;

/// Characters of the names of members in a log line.
const MEMBERS_SHOWN: usize = 300;

/// A list that is being read.
pub(super) struct ListInProgress {
    reader: ListReader<'static>,
    /// The request for the next page, until it is answered.
    request: RenderedRequest,
    /// Identifies the next page, for the caller.
    token: String,
    begun: Instant,
    listed: ListedIds,
    renamed: RenamedRecords,
    /// Records that were reported.
    reported: u64,
}

impl KindClient {
    /// Reads the next page with records of this kind that are ours, or the last page.
    pub(super) async fn page(&self, token: Option<String>, term: &TermWords) -> Result<InventoryPage, Failure> {
        let mut current = self.list.lock().await;
        let mut list = match (token, current.take()) {
            (None, _) => self.begin(term)?,
            (Some(token), Some(list)) if list.token == token => list,
            // The list was begun again by another caller.
            _ => return Err(Failure::Expired),
        };
        loop {
            // If this call ends early, the list is given up, and begins again.
            let exchanged = match self.transport.send(&list.request).await {
                Ok(exchanged) => exchanged,
                Err(failure) => {
                    *current = Some(list);
                    return Err(failure);
                }
            };
            let (mut page, next) = match self.take(&mut list, &exchanged.answer, term) {
                Ok(taken) => taken,
                // The same page may be answered later.
                Err(ListError::Refused(judgement)) => {
                    *current = Some(list);
                    return Err(failure(&judgement, &exchanged, &self.transport));
                }
                Err(error) => return Err(self.unusable(&error.to_string())),
            };
            let Some(next) = next else {
                self.end_doubles(&mut list, &mut page);
                self.end_renamed(&mut list, &mut page).map_err(|error| self.unusable(&error))?;
                let mut records = self.records.lock();
                let has_gaps = self.kind.assigns() && list.reader.may_skip();
                let coverage = if has_gaps { Coverage::WithGaps } else { Coverage::All };
                page.extend(records.complete_list(list.begun, &list.listed.keys, coverage));
                report(records.differing.take_unexplained(), records.ineffective.end_list());
                return Ok(inventory_page(page, &mut list, None));
            };
            list.request = next;
            if !page.is_empty() {
                list.token = self.next_token();
                let token = list.token.clone();
                let page = inventory_page(page, &mut list, Some(token));
                *current = Some(list);
                return Ok(page);
            }
        }
    }

    fn begin(&self, term: &TermWords) -> Result<ListInProgress, Failure> {
        let begun = Instant::now();
        let reader = self.kind.read_list(term).map_err(|error| self.unusable(&error.to_string()))?;
        let mut reader = reader.ok_or_else(|| self.unusable("the target has no `list`"))?;
        let request = reader.request().map_err(|error| self.unusable(&error.to_string()))?;
        let request = request.ok_or_else(|| self.unusable("`list` has no first page"))?;
        self.records.lock().begin_list(begun);
        let (token, listed, renamed) = (String::new(), ListedIds::default(), RenamedRecords::default());
        Ok(ListInProgress { reader, request, token, begun, listed, renamed, reported: 0 })
    }

    /// Reads the answer. Returns its records that are ours, with the fingerprints to report, and the request for the
    /// next page.
    fn take(
        &self,
        list: &mut ListInProgress,
        answer: &Answer,
        term: &TermWords,
    ) -> Result<(ListedPage, Option<RenderedRequest>), ListError> {
        let ListInProgress { reader, listed, renamed, .. } = list;
        let (mut page, mut is_first) = (Vec::new(), true);
        reader.take(answer, |shown| {
            let Some(item) = self.kind.read_to_compare(shown, answer, term) else { return Ok(()) };
            let Some((key, id)) = self.ours(&item, std::mem::take(&mut is_first), listed)? else { return Ok(()) };
            let mut records = self.records.lock();
            let Some((key, id, item)) = renamed.take(&mut records, key, id, item) else { return Ok(()) };
            let held = records.listed(&key, &id, &item);
            let settled = records.differing.take_settled(&key);
            drop(records);
            if let Some(sent) = settled {
                self.report_settled(&id, &sent, self.kind.read_item(shown, answer, term));
            }
            page.extend(held.map(|fingerprint| (key, fingerprint)));
            Ok(())
        })?;
        Ok((page, reader.request()?))
    }

    /// The key and the id of a listed record, if it is ours and counts.
    fn ours(
        &self,
        item: &RegistryItem,
        is_first: bool,
        listed: &mut ListedIds,
    ) -> Result<Option<(Uid, String)>, String> {
        let records = self.records.lock();
        let may_be_ours = match item.mark {
            ItemMark::Ours => true,
            ItemMark::Foreign => false,
            ItemMark::NotRead => {
                let may_be_written = |id: &str| records.knowledge(&self.kind.key(id)).may_be_written();
                self.kind.exclusive || item.id.as_deref().is_some_and(may_be_written)
            }
        };
        listed.take(self.kind, item, is_first, may_be_ours, |key| records.table.get(key)?.remote())
    }

    /// Names the members of a record that the registry changes. Values of pods do not go into the log.
    fn report_settled(&self, id: &str, sent: &Json, item: Option<RegistryItem>) {
        let members = match item.map(|item| item.content) {
            Some(ItemContent::Body(found)) => view_differences(&self.kind.view(sent), &found),
            _ => Vec::new(),
        };
        let members: Vec<String> = members.into_iter().map(|difference| difference.pointer).collect();
        let members = shorten(&members.join(" "), MEMBERS_SHOWN);
        tracing::warn!(id, members, "registry changes what is written; leaving the record as it is");
    }

    /// The list showed all records: adds those that count only if there is no better one with their id.
    fn end_doubles(&self, list: &mut ListInProgress, page: &mut ListedPage) {
        let mut records = self.records.lock();
        for (key, (id, item)) in list.listed.take_waiting() {
            page.extend(records.listed(&key, &id, &item).map(|fingerprint| (key.clone(), fingerprint)));
            list.listed.keys.insert(key);
        }
        let surplus = list.listed.take_surplus();
        let count = surplus.len();
        if let Some((key, remote)) = records.report_surplus(surplus) {
            let id = records.knowledge(&key).id.unwrap_or_else(|| key.to_string());
            tracing::warn!(id, %remote, count, "registry holds two records with one id; using one and leaving the other");
        }
    }

    /// The list showed all ids: adds the records whose ids look like those of others.
    fn end_renamed(&self, list: &mut ListInProgress, page: &mut ListedPage) -> Result<(), String> {
        let mut records = self.records.lock();
        for (key, id, item) in std::mem::take(&mut list.renamed).end(&records, &list.listed.keys)? {
            page.extend(records.listed(&key, &id, &item).map(|fingerprint| (key, fingerprint)));
        }
        Ok(())
    }

    fn unusable(&self, error: &str) -> Failure {
        self.records.lock().abandon_list();
        Failure::Inventory(self.transport.clean(error))
    }

    /// Sends a request that reads and is always allowed. Returns whether there is one. `is_prepared` says whether
    /// nothing is left to prepare.
    pub(super) async fn probe(&self, term: &TermWords, is_prepared: bool) -> Result<bool, Failure> {
        let Ok(Some(mut reader)) = self.kind.read_list(term) else { return Ok(false) };
        let Ok(Some(request)) = reader.request() else { return Ok(false) };
        let exchanged = self.transport.send(&request).await?;
        match reader.take(&exchanged.answer, |_| Ok(())) {
            // The steps of `prepare` may create what the list reads.
            Err(ListError::Refused(judgement)) if judgement.outcome == RuleOutcome::Absent && !is_prepared => Ok(true),
            Err(ListError::Refused(judgement)) => Err(failure(&judgement, &exchanged, &self.transport)),
            // What is wrong with the list is found out when it is read.
            _ => Ok(true),
        }
    }
}

fn report(further_settled: usize, ineffective: Option<IneffectiveReport>) {
    if further_settled > 0 {
        tracing::warn!(records = further_settled, "registry changes what is written; leaving the records as they are");
    }
    if let Some(IneffectiveReport { records, id, is_deletion }) = ineffective {
        let change = if is_deletion { "deletion" } else { "put" };
        tracing::warn!(
            records,
            id,
            change,
            "registry acknowledges writes that have no effect; each resync sends them again; run targets try"
        );
    }
}

fn inventory_page(page: ListedPage, list: &mut ListInProgress, next: Option<String>) -> InventoryPage {
    list.reported += u64::try_from(page.len()).unwrap_or(u64::MAX);
    let item = |(uid, fingerprint)| InventoryItem { uid, fingerprint: Some(fingerprint), version: None };
    InventoryPage { items: page.into_iter().map(item).collect(), next, count: list.reported, as_of: 0 }
}
