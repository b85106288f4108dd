//! Publishes held deletions and reads their approvals.
//!
//! Each hold becomes an Event, and an annotation on a Lease lists all holds. A second annotation on the same Lease
//! approves them. So the RBAC rules of the cluster decide who may approve, and no endpoint of the controller changes
//! anything.

use std::{collections::HashSet, time::Duration};

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Resource as _,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::{mpsc, watch};

use super::{LeaseClient, LeaseRef};
use crate::{
    clock::Clock,
    kubernetes::failures::{Right, describe, words},
    reconcile::{
        absence::hold::{HoldId, HoldSummary},
        fault_log::Reminder,
        retry,
        status::ControllerStatus,
    },
};

/// The annotation of the Lease with the approved holds, separated by commas.
pub const ANNOTATION: &str = "pod-registrar/approved-holds";
/// The annotation of the Lease with the held deletions: `NAME=COUNT`, separated by commas. Former names follow the
/// current one: `NAME/FORMER=COUNT`.
pub const HELD_ANNOTATION: &str = "pod-registrar/held";
/// Number of the newest approvals that stay in the annotation.
const KEPT: usize = 20;
/// How often approvals are read while deletions are held.
const READ_EVERY: Duration = Duration::from_secs(3);
/// The longest backoff after failed reads.
const READ_MAX: Duration = Duration::from_secs(60);
/// Time limit of each request of [`Approvals`].
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Time limit of the `approve` command, with the run of a credential plugin.
const APPROVE_WITHIN: Duration = Duration::from_secs(30);
/// The API server refuses an Event with a longer note.
const NOTE_BYTES: usize = 1_000;

/// Why an approval could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot read the Lease {lease}: {}; name the controller's Lease with --approval-lease NAMESPACE/NAME, \
         and use credentials that may get it",
        words(source)
    )]
    Read { lease: LeaseRef, source: kube::Error },
    #[error("the Lease {lease} lists no hold {hold}; {held}")]
    Unknown {
        hold: HoldId,
        lease: LeaseRef,
        /// The holds that the Lease lists.
        held: String,
    },
    #[error("cannot annotate the Lease {lease}: {}; use credentials that may patch it", words(source))]
    Patch { lease: LeaseRef, source: kube::Error },
    #[error(
        "no answer from the API server or the credential plugin within {APPROVE_WITHIN:?}; check both, then approve \
         again: repeating is safe"
    )]
    Late,
}

/// Approves one hold, within 30 s.
pub async fn approve(leases: &LeaseClient, hold: &HoldId) -> Result<(), Error> {
    let annotated = tokio::time::timeout(APPROVE_WITHIN, annotate(leases, hold)).await;
    annotated.unwrap_or(Err(Error::Late))
}

async fn annotate(leases: &LeaseClient, hold: &HoldId) -> Result<(), Error> {
    let named = || leases.lease.clone();
    let lease = read(leases).await.map_err(|source| Error::Read { lease: named(), source })?;
    let held = held(&lease);
    if !held.iter().any(|held| held.names.contains(hold)) {
        return Err(Error::Unknown { hold: hold.clone(), lease: named(), held: list_of(&held) });
    }
    let value = with(approved(&lease), hold);
    let patch = serde_json::json!({"metadata": {"annotations": {ANNOTATION: value}}});
    leases.merge(&patch).await.map_err(|source| Error::Patch { lease: named(), source })?;
    Ok(())
}

async fn read(leases: &LeaseClient) -> Result<Lease, kube::Error> {
    serde_json::from_value(leases.get().await?).map_err(kube::Error::SerdeError)
}

/// The approvals on a Lease, oldest first. Entries that are no hold's name are skipped.
fn approved(lease: &Lease) -> Vec<HoldId> {
    let text = lease.meta().annotations.as_ref().and_then(|all| all.get(ANNOTATION)).map(String::as_str);
    text.unwrap_or_default().split(',').filter_map(|id| id.trim().parse().ok()).collect()
}

/// A hold as the Lease lists it.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    /// The current name, then the former ones.
    names: Vec<HoldId>,
    deletions: usize,
}

fn held(lease: &Lease) -> Vec<Held> {
    let text = lease.meta().annotations.as_ref().and_then(|all| all.get(HELD_ANNOTATION)).map(String::as_str);
    let pairs = text.unwrap_or_default().split(',').filter_map(|pair| pair.trim().split_once('='));
    let names = |text: &str| text.split('/').map(str::parse).collect::<Result<Vec<HoldId>, _>>().ok();
    pairs.filter_map(|(ids, count)| Some(Held { names: names(ids)?, deletions: count.parse().ok()? })).collect()
}

/// The value of [`HELD_ANNOTATION`].
fn held_value(shown: &[HoldSummary]) -> String {
    let names = |hold: &HoldSummary| {
        let all = std::iter::once(&hold.id).chain(hold.former.iter().rev());
        all.map(ToString::to_string).collect::<Vec<_>>().join("/")
    };
    shown.iter().map(|hold| format!("{}={}", names(hold), hold.deletions)).collect::<Vec<_>>().join(",")
}

/// The holds in words.
fn list_of(held: &[Held]) -> String {
    if held.is_empty() {
        return "it lists nothing. The controller lists a hold within seconds; is this its Lease?".to_owned();
    }
    let each = held.iter().filter_map(|Held { names, deletions }| {
        let name = names.first()?;
        Some(format!("{name} ({deletions} deletions)"))
    });
    format!("it lists {}", each.collect::<Vec<_>>().join(", "))
}

/// The value of [`ANNOTATION`] after this hold was approved.
fn with(mut approved: Vec<HoldId>, hold: &HoldId) -> String {
    approved.retain(|other| other != hold);
    approved.push(hold.clone());
    let newest = approved.split_off(approved.len().saturating_sub(KEPT));
    newest.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Whether one of the holds has this name or had it.
fn is_among(shown: &[HoldSummary], id: &HoldId) -> bool {
    shown.iter().any(|hold| hold.is_named(id))
}

/// Publishes held deletions and reads their approvals.
pub struct Approvals {
    pub leases: LeaseClient,
    /// The `reportingInstance` of Events.
    pub instance: String,
}

/// When each kind of failed request is logged again.
struct Faults {
    clock: Clock,
    list: Reminder,
    event: Reminder,
    read: Reminder,
}

impl Faults {
    fn none() -> Self {
        let (list, event, read) = Default::default();
        Self { clock: Clock::start(), list, event, read }
    }
}

/// A failed request about holds.
struct Unanswered {
    /// What went wrong, and how to fix it.
    error: String,
    /// Whether only an operator can fix it: the Lease or a right is missing.
    needs_operator: bool,
}

impl Unanswered {
    /// Logs the failure if it has lasted and only an operator can fix it. Returns whether it was logged.
    fn is_reported(&self, reminder: &Reminder, request: &'static str) -> bool {
        let is_due = self.needs_operator && reminder.is_repeated();
        if is_due {
            let error = &self.error;
            tracing::error!(
                request,
                error,
                "request about held deletions still fails; retrying. Create the Lease, or grant the right, as the field \
                 error says"
            );
        }
        is_due
    }
}

/// A request's answer, or why there is none within the time limit.
async fn answered<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
    right: &Right<'_>,
) -> Result<T, Unanswered> {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(answer) => answer.map_err(|error| {
            let needs_operator = matches!(&error, kube::Error::Api(status) if matches!(status.code, 403 | 404));
            Unanswered { error: describe(&error, right), needs_operator }
        }),
        Err(_) => {
            let error = format!("no answer from the API server within {ANSWER_WITHIN:?}");
            Err(Unanswered { error, needs_operator: false })
        }
    }
}

impl Approvals {
    fn lease_right(&self) -> Right<'_> {
        let LeaseRef { namespace, name } = &self.leases.lease;
        let (group, resource, verbs) = ("coordination.k8s.io", "leases", &["get", "update"]);
        Right { group, resource, verbs, name: Some(name), namespace: Some(namespace) }
    }

    /// Publishes holds and reads approvals while there are holds. Ends when the sender of the status or the receiver of
    /// approvals is gone.
    pub async fn run(self, mut controller_status: watch::Receiver<ControllerStatus>, approvals: mpsc::Sender<HoldId>) {
        let (mut published, mut failures, mut rng) = (HashSet::new(), 0_u32, fastrand::Rng::new());
        let (mut used, mut faults) = (HashSet::<HoldId>::new(), Faults::none());
        // None until the list was written once: an earlier process may have left its own.
        let mut listed: Option<String> = None;
        loop {
            let shown = controller_status.borrow_and_update().holds.clone();
            published.retain(|id| is_among(&shown, id));
            let over: Vec<HoldId> = used.iter().filter(|id| !is_among(&shown, id)).cloned().collect();
            let held = held_value(&shown);
            let is_listed = listed.as_ref() == Some(&held) || (listed.is_none() && held.is_empty());
            if (!over.is_empty() || !is_listed) && self.update(&over, &held, &mut faults).await {
                used.retain(|id| is_among(&shown, id));
                listed = Some(held.clone());
            }
            let is_listed = listed.as_ref() == Some(&held) || (listed.is_none() && held.is_empty());
            if shown.is_empty() && used.is_empty() && is_listed {
                if controller_status.wait_for(|controller_status| !controller_status.holds.is_empty()).await.is_err() {
                    return;
                }
                continue;
            }
            for hold in &shown {
                if !published.contains(&hold.id) && self.publish(hold, &mut faults).await {
                    published.insert(hold.id.clone());
                }
            }
            match answered(read(&self.leases), &self.lease_right()).await.map(|lease| approved(&lease)) {
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    if faults.read.is_due(faults.clock.now()) && !failure.is_reported(&faults.read, "read approvals") {
                        let error = failure.error;
                        tracing::warn!(error, failures, "cannot read approvals of held deletions; retrying");
                    }
                }
                Ok(approved) => {
                    failures = 0;
                    if faults.read.over() {
                        tracing::info!("approvals of held deletions read again");
                    }
                    for id in approved.into_iter().filter(|id| is_among(&shown, id)) {
                        if !used.contains(&id) && approvals.send(id.clone()).await.is_err() {
                            return;
                        }
                        used.insert(id);
                    }
                }
            }
            let wait =
                if failures == 0 { READ_EVERY } else { retry::backoff(READ_EVERY, READ_MAX, failures, rng.u64(..)) };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = controller_status.wait_for(|status| status.holds != shown) => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Lists the holds on the Lease, and removes approvals of holds that are over: the same pods may be held again
    /// later, for another reason. True if the Lease was replaced.
    async fn update(&self, over: &[HoldId], held: &str, faults: &mut Faults) -> bool {
        let Err(failure) = answered(self.replace(over, held), &self.lease_right()).await else {
            faults.list.over();
            return true;
        };
        if faults.list.is_due(faults.clock.now()) && !failure.is_reported(&faults.list, "list holds") {
            let error = failure.error;
            tracing::warn!(error, "cannot list held deletions on the Lease; retrying");
        }
        false
    }

    async fn replace(&self, over: &[HoldId], held: &str) -> Result<(), kube::Error> {
        let mut lease = self.leases.get().await?;
        let annotations = &mut lease["metadata"]["annotations"];
        let text = annotations[ANNOTATION].as_str().unwrap_or_default().to_owned();
        let kept = text.split(',').map(str::trim).filter(|id| !over.iter().any(|over| over.to_string() == *id));
        annotations[ANNOTATION] = kept.collect::<Vec<_>>().join(",").into();
        annotations[HELD_ANNOTATION] = held.into();
        self.leases.put(&lease).await.map(|_| ())
    }

    /// Writes the Event of a hold. True if it exists: another process may have written it (409).
    async fn publish(&self, hold: &HoldSummary, faults: &mut Faults) -> bool {
        let events: Api<Event> = Api::namespaced(self.leases.client.clone(), &self.leases.lease.namespace);
        let (event, params) = (self.event(hold), PostParams::default());
        let written = async {
            match events.create(&params, &event).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                created => created.map(|_| ()),
            }
        };
        let (group, resource, namespace) = ("events.k8s.io", "events", &self.leases.lease.namespace);
        let right = Right { group, resource, verbs: &["create"], name: None, namespace: Some(namespace) };
        let Err(failure) = answered(written, &right).await else {
            faults.event.over();
            return true;
        };
        if faults.event.is_due(faults.clock.now()) && !failure.is_reported(&faults.event, "write the Event") {
            let error = failure.error;
            tracing::warn!(error, "cannot write the Event about held deletions; retrying");
        }
        false
    }

    fn event(&self, hold: &HoldSummary) -> Event {
        let HoldSummary { id, target, deletions, because, .. } = hold;
        let lease @ LeaseRef { namespace, name } = &self.leases.lease;
        let mut note = format!(
            "{deletions} deletions are held in target {target}: {because}. To approve exactly these: pod-registrar approve {id} \
             --approval-lease {lease}"
        );
        while note.len() > NOTE_BYTES {
            note.pop();
        }
        Event {
            metadata: ObjectMeta {
                name: Some(format!("pod-registrar-hold-{id}")),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(k8s_openapi::jiff::Timestamp::now())),
            action: Some("HoldDeletions".into()),
            reason: Some("DeletionsHeld".into()),
            type_: Some("Warning".into()),
            note: Some(note),
            regarding: Some(ObjectReference {
                api_version: Some("coordination.k8s.io/v1".into()),
                kind: Some("Lease".into()),
                namespace: Some(namespace.clone()),
                name: Some(name.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some("pod-registrar".into()),
            reporting_instance: Some(self.instance.chars().take(128).collect()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use kube::Client;

    use super::*;
    use crate::kubernetes::tests::logs::Log;

    fn hold(n: usize) -> HoldId {
        format!("{n:012x}").parse().unwrap()
    }

    fn leases(client: Client) -> LeaseClient {
        LeaseClient::new(client, LeaseRef { namespace: "a".into(), name: "registrar".into() })
    }

    fn lease(annotation: &str) -> Lease {
        serde_json::from_value(serde_json::json!({"metadata": {"annotations": {ANNOTATION: annotation}}})).unwrap()
    }

    #[test]
    fn written_approvals_are_read_back() {
        // An entry that is not the name of a hold is ignored.
        let value = with(vec![hold(1), hold(2)], &hold(3));
        assert_eq!(approved(&lease(&value)), [hold(1), hold(2), hold(3)]);
        assert_eq!(approved(&lease("yes, 000000000002 ,000000000003,")), [hold(2), hold(3)]);
        assert!(approved(&Lease::default()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn approval_without_an_answer_ends_in_time() {
        let silent = tower::service_fn(|_: Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, tower::BoxError>>()
        });
        let begun = tokio::time::Instant::now();
        let error = approve(&leases(Client::new(silent, "default")), &hold(1)).await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(error.to_string().starts_with("no answer from the API server"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn lasting_fault_is_logged_at_growing_intervals() {
        let (log, _guard) = Log::start();
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = asked.clone();
        let refusing = tower::service_fn(move |_: Request<kube::client::Body>| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let refusal = serde_json::json!({"kind": "Status", "status": "Failure", "code": 403}).to_string();
            let refusal = http::Response::builder().status(403).body(kube::client::Body::from(refusal.into_bytes()));
            std::future::ready(refusal.map_err(tower::BoxError::from))
        });
        let because = crate::reconcile::absence::hold::HoldReason::ScopeChanged;
        let shown =
            HoldSummary { id: hold(1), target: "a", deletions: 5, because, first: Vec::new(), former: Vec::new() };
        let (_status, controller_status) =
            watch::channel(ControllerStatus { holds: vec![shown], ..ControllerStatus::default() });
        let publisher = Approvals { leases: leases(Client::new(refusing, "default")), instance: "i".into() };
        let (approvals, _approved) = mpsc::channel(1);
        // An hour has reports after 0, 1, 3, 7, 15 and 31 minutes. After a minute, only an operator helps.
        _ = tokio::time::timeout(Duration::from_secs(3_600), publisher.run(controller_status, approvals)).await;
        assert!(asked.load(std::sync::atomic::Ordering::SeqCst) > 150);
        for (fault, request) in [
            ("cannot read approvals", "read approvals"),
            ("cannot list held deletions", "list holds"),
            ("cannot write the Event", "write the Event"),
        ] {
            let request = format!("request=\"{request}\"");
            assert_eq!((log.count(" WARN ", fault), log.count("ERROR ", &request)), (1, 5), "{fault}: {}", log.text());
        }
        assert!(log.text().contains("resources: [events], verbs: [create]"), "{}", log.text());
    }

    #[test]
    fn listed_holds_are_read_back() {
        let shown = |n: usize, deletions| HoldSummary {
            id: hold(n),
            target: "a",
            deletions,
            because: crate::reconcile::absence::hold::HoldReason::ScopeChanged,
            first: Vec::new(),
            former: vec![hold(9)],
        };
        let text = held_value(&[shown(1, 5), shown(2, 300)]);
        let lease: Lease =
            serde_json::from_value(serde_json::json!({"metadata": {"annotations": {HELD_ANNOTATION: text}}})).unwrap();
        let named = |n: usize, deletions| Held { names: vec![hold(n), hold(9)], deletions };
        assert_eq!(held(&lease), [named(1, 5), named(2, 300)]);
        assert!(list_of(&held(&lease)).contains("000000000002 (300 deletions)"));
        assert!(held(&Lease::default()).is_empty() && list_of(&[]).contains("lists nothing"));
        assert!(is_among(&[shown(1, 5)], &hold(9)) && !is_among(&[shown(1, 5)], &hold(2)));
    }

    #[test]
    fn newest_approvals_are_kept_once_each() {
        let many = (0..KEPT).map(hold).collect();
        let value = with(many, &hold(5));
        assert_eq!(approved(&lease(&value)).last(), Some(&hold(5)));
        assert_eq!(approved(&lease(&value)).len(), KEPT);
        assert_eq!(approved(&lease(&with(approved(&lease(&value)), &hold(99)))).len(), KEPT);
    }
}
