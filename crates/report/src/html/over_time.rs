//! What happened when: connections, rates, responses and failures second by second, the heat map.

use super::chart::{Axis, HeatMap, LineChart, Series, Stroke};
use super::data::{self, Column, Run, count, time};
use super::{Row, table_of};
use maud::{Markup, html};
use measure::units::format_grouped;
use std::collections::BTreeMap;

/// A value for each column, as the two ends of its stretch, cut into pieces where there is none.
fn pieces<V: Copy>(columns: &[Column], of: impl Fn(&Column) -> Option<V>) -> Vec<Vec<(f64, V)>> {
    let mut pieces: Vec<Vec<(f64, V)>> = Vec::new();
    let mut before = None;
    for column in columns {
        let Some(value) = of(column) else { continue };
        if before != Some(column.from) {
            pieces.push(Vec::new());
        }
        before = Some(column.to);
        if let Some(last) = pieces.last_mut() {
            last.extend([(column.from, value), (column.to, value)]);
        }
    }
    pieces
}

/// What a chart over time shows of a column: a name, how its line is drawn, and its value.
type Line = (&'static str, Stroke, fn(&Column) -> Option<f64>);

/// Charts over time share their x axis; each has some lines for each run.
struct OverTime<'a> {
    runs: &'a [Run],
    columns: &'a [Vec<Column>],
}

impl OverTime<'_> {
    fn series(&self, lines: &[Line]) -> Vec<Series> {
        let mut all = Vec::new();
        for (run_index, (run, columns)) in self.runs.iter().zip(self.columns).enumerate() {
            for (line_index, (name, stroke, of)) in lines.iter().enumerate() {
                let (name, color) = match (self.runs.len(), lines.len()) {
                    (1, _) => ((*name).to_owned(), line_index),
                    (_, 1) => (run.name.clone(), run_index),
                    _ => (format!("{}, {name}", run.name), run_index),
                };
                let mut series = Series::line(name, color, Vec::new()).stroke(*stroke);
                series.pieces = pieces(columns, of);
                if !series.pieces.is_empty() {
                    all.push(series);
                }
            }
        }
        all
    }

    fn hovers(&self, lines: &[Line], format: &dyn Fn(f64) -> String) -> Vec<(f64, f64, String)> {
        let mut texts = BTreeMap::new();
        for (run, columns) in self.runs.iter().zip(self.columns) {
            for column in columns {
                let of_run =
                    if self.runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
                let values = lines
                    .iter()
                    .filter_map(|(name, _, of)| Some(format!("{name} {}", format(of(column)?))));
                let values: Vec<_> = values.collect();
                if !values.is_empty() {
                    let entry = texts
                        .entry(column.from as u64)
                        .or_insert_with(|| (column.to, column.name()));
                    entry.1 += &format!("\n{of_run}{}", values.join(", "));
                }
            }
        }
        texts.into_iter().map(|(from, (to, text))| (from as f64, to, text)).collect()
    }

    fn chart(
        &self,
        heading: &str,
        lines: &[Line],
        y: impl Fn(f64) -> Axis,
        format: &dyn Fn(f64) -> String,
    ) -> Markup {
        let series = self.series(lines);
        let highest = series
            .iter()
            .flat_map(|one| one.pieces.iter().flatten())
            .map(|point| point.1)
            .fold(0.0, f64::max);
        self.figure(heading, series, y(highest), self.hovers(lines, format))
    }

    fn figure(
        &self,
        heading: &str,
        series: Vec<Series>,
        y: Axis,
        hovers: Vec<(f64, f64, String)>,
    ) -> Markup {
        let chart = LineChart {
            description: format!("{heading}, second by second"),
            x: data::second_axis(self.columns),
            y,
            x_name: "time since the start of the run",
            series,
            hovers,
        };
        html! { figure { h3 { (heading) } (chart.markup()) } }
    }

    /// Median, 99th percentile and maximum, with a band from the first to the second.
    fn responses(&self) -> Markup {
        const LINES: [Line; 3] = [
            ("99 %", Stroke::Solid, |column| column.p99),
            ("median", Stroke::Dashed, |column| column.p50),
            ("longest", Stroke::Dotted, |column| column.max),
        ];
        let mut series = self.series(&LINES);
        if series.is_empty() {
            return html! {};
        }
        if let [columns] = self.columns {
            series[0].bands = pieces(columns, |column| column.p50.zip(column.p99));
        }
        let y = data::time_axis(
            series.iter().flat_map(|one| one.pieces.iter().flatten()).map(|point| point.1),
        );
        self.figure("Response of the replies of each second", series, y, self.hovers(&LINES, &time))
    }
}

pub(super) fn over_time(runs: &[Run]) -> Markup {
    let seconds = data::seconds_per_column(runs);
    let columns: Vec<_> =
        runs.iter().map(|run| data::columns(&run.result.timeline, seconds)).collect();
    if columns.iter().all(Vec::is_empty) {
        return html! { p { "No second of the run was recorded." } };
    }
    let over_time = OverTime { runs, columns: &columns };
    let counts = |high| Axis::from_zero(high, count);
    let rates = |high| Axis::from_zero(high, |value| format!("{}/s", count(value)));
    let any_failed = columns.iter().flatten().any(|column| column.failed > 0.0);
    let grouped = |value: f64| format_grouped(value as u64);
    html! {
        @if seconds > 1 { p.soft { "Each point is " (seconds) " seconds of the run." } }
        div.charts {
            (over_time.chart(
                "Connections open",
                &[("open", Stroke::Solid, |c| Some(c.open))],
                counts,
                &grouped,
            ))
            (over_time.chart(
                "Connections opened per second",
                &[("opened per second", Stroke::Solid, |c| Some(c.rate(c.opened)))],
                rates,
                &grouped,
            ))
            (over_time.chart(
                "Messages per second, first echoes included",
                &[
                    ("received", Stroke::Solid, |c| Some(c.rate(c.received))),
                    ("sent", Stroke::Dashed, |c| Some(c.rate(c.sent))),
                ],
                rates,
                &grouped,
            ))
            (over_time.responses())
            @if any_failed {
                (over_time.chart(
                    "Connections failed or lost",
                    &[("failed or lost", Stroke::Solid, |c| Some(c.failed))],
                    counts,
                    &grouped,
                ))
            }
            @for (run, columns) in runs.iter().zip(&columns) {
                (heat_map(run, columns, runs.len() > 1))
            }
        }
        @if !any_failed { p.soft { "No connection failed or was lost in any second." } }
        details {
            summary { "Time line in numbers" }
            @for (run, columns) in runs.iter().zip(&columns) { (time_table(run, columns)) }
        }
    }
}

fn heat_map(run: &Run, columns: &[Column], named: bool) -> Markup {
    let cells = data::heat(columns);
    if cells.is_empty() {
        return html! {
            @if columns.iter().any(|column| column.max.is_some()) {
                p.soft {
                    @if named { (run.name) ": " }
                    "There is no heat map: this result is of a version that kept no histogram for \
                     each second. "
                    "The band in the chart of responses lies between the median and the 99th \
                     percentile."
                }
            }
        };
    }
    let heading = if named {
        format!("Responses as a heat map: {}", run.name)
    } else {
        "Responses as a heat map".to_owned()
    };
    let ends = cells.iter().flat_map(|cell| [cell.y.0, cell.y.1]);
    let from = columns
        .iter()
        .filter(|column| column.histogram.is_some())
        .map(|column| column.from)
        .fold(f64::MAX, f64::min);
    let shown: Vec<_> = columns.iter().filter(|column| column.from >= from).cloned().collect();
    let end = shown.last().map_or(from + 1.0, |last| last.to);
    let map = HeatMap {
        description: format!(
            "Share of the replies of each second by their response time, from {} on",
            time(cells.iter().map(|c| c.y.0).fold(f64::MAX, f64::min))
        ),
        x: data::stretch_axis(from, end),
        y: data::time_axis(ends),
        x_name: "time since the start of the run",
        cells,
    };
    html! {
        figure {
            h3 { (heading) }
            (map.markup())
            figcaption { "The stronger the colour, the larger the share of that second's replies, \
                on a logarithmic scale: the palest cells are single replies." }
        }
    }
}

fn time_table(run: &Run, columns: &[Column]) -> Markup {
    let heads =
        ["open", "opened", "failed or lost", "sent", "received", "median", "99 %", "longest"];
    let rows: Vec<Row> = columns
        .iter()
        .map(|column| {
            let counts = [column.open, column.opened, column.failed, column.sent, column.received];
            let mut cells: Vec<_> = counts.map(|value| format_grouped(value as u64)).into();
            let times = [column.p50, column.p99, column.max];
            cells.extend(times.map(|value| value.map_or_else(|| "–".to_owned(), time)));
            (column.name(), cells)
        })
        .collect();
    table_of(&format!("Second by second: {}", run.name), &heads, &rows)
}
