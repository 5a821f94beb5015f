//! What each reactor did.

use super::parts::{Kind, known};
use super::{ResultFile, balance, generator};
use crate::figure::saturating;
use crate::words::percent;
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A few numbers of many spans of time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// Half of them were no longer than this.
    pub p50_ns: u64,
    /// 99 % of them were no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What one reactor did.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Reactor {
    /// Its number, from 0.
    pub index: u64,
    /// The CPU it was pinned to, as read back; null: not pinned.
    pub core: Option<u32>,
    /// The most connections it held at the same time.
    pub connections: u64,
    /// Connections it opened.
    pub opened: u64,
    /// Connections that failed or were lost on it.
    pub failed: u64,
    /// Replies it received, first echoes included.
    pub messages: u64,
    /// Its CPU time as a share of the time in which messages were to be sent, or of the run where
    /// there was no traffic: 0 to 1.
    pub busy_ratio: f64,
    /// The share of that time in which its thread was ready to run and waited for a core, 0 to 1;
    /// null without traffic, and where the kernel does not tell.
    pub wait_ratio: Option<f64>,
    /// CPU time in that time; null without traffic.
    pub cpu_seconds: Option<f64>,
    /// The share of its core's time that the hypervisor took in the traffic phase, 0 to 1; null
    /// where that is not known.
    pub steal_ratio: Option<f64>,
    /// How often its thread left its core in the traffic phase because it had to wait for
    /// something; null where that is not known.
    pub voluntary_switches: Option<u64>,
    /// How often because another thread was to run there.
    pub involuntary_switches: Option<u64>,
    /// How late its loop came to what was due; null in files from before it was recorded, and in
    /// merged repeats.
    pub loop_delay: Option<Spans>,
    /// How long the turns of its loop took; null likewise.
    pub turn: Option<Spans>,
    /// The send lag that 99 % of its messages did not exceed; null where none was due by a plan.
    pub send_lag_p99_ns: Option<u64>,
    /// The receive lag that 99 % of its audited replies did not exceed; null where none was
    /// audited.
    pub receive_lag_p99_ns: Option<u64>,
    /// Turns of its loop.
    pub turns: u64,
    /// How often a turn ended on a budget with work left over: `reads_budget` and `events_budget`
    /// of `limits_reached`.
    pub budget_hits: u64,
    /// Events and timers that came for a connection already gone; ignored.
    pub stale_events: u64,
}

/// Of shards all reactors, numbered on; of repeats each reactor over all of them.
pub(crate) fn merge(results: &[&ResultFile], kind: Kind) -> Vec<Reactor> {
    let all = || results.iter().flat_map(|result| &result.reactors);
    if kind == Kind::Shards {
        let numbered =
            |(index, one): (usize, &Reactor)| Reactor { index: index as u64, ..one.clone() };
        return all().enumerate().map(numbered).collect();
    }
    let mut merged: BTreeMap<u64, Vec<&Reactor>> = BTreeMap::new();
    for one in all() {
        merged.entry(one.index).or_default().push(one);
    }
    merged.into_values().map(|all| repeated(&all, results.len())).collect()
}

/// One reactor over all repeats. Percentiles are left out: those of parts do not add up.
fn repeated(all: &[&Reactor], repeats: usize) -> Reactor {
    let sum = |of: fn(&Reactor) -> u64| saturating(all.iter().map(|one| of(one)));
    let mean = |of: fn(&Reactor) -> Option<f64>| {
        let sum: Option<f64> = all.iter().map(|one| of(one)).sum();
        sum.map(|sum| sum / repeats as f64)
    };
    let first = all[0];
    Reactor {
        index: first.index,
        core: first.core.filter(|core| all.iter().all(|one| one.core == Some(*core))),
        connections: all.iter().map(|one| one.connections).max().unwrap_or(0),
        opened: sum(|one| one.opened),
        failed: sum(|one| one.failed),
        messages: sum(|one| one.messages),
        busy_ratio: mean(|one| Some(one.busy_ratio)).unwrap_or(0.0),
        wait_ratio: mean(|one| one.wait_ratio),
        cpu_seconds: all.iter().map(|one| one.cpu_seconds).sum(),
        steal_ratio: mean(|one| one.steal_ratio),
        voluntary_switches: known(all.iter().map(|one| one.voluntary_switches)),
        involuntary_switches: known(all.iter().map(|one| one.involuntary_switches)),
        loop_delay: None,
        turn: None,
        send_lag_p99_ns: None,
        receive_lag_p99_ns: None,
        turns: sum(|one| one.turns),
        budget_hits: sum(|one| one.budget_hits),
        stale_events: sum(|one| one.stale_events),
    }
}

/// How evenly the work was spread, and who had most of it.
pub(crate) fn words(result: &ResultFile) -> String {
    let all = &result.reactors;
    let Some(busiest) = all.iter().max_by(|a, b| a.busy_ratio.total_cmp(&b.busy_ratio)) else {
        return String::new();
    };
    let held = || all.iter().map(|reactor| reactor.connections);
    let sum: u128 = held().map(u128::from).sum();
    let mean = (sum / all.len() as u128) as u64;
    let cores = match result.plan.cores.len() {
        0 => "not pinned".to_owned(),
        1 => "on 1 core".to_owned(),
        count => format!("on {count} cores"),
    };
    let core = busiest.core.map_or_else(String::new, |core| format!(" on core {core}"));
    let busy = generator::line(result).unwrap_or_else(|| {
        format!("busiest: #{}{core} at {}", busiest.index, percent(busiest.busy_ratio, 0))
    });
    let mut text = format!(
        "{} {cores}; connections min {} mean {} max {}\n{busy}",
        all.len(),
        format_grouped(held().min().unwrap_or_default()),
        format_grouped(mean),
        format_grouped(held().max().unwrap_or_default()),
    );
    for line in balance::lines(result) {
        let _ = write!(text, "\n{line}");
    }
    text
}
