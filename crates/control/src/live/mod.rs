//! What a run shows while it lasts: a panel that is drawn in place, or one line per second.
//!
//! The text is a pure function of a [`View`]; only [`Progress`] knows the terminal.

mod progress;
mod text;

pub use progress::{Mode, Progress};
pub use text::{lines, plain};

use measure::Nanos;

/// The run as it stands. Rates and latencies are those of the last second, counts those of the
/// whole run so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The name of the phase: `open`, `hold`, `drain` and so on.
    pub phase: &'static str,
    /// Since the run started.
    pub elapsed: Nanos,
    /// Since the phase started.
    pub phase_elapsed: Nanos,
    /// Until the phase ends, where that is known beforehand.
    pub phase_left: Option<Nanos>,
    /// How much of the phase is done and how much there is to do, where that can be counted. Where
    /// neither is known, the bar shows how many of the planned connections have been tried.
    pub phase_done: Option<(u64, u64)>,
    /// Connections planned.
    pub planned: u64,
    /// Connections that became usable.
    pub opened: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Connections that were open and ended before their time.
    pub lost: u64,
    /// New connections per second.
    pub opened_per_second: f64,
    /// Messages sent per second.
    pub sent_per_second: f64,
    /// Replies received per second.
    pub received_per_second: f64,
    /// Messages per second as planned; `None` in the closed model.
    pub rate_asked: Option<f64>,
    /// Replies received.
    pub received: u64,
    /// Messages sent whose reply is still out.
    pub in_flight: u64,
    /// The median of the response times.
    pub response_p50: Option<Nanos>,
    /// Their 99th percentile.
    pub response_p99: Option<Nanos>,
    /// The longest.
    pub response_max: Option<Nanos>,
    /// The 99th percentile of the generator's own lateness.
    pub send_lag: Option<Nanos>,
    /// Failures by kind, for both the failed and the lost. Kinds without any need not be there.
    pub failures: Vec<(&'static str, u64)>,
    /// One more sentence: what the user should know now.
    pub note: Option<String>,
}

impl View {
    /// How much of the phase is done, from 0 to 1.
    fn done(&self) -> f64 {
        let tried = (self.opened.saturating_add(self.failed), self.planned);
        let (part, whole) = match (self.phase_left, self.phase_done) {
            (Some(left), _) => (self.phase_elapsed.0, (self.phase_elapsed + left).0),
            (None, done) => done.unwrap_or(tried),
        };
        if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
    }
}
