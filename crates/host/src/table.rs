//! Descriptor tables: how many descriptors one may hold, and how a thread gets one of its own.

use crate::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Gives the calling thread a descriptor table of its own (`unshare(CLONE_FILES)`, unshare(2)). It
/// needs no privilege.
///
/// Two reasons: `RLIMIT_NOFILE` bounds each table, so a process with many tables holds many times
/// its limit; and a shared table is locked by each opening, takes a reference in each call, and
/// halts all its threads whenever it grows.
///
/// The new table starts as a copy, so what was open stays usable in both. From then on a number
/// names something else in each table: a descriptor opened by this thread must be used and dropped
/// by this thread, and one opened elsewhere must not be handed to it. Call it as the first thing a
/// reactor thread does. The copies also keep what was open alive: a listener or pipe inherited this
/// way closes only when this thread ends, so start the threads before opening what must close
/// early.
pub fn unshare_descriptors() -> io::Result<()> {
    sockopt::unshare_files()
}

/// `RLIMIT_NOFILE`: one more than the highest descriptor number, per table (getrlimit(2)).
/// Without limit is `u64::MAX`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DescriptorLimit {
    /// What holds now.
    pub soft: u64,
    /// How far the soft limit can be raised without privilege.
    pub hard: u64,
}

/// The limit of this process.
#[must_use]
pub fn descriptor_limit() -> DescriptorLimit {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    DescriptorLimit { soft: current.unwrap_or(u64::MAX), hard: maximum.unwrap_or(u64::MAX) }
}

/// Raises the soft limit to the hard one and returns what then holds.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(descriptor_limit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one() {
        let before = descriptor_limit();
        let after = raise_descriptor_limit().expect("raise");
        assert!(before.soft <= before.hard);
        assert_eq!(after, DescriptorLimit { soft: before.hard, hard: before.hard });
    }

    #[test]
    fn what_a_thread_opens_in_its_own_table_is_nobody_elses() {
        // The kernel shows this thread's table and that of the main thread of the test process.
        let in_table =
            |table: &str, number: i32| Path::new(table).join(number.to_string()).exists();
        std::thread::spawn(move || {
            unshare_descriptors().expect("unshare");
            // A number far above all others, so that no other test can hold the same.
            let file = File::open("/dev/null").expect("open");
            let high = rustix::io::fcntl_dupfd_cloexec(&file, 900).expect("dup");
            assert!(in_table("/proc/thread-self/fd", high.as_raw_fd()));
            assert!(!in_table("/proc/self/fd", high.as_raw_fd()));
        })
        .join()
        .expect("own table");
    }
}
