//! How far repeats of a run lie apart.

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
    /// The least of the values.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
    /// Their standard deviation as a share of their mean (the coefficient of variation); null with
    /// fewer than two values, or where the mean is 0.
    pub variation_ratio: Option<f64>,
}
