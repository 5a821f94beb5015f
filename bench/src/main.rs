//! `c1000k-reference`: what the kernel alone costs, and how the project's programs compare with it.
//!
//! The reference is the least that can echo, ask or open: epoll and sockets, no reactor, no
//! protocol, no clock read per message. It shares no code with the programs that it judges; from
//! the house it takes only `measure` (words and units), `host` (a thread's own descriptor table) and
//! `report` (to read the histograms of a result).
//!
//! ```text
//!   server            client           open              the floor itself
//!     |                 |                |
//!   compare         compare-clients  compare-opening     the project's programs beside it,
//!   (takes turns)   (alternates)     (alternates)  pace  in one run
//! ```
//!
//! `calibrate` is no comparison with a program but with what is known: `truth` says what response times
//! must be.
//!
//! The comparisons exist because absolute rates say little on a machine that does other things:
//! they drive both sides in turns and report the ratio of each round.

#![forbid(unsafe_code)]

mod calibrate;
mod children;
mod cli;
mod clients;
mod compare;
mod load;
mod opening;
mod openings;
mod output;
mod pace;
mod procfs;
mod server;
mod socket;
mod sources;
mod statistics;
mod truth;
mod websocket;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    match socket::raise_descriptor_limit().and_then(|()| command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("c1000k-reference: {error:#}");
            ExitCode::FAILURE
        }
    }
}
