//! Threads, and the memory mappings that each brings.

use super::finding::Unit;
use super::{Demand, Finding, Severity};
use crate::facts::Facts;
use measure::units::format_grouped;

/// Threads of a process beside its reactors: main, control, signals, metrics.
const OTHER_THREADS: u64 = 8;

pub(super) fn threads(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let used = facts.threads_used.unwrap_or(0);
    let limits = [
        (Some("kernel.threads-max"), facts.threads_max.map(|max| max.saturating_sub(used))),
        (Some("kernel.pid_max"), facts.pid_max.map(|max| max.saturating_sub(used))),
        (None, facts.cgroup_tasks_max),
    ];
    let known = limits.into_iter().filter_map(|(name, have)| Some((name, have?)));
    let (setting, have) = known.min_by_key(|(_, have)| *have)?;
    let each_end = demand.reactors.saturating_add(OTHER_THREADS);
    let need = each_end.saturating_mul(demand.ends_here());
    let finding = Finding::compare("threads", Unit::Things, have, need, Severity::Refusal);
    let why = format!(
        "each reactor is a thread; the tightest limit is {}, with {} threads running",
        setting.unwrap_or("that of the control group (pids.max)"),
        format_grouped(used),
    );
    let finding = finding.why(why);
    Some(match setting {
        Some(name) => finding.set(name, need.saturating_add(used).saturating_mul(2)),
        None => finding.remedy("raise pids.max of the control group, or ask for fewer reactors"),
    })
}

pub(super) fn max_map_count(demand: &Demand, facts: &Facts) -> Option<Finding> {
    // A stack with its guard, a heap arena with its guard, and the larger tables of a reactor.
    let need = demand.reactors.saturating_mul(16).saturating_add(1_000);
    let have = facts.max_map_count?;
    let finding = Finding::compare("max_map_count", Unit::Things, have, need, Severity::Refusal);
    let why = "each thread maps its stack, its heap and its tables; beyond it an allocation fails";
    Some(finding.why(why).set("vm.max_map_count", need))
}
