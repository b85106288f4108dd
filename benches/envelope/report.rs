//! What was measured, as a table for people and as JSON for programs.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde_json::{Value, json};

use super::{
    error::{Error, Result},
    truth::Truth,
};

/// One figure of one controller.
#[derive(Clone, Debug)]
struct Figure {
    value: f64,
    text: String,
    truth: Option<Truth>,
    twice: Option<u64>,
}

/// One line of the table.
#[derive(Clone, Debug)]
struct Row {
    task: String,
    goal: Option<String>,
    figures: BTreeMap<String, Figure>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    subjects: Vec<String>,
    notes: Vec<String>,
    /// Who hears of each figure as it comes.
    listener: Option<fn(&str)>,
}

/// How a figure is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Bytes, shown as MB of a million.
    Bytes,
    Seconds,
    Milliseconds,
    Microseconds,
    /// A ratio or a plain number.
    Times,
    Count,
    PerSecond,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::Seconds if value < 10.0 => format!("{value:.2} s"),
            Self::Seconds => format!("{value:.1} s"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Microseconds => format!("{value:.1} us"),
            Self::Times => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
            Self::PerSecond => format!("{value:.0}/s"),
        }
    }
}

impl Report {
    /// An empty one, of which somebody hears each figure as it comes.
    pub(crate) fn told_to(listener: fn(&str)) -> Self {
        Self { listener: Some(listener), ..Self::default() }
    }

    /// Notes a figure. The first one of a task gives its row a place; a goal is what ours should reach.
    pub(crate) fn add(&mut self, subject: &str, task: &str, goal: Option<&str>, unit: Unit, value: f64) -> &mut Self {
        if !self.subjects.iter().any(|known| known == subject) {
            self.subjects.push(subject.to_owned());
        }
        let index = self.rows.iter().position(|row| row.task == task).unwrap_or_else(|| {
            self.rows.push(Row { task: task.to_owned(), goal: None, figures: BTreeMap::new() });
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.goal = row.goal.take().or_else(|| goal.map(str::to_owned));
        row.figures.insert(subject.to_owned(), Figure { value, text: unit.show(value), truth: None, twice: None });
        if let Some(tell) = self.listener {
            tell(&format!("  {subject}: {task}: {}", unit.show(value)));
        }
        self
    }

    /// Says beside the newest figure of a task how true the registry was after it.
    pub(crate) fn truth(&mut self, subject: &str, task: &str, truth: Truth, twice: u64) {
        let row = self.rows.iter_mut().find(|row| row.task == task);
        if let Some(figure) = row.and_then(|row| row.figures.get_mut(subject)) {
            (figure.truth, figure.twice) = (Some(truth), Some(twice));
        }
    }

    /// Says something that is no figure.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether a record of ours was lost, invented or wrong.
    pub(crate) fn untrue(&self, ours: &str) -> Option<Truth> {
        let truths = self.rows.iter().filter_map(|row| row.figures.get(ours)?.truth);
        truths.into_iter().find(|truth| !truth.holds())
    }

    /// The table. Beside the others' figures stands how many times ours they are.
    pub(crate) fn table(&self, ours: &str) -> String {
        let mut lines = vec![{
            let mut head =
                vec!["task".to_owned(), ours.to_owned(), "goal".to_owned(), "lost/invented/twice".to_owned()];
            head.extend(self.subjects.iter().filter(|subject| *subject != ours).cloned());
            head
        }];
        for row in &self.rows {
            let own = row.figures.get(ours);
            let truth = own.and_then(|figure| figure.truth.zip(figure.twice));
            let mut line = vec![
                row.task.clone(),
                own.map_or_else(|| "-".into(), |figure| figure.text.clone()),
                row.goal.clone().unwrap_or_default(),
                truth.map_or_else(String::new, |(truth, twice)| {
                    format!("{}/{}/{twice}", truth.lost + truth.wrong, truth.invented)
                }),
            ];
            for subject in self.subjects.iter().filter(|subject| *subject != ours) {
                line.push(row.figures.get(subject).map_or_else(String::new, |figure| beside(figure, own)));
            }
            lines.push(line);
        }
        let mut table = align(&lines);
        for note in &self.notes {
            let _ = write!(table, "\n{note}");
        }
        table
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let figures: BTreeMap<_, _> = row
                .figures
                .iter()
                .map(|(subject, figure)| {
                    let truth = figure.truth.map(|truth| {
                    json!({"right": truth.right, "lost": truth.lost, "invented": truth.invented, "wrong": truth.wrong,
                        "twice": figure.twice})
                });
                    (subject, json!({"value": figure.value, "text": figure.text, "truth": truth}))
                })
                .collect();
            json!({"task": row.task, "goal": row.goal, "figures": figures})
        });
        json!({"rows": rows.collect::<Vec<_>>(), "notes": self.notes})
    }

    /// Writes everything to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{:#}\n", self.json());
        std::fs::write(path, text).map_err(|cause| Error::File { path: path.to_owned(), cause })
    }
}

fn beside(figure: &Figure, own: Option<&Figure>) -> String {
    let lost = figure
        .truth
        .filter(|truth| !truth.holds())
        .map_or_else(String::new, |truth| format!(", {} lost, {} invented", truth.lost + truth.wrong, truth.invented));
    match own.filter(|own| own.value > 0.0) {
        Some(own) => format!("{} ({:.1}x){lost}", figure.text, figure.value / own.value),
        None => format!("{}{lost}", figure.text),
    }
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut table = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(table, "| {cell:<width$} ");
        }
        table.push_str("|\n");
        if index == 0 {
            for width in &widths {
                let _ = write!(table, "| {} ", "-".repeat(*width));
            }
            table.push_str("|\n");
        }
    }
    table
}
