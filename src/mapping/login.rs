//! The request that exchanges secrets for a token.

use std::sync::Arc;

use minijinja::Value;

use super::{
    answer::Answer,
    place,
    reading::Reading,
    request::{self, RenderedRequest},
    scope::Scope,
    spec::{auth::LoginSpec, values::BaseUrl},
    template::{Compiler, KindWords, Leaf, RenderError, Template},
    values,
    vars::Vars,
    words::{Position, Word},
};
use crate::model::ids::RecordOwner;

/// A compiled login.
#[derive(Debug)]
pub struct LoginTemplate {
    base: String,
    path: Leaf,
    body: Template,
    headers: Vec<(String, Leaf)>,
    token: Reading,
    expires: Option<Reading>,
    header: Option<String>,
    scope: Scope,
}

/// What a login returned. Its text is secret.
pub struct IssuedToken {
    pub text: String,
    /// In seconds.
    pub lifetime: Option<u64>,
}

impl LoginTemplate {
    /// Compiles the login of the target at this address.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: &LoginSpec, url: &BaseUrl, owner: &RecordOwner) -> Result<Self, Vec<place::Error>> {
        let (vars, mut errors) = (Arc::new(Vars::default()), Vec::new());
        let secrets: Vec<&str> = spec.secrets.iter().map(|(key, _)| key.text.as_str()).collect();
        let kind = KindWords { secrets: &secrets, ..KindWords::NONE };
        let mut compiler = Compiler { vars: &vars, variables: &[], prepared: &[], kind, errors: &mut errors };
        let path = compiler.leaf(Position::Login, &spec.path);
        let body = compiler.tree(Position::Login, &spec.body);
        let headers = request::entries(&spec.headers, Position::Login, &mut compiler);
        let token = Reading::compile(&spec.token, Position::Answer, &mut compiler);
        let expires = match &spec.expires {
            None => Some(None),
            Some(expires) => Reading::compile(expires, Position::Answer, &mut compiler).map(Some),
        };
        let cluster = [("id", owner.cluster_id.as_str()), ("name", owner.cluster_name.as_str())];
        let words = vec![
            (Word::Cluster, Value::from_pairs(cluster)),
            (Word::Owner, Value::from(owner.owner.as_str())),
            (Word::Omit, values::omit()),
        ];
        let scope = Scope::new(vars.clone(), words);
        let base = url.text.trim_end_matches('/').to_owned();
        let header = spec.header.as_ref().map(|header| header.text.clone());
        match (path, body, headers, token, expires) {
            (Some(path), Some(body), Some(headers), Some(token), Some(expires)) if errors.is_empty() => {
                Ok(Self { base, path, body, headers, token, expires, header, scope })
            }
            _ => Err(errors),
        }
    }

    /// The header that carries the token alone. None: `Authorization`, with `Bearer ` before the token.
    pub fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// The request, with these secrets in its body and its headers.
    ///
    /// # Errors
    /// A template cannot be rendered. The error may show a secret.
    pub fn request<'a>(
        &self,
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<RenderedRequest, RenderError> {
        let secrets = Value::from_pairs(secrets.into_iter().map(|(name, text)| (name, Value::from(text))));
        let scope = self.scope.with(vec![(Word::Secret, secrets)]);
        let path = self.path.text(&scope)?.unwrap_or_default();
        let body = self.body.render(&scope)?.unwrap_or_default();
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        for (name, leaf) in &self.headers {
            if let Some(value) = request::header(leaf, &scope)? {
                headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
                headers.push((name.clone(), value));
            }
        }
        Ok(RenderedRequest {
            method: "POST".to_owned(),
            url: format!("{}/{}", self.base, super::url::encode_literal(path.trim_start_matches('/'))),
            headers,
            body: Some(body.to_string().into_bytes()),
            change: None,
        })
    }

    /// The token in a successful answer.
    pub fn token(&self, answer: &Answer) -> Option<IssuedToken> {
        let read = |reading: &Reading| reading.text(answer.json(), || answer.scope(&self.scope)).ok().flatten();
        let text = read(&self.token).filter(|text| !text.is_empty())?;
        let lifetime = self.expires.as_ref().and_then(read).and_then(|seconds| seconds.parse().ok());
        Some(IssuedToken { text, lifetime })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::{load::load, spec::auth::AuthSpec};

    #[test]
    fn login_sends_secrets_and_reads_the_token() {
        let file = r#"
targets:
  - name: port
    url: https://api.example/v1/
    auth: {login: {path: auth/access_token, body: {clientId: "{{ secret.id }}"}, headers: {X-App: "app {{ secret.id }}"}, secrets: {id: /id}, token: /accessToken, expires: /expiresIn}}
    put: {path: "p/{{ id }}"}
    delete: {path: "p/{{ id }}"}
    body: {a: b}
"#;
        let loaded = load("targets.yaml", file).unwrap();
        let connection = &loaded.targets[0].spec.connection;
        let Some(AuthSpec::Login(spec)) = &connection.auth else { panic!() };
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let login = LoginTemplate::compile(spec, &connection.url, &owner).unwrap();
        let request = login.request([("id", "s3\"cret")]).unwrap();
        assert_eq!(
            (request.url.as_str(), request.method.as_str()),
            ("https://api.example/v1/auth/access_token", "POST")
        );
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [header("Content-Type", "application/json"), header("X-App", "app s3\"cret")];
        assert_eq!(request.headers, expected);
        assert_eq!(request.body.unwrap(), br#"{"clientId":"s3\"cret"}"#);
        let answer = |body| Answer::new(200, [], json!(body).to_string().as_bytes());
        let token = login.token(&answer(json!({"accessToken": "t", "expiresIn": 10_800}))).unwrap();
        assert_eq!((token.text.as_str(), token.lifetime), ("t", Some(10_800)));
        assert!(login.token(&answer(json!({"accessToken": ""}))).is_none());
    }
}
