//! Whether two sides may be compared at all: the same plan on the same machine, by a client that
//! was not itself at its end. Each difference is named, and so is what to run again.

use super::side::{RunFile, Side};
use crate::section::{Outcome, Plan, ResultFile, generator};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Parts of a plan that may differ: they change nothing of what is measured, or are looked at
/// apart.
const PLAN_FREE: [&str; 5] = ["seed", "thresholds", "targets", "addresses", "sources"];

/// Facts of a machine that are readings of a moment, and not settings.
const HOST_FREE: [&str; 11] = [
    "conntrack_used",
    "fs_files_used",
    "memory.available_bytes",
    "memory.free_bytes",
    "memory.slab_bytes",
    "memory.swap_free_bytes",
    "sockets.tcp_in_use",
    "sockets.tcp_mem_pages",
    "sockets.tcp_orphan",
    "sockets.tcp_time_wait",
    "threads_used",
];

/// The longest value that is shown whole, in characters.
const SHOWN: usize = 60;

/// Everything that makes the sides hard to compare, a sentence each; empty: nothing does.
#[must_use]
pub fn obstacles(base: &Side, new: &Side) -> Vec<String> {
    let mut found = Vec::new();
    differing("plan", base, new, |result| plan(&result.plan), &mut found);
    differing("host", base, new, |result| host(&result.host), &mut found);
    for (name, side) in [("base", base), ("new", new)] {
        for run in &side.runs {
            doubts(name, run, &mut found);
        }
    }
    if let Some(advice) = run_again(base.runs.iter().chain(&new.runs).filter(|run| is_spoilt(run)))
    {
        found.push(advice);
    }
    found
}

/// Whether a run says nothing of its server: its generator was at its end, and else it went as
/// planned. One that did not go as planned may be its server's fault, and is not passed over.
fn is_spoilt(run: &RunFile) -> bool {
    run.result.run.outcome == Outcome::Done && !generator::reasons(&run.result).is_empty()
}

/// Which files to run again, as a sentence; nothing where there are none.
pub(super) fn run_again<'a>(runs: impl Iterator<Item = &'a RunFile>) -> Option<String> {
    let files: Vec<_> = runs.map(|run| format!("'{}'", run.path.display())).collect();
    (!files.is_empty()).then(|| format!("run again: {}", files.join(", ")))
}

/// A side without the runs whose generator was at its end, and what is to be said of them; nothing
/// where there are none, or fewer than half of the runs would be left: then the plan itself is too
/// much for this client.
#[must_use]
pub fn without_spoilt(name: &str, side: &Side) -> Option<(Side, String)> {
    let (spoilt, good): (Vec<_>, Vec<_>) = side.runs.iter().cloned().partition(is_spoilt);
    let enough = 2 * good.len() >= side.runs.len();
    let again = run_again(spoilt.iter()).filter(|_| enough && !good.is_empty())?;
    let note = format!(
        "{} of the {} runs of {name} left out, since the generator was at its end there; {again}",
        spoilt.len(),
        side.runs.len(),
    );
    Some((Side { runs: good, left_out: side.left_out.clone() }, note))
}

/// Names every fact that has more than one value among all runs.
fn differing(
    what: &str,
    base: &Side,
    new: &Side,
    facts: impl Fn(&ResultFile) -> BTreeMap<String, String>,
    found: &mut Vec<String>,
) {
    let of = |side: &Side| side.runs.iter().map(|run| facts(&run.result)).collect::<Vec<_>>();
    let (base, new) = (of(base), of(new));
    let names: BTreeSet<&String> = base.iter().chain(&new).flat_map(BTreeMap::keys).collect();
    for name in names {
        let values = |runs: &[BTreeMap<String, String>]| {
            let value = |run: &BTreeMap<_, String>| run.get(name).map_or("not given", |v| v).into();
            runs.iter().map(value).collect::<BTreeSet<String>>()
        };
        let (base, new) = (values(&base), values(&new));
        if base != new || base.len() > 1 {
            let shown = |values: BTreeSet<String>| {
                values.iter().map(|value| shorten(value)).collect::<Vec<_>>().join(" and ")
            };
            found.push(format!(
                "{what}.{name} differs: {} in base, {} in new",
                shown(base),
                shown(new)
            ));
        }
    }
}

fn shorten(value: &str) -> String {
    if value.chars().count() <= SHOWN {
        return value.to_owned();
    }
    value.chars().take(SHOWN - 3).chain("...".chars()).collect()
}

/// A plan as facts: of the targets the protocol, of the sources how many there are. Hosts and ports
/// are where the service happened to listen; that it ran on the same machine is seen elsewhere.
fn plan(plan: &Plan) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    flatten("", &serde_json::to_value(plan).unwrap_or_default(), &mut facts);
    facts.retain(|name, _| {
        !PLAN_FREE.iter().any(|free| name == free || name.starts_with(&format!("{free}.")))
    });
    let scheme = |url: &String| url.split("://").next().unwrap_or_default().to_owned();
    let schemes: Vec<_> = plan.targets.iter().map(scheme).collect();
    facts.insert("targets (protocols)".to_owned(), schemes.join(" "));
    facts.insert("sources (how many)".to_owned(), plan.sources.len().to_string());
    facts
}

fn host(host: &Value) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    flatten("", host, &mut facts);
    facts.retain(|name, _| !HOST_FREE.contains(&name.as_str()));
    // The kernel's own share of the memory differs a little from boot to boot.
    if let Some(total) = facts.get_mut("memory.total_bytes")
        && let Ok(bytes) = total.parse::<f64>()
    {
        *total = format!("{:.0} MiB", (bytes / 1_048_576.0 / 256.0).round() * 256.0);
    }
    facts
}

/// Every value below `value` under its dotted name; lists stay whole.
fn flatten(name: &str, value: &Value, facts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, member, facts);
            }
        }
        Value::Null if name.is_empty() => {}
        Value::String(text) => drop(facts.insert(name.to_owned(), text.clone())),
        other => drop(facts.insert(name.to_owned(), other.to_string())),
    }
}

/// What one run says against itself.
fn doubts(side: &str, RunFile { path, result }: &RunFile, found: &mut Vec<String>) {
    let path = path.display();
    if result.run.outcome != Outcome::Done {
        let outcome = result.run.outcome.name().replace('_', " ");
        found.push(format!("{side} '{path}' ended as '{outcome}', not as planned"));
    }
    for reason in generator::reasons(result) {
        found.push(format!(
            "the generator of {side} '{path}' was at its end: {} ({})",
            reason.text, reason.code
        ));
    }
}
