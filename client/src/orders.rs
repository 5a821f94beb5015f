//! What goes to a reactor and comes from it: commands, and the reports in which it hands over what
//! it counts and records.

use crate::books::audited::Audited;
use crate::books::backlog::Backlog;
use crate::books::causes::Causes;
use crate::books::effort::Effort;
use crate::books::recorder::Recorder;
use crate::books::send_windows::SendWindows;
use crate::books::totals::{Attempts, Totals};
use measure::{IntervalHistogram, Nanos};
use reactor::Counters;

/// What the conductor tells a reactor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Begin the phase of this number; opening and traffic count from `at`.
    Begin { phase: u16, at: Nanos },
    /// Close all connections and end.
    Close,
    /// End at once.
    Abort,
}

/// What a reactor tells the conductor.
#[derive(Debug)]
pub(crate) enum Report {
    /// A second has passed (or a phase has ended, which makes the second a short one).
    Second(Box<Second>),
    /// The phase of this number is done.
    Done { reactor: usize, phase: u16, at: Nanos },
    /// The measurement is over: all that was counted and recorded.
    Final { reactor: usize, last: Box<Final> },
}

/// A second in the life of a reactor.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) reactor: usize,
    /// Which second of the run, from 0.
    pub(crate) second: u64,
    /// Whether that second is over; the end of a phase reports in the middle of one.
    pub(crate) whole: bool,
    /// All counts so far.
    pub(crate) totals: Totals,
    /// Response times of what was received since the last report.
    pub(crate) response: IntervalHistogram,
    /// Service times of the same.
    pub(crate) service: IntervalHistogram,
    /// Send lag of what was sent since the last report.
    pub(crate) send_lag: IntervalHistogram,
}

/// What a reactor leaves behind.
#[derive(Debug)]
pub(crate) struct Final {
    /// What the audit brought; `None` without one.
    pub(crate) audit: Option<Box<Audited>>,
    pub(crate) totals: Totals,
    /// What became of the attempts at each address.
    pub(crate) addresses: Vec<Attempts>,
    pub(crate) causes: Causes,
    pub(crate) recorder: Recorder,
    /// The parts of that which were recorded in each phase, by its number.
    pub(crate) by_phase: Vec<(u16, Recorder)>,
    /// How many messages of the open model were sent when.
    pub(crate) sends: SendWindows,
    /// How many were on their way when.
    pub(crate) backlog: Backlog,
    pub(crate) counters: Counters,
    /// What became of TLS handshakes.
    pub(crate) tls: Option<Box<tls::Tally>>,
    /// How often bounds of the protocol were reached, by name.
    pub(crate) limits_reached: Vec<(&'static str, u64)>,
    /// The most connections it held.
    pub(crate) open_peak: u64,
    /// CPU time of its thread up to the end of the measurement.
    pub(crate) cpu: Nanos,
    /// How long the traffic phase was; zero without one.
    pub(crate) drive_time: Nanos,
    /// What that phase asked of its thread.
    pub(crate) effort: Effort,
    /// The send lag of each message, as far as no peer was in the way.
    pub(crate) own_lag: IntervalHistogram,
    /// From the start of the traffic to the last message sent, and to the last reply.
    pub(crate) last_sent: Nanos,
    pub(crate) last_reply: Nanos,
    /// How long the reactor ran, up to the end of the measurement.
    pub(crate) uptime: Nanos,
}
