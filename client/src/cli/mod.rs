//! The command line: what was typed, parsed and no more; each protocol's options in a file of their
//! own. `plan/` works out what was meant.

mod http;
mod tls;
mod websocket;

pub(crate) use http::HttpArgs;
pub(crate) use tls::{List, TlsArgs};
pub(crate) use websocket::{FrameArgs, HandshakeArgs, Matching};

use crate::load::audited_share::Share;
use clap::{Args, Parser, Subcommand, ValueEnum};
use control::options::{Cores, FdTable, Reactors, parse_cores, parse_reactors};
use measure::Nanos;
use measure::units::{parse_count, parse_duration, parse_rate, parse_size};
use report::verdict::Threshold;
use std::net::SocketAddr;
use std::path::PathBuf;
use wire::{MESSAGE_BYTES_MIN, TEXT_MESSAGE_BYTES_MIN, Url};

/// Opens, holds and exercises up to millions of connections, and measures them.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "c1000k-client",
    version,
    after_help = "Exit codes: 0 done as planned, 1 failed while running, 2 usage, \
                  3 refused by preflight,\n4 a threshold was missed, 6 the plan was not \
                  reached, 130 interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Open connections to a server, exercise them, and write a result
    #[command(after_help = UNITS)]
    Run(Box<RunArgs>),
    /// Say what this machine lacks for the run that these options ask for, and how to mend it
    #[command(after_help = UNITS)]
    Check(Box<CheckArgs>),
    /// Join a WebSocket server and send every message back until it closes; exits with 0 if each
    /// connection ended by a closing handshake
    Echo(Box<EchoArgs>),
}

/// The options of `echo`.
#[derive(Args, Clone, Debug)]
pub struct EchoArgs {
    /// The servers to join, e.g. ws://127.0.0.1:9001/path; connections are spread over all of them
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<Url>,
    /// How many connections to join with
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = parse_count)]
    pub connections: u64,
    /// How long one connection may take to be upgraded
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Nanos,
    /// What the handshake says.
    #[command(flatten)]
    pub handshake: HandshakeArgs,
    /// TLS.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Seed of all randomness [default: a fresh one]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl RunArgs {
    /// How long messages are sent.
    #[must_use]
    pub fn duration(&self) -> Nanos {
        self.duration.unwrap_or(Nanos::from_secs(10))
    }

    /// Size of a message in bytes: as given, or the smallest there is.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size.unwrap_or_else(|| self.size_min())
    }

    /// The smallest message: its stamp, which takes twice the room as text.
    #[must_use]
    pub fn size_min(&self) -> u64 {
        let least = if self.frames.text { TEXT_MESSAGE_BYTES_MIN } else { MESSAGE_BYTES_MIN };
        least as u64
    }
}

const UNITS: &str = "Counts and rates take k and m and fractions (2.6k, 1m), sizes k and m \
                     (64k = 65,536), times us, ms, s, m, h.\nThe open model (--rate) sends at \
                     planned times whether replies come or not; the closed model (--closed)\n\
                     sends the next message when a reply has come. Without either, connections \
                     are opened, echo once, and are held.";

/// The options of `check`: those of the run, which it does not start.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The run to check for.
    #[command(flatten)]
    pub run: RunArgs,
    /// Print only how many connections fit, a tab, and why not more; for scripts
    #[arg(long, conflicts_with_all = ["json", "sysctl", "shell"], help_heading = "Output")]
    pub fits: bool,
    /// Print only the sysctls that would help, as a file for /etc/sysctl.d
    #[arg(long, conflicts_with_all = ["json", "shell"], help_heading = "Output")]
    pub sysctl: bool,
    /// Print only what would help as commands for a shell, each with its reason
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub shell: bool,
}

/// The options of a run.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The targets, e.g. tcp://127.0.0.1:9000, ws://127.0.0.1:9001/path or
    /// http://127.0.0.1:8080/path, or over TLS tls://, wss:// and https://; connections are spread
    /// over all of them, which have to speak the same protocol
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<Url>,

    /// Connections to open and hold
    #[arg(
        short,
        long,
        value_name = "N",
        default_value = "1k",
        value_parser = parse_count,
        help_heading = "Connections"
    )]
    pub connections: u64,
    /// Begin connections with all addresses of a name in turn, instead of the preferred one; either
    /// way the others are tried where one does not answer
    #[arg(long, help_heading = "Connections")]
    pub spread_addresses: bool,
    /// New connections per second, all together [default: as fast as the target takes them]
    #[arg(long, value_name = "N", value_parser = parse_rate, help_heading = "Connections")]
    pub connect_rate: Option<f64>,
    /// How long one connection may take to open; the addresses of a name share that time
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = parse_duration,
        help_heading = "Connections"
    )]
    pub connect_timeout: Nanos,
    /// Source addresses: an address, a list a,b, a range a-b, a CIDR block, an interface, or auto
    #[arg(long, value_name = "SPEC", default_value = "auto", help_heading = "Connections")]
    pub source_ip: Vec<String>,
    /// Source ports to use on each source address, e.g. 1024-65535 [default: the kernel's ephemeral
    /// range, or 1024-65535 where that is too small or the target is on loopback]
    #[arg(long, value_name = "A-B", value_parser = parse_ports, help_heading = "Connections")]
    pub source_ports: Option<(u16, u16)>,
    /// How many reactors of one core open connections at the same time, or 'all'
    #[arg(
        long,
        value_name = "N|all",
        default_value = "1",
        value_parser = parse_openers,
        help_heading = "Connections"
    )]
    pub openers_per_core: Openers,
    /// Take whatever a server says unasked (a greeting, a push) for a broken rule, and lose the
    /// connection; else it is passed over and counted (tcp:// and ws://)
    #[arg(long, help_heading = "Connections")]
    pub strict: bool,
    /// Do not have every connection send and verify one message before the traffic begins
    #[arg(long, help_heading = "Connections")]
    pub no_first_echo: bool,

    /// Messages per second, all connections together (open model)
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = parse_rate,
        conflicts_with = "closed",
        help_heading = "Traffic"
    )]
    pub rate: Option<f64>,
    /// How messages are spread over time (open model)
    #[arg(
        long,
        value_enum,
        default_value_t = Spread::Uniform,
        requires = "rate",
        conflicts_with = "closed",
        help_heading = "Traffic"
    )]
    pub arrivals: Spread,
    /// Send the next message when a reply has come (closed model)
    #[arg(long, help_heading = "Traffic")]
    pub closed: bool,
    /// Messages that each connection keeps on their way (closed model)
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = parse_count,
        requires = "closed",
        help_heading = "Traffic"
    )]
    pub in_flight: u64,
    /// How long to send messages [default: 10s]
    #[arg(
        short,
        long,
        value_name = "TIME",
        value_parser = parse_duration,
        help_heading = "Traffic"
    )]
    pub duration: Option<Nanos>,
    /// How long to hold the connections without traffic afterwards
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0",
        value_parser = parse_duration,
        help_heading = "Traffic"
    )]
    pub hold: Nanos,
    /// Size of a message in bytes (not for http://) [default: its stamp alone: 32, or 64 with
    /// --text]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size, help_heading = "Traffic")]
    pub size: Option<u64>,
    /// How long a connection may wait for its next reply before it is given up
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = parse_duration,
        help_heading = "Traffic"
    )]
    pub timeout: Nanos,

    /// The share of the connections that is audited: the kernel's stamps of receipt say how much of
    /// a response is the client's own, at a little cost for each packet of the machine; or off
    #[arg(long, value_name = "SHARE", default_value = "1%", help_heading = "Traffic")]
    pub audit: Share,

    /// Run the plan so many times, one after the other, and merge the results; tells how far they
    /// lie apart. A run that falls short of its plan does not end the series, one that opens
    /// nothing does
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Repeats")]
    pub repeat: Option<u64>,
    /// Rest between two of them [default: at least 1 s, and until the sockets of this machine,
    /// those in TIME_WAIT too, are as few as before the first run, 65 s at most: what is still
    /// being torn down would take time, memory and four-tuples from the next run]
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_duration,
        requires = "repeat",
        help_heading = "Repeats"
    )]
    pub cool_down: Option<Nanos>,

    /// What a WebSocket's opening handshake says.
    #[command(flatten)]
    pub handshake: HandshakeArgs,
    /// How messages go over a WebSocket.
    #[command(flatten)]
    pub frames: FrameArgs,
    /// What HTTP asks for, and how.
    #[command(flatten)]
    pub http: HttpArgs,
    /// TLS.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Reactor threads, or 'auto': one per core, and more where descriptor limits ask for it
    #[arg(
        long,
        value_name = "N",
        default_value = "auto",
        value_parser = parse_reactors,
        help_heading = "Machine"
    )]
    pub reactors: Reactors,
    /// CPUs to pin reactors to, e.g. 0,2-3 [default: all that this process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_cores, help_heading = "Machine")]
    pub cores: Option<Cores>,
    /// Whose descriptor table a reactor uses
    #[arg(long, value_enum, default_value_t = FdTable::Own, help_heading = "Machine")]
    pub fd_table: FdTable,
    /// Seed of all randomness [default: a fresh one, recorded in the result]. With --repeat each
    /// run takes the next one, so that no reply is taken for one of the run before
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub seed: Option<u64>,
    /// Run although preflight objects
    #[arg(long, help_heading = "Machine")]
    pub force: bool,

    /// Write the result (JSON) to this file. With --repeat it is the merged one; those of the
    /// single runs lie beside it, as result-1.json, result-2.json, … for result.json. While a run
    /// goes on, what it has measured so far lies in FILE.part. '-' is stdout, as with --json
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// A name for this run, kept in the result
    #[arg(long, value_name = "TEXT", help_heading = "Output")]
    pub label: Option<String>,
    /// Print the result (JSON; with --repeat the merged one), and nothing else, on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Show no progress
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Exit with 4 if this holds, e.g. 'response.p99>50ms', 'connections.failed>0', 'http.5xx>1%'
    /// or 'generator.limited>0'. With --repeat that of all runs together counts
    #[arg(long, value_name = "EXPR", help_heading = "Output")]
    pub fail_if: Vec<Threshold>,
    /// The server's metrics address: its own figures go into the result
    #[arg(long, value_name = "ADDR", help_heading = "Output")]
    pub peer: Option<SocketAddr>,
}

/// How messages are spread over time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Spread {
    /// One gap is as long as the other.
    Uniform,
    /// As independent users come: gaps are random, many of them short; the same for the same
    /// --seed.
    Poisson,
}

/// How many reactors of one core open at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Openers {
    /// All of them.
    All,
    /// So many.
    PerCore(usize),
}

fn parse_openers(text: &str) -> Result<Openers, String> {
    if text == "all" {
        return Ok(Openers::All);
    }
    let count = text.parse().ok().filter(|count| (1..=1024).contains(count));
    count.map(Openers::PerCore).ok_or_else(|| "give a number from 1 to 1024, or all".to_owned())
}

fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err("give a range of ports such as 1024-65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let line = ["c1000k-client", "run"].iter().chain(args);
        Cli::try_parse_from(line).map(|cli| match cli.command {
            Command::Run(args) => *args,
            Command::Check(args) => args.run,
            Command::Echo(args) => panic!("{args:?}"),
        })
    }

    #[test]
    fn options_are_read() {
        let args = run(&[
            "tcp://127.0.0.1:9000",
            "-c",
            "1m",
            "--connect-rate",
            "30k",
            "-r",
            "50k",
            "-d",
            "30s",
            "--hold",
            "10s",
            "-s",
            "1k",
            "--source-ip",
            "127.0.0.2",
            "--source-ip",
            "127.1.0.0/24",
            "--source-ports",
            "2000-60000",
            "--openers-per-core",
            "all",
            "--audit",
            "0.1%",
            "--fail-if",
            "response.p99>50ms",
        ])
        .expect("fine");
        assert_eq!(
            (args.connections, args.connect_rate, args.rate),
            (1_000_000, Some(30e3), Some(50e3))
        );
        assert_eq!((args.size_bytes(), args.source_ports), (1024, Some((2000, 60000))));
        assert_eq!((args.source_ip.len(), args.openers_per_core), (2, Openers::All));
        assert_eq!(args.fail_if[0].expression(), "response.p99>50ms");
        assert_eq!(args.audit.to_string(), "0.1%");
        let audit =
            |more: &[&str]| run(&[&["tcp://127.0.0.1:9000"], more].concat()).map(|a| a.audit);
        assert_eq!(audit(&[]).expect("fine").to_string(), "1%");
        assert!(audit(&["--audit", "off"]).expect("fine").is_off());
        let error = audit(&["--audit", "some"]).expect_err("refused").to_string();
        assert!(error.contains("such as 1% or 0.1%, or off"), "{error}");
    }

    #[test]
    fn options_of_websockets_are_read() {
        let url = "ws://127.0.0.1:9001/chat?room=1";
        let header = ["--header", "X-One:1", "--header", "Cookie: a=b; c:d "];
        let more = ["--text", "--fragment", "1k", "--ping", "30s", "--match", "order", "--deflate"];
        let args = run(&[&[url][..], &header, &more].concat()).expect("fine");
        let headers = [("X-One", "1"), ("Cookie", "a=b; c:d")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(args.handshake.header, headers);
        let FrameArgs { text, fragment, ping, matching } = args.frames;
        assert_eq!((text, fragment, ping), (true, Some(1024), Some(Nanos::from_secs(30))));
        assert_eq!((args.size_bytes(), matching), (64, Some(Matching::Order)));
    }

    #[test]
    fn nonsense_is_refused() {
        let url = "tcp://127.0.0.1:9000";
        for bad in [
            &[][..],
            &["127.0.0.1:9000"],
            &["quic://127.0.0.1:9000"],
            &[url, "-c", "-5"],
            &[url, "-c", "1.5"],
            &[url, "-r", "fast"],
            &[url, "--rate", "1k", "--closed"],
            &[url, "--in-flight", "4"],
            &[url, "--arrivals", "poisson"],
            &[url, "--rate", "1k", "--arrivals", "late"],
            &[url, "-d", "soon"],
            &[url, "--source-ports", "9000-8000"],
            &[url, "--source-ports", "0-8000"],
            &[url, "--openers-per-core", "0"],
            &[url, "--fail-if", "response.p99"],
            &[url, "--fail-if", "speed>1"],
            &[url, "--seed", "x"],
            &[url, "--peer", "here"],
            &[url, "--header", "no colon"],
            &[url, "--fragment", "some"],
            &[url, "--ping", "often"],
            &[url, "--match", "luck"],
            &[url, "--audit", "1"],
            &[url, "--audit", "101%"],
            &[url, "--repeat", "often"],
            &[url, "--repeat", "1.5"],
            &[url, "--repeat", "2", "--cool-down", "a while"],
            &[url, "--cool-down", "5s"],
        ] {
            assert_eq!(run(bad).expect_err("refused").exit_code(), 2, "{bad:?}");
        }
    }
}
