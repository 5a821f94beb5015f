//! How the sending kept to its schedule.

use super::parts::Kind;
use super::{Arrivals, Number, ResultFile, Warning, less};
use crate::figure::{Unit, ratio, saturating};
use crate::words::{percent, time};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the messages of the open model left, against the times that were planned: counts of actual sends
/// over short windows, all reactors together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Pacing {
    /// How messages were to be spread over time.
    pub arrivals: Arrivals,
    /// The length of a window.
    pub window_ns: u64,
    /// How many windows were looked at: the traffic from its start, or the first minute of it.
    pub windows: u64,
    /// Messages sent in a window, on average. Those sent behind the last window are in none.
    pub sent_per_window_mean: f64,
    /// The most that were sent in one.
    pub sent_per_window_max: u64,
    /// The variance of the messages sent in a window, divided by their mean (the index of dispersion):
    /// bursts raise it. Null if nothing was sent in any.
    pub dispersion: Option<f64>,
    /// The same of the times at which they were due: what a generator that is never late would have. For
    /// even arrivals 0, where the rate divides the windows, and never above 1; for Poisson arrivals about
    /// 1. Null if nothing was due in any.
    pub dispersion_ideal: Option<f64>,
    /// By which part the rate at which messages were sent differs from what was asked: -0.001 is 0.1 % less.
    pub rate_error: f64,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    less("pacing.sent_per_window_max", Unit::Count, |r| {
        Some(r.pacing.as_ref()?.sent_per_window_max as f64)
    }),
    less("pacing.dispersion", Unit::Ratio, |r| r.pacing.as_ref()?.dispersion),
    less("pacing.rate_error", Unit::Ratio, |r| Some(r.pacing.as_ref()?.rate_error)),
];

/// Over repeats all windows are taken together, and of their dispersions the means. Windows of shards would
/// have to be added one by one, and they do not begin at the same time.
pub(crate) fn merge(
    results: &[&ResultFile],
    kind: Kind,
    warnings: &mut Vec<Warning>,
) -> Option<Pacing> {
    let all: Option<Vec<&Pacing>> = results.iter().map(|result| result.pacing.as_ref()).collect();
    let all = all?;
    if kind == Kind::Shards {
        warnings.push(Warning::new("merged_pacing", "how evenly messages were sent is left out: it cannot be told from the figures of shards", "look at the parts for theirs"));
        return None;
    }
    let first = all[0];
    if all.iter().any(|one| one.window_ns != first.window_ns) {
        return None;
    }
    let windows = saturating(all.iter().map(|one| one.windows));
    let weighted = |of: &dyn Fn(&Pacing) -> Option<f64>| -> Option<f64> {
        let sum: Option<f64> = all.iter().map(|one| Some(of(one)? * one.windows as f64)).sum();
        sum.map(|sum| ratio(sum, windows as f64))
    };
    let mean = weighted(&|one| Some(one.sent_per_window_mean)).unwrap_or(0.0);
    // The variance of all windows: the mean of the squares less the square of the mean.
    let pooled = |of: fn(&Pacing) -> Option<f64>| {
        let squares = weighted(&|one| {
            let each = one.sent_per_window_mean;
            Some(of(one)? * each + each * each)
        })?;
        Some(ratio((squares - mean * mean).max(0.0), mean))
    };
    let messages = || results.iter().map(|result| &result.messages);
    let (sent, seconds) = (
        saturating(messages().map(|one| one.sent)),
        messages().map(|one| one.seconds).sum::<f64>(),
    );
    let asked = results[0].plan.rate_per_second.unwrap_or(0.0);
    Some(Pacing {
        arrivals: first.arrivals,
        window_ns: first.window_ns,
        windows,
        sent_per_window_mean: mean,
        sent_per_window_max: all.iter().map(|one| one.sent_per_window_max).max().unwrap_or(0),
        dispersion: pooled(|one| one.dispersion),
        // The plan has the same mean in all of them.
        dispersion_ideal: weighted(&|one| one.dispersion_ideal),
        rate_error: ratio(ratio(sent as f64, seconds), asked) - 1.0,
    })
}

/// How the sending kept to its schedule: the rate, and how evenly.
pub(crate) fn words(result: &ResultFile) -> String {
    result.pacing.as_ref().map_or_else(String::new, |it| {
        let dispersion = match (it.dispersion, it.dispersion_ideal) {
            (Some(sent), Some(ideal)) => format!(", dispersion {sent:.2} (ideal {ideal:.2})"),
            _ => String::new(),
        };
        format!(
            "sent {} of the rate asked, {}\nover {}: {:.1} sent, {} at most{dispersion}",
            percent(1.0 + it.rate_error, 2),
            it.arrivals.name(),
            time(it.window_ns),
            it.sent_per_window_mean,
            format_grouped(it.sent_per_window_max),
        )
    })
}
