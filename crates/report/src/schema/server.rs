//! The account of the server: whether it kept up with what was asked, and when it stood still. The rules
//! are in [`crate::server`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the server under the load that was asked for (open model).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Server {
    /// Whether it fell behind: less than 99 % was served in time, and its backlog grew over most of the
    /// time, while the generator was not at its end. Such a run has the outcome `not_reached`.
    pub behind: bool,
    /// The time in which it answered nothing although much was on its way; null if there was none such.
    pub stalled: Option<Stall>,
}

/// A time without any answer, counted from the start of the traffic.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Stall {
    /// When the last answer before it came.
    pub from_seconds: f64,
    /// When the first answer behind it came.
    pub to_seconds: f64,
    /// How long that was.
    pub longest_silence_ns: u64,
}
