//! From results to what the charts show: curves over percentiles, columns of time, cells of heat.

use super::chart::{Axis, Cell, Scale, round_step};
use crate::hist::{self, HistError};
use crate::section::{ResultFile, Second};
use hdrhistogram::Histogram;
use measure::Nanos;
use measure::units::{format_count, format_duration, format_grouped};
use std::collections::BTreeMap;

/// The most points that a time line is drawn with; a longer run has several seconds in each.
const COLUMNS_MAX: u64 = 120;

/// Points of a percentile curve for each tenfold of 1/(1-p).
const POINTS_PER_DECADE: f64 = 24.0;

/// Rows of a heat map for each tenfold of time.
const ROWS_PER_DECADE: f64 = 8.0;

/// A result with a name, its histograms decoded.
#[derive(Debug)]
pub struct Run {
    /// What it is called in legends.
    pub name: String,
    /// The result.
    pub result: ResultFile,
    histograms: BTreeMap<String, Histogram<u64>>,
}

impl Run {
    /// Decodes the histograms of a result.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn new(name: String, result: ResultFile) -> Result<Self, HistError> {
        let stages = result.stages.iter();
        let decoded =
            stages.map(|(stage, entry)| Ok((stage.to_owned(), hist::decode(&entry.hdr)?)));
        let histograms = decoded.collect::<Result<_, _>>()?;
        Ok(Self { name, result, histograms })
    }

    /// Whether anything was measured at all.
    pub(super) fn has_any(&self) -> bool {
        self.histograms.values().any(|histogram| !histogram.is_empty())
    }

    /// Whether anything was measured in a stage.
    pub(super) fn has(&self, stage: &str) -> bool {
        self.histograms.get(stage).is_some_and(|histogram| !histogram.is_empty())
    }

    /// The curve of a stage: 1/(1-p) and the time in nanoseconds, up to the maximum.
    pub(super) fn curve(&self, stage: &str) -> Vec<(f64, f64)> {
        let Some(histogram) = self.histograms.get(stage) else { return Vec::new() };
        let max = self.result.stages.named(stage).map_or(0, |entry| entry.max);
        let count = histogram.len() as f64;
        let steps = (count.max(1.0).log10() * POINTS_PER_DECADE).floor() as u32;
        let at = |x: f64| (x, histogram.value_at_quantile(1.0 - 1.0 / x).min(max) as f64);
        let inner = (0..=steps).map(|step| at(10f64.powf(f64::from(step) / POINTS_PER_DECADE)));
        inner.chain([(count.max(1.0), max as f64)]).collect()
    }
}

/// A time as the page shows it.
pub(super) fn time(nanoseconds: f64) -> String {
    // Ticks may be less than a nanosecond apart from a whole number.
    format_duration(Nanos(nanoseconds.max(0.0).round() as u64)).replace(" us", " µs")
}

/// The axis of 1/(1-p), with the percentiles as its ticks.
pub(super) fn percentile_axis(most: f64) -> Axis {
    let mut ticks = vec![(1.0, "0 %".to_owned()), (10.0, "90 %".to_owned())];
    // Over more decades it would stand on its neighbour.
    if most <= 500.0 {
        ticks.insert(1, (2.0, "50 %".to_owned()));
    }
    let most = most.max(10.0);
    let mut x = 100.0;
    let mut digits = 0;
    while x <= most * 1.001 {
        let percent = 100.0 * (1.0 - 1.0 / x);
        ticks.push((x, format!("{percent:.digits$} %")));
        (x, digits) = (x * 10.0, digits + 1);
    }
    Axis::with_ticks(Scale::Logarithmic, 1.0, most, ticks)
}

/// The axis of times that holds all of these, in nanoseconds.
pub(super) fn time_axis(values: impl Iterator<Item = f64>) -> Axis {
    let positive = values.filter(|value| *value > 0.0);
    let (low, high) =
        positive.fold((f64::MAX, 1.0f64), |(low, high), value| (low.min(value), high.max(value)));
    Axis::logarithmic(if low == f64::MAX { 1.0 } else { low }, high, time)
}

/// Some seconds of a run that are drawn as one point: all numbers are of the whole stretch.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// From, in seconds from the start of the run.
    pub(super) from: f64,
    /// To.
    pub(super) to: f64,
    pub(super) opened: f64,
    pub(super) open: f64,
    pub(super) failed: f64,
    pub(super) sent: f64,
    pub(super) received: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) max: Option<f64>,
    /// All responses of the stretch, if each of its seconds has them.
    pub(super) histogram: Option<Histogram<u64>>,
}

impl Column {
    /// A count as a rate per second.
    pub(super) fn rate(&self, count: f64) -> f64 {
        count / (self.to - self.from)
    }

    pub(super) fn name(&self) -> String {
        match self.to - self.from {
            1.0 => format!("second {}", self.from),
            _ => format!("seconds {} to {}", self.from, self.to - 1.0),
        }
    }
}

/// How many seconds one column is, so that no run has more columns than can be told apart.
pub(super) fn seconds_per_column(runs: &[Run]) -> u64 {
    let seconds = runs.iter().flat_map(|run| &run.result.timeline).map(|second| second.second);
    let longest = seconds.max().map_or(0, |last| last.saturating_add(1));
    // Beyond 2^53 seconds a step that is a little off makes no difference.
    round_step(longest.div_ceil(COLUMNS_MAX).max(1) as f64) as u64
}

/// The time line of a run in columns of some seconds each; stretches without a word are left out.
pub(super) fn columns(timeline: &[Second], seconds: u64) -> Vec<Column> {
    let mut groups: BTreeMap<u64, Vec<&Second>> = BTreeMap::new();
    for second in timeline {
        groups.entry(second.second / seconds).or_default().push(second);
    }
    groups.into_iter().map(|(index, group)| column(index * seconds, seconds, &group)).collect()
}

fn column(from: u64, seconds: u64, group: &[&Second]) -> Column {
    let sum = |of: fn(&Second) -> u64| group.iter().map(|one| of(one) as f64).sum();
    let of = |value: fn(&Second) -> Option<u64>| group.iter().filter_map(move |one| value(one));
    let histogram = histogram(group);
    let max = of(|one| one.response_max_ns).max();
    let quantile = |q| Some(histogram.as_ref()?.value_at_quantile(q).min(max?));
    // Without histograms the worst of the seconds stands for all: too high rather than too low.
    let p50 = quantile(0.5).or_else(|| of(|one| one.response_p50_ns).max());
    let p99 = quantile(0.99).or_else(|| of(|one| one.response_p99_ns).max());
    Column {
        from: from as f64,
        to: from.saturating_add(seconds) as f64,
        opened: sum(|one| one.opened),
        open: group.last().map_or(0.0, |last| last.open as f64),
        failed: sum(|one| one.failed),
        sent: sum(|one| one.sent),
        received: sum(|one| one.received),
        p50: p50.map(|value| value as f64),
        p99: p99.map(|value| value as f64),
        max: max.map(|value| value as f64),
        histogram,
    }
}

/// The responses of some seconds together; `None` if there are none, or not all are known.
fn histogram(group: &[&Second]) -> Option<Histogram<u64>> {
    let mut answered = group.iter().filter(|one| one.response_max_ns.is_some());
    let mut sum = hist::decode(answered.next()?.response_hdr.as_ref()?).ok()?;
    for second in answered {
        sum.add(hist::decode(second.response_hdr.as_ref()?).ok()?).ok()?;
    }
    Some(sum)
}

/// The axis of the time of all runs.
pub(super) fn second_axis(columns: &[Vec<Column>]) -> Axis {
    let end = columns.iter().flatten().map(|column| column.to).fold(1.0, f64::max);
    stretch_axis(0.0, end)
}

/// The axis of a stretch of a run, in seconds from its start.
pub(super) fn stretch_axis(from: f64, end: f64) -> Axis {
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
    let length = (end - from).max(1.0);
    let step = steps.into_iter().find(|step| length / step <= 9.0);
    let step = step.unwrap_or_else(|| round_step(length / 8.0 / 3_600.0) * 3_600.0);
    let first = (from / step).ceil() * step;
    let ticks = (0..).map(|n| first + f64::from(n) * step).take_while(|at| *at <= end * 1.001);
    let ticks = ticks.map(|at| (at, clock(at))).collect();
    Axis::with_ticks(Scale::Linear, from, end, ticks)
}

/// A moment of a run: `40 s`, `2:30`, `1:20:00`.
fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    let (hours, minutes, rest) = (whole / 3_600, whole / 60 % 60, whole % 60);
    match (hours, whole) {
        (0, 0..120) => format!("{whole} s"),
        (0, _) => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

/// The heat map of a run: for each column of time and row of response times the share of replies.
pub(super) fn heat(columns: &[Column]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for column in columns {
        let Some(histogram) = &column.histogram else { continue };
        let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
        for value in histogram.iter_recorded() {
            let middle = histogram.median_equivalent(value.value_iterated_to()).max(1);
            let row = ((middle as f64).log10() * ROWS_PER_DECADE).floor() as i64;
            *rows.entry(row).or_default() += value.count_at_value();
        }
        let total = histogram.len() as f64;
        for (row, count) in rows {
            let end = |row: i64| 10f64.powf(row as f64 / ROWS_PER_DECADE);
            let share = count as f64 / total;
            cells.push(Cell {
                x: (column.from, column.to),
                y: (end(row), end(row + 1)),
                // By the logarithm: a single reply among thousands is what one looks for.
                weight: 0.12 + 0.88 * (1.0 + share.log10() / 4.0).max(0.0),
                text: format!(
                    "{}: {} replies ({}) in {} to {}",
                    column.name(),
                    format_grouped(count),
                    percent(share),
                    time(end(row)),
                    time(end(row + 1)),
                ),
            });
        }
    }
    cells
}

/// A share in percent with the digits that it needs.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        10.0.. => format!("{percent:.0} %"),
        0.1.. => format!("{percent:.1} %"),
        0.0 => "0 %".to_owned(),
        _ => format!("{percent:.3} %"),
    }
}

/// A count as the ticks show it.
pub(super) fn count(value: f64) -> String {
    // Half a thing is on no axis that reaches two.
    if value < 2.0 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        format_count(value as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;
    use std::path::Path;

    fn fixture(name: &str) -> Run {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        Run::new(name.to_owned(), store::read(&path).expect("a result")).expect("histograms")
    }

    #[test]
    fn a_curve_rises_to_the_maximum_through_the_percentiles() {
        let run = fixture("v1/million.json");
        for (stage, entry) in run.result.stages.iter() {
            let curve = run.curve(stage);
            assert!(curve.windows(2).all(|two| two[0].0 <= two[1].0 && two[0].1 <= two[1].1));
            assert_eq!(curve.last(), Some(&(entry.count as f64, entry.max as f64)));
            let at = |x: f64| curve.iter().find(|point| (point.0 / x - 1.0).abs() < 1e-6);
            assert_eq!(at(10.0).map(|point| point.1), Some(entry.p90 as f64), "{stage}");
            assert_eq!(at(100.0).map(|point| point.1), Some(entry.p99 as f64), "{stage}");
        }
    }

    #[test]
    fn columns_lose_nothing() {
        let run = fixture("v1/million.json");
        for seconds in [1, 5, 30] {
            let columns = columns(&run.result.timeline, seconds);
            let sum = |of: fn(&Column) -> f64| columns.iter().map(of).sum::<f64>();
            let expected = |of: fn(&Second) -> u64| run.result.timeline.iter().map(of).sum::<u64>();
            assert_eq!(sum(|one| one.opened), expected(|one| one.opened) as f64);
            assert_eq!(sum(|one| one.received), expected(|one| one.received) as f64);
            assert_eq!(columns.len() as u64, 94u64.div_ceil(seconds));
        }
    }

    #[test]
    fn a_long_run_has_no_more_columns_than_can_be_told_apart() {
        let mut run = fixture("v1/minimal.json");
        for (last, step) in
            [(0, 1), (119, 1), (120, 2), (3_599, 50), (u64::MAX, 200_000_000_000_000_000)]
        {
            run.result.timeline = vec![Second { second: last, ..Second::default() }];
            let seconds = seconds_per_column(std::slice::from_ref(&run));
            assert_eq!(seconds, step, "{last}");
            assert!(last / seconds < COLUMNS_MAX);
            assert_eq!(columns(&run.result.timeline, seconds).len(), 1);
        }
    }

    #[test]
    fn the_clock_is_short() {
        for (seconds, shown) in
            [(0.0, "0 s"), (90.0, "90 s"), (150.0, "2:30"), (4_800.0, "1:20:00")]
        {
            assert_eq!(clock(seconds), shown);
        }
    }
}
