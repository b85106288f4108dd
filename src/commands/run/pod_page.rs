//! The page `/status/pods/NAMESPACE/NAME`: what each event loop knows about one pod, as JSON. `docs/operations.md`
//! explains its members.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use super::targets::RunningTarget;
use crate::{
    admin::JsonPage,
    controller::explain::{NextStep, PodExplanation, PodQuestion, Question, RecordAnswer},
    model::uid::Uid,
    reconcile::absence::hold::HoldSummary,
    store::View,
};

/// Pages that are made at a time, and questions that wait for one event loop.
pub(super) const AT_ONCE: usize = 4;
/// A loop that is busy for longer does not delay the page.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct PodPages {
    targets: Arc<[RunningTarget]>,
    view: Arc<OnceLock<View>>,
    turns: Arc<Semaphore>,
}

impl PodPages {
    pub(super) fn new(targets: Vec<RunningTarget>) -> Self {
        Self { targets: targets.into(), view: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Adds the pods, once they are watched.
    pub(super) fn watching(&self, view: &View) {
        // The caller sets it once, so this cannot fail.
        let _ = self.view.set(view.clone());
    }

    pub(super) async fn page(self, namespace: String, name: String) -> JsonPage {
        let Ok(_turn) = self.turns.try_acquire() else {
            return refusal(503, &format!("{AT_ONCE} other requests for pods are being answered; ask again"));
        };
        let Some(view) = self.view.get() else {
            return refusal(503, "the cluster is not identified yet, so no pods are watched; the log says why");
        };
        let pod = format!("{namespace}/{name}");
        let Some(uid) = view.find(&namespace, &name) else {
            return refusal(404, &format!("the controller does not see a pod {pod}, and remembers no deleted one"));
        };
        let targets = join_all(self.targets.iter().map(|target| of_target(target, &uid))).await;
        JsonPage {
            status: 200,
            body: json!({"pod": pod, "uid": uid, "exists": view.contains(&uid), "targets": targets}),
        }
    }
}

fn refusal(status: u16, error: &str) -> JsonPage {
    JsonPage { status, body: json!({"error": error}) }
}

async fn of_target(target: &RunningTarget, pod: &Uid) -> Value {
    let name = target.settings.name;
    if let Some(why) = target.stopped.get() {
        return json!({"target": name, "error": format!("the target stopped: {why}")});
    }
    let (reply, answer) = oneshot::channel();
    let question = Question::Pod(PodQuestion { pod: pod.clone(), reply });
    let asked = async {
        target.questions.send(question).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Some(explanation)) => of_explanation(name, &explanation),
        _ => json!({"target": name, "error": format!("its event loop did not answer within {ANSWER_WITHIN:?}")}),
    }
}

fn of_explanation(target: &str, explanation: &PodExplanation) -> Value {
    let PodExplanation {
        record,
        other_pod,
        stage,
        cause,
        registry,
        pending_for,
        hold,
        last_answer,
        session,
        outage,
        next: NextStep { what, within },
    } = explanation;
    let hold = hold.as_ref().map(|HoldSummary { id, deletions, because, .. }| {
        json!({"id": id.to_string(), "deletions": deletions, "because": because.to_string()})
    });
    let last_answer = last_answer.as_ref().map(
        |RecordAnswer { outcome, cause, age }| json!({"outcome": outcome, "cause": cause, "secondsAgo": seconds(*age)}),
    );
    json!({
        "target": target,
        "id": record.as_ref().map(|label| label.id_or_key()),
        "state": <&str>::from(*stage),
        "cause": cause,
        "otherPod": other_pod,
        "registry": registry,
        "pendingSeconds": pending_for.map(seconds),
        "hold": hold,
        "lastAnswer": last_answer,
        "session": <&str>::from(*session),
        "outage": outage,
        "next": {"what": what, "inSeconds": within.map(seconds)},
    })
}

/// With one decimal.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
