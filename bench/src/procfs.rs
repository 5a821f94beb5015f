//! What the kernel tells in `/proc`: CPU time of a process, memory, the ephemeral port range.

use crate::socket;
use anyhow::{Context, Result, ensure};
use measure::Nanos;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;

/// The CPU time of a process: the sum over its threads, from `/proc/PID/task/TID/schedstat`
/// (Documentation/scheduler/sched-stats: the first field is nanoseconds spent on a CPU).
///
/// A thread that is running right now is accounted up to its last scheduler tick (1 to 10 ms ago).
pub(crate) fn cpu_time(pid: u32) -> Result<Nanos> {
    let tasks = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&tasks).with_context(|| format!("no process {pid} is running"))?;
    let mut sum = Nanos::ZERO;
    for entry in entries {
        // A thread may end between the listing and the reading; its time is then gone.
        if let Ok(text) = fs::read_to_string(entry?.path().join("schedstat")) {
            sum +=
                parse_schedstat(&text).with_context(|| format!("{tasks} has an odd schedstat"))?;
        }
    }
    Ok(sum)
}

fn parse_schedstat(text: &str) -> Option<Nanos> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Nanos)
}

/// The CPU time that this process has used so far, exact.
pub(crate) fn own_cpu_time() -> Nanos {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Nanos::from_secs(time.tv_sec as u64) + Nanos(time.tv_nsec as u64)
}

/// The time that all CPUs together were at work: user, nice, system, irq and softirq of
/// proc_stat(5), in hundredths of a second. What an interrupt takes counts for the process that it
/// came upon, too.
pub(crate) fn machine_cpu_time() -> Result<Nanos> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat cannot be read")?;
    parse_stat(&text).context("/proc/stat has an odd first line")
}

fn parse_stat(text: &str) -> Option<Nanos> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, nice, system, _idle, _iowait) = (next()?, next()?, next()?, next()?, next()?);
    let (irq, softirq) = (next()?, next()?);
    Some(Nanos::from_millis(10 * (user + nice + system + irq + softirq)))
}

/// What connections cost the machine. `MemAvailable` is left out on purpose: it counts inodes and
/// dentries of sockets as reclaimable, and so understates the cost by a quarter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) free: u64,
    pub(crate) slab: u64,
    /// Resident bytes of this process.
    pub(crate) resident: u64,
}

impl Memory {
    pub(crate) fn read() -> Result<Self> {
        let (system, own) = ("/proc/meminfo", "/proc/self/status");
        Ok(Self {
            free: field(system, "MemFree:")?,
            slab: field(system, "Slab:")?,
            resident: field(own, "VmRSS:")?,
        })
    }
}

fn field(path: &str, key: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?;
    parse_field(&text, key).with_context(|| format!("{path} has no line '{key} ... kB'"))
}

/// The bytes in a line like `MemFree:    1234 kB`.
fn parse_field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A port of 127.0.0.1 that is free now; below the ephemeral range, where no outgoing connection
/// can take it, as long as that range leaves any.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let range = Path::new("/proc/sys/net/ipv4/ip_local_port_range");
    let text = fs::read_to_string(range).context("the ephemeral port range cannot be read")?;
    let low: u16 = text.split_ascii_whitespace().next().unwrap_or_default().parse()?;
    // All listeners are held until the end, so that no port is found twice.
    let candidates = (1_024..low).rev().chain(low.max(1_024)..=u16::MAX);
    let held = candidates.filter_map(|port| Some((port, socket::listen(port, false).ok()?)));
    let held: Vec<_> = held.take(count).collect();
    ensure!(held.len() == count, "127.0.0.1 has only {} of {count} ports free", held.len());
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

/// Whether this process was started to ignore SIGHUP, as nohup(1) does.
pub(crate) fn ignores_hang_up() -> Result<bool> {
    let status =
        fs::read_to_string("/proc/self/status").context("the own status cannot be read")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal N is bit N - 1, and SIGHUP is 1.
    Ok(ignored.context("the own status has no SigIgn")? & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_all_cpus_is_that_of_the_first_line() {
        let text = "cpu  12 1 6 900 3 1 5 40 0 0\ncpu0 6 0 3 450 1 0 2 0 0 0\n";
        assert_eq!(parse_stat(text), Some(Nanos::from_millis(250)));
        assert_eq!(parse_stat("cpu0 6 0 3"), None);
        assert!(machine_cpu_time().is_ok_and(|time| time > Nanos::ZERO));
    }

    #[test]
    fn lines_of_proc_are_understood() {
        let text = "MemTotal:       24000000 kB\nMemFree:         1024 kB\nSlab:  3 kB\nOdd: 7\n";
        assert_eq!(parse_field(text, "MemFree:"), Some(1_048_576));
        assert_eq!(parse_field(text, "Slab:"), Some(3_072));
        assert_eq!(parse_field(text, "Odd:"), None);
        assert_eq!(parse_field(text, "Missing:"), None);
        assert_eq!(parse_schedstat("123456789 42 7\n"), Some(Nanos(123_456_789)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn free_ports_are_different_ones() {
        let ports = free_ports(2).expect("two ports");
        assert!(ports[0] >= 1_024 && ports[1] >= 1_024 && ports[0] != ports[1]);
    }

    #[test]
    fn own_cpu_time_grows_with_work_and_agrees_with_the_clock() {
        let before = cpu_time(std::process::id()).expect("own process");
        let work = (0..20_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(work);
        let after = cpu_time(std::process::id()).expect("own process");
        assert!(after > before && own_cpu_time() >= Nanos(after.0 / 2));
    }
}
