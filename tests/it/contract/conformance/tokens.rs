//! Servers that do not check the token everywhere.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{broken, defects::problem, report_with};
use crate::support::{BrokenRegistry, Defect, ProxiedRequest};

fn refuse(request: &ProxiedRequest) -> Option<(u16, Value)> {
    match request.authorization.as_deref() {
        Some("Bearer secret") => None,
        Some("Bearer other") => Some(problem(403, "forbidden")),
        _ => Some(problem(401, "unauthorized")),
    }
}

/// Each address that is served without a token.
const OPEN: [(&str, Defect); 3] = [
    (
        "capabilities",
        Defect::Instead(|request| if request.is("GET", "/capabilities") { None } else { refuse(request) }),
    ),
    ("changes", Defect::Instead(|request| if request.is("GET", "/changes") { None } else { refuse(request) })),
    ("a record", Defect::Instead(|request| if request.is("GET", "/pods/") { None } else { refuse(request) })),
];

#[tokio::test]
async fn address_without_a_token_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["secret", "other"].map(|token| {
        let file = folder.path().join(token);
        fs::write(&file, format!("{token}\n")).unwrap();
        Some(file)
    });
    let [own, _] = files.clone();
    for (what, defect) in OPEN {
        let server = BrokenRegistry::start(defect).await;
        let found = broken(&report_with(&server.url, [own.clone(), None]).await);
        assert_eq!(found, BTreeSet::from(["token-everywhere".to_owned()]), "{what}");
    }
    let server = BrokenRegistry::start(Defect::Instead(refuse)).await;
    assert_eq!(broken(&report_with(&server.url, files.clone()).await), BTreeSet::new());
    // Takes the other token for an unknown one.
    let unknown = Defect::Instead(|request| refuse(request).map(|_| problem(401, "unauthorized")));
    let server = BrokenRegistry::start(unknown).await;
    let found = broken(&report_with(&server.url, files).await);
    assert_eq!(found, BTreeSet::from(["token-other".to_owned()]));
}
