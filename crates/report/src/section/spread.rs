//! The spread of the main figures between repeats: what a single run leaves unknown.

use super::ResultFile;
use super::metric::Metric;
use super::parts::Kind;
use crate::figure::Unit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far one figure lies apart between the repeats that a result was merged from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Spread {
    /// The figure, as thresholds name it: `response.p99`.
    pub metric: String,
    /// Its unit: `ns`, `bytes` or `per_second`.
    pub unit: String,
    /// Its value in each run, in the order in which they began; null where it was not measured.
    pub values: Vec<Option<f64>>,
    /// The least of the values. Derived.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle. Derived.
    pub median: f64,
    /// The greatest. Derived.
    pub max: f64,
    /// Their standard deviation as a share of their mean (the coefficient of variation); null with
    /// fewer than two values, or where the mean is 0. Derived.
    pub variation_ratio: Option<f64>,
}

/// The figures whose spread is told, and what they are called in a summary.
const FIGURES: [(&str, &str); 15] = [
    ("connections.rate_per_second", "opened per second"),
    ("handshake.p99", "handshake p99"),
    ("messages.first_echo.rate_per_second", "first echoes per second"),
    ("messages.rate_achieved", "messages per second"),
    ("messages.rate_served", "served in time per second"),
    ("response.p50", "response p50"),
    ("response.p99", "response p99"),
    ("response.p999", "response p99.9"),
    ("resources.client.cpu_ns_per_connection", "client CPU a connection"),
    ("resources.client.cpu_ns_per_message", "client CPU a message"),
    ("resources.server.cpu_ns_per_connection", "server CPU a connection"),
    ("resources.server.cpu_ns_per_message", "server CPU a message"),
    ("resources.client.bytes_per_connection", "client memory a connection"),
    ("resources.server.bytes_per_connection", "server memory a connection"),
    ("resources.kernel.bytes_per_connection", "kernel memory a connection"),
];

/// What a figure is called in a summary; one that is not known by its own name.
#[must_use]
pub fn label(metric: &str) -> &str {
    FIGURES.iter().find(|(name, _)| *name == metric).map_or(metric, |(_, label)| label)
}

/// Repeats have a spread; shards are parts of one load.
pub(crate) fn merge(results: &[&ResultFile], kind: Kind) -> Vec<Spread> {
    if kind == Kind::Repeats { of(results) } else { Vec::new() }
}

/// The spread of each figure that was measured, over repeats in the order of their starts. One that
/// was merged from repeats itself counts with each of them.
fn of(results: &[&ResultFile]) -> Vec<Spread> {
    let known = FIGURES.iter().filter_map(|(name, _)| Metric::parse(name).ok());
    known.filter_map(|metric| spread(metric, results)).collect()
}

fn spread(metric: Metric, results: &[&ResultFile]) -> Option<Spread> {
    let name = metric.name();
    let values = results.iter().flat_map(|result| values(&metric, &name, result)).collect();
    told(name, metric.unit().name(), values)
}

/// The values of a figure in one result: one, or one for each run that it was merged from.
fn values(metric: &Metric, name: &str, result: &ResultFile) -> Vec<Option<f64>> {
    let Some(first) = result.spread.first() else {
        // A rate of nothing is no rate. Memory may well grow by nothing.
        let is_rate = metric.unit() == Unit::PerSecond;
        return vec![metric.value(result).filter(|value| *value > 0.0 || !is_rate)];
    };
    let own = result.spread.iter().find(|one| one.metric == name);
    own.map_or_else(|| vec![None; first.values.len()], |one| one.values.clone())
}

fn told(metric: String, unit: &str, values: Vec<Option<f64>>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    Some(Spread {
        metric,
        unit: unit.to_owned(),
        min,
        median: below / 2.0 + above / 2.0,
        max,
        variation_ratio: variation(&sorted),
        values,
    })
}

fn variation(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| value / count).sum::<f64>();
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let ratio = (squares / (count - 1.0)).sqrt() / mean;
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64) -> ResultFile {
        let mut result = ResultFile::default();
        result.messages.rate_achieved = rate;
        result
    }

    #[test]
    fn the_numbers_are_those_of_a_textbook() {
        let runs = [run(40.0), run(20.0), run(60.0), run(40.0)];
        let spread = of(&runs.iter().collect::<Vec<_>>());
        let [one] = spread.as_slice() else { panic!("what was not measured is there: {spread:?}") };
        assert_eq!(
            (one.metric.as_str(), one.unit.as_str()),
            ("messages.rate_achieved", "per_second")
        );
        assert_eq!(one.values, [40.0, 20.0, 60.0, 40.0].map(Some));
        assert_eq!((one.min, one.median, one.max), (20.0, 40.0, 60.0));
        // The deviations are 0, 20, 20 and 0: the root of 800 / 3, by 40.
        let expected = (800.0_f64 / 3.0).sqrt() / 40.0;
        assert!(one.variation_ratio.is_some_and(|ratio| (ratio - expected).abs() < 1e-12));
        let two = of(&[&run(10.0), &run(20.0)]);
        assert_eq!(two[0].median, 15.0);
    }

    #[test]
    fn a_run_without_the_figure_keeps_its_place() {
        let mut merged = run(30.0);
        merged.spread = of(&[&run(10.0), &run(0.0)]);
        let again = of(&[&merged, &run(50.0)]);
        assert_eq!(again[0].values, [Some(10.0), None, Some(50.0)]);
        assert_eq!((again[0].min, again[0].median, again[0].max), (10.0, 30.0, 50.0));
    }

    #[test]
    fn no_number_is_left_open_whatever_the_values() {
        for values in [vec![1e308, 1e308], vec![5.0], vec![0.0, 0.0]] {
            let values: Vec<_> = values.into_iter().map(Some).collect();
            let one = told("x".to_owned(), "count", values).expect("a value");
            assert!(one.median.is_finite() && one.variation_ratio.is_none_or(f64::is_finite));
        }
        assert_eq!(told("x".to_owned(), "count", vec![None]), None);
    }

    #[test]
    fn every_figure_is_a_metric() {
        for (name, label) in FIGURES {
            assert!(Metric::parse(name).is_ok(), "{name}");
            assert_eq!(super::label(name), label);
        }
        assert_eq!(label("connections.lost"), "connections.lost");
    }
}
