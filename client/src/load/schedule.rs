//! `Schedule`: when the messages of one reactor are due, evenly spread or at random. Pure.

use super::pace::Pace;
use measure::{Nanos, share};
use wire::SplitMix64;

/// How the messages of the open model are spread over their time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Arrivals {
    /// Evenly: one gap is as long as the other.
    #[default]
    Uniform,
    /// As independent users come: a Poisson process, of which the number of messages is given.
    Poisson,
}

/// The due times of one reactor's messages, one after the other, counted from the start of the
/// traffic.
///
/// All reactors together are given as many messages as fall due at the rate, whatever the arrivals:
/// each gets its share of them. Evenly spread, reactor r of k has messages r, r + k, r + 2k …
///
/// Poisson: given how many arrivals a span of time has, their times are independent and equally
/// likely all over it. So each reactor draws its share of such times for itself, and all of them
/// together are such times again, however they are shared out. They are drawn in their order,
/// without keeping any: of n times in what remains of the span, the first leaves the part U^(1/n)
/// of it behind (the least of n uniform ones). What remains is the state: nothing adds up but
/// roundings of a double.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Messages to come; of these the first is due at `due`.
    left: u64,
    due: Nanos,
    spread: Spread,
}

#[derive(Clone, Debug)]
enum Spread {
    /// The place of the first one to come among those of all reactors, and the step to the next.
    Even { pace: Pace, place: u64, step: u64 },
    /// What remains of the span behind the first one to come, in nanoseconds.
    Random { random: SplitMix64, span: Nanos, remains: f64 },
}

impl Schedule {
    /// Part `index` of `parts` of a stream of `rate` messages per second that lasts for `span`. Of
    /// the seed only random arrivals make use.
    ///
    /// # Panics
    /// As [`Pace::new`], and if `index` is not below `parts`.
    #[must_use]
    pub(crate) fn new(
        arrivals: Arrivals,
        rate: f64,
        span: Nanos,
        (index, parts): (u64, u64),
        seed: u64,
    ) -> Self {
        let pace = Pace::new(rate);
        let left = share(pace.count_before(span), parts, index);
        let (spread, due) = match arrivals {
            Arrivals::Uniform => {
                (Spread::Even { pace, place: index, step: parts }, pace.due(index))
            }
            Arrivals::Poisson => {
                // A seed for each part: streams of neighbouring seeds would be the same one,
                // shifted.
                let mut seeds = SplitMix64::new(!seed);
                let seed = (0..=index).fold(0, |_, _| seeds.next());
                let random = SplitMix64::new(seed);
                (Spread::Random { random, span, remains: span.0 as f64 }, Nanos::ZERO)
            }
        };
        let mut schedule = Self { left, due, spread };
        schedule.draw();
        schedule
    }

    /// A schedule without any message.
    #[must_use]
    pub(crate) fn empty() -> Self {
        let spread = Spread::Even { pace: Pace::new(1.0), place: 0, step: 1 };
        Self { left: 0, due: Nanos::ZERO, spread }
    }

    /// How many messages are to come.
    #[must_use]
    #[inline]
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// When the next of them is due; `None` if there is none.
    #[must_use]
    #[inline]
    pub(crate) fn due(&self) -> Option<Nanos> {
        (self.left > 0).then_some(self.due)
    }

    /// How many of those to come are due by `at`: exact where they are evenly spread, and as many
    /// as are to be expected where they come at random.
    #[must_use]
    pub(crate) fn overdue(&self, at: Nanos) -> u64 {
        if self.left == 0 || self.due > at {
            return 0;
        }
        match &self.spread {
            Spread::Even { pace, place, step } => {
                let by_then = pace.count_before(at + Nanos(1));
                by_then.saturating_sub(*place).div_ceil(*step).min(self.left)
            }
            Spread::Random { span, .. } => {
                let share = ratio(at.min(*span) - self.due, *span - self.due);
                1 + ((self.left - 1) as f64 * share) as u64
            }
        }
    }

    /// Goes on to the one behind it. Does nothing if there is none.
    #[inline]
    pub(crate) fn advance(&mut self) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        match &mut self.spread {
            Spread::Even { pace, place, step } => {
                *place += *step;
                self.due = pace.due(*place);
            }
            Spread::Random { .. } => self.draw(),
        }
    }

    /// Draws the due time of the first message to come, if arrivals are random.
    fn draw(&mut self) {
        let Spread::Random { random, span, remains } = &mut self.spread else { return };
        if self.left == 0 {
            return;
        }
        *remains *= (unit(random).ln() / self.left as f64).exp();
        // Rounding must not move the last one behind the end.
        let due = ((span.0 as f64 - *remains) as u64).min(span.0 - 1);
        self.due = self.due.max(Nanos(due));
    }

    /// How many messages are due in each of `windows` windows of one length, from the start on:
    /// those of all `parts` together. Takes as long as drawing the messages of these windows once
    /// more.
    ///
    /// # Panics
    /// As [`Schedule::new`].
    #[must_use]
    pub(crate) fn windows(
        arrivals: Arrivals,
        rate: f64,
        span: Nanos,
        parts: u64,
        seed: u64,
        (window, windows): (Nanos, usize),
    ) -> Vec<u64> {
        let mut counts = vec![0; windows];
        if arrivals == Arrivals::Uniform {
            let pace = Pace::new(rate);
            let all = pace.count_before(span);
            let mut before = 0;
            for (index, count) in counts.iter_mut().enumerate() {
                let until = pace.count_before(Nanos(window.0 * (index as u64 + 1))).min(all);
                *count = until - before;
                before = until;
            }
            return counts;
        }
        for index in 0..parts {
            let mut schedule = Self::new(arrivals, rate, span, (index, parts), seed);
            while let Some(due) = schedule.due() {
                let Some(count) = counts.get_mut((due.0 / window.0) as usize) else { break };
                *count += 1;
                schedule.advance();
            }
        }
        counts
    }
}

fn ratio(part: Nanos, of: Nanos) -> f64 {
    if of == Nanos::ZERO { 1.0 } else { part.0 as f64 / of.0 as f64 }
}

/// A number above 0 and up to 1, all multiples of 2^-53 equally likely.
#[inline]
fn unit(random: &mut SplitMix64) -> f64 {
    ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::pacing::Evenness;
    use proptest::prelude::*;

    const MILLI: Nanos = Nanos::from_millis(1);

    proptest! {
        #[test]
        fn what_is_overdue_is_what_would_be_drawn_by_then(
            (rate, parts, millis) in (1.0..5_000.0f64, 1..5u64, 1..2_000u64),
            (taken, seed) in (0..50u64, any::<u64>()),
        ) {
            let (span, at) = (Nanos::from_secs(2), Nanos::from_millis(millis));
            for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
                let mut schedule = Schedule::new(arrivals, rate, span, (parts - 1, parts), seed);
                (0..taken).for_each(|_| schedule.advance());
                let told = schedule.overdue(at);
                let left = schedule.left();
                while schedule.due().is_some_and(|due| due <= at) {
                    schedule.advance();
                }
                let drawn = left - schedule.left();
                if arrivals == Arrivals::Uniform {
                    prop_assert_eq!(told, drawn);
                } else {
                    let far = 1.0 + 6.0 * (left as f64).sqrt();
                    prop_assert!((told as f64 - drawn as f64).abs() <= far, "{} {}", told, drawn);
                }
            }
        }
    }

    fn times(schedule: Schedule) -> Vec<Nanos> {
        let next = |schedule: &mut Schedule| {
            let due = schedule.due()?;
            schedule.advance();
            Some(due)
        };
        let mut schedule = schedule;
        std::iter::from_fn(|| next(&mut schedule)).collect()
    }

    /// The due times of all reactors, in their order.
    fn all(arrivals: Arrivals, rate: f64, span: Nanos, parts: u64, seed: u64) -> Vec<Nanos> {
        let of = |index| times(Schedule::new(arrivals, rate, span, (index, parts), seed));
        let mut all: Vec<Nanos> = (0..parts).flat_map(of).collect();
        all.sort_unstable();
        all
    }

    fn gaps(times: &[Nanos]) -> Vec<f64> {
        let mut gaps: Vec<f64> =
            times.windows(2).map(|pair| (pair[1] - pair[0]).0 as f64).collect();
        gaps.sort_unstable_by(f64::total_cmp);
        gaps
    }

    /// The Kolmogorov-Smirnov distance of sorted values from a distribution.
    fn distance(sorted: &[f64], distribution: impl Fn(f64) -> f64) -> f64 {
        let count = sorted.len() as f64;
        let far = |(index, value): (usize, &f64)| {
            let at = distribution(*value);
            (at - index as f64 / count).abs().max((at - (index as f64 + 1.0) / count).abs())
        };
        sorted.iter().enumerate().map(far).fold(0.0, f64::max)
    }

    /// What that distance exceeds in one of a thousand samples (Smirnov 1948).
    fn critical(count: usize) -> f64 {
        1.95 / (count as f64).sqrt()
    }

    #[test]
    fn random_gaps_are_exponential_and_counts_those_of_a_poisson_process() {
        let (rate, span) = (20_000.0, Nanos::from_secs(5));
        for (parts, seed) in [(1, 1), (2, 2), (7, 3), (52, 4)] {
            let all = all(Arrivals::Poisson, rate, span, parts, seed);
            assert_eq!(all.len(), 100_000);
            let gaps = gaps(&all);
            let mean = 1e9 / rate;
            let far = distance(&gaps, |gap| 1.0 - (-gap / mean).exp());
            assert!(far < critical(gaps.len()), "{parts} parts: gaps are {far} off");
            // And those of each reactor alone, of which the rate is a part.
            let one = times(Schedule::new(Arrivals::Poisson, rate, span, (parts - 1, parts), seed));
            let one = self::gaps(&one);
            let far = distance(&one, |gap| 1.0 - (-gap / mean / parts as f64).exp());
            assert!(far < critical(one.len()), "{parts} parts: gaps of one are {far} off");
            // Times are spread evenly over the whole span.
            let places: Vec<f64> = all.iter().map(|due| due.0 as f64).collect();
            let far = distance(&places, |due| due / span.0 as f64);
            assert!(far < critical(places.len()), "{parts} parts: times are {far} off");
            // The dispersion of 5,000 counts is known to within 0.02 (standard error); 4 of these.
            let counts =
                Schedule::windows(Arrivals::Poisson, rate, span, parts, seed, (MILLI, 5_000));
            let it = Evenness::of(&counts);
            assert!((it.mean - 20.0).abs() < 1e-9, "{it:?}");
            assert!(it.dispersion.is_some_and(|d| (d - 1.0).abs() < 0.08), "{parts} parts: {it:?}");
            // How often a window has so many follows the Poisson distribution, too.
            let empty = counts.iter().filter(|count| **count <= 12).count() as f64 / 5_000.0;
            assert!((empty - 0.039).abs() < 0.012, "{parts} parts: {empty} at or below 12");
        }
    }

    #[test]
    fn parts_do_not_follow_each_other() {
        let (rate, span) = (1_000.0, Nanos::from_secs(10));
        let of =
            |index, seed| times(Schedule::new(Arrivals::Poisson, rate, span, (index, 2), seed));
        let streams = [of(0, 1), of(1, 1), of(0, 2), of(1, 2)];
        for (number, one) in streams.iter().enumerate() {
            for other in &streams[..number] {
                let same = one.iter().filter(|due| other.binary_search(due).is_ok()).count();
                assert!(same < 5, "{same} of {} times are the same", one.len());
            }
        }
    }

    #[test]
    fn even_ones_have_no_dispersion_where_the_rate_divides_the_windows() {
        for rate in [10_000.0, 50_000.0, 100_000.0] {
            let span = Nanos::from_secs(2);
            let counts = Schedule::windows(Arrivals::Uniform, rate, span, 3, 0, (MILLI, 2_000));
            let it = Evenness::of(&counts);
            assert_eq!((it.mean, it.dispersion), (rate / 1_000.0, Some(0.0)));
        }
    }

    #[test]
    fn a_long_span_ends_on_time() {
        // Roundings of ten million steps do not add up to anything.
        let span = Nanos::from_secs(1_000);
        let due = times(Schedule::new(Arrivals::Poisson, 10_000.0, span, (0, 1), 9));
        assert_eq!(due.len(), 10_000_000);
        let middle = due[5_000_000].as_secs_f64();
        // The standard error of the median is 0.16 s.
        assert!((middle - 500.0).abs() < 0.8, "{middle}");
        assert!(due.last().is_some_and(|last| span - *last < Nanos::from_millis(3)));
    }

    proptest! {
        #[test]
        fn every_part_rises_within_the_span_and_all_have_what_is_planned(
            rate in 0.1..200_000.0f64,
            micros in 1..100_000u64,
            parts in 1..20u64,
            seed in any::<u64>(),
        ) {
            let span = Nanos::from_micros(micros);
            let planned = Pace::new(rate).count_before(span);
            for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
                let mut sum = 0;
                let mut counted = vec![0; micros as usize / 1_000 + 1];
                for index in 0..parts {
                    let schedule = Schedule::new(arrivals, rate, span, (index, parts), seed);
                    let left = schedule.left();
                    let times = times(schedule.clone());
                    prop_assert_eq!(times.len() as u64, left);
                    prop_assert!(times.is_sorted());
                    prop_assert!(times.last().is_none_or(|last| *last < span));
                    sum += left;
                    times.iter().for_each(|due| counted[(due.0 / MILLI.0) as usize] += 1);
                    // Looking at it as often as one likes changes nothing, nor does a copy.
                    let mut again = schedule;
                    for due in times {
                        for _ in 0..2 {
                            prop_assert_eq!(again.due(), Some(due));
                        }
                        again.advance();
                    }
                    again.advance();
                    prop_assert_eq!((again.due(), again.left()), (None, 0));
                }
                prop_assert_eq!(sum, planned);
                let windows = (MILLI, counted.len());
                let counts = Schedule::windows(arrivals, rate, span, parts, seed, windows);
                prop_assert_eq!(counts, counted);
            }
        }

        #[test]
        fn even_ones_are_those_of_the_pace(
            rate in 0.1..200_000.0f64, micros in 1..100_000u64, parts in 1..20u64,
        ) {
            let span = Nanos::from_micros(micros);
            let pace = Pace::new(rate);
            let planned = (0..pace.count_before(span)).map(|n| pace.due(n));
            prop_assert!(all(Arrivals::Uniform, rate, span, parts, 0).into_iter().eq(planned));
        }
    }

    #[test]
    fn nothing_is_due_in_an_empty_one() {
        let mut schedule = Schedule::empty();
        schedule.advance();
        assert_eq!((schedule.due(), schedule.left()), (None, 0));
    }
}
