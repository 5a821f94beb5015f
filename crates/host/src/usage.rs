//! CPU time used so far, user and system together.

use measure::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads of this process, those that ended included.
#[must_use]
pub fn process_cpu_time() -> Nanos {
    read(ClockId::ProcessCPUTime)
}

/// CPU time of the calling thread.
#[must_use]
pub fn thread_cpu_time() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    // Neither clock can be negative (clock_gettime(2)).
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_this_thread_and_so_the_process() {
        let (process, thread) = (process_cpu_time(), thread_cpu_time());
        while thread_cpu_time().since(thread) < Nanos::from_millis(5) {
            std::hint::black_box(0);
        }
        assert!(process_cpu_time().since(process) >= Nanos::from_millis(5));
        let other = std::thread::spawn(thread_cpu_time).join().expect("thread");
        assert!(other < Nanos::from_secs(1), "a new thread starts near zero");
    }
}
