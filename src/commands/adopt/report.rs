//! What `adopt` prints.

use serde_json::{Value, json};

use super::plan::{Adoptable, AdoptionPlan, LeftOut};
use crate::{commands::report::table, connect::failures::one_line};

/// Members that name a record, the first one first.
const NAMES: [&str; 6] = ["name", "display_name", "displayName", "title", "hostname", "label"];
/// Objects that may have these members, if the record itself has none.
const NESTS: [&str; 5] = ["attributes", "fields", "metadata", "properties", "_source"];
/// Characters of a name in the table.
const NAME_MAX: usize = 40;
/// Why a record was not taken over that was not reached.
const INTERRUPTED: &str = "interrupted";

pub(super) struct AdoptionReport {
    target: &'static str,
    pub(super) plan: AdoptionPlan,
    /// Whether records were to be taken over, and not only shown.
    pub(super) has_begun: bool,
    /// Of the first records of the plan.
    pub(super) results: Vec<AdoptionResult>,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdoptionResult {
    Adopted,
    NotAdopted(String),
    /// The write had no clear answer, and the registry does not show it.
    Unknown(String),
}

impl AdoptionReport {
    pub(super) fn new(target: &'static str, plan: AdoptionPlan) -> Self {
        Self { target, plan, has_begun: false, results: Vec::new() }
    }

    fn adopted(&self) -> usize {
        self.results.iter().filter(|result| **result == AdoptionResult::Adopted).count()
    }

    pub(super) fn is_done(&self) -> bool {
        self.adopted() == self.plan.adoptable.len()
    }

    /// What becomes of the record with this index.
    fn state(&self, index: usize) -> String {
        match self.results.get(index) {
            None if !self.has_begun => "would be adopted".to_owned(),
            None => format!("not adopted: {INTERRUPTED}"),
            Some(AdoptionResult::Adopted) => "adopted".to_owned(),
            Some(AdoptionResult::NotAdopted(why)) => format!("not adopted: {why}"),
            Some(AdoptionResult::Unknown(why)) => format!("unknown: {why}"),
        }
    }

    /// Whether the record with this index was taken over, if that is known, and why not.
    fn outcome(&self, index: usize) -> (Option<bool>, Option<&str>) {
        match self.results.get(index) {
            Some(AdoptionResult::Adopted) => (Some(true), None),
            Some(AdoptionResult::Unknown(why)) => (None, Some(why)),
            Some(AdoptionResult::NotAdopted(why)) => (Some(false), Some(why)),
            None => (Some(false), self.has_begun.then_some(INTERRUPTED)),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let AdoptionPlan { has_kinds, registered, without, adoptable, left_out, .. } = &self.plan;
        let mut rows = vec![["POD", "RECORD", "OWNER", "RESULT"].map(str::to_owned)];
        for (index, one) in adoptable.iter().enumerate() {
            let mark = one.found.mark.clone().unwrap_or_else(|| "-".to_owned());
            rows.push([full_name(one), name_of(one), mark, self.state(index)]);
        }
        let row = |LeftOut { pod, why }: &LeftOut| [pod.clone(), "-".to_owned(), "-".to_owned(), why.clone()];
        rows.extend(left_out.iter().map(row));
        let mut lines = if rows.len() > 1 { table(&rows) } else { Vec::new() };
        let (target, count) = (self.target, adoptable.len());
        let (left, of_pods) = (left_out.len(), if *has_kinds { "records of pods exist" } else { "pods with a record" });
        let missing = if *has_kinds { "are missing" } else { "without one" };
        lines.push(match self.has_begun {
            false => {
                format!(
                    "{target}: {count} records to adopt, {registered} {of_pods}, {without} {missing}, {left} left out"
                )
            }
            true => format!("{target}: {} of {count} records adopted", self.adopted()),
        });
        let unknown = self.results.iter().filter(|result| matches!(result, AdoptionResult::Unknown(_))).count();
        if unknown > 0 {
            lines.push(format!("{unknown} may have been adopted; run the command again, which shows what is true."));
        }
        if !self.has_begun && count > 0 {
            lines.push("Add --yes to adopt them.".to_owned());
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let AdoptionPlan { registered, without, adoptable, left_out, .. } = &self.plan;
        let record = |(index, one): (usize, &Adoptable)| {
            let (adopted, error) = self.outcome(index);
            json!({
                "pod": full_name(one), "kind": one.kind, "id": one.record.id, "record": one.found.shown, "owner": one.found.mark,
                "body": one.record.body, "adopted": adopted, "error": error,
            })
        };
        let reason = |LeftOut { pod, why }: &LeftOut| json!({"pod": pod, "reason": why});
        json!({
            "target": self.target, "registered": registered, "without": without, "adopted": self.adopted(),
            "records": adoptable.iter().enumerate().map(record).collect::<Vec<_>>(),
            "leftOut": left_out.iter().map(reason).collect::<Vec<_>>(),
        })
    }
}

fn full_name(one: &Adoptable) -> String {
    format!("{}/{}", one.namespace, one.name)
}

/// The id that the registry assigned, or else the record's own, behind its kind and before its name.
fn name_of(one: &Adoptable) -> String {
    let id = match &one.found.item.remote {
        Some(Value::String(remote)) => remote.clone(),
        Some(remote) => remote.to_string(),
        None => one.found.item.id.clone().unwrap_or_else(|| one.record.id.clone()),
    };
    let named = found_name(&one.found.shown).filter(|name| *name != id);
    let id = named.map_or_else(|| id.clone(), |name| format!("{id} ({name})"));
    one.kind.as_ref().map_or_else(|| id.clone(), |kind| format!("{kind} {id}"))
}

/// What people call the record that was found, as far as its members say so.
fn found_name(shown: &Value) -> Option<String> {
    let named = |within: &Value| NAMES.iter().find_map(|name| within.get(name)?.as_str().map(str::to_owned));
    let name = named(shown).or_else(|| NESTS.iter().find_map(|nest| named(shown.get(nest)?)))?;
    Some(one_line(&name, NAME_MAX)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_not_reached_are_interrupted() {
        let mut report = AdoptionReport::new("cmdb", AdoptionPlan::default());
        assert_eq!((report.outcome(0), &*report.state(0)), ((Some(false), None), "would be adopted"));
        report.has_begun = true;
        assert_eq!(report.state(0), "not adopted: interrupted");
        report.results.push(AdoptionResult::Adopted);
        assert_eq!((report.outcome(0), report.outcome(1)), ((Some(true), None), (Some(false), Some("interrupted"))));
    }

    #[test]
    fn found_record_is_called_by_its_name() {
        let name = |shown: Value| found_name(&shown);
        assert_eq!(name(json!({"id": 7, "name": "db-1", "label": "x"})), Some("db-1".to_owned()));
        assert_eq!(name(json!({"id": 7, "attributes": {"title": "Web\nserver"}})), Some("Web server".to_owned()));
        assert_eq!(name(json!({"id": 7, "name": 8})), None);
        assert!(name(json!({"name": "x".repeat(500)})).unwrap().chars().count() <= NAME_MAX + 1);
    }
}
