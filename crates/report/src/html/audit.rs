//! Where the time of the audited messages went: the means as bars, all of it as a table.

use super::chart::{Axis, BarChart};
use super::data::{Run, percent, time};
use super::{Row, table_of};
use crate::section::Audit;
use crate::section::audit::{self, COLUMNS, Part};
use crate::words;
use maud::{Markup, html};

/// Of each run that has an audit; nothing where none has.
pub(super) fn audit(runs: &[Run]) -> Markup {
    let audited = runs.iter().filter_map(|run| Some((run, run.result.audit.as_ref()?)));
    html! {
        @for (run, audit) in audited {
            @let named = if runs.len() > 1 { format!(": {}", run.name) } else { String::new() };
            (one(&named, audit))
        }
    }
}

fn one(named: &str, audit: &Audit) -> Markup {
    let parts = audit::parts(audit);
    html! {
        figure.whole {
            h3 { "Where the time went" (named) }
            @if parts.is_empty() {
                p { "No audited message was answered." }
            } @else {
                (bars(&parts))
                (table_of(&audit::heading(audit), &COLUMNS, &rows(&parts)))
                @if parts.iter().any(|part| !part.carried) { p.soft { (words::THIN) } }
            }
            figcaption {
                "Send lag and receive lag are the client's own, outside is everything else. The \
                 means add "
                "up to that of the response; the percentiles are those of each part alone. "
                (audit::missing(audit))
                @for line in audit::tcp(audit).lines() { br; "TCP " (line) }
            }
        }
    }
}

/// The name of a part in words.
fn words(part: &Part) -> String {
    part.name.replace('_', " ")
}

fn bars(parts: &[Part]) -> Markup {
    // The last one is the sum of the others.
    let shown = &parts[..parts.len() - 1];
    let mean = |part: &Part| part.mean;
    let bar = |part: &Part| {
        let text =
            format!("{}: {} on average, {}", words(part), time(mean(part)), percent(part.share));
        (words(part), mean(part), text)
    };
    let chart = BarChart {
        description: "The mean of each part of the response".to_owned(),
        y: Axis::from_zero(shown.iter().map(mean).fold(1.0, f64::max), time),
        x_name: "part of the response, by its mean",
        bars: shown.iter().map(bar).collect(),
        labels: shown.iter().map(|part| percent(part.share)).collect(),
        color: 0,
    };
    chart.markup()
}

fn rows(parts: &[Part]) -> Vec<Row> {
    let row = |part: &Part| {
        (words(part), part.cells.iter().map(|cell| cell.replace("us", "µs")).collect())
    };
    parts.iter().map(row).collect()
}
