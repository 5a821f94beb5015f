//! `c1000k-reference`: what the kernel alone costs, and how the project's programs compare with it.
//!
//! The reference is the least that can echo, ask or open: epoll and sockets, no reactor, no
//! protocol, no clock read per message. It shares no code with the programs that it judges; from
//! the house it takes only `measure` (words and units), `host` (a thread's own descriptor table)
//! and `report` (to read the histograms of a result).
//!
//! ```text
//!   server            client           open              the floor itself
//!     |                 |                |
//!   compare         compare-clients  compare-opening     the project's programs beside it,
//!   (takes turns)   (alternates)     (alternates)  pace  in one run
//! ```
//!
//! `pair` starts servers, runs a client against them, and stops them: for the scripts. `calibrate`
//! is no comparison with a program but with what is known: `truth` says what response times must
//! be.
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
mod pair;
mod procfs;
mod server;
mod socket;
mod sources;
mod statistics;
mod truth;
mod values;
mod websocket;

use anyhow::Result;
use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let name = match &command {
        Command::Pair(args) => args.name.clone(),
        _ => "c1000k-reference".to_owned(),
    };
    match run(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command, and says with which code to end.
fn run(command: Command) -> Result<u8> {
    // What it starts has the limits that the user gave.
    if !matches!(command, Command::Pair(_)) {
        socket::raise_descriptor_limit()?;
    }
    match command {
        Command::Server(args) => server::run(&args)?,
        Command::Client(args) => load::run_client(&args)?,
        Command::Compare(args) => compare::run(&args)?,
        Command::Open(args) => opening::run(&args)?,
        Command::CompareClients(args) => clients::run(&args)?,
        Command::CompareOpening(args) => openings::run(&args)?,
        Command::Pace(args) => pace::run(&args)?,
        Command::Calibrate(args) => calibrate::run(&args)?,
        Command::Pair(args) => return pair::run(&args),
        Command::Drive(args) => compare::drive(&args)?,
    }
    Ok(0)
}
