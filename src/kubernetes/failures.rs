//! Describes failed requests to Kubernetes in plain words, without the debug text of libraries. For a missing right, it
//! prints the RBAC rule that grants it.

use kube::{Error, core::Status};

use crate::connect;

/// An RBAC permission that a request needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Right<'a> {
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) verbs: &'a [&'a str],
    /// Restricts the right to one object.
    pub(super) name: Option<&'a str>,
    /// The namespace of the Role. None stands for a ClusterRole.
    pub(super) namespace: Option<&'a str>,
}

impl<'a> Right<'a> {
    /// The right to read pods, in this namespace or in all.
    pub(super) fn to_pods(namespace: Option<&'a str>) -> Self {
        Self { group: "", resource: "pods", verbs: &["get", "list", "watch"], name: None, namespace }
    }

    /// How to grant the right, with the rule in YAML.
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

pub(super) fn words(error: &Error) -> String {
    match error {
        // kube decodes any JSON object as a Status.
        Error::Api(status) if status.code == 0 && status.message.is_empty() => {
            format!("the answer is not the requested document{}", NOT_THE_API_SERVER)
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
            format!("the API server answered {}: {}{}", status.code, cut(why), hint(status.code, false))
        }
        Error::Service(error) => connect::failures::causes(&**error),
        Error::SerdeError(error) => {
            format!("the answer cannot be decoded ({error}); is there a proxy in between?")
        }
        error => connect::failures::causes(error),
    }
}

/// The words of an error. If it is a 403, the rule that grants the right follows.
pub(super) fn describe(error: &Error, right: &Right<'_>) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!("{}; {}", words(error), right.advice()),
        error => words(error),
    }
}

/// The reason that kube sets if an answer is not a Status. The message is then the whole body, which may hold secrets.
const NO_STATUS: &str = "Failed to parse error data";
const MESSAGE_CHARS: usize = 500;

fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS).collect()
}

/// Describes an answer with an error status: the message of its Status, or the kind of the document, and what to check.
pub(super) fn refusal(code: u16, body: &[u8], location: Option<&str>) -> String {
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let message = status.map(|status| status.message).filter(|message| !message.is_empty());
    let host = location.and_then(|location| location.parse::<http::Uri>().ok()?.host().map(str::to_owned));
    let said = match (message, host) {
        (Some(message), _) => cut(&message),
        (None, Some(host)) => format!("a redirect to {host}"),
        (None, None) => format!("{} instead of a Status", document(body)),
    };
    format!("{said}{}", hint(code, is_html(body)))
}

/// The kind of a document. Its text is not shown because it may hold secrets.
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

/// Advice that follows the description of an answer.
fn hint(code: u16, is_html: bool) -> &'static str {
    match code {
        401 => "; the credentials were not accepted; check the user in the kubeconfig, or the token",
        300..=399 => NOT_THE_API_SERVER,
        _ if is_html => NOT_THE_API_SERVER,
        _ => "",
    }
}

const NOT_THE_API_SERVER: &str =
    "; is there a proxy or a login page in between? check server and proxy-url in the kubeconfig";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_right_is_named_as_a_rule() {
        let right =
            Right { group: "", resource: "namespaces", verbs: &["get"], name: Some("kube-system"), namespace: None };
        let refused = |code| Error::Api(Status::failure("no", "Forbidden").with_code(code).boxed());
        let text = describe(&refused(403), &right);
        let rule = r#"{apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}"#;
        assert!(text.contains(rule) && text.contains("a ClusterRole"), "{text}");
        assert!(!text.contains("--namespace"), "{text}");
        let pods = Right { resource: "pods", name: None, ..right };
        assert!(pods.advice().contains("a ClusterRole") && pods.advice().contains("or set --namespace"));
        assert!(!Right { namespace: Some("shop"), ..pods }.advice().contains("--namespace"));
        assert_eq!(describe(&refused(500), &right), "the API server answered 500: no");
        assert!(!describe(&refused(401), &right).contains("verbs"), "a 401 is no missing right");
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
    fn status_made_up_by_kube_is_described() {
        let made_up = Error::Api(Status::failure("<html>s3cret", NO_STATUS).with_code(401).boxed());
        let text = words(&made_up);
        assert!(
            text.starts_with("the API server answered 401: an HTML page") && text.contains("credentials"),
            "{text}"
        );
        let empty = Error::Api(serde_json::from_str::<Status>(r#"{"kind":"PodList"}"#).unwrap().boxed());
        assert!(words(&empty).starts_with("the answer is not the requested document"), "{}", words(&empty));
        assert!(!text.contains("s3cret"), "{text}");
    }
}
