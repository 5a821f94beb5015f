//! The command line: what was typed, parsed and no more. `plan.rs` works out what was meant.

use clap::{Args, Parser, Subcommand, ValueEnum};
use control::options::{Cores, FdTable, Reactors, parse_cores, parse_reactors};
use measure::Nanos;
use measure::units::{parse_count, parse_duration, parse_size};
use std::net::SocketAddr;
use wire::Url;

/// The matching target for c1000k-client: sends back what it gets, on up to millions of connections.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "c1000k-server",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Counts take k and m (1m = 1,000,000), sizes k and m (64k = 65,536), times us, ms, s, m, h.\n\
                  Exit codes: 0 ended as asked, 1 failed while running, 2 usage, 3 refused by preflight."
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

/// The options of a server.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen, e.g. tcp://127.0.0.1:9000 (IPv6 in brackets); port 0 takes any free one
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
    /// Connections that may wait to be accepted, per reactor [default: what net.core.somaxconn allows]
    #[arg(long, value_name = "N", value_parser = parse_backlog)]
    pub backlog: Option<u32>,
    /// How new connections are spread over the reactors
    #[arg(long, value_enum, default_value_t = Steer::Hash)]
    pub steer: Steer,
    /// Whose descriptor table a reactor uses
    #[arg(long, value_enum, default_value_t = FdTable::Own)]
    pub fd_table: FdTable,
    /// Close connections that stay silent for so long (0: never)
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    pub idle_timeout: Nanos,
    /// Bytes that may wait for slow readers, all connections together
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = parse_size)]
    pub unsent_max: u64,
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

fn parse_backlog(text: &str) -> Result<u32, String> {
    let count = parse_count(text).map_err(|error| error.to_string())?;
    // listen(2) takes an int.
    let count = u32::try_from(count).ok().filter(|count| (1..=i32::MAX as u32).contains(count));
    count.ok_or_else(|| "give a number from 1 to 2,147,483,647".to_owned())
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
        ]);
        assert_eq!(cli.serve.urls.len(), 2);
        assert_eq!(cli.serve.connections_max, Some(1_000_000));
        assert_eq!(cli.serve.reactors, Reactors::Exactly(3));
        assert_eq!(cli.serve.cores, Some(Cores(vec![0, 2, 3])));
        assert_eq!(cli.serve.idle_timeout, Nanos::from_millis(1_500));
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
        ] {
            let error = Cli::try_parse_from(bad).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }
}
