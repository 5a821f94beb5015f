//! The section `pacing`: how evenly the messages of the open model left, over all reactors, set
//! beside the plan's own.

use crate::books::send_windows::{WINDOW, added, windows_in};
use crate::conductor::Measured;
use crate::load::Model;
use crate::plan::Plan;
use crate::plan::record::arrivals;
use measure::Nanos;
use report::schema;

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

/// How the sending kept to the plan; `took`: how long messages were sent. `None` in other models,
/// and if the traffic never began or a reactor did not report.
pub(super) fn section(
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
        arrivals: arrivals(plan.load.arrivals),
        window_ns: WINDOW.0,
        windows: windows as u64,
        sent_per_window_mean: sends.mean,
        sent_per_window_max: sends.max,
        dispersion: sends.dispersion,
        dispersion_ideal: Evenness::of(&due).dispersion,
        rate_error: schema::ratio(achieved, rate) - 1.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            let late = pairs.flat_map(|pair| [pair.iter().sum(), 0].into_iter().take(pair.len()));
            let bursts: Vec<u64> = late.collect();
            let bursts = Evenness::of(&bursts);
            prop_assert!((bursts.mean - even.mean).abs() < 1e-9);
            prop_assert!(bursts.dispersion >= even.dispersion.map(|d| d - 1e-9));
        }
    }
}
