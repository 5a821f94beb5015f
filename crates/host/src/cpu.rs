//! CPUs: which may be used, how a thread is pinned to one, and how people list them.

use crate::sockopt;
use core_affinity::CoreId;
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs;
use std::io;

/// The CPUs that the calling thread may run on, in ascending order. Ask once, on the main thread,
/// before anything is pinned: threads inherit the answer of the one that starts them.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins the calling thread to one CPU and returns the one that the kernel then names, so that what
/// is reported is what holds.
///
/// # Errors
/// Where the CPU does not exist, is offline or outside of what a cgroup or the starter allows, and
/// where the kernel answers with another set than asked for.
pub fn pin_current_thread(cpu: usize) -> io::Result<usize> {
    if cpu >= CpuSet::MAX_CPU || !core_affinity::set_for_current(CoreId { id: cpu }) {
        let allowed = format_cpu_list(&allowed_cpus());
        let message = format!("cannot pin a thread to CPU {cpu}: this process may use {allowed}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let set = sched_getaffinity(None)?;
    if set.count() == 1 && set.is_set(cpu) {
        return Ok(cpu);
    }
    let count = set.count();
    let message = format!("pinned to CPU {cpu}, but the kernel now allows {count} CPUs");
    Err(io::Error::other(message))
}

/// Makes the calling thread one of `SCHED_BATCH` (sched(7)): being woken does not put it ahead of
/// who runs on its CPU. A thread that serves another one on the same CPU then wakes to a batch of
/// work, where it would else take the CPU from its client after every single request. On a CPU of
/// its own nothing changes. Needs no privilege.
///
/// # Errors
/// Where a sandbox forbids the call.
pub fn schedule_as_batch() -> io::Result<()> {
    sockopt::schedule_as_batch()
}

/// Why a list of CPUs was not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CpuListError {
    /// Something between the commas is no number and no range.
    #[error("'{0}' is not a CPU number or a range: write the list like 0,2-3")]
    NotANumber(String),
    /// A range ends before it starts.
    #[error("the CPU range '{0}' runs backwards: write the lower number first")]
    Backwards(String),
    /// The number is beyond what the kernel's set can name.
    #[error("CPU {0} is too high: the highest that can be named is \
        {max}", max = CpuSet::MAX_CPU - 1)]
    TooHigh(usize),
    /// The same CPU stands twice in the list.
    #[error("CPU {0} is named twice: name each once, the reactors go round the list")]
    Twice(usize),
}

/// The CPUs of a list such as `0,2-3`, in the order written.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, CpuListError> {
    let mut cpus = Vec::new();
    for item in text.split(',').map(str::trim) {
        let (first, last) = parse_item(item)?;
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(CpuListError::Twice(cpu));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn parse_item(item: &str) -> Result<(usize, usize), CpuListError> {
    let number =
        |digits: &str| digits.trim().parse().map_err(|_| CpuListError::NotANumber(item.to_owned()));
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    let (first, last): (usize, usize) = (number(first)?, number(last)?);
    if last < first {
        return Err(CpuListError::Backwards(item.to_owned()));
    }
    if last >= CpuSet::MAX_CPU {
        return Err(CpuListError::TooHigh(last));
    }
    Ok((first, last))
}

/// CPUs as [`parse_cpu_list`] reads them, runs drawn together: `0,2-3`.
#[must_use]
pub fn format_cpu_list(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run[0].to_string(),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// The name of the processor model, where `/proc/cpuinfo` has one.
#[must_use]
pub fn model_name() -> Option<String> {
    parse_model_name(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn parse_model_name(cpuinfo: &str) -> Option<String> {
    // x86 and many others; POWER and s390 say it under other names.
    const KEYS: [&str; 3] = ["model name", "cpu model", "cpu"];
    let value = |key: &str| {
        let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim()).next()
    };
    KEYS.into_iter().find_map(value).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pin_is_read_back() {
        let allowed = allowed_cpus();
        let last = *allowed.last().expect("at least one CPU");
        std::thread::spawn(move || {
            assert_eq!(pin_current_thread(last).expect("pin"), last);
            assert_eq!(allowed_cpus(), [last], "a pinned thread sees its own CPU only");
        })
        .join()
        .expect("pinned");
        assert_eq!(allowed_cpus(), allowed, "other threads are not touched");
    }

    #[test]
    fn a_batch_thread_is_one_to_the_kernel() {
        std::thread::spawn(|| {
            schedule_as_batch().expect("batch");
            // proc_pid_stat(5): field 41 is the policy; SCHED_BATCH is 3. The name in field 2 may
            // hold anything, so count from behind it.
            let stat = fs::read_to_string("/proc/thread-self/stat").expect("stat");
            let (_, fields) = stat.rsplit_once(") ").expect("a name");
            assert_eq!(fields.split(' ').nth(41 - 3), Some("3"));
        })
        .join()
        .expect("batch thread");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        for cpu in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
            let error = pin_current_thread(cpu).expect_err("no such CPU");
            assert!(error.to_string().contains(&format!("CPU {cpu}")), "{error}");
        }
    }

    #[test]
    fn lists_as_people_write_them() {
        assert_eq!(parse_cpu_list("0"), Ok(vec![0]));
        assert_eq!(parse_cpu_list("0,2-3"), Ok(vec![0, 2, 3]));
        assert_eq!(parse_cpu_list(" 7, 1 - 2 "), Ok(vec![7, 1, 2]));
        assert_eq!(parse_cpu_list("5-5"), Ok(vec![5]));
        for (text, sentence) in [
            ("", "'' is not a CPU number or a range: write the list like 0,2-3"),
            ("0,,1", "'' is not a CPU number or a range: write the list like 0,2-3"),
            ("0-", "'0-' is not a CPU number or a range: write the list like 0,2-3"),
            ("-1", "'-1' is not a CPU number or a range: write the list like 0,2-3"),
            ("all", "'all' is not a CPU number or a range: write the list like 0,2-3"),
            ("3-2", "the CPU range '3-2' runs backwards: write the lower number first"),
            ("0-1024", "CPU 1024 is too high: the highest that can be named is 1023"),
            ("0-2,1", "CPU 1 is named twice: name each once, the reactors go round the list"),
        ] {
            assert_eq!(parse_cpu_list(text).map_err(|e| e.to_string()), Err(sentence.to_owned()));
        }
    }

    #[test]
    fn the_model_is_found_under_its_names() {
        let epyc = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\nmodel name\t: other\n";
        assert_eq!(parse_model_name(epyc).as_deref(), Some("AMD EPYC"));
        assert_eq!(parse_model_name("cpu\t\t: POWER9\n").as_deref(), Some("POWER9"));
        assert_eq!(parse_model_name("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read_back(
            cpus in prop::collection::hash_set(0..1_024usize, 1..50),
        ) {
            let cpus: Vec<_> = cpus.into_iter().collect();
            prop_assert_eq!(parse_cpu_list(&format_cpu_list(&cpus)), Ok(cpus));
        }
    }
}
