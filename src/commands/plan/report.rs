//! Shows a plan.

use serde_json::{Value, json};

use super::{NoPlan, PlannedChange, TargetPlan};
use crate::commands::report::table;

/// The plans of all targets.
pub(super) struct PlanReport(pub(super) Vec<TargetPlan>);

impl PlanReport {
    pub(super) fn is_in_sync(&self) -> bool {
        self.0.iter().all(|plan| plan.put.is_empty() && plan.delete.is_empty() && plan.parked.is_empty())
    }

    /// Whether a registry could not be read, or none can be compared.
    pub(super) fn has_failed(&self) -> bool {
        let failed = |plan: &TargetPlan| matches!(plan.no_plan, Some(NoPlan::Failed(_)));
        self.0.iter().any(failed) || self.0.iter().all(|plan| plan.no_plan.is_some())
    }

    /// A row per change, then a line per target.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut rows = vec![["TARGET", "ACTION", "POD", "ID", "REASON"].map(str::to_owned)];
        for plan in &self.0 {
            let row = |action: &str, pod: &str, id: &str, reason: &str| {
                [&plan.name, action, pod, id, reason].map(str::to_owned)
            };
            let change = |action: &'static str| {
                move |change: &PlannedChange| {
                    row(action, change.pod.as_deref().unwrap_or("-"), &change.id, change.reason)
                }
            };
            rows.extend(plan.put.iter().map(change("put")));
            rows.extend(plan.delete.iter().map(change("delete")));
            rows.extend(plan.parked.iter().map(|(parked, why)| {
                let reason = format!("{}, and it cannot be sent: {why}", parked.reason);
                row("none", parked.pod.as_deref().unwrap_or("-"), &parked.id, &reason)
            }));
            rows.extend(plan.unreadable.iter().map(|(pod, why)| row("none", pod, "-", why)));
        }
        let mut lines = if rows.len() > 1 { table(&rows) } else { Vec::new() };
        lines.extend(self.0.iter().map(TargetPlan::summary));
        lines
    }

    pub(super) fn json(&self) -> Value {
        let targets: Vec<Value> = self.0.iter().map(TargetPlan::json).collect();
        json!({"inSync": self.is_in_sync() && !self.has_failed(), "targets": targets})
    }
}

impl TargetPlan {
    fn summary(&self) -> String {
        let Self { name, pods, records, put, delete, parked, unreadable, no_plan } = self;
        if let Some(why) = no_plan {
            return format!("{name}: {why}");
        }
        let held = if delete.is_empty() { "" } else { ", once the controller has confirmed them" };
        let parked = match parked.len() {
            0 => String::new(),
            count => format!("{count} that cannot be sent, "),
        };
        format!(
            "{name}: {pods} pods, {records} records; {} to put, {parked}{} to delete{held}; {} pods without a record",
            put.len(),
            delete.len(),
            unreadable.len()
        )
    }

    fn json(&self) -> Value {
        let Self { name, pods, records, put, delete, parked, unreadable, no_plan } = self;
        let parked: Vec<Value> = parked
            .iter()
            .map(|(PlannedChange { pod, id, reason }, cause)| json!({"pod": pod, "id": id, "reason": reason, "cause": cause}))
            .collect();
        let changes = |changes: &[PlannedChange]| -> Vec<Value> {
            let change = |change: &PlannedChange| json!({"pod": change.pod, "id": change.id, "reason": change.reason});
            changes.iter().map(change).collect()
        };
        let unreadable: Vec<Value> = unreadable.iter().map(|(pod, why)| json!({"pod": pod, "reason": why})).collect();
        json!({
            "target": name, "pods": pods, "records": records, "put": changes(put), "delete": changes(delete),
            "parked": parked, "withoutRecord": unreadable, "compared": no_plan.is_none(), "error": no_plan.as_ref().map(NoPlan::to_string),
        })
    }
}
