//! Memory: of this process, of the machine, of the control group, and of the kernel's TCP sockets.

use crate::{cgroup, sockopt};
use serde::{Deserialize, Serialize};
use std::fs;

/// Resident memory of this process in bytes (proc_pid_statm(5)); `None` where `/proc` is not
/// mounted.
#[must_use]
pub fn process_rss_bytes() -> Option<u64> {
    parse_resident(&fs::read_to_string("/proc/self/statm").ok()?)
}

fn parse_resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Gives memory that this process has freed back to the system: else what comes next seems to need
/// less than it does. Costs milliseconds; not for the hot path.
pub fn give_back() {
    sockopt::trim_heap();
}

/// The machine's memory (proc_meminfo(5)).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemoryInfo {
    /// All that the kernel manages.
    pub total_bytes: u64,
    /// Used by nobody.
    pub free_bytes: u64,
    /// What can be had without swapping: free, and what caches can give back. What a socket costs
    /// shows up here only in part (its inode and directory entry count as a cache), so measure a
    /// run by `free_bytes` or `slab_bytes`.
    pub available_bytes: u64,
    /// The kernel's own small objects, sockets among them.
    pub slab_bytes: u64,
    /// Swap space in all.
    pub swap_total_bytes: u64,
    /// Swap space unused.
    pub swap_free_bytes: u64,
}

/// The machine's memory now; `None` where `/proc` is not mounted.
#[must_use]
pub fn memory_info() -> Option<MemoryInfo> {
    parse_memory_info(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Reads the text of `/proc/meminfo`. Only the total and what is free are demanded.
#[must_use]
pub fn parse_memory_info(meminfo: &str) -> Option<MemoryInfo> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes: u64 = line?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1_024)
    };
    let free_bytes = bytes("MemFree")?;
    Some(MemoryInfo {
        total_bytes: bytes("MemTotal")?,
        free_bytes,
        available_bytes: bytes("MemAvailable").unwrap_or(free_bytes),
        slab_bytes: bytes("Slab").unwrap_or(0),
        swap_total_bytes: bytes("SwapTotal").unwrap_or(0),
        swap_free_bytes: bytes("SwapFree").unwrap_or(0),
    })
}

/// The least memory limit of the control groups that this process is in, bytes; `None` where there
/// is none. The kernel counts sockets against it.
#[must_use]
pub fn cgroup_limit_bytes() -> Option<u64> {
    cgroup::tightest(cgroup::MEMORY)
}

/// The kernel's TCP sockets in this network namespace, IPv4 and IPv6 together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SocketStat {
    /// Sockets with a local port, listeners included, TIME_WAIT not.
    pub tcp_in_use: u64,
    /// Closed by their process, not yet by the peer (IPv4 and IPv6 share the count).
    pub tcp_orphan: u64,
    /// Remains of connections that wait out their time.
    pub tcp_time_wait: u64,
    /// Pages that queued data takes, of all namespaces: what `net.ipv4.tcp_mem` bounds.
    pub tcp_mem_pages: u64,
}

/// The sockets now (`/proc/net/sockstat` and `sockstat6`); `None` where `/proc` is not mounted.
#[must_use]
pub fn sockets() -> Option<SocketStat> {
    let sockstat = fs::read_to_string("/proc/net/sockstat").ok()?;
    let sockstat6 = fs::read_to_string("/proc/net/sockstat6").unwrap_or_default();
    Some(parse_sockets(&sockstat, &sockstat6))
}

/// Reads the texts of `/proc/net/sockstat` and, where IPv6 is there, `/proc/net/sockstat6`.
#[must_use]
pub fn parse_sockets(sockstat: &str, sockstat6: &str) -> SocketStat {
    let tcp = |name: &str| sockstat_value(sockstat, "TCP:", name);
    SocketStat {
        tcp_in_use: tcp("inuse").saturating_add(sockstat_value(sockstat6, "TCP6:", "inuse")),
        tcp_orphan: tcp("orphan"),
        tcp_time_wait: tcp("tw"),
        tcp_mem_pages: tcp("mem"),
    }
}

/// The number after `name` on the line of `protocol`: `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 265`.
fn sockstat_value(text: &str, protocol: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(protocol)).unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|word| *word != name);
    words.nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_by_name_and_in_bytes() {
        let text = "MemTotal:       24683656 kB\nMemFree:        24342812 kB\n\
            MemAvailable:   24378652 kB\nSwapTotal:          2048 kB\nSwapFree:           1024 kB\n\
            KReclaimable:      47044 kB\nSlab:              67080 kB\nHugePages_Total:       0\n";
        let expected = MemoryInfo {
            total_bytes: 24_683_656 << 10,
            free_bytes: 24_342_812 << 10,
            available_bytes: 24_378_652 << 10,
            slab_bytes: 67_080 << 10,
            swap_total_bytes: 2 << 20,
            swap_free_bytes: 1 << 20,
        };
        assert_eq!(parse_memory_info(text), Some(expected));
        // Kernels before 3.14 have no estimate of what is available.
        let old = parse_memory_info("MemTotal: 100 kB\nMemFree: 50 kB\n").expect("old");
        assert_eq!(old.available_bytes, 50 << 10);
        assert_eq!(parse_memory_info("MemTotal: 100 kB\n"), None);
        assert_eq!(parse_memory_info("MemTotal: many kB\nMemFree: 50 kB\n"), None);
    }

    #[test]
    fn sockstat_is_read_by_name() {
        let four =
            "sockets: used 12\nTCP: inuse 7 orphan 2 tw 3 alloc 9 mem 265\nUDP: inuse 5 mem 1\n";
        let six = "TCP6: inuse 4\nUDP6: inuse 1\n";
        let both =
            SocketStat { tcp_in_use: 11, tcp_orphan: 2, tcp_time_wait: 3, tcp_mem_pages: 265 };
        assert_eq!(parse_sockets(four, six), both);
        assert_eq!(parse_sockets(four, ""), SocketStat { tcp_in_use: 7, ..both });
        assert_eq!(parse_sockets("", ""), SocketStat::default());
    }

    #[test]
    fn this_machine_has_memory_and_this_process_uses_some() {
        let info = memory_info().expect("meminfo");
        assert!(info.free_bytes <= info.total_bytes && info.slab_bytes > 0);
        let before = process_rss_bytes().expect("statm");
        assert!(before > 0 && before < info.total_bytes);
        let touched = std::hint::black_box(vec![1u8; 32 << 20]);
        assert!(
            process_rss_bytes() >= Some(before + (16 << 20)),
            "{} bytes were touched",
            touched.len()
        );
        assert!(cgroup_limit_bytes().is_none_or(|limit| limit > 0));
    }

    #[test]
    fn what_is_not_told_is_nothing_and_not_zero() {
        assert_eq!(parse_resident(""), None);
        assert_eq!(parse_resident("12"), None);
        assert!(parse_resident("12 3 1 1 0 1 0").is_some_and(|bytes| bytes >= 3 * 4_096));
    }

    #[test]
    fn an_open_socket_is_counted() {
        let options = crate::socket::ListenOptions { backlog: 1, reuse_port: false };
        let address = "127.0.0.1:0".parse().expect("address");
        let _listener = crate::socket::listen(address, &options).expect("listen");
        assert!(sockets().expect("/proc is there").tcp_in_use >= 1);
    }
}
