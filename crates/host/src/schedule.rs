//! What the scheduler did with a thread, and the hypervisor with a core: how long the one waited
//! for its core, how often it was switched, and how much was stolen from the other.
//!
//! These are files of `/proc`: a reading takes some microseconds and a descriptor. They are for the
//! borders between phases, not for the hot path.

use measure::Nanos;
use std::collections::BTreeMap;
use std::fs;

/// Has the calling thread, and no other, give way to all others from now on.
///
/// # Errors
/// If that is not allowed.
pub fn give_way() -> std::io::Result<()> {
    // In Linux "the calling process" is the thread (setpriority(2), C library/kernel differences).
    Ok(rustix::process::setpriority_process(None, 19)?)
}

/// How long the calling thread has been ready to run and waited for a core, since it started: the
/// second field of `/proc/thread-self/schedstat`. `None` where the kernel does not keep it, or no
/// descriptor is left to ask.
#[must_use]
pub fn thread_waited() -> Option<Nanos> {
    parse_waited(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// Time on a core, time spent waiting for one, and how often it got one, in nanoseconds
/// (Documentation/scheduler/sched-stats.rst).
fn parse_waited(schedstat: &str) -> Option<Nanos> {
    let mut fields = schedstat.split_ascii_whitespace().map(str::parse);
    let (Some(Ok(ran)), Some(Ok(waited)), Some(Ok(_))) =
        (fields.next(), fields.next(), fields.next())
    else {
        return None;
    };
    // A thread that runs has run: all zero says that the kernel does not count.
    let (ran, waited): (u64, u64) = (ran, waited);
    (ran > 0 || waited > 0).then_some(Nanos(waited))
}

/// How often a thread left its core.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Switches {
    /// Because it had to wait for something.
    pub voluntary: u64,
    /// Because another one was to run.
    pub involuntary: u64,
}

/// How often the calling thread has left its core since it started. `None` where that is not told.
#[must_use]
pub fn thread_switches() -> Option<Switches> {
    parse_switches(&fs::read_to_string("/proc/thread-self/status").ok()?)
}

fn parse_switches(status: &str) -> Option<Switches> {
    let number =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Some(Switches {
        voluntary: number("voluntary_ctxt_switches:")?,
        involuntary: number("nonvoluntary_ctxt_switches:")?,
    })
}

/// Time of one core since the machine started, in ticks (usually of 10 ms).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CoreTime {
    /// All of it.
    pub total: u64,
    /// Taken by the hypervisor while something was to run here.
    pub stolen: u64,
    /// Spent on processes: what interrupts took is nobody's, and with traffic mostly that of the
    /// traffic.
    pub worked: u64,
}

impl CoreTime {
    /// The share that was stolen between `earlier` and this reading; `None` if no tick lies
    /// between.
    #[must_use]
    pub fn steal_since(&self, earlier: &Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|ticks| *ticks > 0)?;
        Some(self.stolen.saturating_sub(earlier.stolen) as f64 / total as f64)
    }
}

/// The share of the machine's time that went to processes between two readings, over all cores of
/// both; `None` if no tick lies between.
#[must_use]
pub fn worked_share(
    earlier: &BTreeMap<u32, CoreTime>,
    later: &BTreeMap<u32, CoreTime>,
) -> Option<f64> {
    let (mut worked, mut total) = (0u64, 0u64);
    for (core, to) in later {
        let Some(from) = earlier.get(core) else { continue };
        // The counters of a core that was away begin anew.
        let Some(passed) = to.total.checked_sub(from.total) else { continue };
        worked = worked.saturating_add(to.worked.saturating_sub(from.worked));
        total = total.saturating_add(passed);
    }
    (total > 0).then(|| (worked as f64 / total as f64).min(1.0))
}

/// The time of every core that is online, by its number; empty where that is not told.
#[must_use]
pub fn core_times() -> BTreeMap<u32, CoreTime> {
    fs::read_to_string("/proc/stat").map_or_else(|_| BTreeMap::new(), |text| parse_stat(&text))
}

/// The lines `cpuN` of proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; what
/// guests took comes behind and is part of user and nice.
fn parse_stat(stat: &str) -> BTreeMap<u32, CoreTime> {
    let line = |line: &str| {
        let (name, times) = line.strip_prefix("cpu")?.split_once(' ')?;
        let times: Vec<u64> =
            times.split_ascii_whitespace().map_while(|field| field.parse().ok()).take(8).collect();
        let stolen = *times.get(7)?;
        let total = times.iter().fold(0, |sum: u64, ticks| sum.saturating_add(*ticks));
        let worked = times.iter().take(3).fold(0, |sum: u64, ticks| sum.saturating_add(*ticks));
        Some((name.parse().ok()?, CoreTime { total, stolen, worked }))
    };
    stat.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_they_are_written() {
        assert_eq!(parse_waited("2408549 731 12\n"), Some(Nanos(731)));
        for bad in ["", "0 0 0\n", "1 2", "a b c"] {
            assert_eq!(parse_waited(bad), None, "{bad}");
        }
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(parse_switches(status), Some(Switches { voluntary: 150, involuntary: 545 }));
        assert_eq!(parse_switches("Name:\tx\n"), None);
        let stat = "cpu  30 0 0 60 0 0 0 10 5 0\ncpu0 20 0 0 30 0 0 0 0 5 0\n\
                    cpu1 10 0 0 30 0 0 0 10 0 0\ncpu2 1 2 3\nintr 5 0 0\nctxt 9\n";
        let cores = parse_stat(stat);
        assert_eq!(cores.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(cores[&1], CoreTime { total: 50, stolen: 10, worked: 10 });
    }

    #[test]
    fn what_was_stolen_is_a_share_of_what_passed() {
        let before = CoreTime { total: 100, stolen: 5, worked: 0 };
        let after = CoreTime { total: 200, stolen: 15, worked: 0 };
        assert_eq!(after.steal_since(&before), Some(0.1));
        assert_eq!(before.steal_since(&before), None);
        assert_eq!(
            before.steal_since(&after),
            None,
            "the counters of a core that was away begin anew"
        );
    }

    #[test]
    fn what_processes_took_is_a_share_of_all_cores() {
        let reading = |cores: [(u64, u64); 2]| {
            let core = |(total, worked)| CoreTime { total, stolen: 0, worked };
            BTreeMap::from([(0, core(cores[0])), (1, core(cores[1]))])
        };
        let before = reading([(100, 50), (100, 50)]);
        assert_eq!(worked_share(&before, &reading([(200, 150), (200, 70)])), Some(0.6));
        assert_eq!(worked_share(&before, &before), None);
        assert_eq!(worked_share(&before, &BTreeMap::new()), None);
        // A core that came back counts no more than one that was not there.
        assert_eq!(worked_share(&before, &reading([(10, 5), (200, 75)])), Some(0.25));
    }

    #[test]
    fn this_machine_tells() {
        // The sum of both is what context switches are: this thread has waited for its start.
        let switches = thread_switches().expect("Linux has it");
        assert!(core_times().values().all(|core| core.total >= core.stolen));
        assert!(!core_times().is_empty());
        std::thread::yield_now();
        let later = thread_switches().expect("the same");
        assert!(later.voluntary + later.involuntary >= switches.voluntary + switches.involuntary);
        if let Some(waited) = thread_waited() {
            assert!(thread_waited() >= Some(waited));
        }
    }
}
