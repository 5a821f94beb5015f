//! Several results as one: shards that ran at the same time, or repeats that ran one after another.
//!
//! Histograms are added cell by cell, so the percentiles of the merged result are those of all
//! samples together. What cannot be added without knowing more is left out, and a warning says so.

pub use crate::section::parts::{MergeError, PARTS_MAX};

use crate::section::parts::{Kind, Placed, sums};
use crate::section::{
    Plan, ResultFile, SCHEMA, audit, balance, close_codes, connections, failures, generator, host,
    machines, messages, pacing, phases, plan, reactors, resources, run, server, spread, stages,
    timeline, tls, verdict,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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

/// Merges what is known to be repeats, whatever the clock on the wall said meanwhile. One is
/// enough: the first of several that was also the last.
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
    let timeline = timeline::merge(parts, kind);
    let mut warnings = run::warnings(&results);
    // Every field is named, here and in what the sections make, so that none is lost in silence.
    let mut merged = ResultFile {
        schema: SCHEMA.to_owned(),
        tool: results[0].tool.clone(),
        plan: plan::merge(&results, kind),
        host: host::merge(&results, &mut warnings),
        machines: machines::merge(&results, kind),
        peer: results.last().and_then(|last| last.peer.clone()),
        connections: connections::merge(&results, kind, &timeline),
        stages: stages::merge(&results)?,
        messages: messages::merge(&results, kind),
        pacing: pacing::merge(&results, kind, &mut warnings),
        failures: failures::merge(&results),
        timeline,
        phases: phases::merge(parts, kind)?,
        resources: resources::merge(&results, kind, &mut warnings),
        reactors: reactors::merge(&results, kind),
        audit: audit::merge(&results)?,
        generator: generator::merge(&results)?,
        server: server::merge(&results),
        http_statuses: sums(&results, |result| &result.http_statuses),
        violations: sums(&results, |result| &result.violations),
        close_codes: close_codes::merge(&results),
        tls: tls::merge(&results),
        limits_reached: sums(&results, |result| &result.limits_reached),
        spread: spread::merge(&results, kind),
        run: run::merge(parts, kind, warnings),
        // These follow from the others.
        balance: balance::Balance::default(),
        verdict: verdict::Verdict::default(),
    };
    merged.balance = balance::merge(&merged, &results);
    for reason in merged.generator.iter().flat_map(|generator| &generator.reasons) {
        if !merged.run.warnings.contains(reason) {
            merged.run.warnings.push(reason.clone());
        }
    }
    merged.verdict = verdict::judge(&merged);
    Ok(merged)
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
const ADDED: [&str; 10] = [
    "connections",
    "messages",
    "failures",
    "http_statuses",
    "violations",
    "close_codes",
    "tls",
    "limits_reached",
    "timeline",
    "reactors",
];

/// Whether every whole number can be added up, whatever is added up of it: each over all results,
/// and all that stand under one name, as those of the seconds and reactors do.
fn check_sums(results: &[&ResultFile]) -> Result<(), MergeError> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for result in results {
        let whole = serde_json::to_value(result).unwrap_or_default();
        for section in ADDED {
            add_up(section, &whole[section], &mut sums)?;
        }
        for phase in whole["phases"].as_array().into_iter().flatten() {
            add_up("phases.totals", &phase["totals"], &mut sums)?;
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
