//! `Counters`: what the kernel of one end has counted up to a moment, and the bounds that go with
//! it. The readers of text are pure; [`Counters::read`] opens the files.

use crate::memory::{self, SocketStat};
use crate::sysctl;
use serde::{Deserialize, Serialize};
use std::fs;

/// One end at one moment. Counts grow from the machine's start on; those of the network belong to
/// the namespace that the reader is in, except for [`Counters::packet_queue_drops`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Counters {
    /// Connections that were ready and found the accept queue full (`TcpExt: ListenOverflows`).
    pub listen_overflows: u64,
    /// Handshakes dropped by listeners for any reason, those included (`ListenDrops`).
    pub listen_drops: u64,
    /// Handshakes dropped because too many were under way (`TCPReqQFullDrop`).
    pub handshake_queue_drops: u64,
    /// Handshakes answered with cookies because too many were under way (`TCPReqQFullDoCookies`).
    pub handshake_queue_cookies: u64,
    /// Handshakes whose first packet had to be sent again, each time (`TCPSynRetrans`).
    pub handshake_retransmits: u64,
    /// Connections reset for want of memory, or because there were too many orphans
    /// (`TCPAbortOnMemory`).
    pub aborts_on_memory: u64,
    /// Times that TCP's memory came above the pressure mark of `tcp_mem` (`TCPMemoryPressures`).
    pub memory_pressures: u64,
    /// Segments that were sent again (`Tcp: RetransSegs`).
    pub retransmits: u64,
    /// Packets dropped because too many waited for a CPU (`/proc/net/softnet_stat`), whole machine.
    pub packet_queue_drops: u64,
    /// Packets that connection tracking dropped, as it does when its table is full.
    pub conntrack_drops: u64,

    /// Sockets.
    pub sockets: SocketStat,
    /// Connections tracked; `None` without the module.
    pub conntrack_used: Option<u64>,
    /// And how many may be.
    pub conntrack_max: Option<u64>,
    /// Files open on the whole machine.
    pub files_used: Option<u64>,
    /// And how many may be.
    pub files_max: Option<u64>,
    /// The machine's memory in bytes.
    pub memory_total_bytes: u64,
    /// What of it can be had without swapping.
    pub memory_available_bytes: u64,

    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub tcp_max_syn_backlog: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub tcp_syncookies: Option<u64>,
    /// `net.core.netdev_max_backlog`.
    pub netdev_max_backlog: Option<u64>,
    /// `net.ipv4.tcp_mem`: pages.
    pub tcp_mem_pages: Option<[u64; 3]>,
    /// `net.ipv4.tcp_max_orphans`.
    pub tcp_max_orphans: Option<u64>,
}

impl Counters {
    /// Reads them: some fifteen small files, well below a millisecond. What cannot be read stays 0.
    #[must_use]
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = memory::memory_info().unwrap_or_default();
        let files = sysctl::numbers::<3>("fs.file-nr");
        let mut counters = Self {
            packet_queue_drops: parse_softnet(&text("/proc/net/softnet_stat")),
            conntrack_drops: parse_conntrack_drops(&text("/proc/net/stat/nf_conntrack")),
            sockets: memory::sockets().unwrap_or_default(),
            conntrack_used: sysctl::number("net.netfilter.nf_conntrack_count"),
            conntrack_max: sysctl::number("net.netfilter.nf_conntrack_max"),
            files_used: files.map(|[used, ..]| used),
            files_max: files.map(|[.., max]| max),
            memory_total_bytes: memory.total_bytes,
            memory_available_bytes: memory.available_bytes,
            somaxconn: sysctl::number("net.core.somaxconn"),
            tcp_max_syn_backlog: sysctl::number("net.ipv4.tcp_max_syn_backlog"),
            tcp_syncookies: sysctl::number("net.ipv4.tcp_syncookies"),
            netdev_max_backlog: sysctl::number("net.core.netdev_max_backlog"),
            tcp_mem_pages: sysctl::numbers("net.ipv4.tcp_mem"),
            tcp_max_orphans: sysctl::number("net.ipv4.tcp_max_orphans"),
            ..Self::default()
        };
        counters.take_netstat(&text("/proc/net/netstat"));
        counters.take_snmp(&text("/proc/net/snmp"));
        counters
    }

    fn take_netstat(&mut self, netstat: &str) {
        let count = |name| named(netstat, "TcpExt:", name);
        self.listen_overflows = count("ListenOverflows");
        self.listen_drops = count("ListenDrops");
        self.handshake_queue_drops = count("TCPReqQFullDrop");
        self.handshake_queue_cookies = count("TCPReqQFullDoCookies");
        self.handshake_retransmits = count("TCPSynRetrans");
        self.aborts_on_memory = count("TCPAbortOnMemory");
        self.memory_pressures = count("TCPMemoryPressures");
    }

    fn take_snmp(&mut self, snmp: &str) {
        self.retransmits = named(snmp, "Tcp:", "RetransSegs");
    }
}

/// A number of `/proc/net/netstat` or `snmp`: each protocol has a line of names and below it one of
/// values. 0 where this kernel does not count it.
fn named(text: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(other, _)| *other == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// The second hexadecimal column of each line, a line for each CPU.
fn parse_softnet(text: &str) -> u64 {
    let drops = text.lines().filter_map(|line| line.split_whitespace().nth(1));
    drops.filter_map(|drops| u64::from_str_radix(drops, 16).ok()).sum()
}

/// The column `drop`, hexadecimal, over the lines of all CPUs below the line of names.
fn parse_conntrack_drops(text: &str) -> u64 {
    let mut lines = text.lines();
    let column = lines.next().and_then(|names| names.split_whitespace().position(|n| n == "drop"));
    let Some(column) = column else { return 0 };
    let drops = lines.filter_map(|line| line.split_whitespace().nth(column));
    drops.filter_map(|drops| u64::from_str_radix(drops, 16).ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_text_is_read_by_name() {
        let mut counters = Counters::default();
        counters.take_netstat(include_str!("../../fixtures/counters/netstat.txt"));
        counters.take_snmp(include_str!("../../fixtures/counters/snmp.txt"));
        let expected = Counters {
            listen_overflows: 4_112,
            listen_drops: 4_120,
            handshake_queue_drops: 216,
            handshake_queue_cookies: 9,
            handshake_retransmits: 2_926,
            aborts_on_memory: 3,
            memory_pressures: 2,
            retransmits: 16_211,
            ..Counters::default()
        };
        assert_eq!(counters, expected);
        let mut none = Counters::default();
        none.take_netstat("TcpExt: SyncookiesSent\nTcpExt: 5\n");
        none.take_snmp("");
        assert_eq!(none, Counters::default());
    }

    #[test]
    fn columns_of_hexadecimal_numbers_are_added_up() {
        let softnet = "0fe55e82 00000086 00000092\n0f807879 000020f3 0000008f\n";
        assert_eq!(parse_softnet(softnet), 0x86 + 0x20f3);
        let conntrack = include_str!("../../fixtures/counters/nf_conntrack.txt");
        assert_eq!(parse_conntrack_drops(conntrack), 0x1f + 0x2);
        assert_eq!((parse_softnet(""), parse_conntrack_drops("entries\n00\n")), (0, 0));
    }

    #[test]
    fn this_machine_counts() {
        let counters = Counters::read();
        assert!(counters.somaxconn.is_some_and(|value| value > 0));
        assert!(counters.files_used.is_some_and(|used| used > 0));
        assert!(counters.memory_available_bytes <= counters.memory_total_bytes);
        let text = serde_json::to_string(&counters).expect("write");
        assert_eq!(serde_json::from_str::<Counters>(&text).expect("read"), counters);
    }
}
