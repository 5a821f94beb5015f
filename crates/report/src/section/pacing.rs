//! How the sending kept to its schedule.

use super::parts::Kind;
use super::{Arrivals, Number, ResultFile, Warning, less};
use crate::figure::{Unit, ratio, saturating};
use crate::words::{percent, time};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the messages of the open model left, against the times that were planned: counts of actual
/// sends over short windows, all reactors together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Pacing {
    /// How messages were to be spread over time.
    pub arrivals: Arrivals,
    /// The length of a window: 1 ms.
    pub window_ns: u64,
    /// How many were looked at: the planned duration, or its first minute; of a run that was cut
    /// short those up to then.
    pub windows: u64,
    /// Messages sent in a window, on average. Those that left behind the last one are in none.
    pub sent_per_window_mean: f64,
    /// The most that were sent in one; of merged shards the most of each, together: no window had
    /// more.
    pub sent_per_window_max: u64,
    /// The variance of the messages sent in a window, divided by their mean (the index of
    /// dispersion): bursts raise it. Null if nothing was sent in any. Of merged shards from the sum
    /// of their variances.
    pub dispersion: Option<f64>,
    /// The same of the times at which they were due: what a generator that is never late would
    /// have. For even arrivals 0, where the rate divides the windows, and never above 1; for
    /// Poisson arrivals about 1. Null if nothing was due in any.
    pub dispersion_ideal: Option<f64>,
    /// `messages.sent` / `messages.seconds` / `plan.rate_per_second` - 1: -0.001 is 0.1 % less than
    /// was asked.
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

/// Over repeats all windows are taken together, and of their dispersions the means. Windows of
/// shards cannot be added one by one, as they do not begin at the same time: see [`of_shards`].
pub(crate) fn merge(
    results: &[&ResultFile],
    kind: Kind,
    warnings: &mut Vec<Warning>,
) -> Option<Pacing> {
    let all: Option<Vec<&Pacing>> = results.iter().map(|result| result.pacing.as_ref()).collect();
    let all = all?;
    let first = all[0];
    if all.iter().any(|one| one.window_ns != first.window_ns) {
        return None;
    }
    if kind == Kind::Shards {
        warnings.push(Warning::new(
            "merged_pacing",
            "how evenly messages were sent is put together from shards that send without each \
             other: their \
             variances are added, and the most in a window is the most of each, together",
            "look at its `machines` for theirs",
        ));
        return Some(of_shards(results, &all));
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

/// Shards send at the same time and without each other: their means add up, and so do their
/// variances. No window had more than the most of each, together.
fn of_shards(results: &[&ResultFile], all: &[&Pacing]) -> Pacing {
    let mean = all.iter().map(|one| one.sent_per_window_mean).sum();
    // One that sent nothing has neither a dispersion nor a variance.
    let added = |of: fn(&Pacing) -> Option<f64>| {
        let variances = all.iter().filter_map(|one| Some(of(one)? * one.sent_per_window_mean));
        variances.reduce(|sum, one| sum + one).map(|variance| ratio(variance, mean))
    };
    let messages = || results.iter().map(|result| &result.messages);
    let seconds = messages().map(|one| one.seconds).fold(0.0, f64::max);
    let sent = saturating(messages().map(|one| one.sent));
    let asked = results.iter().filter_map(|result| result.plan.rate_per_second).sum();
    Pacing {
        arrivals: all[0].arrivals,
        window_ns: all[0].window_ns,
        windows: all.iter().map(|one| one.windows).min().unwrap_or(0),
        sent_per_window_mean: mean,
        sent_per_window_max: saturating(all.iter().map(|one| one.sent_per_window_max)),
        dispersion: added(|one| one.dispersion),
        dispersion_ideal: added(|one| one.dispersion_ideal),
        rate_error: ratio(ratio(sent as f64, seconds), asked) - 1.0,
    }
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
