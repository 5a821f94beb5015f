//! What this machine lacks for a run, found before the run starts: a pure function of what is asked
//! for and of what there is. One limit is one small function in the table `CHECKS`; the functions
//! are sorted by topic, a file each.

mod card;
mod conntrack;
mod cpu;
mod descriptors;
mod finding;
mod formats;
mod memory;
mod ports;
mod queues;
mod threads;
mod tls;

pub use descriptors::{descriptors_per_table, files_needed, fullest_table, reactors_needed};
pub use finding::{Finding, Severity};
pub use formats::{settings, shell, table};
pub use memory::{bytes_needed, spare_bytes, streams};
pub use tls::Handshakes;

use crate::facts::Facts;
use measure::units::format_grouped;
use serde::{Deserialize, Serialize};

/// Kernel memory of one end of a connection, bytes: TCP socket 2,368, inode 832, file and directory
/// entry 440, epoll about 250, its share of hash tables and slab pages. Measured with a million
/// held connections on Linux 6.18: 4.2 KB by MemFree and by Slab alike.
pub const KERNEL_BYTES_PER_END: u64 = 4_200;

/// Reactors that a process can have: each is a thread, a table and an event queue.
pub const REACTORS_MAX: u64 = 1024;

/// Which end the check speaks for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The end that connects.
    Client,
    /// The end that accepts.
    Server,
    /// Both, a process each, on this machine: all limits of either end are checked, and those of
    /// the machine have to cover both.
    Both,
}

impl Role {
    fn connects(self) -> bool {
        self != Self::Server
    }

    fn accepts(self) -> bool {
        self != Self::Client
    }
}

/// What a run asks of a machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Demand {
    /// Which end is checked.
    pub role: Role,
    /// The other end runs on this machine too, so that memory and open files count twice. `Both`
    /// implies it.
    pub peer_here: bool,
    /// Connections held at once.
    pub connections: u64,
    /// Reactor threads of each end.
    pub reactors: u64,
    /// Each reactor has a descriptor table of its own.
    pub own_tables: bool,
    /// Descriptors of each table that connections do not get, besides what a reactor needs for
    /// itself: those of files that are served.
    #[serde(default)]
    pub other_descriptors: u64,
    /// Source addresses of the client.
    pub sources: u64,
    /// Addresses (ip and port) that the client connects to.
    pub targets: u64,
    /// First and last port that the client may use on each source address.
    pub ports: (u16, u16),
    /// Pairs of a source address with a port and a target that the client may use.
    pub four_tuples: u64,
    /// Backlog that the server listens with.
    pub backlog: u32,
    /// Memory of the program for one connection at one end, bytes.
    pub user_bytes_per_connection: u64,
    /// Messages that may be on their way at once, over all connections.
    pub messages_in_flight: u64,
    /// Payload of one message, bytes.
    pub message_bytes: u64,
    /// How long a connection may stay silent, seconds.
    pub silent_seconds: u64,
    /// What TLS asks for; `None` without it.
    #[serde(default)]
    pub handshakes: Option<Handshakes>,
    /// The interfaces that the connections go through, where these are known.
    pub interfaces: Vec<String>,
}

impl Demand {
    /// How many ends of each connection this machine holds.
    fn ends_here(&self) -> u64 {
        if self.peer_here || self.role == Role::Both { 2 } else { 1 }
    }

    fn tables(&self) -> u64 {
        if self.own_tables { self.reactors.max(1) } else { 1 }
    }

    /// Connections in the fullest table of the end that is checked.
    fn fullest_table(&self) -> u64 {
        fullest_table(self.connections, self.tables(), self.role.accepts())
    }
}

/// A check of one limit; `None` where it does not concern this run or the machine does not show it.
type Check = fn(&Demand, &Facts) -> Option<Finding>;

/// All checks, in the order of the table that people read. To add a limit, write one such function
/// and name it here. What it needs must not shrink as connections grow: [`largest_that_fits`]
/// relies on that.
const CHECKS: &[Check] = &[
    descriptors::per_table,
    descriptors::nr_open,
    descriptors::file_max,
    descriptors::epoll_watches,
    ports::ports,
    ports::reserved,
    ports::time_wait_reuse,
    ports::time_wait_buckets,
    memory::memory,
    memory::swap,
    memory::tcp_mem,
    memory::tcp_rmem,
    memory::tcp_wmem,
    memory::orphans,
    queues::somaxconn,
    queues::syn_backlog,
    queues::syncookies,
    queues::netdev_max_backlog,
    conntrack::entries,
    conntrack::buckets,
    conntrack::timeout,
    threads::threads,
    threads::max_map_count,
    cpu::allowed,
    cpu::quota,
    cpu::governor,
    cpu::clock_source,
    tls::tls,
    card::receive_queues,
];

/// Holds a demand against a machine: one finding for each limit that concerns it, those that
/// suffice included.
#[must_use]
pub fn check(demand: &Demand, facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().filter_map(|check| check(demand, facts)).collect()
}

/// The least number from `low` to `high` for which `holds`, which must hold for `high` and for all
/// above one for which it does.
fn least_that(mut low: u64, mut high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The most connections, up to those of the demand, that nothing on this machine refuses while all
/// else of the demand stays as it is, and a sentence that says what keeps it from more.
#[must_use]
pub fn largest_that_fits(demand: &Demand, facts: &Facts) -> (u64, String) {
    let findings = |connections| check(&Demand { connections, ..demand.clone() }, facts);
    largest_unrefused(demand.connections, findings)
}

/// The same where the rest of a plan, such as its reactors, follows the number of connections:
/// `findings` plans for a number from 0 to `asked` and checks that. Whom it refuses once it must
/// refuse from there on.
#[must_use]
pub fn largest_unrefused(asked: u64, findings: impl Fn(u64) -> Vec<Finding>) -> (u64, String) {
    let refusal_of = |connections| {
        findings(connections).into_iter().find(|finding| finding.severity == Severity::Refusal)
    };
    // Count the sizes that are refused from below: the largest that fits comes before the first.
    let first_refused = least_that(0, asked.saturating_add(1), |connections| {
        connections > asked || refusal_of(connections).is_some()
    });
    let fits = first_refused.saturating_sub(1);
    match (first_refused <= asked).then(|| refusal_of(first_refused)).flatten() {
        None => (fits, format!("all {} connections fit", format_grouped(asked))),
        Some(Finding { name, have, why, .. }) => {
            let fits_text = format_grouped(fits);
            (fits, format!("{fits_text} connections fit: {name} is {have}; {why}"))
        }
    }
}

#[cfg(test)]
mod tests;
