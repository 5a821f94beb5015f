//! The command line: what can be typed.

use crate::output::Output;
use crate::values::{Case, Openers, Target};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// The floor that the kernel sets, and the comparisons with it.
#[derive(Debug, Parser)]
#[command(name = "c1000k-reference", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The smallest epoll echo server; prints one JSON line when it listens, then runs until killed
    Server(ServerArgs),
    /// A closed-loop client that neither checks nor times messages; prints one JSON line
    Client(ClientArgs),
    /// Drives several running servers in turns and reports their ratios to the first
    Compare(CompareArgs),
    /// Opens connections from named ports against server threads of its own; prints one JSON line
    Open(OpenArgs),
    /// Alternates the project's client with the reference client on one server
    CompareClients(CompareClientsArgs),
    /// Alternates the project's client and server with `open`
    CompareOpening(CompareOpeningArgs),
    /// Runs the project's client at fixed rates and holds what it sent against what was asked
    Pace(PaceArgs),
    /// Runs the project's client against its server with known faults, and holds the percentiles
    /// against the analytic ones
    Calibrate(CalibrateArgs),
    /// Starts servers, waits until they listen, runs a client against them, and stops them
    Pair(PairArgs),
    /// One target's connections, driven on orders from `compare` over standard input
    #[command(hide = true)]
    Drive(DriveArgs),
}

/// What every closed-loop load has in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// Connections to each server
    #[arg(short, long, default_value = "1000", value_parser = count)]
    pub(crate) connections: u64,
    /// Bytes in a message
    #[arg(short, long, default_value = "32", value_parser = size)]
    pub(crate) size: u64,
    /// Messages in flight on each connection
    #[arg(short, long, default_value = "1", value_parser = count)]
    pub(crate) depth: u64,
    /// The CPU that the client is pinned to (default: not pinned)
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
}

#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// The port of 127.0.0.1 to listen on; 0 takes any free one
    #[arg(short, long)]
    pub(crate) port: u16,
    /// The CPU that it is pinned to (default: not pinned)
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
}

#[derive(Args, Debug)]
pub(crate) struct ClientArgs {
    /// The port of 127.0.0.1 to connect to
    #[arg(short, long)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Seconds that are counted; a tenth more is the warm-up
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The server's process, to add its CPU time per message
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// Speak WebSocket: upgrade every connection, and send masked frames
    #[arg(long)]
    pub(crate) ws: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// A running server as TAG:PORT:PID, and :ws behind it for WebSocket (repeat; ratios are to the
    /// first)
    #[arg(long = "target", required = true, value_name = "TAG:PORT:PID[:ws]")]
    pub(crate) targets: Vec<Target>,
    /// The tag of the target that is the first one's twin: where it is not its equal within 7 %,
    /// the run does not count
    #[arg(long, value_name = "TAG")]
    pub(crate) null: Option<String>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Rounds that are counted; one more comes first as a warm-up
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Seconds of each server's turn in a round; a quarter more is its warm-up
    #[arg(long, default_value_t = 0.2, value_parser = seconds)]
    pub(crate) slice: f64,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct DriveArgs {
    #[arg(long)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct OpenArgs {
    /// Connections to open, all together
    #[arg(short, long, default_value = "100k", value_parser = count)]
    pub(crate) connections: u64,
    /// Client threads, each with a descriptor table of its own (default: one per 18,000
    /// connections)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(crate) threads: Option<u16>,
    /// Server threads, likewise
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(crate) server_threads: Option<u16>,
    /// How many client threads open at the same time: a number, or `all`
    #[arg(long, default_value = "all")]
    pub(crate) openers: Openers,
    /// Source addresses 127.B.x.y that the threads share (default: one for each thread)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(crate) sources: Option<u16>,
    /// The B of the source addresses
    #[arg(long, default_value_t = 1)]
    pub(crate) source_octet: u8,
    /// Rounds of one 32-byte message over every connection, 64 in flight for each thread
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) echo_rounds: u32,
    /// The port of 127.0.0.1 that the server threads share (default: a free one)
    #[arg(short, long)]
    pub(crate) port: Option<u16>,
}

/// Where the project's client is, and which server it and the reference speak to.
#[derive(Args, Debug)]
pub(crate) struct ProgramArgs {
    /// The project's client program
    #[arg(long)]
    pub(crate) program: PathBuf,
    /// The port of 127.0.0.1 where the server listens
    #[arg(short, long)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct CompareClientsArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Let both clients speak WebSocket
    #[arg(long)]
    pub(crate) ws: bool,
    /// Rounds: each runs both clients once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds: f64,
}

#[derive(Args, Debug)]
pub(crate) struct CompareOpeningArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Connections to open in each run
    #[arg(short, long, default_value = "100k", value_parser = count)]
    pub(crate) connections: u64,
    /// Use a single source address on both sides, to see whether a filling port range slows down
    #[arg(long)]
    pub(crate) one_source: bool,
    /// Open as WebSocket, too, at this port of the same server
    #[arg(long, value_name = "PORT")]
    pub(crate) ws_port: Option<u16>,
    /// Rounds: each opens all connections once on both sides
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
}

#[derive(Args, Debug)]
pub(crate) struct PaceArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Connections and the messages per second on each, like 100x1000 or 100kx0.5 (repeat)
    #[arg(long = "case", required = true, value_name = "CONNECTIONSxRATE")]
    pub(crate) cases: Vec<Case>,
    /// Seconds of each run
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The CPUs that the client's reactors are pinned to, e.g. 1 (default: all)
    #[arg(long)]
    pub(crate) cores: Option<String>,
    /// How messages are spread over time: uniform or poisson, as the client has it
    #[arg(long, default_value = "uniform")]
    pub(crate) arrivals: String,
    /// The server's process: with it the table says how much of the CPUs' time other processes took
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// How far sent may be from asked, in percent
    #[arg(long, default_value_t = 0.1)]
    pub(crate) tolerance: f64,
}

/// What a calibration runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Part {
    All,
    Table,
    Teaching,
}

#[derive(Args, Debug)]
pub(crate) struct CalibrateArgs {
    /// The project's client program
    #[arg(long)]
    pub(crate) client: PathBuf,
    /// The project's server program
    #[arg(long)]
    pub(crate) server: PathBuf,
    /// How many connections (repeat)
    #[arg(short, long, default_values = ["1k", "100k"], value_parser = count)]
    pub(crate) connections: Vec<u64>,
    /// Seconds of each run, a whole number
    #[arg(long, default_value_t = 7.0, value_parser = whole_seconds)]
    pub(crate) seconds: f64,
    /// Rounds of the table: the median of their errors is judged
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// What to run: the percentiles against the analytic ones, what the closed model makes of the
    /// same faults, or both
    #[arg(long, value_enum, default_value_t = Part::All)]
    pub(crate) part: Part,
    /// A short look that a busy machine does not fail: 1,000 connections, the low rate, three
    /// attempts
    #[arg(long, conflicts_with_all = ["part", "connections", "seconds", "rounds"])]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PairArgs {
    /// How many servers there are
    #[arg(long, default_value_t = 1)]
    pub(crate) servers: usize,
    /// Append what the servers say to this file, instead of dropping what they print and showing
    /// their messages
    #[arg(long)]
    pub(crate) log: Option<PathBuf>,
    /// Append a line `process`, number, program for each process, so that others can end it
    #[arg(long)]
    pub(crate) undo: Option<PathBuf>,
    /// Write both command lines to this file, with the ports that were free
    #[arg(long)]
    pub(crate) commands: Option<PathBuf>,
    /// Who speaks in messages
    #[arg(long = "as", default_value = "c1000k-reference")]
    pub(crate) name: String,
    /// The commands: SERVER... -- CLIENT...; in a server's, {free} is a free port of 127.0.0.1; in
    /// the client's, {url}, {port}, {pid} and {metrics} are the server's, those of the second
    /// {url.2} and so on. A server says one line for each URL among its words; one that it does not
    /// listen on is written with its option (--origin=URL)
    #[arg(last = true, required = true, value_name = "COMMANDS")]
    pub(crate) command: Vec<OsString>,
}

fn count(text: &str) -> Result<u64, String> {
    match measure::units::parse_count(text) {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) if count > 10_000_000 => Err("10m is the most".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    match measure::units::parse_size(text) {
        Ok(0) => Err("a message has at least 1 byte".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("'{text}' is not a number of seconds from 0.01 to 3600")),
    }
}

/// A number of seconds that holds whole periods of a second, and a stall that happens once.
fn whole_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<u32>() {
        Ok(seconds @ 4..=60) => Ok(f64::from(seconds)),
        _ => Err(format!("'{text}' is not a whole number of seconds from 4 to 60")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_bounded() {
        assert_eq!(count("2.5k"), Ok(2_500));
        assert!(count("0").is_err() && count("11m").is_err());
        assert!(size("0").is_err());
        assert_eq!(seconds("0.2"), Ok(0.2));
        assert!(whole_seconds("8") == Ok(8.0) && whole_seconds("8.5").is_err());
        assert!(seconds("0").is_err() && seconds("1h").is_err() && seconds("nan").is_err());
    }
}
