//! A comparison as a table for the terminal and as Markdown for a pull request.

use super::{Comparison, Row, SideSummary, Verdict};
use crate::figure::Unit;
use crate::neutral::neutral;
use crate::words::{ascii, escaped, in_unit};
use std::fmt::Write as _;

/// The heads of the columns.
const HEADS: [&str; 7] = ["", "base", "new", "change", "interval", "noise", ""];

/// How the figure has changed: `+10.2 %`, or from what to what where there is no share.
#[must_use]
pub(super) fn change(row: &Row) -> String {
    match (row.ratio, row.difference) {
        (Some(ratio), Some(difference)) if row.unit == Unit::Count.name() && ratio != 1.0 => {
            format!("{difference:+.0}")
        }
        (Some(ratio), _) => percent(ratio),
        (None, Some(0.0)) => "+0.0 %".to_owned(),
        (None, Some(difference)) => format!("{difference:+.0}"),
        (None, None) => "?".to_owned(),
    }
}

/// A ratio as a change: `+10.2 %`, and from tenfold on `x12.5`.
fn percent(ratio: f64) -> String {
    if ratio >= 10.0 { format!("x{ratio:.1}") } else { format!("{:+.1} %", 100.0 * (ratio - 1.0)) }
}

fn cells(row: &Row) -> [String; 7] {
    let value = |value: Option<f64>| {
        value.map_or_else(|| "?".to_owned(), |v| in_unit(v, row.unit).replace('\u{a0}', " "))
    };
    let interval = match (row.ratio_low, row.ratio_high) {
        (Some(low), Some(high)) => format!("{} .. {}", percent(low), percent(high)),
        _ => String::new(),
    };
    let noise = row.noise.map_or_else(String::new, |noise| format!("{:.1} %", 100.0 * noise));
    let verdict = row.verdict.name().to_owned();
    [row.metric.clone(), value(row.base), value(row.new), change(row), interval, noise, verdict]
}

fn side(name: &str, side: &SideSummary) -> String {
    let label = side.label.as_ref().map_or_else(String::new, |label| format!(" \"{label}\""));
    let runs = match side.files.as_slice() {
        [file] => file.clone(),
        [first, .., last] => format!("{} runs, {first} to {last}", side.files.len()),
        [] => String::new(),
    };
    format!("{name}{label}: {runs}")
}

/// What came of it, in a sentence.
#[must_use]
pub fn verdict_line(comparison: &Comparison) -> String {
    let [worse, better, same, not_judged] =
        [Verdict::Worse, Verdict::Better, Verdict::Same, Verdict::NotJudged]
            .map(|verdict| comparison.count(verdict));
    let mut line =
        format!("{worse} worse, {better} better, {same} the same, {not_judged} not judged");
    let failed = || comparison.conditions.iter().filter(|one| !one.ok);
    let (missed, unknown) = (failed().count(), failed().filter(|one| !one.measured).count());
    if missed > 0 {
        let _ = write!(line, "; {missed} of {} conditions failed", comparison.conditions.len());
    }
    if (1..missed).contains(&unknown) {
        let _ = write!(line, ", {unknown} of them not measured");
    }
    let name = match comparison.regression {
        // Nothing is known to have become worse: what was asked for is not there.
        true if missed > 0 && unknown == missed => "not measured",
        true => "regression",
        false => "no regression",
    };
    format!("{name}: {line}")
}

/// The comparison as plain ASCII, ending in a line break.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(comparison.rows.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADS.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(ascii(line).replace('\u{a0}', " ").trim_end());
        text.push('\n');
    };
    line(&side("base", &comparison.base));
    line(&side("new", &comparison.new));
    comparison.obstacles.iter().for_each(|one| line(&format!("forced: {one}")));
    line(&format!("method: {}", comparison.method.text));
    comparison.notes.iter().for_each(|note| line(&format!("note: {note}")));
    line("");
    for row in &rows {
        let mut cells = row.iter().zip(&widths);
        let mut printed = String::new();
        if let Some((name, width)) = cells.next() {
            let _ = write!(printed, "{name:width$}");
        }
        for (cell, width) in cells {
            let _ = write!(printed, "  {cell:>width$}");
        }
        line(&printed);
    }
    line("");
    for one in &comparison.conditions {
        let mark = if one.ok { "ok" } else { "FAILED" };
        line(&format!("{mark}: {} ({})", one.expression, one.text));
    }
    line(&verdict_line(comparison));
    text
}

/// The comparison as Markdown: what came of it, what differs, and the whole table folded.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("### {}\n\n", verdict_line(comparison));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("- {}", escaped(&side("base", &comparison.base))));
    line(format!("- {}", escaped(&side("new", &comparison.new))));
    for one in &comparison.obstacles {
        line(format!("- **compared by force**: {}", escaped(one)));
    }
    for one in &comparison.conditions {
        let mark = if one.ok { "ok" } else { "**FAILED**" };
        line(format!(
            "- {mark}: `{}` ({})",
            neutral(&one.expression).replace('`', "'"),
            escaped(&one.text)
        ));
    }
    comparison.notes.iter().for_each(|note| line(format!("- note: {}", escaped(note))));
    line(String::new());
    let differs = |row: &&Row| matches!(row.verdict, Verdict::Better | Verdict::Worse);
    let changed: Vec<&Row> = comparison.rows.iter().filter(differs).collect();
    if !changed.is_empty() {
        line(markdown_table(&changed));
    }
    let all: Vec<&Row> = comparison.rows.iter().collect();
    line(format!("<details><summary>All {} figures</summary>\n", all.len()));
    line(markdown_table(&all));
    line(format!("{}\n\n</details>", escaped(&comparison.method.text)));
    text
}

fn markdown_table(rows: &[&Row]) -> String {
    let mut text = "| figure | base | new | change | interval | noise | verdict |\n\
                    |---|---:|---:|---:|---:|---:|---|\n"
        .to_owned();
    for row in rows {
        let [name, rest @ ..] = cells(row);
        let verdict = match row.verdict {
            Verdict::Worse => "**worse**",
            other => other.name(),
        };
        // In code marks nothing is escaped but the end of the cell.
        let name = neutral(&name).replace('`', "'").replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(text, "| `{name}` | {} | {verdict} |", rest[..5].join(" | "));
    }
    text
}
