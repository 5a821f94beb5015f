//! `Sweep`: one pass over the table every so often, in small steps. It serves all time limits of a
//! reactor without a timer per connection (the idea is that of uSockets).

use measure::Nanos;
use std::ops::Range;

/// Slots of one step: few enough that other work hardly waits for it.
const STEP: usize = 1024;

/// When to look at which slots.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    period: Nanos,
    /// When the next pass begins.
    at: Nanos,
    /// Where the pass that is under way goes on.
    next: Option<usize>,
}

impl Sweep {
    /// Passes for a time limit: often enough that it is kept to an eighth, between every 10 ms and
    /// every second.
    #[must_use]
    pub fn for_limit(limit: Nanos) -> Self {
        let period = Nanos((limit.0 / 8).clamp(10_000_000, 1_000_000_000));
        Self { period, at: Nanos::ZERO, next: None }
    }

    /// The slots to look at now, if any; `high_water` is one past the last.
    pub fn step(&mut self, now: Nanos, high_water: usize) -> Option<Range<usize>> {
        if self.next.is_none() && self.at <= now {
            self.next = Some(0);
            self.at = now + self.period;
        }
        let from = self.next?;
        let to = (from + STEP).min(high_water);
        self.next = (to < high_water).then_some(to);
        Some(from..to)
    }

    /// When [`Sweep::step`] has something to do again; a time that has passed means at once.
    #[must_use]
    pub fn deadline(&self) -> Nanos {
        if self.next.is_some() { Nanos::ZERO } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_sees_each_slot_once() {
        let mut sweep = Sweep::for_limit(Nanos::from_secs(1));
        for (pass, high_water) in [(1, 0), (2, 1), (3, STEP), (4, STEP + 1), (5, 5 * STEP)] {
            let now = Nanos::from_secs(pass);
            let mut seen = 0;
            while let Some(range) = sweep.step(now, high_water) {
                assert_eq!(range.start, seen);
                assert!(range.len() <= STEP);
                seen = range.end;
            }
            assert_eq!(seen, high_water);
            assert_eq!(sweep.deadline(), now + Nanos::from_millis(125));
        }
    }
}
