//! What `purge` prints.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::records::RecordToPurge;
use crate::{
    connect::failures::one_line,
    model::{ids::RecordOwner, uid::Uid},
    reconcile::absence::RELEASED_PER_SECOND,
    registry::mapped::deletion_log::DeletionLog,
};

/// Ids that the table shows.
const IDS_SHOWN: usize = 10;
/// Characters of the registry's words that are shown.
const CAUSE_CHARS: usize = 300;

pub(super) struct PurgeReport {
    target: &'static str,
    owner: RecordOwner,
    has_lease: bool,
    /// The records before.
    pub(super) shown: Vec<RecordToPurge>,
    /// What became of them. None if nothing was deleted.
    end: Option<End>,
}

/// The records afterwards.
struct End {
    left: Vec<LeftRecord>,
    deleted: usize,
    /// Records that were shown, are not ours any more, and were not deleted.
    others: Vec<RecordToPurge>,
}

/// A record that is left.
struct LeftRecord {
    name: String,
    /// The registry's words, if it refused to delete it.
    cause: Option<String>,
}

impl PurgeReport {
    pub(super) fn new(target: &'static str, owner: &RecordOwner, shown: Vec<RecordToPurge>, has_lease: bool) -> Self {
        Self { target, owner: owner.clone(), has_lease, shown, end: None }
    }

    /// Without a log, what is not left was deleted.
    pub(super) fn ended(&mut self, left: Vec<RecordToPurge>, log: Option<&DeletionLog>) {
        let kept: HashSet<&Uid> = left.iter().map(|record| &record.key).collect();
        let gone: Vec<&RecordToPurge> = self.shown.iter().filter(|record| !kept.contains(&record.key)).collect();
        let is_other = |record: &&RecordToPurge| log.is_some_and(|log| !log.has(&record.key));
        let others: Vec<RecordToPurge> = gone.iter().copied().filter(is_other).cloned().collect();
        let deleted = gone.len() - others.len();
        let left = left.into_iter().map(|RecordToPurge { key, name }| {
            let cause = log.and_then(|log| log.refusal(&key)).map(|cause| one_line(&cause, CAUSE_CHARS));
            LeftRecord { name, cause }
        });
        self.end = Some(End { deleted, left: left.collect(), others });
    }

    /// Whether no record is left.
    pub(super) fn is_done(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.left.is_empty())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let (target, shown) = (self.target, self.shown.len());
        let RecordOwner { cluster_id, owner, .. } = &self.owner;
        let whose = format!("records of the cluster id {cluster_id} and the owner {owner}");
        let Some(End { left, deleted, others }) = &self.end else {
            let mut lines = vec![format!("{target}: {shown} {whose}")];
            if self.shown.is_empty() {
                return lines;
            }
            lines.extend(list(names(&self.shown)));
            lines.push(format!("They would be deleted at {RELEASED_PER_SECOND}/s at most. Add --yes to delete them."));
            if !self.has_lease {
                lines.push("Without --lease, make sure that no controller writes them.".to_owned());
            }
            return lines;
        };
        let mut lines = vec![format!("{target}: {deleted} of {shown} {whose} deleted")];
        if !others.is_empty() {
            lines.push(format!("{} have another owner by now, or were gone before:", others.len()));
            lines.extend(list(names(others)));
        }
        if !left.is_empty() {
            let appeared = left.len().saturating_sub(shown - deleted - others.len());
            let appeared = if appeared > 0 { format!(", {appeared} of them new") } else { String::new() };
            lines.push(format!("{} are left{appeared}; the log says why:", left.len()));
            lines.extend(list(left.iter().map(|LeftRecord { name, cause }| match cause {
                Some(cause) => format!("{name}: {cause}"),
                None => name.clone(),
            })));
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let RecordOwner { cluster_id, owner, .. } = &self.owner;
        let mut document = json!({
            "target": self.target, "cluster": cluster_id, "owner": owner, "records": names(&self.shown),
            "deleted": 0, "left": names(&self.shown), "others": [], "refusals": {},
        });
        if let Some(End { left, deleted, others }) = &self.end {
            document["left"] = left.iter().map(|record| record.name.as_str()).collect();
            (document["deleted"], document["others"]) = (json!(deleted), json!(names(others)));
            let refusals = left.iter().filter_map(|record| Some((record.name.clone(), json!(record.cause.as_ref()?))));
            document["refusals"] = Value::Object(refusals.collect());
        }
        document
    }
}

fn names(records: &[RecordToPurge]) -> Vec<String> {
    records.iter().map(|record| record.name.clone()).collect()
}

fn list(records: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut records = records.into_iter();
    let mut lines: Vec<String> = records.by_ref().take(IDS_SHOWN).map(|record| format!("  {record}")).collect();
    if let Some(more) = Some(records.count()).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more; --output json has all"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(shown: &[&str]) -> PurgeReport {
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        PurgeReport::new("cmdb", &owner, records(shown), true)
    }

    /// Their keys are their names.
    fn records(names: &[&str]) -> Vec<RecordToPurge> {
        names.iter().map(|name| RecordToPurge { key: Uid::from(*name), name: (*name).to_owned() }).collect()
    }

    #[test]
    fn new_records_do_not_count_as_undeleted() {
        let mut report = report(&["a", "b", "c"]);
        report.ended(records(&["c", "new"]), None);
        let lines = report.lines();
        assert!(lines[0].starts_with("cmdb: 2 of 3 "), "{lines:?}");
        assert_eq!(lines[1], "2 are left, 1 of them new; the log says why:");
        assert_eq!((report.json()["deleted"].as_u64(), report.is_done()), (Some(2), false));
    }

    #[test]
    fn records_of_others_do_not_count_as_deleted() {
        let log = DeletionLog::of(&["a", "c"]).with_refusal("c", "status 409: in\nuse");
        let mut report = report(&["a", "b", "c"]);
        report.ended(records(&["c"]), Some(&log));
        let lines = report.lines();
        assert!(lines[0].starts_with("cmdb: 1 of 3 "), "{lines:?}");
        assert_eq!(
            lines[1..5],
            [
                "1 have another owner by now, or were gone before:",
                "  b",
                "1 are left; the log says why:",
                "  c: status 409: in use"
            ]
        );
        assert_eq!(report.json()["refusals"], json!({"c": "status 409: in use"}));
        assert_eq!((&report.json()["others"], &report.json()["left"]), (&json!(["b"]), &json!(["c"])));
    }
}
