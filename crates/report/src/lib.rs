//! Result files: what they hold, how they are written and read, how a run is judged and shown.
//!
//! Needs files and nothing else: no network, no Linux. A result made on one machine is read on any
//! other, and every version of the schema that was ever written stays readable.
//!
//! ```text
//! client --> schema::ResultFile --> store::write --> result.json --> store::read --> text::summary
//!                 ^        |
//!        hist::entry       +--> verdict::evaluate(thresholds)           markdown, wrk, html, export
//!                          +--> generator::judge, server::fill          compare, merge
//! ```

#![forbid(unsafe_code)]

mod audit;
pub mod balance;
pub mod compare;
pub mod export;
pub mod generator;
pub mod headline;
pub mod hist;
pub mod html;
pub mod markdown;
pub mod merge;
mod metric;
pub mod neutral;
pub mod outcome;
pub mod part;
pub mod schema;
pub mod server;
pub mod spread;
pub mod statuses;
pub mod store;
pub mod text;
pub mod verdict;
pub mod wrk;

pub use schema::ResultFile;
