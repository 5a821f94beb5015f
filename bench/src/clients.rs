//! The project's client against the reference client, alternating on one server.

use crate::children::{self, ClientResult};
use crate::cli::{CompareClientsArgs, LoadArgs};
use crate::load::{ClientLine, from_seconds};
use crate::output::Table;
use crate::statistics::{Quartiles, ratios};
use anyhow::{Context, Result};
use measure::{Nanos, units};
use serde::Serialize;

/// What one run cost and carried.
#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    cpu_ns_per_message: f64,
}

/// All rounds of one comparison. Ratios are to the reference client, above 1 is better.
#[derive(Debug, Serialize)]
struct Comparison {
    kind: &'static str,
    ws: bool,
    connections: u64,
    size: u64,
    depth: u64,
    rounds: u32,
    seconds: f64,
    reference_messages_per_second: f64,
    reference_cpu_ns_per_message: f64,
    client_messages_per_second: f64,
    client_cpu_ns_per_message: f64,
    rate_ratio: Quartiles,
    client_cpu_ratio: Quartiles,
}

pub(crate) fn run(args: &CompareClientsArgs) -> Result<()> {
    let (mut references, mut clients) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        // Every other round goes backwards, so that neither always comes after the other.
        if round % 2 == 0 {
            references.push(reference(args)?);
            clients.push(client(args)?);
        } else {
            clients.push(client(args)?);
            references.push(reference(args)?);
        }
    }
    let comparison = compare(args, &references, &clients).context("there were no rounds")?;
    args.program.output.write(&[&comparison], &table(&comparison))
}

/// Both sides count what the traffic took, without the opening: the ramp of one client measures the
/// connections one by one and audits some, that of the other only connects.
fn reference(args: &CompareClientsArgs) -> Result<Run> {
    let mut arguments = vec!["client".to_owned(), "--port".into(), args.program.port.to_string()];
    arguments.extend(load_arguments(&args.load));
    arguments.extend(["--depth".into(), args.load.depth.to_string()]);
    arguments.extend(["--seconds".into(), args.seconds.to_string()]);
    arguments.extend(args.ws.then(|| "--ws".into()));
    arguments.extend(args.load.cpu.iter().flat_map(|cpu| ["--cpu".into(), cpu.to_string()]));
    let line: ClientLine = children::run_json(&children::own_program()?, arguments, limit(args))?;
    Ok(Run { rate: line.messages_per_second, cpu_ns_per_message: line.client_cpu_ns_per_message })
}

fn client(args: &CompareClientsArgs) -> Result<Run> {
    let mut arguments =
        vec!["run".to_owned(), "--closed".into(), "--json".into(), "--quiet".into()];
    arguments.extend(load_arguments(&args.load));
    arguments.extend(["--in-flight".into(), args.load.depth.to_string()]);
    arguments.extend(["--duration".into(), format!("{}s", args.seconds)]);
    arguments.extend(["--reactors".into(), "1".into()]);
    arguments.extend(args.load.cpu.iter().flat_map(|cpu| ["--cores".into(), cpu.to_string()]));
    let scheme = if args.ws { "ws" } else { "tcp" };
    arguments.push(format!("{scheme}://127.0.0.1:{}", args.program.port));
    let result: ClientResult = children::run_json(&args.program.program, arguments, limit(args))?;
    let cpu = result.resources.client.cpu_ns_per_message.context("the client had no reply")?;
    Ok(Run { rate: result.messages.received as f64 / args.seconds, cpu_ns_per_message: cpu as f64 })
}

fn load_arguments(load: &LoadArgs) -> [String; 4] {
    ["--connections".into(), load.connections.to_string(), "--size".into(), load.size.to_string()]
}

fn limit(args: &CompareClientsArgs) -> Nanos {
    from_seconds(args.seconds) + Nanos::from_secs(60)
}

fn compare(args: &CompareClientsArgs, references: &[Run], clients: &[Run]) -> Option<Comparison> {
    let rates = |runs: &[Run]| runs.iter().map(|run| run.rate).collect::<Vec<_>>();
    let costs = |runs: &[Run]| runs.iter().map(|run| run.cpu_ns_per_message).collect::<Vec<_>>();
    let median = |samples: Vec<f64>| Some(Quartiles::of(samples)?.median);
    Some(Comparison {
        kind: "clients",
        ws: args.ws,
        connections: args.load.connections,
        size: args.load.size,
        depth: args.load.depth,
        rounds: args.rounds,
        seconds: args.seconds,
        reference_messages_per_second: median(rates(references))?,
        reference_cpu_ns_per_message: median(costs(references))?,
        client_messages_per_second: median(rates(clients))?,
        client_cpu_ns_per_message: median(costs(clients))?,
        rate_ratio: Quartiles::of(ratios(&rates(clients), &rates(references)))?,
        client_cpu_ratio: Quartiles::of(ratios(&costs(references), &costs(clients)))?,
    })
}

fn table(comparison: &Comparison) -> Table {
    let title = format!(
        "Clients, closed loop{}: {} connections, {} B, depth {}, {} rounds of {} s",
        if comparison.ws { " over WebSocket" } else { "" },
        units::format_grouped(comparison.connections),
        comparison.size,
        comparison.depth,
        comparison.rounds,
        comparison.seconds
    );
    let header =
        ["client", "messages", "client CPU/msg", "rate ratio [q1-q3]", "client CPU ratio [q1-q3]"];
    let mut table = Table::new(title, &header);
    table.row([
        "reference".into(),
        units::format_rate(comparison.reference_messages_per_second),
        units::format_duration(Nanos(comparison.reference_cpu_ns_per_message as u64)),
        "1".into(),
        "1".into(),
    ]);
    table.row([
        "c1000k-client".into(),
        units::format_rate(comparison.client_messages_per_second),
        units::format_duration(Nanos(comparison.client_cpu_ns_per_message as u64)),
        comparison.rate_ratio.to_string(),
        comparison.client_cpu_ratio.to_string(),
    ]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn above_one_is_better_than_the_reference() {
        let line = ["c1000k-reference", "compare-clients", "--program", "client", "--port", "9000"];
        let Command::CompareClients(args) = Cli::parse_from(line).command else {
            panic!("another command")
        };
        let runs = |runs: &[(f64, f64)]| -> Vec<Run> {
            let run = |&(rate, cpu_ns_per_message)| Run { rate, cpu_ns_per_message };
            runs.iter().map(run).collect()
        };
        let references = runs(&[(100.0, 6.0), (50.0, 8.0), (100.0, 6.0)]);
        let clients = runs(&[(110.0, 5.0), (55.0, 6.0), (120.0, 5.0)]);
        let comparison = compare(&args, &references, &clients).expect("rounds");
        assert!((comparison.rate_ratio.median - 1.1).abs() < 1e-9);
        assert!((comparison.client_cpu_ratio.median - 1.2).abs() < 1e-9);
        assert!(compare(&args, &[], &[]).is_none());
    }
}
