//! The probe of the machine: on each core of the reactors a thread that does nothing wakes each 2
//! ms and notes how late that was. What it sees is the machine's lateness: nothing of the generator
//! is in it but that the reactors use the same core, and how busy they were is known.
//!
//! A tick that was slept through counts too, as late as it then was: like messages that were due. A
//! machine that stood still for half a second hence is as late here as it is for the generator.

use control::spawn::{STACK_BYTES, spawn_named};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use measure::{Clock, IntervalHistogram, Nanos};
use report::generator::LATE;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often each thread wakes: seldom enough to cost 0.2 % of a core.
const TICK: Nanos = Nanos::from_millis(2);

/// The most cores that are probed: the first of those that the reactors have.
const CORES_MAX: usize = 8;

/// What the probes saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probed {
    /// How late each tick was.
    pub(crate) late: IntervalHistogram,
    /// The sum of what single wakes were late, of those more than [`LATE`].
    late_sum: Nanos,
    /// How much of that the thread was ready to run and had no core; `None`: not told.
    waited: Option<Nanos>,
}

impl Probed {
    /// How much of the lateness was waiting for a core; `None` if nothing was late, or it is not
    /// told.
    pub(crate) fn wait_ratio(&self) -> Option<f64> {
        let waited = self.waited.filter(|_| self.late_sum > Nanos::ZERO)?;
        Some((waited.as_secs_f64() / self.late_sum.as_secs_f64()).min(1.0))
    }

    /// A wake that was due at `due` came at `now`. Returns the first tick that is still to come.
    fn woke(&mut self, mut due: Nanos, now: Nanos, until: Nanos) -> Nanos {
        while due <= now && due < until {
            self.late.record((now - due).0);
            due += TICK;
        }
        due
    }

    fn merge(&mut self, other: &Self) {
        self.late.merge(&other.late);
        self.late_sum += other.late_sum;
        self.waited = match (self.waited, other.waited) {
            (Some(one), Some(two)) => Some(one + two),
            (one, two) => one.or(two),
        };
    }
}

/// The threads that probe.
#[derive(Debug)]
pub(crate) struct Probe {
    threads: Vec<JoinHandle<Probed>>,
    /// Dropped to end them.
    stop: Sender<()>,
}

impl Probe {
    /// Probes the cores `cpus` from `start` to `until`. What cannot be started or pinned is left
    /// out: a run without a probe is judged without it.
    pub(crate) fn start(cpus: &[usize], clock: Clock, start: Nanos, until: Nanos) -> Self {
        let mut cores = cpus.to_vec();
        cores.sort_unstable();
        cores.dedup();
        let (stop, stopped) = bounded(0);
        let spawned = cores.into_iter().take(CORES_MAX).filter_map(|cpu| {
            let stopped = stopped.clone();
            let run = move || match host::cpu::pin_current_thread(cpu) {
                Ok(_) => probe(&stopped, clock, start, until),
                Err(_) => Probed::default(),
            };
            spawn_named(&format!("probe-{cpu}"), STACK_BYTES, run).ok()
        });
        Self { threads: spawned.collect(), stop }
    }

    /// Ends it, and returns what was seen.
    pub(crate) fn end(self) -> Probed {
        drop(self.stop);
        let mut all = Probed::default();
        for seen in self.threads.into_iter().filter_map(|thread| thread.join().ok()) {
            all.merge(&seen);
        }
        all
    }
}

fn probe(stopped: &Receiver<()>, clock: Clock, start: Nanos, until: Nanos) -> Probed {
    let mut seen = Probed::default();
    let mut waited = host::schedule::thread_waited();
    let mut due = start;
    while due < until {
        let patience = Duration::from(due - clock.now());
        if stopped.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        let now = clock.now();
        let late = now - due;
        due = seen.woke(due, now, until);
        if late > LATE {
            // Only then: asking costs some microseconds.
            let more = host::schedule::thread_waited();
            seen.late_sum += late;
            if let Some((more, before)) = more.zip(waited) {
                let waited = seen.waited.unwrap_or_default();
                seen.waited = Some(waited + (more - before).min(late));
            }
            waited = more;
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_were_slept_through_count_as_late_as_they_were() {
        let mut seen = Probed::default();
        let (ms, until) = (Nanos::from_millis, Nanos::from_secs(1));
        assert_eq!(seen.woke(ms(10), ms(10), until), ms(12));
        assert_eq!((seen.late.count(), seen.late.max()), (1, Some(0)));
        // Due at 12, 14, 16, 18 and 20.
        assert_eq!(seen.woke(ms(12), ms(21), until), ms(22));
        assert_eq!((seen.late.count(), seen.late.max()), (6, Some(9_000_000)));
        // None is due once the traffic is over, however late it is.
        assert_eq!(seen.woke(ms(998), ms(1_500), until), until);
        assert_eq!(seen.late.count(), 7);
    }

    #[test]
    fn what_was_waiting_for_a_core_is_a_share_of_what_was_late() {
        assert_eq!(Probed::default().wait_ratio(), None);
        let of = |late, waited: Option<u64>| Probed {
            late_sum: Nanos::from_millis(late),
            waited: waited.map(Nanos::from_millis),
            ..Probed::default()
        };
        assert_eq!(of(10, None).wait_ratio(), None);
        let mut all = of(10, Some(2));
        all.merge(&of(10, Some(8)));
        assert_eq!(all.wait_ratio(), Some(0.5));
    }

    #[test]
    fn a_probe_of_this_machine_sees_every_tick_and_ends_early_if_told() {
        let clock = Clock::start();
        let (_stop, stopped) = bounded(0);
        let started = clock.now();
        let seen = probe(&stopped, clock, started, started + Nanos::from_millis(40));
        assert_eq!(seen.late.count(), 20);
        let cpu = host::cpu::allowed_cpus()[0];
        let started = clock.now();
        let probe = Probe::start(&[cpu], clock, started, started + Nanos::from_secs(3_600));
        drop(probe.end());
        assert!(clock.now() - started < Nanos::from_secs(600));
    }
}
