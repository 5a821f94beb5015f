//! `c1000k-client`: opens, holds and exercises up to millions of connections, and measures them.
//!
//! ```text
//!   main ── reads the command line, plans, checks the machine, starts:
//!     ├─ reactor-0 … reactor-k   pinned; each opens and drives its share of the connections
//!     ├─ conductor (main)        moves all reactors from phase to phase, merges what they report
//!     ├─ checkpoints             writes what there is so far beside the place of the result
//!     └─ signals                 the first drains, the second leaves at once
//! ```
//!
//! Phases: ramp → settle (first echo) → drive → hold → drain.

#![forbid(unsafe_code)]

mod books;
mod cli;
mod commands;
mod conductor;
mod driver;
mod load;
mod orders;
mod plan;
mod protocol;
mod result;

pub use cli::Cli;
pub use commands::run;
pub use control::Error;
