//! What is measured, and in which words: time, units, stages, failures, histograms and shares.
//!
//! The lowest floor of the house. Pure and portable: no socket, no thread, no file. Both ends, the
//! report and the tests speak these types, so that a stage or a failure has one name everywhere.

#![forbid(unsafe_code)]

mod clock;
mod failure;
mod histogram;
mod nanos;
mod shares;
mod stage;
pub mod units;
mod wall;

pub use clock::Clock;
pub use failure::Failure;
pub use histogram::{FineHistogram, Histogram, IntervalHistogram};
pub use nanos::Nanos;
pub use shares::{share, share_start};
pub use stage::Stage;
pub use wall::{Sighting, Wall, WallClock};
