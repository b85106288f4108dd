//! Asks the API server whether it grants the rights that `run` needs.

use std::time::Duration;

use http::{Request, header};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams, client::Body};
use strum::VariantArray as _;

use super::{
    client::PodSelection,
    failures::{Right, words},
    identity,
    lease::LeaseRef,
    receipts::KindRight,
};
use crate::reconcile::receipts::{ReceiptKind, ReceiptKinds};

/// Time limit of a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// A right that `run` needs: verbs on one kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredRight {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    name: Option<String>,
    /// `None`: all namespaces.
    namespace: Option<String>,
}

impl RequiredRight {
    /// All rights that `run` needs with these settings.
    pub fn of_run(scope: &PodSelection, reads_identity: bool, leases: &[LeaseRef]) -> Vec<Self> {
        let pods = |namespace: Option<&String>| Self {
            group: "",
            resource: "pods",
            verbs: &["get", "list", "watch"],
            name: None,
            namespace: namespace.cloned(),
        };
        let mut rights: Vec<Self> = match scope.namespaces.as_slice() {
            [] => vec![pods(None)],
            namespaces => namespaces.iter().map(|namespace| pods(Some(namespace))).collect(),
        };
        if reads_identity {
            let name = Some(identity::NAMESPACE.to_owned());
            rights.push(Self { group: "", resource: "namespaces", verbs: &["get"], name, namespace: None });
        }
        for LeaseRef { namespace, name } in leases {
            let (name, namespace) = (Some(name.clone()), Some(namespace.clone()));
            let (group, verbs) = ("coordination.k8s.io", &["get", "update"]);
            rights.push(Self { group, resource: "leases", verbs, name, namespace: namespace.clone() });
            let group = "events.k8s.io";
            rights.push(Self { group, resource: "events", verbs: &["create"], name: None, namespace });
        }
        rights.dedup();
        rights
    }

    /// The further rights that receipts of these kinds need.
    pub fn of_receipts(scope: &PodSelection, kinds: ReceiptKinds) -> Vec<Self> {
        let places: Vec<Option<&String>> = match scope.namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().map(Some).collect(),
        };
        let kinds = ReceiptKind::VARIANTS.iter().copied().filter(|kind| kinds.contains(*kind));
        let right = |kind: ReceiptKind, place: Option<&String>| {
            let KindRight { group, resource, verbs } = KindRight::of(kind);
            Self { group, resource, verbs, name: None, namespace: place.cloned() }
        };
        kinds.flat_map(|kind| places.iter().map(move |place| right(kind, *place))).collect()
    }

    /// What it is, for a person.
    pub fn what(&self) -> String {
        let Self { resource, verbs, name, namespace, .. } = self;
        let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let place = namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
        format!("{} {resource}{name}{place}", verbs.join(", "))
    }

    /// How to grant it.
    pub fn advice(&self) -> String {
        let Self { group, resource, verbs, name, namespace } = self;
        Right { group, resource, verbs, name: name.as_deref(), namespace: namespace.as_deref() }.advice()
    }

    /// The verbs that are not granted.
    ///
    /// # Errors
    /// The API server does not answer, or not such questions.
    pub async fn missing(&self, client: &Client) -> Result<Vec<&'static str>, String> {
        let mut missing = Vec::new();
        for verb in self.verbs {
            if !self.is_granted(verb, client).await? {
                missing.push(*verb);
            }
        }
        Ok(missing)
    }

    async fn is_granted(&self, verb: &str, client: &Client) -> Result<bool, String> {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let attributes = ResourceAttributes {
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|name| !name.is_empty()),
            verb: Some(verb.to_owned()),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        let params = PostParams::default();
        let answer = tokio::time::timeout(ANSWER_WITHIN, reviews.create(&params, &review)).await;
        let answer = answer.map_err(|_| format!("no answer within {ANSWER_WITHIN:?}"))?;
        let review = answer.map_err(|error| words(&error))?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }
}

/// The API server's clock: the header `Date` of an answer.
///
/// # Errors
/// The API server does not answer.
pub async fn date(client: &Client) -> Result<Option<String>, String> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.send(request)).await;
    let answer = answer.map_err(|_| format!("no answer within {ANSWER_WITHIN:?}"))?.map_err(|error| words(&error))?;
    Ok(answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_from_the_settings() {
        let shown = |scope: &PodSelection, reads_identity, leases: &[LeaseRef]| -> Vec<String> {
            RequiredRight::of_run(scope, reads_identity, leases).iter().map(RequiredRight::what).collect()
        };
        let all = shown(&PodSelection::default(), true, &[]);
        assert_eq!(all, ["get, list, watch pods", "get namespaces kube-system"]);
        let scope = PodSelection { namespaces: vec!["a".into(), "b".into()], ..PodSelection::default() };
        let lease = LeaseRef { namespace: "n".into(), name: "l".into() };
        let some = shown(&scope, false, &[lease]);
        let expected = [
            "get, list, watch pods in a",
            "get, list, watch pods in b",
            "get, update leases l in n",
            "create events in n",
        ];
        assert_eq!(some, expected);
    }

    #[test]
    fn each_receipt_has_its_right() {
        let shown = |namespaces: &[&str], kinds: &[ReceiptKind]| -> Vec<String> {
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            let scope = PodSelection { namespaces, ..PodSelection::default() };
            let rights = RequiredRight::of_receipts(&scope, kinds.iter().copied().collect());
            rights.iter().map(RequiredRight::what).collect()
        };
        assert_eq!(shown(&[], &[]), [""; 0]);
        assert_eq!(shown(&[], ReceiptKind::VARIANTS), ["create events", "patch pods/status", "patch pods"]);
        assert_eq!(shown(&["a", "b"], &[ReceiptKind::Gate]), ["patch pods/status in a", "patch pods/status in b"]);
    }
}
