//! `LoopTimes`: how punctual a reactor is, recorded by the loop itself.

use measure::{IntervalHistogram, Nanos};

/// How late the loop came to what was due, and how long its turns took, since the start or since
/// they were cleared. Owned by the reactor's thread; recording allocates nothing.
/// `docs/METHODOLOGY.md` says what they mean.
#[derive(Clone, Debug, Default)]
pub struct LoopTimes {
    /// For each turn whose driver had named a time, and that came to the driver after it: by how
    /// much. Work that is to be done at once, and turns that events brought before their time, are
    /// not in it.
    pub delay: IntervalHistogram,
    /// For each turn: from when its events were taken to its end. Whatever happens in that time
    /// waits.
    pub turn: IntervalHistogram,
    /// For each stall on request: how much later than at its end the loop went on. Reactors that
    /// share a core go on one after the other.
    pub stall_late: IntervalHistogram,
    /// For each stall on request: from its end until nothing was left to be read.
    pub stall_backlog: IntervalHistogram,
    /// For each connection whose layers have agreed: how long that has waited for its turns.
    pub agreeing_wait: IntervalHistogram,
}

impl LoopTimes {
    /// The driver's work that was due at `due` gets its turn now.
    #[inline]
    pub(crate) fn came_to(&mut self, due: Nanos, now: Nanos) {
        // ZERO is no time: it asks for the next turn at once.
        if due > Nanos::ZERO && now >= due {
            self.delay.record((now - due).0);
        }
    }

    /// A turn is over.
    #[inline]
    pub(crate) fn turned(&mut self, started: Nanos, ended: Nanos) {
        self.turn.record((ended - started).0);
    }

    /// Forgets all of it: a phase begins.
    pub fn clear(&mut self) {
        self.delay.clear();
        self.turn.clear();
        self.stall_late.clear();
        self.stall_backlog.clear();
        self.agreeing_wait.clear();
    }
}

/// What there is to say of recorded spans in a few numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// Half of them were no longer than this; zero where there are none, and so below.
    pub p50: Nanos,
    /// 99 % of them were no longer.
    pub p99: Nanos,
    /// The longest, exact.
    pub max: Nanos,
}

impl Spans {
    /// Those of a histogram, in one pass over the cells in use.
    #[must_use]
    pub fn of(recorded: &IntervalHistogram) -> Self {
        let [p50, p99] = recorded.quantiles([0.5, 0.99]).unwrap_or_default().map(Nanos);
        Self { count: recorded.count(), p50, p99, max: Nanos(recorded.max().unwrap_or(0)) }
    }
}
