//! What became of the connections.

use super::parts::Kind;
use super::{Doubts, Number, ResultFile, Second, less, more};
use crate::figure::{Unit, ratio, saturating};
use crate::words::{format_rate, seconds};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the connections.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Connections {
    /// How many were to be opened and held; where each request has a connection of its own
    /// (`--close`), how many may be open at the same time.
    pub planned: u64,
    /// How many became usable: TCP, TLS and upgrade done. Over the whole run, with those that took
    /// the place of others.
    pub opened: u64,
    /// How many never did.
    pub failed: u64,
    /// How many were never tried, or not waited for, because the run was cut short. Derived:
    /// planned = opened + failed + not_tried.
    pub not_tried: u64,
    /// How many were usable and then lost before the run let them go; they count as opened, too.
    pub lost: u64,
    /// How many came to their end in the middle of the run as HTTP foresees it, behind a response
    /// that was to be their last, or between two responses: opened = lost + ended + open at the
    /// end.
    pub ended: u64,
    /// How many of those the server ended between two responses, without having said that it would
    /// (HTTP): it may, of a connection that is kept.
    pub ended_idle: u64,
    /// How many of those opened took the place of one that had ended so.
    pub replaced: u64,
    /// How many attempts an address did not take, and that went on with the next one of its name:
    /// they are no failed connections. By address and kind they are in the plan's `addresses`.
    #[serde(default)]
    pub tried_again: u64,
    /// How many were open when the run began to close them.
    pub open_at_end: u64,
    /// The most that were open at the same time.
    pub open_peak: u64,
    /// From the first `connect` to the last usable connection of the ramp; where each request has a
    /// connection of its own, how long requests were sent.
    pub open_seconds: f64,
    /// Opened per second over that time, replacements apart: (`opened` − `replaced`) /
    /// `open_seconds`. Derived.
    pub rate_per_second: f64,
}

impl Connections {
    pub(super) fn fill_derived(&mut self) {
        let ramped = self.opened.saturating_sub(self.replaced);
        self.rate_per_second = ratio(ramped as f64, self.open_seconds);
        self.not_tried = self.planned.saturating_sub(self.opened + self.failed);
    }
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    more("connections.planned", Unit::Count, |r| Some(r.connections.planned as f64)),
    more("connections.opened", Unit::Count, |r| Some(r.connections.opened as f64)),
    less("connections.failed", Unit::Count, |r| Some(r.connections.failed as f64)),
    less("connections.lost", Unit::Count, |r| Some(r.connections.lost as f64)),
    less("connections.ended", Unit::Count, |r| Some(r.connections.ended as f64)),
    less("connections.ended_idle", Unit::Count, |r| Some(r.connections.ended_idle as f64)),
    less("connections.replaced", Unit::Count, |r| Some(r.connections.replaced as f64)),
    less("connections.tried_again", Unit::Count, |r| Some(r.connections.tried_again as f64)),
    less("connections.not_tried", Unit::Count, |r| Some(r.connections.not_tried as f64)),
    more("connections.open_at_end", Unit::Count, |r| Some(r.connections.open_at_end as f64)),
    more("connections.open_peak", Unit::Count, |r| Some(r.connections.open_peak as f64)),
    less("connections.open_seconds", Unit::Seconds, |r| Some(r.connections.open_seconds)),
    more("connections.rate_per_second", Unit::PerSecond, |r| Some(r.connections.rate_per_second)),
];

/// Those of all parts; `timeline` is that of the whole.
pub(crate) fn merge(results: &[&ResultFile], kind: Kind, timeline: &[Second]) -> Connections {
    let all = || results.iter().map(|result| &result.connections);
    let sum = |of: fn(&Connections) -> u64| saturating(all().map(of));
    let open_seconds = kind.time(all().map(|one| one.open_seconds));
    let opened = sum(|one| one.opened);
    let at_once = timeline.iter().map(|second| second.open).max().unwrap_or(0);
    Connections {
        planned: sum(|one| one.planned),
        opened,
        failed: sum(|one| one.failed),
        not_tried: sum(|one| one.not_tried),
        lost: sum(|one| one.lost),
        ended: sum(|one| one.ended),
        ended_idle: sum(|one| one.ended_idle),
        replaced: sum(|one| one.replaced),
        tried_again: sum(|one| one.tried_again),
        open_at_end: sum(|one| one.open_at_end),
        open_peak: all().map(|one| one.open_peak).max().unwrap_or(0).max(at_once),
        open_seconds,
        rate_per_second: ratio(opened as f64, open_seconds),
    }
}

/// What became of them, in words.
pub(crate) fn words(result: &ResultFile) -> String {
    let it = &result.connections;
    let not_tried = match it.not_tried {
        0 => String::new(),
        count => format!(", {} not tried", format_grouped(count)),
    };
    let planned = match result.plan.has_churn() {
        true => String::new(),
        false => format!(" of {}", format_grouped(it.planned)),
    };
    let idle = match it.ended_idle {
        0 => String::new(),
        count => format!(" ({} ended by the server between two responses)", format_grouped(count)),
    };
    let replaced = match it.replaced {
        0 => String::new(),
        count => format!(", {} replaced{idle}", format_grouped(count)),
    };
    let again = match it.tried_again {
        0 => String::new(),
        count => format!(", {} tried again at another address", format_grouped(count)),
    };
    format!(
        "{}{planned} opened in {} ({})\n{} failed, {} lost{replaced}{again}{not_tried}; \
         open: {} at the end{}, {} at the peak",
        format_grouped(it.opened.saturating_sub(it.replaced)),
        seconds(it.open_seconds),
        format_rate(it.rate_per_second),
        format_grouped(it.failed),
        format_grouped(it.lost),
        format_grouped(it.open_at_end),
        if result.spread.is_empty() { "" } else { "s" },
        format_grouped(it.open_peak),
    )
}

/// Whether half of the connections or more went in the middle of the traffic: then that is why it
/// is not what was planned, however busy the client was with the rest.
pub(super) fn lost_most(result: &ResultFile) -> bool {
    let connections = &result.connections;
    connections.lost > 0 && connections.lost.saturating_mul(2) >= connections.opened
}

/// The doubt about a run that lost some.
pub(super) fn lost(result: &ResultFile, doubts: &mut Doubts) {
    let it = &result.connections;
    if it.lost > 0 {
        doubts.add(
            "lost",
            format!(
                "{} of {} connections were lost before the end",
                format_grouped(it.lost),
                format_grouped(it.opened)
            ),
            "look at the failures by kind, and at the server's log of the same time",
        );
    }
}
