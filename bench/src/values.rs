//! Values that arguments can have, as they are typed: targets, cases of pace, numbers of openers.

use measure::units;
use std::fmt;
use std::str::FromStr;

/// A running server on 127.0.0.1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) tag: String,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    /// Whether WebSocket is spoken there, and not plain TCP.
    pub(crate) ws: bool,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let plain = text.strip_suffix(":ws");
            let mut parts = plain.unwrap_or(text).rsplitn(3, ':');
            let pid = parts.next()?.parse().ok().filter(|&pid| pid > 0)?;
            let port = parts.next()?.parse().ok().filter(|&port| port > 0)?;
            let tag = parts.next().filter(|tag| !tag.is_empty())?.to_owned();
            Some(Self { tag, port, pid, ws: plain.is_some() })
        };
        parse().ok_or_else(|| {
            format!("'{text}' is not a target: write it like echo:9000:1234 or echo:9000:1234:ws")
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ws = if self.ws { ":ws" } else { "" };
        write!(f, "{}:{}:{}{ws}", self.tag, self.port, self.pid)
    }
}

/// So many connections, each sending at so many messages per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) connections: u64,
    pub(crate) rate_each: f64,
}

impl Case {
    /// Messages per second of all of them.
    pub(crate) fn rate(&self) -> f64 {
        self.connections as f64 * self.rate_each
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (connections, rate) = text.split_once('x')?;
            let connections = units::parse_count(connections).ok().filter(|&count| count > 0)?;
            let rate_each = units::parse_rate(rate).ok().filter(|&rate| rate > 0.0)?;
            Some(Self { connections, rate_each })
        };
        parse().ok_or_else(|| format!("'{text}' is not a case: write it like 100x1000 or 100kx0.5"))
    }
}

/// How many threads open at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Openers {
    All,
    AtMost(u16),
}

impl FromStr for Openers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            (_, Ok(count)) if count > 0 => Ok(Self::AtMost(count)),
            _ => Err(format!("'{text}' is neither a number from 1 nor 'all'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_and_printed_alike() {
        let target: Target = "echo:9000:1234".parse().expect("a target");
        assert_eq!(target, Target { tag: "echo".into(), port: 9_000, pid: 1_234, ws: false });
        assert_eq!(target.to_string().parse(), Ok(target));
        let target: Target = "echo:9000:1234:ws".parse().expect("a target");
        assert!(target.ws && target.to_string().parse() == Ok(target));
        // Whatever stands before the last two colons is the tag.
        assert_eq!("a:b:80:1".parse().map(|target: Target| target.tag), Ok("a:b".into()));
        for text in ["", "echo", "echo:9000", ":9000:1", "echo:0:1", "echo:70000:1", "echo:9000:0"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn cases_are_parsed() {
        let case: Case = "100kx0.5".parse().expect("a case");
        assert_eq!(case, Case { connections: 100_000, rate_each: 0.5 });
        assert_eq!(case.rate(), 50_000.0);
        for text in ["", "100", "x", "100x", "0x5", "5x0", "100x1000x2"] {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
    }

    #[test]
    fn openers_are_a_number_or_all() {
        assert_eq!("all".parse(), Ok(Openers::All));
        assert_eq!("2".parse(), Ok(Openers::AtMost(2)));
        for text in ["", "0", "-1", "some", "70000"] {
            assert!(text.parse::<Openers>().is_err(), "{text}");
        }
    }
}
