//! The histogram that reactors record into: the value layout of HdrHistogram (Gil Tene), as a flat
//! array that costs memory only where values fall.
//!
//! Why not the `hdrhistogram` crate on the hot path: it writes zeros over its whole array when it
//! is made, and 56 reactors with nine stages each would hold 130 MB for a few touched pages. Here
//! the array comes zeroed from the kernel and pages appear as they are counted in, and a cell takes
//! four bytes: the few that ever pass 2^32 keep the rest in a list. The buckets are the same, so a
//! total moves into an `hdrhistogram::Histogram` without loss (see `report`), and the tests use
//! that crate as the oracle.

/// The highest value that is told apart: 2^42 - 1 ns, over 73 minutes. Beyond it a value counts as
/// this one, and as clipped.
const HIGHEST: u64 = (1 << 42) - 1;

/// Three decimal digits: 2,048 cells for each power of two (1,024 of them new).
pub type FineHistogram = Histogram<11>;

/// Two decimal digits, for the short life of one interval: 256 cells for each power of two.
pub type IntervalHistogram = Histogram<8>;

/// Counts of values in nanoseconds, exact below 2^BITS and within 2^(1-BITS) above.
#[derive(Clone, Debug)]
pub struct Histogram<const BITS: u32> {
    cells: Vec<u32>,
    /// A cell's number, once for each time that it passed 2^32.
    carries: Vec<u32>,
    count: u64,
    clipped: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl<const BITS: u32> Histogram<BITS> {
    /// The highest value that is told apart, in nanoseconds.
    pub const HIGHEST: u64 = HIGHEST;
    const HALF: u64 = 1 << (BITS - 1);
    const CELLS: usize = Self::index(HIGHEST) + 1;

    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cells: vec![0; Self::CELLS],
            carries: Vec::new(),
            count: 0,
            clipped: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }

    const fn index(value: u64) -> usize {
        // Values up to 2^BITS - 1 are their own cell; above, each power of two has HALF cells.
        let magnitude = 64 - (value | (2 * Self::HALF - 1)).leading_zeros() - BITS;
        ((magnitude as u64) * Self::HALF + (value >> magnitude)) as usize
    }

    /// The lowest value of a cell.
    const fn value(index: usize) -> u64 {
        let index = index as u64;
        if index < 2 * Self::HALF {
            return index;
        }
        let magnitude = index / Self::HALF - 1;
        (index - magnitude * Self::HALF) << magnitude
    }

    /// Counts one value. Allocates nothing, but once in four thousand million for one cell.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value so many times, at least once, at the price of once.
    #[inline]
    pub fn record_many(&mut self, value: u64, times: u32) {
        let told_apart = value.min(HIGHEST);
        self.add(Self::index(told_apart), times);
        let times = u64::from(times);
        self.clipped += if value > HIGHEST { times } else { 0 };
        self.count += times;
        self.sum += u128::from(value) * u128::from(times);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    #[inline]
    fn add(&mut self, index: usize, count: u32) {
        let (sum, passed) = self.cells[index].overflowing_add(count);
        self.cells[index] = sum;
        if passed {
            self.carry(index);
        }
    }

    #[cold]
    fn carry(&mut self, index: usize) {
        self.carries.push(index as u32);
    }

    /// What cell `index` holds.
    fn cell(&self, index: usize) -> u64 {
        let passed = self.carries.iter().filter(|carry| **carry == index as u32).count() as u64;
        (passed << 32) + u64::from(self.cells[index])
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them lay above [`Self::HIGHEST`].
    #[must_use]
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// The least value, exact; `None` while empty.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// The greatest value, exact; `None` while empty.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The mean, exact; `None` while empty.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The value at or below which the share `quantile` (0 to 1) of all values lies: the highest
    /// value of its cell, as HdrHistogram reports it, but never above the maximum.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for index in 0..self.cells.len() {
            seen += self.cell(index);
            if seen >= rank {
                return Some((Self::value(index + 1) - 1).min(self.max));
            }
        }
        Some(self.max)
    }

    /// Several quantiles in one pass over the cells in use, for figures that are taken on a
    /// reactor's own thread; each as [`Self::quantile`] gives it. `None` while empty.
    ///
    /// # Panics
    /// If they do not rise.
    #[must_use]
    pub fn quantiles<const N: usize>(&self, quantiles: [f64; N]) -> Option<[u64; N]> {
        assert!(quantiles.is_sorted());
        let (min, max) = (self.min()?, self.max()?);
        let mut found = [max; N];
        let (mut next, mut seen) = (0, 0);
        for index in Self::index(min.min(HIGHEST))..=Self::index(max.min(HIGHEST)) {
            seen += self.cell(index);
            while next < N && seen as f64 >= (quantiles[next] * self.count as f64).ceil().max(1.0) {
                found[next] = (Self::value(index + 1) - 1).min(max);
                next += 1;
            }
            if next == N {
                break;
            }
        }
        Some(found)
    }

    /// The cells that hold anything: the lowest value of each, and its count.
    pub fn cells(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = (0..self.cells.len()).map(|index| (Self::value(index), self.cell(index)));
        all.filter(|(_, count)| *count > 0)
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (low, high) =
            (Self::index(other.min.min(HIGHEST)), Self::index(other.max.min(HIGHEST)));
        for index in low..=high {
            self.add(index, other.cells[index]);
        }
        self.carries.extend_from_slice(&other.carries);
        self.count += other.count;
        self.clipped += other.clipped;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Forgets all values, and touches only the cells that were in use.
    pub fn clear(&mut self) {
        if self.count == 0 {
            return;
        }
        let (low, high) = (Self::index(self.min.min(HIGHEST)), Self::index(self.max.min(HIGHEST)));
        self.cells[low..=high].fill(0);
        self.carries.clear();
        (self.count, self.clipped, self.sum) = (0, 0, 0);
        (self.min, self.max) = (u64::MAX, 0);
    }
}

impl<const BITS: u32> Default for Histogram<BITS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled<const BITS: u32>(values: &[u64]) -> Histogram<BITS> {
        let mut histogram = Histogram::new();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        // Spread over all magnitudes, not only over the large ones.
        let one = (0..43u32, any::<u64>()).prop_map(|(bits, v)| v & ((1 << bits) - 1));
        prop::collection::vec(one, 1..300)
    }

    #[test]
    fn every_cell_starts_where_the_one_before_it_ends() {
        for index in 0..FineHistogram::CELLS {
            let low = FineHistogram::value(index);
            assert_eq!(FineHistogram::index(low), index);
            if index > 0 {
                assert_eq!(FineHistogram::index(low - 1), index - 1);
            }
        }
    }

    #[test]
    fn values_beyond_the_highest_are_counted_as_clipped() {
        let histogram = filled::<11>(&[1, HIGHEST, HIGHEST + 1, u64::MAX]);
        assert_eq!((histogram.count(), histogram.clipped()), (4, 2));
        assert_eq!(histogram.max(), Some(u64::MAX));
        assert_eq!(histogram.cells().last().map(|(_, count)| count), Some(3));
    }

    #[test]
    fn what_an_interval_clips_its_stage_clips_too() {
        // Every response and send lag goes into a fine histogram as well as into that of its
        // second: the clipped ones are counted there, so a second may keep quiet about them.
        assert_eq!(FineHistogram::HIGHEST, IntervalHistogram::HIGHEST);
    }

    #[test]
    fn a_cell_goes_on_counting_past_four_thousand_million() {
        let mut histogram = filled::<11>(&[7; 3]);
        histogram.cells[7] = u32::MAX;
        histogram.count = u64::from(u32::MAX);
        histogram.record(7);
        assert_eq!(histogram.cells().collect::<Vec<_>>(), [(7, 1 << 32)]);
        let mut both = histogram.clone();
        both.merge(&histogram);
        both.record(9);
        assert_eq!(both.cells().collect::<Vec<_>>(), [(7, 1 << 33), (9, 1)]);
        assert_eq!((both.quantile(0.5), both.quantile(1.0)), (Some(7), Some(9)));
    }

    proptest! {
        #[test]
        fn agrees_with_hdrhistogram(values in values(), quantile in 0.0..=1.0f64) {
            let ours = filled::<11>(&values);
            let mut oracle =
                hdrhistogram::Histogram::<u64>::new_with_bounds(1, HIGHEST, 3).expect("bounds");
            values.iter().for_each(|&value| oracle.record(value).expect("in range"));
            let exact = |value| oracle.equivalent(value, ours.quantile(quantile).expect("filled"));
            prop_assert!(exact(oracle.value_at_quantile(quantile)));
            prop_assert_eq!(ours.count(), oracle.len());
            for (value, count) in ours.cells() {
                prop_assert_eq!(oracle.count_at(value), count);
                prop_assert_eq!(oracle.lowest_equivalent(value), value);
            }
        }

        #[test]
        fn many_at_once_are_as_many_one_by_one(bits in 0..64u32, word: u64, times in 1..20u32) {
            let value = word >> bits;
            let mut at_once = filled::<11>(&[5]);
            at_once.record_many(value, times);
            let one_by_one = filled::<11>(&[vec![5], vec![value; times as usize]].concat());
            let all = |one: &FineHistogram| {
                (one.cells().collect::<Vec<_>>(), one.count(), one.clipped(), one.mean(), one.max())
            };
            prop_assert_eq!(all(&at_once), all(&one_by_one));
        }

        #[test]
        fn merging_is_recording_both(a in values(), b in values()) {
            let mut merged = filled::<11>(&a);
            merged.merge(&filled(&b));
            let both = filled::<11>(&[a, b].concat());
            prop_assert_eq!(merged.cells().collect::<Vec<_>>(), both.cells().collect::<Vec<_>>());
            prop_assert_eq!((merged.min(), merged.max()), (both.min(), both.max()));
            prop_assert_eq!(merged.mean(), both.mean());
        }

        #[test]
        fn one_pass_finds_what_single_ones_find(
            values in values(),
            mut at in [0.0..=1.0f64, 0.0..=1.0],
        ) {
            let histogram = filled::<8>(&values);
            at.sort_by(f64::total_cmp);
            let each = at.map(|quantile| histogram.quantile(quantile).expect("filled"));
            prop_assert_eq!(histogram.quantiles(at), Some(each));
            prop_assert_eq!(Histogram::<8>::new().quantiles(at), None);
        }

        #[test]
        fn cleared_is_as_new(values in values()) {
            let mut histogram = filled::<8>(&values);
            histogram.clear();
            prop_assert_eq!(histogram.cells().count(), 0);
            prop_assert_eq!((histogram.count(), histogram.quantile(0.5)), (0, None));
        }
    }
}
