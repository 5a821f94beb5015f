//! What both programs need around their reactors: named threads, signals, the live view, the
//! metrics endpoint, the look at the other side's, and `check`.
//!
//! Nothing here runs on a reactor thread. The threads it starts are few and unpinned:
//!
//! ```text
//!   main ─┬─ reactors ...      spawn: small stacks, joined with their panics reported
//!         ├─ signals           waits on a pipe, forwards to the channel that main selects on
//!         └─ metrics           serves up to 64 connections side by side, each within two seconds
//! ```
//!
//! The live view has no thread: whoever merges the reactors' snapshots hands it a `View`.

#![forbid(unsafe_code)]

pub mod check;
pub mod console;
mod deadline;
pub mod endpoint;
mod error;
pub mod group;
pub mod live;
pub mod options;
pub mod peer;
pub mod prometheus;
pub mod secure;
pub mod signals;
pub mod spawn;

pub use error::Error;
