//! Where a value stands in a file, and errors that show it.
//!
//! ```text
//! targets.yaml:3:5: a target has no member `putt`; write `put`
//!   |     putt: {path: "systems/{{ id }}"}
//!   |     ^
//! ```

use std::{fmt, sync::Arc};

/// The number of characters of a line that an error shows. Longer lines are cut around the marked column.
const SHOWN: usize = 100;

/// A file that was read, or a preset.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as the operator wrote it, or `preset NAME`.
    pub name: Arc<str>,
    pub text: Arc<str>,
}

/// A character in a source. Line and column begin at 1.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub source: Source,
    pub line: u32,
    pub column: u32,
}

/// A value of the file is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}; {fix}{}", place.excerpt())]
pub struct Error {
    pub place: Place,
    pub what: String,
    pub fix: String,
}

impl Source {
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    pub fn at(&self, line: u32, column: u32) -> Place {
        Place { source: self.clone(), line, column }
    }
}

impl Place {
    pub fn error(&self, what: impl Into<String>, fix: impl Into<String>) -> Error {
        Error { place: self.clone(), what: what.into(), fix: fix.into() }
    }

    /// Where a part of a text begins that is written over several lines. A part of the first line, and one that is not
    /// written as it reads, is at the beginning of the text.
    pub fn of_part(&self, part: &str) -> Self {
        let mut lines = self.source.text.lines().zip(1..).skip((self.line as usize).saturating_sub(1));
        let Some((first, _)) = lines.next() else { return self.clone() };
        let indent = |line: &str| line.len() - line.trim_start().len();
        let before =
            first.char_indices().nth((self.column as usize).saturating_sub(1)).map_or(first.len(), |(at, _)| at);
        // The lines of a block begin where its first line begins; those after a quote are indented further.
        let least = if first[..before].trim().is_empty() { before } else { indent(first) + 1 };
        if first[before..].contains(part) {
            return self.clone();
        }
        let of_text = lines.take_while(|(line, _)| line.trim().is_empty() || indent(line) >= least);
        let found =
            of_text.into_iter().find_map(|(line, number)| Some((number, line[..line.find(part)?].rfind("{{")?, line)));
        let Some((line, at, text)) = found else { return self.clone() };
        let column = u32::try_from(text[..at].chars().count() + 1).unwrap_or(u32::MAX);
        self.source.at(line, column)
    }

    /// The line, and a marker below the column.
    fn excerpt(&self) -> String {
        let index = (self.line as usize).saturating_sub(1);
        let Some(line) = self.source.text.lines().nth(index) else { return String::new() };
        let line: Vec<char> = without_passwords(line).chars().map(printable).collect();
        let column = (self.column as usize).saturating_sub(1).min(line.len());
        let start = if line.len() <= SHOWN { 0 } else { column.saturating_sub(SHOWN / 2).min(line.len() - SHOWN) };
        let shown: String = line.iter().skip(start).take(SHOWN).collect();
        format!("\n  | {}\n  | {:width$}^", shown.trim_end(), "", width = column - start)
    }
}

/// Control characters of a file do not reach a terminal. A tab is one column wide, as the marker assumes.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// Replaces the user name and the password of an address by asterisks, one per character.
fn without_passwords(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let authority = after.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default();
        let login = authority.rfind('@').unwrap_or(0);
        shown.extend(after[..login].chars().map(|_| '*'));
        rest = &after[login..];
    }
    shown + rest
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name, self.line, self.column)
    }
}

/// Without the text of the source, which may be long.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_shows_line_and_marker() {
        let source = Source::new("targets.yaml", "targets:\n  - nme: a\n");
        let error = source.at(2, 5).error("a target has no member `nme`", "write `name`");
        let expected = "targets.yaml:2:5: a target has no member `nme`; write `name`\n  |   - nme: a\n  |     ^";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn long_line_is_cut_around_marker() {
        let text = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let shown = Source::new("f", &text).at(1, 301).error("w", "f").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], format!("  | {}X{}", "a".repeat(50), "b".repeat(49)));
        assert_eq!(lines[1].find('X'), lines[2].find('^'));
    }

    #[test]
    fn passwords_and_control_characters_are_hidden() {
        let text = "url: http://me:p@ss@host/a@b\u{1b}[2J";
        let shown = Source::new("f", text).at(1, 6).error("w", "f").to_string();
        assert!(shown.contains("\n  | url: http://*******@host/a@b [2J\n  |      ^"), "{shown}");
    }

    #[test]
    fn place_behind_the_text_is_accepted() {
        let source = Source::new("f", "a");
        assert_eq!(source.at(9, 9).error("w", "f").to_string(), "f:9:9: w; f");
        assert_eq!(source.at(1, 9).error("w", "f").to_string(), "f:1:9: w; f\n  | a\n  |  ^");
        assert_eq!(source.at(0, 0).error("w", "f").to_string(), "f:0:0: w; f\n  | a\n  | ^");
    }
}
