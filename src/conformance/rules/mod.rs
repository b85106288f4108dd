//! The rules that can be observed from outside, by the scenario that observes them. A test compares the
//! sentences with the page.

pub mod access;
pub mod batches;
pub mod buckets;
pub mod changes;
pub mod inventory;
pub mod order;
pub mod restart;
pub mod sessions;
pub mod writes;

use super::rule::ProtocolRule;

/// All rules, in the order of the scenarios.
pub fn all() -> impl Iterator<Item = &'static ProtocolRule> {
    let groups = [
        access::RULES,
        sessions::RULES,
        order::RULES,
        writes::RULES,
        batches::RULES,
        inventory::RULES,
        buckets::RULES,
        changes::RULES,
        restart::RULES,
    ];
    groups.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/protocol-v1.md");

    /// A text without emphasis and links, in one line.
    fn plain(text: &str) -> String {
        let rows = text.lines().map(|line| line.trim().trim_matches('|').trim());
        let line = rows.collect::<Vec<_>>().join(" ").replace('*', "");
        let mut parts = line.split("](");
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // The text before `](` is that of a link.
            if let Some(at) = plain.rfind('[') {
                plain.remove(at);
            }
            plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
        }
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The text below a heading, up to the next one of the same or a higher level.
    fn section(title: &str) -> String {
        let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
        let mut lines =
            PAGE.lines().skip_while(|line| line.trim_start_matches('#').trim() != title || level(line) == 0);
        let Some(heading) = lines.next() else { panic!("the page has no section {title:?}") };
        let inside = lines.take_while(|line| level(line) == 0 || level(line) > level(heading));
        plain(&inside.collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn sentences_are_those_of_the_page() {
        let missing: Vec<String> = all()
            .filter(|rule| !section(rule.section).contains(rule.sentence))
            .map(|rule| format!("{}: not in {:?}: {}", rule.id(), rule.section, rule.sentence))
            .collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<String> = all().map(ProtocolRule::id).collect();
        assert_eq!(ids.len(), all().count());
    }
}
