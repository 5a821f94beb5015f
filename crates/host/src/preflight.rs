//! What this machine lacks for a run, found before the run starts: a pure function of what is asked
//! for and of what there is. One limit is one small function in the table `CHECKS`.

use crate::facts::Facts;
use measure::units::{format_grouped, format_size};
use serde::{Deserialize, Serialize};

/// Kernel memory of one end of a connection, bytes: TCP socket 2,368, inode 832, file and directory
/// entry 440, epoll about 250, its share of hash tables and slab pages. Measured with a million held
/// connections on Linux 6.18: 4.2 KB by MemFree and by Slab alike.
pub const KERNEL_BYTES_PER_END: u64 = 4_200;

/// Memory of a reactor beside its connections, bytes: stack, buffers, touched histogram pages.
const REACTOR_BYTES: u64 = 2 << 20;

/// What the kernel adds to the payload of one queued message, bytes (`sk_buff` and its tail).
const QUEUED_OVERHEAD_BYTES: u64 = 1_280;

/// Descriptors of a table that connections do not get: standard streams, poll set, timer, waker,
/// listeners, result file, and room for what a library opens.
const RESERVED_DESCRIPTORS: u64 = 100;

/// And for each reactor, its event queue and its waker: they are made in the common table, which the
/// reactors that start later take a copy of.
const DESCRIPTORS_PER_REACTOR: u64 = 2;

/// Reactors that a process can have: each is a thread, a table and an event queue.
pub const REACTORS_MAX: u64 = 1024;

/// Threads of a process beside its reactors: main, control, signals, metrics.
const OTHER_THREADS: u64 = 8;

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
    /// Source addresses of the client.
    pub sources: u64,
    /// Addresses (ip and port) that the client connects to.
    pub targets: u64,
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

    fn memory_bytes(&self) -> u64 {
        let per_end = KERNEL_BYTES_PER_END.saturating_add(self.user_bytes_per_connection);
        let connections = per_end.saturating_mul(self.connections);
        let one_end = connections.saturating_add(REACTOR_BYTES.saturating_mul(self.reactors));
        one_end.saturating_mul(self.ends_here()).saturating_add(self.queued_bytes())
    }

    fn queued_bytes(&self) -> u64 {
        let each = self.message_bytes.saturating_add(QUEUED_OVERHEAD_BYTES);
        each.saturating_mul(self.messages_in_flight)
    }
}

/// How grave a finding is, in ascending order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Enough.
    Ok,
    /// The run may go on, but its numbers may suffer.
    Warning,
    /// The run cannot reach what it asks for.
    Refusal,
}

/// One limit, held against what is asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The limit's name: a word, or the sysctl's own.
    pub name: String,
    /// How grave it is.
    pub severity: Severity,
    /// What there is, with unit.
    pub have: String,
    /// What is asked for, with unit.
    pub need: String,
    /// What the limit does to a run.
    pub why: String,
    /// The command or the sentence that mends it; `None` where there is nothing to mend.
    pub remedy: Option<String>,
    /// The sysctl and the value that mend it, for scripts.
    pub sysctl: Option<(String, String)>,
}

impl Finding {
    /// A limit that suffices where `have` is at least `need`, and is of this severity otherwise.
    fn compare(name: &str, unit: Unit, have: u64, need: u64, lacking: Severity) -> Self {
        Self {
            name: name.to_owned(),
            severity: if have >= need { Severity::Ok } else { lacking },
            have: unit.format(have),
            need: unit.format(need),
            why: String::new(),
            remedy: None,
            sysctl: None,
        }
    }

    fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = (self.severity > Severity::Ok).then(|| remedy.into());
        self
    }

    /// Mends a lack by a setting that has a name of its own.
    fn set(mut self, name: &str, value: u64) -> Self {
        if self.severity > Severity::Ok {
            self.remedy = Some(format!("sudo sysctl -w {name}={value}"));
            self.sysctl = Some((name.to_owned(), value.to_string()));
        }
        self
    }
}

/// Beyond what any machine has of anything.
const UNLIMITED: u64 = 1 << 60;

#[derive(Clone, Copy, Debug)]
enum Unit {
    Things,
    Bytes,
}

impl Unit {
    fn format(self, value: u64) -> String {
        match self {
            // Some limits are switched off by the highest number there is, less what is in use.
            Self::Things if value >= UNLIMITED => "unlimited".to_owned(),
            Self::Things => format_grouped(value),
            Self::Bytes => format_size(value),
        }
    }
}

/// A check of one limit; `None` where it does not concern this run or the machine does not show it.
type Check = fn(&Demand, &Facts) -> Option<Finding>;

/// All checks, in the order of the table that people read. To add a limit, write one such function
/// and name it here. What it needs must not shrink as connections grow: [`largest_that_fits`]
/// relies on that.
const CHECKS: &[Check] = &[
    descriptors,
    nr_open,
    file_max,
    epoll_watches,
    ports,
    memory,
    somaxconn,
    tcp_mem,
    conntrack,
    threads,
    max_map_count,
];

/// Holds a demand against a machine: one finding for each limit that concerns it, those that
/// suffice included.
#[must_use]
pub fn check(demand: &Demand, facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().filter_map(|check| check(demand, facts)).collect()
}

/// The findings as people read them: a line each, and what mends it below those that lack something.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let widest = |heading: &str, column: fn(&Finding) -> &String| {
        findings.iter().map(|f| column(f).len()).chain([heading.len()]).max().unwrap_or(0)
    };
    let (name, have) = (widest("limit", |f| &f.name), widest("have", |f| &f.have));
    let need = widest("need", |f| &f.need);
    let mut text = format!("       {:name$}  {:>have$}  {:>need$}\n", "limit", "have", "need");
    for finding in findings {
        let mark = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warn",
            Severity::Refusal => "LACKS",
        };
        let Finding { name: n, have: h, need: d, .. } = finding;
        text.push_str(&format!("{mark:>5}  {n:name$}  {h:>have$}  {d:>need$}\n"));
        if finding.severity > Severity::Ok {
            text.push_str(&format!("       why: {}\n", finding.why));
            if let Some(remedy) = &finding.remedy {
                text.push_str(&format!("       do:  {remedy}\n"));
            }
        }
    }
    text
}

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

/// The sysctls that would mend findings, one `name value` per line, for scripts.
#[must_use]
pub fn settings(findings: &[Finding]) -> String {
    let wanted = findings.iter().filter_map(|finding| finding.sysctl.as_ref());
    wanted.map(|(name, value)| format!("{name} {value}\n")).collect()
}

fn descriptors(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let limit = facts.descriptors_hard;
    let (room, need) = (descriptors_per_table(limit, demand.reactors), demand.fullest_table());
    let reactors = reactors_needed(demand.connections, limit, demand.role.accepts());
    let finding = Finding::compare("descriptors", Unit::Things, room, need, Severity::Refusal);
    let why = format!(
        "each connection takes a descriptor, and RLIMIT_NOFILE (hard {}) bounds each table; \
         the fullest of {} would hold {}",
        Unit::Things.format(limit),
        format_grouped(demand.tables()),
        format_grouped(need),
    );
    let raise = need.saturating_add(limit.saturating_sub(room).max(RESERVED_DESCRIPTORS));
    let remedy = match reactors {
        Some(reactors) => format!(
            "--reactors {reactors} (a table of its own for each), or as root: ulimit -n {raise}"
        ),
        None => format!("as root: ulimit -n {raise}"),
    };
    Some(finding.why(why).remedy(remedy))
}

fn nr_open(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let need = demand.fullest_table().saturating_add(RESERVED_DESCRIPTORS);
    let have = facts.fs_nr_open?;
    let finding = Finding::compare("fs.nr_open", Unit::Things, have, need, Severity::Refusal);
    let why = "no descriptor number of any process may be higher, whatever RLIMIT_NOFILE says";
    Some(finding.why(why).set("fs.nr_open", need.next_multiple_of(1_024)))
}

fn file_max(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let (max, used) = (facts.fs_file_max?, facts.fs_files_used.unwrap_or(0));
    let each_end = demand.connections.saturating_add(demand.reactors.saturating_mul(8));
    let need = each_end.saturating_mul(demand.ends_here()).saturating_add(1_000);
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

fn epoll_watches(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let each_end = demand.connections.saturating_add(demand.reactors.saturating_mul(8));
    let need = each_end.saturating_mul(demand.ends_here());
    let have = facts.epoll_watches_max?;
    let finding = Finding::compare("epoll watches", Unit::Things, have, need, Severity::Refusal);
    let why = "each connection is registered in an event queue, and a user may register so many";
    Some(finding.why(why).set("fs.epoll.max_user_watches", need.saturating_add(need / 10)))
}

fn ports(demand: &Demand, _: &Facts) -> Option<Finding> {
    if !demand.role.connects() {
        return None;
    }
    let (have, need) = (demand.four_tuples, demand.connections);
    let finding = Finding::compare("ports", Unit::Things, have, need, Severity::Refusal);
    let why = format!(
        "a connection is a pair of addresses with ports, unique on the machine, and there are {} \
         such pairs from {} source addresses to {} targets",
        format_grouped(have),
        format_grouped(demand.sources),
        format_grouped(demand.targets),
    );
    let remedy = match have / demand.sources.max(1) {
        0 => "allow at least one port for each source address, and name a target".to_owned(),
        each => format!(
            "name at least {} source addresses (--source-ip), or more targets",
            format_grouped(need.div_ceil(each))
        ),
    };
    Some(finding.why(why).remedy(remedy))
}

fn memory(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let available = facts.memory?.available_bytes;
    let group = facts.cgroup_memory_bytes.unwrap_or(u64::MAX);
    let (have, need) = (available.min(group), demand.memory_bytes());
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

fn somaxconn(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.accepts() {
        return None;
    }
    let (have, need) = (facts.somaxconn?, u64::from(demand.backlog));
    let finding = Finding::compare("somaxconn", Unit::Things, have, need, Severity::Warning);
    let why = "the kernel silently cuts a listener's backlog to it; when the queue is full, \
               handshakes are dropped and tried again after a second";
    Some(finding.why(why).set("net.core.somaxconn", need))
}

fn tcp_mem(demand: &Demand, facts: &Facts) -> Option<Finding> {
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
    if finding.severity > Severity::Ok {
        finding.remedy = Some(format!("sudo sysctl -w net.ipv4.tcp_mem='{value}'"));
        finding.sysctl = Some(("net.ipv4.tcp_mem".to_owned(), value));
    }
    Some(finding.why(why))
}

fn conntrack(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let (max, used) = (facts.conntrack_max?, facts.conntrack_used.unwrap_or(0));
    // The module may be there without a rule that uses it: then nothing is counted, and full or not
    // does not matter. An entry in the table shows that connections are tracked.
    let lacking = if used > 0 { Severity::Refusal } else { Severity::Warning };
    let need = demand.connections;
    let have = max.saturating_sub(used);
    let finding = Finding::compare("conntrack", Unit::Things, have, need, lacking);
    let why = format!(
        "where firewall rules track connections, each takes an entry (over loopback one for both \
         ends) and a full table drops packets; {}",
        if used > 0 { "they do here" } else { "nothing is tracked now" },
    );
    let value = need.saturating_add(used).saturating_mul(11) / 10;
    Some(finding.why(why).set("net.netfilter.nf_conntrack_max", value))
}

fn threads(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let used = facts.threads_used.unwrap_or(0);
    let limits = [
        (Some("kernel.threads-max"), facts.threads_max.map(|max| max.saturating_sub(used))),
        (Some("kernel.pid_max"), facts.pid_max.map(|max| max.saturating_sub(used))),
        (None, facts.cgroup_tasks_max),
    ];
    let known = limits.into_iter().filter_map(|(name, have)| Some((name, have?)));
    let (setting, have) = known.min_by_key(|(_, have)| *have)?;
    let each_end = demand.reactors.saturating_add(OTHER_THREADS);
    let need = each_end.saturating_mul(demand.ends_here());
    let finding = Finding::compare("threads", Unit::Things, have, need, Severity::Refusal);
    let why = format!(
        "each reactor is a thread; the tightest limit is {}, with {} threads running",
        setting.unwrap_or("that of the control group (pids.max)"),
        format_grouped(used),
    );
    let finding = finding.why(why);
    Some(match setting {
        Some(name) => finding.set(name, need.saturating_add(used).saturating_mul(2)),
        None => finding.remedy("raise pids.max of the control group, or ask for fewer reactors"),
    })
}

fn max_map_count(demand: &Demand, facts: &Facts) -> Option<Finding> {
    // A stack with its guard, a heap arena with its guard, and the larger tables of a reactor.
    let need = demand.reactors.saturating_mul(16).saturating_add(1_000);
    let have = facts.max_map_count?;
    let finding = Finding::compare("max_map_count", Unit::Things, have, need, Severity::Refusal);
    let why = "each thread maps its stack, its heap and its tables; beyond it an allocation fails";
    Some(finding.why(why).set("vm.max_map_count", need))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The first was recorded; the others follow the defaults of such machines.
    /// Two cores, 24 GiB, 20,000 descriptors and no privilege to raise them, in a container.
    const SMALL_VM: &str = include_str!("../fixtures/small_vm.json");
    /// Eight threads, 16 GiB, the old limits of 1,024 and 4,096 descriptors, a firewall that tracks.
    const LAPTOP: &str = include_str!("../fixtures/laptop.json");
    /// Four cores of a machine with 64 GiB, of which the group may use 512 MiB and 64 tasks.
    const CONTAINER: &str = include_str!("../fixtures/container.json");
    /// 64 threads, 256 GiB, no tracking.
    const BIG_SERVER: &str = include_str!("../fixtures/big_server.json");

    fn facts(text: &str) -> Facts {
        serde_json::from_str(text).expect("facts")
    }

    /// A million connections over loopback, as many reactors as the small machine needs.
    fn million(role: Role) -> Demand {
        Demand {
            role,
            peer_here: true,
            connections: 1_000_000,
            reactors: 56,
            own_tables: true,
            sources: 20,
            targets: 1,
            four_tuples: 1_200_000,
            backlog: 4_096,
            user_bytes_per_connection: 64,
            messages_in_flight: 1_000,
            message_bytes: 32,
        }
    }

    fn finding(demand: &Demand, facts: &Facts, name: &str) -> Finding {
        let findings = check(demand, facts);
        findings.into_iter().find(|finding| finding.name == name).expect(name)
    }

    /// The names of what is not enough, graver ones marked.
    fn complaints(demand: &Demand, facts: &Facts) -> Vec<String> {
        let findings = check(demand, facts).into_iter();
        let lacking = findings.filter(|finding| finding.severity > Severity::Ok);
        let mark = |finding: Finding| match finding.severity {
            Severity::Refusal => format!("{}!", finding.name),
            _ => finding.name,
        };
        lacking.map(mark).collect()
    }

    #[test]
    fn a_million_fits_on_the_small_machine() {
        let facts = facts(SMALL_VM);
        assert_eq!(complaints(&million(Role::Both), &facts), ["conntrack"]);
        let (fits, reason) = largest_that_fits(&million(Role::Both), &facts);
        assert_eq!((fits, reason.as_str()), (1_000_000, "all 1,000,000 connections fit"));
        let names: Vec<_> =
            check(&million(Role::Both), &facts).into_iter().map(|finding| finding.name).collect();
        assert_eq!(names.len(), CHECKS.len(), "those that suffice are in the table too: {names:?}");
    }

    #[test]
    fn two_million_are_too_many_open_files_there() {
        let facts = facts(SMALL_VM);
        let demand =
            Demand { connections: 2_000_000, reactors: 112, sources: 40, ..million(Role::Both) };
        let demand = Demand { four_tuples: 2_400_000, ..demand };
        assert_eq!(complaints(&demand, &facts), ["fs.file-max!", "conntrack"]);
        let file_max = finding(&demand, &facts, "fs.file-max");
        let (name, value) = file_max.sysctl.expect("a setting");
        let mended = Facts { fs_file_max: value.parse().ok(), ..facts.clone() };
        assert_eq!(complaints(&demand, &mended), ["conntrack"]);
        assert_eq!(file_max.remedy, Some(format!("sudo sysctl -w {name}={value}")));
        let (fits, reason) = largest_that_fits(&demand, &facts);
        assert!((1_200_000..1_235_000).contains(&fits), "{fits}");
        assert!(reason.contains("fs.file-max"), "{reason}");
    }

    #[test]
    fn one_table_is_not_enough_and_the_remedy_says_how_many_are() {
        let facts = facts(SMALL_VM);
        let demand = Demand { own_tables: false, ..million(Role::Client) };
        let finding = finding(&demand, &facts, "descriptors");
        assert_eq!(finding.severity, Severity::Refusal);
        assert_eq!((finding.have.as_str(), finding.need.as_str()), ("19,788", "1,000,000"));
        assert!(finding.remedy.expect("remedy").starts_with("--reactors 51 "));
    }

    #[test]
    fn a_server_needs_more_tables_than_a_client() {
        let facts = facts(SMALL_VM);
        let with = |role, reactors| {
            let demand = Demand { reactors, ..million(role) };
            finding(&demand, &facts, "descriptors").severity
        };
        assert_eq!(with(Role::Client, 51), Severity::Ok);
        assert_eq!(with(Role::Client, 50), Severity::Refusal);
        assert_eq!(with(Role::Server, 53), Severity::Ok);
        assert_eq!(with(Role::Server, 52), Severity::Refusal);
        assert_eq!(with(Role::Both, 52), Severity::Refusal);
    }

    #[test]
    fn the_laptop_needs_tables_memory_and_room_in_conntrack() {
        let facts = facts(LAPTOP);
        let complaints_of = complaints(&million(Role::Both), &facts);
        assert_eq!(complaints_of, ["descriptors!", "memory", "conntrack!"]);
        let conntrack = finding(&million(Role::Both), &facts, "conntrack");
        assert!(conntrack.why.ends_with("they do here"), "{}", conntrack.why);
        let demand = Demand { reactors: 350, ..million(Role::Both) };
        assert_eq!(finding(&demand, &facts, "descriptors").severity, Severity::Ok);
        let (fits, reason) = largest_that_fits(&demand, &facts);
        assert_eq!(fits, facts.conntrack_max.unwrap() - facts.conntrack_used.unwrap());
        assert!(reason.contains("conntrack is "), "{reason}");
    }

    #[test]
    fn the_container_is_bound_by_its_group() {
        let facts = facts(CONTAINER);
        let demand =
            Demand { reactors: 4, connections: 100_000, sources: 2, ..million(Role::Both) };
        assert_eq!(complaints(&demand, &facts), ["memory!"]);
        let (fits, reason) = largest_that_fits(&demand, &facts);
        assert!((55_000..65_000).contains(&fits), "{fits}");
        assert!(reason.contains("512 MiB is the control group's limit"), "{reason}");
        let threads = finding(&million(Role::Both), &facts, "threads");
        assert_eq!((threads.severity, threads.sysctl), (Severity::Refusal, None));
        assert!(threads.why.contains("pids.max"), "{}", threads.why);
        // Too many threads: then not even one connection fits.
        assert_eq!(largest_that_fits(&million(Role::Both), &facts).0, 0);
    }

    #[test]
    fn the_big_server_lacks_nothing_but_backlog() {
        let facts = facts(BIG_SERVER);
        let demand = Demand {
            peer_here: false,
            reactors: 64,
            connections: 10_000_000,
            backlog: 65_535,
            ..million(Role::Server)
        };
        assert_eq!(complaints(&demand, &facts), ["somaxconn"]);
        let somaxconn = finding(&demand, &facts, "somaxconn");
        let setting = ("net.core.somaxconn".to_owned(), "65535".to_owned());
        assert_eq!((somaxconn.have.as_str(), somaxconn.sysctl), ("4,096", Some(setting)));
        assert_eq!(finding(&demand, &facts, "fs.file-max").have, "unlimited");
        assert!(!check(&demand, &facts).iter().any(|finding| finding.name == "ports"));
        assert!(!check(&demand, &facts).iter().any(|finding| finding.name == "conntrack"));
        let one_table = Demand { own_tables: false, ..demand };
        assert_eq!(complaints(&one_table, &facts), ["descriptors!", "fs.nr_open!", "somaxconn"]);
    }

    #[test]
    fn settings_are_lines_for_scripts() {
        let facts = facts(SMALL_VM);
        let demand = Demand { connections: 2_000_000, reactors: 112, ..million(Role::Both) };
        let text = settings(&check(&demand, &facts));
        let names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["fs.file-max", "net.netfilter.nf_conntrack_max"], "{text}");
        assert_eq!(settings(&check(&Demand { connections: 10, ..demand }, &facts)), "");
    }

    #[test]
    fn fewer_connections_need_fewer_threads() {
        let facts = facts(CONTAINER);
        let findings = |connections: u64| {
            let reactors = connections.div_ceil(19_900).max(1);
            check(&Demand { connections, reactors, ..million(Role::Both) }, &facts)
        };
        let (fits, reason) = largest_unrefused(1_000_000, findings);
        assert!((55_000..65_000).contains(&fits), "{fits}");
        assert!(reason.contains("memory is"), "{reason}");
    }

    #[test]
    fn sources_bound_the_ports() {
        let facts = facts(SMALL_VM);
        let demand = Demand { sources: 16, four_tuples: 960_000, ..million(Role::Client) };
        let ports = finding(&demand, &facts, "ports");
        assert_eq!((ports.severity, ports.have.as_str()), (Severity::Refusal, "960,000"));
        let remedy = "name at least 17 source addresses (--source-ip), or more targets";
        assert_eq!(ports.remedy.as_deref(), Some(remedy));
        assert_eq!(largest_that_fits(&demand, &facts).0, 960_000);
        let two_targets = Demand { targets: 2, four_tuples: 1_920_000, ..demand.clone() };
        assert_eq!(finding(&two_targets, &facts, "ports").severity, Severity::Ok);
        let none = Demand { four_tuples: 0, ..demand };
        assert_eq!(largest_that_fits(&none, &facts).0, 0);
    }

    #[test]
    fn queued_data_counts_and_idle_connections_do_not() {
        let facts = facts(SMALL_VM);
        let severity = |messages_in_flight| {
            let demand = Demand { messages_in_flight, ..million(Role::Both) };
            finding(&demand, &facts, "tcp_mem").severity
        };
        assert_eq!(severity(0), Severity::Ok);
        assert_eq!(severity(400_000), Severity::Warning);
        assert_eq!(severity(1_000_000), Severity::Refusal);
    }

    #[test]
    fn what_a_machine_does_not_show_is_not_judged() {
        let blind = Facts { descriptors_hard: 1_000_000, ..Facts::default() };
        let findings = check(&million(Role::Both), &blind);
        let names: Vec<_> = findings.into_iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["descriptors", "ports"]);
    }

    #[test]
    fn every_finding_says_why_and_every_lack_how_to_mend_it() {
        for text in [SMALL_VM, LAPTOP, CONTAINER, BIG_SERVER] {
            for role in [Role::Client, Role::Server, Role::Both] {
                for finding in check(&million(role), &facts(text)) {
                    assert!(!finding.why.is_empty(), "{}", finding.name);
                    assert_eq!(finding.remedy.is_some(), finding.severity > Severity::Ok);
                    assert!(finding.sysctl.is_none() || finding.remedy.is_some());
                }
            }
        }
    }

    #[test]
    fn chance_needs_room() {
        assert_eq!(descriptors_per_table(20_000, 10), 19_880);
        assert_eq!(descriptors_per_table(50, 1), 0);
        assert_eq!(fullest_table(1_000_000, 50, false), 20_000);
        assert_eq!(fullest_table(1_000_000, 100, true), 10_600);
        assert_eq!(fullest_table(1_000_000, 1, true), 1_000_000);
        assert_eq!(reactors_needed(1_000_000, 20_000, false), Some(51));
        assert_eq!(reactors_needed(1_000_000, 20_000, true), Some(53));
        assert_eq!(reactors_needed(19_000, 20_000, true), Some(1));
        assert_eq!(reactors_needed(0, 20_000, true), Some(1));
        // Small tables: the reactors' own descriptors count. 76 without them.
        assert_eq!(reactors_needed(300_000, 4_096, false), Some(79));
        assert_eq!(reactors_needed(1_000_000, 1_024, false), None);
    }

    proptest! {
        #[test]
        fn the_reactors_needed_suffice_and_one_less_does_not(
            connections in 0..10_000_000u64,
            limit in 100..100_000u64,
            hashed: bool,
        ) {
            let fits = |reactors| {
                fullest_table(connections, reactors, hashed) <= descriptors_per_table(limit, reactors)
            };
            match reactors_needed(connections, limit, hashed) {
                Some(reactors) => {
                    prop_assert!(fits(reactors));
                    prop_assert!(reactors == 1 || !fits(reactors - 1));
                }
                None => prop_assert!(!(1..=REACTORS_MAX).any(fits)),
            }
        }

        #[test]
        fn what_fits_is_not_refused_and_one_more_is(
            asked in 0..4_000_000u64,
            reactors in 1..200u64,
            sources in 0..60u64,
            hard in 0..50_000u64,
            peer_here: bool,
        ) {
            let facts = Facts { descriptors_hard: hard, ..facts(SMALL_VM) };
            let demand = Demand {
                connections: asked,
                reactors,
                sources,
                peer_here,
                ..million(Role::Client)
            };
            let (fits, reason) = largest_that_fits(&demand, &facts);
            let refused = |connections| {
                let findings = check(&Demand { connections, ..demand.clone() }, &facts);
                findings.iter().any(|finding| finding.severity == Severity::Refusal)
            };
            prop_assert!(fits <= asked && !refused(fits), "{}", reason);
            prop_assert!(fits == asked || refused(fits + 1), "{}", reason);
            prop_assert_eq!(fits == asked, reason.starts_with("all "));
        }

        #[test]
        fn no_demand_is_too_large_to_be_judged(
            connections: u64, reactors: u64, sources: u64, targets: u64, bytes: u64,
        ) {
            let demand = Demand {
                connections,
                reactors,
                sources,
                targets,
                four_tuples: bytes,
                user_bytes_per_connection: bytes,
                messages_in_flight: connections,
                message_bytes: bytes,
                ..million(Role::Both)
            };
            prop_assert!(check(&demand, &facts(LAPTOP)).len() >= 9);
        }
    }
}
