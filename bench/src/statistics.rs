//! Medians and quartiles of few samples, and the ratio of two runs round by round.

use serde::Serialize;
use std::fmt;

/// The middle of a set of samples and how far it spreads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quartiles {
    pub(crate) q1: f64,
    pub(crate) median: f64,
    pub(crate) q3: f64,
}

impl Quartiles {
    /// Interpolated between the two nearest samples, as spreadsheets do; `None` of no samples.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            let position = share * last as f64;
            let (below, above) = (position.floor() as usize, position.ceil() as usize);
            sorted[below] + (sorted[above] - sorted[below]) * position.fract()
        };
        Some(Self { q1: at(0.25), median: at(0.5), q3: at(0.75) })
    }
}

impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} [{:.2}-{:.2}]", self.median, self.q1, self.q3)
    }
}

/// Both samples of a round see the same machine, so their ratio is steadier than either.
pub(crate) fn ratios<'a>(above: &'a [f64], below: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    above.iter().zip(below).map(|(above, below)| above / below)
}

/// Whether a program measured against its own twin came out as its equal: within 0.93 to 1.07.
/// Where it did not, the other ratios of that run say nothing either.
pub(crate) fn null_holds(ratio: f64) -> bool {
    (0.93..=1.07).contains(&ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let of = |samples: &[f64]| Quartiles::of(samples.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7.0]), Some(Quartiles { q1: 7.0, median: 7.0, q3: 7.0 }));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), Some(Quartiles { q1: 1.75, median: 2.5, q3: 3.25 }));
        assert_eq!(
            of(&[5.0, 1.0, 2.0, 4.0, 3.0]),
            Some(Quartiles { q1: 2.0, median: 3.0, q3: 4.0 })
        );
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The second round was slow for both: the ratio does not show it.
        let ratios: Vec<f64> = ratios(&[10.0, 5.0, 12.0], &[10.0, 5.0, 6.0]).collect();
        assert_eq!(ratios, [1.0, 1.0, 2.0]);
    }

    #[test]
    fn the_null_test_has_two_sides() {
        assert!(null_holds(0.93) && null_holds(1.0) && null_holds(1.07));
        assert!(!null_holds(0.929) && !null_holds(1.071) && !null_holds(f64::NAN));
    }
}
