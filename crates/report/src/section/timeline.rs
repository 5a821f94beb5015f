//! The run second by second.

use super::parts::{Kind, Placed};
use crate::figure::saturating;
use crate::hist;
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One second of the run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Second {
    /// Which second, counted from the start of the run: 0 is the first.
    pub second: u64,
    /// Connections opened in it.
    pub opened: u64,
    /// Connections open at its end.
    pub open: u64,
    /// Connections that failed or were lost in it.
    pub failed: u64,
    /// Messages sent in it, first echoes included.
    pub sent: u64,
    /// Replies received in it, first echoes included.
    pub received: u64,
    /// Median response of the replies received in it, first echoes excluded; null without any.
    pub response_p50_ns: Option<u64>,
    /// The response that 99 % of them did not exceed; null without any.
    pub response_p99_ns: Option<u64>,
    /// The longest of them; null without any.
    pub response_max_ns: Option<u64>,
    /// Median service time of the same replies; null without any, in files from before it was
    /// written, and where several parts of a merged result had some in it of which one has no
    /// `service_hdr`.
    pub service_p50_ns: Option<u64>,
    /// The service time that 99 % of them did not exceed; null likewise.
    pub service_p99_ns: Option<u64>,
    /// The longest service time of them; null without any, and in files from before it was written.
    pub service_max_ns: Option<u64>,
    /// All their responses as a histogram of two decimal digits: HdrHistogram V2, deflated, in
    /// base64. Absent without any, and in files from before it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_hdr: Option<String>,
    /// All service times of the same in the same form; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_hdr: Option<String>,
}

/// The seconds of all parts, each at its place by the clock on the wall, to the nearest second.
/// Between repeats there are none, but where one ended and the next began within the same.
pub(crate) fn merge(parts: &[Placed<'_>], kind: Kind) -> Vec<Second> {
    let mut seconds: BTreeMap<u64, Vec<&Second>> = BTreeMap::new();
    for part in parts {
        let offset = part.after(&parts[0]).as_secs_f64().round() as u64;
        for second in &part.result.timeline {
            seconds.entry(offset.saturating_add(second.second)).or_default().push(second);
        }
    }
    seconds.into_iter().map(|(number, parts)| same_second(number, &parts, kind)).collect()
}

fn same_second(number: u64, parts: &[&Second], kind: Kind) -> Second {
    if let [one] = parts {
        return Second { second: number, ..(*one).clone() };
    }
    let sum = |of: fn(&Second) -> u64| saturating(parts.iter().map(|second| of(second)));
    let mut merged = Second {
        second: number,
        opened: sum(|one| one.opened),
        open: match kind {
            Kind::Shards => sum(|one| one.open),
            // Those of the run before are closed; the later one comes last.
            Kind::Repeats => parts.last().map_or(0, |last| last.open),
        },
        failed: sum(|one| one.failed),
        sent: sum(|one| one.sent),
        received: sum(|one| one.received),
        response_max_ns: parts.iter().filter_map(|one| one.response_max_ns).max(),
        service_max_ns: parts.iter().filter_map(|one| one.service_max_ns).max(),
        // Below, where they can be told.
        response_p50_ns: None,
        response_p99_ns: None,
        response_hdr: None,
        service_hdr: None,
        service_p50_ns: None,
        service_p99_ns: None,
    };
    let answered: Vec<_> = parts.iter().filter(|one| one.response_max_ns.is_some()).collect();
    if let [one] = answered.as_slice() {
        let (p50, p99, hdr) = (one.response_p50_ns, one.response_p99_ns, one.response_hdr.clone());
        (merged.response_p50_ns, merged.response_p99_ns, merged.response_hdr) = (p50, p99, hdr);
        let (p50, p99, hdr) = (one.service_p50_ns, one.service_p99_ns, one.service_hdr.clone());
        (merged.service_p50_ns, merged.service_p99_ns, merged.service_hdr) = (p50, p99, hdr);
        return merged;
    }
    if let Some((p50, p99, hdr)) =
        together(&answered, merged.response_max_ns, |one| &one.response_hdr)
    {
        (merged.response_p50_ns, merged.response_p99_ns) = (Some(p50), Some(p99));
        merged.response_hdr = Some(hdr);
    }
    if let Some((p50, p99, hdr)) =
        together(&answered, merged.service_max_ns, |one| &one.service_hdr)
    {
        (merged.service_p50_ns, merged.service_p99_ns) = (Some(p50), Some(p99));
        merged.service_hdr = Some(hdr);
    }
    merged
}

/// The median, the 99th percentile and the histogram of some seconds together.
fn together(
    seconds: &[&&Second],
    max: Option<u64>,
    of: fn(&Second) -> &Option<String>,
) -> Option<(u64, u64, String)> {
    let (sum, max) = (added(seconds, of)?, max?);
    let at = |quantile| sum.value_at_quantile(quantile).min(max);
    Some((at(0.5), at(0.99), hist::encode(&sum)))
}

/// The histograms of some seconds added; `None` if one is missing, as in older files: percentiles
/// alone cannot be added.
fn added(seconds: &[&&Second], of: fn(&Second) -> &Option<String>) -> Option<Histogram<u64>> {
    let mut histograms = seconds.iter().map(|one| hist::decode(of(one).as_ref()?).ok());
    let mut sum = histograms.next()??;
    for histogram in histograms {
        hist::add(&mut sum, &histogram?).ok()?;
    }
    Some(sum)
}
