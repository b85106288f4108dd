//! The result of a run: a result per check, and the report as text and as JSON.
//!
//! | field of the JSON | content |
//! | --- | --- |
//! | `cluster` | the id under which the run wrote |
//! | `url` | the registry's address |
//! | `incomplete` | why the run ended early; absent otherwise |
//! | `leftovers` | the records that could not be removed; absent if all are gone |
//! | `seconds` | how long the run took |
//! | `counts` | `brokenMusts`, `brokenShoulds`, `passed`, `skipped` |
//! | `checks[]` | `id`, `level`, `result` (`broken`, `passed`, `skipped`), `section`, `sentence`, and `fix` |
//! | of a broken check | `why`, `request` (`method`, `path`, `body`) and `answer` (`status`, `body`, or `missing`) |
//! | of a skipped check | `why` |

pub mod junit;

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    probe::{Probe, ProbeAnswer},
    rule::{Level, ProtocolRule},
};

/// What a check showed.
#[derive(Clone, Debug)]
pub enum RuleStatus {
    Passed,
    Broken(Box<Breach>),
    /// The reason.
    Skipped(String),
}

/// A broken rule, and the request that shows it.
#[derive(Clone, Debug)]
pub struct Breach {
    pub why: String,
    pub probe: Probe,
}

#[derive(Clone, Debug)]
pub struct RuleResult {
    /// The rule's id, or a longer one if the rule has several checks.
    pub id: String,
    pub rule: &'static ProtocolRule,
    pub status: RuleStatus,
}

#[derive(Clone, Debug)]
pub struct ConformanceReport {
    pub url: String,
    pub cluster: String,
    pub results: Vec<RuleResult>,
    /// Why the run ended early.
    pub incomplete: Option<String>,
    /// What could not be removed.
    pub leftovers: Option<String>,
    /// With the removal of the records.
    pub took: Duration,
}

impl ConformanceReport {
    pub fn broken(&self, level: Level) -> impl Iterator<Item = (&RuleResult, &Breach)> {
        self.results.iter().filter(move |result| result.rule.level == level).filter_map(|result| match &result.status {
            RuleStatus::Broken(breach) => Some((result, &**breach)),
            RuleStatus::Passed | RuleStatus::Skipped(_) => None,
        })
    }

    pub fn passed(&self) -> impl Iterator<Item = &RuleResult> {
        self.results.iter().filter(|result| matches!(result.status, RuleStatus::Passed))
    }

    pub fn skipped(&self) -> impl Iterator<Item = (&RuleResult, &str)> {
        self.results.iter().filter_map(|result| match &result.status {
            RuleStatus::Skipped(why) => Some((result, why.as_str())),
            RuleStatus::Passed | RuleStatus::Broken(_) => None,
        })
    }

    /// The report for people. `verbose` lists the checks that passed.
    pub fn lines(&self, verbose: bool) -> Vec<String> {
        let mut lines = vec![format!("{} as cluster {}", self.url, self.cluster)];
        for level in [Level::Must, Level::Should] {
            self.broken(level).for_each(|(result, breach)| lines.extend(broken_lines(result, breach)));
        }
        if verbose {
            lines.push(String::new());
            lines.extend(self.passed().map(|result| format!("PASSED   {}", result.id)));
        }
        let mut why = "";
        for (result, reason) in self.skipped() {
            if reason != why {
                lines.extend([String::new(), format!("SKIPPED, {reason}:")]);
                why = reason;
            }
            lines.push(format!("  {}", result.id));
        }
        lines.push(String::new());
        lines.extend(self.incomplete.iter().map(|why| format!("The run is incomplete: {why}.")));
        lines.extend(self.leftovers.iter().map(|what| format!("Not removed: {what}.")));
        let [musts, shoulds, passed, skipped] = self.counts();
        lines.push(format!("Broken: {musts} must, {shoulds} should. Passed: {passed}. Skipped: {skipped}."));
        lines.push(format!("The run took {} s.", self.seconds()));
        lines
    }

    pub fn json(&self) -> Value {
        let [musts, shoulds, passed, skipped] = self.counts();
        let mut document = json!({
            "url": self.url,
            "cluster": self.cluster,
            "seconds": self.seconds(),
            "counts": {"brokenMusts": musts, "brokenShoulds": shoulds, "passed": passed, "skipped": skipped},
            "checks": self.results.iter().map(check_json).collect::<Vec<_>>(),
        });
        for (name, text) in [("incomplete", &self.incomplete), ("leftovers", &self.leftovers)] {
            if let Some(text) = text {
                document[name] = json!(text);
            }
        }
        document
    }

    /// How long the run took, rounded up.
    fn seconds(&self) -> u64 {
        self.took.as_secs() + u64::from(self.took.subsec_nanos() > 0)
    }

    /// Broken musts, broken shoulds, passed, skipped.
    fn counts(&self) -> [usize; 4] {
        let broken = |level| self.broken(level).count();
        [broken(Level::Must), broken(Level::Should), self.passed().count(), self.skipped().count()]
    }
}

fn broken_lines(result: &RuleResult, breach: &Breach) -> Vec<String> {
    let Breach { why, probe } = breach;
    let mut lines = vec![
        String::new(),
        format!("BROKEN {}  {}", result.rule.level.name(), result.id),
        format!("  {why}"),
        format!("  asked:  {} /{}", probe.method, probe.path),
    ];
    lines.extend(probe.body.iter().map(|body| format!("          {body}")));
    lines.push(match &probe.answer {
        Ok(ProbeAnswer { status, body, .. }) => format!("  came:   {status} {body}").trim_end().to_owned(),
        Err(reason) => format!("  came:   no answer: {reason}"),
    });
    lines.push(format!("  rule:   {}: \"{}\"", result.rule.section, result.rule.sentence));
    lines.push(format!("  fix:    {}", result.rule.fix));
    lines
}

fn check_json(result: &RuleResult) -> Value {
    let RuleResult { id, rule, status } = result;
    let mut check = json!({
        "id": id, "level": rule.level.name(), "section": rule.section, "sentence": rule.sentence, "fix": rule.fix,
    });
    match status {
        RuleStatus::Passed => check["result"] = json!("passed"),
        RuleStatus::Skipped(why) => (check["result"], check["why"]) = (json!("skipped"), json!(why)),
        RuleStatus::Broken(breach) => {
            let Breach { why, probe } = &**breach;
            (check["result"], check["why"]) = (json!("broken"), json!(why));
            check["request"] = json!({"method": probe.method, "path": format!("/{}", probe.path)});
            if let Some(body) = &probe.body {
                check["request"]["body"] = json!(body);
            }
            check["answer"] = match &probe.answer {
                Ok(ProbeAnswer { status, body, .. }) => json!({"status": status, "body": body}),
                Err(reason) => json!({"missing": reason}),
            };
        }
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::rules::{access, sessions};

    /// A broken must, a passed should and a skipped may.
    pub(super) fn sample() -> ConformanceReport {
        let answer = ProbeAnswer { status: 200, body: "<a & \"b\">\u{7}".to_owned(), ..ProbeAnswer::default() };
        let probe = Probe { method: "PUT", path: "v1/x?a=1&b=2".to_owned(), body: None, answer: Ok(answer) };
        let breach = Box::new(Breach { why: "expected 409, got 200".to_owned(), probe });
        let result = |rule: &'static ProtocolRule, status| RuleResult { id: rule.id(), rule, status };
        ConformanceReport {
            url: "http://localhost/".to_owned(),
            cluster: "conformance-1".to_owned(),
            results: vec![
                result(&sessions::FENCED_WRITE, RuleStatus::Broken(breach)),
                result(&access::PROBLEM_DETAIL, RuleStatus::Passed),
                result(&access::HEAD, RuleStatus::Skipped("it is not answered".to_owned())),
            ],
            incomplete: None,
            leftovers: None,
            took: Duration::from_millis(5_200),
        }
    }

    #[test]
    fn report_begins_with_broken_musts() {
        let lines = sample().lines(false);
        assert_eq!(lines[2], "BROKEN must  fenced-write");
        assert_eq!(lines[4], "  asked:  PUT /v1/x?a=1&b=2");
        assert!(!lines.iter().any(|line| line.contains("problem-detail")), "{lines:#?}");
        assert_eq!(lines[lines.len() - 2], "Broken: 1 must, 0 should. Passed: 1. Skipped: 1.");
        assert_eq!(lines.last().unwrap(), "The run took 6 s.");
        assert!(sample().lines(true).contains(&"PASSED   problem-detail".to_owned()));
    }

    #[test]
    fn json_has_each_check() {
        let document = sample().json();
        assert_eq!(document["counts"], json!({"brokenMusts": 1, "brokenShoulds": 0, "passed": 1, "skipped": 1}));
        assert_eq!(document["checks"][0]["request"]["path"], "/v1/x?a=1&b=2");
        assert_eq!(document["checks"][2]["why"], "it is not answered");
    }
}
