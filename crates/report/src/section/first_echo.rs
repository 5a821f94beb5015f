//! The round in which each connection echoes once.

use super::parts::Kind;
use super::{Number, ResultFile, less, more};
use crate::figure::{Unit, ratio, saturating};
use crate::words::{format_rate, seconds};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The round in which each connection echoes once.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct FirstEcho {
    /// How many connections were to echo.
    pub planned: u64,
    /// How many messages were sent.
    pub sent: u64,
    /// How many replies came.
    pub received: u64,
    /// How many of those have a status that is not expected: none of `plan.http.expect`.
    pub unserved: u64,
    /// From the first message to the last reply.
    pub seconds: f64,
    /// Replies per second over that time: `received` / `seconds`. Derived.
    pub rate_per_second: f64,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    more("messages.first_echo.received", Unit::Count, |r| {
        r.messages.first_echo.as_ref().map(|round| round.received as f64)
    }),
    less("messages.first_echo.unserved", Unit::Count, |r| {
        r.messages.first_echo.as_ref().map(|round| round.unserved as f64)
    }),
    less("messages.first_echo.seconds", Unit::Seconds, |r| {
        r.messages.first_echo.as_ref().map(|round| round.seconds)
    }),
    more("messages.first_echo.rate_per_second", Unit::PerSecond, |r| {
        r.messages.first_echo.as_ref().map(|round| round.rate_per_second)
    }),
];

/// That of all parts; `None` if one had none.
pub(super) fn merge(results: &[&ResultFile], kind: Kind) -> Option<FirstEcho> {
    let all: Option<Vec<_>> = results.iter().map(|r| r.messages.first_echo.as_ref()).collect();
    let all = all?;
    let sum = |of: fn(&FirstEcho) -> u64| saturating(all.iter().map(|one| of(one)));
    let (received, seconds) =
        (sum(|one| one.received), kind.time(all.iter().map(|one| one.seconds)));
    Some(FirstEcho {
        planned: sum(|one| one.planned),
        sent: sum(|one| one.sent),
        received,
        unserved: sum(|one| one.unserved),
        seconds,
        rate_per_second: ratio(received as f64, seconds),
    })
}

/// What came of it, in words.
pub(crate) fn words(result: &ResultFile) -> String {
    result.messages.first_echo.as_ref().map_or_else(String::new, |round| {
        let did = if result.plan.http.is_some() { "were answered" } else { "echoed" };
        format!(
            "{} of {} connections {did} in {} ({})",
            format_grouped(round.received),
            format_grouped(round.planned),
            seconds(round.seconds),
            format_rate(round.rate_per_second),
        )
    })
}
