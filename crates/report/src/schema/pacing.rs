//! How the sending kept to its schedule.

use super::Arrivals;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the messages of the open model left, against the times that were planned: counts of actual sends
/// over short windows, all reactors together.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Pacing {
    /// How messages were to be spread over time.
    pub arrivals: Arrivals,
    /// The length of a window.
    pub window_ns: u64,
    /// How many windows were looked at: the traffic from its start, or the first minute of it.
    pub windows: u64,
    /// Messages sent in a window, on average. Those sent behind the last window are in none.
    pub sent_per_window_mean: f64,
    /// The most that were sent in one.
    pub sent_per_window_max: u64,
    /// The variance of the messages sent in a window, divided by their mean (the index of dispersion):
    /// bursts raise it. Null if nothing was sent in any.
    pub dispersion: Option<f64>,
    /// The same of the times at which they were due: what a generator that is never late would have. For
    /// even arrivals 0, where the rate divides the windows, and never above 1; for Poisson arrivals about
    /// 1. Null if nothing was due in any.
    pub dispersion_ideal: Option<f64>,
    /// By which part the rate at which messages were sent differs from what was asked: -0.001 is 0.1 % less.
    pub rate_error: f64,
}
