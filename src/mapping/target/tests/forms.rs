//! Requests whose body is a form.

use super::{delete, put, render, sample, target, try_target};
use crate::mapping::{target::Target, writes::Held};

const FORM: &str = r#"
targets:
  - name: a
    url: http://a
    body: {name: "{{ pod.name }}", ips: "{{ placement.podIPs }}"}
    put:
      method: POST
      path: ""
      form: {action: save, "name ü": "{{ pod.name }} & co", data: "{{ body | json }}", node: "{{ placement.node | default(omit) }}"}
    delete: {method: POST, path: "", form: {action: drop, id: "{{ id }}"}}
"#;

fn sent(target: &Target, index: usize) -> String {
    let record = render(target, &sample(index));
    let request = put(target, &record, &Held::default());
    assert!(request.headers.contains(&("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())));
    String::from_utf8(request.body.unwrap()).unwrap()
}

#[test]
fn form_fields_are_encoded() {
    let target = target(FORM);
    let data =
        "%7B%22ips%22%3A%5B%2210.64.0.7%22%2C%222001%3Adb8%3A%3A7%22%5D%2C%22name%22%3A%22web-7d4b9c6f5d-x2x8q%22%7D";
    let expected = format!("action=save&name%20%C3%BC=web-7d4b9c6f5d-x2x8q%20%26%20co&data={data}&node=node-1");
    assert_eq!(sent(&target, 0), expected);
    assert!(!sent(&target, 1).contains("node="), "a field is left out");
    let request = delete(&target, "a b", &Held::default()).unwrap();
    assert_eq!(request.body.unwrap(), b"action=drop&id=a%20b");
}

#[test]
fn form_of_a_batch_holds_operations() {
    let text = FORM.replace(
        "    delete:",
        "    batch: [{path: bulk, form: {all: \"{{ operations | json }}\"}, put: [\"{{ id }}\"], max: {records: 5}}]\n    delete:",
    );
    let target = target(&text);
    let scope = super::term(&target);
    let request = target.kinds[0].batches[0].render(scope.scope(), vec!["a".into(), "b".into()]).unwrap();
    assert_eq!(request.body.unwrap(), b"all=%5B%22a%22%2C%22b%22%5D");
}

#[test]
fn form_field_needs_a_text() {
    let errors = try_target(&FORM.replace("{{ body | json }}", "{{ body }}")).unwrap_err();
    assert!(errors.contains("targets.yaml:9:") && errors.contains("| json"), "{errors}");
    let unknown = try_target(&FORM.replace("{{ body | json }}", "{{ bodi | json }}")).unwrap_err();
    assert!(unknown.contains("write `body`"), "{unknown}");
}

#[test]
fn order_in_a_form_counts_as_order() {
    assert!(!target(FORM).kinds[0].orders_writes());
    assert!(target(&FORM.replace("action: save", "action: save, n: \"{{ change.order }}\"")).kinds[0].orders_writes());
}
