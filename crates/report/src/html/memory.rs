//! What a connection and a message cost: memory and CPU time.

use super::chart::{Axis, BarChart};
use super::data::{Run, count, time};
use super::{bytes_text, row, table};
use crate::section::{Footprint, ResultFile};
use maud::{Markup, html};
use measure::units::{format_grouped, format_size};

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
                    figcaption { "Server and client shared a machine: the kernel's figures count \
                        both ends of a connection." }
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
