//! `Lanes`: which reactor opens its connections when. Pure.
//!
//! Where many reactors share a core, all opening at once measures the run queue and not the server:
//! the minimal program's p99 of `connect` goes from 0.26 ms to 8.4 ms. So reactors take turns. A
//! lane is a row of reactors that open one after the other; there are as many lanes as reactors may
//! open at the same time, and the lanes of a core are its own.

use measure::share;

/// The order in which reactors open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lanes {
    lanes: Vec<Vec<usize>>,
}

impl Lanes {
    /// Spreads the reactors over lanes: `openers` for each core, never more than it has reactors.
    /// `cores[i]` is the core of reactor `i`.
    #[must_use]
    pub(crate) fn new(cores: &[usize], openers: usize) -> Self {
        let mut distinct: Vec<usize> = cores.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut lanes = Vec::new();
        for core in distinct {
            let reactors: Vec<usize> = (0..cores.len()).filter(|i| cores[*i] == core).collect();
            let width = openers.clamp(1, reactors.len());
            for lane in 0..width {
                lanes.push(reactors.iter().copied().skip(lane).step_by(width).collect());
            }
        }
        // In the order of their reactors, whose shares do not grow: then no place stays empty.
        lanes.sort_unstable();
        Self { lanes }
    }

    /// The reactors that open first.
    pub(crate) fn first(&self) -> impl Iterator<Item = usize> + '_ {
        self.lanes.iter().filter_map(|lane| lane.first().copied())
    }

    /// The reactor whose turn it is when `reactor` is done.
    #[must_use]
    pub(crate) fn after(&self, reactor: usize) -> Option<usize> {
        self.lanes.iter().find_map(|lane| {
            let at = lane.iter().position(|other| *other == reactor)?;
            lane.get(at + 1).copied()
        })
    }

    /// The places of a reactor's connections in the order of all, when `connections` are shared out
    /// over all reactors. With a connect rate, the connection at place p is due at p / rate: the
    /// lanes interleave evenly without talking, and all come to their end at the same time.
    #[must_use]
    pub(crate) fn places(&self, reactor: usize, connections: u64) -> Places {
        let reactors = self.lanes.iter().map(Vec::len).sum::<usize>() as u64;
        let size = |reactors_of: &[usize]| -> u64 {
            reactors_of.iter().map(|r| share(connections, reactors, *r as u64)).sum()
        };
        for (number, lane) in self.lanes.iter().enumerate() {
            if let Some(at) = lane.iter().position(|other| *other == reactor) {
                return Places {
                    before: size(&lane[..at]),
                    lane: size(lane).max(1),
                    all: connections,
                    offset: number as f64 / self.lanes.len() as f64,
                };
            }
        }
        Places { before: 0, lane: 1, all: connections, offset: 0.0 }
    }
}

/// Where one reactor's connections stand in the order of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Places {
    /// Connections of the same lane that come before this reactor's.
    before: u64,
    /// Connections of the lane.
    lane: u64,
    all: u64,
    /// Lanes that are as long start one after the other, within one step.
    offset: f64,
}

impl Places {
    /// The place of this reactor's i-th connection: at least 0, below the number of all.
    #[must_use]
    pub(crate) fn of(&self, i: u64) -> f64 {
        ((self.before + i) as f64 + self.offset) * (self.all as f64 / self.lane as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_opener_per_core_takes_the_reactors_in_turn() {
        let lanes = Lanes::new(&[0, 1, 0, 1, 0], 1);
        assert_eq!(lanes.first().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(
            [0, 2, 4, 1, 3].map(|r| lanes.after(r)),
            [Some(2), Some(4), None, Some(3), None]
        );
        assert_eq!(Lanes::new(&[0, 0, 0], 100).lanes.len(), 3);
    }

    proptest! {
        #[test]
        fn every_reactor_has_one_turn_and_every_connection_one_place(
            cores in prop::collection::vec(0..4usize, 1..20),
            openers in 1..5usize,
            connections in 0..500u64,
        ) {
            let lanes = Lanes::new(&cores, openers);
            let mut seen = Vec::new();
            for first in lanes.first() {
                seen.extend(std::iter::successors(Some(first), |reactor| lanes.after(*reactor)));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..cores.len()).collect::<Vec<_>>());

            let mut places = Vec::new();
            for reactor in 0..cores.len() {
                let of = lanes.places(reactor, connections);
                let own = share(connections, cores.len() as u64, reactor as u64);
                places.extend((0..own).map(|i| of.of(i)));
            }
            places.sort_unstable_by(f64::total_cmp);
            // In any stretch of time, every lane opens its part to within one connection.
            for (count, place) in places.iter().enumerate() {
                prop_assert!(*place >= 0.0 && *place < connections as f64);
                let off = (count as f64 - place).abs();
                prop_assert!(off <= lanes.lanes.len() as f64, "{count} {place}");
            }
            let even = cores.len() == lanes.lanes.len() && connections % cores.len() as u64 == 0;
            if even {
                // Lanes of one length: an unbroken stream.
                let whole = places.iter().enumerate().all(|(n, p)| (n as f64 - p).abs() < 1e-6);
                prop_assert!(whole, "{places:?}");
            }
        }
    }
}
