//! Statuses of HTTP, one by one and by class: how many responses had which, which of them count as
//! served (`--expect`), and which a threshold names (`http.5xx`).

use super::{Doubts, Http, ResultFile, messages};
use crate::words::non_zero;
use measure::units::format_grouped;
use std::fmt;
use std::str::FromStr;

/// Responses whose status is one of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Statuses {
    /// This one: `404`.
    Code(u16),
    /// Those with this first digit, from 2 to 5: `5xx`.
    Class(u16),
    /// All but 2xx: `non_2xx`.
    Not2xx,
}

impl Statuses {
    /// Reads `404`, `5xx` or `non_2xx`, as [`fmt::Display`] writes them. An interim response (1xx)
    /// answers nothing (RFC 9110 15.2), so it is none of these.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "non_2xx" {
            return Some(Self::Not2xx);
        }
        if let Some(class) = name.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (2..=5).contains(class)).map(Self::Class);
        }
        let digits = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_digit());
        name.parse().ok().filter(|code| digits && *code >= 200).map(Self::Code)
    }

    /// Whether a status is one of these.
    #[must_use]
    pub fn has(self, status: u16) -> bool {
        match self {
            Self::Code(code) => status == code,
            Self::Class(class) => status / 100 == class,
            Self::Not2xx => status / 100 != 2,
        }
    }

    /// How many responses had one of these; `None` where no statuses are counted.
    pub(crate) fn count(self, result: &ResultFile) -> Option<f64> {
        let plan = &result.plan;
        plan.http.is_some().then(|| counted(result, |status| self.has(status)) as f64)
    }

    /// Their share of all responses; `None` where there were none.
    pub(crate) fn share(self, result: &ResultFile) -> Option<f64> {
        let all = counted(result, |_| true);
        let these = self.count(result).filter(|_| all > 0)?;
        Some(these / all as f64)
    }
}

fn counted(result: &ResultFile, these: impl Fn(u16) -> bool) -> u64 {
    let each = result.http_statuses.iter();
    let these = each.filter(|(status, _)| status.parse().is_ok_and(&these));
    these.fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Not2xx => f.write_str("non_2xx"),
        }
    }
}

/// The statuses that mean that a request was served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected(Vec<Statuses>);

impl Default for Expected {
    /// 2xx and 3xx: redirects and "not modified" are answers, too.
    fn default() -> Self {
        Self(vec![Statuses::Class(2), Statuses::Class(3)])
    }
}

impl Expected {
    /// What a plan says of it; files of versions that did not say it went by the default.
    #[must_use]
    pub fn of(http: &Http) -> Self {
        let all: Vec<_> = http.expect.iter().filter_map(|name| Statuses::parse(name)).collect();
        if all.is_empty() { Self::default() } else { Self(all) }
    }

    /// Whether a response with this status counts as served.
    #[must_use]
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|one| one.has(status))
    }

    /// As a plan records it.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// What the others are, in words: `neither 2xx nor 3xx`.
    pub(crate) fn others(&self) -> String {
        match &self.names()[..] {
            [one] => format!("not {one}"),
            [one, other] => format!("neither {one} nor {other}"),
            many => format!("none of {}", many.join(", ")),
        }
    }
}

impl FromStr for Expected {
    type Err = String;

    /// Reads `200,429` or `2xx,404`.
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |name: &str| match Statuses::parse(name) {
            Some(one) if one != Statuses::Not2xx => Ok(one),
            _ => Err(format!(
                "'{name}' is neither a status nor a class of them: write them like 200,429 or \
                 2xx,404 \
                 (classes from 2xx to 5xx)"
            )),
        };
        text.split(',').map(|name| one(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// What was answered, by status; of handshakes only what was no upgrade.
pub(crate) fn words(result: &ResultFile) -> String {
    non_zero(result.http_statuses.iter().map(|(status, &count)| (status.as_str(), count)))
}

/// How many were answered with which of these statuses.
fn answered(result: &ResultFile, these: impl Fn(&str) -> bool) -> String {
    let each = result.http_statuses.iter().filter(|(status, _)| these(status));
    let each: Vec<_> = each
        .map(|(status, count)| format!("{} with status {status}", format_grouped(*count)))
        .collect();
    each.join(", ")
}

/// The doubts that only HTTP has.
fn response_doubts(result: &ResultFile, doubts: &mut Doubts) {
    let expected = result.plan.http.as_ref().map(Expected::of).unwrap_or_default();
    let served = |status: &str| status.parse().is_ok_and(|code| expected.has(code));
    let unserved = answered(result, |status| !served(status));
    if !unserved.is_empty() {
        doubts.add(
            "http_status",
            format!("requests were answered, and not served: {unserved}"),
            "look at the paths, and at the server's log; --expect says which statuses are meant \
             to come, \
             --fail-if 'http.5xx>1%' makes too many of one a failure",
        );
    }
    // Who names redirects in --expect knows of them.
    let meant = |status: &str| expected != Expected::default() && served(status);
    let elsewhere = |status: &str| status.starts_with('3') && status != "304" && !meant(status);
    let elsewhere = answered(result, elsewhere);
    if !elsewhere.is_empty() {
        doubts.add(
            "redirected",
            format!("requests were sent elsewhere: {elsewhere}"),
            "redirects are not followed: give the URL that the server names",
        );
    }
    // Of a server that keeps its connections waiting, or stood still, more of them would wait.
    let at_fault = result.server.as_ref().is_some_and(|it| it.behind || it.stalled.is_some());
    if messages::busy_connections(result) && !at_fault {
        doubts.add(
            "connections_busy",
            "requests that were due had to wait since all connections were busy",
            "their waiting counts in response and send lag: give more --connections",
        );
    }
}

fn status_remedy(result: &ResultFile) -> &'static str {
    let any = |range: std::ops::Range<&str>| {
        result.http_statuses.keys().any(|status| range.contains(&status.as_str()))
    };
    if any("300".."400") {
        "redirects are not followed: give the URL that the server names"
    } else if any("401".."402") || any("403".."404") {
        "give what the server wants to see: --header, --origin, --subprotocol"
    } else {
        "make sure that the path of the URL is one at which the server takes WebSockets"
    }
}

/// The doubts about what was answered.
pub(super) fn doubts(result: &ResultFile, doubts: &mut Doubts) {
    if result.plan.http.is_some() {
        response_doubts(result, doubts);
    } else if !result.http_statuses.is_empty() {
        let each = answered(result, |_| true);
        let text = format!("handshakes were answered by something else than an upgrade: {each}");
        doubts.add("http_status", text, status_remedy(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_read_and_recorded() {
        let read = |text: &str| text.parse::<Expected>();
        let expected = read("2xx, 404,429").expect("fine");
        assert_eq!(expected.names(), ["2xx", "404", "429"]);
        let found = [200, 299, 300, 404, 403, 429, 500].map(|status| expected.has(status));
        assert_eq!(found, [true, true, false, true, false, true, false]);
        let http = Http { expect: expected.names(), ..Http::default() };
        assert_eq!(Expected::of(&http), expected);
        assert_eq!(Expected::of(&Http::default()), Expected::default());
        for bad in ["", ",", "200,", "1xx", "20", "+20", "2000", "non_2xx", "ok", "99", "2xx 3xx"] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains("write them like 200,429"), "{error}");
        }
        let words = ["200", "2xx,3xx", "200,301,404"].map(|text| read(text).expect(text).others());
        assert_eq!(words, ["not 200", "neither 2xx nor 3xx", "none of 200, 301, 404"]);
    }
}
