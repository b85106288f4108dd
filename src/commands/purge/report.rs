//! What `purge` prints.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{model::ids::RecordOwner, reconcile::absence::RELEASED_PER_SECOND};

/// Ids that the table shows.
const IDS_SHOWN: usize = 10;

pub(super) struct PurgeReport {
    target: &'static str,
    owner: RecordOwner,
    has_lease: bool,
    /// The ids of the records before.
    pub(super) shown: Vec<String>,
    /// The ids of the records afterwards. None if nothing was deleted.
    left: Option<Vec<String>>,
}

impl PurgeReport {
    pub(super) fn new(target: &'static str, owner: &RecordOwner, shown: Vec<String>, has_lease: bool) -> Self {
        Self { target, owner: owner.clone(), has_lease, shown, left: None }
    }

    pub(super) fn ended(&mut self, left: Vec<String>) {
        self.left = Some(left);
    }

    /// Whether no record is left.
    pub(super) fn is_done(&self) -> bool {
        self.left.as_ref().is_some_and(Vec::is_empty)
    }

    /// The number of records that were shown and are not there any more.
    fn deleted(&self) -> usize {
        let Some(left) = &self.left else { return 0 };
        let left: HashSet<&String> = left.iter().collect();
        self.shown.iter().filter(|id| !left.contains(id)).count()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let (target, shown) = (self.target, self.shown.len());
        let RecordOwner { cluster_id, owner, .. } = &self.owner;
        let whose = format!("records of the cluster id {cluster_id} and the owner {owner}");
        let Some(left) = &self.left else {
            let mut lines = vec![format!("{target}: {shown} {whose}")];
            if self.shown.is_empty() {
                return lines;
            }
            lines.extend(list(&self.shown));
            lines.push(format!("They would be deleted at {RELEASED_PER_SECOND}/s at most. Add --yes to delete them."));
            if !self.has_lease {
                lines.push("Without --lease, make sure that no controller writes them.".to_owned());
            }
            return lines;
        };
        let mut lines = vec![format!("{target}: {} of {shown} {whose} deleted", self.deleted())];
        if !left.is_empty() {
            let appeared = left.len().saturating_sub(shown - self.deleted());
            let appeared = if appeared > 0 { format!(", {appeared} of them new") } else { String::new() };
            lines.push(format!("{} are left{appeared}; the log says why:", left.len()));
            lines.extend(list(left));
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let RecordOwner { cluster_id, owner, .. } = &self.owner;
        let left = self.left.as_ref().unwrap_or(&self.shown);
        json!({
            "target": self.target, "cluster": cluster_id, "owner": owner, "records": self.shown,
            "deleted": self.deleted(), "left": left,
        })
    }
}

fn list(ids: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = ids.iter().take(IDS_SHOWN).map(|id| format!("  {id}")).collect();
    if let Some(more) = ids.len().checked_sub(IDS_SHOWN).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more; --output json has all"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_records_do_not_count_as_undeleted() {
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let mut report = PurgeReport::new("cmdb", &owner, ids(&["a", "b", "c"]), true);
        report.ended(ids(&["c", "new"]));
        let lines = report.lines();
        assert!(lines[0].starts_with("cmdb: 2 of 3 "), "{lines:?}");
        assert_eq!(lines[1], "2 are left, 1 of them new; the log says why:");
        assert_eq!((report.json()["deleted"].as_u64(), report.is_done()), (Some(2), false));
    }
}
