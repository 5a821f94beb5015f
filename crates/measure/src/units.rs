//! Counts, rates, sizes and durations as people type and read them: one table per unit, used for
//! parsing and for printing.
//!
//! | what | suffixes | note |
//! |---|---|---|
//! | count, rate | `k` `m` `g` | powers of 1,000; fractions allowed: `2.6k`, `1m`, `1000k` |
//! | size | `k` `m` `g`, `KiB` `MiB` `GiB`, `B` | powers of 1,024 |
//! | duration | `ns` `us` `ms` `s` `m` `h` | a bare number is seconds |
//! | ratio | `%` | a bare number is a share: `0.05` is `5%` |

use crate::Nanos;

/// Why a number with a unit was not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnitError {
    /// There is no number at the start.
    #[error("'{0}' does not start with a number: write it like {1}")]
    NoNumber(String, &'static str),
    /// What follows the number is not a unit of this kind.
    #[error("'{0}' has no unit that is known here: write it like {1}")]
    UnknownUnit(String, &'static str),
    /// The number is too large to be held, or not finite.
    #[error("'{0}' is too large")]
    TooLarge(String),
    /// A count of things must be whole.
    #[error("'{0}' is not a whole number of {1}")]
    NotWhole(String, &'static str),
}

const COUNT_UNITS: &[(&str, f64)] = &[("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9)];
const SIZE_UNITS: &[(&str, f64)] = &[
    ("", 1.0),
    ("b", 1.0),
    ("k", 1024.0),
    ("kb", 1024.0),
    ("kib", 1024.0),
    ("m", 1_048_576.0),
    ("mb", 1_048_576.0),
    ("mib", 1_048_576.0),
    ("g", 1_073_741_824.0),
    ("gb", 1_073_741_824.0),
    ("gib", 1_073_741_824.0),
];
const DURATION_UNITS: &[(&str, f64)] = &[
    ("", 1e9),
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("min", 60e9),
    ("h", 3_600e9),
];

const RATIO_UNITS: &[(&str, f64)] = &[("", 1.0), ("%", 0.01)];

const COUNT_EXAMPLE: &str = "500, 10k, 2.6k or 1m";
const SIZE_EXAMPLE: &str = "32, 64k or 1MiB";
const DURATION_EXAMPLE: &str = "500us, 5ms, 30s, 5m or 1h";
const RATIO_EXAMPLE: &str = "0.05, 5% or 1.2";

fn parse(text: &str, units: &[(&str, f64)], example: &'static str) -> Result<f64, UnitError> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: f64 = number.parse().map_err(|_| UnitError::NoNumber(text.to_owned(), example))?;
    let unit = unit.trim().to_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| UnitError::UnknownUnit(text.to_owned(), example))?;
    let value = number * factor;
    if value.is_finite() && value < 9e18 {
        Ok(value)
    } else {
        Err(UnitError::TooLarge(text.to_owned()))
    }
}

fn whole(text: &str, value: f64, what: &'static str) -> Result<u64, UnitError> {
    // Decimal fractions such as 2.6k are not exact in binary: allow for the rounding, not more.
    let rounded = value.round();
    if (value - rounded).abs() > 1e-6 * value.abs().max(1.0) {
        return Err(UnitError::NotWhole(text.to_owned(), what));
    }
    Ok(rounded as u64)
}

/// A count of things: `500`, `10k`, `2.6k`, `1m`.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    whole(text, parse(text, COUNT_UNITS, COUNT_EXAMPLE)?, "things")
}

/// A rate per second: like a count, but it may have a fraction (`0.5`).
pub fn parse_rate(text: &str) -> Result<f64, UnitError> {
    parse(text.trim().trim_end_matches("/s"), COUNT_UNITS, COUNT_EXAMPLE)
}

/// A size in bytes: `32`, `64k` (65,536), `1MiB`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    whole(text, parse(text, SIZE_UNITS, SIZE_EXAMPLE)?, "bytes")
}

/// A duration: `500us`, `5ms`, `30s`, `5m`, `1h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Nanos, UnitError> {
    whole(text, parse(text, DURATION_UNITS, DURATION_EXAMPLE)?, "nanoseconds").map(Nanos)
}

/// One thing as a part of another: `0.05`, `5%`; more than 1 is allowed, and with a sign less than
/// 0.
pub fn parse_ratio(text: &str) -> Result<f64, UnitError> {
    let trimmed = text.trim();
    let (sign, part) = match trimmed.strip_prefix('-') {
        Some(part) => (-1.0, part),
        None => (1.0, trimmed),
    };
    Ok(sign * parse(part, RATIO_UNITS, RATIO_EXAMPLE)?)
}

/// Three significant digits at most, without a trailing fraction of zeros.
fn scaled(value: f64, decimals_at_most: usize) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.*}", decimals.min(decimals_at_most));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn format_scaled(value: f64, units: &[(&str, f64)], separator: &str) -> String {
    // The largest unit of which there is at least one, as it will be *printed*: 999.7 k is 1 m.
    let fits = |(_, factor): &&(&str, f64)| {
        (value / factor * 2.0).round() >= 2.0 && {
            let shown = value / factor;
            shown >= 0.9995
        }
    };
    let (unit, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{separator}{unit}", scaled(value / factor, 2))
}

/// A count for people: `999`, `2.6k`, `1m`.
#[must_use]
pub fn format_count(count: u64) -> String {
    format_scaled(count as f64, COUNT_UNITS, "")
}

/// A count with all its digits, in groups of three: `1,000,000`.
#[must_use]
pub fn format_grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A rate for people: `31.4k/s`, `1.84 M/s`. Not `m/s`, which are metres per second.
#[must_use]
pub fn format_rate(per_second: f64) -> String {
    const UNITS: &[(&str, f64)] = &[("", 1.0), ("k", 1e3), (" M", 1e6), (" G", 1e9)];
    format!("{}/s", format_scaled(per_second.max(0.0), UNITS, ""))
}

/// A size for people, in powers of 1,024: `64 KiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: &[(&str, f64)] =
        &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
    format_scaled(bytes as f64, UNITS, " ")
}

/// A duration for people, scaled: `740 ns`, `61.5 us`, `1.2 ms`, `30 s`. Above two minutes in
/// minutes and seconds, above two hours in hours and minutes.
#[must_use]
pub fn format_duration(span: Nanos) -> String {
    const UNITS: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let seconds = (span.as_secs_f64()).round() as u64;
    if seconds >= 7_200 {
        return format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60);
    }
    if seconds >= 120 {
        return format!("{} min {:02} s", seconds / 60, seconds % 60);
    }
    format_scaled(span.0 as f64, UNITS, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_as_people_type_them() {
        for (text, count) in [
            ("0", 0),
            ("500", 500),
            ("10k", 10_000),
            ("2.6k", 2_600),
            ("1m", 1_000_000),
            ("1000K", 1_000_000),
            (" 1M ", 1_000_000),
            ("1.5g", 1_500_000_000),
        ] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for (text, size) in
            [("32", 32), ("64k", 65_536), ("1KiB", 1_024), ("2 MiB", 2_097_152), ("1b", 1)]
        {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for (text, span) in [
            ("500us", 500_000),
            ("5ms", 5_000_000),
            ("30s", 30_000_000_000),
            ("2", 2_000_000_000),
            ("1.5s", 1_500_000_000),
            ("5m", 300_000_000_000),
            ("1h", 3_600_000_000_000),
            ("7ns", 7),
        ] {
            assert_eq!(parse_duration(text), Ok(Nanos(span)), "{text}");
        }
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        assert_eq!(parse_rate("50k/s"), Ok(50_000.0));
        for (text, ratio) in
            [("0.05", 0.05), ("5%", 0.05), ("80 %", 0.8), ("1.2", 1.2), ("-1%", -0.01)]
        {
            assert_eq!(parse_ratio(text), Ok(ratio), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for text in ["", "k", "-1", "1x", "1..2", "ten", "1e3", "0x10", "nan", "inf", "1kk"] {
            assert!(parse_count(text).is_err(), "{text}");
            assert!(parse_size(text).is_err(), "{text}");
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "%", "--1", "5k", "5%%", "nan", "- "] {
            assert!(parse_ratio(text).is_err(), "{text}");
        }
        assert!(matches!(parse_count("1.5"), Err(UnitError::NotWhole(..))));
        assert!(matches!(parse_count("99999999999g"), Err(UnitError::TooLarge(_))));
        assert_eq!(
            parse_duration("5 parsecs").map_err(|e| e.to_string()),
            Err(
                "'5 parsecs' has no unit that is known here: write it like 500us, 5ms, 30s, 5m or \
                1h"
                .into()
            )
        );
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(format_count(999), "999");
        assert_eq!(format_count(2_600), "2.6k");
        assert_eq!(format_count(999_700), "1m");
        assert_eq!(format_count(1_000_000), "1m");
        assert_eq!(format_grouped(0), "0");
        assert_eq!(format_grouped(1_234_567), "1,234,567");
        assert_eq!(format_rate(31_415.0), "31.4k/s");
        assert_eq!(format_rate(0.5), "0.5/s");
        assert_eq!(format_rate(999_700.0), "1 M/s");
        assert_eq!(format_rate(1_840_000.0), "1.84 M/s");
        assert_eq!(format_rate(2.5e9), "2.5 G/s");
        assert_eq!(format_size(65_536), "64 KiB");
        assert_eq!(format_size(8_400_000_000), "7.82 GiB");
        assert_eq!(format_duration(Nanos(740)), "740 ns");
        assert_eq!(format_duration(Nanos(61_520)), "61.5 us");
        assert_eq!(format_duration(Nanos(1_200_000)), "1.2 ms");
        assert_eq!(format_duration(Nanos::from_secs(30)), "30 s");
        assert_eq!(format_duration(Nanos::from_secs(330)), "5 min 30 s");
        assert_eq!(format_duration(Nanos::from_secs(7_260)), "2 h 01 min");
        assert_eq!(format_duration(Nanos(999_960)), "1 ms");
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read_back(value in 0..4_000_000_000_000u64) {
            // Three digits are printed, so what is read back is within half of the last one.
            let near = |read: u64| (read as f64 - value as f64).abs() <= value as f64 * 0.005 + 0.5;
            prop_assert!(near(parse_count(&format_count(value)).expect("count")));
            prop_assert!(near(parse_size(&format_size(value)).expect("size")));
            let rate = parse_rate(&format_rate(value as f64)).expect("rate");
            prop_assert!(near(rate.round() as u64));
            if value < 119_000_000_000 {
                prop_assert!(near(parse_duration(&format_duration(Nanos(value))).expect("span").0));
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,12}") {
            let _ = parse_count(&text);
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }
}
