//! A histogram with its usual numbers, as it lies in a result file.

use super::decode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The unit of a stage's times.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LatencyUnit {
    /// Nanoseconds.
    #[default]
    #[serde(rename = "ns")]
    Nanoseconds,
}

/// One latency histogram and its usual numbers. Made by [`crate::hist::entry`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StageEntry {
    /// The unit of all times here: `ns`.
    pub unit: LatencyUnit,
    /// How many values.
    pub count: u64,
    /// The least value, exact.
    pub min: u64,
    /// The greatest value, exact.
    pub max: u64,
    /// The mean, exact.
    pub mean: f64,
    /// The standard deviation, to the resolution of the histogram (three decimal digits).
    pub stdev: f64,
    /// The value at or below which half of all values lie.
    pub p50: u64,
    /// The value at or below which 75 % lie.
    pub p75: u64,
    /// The value at or below which 90 % lie.
    pub p90: u64,
    /// The value at or below which 95 % lie; absent in files of versions that did not write it,
    /// where it comes from `hdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<u64>,
    /// The value at or below which 99 % lie.
    pub p99: u64,
    /// The value at or below which 99.9 % lie.
    pub p999: u64,
    /// The value at or below which 99.99 % lie.
    pub p9999: u64,
    /// How many values lay above what the histogram tells apart (73 minutes): they count as that.
    #[serde(default)]
    pub clipped: u64,
    /// The whole histogram: HdrHistogram V2, deflated, in base64; begins with `HISTF`. Any
    /// HdrHistogram library reads it.
    pub hdr: String,
}

impl StageEntry {
    /// The numbers that [`Self::statistic`] knows, as thresholds name them.
    pub const STATISTICS: [&'static str; 12] = [
        "p50", "p75", "p90", "p95", "p99", "p999", "p9999", "min", "max", "mean", "stdev", "count",
    ];

    /// The value at or below which 95 % lie; `None` if the file neither says it nor has a histogram
    /// that can be read.
    #[must_use]
    pub fn p95(&self) -> Option<u64> {
        let from_cells = || Some(decode(&self.hdr).ok()?.value_at_quantile(0.95));
        self.p95.or_else(|| from_cells().map(|value| value.min(self.max)))
    }

    /// One of the numbers by its name: nanoseconds, except for the count.
    #[must_use]
    pub fn statistic(&self, name: &str) -> Option<f64> {
        let whole = match name {
            "p50" => self.p50,
            "p75" => self.p75,
            "p90" => self.p90,
            "p95" => self.p95()?,
            "p99" => self.p99,
            "p999" => self.p999,
            "p9999" => self.p9999,
            "min" => self.min,
            "max" => self.max,
            "count" => self.count,
            "mean" => return Some(self.mean),
            "stdev" => return Some(self.stdev),
            _ => return None,
        };
        Some(whole as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statistic_is_the_field_of_its_name() {
        let entry = StageEntry {
            unit: LatencyUnit::Nanoseconds,
            count: 1,
            min: 2,
            max: 3,
            mean: 4.0,
            stdev: 5.0,
            p50: 6,
            p75: 7,
            p90: 8,
            p95: Some(13),
            p99: 9,
            p999: 10,
            p9999: 11,
            clipped: 0,
            hdr: String::new(),
        };
        let written = serde_json::to_value(&entry).expect("an object");
        for name in StageEntry::STATISTICS {
            assert_eq!(entry.statistic(name), written[name].as_f64(), "{name}");
        }
        assert_eq!(entry.statistic("p98"), None);
    }
}
