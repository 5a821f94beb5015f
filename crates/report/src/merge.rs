//! Several results as one: shards that ran at the same time, or repeats that ran one after another.
//!
//! Histograms are added cell by cell, so the percentiles of the merged result are those of all
//! samples together. What cannot be added without knowing more is left out, and a warning says so.

use crate::generator;
use crate::hist::{self, HistError};
use crate::outcome::exit_code;
use crate::schema::{
    Address, Audit, AuditParts, Balance, CloseCode, Connections, Failures, FirstEcho, Footprint,
    Generator, Kernel, Messages, Outcome, Pacing, Part, Plan, Process, Reactor, Resources,
    ResultFile, Run, Second, Server, StageEntry, Stages, TcpInfo, TcpLook, Verdict, Warning,
    growth_each, ratio,
};
use crate::spread;
use crate::verdict::{self, Threshold};
use hdrhistogram::Histogram;
use measure::units::format_duration;
use measure::{Failure, Nanos, Stage};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// The most results that are merged into one.
pub const PARTS_MAX: usize = 1_000;

/// Shards whose starts lie further apart than this are told of: their loads did not add up all along.
const SKEW_TOLD: Duration = Duration::from_secs(1);

/// What shards share out among themselves, and repeats have in common.
const SHARED_OUT: [&str; 7] = [
    "connections",
    "connect_rate_per_second",
    "rate_per_second",
    "in_flight",
    "reactors",
    "cores",
    "source_ports",
];

/// What may differ between the parts of any run.
const FREE: [&str; 4] = ["seed", "targets", "sources", "addresses"];

/// Why results cannot be merged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// One alone, or none.
    #[error("there is nothing to merge: give two results or more")]
    TooFew,
    /// More than [`PARTS_MAX`].
    #[error("more than {PARTS_MAX} results: merge some of them first")]
    TooMany,
    /// The same run twice would count twice.
    #[error("run '{0}' is given twice, or is part of another one given: name each run once")]
    Twice(String),
    /// A run does not say when it was.
    #[error("run '{0}' has no start and end that are dates: it cannot be set beside the others")]
    NoTime(String),
    /// Some overlap in time and some do not.
    #[error(
        "some of these runs were at the same time and some were not: merge the shards of each repeat first, then the repeats"
    )]
    Mixed,
    /// The plans are not parts of one.
    #[error("these runs are not parts of one plan: {0} differs")]
    Plans(String),
    /// A sum is beyond what a result can hold.
    #[error("the sum of {0} is beyond 2^64: one of these files is damaged, no run counts so many")]
    TooMuch(String),
    /// A histogram cannot be read.
    #[error("stage '{stage}' of run '{run}': {error}")]
    Histogram {
        /// The run's `id`.
        run: String,
        /// The stage.
        stage: &'static str,
        /// What is wrong with it.
        error: HistError,
    },
}

/// How the parts lie to each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// At the same time: together they are the load.
    Shards,
    /// One after another: each is the load.
    Repeats,
}

impl Kind {
    /// The time that something took: of shards the longest, of repeats all together.
    fn time(self, seconds: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Shards => seconds.fold(0.0, f64::max),
            Self::Repeats => seconds.sum(),
        }
    }

    /// What was on its way at a moment: of shards all together, of repeats the most. `None` if one part
    /// does not tell.
    fn backlog(self, counts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
        let counts: Option<Vec<u64>> = counts.collect();
        let counts = counts?;
        Some(match self {
            Self::Shards => saturating(counts.into_iter()),
            Self::Repeats => counts.into_iter().max().unwrap_or(0),
        })
    }
}

/// Merges results into one. Their order makes no difference.
///
/// # Errors
/// If there are fewer than two, one is there twice, they are not parts of one plan, or a histogram
/// is damaged.
pub fn merge(results: &[ResultFile]) -> Result<ResultFile, MergeError> {
    if results.len() < 2 {
        return Err(MergeError::TooFew);
    }
    let parts = in_order(results)?;
    let kind = kind(&parts)?;
    merge_as(kind, &parts)
}

/// Merges what is known to be repeats, whatever the clock on the wall said meanwhile. One is enough: the
/// first of several that was also the last.
///
/// # Errors
/// As [`merge()`], but for what it finds out from the times.
pub fn repeats(results: &[ResultFile]) -> Result<ResultFile, MergeError> {
    if results.is_empty() {
        return Err(MergeError::TooFew);
    }
    merge_as(Kind::Repeats, &in_order(results)?)
}

fn merge_as(kind: Kind, parts: &[Placed<'_>]) -> Result<ResultFile, MergeError> {
    let results: Vec<&ResultFile> = parts.iter().map(|part| part.result).collect();
    check_plans(&results, kind)?;
    check_sums(&results)?;
    let timeline = timeline(parts, kind);
    let mut warnings = warnings(&results);
    let mut merged = ResultFile {
        tool: results[0].tool.clone(),
        plan: plan(&results, kind),
        host: host(&results, &mut warnings),
        peer: results.last().and_then(|last| last.peer.clone()),
        connections: connections(&results, kind, &timeline),
        stages: stages(&results)?,
        messages: messages(&results, kind),
        pacing: pacing(&results, kind, &mut warnings),
        failures: failures(&results),
        timeline,
        resources: resources(&results, kind, &mut warnings),
        reactors: reactors(&results, kind),
        audit: audit(&results)?,
        generator: generators(&results)?,
        server: server(&results),
        http_statuses: sums(&results, |result| &result.http_statuses),
        violations: sums(&results, |result| &result.violations),
        close_codes: close_codes(&results),
        limits_reached: sums(&results, |result| &result.limits_reached),
        spread: if kind == Kind::Repeats { spread::of(&results) } else { Vec::new() },
        ..ResultFile::default()
    };
    merged.balance = balance(&merged, &results);
    merged.run = run(parts, kind, warnings);
    for reason in merged.generator.iter().flat_map(|generator| &generator.reasons) {
        if !merged.run.warnings.contains(reason) {
            merged.run.warnings.push(reason.clone());
        }
    }
    merged.verdict = judged(&merged);
    Ok(merged)
}

/// The sum, or the greatest number there is: a damaged file may hold any.
fn saturating(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

/// The sum, if every value is known.
fn known(mut values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.try_fold(0u64, |sum, value| Some(sum.saturating_add(value?)))
}

/// A result and when it was.
struct Placed<'a> {
    result: &'a ResultFile,
    started: SystemTime,
    ended: SystemTime,
}

impl Placed<'_> {
    /// How much later than `first` it began.
    fn after(&self, first: &Placed<'_>) -> Duration {
        self.started.duration_since(first.started).unwrap_or_default()
    }
}

/// The results in the order of their starts, each run once.
fn in_order(results: &[ResultFile]) -> Result<Vec<Placed<'_>>, MergeError> {
    if results.len() > PARTS_MAX {
        return Err(MergeError::TooMany);
    }
    let mut seen = BTreeSet::new();
    let mut placed = Vec::with_capacity(results.len());
    for result in results {
        let run = &result.run;
        let ids = std::iter::once(&run.id).chain(run.parts.iter().map(|part| &part.id));
        for id in ids {
            if !seen.insert(id) {
                return Err(MergeError::Twice(id.clone()));
            }
        }
        let time = |text: &str| humantime::parse_rfc3339(text).ok();
        let (Some(started), Some(ended)) = (time(&run.started), time(&run.ended)) else {
            return Err(MergeError::NoTime(run.id.clone()));
        };
        placed.push(Placed { result, started, ended });
    }
    placed.sort_by(|a, b| (a.started, &a.result.run.id).cmp(&(b.started, &b.result.run.id)));
    Ok(placed)
}

/// Shards if all were at work at some moment, repeats if no two were.
fn kind(parts: &[Placed<'_>]) -> Result<Kind, MergeError> {
    let last_start = parts.iter().map(|part| part.started).max();
    let first_end = parts.iter().map(|part| part.ended).min();
    if last_start < first_end {
        Ok(Kind::Shards)
    } else if parts.windows(2).all(|pair| pair[0].ended <= pair[1].started) {
        Ok(Kind::Repeats)
    } else {
        Err(MergeError::Mixed)
    }
}

fn check_plans(results: &[&ResultFile], kind: Kind) -> Result<(), MergeError> {
    let facts = |plan: &Plan| {
        let mut value = serde_json::to_value(plan).unwrap_or_default();
        let shared_out = SHARED_OUT.iter().filter(|_| kind == Kind::Shards);
        for free in FREE.iter().chain(shared_out) {
            value.as_object_mut().and_then(|members| members.remove(*free));
        }
        value
    };
    let first = facts(&results[0].plan);
    for result in &results[1..] {
        let other = facts(&result.plan);
        let (Value::Object(first), Value::Object(other)) = (&first, &other) else { continue };
        if let Some((key, _)) = first.iter().find(|(key, value)| other.get(*key) != Some(value)) {
            return Err(MergeError::Plans(key.clone()));
        }
    }
    Ok(())
}

/// The parts of a result whose whole numbers are added up.
const ADDED: [&str; 9] = [
    "connections",
    "messages",
    "failures",
    "http_statuses",
    "violations",
    "close_codes",
    "limits_reached",
    "timeline",
    "reactors",
];

/// Whether every whole number can be added up, whatever is added up of it: each over all results, and all
/// that stand under one name, as those of the seconds and reactors do.
fn check_sums(results: &[&ResultFile]) -> Result<(), MergeError> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for result in results {
        let whole = serde_json::to_value(result).unwrap_or_default();
        for section in ADDED {
            add_up(section, &whole[section], &mut sums)?;
        }
    }
    Ok(())
}

fn add_up(path: &str, value: &Value, sums: &mut BTreeMap<String, u64>) -> Result<(), MergeError> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| add_up(path, item, sums)),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, member)| add_up(&format!("{path}.{name}"), member, sums)),
        _ => {
            let Some(number) = value.as_u64() else { return Ok(()) };
            let sum = sums.entry(path.to_owned()).or_default();
            *sum = sum.checked_add(number).ok_or_else(|| MergeError::TooMuch(path.to_owned()))?;
            Ok(())
        }
    }
}

fn plan(results: &[&ResultFile], kind: Kind) -> Plan {
    let mut plan = results[0].plan.clone();
    let others = || results[1..].iter().map(|result| &result.plan);
    for other in others() {
        let new = |have: &[String], more: &[String]| {
            more.iter().filter(|one| !have.contains(one)).cloned().collect::<Vec<_>>()
        };
        plan.sources.extend(new(&plan.sources, &other.sources));
        plan.targets.extend(new(&plan.targets, &other.targets));
        other.addresses.iter().for_each(|address| add_address(&mut plan.addresses, address));
    }
    if kind == Kind::Shards {
        let sum = |of: fn(&Plan) -> Option<f64>| results.iter().map(|r| of(&r.plan)).sum();
        plan.connect_rate_per_second = sum(|plan| plan.connect_rate_per_second);
        plan.rate_per_second = sum(|plan| plan.rate_per_second);
        plan.in_flight = known(results.iter().map(|result| result.plan.in_flight));
        plan.connections = saturating(results.iter().map(|result| result.plan.connections));
        plan.reactors = saturating(results.iter().map(|result| result.plan.reactors));
    }
    plan
}

/// The machine, if it is one and the same as far as its facts tell.
fn host(results: &[&ResultFile], warnings: &mut Vec<Warning>) -> Value {
    let model = |result: &ResultFile| {
        ["cpu_model", "kernel_release", "cpus_allowed"].map(|key| result.host[key].clone())
    };
    if results.iter().all(|result| model(result) == model(results[0])) {
        return results[0].host.clone();
    }
    warn(
        warnings,
        "merged_hosts",
        "the parts are of different machines, so the merged result has no machine",
        "look at the parts for theirs",
    );
    Value::Null
}

fn warn(warnings: &mut Vec<Warning>, code: &str, text: &str, remedy: &str) {
    let [code, text, remedy] = [code, text, remedy].map(str::to_owned);
    warnings.push(Warning { code, text, remedy });
}

/// The warnings of all parts, the same one once.
fn warnings(results: &[&ResultFile]) -> Vec<Warning> {
    let mut all: Vec<Warning> = Vec::new();
    for warning in results.iter().flat_map(|result| &result.run.warnings) {
        if !all.contains(warning) {
            all.push(warning.clone());
        }
    }
    all
}

fn run(parts: &[Placed<'_>], kind: Kind, mut warnings: Vec<Warning>) -> Run {
    let (first, runs) = (&parts[0], || parts.iter().map(|part| &part.result.run));
    let skew = parts.iter().map(|part| part.after(first)).max().unwrap_or_default();
    if kind == Kind::Shards && skew > SKEW_TOLD {
        let text = format!("the parts began up to {} apart", format_duration(Nanos::from(skew)));
        let remedy = "start them closer together, and compare the clocks of their machines";
        warn(&mut warnings, "start_skew", &text, remedy);
    }
    let severity = |run: &&Run| match run.outcome {
        Outcome::Done => 0,
        Outcome::NotReached => 1,
        Outcome::Interrupted => 2,
        Outcome::Failed => 3,
    };
    let first_run = &first.result.run;
    let same_label = runs().all(|run| run.label == first_run.label);
    Run {
        id: format!("{}-merged-{}", first_run.id, parts.len()),
        label: first_run.label.clone().filter(|_| same_label),
        started: first_run.started.clone(),
        ended: runs().map(|run| &run.ended).max().cloned().unwrap_or_default(),
        command: first_run.command.clone(),
        outcome: runs().max_by_key(severity).map(|run| run.outcome).unwrap_or_default(),
        warnings,
        seed: first_run.seed,
        parts: parts.iter().flat_map(|part| named(part, first)).collect(),
        repeat: None,
    }
}

/// What a part is called: its own parts, if it was merged itself.
fn named(part: &Placed<'_>, first: &Placed<'_>) -> Vec<Part> {
    let run = &part.result.run;
    let skew = Nanos::from(part.after(first)).0;
    if run.parts.is_empty() {
        let (id, started, ended) = (run.id.clone(), run.started.clone(), run.ended.clone());
        return vec![Part { id, started, ended, skew_ns: skew }];
    }
    let later =
        |inner: &Part| Part { skew_ns: inner.skew_ns.saturating_add(skew), ..inner.clone() };
    run.parts.iter().map(later).collect()
}

fn judged(merged: &ResultFile) -> Verdict {
    let known = merged.plan.thresholds.iter().filter_map(|text| text.parse::<Threshold>().ok());
    let thresholds = verdict::evaluate(merged, &known.collect::<Vec<_>>());
    let ok = thresholds.iter().all(|one| one.ok);
    let exit_code = exit_code(merged.run.outcome, ok);
    Verdict { thresholds, exit_code }
}

/// Adds the attempts at an address to those of the others.
fn add_address(all: &mut Vec<Address>, more: &Address) {
    let same = |one: &&mut Address| one.target == more.target && one.address == more.address;
    let Some(one) = all.iter_mut().find(same) else { return all.push(more.clone()) };
    one.sources = one.sources.max(more.sources);
    one.connected = one.connected.saturating_add(more.connected);
    for (kind, count) in &more.failures {
        let sum = one.failures.entry(kind.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

fn connections(results: &[&ResultFile], kind: Kind, timeline: &[Second]) -> Connections {
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

fn messages(results: &[&ResultFile], kind: Kind) -> Messages {
    let all = || results.iter().map(|result| &result.messages);
    let sum = |of: fn(&Messages) -> u64| saturating(all().map(of));
    let seconds = kind.time(all().map(|one| one.seconds));
    let received = sum(|one| one.received);
    let rate_planned = match kind {
        Kind::Shards => all().map(|one| one.rate_planned).sum(),
        Kind::Repeats => results[0].messages.rate_planned,
    };
    let mut merged = Messages {
        planned: known(all().map(|one| one.planned)),
        sent: sum(|one| one.sent),
        received,
        unserved: sum(|one| one.unserved),
        resent: sum(|one| one.resent),
        lost: sum(|one| one.lost),
        mismatched: sum(|one| one.mismatched),
        unasked: sum(|one| one.unasked),
        unasked_bytes: sum(|one| one.unasked_bytes),
        unasked_first: results.iter().find_map(|one| one.messages.unasked_first.clone()),
        bytes_sent: sum(|one| one.bytes_sent),
        bytes_received: sum(|one| one.bytes_received),
        bytes_surplus: sum(|one| one.bytes_surplus),
        seconds,
        rate_planned,
        served: sum(|one| one.served),
        served_seconds: match all().all(|one| one.rate_served.is_some()) {
            true => kind.time(all().map(|one| one.served_seconds)),
            // Not known of all.
            false => 0.0,
        },
        backlog_step_seconds: all().map(|one| one.backlog_step_seconds).fold(0.0, f64::max),
        backlog_at_end: kind.backlog(all().map(|one| one.backlog_at_end)),
        in_flight_max: kind.backlog(all().map(|one| one.in_flight_max)),
        backlog: marks(results, kind, |one| &one.backlog),
        waiting: marks(results, kind, |one| &one.waiting),
        first_echo: first_echo(results, kind),
        ..Messages::default()
    };
    merged.fill_derived();
    merged
}

/// The marks of shards added, as far as all of them have some: they began together, or nearly so. Repeats
/// have no marks in common.
fn marks(results: &[&ResultFile], kind: Kind, of: fn(&Messages) -> &Vec<u64>) -> Vec<u64> {
    let each = || results.iter().map(|result| of(&result.messages));
    match (kind, results) {
        (_, [one]) => of(&one.messages).clone(),
        (Kind::Repeats, _) => Vec::new(),
        (Kind::Shards, _) => {
            let count = each().map(Vec::len).min().unwrap_or(0);
            (0..count).map(|mark| saturating(each().map(|marks| marks[mark]))).collect()
        }
    }
}

/// The server fell behind in all of it if it did in a part: that part's times are in it. Its longest stall
/// is that of the part that had it, counted from that part's traffic.
fn server(results: &[&ResultFile]) -> Option<Server> {
    let judged: Vec<_> = results.iter().filter_map(|result| result.server.as_ref()).collect();
    if judged.is_empty() {
        return None;
    }
    let stalls = judged.iter().filter_map(|server| server.stalled);
    Some(Server {
        behind: judged.iter().any(|server| server.behind),
        stalled: stalls.max_by_key(|stall| stall.longest_silence_ns),
    })
}

/// Over repeats all windows are taken together, and of their dispersions the means. Windows of shards would
/// have to be added one by one, and they do not begin at the same time.
fn pacing(results: &[&ResultFile], kind: Kind, warnings: &mut Vec<Warning>) -> Option<Pacing> {
    let all: Option<Vec<&Pacing>> = results.iter().map(|result| result.pacing.as_ref()).collect();
    let all = all?;
    if kind == Kind::Shards {
        warn(
            warnings,
            "merged_pacing",
            "how evenly messages were sent is left out: it cannot be told from the figures of shards",
            "look at the parts for theirs",
        );
        return None;
    }
    let first = all[0];
    if all.iter().any(|one| one.window_ns != first.window_ns) {
        return None;
    }
    let windows = saturating(all.iter().map(|one| one.windows));
    let weighted = |of: &dyn Fn(&Pacing) -> Option<f64>| -> Option<f64> {
        let sum: Option<f64> = all.iter().map(|one| Some(of(one)? * one.windows as f64)).sum();
        sum.map(|sum| ratio(sum, windows as f64))
    };
    let mean = weighted(&|one| Some(one.sent_per_window_mean)).unwrap_or(0.0);
    // The variance of all windows: the mean of the squares less the square of the mean.
    let pooled = |of: fn(&Pacing) -> Option<f64>| {
        let squares = weighted(&|one| {
            let each = one.sent_per_window_mean;
            Some(of(one)? * each + each * each)
        })?;
        Some(ratio((squares - mean * mean).max(0.0), mean))
    };
    let messages = || results.iter().map(|result| &result.messages);
    let (sent, seconds) = (
        saturating(messages().map(|one| one.sent)),
        messages().map(|one| one.seconds).sum::<f64>(),
    );
    let asked = results[0].plan.rate_per_second.unwrap_or(0.0);
    Some(Pacing {
        arrivals: first.arrivals,
        window_ns: first.window_ns,
        windows,
        sent_per_window_mean: mean,
        sent_per_window_max: all.iter().map(|one| one.sent_per_window_max).max().unwrap_or(0),
        dispersion: pooled(|one| one.dispersion),
        // The plan has the same mean in all of them.
        dispersion_ideal: weighted(&|one| one.dispersion_ideal),
        rate_error: ratio(ratio(sent as f64, seconds), asked) - 1.0,
    })
}

fn first_echo(results: &[&ResultFile], kind: Kind) -> Option<FirstEcho> {
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

fn failures(results: &[&ResultFile]) -> Failures {
    let mut sum = Failures::default();
    for kind in Failure::ALL {
        *sum.get_mut(kind) = saturating(results.iter().map(|result| result.failures.get(kind)));
    }
    sum
}

/// Close codes, added; of each the first reason that is known.
fn close_codes(results: &[&ResultFile]) -> BTreeMap<String, CloseCode> {
    let mut all: BTreeMap<String, CloseCode> = BTreeMap::new();
    for (code, one) in results.iter().flat_map(|result| &result.close_codes) {
        let sum = all.entry(code.clone()).or_default();
        sum.count = sum.count.saturating_add(one.count);
        if sum.reason.is_empty() {
            sum.reason.clone_from(&one.reason);
        }
    }
    all
}

/// Counts by name, added.
fn sums(
    results: &[&ResultFile],
    of: fn(&ResultFile) -> &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in results.iter().flat_map(|result| of(result)) {
        let sum: &mut u64 = sum.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
    sum
}

/// The histograms of each stage added, and the numbers beside them taken anew.
fn stages(results: &[&ResultFile]) -> Result<Stages, MergeError> {
    let mut merged = Stages::default();
    for stage in Stage::ALL {
        let parts = results.iter().filter_map(|result| Some((result, result.stages.get(stage)?)));
        merged.set(stage, entry_of_all(stage.name(), parts)?);
    }
    Ok(merged)
}

/// The histograms of some entries added, and the numbers beside them taken anew.
fn entry_of_all<'a>(
    stage: &'static str,
    parts: impl Iterator<Item = (&'a &'a ResultFile, &'a StageEntry)>,
) -> Result<Option<StageEntry>, MergeError> {
    let mut sum: Option<hist::Sum> = None;
    for (result, entry) in parts {
        sum.get_or_insert_default().add(entry).map_err(|error| MergeError::Histogram {
            run: result.run.id.clone(),
            stage,
            error,
        })?;
    }
    Ok(sum.and_then(hist::Sum::entry))
}

/// The audits added. The plans agree, so either all have one or none.
fn audit(results: &[&ResultFile]) -> Result<Option<Audit>, MergeError> {
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

/// The seconds of all parts, each at its place by the clock on the wall, to the nearest second.
/// Between repeats there are none, but where one ended and the next began within the same.
fn timeline(parts: &[Placed<'_>], kind: Kind) -> Vec<Second> {
    let mut seconds: BTreeMap<u64, Vec<&Second>> = BTreeMap::new();
    for part in parts {
        let offset = part.after(&parts[0]).as_secs_f64().round() as u64;
        for second in &part.result.timeline {
            seconds.entry(offset.saturating_add(second.second)).or_default().push(second);
        }
    }
    seconds.into_iter().map(|(number, parts)| same_second(number, &parts, kind)).collect()
}

fn same_second(number: u64, parts: &[&Second], kind: Kind) -> Second {
    if let [one] = parts {
        return Second { second: number, ..(*one).clone() };
    }
    let sum = |of: fn(&Second) -> u64| saturating(parts.iter().map(|second| of(second)));
    let mut merged = Second {
        second: number,
        opened: sum(|one| one.opened),
        open: match kind {
            Kind::Shards => sum(|one| one.open),
            // Those of the run before are closed; the later one comes last.
            Kind::Repeats => parts.last().map_or(0, |last| last.open),
        },
        failed: sum(|one| one.failed),
        sent: sum(|one| one.sent),
        received: sum(|one| one.received),
        response_max_ns: parts.iter().filter_map(|one| one.response_max_ns).max(),
        service_max_ns: parts.iter().filter_map(|one| one.service_max_ns).max(),
        ..Second::default()
    };
    let answered: Vec<_> = parts.iter().filter(|one| one.response_max_ns.is_some()).collect();
    if let [one] = answered.as_slice() {
        let (p50, p99, hdr) = (one.response_p50_ns, one.response_p99_ns, one.response_hdr.clone());
        (merged.response_p50_ns, merged.response_p99_ns, merged.response_hdr) = (p50, p99, hdr);
        (merged.service_p50_ns, merged.service_p99_ns) = (one.service_p50_ns, one.service_p99_ns);
    } else if let (Some(sum), Some(max)) = (added(&answered), merged.response_max_ns) {
        merged.response_p50_ns = Some(sum.value_at_quantile(0.5).min(max));
        merged.response_p99_ns = Some(sum.value_at_quantile(0.99).min(max));
        merged.response_hdr = Some(hist::encode(&sum));
    }
    merged
}

/// The histograms of some seconds added; `None` if one is missing, as in older files: percentiles
/// alone cannot be added.
fn added(seconds: &[&&Second]) -> Option<Histogram<u64>> {
    let mut histograms = seconds.iter().map(|one| hist::decode(one.response_hdr.as_ref()?).ok());
    let mut sum = histograms.next()??;
    for histogram in histograms {
        hist::add(&mut sum, &histogram?).ok()?;
    }
    Some(sum)
}

fn resources(results: &[&ResultFile], kind: Kind, warnings: &mut Vec<Warning>) -> Resources {
    let peaks = saturating(results.iter().map(|result| result.connections.open_peak));
    let received = saturating(results.iter().map(|result| result.messages.received));
    let clients: Vec<_> = results.iter().map(|result| &result.resources.client).collect();
    let servers: Option<Vec<_>> =
        results.iter().map(|result| result.resources.server.as_ref()).collect();
    let server = servers.map(|servers| match kind {
        Kind::Repeats => process(&servers, kind, peaks, received),
        // One server saw all shards, and each of them asked it: its figures count once.
        Kind::Shards => process(&servers[servers.len() - 1..], kind, peaks, received),
    });
    let kernel = match kind {
        Kind::Repeats => kernel(results, peaks),
        Kind::Shards => {
            warn(
                warnings,
                "merged_kernel",
                "kernel memory is left out: the parts may have shared a machine and counted it twice",
                "look at the parts for theirs",
            );
            Kernel::default()
        }
    };
    let predicted = footprint(results, kind, |resources| resources.predicted);
    let taken = footprint(results, kind, |resources| resources.taken);
    let client = process(&clients, kind, peaks, received);
    // Shards may have shared a machine, and then counted one another; of repeats it is the mean.
    let mean = |of: fn(&Resources) -> Option<f64>| {
        let sum: Option<f64> = results.iter().map(|result| of(&result.resources)).sum();
        sum.map(|sum| sum / results.len() as f64).filter(|_| kind == Kind::Repeats)
    };
    Resources {
        client,
        server,
        kernel,
        predicted,
        taken,
        others_cpu_seconds: mean(|resources| resources.others_cpu_seconds),
        others_cpu_ratio: mean(|resources| resources.others_cpu_ratio),
    }
}

/// Memory: of shards the sum, of repeats the mean. CPU time: the sum. What a connection or a message
/// took: the sum over all parts, by all connections or messages; but the memory of repeats is that of the
/// one that needed most, as a process that keeps it from one run to the next grows by less in later ones.
fn process(all: &[&Process], kind: Kind, connections: u64, messages: u64) -> Process {
    let bytes = |of: fn(&Process) -> Option<u64>| {
        let sum = known(all.iter().map(|one| of(one)))?;
        Some(if kind == Kind::Shards { sum } else { sum / all.len() as u64 })
    };
    let seconds =
        |of: fn(&Process) -> Option<f64>| all.iter().map(|one| of(one)).sum::<Option<f64>>();
    let (before, after) = (bytes(|one| one.rss_bytes_before), bytes(|one| one.rss_bytes));
    let nanoseconds = |seconds: Option<f64>, count: u64| {
        (count > 0).then(|| Some((seconds? * 1e9 / count as f64).round() as u64)).flatten()
    };
    let (opening, traffic) =
        (seconds(|one| one.cpu_seconds_opening), seconds(|one| one.cpu_seconds_traffic));
    Process {
        rss_bytes_before: before,
        rss_bytes: after,
        bytes_per_connection: match kind {
            Kind::Shards => growth_each(before, after, connections),
            Kind::Repeats => all.iter().filter_map(|one| one.bytes_per_connection).reduce(f64::max),
        },
        rss_bytes_after_traffic: bytes(|one| one.rss_bytes_after_traffic),
        cpu_seconds: seconds(|one| one.cpu_seconds),
        cpu_seconds_opening: opening,
        cpu_seconds_traffic: traffic,
        cpu_ns_per_connection: nanoseconds(opening, connections),
        cpu_ns_per_message: nanoseconds(traffic, messages),
    }
}

/// The largest of repeats, which took it one after another; nothing for shards, which may have shared a
/// machine and counted it twice.
fn footprint(
    results: &[&ResultFile],
    kind: Kind,
    of: fn(&Resources) -> Option<Footprint>,
) -> Option<Footprint> {
    if kind != Kind::Repeats {
        return None;
    }
    let all: Option<Vec<_>> = results.iter().map(|result| of(&result.resources)).collect();
    all?.into_iter().reduce(|one, other| Footprint {
        memory_bytes: one.memory_bytes.max(other.memory_bytes),
        open_files: one.open_files.max(other.open_files),
    })
}

/// The kernel's memory over repeats: readings as means, and per connection over all connections.
fn kernel(results: &[&ResultFile], connections: u64) -> Kernel {
    let all: Vec<_> = results.iter().map(|result| &result.resources.kernel).collect();
    let mean = |of: fn(&Kernel) -> Option<u64>| {
        known(all.iter().map(|one| of(one))).map(|sum| sum / all.len() as u64)
    };
    let each = |of: fn(&Kernel) -> Option<f64>| {
        let peak = |result: &ResultFile| result.connections.open_peak as f64;
        let sum: Option<f64> =
            results.iter().map(|r| of(&r.resources.kernel).map(|bytes| bytes * peak(r))).sum();
        sum.map(|sum| ratio(sum, connections as f64))
    };
    Kernel {
        both_ends: all.iter().any(|one| one.both_ends),
        bytes_per_connection: each(|one| one.bytes_per_connection),
        memfree_bytes_per_connection: each(|one| one.memfree_bytes_per_connection),
        slab_bytes_per_connection: each(|one| one.slab_bytes_per_connection),
        memfree_bytes_before: mean(|one| one.memfree_bytes_before),
        memfree_bytes: mean(|one| one.memfree_bytes),
        slab_bytes_before: mean(|one| one.slab_bytes_before),
        slab_bytes: mean(|one| one.slab_bytes),
    }
}

/// Of shards all reactors, numbered on; of repeats each reactor over all of them.
fn reactors(results: &[&ResultFile], kind: Kind) -> Vec<Reactor> {
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

/// The generator was the bottleneck of the whole if it was that of a part: that part's times are in it.
/// `None` if no part was judged; figures that a part lacks are left out.
fn generators(results: &[&ResultFile]) -> Result<Option<Generator>, MergeError> {
    if results.iter().all(|result| result.generator.is_none()) {
        return Ok(None);
    }
    let mut reasons: Vec<Warning> = Vec::new();
    for reason in results.iter().flat_map(|result| generator::reasons(result)) {
        // Repeats differ in their numbers only: one is enough.
        if !reasons.iter().any(|known| known.code == reason.code) {
            reasons.push(reason);
        }
    }
    let limited = !reasons.is_empty();
    let noisy_host = results.iter().any(|result| generator::is_noisy(result));
    let judged: Option<Vec<_>> = results.iter().map(|result| result.generator.as_ref()).collect();
    let Some(judged) = judged else {
        return Ok(Some(Generator { limited, reasons, noisy_host, ..Generator::default() }));
    };
    let added = |name: &'static str, of: fn(&Generator) -> Option<&StageEntry>| {
        let mut sum = hist::Sum::default();
        for (result, one) in results.iter().zip(&judged) {
            let Some(entry) = of(one) else { continue };
            sum.add(entry).map_err(|error| MergeError::Histogram {
                run: result.run.id.clone(),
                stage: name,
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

/// The client's balance is that of all reactors; the server's, like its snapshot, that of the last part.
fn balance(merged: &ResultFile, results: &[&ResultFile]) -> Balance {
    Balance {
        client: generator::client_balance(merged),
        server: results.last().and_then(|last| last.balance.server.clone()),
    }
}
