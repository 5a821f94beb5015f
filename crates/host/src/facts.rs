//! What a run needs to know about its machine, as one value: the preflight judges it, and every
//! result carries it.

use crate::memory::{MemoryInfo, SocketStat};
use crate::{address, card, cgroup, cpu, kernel, memory, sysctl, table};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The machine and its limits. `None` is what this kernel, namespace or container does not show.
///
/// The host's name is left out on purpose: results are meant to be passed on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Facts {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// The CPUs that are switched on, as the kernel lists them: `0-3`.
    pub cpus_online_list: Option<String>,
    /// The CPUs that this process may use, by number.
    pub cpus_allowed: Vec<usize>,
    /// The clock that the kernel keeps time with; anything but `tsc` makes each stamp dearer.
    pub clock_source: Option<String>,
    /// How the kernel chooses the clock rate of the first CPU that this process may use.
    pub cpu_governor: Option<String>,
    /// The least CPU time that the control groups allow, in thousandths of a CPU.
    pub cgroup_cpu_millis: Option<u64>,
    /// A page of memory, in bytes.
    pub page_bytes: u64,
    /// The machine's memory.
    pub memory: Option<MemoryInfo>,
    /// The least memory limit of the control groups, bytes.
    pub cgroup_memory_bytes: Option<u64>,
    /// What the run is shut into, where that can be told: `docker`, `podman`, `lxc` and so on.
    pub container_kind: Option<String>,

    /// `RLIMIT_NOFILE`, soft: descriptors of one table.
    pub descriptors_soft: u64,
    /// `RLIMIT_NOFILE`, hard: descriptors of one table.
    pub descriptors_hard: u64,
    /// `fs.nr_open`: how far a hard limit can be raised, descriptors.
    pub fs_nr_open: Option<u64>,
    /// `fs.file-max`: open files of the whole machine.
    pub fs_file_max: Option<u64>,
    /// Open files of the whole machine now (`fs.file-nr`).
    pub fs_files_used: Option<u64>,

    /// First and last port that the kernel gives out.
    pub port_range: (u16, u16),
    /// Ports of that range that it leaves out, each as first and last.
    pub reserved_ports: Vec<(u16, u16)>,
    /// `net.core.somaxconn`: connections that may wait to be accepted.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`: handshakes under way that are remembered.
    pub tcp_max_syn_backlog: Option<u64>,
    /// `net.ipv4.tcp_syncookies`: 0 never, 1 when the queue of handshakes is full, 2 always.
    pub tcp_syncookies: Option<u64>,
    /// `net.core.netdev_max_backlog`: packets that may wait for one CPU to take them in.
    pub netdev_max_backlog: Option<u64>,
    /// `net.ipv4.tcp_mem`: queued data of all sockets, in pages: low, pressure, high.
    pub tcp_mem_pages: Option<[u64; 3]>,
    /// `net.ipv4.tcp_rmem`: receive buffer in bytes: least, default, most.
    pub tcp_rmem_bytes: Option<[u64; 3]>,
    /// `net.ipv4.tcp_wmem`: send buffer in bytes: least, default, most.
    pub tcp_wmem_bytes: Option<[u64; 3]>,
    /// `net.ipv4.tcp_max_orphans`: sockets that their process has closed.
    pub tcp_max_orphans: Option<u64>,
    /// `net.ipv4.tcp_max_tw_buckets`: sockets in TIME_WAIT.
    pub tcp_max_tw_buckets: Option<u64>,
    /// `net.ipv4.tcp_tw_reuse`: 0 never, 1 everywhere, 2 over loopback.
    pub tcp_tw_reuse: Option<u64>,
    /// Sockets that there are now; `None` where `/proc` does not tell.
    pub sockets: Option<SocketStat>,
    /// Network cards with hardware behind them.
    pub cards: Vec<card::Card>,
    /// `net.netfilter.nf_conntrack_max`: connections that are tracked; absent without the module.
    pub conntrack_max: Option<u64>,
    /// Connections that are tracked now.
    pub conntrack_used: Option<u64>,
    /// `net.netfilter.nf_conntrack_buckets`: the size of the hash table of those.
    pub conntrack_buckets: Option<u64>,
    /// `net.netfilter.nf_conntrack_tcp_timeout_established`: seconds of silence after which a
    /// connection is forgotten.
    pub conntrack_timeout_seconds: Option<u64>,

    /// `kernel.threads-max`: threads of the whole machine.
    pub threads_max: Option<u64>,
    /// `kernel.pid_max`: process and thread numbers of the whole machine.
    pub pid_max: Option<u64>,
    /// The least limit on tasks of the control groups, threads.
    pub cgroup_tasks_max: Option<u64>,
    /// Threads of the whole machine now.
    pub threads_used: Option<u64>,
    /// `fs.epoll.max_user_watches`: registrations in event queues, all of one user's processes.
    pub epoll_watches_max: Option<u64>,
    /// `vm.max_map_count`: memory mappings of one process.
    pub max_map_count: Option<u64>,
}

impl Facts {
    /// Reads all of it: some forty small files. Call it on the main thread before any pin.
    #[must_use]
    pub fn read() -> Self {
        let limit = table::descriptor_limit();
        let cpus_allowed = cpu::allowed_cpus();
        Self {
            kernel_release: kernel::release(),
            cpu_model: cpu::model_name(),
            cpus_online_list: line("/sys/devices/system/cpu/online"),
            cpu_governor: cpus_allowed.first().and_then(|cpu| governor(*cpu)),
            cpus_allowed,
            cgroup_cpu_millis: cgroup::cpu_millis(),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            page_bytes: rustix::param::page_size() as u64,
            memory: memory::memory_info(),
            cgroup_memory_bytes: memory::cgroup_limit_bytes(),
            container_kind: container_kind(),
            descriptors_soft: limit.soft,
            descriptors_hard: limit.hard,
            fs_nr_open: sysctl::number("fs.nr_open"),
            fs_file_max: sysctl::number("fs.file-max"),
            // Open, always 0, and the maximum (kernel document sysctl/fs).
            fs_files_used: open_files(),
            port_range: address::port_range(),
            reserved_ports: address::reserved_ports(),
            somaxconn: sysctl::number("net.core.somaxconn"),
            tcp_max_syn_backlog: sysctl::number("net.ipv4.tcp_max_syn_backlog"),
            tcp_syncookies: sysctl::number("net.ipv4.tcp_syncookies"),
            netdev_max_backlog: sysctl::number("net.core.netdev_max_backlog"),
            tcp_mem_pages: sysctl::numbers("net.ipv4.tcp_mem"),
            tcp_rmem_bytes: sysctl::numbers("net.ipv4.tcp_rmem"),
            tcp_wmem_bytes: sysctl::numbers("net.ipv4.tcp_wmem"),
            tcp_max_orphans: sysctl::number("net.ipv4.tcp_max_orphans"),
            tcp_max_tw_buckets: sysctl::number("net.ipv4.tcp_max_tw_buckets"),
            tcp_tw_reuse: sysctl::number("net.ipv4.tcp_tw_reuse"),
            sockets: memory::sockets(),
            cards: card::cards(),
            conntrack_max: sysctl::number("net.netfilter.nf_conntrack_max"),
            conntrack_used: sysctl::number("net.netfilter.nf_conntrack_count"),
            conntrack_buckets: sysctl::number("net.netfilter.nf_conntrack_buckets"),
            conntrack_timeout_seconds: sysctl::number(
                "net.netfilter.nf_conntrack_tcp_timeout_established",
            ),
            threads_max: sysctl::number("kernel.threads-max"),
            pid_max: sysctl::number("kernel.pid_max"),
            cgroup_tasks_max: cgroup::tightest(cgroup::TASKS),
            threads_used: line("/proc/loadavg").as_deref().and_then(parse_threads_used),
            epoll_watches_max: sysctl::number("fs.epoll.max_user_watches"),
            max_map_count: sysctl::number("vm.max_map_count"),
        }
    }
}

/// The text of a file of one line; `None` where it cannot be read or is empty.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The frequency governor of a CPU; `None` where the kernel does not set the clock rate, as in most
/// virtual machines.
fn governor(cpu: usize) -> Option<String> {
    line(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"))
}

/// All threads of the machine, from `0.00 0.01 0.05 1/89 1234` (proc_loadavg(5)).
fn parse_threads_used(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// What a container runtime leaves behind: a marker file, a variable, or its name in a path.
fn container_kind() -> Option<String> {
    if Path::new("/.dockerenv").exists() {
        return Some("docker".to_owned());
    }
    if Path::new("/run/.containerenv").exists() {
        return Some("podman".to_owned());
    }
    let variable = std::env::var("container").ok().filter(|name| !name.is_empty());
    variable.or_else(|| kind_in_cgroup(&line("/proc/self/cgroup")?))
}

fn kind_in_cgroup(groups: &str) -> Option<String> {
    const KINDS: [&str; 5] = ["kubepods", "docker", "lxc", "containerd", "libpod"];
    KINDS.into_iter().find(|kind| groups.contains(kind)).map(str::to_owned)
}

/// Open files of the whole machine now (`fs.file-nr`). The kernel counts them by CPU, and may be a
/// few dozen off.
#[must_use]
pub fn open_files() -> Option<u64> {
    sysctl::numbers::<3>("fs.file-nr").map(|[used, ..]| used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_facts_that_fit_together() {
        let facts = Facts::read();
        assert!(!facts.cpus_allowed.is_empty() && facts.page_bytes.is_power_of_two());
        assert!(facts.descriptors_soft <= facts.descriptors_hard);
        assert!(facts.port_range.0 < facts.port_range.1);
        assert!(facts.fs_files_used.is_some_and(|used| used > 0));
        assert!(facts.threads_used.is_some_and(|used| used > 0));
        assert!(
            facts
                .tcp_mem_pages
                .is_some_and(|[low, pressure, high]| low <= pressure && pressure <= high)
        );
        assert_eq!(kernel::parse_release(&facts.kernel_release), kernel::version());
    }

    #[test]
    fn facts_survive_a_result_file() {
        let facts = Facts::read();
        let text = serde_json::to_string(&facts).expect("write");
        assert_eq!(serde_json::from_str::<Facts>(&text).expect("read"), facts);
        let older: Facts = serde_json::from_str(r#"{"kernel_release":"5.10.0"}"#).expect("older");
        assert_eq!(older, Facts { kernel_release: "5.10.0".to_owned(), ..Facts::default() });
    }

    #[test]
    fn threads_and_containers_are_told_from_text() {
        assert_eq!(parse_threads_used("0.00 0.01 0.05 1/89 1234\n"), Some(89));
        assert_eq!(parse_threads_used("0.00 0.01"), None);
        assert_eq!(kind_in_cgroup("0::/kubepods/pod1/x").as_deref(), Some("kubepods"));
        assert_eq!(kind_in_cgroup("4:memory:/docker/abc\n0::/").as_deref(), Some("docker"));
        assert_eq!(kind_in_cgroup("0::/user.slice"), None);
    }
}
