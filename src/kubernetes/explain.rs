//! What went wrong with a request to Kubernetes, in words of our own: no library's debug text, and for a missing right
//! the rule that grants it.

use std::fmt;

use kube::{Error, core::Status};

use crate::connect;

/// A right that a request needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Right<'a> {
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) verbs: &'a [&'a str],
    /// The one object that it is about, if it is about one.
    pub(super) name: Option<&'a str>,
    /// Where a Role has to grant it; none: a ClusterRole.
    pub(super) namespace: Option<&'a str>,
}

impl Right<'_> {
    /// What to do so that the right is granted, with the rule in YAML.
    pub(super) fn advice(&self) -> String {
        let Self { group, resource, verbs, name, namespace } = self;
        let verbs = verbs.join(", ");
        let names = name.map(|name| format!(", resourceNames: [{name}]")).unwrap_or_default();
        let role = match namespace {
            Some(namespace) => format!("a Role in the namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        let instead = match (*resource, namespace) {
            ("pods", None) => "; or set --namespace, which needs the rule in a Role of each namespace only",
            _ => "",
        };
        format!(
            "add this rule to {role} of the service account: \
             {{apiGroups: [\"{group}\"], resources: [{resource}]{names}, verbs: [{verbs}]}}{instead}"
        )
    }
}

/// What an error says.
pub(super) fn words(error: &Error) -> String {
    match error {
        // kube takes any JSON object for a Status.
        Error::Api(status) if status.code == 0 && status.message.is_empty() => {
            format!("the answer is another document than the one requested{}", Hint::Elsewhere)
        }
        Error::Api(status) if status.reason == NO_STATUS => {
            format!(
                "the API server answered {}: {}",
                status.code,
                refusal(status.code, status.message.as_bytes(), None)
            )
        }
        Error::Api(status) => {
            let why = if status.message.is_empty() { &status.reason } else { &status.message };
            format!("the API server answered {}: {}{}", status.code, cut(why), Hint::of(status.code, false))
        }
        Error::Service(error) => connect::explain::causes(&**error),
        Error::SerdeError(error) => {
            format!("the answer is not what was asked for ({error}); is there a proxy in between?")
        }
        error => connect::explain::causes(error),
    }
}

/// What an error says, and which right is missing if it says so.
pub(super) fn explain(error: &Error, right: &Right<'_>) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!("{}; {}", words(error), right.advice()),
        error => words(error),
    }
}

/// The reason that kube gives to an answer without a Status. The message is then the whole answer.
const NO_STATUS: &str = "Failed to parse error data";
/// Characters of a message that are shown.
const MESSAGE_CHARS: usize = 500;

fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS).collect()
}

/// What an answer with an error status says: the message of its Status, or what it is instead, and what to check.
pub(super) fn refusal(code: u16, body: &[u8], location: Option<&str>) -> String {
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let message = status.map(|status| status.message).filter(|message| !message.is_empty());
    let host = location.and_then(|location| location.parse::<http::Uri>().ok()?.host().map(str::to_owned));
    let said = match (message, host) {
        (Some(message), _) => cut(&message),
        (None, Some(host)) => format!("a redirect to {host}"),
        (None, None) => format!("{} instead of a Status", document(body)),
    };
    format!("{said}{}", Hint::of(code, is_html(body)))
}

/// What kind of document this is. Its text may hold secrets.
pub(super) fn document(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: Option<String>,
    }
    let is_name = |kind: &String| kind.len() < 64 && kind.bytes().all(|c| c.is_ascii_alphanumeric());
    match serde_json::from_slice::<Kind>(body) {
        Ok(Kind { kind }) => match kind.filter(is_name) {
            Some(kind) => format!("JSON of the kind {kind}"),
            None => "JSON without a kind".to_owned(),
        },
        Err(_) if is_html(body) => "an HTML page".to_owned(),
        Err(_) if body.is_empty() => "an empty document".to_owned(),
        Err(_) => "a document that is not JSON".to_owned(),
    }
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// What to check after an answer.
#[derive(Clone, Copy)]
enum Hint {
    None,
    Credentials,
    /// Something else than the API server answered.
    Elsewhere,
}

impl Hint {
    fn of(code: u16, is_html: bool) -> Self {
        match code {
            401 => Self::Credentials,
            300..=399 => Self::Elsewhere,
            _ if is_html => Self::Elsewhere,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Credentials => "; the credentials were not accepted: check the user in the kubeconfig, or the token",
            Self::Elsewhere => {
                "; is there a proxy or a login page in between? check server and proxy-url in the kubeconfig"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_right_is_named_as_a_rule() {
        let right =
            Right { group: "", resource: "namespaces", verbs: &["get"], name: Some("kube-system"), namespace: None };
        let refused = |code| Error::Api(Status::failure("no", "Forbidden").with_code(code).boxed());
        let text = explain(&refused(403), &right);
        let rule = r#"{apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}"#;
        assert!(text.contains(rule) && text.contains("a ClusterRole"), "{text}");
        assert!(!text.contains("--namespace"), "{text}");
        let pods = Right { resource: "pods", name: None, ..right };
        assert!(pods.advice().contains("a ClusterRole") && pods.advice().contains("or set --namespace"));
        assert!(!Right { namespace: Some("shop"), ..pods }.advice().contains("--namespace"));
        assert_eq!(explain(&refused(500), &right), "the API server answered 500: no");
        assert!(!explain(&refused(401), &right).contains("verbs"), "a 401 is no missing right");
    }
    #[test]
    fn answer_without_status_is_described_not_quoted() {
        let html = "<html>s3cret</html>";
        for (code, body, location, expected) in [
            (401, html, None, "an HTML page instead of a Status; the credentials were not accepted"),
            (401, r#"{"kind":"Status","message":"Unauthorized"}"#, None, "Unauthorized; the credentials were not"),
            (403, r#"{"message":"no"}"#, None, "no"),
            (502, html, None, "an HTML page instead of a Status; is there a proxy"),
            (500, "", None, "an empty document instead of a Status"),
            (500, r#"{"kind":"PodList"}"#, None, "JSON of the kind PodList instead of a Status"),
            (500, "s3cret", None, "a document that is not JSON instead of a Status"),
            (302, "", Some("https://login.example/?s3cret"), "a redirect to login.example; is there a proxy"),
            (302, "", None, "an empty document instead of a Status; is there a proxy"),
        ] {
            let text = refusal(code, body.as_bytes(), location);
            assert!(text.starts_with(expected) && !text.contains("s3cret"), "{code} {body}: {text}");
        }
    }

    #[test]
    fn status_that_kube_makes_up_is_described() {
        let made_up = Error::Api(Status::failure("<html>s3cret", NO_STATUS).with_code(401).boxed());
        let text = words(&made_up);
        assert!(
            text.starts_with("the API server answered 401: an HTML page") && text.contains("credentials"),
            "{text}"
        );
        let empty = Error::Api(serde_json::from_str::<Status>(r#"{"kind":"PodList"}"#).unwrap().boxed());
        assert!(words(&empty).starts_with("the answer is another document"), "{}", words(&empty));
        assert!(!text.contains("s3cret"), "{text}");
    }
}
