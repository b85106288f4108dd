//! Renders all requests of a target without a registry, for people who write a targets file.
//!
//! What only a registry knows is made up: `remote` is `REMOTE`, `seen` is `SEEN`, and kept values of `prepare` are `1`.

use serde_json::Value as Json;

use super::{
    kind::Kind,
    notices::NoticeWords,
    request::RenderedRequest,
    scope::Scope,
    spec::{
        ConnectionSpec,
        auth::AuthSpec,
        sign::{SignSpec, WEBHOOK_HEADERS},
    },
    target::{
        RenderedRecord, Target, TermWords,
        records::{PodRecord, RecordRendering},
    },
    template::RenderError,
    writes::{ChangeKind, ChangeWords, Held, RemovalWords, Writes},
};
use crate::model::record::Record;

/// Shown instead of a credential.
pub const HIDDEN: &str = "***";
/// The id of every change.
const CHANGE: &str = "CHANGE";

/// A request as it would be sent, or why it cannot be rendered.
#[derive(Debug)]
pub struct RequestPreview {
    /// The member of the target, such as `put`.
    pub name: String,
    pub request: Result<RenderedRequest, RenderError>,
}

/// One record of a pod, and its requests.
#[derive(Debug)]
pub struct RecordPreview {
    /// The name of its kind, if the target has `kinds`.
    pub kind: Option<String>,
    pub record: RenderedRecord,
    pub requests: Vec<RequestPreview>,
}

impl Target {
    /// The requests that are for no single pod: `prepare`, `keepalive`, those of a round, and the first page of each
    /// list.
    pub fn preview_requests(&self, term: &TermWords) -> Vec<RequestPreview> {
        let mut previews = Vec::new();
        for step in &self.prepare {
            let find = step.find.iter().map(|find| ("find", &find.request));
            for (kind, request) in find.chain(step.create.iter().map(|create| ("create", create))) {
                let name = format!("prepare {} {kind}", step.name);
                previews.push(RequestPreview { name, request: request.render(term.scope(), None) });
            }
        }
        for (name, kind, request) in self.notices.all() {
            let words = NoticeWords { id: CHANGE.to_owned(), time: "2026-01-02T03:04:05.000Z".to_owned(), kind };
            let request = request.render(&self.notice_scope(term, &words), None).map(|request| request.about(CHANGE));
            previews.push(RequestPreview { name: name.to_owned(), request });
        }
        previews.extend(self.kinds.iter().filter_map(|kind| kind.preview_list(term)));
        previews
    }

    /// The records of one pod, with their requests. `None` if `select` excludes it.
    ///
    /// # Errors
    /// It is not known which records the pod has, or its only record cannot be rendered.
    pub fn preview_records(
        &self,
        record: &Record,
        term: &TermWords,
    ) -> Result<Option<Vec<RecordPreview>>, RenderError> {
        let assigned = |kind: usize, _: &_| self.kinds.get(kind)?.sample_remote();
        let Some(records) = self.records(record, term, &assigned)? else { return Ok(None) };
        let preview = |record: PodRecord| {
            let kind = &self.kinds[record.kind];
            match record.state {
                RecordRendering::Rendered(record) => Some(Ok(kind.preview(record, term))),
                RecordRendering::Failed(error) => Some(Err(error)),
                // What the registry assigns is made up.
                RecordRendering::Waits => None,
            }
        };
        records.into_iter().filter_map(preview).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

impl Kind {
    /// The name of a member of this kind, as it stands in the file.
    fn member(&self, name: &str) -> String {
        self.name().map_or_else(|| name.to_owned(), |kind| format!("{kind} {name}"))
    }

    fn preview_list(&self, term: &TermWords) -> Option<RequestPreview> {
        let first_page = match self.read_list(term) {
            Ok(reader) => reader?.request(),
            Err(error) => Err(error.into()),
        };
        let request = match first_page {
            Ok(Some(request)) => Ok(request),
            Err(super::paging::Error::Render(error)) => Err(error),
            // The first page is neither a repetition nor one too many.
            Ok(None) | Err(_) => return None,
        };
        Some(RequestPreview { name: self.member("list"), request })
    }

    fn preview(&self, record: RenderedRecord, term: &TermWords) -> RecordPreview {
        let (put, held) = (change(ChangeKind::Put), self.sample_held());
        let (first, later) =
            (self.write_scope(&record, &Held::default(), &put), self.write_scope(&record, &held, &put));
        let mut previews = Vec::new();
        let writes = |request: Result<RenderedRequest, _>| request.map(|request| request.about(CHANGE));
        let mut add = |name: &str, request| previews.push(RequestPreview { name: self.member(name), request });
        match &self.writes {
            Writes::Put(put) => add("put", writes(put.request.render(&first, Some(&record.body)))),
            Writes::CreateUpdate { create, update } => {
                add("create", writes(create.request.render(&first, Some(&record.body))));
                add("update", writes(update.request.render(&later, Some(&record.body))));
            }
            Writes::Batches | Writes::Nothing => {}
        }
        if let Some(find) = &self.find {
            add("find", find.request.render(&self.find_scope(term, &record.id, &held), None));
        }
        let removal = RemovalWords { reason: "deleted".to_owned(), observed: true };
        let delete = self.delete_scope(term, &record.id, &held, &change(ChangeKind::Delete), &removal);
        if let Some(request) = &self.delete {
            add("delete", writes(request.render(&delete, None)));
        }
        previews.extend(self.preview_batches(term, &later, &delete));
        RecordPreview { kind: self.name().map(str::to_owned), record, requests: previews }
    }

    fn preview_batches(&self, term: &TermWords, put: &Scope, delete: &Scope) -> Vec<RequestPreview> {
        let mut previews = Vec::new();
        for (number, batch) in (1..).zip(&self.batches) {
            let puts = batch.puts().then(|| ("put", batch.put_operations(put)));
            let deletes = batch.deletes().then(|| ("delete", batch.delete_operations(delete)));
            for (kind, operations) in puts.into_iter().chain(deletes) {
                let request = operations.and_then(|operations| batch.render(term.scope(), operations));
                let request = request.map(|request| request.about(CHANGE));
                previews.push(RequestPreview { name: self.member(&format!("batch {number} {kind}")), request });
            }
        }
        previews
    }
}

fn change(kind: ChangeKind) -> ChangeWords {
    ChangeWords { id: CHANGE.to_owned(), order: 1, time: "2026-01-02T03:04:05.000Z".to_owned(), kind }
}

/// Adds the credentials and the signature that the client would add, hidden.
pub fn with_hidden_secrets(request: RenderedRequest, connection: &ConnectionSpec) -> RenderedRequest {
    let mut request = with_hidden_credentials(request, connection.auth.as_ref());
    match (&connection.sign, &request.change) {
        (Some(SignSpec::StandardWebhooks(spec)), Some(id)) => {
            let signatures = vec![format!("v1,{HIDDEN}"); spec.secret_files.len()];
            let values = [id.clone(), "1767323045".to_owned(), signatures.join(" ")];
            request.headers.extend(WEBHOOK_HEADERS.map(str::to_owned).into_iter().zip(values));
        }
        (Some(SignSpec::Hmac(spec)), _) => {
            let prefix = spec.prefix.as_ref().map_or("", |prefix| prefix.text.as_str());
            request.headers.push((spec.header.text.clone(), format!("{prefix}{HIDDEN}")));
        }
        _ => {}
    }
    request
}

fn with_hidden_credentials(mut request: RenderedRequest, auth: Option<&AuthSpec>) -> RenderedRequest {
    let header = |name: &str, value: String| Some((name.to_owned(), value));
    let authorization = |scheme: &str| header("Authorization", format!("{scheme} {HIDDEN}"));
    let added = match auth {
        None => None,
        Some(AuthSpec::Bearer(spec)) => authorization(spec.scheme.as_ref().map_or("Bearer", |scheme| &scheme.text)),
        Some(AuthSpec::Basic(_)) => authorization("Basic"),
        Some(AuthSpec::Header(spec)) => {
            let prefix = spec.prefix.as_ref().map_or("", |prefix| prefix.text.as_str());
            header(&spec.name.text, format!("{prefix}{HIDDEN}"))
        }
        Some(AuthSpec::Oauth2(_)) => authorization("Bearer"),
        Some(AuthSpec::Login(spec)) => match &spec.header {
            Some(name) => header(&name.text, HIDDEN.to_owned()),
            None => authorization("Bearer"),
        },
        Some(AuthSpec::Query(spec)) => {
            let separator = if request.url.contains('?') { '&' } else { '?' };
            request.url = format!("{}{separator}{}={HIDDEN}", request.url, super::url::encode(&spec.name.text));
            None
        }
        Some(AuthSpec::Body(spec)) => {
            request.body = with_member(request.body.as_deref(), &spec.at.text);
            None
        }
    };
    request.headers.extend(added);
    request
}

/// The body with a hidden member at this pointer. Unchanged if it has no such place.
fn with_member(body: Option<&[u8]>, at: &str) -> Option<Vec<u8>> {
    let unchanged = || body.map(<[u8]>::to_vec);
    let Ok(mut json) = serde_json::from_slice::<Json>(body.unwrap_or(b"{}")) else { return unchanged() };
    let place = at.rsplit_once('/').and_then(|(parent, name)| Some((json.pointer_mut(parent)?.as_object_mut()?, name)));
    let Some((members, name)) = place else { return unchanged() };
    members.insert(name.replace("~1", "/").replace("~0", "~"), Json::from(HIDDEN));
    Some(json.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mapping::{load::load, samples},
        model::ids::RecordOwner,
    };

    fn previews(members: &str) -> Vec<String> {
        let text = format!("targets:\n  - {{name: a, url: http://a, {members}}}\n");
        let loaded = load("t.yaml", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let spec = &loaded.targets[0].spec;
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let target = Target::compile(spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let term = target.sample_term();
        let records = target.preview_records(&samples::all("c", "c", "o")[0], &term).unwrap().unwrap();
        let all = target.preview_requests(&term).into_iter();
        let all = all.chain(records.into_iter().flat_map(|record| record.requests));
        all.map(|preview| {
            let request = with_hidden_secrets(preview.request.unwrap(), &spec.connection);
            let headers: String = request.headers.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
            format!("{} {} {}{headers}", preview.name, request.method, request.url)
        })
        .collect()
    }

    #[test]
    fn every_request_is_rendered_with_hidden_credentials() {
        let uid = "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33";
        let shown = previews("preset: rest, auth: {query: {name: key, file: /k}}");
        let expected = [
            "list GET http://a/systems?owner=pod-registrar%3Ac%3Ao&limit=500&key=***".to_owned(),
            format!("put PUT http://a/systems/{uid}?key=*** Content-Type: application/json"),
            format!("find GET http://a/systems/{uid}?key=***"),
            format!("delete DELETE http://a/systems/{uid}?key=***"),
        ];
        assert_eq!(shown, expected);
        let etcd = previews("preset: etcd, auth: {header: {name: X-Key, prefix: \"Token \", file: /k}}");
        let names: Vec<&str> =
            etcd.iter().filter_map(|line| Some(line.split_once(" POST http://a/v3/kv/")?.0)).collect();
        assert_eq!(names, ["prepare fence create", "list", "put", "find", "delete"], "{etcd:#?}");
        assert!(etcd.iter().all(|line| line.ends_with(" X-Key: Token ***")), "{etcd:#?}");
    }

    #[test]
    fn signatures_are_shown_hidden() {
        let hook = previews(
            "put: {path: p}, delete: {path: \"p/{{ id }}\"}, body: {}, \
             sign: {standardWebhooks: {secretFiles: [/a, /b]}}",
        );
        let end = " webhook-id: CHANGE webhook-timestamp: 1767323045 webhook-signature: v1,*** v1,***";
        assert!(hook.iter().all(|line| line.ends_with(end)), "{hook:#?}");
        let hmac = previews("preset: rest, sign: {hmac: {header: X-Sig, secretFile: /a, prefix: sha256=}}");
        assert!(hmac.iter().all(|line| line.ends_with(" X-Sig: sha256=***")), "{hmac:#?}");
        let rest = previews("preset: rest, sign: {standardWebhooks: {secretFiles: [/a]}}");
        assert!(!rest[0].contains("webhook"), "a list is no message: {rest:#?}");
    }

    #[test]
    fn body_credential_is_hidden_at_its_place() {
        let shown = |body: &str| String::from_utf8(with_member(Some(body.as_bytes()), "/auth/key").unwrap()).unwrap();
        assert_eq!(shown(r#"{"auth":{}}"#), r#"{"auth":{"key":"***"}}"#);
        assert_eq!(shown("[]"), "[]");
    }
}
