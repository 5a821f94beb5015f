//! `Crew`: what the conductor sees of its reactors and of the machine they run on. A run has
//! threads, channels and the kernel behind it; a test has reactors on the simulated network, and a
//! clock that it moves by hand.

use crate::conductor::probe::Probe;
use crate::orders::Command;
use crate::orders::Report;
use control::signals::Signal;
use crossbeam_channel::{Receiver, select};
use host::schedule::CoreTime;
use measure::{Clock, Nanos};
use reactor::mailbox::Outside;
use std::collections::BTreeMap;
use std::time::Duration;

/// Memory and CPU time at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) memfree_bytes: Option<u64>,
    pub(crate) slab_bytes: Option<u64>,
    /// Of the whole machine.
    pub(crate) open_files: Option<u64>,
    pub(crate) cpu: Nanos,
    /// When it was taken.
    pub(crate) at: Nanos,
    /// How the cores' time was spent.
    pub(crate) cores: BTreeMap<u32, CoreTime>,
    pub(crate) peer: Option<serde_json::Value>,
}

/// What may come while the conductor waits.
#[derive(Debug)]
pub(crate) enum Event {
    /// A reactor reports.
    Report(Report),
    /// Somebody asks for the end.
    Signal(Signal),
    /// Nothing has come.
    Nothing,
}

/// The reactors, and the machine.
pub(crate) trait Crew {
    /// How many reactors there are.
    fn size(&self) -> usize;

    /// The time, since the start of the run.
    fn now(&self) -> Nanos;

    /// Gives a reactor a command.
    fn tell(&self, reactor: usize, command: Command);

    /// The next of what comes, waited for no longer than `patience`.
    fn next(&mut self, patience: Nanos) -> Event;

    /// Memory and CPU time now; of the server's nothing.
    fn reading(&self) -> Reading;

    /// Begins to probe the cores `cpus` between these times, if they can be.
    fn probe(&self, cpus: &[usize], start: Nanos, until: Nanos) -> Option<Probe>;
}

/// Reactors on threads of this process.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) clock: Clock,
    pub(crate) outsides: Vec<Outside<Command>>,
    pub(crate) reports: Receiver<Report>,
    pub(crate) signals: Receiver<Signal>,
}

impl Crew for Threads {
    fn size(&self) -> usize {
        self.outsides.len()
    }

    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn tell(&self, reactor: usize, command: Command) {
        // Whoever has ended needs none: its last report is here, or on its way.
        self.outsides[reactor].send_or_wait(command).ok();
    }

    fn next(&mut self, patience: Nanos) -> Event {
        select! {
            // Where all have ended, nothing comes any more.
            recv(self.reports) -> report => report.map_or(Event::Nothing, Event::Report),
            recv(self.signals) -> signal => Event::Signal(signal.unwrap_or(Signal::Drain)),
            default(Duration::from(patience)) => Event::Nothing,
        }
    }

    fn reading(&self) -> Reading {
        let memory = host::memory::memory_info();
        Reading {
            rss_bytes: host::memory::process_rss_bytes(),
            memfree_bytes: memory.as_ref().map(|memory| memory.free_bytes),
            slab_bytes: memory.as_ref().map(|memory| memory.slab_bytes),
            open_files: host::facts::open_files(),
            cpu: host::usage::process_cpu_time(),
            at: self.clock.now(),
            cores: host::schedule::core_times(),
            peer: None,
        }
    }

    fn probe(&self, cpus: &[usize], start: Nanos, until: Nanos) -> Option<Probe> {
        Some(Probe::start(cpus, self.clock, start, until))
    }
}
