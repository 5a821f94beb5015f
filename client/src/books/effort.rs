//! `Effort`: what the traffic asked of a reactor's thread, read at the borders of the phase.
//!
//! What counts is the time in which messages were *to be sent*. Afterwards a client that has done
//! its work waits for the last replies, for seconds if need be, and would look idle over all of it.

use host::schedule::{self, Switches};
use host::usage::thread_cpu_time;
use measure::Nanos;
use reactor::LoopTimes;

/// CPU time, time spent waiting for a core, and the loop's own times, of one reactor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effort {
    cpu_before: Nanos,
    waited_before: Option<Nanos>,
    switches_before: Option<Switches>,
    /// How long messages were to be sent, or less if the run was cut short; `None`: not over yet.
    pub(crate) span: Option<Nanos>,
    /// CPU time in it.
    pub(crate) cpu: Nanos,
    /// Time in it that the thread was ready to run and had no core.
    pub(crate) waited: Option<Nanos>,
    /// How often the thread left its core, over the whole phase.
    pub(crate) switches: Option<Switches>,
    /// The loop's times in that span; without traffic, of the whole run.
    pub(crate) times: Option<Box<LoopTimes>>,
    /// How long the whole phase was.
    time: Nanos,
}

impl Effort {
    /// The phase begins.
    pub(crate) fn begin(&mut self) {
        *self = Self {
            cpu_before: thread_cpu_time(),
            waited_before: schedule::thread_waited(),
            switches_before: schedule::thread_switches(),
            ..Self::default()
        };
    }

    /// Nothing more is to be sent, `span` after the start. Only the first time counts.
    pub(crate) fn end_sending(&mut self, span: Nanos, times: &LoopTimes) {
        if self.span.is_some() {
            return;
        }
        self.span = Some(span);
        self.cpu = thread_cpu_time() - self.cpu_before;
        let waited = schedule::thread_waited().zip(self.waited_before);
        self.waited = waited.map(|(after, before)| after - before);
        self.times = Some(Box::new(times.clone()));
    }

    /// The phase is over, `time` after its start.
    pub(crate) fn end(&mut self, time: Nanos) {
        self.time = time;
        let switches = schedule::thread_switches().zip(self.switches_before);
        self.switches = switches.map(|(after, before)| Switches {
            voluntary: after.voluntary.saturating_sub(before.voluntary),
            involuntary: after.involuntary.saturating_sub(before.involuntary),
        });
    }

    pub(crate) fn time(&self) -> Nanos {
        self.time
    }

    /// Hands it over; where there was no traffic, with the loop's times since the start.
    pub(crate) fn take(&mut self, times: &LoopTimes) -> Self {
        let mut taken = std::mem::take(self);
        taken.times.get_or_insert_with(|| Box::new(times.clone()));
        taken
    }
}
