//! Memory: of the machine or control group for all ends here, and what TCP may keep of it.

use super::finding::Unit;
use super::{Demand, Finding, KERNEL_BYTES_PER_END, Severity};
use crate::facts::Facts;
use measure::units::{format_grouped, format_size};

/// Memory of a reactor beside its connections, bytes: stack, buffers, touched histogram pages.
const REACTOR_BYTES: u64 = 2 << 20;

/// What the kernel adds to the payload of one queued message, bytes (`sk_buff` and its tail).
const QUEUED_OVERHEAD_BYTES: u64 = 1_280;

/// Memory that the run takes of this machine, bytes: the kernel's and that of the programs, for all
/// ends that are here.
#[must_use]
pub fn bytes_needed(demand: &Demand) -> u64 {
    let per_end = KERNEL_BYTES_PER_END.saturating_add(demand.user_bytes_per_connection);
    let connections = per_end.saturating_mul(demand.connections);
    let one_end = connections
        .saturating_add(REACTOR_BYTES.saturating_mul(demand.reactors))
        .saturating_add(demand.handshakes.map_or(0, |handshakes| handshakes.bytes()));
    let each = demand.message_bytes.saturating_add(QUEUED_OVERHEAD_BYTES);
    let queued = each.saturating_mul(demand.messages_in_flight);
    one_end.saturating_mul(demand.ends_here()).saturating_add(queued)
}

/// Memory that this process may still have: the machine's, or its control group's limit, bytes;
/// `None` where nothing tells.
#[must_use]
pub fn spare_bytes(facts: &Facts) -> Option<u64> {
    let available = facts.memory.map(|memory| memory.available_bytes);
    available.into_iter().chain(facts.cgroup_memory_bytes).min()
}

/// What compression may take: so many streams of each kind for messages that are under way, `bytes`
/// in all. `usual` is whether memory leaves room for as many as otherwise.
#[must_use]
pub fn streams(inflating: u64, deflating: u64, bytes: u64, usual: bool, facts: &Facts) -> Finding {
    let have = spare_bytes(facts).map_or_else(|| "not told".to_owned(), format_size);
    let need = format!("at most {}", format_size(bytes));
    let finding = Finding::judge("compression", have, need, usual, Severity::Note);
    let why = format!(
        "{} inflating and {} deflating streams may be in use at once, a quarter of the memory at \
         the \
         most; who finds no inflating one is closed with 1011, who finds no deflating one is \
         answered uncompressed",
        format_grouped(inflating),
        format_grouped(deflating),
    );
    finding.why(why).remedy("give the machine or the control group more memory, for more of them")
}

pub(super) fn memory(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let available = facts.memory?.available_bytes;
    let group = facts.cgroup_memory_bytes.unwrap_or(u64::MAX);
    let (have, need) = (available.min(group), bytes_needed(demand));
    let mut finding = Finding::compare("memory", Unit::Bytes, have, need, Severity::Refusal);
    if finding.severity == Severity::Ok && need > have / 10 * 9 {
        finding.severity = Severity::Warning;
    }
    let limited_by = if group < available { "the control group's limit" } else { "available" };
    let why = format!(
        "{} is {limited_by}; the kernel takes about {KERNEL_BYTES_PER_END} bytes for each end of \
         a connection and the program {} bytes, with {} on this machine",
        format_size(have),
        format_grouped(demand.user_bytes_per_connection),
        if demand.ends_here() == 2 { "both ends" } else { "one end" },
    );
    Some(finding.why(why).remedy("ask for fewer connections, or stop what uses memory here"))
}

/// Swap is not memory for a test: what comes back from a disk shows as latency.
pub(super) fn swap(_: &Demand, facts: &Facts) -> Option<Finding> {
    let memory = facts.memory.filter(|memory| memory.swap_total_bytes > 0)?;
    let used = memory.swap_total_bytes.saturating_sub(memory.swap_free_bytes);
    let have = format!("{} in use", format_size(used));
    // A little is left there by every machine that is up for long.
    let calm = used <= memory.swap_total_bytes / 4;
    let finding = Finding::judge("swap", have, "little in use", calm, Severity::Warning);
    let why = format!(
        "{} of swap do not count as memory: sockets cannot go there, and what programs have there \
         takes milliseconds to come back",
        format_size(memory.swap_total_bytes),
    );
    let remedy = "stop what uses memory here; where enough is free, sudo swapoff -a for the run";
    Some(finding.why(why).remedy(remedy))
}

pub(super) fn tcp_mem(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let [_, pressure, high] = facts.tcp_mem_pages?;
    let page = facts.page_bytes.max(1);
    // Each socket with queued data is charged whole pages.
    let each = demand.message_bytes.saturating_add(QUEUED_OVERHEAD_BYTES).div_ceil(page);
    let need = each.saturating_mul(demand.messages_in_flight);
    let mut finding = Finding::compare("tcp_mem", Unit::Things, high, need, Severity::Refusal);
    if finding.severity == Severity::Ok && need > pressure {
        finding.severity = Severity::Warning;
    }
    finding.have.push_str(" pages");
    finding.need.push_str(" pages");
    let why = format!(
        "queued data of all sockets counts against it, idle connections do not; from {} pages on \
         the kernel shrinks buffers, at the end it drops data",
        format_grouped(pressure),
    );
    let (low, high) = (need, need.saturating_mul(2));
    let value = format!("{low} {} {high}", low.saturating_add(low / 2));
    Some(finding.why(why).set("net.ipv4.tcp_mem", value))
}

pub(super) fn tcp_rmem(demand: &Demand, facts: &Facts) -> Option<Finding> {
    buffer(demand, "tcp_rmem", facts.tcp_rmem_bytes?)
}

pub(super) fn tcp_wmem(demand: &Demand, facts: &Facts) -> Option<Finding> {
    buffer(demand, "tcp_wmem", facts.tcp_wmem_bytes?)
}

/// Whether what is on its way over one connection fits into its buffer, of which the kernel may use
/// half for its own bookkeeping.
fn buffer(demand: &Demand, name: &str, [least, default, most]: [u64; 3]) -> Option<Finding> {
    let each = demand.messages_in_flight.div_ceil(demand.connections.max(1));
    let need = demand.message_bytes.saturating_mul(each).saturating_mul(2);
    let finding = Finding::compare(name, Unit::Bytes, most, need, Severity::Note);
    let why = "a buffer grows up to it on demand, and idle connections take none; what does not \
        fit \
               waits in the program";
    let value = format!("{least} {default} {need}");
    Some(finding.why(why).set(&format!("net.ipv4.{name}"), value))
}

/// Sockets that their program has closed and their peer has not.
pub(super) fn orphans(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.accepts() {
        return None;
    }
    let (have, need) = (facts.tcp_max_orphans?, demand.connections);
    let finding = Finding::compare("tcp_max_orphans", Unit::Things, have, need, Severity::Note);
    let why = "a server that closes all connections before their peers leaves as many orphans; \
        beyond \
               the limit the kernel resets them, and the peers see a reset in place of an end";
    Some(finding.why(why).set("net.ipv4.tcp_max_orphans", need))
}
