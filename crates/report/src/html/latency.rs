//! Curves of latency by percentile, on the axis 1/(1-p), and their numbers.

use super::chart::{LineChart, Series, Stroke};
use super::data::{self, Run, time};
use super::{Row, audit, row, table, table_of};
use crate::section::{Pacing, stages};
use crate::words;
use maud::{Markup, html};
use measure::Stage;
use measure::units::format_grouped;

/// The percentiles that tables list and curves mark, with their place on the axis 1/(1-p).
const MARKS: [(&str, &str, f64); 7] = [
    ("p50", "50 %", 2.0),
    ("p75", "75 %", 4.0),
    ("p90", "90 %", 10.0),
    ("p95", "95 %", 20.0),
    ("p99", "99 %", 100.0),
    ("p999", "99.9 %", 1_000.0),
    ("p9999", "99.99 %", 10_000.0),
];

pub(super) fn latency(runs: &[Run]) -> Markup {
    if !runs.iter().any(Run::has_any) {
        return html! { p { "Nothing was measured." } };
    }
    html! {
        p.soft {
            "The further right, the rarer: each step is ten times rarer than the one before. "
            "Response counts from when a message was meant to leave, service from when it did \
             leave; "
            "where they part, the generator was late or had to wait."
        }
        div.charts {
            @match runs {
                [run] => {
                    (stages(run, "Replies", &stages::REPLIES.map(Stage::name)))
                    (stages(run, "Opening", &stages::OPENING.map(Stage::name)))
                    (stages(run, "Pings and closing", &stages::BESIDES.map(Stage::name)))
                    (stages(run, "Responses by status", &stages::CLASSES.map(Stage::name)))
                    (stages(run, "Further stages", &others(runs)))
                }
                _ => {
                    @let known = stages::drawn().map(|stage| -> &str { stage.name() });
                    @for stage in known.chain(others(runs)) {
                        // The service is drawn with the response.
                        @let shown = runs.iter().any(|run| shows(run, stage));
                        @if shown && stage != Stage::Service.name() {
                            (stage_of_runs(runs, stage))
                        }
                    }
                }
            }
            (audit::audit(runs))
        }
        details {
            summary { "Latency in numbers" }
            @for run in runs { (latency_table(run)) }
            p.soft { (words::THIN) }
        }
        @if runs.iter().any(|run| run.result.pacing.is_some()) {
            details {
                summary { "Pacing: how evenly messages were sent" }
                @let caption = "Messages sent in each window of time, against the schedule";
                (table(runs, caption, &pacing_rows(runs)))
                p.soft {
                    "Dispersion is the variance of the messages sent in a window, divided by \
                     their mean. "
                    "Bursts raise it above that of the schedule."
                }
            }
        }
    }
}

/// What is known of how the sending kept to its schedule.
fn pacing_rows(runs: &[Run]) -> [Row; 7] {
    let of = |name: &str, text: &dyn Fn(&Pacing) -> Option<String>| {
        row(runs, name, |result| text(result.pacing.as_ref()?))
    };
    let number = |value: Option<f64>| value.map(|value| format!("{value:.3}"));
    [
        of("arrivals", &|it| Some(it.arrivals.name().to_owned())),
        of("rate sent, of that asked", &|it| {
            Some(format!("{:.3} %", 100.0 * (1.0 + it.rate_error)))
        }),
        of("windows", &|it| {
            let (count, each) = (format_grouped(it.windows), time(it.window_ns as f64));
            Some(format!("{count} of {each}"))
        }),
        of("sent in one, on average", &|it| Some(format!("{:.2}", it.sent_per_window_mean))),
        of("at most", &|it| Some(format_grouped(it.sent_per_window_max))),
        of("dispersion", &|it| number(it.dispersion)),
        of("dispersion of the schedule", &|it| number(it.dispersion_ideal)),
    ]
}

/// The curve of a stage with its percentiles as dots.
fn curve(run: &Run, stage: &str, name: &str, color: usize) -> Series {
    let mut series = Series::line(name, color, run.curve(stage));
    let Some(entry) = run.result.stages.named(stage) else { return series };
    let marks = MARKS.iter().filter(|(.., x)| *x <= entry.count as f64);
    series.dots = marks
        .filter_map(|(statistic, percentile, x)| {
            let value = entry.statistic(statistic)?;
            Some((*x, value, format!("{name}: {percentile} took {} or less", time(value))))
        })
        .chain([(
            entry.count as f64,
            entry.max as f64,
            format!("{name}: the longest took {}", time(entry.max as f64)),
        )])
        .collect();
    series
}

fn percentile_chart(heading: &str, description: String, series: Vec<Series>) -> Markup {
    let points = || series.iter().flat_map(|one| one.pieces.iter().flatten());
    let most = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let chart = LineChart {
        x: data::percentile_axis(most),
        y: data::time_axis(points().map(|(_, y)| *y)),
        x_name: "share of all that took no longer",
        description,
        series,
        hovers: Vec::new(),
    };
    html! { figure { h3 { (heading) } (chart.markup()) } }
}

/// Several stages of one run in one chart.
fn stages(run: &Run, heading: &str, stages: &[&str]) -> Markup {
    let shown = stages.iter().filter(|stage| shows(run, stage));
    let series: Vec<_> = shown
        .enumerate()
        .map(|(index, stage)| {
            let stroke = match index {
                0 => Stroke::Solid,
                _ if index % 2 == 1 => Stroke::Dashed,
                _ => Stroke::Dotted,
            };
            curve(run, stage, stages::word(stage), index).stroke(stroke)
        })
        .collect();
    if series.is_empty() {
        return html! {};
    }
    let names: Vec<_> = series.iter().map(|one| one.name.clone()).collect();
    percentile_chart(heading, format!("Latency by percentile: {}", names.join(", ")), series)
}

/// Whether a stage was measured and is not another one again, as the handshake of plain TCP is its
/// connect.
fn shows(run: &Run, stage: &str) -> bool {
    let stages = &run.result.stages;
    let twice =
        stage == Stage::Handshake.name() && stages.named(stage) == stages.get(Stage::Connect);
    let shown = stages::shown(&run.result).any(|(one, _)| one == stage);
    run.has(stage) && shown && !twice
}

/// One stage of all runs in one chart; the response together with the service.
fn stage_of_runs(runs: &[Run], stage: &str) -> Markup {
    let mut series = Vec::new();
    for (color, run) in runs.iter().enumerate().filter(|(_, run)| run.has(stage)) {
        series.push(curve(run, stage, &run.name, color));
        let service = Stage::Service.name();
        if stage == Stage::Response.name() && run.has(service) {
            let name = format!("{}, service", run.name);
            series.push(curve(run, service, &name, color).stroke(Stroke::Dashed));
        }
    }
    let mut heading = stages::word(stage).to_owned();
    // Names from elsewhere may begin with anything.
    if let Some(first) = heading.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    percentile_chart(
        &heading,
        format!("Latency by percentile, {} of each run", stages::word(stage)),
        series,
    )
}

/// Stages that this version does not know.
fn others(runs: &[Run]) -> Vec<&str> {
    let names = runs.iter().flat_map(|run| run.result.stages.iter().map(|(name, _)| name));
    let mut others: Vec<&str> = names.filter(|name| Stage::from_name(name).is_none()).collect();
    others.sort_unstable();
    others.dedup();
    others
}

fn latency_table(run: &Run) -> Markup {
    let columns = [
        "count", "min", "50 %", "75 %", "90 %", "95 %", "99 %", "99.9 %", "99.99 %", "max", "mean",
    ];
    let rows: Vec<Row> = stages::shown(&run.result)
        .map(|(stage, entry)| {
            let mut cells = vec![format_grouped(entry.count), time(entry.min as f64)];
            cells.extend(MARKS.iter().map(|(statistic, _, x)| {
                let thin = if words::carries(entry.count, 1.0 / x) { "" } else { "~" };
                let value = entry.statistic(statistic).unwrap_or(entry.max as f64);
                format!("{thin}{}", time(value))
            }));
            cells.extend([time(entry.max as f64), time(entry.mean)]);
            (stages::word(stage).to_owned(), cells)
        })
        .collect();
    table_of(&format!("Latency by stage: {}", run.name), &columns, &rows)
}
