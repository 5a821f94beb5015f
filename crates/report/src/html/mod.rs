//! Results as one HTML page that needs nothing else: no network, no script, no font. Charts are
//! inline SVG (`chart.rs`); each has its numbers in a table beside it, so that nothing is told by
//! colour or pointer alone.
//!
//! maud writes the markup: it escapes every value, and a result from elsewhere may say anything.

mod audit;
mod balance;
mod chart;
mod data;
mod facts;
mod failures;
mod first;
mod latency;
mod memory;
mod over_time;
mod phases;
mod tls;

pub use data::Run;

use crate::neutral::neutral;
use crate::section::ResultFile;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use measure::units::format_grouped;

/// The most runs on one page: there are as many colours.
pub const RUNS_MAX: usize = chart::COLORS;

/// The style sheet, for screens of any width, light and dark, and for paper.
const STYLE: &str = include_str!("style.css");

/// A chapter of the page: the fragment that leads there, the heading, and what stands in it.
struct Chapter(&'static str, &'static str, fn(&[Run]) -> Markup);

/// The chapters, a file for each. One that has nothing to say is left out.
const CHAPTERS: [Chapter; 8] = [
    Chapter("latency", "Latency", latency::latency),
    Chapter("time", "Over time", over_time::over_time),
    Chapter("phases", "Phases", phases::phases),
    Chapter("tls", "TLS", tls::tls),
    Chapter("balance", "Balance", balance::balance),
    Chapter("memory", "Memory and CPU", memory::memory),
    Chapter("failures", "Failures", failures::failures),
    Chapter("facts", "Plan and machine", facts::facts),
];

/// The page for one to [`RUNS_MAX`] runs; several are laid over each other.
#[must_use]
pub fn page(runs: &[Run]) -> String {
    let written = CHAPTERS.iter().map(|Chapter(id, name, content)| (id, name, content(runs)));
    let chapters: Vec<_> = written.filter(|(.., content)| !content.0.is_empty()).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Says so to the browser too: nothing is fetched, nothing runs.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="generator"
                    content=(concat!("c1000k-report ", env!("CARGO_PKG_VERSION")));
                // A page without an icon of its own makes the browser ask for one.
                link rel="icon" href="data:,";
                title { (title(runs)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#latency" { "Skip to the charts" }
                header {
                    h1 { (title(runs)) }
                    @for run in runs { (first::headline(run, runs.len() > 1)) }
                    @for run in runs { (first::client_limited(run, runs.len() > 1)) }
                    nav aria-label="Sections" {
                        ul {
                            @for (id, name, _) in &chapters {
                                li { a href={ "#" (id) } { (name) } }
                            }
                        }
                    }
                }
                main {
                    @for run in runs { (first::warnings(run, runs.len() > 1)) }
                    @match runs {
                        [run] => {
                            (first::cards(&run.result)) (first::thresholds(&run.result.verdict))
                            (first::spread(&run.result))
                        }
                        _ => (first::figures(runs)),
                    }
                    @for (id, name, content) in &chapters { (section(id, name, content)) }
                }
                footer {
                    p {
                        "Made by c1000k-report " (env!("CARGO_PKG_VERSION")) " from "
                        @for (index, run) in runs.iter().enumerate() {
                            @if index > 0 { ", " } "run " (run.result.run.id)
                        }
                        ". Percentiles are of all messages; nothing is averaged over percentiles."
                    }
                }
            }
        }
    };
    neutral(&page.into_string()).into_owned()
}

fn section(id: &str, name: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-h" } { h2 id={ (id) "-h" } { (name) } (content) }
    }
}

fn title(runs: &[Run]) -> String {
    match runs {
        [run] => match &run.result.run.label {
            Some(label) => label.clone(),
            None => format!("{} connections", format_grouped(run.result.plan.connections)),
        },
        _ => format!("{} runs compared", runs.len()),
    }
}

fn bytes_text(bytes: f64) -> String {
    format!("{} B", format_grouped(bytes.max(0.0).round() as u64))
}

/// One column for each run, one row for each figure: name, and its text for a result.
type Row = (String, Vec<String>);

fn table(runs: &[Run], caption: &str, rows: &[Row]) -> Markup {
    let names: Vec<&str> = match runs {
        [_] => vec!["this run"],
        _ => runs.iter().map(|run| run.name.as_str()).collect(),
    };
    table_of(caption, &names, rows)
}

fn table_of(caption: &str, columns: &[&str], rows: &[Row]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { th { "" } @for name in columns { th scope="col" { (name) } } } }
                tbody {
                    @for (name, cells) in rows {
                        tr { th scope="row" { (name) } @for cell in cells { td { (cell) } } }
                    }
                }
            }
        }
    }
}

fn row(runs: &[Run], name: &str, of: impl Fn(&ResultFile) -> Option<String>) -> Row {
    let cell = |run: &Run| of(&run.result).unwrap_or_else(|| "–".to_owned());
    (name.to_owned(), runs.iter().map(cell).collect())
}
