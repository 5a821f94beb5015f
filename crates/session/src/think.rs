//! Times of doing nothing, drawn from the seed, the connection and the draw's number: so nothing is
//! kept, and the same run draws the same.

use crate::template::mixed;
use measure::Nanos;
use measure::units::parse_duration;

/// The longest that is drawn: no time of a distribution's tail outlasts a run.
const LONGEST: Nanos = Nanos::from_secs(3600);

/// How long a connection does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Think {
    /// Always the same.
    Fixed(Nanos),
    /// Evenly between two.
    Uniform(Nanos, Nanos),
    /// Exponential, with this mean.
    Exponential(Nanos),
    /// Log-normal: its median, and the standard deviation of its logarithm.
    LogNormal(Nanos, f64),
}

/// The 95th percentile of the standard normal distribution.
const Z95: f64 = 1.644_853_626_951_472_8;

impl Think {
    /// `5s`, `uniform:1s-3s`, `exp:5s`, `lognormal:p50=3s,p95=20s`.
    ///
    /// # Errors
    /// If it is none of these: what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let none = || {
            format!(
                "'{text}' is no time: write '5s', 'uniform:1s-3s', 'exp:5s' or \
                 'lognormal:p50=3s,p95=20s'"
            )
        };
        let time = |text: &str| {
            let time = parse_duration(text).ok().filter(|time| *time <= LONGEST);
            time.ok_or_else(none)
        };
        let Some((distribution, rest)) = text.split_once(':') else {
            return Ok(Self::Fixed(time(text)?));
        };
        match distribution {
            "fixed" => Ok(Self::Fixed(time(rest)?)),
            "exp" => Ok(Self::Exponential(time(rest)?)),
            "uniform" => {
                let (low, high) = rest.split_once('-').ok_or_else(none)?;
                let (low, high) = (time(low)?, time(high)?);
                if low <= high { Ok(Self::Uniform(low, high)) } else { Err(none()) }
            }
            "lognormal" => {
                let (median, high) = rest.split_once(',').ok_or_else(none)?;
                let median = time(median.trim().strip_prefix("p50=").ok_or_else(none)?)?;
                let high = time(high.trim().strip_prefix("p95=").ok_or_else(none)?)?;
                if median == Nanos::ZERO || high < median {
                    return Err(none());
                }
                let deviation = (high.0 as f64 / median.0 as f64).ln() / Z95;
                Ok(Self::LogNormal(median, deviation))
            }
            _ => Err(none()),
        }
    }

    /// The draw of this number, for this connection.
    #[must_use]
    pub fn draw(&self, seed: u64, connection: u64, number: u64) -> Nanos {
        let base = mixed(seed ^ mixed(connection ^ mixed(number)));
        // In (0, 1]: a logarithm is taken of it.
        let unit = |bits: u64| ((bits >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        let time = match *self {
            Self::Fixed(time) => return time,
            Self::Uniform(low, high) => low.0 as f64 + (high.0 - low.0) as f64 * unit(base),
            Self::Exponential(mean) => -unit(base).ln() * mean.0 as f64,
            Self::LogNormal(median, deviation) => {
                // Box and Muller.
                let radius = (-2.0 * unit(base).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * unit(mixed(base))).cos();
                median.0 as f64 * (deviation * normal).exp()
            }
        };
        Nanos(time as u64).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 20_000;

    fn sorted(text: &str) -> Vec<f64> {
        let think = Think::parse(text).expect(text);
        let mut all: Vec<f64> =
            (0..DRAWS).map(|number| think.draw(7, number % 100, number).0 as f64 / 1e9).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn at(sorted: &[f64], share: f64) -> f64 {
        sorted[(share * sorted.len() as f64) as usize]
    }

    #[test]
    fn what_is_drawn_is_distributed_as_it_says() {
        assert!(sorted("5s").iter().all(|time| *time == 5.0));
        let uniform = sorted("uniform:1s-3s");
        assert!(uniform[0] >= 1.0 && uniform[uniform.len() - 1] <= 3.0);
        assert!((at(&uniform, 0.5) - 2.0).abs() < 0.05);
        let exponential = sorted("exp:5s");
        let mean = exponential.iter().sum::<f64>() / DRAWS as f64;
        assert!((mean - 5.0).abs() < 0.2, "{mean}");
        assert!((at(&exponential, 0.5) - 5.0 * 2_f64.ln()).abs() < 0.2);
        let normal = sorted("lognormal:p50=3s,p95=20s");
        assert!((at(&normal, 0.5) - 3.0).abs() < 0.2 && (at(&normal, 0.95) - 20.0).abs() < 2.0);
        assert!(sorted("lognormal:p50=30m,p95=1h").iter().all(|time| *time <= 3600.0));
    }

    #[test]
    fn the_same_is_drawn_again() {
        let think = Think::parse("exp:5s").expect("right");
        assert_eq!(think.draw(1, 2, 3), think.draw(1, 2, 3));
        assert_ne!(think.draw(1, 2, 3), think.draw(1, 2, 4));
        assert_ne!(think.draw(1, 2, 3), think.draw(1, 3, 3));
        assert_ne!(think.draw(1, 2, 3), think.draw(2, 2, 3));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "fast",
            "exp:",
            "uniform:3s-1s",
            "lognormal:p50=3s",
            "lognormal:p50=3s,p95=1s",
            "pareto:1s",
            "2h",
        ] {
            assert!(Think::parse(wrong).is_err_and(|why| why.contains("exp:5s")), "{wrong}");
        }
    }
}
