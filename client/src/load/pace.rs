//! `Pace`: when the n-th event of an evenly spread stream is due. Pure.

use measure::Nanos;

/// A constant rate, by absolute times: no error adds up, and a late generator cannot stretch it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    per_second: f64,
}

impl Pace {
    /// So many events per second.
    ///
    /// # Panics
    /// If the rate is not positive and finite: the plan has checked it.
    #[must_use]
    pub(crate) fn new(per_second: f64) -> Self {
        assert!(per_second.is_finite() && per_second > 0.0);
        Self { per_second }
    }

    /// When event `n` (from 0) is due, counted from the start.
    #[must_use]
    #[inline]
    pub(crate) fn due(&self, n: u64) -> Nanos {
        self.due_at(n as f64)
    }

    /// The same for a place between two events.
    #[must_use]
    #[inline]
    pub(crate) fn due_at(&self, place: f64) -> Nanos {
        // A double keeps 15 digits: a year at a million per second stays within a microsecond.
        Nanos((place * 1e9 / self.per_second) as u64)
    }

    /// How many events are due before `span` has passed: those with `due(n) < span`.
    #[must_use]
    pub(crate) fn count_before(&self, span: Nanos) -> u64 {
        let mut count = (span.as_secs_f64() * self.per_second).ceil() as u64;
        // The product is rounded once more than `due`: settle the last event by `due` itself.
        while count > 0 && self.due(count - 1) >= span {
            count -= 1;
        }
        while self.due(count) < span {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn even_rates_fall_on_even_times() {
        let pace = Pace::new(1_000.0);
        assert_eq!(
            [0, 1, 2, 1_000].map(|n| pace.due(n).0),
            [0, 1_000_000, 2_000_000, 1_000_000_000]
        );
        assert_eq!(pace.count_before(Nanos::from_secs(10)), 10_000);
        assert_eq!(Pace::new(0.5).count_before(Nanos::from_secs(1)), 1);
        assert_eq!(Pace::new(0.5).due(1), Nanos::from_secs(2));
    }

    proptest! {
        #[test]
        fn the_count_of_any_window_is_right(
            rate in 0.01..2_000_000.0f64, start in 0..100_000_000u64, millis in 0..100_000u64,
        ) {
            let pace = Pace::new(rate);
            let ideal = start as f64 * 1e9 / rate;
            prop_assert!((pace.due(start).0 as f64 - ideal).abs() <= 1.0 + ideal * 1e-15);
            prop_assert!(pace.due(start) <= pace.due(start + 1));
            let span = Nanos::from_millis(millis);
            let count = pace.count_before(span);
            prop_assert!(count == 0 || pace.due(count - 1) < span);
            prop_assert!(pace.due(count) >= span);
            prop_assert!((count as f64 - span.as_secs_f64() * rate).abs() <= 1.0 + 1e-6);
        }
    }
}
