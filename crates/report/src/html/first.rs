//! What one looks for first: how it ended, the warnings, the main figures, the thresholds and the
//! spread.

use super::data::{Run, time};
use super::{Row, bytes_text, row, table, table_of};
use crate::headline::{self, Worst};
use crate::section::verdict::threshold_words;
use crate::section::{Outcome, ResultFile, Verdict, generator, messages, plan, run, spread};
use crate::words::in_unit;
use maud::{Markup, html};
use measure::Stage;
use measure::units::{format_grouped, format_rate};

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

pub(super) fn headline(of: &Run, named: bool) -> Markup {
    let result = &of.result;
    let (class, words) = ended(result);
    // What the badge says is not said twice.
    let (verdict, worst) = headline::but_for(result, words);
    let colour = match worst {
        Worst::Good => "good",
        Worst::Doubt => "doubt",
        Worst::Bad => "bad",
    };
    html! {
        p {
            @if named { strong { (of.name) } " " }
            span.badge.(class) { (words) } " "
            @if !verdict.is_empty() { strong.(colour) { (verdict) } br; }
            (plan::words(&result.plan).replace('\u{a0}', " "))
        }
        p.soft {
            (result.plan.targets.join(" ")) " · began " (result.run.started)
            @if let Some(lasted) = run::lasted(&result.run) { ", took " (time(lasted.0 as f64)) }
            @if !result.run.parts.is_empty() { " · merged from " (result.run.parts.len()) " runs" }
        }
    }
}

/// Said before anything else: the numbers below are the client's own.
pub(super) fn client_limited(run: &Run, named: bool) -> Markup {
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

pub(super) fn warnings(run: &Run, named: bool) -> Markup {
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
pub(super) fn cards(result: &ResultFile) -> Markup {
    let (connections, messages) = (&result.connections, &result.messages);
    let lost = connections.failed + connections.lost;
    html! {
        dl.cards {
            (card(
                "Connections opened",
                &format_grouped(connections.opened),
                &format!(
                    "of {}, at {}",
                    format_grouped(connections.planned),
                    format_rate(connections.rate_per_second)
                ),
            ))
            (card("Failed or lost", &format_grouped(lost), "connections"))
            @if let Some(entry) = result.stages.get(Stage::Response) {
                @let times = [entry.p50, entry.p99, entry.p999].map(|value| time(value as f64));
                @let service = |statistic: &str| {
                    let entry = result.stages.get(Stage::Service);
                    let value = entry.and_then(|entry| entry.statistic(statistic));
                    let words = |value| format!("; from the actual: {}", time(value));
                    value.map_or_else(String::new, words)
                };
                @let median = format!("from the intended send time{}", service("p50"));
                (card("Response, median", &times[0], &median))
                @let tail = format!("99.9 %: {}{}", times[2], service("p99"));
                (card("Response, 99 %", &times[1], &tail))
            }
            @if messages.sent > 0 {
                (card(
                    "Messages",
                    &format_rate(messages.rate_achieved),
                    &format!(
                        "{} answered, {} lost",
                        format_grouped(messages.received),
                        format_grouped(messages.lost)
                    ),
                ))
                @if let (Some(_), Some(rate)) = (messages::served(result), messages.rate_served) {
                    @let waited = messages.backlog_at_end;
                    @let waited = waited.map_or_else(|| "unknown".to_owned(), format_grouped);
                    (card(
                        "Served in time",
                        &format_rate(rate),
                        &format!("{waited} waited for an answer at the end"),
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

pub(super) fn thresholds(verdict: &Verdict) -> Markup {
    html! {
        @if !verdict.thresholds.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Thresholds" {
                table {
                    thead { tr { th scope="col" { "Threshold" } th scope="col" { "Verdict" } } }
                    tbody {
                        @for one in &verdict.thresholds {
                            tr {
                                th scope="row" { (readable(&threshold_words(one))) }
                                td {
                                    @if one.ok { span.good { "ok" } }
                                    @else { strong.bad { "MISSED" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How far the runs lie apart that a result was merged from.
pub(super) fn spread(result: &ResultFile) -> Markup {
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
    readable(&in_unit(value, unit))
}

/// Words made for the terminal, as a page shows them.
fn readable(words: &str) -> String {
    words.replace('\u{a0}', " ").replace(" us", " µs")
}

/// The first figures of several runs side by side.
pub(super) fn figures(runs: &[Run]) -> Markup {
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
