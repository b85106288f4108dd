//! Credentials of all kinds, and where they must not appear.

use std::sync::Arc;

use super::fake::{Fake, Fault, cause, exclusive, write_pod};
use crate::{
    reconcile::outcome::{Failure, Verdict},
    registry::{Registry as _, mapped::recorder::ExchangeLog},
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

fn secret(text: &str) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn each_kind_of_credential_is_added() {
    let file = secret("s3cret-token\n");
    let path = file.to_string_lossy();
    for (auth, expected) in [
        (format!("{{bearer: {{tokenFile: {path}}}}}"), "authorization: Bearer s3cret-token"),
        (format!("{{bearer: {{tokenFile: {path}, scheme: Token}}}}"), "authorization: Token s3cret-token"),
        (format!("{{basic: {{username: me, passwordFile: {path}}}}}"), "authorization: Basic bWU6czNjcmV0LXRva2Vu"),
        (format!("{{header: {{name: X-Key, file: {path}}}}}"), "x-key: s3cret-token"),
        (format!("{{query: {{name: key, file: {path}}}}}"), "?key=s3cret-token"),
        (format!("{{body: {{at: /key, file: {path}}}}}"), "\"key\":\"s3cret-token\""),
    ] {
        let fake = Fake::start().await;
        let client = fake.client(&format!("auth: {auth}{}", exclusive()));
        assert_eq!(write_pod(&client, 1, "web").await, DONE, "{auth}");
        let contents = fake.contents();
        let headers = contents.headers[0].iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let sent = [headers.collect::<Vec<_>>().join("\n"), contents.requests[0].1.clone(), contents.bodies[0].clone()];
        assert!(sent.join("\n").contains(expected), "{expected}: {sent:?}");
    }
}

#[tokio::test]
async fn renewed_token_is_used_after_a_refusal() {
    let fake = Fake::start().await;
    let file = secret("first-token");
    let client = fake.client(&format!("auth: {{bearer: {{tokenFile: {}}}}}{}", file.to_string_lossy(), exclusive()));
    fake.contents().expects = Some("Bearer first-token".into());
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    fake.contents().expects = Some("Bearer second-token".into());
    assert!(matches!(write_pod(&client, 1, "web-2").await, Err(Failure::Unauthorized { status: 401, .. })));
    std::fs::write(&file, "second-token").unwrap();
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    client.refresh_credential();
}

#[tokio::test]
async fn echoed_token_is_never_shown() {
    let fake = Fake::start().await;
    let file = secret("very-s3cret-token");
    let log = Arc::new(ExchangeLog::default());
    let members = format!("auth: {{query: {{name: key, file: {}}}}}{}", file.to_string_lossy(), exclusive());
    let client = fake.client_with(&members, Some(log.clone()));
    fake.fail([Fault::Refuse(422, "no: very-s3cret-token is wrong")]);
    let rejected = cause(write_pod(&client, 1, "web").await);
    assert!(rejected.contains("no: *** is wrong"), "{rejected}");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert!(log.exchanges().len() == 2 && !log.lines().contains("s3cret"), "{}", log.lines());
}

#[tokio::test]
async fn echo_of_a_replaced_token_is_never_shown() {
    let fake = Fake::start().await;
    let file = secret("first-s3cret-token");
    let log = Arc::new(ExchangeLog::default());
    let members = format!("auth: {{bearer: {{tokenFile: {}}}}}{}", file.to_string_lossy(), exclusive());
    let client = fake.client_with(&members, Some(log.clone()));
    let transport = client.transport.clone();
    fake.contents().expects = Some("Bearer third".into());
    fake.contents().on_request = Some(Box::new(move || {
        std::fs::write(&file, "second-s3cret-token").unwrap();
        transport.renew_credentials();
    }));
    let refused = write_pod(&client, 1, "web").await.unwrap_err().to_string();
    assert!(refused.contains("***") && !refused.contains("s3cret"), "{refused}");
    assert!(!log.lines().contains("s3cret"), "{}", log.lines());
}

/// As PHP writes it, and as text in JSON in JSON.
#[tokio::test]
async fn echo_in_json_is_never_shown() {
    let fake = Fake::start().await;
    let file = secret("ab/cd\"ef/gh");
    let log = Arc::new(ExchangeLog::default());
    let members = format!("auth: {{header: {{name: X-Key, file: {}}}}}{}", file.to_string_lossy(), exclusive());
    let client = fake.client_with(&members, Some(log.clone()));
    for answer in [r#"{"error":"ab\/cd\"ef\/gh is wrong"}"#, r#"{"error":"{\"key\":\"ab\\/cd\\\"ef/gh\"}"}"#] {
        fake.fail([Fault::Refuse(422, answer)]);
        let rejected = cause(write_pod(&client, 1, "web").await);
        assert!(rejected.contains("***") && !rejected.contains("ef"), "{rejected}");
    }
    let recorded = log.lines();
    assert!(recorded.contains("***") && !recorded.contains("cd"), "{recorded}");
}

#[tokio::test]
async fn login_is_sent_once_and_again_after_refusal() {
    let fake = Fake::start().await;
    let file = secret("my password");
    let auth = format!(
        "auth: {{login: {{path: login, body: {{p: \"{{{{ secret.p }}}}\"}}, secrets: {{p: {}}}, token: /token, expires: /seconds}}}}",
        file.to_string_lossy()
    );
    let client = fake.client(&format!("{auth}{}", exclusive()));
    fake.contents().expects = Some("Bearer login-token-1".into());
    for name in ["web", "web-2"] {
        assert_eq!(write_pod(&client, 1, name).await, DONE);
    }
    assert_eq!(fake.requests().iter().filter(|request| *request == "POST login").count(), 1);
    assert_eq!(fake.contents().bodies[0], r#"{"p":"my password"}"#);
    fake.contents().expects = Some("Bearer other".into());
    assert!(matches!(write_pod(&client, 1, "web-3").await, Err(Failure::Unauthorized { .. })));
}

/// A token may be anywhere in an answer, and a registry may repeat what was sent.
#[tokio::test]
async fn login_without_token_shows_errors_alone() {
    let fake = Fake::start().await;
    let file = secret("my password");
    let auth = format!(
        "auth: {{login: {{path: login, body: {{p: \"{{{{ secret.p }}}}\"}}, secrets: {{p: {}}}, token: /token}}}}",
        file.to_string_lossy()
    );
    let client = fake.client(&format!("{auth}{}", exclusive()));
    for (answer, says) in [
        (r#"{"error": {"data": "my password is wrong"}, "id": 1}"#, r#"{"error":{"data":"*** is wrong"}}"#),
        (r#"{"accessToken": "t0ken", "id": 1}"#, "its members are accessToken, id"),
        (r#""t0ken""#, "it is no map"),
        ("t0ken", "it is not JSON: expected ident at line 1 column 2"),
    ] {
        fake.fail([Fault::Say(answer.to_owned())]);
        let failure = write_pod(&client, 1, "web").await.unwrap_err().to_string();
        assert!(failure.contains(says) && !failure.contains("t0ken"), "{failure}");
    }
    for (answer, says) in [
        (
            r#"["ERROR_WRONG_APP_TOKEN", "my password"]"#,
            r#"no token was issued: ["ERROR_WRONG_APP_TOKEN","***"]; check"#,
        ),
        (r#"{"message": "locked", "token": "t0ken"}"#, r#"no token was issued: {"message":"locked"}; check"#),
        ("t0ken", "no token was issued; check"),
    ] {
        fake.fail([Fault::Refuse(400, answer)]);
        let failure = write_pod(&client, 1, "web").await.unwrap_err().to_string();
        assert!(failure.contains(says) && !failure.contains("t0ken"), "{failure}");
    }
}

/// Lets time pass for the ages of tokens.
async fn wait(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn expired_token_is_renewed_whatever_the_status() {
    let fake = Fake::start().await;
    let file = secret("my password");
    let auth = format!(
        "auth: {{login: {{path: login, body: {{p: \"{{{{ secret.p }}}}\"}}, secrets: {{p: {}}}, token: /token}}}}\n\
         outcome: [{{status: 400, if: \"{{{{ 'old token' in text }}}}\", is: pause}}]",
        file.to_string_lossy()
    );
    let client = fake.client(&format!("{auth}{}", exclusive()));
    let logins = || fake.requests().iter().filter(|request| *request == "POST login").count();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(logins(), 1);
    // A record is forbidden. The token is new, so that it is not at fault.
    fake.fail([Fault::Refuse(403, "")]);
    assert!(matches!(write_pod(&client, 2, "web").await, Ok(Verdict::Rejected { .. })));
    assert_eq!(logins(), 0);
    wait(61).await;
    fake.fail([Fault::Refuse(403, "")]);
    // The fake takes the fault for the first request, and accepts the one with another token.
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    assert_eq!(logins(), 1);
    // A rule names the refusal, and the next attempt has another token.
    wait(6).await;
    fake.fail([Fault::Refuse(400, "old token")]);
    assert!(matches!(write_pod(&client, 1, "web-3").await, Err(Failure::Unauthorized { status: 400, .. })));
    assert_eq!(write_pod(&client, 1, "web-3").await, DONE);
    assert_eq!(logins(), 1);
    // The controller reports that the credentials are refused.
    wait(6).await;
    client.refresh_credential();
    assert_eq!(write_pod(&client, 1, "web-4").await, DONE);
    assert_eq!(logins(), 1);
}

#[tokio::test]
async fn oauth2_token_is_asked_with_either_form() {
    let fake = Fake::start().await;
    let file = secret("client-s3cret");
    let auth = format!(
        "auth: {{oauth2: {{tokenUrl: \"http://{}/token\", clientId: me, clientSecretFile: {}, scopes: [a, b]}}}}",
        fake.address,
        file.to_string_lossy()
    );
    let client = fake.client(&format!("{auth}{}", exclusive()));
    let token = Fault::Say(r#"{"access_token": "oauth-token", "expires_in": 3600}"#.into());
    fake.fail([token.clone()]);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let basic = fake.contents().headers[0]["authorization"].clone();
    assert_eq!(basic, "Basic bWU6Y2xpZW50LXMzY3JldA==");
    assert_eq!(fake.contents().bodies[0], "grant_type=client_credentials&scope=a%20b");
    assert_eq!(fake.contents().headers[1]["authorization"], "Bearer oauth-token");
    // This server takes the secret only in the body.
    let second = fake.client(&format!("{auth}{}", exclusive()));
    fake.requests();
    fake.contents().bodies.clear();
    fake.fail([Fault::Refuse(401, ""), token]);
    assert_eq!(write_pod(&second, 1, "web").await, DONE);
    assert!(fake.contents().bodies[1].ends_with("&client_id=me&client_secret=client-s3cret"));
    fake.fail([Fault::Refuse(400, "client-s3cret"), Fault::Refuse(401, "")]);
    let third = fake.client(&format!("{auth}{}", exclusive()));
    let refused = format!("{:?}", write_pod(&third, 1, "web").await);
    assert!(refused.contains("auth.oauth2.tokenUrl") && !refused.contains("s3cret"), "{refused}");
}
