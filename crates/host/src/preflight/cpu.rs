//! CPUs: how many may be used and how much of them, how fast they run, and what a look at the clock
//! costs.

use super::{Demand, Finding, Severity};
use crate::cpu::parse_cpu_list;
use crate::facts::Facts;

/// Clocks that the kernel reads without leaving the program; each other one costs a system call.
const QUICK_CLOCKS: [&str; 4] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// Those that the process may use, of those that there are.
pub(super) fn allowed(_: &Demand, facts: &Facts) -> Option<Finding> {
    let online = parse_cpu_list(facts.cpus_online_list.as_deref()?).ok()?.len();
    let allowed = facts.cpus_allowed.len();
    let finding = Finding::judge(
        "CPUs",
        allowed.to_string(),
        online.to_string(),
        allowed >= online,
        Severity::Note,
    );
    let why = "reactors run on the CPUs that this process may use, and there are more";
    let remedy =
        "if that is not meant, start it with a wider set (taskset, or the container's cpuset)";
    Some(finding.why(why).remedy(remedy))
}

/// The time that a control group grants, against the CPUs that reactors are pinned to.
pub(super) fn quota(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let have = facts.cgroup_cpu_millis?;
    let cpus = demand.reactors.min(facts.cpus_allowed.len() as u64);
    let need = cpus.saturating_mul(1_000);
    let text = format!("{}.{:02} CPUs", have / 1_000, have % 1_000 / 10);
    let finding =
        Finding::judge("CPU quota", text, format!("{cpus} CPUs"), have >= need, Severity::Warning);
    let why = "once the control group has used its quota, all its threads stand still for the \
        rest of \
               the period (100 ms by default), and that shows as latency";
    Some(finding.why(why).remedy(format!(
        "raise the quota (cpu.max, the container's CPU limit), or --cores with {} of them",
        (have / 1_000).max(1)
    )))
}

/// How the clock rate follows the load.
pub(super) fn governor(_: &Demand, facts: &Facts) -> Option<Finding> {
    let have = facts.cpu_governor.as_deref()?;
    let steady = have == "performance";
    let finding = Finding::judge("CPU governor", have, "performance", steady, Severity::Warning);
    let why = "the others lower the clock rate while little is to do, so the same run gives other \
               times at low load and at high";
    Some(finding.why(why).command("sudo cpupower frequency-set -g performance"))
}

/// What each stamp costs.
pub(super) fn clock_source(_: &Demand, facts: &Facts) -> Option<Finding> {
    let have = facts.clock_source.as_deref()?;
    let quick = QUICK_CLOCKS.contains(&have);
    let finding = Finding::judge("clock source", have, "tsc", quick, Severity::Warning);
    let why =
        "each message is stamped several times, and this clock costs a system call or more each";
    let file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    Some(finding.why(why).command(format!("echo tsc | sudo tee {file}")))
}
