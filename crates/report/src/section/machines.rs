//! The machines of shards: what each part says of its own, where the whole can say less.

use super::parts::Kind;
use super::{Pacing, Resources, ResultFile, noise};
use crate::words::{grouped, tight};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Machines that have a line each.
const SHOWN: usize = 8;

/// One of the shards that a result was merged from, and its machine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Machine {
    /// The `id` of its run, as in `run.parts`.
    pub id: String,
    /// How many connections it held at the most.
    pub connections: u64,
    /// The facts of its machine, as `host`.
    pub host: Value,
    /// What it took of it, as `resources`.
    pub resources: Resources,
    /// How its sending kept to the schedule, as `pacing`.
    pub pacing: Option<Pacing>,
    /// Whether its generator was the bottleneck; null where that was not judged.
    pub limited: Option<bool>,
    /// Whether its machine was noisy; null likewise.
    pub noisy_host: Option<bool>,
}

/// Each shard with its machine; those of a part that was merged itself stay apart. Repeats have
/// only what shards of theirs had.
pub(crate) fn merge(results: &[&ResultFile], kind: Kind) -> Vec<Machine> {
    let of = |result: &&ResultFile| match kind {
        Kind::Shards if result.machines.is_empty() => vec![machine(result)],
        _ => result.machines.clone(),
    };
    results.iter().flat_map(of).collect()
}

fn machine(result: &ResultFile) -> Machine {
    Machine {
        id: result.run.id.clone(),
        connections: result.connections.open_peak,
        host: result.host.clone(),
        resources: result.resources.clone(),
        pacing: result.pacing.clone(),
        limited: result.generator.as_ref().map(|generator| generator.limited),
        noisy_host: result.generator.as_ref().map(|_| noise::is_noisy(result)),
    }
}

/// What two programs on one machine cannot differ in, whatever CPUs and limits each was given.
const OF_MACHINE: [&str; 3] = ["/cpu_model", "/kernel_release", "/memory/total_bytes"];

/// Whether all shards are known to have had machines of their own: the facts of any two differ.
/// Machines of the same make look like one and the same.
pub(super) fn are_distinct(results: &[&ResultFile]) -> bool {
    let hosts = results.iter().flat_map(|result| match result.machines.as_slice() {
        [] => vec![&result.host],
        machines => machines.iter().map(|machine| &machine.host).collect(),
    });
    let mut seen = BTreeSet::new();
    hosts.into_iter().all(|host| {
        let facts = OF_MACHINE.map(|fact| host.pointer(fact).unwrap_or(&Value::Null));
        !facts.contains(&&Value::Null) && seen.insert(facts.map(Value::to_string))
    })
}

/// A line for each: what it held, and what a connection took of it.
pub(crate) fn words(result: &ResultFile) -> String {
    let line = |machine: &Machine| {
        let mut parts =
            vec![tight(&format!("{} connections", format_grouped(machine.connections)))];
        let each = [
            ("client", machine.resources.client.bytes_per_connection),
            ("kernel", machine.resources.kernel.bytes_per_connection),
        ];
        let each = each.into_iter().filter_map(|(name, bytes)| Some((name, bytes?)));
        parts.extend(each.map(|(name, bytes)| tight(&format!("{name} {} B each", grouped(bytes)))));
        let doubts = [("limited", machine.limited), ("noisy", machine.noisy_host)];
        let doubts = doubts.into_iter().filter(|(_, holds)| *holds == Some(true));
        parts.extend(doubts.map(|(name, _)| name.to_owned()));
        // A name that is text from elsewhere stays in its line.
        format!("{}: {}", machine.id, parts.join(", ")).replace('\n', " ")
    };
    let mut lines: Vec<_> = result.machines.iter().take(SHOWN).map(line).collect();
    if let more @ 1.. = result.machines.len().saturating_sub(SHOWN) {
        lines.push(format!("and {more} more in the result file"));
    }
    lines.join("\n")
}
