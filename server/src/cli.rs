//! The command line: what was typed, parsed and no more. `plan.rs` works out what was meant.

use crate::faults::{parse_delay, parse_stall};
use crate::secure::TlsArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use control::options::{Cores, FdTable, Reactors, parse_cores, parse_reactors};
use measure::Nanos;
use measure::units::{parse_count, parse_duration, parse_size};
use reactor::Stall;
use std::net::SocketAddr;
use std::path::PathBuf;
use wire::Url;
use wire::http::HeadLimits;

/// The matching target for c1000k-client: sends back what it gets, or serves files, on up to
/// millions of connections.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "c1000k-server",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Counts take k and m (1m = 1,000,000), sizes k and m (64k = 65,536), times us, \
                  ms, s, m, h.\nExit codes: 0 ended as asked, 1 failed while running, 2 usage, \
                  3 refused by preflight."
)]
pub struct Cli {
    /// Another thing to do than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to serve and how.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Other things to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Say what this machine lacks for the server that these options ask for, and how to mend it.
    Check(CheckArgs),
}

/// The options of `check`: those of the server, which it does not start.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The server to check for.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print only how many connections fit, a tab, and why not more; for scripts
    #[arg(long, conflicts_with_all = ["json", "sysctl", "shell"])]
    pub fits: bool,
    /// Print only the sysctls that would help, as a file for /etc/sysctl.d
    #[arg(long, conflicts_with_all = ["json", "shell"])]
    pub sysctl: bool,
    /// Print only what would help as commands for a shell, each with its reason
    #[arg(long, conflicts_with = "json")]
    pub shell: bool,
}

/// How connections are spread over the reactors.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Steer {
    /// By the kernel's hash of addresses and ports.
    Hash,
    /// To a reactor on the CPU that takes in the packet.
    Cpu,
}

/// Where the windows of compressed messages live.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Deflate {
    /// Each message stands for itself: its window is borrowed from the reactor.
    Shared,
    /// A window belongs to its connection, where the client wants that.
    Dedicated,
}

/// The options of a server.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen and what for: echo of bytes (tcp://127.0.0.1:9000), echo of WebSocket
    /// messages (ws://127.0.0.1:9001, on every path), files over HTTP (http://127.0.0.1:8080, which
    /// also takes WebSocket); the same over TLS (tls://, wss://, https://); IPv6 in brackets, port
    /// 0 takes any free one
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<Url>,
    /// Connections to hold at the same time; more are refused and counted [default: as many as the
    /// descriptor tables of one reactor per core hold]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub connections_max: Option<u64>,
    /// Reactor threads, or 'auto': one per core, and more where descriptor limits ask for it
    #[arg(long, value_name = "N", default_value = "auto", value_parser = parse_reactors)]
    pub reactors: Reactors,
    /// CPUs to pin reactors to, e.g. 0,2-3 [default: all that this process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    pub cores: Option<Cores>,
    /// Connections that may wait to be accepted, per reactor [default: what net.core.somaxconn
    /// allows]
    #[arg(long, value_name = "N", value_parser = parse_backlog)]
    pub backlog: Option<u32>,
    /// How new connections are spread over the reactors
    #[arg(long, value_enum, default_value_t = Steer::Hash)]
    pub steer: Steer,
    /// Whose descriptor table a reactor uses
    #[arg(long, value_enum, default_value_t = FdTable::Own)]
    pub fd_table: FdTable,
    /// The folder whose files http:// serves [default: none, but a page with the server's counters]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Large files (over 64 KiB) of --root that each reactor has open, those that are being sent
    /// included; a request for one more is answered with 503 [default: 512, or an eighth of a
    /// descriptor table]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub open_files: Option<u64>,
    /// The largest body of an HTTP request, which is read and dropped; a larger one is refused
    /// (413)
    #[arg(long, value_name = "SIZE", default_value = "1m", value_parser = parse_size)]
    pub body_max: u64,
    /// The largest head of an HTTP request (request line and headers); a larger one is refused
    /// (431)
    #[arg(long, value_name = "SIZE", default_value = "64k", value_parser = parse_head_max)]
    pub head_max: usize,
    /// The most header lines of an HTTP request; one with more is refused (431)
    #[arg(long, value_name = "N", default_value = "256", value_parser = parse_headers_max)]
    pub headers_max: usize,
    /// Close connections that stay silent for so long (0: never)
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    pub idle_timeout: Nanos,
    /// Refuse WebSocket handshakes and HTTP requests that are not complete after so long (408; 0:
    /// never)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub handshake_timeout: Nanos,
    /// End WebSocket connections whose message is not complete after so long (1008; 0: never);
    /// within a message this holds instead of --idle-timeout
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub message_timeout: Nanos,
    /// The largest WebSocket message, after decompression; a larger one, or one in more than
    /// 131,072 fragments, ends its connection (1009)
    #[arg(long, value_name = "SIZE", default_value = "16m", value_parser = parse_message_max)]
    pub message_max: u64,
    /// Compress WebSocket messages for clients that offer it (permessage-deflate); 'dedicated' lets
    /// clients keep their windows from message to message, for about 350 KiB each
    #[arg(
        long,
        value_enum,
        value_name = "WINDOWS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "shared"
    )]
    pub deflate: Option<Deflate>,
    /// Accept WebSocket requests only from pages of this origin, e.g. `https://example.com`, or
    /// from no page (repeat for more) [default: all]
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = parse_origin)]
    pub origins: Vec<String>,
    /// Speak this WebSocket subprotocol (repeat for more, the best first)
    #[arg(long = "subprotocol", value_name = "NAME", value_parser = parse_subprotocol)]
    pub subprotocols: Vec<String>,
    /// Bytes that may wait for slow readers, all connections together
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = parse_size)]
    pub unsent_max: u64,
    /// Stand still at known times, so that what a client measures can be checked: all reactors for
    /// LENGTH of every PERIOD of the server's clock, which starts with it; from FIRST on if that is
    /// given, and once if no period is (100ms/1s, 100ms/1s@5s, 1s@8s)
    #[arg(long, value_name = "LENGTH[/PERIOD][@FIRST]", value_parser = parse_stall)]
    pub stall: Option<Stall>,
    /// Let each reply wait for so long, up to 10s, and nothing else; replies of one read wait
    /// together
    #[arg(long, value_name = "TIME", value_parser = parse_delay)]
    pub delay: Option<Nanos>,
    /// TLS.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Serve /metrics, /snapshot.json and /healthz here, e.g. 127.0.0.1:9100
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Serve although preflight objects
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object per bound address, or the findings of check as JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_head_max(text: &str) -> Result<usize, String> {
    HeadLimits::checked_bytes(parse_size(text).map_err(|error| error.to_string())?)
}

fn parse_headers_max(text: &str) -> Result<usize, String> {
    HeadLimits::checked_headers(parse_count(text).map_err(|error| error.to_string())?)
}

fn parse_backlog(text: &str) -> Result<u32, String> {
    let count = parse_count(text).map_err(|error| error.to_string())?;
    // listen(2) takes an int.
    let count = u32::try_from(count).ok().filter(|count| (1..=i32::MAX as u32).contains(count));
    count.ok_or_else(|| "give a number from 1 to 2,147,483,647".to_owned())
}

fn parse_message_max(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    let fits = (1..=MESSAGE_BYTES_MAX).contains(&bytes);
    if fits { Ok(bytes) } else { Err("give a size from 1 byte to 1g".to_owned()) }
}

/// The most that `--message-max` can be: what one connection may have waiting grows with it.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// An origin as browsers send it (RFC 6454, section 6.2): scheme, host and port, or `null`.
fn parse_origin(text: &str) -> Result<String, String> {
    let after_scheme = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty());
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@,".contains(&b))
    };
    if text == "null" || after_scheme.is_some_and(|(_, host)| is_host(host)) {
        return Ok(text.to_owned());
    }
    Err("write it as browsers do: https://example.com, without a path, or null".to_owned())
}

fn parse_subprotocol(text: &str) -> Result<String, String> {
    if wire::http::is_token_text(text.as_bytes()) {
        return Ok(text.to_owned());
    }
    Err("a subprotocol's name is made of letters, digits and !#$%&'*+-.^_`|~".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn urls_and_options_are_read() {
        let cli = Cli::parse_from([
            "c1000k-server",
            "tcp://127.0.0.1:9000",
            "tcp://[::1]:0",
            "--connections-max",
            "1m",
            "--reactors",
            "3",
            "--cores",
            "0,2-3",
            "--idle-timeout",
            "1.5s",
            "--stall",
            "100ms/1s",
            "--delay",
            "5ms",
        ]);
        let length = Nanos::from_millis(100);
        let period = Some(Nanos::from_secs(1));
        assert_eq!(cli.serve.stall, Some(Stall { length, period, first: Nanos::ZERO }));
        assert_eq!(cli.serve.delay, Some(Nanos::from_millis(5)));
        assert_eq!(cli.serve.handshake_timeout, Nanos::from_secs(10));
        assert_eq!((cli.serve.message_max, cli.serve.deflate), (16 << 20, None));
        assert_eq!(cli.serve.urls.len(), 2);
        assert_eq!(cli.serve.connections_max, Some(1_000_000));
        assert_eq!(cli.serve.reactors, Reactors::Exactly(3));
        assert_eq!(cli.serve.cores, Some(Cores(vec![0, 2, 3])));
        assert_eq!(cli.serve.idle_timeout, Nanos::from_millis(1_500));
    }

    #[test]
    fn options_of_websocket_are_read() {
        let line = |args: &[&str]| {
            let line = ["c1000k-server", "ws://127.0.0.1:9001"].iter().chain(args);
            Cli::parse_from(line).serve
        };
        let args = line(&[
            "--handshake-timeout=250ms",
            "--message-max",
            "64k",
            "--origin",
            "https://example.com",
            "--origin=null",
            "--subprotocol",
            "chat.v2",
            "--subprotocol=chat",
            "--deflate",
        ]);
        assert_eq!(args.handshake_timeout, Nanos::from_millis(250));
        assert_eq!((args.message_max, args.deflate), (65_536, Some(Deflate::Shared)));
        assert_eq!(args.origins, ["https://example.com", "null"]);
        assert_eq!(args.subprotocols, ["chat.v2", "chat"]);
        assert_eq!(line(&["--deflate=dedicated"]).deflate, Some(Deflate::Dedicated));
        let help = Cli::command().render_help().to_string();
        for name in ["handshake-timeout", "message-max", "deflate", "origin", "subprotocol"] {
            assert!(help.contains(&format!("--{name}")), "{name}");
        }
        let most = wire::ws::Limits::default().fragments_max;
        let most = measure::units::format_grouped(u64::from(most));
        assert!(help.contains(&most), "the help names the limit of fragments");
        // A URL may follow, which is no value of the option.
        assert_eq!(line(&["--deflate", "tcp://127.0.0.1:1"]).urls.len(), 2);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &["c1000k-server"][..],
            &["c1000k-server", "127.0.0.1:9000"],
            &["c1000k-server", "udp://127.0.0.1:9000"],
            &["c1000k-server", "tcp://h:1", "--reactors", "0"],
            &["c1000k-server", "tcp://h:1", "--reactors", "1025"],
            &["c1000k-server", "tcp://h:1", "--cores", "3-1"],
            &["c1000k-server", "tcp://h:1", "--connections-max", "-1"],
            &["c1000k-server", "tcp://h:1", "--backlog", "0"],
            &["c1000k-server", "tcp://h:1", "--metrics", "9100"],
            &["c1000k-server", "tcp://h:1", "--unsent-max", "lots"],
            &["c1000k-server", "ws://h:1", "--handshake-timeout", "soon"],
            &["c1000k-server", "tcp://h:1", "--stall", "1s/100ms"],
            &["c1000k-server", "tcp://h:1", "--stall", "100ms"],
            &["c1000k-server", "tcp://h:1", "--delay", "0"],
            &["c1000k-server", "tcp://h:1", "--delay", "1m"],
            &["c1000k-server", "ws://h:1", "--message-max", "0"],
            &["c1000k-server", "ws://h:1", "--message-max", "2g"],
            &["c1000k-server", "ws://h:1", "--deflate=always"],
            &["c1000k-server", "ws://h:1", "--origin", "example.com"],
            &["c1000k-server", "ws://h:1", "--origin", "https://example.com/page"],
            &["c1000k-server", "ws://h:1", "--subprotocol", "a, b"],
        ] {
            let error = Cli::try_parse_from(bad).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }
}
