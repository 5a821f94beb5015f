//! Result files: what they hold, how they are written and read, how a run is judged and shown.
//!
//! Needs files and nothing else: no network, no Linux. A result made on one machine is read on any
//! other, and every version of the schema that was ever written stays readable.
//!
//! ```text
//! client --> schema::ResultFile --> store::write --> result.json --> store::read --> text::summary
//!                 ^        |
//!        hist::entry       +--> verdict::judge                       markdown, wrk, html, export
//!                          +--> generator::judge, server::fill       compare, merge
//! ```
//!
//! A result has sections, and each is a file below `section/`: what it holds, how parts are merged,
//! its numbers, what it says in summaries. What puts them together is above, what they share below.

#![forbid(unsafe_code)]

pub mod compare;
pub mod export;
mod figure;
pub mod headline;
pub mod hist;
pub mod html;
pub mod markdown;
pub mod merge;
pub mod neutral;
pub mod outcome;
pub mod part;
pub mod schema;
mod section;
pub mod store;
pub mod text;
mod words;
pub mod wrk;

pub use section::{ResultFile, balance, generator, server, spread, statuses, verdict};
