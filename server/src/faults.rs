//! What the server does wrong on purpose, so that what a client measures can be held against what
//! is known: it stands still at known times (`--stall`), and replies late by a known time
//! (`--delay`).

use crate::limits::{
    DELAY_MAX, DELAYED_BYTES_MAX, DELAYED_BYTES_PER_REACTOR_MIN, STALL_LENGTH_MAX,
};
use measure::Nanos;
use measure::units::{format_duration, parse_duration};
use reactor::Stall;
use serde::{Deserialize, Serialize};

/// The faults of a server; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// When all reactors stand still.
    pub stall: Option<Stall>,
    /// How long each reply waits.
    pub delay: Option<Nanos>,
    /// Bytes that one reactor may have waiting for that.
    pub delayed_bytes_max: usize,
}

impl Faults {
    /// The share of one of `reactors` reactors.
    #[must_use]
    pub fn new(stall: Option<Stall>, delay: Option<Nanos>, reactors: usize) -> Self {
        let share = DELAYED_BYTES_MAX / reactors.max(1);
        Self { stall, delay, delayed_bytes_max: share.max(DELAYED_BYTES_PER_REACTOR_MIN) }
    }

    /// What the line that is printed at the start says of them; empty if there are none.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = String::new();
        if let Some(stall) = self.stall {
            words += ", stands still for ";
            words += &format_duration(stall.length);
            if let Some(period) = stall.period {
                words += &format!(" of every {}", format_duration(period));
            }
            if stall.period.is_none() || stall.first > Nanos::ZERO {
                words += &format!(" from {} on", format_duration(stall.first));
            }
        }
        if let Some(delay) = self.delay {
            words += &format!(", each reply waits {}", format_duration(delay));
        }
        words
    }

    /// The same for machines.
    #[must_use]
    pub fn snapshot(&self) -> FaultsSnapshot {
        let stall = self.stall.map(|Stall { length, period, first }| StallSnapshot {
            length_ns: length.0,
            period_ns: period.map(|period| period.0),
            first_ns: first.0,
        });
        FaultsSnapshot { stall, delay_ns: self.delay.map(|delay| delay.0) }
    }
}

/// The faults that the server was told to have. Times are nanoseconds of the server's clock, which
/// begins when it starts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FaultsSnapshot {
    /// When all reactors stand still, if they do.
    pub stall: Option<StallSnapshot>,
    /// How long each reply waits, if it does.
    pub delay_ns: Option<u64>,
}

/// When all reactors stand still.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StallSnapshot {
    /// How long each time.
    pub length_ns: u64,
    /// From the beginning of one to that of the next; none: it happens once.
    pub period_ns: Option<u64>,
    /// When the first begins.
    pub first_ns: u64,
}

/// Reads `100ms/1s`, `100ms/1s@5s` or `1s@8s`.
///
/// # Errors
/// A sentence that says what is wrong and how it is written.
pub fn parse_stall(text: &str) -> Result<Stall, String> {
    let (rest, first) = match text.split_once('@') {
        Some((rest, first)) => (rest, Some(first)),
        None => (text, None),
    };
    let (length, period) = match rest.split_once('/') {
        Some((length, period)) => (length, Some(period)),
        None => (rest, None),
    };
    let time = |text: &str| {
        parse_duration(text).map_err(|error| {
            format!("{error}; write it as 100ms/1s, or as 1s@8s for one that happens once")
        })
    };
    let length = time(length)?;
    let (period, first) = (period.map(time).transpose()?, first.map(time).transpose()?);
    if length == Nanos::ZERO {
        return Err("a stall of no length is none: give a time above 0, as in 100ms/1s".to_owned());
    }
    if length > STALL_LENGTH_MAX {
        return Err(format!("a stall lasts {} at the most", format_duration(STALL_LENGTH_MAX)));
    }
    match (period, first) {
        (None, None) => Err("say when: 100ms/1s for every second, 1s@8s for once".to_owned()),
        (Some(period), _) if period <= length => Err(format!(
            "a stall of {} in every {} would never end: give a longer period",
            format_duration(length),
            format_duration(period)
        )),
        _ => Ok(Stall { length, period, first: first.unwrap_or(Nanos::ZERO) }),
    }
}

/// Reads a delay.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse_delay(text: &str) -> Result<Nanos, String> {
    let delay = parse_duration(text).map_err(|error| error.to_string())?;
    if delay == Nanos::ZERO || delay > DELAY_MAX {
        return Err(format!("give a time above 0, and {} at the most", format_duration(DELAY_MAX)));
    }
    Ok(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Nanos = Nanos::from_millis;

    #[test]
    fn stalls_are_read() {
        let stall = |length, period: Option<u64>, first| Stall {
            length: MS(length),
            period: period.map(MS),
            first: MS(first),
        };
        assert_eq!(parse_stall("100ms/1s"), Ok(stall(100, Some(1_000), 0)));
        assert_eq!(parse_stall("100ms/1s@2.5s"), Ok(stall(100, Some(1_000), 2_500)));
        assert_eq!(parse_stall("1s@8s"), Ok(stall(1_000, None, 8_000)));
        assert_eq!(parse_stall("1s/1h@8s"), Ok(stall(1_000, Some(3_600_000), 8_000)));
        for (bad, says) in [
            ("", "100ms/1s"),
            ("1s", "say when"),
            ("0/1s", "above 0"),
            ("1s/1s", "never end"),
            ("2s/1s@1s", "never end"),
            ("2m/1h", "at the most"),
            ("often", "100ms/1s"),
            ("100ms/", "100ms/1s"),
            ("100ms@", "100ms/1s"),
        ] {
            let error = parse_stall(bad).expect_err(bad);
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn delays_are_read() {
        assert_eq!(parse_delay("5ms"), Ok(MS(5)));
        assert_eq!(parse_delay("10s"), Ok(MS(10_000)));
        assert!(["0", "11s", "soon", ""].iter().all(|bad| parse_delay(bad).is_err()));
    }

    #[test]
    fn faults_are_told() {
        let faults = |stall: &str, delay| {
            let stall = (!stall.is_empty()).then(|| parse_stall(stall).expect("a stall"));
            Faults::new(stall, delay, 2)
        };
        assert_eq!(faults("", None).in_words(), "");
        assert_eq!(faults("100ms/1s", None).in_words(), ", stands still for 100 ms of every 1 s");
        let both = faults("1s@8s", Some(MS(5)));
        assert_eq!(both.in_words(), ", stands still for 1 s from 8 s on, each reply waits 5 ms");
        let json = serde_json::to_string(&both.snapshot()).expect("JSON");
        assert_eq!(
            json,
            concat!(
                r#"{"stall":{"length_ns":1000000000,"period_ns":null,"first_ns":8000000000},"#,
                r#""delay_ns":5000000}"#
            )
        );
    }
}
