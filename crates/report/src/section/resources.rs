//! What the run took of the machine: memory and CPU time.

use super::parts::{Kind, known};
use super::{Number, ResultFile, Warning, less, machines, noise, whole};
use crate::figure::{Unit, ratio, saturating};
use crate::words::{grouped, seconds, tight, time};
use measure::units::{format_grouped, format_size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What the run took of the machine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Resources {
    /// The client's process.
    pub client: Process,
    /// The server's process, from its snapshots; null where it does not tell.
    pub server: Option<Process>,
    /// The kernel of the client's machine, all of it: true on a quiet one.
    pub kernel: Kernel,
    /// What the plan said that the run would take of the client's machine, both ends where the
    /// server runs here too; null in files from before it was written.
    pub predicted: Option<Footprint>,
    /// What the run had taken of it when all connections stood: growth of the slabs and what the
    /// processes hold; growth of the machine's open files. Null where the server runs here too and
    /// does not tell its part (`--peer`). Of repeats the largest, of shards on machines of their
    /// own the sum.
    pub taken: Option<Footprint>,
    /// CPU time of this machine that went to other processes while messages were sent, over the
    /// whole run without traffic. Where the server runs here and does not tell (`--peer`), its own
    /// is in it. Null where that is not known.
    pub others_cpu_seconds: Option<f64>,
    /// The same as a share of what all cores had, 0 to 1.
    pub others_cpu_ratio: Option<f64>,
}

impl Resources {
    pub(super) fn fill_derived(&mut self, connections: u64, messages: u64) {
        self.client.fill_derived(connections, messages);
        if let Some(server) = &mut self.server {
            server.fill_derived(connections, messages);
        }
        self.kernel.fill_derived(connections);
    }
}

/// What a run takes of the client's machine, both ends where the server runs there too.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Footprint {
    /// Memory of the kernel and of the programs: the growth of the slabs, and what the processes
    /// hold.
    pub memory_bytes: u64,
    /// Open files, one for each end of a connection and a few for each reactor.
    pub open_files: u64,
}

/// Memory and CPU time of one process. Null: not measured.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Process {
    /// Resident memory before the first connection.
    pub rss_bytes_before: Option<u64>,
    /// Resident memory with all connections open, before traffic.
    pub rss_bytes: Option<u64>,
    /// What a connection added to it: (`rss_bytes` − `rss_bytes_before`) / `connections.open_peak`;
    /// null where the growth is within noise (less than 1 MiB, or 2 % of what was there). Derived.
    pub bytes_per_connection: Option<f64>,
    /// Resident memory after the traffic, the connections still open.
    pub rss_bytes_after_traffic: Option<u64>,
    /// CPU time of the whole run, user and system.
    pub cpu_seconds: Option<f64>,
    /// Of that, while connections were being opened.
    pub cpu_seconds_opening: Option<f64>,
    /// Of that, while messages were being sent, first echoes apart.
    pub cpu_seconds_traffic: Option<f64>,
    /// CPU time to open one connection: `cpu_seconds_opening` / `connections.open_peak`. Derived.
    pub cpu_ns_per_connection: Option<u64>,
    /// CPU time for one message and its reply: `cpu_seconds_traffic` / `messages.received`.
    /// Derived.
    pub cpu_ns_per_message: Option<u64>,
}

impl Process {
    fn fill_derived(&mut self, connections: u64, messages: u64) {
        self.bytes_per_connection = growth_each(self.rss_bytes_before, self.rss_bytes, connections);
        self.cpu_ns_per_connection = nanoseconds_each(self.cpu_seconds_opening, connections);
        self.cpu_ns_per_message = nanoseconds_each(self.cpu_seconds_traffic, messages);
    }
}

/// Kernel memory of the client's machine. Where the server runs there too, both ends are in it.
/// Null: not measured.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Kernel {
    /// Whether the server ran on the same machine, so that a connection counts twice.
    pub both_ends: bool,
    /// What a connection took: the figure by slab, or by free memory where that is missing;
    /// null where neither grew by more than noise. Derived.
    pub bytes_per_connection: Option<f64>,
    /// Loss of free memory per connection, which counts the processes in as well. Derived.
    pub memfree_bytes_per_connection: Option<f64>,
    /// Growth of the slabs (sockets, inodes, dentries, epoll entries) / `connections.open_peak`.
    /// Derived.
    pub slab_bytes_per_connection: Option<f64>,
    /// `MemFree` before the first connection.
    pub memfree_bytes_before: Option<u64>,
    /// `MemFree` with all connections open.
    pub memfree_bytes: Option<u64>,
    /// `Slab` before the first connection.
    pub slab_bytes_before: Option<u64>,
    /// `Slab` with all connections open.
    pub slab_bytes: Option<u64>,
}

impl Kernel {
    fn fill_derived(&mut self, connections: u64) {
        self.memfree_bytes_per_connection =
            growth_each(self.memfree_bytes, self.memfree_bytes_before, connections);
        self.slab_bytes_per_connection =
            growth_each(self.slab_bytes_before, self.slab_bytes, connections);
        self.bytes_per_connection =
            self.slab_bytes_per_connection.or(self.memfree_bytes_per_connection);
    }
}

/// Growth below this is noise: the first turns of a program touch as much.
const GROWTH_MIN: u64 = 1 << 20;

/// And so is a fiftieth of what was there before.
const GROWTH_SHARE: u64 = 50;

/// The growth from one reading to the next, for each of `count`; nothing where one is missing, and
/// where it does not stand out of the noise. Where it shrank, others gave back more than the
/// connections took: what those took is not known. Free memory grows from the later reading to the
/// earlier one.
pub(crate) fn growth_each(before: Option<u64>, after: Option<u64>, count: u64) -> Option<f64> {
    let (before, after) = (before?, after?);
    let growth = after.checked_sub(before)?;
    let stands_out = growth >= GROWTH_MIN.max(before / GROWTH_SHARE);
    (count > 0 && stands_out).then(|| growth as f64 / count as f64)
}

/// A time in seconds, shared out over `count`.
fn nanoseconds_each(seconds: Option<f64>, count: u64) -> Option<u64> {
    let nanoseconds = seconds? * 1e9;
    (count > 0).then(|| (nanoseconds / count as f64).round() as u64)
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    less("resources.client.rss_bytes", Unit::Bytes, |r| whole(r.resources.client.rss_bytes)),
    less("resources.client.rss_bytes_after_traffic", Unit::Bytes, |r| {
        whole(r.resources.client.rss_bytes_after_traffic)
    }),
    less("resources.client.bytes_per_connection", Unit::Bytes, |r| {
        r.resources.client.bytes_per_connection
    }),
    less("resources.client.cpu_seconds", Unit::Seconds, |r| r.resources.client.cpu_seconds),
    less("resources.client.cpu_ns_per_connection", Unit::Nanoseconds, |r| {
        whole(r.resources.client.cpu_ns_per_connection)
    }),
    less("resources.client.cpu_ns_per_message", Unit::Nanoseconds, |r| {
        whole(r.resources.client.cpu_ns_per_message)
    }),
    less("resources.server.rss_bytes", Unit::Bytes, |r| whole(server(r)?.rss_bytes)),
    less("resources.server.rss_bytes_after_traffic", Unit::Bytes, |r| {
        whole(server(r)?.rss_bytes_after_traffic)
    }),
    less("resources.server.bytes_per_connection", Unit::Bytes, |r| server(r)?.bytes_per_connection),
    less("resources.server.cpu_seconds", Unit::Seconds, |r| server(r)?.cpu_seconds),
    less("resources.server.cpu_ns_per_connection", Unit::Nanoseconds, |r| {
        whole(server(r)?.cpu_ns_per_connection)
    }),
    less("resources.server.cpu_ns_per_message", Unit::Nanoseconds, |r| {
        whole(server(r)?.cpu_ns_per_message)
    }),
    less("resources.kernel.bytes_per_connection", Unit::Bytes, |r| {
        r.resources.kernel.bytes_per_connection
    }),
    less("resources.kernel.memfree_bytes_per_connection", Unit::Bytes, |r| {
        r.resources.kernel.memfree_bytes_per_connection
    }),
    less("resources.kernel.slab_bytes_per_connection", Unit::Bytes, |r| {
        r.resources.kernel.slab_bytes_per_connection
    }),
];

fn server(result: &ResultFile) -> Option<&Process> {
    result.resources.server.as_ref()
}

pub(crate) fn merge(results: &[&ResultFile], kind: Kind, warnings: &mut Vec<Warning>) -> Resources {
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
    let apart = kind == Kind::Repeats || machines::are_distinct(results);
    let kernel = match apart {
        true => kernel(results, kind, peaks),
        false => {
            warnings.push(Warning::new(
                "merged_kernel",
                "kernel memory is left out: the parts may have shared a machine and counted it \
                 twice",
                "look at its `machines` for theirs",
            ));
            // Named one by one, so that whoever adds a field decides here, too.
            Kernel {
                both_ends: false,
                bytes_per_connection: None,
                memfree_bytes_per_connection: None,
                slab_bytes_per_connection: None,
                memfree_bytes_before: None,
                memfree_bytes: None,
                slab_bytes_before: None,
                slab_bytes: None,
            }
        }
    };
    let predicted = footprint_of(results, kind, |resources| resources.predicted);
    let taken = footprint_of(results, kind, |resources| resources.taken);
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

/// Memory: of shards the sum, of repeats the mean. CPU time: the sum. What a connection or a
/// message took: the sum over all parts, by all connections or messages; but the memory of repeats
/// is that of the one that needed most, as a process that keeps it from one run to the next grows
/// by less in later ones.
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

/// The largest of repeats, which took it one after another; of shards on machines of their own the
/// sum, and nothing for others, which may have shared a machine and counted it twice.
fn footprint_of(
    results: &[&ResultFile],
    kind: Kind,
    of: fn(&Resources) -> Option<Footprint>,
) -> Option<Footprint> {
    if kind == Kind::Shards && !machines::are_distinct(results) {
        return None;
    }
    let all: Option<Vec<_>> = results.iter().map(|result| of(&result.resources)).collect();
    let either = |one: u64, other: u64| match kind {
        Kind::Repeats => one.max(other),
        Kind::Shards => one.saturating_add(other),
    };
    all?.into_iter().reduce(|one, other| Footprint {
        memory_bytes: either(one.memory_bytes, other.memory_bytes),
        open_files: either(one.open_files, other.open_files),
    })
}

/// The kernel's memory over all connections. Readings are means over repeats, and sums over
/// machines.
fn kernel(results: &[&ResultFile], kind: Kind, connections: u64) -> Kernel {
    let all: Vec<_> = results.iter().map(|result| &result.resources.kernel).collect();
    let reading = |of: fn(&Kernel) -> Option<u64>| {
        let sum = known(all.iter().map(|one| of(one)))?;
        Some(if kind == Kind::Shards { sum } else { sum / all.len() as u64 })
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
        memfree_bytes_before: reading(|one| one.memfree_bytes_before),
        memfree_bytes: reading(|one| one.memfree_bytes),
        slab_bytes_before: reading(|one| one.slab_bytes_before),
        slab_bytes: reading(|one| one.slab_bytes),
    }
}

/// Memory, in words.
pub(crate) fn memory(result: &ResultFile) -> String {
    let resources = &result.resources;
    let of = |name: &str, bytes: Option<f64>| Some(tight(&format!("{name} {} B", grouped(bytes?))));
    let server = resources.server.as_ref().and_then(|server| server.bytes_per_connection);
    let processes = [of("client", resources.client.bytes_per_connection), of("server", server)];
    let processes = processes.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let kernel = of("kernel", resources.kernel.bytes_per_connection).unwrap_or_default();
    let ends = if resources.kernel.both_ends { ", both ends counted" } else { "" };
    let each = |bytes: String, note| match bytes.is_empty() {
        true => bytes,
        false => format!("{bytes} a connection{note}\n"),
    };
    each(processes, "") + &each(kernel, ends) + &within_noise(result) + &footprint(result)
}

/// Whose growth was read, and did not stand out of the noise.
fn within_noise(result: &ResultFile) -> String {
    let resources = &result.resources;
    let one = |name, of: &Process| {
        let read = of.rss_bytes.is_some() && of.rss_bytes_before.is_some();
        (read && of.bytes_per_connection.is_none()).then_some(name)
    };
    let kernel = &resources.kernel;
    let slab = kernel.slab_bytes.is_some() && kernel.slab_bytes_before.is_some();
    let names: Vec<&str> = [
        one("client", &resources.client),
        resources.server.as_ref().and_then(|server| one("server", server)),
        (slab && kernel.bytes_per_connection.is_none()).then_some("kernel"),
    ]
    .into_iter()
    .flatten()
    .collect();
    // With a connection for each request no connection has a size.
    if names.is_empty() || result.plan.has_churn() || result.connections.opened == 0 {
        return String::new();
    }
    format!("{} not measurable: growth within noise\n", names.join(", "))
}

/// What the run took in all, beside what it was said to take.
fn footprint(result: &ResultFile) -> String {
    let (Some(taken), Some(predicted)) = (result.resources.taken, result.resources.predicted)
    else {
        return String::new();
    };
    let of = |taken: String, predicted: String| tight(&format!("{taken} (predicted {predicted})"));
    format!(
        "in all {}, {}\n",
        of(format_size(taken.memory_bytes), format_size(predicted.memory_bytes)),
        of(
            format!("{} open files", format_grouped(taken.open_files)),
            format_grouped(predicted.open_files)
        ),
    )
}

/// CPU time, in words.
pub(crate) fn cpu(result: &ResultFile) -> String {
    let of = |name: &str, process: &Process| {
        let mut text = format!("{name} {}", seconds(process.cpu_seconds?));
        let each = [
            (process.cpu_ns_per_connection, "connection"),
            (process.cpu_ns_per_message, "message"),
        ];
        let each: Vec<_> = each
            .into_iter()
            .filter_map(|(nanoseconds, what)| Some(format!("{} a {what}", time(nanoseconds?))))
            .collect();
        if !each.is_empty() {
            let _ = write!(text, " ({})", each.join(", "));
        }
        Some(text)
    };
    let client = of("client", &result.resources.client);
    let server = result.resources.server.as_ref().and_then(|server| of("server", server));
    client
        .into_iter()
        .chain(server)
        .chain(noise::others_line(result))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_shared_out_only_where_it_stands_out_of_the_noise() {
        let each = |before, growth| growth_each(Some(before), Some(before + growth), 1_000);
        assert_eq!(each(10_000_000, GROWTH_MIN), Some(1_048.576));
        assert_eq!(each(10_000_000, GROWTH_MIN - 1), None, "less than a MiB");
        // A large base is known to a fiftieth only.
        assert_eq!(each(500_000_000, 10_000_000), Some(10_000.0));
        assert_eq!(each(500_000_000, 9_999_999), None);
        assert_eq!(growth_each(Some(5_000_000), Some(1_000_000), 10), None, "it shrank");
        assert_eq!(growth_each(Some(1), Some(9_000_000), 0), None, "of nothing");
    }
}
