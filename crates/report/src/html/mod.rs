//! Results as one HTML page that needs nothing else: no network, no script, no font. Charts are
//! inline SVG (`chart.rs`); each has its numbers in a table beside it, so that nothing is told by
//! colour or pointer alone.
//!
//! maud writes the markup: it escapes every value, and a result from elsewhere may say anything.

mod audit;
mod chart;
mod data;
mod facts;
mod latency;
mod over_time;
mod resources;

pub use data::Run;

use crate::generator;
use crate::headline::{self, Worst};
use crate::neutral::neutral;
use crate::schema::{Outcome, ResultFile, Verdict};
use crate::spread;
use crate::text;
use data::time;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use measure::Stage;
use measure::units::{format_grouped, format_rate};

/// The most runs on one page: there are as many colours.
pub const RUNS_MAX: usize = chart::COLORS;

/// The style sheet, for screens of any width, light and dark, and for paper.
const STYLE: &str = include_str!("style.css");

/// Sections of the page: the fragment that leads there, and the heading.
const SECTIONS: [(&str, &str); 6] = [
    ("latency", "Latency"),
    ("time", "Over time"),
    ("balance", "Balance"),
    ("memory", "Memory and CPU"),
    ("failures", "Failures"),
    ("facts", "Plan and machine"),
];

/// The page for one to [`RUNS_MAX`] runs; several are laid over each other.
#[must_use]
pub fn page(runs: &[Run]) -> String {
    let seconds = data::seconds_per_column(runs);
    let columns: Vec<_> =
        runs.iter().map(|run| data::columns(&run.result.timeline, seconds)).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Says so to the browser too: nothing is fetched, nothing runs.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="generator" content=(concat!("c1000k-report ", env!("CARGO_PKG_VERSION")));
                // A page without an icon of its own makes the browser ask for one.
                link rel="icon" href="data:,";
                title { (title(runs)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#latency" { "Skip to the charts" }
                header {
                    h1 { (title(runs)) }
                    @for run in runs { (headline(run, runs.len() > 1)) }
                    @for run in runs { (client_limited(run, runs.len() > 1)) }
                    nav aria-label="Sections" {
                        ul { @for (id, name) in SECTIONS { li { a href={ "#" (id) } { (name) } } } }
                    }
                }
                main {
                    @for run in runs { (warnings(run, runs.len() > 1)) }
                    @match runs {
                        [run] => {
                            (cards(&run.result)) (thresholds(&run.result.verdict))
                            (spread(&run.result))
                        }
                        _ => (figures(runs)),
                    }
                    (section(0, latency::latency(runs)))
                    (section(1, over_time::over_time(runs, &columns, seconds)))
                    (section(2, resources::balance(runs)))
                    (section(3, resources::memory(runs)))
                    (section(4, resources::failures(runs)))
                    (section(5, facts::facts(runs)))
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

fn section(index: usize, content: Markup) -> Markup {
    let (id, name) = SECTIONS[index];
    html! { section id=(id) aria-labelledby={ (id) "-h" } { h2 id={ (id) "-h" } { (name) } (content) } }
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

/// How it ended, in words that need no knowledge of exit codes.
fn ended(result: &ResultFile) -> (&'static str, &'static str) {
    match (result.run.outcome, result.verdict.thresholds.iter().all(|one| one.ok)) {
        (Outcome::Done, true) => ("good", "done as planned"),
        (Outcome::Done, false) => ("bad", "a threshold was missed"),
        (Outcome::NotReached, _) => ("bad", "the plan was not reached"),
        (Outcome::Interrupted, _) => ("bad", "interrupted"),
        (Outcome::Failed, _) => ("bad", "failed"),
    }
}

fn headline(run: &Run, named: bool) -> Markup {
    let result = &run.result;
    let (class, words) = ended(result);
    let (verdict, worst) = headline::of(result);
    let colour = match worst {
        Worst::Good => "good",
        Worst::Doubt => "doubt",
        Worst::Bad => "bad",
    };
    html! {
        p {
            @if named { strong { (run.name) } " " }
            span.badge.(class) { (words) } " "
            @if !verdict.is_empty() { strong.(colour) { (verdict) } br; }
            (text::plan(&result.plan).replace('\u{a0}', " "))
        }
        p.soft {
            (result.plan.targets.join(" ")) " · began " (result.run.started)
            @if let Some(lasted) = text::lasted(&result.run) { ", took " (time(lasted.0 as f64)) }
            @if !result.run.parts.is_empty() { " · merged from " (result.run.parts.len()) " runs" }
        }
    }
}

/// Said before anything else: the numbers below are the client's own.
fn client_limited(run: &Run, named: bool) -> Markup {
    html! {
        @for reason in generator::reasons(&run.result) {
            div.limited role="alert" {
                p {
                    strong { "CLIENT-LIMITED" @if named { " (" (run.name) ")" } ": " }
                    (reason.text) " (" (reason.code) ")"
                }
                p { "→ " (reason.remedy) }
            }
        }
    }
}

fn warnings(run: &Run, named: bool) -> Markup {
    html! {
        @for warning in generator::other_warnings(&run.result) {
            div.warning role="note" {
                p {
                    strong { "Warning" @if named { " (" (run.name) ")" } ": " }
                    (warning.text) " (" (warning.code) ")"
                }
                p { "→ " (warning.remedy) }
            }
        }
    }
}

fn card(name: &str, value: &str, more: &str) -> Markup {
    html! { div.card { dt { (name) } dd.value { (value) } dd.more { (more) } } }
}

/// The figures that one looks for first.
fn cards(result: &ResultFile) -> Markup {
    let (connections, messages) = (&result.connections, &result.messages);
    let lost = connections.failed + connections.lost;
    html! {
        dl.cards {
            (card(
                "Connections opened",
                &format_grouped(connections.opened),
                &format!("of {}, at {}", format_grouped(connections.planned), format_rate(connections.rate_per_second)),
            ))
            (card("Failed or lost", &format_grouped(lost), "connections"))
            @if let Some(entry) = &result.stages.response {
                @let times = [entry.p50, entry.p99, entry.p999].map(|value| time(value as f64));
                @let service = |statistic: &str| {
                    let value = result.stages.service.as_ref().and_then(|entry| entry.statistic(statistic));
                    value.map_or_else(String::new, |value| format!("; from the actual: {}", time(value)))
                };
                (card("Response, median", &times[0], &format!("from the intended send time{}", service("p50"))))
                (card("Response, 99 %", &times[1], &format!("99.9 %: {}{}", times[2], service("p99"))))
            }
            @if messages.sent > 0 {
                (card(
                    "Messages",
                    &format_rate(messages.rate_achieved),
                    &format!("{} answered, {} lost", format_grouped(messages.received), format_grouped(messages.lost)),
                ))
                @if let (Some(_), Some(rate)) = (text::served(result), messages.rate_served) {
                    (card(
                        "Served in time",
                        &format_rate(rate),
                        &format!(
                            "{} due and not answered at the end",
                            messages.backlog_at_end.map_or_else(|| "unknown".to_owned(), format_grouped)
                        ),
                    ))
                }
            }
            @if let Some(bytes) = result.resources.kernel.bytes_per_connection {
                (card("Kernel memory", &bytes_text(bytes), if result.resources.kernel.both_ends {
                    "a connection, both ends"
                } else {
                    "a connection"
                }))
            }
        }
    }
}

fn bytes_text(bytes: f64) -> String {
    format!("{} B", format_grouped(bytes.max(0.0).round() as u64))
}

fn thresholds(verdict: &Verdict) -> Markup {
    html! {
        @if !verdict.thresholds.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Thresholds" {
                table {
                    thead { tr { th scope="col" { "Threshold" } th scope="col" { "Verdict" } } }
                    tbody {
                        @for one in &verdict.thresholds {
                            tr {
                                th scope="row" { (readable(&text::threshold_words(one))) }
                                td { @if one.ok { span.good { "ok" } } @else { strong.bad { "MISSED" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How far the runs lie apart that a result was merged from.
fn spread(result: &ResultFile) -> Markup {
    let runs = result.spread.first().map_or(0, |one| one.values.len());
    let rows: Vec<Row> = result
        .spread
        .iter()
        .map(|one| {
            let shown = |value: f64| match one.unit.as_str() {
                "bytes" => bytes_text(value),
                unit => shown(value, unit),
            };
            let cv = one
                .variation_ratio
                .map_or_else(|| "–".to_owned(), |cv| format!("{:.1} %", 100.0 * cv));
            let name = spread::label(&one.metric).to_owned();
            (name, vec![shown(one.min), shown(one.median), shown(one.max), cv])
        })
        .collect();
    let caption =
        format!("Spread of {runs} runs; cv is their standard deviation, as a share of their mean");
    html! { @if runs > 1 { (table_of(&caption, &["min", "median", "max", "cv"], &rows)) } }
}

fn shown(value: f64, unit: &str) -> String {
    readable(&text::in_unit(value, unit))
}

/// Words made for the terminal, as a page shows them.
fn readable(words: &str) -> String {
    words.replace('\u{a0}', " ").replace(" us", " µs")
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

/// The first figures of several runs side by side.
fn figures(runs: &[Run]) -> Markup {
    let percentile = |stage: Stage, name: &'static str| {
        move |result: &ResultFile| Some(time(result.stages.get(stage)?.statistic(name)?))
    };
    let rows = [
        row(runs, "Connections opened", |r| Some(format_grouped(r.connections.opened))),
        row(runs, "Opened per second", |r| Some(format_rate(r.connections.rate_per_second))),
        row(runs, "Failed or lost", |r| {
            Some(format_grouped(r.connections.failed.saturating_add(r.connections.lost)))
        }),
        row(runs, "Messages per second", |r| Some(format_rate(r.messages.rate_achieved))),
        row(runs, "Served in time", |r| r.messages.rate_served.map(format_rate)),
        row(runs, "Response, median", percentile(Stage::Response, "p50")),
        row(runs, "Response, 99 %", percentile(Stage::Response, "p99")),
        row(runs, "Response, 99.9 %", percentile(Stage::Response, "p999")),
        row(runs, "Service, median", percentile(Stage::Service, "p50")),
        row(runs, "Service, 99 %", percentile(Stage::Service, "p99")),
        row(runs, "Service, 99.9 %", percentile(Stage::Service, "p999")),
        row(runs, "Client-limited", |r| {
            Some(if generator::reasons(r).is_empty() { "no" } else { "yes" }.to_owned())
        }),
        row(runs, "Connect, median", percentile(Stage::Connect, "p50")),
        row(runs, "Connect, 99 %", percentile(Stage::Connect, "p99")),
    ];
    table(
        runs,
        "The runs side by side; c1000k-report compare says which differences are more than noise",
        &rows,
    )
}
