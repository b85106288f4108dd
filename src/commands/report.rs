//! Prints the result of a command: as a table for people, or as one JSON document.

use std::io::ErrorKind;

use serde_json::Value;

use super::{Error, output::Output};
use crate::cli::values::OutputFormat;

/// Prints the result in the format of the settings.
pub(super) async fn print(
    format: OutputFormat,
    table: impl FnOnce() -> Vec<String>,
    json: impl FnOnce() -> Value,
) -> Result<(), Error> {
    match format {
        OutputFormat::Table => print_table(&table()).await,
        OutputFormat::Json => print_lines(&[serde_json::to_string_pretty(&json()).unwrap_or_default()]).await,
    }
}

/// Prints lines for people.
pub(super) async fn print_table(lines: &[String]) -> Result<(), Error> {
    print_lines(&lines.iter().map(|line| printable(line)).collect::<Vec<_>>()).await
}

/// A reader that closes standard output early, such as `head`, has what it wants.
pub(super) async fn print_lines(lines: &[String]) -> Result<(), Error> {
    match Output::default().print(lines).await {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// The rows with aligned columns. The first row holds the headings.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Texts of registries must not control the terminal.
pub(super) fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_table_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let lines = table(&[row(["NAME", "N", "WHY"]), row(["ä", "100", ""]), row(["long name", "1", "x"])]);
        assert_eq!(lines, ["NAME       N    WHY", "ä          100", "long name  1    x"]);
        assert_eq!(printable("a\u{1b}[2Jb"), "a [2Jb");
    }
}
