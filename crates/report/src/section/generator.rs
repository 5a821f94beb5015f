//! The verdict on the generator: was it the bottleneck of its own run? Pure rules over a result;
//! there is no other set of them. `docs/METHODOLOGY.md` gives the reasons for each.
//!
//! What has to hold for each code:
//!
//! - `client_busy`: a reactor's CPU time was 90 % of the time in which messages were to be sent, or
//!   more;
//! - `client_waits`: CPU time and waiting for a core were, and the client used a tenth of that core
//!   or more;
//! - `late_generator`: 1 % of the messages left more than 1 ms late with no peer in their way, and
//!   that is a tenth of the response's 99th percentile or more;
//! - `late_reader`: the same of replies that lay in the kernel, while a reactor was at work or
//!   waiting for its core for half of the time;
//! - `late_handshakes`: connections were to open at a rate, or one for each request, and 1 % of the
//!   TLS handshakes waited more than 1 ms for their turn in the client, and that is a tenth of the
//!   handshake's 99th percentile or more.
//!
//! Where the machine explains all of it, none of these is a reason: the run has the doubt
//! `noisy_host`, is not limited, and stays comparable. It explains lateness if, all together,
//!
//! - a thread that did nothing (`generator.host_probe`) was half as late on the reactors' cores in
//!   half as many of its tries as messages were: a generator that has a backlog is far later, and
//!   far more often;
//! - a quarter of that lateness or more was waiting for a core, or the hypervisor took a twentieth
//!   of one: a process that was stopped waits for none;
//! - every reactor, and every core by all reactors on it, was busy for less than half of the time;
//! - other processes than the client and the server took a tenth of a core for each core that the
//!   reactors have, and the client and the server less than half of the machine; or the hypervisor
//!   did as above.
//!
//! None of them looks at the rate, at how late messages were as such, or at the server: a server
//! that is slow, stands still or takes nothing makes a client idle, and late without its fault.

use super::noise::{self, STEAL_TOLD, machine_explains, noisy_host};
use super::parts::{MergeError, known};
use super::{Model, Number, Reactor, ResultFile, Warning, less, p99, whole};
use crate::figure::Unit;
use crate::hist::{self, StageEntry};
use measure::units::format_duration;
use measure::{Nanos, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Whether the client itself was the bottleneck of the traffic, and what that was judged by. All of
/// it is of the time in which messages were to be sent; without traffic there is nothing to judge.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Generator {
    /// Whether it was: then the times and rates of this run are not the server's (CLIENT-LIMITED).
    pub limited: bool,
    /// Why, each with its remedy; empty if it was not. They are among the warnings, too.
    pub reasons: Vec<Warning>,
    /// The busiest reactor's CPU time as a share of that time, 0 to 1.
    pub busy_max: f64,
    /// The longest that a reactor waited for a core, as a share; null where the kernel does not
    /// tell.
    pub wait_max: Option<f64>,
    /// The most of both together, of one reactor: from 0.9 on it had no time to spare.
    pub demand_max: f64,
    /// The greatest share of a reactor's core that the hypervisor took; null where that is not
    /// known.
    pub steal_ratio: Option<f64>,
    /// How often the reactors' threads left their cores because they had to wait for something;
    /// null where that is not known.
    pub voluntary_switches: Option<u64>,
    /// How often because another thread was to run there.
    pub involuntary_switches: Option<u64>,
    /// How late the loops came to what was due, over all reactors. Null where nothing was due.
    pub loop_delay: Option<StageEntry>,
    /// How long the turns of the loops took, over all reactors: an event waits for the end of its
    /// turn.
    pub turn: Option<StageEntry>,
    /// The send lag of each message as far as it is the generator's own: messages that were late
    /// because their peers took none count as 0. Null where none was due by a plan.
    pub own_lag: Option<StageEntry>,
    /// Whether what speaks against the run is the machine's doing, not the generator's: it is told
    /// as the warning `noisy_host`, and is none of the reasons.
    pub noisy_host: bool,
    /// How late a thread that did nothing woke on the reactors' cores, each 2 ms: the lateness of
    /// the machine. Null without traffic, and in files from before it was measured.
    pub host_probe: Option<StageEntry>,
    /// How much of what was more than 1 ms of that the thread was ready to run and had no core, 0
    /// to 1; null where nothing was so late, or the kernel does not tell.
    pub host_probe_wait_ratio: Option<f64>,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    less("generator.limited", Unit::Count, |r| Some(f64::from(r.generator.as_ref()?.limited))),
    less("generator.busy_max", Unit::Ratio, |r| Some(r.generator.as_ref()?.busy_max)),
    less("generator.wait_max", Unit::Ratio, |r| r.generator.as_ref()?.wait_max),
    less("generator.demand_max", Unit::Ratio, |r| Some(r.generator.as_ref()?.demand_max)),
    less("generator.steal_ratio", Unit::Ratio, |r| r.generator.as_ref()?.steal_ratio),
    less("generator.involuntary_switches", Unit::Count, |r| {
        whole(r.generator.as_ref()?.involuntary_switches)
    }),
    less("generator.loop_delay.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.loop_delay)),
    less("generator.turn.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.turn)),
    less("generator.own_lag.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.own_lag)),
];

/// The generator was the bottleneck of the whole if it was that of a part: that part's times are in
/// it. `None` if no part was judged; figures that a part lacks are left out.
pub(crate) fn merge(results: &[&ResultFile]) -> Result<Option<Generator>, MergeError> {
    if results.iter().all(|result| result.generator.is_none()) {
        return Ok(None);
    }
    let mut told: Vec<Warning> = Vec::new();
    for reason in results.iter().flat_map(|result| reasons(result)) {
        // Repeats differ in their numbers only: one is enough.
        if !told.iter().any(|known| known.code == reason.code) {
            told.push(reason);
        }
    }
    let (limited, reasons) = (!told.is_empty(), told);
    let noisy_host = results.iter().any(|result| noise::is_noisy(result));
    let judged: Option<Vec<_>> = results.iter().map(|result| result.generator.as_ref()).collect();
    let Some(judged) = judged else {
        return Ok(Some(Generator {
            limited,
            reasons,
            noisy_host,
            busy_max: 0.0,
            wait_max: None,
            demand_max: 0.0,
            steal_ratio: None,
            voluntary_switches: None,
            involuntary_switches: None,
            loop_delay: None,
            turn: None,
            own_lag: None,
            host_probe: None,
            host_probe_wait_ratio: None,
        }));
    };
    let added = |name: &str, of: fn(&Generator) -> Option<&StageEntry>| {
        let mut sum = hist::Sum::default();
        for (result, one) in results.iter().zip(&judged) {
            let Some(entry) = of(one) else { continue };
            sum.add(entry).map_err(|error| MergeError::Histogram {
                run: result.run.id.clone(),
                stage: name.to_owned(),
                error,
            })?;
        }
        Ok(sum.entry())
    };
    let most = |of: fn(&Generator) -> Option<f64>| {
        judged.iter().filter_map(|one| of(one)).reduce(f64::max)
    };
    Ok(Some(Generator {
        limited,
        reasons,
        busy_max: most(|one| Some(one.busy_max)).unwrap_or(0.0),
        wait_max: most(|one| one.wait_max),
        demand_max: most(|one| Some(one.demand_max)).unwrap_or(0.0),
        steal_ratio: most(|one| one.steal_ratio),
        voluntary_switches: known(judged.iter().map(|one| one.voluntary_switches)),
        involuntary_switches: known(judged.iter().map(|one| one.involuntary_switches)),
        loop_delay: added("loop_delay", |one| one.loop_delay.as_ref())?,
        turn: added("turn", |one| one.turn.as_ref())?,
        own_lag: added("own_lag", |one| one.own_lag.as_ref())?,
        noisy_host,
        host_probe: added("host_probe", |one| one.host_probe.as_ref())?,
        host_probe_wait_ratio: most(|one| one.host_probe_wait_ratio),
    }))
}

/// From this share of the time on, a reactor had none to spare: what comes next waits for what is
/// under way, ever longer.
pub const NO_TIME_TO_SPARE: f64 = 0.9;

/// A client that used less of a core than this was idle there, whoever kept it from running.
pub const IDLE: f64 = 0.1;

/// Lateness below this is not told: a machine that does other things as well wakes a thread so
/// late.
pub const LATE: Nanos = Nanos::from_millis(1);

/// The share of a response's 99th percentile from which on lateness is more than a trifle of it.
pub const MATERIAL: f64 = 0.1;

/// A reactor that was at work for less of the time than this may read late only because everything
/// came at once, which is the server's doing.
pub const AT_WORK: f64 = 0.5;

/// Judges a result that is otherwise complete: the verdict goes into its section `generator`, and
/// what speaks against the generator among the warnings.
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

/// Why the generator was the bottleneck; empty if it was not. As the run was judged when it was
/// made, or, for a file from before that, by the same rules as far as it has what they ask for.
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
pub(super) fn suspicions(result: &ResultFile) -> Vec<Warning> {
    // What is judged is traffic: opening and holding connections have their own stages and
    // warnings.
    let had_traffic = result.messages.sent > 0 || result.messages.received > 0;
    if result.connections.opened == 0 {
        return Vec::new();
    }
    if result.plan.model == Model::None || !had_traffic {
        return late_handshakes(result).into_iter().collect();
    }
    let found =
        [no_core(result), late_sender(result), late_reader(result), late_handshakes(result)];
    found.into_iter().flatten().collect()
}

/// A reactor, or a core that several share, had no time to spare: of the busiest, if it was busy,
/// or of the one that wanted a core longest.
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
        return Some(Warning::new("client_busy", text, busy_remedy(result)));
    }
    let use_of = |one: &&Reactor| core_use(result, one);
    let fullest = result.reactors.iter().max_by(|a, b| use_of(a).total_cmp(&use_of(b)))?;
    if let Some(core) = fullest.core.filter(|_| use_of(&fullest) >= NO_TIME_TO_SPARE) {
        let sharing = result.reactors.iter().filter(|one| one.core == Some(core)).count();
        let text = format!(
            "the {sharing} reactors of the client on core {core} kept it busy {} of the time in \
             which \
             messages were to be sent{}",
            percent(use_of(&fullest).min(1.0)),
            stolen(fullest),
        );
        return Some(Warning::new("client_busy", text, busy_remedy(result)));
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
    let remedy = "the times contain that waiting: give the client cores that nothing else uses \
                  (--cores; \
                  the server has it too), fewer reactors on each, a lower rate, or a machine of \
                  its own";
    Some(Warning::new("client_waits", text, remedy))
}

fn busy_remedy(result: &ResultFile) -> &'static str {
    match result.plan.model {
        Model::Closed => {
            "these are the client's times and rates: give it more reactors on other cores \
             (--reactors, --cores), or share the load among more machines; for latency use a \
             --rate \
             below this one"
        }
        _ => {
            "the times are the client's own: give it more reactors on other cores (--reactors, \
             --cores), lower the rate, or share the load among more machines"
        }
    }
}

/// How much of a reactor's core all reactors of the client on it used.
pub(super) fn core_use(result: &ResultFile, reactor: &Reactor) -> f64 {
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
            result.stages.get(Stage::SendLag)?
        }
        None => return None,
    };
    let response = material(result, own)?;
    let text = format!(
        "1 % of the messages left more than {} late with no peer in their way, where 1 % of the \
         responses took more than {}{}",
        time(own.p99),
        time(response),
        kept_waiting(result),
    );
    let remedy = "response times contain it: lower the rate, or give the client cores that \
                  nothing else \
                  uses (--cores) or a machine of its own";
    Some(Warning::new("late_generator", text, remedy))
}

/// That the client had no core, where that is most of what it did.
fn kept_waiting(result: &ResultFile) -> String {
    let waited = result.reactors.iter().filter_map(|one| one.wait_ratio).fold(0.0, f64::max);
    if waited < AT_WORK {
        return String::new();
    }
    let others =
        noise::others_line(result).map_or_else(String::new, |others| format!(", and {others}"));
    format!("; a reactor waited for its core {} of the time{others}", percent(waited))
}

/// Replies lay in the kernel, and the client was at work.
fn late_reader(result: &ResultFile) -> Option<Warning> {
    let lag = result.stages.get(Stage::ReceiveLag)?;
    let response = material(result, lag)?;
    let busiest = result.reactors.iter().map(demand).fold(0.0, f64::max);
    if busiest < AT_WORK {
        return None;
    }
    let text = format!(
        "1 % of the replies lay in the kernel for more than {} before the client read them, where \
         1 % of \
         the responses took more than {}, and a reactor was at work or waiting for its core {} of \
         the time",
        time(lag.p99),
        time(response),
        percent(busiest),
    );
    let remedy = "response times contain it: give the client more reactors on other cores \
                  (--reactors, \
                  --cores), lower the rate, or share the load among more machines";
    Some(Warning::new("late_reader", text, remedy))
}

/// Handshakes lay in the client. Where connections open as fast as they can, that is what the
/// fastest opening is; where they were to open at a rate, or one for each request, it is a part of
/// what was measured.
fn late_handshakes(result: &ResultFile) -> Option<Warning> {
    if result.plan.connect_rate_per_second.is_none() && !result.plan.has_churn() {
        return None;
    }
    let wait = result.stages.get(Stage::TlsWait)?;
    let whole = result.stages.get(Stage::Tls)?;
    if wait.p99 <= LATE.0 || (wait.p99 as f64) < MATERIAL * whole.p99 as f64 {
        return None;
    }
    let text = format!(
        "1 % of the TLS handshakes waited for their turn in the client for more than {}, where 1 % \
         of them took more than {}",
        time(wait.p99),
        time(whole.p99),
    );
    let remedy = "handshake times contain it: open fewer a second (--connect-rate, --rate), let \
                  them resume (--tls-resume), or give the client more reactors on other cores";
    Some(Warning::new("late_handshakes", text, remedy))
}

/// The response's 99th percentile, if lateness is a part of it that counts.
fn material(result: &ResultFile, late: &StageEntry) -> Option<u64> {
    let response = result.stages.get(Stage::Response).filter(|entry| entry.count > 0)?.p99;
    let counts = late.p99 > LATE.0 && late.p99 as f64 >= MATERIAL * response as f64;
    counts.then_some(response)
}

/// What the server's own account adds. The verdict does not ask for it: two ends can be at their
/// end.
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

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

pub(super) fn time(nanoseconds: u64) -> String {
    format_duration(Nanos(nanoseconds))
}

/// One line about the generator: how late it was, and who of it had least time to spare. Numbers
/// and their units are kept together by spaces that do not break.
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

/// The same as text; empty where nothing is known.
pub(super) fn words(result: &ResultFile) -> String {
    line(result).unwrap_or_default()
}

/// What the first lines say of a run whose client was the bottleneck; nothing of others.
pub(crate) fn client_limited(reasons: &[Warning]) -> String {
    let mut text = String::new();
    for Warning { code, text: why, remedy } in reasons {
        let head = if text.is_empty() { "CLIENT-LIMITED: " } else { "also: " };
        let _ = writeln!(text, "{head}{why} ({code})\n-> {remedy}");
    }
    text
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
