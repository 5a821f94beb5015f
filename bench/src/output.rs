//! Results for machines (a JSON line each) and for people (one Markdown table).

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct Output {
    /// Append the JSON lines to this file (default: print them before the table)
    #[arg(short, long)]
    output: Option<PathBuf>,
}

impl Output {
    /// Writes the records where they belong, and the table to standard output.
    pub(crate) fn write(&self, records: &[impl Serialize], table: &Table) -> Result<()> {
        let mut lines = String::new();
        for record in records {
            lines += &serde_json::to_string(record)?;
            lines.push('\n');
        }
        match &self.output {
            None => println!("{lines}"),
            Some(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(lines.as_bytes()))
                .with_context(|| format!("{} cannot be written", path.display()))?,
        }
        println!("{table}");
        Ok(())
    }
}

/// A Markdown table whose columns also line up in a terminal.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, header: &[&str]) -> Self {
        let header = header.iter().map(|&name| name.to_owned()).collect();
        Self { title: title.into(), rows: vec![header] }
    }

    /// Adds a row with as many cells as the header has.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len());
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        writeln!(f, "**{}**\n", self.title)?;
        for (index, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in &widths {
                    write!(f, "| {:-<width$} ", "")?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new("two rows", &["who", "rate"]);
        table.row(["a".into(), "10k/s".into()]);
        table.row(["µs".into(), "9".into()]);
        let expected = "**two rows**\n\n\
            | who | rate  |\n\
            | --- | ----- |\n\
            | a   | 10k/s |\n\
            | µs  | 9     |\n";
        assert_eq!(table.to_string(), expected);
    }
}
