//! `Lanes`: which reactor opens its connections when. Pure.
//!
//! Where many reactors share a core, all opening at once measures the run queue and not the server:
//! the minimal program's p99 of `connect` goes from 0.26 ms to 8.4 ms. So reactors take turns. A lane
//! is a row of reactors that open one after the other; there are as many lanes as reactors may open
//! at the same time, and the lanes of a core are its own.

use measure::share;

/// The order in which reactors open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lanes {
    lanes: Vec<Vec<usize>>,
}

impl Lanes {
    /// Spreads the reactors over lanes: `openers` for each core, never more than it has reactors.
    /// `cores[i]` is the core of reactor `i`.
    #[must_use]
    pub fn new(cores: &[usize], openers: usize) -> Self {
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
        Self { lanes }
    }

    /// How many reactors open at the same time.
    #[must_use]
    pub fn width(&self) -> usize {
        self.lanes.len()
    }

    /// The reactors that open first.
    pub fn first(&self) -> impl Iterator<Item = usize> + '_ {
        self.lanes.iter().filter_map(|lane| lane.first().copied())
    }

    /// The reactor whose turn it is when `reactor` is done.
    #[must_use]
    pub fn after(&self, reactor: usize) -> Option<usize> {
        self.lanes.iter().find_map(|lane| {
            let at = lane.iter().position(|other| *other == reactor)?;
            lane.get(at + 1).copied()
        })
    }

    /// The place of a reactor's i-th connection in the order of all, when `connections` are shared
    /// out over all reactors: (place of its first, step to its next). With a connect rate, the
    /// connection at place p is due at p / rate: the lanes interleave evenly without talking.
    #[must_use]
    pub fn places(&self, reactor: usize, connections: u64) -> (u64, u64) {
        let reactors = self.lanes.iter().map(Vec::len).sum::<usize>() as u64;
        let step = self.lanes.len() as u64;
        for (number, lane) in (0..).zip(&self.lanes) {
            let Some(at) = lane.iter().position(|other| *other == reactor) else { continue };
            let before = lane[..at].iter().map(|r| share(connections, reactors, *r as u64));
            return (number + step * before.sum::<u64>(), step);
        }
        (0, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn one_opener_per_core_takes_the_reactors_in_turn() {
        let lanes = Lanes::new(&[0, 1, 0, 1, 0], 1);
        assert_eq!(lanes.first().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(
            [0, 2, 4, 1, 3].map(|r| lanes.after(r)),
            [Some(2), Some(4), None, Some(3), None]
        );
        assert_eq!(Lanes::new(&[0, 0, 0], 100).width(), 3);
    }

    proptest! {
        #[test]
        fn every_reactor_has_one_turn_and_every_connection_one_place(
            cores in prop::collection::vec(0..4usize, 1..20), openers in 1..5usize, connections in 0..500u64,
        ) {
            let lanes = Lanes::new(&cores, openers);
            let mut seen = Vec::new();
            for first in lanes.first() {
                seen.extend(std::iter::successors(Some(first), |reactor| lanes.after(*reactor)));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..cores.len()).collect::<Vec<_>>());

            let mut places = BTreeSet::new();
            for reactor in 0..cores.len() {
                let (first, step) = lanes.places(reactor, connections);
                for i in 0..share(connections, cores.len() as u64, reactor as u64) {
                    prop_assert!(places.insert(first + step * i), "two connections at one place");
                }
            }
            prop_assert_eq!(places.len() as u64, connections);
            if cores.len() == lanes.width() {
                // One reactor a lane: the places are those of an unbroken stream.
                prop_assert_eq!(places.last().map_or(0, |last| last + 1), connections);
            }
        }
    }
}
