//! How sure a difference is: simultaneous confidence intervals by the bootstrap.
//!
//! A run gives one number per figure, and the run is what is repeated: the messages of one run
//! share its luck, so a million of them do not make its median any surer (T. Kalibera and R. Jones,
//! "Rigorous benchmarking in reasonable time", ISMM 2013). Differences are looked at as ratios,
//! hence in logarithms. For each figure k with the runs of both sides:
//!
//! ```text
//! s(k) = spread of the runs about their side's mean
//! d(k) = mean of ln(new) - mean of ln(base)
//! t(k) = d(k) / (s(k) * sqrt(1/n + 1/m))
//! ```
//!
//! What t does when nothing differs is found by drawing: the runs, each as its distance from its
//! side's mean and with all its figures together, are drawn n + m times with replacement, and the
//! greatest |t| over *all* figures is noted. The share `level` of these greatest values is the
//! critical one, and d(k) ± critical · s(k) · sqrt(1/n + 1/m) holds for all figures at once: the
//! chance that any figure of the table is called different while none is stays below 1 - `level`,
//! however many are looked at and however they hang together (studentised bootstrap: B. Efron and
//! R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 12 and 16; the greatest
//! statistic: P. Westfall and S. Young, "Resampling-Based Multiple Testing", 1993).

/// How often runs are drawn.
pub const RESAMPLES: usize = 10_000;

/// The runs, both sides together, from which their noise is judged. With three there is one degree
/// of freedom, which says nothing.
pub const RUNS_MIN: usize = 4;

/// The least noise that is taken for true, as a share: five times the resolution of the histograms.
/// Figures that happen to repeat exactly would otherwise make any difference infinitely sure.
pub const NOISE_MIN: f64 = 0.005;

/// One figure over the runs of both sides, as logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The base side, run by run.
    pub base: Vec<f64>,
    /// The new side, run by run.
    pub new: Vec<f64>,
}

/// The logarithm that figures are compared in. One is added, so that nothing (no failures, no
/// bytes) has a logarithm too; next to nanoseconds, bytes and rates it is nothing.
#[must_use]
pub fn logarithm(value: f64) -> f64 {
    value.max(0.0).ln_1p()
}

/// Back from [`logarithm`].
#[must_use]
pub fn from_logarithm(logarithm: f64) -> f64 {
    logarithm.exp_m1()
}

/// The difference of a figure and what it may be by chance, in logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// New minus base.
    pub estimate: f64,
    /// How far the truth may lie from that on either side, at the level asked for.
    pub margin: f64,
    /// The spread from run to run.
    pub noise: f64,
}

/// The mean of some numbers; 0 of none.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The differences of all figures, with margins that hold for all of them at once with a
/// probability of `level`. The same figures give the same margins: the drawing is seeded.
///
/// # Panics
/// If the figures do not all have the same runs, one at least on each side and [`RUNS_MIN`] in all.
#[must_use]
pub fn differences(figures: &[Figure], level: f64) -> Vec<Difference> {
    let Some(first) = figures.first() else { return Vec::new() };
    let sides = Sides { base: first.base.len(), new: first.new.len() };
    assert!(sides.base > 0 && sides.new > 0 && sides.runs() >= RUNS_MIN, "{sides:?}");
    let residuals: Vec<_> = figures.iter().map(|figure| residuals(figure, sides)).collect();
    let critical = critical(&residuals, sides, level);
    figures
        .iter()
        .zip(&residuals)
        .map(|(figure, residuals)| {
            let noise = sides.spread(residuals).max(NOISE_MIN);
            Difference {
                estimate: mean(&figure.new) - mean(&figure.base),
                margin: critical * noise * sides.error_factor(),
                noise,
            }
        })
        .collect()
}

/// How many runs each side has.
#[derive(Clone, Copy, Debug)]
struct Sides {
    base: usize,
    new: usize,
}

impl Sides {
    fn runs(self) -> usize {
        self.base + self.new
    }

    /// What turns the spread of single runs into that of the difference of the means.
    fn error_factor(self) -> f64 {
        (1.0 / self.base as f64 + 1.0 / self.new as f64).sqrt()
    }

    /// The spread of the runs about the mean of their side, both sides together.
    fn spread(self, values: &[f64]) -> f64 {
        let (base, new) = values.split_at(self.base);
        ((squares(base) + squares(new)) / (self.runs() - 2) as f64).sqrt()
    }

    /// |t| of one figure.
    fn statistic(self, values: &[f64]) -> f64 {
        let (base, new) = values.split_at(self.base);
        let difference = (mean(new) - mean(base)).abs();
        difference / (self.spread(values).max(NOISE_MIN) * self.error_factor())
    }
}

/// The sum of the squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Each run as its distance from the mean of its side.
fn residuals(figure: &Figure, sides: Sides) -> Vec<f64> {
    assert_eq!((figure.base.len(), figure.new.len()), (sides.base, sides.new));
    let centred = |side: &[f64]| {
        let mean = mean(side);
        side.iter().map(|value| value - mean).collect::<Vec<_>>()
    };
    [centred(&figure.base), centred(&figure.new)].concat()
}

/// The value that the greatest |t| over all figures stays below, with a probability of `level`,
/// when no figure differs.
fn critical(residuals: &[Vec<f64>], sides: Sides, level: f64) -> f64 {
    let runs = sides.runs();
    let mut random = SplitMix(0);
    let (mut drawn, mut values) = (vec![0; runs], vec![0.0; runs]);
    let mut greatest: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| random.below(runs));
            let statistics = residuals.iter().map(|residuals| {
                for (value, &run) in values.iter_mut().zip(&drawn) {
                    *value = residuals[run];
                }
                sides.statistic(&values)
            });
            statistics.fold(0.0, f64::max)
        })
        .collect();
    greatest.sort_unstable_by(f64::total_cmp);
    let rank = (level * RESAMPLES as f64).ceil() as usize;
    greatest[rank.clamp(1, RESAMPLES) - 1]
}

/// The generator SplitMix64 (G. Steele, D. Lea, C. Flood, 2014): enough for drawing, and the same
/// on every machine.
#[derive(Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, all equally likely to within 2^-50.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 0 to 1.
    fn uniform(random: &mut SplitMix) -> f64 {
        (random.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of mean 0 and deviation 1 whose tail is long, as that of latencies is: now and then
    /// a run is far slower than the others.
    fn skewed(random: &mut SplitMix) -> f64 {
        let exponential = -(1.0 - uniform(random)).ln();
        let noise: f64 = (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0;
        0.6 * (exponential - 1.0) + 0.8 * noise
    }

    /// Runs of the same thing: 40 figures, half of whose noise is common to the figures of a run.
    fn repeats(random: &mut SplitMix, runs: usize, noise: f64) -> Vec<Vec<f64>> {
        let common: Vec<f64> = (0..runs).map(|_| skewed(random)).collect();
        let figure = |random: &mut SplitMix| {
            common.iter().map(|c| 10.0 + noise * 0.5f64.sqrt() * (c + skewed(random))).collect()
        };
        (0..40).map(|_| figure(random)).collect()
    }

    fn figures(random: &mut SplitMix, (n, m): (usize, usize), noise: f64) -> Vec<Figure> {
        let (base, new) = (repeats(random, n, noise), repeats(random, m, noise));
        base.into_iter().zip(new).map(|(base, new)| Figure { base, new }).collect()
    }

    fn alarms(figures: &[Figure]) -> usize {
        let sure = |difference: &Difference| difference.estimate.abs() > difference.margin;
        differences(figures, 0.98).iter().filter(|difference| sure(difference)).count()
    }

    #[test]
    fn twenty_comparisons_of_repeats_raise_one_false_alarm_at_most() {
        for sides in [(2, 2), (5, 5), (1, 5)] {
            let mut random = SplitMix(7);
            let compared = (0..20).map(|_| figures(&mut random, sides, 0.05));
            let false_alarms = compared.filter(|figures| alarms(figures) > 0).count();
            assert!(false_alarms <= 1, "{sides:?}: {false_alarms}");
        }
    }

    #[test]
    fn ten_percent_in_one_figure_of_forty_are_found_in_five_runs_a_side() {
        let mut random = SplitMix(11);
        let found = (0..20).filter(|_| {
            let mut figures = figures(&mut random, (5, 5), 0.015);
            figures[0].new.iter_mut().for_each(|value| *value += 1.1f64.ln());
            let difference = differences(&figures, 0.98)[0];
            difference.estimate > difference.margin
        });
        assert!(found.count() >= 19);
    }

    #[test]
    fn a_figure_that_repeats_exactly_is_not_infinitely_sure() {
        let mut random = SplitMix(5);
        let noisy = figures(&mut random, (5, 5), 0.05).remove(0);
        let exact = Figure { base: vec![3.0; 5], new: vec![3.0; 5] };
        let mut figures = [exact, noisy];
        let same = differences(&figures, 0.98)[0];
        assert_eq!((same.estimate, same.noise), (0.0, NOISE_MIN));
        figures[0].new = vec![3.001; 5];
        assert_eq!(alarms(&figures), 0, "a tenth of a percent");
        figures[0].new = vec![3.2; 5];
        assert_eq!(alarms(&figures), 1);
    }

    #[test]
    fn more_figures_ask_for_more_and_the_result_repeats() {
        let mut random = SplitMix(3);
        let figures = figures(&mut random, (5, 5), 0.05);
        let (one, all) = (differences(&figures[..1], 0.99), differences(&figures, 0.99));
        assert!(all[0].margin > one[0].margin, "{all:?}");
        assert_eq!(differences(&figures, 0.99), all);
        let wider = differences(&figures, 0.999);
        assert!(wider[0].margin > all[0].margin);
    }

    #[test]
    fn logarithms_lead_back() {
        for value in [0.0, 1.0, 52_300.0, 8e9] {
            assert!((from_logarithm(logarithm(value)) - value).abs() <= 1e-9 * value.max(1.0));
        }
        assert_eq!(logarithm(-1.0), 0.0);
    }
}
