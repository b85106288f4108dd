//! Templates that render nothing, too much, or the wrong type; and templates that are wrong.

use std::sync::Arc;

use minijinja::Value;

use super::*;
use crate::mapping::{
    members::FromTree as _, place::Source, spec::values::Entries, spec::values::TemplateTree, tree::Tree,
    words::Position, yaml,
};
use serde_json::json;

/// A value of the file, with variables before it.
fn parse(text: &str) -> Tree {
    yaml::parse(&Source::new("f", text)).unwrap()
}

struct Compiled {
    template: Template,
    scope: Scope,
}

fn compile(text: &str) -> Result<Compiled, String> {
    let tree = parse(text);
    let mut errors = Vec::new();
    let entries = match tree.get("vars") {
        Some(vars) => Entries::from_tree(vars, &mut errors).unwrap(),
        None => Entries(Vec::new()),
    };
    let vars = Arc::new(Vars::compile(&entries, &[], &mut errors));
    let variables = vars.names();
    let mut compiler =
        Compiler { vars: &vars, variables: &variables, prepared: &[], kind: KindWords::NONE, errors: &mut errors };
    let template = compiler.tree(Position::Body, &TemplateTree(tree.get("body").unwrap_or(&tree).clone()));
    match template {
        Some(template) if errors.is_empty() => {
            let pod = json!({"name": "web", "labels": {"a": "1", "b.c": "2", "e": ""}, "n": null});
            let words = vec![
                (Word::Pod, values::of_json(&pod)),
                (Word::Id, Value::from("i")),
                (Word::Mark, Value::from("m")),
                (Word::Digest, Value::from("d")),
                (Word::Omit, values::omit()),
                (Word::State, values::of_json(&json!({"ready": true}))),
            ];
            Ok(Compiled { template, scope: Scope::new(vars, words) })
        }
        _ => Err(errors
            .iter()
            .map(|error| format!("{}:{} {}; {}", error.place.line, error.place.column, error.what, error.fix))
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

fn render(text: &str) -> Result<Option<Json>, String> {
    let Compiled { template, scope } = compile(text)?;
    template.render(&scope).map_err(|error| error.to_string())
}

#[test]
fn one_expression_keeps_its_type() {
    for (text, json) in [
        (r#"a: "{{ state.ready }}""#, json!({"a": true})),
        (r#"a: " {{ state.ready }}""#, json!({"a": " true"})),
        (r#"a: "{{ 1 }}{{ 2 }}""#, json!({"a": "12"})),
        (r#"a: "{{ pod.labels | length }}""#, json!({"a": 3})),
        (r#"a: ["{{ [1, pod.name] }}", 2.5, true, x]"#, json!({"a": [[1, "web"], 2.5, true, "x"]})),
        (r#"a: "}} { {x} %}""#, json!({"a": "}} { {x} %}"})),
        (r#"a: "{{ '}}' }}{{ '{{' }}""#, json!({"a": "}}{{"})),
        (r#"a: "{{ {'b': {'c': 1}}.b }}""#, json!({"a": {"c": 1}})),
        ("a: |\n  {{ pod.name }}\n", json!({"a": "web\n"})),
        (r#"a: "x{# never sent #}y""#, json!({"a": "xy"})),
        (r#"a: "😀{{ pod.name }}é""#, json!({"a": "😀webé"})),
    ] {
        assert_eq!(render(text), Ok(Some(json)), "{text}");
    }
}

#[test]
fn omit_leaves_members_and_elements_out() {
    let text = r#"{a: "{{ omit }}", b: {c: "{{ pod.labels.q | default(omit) }}"}, d: ["{{ omit }}", 1]}"#;
    assert_eq!(render(text), Ok(Some(json!({"b": {}, "d": [1]}))));
    assert_eq!(render(r#""{{ omit }}""#), Ok(None));
}

#[test]
fn undefined_is_never_sent() {
    for text in [
        r#"a: "{{ pod.labels.q }}""#,
        r#"a: ["{{ [pod.labels.q] }}"]"#,
        r#"a: "{{ {'b': pod.labels.q} }}""#,
        r#"a: "x{{ pod.labels.q }}""#,
        r#"a: "{{ 'b' if false }}""#,
        r#"a: {$each: "{{ pod.labels.q }}", $value: 1}"#,
        r#"a: {$each: "{{ [1] }}", $value: "{{ pod.labels.q }}"}"#,
    ] {
        let error = render(text).unwrap_err();
        assert!(error.starts_with("f:1:") && error.contains("the value is undefined"), "{text}: {error}");
    }
    assert!(render(r#"a: "{{ none }}""#).unwrap_err().contains("null"));
}

#[test]
fn too_much_is_an_error() {
    for (text, error) in [
        (r#"a: "{{ 'a' * 100000000 }}""#, "too much work"),
        (r#"a: "{{ range(100000) | map('int') | list }}""#, "too much work"),
        (r#"a: {$each: "{{ range(99999) }}", $value: 1}"#, "values"),
        (r#"{vars: {v: "{{ 'a' * 60000 }}"}, body: {$each: "{{ range(100) }}", $value: "{{ vars.v }}"}}"#, "bytes"),
    ] {
        let found = render(text).unwrap_err();
        assert!(found.contains(error), "{text}: {found}");
    }
}

#[test]
fn each_makes_lists_and_maps() {
    let list = r#"a: {$each: "{{ pod.labels | items }}", $value: {k: "{{ it[0] }}", v: "{{ it[1] or omit }}"}}"#;
    assert_eq!(render(list), Ok(Some(json!({"a": [{"k": "a", "v": "1"}, {"k": "b.c", "v": "2"}, {"k": "e"}]}))));
    let map = r#"{a: fixed, $each: "{{ pod.labels | items }}", $key: "{{ it[0] | metakey }}", $value: "{{ it[1] }}"}"#;
    assert_eq!(render(map), Ok(Some(json!({"a": "fixed", "b_c": "2", "e": ""}))), "a fixed member wins");
    let some = r#"{$each: "{{ [1, 2] }}", $key: "{{ ('k' ~ it) if it > 1 else omit }}", $value: "{{ it }}"}"#;
    assert_eq!(render(some), Ok(Some(json!({"k2": 2}))));
}

#[test]
fn variables_use_variables() {
    let text = r#"
vars: {c: "{{ vars.a ~ vars.b }}", a: "{{ pod.name }}", b: ["{{ vars.a }}"], missing: "{{ pod.labels.q }}"}
body: ["{{ vars.b[0] }}", "{{ vars.missing | default('none') }}"]
"#;
    assert_eq!(render(text), Ok(Some(json!(["web", "none"]))));
    let circle = r#"{vars: {a: "{{ vars.b }}", b: "x{{ vars['a'] }}"}, body: 1}"#;
    assert!(render(circle).unwrap_err().contains("uses itself"));
    let failing = r#"{vars: {a: "{{ pod.labels.q ~ 'x' }}"}, body: "{{ vars.a }}"}"#;
    let error = render(failing).unwrap_err();
    assert!(error.contains("undefined"), "{error}");
}

#[test]
fn variable_is_evaluated_once() {
    // Each variable uses the one before it twice, so evaluation without a memory would take 2^40 steps.
    let doubled: Vec<String> =
        (1..40).map(|n| format!("v{n}: \"{{{{ vars.v{} or vars.v{} }}}}\"", n - 1, n - 1)).collect();
    let text =
        format!("vars: {{v0: \"{{{{ pod.labels.e }}}}\", {}}}\nbody: \"{{{{ vars.v39 }}}}\"", doubled.join(", "));
    assert_eq!(render(&text), Ok(Some(json!(""))));
}

#[test]
fn digest_covers_all_but_mark_and_digest() {
    let text = r#"
a: 1
m: "{{ mark }}"
deep: {d: "{{ digest }}", b: "{{ pod.name }}"}
text: "{{ pod.name }} by {{ mark }}, {{ digest }}"
list: [{tag: owner, value: "{{ mark }}"}, {tag: note, value: "{{ pod.name }}"}, {tag: d, value: "{{ digest }}"}]
texts: ["{{ mark }}", "{{ pod.name }}"]
each: {$each: "{{ pod.labels | items }}", $value: {k: "{{ it[0] }}", d: "{{ digest }}"}}
meta: {m: "{{ mark }}", $each: "{{ pod.labels | items }}", $key: "{{ it[0] }}{{ digest }}", $value: "{{ it[1] }}"}
whole: "{{ {'d': digest, 'n': pod.name} }}"
"#;
    let Compiled { template, scope } = compile(text).unwrap();
    let zero = scope.with(vec![(Word::Digest, Value::from("0"))]);
    let mut body = template.render_digested(&zero).unwrap().unwrap();
    let covered = json!({
        "a": 1,
        "deep": {"b": "web"},
        "text": "web by m, 0",
        "list": [{"tag": "owner"}, {"tag": "note", "value": "web"}, {"tag": "d"}],
        "texts": ["web"],
        "each": [{"k": "a", "d": "0"}, {"k": "b.c", "d": "0"}, {"k": "e", "d": "0"}],
        "meta": {"a0": "1", "b.c0": "2", "e0": ""},
        "whole": {"d": "0", "n": "web"},
    });
    assert_eq!(body, covered);
    template.fill(&mut body, &scope).unwrap();
    assert_eq!(Some(body), template.render(&scope).unwrap());
}

#[test]
fn wrong_templates_are_errors_with_places() {
    for (text, error) in [
        ("a:\n  b: \"{{ pdo.name }}\"", "2:6 there is no word `pdo`, in `{{ pdo.name }}`; write `pod`"),
        ("a: \"{% if x %}{% endif %}\"", "1:4 statements such as {% if %} are not supported"),
        ("a: \"{{ pod.name \"", "1:4 the template"),
        ("a: \"{{ }}\"", "1:4 the template `{{  }}` is wrong"),
        ("a: \"{{ pod.name + }}\"", "1:4 the template `{{ pod.name + }}` is wrong"),
        ("a: null", "1:4 the value is null"),
        ("a: {$each: \"{{ [1] }}\"}", "1:4 `$each` and `$value` belong together"),
        ("a: {$each: \"{{ [1] }}\", $value: 1, b: 2}", "1:12 `$each` without `$key` makes a list"),
        ("a: {$each: [1], $value: 1}", "1:12 `$each` is not one template"),
        ("a: {$each: \"{{ pod.nmae }}\", $value: 1}", "1:12 `pod` has no member `nmae`"),
        ("a: |\n  {{ pod.name }}\n  x {{ pod.nmae }}", "3:5 `pod` has no member `nmae`"),
        ("a: \"b\n  é {{ pod.nmae }}\"", "2:5 `pod` has no member `nmae`"),
        ("a: \"{{ pod.nmae }}\"\nb: \"{{ pod.name }}\"", "1:4 `pod` has no member `nmae`"),
        ("{vars: {a: \"{{ vars.b }}\", b: \"{{ vars.a }}\"}, body: \"{{ vars.a }}\"}", "the variable `a` uses itself"),
        ("a: \"{{ it }}\"", "1:4 `body` cannot use `it`"),
        ("{vars: {a: \"{{ omit }}\"}, body: 1}", "1:12 `vars` cannot use `omit`"),
        ("{vars: {a: \"{{ change.id }}\"}, body: \"{{ vars.a }}\"}", "`body` cannot use `vars.a`, which uses `change`"),
    ] {
        let found = compile(text).err().unwrap_or_default();
        assert!(found.contains(error), "{text}: {found}");
    }
}

/// Whether two records are compared as equal.
fn is_same(template: &str, one: &Json, other: &Json) -> bool {
    let template = compile(template).unwrap().template;
    template.view(one).fingerprint() == template.view(other).fingerprint()
}

#[test]
fn view_leaves_out_members_of_others() {
    let body = r#"{a: "{{ pod.name }}", m: {b: 1, c: "{{ id }}"}, l: [{x: 1}, {y: "{{ id }}"}]}"#;
    let sent = render(body).unwrap().unwrap();
    let shown = json!({
        "a": "web", "id": 7, "m": {"b": 1.0, "c": "i", "theirs": true},
        "l": [{"x": 1, "theirs": {}}, {"y": "i", "theirs": [1]}],
    });
    assert!(is_same(body, &sent, &shown));
    for (pointer, edited) in [
        ("/a", json!("other")),
        ("/a", Json::Null),
        ("/m", json!("text")),
        ("/m/b", json!(2)),
        ("/m/c", json!(["i"])),
        ("/l", json!([{"x": 1}])),
        ("/l", json!([{"y": "i"}, {"x": 1}])),
        ("/l", json!([{"x": 1}, {"y": "i"}, 1])),
        ("/l/1/y", json!("j")),
    ] {
        let mut other = shown.clone();
        *other.pointer_mut(pointer).unwrap() = edited;
        assert!(!is_same(body, &sent, &other), "{other}");
    }
}

#[test]
fn view_has_no_empty_members() {
    let body = r#"{t: "{{ '' }}", m: {n: "{{ pod.name }}"}, l: "{{ [] }}", z: "{{ 0 }}"}"#;
    for shown in [json!({"z": 0}), json!({"z": 0, "t": null, "m": {"n": null}, "l": []}), json!({"z": 0.0, "t": ""})] {
        assert!(is_same(body, &json!({"t": "", "m": {"n": ""}, "l": [], "z": 0}), &shown), "{shown}");
    }
    for shown in [json!({}), json!({"z": false}), json!({"z": 0, "l": [""]}), json!({"z": 0, "t": " "})] {
        assert!(!is_same(body, &json!({"z": 0}), &shown), "{shown}");
    }
}

#[test]
fn view_has_all_members_with_made_names() {
    let body = r#"{$each: "{{ pod.labels | items }}", $key: "{{ it[0] }}", $value: {v: "{{ it[1] }}"}, f: {x: 1}}"#;
    let sent = json!({"k": {"v": "1"}, "f": {"x": 1}});
    assert!(is_same(body, &sent, &json!({"k": {"v": "1", "theirs": 1}, "f": {"x": 1, "theirs": 1}, "e": ""})));
    assert!(!is_same(body, &sent, &json!({"k": {"v": "1"}, "f": {"x": 1}, "theirs": 1})));
    let body = r#"{m: "{{ pod.labels }}"}"#;
    assert!(!is_same(body, &json!({"m": {"a": "1"}}), &json!({"m": {"a": "1", "theirs": 1}})));
    let body = r#"{l: {$each: "{{ pod.labels }}", $value: {v: "{{ it }}"}}}"#;
    assert!(is_same(body, &json!({"l": [{"v": "a"}]}), &json!({"l": [{"v": "a", "theirs": 1}]})));
    assert!(!is_same(body, &json!({"l": [{"v": "a"}]}), &json!({"l": [{"v": "a"}, {"v": "b"}]})));
}

#[test]
fn omitted_element_does_not_move_views() {
    let body = r#"{l: ["{{ omit }}", {a: 1}, {b: 1}]}"#;
    let sent = render(body).unwrap().unwrap();
    assert_eq!(sent, json!({"l": [{"a": 1}, {"b": 1}]}));
    assert!(!is_same(body, &sent, &json!({"l": [{"a": 2}, {"b": 1}]})));
    assert!(is_same(body, &sent, &sent));
}
