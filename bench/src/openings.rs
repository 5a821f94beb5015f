//! Opening connections: the project's client and server against the reference, alternating.

use crate::children::{self, ClientResult};
use crate::cli::CompareOpeningArgs;
use crate::opening::OpenLine;
use crate::output::Table;
use crate::statistics::{Quartiles, ratios};
use anyhow::{Context, Result};
use measure::{Nanos, units};
use serde::Serialize;

/// The longest that one opening may take: below a tenth of the slowest rate seen with named ports.
const LIMIT: Nanos = Nanos::from_secs(300);

/// The one source address of the client where all ports of one are to be filled. The reference
/// counts from 127.1.0.1, so neither finds the other's ports in its way.
const ONE_SOURCE: &str = "127.9.0.1";

/// All rounds of one comparison. The ratio is to the reference, above 1 is better.
#[derive(Debug, Serialize)]
struct Comparison {
    kind: &'static str,
    connections: u64,
    one_source: bool,
    rounds: u32,
    reference_per_second: f64,
    /// The reference's last 5 % against its first 5 %: 1 means that a filling range costs nothing.
    reference_last_to_first: f64,
    client_per_second: f64,
    rate_ratio: Quartiles,
    /// WebSocket handshakes, and their ratio to the client's plain connections.
    websocket_per_second: Option<f64>,
    websocket_ratio: Option<Quartiles>,
    /// Connections that failed or were lost, over all rounds.
    failed: u64,
}

pub(crate) fn run(args: &CompareOpeningArgs) -> Result<()> {
    let (mut references, mut clients, mut flatness) = (Vec::new(), Vec::new(), Vec::new());
    let (mut failed, mut upgrades) = (0, Vec::new());
    for _ in 0..args.rounds {
        let line = reference(args)?;
        references.push(line.rate_per_second);
        flatness.push(line.rate_last_per_second / line.rate_first_per_second);
        let mut open = |url| {
            let result = client(args, url)?.connections;
            failed += result.failed + result.lost;
            anyhow::Ok(result.opened as f64 / result.open_seconds)
        };
        clients.push(open(format!("tcp://127.0.0.1:{}", args.program.port))?);
        if let Some(port) = args.ws_port {
            upgrades.push(open(format!("ws://127.0.0.1:{port}"))?);
        }
    }
    let median = |samples: &[f64]| Some(Quartiles::of(samples.iter().copied())?.median);
    let summary = || {
        Some(Comparison {
            kind: "opening",
            connections: args.connections,
            one_source: args.one_source,
            rounds: args.rounds,
            reference_per_second: median(&references)?,
            reference_last_to_first: median(&flatness)?,
            client_per_second: median(&clients)?,
            rate_ratio: Quartiles::of(ratios(&clients, &references))?,
            websocket_per_second: median(&upgrades),
            websocket_ratio: Quartiles::of(ratios(&upgrades, &clients)),
            failed,
        })
    };
    let comparison = summary().context("there were no rounds")?;
    args.program.output.write(&[&comparison], &table(&comparison))
}

fn reference(args: &CompareOpeningArgs) -> Result<OpenLine> {
    let mut arguments = vec!["open".to_owned(), "--connections".into()];
    arguments.push(args.connections.to_string());
    if args.one_source {
        arguments.extend(["--sources".into(), "1".into()]);
    }
    children::run_json(&children::own_program()?, arguments, LIMIT)
}

fn client(args: &CompareOpeningArgs, url: String) -> Result<ClientResult> {
    let mut arguments = vec!["run".to_owned(), "--json".into(), "--quiet".into()];
    arguments.extend(["--connections".into(), args.connections.to_string()]);
    // The opening alone, from all reactors at once as the reference does: nothing is sent.
    arguments.extend(["--openers-per-core".into(), "all".into(), "--no-first-echo".into()]);
    if args.one_source {
        arguments.extend(["--source-ip".into(), ONE_SOURCE.into()]);
    }
    arguments.push(url);
    children::run_json(&args.program.program, arguments, LIMIT)
}

fn table(comparison: &Comparison) -> Table {
    let title = format!(
        "Opening {} connections{}, {} rounds",
        units::format_grouped(comparison.connections),
        if comparison.one_source { " from one source address" } else { "" },
        comparison.rounds
    );
    let header = ["who", "connections", "ratio [q1-q3]", "last 5 % to first 5 %", "failed or lost"];
    let mut table = Table::new(title, &header);
    table.row([
        "reference".into(),
        units::format_rate(comparison.reference_per_second),
        "1".into(),
        format!("{:.2}", comparison.reference_last_to_first),
        "0".into(),
    ]);
    table.row([
        "c1000k".into(),
        units::format_rate(comparison.client_per_second),
        comparison.rate_ratio.to_string(),
        "-".into(),
        units::format_grouped(comparison.failed),
    ]);
    if let Some((rate, ratio)) =
        comparison.websocket_per_second.zip(comparison.websocket_ratio.as_ref())
    {
        table.row([
            "c1000k, WebSocket".into(),
            units::format_rate(rate),
            format!("{ratio} of c1000k's"),
            "-".into(),
            "in the row above".into(),
        ]);
    }
    table
}
