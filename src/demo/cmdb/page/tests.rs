//! The page: its columns, escaping and limits.

use serde_json::json;

use super::*;
use crate::demo::cmdb::store::{SystemStore, WritePrecondition};

fn page(systems: &[(&str, Value)], filter: &str, number: usize) -> String {
    let mut store = SystemStore::new(64 << 20);
    for (id, value) in systems {
        let members = value.as_object().unwrap();
        store.put((*id).to_owned(), members, &WritePrecondition::default(), Instant::now()).unwrap();
    }
    render(&store.show(filter, (number - 1) * ROWS, ROWS), filter, number, Instant::now()).unwrap()
}

fn headings(page: &str) -> Vec<&str> {
    page.split("<th").skip(2).filter_map(|part| part.split(['>', '<']).nth(1)).collect()
}

#[test]
fn columns_are_the_members_of_the_systems() {
    let page = page(
        &[("a", json!({"node": "n1", "digest": "d", "name": "web"})), ("b", json!({"name": "db", "ports": [1, 2]}))],
        "",
        1,
    );
    assert_eq!(headings(&page), ["id", "name", "node", "ports", "digest", "changed"]);
    assert!(page.contains("<td>web</td><td>n1</td><td></td><td>d</td>"), "{page}");
    assert!(page.contains("<td>db</td><td></td><td>1, 2</td><td></td>"), "{page}");
    assert!(page.contains("<p id=\"count\">2 systems</p>") && !page.contains("pager"), "{page}");
}

#[test]
fn texts_of_systems_stay_texts() {
    let page = page(&[("a/<b>", json!({"<script>": "<img src=x>"}))], "\"><script>", 1);
    assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
    let page = self::page(&[("a/<b>", json!({"<script>": "<img src=x>"}))], "", 1);
    assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
    assert!(page.contains("<a href=\"/api/systems/a%2F%3Cb%3E\">a&#x2f;&lt;b&gt;</a>"), "{page}");
}

#[test]
fn many_systems_have_pages() {
    let systems: Vec<(String, Value)> = (0..250).map(|n| (format!("s{n:03}"), json!({"name": "web"}))).collect();
    let systems: Vec<(&str, Value)> = systems.iter().map(|(id, value)| (id.as_str(), value.clone())).collect();
    let second = page(&systems, "web", 2);
    assert_eq!(second.matches("<tr").count(), 1 + ROWS);
    assert!(second.contains("<a href=\"/?q=web&amp;page=1\">") && second.contains("<a href=\"/?q=web&amp;page=3\">"));
    assert!(second.contains("Page 2 of 3") && second.contains(">s100</a>") && !second.contains(">s200</a>"));
    let beyond = page(&systems, "", 9);
    assert!(beyond.contains("page=3\">← Previous</a>") && beyond.contains("No systems match."), "{beyond}");
}

#[test]
fn columns_are_bounded() {
    let members: SystemMembers = (0..100).map(|n| (format!("m{n:03}"), json!(n))).collect();
    let page = page(&[("a", members.into())], "", 1);
    assert_eq!(headings(&page).len(), MOST_COLUMNS + 2);
    assert!(page.contains("76 more members are not shown."), "{page}");
}
