//! What else the machine did meanwhile, and whether that explains what would else speak against the
//! generator.

use super::generator::{LATE, core_use, percent, suspicions, time};
use super::{Model, Number, ResultFile, StageEntry, Warning, less, p99};
use crate::figure::Unit;
use measure::Stage;
use std::fmt::Write as _;

/// A reactor that was busy for less of the time than this was not at its end: who made it late is
/// open.
pub(super) const IDLE_ENOUGH: f64 = 0.5;

/// The times that the probe has to have been woken before it is believed.
pub(super) const PROBED_MIN: u64 = 50;

/// How much later than the probe messages may have been to be explained by the machine.
pub(super) const ALIKE: f64 = 2.0;
/// What is compared with the 99th percentile of messages: the probe was late half as often or more.
pub(super) const HALF_AS_OFTEN: f64 = 0.995;

/// The share of the probe's lateness that was waiting for a core, from which on it was not stopped:
/// one that is woken late for want of a core is ready all that time, as far as the kernel counts
/// it.
pub(super) const WAITED: f64 = 0.25;

/// The share of a core's time that others have to have used to be a cause of lateness on it.
pub(super) const OTHERS: f64 = 0.1;

/// From this share of the machine's time on what others used is told.
pub(super) const OTHERS_TOLD: f64 = 0.1;

/// The share of stolen time from which on the hypervisor is named.
pub(super) const STEAL_TOLD: f64 = 0.05;

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    less("generator.noisy_host", Unit::Count, |r| {
        Some(f64::from(r.generator.as_ref()?.noisy_host))
    }),
    less("generator.host_probe.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.host_probe)),
    less("resources.others_cpu_ratio", Unit::Ratio, |r| r.resources.others_cpu_ratio),
];

/// Whether the run was disturbed by its machine, as it was judged when it was made.
#[must_use]
pub(crate) fn is_noisy(result: &ResultFile) -> bool {
    result.generator.as_ref().is_some_and(|generator| generator.noisy_host)
}

/// The doubt about a run whose machine made it late: told where the generator would else be blamed.
#[must_use]
pub(crate) fn noisy_host(result: &ResultFile) -> Option<Warning> {
    let suspicions = suspicions(result);
    if suspicions.is_empty() || !machine_explains(result) {
        return None;
    }
    let generator = result.generator.as_ref()?;
    let probe = generator.host_probe.as_ref()?;
    let mut text = format!(
        "the machine was noisy: 1 % of the wakes of a thread that did nothing came more than {} \
         late, while \
         the busiest reactor was busy {} of the time",
        time(probe.p99),
        percent(generator.busy_max),
    );
    if let Some(own) = generator.own_lag.as_ref().filter(|own| own.p99 > LATE.0) {
        let _ = write!(text, "; 1 % of the messages left more than {} late by that", time(own.p99));
    }
    if let Some(others) = others_line(result) {
        let _ = write!(text, "; {others}");
    }
    if let Some(steal) = generator.steal_ratio.filter(|share| *share >= STEAL_TOLD) {
        let _ = write!(text, "; the hypervisor took {} of a core", percent(steal));
    }
    let remedy = "the times contain it, and vary with it: end what else runs there, or give the \
                  client cores \
                  that nothing else uses (--cores) or a machine of its own; repeat the run \
                  (--repeat 5), \
                  compare takes it with wider intervals";
    Some(Warning::new("noisy_host", text, remedy))
}

/// Whether all that speaks against the run is the machine's doing; the head of `generator.rs` has
/// the rule.
pub(super) fn machine_explains(result: &ResultFile) -> bool {
    let Some(generator) = &result.generator else { return false };
    let Some(probe) = generator.host_probe.as_ref().filter(|one| one.count >= PROBED_MIN) else {
        return false;
    };
    let seen = half_as_often(probe);
    let alike = |late: Option<&StageEntry>| {
        late.is_none_or(|late| late.p99 <= LATE.0 || late.p99 as f64 <= ALIKE * seen as f64)
    };
    // A closed loop takes all that it gets: that it waited for a core tells nothing of a backlog.
    let open = result.plan.model == Model::Open;
    let late_alike =
        alike(generator.own_lag.as_ref()) && alike(result.stages.get(Stage::ReceiveLag));
    let stolen = generator.steal_ratio.is_some_and(|share| share >= STEAL_TOLD);
    let waited = generator.host_probe_wait_ratio.is_none_or(|share| share >= WAITED);
    let idle = result
        .reactors
        .iter()
        .all(|one| one.busy_ratio < IDLE_ENOUGH && core_use(result, one) < IDLE_ENOUGH);
    let late = ALIKE * seen as f64 > LATE.0 as f64;
    open && late && late_alike && idle && (stolen || waited && others_are_the_cause(result))
}

/// How late the probe was in the latest half percent of its tries.
fn half_as_often(probe: &StageEntry) -> u64 {
    let recorded = crate::hist::decode(&probe.hdr).ok().filter(|recorded| !recorded.is_empty());
    recorded.map_or(probe.p99, |recorded| recorded.value_at_quantile(HALF_AS_OFTEN))
}

/// Whether other processes used enough to be in the way, and the run's own did not.
fn others_are_the_cause(result: &ResultFile) -> bool {
    let resources = &result.resources;
    let (Some(seconds), Some(share)) = (resources.others_cpu_seconds, resources.others_cpu_ratio)
    else {
        return false;
    };
    // All that the machine's cores had in that time.
    let machine = seconds / share;
    let mut cores: Vec<u32> = result.reactors.iter().filter_map(|one| one.core).collect();
    cores.sort_unstable();
    cores.dedup();
    let enough = seconds >= OTHERS * cores.len().max(1) as f64 * result.messages.seconds;
    let server = match resources.kernel.both_ends {
        true => resources.server.as_ref().and_then(|server| server.cpu_seconds_traffic),
        false => None,
    };
    let own = resources.client.cpu_seconds_traffic.unwrap_or(0.0) + server.unwrap_or(0.0);
    machine.is_finite() && enough && own < IDLE_ENOUGH * machine
}

/// What other processes used of the client's machine, where it is worth telling.
#[must_use]
pub(crate) fn others_line(result: &ResultFile) -> Option<String> {
    let share = result.resources.others_cpu_ratio.filter(|share| *share >= OTHERS_TOLD)?;
    let server_tells =
        result.resources.server.as_ref().is_some_and(|one| one.cpu_seconds_traffic.is_some());
    let server = match result.resources.kernel.both_ends && !server_tells {
        true => " (the server may be among them: --peer tells its part)",
        false => "",
    };
    let when = if result.plan.model == Model::None { "over the run" } else { "in the traffic" };
    Some(format!(
        "other processes used {} of this machine's CPU time {when}{server}",
        percent(share)
    ))
}
