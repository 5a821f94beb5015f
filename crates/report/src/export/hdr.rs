//! HdrHistogram's own text formats: `.hgrm` and `.hlog`.

use super::ExportError;
use crate::hist;
use crate::neutral::neutral;
use crate::section::{ResultFile, Second};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use measure::Stage;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Percentiles of each halving of what is left above, as HdrHistogram's own output has them.
const TICKS_PER_HALF: u32 = 5;

/// Times are written in microseconds, as most of HdrHistogram's tools expect nothing in particular
/// and people read them most easily.
const NANOS_PER_UNIT: f64 = 1_000.0;

fn decoded(result: &ResultFile, stage: Stage) -> Result<Histogram<u64>, ExportError> {
    let entry = super::stage_or_default(result, Some(stage)).map(|_| result.stages.get(stage))?;
    let hdr = entry.map_or("", |entry| entry.hdr.as_str());
    hist::decode(hdr).map_err(|error| ExportError::Histogram(stage.name().to_owned(), error))
}

/// One stage as HdrHistogram's percentile output, in microseconds: opens in its plotter.
///
/// # Errors
/// If nothing was measured in the stage, or its histogram is damaged.
pub fn hgrm(result: &ResultFile, stage: Stage) -> Result<String, ExportError> {
    let histogram = decoded(result, stage)?;
    let max = result.stages.get(stage).map_or(0, |entry| entry.max);
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for quantile in quantiles() {
        let value = histogram.highest_equivalent(histogram.value_at_quantile(quantile));
        let seen = histogram.count_between(0, value);
        let shown = value.min(max) as f64 / NANOS_PER_UNIT;
        if seen == histogram.len() {
            // All are seen. The last line has no 1/(1-p): it would be infinite.
            let _ = writeln!(text, "{shown:12.3} {:2.12} {seen:10}", 1.0);
            break;
        }
        let rarity = 1.0 / (1.0 - quantile);
        let _ = writeln!(text, "{shown:12.3} {quantile:2.12} {seen:10} {rarity:14.2}");
    }
    let (mean, stdev) = (histogram.mean() / NANOS_PER_UNIT, histogram.stdev() / NANOS_PER_UNIT);
    let max = max as f64 / NANOS_PER_UNIT;
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {stdev:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        buckets(&histogram),
        sub_buckets(&histogram)
    );
    Ok(text)
}

/// The quantiles of the percentile output: some steps up to a half, as many to a half of what is
/// left above, and so on; never quite 1.
fn quantiles() -> impl Iterator<Item = f64> {
    let halves = (1..=50).map(|half| 0.5f64.powi(half));
    let steps = halves.flat_map(|half| {
        // From 1 - 2 half to 1 - half. In this order 0.3 is 0.3 and not a trifle more, which would
        // be the next value up.
        (0..TICKS_PER_HALF)
            .map(move |step| 1.0 - 2.0 * half + half * f64::from(step) / f64::from(TICKS_PER_HALF))
    });
    steps.chain([1.0])
}

/// How many cells a power of two has, from the decimal digits that are kept.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two()
}

/// How many powers of two there are.
fn buckets(histogram: &Histogram<u64>) -> u32 {
    let mut reach = sub_buckets(histogram);
    let mut buckets = 1;
    while reach <= histogram.high() && buckets < 64 {
        (reach, buckets) = (reach.saturating_mul(2), buckets + 1);
    }
    buckets
}

/// All stages as a log of intervals, format version 1.3, values in nanoseconds: a tag for each
/// stage. The response has an interval for each second, where the result holds them; every other
/// stage has one, as long as the run.
///
/// # Errors
/// If nothing was measured, the run's start is no date, or a histogram is damaged.
///
/// # Panics
/// Never: writing into memory does not fail, and tags have no comma or space.
pub fn hlog(result: &ResultFile) -> Result<String, ExportError> {
    super::stage_or_default(result, None)?;
    let started = humantime::parse_rfc3339(&result.run.started);
    let started = started.map_err(|_| ExportError::NoTime(result.run.started.clone()))?;
    let ended = humantime::parse_rfc3339(&result.run.ended).unwrap_or(started);
    let length = ended.duration_since(started).unwrap_or_default();
    let since_epoch = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();

    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]");
    builder.add_comment(&format!("[Logged with c1000k-report {}]", env!("CARGO_PKG_VERSION")));
    builder.add_comment(&format!("[Values in nanoseconds, run {}]", one_line(&result.run.id)));
    builder.with_start_time(started);
    builder.with_max_value_divisor(1e6);
    let mut log =
        builder.begin_log_with(&mut bytes, &mut serializer).expect("memory takes every byte");
    for (stage, entry) in result.stages.iter() {
        // A tag has no comma and no space: names from elsewhere may have some.
        let tag = one_line(stage).replace([',', ' '], "_");
        let tag = Tag::new(&tag);
        let damaged = |error| ExportError::Histogram(stage.to_owned(), error);
        let whole = hist::decode(&entry.hdr).map_err(damaged)?;
        let by_second = stage == Stage::Response.name();
        let seconds = if by_second { intervals(result, entry.count)? } else { Vec::new() };
        if seconds.is_empty() {
            log.write_histogram(&whole, since_epoch, length, tag).expect("memory takes every byte");
        }
        for (second, histogram) in seconds {
            let start = since_epoch + Duration::from_secs(second.second);
            log.write_histogram(&histogram, start, Duration::from_secs(1), tag)
                .expect("memory takes every byte");
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The responses of each second, if they are all there: together as many as the stage has.
fn intervals(
    result: &ResultFile,
    count: u64,
) -> Result<Vec<(&Second, Histogram<u64>)>, ExportError> {
    let with =
        result.timeline.iter().filter_map(|second| Some((second, second.response_hdr.as_ref()?)));
    let mut intervals = Vec::new();
    for (second, hdr) in with {
        let histogram = hist::decode(hdr);
        let histogram =
            histogram.map_err(|error| ExportError::Histogram("response".to_owned(), error))?;
        intervals.push((second, histogram));
    }
    let sum = intervals.iter().map(|(_, histogram)| histogram.len()).fold(0, u64::saturating_add);
    Ok(if sum == count { intervals } else { Vec::new() })
}

/// Text from the file, which must not begin a line of its own.
fn one_line(text: &str) -> String {
    neutral(text).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
