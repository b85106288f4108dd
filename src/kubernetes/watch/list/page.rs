//! Decodes a page of a list. A document that is not a complete list of pods is an error, because pods absent from a
//! list may be taken for deleted.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::kubernetes::watch::pod_object::Watched;

#[derive(Debug, Deserialize)]
pub(super) struct Document {
    kind: Option<String>,
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    pub(super) metadata: ListMetadata,
    /// Null stands for no items. A missing member is an error.
    #[serde(deserialize_with = "items")]
    pub(super) items: Vec<Watched>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    #[serde(deserialize_with = "filled")]
    pub(super) resource_version: String,
    /// The continue token of the next page.
    #[serde(default, rename = "continue", deserialize_with = "filled_or_none")]
    pub(super) next: Option<String>,
    #[serde(default, rename = "remainingItemCount", deserialize_with = "count")]
    pub(super) remaining: Option<usize>,
}

/// The kind of list that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    Pods,
    /// Metadata of pods, or whole pods.
    Metadata,
}

/// `apiVersion` and `kind` of each list.
const PODS: (&str, &str) = ("v1", "PodList");
const METADATA: (&str, &str) = ("meta.k8s.io/v1", "PartialObjectMetadataList");

impl Document {
    pub(super) fn read(bytes: &[u8], of: ListKind) -> Result<Self, serde_json::Error> {
        let document: Self = serde_json::from_slice(bytes)?;
        let (version, kind) = (document.api_version.as_deref(), document.kind.as_deref());
        let is =
            |of: (&str, &str)| version.is_none_or(|version| version == of.0) && kind.is_none_or(|kind| kind == of.1);
        if is(PODS) || (of == ListKind::Metadata && is(METADATA)) {
            return Ok(document);
        }
        let (version, kind) = (version.unwrap_or_default(), kind.unwrap_or_default());
        Err(serde_json::Error::custom(format_args!("it is a {kind:?} of {version:?} instead of a list of pods")))
    }
}

fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Watched>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    filled_or_none(deserializer)?.ok_or_else(|| D::Error::custom("it is empty"))
}

fn filled_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.and_then(|count| usize::try_from(count).ok()))
}

/// The continue token in a Status, with which an expired list can be finished at a later version.
pub(super) fn offered_token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        metadata: Offer,
    }
    #[derive(Deserialize)]
    struct Offer {
        #[serde(default, rename = "continue")]
        token: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some(refusal.metadata.token).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(version: &str, next: Option<&str>, remaining: Option<usize>) -> ListMetadata {
        ListMetadata { resource_version: version.into(), next: next.map(Into::into), remaining }
    }

    const POD: &str = r#"{"metadata":{"uid":"u","name":"p","namespace":"n","resourceVersion":"4","continue":"no"}}"#;

    #[test]
    fn page_is_read_as_json_in_any_form() {
        let head = r#""metadata": {"continue" : "x\u003d", "remainingItemCount": 41, "resourceVersion" :"812"}"#;
        let forms = [
            format!(r#"{{"kind":"PodList","apiVersion":"v1",{head},"items":[{POD}]}}"#),
            format!("{{\n  \"items\": [\n {POD} ],\n  {head},\n  \"kind\": \"PodList\", \"apiVersion\": \"v1\" }}\n"),
            format!(
                r#"{{ "other" : [[{{"items":[]}}]], {head}, "items":[{POD}], "apiVersion":"v1", "kind" : "PodList" }}"#
            ),
        ];
        for form in forms {
            let document = Document::read(form.as_bytes(), ListKind::Pods).unwrap();
            assert_eq!(document.metadata, metadata("812", Some("x="), Some(41)), "{form}");
            assert_eq!(document.items[0].uid(), Some("u"), "{form}");
        }
        let null =
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1","continue":""},"items":null}"#;
        let document = Document::read(null.as_bytes(), ListKind::Pods).unwrap();
        assert_eq!((document.metadata, document.items.len()), (metadata("1", None, None), 0));
    }

    #[test]
    fn answer_other_than_a_page_is_an_error() {
        let bad = [
            "{}",
            "<html>",
            r#"{KIND,"items":[]}"#,
            r#"{KIND,"metadata":{"resourceVersion":"1"}}"#,
            r#"{KIND,"metadata":{},"items":[]}"#,
            r#"{KIND,"metadata":{"resourceVersion":""},"items":[]}"#,
            r#"{KIND,"metadata":{"resourceVersion":5},"items":[]}"#,
            r#"{KIND,"metadata":{"resourceVersion":"1"},"items":[]}{}"#,
            r#"{KIND,"metadata":{"resourceVersion":"1"},"items":["#,
        ];
        for text in bad.map(|text| text.replace("KIND", r#""kind":"PodList","apiVersion":"v1""#)) {
            assert!(Document::read(text.as_bytes(), ListKind::Pods).is_err(), "{text}");
        }
        for (version, kind) in [
            ("v1", "Status"),
            ("v1", "SecretList"),
            ("metrics.k8s.io/v1beta1", "PodList"),
            ("meta.k8s.io/v1", "PartialObjectMetadataList"),
        ] {
            let text = format!(
                r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"resourceVersion":"1"}},"items":[]}}"#
            );
            let error = Document::read(text.as_bytes(), ListKind::Pods).unwrap_err().to_string();
            assert!(error.contains(kind) && error.contains(version), "{error}");
            let metadata = kind == "PartialObjectMetadataList";
            assert_eq!(Document::read(text.as_bytes(), ListKind::Metadata).is_ok(), metadata, "{text}");
        }
    }

    #[test]
    fn refusal_may_offer_a_token() {
        let refusal = br#"{"kind":"Status","metadata":{"continue":"rest"},"code":410}"#;
        assert_eq!(offered_token(refusal).as_deref(), Some("rest"));
        assert_eq!((offered_token(b"<html>"), offered_token(br#"{"metadata":{}}"#)), (None, None));
    }
}
