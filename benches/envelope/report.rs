//! The figures, as a table for people and as JSON for programs.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::Serialize;

use super::{
    error::{Error, Result},
    truth::Truth,
};

/// A figure of one controller.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    value: f64,
    text: String,
    truth: Option<Truth>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    task: String,
    goal: Option<String>,
    figures: BTreeMap<String, Figure>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    #[serde(skip)]
    subjects: Vec<String>,
    /// Prints each figure as it comes.
    #[serde(skip)]
    listener: Option<fn(&str)>,
}

/// How a figure is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Bytes, shown as megabytes of 1,000,000.
    Bytes,
    Seconds,
    Milliseconds,
    Microseconds,
    Ratio,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::Seconds if value < 10.0 => format!("{value:.2} s"),
            Self::Seconds => format!("{value:.1} s"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Microseconds => format!("{value:.1} us"),
            Self::Ratio => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl Report {
    pub(crate) fn printed_by(listener: fn(&str)) -> Self {
        Self { listener: Some(listener), ..Self::default() }
    }

    /// Adds a figure. Rows are in the order of their first figures. The goal is that of pod-registrar.
    pub(crate) fn add(&mut self, subject: &str, task: &str, goal: Option<&str>, unit: Unit, value: f64) {
        if !self.subjects.iter().any(|known| known == subject) {
            self.subjects.push(subject.to_owned());
        }
        let index = self.rows.iter().position(|row| row.task == task).unwrap_or_else(|| {
            self.rows.push(Row { task: task.to_owned(), goal: None, figures: BTreeMap::new() });
            self.rows.len() - 1
        });
        let (row, text) = (&mut self.rows[index], unit.show(value));
        row.goal = row.goal.take().or_else(|| goal.map(str::to_owned));
        if let Some(print) = self.listener {
            print(&format!("  {subject}: {task}: {text}"));
        }
        row.figures.insert(subject.to_owned(), Figure { value, text, truth: None });
    }

    /// Adds how the registry differed from the cluster after a task.
    pub(crate) fn truth(&mut self, subject: &str, task: &str, truth: Truth) {
        let row = self.rows.iter_mut().find(|row| row.task == task);
        if let Some(figure) = row.and_then(|row| row.figures.get_mut(subject)) {
            figure.truth = Some(truth);
        }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// # Errors
    /// When a record of this controller was lost, invented, outdated or sent twice.
    pub(crate) fn require(&self, subject: &str) -> Result<()> {
        let figures = self.rows.iter().filter_map(|row| row.figures.get(subject)?.truth);
        figures.into_iter().try_for_each(Truth::require)
    }

    /// The table. A peer's figure has its ratio to that of `ours` beside it.
    pub(crate) fn table(&self, ours: &str) -> String {
        let peers = || self.subjects.iter().filter(|subject| *subject != ours);
        let head = [ours, "goal", "lost/invented/twice"].map(str::to_owned);
        let mut lines = vec![std::iter::once("task".to_owned()).chain(head).chain(peers().cloned()).collect()];
        for row in &self.rows {
            let own = row.figures.get(ours);
            let truth = own.and_then(|figure| figure.truth);
            let truth = truth.map(|truth| format!("{}/{}/{}", truth.lost + truth.wrong, truth.invented, truth.twice));
            let text = own.map_or("-", |figure| &figure.text).to_owned();
            let mut line =
                vec![row.task.clone(), text, row.goal.clone().unwrap_or_default(), truth.unwrap_or_default()];
            line.extend(
                peers().map(|peer| row.figures.get(peer).map(|figure| beside(figure, own)).unwrap_or_default()),
            );
            lines.push(line);
        }
        let mut table = align(&lines);
        for note in &self.notes {
            let _ = write!(table, "\n{note}");
        }
        table
    }

    /// Writes everything to a file as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let what = path.display().to_string();
        let text = serde_json::to_string_pretty(self).map_err(Error::in_step(&what))?;
        std::fs::write(path, text + "\n").map_err(Error::in_step(&what))
    }
}

fn beside(figure: &Figure, own: Option<&Figure>) -> String {
    let mut text = figure.text.clone();
    if let Some(own) = own.filter(|own| own.value > 0.0) {
        let _ = write!(text, " ({:.1}x)", figure.value / own.value);
    }
    if let Some(truth) = figure.truth.filter(|truth| !truth.is_equal()) {
        let _ = write!(text, ", {} lost, {} invented", truth.lost + truth.wrong, truth.invented);
    }
    text
}

/// A Markdown table.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut table = String::new();
    for line in lines.iter().take(1).chain([&rule]).chain(lines.iter().skip(1)) {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(table, "| {cell:<width$} ");
        }
        table.push_str("|\n");
    }
    table
}
