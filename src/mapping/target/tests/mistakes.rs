//! Mistakes in files that would send nothing, or that would delete what another target wrote.

use super::{super::shared_lists, *};

const WHOLE: &str = r#"
targets:
  - name: t
    url: http://a
    body: {name: "{{ pod.name }}", owner: "{{ mark }}"}
    put: {path: "x/{{ id }}"}
    delete: {path: "x/{{ id }}"}
    list: {path: x, items: /r}
    item: {id: /id, mark: /owner, body: ""}
"#;

#[test]
fn members_without_effect_are_explained() {
    let name = r#"name: "{{ pod.name }}""#;
    let batch = |body: &str| {
        format!("{WHOLE}    batch: [{{path: b, {body}: {{all: 1}}, put: [\"{{{{ body }}}}\"], max: {{records: 5}}}}]\n")
    };
    for (text, error) in [
        (batch("body"), "the batch has a body without `operations`; write `{{ operations }}`"),
        (batch("form"), "the batch has a body without `operations`"),
        (
            WHOLE.replace("body: \"\"", "digest: /digest"),
            "nothing stores the digest that `item.digest` reads; write `{{ digest }}`",
        ),
        (
            WHOLE.replace("owner: \"{{ mark }}\"", "owner: me"),
            "nothing stores the owner mark that `item.mark` reads; write `{{ mark }}` into a member of `body`",
        ),
        (
            WHOLE.replace("items: /r", "items: /r, next: {then: /cursor}"),
            "`next.then` reads a page that no request asks for; use `{{ page }}`",
        ),
        (
            WHOLE.replace(name, r#"name: {$each: "{{ pod.name }}", $value: "{{ it }}"}"#),
            "for a running pod, `$each` is string, not a list",
        ),
        (
            WHOLE.replace(name, r#"name: {$eech: "{{ placement.podIPs }}", $value: "{{ it }}"}"#),
            "there is no `$eech`; write `$each`",
        ),
        (
            WHOLE.replace("put: {", "put: {headers: {x: a, X: b}, "),
            "the header `X` is set twice; remove one of the two",
        ),
        (WHOLE.replace("id: /id", "id: /i~2"), "`/i~2` is not a JSON Pointer: `~` is followed by neither 0 nor 1"),
        (WHOLE.replace("path: \"x/", "path: \"x\\\\"), "the path holds `\\`; write `/`, or the character as `%5C`"),
        (WHOLE.replace(name, r#"name: {$key: "{{ it }}", $value: a}"#), "`$each` and `$value` belong together"),
    ] {
        let found = try_target(&text).unwrap_err();
        assert!(found.contains(error), "{error}: {found}");
    }
    for text in [
        WHOLE.replace("owner: \"{{ mark }}\"", "owner: me") + "    exclusive: true\n",
        WHOLE.replace("owner: \"{{ mark }}\"", "owner: me").replace("put: {", "put: {query: {by: \"{{ mark }}\"}, "),
        WHOLE.replace(name, r##"$ref: "#/a", name: {$each: "{{ pod.labels }}", $value: "{{ it }}"}"##),
        batch("body").replace("{all: 1}", r#"{all: "{{ operations }}"}"#),
    ] {
        target(&text);
    }
}

/// The errors about records that two targets or kinds take for theirs.
fn shared(text: &str) -> String {
    let loaded = load::load("targets.yaml", text).unwrap_or_else(|errors| panic!("{errors:?}"));
    let compiled = |target: &load::LoadedTarget| Target::compile(&target.spec, &owner()).unwrap();
    let targets: Vec<_> = loaded.targets.iter().map(|target| (target, compiled(target))).collect();
    shared_lists::check(&targets).iter().map(ToString::to_string).collect()
}

#[test]
fn targets_that_share_records_are_refused() {
    let check = |changes: [&str; 2]| {
        let (_, members) = WHOLE.split_once("name: t\n").unwrap();
        let mut text = "targets:\n".to_owned();
        for (name, change) in ["one", "two"].into_iter().zip(changes) {
            let (from, to) = change.split_once(" -> ").unwrap_or(("", ""));
            text += &format!(
                "  - name: {name}\n{}",
                if from.is_empty() { members.into() } else { members.replace(from, to) }
            );
        }
        shared(&text)
    };
    let of_pods = "url: -> select: {when: \"{{ pod.namespace == 'a' }}\"}\n    url:";
    let error = check(["", of_pods]);
    assert!(error.starts_with("targets.yaml:9:11: `one` and `two` take the same records for theirs"), "{error}");
    assert!(error.contains(r#"add `mark: "pod-registrar:{{ cluster.id }}:{{ owner }}:two"`"#), "{error}");
    assert!(!check(["http://a -> http://a/", ""]).is_empty(), "it is the same address");
    let exclusive = "item: {id: /id, mark: /owner -> exclusive: true\n    item: {id: /id";
    let marked = "url: -> mark: \"{{ cluster.id }} two\"\n    url:";
    for changes in [[exclusive, ""], ["", exclusive], [exclusive, marked], [marked, marked]] {
        assert!(!check(changes).is_empty(), "{changes:?}");
    }
    for other in [
        marked,
        "http://a -> http://b",
        "list: {path: x -> list: {path: y",
        "items: /r -> items: /q",
        "mark: /owner -> mark: /name",
        "list: {path: x -> list: {path: x, headers: {X-Tenant: b}",
        "url: -> auth: {bearer: {tokenFile: /a}}\n    url:",
    ] {
        assert_eq!(check(["", other]), "", "{other}");
    }
}

const KINDS: &str = r#"targets:
  - name: t
    url: http://a
    kinds:
      machine:
        body: {name: "{{ pod.name }}", owner: "{{ mark }}"}
        put: {path: "x/{{ id }}"}
        delete: {path: "x/{{ id }}"}
        list: {path: x, items: /r}
        item: {id: /id, mark: /owner, body: ""}
      address:
        each: "{{ placement.podIPs }}"
        id: "{{ pod.uid }}-{{ each }}"
        body: {address: "{{ each }}", owner: "{{ mark }}"}
        put: {path: "y/{{ id }}"}
        delete: {path: "y/{{ id }}"}
        list: {path: y, items: /r}
        item: {id: /id, mark: /owner, body: ""}
"#;

#[test]
fn kinds_that_share_records_are_refused() {
    assert_eq!(shared(KINDS), "");
    let one_list = KINDS.replace("list: {path: y", "list: {path: x");
    let error = shared(&one_list);
    assert!(
        error.starts_with("targets.yaml:11:7: the kinds `machine` and `address` take the same records for theirs"),
        "{error}"
    );
    let marker = "\n  |       address:\n  |       ^";
    assert!(
        error.contains("; give each a `list` that shows only its own records, or ") && error.ends_with(marker),
        "{error}"
    );
    let last = one_list.rfind("mark: /owner").unwrap();
    let (before, of_address) = one_list.split_at(last);
    // Two marks, or parts of one record: each says which records have it, or all have both.
    for own in ["mark: /address_owner", "gone: /no_address, mark: /owner"] {
        assert_eq!(shared(&format!("{before}{}", of_address.replace("mark: /owner", own))), "", "{own}");
    }
    let parts = one_list.replace("        each: \"{{ placement.podIPs }}\"\n", "").replace("-{{ each }}\"", "\"");
    let parts = parts
        .replace("{address: \"{{ each }}\"", "{address: a")
        .replace("      machine:\n", "      machine:\n        id: \"{{ pod.uid }}\"\n");
    assert_eq!(shared(&parts), "");
    let exclusive = one_list.replace("    kinds:", "    exclusive: true\n    kinds:").replace(", mark: /owner", "");
    assert!(!shared(&exclusive).is_empty());
}

#[test]
fn kind_whose_mark_nothing_stores_is_refused() {
    let of = KINDS.replace("      address:\n", "      address:\n        of: machine\n");
    let refused = |text: &str| try_target(text).err().unwrap_or_default();
    assert_eq!(refused(&of), "");
    let unmarked = of.replace("address: \"{{ each }}\", owner: \"{{ mark }}\"", "address: \"{{ each }}\"");
    let error = refused(&unmarked);
    let what =
        "nothing stores the owner mark that `item.mark` reads from records of the kind `address`; write `{{ mark }}`";
    assert!(error.starts_with("targets.yaml:19:31: ") && error.contains(what), "{error}");
    for safe in [
        unmarked
            .replace("path: y, items", "path: \"x/?fields=address\", items")
            .replace("path: \"x/?", "path: x, query: {fields: \"")
            .replace("address\", items", "address\"}, items"),
        unmarked.replace("    kinds:", "    exclusive: true\n    kinds:"),
        unmarked.replace(
            "y/{{ id }}\"}\n        delete",
            "y/{{ id }}\", headers: {X-Owner: \"{{ mark }}\"}}\n        delete",
        ),
    ] {
        assert_eq!(refused(&safe), "", "{safe}");
    }
}

#[test]
fn patch_that_hides_a_difference_is_refused() {
    const UPDATE: &str = "create: {path: x}\nfind: {path: \"x/{{ id }}\", at: \"\"}\n";
    const LIST: &str = "list: {path: x, items: /r}\nitem: {id: /id, mark: /owner, body: \"\"}\n";
    const DIGEST: &str = "item: {id: /id, mark: /owner, digest: /digest}\n";
    let refused = |body: &str, read: &str, update: &str| {
        let members = format!("body: {body}\n{UPDATE}{read}update: {update}");
        try_target(&small(&members).replace("    put: {path: \"x/{{ id }}\"}\n", "")).err().unwrap_or_default()
    };
    let omits = r#"{owner: "{{ mark }}", digest: "{{ digest }}", m: {o: "{{ placement.node | default(omit) }}"}}"#;
    let names = r#"{owner: "{{ mark }}", digest: "{{ digest }}", m: "{{ pod.labels }}"}"#;
    let fixed = r#"{owner: "{{ mark }}", digest: "{{ digest }}", m: "{{ placement.node | default('') }}"}"#;
    let patch = r#"{path: "x/{{ id }}"}"#;
    for body in [omits, names] {
        let error = refused(body, DIGEST, patch);
        assert!(error.contains("`update` is a PATCH: what `body` leaves out may stay in the registry"), "{error}");
        assert!(error.contains("add `clear: true` to send null for it, or `clear: false` if"), "{error}");
        for (read, update) in [
            (LIST, patch),
            (DIGEST, r#"{path: "x/{{ id }}", clear: false}"#),
            (DIGEST, r#"{path: "x/{{ id }}", method: PUT}"#),
        ] {
            assert_eq!(refused(body, read, update), "", "{body} {read} {update}");
        }
    }
    assert_eq!(refused(fixed, DIGEST, patch), "");
    let clear = r#"{path: "x/{{ id }}", clear: true}"#;
    assert_eq!((refused(omits, DIGEST, clear), refused(names, LIST, clear)), (String::new(), String::new()));
    let error = refused(names, DIGEST, clear);
    assert!(error.contains("`clear` of `update` does not know the members of a map whose names are"), "{error}");
    let put = format!(
        "body: {omits}\n{DIGEST}find: {{path: \"x/{{{{ id }}}}\", at: \"\"}}\nput: {{method: PATCH, path: \"x/{{{{ id }}}}\"}}"
    );
    let error = try_target(&small(&put)).err().unwrap_or_default();
    assert!(error.contains("`put` is a PATCH"), "{error}");
}

#[test]
fn update_of_all_records_is_refused() {
    const REST: &str =
        "create: {path: x, remote: /id}\nfind: {path: \"x/{{ id }}\", at: \"\"}\nitem: {id: /id, remote: /id}\n";
    let refused = |update: &str| {
        let members = format!("body: {{n: \"{{{{ pod.uid }}}}\"}}\n{REST}update: {update}");
        try_target(&small(&members).replace("    put: {path: \"x/{{ id }}\"}\n", "")).err().unwrap_or_default()
    };
    for all in ["{path: x}", "{path: x, method: PUT}", "{path: \"x/{{ cluster.id }}\", body: {data: \"{{ body }}\"}}"] {
        let error = refused(all);
        assert!(error.contains("`update` does not say which record, so it may change all of them"), "{all}: {error}");
    }
    for one in [
        "{path: \"x/{{ remote }}\"}",
        "{path: x, query: {name: \"eq.{{ pod.name }}\"}}",
        "{path: x, body: [{id: \"{{ remote }}\", data: \"{{ body }}\"}]}",
        "{path: x, method: POST}",
    ] {
        assert_eq!(refused(one), "", "{one}");
    }
    let error = try_target(&small("put: {method: PATCH, path: x}")).err().unwrap_or_default();
    assert!(error.contains("`put` does not say which record"), "{error}");
    assert!(try_target(&small("put: {method: PUT, path: register}")).is_ok(), "the body can name the record");
}

#[test]
fn word_unknown_after_a_start_is_refused() {
    let item = "list: {path: x, items: /r}\nitem: {id: /id}\n";
    let put =
        r#"put: {path: "x/{{ id }}", seen: "{{ header.etag }}", headers: {If-Match: "{{ seen | default(omit) }}"}}"#;
    let batch = r#"batch: [{path: b, put: [{r: "{{ remote | default(0) }}"}], max: {records: 2}}]"#;
    for (members, error) in [
        (
            r#"delete: {path: "x/{{ remote }}"}"#.to_owned(),
            "`delete` uses `remote`, and nothing reads it; add `remote` to",
        ),
        (
            format!("{item}delete: {{path: \"x/{{{{ remote }}}}\"}}\nput: {{path: \"x/{{{{ id }}}}\", remote: /n}}"),
            "`delete` uses `remote`, which `item` does not read, so it is unknown after a start; add `remote` to `item`",
        ),
        (format!("{item}{put}"), "`put` uses `seen`, which `item` does not read"),
        (format!("{item}{batch}"), "`batch` uses `remote`, which `item` does not read"),
    ] {
        let found = try_target(&small(&members)).err().unwrap_or_default();
        assert!(found.contains(error), "{members}: {found}");
    }
    for members in [
        format!("delete: {{path: \"x/{{{{ remote }}}}\"}}\n{READS_REMOTE}"),
        format!("{}{put}", item.replace("/id}", "/id, seen: /v}")),
        format!("{}delete: {{path: \"x/{{{{ remote }}}}\"}}", item.replace("/id}", "/id, remote: /n}")),
        put.to_owned(),
    ] {
        assert_eq!(try_target(&small(&members)).err(), None, "{members}");
    }
}

#[test]
fn reading_of_nothing_is_refused() {
    let list = |items: &str, id: &str, mark: &str| {
        format!("exclusive: true\nlist: {{path: x, items: {items}}}\nitem: {{id: {id}, mark: {mark}}}")
    };
    for (members, name) in [
        (list("/r", "/id", "\"{{ mark }}\""), "item.mark"),
        (list("/r", "\"{{ 'x' }}\"", "/owner"), "item.id"),
        (list("\"{{ [] }}\"", "/id", "/owner"), "items"),
    ] {
        let error = try_target(&small(&members)).err().unwrap_or_default();
        assert!(error.contains(&format!("`{name}` reads nothing of the answer; use a JSON Pointer")), "{error}");
    }
    let templates = list("\"{{ answer.r }}\"", "\"{{ item.id | lower }}\"", "\"{{ item.owner }}\"");
    assert_eq!(try_target(&small(&templates)).err(), None);
}

#[test]
fn two_records_with_one_id_are_refused() {
    let one_id = KINDS.replace("id: \"{{ pod.uid }}-{{ each }}\"", "id: \"{{ pod.uid }}\"");
    let error = try_target(&one_id).err().unwrap_or_default();
    assert!(error.contains("for a running pod, two records of the pod have the id"), "{error}");
    let of_one = one_id.replace(
        "        id: \"{{ pod.uid }}\"",
        "        when: \"{{ ':' not in each }}\"\n        id: \"{{ pod.uid }}\"",
    );
    assert!(try_target(&of_one).is_ok());
}

#[test]
fn request_that_is_never_complete_is_refused() {
    let list = "list: {path: x, query: {p: \"{{ page }}\"}, items: /r}\nitem: {id: /id}";
    let error = try_target(&small(list)).err().unwrap_or_default();
    assert!(error.contains("the value is undefined; give a fallback with `| default(…)`"), "{error}");
    let steps = "prepare: [{name: a, create: {path: a, body: {b: \"{{ prepared.b.id }}\"}}, keep: {id: /id}}, {name: b, create: {path: b}, keep: {id: /id}}]";
    let error = try_target(&small(steps)).err().unwrap_or_default();
    assert!(error.contains("prepared"), "{error}");
    let ordered =
        steps.replace("name: a, create: {path: a, body: {b: \"{{ prepared.b.id }}\"}}", "name: a, create: {path: a}");
    assert_eq!(try_target(&small(&ordered)).err(), None);
}

#[test]
fn list_in_the_query_repeats_its_parameter() {
    let query = r#"{"f[]": [a b, "{{ id }}", "{{ remote | default(omit) }}"], g: 1}"#;
    let target = target(&small(&format!("{READS_REMOTE}delete: {{path: x, query: {query}}}")));
    let url = delete(&target, "i", &Held { remote: Some(json!(7)), seen: None }).unwrap().url;
    assert_eq!(url, "https://r.example/api/x?f%5B%5D=a%20b&f%5B%5D=i&f%5B%5D=7&g=1");
    assert!(delete(&target, "i", &Held::default()).is_err(), "a filter is left out");
}

#[test]
fn record_that_no_request_can_write_is_known() {
    const ASSIGNED: &str = "create: {path: x, headers: {X-Team: \"{{ pod.annotations.team | default('') }}\"}}\n\
        update: {path: \"x/{{ remote }}\"}\nlist: {path: x, items: /r}\nitem: {id: /id, remote: /n}";
    let target = target(&small(ASSIGNED).replace("    put: {path: \"x/{{ id }}\"}\n", ""));
    let tried = |team: &str, held: Option<&Held>| {
        let mut record = sample(0);
        record.pod.annotations.insert("team".to_owned(), team.to_owned());
        let mut records = target.records(&record, &target.term(1, &json!({})), &|_, _| None).unwrap().unwrap();
        let RecordRendering::Rendered(rendered) = records.remove(0).state else { panic!() };
        target.kinds[0].try_write(&rendered, held).map_err(|error| error.to_string())
    };
    assert_eq!(tried("shop", None), Ok(()));
    let error = tried("sh\u{f6}p", None).unwrap_err();
    assert!(error.contains("the value of the header holds a character that is not printable ASCII"), "{error}");
    assert_eq!(
        tried("sh\u{f6}p", Some(&Held { remote: Some(json!(7)), seen: None })),
        Ok(()),
        "an update has no header"
    );
    assert_eq!(tried("shop", Some(&Held::default())), Ok(()), "a lookup tells what the registry assigned");
}
