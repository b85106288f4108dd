//! Lists of several pages, and lists that fail.

use super::*;
use crate::mapping::{load, target::Target};
use crate::model::ids::RecordOwner;
use serde_json::json;

fn target(list: &str) -> Target {
    target_with(list, "put: {path: \"x/{{ id }}\"}\n", "")
}

/// The same with other requests that write, and with more members of `item`.
fn target_with(list: &str, writes: &str, item: &str) -> Target {
    target_of(list, writes, item, 3)
}

fn target_of(list: &str, writes: &str, item: &str, pages: u32) -> Target {
    let text = format!(
        r#"
targets:
  - name: t
    url: https://r.example/api/
    limits: {{pages: {pages}}}
    body: {{owner: "{{{{ mark }}}}", digest: "{{{{ digest }}}}"}}
    {writes}
    delete: {{path: "x/{{{{ id }}}}"}}
    list: {list}
    item: {{{item}id: /id, mark: /owner, digest: /digest}}
"#
    );
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let loaded = load::load("f", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    Target::compile(&loaded.targets[0].spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// Reads pages until the list ends or fails. Returns the addresses that were asked for, and the number of items.
fn read(list: &str, pages: &[(Json, &str)]) -> (Vec<String>, Result<usize, Error>) {
    read_of(&target(list), pages)
}

fn read_of(target: &Target, pages: &[(Json, &str)]) -> (Vec<String>, Result<usize, Error>) {
    let term = target.term(1, &json!({}));
    let mut reader = target.kinds[0].read_list(&term).unwrap().unwrap();
    let (mut urls, mut items) = (Vec::new(), 0);
    for (page, link) in pages.iter().chain(pages.last()) {
        let request = match reader.request() {
            Ok(Some(request)) => request,
            Ok(None) => return (urls, Ok(items)),
            Err(error) => return (urls, Err(error)),
        };
        urls.push(request.url.strip_prefix("https://r.example/api/").unwrap().to_owned());
        let answer = Answer::new(200, [("Link".to_owned(), (*link).to_owned())], page.to_string().as_bytes());
        match reader.take(&answer, |_| Ok(())) {
            Ok(found) => items += found,
            Err(error) => return (urls, Err(error)),
        }
    }
    (urls, Ok(items))
}

#[test]
fn pages_are_followed_to_the_end() {
    let url = r#"{path: x, query: {limit: 2}, items: /r, next: {url: /next}}"#;
    let two =
        [(json!({"r": [{}, {}], "next": "http://inside/api/x?page=2"}), ""), (json!({"r": [{}], "next": null}), "")];
    assert_eq!(read(url, &two), (vec!["x?limit=2".to_owned(), "x?page=2".to_owned()], Ok(3)));
    let link = r#"{path: x, items: "", next: {link: true}}"#;
    let two = [(json!([{}]), r#"</api/x?p=1>; rel=prev, </api/x?p=2,3>; title="a"; rel="last next""#), (json!([]), "")];
    assert_eq!(read(link, &two), (vec!["x".to_owned(), "x?p=2,3".to_owned()], Ok(1)));
    let then = r#"{path: x, query: {c: "{{ page | default(omit) }}"}, items: /r, next: {then: /cursor}}"#;
    let two = [(json!({"r": [{}], "cursor": "a b"}), ""), (json!({"r": [], "cursor": ""}), "")];
    assert_eq!(read(then, &two), (vec!["x".to_owned(), "x?c=a%20b".to_owned()], Ok(1)));
    let start = r#"{path: x, query: {o: "{{ page }}"}, items: /r, next: {start: 0, then: "{{ page + (answer.r | length) }}", while: "{{ answer.r | length == 2 }}"}}"#;
    let two = [(json!({"r": [{}, {}]}), ""), (json!({"r": [{}]}), "")];
    assert_eq!(read(start, &two), (vec!["x?o=0".to_owned(), "x?o=2".to_owned()], Ok(3)));
}

#[test]
fn list_that_may_be_incomplete_fails() {
    let next = "{path: x, query: {limit: 2}, items: /r, count: /n, next: {url: /next}}";
    let page = |next: &str| vec![(json!({"r": [{}, {}], "n": 2, "next": next}), "")];
    assert_eq!(read(next, &page("/api/x?limit=2")).1, Err(Error::Repeated(2)));
    for wrong in ["https://evil.example/x", "/other", "//evil/api", "/api/../x"] {
        assert_eq!(read(next, &page(wrong)).1, Err(Error::Address(wrong.to_owned())), "{wrong}");
    }
    assert_eq!(read(next, &[(json!({"r": [], "n": 3}), "")]).1, Err(Error::Count { read: 0, counted: 3 }));
    assert_eq!(read(next, &[(json!({"r": []}), "")]).1, Err(Error::NoCount));
    assert_eq!(read(next, &[(json!({"n": 0}), "")]).1, Err(Error::NoItems));
    assert_eq!(read(next, &[(json!({"r": {}, "n": 0}), "")]).1, Err(Error::NoItems));
    let single = "{path: x, query: {limit: 2}, items: /r}";
    assert_eq!(read(single, &[(json!({"r": [{}, {}]}), "")]).1, Err(Error::MayBeCut(2)));
    assert_eq!(read(single, &[(json!({"r": [{}]}), "")]).1, Ok(1));
}

#[test]
fn falling_count_fails_where_ids_are_assigned() {
    // A record of the first page was deleted before the second one was read, which therefore lacks another.
    let list = "{path: x, items: /r, count: /n, next: {url: /next}}";
    let pages = |first: u64, second: u64| {
        [(json!({"r": [{}, {}], "n": first, "next": "/api/x?o=2"}), ""), (json!({"r": [{}], "n": second}), "")]
    };
    assert_eq!(read(list, &pages(4, 3)).1, Ok(3), "a record that is put again has the same id");
    let write = r#"create: {path: x, remote: /id}
    update: {path: "x/{{ remote }}"}
"#;
    let assigning = |find: &str| target_with(list, &format!("{write}{find}"), "remote: /id, ");
    assert_eq!(read_of(&assigning(""), &pages(4, 3)).1, Err(Error::CountFell { before: 4, after: 3 }));
    assert_eq!(read_of(&assigning(""), &pages(2, 3)).1, Ok(3), "a new record at the end hides no other");
    let find = "    find: {path: \"x/{{ id }}\", at: \"\"}\n";
    assert_eq!(read_of(&assigning(find), &pages(4, 3)).1, Ok(3), "what is missing is looked up");
}

#[test]
fn endless_list_fails() {
    let list =
        r#"{path: x, query: {o: "{{ page | default(0) }}"}, items: /r, next: {then: "{{ (page | default(0)) + 1 }}"}}"#;
    let page = (json!({"r": [{}]}), "");
    let pages = [page.clone(), page.clone(), page.clone(), page];
    assert_eq!(read(list, &pages).1, Err(Error::TooManyPages(3)));
    let stuck = r#"{path: x, query: {o: "{{ page | default(0) }}"}, items: /r, next: {then: /same}}"#;
    let page = (json!({"r": [{}], "same": 0}), "");
    assert_eq!(read(stuck, &[page.clone(), page]).1, Err(Error::Repeated(2)));
}

#[test]
fn pages_without_records_end_the_list() {
    let list = |end: &str| {
        let next = format!(r#"next: {{start: 0, then: "{{{{ page + 1 }}}}"{end}}}"#);
        let list = format!(r#"{{path: x, query: {{o: "{{{{ page }}}}"}}, items: /r, {next}}}"#);
        target_of(&list, "put: {path: \"x/{{ id }}\"}", "", 300)
    };
    let pages = |records: usize| {
        let page = |at| (if at < records { json!({"r": [{}]}) } else { json!({"r": []}) }, "");
        (0..200).map(page).collect::<Vec<_>>()
    };
    let (urls, result) = read_of(&list(""), &pages(2));
    assert_eq!((urls.len(), result), (102, Err(Error::Endless(100))));
    let (_, result) = read_of(&list(r#", while: "{{ page < 150 }}""#), &pages(2));
    assert_eq!(result, Ok(2), "`while` says when it ends");
}

/// A registry limits what it returns, and says so with the status and the range.
#[test]
fn part_of_the_records_is_no_list() {
    let answer = |list: &str, status: u16, range: &str| {
        let target = target(list);
        let mut reader = target.kinds[0].read_list(&target.term(1, &json!({}))).unwrap().unwrap();
        reader.request().unwrap();
        let headers = Some(range).filter(|range| !range.is_empty()).map(|range| ("Content-Range".into(), range.into()));
        reader.take(&Answer::new(status, headers, b"[{}, {}]"), |_| Ok(()))
    };
    let single = "{path: x, items: ''}";
    let part = |part: &str| Err(Error::Partial(part.to_owned()));
    for status in [200, 206] {
        assert_eq!(answer(single, status, "items 0-1/17"), part("Content-Range: items 0-1/17"));
        assert_eq!(answer(single, status, "0-1/2"), Ok(2));
    }
    assert_eq!(answer(single, 206, ""), part("status 206"));
    assert_eq!(answer(single, 206, "0-1/*"), part("status 206"));
    assert_eq!(answer(single, 200, "0-1/*"), Ok(2));
    let ruled = "{path: x, items: '', outcome: [{status: 206, is: done}]}";
    assert_eq!(answer(ruled, 206, ""), Ok(2));
    assert_eq!(answer(ruled, 206, "0-1/3"), part("Content-Range: 0-1/3"));
    let paged = "{path: x, items: '', next: {link: true}}";
    assert_eq!(answer(paged, 206, ""), Ok(2));
    assert_eq!(answer(paged, 206, "15-16/17"), Ok(2), "the last page");
    assert_eq!(answer(paged, 206, "10-11/17"), part("Content-Range: 10-11/17"));
}

#[test]
fn refused_page_fails_the_list() {
    let target = target("{path: x, items: /r}");
    let mut reader = target.kinds[0].read_list(&target.term(1, &json!({}))).unwrap().unwrap();
    reader.request().unwrap();
    for (status, outcome) in [(500, RuleOutcome::Uncertain), (401, RuleOutcome::Pause), (404, RuleOutcome::Absent)] {
        let Err(Error::Refused(judgement)) = reader.take(&Answer::new(status, [], b"no"), |_| Ok(())) else {
            panic!("{status}")
        };
        assert_eq!((judgement.outcome, judgement.reason), (outcome, format!("status {status}: no")));
    }
    let html = Answer::new(200, [("content-type".to_owned(), "text/html".to_owned())], b"<p>");
    assert!(matches!(reader.take(&html, |_| Ok(())), Err(Error::Refused(_))));
}

#[test]
fn refusal_can_say_that_the_list_is_empty() {
    let list = r#"{path: x, query: {p: "{{ page }}"}, items: "{{ [] if status == 404 else answer.r }}", count: /n,
      next: {start: 1, then: "{{ page + 1 }}", while: "{{ answer.p < answer.pages }}"}, outcome: [{status: 404, is: done}]}"#;
    let target = target(list);
    let term = target.term(1, &json!({}));
    let page = (200, json!({"r": [{"id": "a"}], "n": 1, "p": 1, "pages": 2}));
    let missing = (404, json!({"error": "no records"}));
    for (pages, all) in [(vec![missing.clone()], Ok(0)), (vec![page, missing], Ok(1))] {
        let mut reader = target.kinds[0].read_list(&term).unwrap().unwrap();
        let mut read = Ok(0);
        for (status, body) in pages {
            assert!(reader.request().unwrap().is_some());
            let answer = Answer::new(status, [], body.to_string().as_bytes());
            read = reader.take(&answer, |_| Ok(())).and_then(|found| read.map(|read: usize| read + found));
        }
        assert_eq!((read, reader.request().map(|next| next.is_some())), (all, Ok(false)));
    }
    // It cannot end before the number of records that the registry counted.
    let mut reader = target.kinds[0].read_list(&term).unwrap().unwrap();
    let short = json!({"r": [{"id": "a"}], "n": 2, "p": 1, "pages": 2});
    for (status, body, is_read) in [(200, short, true), (404, json!({}), false)] {
        reader.request().unwrap();
        let answer = Answer::new(status, [], body.to_string().as_bytes());
        assert_eq!(reader.take(&answer, |_| Ok(())).is_ok(), is_read);
    }
}
