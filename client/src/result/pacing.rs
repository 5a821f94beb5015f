//! How evenly the messages of the open model left: counted over windows of a millisecond by each
//! reactor, added up over all of them, and set beside the plan's own.

use crate::conductor::Measured;
use crate::load::Model;
use crate::load::schedule::Arrivals;
use crate::plan::Plan;
use measure::Nanos;
use report::schema;

/// The length of a window. They all count from the start of the traffic, which the reactors have in
/// common, so that their counts can be added.
const WINDOW: Nanos = Nanos::from_millis(1);
/// Windows that are looked at: the first minute of the traffic. A reactor keeps two bytes for each, and
/// touches those pages only on which messages fall.
const WINDOWS_MAX: u64 = 60_000;

/// Messages that one reactor sent in each window.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendWindows {
    /// No reactor sends 65 million messages a second: a count stays at the highest before it lies.
    counts: Vec<u16>,
}

impl SendWindows {
    /// Room for traffic that lasts so long, or for its beginning.
    pub(crate) fn for_span(span: Nanos) -> Self {
        Self { counts: vec![0; windows_in(span)] }
    }

    /// Counts messages sent that long after the start.
    #[inline]
    pub(crate) fn count(&mut self, at: Nanos, messages: u32) {
        if let Some(count) = self.counts.get_mut((at.0 / WINDOW.0) as usize) {
            *count = count.saturating_add(u16::try_from(messages).unwrap_or(u16::MAX));
        }
    }
}

/// What all reactors sent in each of the first `windows`.
pub(crate) fn added<'a>(all: impl Iterator<Item = &'a SendWindows>, windows: usize) -> Vec<u64> {
    let mut sum = vec![0; windows];
    for sends in all {
        for (sum, count) in sum.iter_mut().zip(&sends.counts) {
            *sum += u64::from(*count);
        }
    }
    sum
}

/// Whole windows in the beginning of a span.
fn windows_in(span: Nanos) -> usize {
    (span.0 / WINDOW.0).min(WINDOWS_MAX) as usize
}

/// How counts are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evenness {
    pub(crate) mean: f64,
    pub(crate) max: u64,
    /// The variance by the mean: the index of dispersion. `None` if nothing was counted.
    pub(crate) dispersion: Option<f64>,
}

impl Evenness {
    pub(crate) fn of(counts: &[u64]) -> Self {
        let windows = counts.len().max(1) as f64;
        let mean = counts.iter().sum::<u64>() as f64 / windows;
        let squares = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>();
        Self {
            mean,
            max: counts.iter().copied().max().unwrap_or(0),
            dispersion: (mean > 0.0).then(|| squares / windows / mean),
        }
    }
}

/// How the sending kept to the plan; `took`: how long messages were sent. `None` in other models, and
/// if the traffic never began or a reactor did not report.
pub(crate) fn pacing(
    plan: &Plan,
    measured: &Measured,
    took: Option<Nanos>,
) -> Option<schema::Pacing> {
    let Model::Open(rate) = plan.load.model else { return None };
    let finals = measured.finals.values();
    // Of a run that was cut short the windows up to then.
    let driven = finals.clone().map(|last| last.drive_time).min()?;
    if measured.finals.len() < plan.seats.len() || driven == Nanos::ZERO {
        return None;
    }
    let windows = windows_in(driven.min(plan.load.duration));
    let sent = added(finals.map(|last| &last.sends), windows);
    let due = plan.load.due_windows(WINDOW, windows);
    let sends = Evenness::of(&sent);
    let achieved = schema::ratio(measured.totals.sent as f64, took?.as_secs_f64());
    Some(schema::Pacing {
        arrivals: recorded(plan.load.arrivals),
        window_ns: WINDOW.0,
        windows: windows as u64,
        sent_per_window_mean: sends.mean,
        sent_per_window_max: sends.max,
        dispersion: sends.dispersion,
        dispersion_ideal: Evenness::of(&due).dispersion,
        rate_error: schema::ratio(achieved, rate) - 1.0,
    })
}

/// The arrivals as results name them.
pub(crate) fn recorded(arrivals: Arrivals) -> schema::Arrivals {
    match arrivals {
        Arrivals::Uniform => schema::Arrivals::Uniform,
        Arrivals::Poisson => schema::Arrivals::Poisson,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_fall_into_their_windows_and_what_is_beyond_is_left_out() {
        let mut sends = SendWindows::for_span(Nanos::from_micros(3_900));
        for micros in [0, 999, 1_000, 2_999, 3_000, 3_900, 10_000] {
            sends.count(Nanos::from_micros(micros), 1);
        }
        sends.count(Nanos::ZERO, 5);
        assert_eq!(sends.counts, [7, 1, 1]);
        assert_eq!(SendWindows::for_span(Nanos::from_secs(3_600)).counts.len(), 60_000);
        sends.count(Nanos::ZERO, u32::from(u16::MAX));
        assert_eq!(sends.counts[0], u16::MAX);
    }

    #[test]
    fn the_dispersion_of_known_counts() {
        let of = |counts: &[u64]| Evenness::of(counts);
        assert_eq!(of(&[5; 9]), Evenness { mean: 5.0, max: 5, dispersion: Some(0.0) });
        // Half of the windows empty, half with twice the mean: variance = mean squared.
        assert_eq!(of(&[0, 8, 0, 8]), Evenness { mean: 4.0, max: 8, dispersion: Some(4.0) });
        assert_eq!(of(&[0; 4]).dispersion, None);
        assert_eq!(of(&[]), Evenness { mean: 0.0, max: 0, dispersion: None });
    }

    proptest! {
        #[test]
        fn dispersion_grows_with_bursts(counts in prop::collection::vec(0..1_000u64, 2..200)) {
            let even = Evenness::of(&counts);
            // What two neighbours sent leaves with the second of them.
            let pairs = counts.chunks(2);
            let bursts: Vec<u64> =
                pairs.flat_map(|pair| [pair.iter().sum(), 0].into_iter().take(pair.len())).collect();
            let bursts = Evenness::of(&bursts);
            prop_assert!((bursts.mean - even.mean).abs() < 1e-9);
            prop_assert!(bursts.dispersion >= even.dispersion.map(|d| d - 1e-9));
        }
    }
}
