//! Results as one HTML page that needs nothing else: no network, no script, no font. Charts are
//! inline SVG ([`chart`]); each has its numbers in a table beside it, so that nothing is told by
//! colour or pointer alone.
//!
//! maud writes the markup: it escapes every value, and a result from elsewhere may say anything.

mod chart;
mod data;

pub use data::Run;

use crate::schema::{Outcome, ResultFile, Verdict};
use crate::text;
use chart::{Axis, BarChart, HeatMap, LineChart, Series, Stroke};
use data::{Column, count, percent, time};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use measure::units::{format_count, format_grouped, format_rate};
use measure::{Failure, Stage};
use serde_json::Value;

/// The most runs on one page: there are as many colours.
pub const RUNS_MAX: usize = chart::COLORS;

/// The style sheet, for screens of any width, light and dark, and for paper.
const STYLE: &str = include_str!("style.css");

/// The percentiles that tables list and curves mark, with their place on the axis 1/(1-p).
const MARKS: [(&str, &str, f64); 6] = [
    ("p50", "50 %", 2.0),
    ("p75", "75 %", 4.0),
    ("p90", "90 %", 10.0),
    ("p99", "99 %", 100.0),
    ("p999", "99.9 %", 1_000.0),
    ("p9999", "99.99 %", 10_000.0),
];

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
                    nav aria-label="Sections" {
                        ul { @for (id, name) in SECTIONS { li { a href={ "#" (id) } { (name) } } } }
                    }
                }
                main {
                    @for run in runs { (warnings(run, runs.len() > 1)) }
                    @match runs {
                        [run] => { (cards(&run.result)) (thresholds(&run.result.verdict)) }
                        _ => (figures(runs)),
                    }
                    (section(0, latency(runs)))
                    (section(1, over_time(runs, &columns, seconds)))
                    (section(2, balance(runs)))
                    (section(3, memory(runs)))
                    (section(4, failures(runs)))
                    (section(5, facts(runs)))
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
    page.into_string()
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
    html! {
        p {
            @if named { strong { (run.name) } " " }
            span.badge.(class) { (words) } " "
            (text::plan(&result.plan).replace('\u{a0}', " "))
        }
        p.soft {
            (result.plan.targets.join(" ")) " · began " (result.run.started)
            @if let Some(lasted) = text::lasted(&result.run) { ", took " (time(lasted.0 as f64)) }
            @if !result.run.parts.is_empty() { " · merged from " (result.run.parts.len()) " runs" }
        }
    }
}

fn warnings(run: &Run, named: bool) -> Markup {
    html! {
        @for warning in &run.result.run.warnings {
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
                (card("Response, median", &times[0], "from the intended send time"))
                (card("Response, 99 %", &times[1], &format!("99.9 %: {}", times[2])))
            }
            @if messages.sent > 0 {
                (card(
                    "Messages",
                    &format_rate(messages.rate_achieved),
                    &format!("{} answered, {} lost", format_grouped(messages.received), format_grouped(messages.lost)),
                ))
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
                    thead { tr { th scope="col" { "Fails if" } th scope="col" { "Measured" } th scope="col" { "Verdict" } } }
                    tbody {
                        @for one in &verdict.thresholds {
                            tr {
                                th scope="row" { (one.expression) }
                                td { (one.value.map_or_else(|| "nothing".to_owned(), |v| shown(v, &one.unit))) }
                                td { @if one.ok { span.good { "ok" } } @else { strong.bad { "MISSED" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn shown(value: f64, unit: &str) -> String {
    text::in_unit(value, unit).replace('\u{a0}', " ").replace(" us", " µs")
}

/// One column for each run, one row for each figure: name, and its text for a result.
type Row = (String, Vec<String>);

fn table(runs: &[Run], caption: &str, rows: &[Row]) -> Markup {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
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
        row(runs, "Response, median", percentile(Stage::Response, "p50")),
        row(runs, "Response, 99 %", percentile(Stage::Response, "p99")),
        row(runs, "Response, 99.9 %", percentile(Stage::Response, "p999")),
        row(runs, "Connect, median", percentile(Stage::Connect, "p50")),
        row(runs, "Connect, 99 %", percentile(Stage::Connect, "p99")),
    ];
    table(
        runs,
        "The runs side by side; c1000k-report compare says which differences are more than noise",
        &rows,
    )
}

// ---- Latency --------------------------------------------------------------------------------------

fn latency(runs: &[Run]) -> Markup {
    let measured = |stage: Stage| runs.iter().any(|run| run.has(stage));
    if !Stage::ALL.into_iter().any(measured) {
        return html! { p { "Nothing was measured." } };
    }
    html! {
        p.soft {
            "The further right, the rarer: each step is ten times rarer than the one before. "
            "Response counts from when a message was meant to leave, service from when it did leave; "
            "where they part, the generator was late or had to wait."
        }
        div.charts {
            @match runs {
                [run] => {
                    (stages(run, "Replies", &[Stage::Response, Stage::Service, Stage::SendLag, Stage::ReceiveLag]))
                    (stages(run, "Opening", &[Stage::Connect, Stage::Tls, Stage::Upgrade, Stage::Handshake, Stage::FirstEcho]))
                }
                _ => {
                    @for stage in Stage::ALL.into_iter().filter(|stage| measured(*stage) && *stage != Stage::Service) {
                        (stage_of_runs(runs, stage))
                    }
                }
            }
        }
        details {
            summary { "Latency in numbers" }
            @for run in runs { (latency_table(run)) }
        }
    }
}

/// The curve of a stage with its percentiles as dots.
fn curve(run: &Run, stage: Stage, name: &str, color: usize) -> Series {
    let mut series = Series::line(name, color, run.curve(stage));
    let Some(entry) = run.result.stages.get(stage) else { return series };
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
fn stages(run: &Run, heading: &str, stages: &[Stage]) -> Markup {
    let repeated = run.result.stages.handshake == run.result.stages.connect;
    let shown = stages
        .iter()
        .filter(|stage| run.has(**stage) && !(**stage == Stage::Handshake && repeated));
    let series: Vec<_> = shown
        .enumerate()
        .map(|(index, stage)| {
            let stroke =
                [Stroke::Solid, Stroke::Dashed, Stroke::Dotted, Stroke::Dashed, Stroke::Dotted];
            curve(run, *stage, words(*stage), index).stroke(stroke[index])
        })
        .collect();
    if series.is_empty() {
        return html! {};
    }
    let names: Vec<_> = series.iter().map(|one| one.name.clone()).collect();
    percentile_chart(heading, format!("Latency by percentile: {}", names.join(", ")), series)
}

/// One stage of all runs in one chart; the response together with the service.
fn stage_of_runs(runs: &[Run], stage: Stage) -> Markup {
    let mut series = Vec::new();
    for (color, run) in runs.iter().enumerate().filter(|(_, run)| run.has(stage)) {
        series.push(curve(run, stage, &run.name, color));
        if stage == Stage::Response && run.has(Stage::Service) {
            let name = format!("{}, service", run.name);
            series.push(curve(run, Stage::Service, &name, color).stroke(Stroke::Dashed));
        }
    }
    let mut heading = words(stage).to_owned();
    heading[..1].make_ascii_uppercase();
    percentile_chart(
        &heading,
        format!("Latency by percentile, {} of each run", words(stage)),
        series,
    )
}

const fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Tls => "TLS handshake",
        Stage::Upgrade => "upgrade",
        Stage::Handshake => "handshake",
        Stage::FirstEcho => "first echo",
        Stage::Response => "response",
        Stage::Service => "service",
        Stage::SendLag => "send lag",
        Stage::ReceiveLag => "receive lag",
    }
}

fn latency_table(run: &Run) -> Markup {
    let columns =
        ["count", "min", "50 %", "75 %", "90 %", "99 %", "99.9 %", "99.99 %", "max", "mean"];
    let rows: Vec<Row> = run
        .result
        .stages
        .iter()
        .map(|(stage, entry)| {
            let times = [
                entry.min,
                entry.p50,
                entry.p75,
                entry.p90,
                entry.p99,
                entry.p999,
                entry.p9999,
                entry.max,
            ];
            let mut cells = vec![format_grouped(entry.count)];
            cells.extend(times.map(|value| time(value as f64)));
            cells.push(time(entry.mean));
            (words(stage).to_owned(), cells)
        })
        .collect();
    table_of(&format!("Latency by stage: {}", run.name), &columns, &rows)
}

// ---- Over time ------------------------------------------------------------------------------------

/// A value of each column, cut into pieces where there is none.
fn pieces(columns: &[Column], of: impl Fn(&Column) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    let mut before: Option<f64> = None;
    for column in columns {
        let follows = before == Some(column.from);
        before = Some(column.to);
        match (of(column), pieces.last_mut()) {
            (Some(value), Some(last)) if follows => last.push((column.middle(), value)),
            (Some(value), _) => pieces.push(vec![(column.middle(), value)]),
            (None, _) => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
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
        let mut texts = std::collections::BTreeMap::new();
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
            let band = |column: &Column| Some((column.middle(), column.p50?, column.p99?));
            series[0].band = columns.iter().filter_map(band).collect();
        }
        let y = data::time_axis(
            series.iter().flat_map(|one| one.pieces.iter().flatten()).map(|point| point.1),
        );
        self.figure("Response of the replies of each second", series, y, self.hovers(&LINES, &time))
    }
}

fn over_time(runs: &[Run], columns: &[Vec<Column>], seconds: u64) -> Markup {
    if columns.iter().all(Vec::is_empty) {
        return html! { p { "No second of the run was recorded." } };
    }
    let over_time = OverTime { runs, columns };
    let counts = |high| Axis::from_zero(high, count);
    let rates = |high| Axis::from_zero(high, |value| format!("{}/s", count(value)));
    let any_failed = columns.iter().flatten().any(|column| column.failed > 0.0);
    let grouped = |value: f64| format_grouped(value as u64);
    html! {
        @if seconds > 1 { p.soft { "Each point is " (seconds) " seconds of the run." } }
        div.charts {
            (over_time.chart("Connections open", &[("open", Stroke::Solid, |c| Some(c.open))], counts, &grouped))
            (over_time.chart("Connections opened per second", &[("opened per second", Stroke::Solid, |c| Some(c.rate(c.opened)))], rates, &grouped))
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
                (over_time.chart("Connections failed or lost", &[("failed or lost", Stroke::Solid, |c| Some(c.failed))], counts, &grouped))
            }
            @for (run, columns) in runs.iter().zip(columns) { (heat_map(run, columns, runs.len() > 1)) }
        }
        @if !any_failed { p.soft { "No connection failed or was lost in any second." } }
        details {
            summary { "Time line in numbers" }
            @for (run, columns) in runs.iter().zip(columns) { (time_table(run, columns)) }
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
                    "There is no heat map: this result is of a version that kept no histogram for each second. "
                    "The band in the chart of responses lies between the median and the 99th percentile."
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
            figcaption { "The darker, the larger the share of that second's replies, on a logarithmic scale: the palest cells are single replies." }
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

// ---- Balance, memory, failures, facts -------------------------------------------------------------

fn balance(runs: &[Run]) -> Markup {
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
                        (one.busy_ratio, format!("busy {} of the run", percent(one.busy_ratio)))
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
    of: impl Fn(&crate::schema::Reactor) -> (f64, String),
) -> Markup {
    let bar = |one| {
        let (value, text) = of(one);
        let core = one.core.map_or_else(String::new, |core| format!(" on core {core}"));
        (one.index.to_string(), value, format!("reactor #{}{core}: {text}", one.index))
    };
    let bars: Vec<_> = run.result.reactors.iter().map(bar).collect();
    let highest = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let chart = BarChart {
        description: heading.to_owned(),
        y: y(highest),
        x_name: "reactor",
        bars,
        color: 0,
    };
    html! { figure { h3 { (heading) } (chart.markup()) } }
}

fn memory(runs: &[Run]) -> Markup {
    let bytes =
        |of: fn(&ResultFile) -> Option<f64>| move |result: &ResultFile| of(result).map(bytes_text);
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
                (table(runs, "Memory for each connection", &ledger))
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
    let chart = BarChart { description: heading.clone(), y, x_name: "", bars, color: 0 };
    html! { @if !chart.bars.is_empty() { figure { h3 { (heading) } (chart.markup()) } } }
}

fn failures(runs: &[Run]) -> Markup {
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
    }
}

fn facts(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @let result = &run.result;
            @if runs.len() > 1 { h3 { (run.name) } }
            (facts_of("Plan, with every option", &serde_json::to_value(&result.plan).unwrap_or_default()))
            (facts_of("Machine of the client", &result.host))
            details {
                summary { "Command and program" }
                pre { (result.run.command.join(" ")) }
                p {
                    (result.tool.name) " " (result.tool.version)
                    @if let Some(commit) = &result.tool.commit { ", commit " (commit) }
                    ". Run " (result.run.id) ", seed " (result.run.seed) "."
                }
            }
            @if !result.run.parts.is_empty() {
                (facts_of("Runs that were merged", &serde_json::to_value(&result.run.parts).unwrap_or_default()))
            }
            @if result.limits_reached.values().any(|count| *count > 0) {
                details {
                    summary { "Limits that were reached" }
                    (table_of("How often each limit was reached", &["times"],
                        &result.limits_reached.iter().filter(|(_, count)| **count > 0)
                            .map(|(name, count)| (name.clone(), vec![format_grouped(*count)])).collect::<Vec<_>>()))
                }
            }
            @if let Some(peer) = &result.peer { (facts_of("The server's own account", peer)) }
        }
    }
}

fn facts_of(name: &str, value: &Value) -> Markup {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    html! {
        @if !rows.is_empty() {
            details {
                summary { (name) }
                div.scroll tabindex="0" role="region" aria-label=(name) {
                    table { tbody { @for (key, text) in &rows { tr { th scope="row" { (key) } td.text { (text) } } } } }
                }
            }
        }
    }
}

/// Every value with its dotted name. Of lists whose items are objects there is an entry for each.
fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let under = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| flatten(&under(key), value, rows))
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| flatten(&under(&index.to_string()), item, rows));
        }
        Value::Array(items) => {
            let text = items.iter().map(plain).collect::<Vec<_>>().join(" ");
            rows.push((name.to_owned(), text));
        }
        Value::Null if name.is_empty() => {}
        other => rows.push((name.to_owned(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        Value::Number(number) => number.as_u64().map_or_else(
            || number.to_string(),
            |whole| match whole {
                0..10_000 => whole.to_string(),
                _ => format!("{} ({})", format_grouped(whole), format_count(whole)),
            },
        ),
        other => other.to_string(),
    }
}
