//! How evenly the work was spread over the reactors, and whether the generator had time to spare.

use super::chart::{Axis, BarChart};
use super::data::{Run, count, percent, time};
use super::{Row, row, table, table_of};
use crate::section::{BalanceOf, Generator, Imbalance, Reactor, ResultFile, StageEntry};
use maud::{Markup, html};
use measure::units::format_grouped;

pub(super) fn balance(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @let reactors = &run.result.reactors;
            @if reactors.is_empty() {
                p { @if runs.len() > 1 { (run.name) ": " } "No reactor was recorded." }
            } @else {
                @if runs.len() > 1 { h3 { (run.name) } }
                div.charts {
                    @let held = |one: &Reactor| {
                        let many = format!("{} connections", format_grouped(one.connections));
                        (one.connections as f64, many)
                    };
                    @let counts = |high| Axis::from_zero(high, count);
                    @let heading = "Connections held by each reactor of the client";
                    (reactor_bars(run, heading, counts, held))
                    @if reactors.iter().any(|one| one.loop_delay.is_some()) {
                        @let times = |high| Axis::from_zero(high, time);
                        (reactor_bars(run, "Loop delay of each reactor, 99 %", times, |one| {
                            let delay = one.loop_delay.unwrap_or_default();
                            let (p99, max) = (time(delay.p99_ns as f64), time(delay.max_ns as f64));
                            let words = format!(
                                "came to what was due up to {p99} late in 99 % of cases, {max} \
                                 at the most"
                            );
                            (delay.p99_ns as f64, words)
                        }))
                    }
                    @let shares = |high| Axis::from_zero(high, percent);
                    (reactor_bars(run, "How busy each reactor was", shares, |one| {
                        (one.busy_ratio, format!("busy {} of the time", percent(one.busy_ratio)))
                    }))
                }
            }
        }
        (generators(runs))
        (evenness(runs))
        details {
            summary { "Reactors in numbers" }
            @for run in runs {
                @let heads = [
                    "core", "connections", "opened", "failed", "messages", "busy", "waiting",
                    "steal", "turns", "loop delay, 99 %", "max", "turn, 99 %", "max",
                    "send lag, 99 %", "receive lag, 99 %", "switches", "forced",
                ];
                @let rows: Vec<Row> = run.result.reactors.iter().map(|one| {
                    let core = one.core.map_or_else(|| "–".to_owned(), |core| core.to_string());
                    let counts = [one.connections, one.opened, one.failed, one.messages];
                    let mut cells = vec![core];
                    cells.extend(counts.map(format_grouped));
                    let shares = [Some(one.busy_ratio), one.wait_ratio, one.steal_ratio];
                    cells.extend(shares.map(|share| known(share, percent)));
                    cells.push(format_grouped(one.turns));
                    let spans = [one.loop_delay, one.turn].into_iter().flat_map(|spans| {
                        [spans.map(|it| it.p99_ns), spans.map(|it| it.max_ns)]
                    });
                    let times = spans.chain([one.send_lag_p99_ns, one.receive_lag_p99_ns]);
                    cells.extend(times.map(|value| known(value, |ns| time(ns as f64))));
                    let switches = [one.voluntary_switches, one.involuntary_switches];
                    cells.extend(switches.map(|count| known(count, format_grouped)));
                    (format!("#{}", one.index), cells)
                }).collect();
                (table_of(&format!("Reactors: {}", run.name), &heads, &rows))
            }
        }
    }
}

fn known<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), text)
}

/// What the verdict on the generator goes by, run beside run.
fn generators(runs: &[Run]) -> Markup {
    if runs.iter().all(|run| run.result.generator.is_none()) {
        return html! {};
    }
    let share = |of: fn(&Generator) -> Option<f64>| {
        move |result: &ResultFile| of(result.generator.as_ref()?).map(percent)
    };
    let p99 = |of: fn(&Generator) -> Option<&StageEntry>| {
        move |result: &ResultFile| {
            let entry = of(result.generator.as_ref()?)?;
            Some(format!("{} / {}", time(entry.p99 as f64), time(entry.max as f64)))
        }
    };
    let rows = [
        row(runs, "Client-limited", |r| {
            Some(if r.generator.as_ref()?.limited { "yes" } else { "no" }.to_owned())
        }),
        row(runs, "Busiest reactor", share(|one| Some(one.busy_max))),
        row(runs, "Longest waiting for a core", share(|one| one.wait_max)),
        row(runs, "Most of both together", share(|one| Some(one.demand_max))),
        row(runs, "Taken by the hypervisor", share(|one| one.steal_ratio)),
        row(runs, "Noisy machine", |r| {
            Some(if r.generator.as_ref()?.noisy_host { "yes" } else { "no" }.to_owned())
        }),
        row(runs, "Lateness of the machine, 99 % / max", p99(|one| one.host_probe.as_ref())),
        row(runs, "CPU time of other processes", |r| r.resources.others_cpu_ratio.map(percent)),
        row(runs, "Loop delay, 99 % / max", p99(|one| one.loop_delay.as_ref())),
        row(runs, "Turn, 99 % / max", p99(|one| one.turn.as_ref())),
        row(runs, "Send lag of its own, 99 % / max", p99(|one| one.own_lag.as_ref())),
    ];
    table(runs, "The generator, while messages were to be sent", &rows)
}

/// The imbalance of both ends.
fn evenness(runs: &[Run]) -> Markup {
    type End = fn(&ResultFile) -> Option<&BalanceOf>;
    type Figure = fn(&BalanceOf) -> Option<Imbalance>;
    let ends: [(&str, End); 2] = [
        ("Client", |result| result.balance.client.as_ref()),
        ("Server", |result| result.balance.server.as_ref()),
    ];
    let figures: [(&str, Figure); 4] = [
        ("connections opened", |one| one.opened),
        ("connections held", |one| one.connections),
        ("messages", |one| one.messages),
        ("CPU time", |one| one.cpu),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for (end, of) in ends {
        if runs.iter().all(|run| of(&run.result).is_none()) {
            continue;
        }
        for (name, figure) in figures {
            rows.push(row(runs, &format!("{end}: {name}"), |result| {
                let found = figure(of(result)?)?;
                Some(format!("{:.2} ({:.2})", found.index, found.variation))
            }));
        }
        rows.push(row(runs, &format!("{end}: loop delay, 99 %, worst reactor"), |result| {
            of(result)?.loop_delay_p99_ns.map(|ns| time(ns as f64))
        }));
        rows.push(row(runs, &format!("{end}: busiest reactor"), |result| {
            of(result)?.busy_max.map(percent)
        }));
    }
    let caption =
        "Imbalance over the reactors: the most over the mean, and the deviation over the mean";
    html! { @if !rows.is_empty() { (table(runs, caption, &rows)) } }
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
