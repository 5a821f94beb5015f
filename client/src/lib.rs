//! `c1000k-client`: opens, holds and exercises up to millions of connections, and measures them.
//!
//! ```text
//!   main ── reads the command line, plans, checks the machine, starts:
//!     ├─ reactor-0 … reactor-k   pinned; each opens and drives its share of the connections
//!     ├─ coordinator (main)      moves all reactors from phase to phase, merges what they report
//!     ├─ checkpoints             writes what there is so far beside the place of the result
//!     └─ signals                 the first drains, the second leaves at once; both write the result
//! ```
//!
//! Phases: ramp → settle (first echo) → drive → hold → drain.

#![forbid(unsafe_code)]

mod account;
pub mod audit;
mod backlog;
mod check;
mod checkpoint;
pub mod cli;
mod coordinator;
mod crew;
#[cfg(test)]
mod crew_tests;
mod doctor;
pub mod driver;
mod echo;
pub mod load;
mod pacing;
pub mod plan;
mod probe;
pub mod protocol;
mod repeat;
mod run;
mod tally;

pub use control::Error;
pub use run::run;
