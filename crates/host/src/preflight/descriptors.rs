//! Descriptors: of one table, of the whole machine, and in event queues; and how many reactors it
//! takes where a table holds few.

use super::finding::Unit;
use super::{Demand, Finding, REACTORS_MAX, Severity};
use crate::facts::Facts;
use measure::units::format_grouped;

/// Descriptors of a table that connections do not get: standard streams, poll set, timer, waker,
/// listeners, result file, and room for what a library opens.
const RESERVED_DESCRIPTORS: u64 = 100;

/// And for each reactor, its event queue and its waker: they are made in the common table, which
/// the reactors that start later take a copy of.
const DESCRIPTORS_PER_REACTOR: u64 = 2;

/// Connections that a table of this many descriptors has room for, beside so many reactors.
#[must_use]
pub const fn descriptors_per_table(limit: u64, reactors: u64) -> u64 {
    let reactors = reactors.saturating_mul(DESCRIPTORS_PER_REACTOR);
    limit.saturating_sub(RESERVED_DESCRIPTORS).saturating_sub(reactors)
}

/// How many connections the fullest of `tables` must be expected to hold.
///
/// A client splits exactly. A server's share is a matter of chance (`SO_REUSEPORT` spreads by hash,
/// `hashed`): nearly Poisson, so six standard deviations above the mean are passed by one table in
/// a thousand million.
#[must_use]
pub fn fullest_table(connections: u64, tables: u64, hashed: bool) -> u64 {
    let tables = tables.max(1);
    let mean = connections.div_ceil(tables);
    let excess = if hashed && tables > 1 { (6.0 * (mean as f64).sqrt()).ceil() as u64 } else { 0 };
    mean.saturating_add(excess).min(connections)
}

/// The least number of reactors, a table each, whose fullest one has room for its connections under
/// this limit; `None` if no number has, up to [`REACTORS_MAX`].
#[must_use]
pub fn reactors_needed(connections: u64, limit: u64, hashed: bool) -> Option<u64> {
    // Each reactor more takes room from all tables, so this is no case for a bisection.
    (1..=REACTORS_MAX).find(|reactors| {
        fullest_table(connections, *reactors, hashed) <= descriptors_per_table(limit, *reactors)
    })
}

pub(super) fn per_table(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let limit = facts.descriptors_hard;
    let others = demand.other_descriptors;
    let usable = limit.saturating_sub(others);
    let (room, need) = (descriptors_per_table(usable, demand.reactors), demand.fullest_table());
    let reactors = reactors_needed(demand.connections, usable, demand.role.accepts());
    let finding = Finding::compare("descriptors", Unit::Things, room, need, Severity::Refusal);
    let why = format!(
        "each connection takes a descriptor, and RLIMIT_NOFILE (hard {}) bounds each table; \
         the fullest of {} would hold {}{}",
        Unit::Things.format(limit),
        format_grouped(demand.tables()),
        format_grouped(need),
        match others {
            0 => String::new(),
            others => format!(", beside {} for files", format_grouped(others)),
        },
    );
    let raise = need.saturating_add(limit.saturating_sub(room).max(RESERVED_DESCRIPTORS));
    let command = format!("sudo prlimit --pid $$ --nofile={raise}:{raise}");
    let remedy = match reactors {
        Some(reactors) => {
            format!("--reactors {reactors} (a table of its own for each), or {command}")
        }
        None => command.clone(),
    };
    Some(finding.why(why).remedy(remedy).command(command))
}

pub(super) fn nr_open(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let need = demand.fullest_table().saturating_add(RESERVED_DESCRIPTORS);
    let have = facts.fs_nr_open?;
    let finding = Finding::compare("fs.nr_open", Unit::Things, have, need, Severity::Refusal);
    let why = "no descriptor number of any process may be higher, whatever RLIMIT_NOFILE says";
    Some(finding.why(why).set("fs.nr_open", need.next_multiple_of(1_024)))
}

/// Descriptors of a reactor beside its connections: event queue, waker, timer, listeners.
const REACTOR_DESCRIPTORS: u64 = 8;

/// Open files that the run takes of this machine, for all ends that are here.
#[must_use]
pub fn files_needed(demand: &Demand) -> u64 {
    let reactors = demand.reactors.saturating_mul(REACTOR_DESCRIPTORS);
    demand.connections.saturating_add(reactors).saturating_mul(demand.ends_here())
}

pub(super) fn file_max(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let (max, used) = (facts.fs_file_max?, facts.fs_files_used.unwrap_or(0));
    let need = files_needed(demand).saturating_add(1_000);
    let have = max.saturating_sub(used);
    let finding = Finding::compare("fs.file-max", Unit::Things, have, need, Severity::Refusal);
    let why = format!(
        "the whole machine may have {} files open and has {}; {} here",
        Unit::Things.format(max),
        format_grouped(used),
        if demand.ends_here() == 2 {
            "both ends of each connection are"
        } else {
            "one end of each connection is"
        },
    );
    Some(finding.why(why).set("fs.file-max", need.saturating_add(used).saturating_mul(11) / 10))
}

pub(super) fn epoll_watches(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let need = files_needed(demand);
    let have = facts.epoll_watches_max?;
    let finding = Finding::compare("epoll watches", Unit::Things, have, need, Severity::Refusal);
    let why = "each connection is registered in an event queue, and a user may register so many";
    Some(finding.why(why).set("fs.epoll.max_user_watches", need.saturating_add(need / 10)))
}
