//! How the work was spread over the reactors, what it cost, and what went wrong.

use super::chart::{Axis, BarChart};
use super::data::{Run, count, percent, time};
use super::{Row, bytes_text, row, table, table_of};
use crate::schema::{Footprint, Reactor, ResultFile};
use maud::{Markup, html};
use measure::Failure;
use measure::units::{format_grouped, format_size};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn balance(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @let reactors = &run.result.reactors;
            @if reactors.is_empty() {
                p { @if runs.len() > 1 { (run.name) ": " } "No reactor was recorded." }
            } @else {
                @if runs.len() > 1 { h3 { (run.name) } }
                div.charts {
                    (reactor_bars(run, "Connections held by each reactor of the client", |high| Axis::from_zero(high, count), |one| {
                        (one.connections as f64, format!("{} connections", format_grouped(one.connections)))
                    }))
                    (reactor_bars(run, "How busy each reactor was", |high| Axis::from_zero(high, percent), |one| {
                        (one.busy_ratio, format!("busy {} of the time", percent(one.busy_ratio)))
                    }))
                }
            }
        }
        details {
            summary { "Reactors in numbers" }
            @for run in runs {
                @let heads = ["core", "connections", "opened", "failed", "messages", "busy", "turns"];
                @let rows: Vec<Row> = run.result.reactors.iter().map(|one| {
                    let counts = [one.connections, one.opened, one.failed, one.messages].map(format_grouped);
                    let mut cells = vec![one.core.map_or_else(|| "–".to_owned(), |core| core.to_string())];
                    cells.extend(counts);
                    cells.extend([percent(one.busy_ratio), format_grouped(one.turns)]);
                    (format!("#{}", one.index), cells)
                }).collect();
                (table_of(&format!("Reactors: {}", run.name), &heads, &rows))
            }
        }
    }
}

fn reactor_bars(
    run: &Run,
    heading: &str,
    y: impl Fn(f64) -> Axis,
    of: impl Fn(&Reactor) -> (f64, String),
) -> Markup {
    let bar = |one| {
        let (value, text) = of(one);
        let core = one.core.map_or_else(String::new, |core| format!(" on core {core}"));
        (one.index.to_string(), value, format!("reactor #{}{core}: {text}", one.index))
    };
    let bars: Vec<_> = run.result.reactors.iter().map(bar).collect();
    let highest = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let (description, labels) = (heading.to_owned(), Vec::new());
    let chart = BarChart { description, y: y(highest), x_name: "reactor", bars, labels, color: 0 };
    html! { figure { h3 { (heading) } (chart.markup()) } }
}

pub(super) fn memory(runs: &[Run]) -> Markup {
    let bytes =
        |of: fn(&ResultFile) -> Option<f64>| move |result: &ResultFile| of(result).map(bytes_text);
    let footprint = |of: fn(&ResultFile) -> Option<Footprint>| {
        move |result: &ResultFile| {
            of(result).map(|Footprint { memory_bytes, open_files }| {
                let files = format_grouped(open_files);
                format!("{}, {files} open files", format_size(memory_bytes))
            })
        }
    };
    let times = |of: fn(&ResultFile) -> Option<u64>| {
        move |result: &ResultFile| of(result).map(|nanoseconds| time(nanoseconds as f64))
    };
    let server = |result: &ResultFile| {
        result.resources.server.as_ref().and_then(|one| one.bytes_per_connection)
    };
    let ledger = [
        row(runs, "Client process", bytes(|r| r.resources.client.bytes_per_connection)),
        row(runs, "Server process", bytes(server)),
        row(runs, "Kernel", bytes(|r| r.resources.kernel.bytes_per_connection)),
        row(runs, "Kernel by its slabs", bytes(|r| r.resources.kernel.slab_bytes_per_connection)),
        row(
            runs,
            "Whole machine by its free memory",
            bytes(|r| r.resources.kernel.memfree_bytes_per_connection),
        ),
        row(runs, "In all, as predicted", footprint(|r| r.resources.predicted)),
        row(runs, "In all, as taken", footprint(|r| r.resources.taken)),
    ];
    let cpu = [
        row(
            runs,
            "Client, to open a connection",
            times(|r| r.resources.client.cpu_ns_per_connection),
        ),
        row(runs, "Client, for a message", times(|r| r.resources.client.cpu_ns_per_message)),
        row(
            runs,
            "Server, to open a connection",
            times(|r| r.resources.server.as_ref()?.cpu_ns_per_connection),
        ),
        row(
            runs,
            "Server, for a message",
            times(|r| r.resources.server.as_ref()?.cpu_ns_per_message),
        ),
    ];
    let both_ends = runs.iter().any(|run| run.result.resources.kernel.both_ends);
    html! {
        div.charts {
            @for run in runs { (ledger_bars(run, runs.len() > 1)) }
            figure {
                h3 { "What one connection costs" }
                (table(runs, "Memory for each connection, and in all", &ledger))
                (table(runs, "CPU time for each connection and message", &cpu))
                @if both_ends {
                    figcaption { "Server and client shared a machine: the kernel's figures count both ends of a connection." }
                }
            }
        }
    }
}

fn ledger_bars(run: &Run, named: bool) -> Markup {
    let resources = &run.result.resources;
    let server = resources.server.as_ref().and_then(|one| one.bytes_per_connection);
    let entries = [
        ("client", resources.client.bytes_per_connection),
        ("server", server),
        ("kernel", resources.kernel.bytes_per_connection),
    ];
    let bars: Vec<_> = entries
        .into_iter()
        .filter_map(|(name, bytes)| {
            Some((name.to_owned(), bytes?, format!("{name}: {} a connection", bytes_text(bytes?))))
        })
        .collect();
    let heading = if named {
        format!("Memory for each connection: {}", run.name)
    } else {
        "Memory for each connection".to_owned()
    };
    let highest = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let y = Axis::from_zero(highest, |value| format!("{} B", count(value)));
    let labels = bars.iter().map(|(_, bytes, _)| bytes_text(*bytes)).collect();
    let chart = BarChart { description: heading.clone(), y, x_name: "", bars, labels, color: 0 };
    html! { @if !chart.bars.is_empty() { figure { h3 { (heading) } (chart.markup()) } } }
}

pub(super) fn failures(runs: &[Run]) -> Markup {
    let some = |kind: &Failure| runs.iter().any(|run| run.result.failures.get(*kind) > 0);
    let kinds: Vec<_> = Failure::ALL.into_iter().filter(some).collect();
    let mut rows: Vec<Row> = vec![
        row(runs, "connections that failed", |r| Some(format_grouped(r.connections.failed))),
        row(runs, "connections lost", |r| Some(format_grouped(r.connections.lost))),
        row(runs, "messages without reply", |r| Some(format_grouped(r.messages.lost))),
        row(runs, "wrong replies", |r| Some(format_grouped(r.messages.mismatched))),
    ];
    rows.extend(kinds.iter().map(|kind| {
        row(runs, &format!("kind: {}", kind.name()), |r| {
            Some(format_grouped(r.failures.get(*kind)))
        })
    }));
    html! {
        @if kinds.is_empty() { p { "No connection failed, and none was lost." } }
        (table(runs, "Failures", &rows))
        (counts(runs, "Handshakes answered with another status", |result| &result.http_statuses))
        (counts(runs, "Rules of the protocol that connections broke", |result| &result.violations))
    }
}

/// A table of what was counted by name, if any run has some of it.
fn counts(
    runs: &[Run],
    caption: &str,
    of: impl Fn(&ResultFile) -> &BTreeMap<String, u64> + Copy,
) -> Markup {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| of(&run.result).keys()).collect();
    let rows: Vec<_> = names
        .into_iter()
        .map(|name| row(runs, name, |result| of(result).get(name).map(|n| format_grouped(*n))))
        .collect();
    html! { @if !rows.is_empty() { (table(runs, caption, &rows)) } }
}
