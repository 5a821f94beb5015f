//! The audit: for a share of the connections, where the time of their messages went, and what TCP
//! says.

use super::parts::{MergeError, entry_of_all};
use super::{Number, ResultFile, less, more};
use crate::figure::{Unit, ratio, saturating};
use crate::hist::StageEntry;
use crate::words::{self, counted};
use measure::Nanos;
use measure::units::{format_duration, format_grouped};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the time of the audited messages went: those of the traffic phase, on a share of the
/// connections whose replies the kernel stamped as it received them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Audit {
    /// The share of the connections that was to be audited; the same as `plan.audit_ratio`.
    pub ratio: f64,
    /// How many connections were audited, with those that took the place of others.
    pub connections: u64,
    /// How many of their replies could be parted.
    pub messages: u64,
    /// How many more came in a read without a stamp.
    pub unstamped: u64,
    /// How many more had a stamp that cannot be true: before their message left, or behind their
    /// reading.
    pub misfits: u64,
    /// How often the time of day, in which the kernel stamps, was found to have been set.
    pub clock_steps: u64,
    /// The parts, all of the same messages; null if there are none.
    pub parts: Option<AuditParts>,
    /// What TCP knew of the audited connections (`TCP_INFO`).
    pub tcp_info: TcpInfo,
}

/// The parts of a response. For each message `send_lag` + `outside` + `receive_lag` = `response`;
/// so it is for the means, and for no percentile.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct AuditParts {
    /// From when it was meant to leave to when it did: the client's.
    pub send_lag: StageEntry,
    /// From then to the kernel's receipt of the reply: the server's, the network's, the kernels'.
    pub outside: StageEntry,
    /// From then to the client's reading of it; the same as `stages.receive_lag`.
    pub receive_lag: StageEntry,
    /// All of it: the sum of the three for each message, hence for `mean`.
    pub response: StageEntry,
}

impl AuditParts {
    /// The parts and their sum, each with its name, in the order of a message's life.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &StageEntry); 4] {
        [
            ("send_lag", &self.send_lag),
            ("outside", &self.outside),
            ("receive_lag", &self.receive_lag),
            ("response", &self.response),
        ]
    }
}

/// What TCP knew of the audited connections.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct TcpInfo {
    /// Before the traffic; null if the run did not come to that.
    pub start: Option<TcpLook>,
    /// Behind it; null if the run did not come to that.
    pub end: Option<TcpLook>,
}

/// What TCP knew of the audited connections at one moment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct TcpLook {
    /// How many connections were asked, and told.
    pub connections: u64,
    /// Packets that they had sent again since they began, all together.
    pub retransmits: u64,
    /// Their smoothed round-trip times, which TCP keeps in whole microseconds; null without any.
    pub rtt: Option<StageEntry>,
    /// How much those vary: their smoothed mean deviations; null without any.
    pub rtt_variation: Option<StageEntry>,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    more("audit.connections", Unit::Count, |r| Some(r.audit.as_ref()?.connections as f64)),
    more("audit.messages", Unit::Count, |r| Some(r.audit.as_ref()?.messages as f64)),
    less("audit.unstamped", Unit::Count, |r| Some(r.audit.as_ref()?.unstamped as f64)),
    less("audit.misfits", Unit::Count, |r| Some(r.audit.as_ref()?.misfits as f64)),
    less("audit.clock_steps", Unit::Count, |r| Some(r.audit.as_ref()?.clock_steps as f64)),
];

/// The audits added. The plans agree, so either all have one or none.
pub(crate) fn merge(results: &[&ResultFile]) -> Result<Option<Audit>, MergeError> {
    let all = || results.iter().filter_map(|result| Some((result, result.audit.as_ref()?)));
    let Some((_, first)) = all().next() else { return Ok(None) };
    let sum = |of: fn(&Audit) -> u64| saturating(all().map(|(_, audit)| of(audit)));
    let part = |name, of: fn(&AuditParts) -> &StageEntry| {
        entry_of_all(
            name,
            all().filter_map(|(result, audit)| Some((result, of(audit.parts.as_ref()?)))),
        )
    };
    let parts = (
        part("audit.send_lag", |parts| &parts.send_lag)?,
        part("audit.outside", |parts| &parts.outside)?,
        part("audit.receive_lag", |parts| &parts.receive_lag)?,
        part("audit.response", |parts| &parts.response)?,
    );
    let parts = match parts {
        (Some(send_lag), Some(outside), Some(receive_lag), Some(response)) => {
            Some(AuditParts { send_lag, outside, receive_lag, response })
        }
        _ => None,
    };
    let look = |of: fn(&TcpInfo) -> Option<&TcpLook>| {
        look(all().filter_map(|(result, audit)| Some((result, of(&audit.tcp_info)?))).collect())
    };
    Ok(Some(Audit {
        ratio: first.ratio,
        connections: sum(|audit| audit.connections),
        messages: sum(|audit| audit.messages),
        unstamped: sum(|audit| audit.unstamped),
        misfits: sum(|audit| audit.misfits),
        clock_steps: sum(|audit| audit.clock_steps),
        parts,
        tcp_info: TcpInfo {
            start: look(|info| info.start.as_ref())?,
            end: look(|info| info.end.as_ref())?,
        },
    }))
}

/// What TCP knew of all connections.
fn look(all: Vec<(&&ResultFile, &TcpLook)>) -> Result<Option<TcpLook>, MergeError> {
    if all.is_empty() {
        return Ok(None);
    }
    let sum = |of: fn(&TcpLook) -> u64| saturating(all.iter().map(|(_, look)| of(look)));
    let entry = |name, of: fn(&TcpLook) -> Option<&StageEntry>| {
        entry_of_all(name, all.iter().filter_map(|(result, look)| Some((*result, of(look)?))))
    };
    Ok(Some(TcpLook {
        connections: sum(|look| look.connections),
        retransmits: sum(|look| look.retransmits),
        rtt: entry("audit.tcp_info.rtt", |look| look.rtt.as_ref())?,
        rtt_variation: entry("audit.tcp_info.rtt_variation", |look| look.rtt_variation.as_ref())?,
    }))
}

/// The columns of the table of parts, behind the name.
pub(crate) const COLUMNS: [&str; 8] = ["p50", "p90", "p95", "p99", "p99.9", "max", "mean", "share"];

/// One row of the table: a part of the time, or all of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// What stands in the columns.
    pub(crate) cells: Vec<String>,
    /// The mean, in nanoseconds.
    pub(crate) mean: f64,
    /// Whether its values carry the percentiles.
    pub(crate) carried: bool,
    /// The mean as a share of that of the response. It is the means that add up.
    pub(crate) share: f64,
}

/// The parts and their sum, in the order of a message's life; none if no message was parted.
pub(crate) fn parts(audit: &Audit) -> Vec<Part> {
    let Some(parts) = &audit.parts else { return Vec::new() };
    let whole = parts.response.mean;
    let part = |(name, entry): (&'static str, &StageEntry)| {
        let share = ratio(entry.mean, whole);
        let mut cells = words::percentile_cells(entry);
        cells.push(words::time_cell(entry.max));
        cells.push(words::time_cell(entry.mean.max(0.0).round() as u64));
        cells.push(format!("{:.1} %", 100.0 * share));
        Part { name, cells, mean: entry.mean, carried: words::carried(entry), share }
    };
    parts.named().map(part).into()
}

/// What the table is of.
pub(crate) fn heading(audit: &Audit) -> String {
    format!(
        "where the time went: {}, {} ({} %)",
        counted(audit.messages, "message"),
        counted(audit.connections, "connection"),
        // As many digits as the option takes, and no rounding errors of its percent.
        (audit.ratio * 1e6).round() / 1e4,
    )
}

/// Replies that are missing from the table; empty if there are none.
pub(crate) fn missing(audit: &Audit) -> String {
    let mut reasons = Vec::new();
    if audit.unstamped > 0 {
        reasons.push(format!("{} came without a stamp", format_grouped(audit.unstamped)));
    }
    if audit.misfits > 0 {
        let count = format_grouped(audit.misfits);
        reasons.push(format!("{count} had a stamp that cannot be true"));
    }
    let mut sentences = Vec::new();
    if !reasons.is_empty() {
        sentences.push(format!("not in it: {}", reasons.join(", ")));
    }
    if audit.clock_steps > 0 {
        let times = counted(audit.clock_steps, "time");
        sentences.push(format!("the time of day was set {times} meanwhile"));
    }
    sentences.join("; ")
}

/// What TCP said of the audited connections, a line for each moment.
pub(crate) fn tcp(audit: &Audit) -> String {
    let moment = |(name, look): (&str, &Option<TcpLook>)| {
        let look = look.as_ref()?;
        let rtt = look.rtt.as_ref()?;
        let time = |value| format_duration(Nanos(value));
        Some(format!(
            "{name}: rtt p50 {}, p99 {}, max {}; {} sent again",
            time(rtt.p50),
            time(rtt.p99),
            time(rtt.max),
            counted(look.retransmits, "packet"),
        ))
    };
    let moments = [("before", &audit.tcp_info.start), ("behind", &audit.tcp_info.end)];
    moments.into_iter().filter_map(moment).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::schema::{AuditParts, TcpInfo};
    use crate::{ResultFile, hist, html, markdown};
    use measure::{FineHistogram, Stage};

    pub(crate) fn entry(values: &[u64]) -> StageEntry {
        let mut histogram = FineHistogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        hist::entry(&histogram).expect("values")
    }

    /// Of two messages, which took 100 and 300 us.
    pub(crate) fn example() -> Audit {
        let look = |retransmits, rtt: u64| TcpLook {
            connections: 1,
            retransmits,
            rtt: Some(entry(&[rtt])),
            rtt_variation: Some(entry(&[rtt / 2])),
        };
        Audit {
            ratio: 0.01,
            connections: 1,
            messages: 2,
            parts: Some(AuditParts {
                send_lag: entry(&[0, 40_000]),
                outside: entry(&[90_000, 250_000]),
                receive_lag: entry(&[10_000, 10_000]),
                response: entry(&[100_000, 300_000]),
            }),
            tcp_info: TcpInfo { start: Some(look(0, 40_000)), end: Some(look(3, 55_000)) },
            ..Audit::default()
        }
    }

    #[test]
    fn shares_are_those_of_the_means_and_add_up() {
        let shares = |audit: &Audit| parts(audit).iter().map(|part| part.share).collect::<Vec<_>>();
        assert_eq!(shares(&example()), [0.1, 0.85, 0.05, 1.0]);
        assert_eq!(parts(&Audit::default()), []);
        let nothing = AuditParts::default();
        assert_eq!(shares(&Audit { parts: Some(nothing), ..Audit::default() }), [0.0; 4]);
    }

    #[test]
    fn the_page_and_markdown_show_the_parts() {
        let result = ResultFile { audit: Some(example()), ..ResultFile::default() };
        let text = markdown::summary(&result);
        for line in [
            "- audit: where the time went: 2 messages, 1 connection (1 %)",
            "| part | p50 | p90 | p95 | p99 | p99.9 | max | mean | share |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
            "| outside | ~90us | ~250us | ~250us | ~250us | ~250us | 250 us | 170 us | 85.0 % |",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
        let mut with_stage = result.clone();
        let outside = result.audit.as_ref().and_then(|a| Some(a.parts.as_ref()?.outside.clone()));
        with_stage.stages.set(Stage::Outside, outside);
        let run = |name: &str, result: &ResultFile| html::Run::new(name.to_owned(), result.clone());
        let one = [run("one", &with_stage).expect("histograms")];
        let page = html::page(&one);
        for shown in [
            "Where the time went</h3>",
            "<th scope=\"row\">receive lag</th>",
            "outside: 170 µs on average, 85 %",
        ] {
            assert!(page.contains(shown), "{shown}");
        }
        let [one] = one;
        let none = run("none", &ResultFile::default()).expect("histograms");
        let page = html::page(&[one, none]);
        assert!(page.contains("Where the time went: one</h3>"));
        assert!(!page.contains("Where the time went: none"));
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(missing(&example()), "");
        let audit = Audit { unstamped: 1_200, misfits: 3, clock_steps: 1, ..example() };
        assert_eq!(
            missing(&audit),
            "not in it: 1,200 came without a stamp, 3 had a stamp that cannot be true; the time \
             of day \
             was set 1 time meanwhile"
        );
        assert_eq!(heading(&audit), "where the time went: 2 messages, 1 connection (1 %)");
        let behind = "behind: rtt p50 55 us, p99 55 us, max 55 us; 3 packets sent again";
        assert!(tcp(&audit).ends_with(behind), "{}", tcp(&audit));
    }
}
