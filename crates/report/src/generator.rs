//! The verdict on the generator: was it the bottleneck of its own run? Pure rules over a result; there
//! is no other set of them. `docs/METHODOLOGY.md` gives the reasons for each.
//!
//! | code | what has to hold |
//! |---|---|
//! | `client_busy` | a reactor's CPU time was 90 % of the time in which messages were to be sent, or more |
//! | `client_waits` | CPU time and waiting for a core were, and the client used a tenth of that core or more |
//! | `late_generator` | 1 % of the messages left more than 1 ms late by the generator's own fault, and that is a tenth of the response's 99th percentile or more |
//! | `late_reader` | the same of replies that lay in the kernel, while a reactor was at work or waiting for its core for half of the time |
//!
//! Where the machine explains all of it, none of these is a reason: the run has the doubt `noisy_host`, is
//! not limited, and stays comparable. It explains lateness if, all together,
//!
//! - a thread that did nothing (`generator.host_probe`) woke more than 1 ms late on the reactors' cores in 1 %
//!   of its tries, half as late as the messages or more: a generator that has a backlog is far later;
//! - half of that lateness or more was waiting for a core, or the hypervisor took a twentieth of one: a
//!   process that was stopped waits for none;
//! - every reactor, and every core by all reactors on it, was busy for less than half of the time;
//! - other processes than the client and the server took a tenth of a core for each core that the reactors
//!   have, and the client and the server less than half of the machine; or the hypervisor did as above.
//!
//! None of them looks at the rate, at how late messages were as such, or at the server: a server that is
//! slow, stands still or takes nothing makes a client idle, and late without its fault.

use crate::balance;
use crate::schema::{Generator, Model, Reactor, ResultFile, StageEntry, Warning};
use measure::Nanos;
use measure::units::format_duration;
use std::fmt::Write as _;

/// From this share of the time on, a reactor had none to spare: what comes next waits for what is
/// under way, ever longer.
pub const NO_TIME_TO_SPARE: f64 = 0.9;
/// A client that used less of a core than this was idle there, whoever kept it from running.
pub const IDLE: f64 = 0.1;
/// Lateness below this is not told: a machine that does other things as well wakes a thread so late.
pub const LATE: Nanos = Nanos::from_millis(1);
/// The share of a response's 99th percentile from which on lateness is more than a trifle of it.
pub const MATERIAL: f64 = 0.1;
/// A reactor that was at work for less of the time than this may read late only because everything
/// came at once, which is the server's doing.
pub const AT_WORK: f64 = 0.5;
/// A reactor that was busy for less of the time than this was not at its end: who made it late is open.
pub const IDLE_ENOUGH: f64 = 0.5;
/// The times that the probe has to have been woken before it is believed.
pub const PROBED_MIN: u64 = 50;
/// How much later than the probe messages may have been to be explained by the machine.
pub const ALIKE: f64 = 2.0;
/// The share of a core's time that others have to have used to be a cause of lateness on it.
pub const OTHERS: f64 = 0.1;
/// From this share of the machine's time on what others used is told.
pub const OTHERS_TOLD: f64 = 0.1;
/// The share of stolen time from which on the hypervisor is named.
const STEAL_TOLD: f64 = 0.05;

/// Judges a result that is otherwise complete: the verdict goes into its section `generator`, and what
/// speaks against the generator among the warnings.
pub fn fill(result: &mut ResultFile) {
    let reasons = judge(result);
    let doubt = noisy_host(result);
    if let Some(generator) = &mut result.generator {
        generator.limited = !reasons.is_empty();
        generator.noisy_host = doubt.is_some();
        generator.reasons.clone_from(&reasons);
    }
    result.run.warnings.extend(reasons);
    result.run.warnings.extend(doubt);
}

/// Whether the run was disturbed by its machine, as it was judged when it was made.
#[must_use]
pub fn is_noisy(result: &ResultFile) -> bool {
    result.generator.as_ref().is_some_and(|generator| generator.noisy_host)
}

/// Why the generator was the bottleneck; empty if it was not. As the run was judged when it was made,
/// or, for a file from before that, by the same rules as far as it has what they ask for.
#[must_use]
pub fn reasons(result: &ResultFile) -> Vec<Warning> {
    match &result.generator {
        Some(generator) => generator.reasons.clone(),
        None => judge(result),
    }
}

/// The warnings that are not among the reasons, which are shown first and apart.
#[must_use]
pub fn other_warnings(result: &ResultFile) -> Vec<&Warning> {
    let told = reasons(result);
    let is_told = |warning: &Warning| told.iter().any(|reason| reason.code == warning.code);
    result.run.warnings.iter().filter(|warning| !is_told(warning)).collect()
}

/// The share of the time in which a reactor was at work or would have been.
#[must_use]
pub fn demand(reactor: &Reactor) -> f64 {
    (reactor.busy_ratio + reactor.wait_ratio.unwrap_or(0.0)).min(1.0)
}

/// What the rules say of a result.
#[must_use]
pub fn judge(result: &ResultFile) -> Vec<Warning> {
    let other_end = other_end(result);
    let with_other_end = |mut reason: Warning| {
        reason.text.push_str(&other_end);
        reason
    };
    match machine_explains(result) {
        true => Vec::new(),
        false => suspicions(result).into_iter().map(with_other_end).collect(),
    }
}

/// What speaks against the run, whoever's fault it was.
fn suspicions(result: &ResultFile) -> Vec<Warning> {
    // What is judged is traffic: opening and holding connections have their own stages and warnings.
    let had_traffic = result.messages.sent > 0 || result.messages.received > 0;
    if result.plan.model == Model::None || result.connections.opened == 0 || !had_traffic {
        return Vec::new();
    }
    let found = [no_core(result), late_sender(result), late_reader(result)];
    found.into_iter().flatten().collect()
}

/// The doubt about a run whose machine made it late: told where the generator would else be blamed.
#[must_use]
pub fn noisy_host(result: &ResultFile) -> Option<Warning> {
    let suspicions = suspicions(result);
    if suspicions.is_empty() || !machine_explains(result) {
        return None;
    }
    let generator = result.generator.as_ref()?;
    let probe = generator.host_probe.as_ref()?;
    let mut text = format!(
        "the machine was noisy: 1 % of the wakes of a thread that did nothing came more than {} late, while \
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
    let remedy = "the times contain it, and vary with it: end what else runs there, or give the client cores \
                  that nothing else uses (--cores) or a machine of its own; repeat the run (--repeat 5), \
                  compare takes it with wider intervals";
    Some(reason("noisy_host", text, remedy))
}

/// Whether all that speaks against the run is the machine's doing; the head of this file has the rule.
fn machine_explains(result: &ResultFile) -> bool {
    let Some(generator) = &result.generator else { return false };
    let Some(probe) = generator.host_probe.as_ref().filter(|one| one.count >= PROBED_MIN) else {
        return false;
    };
    let alike = |late: Option<&StageEntry>| {
        late.is_none_or(|late| late.p99 <= LATE.0 || late.p99 as f64 <= ALIKE * probe.p99 as f64)
    };
    // A closed loop takes all that it gets: that it waited for a core tells nothing of a backlog.
    let open = result.plan.model == Model::Open;
    let late_alike = alike(generator.own_lag.as_ref()) && alike(result.stages.receive_lag.as_ref());
    let stolen = generator.steal_ratio.is_some_and(|share| share >= STEAL_TOLD);
    let waited = generator.host_probe_wait_ratio.is_none_or(|share| share >= AT_WORK);
    let idle = result
        .reactors
        .iter()
        .all(|one| one.busy_ratio < IDLE_ENOUGH && core_use(result, one) < IDLE_ENOUGH);
    let late = probe.p99 > LATE.0;
    open && late && late_alike && idle && (stolen || waited && others_are_the_cause(result))
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
pub fn others_line(result: &ResultFile) -> Option<String> {
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

fn reason(code: &str, text: String, remedy: &str) -> Warning {
    Warning { code: code.to_owned(), text, remedy: remedy.to_owned() }
}

/// A reactor, or a core that several share, had no time to spare: of the busiest, if it was busy, or of
/// the one that wanted a core longest.
fn no_core(result: &ResultFile) -> Option<Warning> {
    let by =
        |of: fn(&Reactor) -> f64| result.reactors.iter().max_by(|a, b| of(a).total_cmp(&of(b)));
    let busiest = by(|one| one.busy_ratio)?;
    let how_many = |count: usize| match count {
        0 | 1 => String::new(),
        count => format!(" ({count} of {} reactors were)", result.reactors.len()),
    };
    if busiest.busy_ratio >= NO_TIME_TO_SPARE {
        let busy = result.reactors.iter().filter(|one| one.busy_ratio >= NO_TIME_TO_SPARE).count();
        let text = format!(
            "{} was busy {} of the time in which messages were to be sent{}{}",
            named(busiest),
            percent(busiest.busy_ratio),
            how_many(busy),
            stolen(busiest),
        );
        return Some(reason("client_busy", text, busy_remedy(result)));
    }
    let use_of = |one: &&Reactor| core_use(result, one);
    let fullest = result.reactors.iter().max_by(|a, b| use_of(a).total_cmp(&use_of(b)))?;
    if let Some(core) = fullest.core.filter(|_| use_of(&fullest) >= NO_TIME_TO_SPARE) {
        let sharing = result.reactors.iter().filter(|one| one.core == Some(core)).count();
        let text = format!(
            "the {sharing} reactors of the client on core {core} kept it busy {} of the time in which \
             messages were to be sent{}",
            percent(use_of(&fullest).min(1.0)),
            stolen(fullest),
        );
        return Some(reason("client_busy", text, busy_remedy(result)));
    }
    let wanted = |one: &&Reactor| demand(one) >= NO_TIME_TO_SPARE && core_use(result, one) >= IDLE;
    let waiting = result.reactors.iter().filter(wanted);
    let longest = waiting.clone().max_by(|a, b| demand(a).total_cmp(&demand(b)))?;
    let text = format!(
        "{} was at work or waiting for its core {} of the time in which messages were to be sent: \
         busy {}, waiting {}{}{}",
        named(longest),
        percent(demand(longest)),
        percent(longest.busy_ratio),
        percent(longest.wait_ratio.unwrap_or(0.0)),
        how_many(waiting.count()),
        stolen(longest),
    );
    let remedy = "the times contain that waiting: give the client cores that nothing else uses (--cores; \
                  the server has it too), fewer reactors on each, a lower rate, or a machine of its own";
    Some(reason("client_waits", text, remedy))
}

fn busy_remedy(result: &ResultFile) -> &'static str {
    match result.plan.model {
        Model::Closed => {
            "these are the client's times and rates: give it more reactors on other cores \
             (--reactors, --cores), or share the load among more machines; for latency use a --rate \
             below this one"
        }
        _ => {
            "the times are the client's own: give it more reactors on other cores (--reactors, \
             --cores), lower the rate, or share the load among more machines"
        }
    }
}

/// How much of a reactor's core all reactors of the client on it used.
fn core_use(result: &ResultFile, reactor: &Reactor) -> f64 {
    if reactor.core.is_none() {
        return reactor.busy_ratio;
    }
    let same = result.reactors.iter().filter(|one| one.core == reactor.core);
    same.map(|one| one.busy_ratio).sum()
}

fn named(reactor: &Reactor) -> String {
    let core = reactor.core.map_or_else(String::new, |core| format!(" on core {core}"));
    format!("reactor #{} of the client{core}", reactor.index)
}

fn stolen(reactor: &Reactor) -> String {
    match reactor.steal_ratio {
        Some(share) if share >= STEAL_TOLD => {
            format!("; the hypervisor took {} of that core's time", percent(share))
        }
        _ => String::new(),
    }
}

/// Messages left late, and nobody but the generator was in their way.
fn late_sender(result: &ResultFile) -> Option<Warning> {
    let own = match &result.generator {
        Some(generator) => generator.own_lag.as_ref()?,
        // Older files do not tell whose fault it was, unless no peer was ever in the way.
        None if result.limits_reached.get("pace_blocked") == Some(&0) => {
            result.stages.send_lag.as_ref()?
        }
        None => return None,
    };
    let response = material(result, own)?;
    let text = format!(
        "1 % of the messages left more than {} late by the generator's own fault, where 1 % of the \
         responses took more than {}",
        time(own.p99),
        time(response),
    );
    let remedy = "response times contain it: lower the rate, or give the client cores that nothing else \
                  uses (--cores) or a machine of its own";
    Some(reason("late_generator", text, remedy))
}

/// Replies lay in the kernel, and the client was at work.
fn late_reader(result: &ResultFile) -> Option<Warning> {
    let lag = result.stages.receive_lag.as_ref()?;
    let response = material(result, lag)?;
    let busiest = result.reactors.iter().map(demand).fold(0.0, f64::max);
    if busiest < AT_WORK {
        return None;
    }
    let text = format!(
        "1 % of the replies lay in the kernel for more than {} before the client read them, where 1 % of \
         the responses took more than {}, and a reactor was at work or waiting for its core {} of the time",
        time(lag.p99),
        time(response),
        percent(busiest),
    );
    let remedy = "response times contain it: give the client more reactors on other cores (--reactors, \
                  --cores), lower the rate, or share the load among more machines";
    Some(reason("late_reader", text, remedy))
}

/// The response's 99th percentile, if lateness is a part of it that counts.
fn material(result: &ResultFile, late: &StageEntry) -> Option<u64> {
    let response = result.stages.response.as_ref().filter(|entry| entry.count > 0)?.p99;
    let counts = late.p99 > LATE.0 && late.p99 as f64 >= MATERIAL * response as f64;
    counts.then_some(response)
}

/// What the server's own account adds. The verdict does not ask for it: two ends can be at their end.
fn other_end(result: &ResultFile) -> String {
    let server = result.balance.server.as_ref();
    match server.and_then(|server| server.core_busy_max.or(server.busy_max)) {
        Some(busy) if busy >= NO_TIME_TO_SPARE => {
            format!(
                "; so was the server, whose busiest core was at {}: both were at their end",
                percent(busy)
            )
        }
        Some(busy) => format!("; the server kept its busiest core at {}", percent(busy)),
        None => String::new(),
    }
}

/// The figures of the section that follow from the reactors; the histograms are the caller's.
#[must_use]
pub fn of_reactors(reactors: &[Reactor]) -> Generator {
    let most = |of: fn(&Reactor) -> Option<f64>| reactors.iter().filter_map(of).reduce(f64::max);
    let sum = |of: fn(&Reactor) -> Option<u64>| {
        let counts = reactors.iter().map(of);
        counts.reduce(|sum, count| Some(sum?.saturating_add(count?))).flatten()
    };
    Generator {
        busy_max: most(|one| Some(one.busy_ratio)).unwrap_or(0.0),
        wait_max: most(|one| one.wait_ratio),
        demand_max: most(|one| Some(demand(one))).unwrap_or(0.0),
        steal_ratio: most(|one| one.steal_ratio),
        voluntary_switches: sum(|one| one.voluntary_switches),
        involuntary_switches: sum(|one| one.involuntary_switches),
        ..Generator::default()
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn time(nanoseconds: u64) -> String {
    format_duration(Nanos(nanoseconds))
}

// ---- In words ------------------------------------------------------------------------------------

/// One line about the generator: how late it was, and who of it had least time to spare. Numbers and
/// their units are kept together by spaces that do not break.
#[must_use]
pub fn line(result: &ResultFile) -> Option<String> {
    let generator = result.generator.as_ref()?;
    let tight = |text: String| text.replace(' ', "\u{a0}");
    let (time, percent) = (|value| tight(time(value)), |share| tight(percent(share)));
    let mut parts = Vec::new();
    if let Some(delay) = &generator.loop_delay {
        parts.push(format!("loop delay p99 {}, max {}", time(delay.p99), time(delay.max)));
    }
    if let Some(turn) = &generator.turn {
        parts.push(format!("turn p99 {}", time(turn.p99)));
    }
    let busiest = result.reactors.iter().max_by(|a, b| demand(a).total_cmp(&demand(b)))?;
    let core = busiest.core.map_or_else(String::new, |core| format!(" on core {core}"));
    let mut text = format!("busiest: #{}{core} at {}", busiest.index, percent(busiest.busy_ratio));
    if let Some(wait) = busiest.wait_ratio {
        let _ = write!(text, ", waiting for it {}", percent(wait));
    }
    parts.push(text);
    if let Some(steal) = generator.steal_ratio {
        parts.push(format!("steal {}", percent(steal)));
    }
    Some(parts.join("; "))
}

/// One line for each end about how evenly its reactors shared the work.
#[must_use]
pub fn balance_lines(result: &ResultFile) -> Vec<String> {
    let balance = &result.balance;
    let ends = [("client", "opened", &balance.client), ("server", "accepts", &balance.server)];
    let line = |(end, opened, of): (&str, &str, &Option<crate::schema::BalanceOf>)| {
        let of = of.as_ref().filter(|of| of.reactors > 1)?;
        let figures = [
            (opened, of.opened),
            ("connections", of.connections),
            ("messages", of.messages),
            ("cpu", of.cpu),
        ];
        let known: Vec<_> = figures
            .into_iter()
            .filter_map(|(name, found)| Some(format!("{name} {:.2}", found?.index)))
            .collect();
        (!known.is_empty()).then(|| format!("{end}, most over mean: {}", known.join(", ")))
    };
    ends.into_iter().filter_map(line).collect()
}

/// The client's balance of a result, for results whose reactors were put together anew.
#[must_use]
pub fn client_balance(result: &ResultFile) -> Option<crate::schema::BalanceOf> {
    balance::of_client(&result.reactors, result.plan.model != Model::None)
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
