//! What kind of number a figure is, and arithmetic that keeps figures finite.

use measure::units::{self, UnitError};

/// What kind of number a metric is: how its value is written, and in which unit it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Nanoseconds.
    Nanoseconds,
    /// Seconds, with a fraction.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things per second.
    PerSecond,
    /// One thing divided by another of its kind.
    Ratio,
}

impl Unit {
    /// The name in result files.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Nanoseconds => "ns",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::PerSecond => "per_second",
            Self::Ratio => "ratio",
        }
    }

    /// The unit of that name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        use Unit::{Bytes, Count, Nanoseconds, PerSecond, Ratio, Seconds};
        let all = [Count, Nanoseconds, Seconds, Bytes, PerSecond, Ratio];
        all.into_iter().find(|u| u.name() == name)
    }

    /// The value as people write it, in this unit.
    pub(crate) fn parse(self, text: &str) -> Result<f64, UnitError> {
        match self {
            Self::Count => units::parse_count(text).map(|count| count as f64),
            Self::Nanoseconds => units::parse_duration(text).map(|span| span.0 as f64),
            Self::Seconds => units::parse_duration(text).map(|span| span.as_secs_f64()),
            Self::Bytes => units::parse_size(text).map(|size| size as f64),
            Self::PerSecond => units::parse_rate(text),
            Self::Ratio => units::parse_ratio(text),
        }
    }
}

/// `amount / count`, and 0 where that is not a number: a rate over no time is no rate.
#[must_use]
pub fn ratio(amount: f64, count: f64) -> f64 {
    let ratio = amount / count;
    if ratio.is_finite() { ratio } else { 0.0 }
}

/// The sum, or the greatest number there is: a damaged file may hold any.
pub(crate) fn saturating(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}
