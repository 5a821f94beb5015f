//! `Share`: how many of the connections are audited, and which. Pure.

use std::fmt;
use std::str::FromStr;

/// A share is counted in these: 1 % is 10,000.
const PARTS: u64 = 1_000_000;

/// How many of the connections are audited, in millionths; zero: none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Share(u32);

impl FromStr for Share {
    type Err = String;

    /// Reads `1%`, `0.1 %`, `100%`, `0` and `off`.
    fn from_str(text: &str) -> Result<Self, String> {
        let no_share =
            "give a share of the connections from 0.0001% to 100%, such as 1% or 0.1%, or off";
        Self::parse(text.trim()).ok_or_else(|| no_share.to_owned())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() { f.write_str("off") } else { write!(f, "{}%", f64::from(self.0) / 1e4) }
    }
}

impl Share {
    /// Nobody is audited.
    pub const OFF: Self = Self(0);
    /// Everybody is.
    pub const ALL: Self = Self(PARTS as u32);

    fn parse(text: &str) -> Option<Self> {
        if text == "off" || text == "0" {
            return Some(Self::OFF);
        }
        let number = text.strip_suffix('%')?.trim_end();
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent: f64 = number.parse().ok().filter(|_| plain)?;
        let parts = (percent / 100.0 * PARTS as f64).round();
        let lost = percent > 0.0 && parts == 0.0;
        (!lost && parts <= PARTS as f64).then_some(Self(parts as u32))
    }

    /// Whether nobody is audited.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.0 == 0
    }

    /// From 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / PARTS as f64
    }

    /// Whether the connection of this number is among them, where number n belongs to reactor n mod
    /// `reactors`. The i-th of them is about number i / share, and belongs to reactor i mod
    /// `reactors`: so they are spread evenly over the numbers and over the reactors. The first one
    /// is number 0.
    #[must_use]
    pub fn has(self, number: u32, reactors: u64) -> bool {
        let (reactors, share) = (reactors as i64, i64::from(self.0));
        let (place, reactor) = (i64::from(number) / reactors, i64::from(number) % reactors);
        // In units of a millionth, and of a reactor: how many of this reactor's connections before
        // this one there should be, less the reactor's turn. Each time that passes a whole one,
        // here it is.
        let whole = PARTS as i64 * reactors;
        let before = place * share * reactors - reactor * PARTS as i64;
        let rounded_up = |amount: i64| -(-amount).div_euclid(whole);
        rounded_up(before + share * reactors) > rounded_up(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_is_read_and_written() {
        for (text, share, written) in [
            ("1%", 10_000, "1%"),
            (" 0.1 % ", 1_000, "0.1%"),
            ("100%", 1_000_000, "100%"),
            ("2.5%", 25_000, "2.5%"),
            ("0.0001%", 1, "0.0001%"),
            ("0", 0, "off"),
            ("0%", 0, "off"),
            ("off", 0, "off"),
        ] {
            let read: Share = text.parse().expect(text);
            assert_eq!((read, read.to_string().as_str()), (Share(share), written), "{text}");
        }
        for text in ["", "%", "1", "on", "101%", "-1%", "1%%", "0.00001%", "nan%", "1e0%", "inf%"] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(error.contains("such as 1% or 0.1%, or off"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn audited_connections_are_evenly_spread_and_at_least_one(
            parts in 1..=1_000_000u32,
            reactors in 1..60u64,
            connections in 1..20_000u32,
        ) {
            let share = Share(parts);
            let audited: Vec<u32> = (0..connections).filter(|n| share.has(*n, reactors)).collect();
            prop_assert_eq!(audited.first(), Some(&0));
            // Over the numbers, the end of the last round apart, in which each reactor may be one
            // off.
            let expected = f64::from(connections) * share.ratio();
            let off = (audited.len() as f64 - expected).abs();
            prop_assert!(off <= 2.0 + reactors as f64, "{} of {expected}", audited.len());
            // Over the reactors.
            let mut each = vec![0i64; reactors.min(connections.into()) as usize];
            audited.iter().for_each(|n| each[(u64::from(*n) % reactors) as usize] += 1);
            let least = each.iter().min().expect("some");
            let most = each.iter().max().expect("some");
            prop_assert!(most - least <= 2, "{each:?}");
        }

        #[test]
        fn everybody_and_nobody_are_just_that(number: u32, reactors in 1..1_000u64) {
            prop_assert!(Share::ALL.has(number, reactors));
            prop_assert!(!Share::OFF.has(number, reactors));
        }
    }
}
