//! `Stall`: when a reactor is to stand still, for measurements whose truth must be known
//! beforehand.

use measure::Nanos;

/// Times at which a reactor does nothing at all, on the run's clock: all reactors of a program that
/// are given the same stand still at the same moments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stall {
    /// How long each time. Not zero.
    pub length: Nanos,
    /// From the beginning of one to that of the next, longer than `length`; `None`: it happens
    /// once.
    pub period: Option<Nanos>,
    /// When the first begins.
    pub first: Nanos,
}

impl Stall {
    /// When the one that is on at `now` ends; `None` if none is.
    #[must_use]
    pub fn end_at(&self, now: Nanos) -> Option<Nanos> {
        let since_first = now.0.checked_sub(self.first.0)?;
        let into = match self.period {
            Some(period) => since_first % period.0.max(1),
            None => since_first,
        };
        (into < self.length.0).then(|| Nanos(now.0 - into + self.length.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Nanos = Nanos::from_millis;

    #[test]
    fn stalls_come_when_they_are_due_and_last_as_long_as_they_should() {
        let each = Stall { length: MS(100), period: Some(MS(1_000)), first: Nanos::ZERO };
        for (now, end) in [
            (Nanos::ZERO, Some(MS(100))),
            (MS(99), Some(MS(100))),
            (MS(100), None),
            (MS(999), None),
            (MS(1_000), Some(MS(1_100))),
            (MS(7_000) + Nanos(1), Some(MS(7_100))),
            (MS(7_100) - Nanos(1), Some(MS(7_100))),
        ] {
            assert_eq!(each.end_at(now), end, "{now:?}");
        }
        let later = Stall { first: MS(2_500), ..each };
        assert_eq!(later.end_at(MS(50)), None, "not before the first");
        assert_eq!(later.end_at(MS(3_599)), Some(MS(3_600)));
        let once = Stall { length: MS(1_000), period: None, first: MS(8_000) };
        assert_eq!(once.end_at(MS(8_000)), Some(MS(9_000)));
        assert!([MS(7_999), MS(9_000), MS(17_000)].iter().all(|now| once.end_at(*now).is_none()));
    }
}
