//! What a run knows: its cluster id, the results so far, and the records that it has to remove. And its requests.
//!
//! Every request is sent from here. If one is not answered, the capabilities are asked for: a registry that does not
//! answer them either is gone, and the run ends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    http::{Credentials, HttpProber},
    probe::{Expectation, Probe, expect},
    report::{Breach, RuleResult, RuleStatus},
    rule::ProtocolRule,
    rules, sample,
};
use crate::model::ids::DEFAULT_OWNER;

/// The second owner, for the rules about several owners.
pub(super) const OTHER_OWNER: &str = "conformance-other";
pub(super) const OWNERS: [&str; 2] = [DEFAULT_OWNER, OTHER_OWNER];
/// The address that every registry answers.
pub(super) const CAPABILITIES: &str = "v1/capabilities";
/// The most pages of one reading. A run has fewer records.
const PAGES_MAX: usize = 500;

/// Why a scenario ends early.
#[derive(Clone, Debug)]
pub(super) enum Halt {
    /// What the scenario needs failed.
    Scenario(String),
    /// No scenario can run.
    Run(String),
    /// The registry never answered, or refuses the token.
    Unreachable(String),
}

/// What the capabilities claim.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) features: Vec<String>,
    pub(super) max_batch_items: usize,
    pub(super) max_batch_bytes: usize,
    pub(super) max_record_bytes: usize,
}

/// All pages of an inventory.
#[derive(Debug, Default)]
pub(super) struct PagesRead {
    pub(super) items: Vec<Value>,
    pub(super) pages: Vec<Probe>,
    /// Whether the last page was reached.
    pub(super) is_finished: bool,
}

pub(super) struct Suite {
    http: HttpProber,
    pub(super) cluster: String,
    pub(super) claims: Claims,
    pub(super) results: Vec<RuleResult>,
    /// The ids that may have a record.
    pub(super) written: BTreeSet<(String, String)>,
    /// All answers that are problems.
    pub(super) problems: Vec<Probe>,
    /// The first answer that has `null` somewhere, or the last one without.
    pub(super) nulls: Option<Probe>,
    seq: u64,
    /// The newest epoch of each owner.
    epochs: BTreeMap<String, u64>,
    /// Whether the registry ever answered.
    has_answered: bool,
}

impl Suite {
    pub(super) fn new(http: HttpProber, cluster: String) -> Self {
        let (claims, results, written) = (Claims::default(), Vec::new(), BTreeSet::new());
        let (problems, nulls, seq, epochs, has_answered) = (Vec::new(), None, 0, BTreeMap::new(), false);
        Self { http, cluster, claims, results, written, problems, nulls, seq, epochs, has_answered }
    }

    pub(super) fn has_token(&self) -> bool {
        self.http.has_token()
    }

    pub(super) fn has_other_token(&self) -> bool {
        self.http.has_other_token()
    }

    /// Notes what a probe shows of a rule. A rule that was broken once stays broken.
    pub(super) fn judge(&mut self, rule: &'static ProtocolRule, probe: &Probe, outcome: Expectation) {
        self.judge_as(rule.id(), rule, probe, outcome);
    }

    /// The same for one of several checks of a rule.
    pub(super) fn judge_as(&mut self, id: String, rule: &'static ProtocolRule, probe: &Probe, outcome: Expectation) {
        let status = match outcome {
            Ok(()) => RuleStatus::Passed,
            Err(why) => RuleStatus::Broken(Box::new(Breach { why, probe: probe.clone() })),
        };
        match self.results.iter_mut().find(|result| result.id == id) {
            None => self.results.push(RuleResult { id, rule, status }),
            Some(RuleResult { status: RuleStatus::Broken(_), .. }) => {}
            Some(result) => result.status = status,
        }
    }

    /// Judges the form of a time, if the answer has one at this place.
    pub(super) fn judge_time(&mut self, probe: &Probe, pointer: &str) {
        if let Some(found) = probe.json().pointer(pointer) {
            let is_time = found.as_str().is_some_and(is_protocol_time);
            let name = pointer.trim_start_matches('/').replace('/', ".");
            let outcome = expect(is_time, || format!("expected `{name}` in UTC with milliseconds, got {found}"));
            self.judge(&rules::access::TIMES, probe, outcome);
        }
    }

    /// Notes why a rule is not judged.
    pub(super) fn skip(&mut self, rule: &'static ProtocolRule, why: &str) {
        if !self.results.iter().any(|result| result.rule.name == rule.name) {
            let status = RuleStatus::Skipped(why.to_owned());
            self.results.push(RuleResult { id: rule.id(), rule, status });
        }
    }

    pub(super) fn is_skipped(&self, rule: &'static ProtocolRule) -> bool {
        self.results
            .iter()
            .any(|result| result.rule.name == rule.name && matches!(result.status, RuleStatus::Skipped(_)))
    }

    pub(super) fn is_broken(&self, rule: &'static ProtocolRule) -> bool {
        self.results
            .iter()
            .any(|result| result.rule.name == rule.name && matches!(result.status, RuleStatus::Broken(_)))
    }

    /// Whether a rule was judged, and not broken so far.
    pub(super) fn is_passed(&self, rule: &'static ProtocolRule) -> bool {
        self.results.iter().any(|result| result.rule.name == rule.name && matches!(result.status, RuleStatus::Passed))
    }

    pub(super) fn skip_all(&mut self, rules: &'static [ProtocolRule], why: &str) {
        rules.iter().for_each(|rule| self.skip(rule, why));
    }

    /// Ends the scenario unless the answer has one of these statuses. The request follows the page, so a registry that
    /// refuses it breaks a rule, and the rules that the scenario does not reach do not hide that.
    pub(super) fn need(&mut self, what: &str, probe: &Probe, statuses: &[u16]) -> Result<(), Halt> {
        let outcome = probe.is(statuses);
        let rule = &rules::access::VALID_REQUEST;
        self.judge_as(format!("{}-{}", rule.id(), what.replace(' ', "-")), rule, probe, outcome.clone());
        outcome.map_err(|why| Halt::Scenario(format!("{what} failed: {why}")))
    }

    /// The scenario cannot go on without a member of this answer, which breaks a rule.
    pub(super) fn lacks(&mut self, rule: &'static ProtocolRule, probe: &Probe, what: &str) -> Halt {
        self.judge(rule, probe, Err(format!("expected {what}")));
        Halt::Scenario(format!("an answer lacks {what}"))
    }

    pub(super) async fn send(
        &mut self,
        method: &'static str,
        path: String,
        body: Option<String>,
    ) -> Result<Probe, Halt> {
        self.send_as(method, path, body, Credentials::Own).await
    }

    pub(super) async fn send_as(
        &mut self,
        method: &'static str,
        path: String,
        body: Option<String>,
        credentials: Credentials,
    ) -> Result<Probe, Halt> {
        let probe = self.http.send(method, path, body, credentials).await;
        self.note(probe).await
    }

    /// Reads this many server-sent events, or those that come in time.
    pub(super) async fn follow(
        &mut self,
        path: String,
        last_event_id: Option<u64>,
        count: usize,
    ) -> Result<Probe, Halt> {
        let probe = self.http.follow(path, last_event_id, count).await;
        self.note(probe).await
    }

    async fn note(&mut self, probe: Probe) -> Result<Probe, Halt> {
        match &probe.answer {
            Ok(_) => self.has_answered = true,
            Err(reason) if !self.is_alive().await => {
                return Err(match self.has_answered {
                    false => Halt::Unreachable(format!("the registry does not answer: {reason}")),
                    true => Halt::Run(format!("the registry stopped answering: {reason}")),
                });
            }
            Err(_) => {}
        }
        if probe.is_error() {
            self.problems.push(probe.clone());
        }
        if !self.nulls.as_ref().is_some_and(Probe::has_null) {
            self.nulls = Some(probe.clone());
        }
        Ok(probe)
    }

    /// Whether the registry answers at all.
    pub(super) async fn is_alive(&self) -> bool {
        self.http.send("GET", CAPABILITIES.to_owned(), None, Credentials::Own).await.answer.is_ok()
    }

    pub(super) async fn get(&mut self, path: String) -> Result<Probe, Halt> {
        self.send("GET", path, None).await
    }

    /// An address of a writer: `rest` begins with a slash, `query` has no question mark.
    pub(super) fn at(&self, owner: &str, rest: &str, query: &str) -> String {
        let owner = if owner == DEFAULT_OWNER { String::new() } else { format!("owner={owner}") };
        let both = if owner.is_empty() || query.is_empty() { "" } else { "&" };
        let query = format!("{owner}{both}{query}");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("v1/clusters/{}{rest}{mark}{query}", self.cluster)
    }

    /// Reserves this many seqs, and returns the one before them.
    pub(super) fn seqs(&mut self, count: u64) -> u64 {
        self.seq += count;
        self.seq - count
    }

    pub(super) async fn open(&mut self, owner: &str, body: &Value) -> Result<Probe, Halt> {
        let opened = self.send("POST", self.at(owner, "/session", ""), Some(body.to_string())).await?;
        if let (Some(200 | 201), Some(epoch)) = (opened.status(), opened.number("/epoch"))
            && let Some(newest) = self.epochs.insert(owner.to_owned(), epoch)
        {
            let outcome = expect(epoch > newest, || format!("expected an epoch above {newest}, got {epoch}"));
            self.judge(&rules::sessions::EPOCH_GROWS, &opened, outcome);
        }
        Ok(opened)
    }

    /// Opens a session and returns its epoch.
    pub(super) async fn session(&mut self, owner: &str) -> Result<u64, Halt> {
        let opened = self.open(owner, &json!({"instance": "conformance", "ttlSeconds": 90})).await?;
        self.need("opening a session", &opened, &[200, 201])?;
        let epoch = opened.number("/epoch");
        epoch.ok_or_else(|| self.lacks(&rules::sessions::SESSION_OPENED, &opened, "`epoch`"))
    }

    pub(super) async fn heartbeat(&mut self, owner: &str, body: &Value) -> Result<Probe, Halt> {
        self.send("PUT", self.at(owner, "/session", ""), Some(body.to_string())).await
    }

    pub(super) async fn close(&mut self, owner: &str, epoch: u64) -> Result<Probe, Halt> {
        self.send("DELETE", self.at(owner, "/session", &format!("epoch={epoch}")), None).await
    }

    /// What the registry shows of an owner, `null` if it shows nothing.
    pub(super) async fn shown(&mut self, owner: &str) -> Result<(Probe, Value), Halt> {
        let probe = self.get(self.at(DEFAULT_OWNER, "", "")).await?;
        let entry = probe.list("/owners").iter().find(|entry| entry["owner"] == owner).cloned().unwrap_or_default();
        Ok((probe, entry))
    }

    pub(super) fn record(&self, owner: &str, id: &str, version: (u64, u64), name: &str) -> Value {
        sample::record(&self.cluster, owner, id, version, name)
    }

    /// A record with every kind of member, or a small one if the registry takes only smaller ones.
    pub(super) fn rich_record(&self, owner: &str, id: &str, version: (u64, u64)) -> Value {
        let rich = sample::rich_record(&self.cluster, owner, id, version);
        let fits = rich.to_string().len() <= self.claims.max_record_bytes;
        if fits { rich } else { self.record(owner, id, version, "small") }
    }

    pub(super) async fn put(&mut self, owner: &str, id: &str, record: &Value) -> Result<Probe, Halt> {
        self.put_text(owner, id, record.to_string()).await
    }

    pub(super) async fn put_text(&mut self, owner: &str, id: &str, body: String) -> Result<Probe, Halt> {
        self.written.insert((owner.to_owned(), id.to_owned()));
        self.send("PUT", self.at(owner, &format!("/pods/{id}"), ""), Some(body)).await
    }

    /// Puts a small record, and ends the scenario if that fails.
    pub(super) async fn place(&mut self, owner: &str, id: &str, version: (u64, u64)) -> Result<Value, Halt> {
        let record = self.record(owner, id, version, "placed");
        let put = self.put(owner, id, &record).await?;
        self.need("a put", &put, &[200, 201])?;
        Ok(record)
    }

    pub(super) async fn delete(&mut self, owner: &str, id: &str, (epoch, seq): (u64, u64)) -> Result<Probe, Halt> {
        let query = format!("epoch={epoch}&seq={seq}&reason=deleted&observed=watch");
        self.send("DELETE", self.at(owner, &format!("/pods/{id}"), &query), None).await
    }

    pub(super) async fn find(&mut self, owner: &str, id: &str) -> Result<Probe, Halt> {
        self.get(self.at(owner, &format!("/pods/{id}"), "")).await
    }

    pub(super) async fn batch(&mut self, epoch: u64, operations: &[Value]) -> Result<Probe, Halt> {
        let ids = operations.iter().filter_map(|operation| operation["id"].as_str());
        self.written.extend(ids.map(|id| (DEFAULT_OWNER.to_owned(), id.to_owned())));
        let body = json!({"epoch": epoch, "operations": operations}).to_string();
        self.send("POST", self.at(DEFAULT_OWNER, "/pods:batch", ""), Some(body)).await
    }

    /// One page of the inventory.
    pub(super) async fn page(&mut self, owner: &str, query: &str) -> Result<Probe, Halt> {
        self.get(self.at(owner, "/pods", query)).await
    }

    /// Reads the next page into a reading. Returns whether there may be more.
    pub(super) async fn read_on(&mut self, owner: &str, query: &str, reading: &mut PagesRead) -> Result<bool, Halt> {
        let before = reading.pages.last().and_then(|page| page.text("/next")).map(escaped);
        let query = before.as_ref().map_or(query.to_owned(), |token| format!("{query}&page={token}"));
        let page = self.page(owner, &query).await?;
        self.need("reading the inventory", &page, &[200])?;
        reading.items.extend_from_slice(page.list("/items"));
        let token = page.text("/next").map(escaped);
        reading.is_finished = token.is_none();
        // A token that comes again would lead around in a circle.
        let is_new = token.is_some() && !reading.pages.iter().any(|page| page.text("/next").map(escaped) == token);
        reading.pages.push(page);
        Ok(is_new && reading.pages.len() < PAGES_MAX)
    }

    /// Reads all pages.
    pub(super) async fn read(&mut self, owner: &str, query: &str) -> Result<PagesRead, Halt> {
        let mut reading = PagesRead::default();
        while self.read_on(owner, query, &mut reading).await? {}
        Ok(reading)
    }
}

impl Claims {
    pub(super) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|claimed| claimed == feature)
    }
}

impl PagesRead {
    pub(super) fn ids(&self) -> Vec<&str> {
        self.items.iter().filter_map(|item| item["id"].as_str()).collect()
    }

    pub(super) fn item(&self, id: &str) -> Option<&Value> {
        self.items.iter().find(|item| item["id"] == id)
    }
}

/// Whether a text is a time as the protocol writes it: `2026-11-23T10:00:00.000Z`.
fn is_protocol_time(text: &str) -> bool {
    const FORM: &str = "0000-00-00T00:00:00.000Z";
    text.len() == FORM.len()
        && text.bytes().zip(FORM.bytes()).all(|(found, form)| match form {
            b'0' => found.is_ascii_digit(),
            sign => found == sign,
        })
}

/// A text in a query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_z() {
        assert!(is_protocol_time("2026-11-23T10:00:00.000Z"));
        for wrong in ["2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000+00:00", "2026-11-23 10:00:00.000Z", ""] {
            assert!(!is_protocol_time(wrong), "{wrong}");
        }
    }

    #[test]
    fn page_tokens_are_escaped() {
        assert_eq!(escaped("a/b+c=ä~1"), "a%2Fb%2Bc%3D%C3%A4~1");
    }
}
