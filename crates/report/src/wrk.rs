//! The summary of a result in the words and columns of wrk, for scripts that read those.
//!
//! wrk's latency is from the actual send, which is `service` here; where that was not measured
//! there is no such line. Its threads are reactors. Behind wrk's own lines comes one that wrk has
//! not: the response from the intended send time, as wrk2 calls it corrected; and one if the client
//! was at its end.

use crate::figure::ratio;
use crate::hist;
use crate::section::statuses::Expected;
use crate::section::{ResultFile, generator};
use crate::words::ascii;
use hdrhistogram::Histogram;
use measure::{Failure, Stage};
use std::fmt::Write as _;

const TIMES: &[(&str, f64)] = &[("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9)];
const COUNTS: &[(&str, f64)] = &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)];
const SIZES: &[(&str, f64)] =
    &[("B", 1.0), ("KB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0)];

/// Two decimals in the largest unit of which there is one.
fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let (unit, factor) =
        units.iter().rev().find(|(_, factor)| value >= *factor).unwrap_or(&units[0]);
    format!("{:.2}{unit}", value / factor)
}

/// Mean, deviation, greatest, and the share of values within one deviation of the mean.
struct Statistics {
    mean: f64,
    stdev: f64,
    max: f64,
    within: f64,
}

impl Statistics {
    fn of_values(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = ratio(values.iter().sum(), count);
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let stdev = ratio(variance, count - 1.0).sqrt();
        let near = values.iter().filter(|value| (*value - mean).abs() <= stdev).count();
        let max = values.iter().copied().fold(0.0, f64::max);
        Self { mean, stdev, max, within: ratio(near as f64, count) }
    }

    fn of_histogram(histogram: &Histogram<u64>, max: u64) -> Self {
        let (mean, stdev) = (histogram.mean(), histogram.stdev());
        let near = histogram.count_between((mean - stdev).max(0.0) as u64, (mean + stdev) as u64);
        let within = ratio(near as f64, histogram.len() as f64);
        Self { mean, stdev, max: max as f64, within }
    }

    fn line(&self, name: &str, units: &[(&str, f64)]) -> String {
        let [mean, stdev, max] =
            [self.mean, self.stdev, self.max].map(|value| scaled(value, units));
        format!("    {name:<8} {mean:>9} {stdev:>9} {max:>9} {:>8.2}%\n", 100.0 * self.within)
    }
}

/// The summary as wrk prints it with `--latency`. A damaged histogram is as good as none.
#[must_use]
pub fn summary(result: &ResultFile) -> String {
    let (plan, messages) = (&result.plan, &result.messages);
    let seconds = (messages.seconds).max(0.0);
    let targets: Vec<_> = plan.targets.iter().map(|target| ascii(target)).collect();
    let mut text = format!("Running {seconds:.0}s test @ {}\n", targets.join(" "));
    let _ = writeln!(text, "  {} threads and {} connections", plan.reactors, plan.connections);
    text += "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n";
    let service = result.stages.get(Stage::Service);
    let histogram = service.and_then(|entry| hist::decode(&entry.hdr).ok());
    if let (Some(entry), Some(histogram)) = (service, &histogram) {
        text += &Statistics::of_histogram(histogram, entry.max).line("Latency", TIMES);
    }
    let reactors = plan.reactors.max(1) as f64;
    let busy = result.timeline.iter().filter(|second| second.response_max_ns.is_some());
    let rates: Vec<_> = busy.map(|second| second.received as f64 / reactors).collect();
    text += &Statistics::of_values(&rates).line("Req/Sec", COUNTS);
    if let Some(entry) = service {
        text += "  Latency Distribution\n";
        for (percent, value) in [(50, entry.p50), (75, entry.p75), (90, entry.p90), (99, entry.p99)]
        {
            let _ = writeln!(text, "    {percent:>3}% {:>9}", scaled(value as f64, TIMES));
        }
    }
    let read = scaled(messages.bytes_received as f64, SIZES);
    let _ = writeln!(text, "  {} requests in {seconds:.2}s, {read} read", messages.received);
    text += &errors(result);
    let _ = writeln!(text, "Requests/sec: {:>9.2}", messages.rate_achieved);
    let transfer = scaled(ratio(messages.bytes_received as f64, seconds), SIZES);
    let _ = writeln!(text, "Transfer/sec: {transfer:>10}");
    if let Some(entry) = result.stages.get(Stage::Response) {
        let at = |value: u64| scaled(value as f64, TIMES);
        let _ = writeln!(
            text,
            "Response from the intended send time: 50% {}, 99% {}, max {}",
            at(entry.p50),
            at(entry.p99),
            at(entry.max)
        );
    }
    for reason in generator::reasons(result) {
        let _ = writeln!(text, "CLIENT-LIMITED: {}", ascii(&reason.text));
    }
    text
}

/// wrk's lines of errors, if there were any. Its timeouts are all that was not answered.
fn errors(result: &ResultFile) -> String {
    let timed_out = result.failures.get(Failure::TimedOut).saturating_add(result.messages.lost);
    let (connect, read) = (result.connections.failed, result.connections.lost);
    let mut text = String::new();
    if connect > 0 || read > 0 || timed_out > 0 {
        let _ = writeln!(
            text,
            "  Socket errors: connect {connect}, read {read}, write 0, timeout {timed_out}"
        );
    }
    // Whatever --expect says, wrk's line is of these.
    let usual = Expected::default();
    let others = result.http_statuses.iter();
    let others = others.filter(|(status, _)| !status.parse().is_ok_and(|code| usual.has(code)));
    let others = others.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    if result.plan.http.is_some() && others > 0 {
        let _ = writeln!(text, "  Non-2xx or 3xx responses: {others}");
    }
    text
}
