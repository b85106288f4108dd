//! Operations that are read from requests.

use http::Method;

use super::{
    operations::{Operation, operations},
    pods::read_uuid,
};

const UID: &str = "6b9e1c52-8f0a-4d1b-9a3e-0c5d7e8f9a0b";

#[test]
fn operations_are_found_in_batches_and_alone() {
    let uid = read_uuid(UID).unwrap();
    let record =
        r#"{"schema":1,"digest":"sha256:00000000000000ff0011","version":{"epoch":1,"seq":2,"resourceVersion":"77"}}"#;
    let put = Operation { uid, put: true, version: Some(77), digest: Some(255) };
    let delete = Operation { uid, put: false, version: None, digest: None };
    let text = format!(
        r#"{{"epoch":1,"operations":[{{"op":"put","id":"{UID}","record":{record}}},{{"op":"delete","id":"{UID}","version":{{"epoch":1,"seq":3}}}}]}}"#
    );
    assert_eq!(operations(&Method::POST, "/v1/clusters/c/pods:batch", text.as_bytes()), [put, delete]);
    let one = format!("/v1/clusters/c/pods/{UID}");
    assert!(operations(&Method::PUT, &one, record.as_bytes())[0].put);
    assert!(!operations(&Method::DELETE, &one, b"")[0].put);
    assert!(operations(&Method::GET, &one, b"").is_empty());
}
