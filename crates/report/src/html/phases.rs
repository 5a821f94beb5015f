//! The phases of a run, where they say something that the whole does not.

use super::data::{Run, time};
use super::{Row, table_of};
use crate::section::Phase;
use crate::section::phases::{FIGURES, rows, told};
use crate::words::{carries, in_unit};
use maud::{Markup, html};
use measure::units::format_grouped;

/// The percentiles of the table, each with the share of values that lie beyond it.
const MARKS: [(&str, &str, f64); 4] =
    [("p50", "50 %", 0.5), ("p90", "90 %", 0.1), ("p99", "99 %", 0.01), ("p999", "99.9 %", 0.001)];

pub(super) fn phases(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @if told(&run.result).next().is_some() { (counts(run)) (latencies(run)) }
        }
    }
}

/// What was counted in each: a column a phase, a row for each number that is not zero in all of
/// them.
fn counts(run: &Run) -> Markup {
    let phases: Vec<&Phase> = told(&run.result).collect();
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
    let row = |name: &str, of: &dyn Fn(&Phase) -> String| -> Row {
        (name.to_owned(), phases.iter().map(|phase| of(phase)).collect())
    };
    let mut rows = vec![
        row("what was done", &|phase| phase.act.clone()),
        row("from, in seconds of the run", &|phase| format!("{:.1}", phase.from_seconds)),
    ];
    let counted = FIGURES.iter().filter(|one| phases.iter().any(|phase| (one.read)(phase) > 0.0));
    rows.extend(counted.map(|figure| {
        row(figure.name, &|phase| in_unit((figure.read)(phase), figure.unit.name()))
    }));
    table_of(&format!("Phases: {}", run.name), &names, &rows)
}

/// What was measured in each.
fn latencies(run: &Run) -> Markup {
    let mut columns = vec!["count"];
    columns.extend(MARKS.map(|(_, percentile, _)| percentile));
    columns.push("max");
    let rows: Vec<Row> = rows(&run.result)
        .map(|(name, entry)| {
            let mut cells = vec![format_grouped(entry.count)];
            cells.extend(MARKS.map(|(statistic, _, beyond)| {
                let thin = if carries(entry.count, beyond) { "" } else { "~" };
                format!("{thin}{}", time(entry.statistic(statistic).unwrap_or_default()))
            }));
            cells.push(time(entry.max as f64));
            (name, cells)
        })
        .collect();
    table_of(&format!("Latency by phase: {}", run.name), &columns, &rows)
}
