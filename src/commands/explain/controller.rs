//! The answer of the running controller about one pod, read leniently: it may be another version of the program.

use reqwest::{StatusCode, Url};
use serde_json::Value;

use crate::{commands::admin_client, model::uid::Uid};

/// The page `/status/pods/NAMESPACE/NAME`.
pub(super) struct ControllerAnswer(Value);

/// What the page says about the record in one target.
pub(super) struct ControllerView(Value);

/// Asks the controller. The error says why there is no answer.
pub(super) async fn ask(admin: &Url, namespace: &str, name: &str) -> Result<ControllerAnswer, String> {
    let (status, body) = admin_client::get(admin, &format!("/status/pods/{namespace}/{name}")).await?;
    read(status, &body)
}

fn read(status: StatusCode, body: &[u8]) -> Result<ControllerAnswer, String> {
    let unusable = || "the answer is not that of a controller of this version; check --admin".to_owned();
    let page: Value = serde_json::from_slice(body).map_err(|_| unusable())?;
    match page["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None if status.is_success() && page["uid"].is_string() => Ok(ControllerAnswer(page)),
        None => Err(unusable()),
    }
}

impl ControllerAnswer {
    pub(super) fn uid(&self) -> Uid {
        text(&self.0["uid"]).into()
    }

    pub(super) fn of_target(&self, name: &str) -> Option<ControllerView> {
        let targets = self.0["targets"].as_array()?;
        targets.iter().find(|target| target["target"] == name).cloned().map(ControllerView)
    }

    /// The answer without its targets, which are shown one by one.
    pub(super) fn json(&self) -> Value {
        let mut shown = self.0.clone();
        shown.as_object_mut().map(|members| members.remove("targets"));
        shown
    }
}

impl ControllerView {
    pub(super) fn id(&self) -> Option<&str> {
        self.0["id"].as_str()
    }

    pub(super) fn json(&self) -> Value {
        self.0.clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let page = &self.0;
        if let Some(error) = page["error"].as_str() {
            return vec![format!("  state:    unknown: {error}")];
        }
        let pending = page["pendingSeconds"].as_f64().map(|seconds| format!(", pending for {seconds} s"));
        let cause = page["cause"].as_str().map(|cause| format!(": {cause}"));
        let mut lines = vec![format!(
            "  state:    {}{}{}",
            text(&page["state"]),
            pending.unwrap_or_default(),
            cause.unwrap_or_default()
        )];
        if let Some(pod) = page["otherPod"].as_str() {
            lines.push(format!("  pod:      the record is that of {pod}, which was created later"));
        }
        if page["hold"].is_object() {
            let hold = &page["hold"];
            lines.push(format!("  hold:     {}: {}", text(&hold["id"]), text(&hold["because"])));
        }
        if page["lastAnswer"].is_object() {
            let answer = &page["lastAnswer"];
            let (outcome, ago) = (text(&answer["outcome"]), &answer["secondsAgo"]);
            lines.push(format!("  answer:   {outcome} {ago} s ago: {}", text(&answer["cause"])));
        }
        if let Some(outage) = page["outage"].as_str() {
            lines.push(format!("  outage:   {outage}"));
        }
        let within = page["next"]["inSeconds"].as_f64().map(|seconds| format!(", in {seconds} s"));
        lines.push(format!("  next:     {}{}", text(&page["next"]["what"]), within.unwrap_or_default()));
        lines
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_pages_of_controllers_are_read() {
        let read = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            read(status, body.as_bytes()).map(|answer| answer.uid().to_string())
        };
        assert_eq!(read(200, r#"{"uid": "u-1", "targets": []}"#), Ok("u-1".to_owned()));
        assert_eq!(read(404, r#"{"error": "no such pod"}"#), Err("no such pod".to_owned()));
        for (status, body) in [(404, "not found; the pages are"), (200, "[]"), (200, "{}"), (500, r#"{"uid": "u"}"#)] {
            assert!(read(status, body).unwrap_err().contains("check --admin"), "{body}");
        }
    }

    #[test]
    fn state_is_shown_line_by_line() {
        let page = json!({
            "state": "parked", "pendingSeconds": 12.5, "cause": null,
            "lastAnswer": {"outcome": "rejected", "cause": "status 422 no", "secondsAgo": 3.0},
            "next": {"what": "sent again at the next resync", "inSeconds": 60.0},
        });
        let expected = [
            "  state:    parked, pending for 12.5 s",
            "  answer:   rejected 3.0 s ago: status 422 no",
            "  next:     sent again at the next resync, in 60 s",
        ];
        assert_eq!(ControllerView(page).lines(), expected);
        let failed = ControllerView(json!({"target": "a", "error": "it stopped"}));
        assert_eq!(failed.lines(), ["  state:    unknown: it stopped"]);
    }
}
