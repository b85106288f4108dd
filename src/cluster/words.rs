//! What went wrong with a request to Kubernetes, in words of our own: no library's debug text, and for a missing right
//! the rule that grants it.

use kube::Error;

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
        Error::Api(status) => {
            let why = if status.message.is_empty() { &status.reason } else { &status.message };
            format!("the API server answered {}: {why}", status.code)
        }
        Error::Service(error) => connect::causes(&**error),
        Error::SerdeError(error) => {
            format!("the answer is not what was asked for ({error}); is there a proxy in between?")
        }
        error => connect::causes(error),
    }
}

/// What an error says, and which right is missing if it says so.
pub(super) fn explain(error: &Error, right: &Right<'_>) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!("{}; {}", words(error), right.advice()),
        Error::Api(status) if status.code == 401 => {
            format!(
                "{}; the credentials were not accepted: check the user in the kubeconfig, or the token",
                words(error)
            )
        }
        error => words(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

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
}
