//! The doctor: names the wall that a run has met, from what both ends counted before and after it and
//! from how its connections failed. A pure function; each wall is one small function in `WALLS`.

mod counters;

pub use counters::Counters;

use crate::preflight::descriptors_per_table;
use measure::Failure;
use measure::units::{format_grouped, format_size};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What stood in the way of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wall {
    /// A word for programs.
    pub code: &'static str,
    /// What it was, as a sentence with its numbers.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a server says of itself: the part of its snapshot that the doctor reads. Servers that are not
/// ours say nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Server {
    /// Connections that are open.
    pub connections: u64,
    /// Connections that it is to hold at the most.
    pub connections_max: u64,
    /// Connections that it turned away because that or a table was full.
    pub refused_full: u64,
    /// Descriptors that one table may hold.
    pub descriptors_limit: u64,
    /// The accept queue's length as asked for.
    pub backlog: u64,
    /// Each address that it listens on.
    pub listeners: Vec<Listener>,
    /// Counters of its event loops, by name.
    pub counters: BTreeMap<String, u64>,
    /// Its reactors.
    pub reactors: Vec<ServerReactor>,
    /// What its kernel has counted.
    pub kernel: Option<Counters>,
}

/// An address that the server listens on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Listener {
    /// Its URL.
    pub url: String,
    /// What its kernel has turned away there; `None` where it does not tell.
    pub turned_away: Option<u64>,
}

/// A reactor of that server: that it is there is all that is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct ServerReactor {
    /// Its number.
    pub index: u64,
}

impl Server {
    /// Whether it turned connections away for want of descriptors: it is to hold more than a table
    /// has room for, and does not hold as many.
    fn lacks_descriptors(&self) -> bool {
        let room = descriptors_per_table(self.descriptors_limit, self.reactors.len() as u64);
        self.connections_max > room && self.connections < self.connections_max
    }
}

/// An end before and after what is asked about.
#[derive(Debug)]
pub struct Span<'a, T> {
    /// The earlier look.
    pub before: &'a T,
    /// The later one.
    pub after: &'a T,
}

// Derived, these would ask it of `T`.
impl<T> Copy for Span<'_, T> {}

impl<T> Clone for Span<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Span<'_, T> {
    /// How much a count has grown.
    fn grown(&self, count: impl Fn(&T) -> u64) -> u64 {
        count(self.after).saturating_sub(count(self.before))
    }
}

/// All that a diagnosis rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What the client's kernel has counted.
    pub here: Span<'a, Counters>,
    /// What the server says, where it has been asked.
    pub server: Option<Span<'a, Server>>,
    /// Both ends are in one network namespace: what the kernel counts here is the server's too.
    pub same_host: bool,
    /// Connections opened.
    pub opened: u64,
    /// Connections that could not be.
    pub failed: u64,
    /// No connection has been opened for a while although some are under way.
    pub stalled: bool,
    /// Failures by kind, in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::COUNT],
    /// Descriptors of one table of the client.
    pub descriptors_limit: u64,
    /// The client's source addresses.
    pub sources: &'a [String],
    /// What it connects to: addresses with ports.
    pub targets: &'a [String],
}

impl<'a> Evidence<'a> {
    fn failures(&self, kind: Failure) -> u64 {
        self.failures[kind as usize]
    }

    /// The kernel that the server's listeners live in, where it can be seen.
    fn server_kernel(&self) -> Option<Span<'a, Counters>> {
        if self.same_host {
            return Some(self.here);
        }
        let Span { before, after } = self.server?;
        Some(Span { before: before.kernel.as_ref()?, after: after.kernel.as_ref()? })
    }

    /// Every kernel that can be seen, each once, with how to name its machine.
    fn kernels(&self) -> impl Iterator<Item = (&'static str, Span<'a, Counters>)> {
        let far = if self.same_host { None } else { self.server_kernel() };
        [("this machine", self.here)]
            .into_iter()
            .chain(far.map(|far| ("the server's machine", far)))
    }

    /// A counter of the server's event loops.
    fn server_loop(&self, name: &str) -> u64 {
        let count = |server: &Server| server.counters.get(name).copied().unwrap_or(0);
        self.server.map_or(0, |server| server.grown(count))
    }
}

/// The walls that there are, the likeliest cause before what may follow from it.
const WALLS: &[fn(&Evidence<'_>) -> Option<Wall>] = &[
    server_descriptors,
    server_memory,
    server_full,
    accept_queue,
    handshake_queue,
    conntrack,
    ports,
    descriptors,
    no_memory,
    tcp_memory,
    low_memory,
    packet_queue,
    refused,
    unreachable,
    denied,
    unanswered,
];

/// The walls that the evidence shows; empty where nothing stood in the way.
#[must_use]
pub fn diagnose(evidence: &Evidence<'_>) -> Vec<Wall> {
    WALLS.iter().filter_map(|wall| wall(evidence)).collect()
}

/// A wall that was met `count` times; none where it was not.
fn wall(
    code: &'static str,
    count: u64,
    text: impl FnOnce(&str) -> String,
    remedy: impl Into<String>,
) -> Option<Wall> {
    (count > 0).then(|| Wall { code, text: text(&times(count)), remedy: remedy.into() })
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", format_grouped(count)) }
}

/// `1 connection was`, `5 connections were`.
fn connections_were(count: u64) -> String {
    if count == 1 {
        "1 connection was".to_owned()
    } else {
        format!("{} connections were", format_grouped(count))
    }
}

// ---- The server ---------------------------------------------------------------------------------

fn server_descriptors(evidence: &Evidence<'_>) -> Option<Wall> {
    let server = evidence.server?;
    let failed = evidence.server_loop("accept_no_fds");
    let refused = server.grown(|server| server.refused_full);
    let refused = if server.after.lacks_descriptors() { refused } else { 0 };
    wall(
        "server_descriptors",
        failed + refused,
        |_| {
            let limit = format_grouped(server.after.descriptors_limit);
            let limit = format!("the server is at its descriptor limit ({limit})");
            if failed > 0 {
                format!("{limit}: accepting failed {}", times(failed))
            } else {
                format!("{limit}: a table was full, and {} turned away", connections_were(refused))
            }
        },
        "raise it where the server is started (ulimit -n, or LimitNOFILE= of its unit), or give it \
         more reactors with a table each (--reactors)",
    )
}

fn server_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    wall(
        "server_memory",
        evidence.server_loop("accept_no_memory"),
        |times| {
            format!("the server's kernel had no memory for new sockets: accepting failed {times}")
        },
        "give the server's machine or control group more memory, or open fewer connections",
    )
}

fn server_full(evidence: &Evidence<'_>) -> Option<Wall> {
    let server = evidence.server.filter(|server| !server.after.lacks_descriptors())?;
    let refused = server.grown(|server| server.refused_full);
    wall(
        "server_full",
        refused,
        |_| {
            format!(
                "the server turned {} connections away: it holds {} at the most",
                format_grouped(refused),
                format_grouped(server.after.connections_max)
            )
        },
        "start the server with a higher --connections-max",
    )
}

/// Whose accept queue overflowed.
#[derive(Debug, Eq, PartialEq)]
enum Whose {
    /// That of these listeners of the server's, which say so themselves.
    Listeners(String),
    /// That of another program.
    Strangers,
    /// Nobody knows: the kernel counts for all listeners together.
    Unknown,
}

impl Evidence<'_> {
    /// Whose queue overflowed, as far as the server's listeners tell.
    fn whose_queue(&self) -> Whose {
        let Some(Span { before, after }) = self.server else { return Whose::Unknown };
        let turned_away = |server: &Server, url: &str| {
            let listener = server.listeners.iter().find(|listener| listener.url == url)?;
            listener.turned_away
        };
        let mut full = Vec::new();
        for Listener { url, turned_away: count } in &after.listeners {
            let earlier = turned_away(before, url);
            let (Some(earlier), Some(count)) = (earlier, count) else { return Whose::Unknown };
            if *count != earlier {
                full.push(url.as_str());
            }
        }
        match (full.is_empty(), after.listeners.is_empty()) {
            (false, _) => Whose::Listeners(full.join(" and ")),
            (true, false) => Whose::Strangers,
            (true, true) => Whose::Unknown,
        }
    }
}

/// The kernel counts every packet that finds the queue full, those that are sent again too, and for all
/// listeners together.
fn accept_queue(evidence: &Evidence<'_>) -> Option<Wall> {
    let kernel = evidence.server_kernel()?;
    let whose = evidence.whose_queue();
    if whose == Whose::Strangers {
        return None;
    }
    let somaxconn = kernel.after.somaxconn.unwrap_or(u64::MAX);
    let bound = match evidence.server.map(|server| server.after.backlog) {
        Some(asked) if asked > somaxconn => format!(
            "its backlog is {} ({} asked for, somaxconn {0})",
            format_grouped(somaxconn),
            format_grouped(asked)
        ),
        Some(asked) => {
            format!(
                "its backlog is {} (somaxconn {})",
                format_grouped(asked),
                format_grouped(somaxconn)
            )
        }
        None => format!(
            "it accepts more slowly than connections come, and somaxconn ({}) bounds its backlog",
            format_grouped(somaxconn)
        ),
    };
    let asked = evidence.server.map_or(0, |server| server.after.backlog);
    let remedy = if asked >= somaxconn {
        "on the server's machine: sudo sysctl -w net.core.somaxconn=65535, then start the server \
         again; or open more slowly (--connect-rate)"
    } else {
        "start the server with a larger backlog, find out why it does not accept, or open more \
         slowly (--connect-rate)"
    };
    wall(
        "accept_queue",
        kernel.grown(|kernel| kernel.listen_overflows),
        |times| match &whose {
            Whose::Listeners(urls) => {
                format!("the accept queue of the server at {urls} overflowed {times}: {bound}")
            }
            _ => {
                let machine = if evidence.same_host { "this" } else { "the server's" };
                format!(
                    "an accept queue on {machine} machine overflowed {times}; the kernel counts all \
                     listeners together, so that it was that of {} cannot be told. If it was: {bound}",
                    evidence.targets.first().map_or("the target", String::as_str)
                )
            }
        },
        remedy,
    )
}

/// Handshakes that are under way. Without cookies the kernel also drops some without a counter of
/// their own: they are among all that listeners drop.
fn handshake_queue(evidence: &Evidence<'_>) -> Option<Wall> {
    let kernel = evidence.server_kernel()?;
    let cookies = kernel.grown(|kernel| kernel.handshake_queue_cookies);
    let full = kernel.grown(|kernel| kernel.handshake_queue_drops);
    let unnamed =
        kernel.grown(|kernel| kernel.listen_drops.saturating_sub(kernel.listen_overflows));
    let off = kernel.after.tcp_syncookies == Some(0);
    let dropped = if off { full.max(unnamed) } else { full };
    let backlog = match evidence.server {
        Some(server) => format!("its backlog is {}", format_grouped(server.after.backlog)),
        None => "its backlog is too small".to_owned(),
    };
    if dropped > 0 {
        let most = kernel.after.tcp_max_syn_backlog.unwrap_or(0);
        return wall(
            "handshake_queue",
            dropped,
            |times| {
                format!(
                    "the server dropped new handshakes {times}, since too many were under way: \
                     {backlog}, tcp_max_syn_backlog is {} and tcp_syncookies is {}",
                    format_grouped(most),
                    if off { "off" } else { "on" },
                )
            },
            "on the server's machine: sudo sysctl -w net.ipv4.tcp_syncookies=1 \
             net.ipv4.tcp_max_syn_backlog=65535, and a larger backlog for the server",
        );
    }
    wall(
        "handshake_queue",
        cookies,
        |times| {
            format!(
                "the server answered handshakes with SYN cookies {times}, since too many were under \
                 way: {backlog}"
            )
        },
        "start the server with a larger backlog (and net.core.somaxconn), or open more slowly \
         (--connect-rate)",
    )
}

// ---- Either machine -----------------------------------------------------------------------------

fn conntrack(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let (used, max) = (kernel.after.conntrack_used?, kernel.after.conntrack_max?);
        // The count falls again as soon as handshakes are given up.
        let full = used.saturating_mul(10) >= max.saturating_mul(9);
        wall(
            "conntrack",
            kernel.grown(|kernel| kernel.conntrack_drops),
            |times| {
                let max = format_grouped(max);
                if full {
                    format!(
                        "the conntrack table of {machine} is full at {max}: packets dropped {times}"
                    )
                } else {
                    format!(
                        "connection tracking of {machine} dropped packets {times}; its table holds \
                         {} of {max} connections now",
                        format_grouped(used)
                    )
                }
            },
            format!(
                "on {machine}: sudo sysctl -w net.netfilter.nf_conntrack_max={}, or leave these \
                 ports out of tracking (notrack)",
                max.saturating_mul(4)
            ),
        )
    })
}

fn tcp_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let [_, pressure, high] = kernel.after.tcp_mem_pages?;
        let pages = format_grouped(kernel.after.sockets.tcp_mem_pages);
        let remedy = format!(
            "on {machine}: raise net.ipv4.tcp_mem, or have fewer or smaller messages in flight"
        );
        let aborted = wall(
            "tcp_memory",
            kernel.grown(|kernel| kernel.aborts_on_memory),
            |times| {
                format!(
                    "the kernel of {machine} reset connections {times} for want of memory: {pages} of \
                     {} pages of tcp_mem are in use, {} of {} orphans",
                    format_grouped(high),
                    format_grouped(kernel.after.sockets.tcp_orphan),
                    format_grouped(kernel.after.tcp_max_orphans.unwrap_or(0)),
                )
            },
            remedy.clone(),
        );
        aborted.or_else(|| {
            wall(
                "tcp_memory",
                kernel.grown(|kernel| kernel.memory_pressures),
                |times| {
                    format!(
                        "TCP ran short of memory on {machine} {times}: {pages} pages are in use, and \
                         above {} the kernel shrinks buffers (tcp_mem)",
                        format_grouped(pressure),
                    )
                },
                remedy,
            )
        })
    })
}

fn low_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let Counters { memory_total_bytes: total, memory_available_bytes: left, .. } =
            *kernel.after;
        let low = total > 0 && left < total / 50;
        low.then(|| Wall {
            code: "low_memory",
            text: format!(
                "{machine} has only {} of its {} of memory left",
                format_size(left),
                format_size(total)
            ),
            remedy: "open fewer connections, or stop what else uses memory there".to_owned(),
        })
    })
}

/// Only where packets were sent again too: the count is that of the whole machine.
fn packet_queue(evidence: &Evidence<'_>) -> Option<Wall> {
    evidence.kernels().find_map(|(machine, kernel)| {
        let dropped = kernel.grown(|kernel| kernel.packet_queue_drops);
        let resent = kernel.grown(|kernel| kernel.retransmits);
        let length = kernel.after.netdev_max_backlog.unwrap_or(1_000);
        wall(
            "packet_queue",
            dropped.min(resent),
            |_| {
                format!(
                    "the queue of packets that wait for a CPU of {machine} overflowed {}: it holds {} \
                     (netdev_max_backlog)",
                    times(dropped),
                    format_grouped(length)
                )
            },
            format!("on {machine}: sudo sysctl -w net.core.netdev_max_backlog={}", length * 10),
        )
    })
}

// ---- This end -----------------------------------------------------------------------------------

fn ports(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::NoPorts);
    let (from, have) = match evidence.sources {
        [one] => (format!("source {one}"), "has"),
        [first, .., last] => {
            (format!("the {} sources {first} to {last}", evidence.sources.len()), "have")
        }
        [] => ("this machine".to_owned(), "has"),
    };
    wall(
        "no_ports",
        count,
        |_| {
            format!(
                "{from} {have} no port left towards {}: {} not opened",
                evidence.targets.join(" "),
                connections_were(count)
            )
        },
        "give more source addresses (--source-ip), a wider --source-ports, or more targets",
    )
}

fn descriptors(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::NoFds);
    let Counters { files_used, files_max, .. } = *evidence.here.after;
    let machine = files_used.zip(files_max).filter(|(used, max)| *used >= max / 100 * 99);
    let text = match machine {
        Some((used, max)) => format!(
            "this machine has {} of {} files open (fs.file-max)",
            format_grouped(used),
            format_grouped(max)
        ),
        None => format!(
            "the client is at its descriptor limit ({} in each table)",
            format_grouped(evidence.descriptors_limit)
        ),
    };
    wall(
        "no_fds",
        count,
        |_| format!("{text}: {} not opened", connections_were(count)),
        match machine {
            Some((_, max)) => format!("sudo sysctl -w fs.file-max={}", max.saturating_mul(2)),
            None => {
                "raise it (ulimit -n), or --reactors with a table of its own for each".to_owned()
            }
        },
    )
}

fn no_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::NoMemory);
    wall(
        "no_memory",
        count,
        |_| format!("the kernel had no memory left here: {} not opened", connections_were(count)),
        "open fewer connections, or raise the control group's memory limit",
    )
}

// ---- The way between ----------------------------------------------------------------------------

fn refused(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::Refused);
    let targets = evidence.targets.join(" ");
    if evidence.opened == 0 {
        return wall(
            "refused",
            count,
            |_| match evidence.targets {
                // A connection that goes from address to address is refused by the last one.
                [_, _, ..] => {
                    format!("nobody answers at {targets}: every connection was refused in the end")
                }
                _ => format!("nobody listens at {targets}: every connection was refused"),
            },
            "start the server first, and compare its address with the one given here",
        );
    }
    wall(
        "refused",
        count,
        |_| {
            format!(
                "{} refused at {targets}, although {} were opened: its listener is gone, or a \
                 firewall rejects some",
                connections_were(count),
                format_grouped(evidence.opened)
            )
        },
        "see whether the server still runs, and the firewall's limits (nft list ruleset)",
    )
}

fn unreachable(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::Unreachable);
    wall(
        "unreachable",
        count,
        |_| {
            format!(
                "there is no way to {}: {} answered with host or network unreachable",
                evidence.targets.join(" "),
                connections_were(count)
            )
        },
        "see the routes of the source addresses (ip route get TARGET from SOURCE), and firewalls \
         that reject",
    )
}

fn denied(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::Denied);
    wall(
        "denied",
        count,
        |_| format!("this machine does not permit them: {} denied", connections_were(count)),
        "see this machine's firewall rules for outgoing packets, prohibiting routes and security \
         policies",
    )
}

/// Handshakes without an answer, where no queue that can be seen has dropped them.
fn unanswered(evidence: &Evidence<'_>) -> Option<Wall> {
    let resent = evidence.here.grown(|kernel| kernel.handshake_retransmits);
    let explained = [accept_queue, handshake_queue, conntrack, server_descriptors];
    let count = evidence.failures(Failure::TimedOut).min(evidence.failed);
    let waiting = count > 0 || evidence.stalled;
    if resent == 0 || !waiting || explained.iter().any(|wall| wall(evidence).is_some()) {
        return None;
    }
    let who = match count {
        0 => "connections under way get".to_owned(),
        1 => "1 connection got".to_owned(),
        _ => format!("{} connections got", format_grouped(count)),
    };
    let (suspect, remedy) = if evidence.server_kernel().is_some() {
        (
            "no queue of the server dropped them, so something on the way does, as a firewall would",
            "see the firewall rules of both machines and of what is between (nft list ruleset)",
        )
    } else {
        (
            "a firewall drops them, or a queue or table of the server is full",
            "see the firewall rules on the way; --peer with the server's --metrics address shows its \
             queues",
        )
    };
    wall(
        "unanswered",
        resent,
        |times| {
            let targets = evidence.targets.join(" ");
            format!(
                "{who} no answer from {targets} (first packets were sent again {times}): {suspect}"
            )
        },
        remedy,
    )
}

#[cfg(test)]
mod tests;
