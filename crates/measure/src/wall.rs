//! `Wall` and `WallClock`: times of day, in which the kernel stamps what it receives, brought onto
//! the run's clock.
//!
//! On Linux the monotonic clock and the time of day run at the same pace, slewed alike
//! (adjtimex(2)): the difference between them changes only when the time of day is *set*. So the
//! best of many readings of that difference is the one to go by, until one contradicts it.

use crate::Nanos;
use std::time::{SystemTime, UNIX_EPOCH};

/// Readings of which the closest one counts.
const TRIES: u32 = 5;
/// How old the last look at both clocks may be. A set clock is noticed within this time.
const LOOK_EVERY: Nanos = Nanos::from_millis(100);

/// A time of day: nanoseconds since 1970 in UTC, as `CLOCK_REALTIME` counts them.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Wall(pub i64);

impl Wall {
    /// The time of day now. Times before 1970 or after 2262 count as 1970.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or_default())
    }
}

/// What time of day it was at zero of the run's clock, as one look at both clocks tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sighting {
    zero: Wall,
    /// How long the look took: it is off by no more than half of that.
    took: Nanos,
}

impl Sighting {
    /// Reads the run's clock, the time of day and the run's clock again, some times, and keeps the
    /// closest reading. Takes less than a microsecond.
    pub fn take(now: impl Fn() -> Nanos, wall: impl Fn() -> Wall) -> Self {
        let look = || {
            let before = now();
            let wall = wall();
            let took = now() - before;
            let middle = before + Nanos(took.0 / 2);
            Self { zero: Wall(wall.0.saturating_sub_unsigned(middle.0)), took }
        };
        let first = look();
        (1..TRIES)
            .map(|_| look())
            .fold(first, |best, one| if one.took < best.took { one } else { best })
    }
}

/// Brings times of day onto the run's clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    best: Sighting,
    stale_at: Nanos,
    steps: u64,
}

impl WallClock {
    /// Goes by this look, which was taken at `now`.
    #[must_use]
    pub fn new(sighting: Sighting, now: Nanos) -> Self {
        Self { best: sighting, stale_at: now + LOOK_EVERY, steps: 0 }
    }

    /// Whether the clocks are to be looked at again.
    #[must_use]
    #[inline]
    pub fn is_stale(&self, now: Nanos) -> bool {
        now >= self.stale_at
    }

    /// Takes one more look into account. If it cannot be true together with those before, the time
    /// of day was set in between: then it counts alone.
    pub fn update(&mut self, sighting: Sighting, now: Nanos) {
        self.stale_at = now + LOOK_EVERY;
        let apart = sighting.zero.0.abs_diff(self.best.zero.0);
        if apart > (sighting.took + self.best.took).0 {
            self.steps += 1;
            self.best = sighting;
        } else if sighting.took < self.best.took {
            self.best = sighting;
        }
    }

    /// A time of day on the run's clock; zero if that had not started yet.
    #[must_use]
    #[inline]
    pub fn on_run_clock(&self, wall: Wall) -> Nanos {
        Nanos(u64::try_from(wall.0.saturating_sub(self.best.zero.0)).unwrap_or(0))
    }

    /// Brings a stamp that was just read onto the run's clock, by a clock that is made for the
    /// first of them and looks (`look`) again when its last look is old. `now` is about the time it
    /// is.
    #[inline]
    pub fn place(
        clock: &mut Option<Self>,
        stamp: Wall,
        now: Nanos,
        look: impl Fn() -> Sighting,
    ) -> Nanos {
        let clock = clock.get_or_insert_with(|| Self::new(look(), now));
        if clock.is_stale(now) {
            clock.update(look(), now);
        }
        clock.on_run_clock(stamp)
    }

    /// How often the time of day was found to have been set.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use proptest::prelude::*;
    use std::cell::Cell;

    const DAY: i64 = 1_800_000_000_000_000_000;

    /// A look at clocks each of whose readings takes so long.
    fn look(at: u64, zero: i64, steps: &[u64]) -> Sighting {
        let time = Cell::new(at);
        let step = Cell::new(0);
        let pass = || {
            time.set(time.get() + steps[step.get() % steps.len()]);
            step.set(step.get() + 1);
            time.get()
        };
        Sighting::take(|| Nanos(pass()), || Wall(zero + pass() as i64))
    }

    #[test]
    fn the_closest_of_some_readings_counts() {
        // In the second round the thread does not wait for its core.
        let sighting = look(1_000, DAY, &[20, 9_000, 30, 20, 25, 25, 20, 900, 900]);
        assert_eq!(sighting.took, Nanos(50));
        assert!(sighting.zero.0.abs_diff(DAY) <= 25, "{sighting:?}");
    }

    #[test]
    fn the_real_clocks_agree_with_themselves() {
        let clock = Clock::start();
        let take = || Sighting::take(|| clock.now(), Wall::now);
        let mut wall = WallClock::new(take(), clock.now());
        for _ in 0..100 {
            wall.update(take(), clock.now());
        }
        // Nobody sets the clock of a machine that runs tests, or only once.
        assert!(wall.steps() <= 1, "{wall:?}");
        let before = clock.now();
        let stamp = wall.on_run_clock(Wall::now());
        let (after, off) = (clock.now(), wall.best.took);
        assert!(wall.steps() > 0 || (before <= stamp + off && stamp <= after + off));
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_followed() {
        let mut wall = WallClock::new(look(0, DAY, &[25]), Nanos(75));
        assert!(!wall.is_stale(Nanos::from_millis(100)));
        assert!(wall.is_stale(Nanos::from_millis(101)));
        wall.update(look(1_000_000, DAY, &[200]), Nanos::from_millis(101));
        assert_eq!((wall.steps(), wall.best.took), (0, Nanos(50)), "the closer one is kept");
        for (index, set) in [1_000_000, -5_000_000_000, 0].into_iter().enumerate() {
            wall.update(look(2_000_000, DAY + set, &[30]), Nanos::from_millis(201));
            assert_eq!(wall.steps(), index as u64 + 1);
            let stamp = wall.on_run_clock(Wall(DAY + set + 5_000));
            assert!(stamp.0.abs_diff(5_000) <= 30, "{stamp:?}");
        }
        assert_eq!(wall.on_run_clock(Wall(0)), Nanos::ZERO, "before the run");
    }

    proptest! {
        #[test]
        fn readings_of_any_length_are_never_taken_for_a_set_clock(
            readings in prop::collection::vec(1..10_000_000u64, 1..200),
        ) {
            let mut wall = WallClock::new(look(0, DAY, &readings), Nanos(0));
            let mut at = 0;
            for start in 0..readings.len() {
                at += 1_000_000_000;
                let turned = [&readings[start..], &readings[..start]].concat();
                wall.update(look(at, DAY, &turned), Nanos(at));
                let stamp = wall.on_run_clock(Wall(DAY + at as i64));
                prop_assert!(stamp.0.abs_diff(at) <= wall.best.took.0 / 2 + 1);
            }
            prop_assert_eq!(wall.steps(), 0);
        }
    }
}
