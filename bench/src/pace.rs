//! Whether the project's client sends as often as it was asked to.

use crate::children::{self, ClientResult};
use crate::cli::PaceArgs;
use crate::load::from_seconds;
use crate::output::Table;
use crate::procfs::{cpu_time, machine_cpu_time};
use crate::values::Case;
use anyhow::Result;
use measure::{Clock, Nanos, units};
use serde::Serialize;

/// What one case was asked for and did.
#[derive(Debug, Serialize)]
struct Paced {
    kind: &'static str,
    connections: u64,
    rate_each: f64,
    seconds: f64,
    asked: u64,
    sent: u64,
    received: u64,
    took_seconds: f64,
    deviation_percent: f64,
    arrivals: String,
    /// Of the messages sent in each millisecond: variance / mean, the same of the schedule, the
    /// most.
    dispersion: Option<f64>,
    dispersion_ideal: Option<f64>,
    sent_per_ms_max: Option<u64>,
    send_lag_p50_ns: u64,
    send_lag_p99_ns: u64,
    send_lag_p999_ns: u64,
    send_lag_max_ns: u64,
    client_cpu_ns_per_message: Option<u64>,
    /// The share of the CPUs' time that other processes took.
    others_ratio: Option<f64>,
    ok: bool,
}

pub(crate) fn run(args: &PaceArgs) -> Result<()> {
    let mut done = Vec::with_capacity(args.cases.len());
    for case in &args.cases {
        let before = Spent::read(args)?;
        let clock = Clock::start();
        let result = client(args, case)?;
        let mut paced = judge(case, args, &result);
        if let (Some(before), Some(after)) = (before, Spent::read(args)?) {
            let client = from_seconds(result.resources.client.cpu_seconds);
            paced.others_ratio = Some(others(before, after, client, clock.now()));
        }
        done.push(paced);
    }
    args.program.output.write(&done, &table(args, &done))
}

/// CPU time at one moment: of the whole machine, and of the server.
#[derive(Clone, Copy, Debug)]
struct Spent {
    machine: Nanos,
    server: Nanos,
}

impl Spent {
    /// `None` if it was not said which process the server is.
    fn read(args: &PaceArgs) -> Result<Option<Self>> {
        let Some(pid) = args.server_pid else { return Ok(None) };
        Ok(Some(Self { machine: machine_cpu_time()?, server: cpu_time(pid)? }))
    }
}

/// The share of the CPUs' time that neither client nor server took: other processes, and interrupts
/// that came upon an idle CPU (which are a few percent where the two rest often).
fn others(before: Spent, after: Spent, client: Nanos, lasted: Nanos) -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let own = after.server - before.server + client;
    let others = (after.machine - before.machine).as_secs_f64() - own.as_secs_f64();
    (others / lasted.as_secs_f64() / cpus).max(0.0)
}

fn client(args: &PaceArgs, case: &Case) -> Result<ClientResult> {
    let mut arguments = vec![
        "run".to_owned(),
        "--json".into(),
        "--quiet".into(),
        "--connections".into(),
        case.connections.to_string(),
        "--rate".into(),
        case.rate().to_string(),
        "--duration".into(),
        format!("{}s", args.seconds),
        "--arrivals".into(),
        args.arrivals.clone(),
        format!("tcp://127.0.0.1:{}", args.program.port),
    ];
    if let Some(cores) = &args.cores {
        arguments.extend(["--cores".to_owned(), cores.clone()]);
    }
    let limit = from_seconds(args.seconds) + Nanos::from_secs(120);
    children::run_json(&args.program.program, arguments, limit)
}

/// The pace is kept if as many were sent as asked for, within the tolerance, and in as much time.
fn judge(case: &Case, args: &PaceArgs, did: &ClientResult) -> Paced {
    let (seconds, tolerance) = (args.seconds, args.tolerance / 100.0);
    let (sent, received, took_seconds) =
        (did.messages.sent, did.messages.received, did.messages.seconds);
    let lag = did.stages.send_lag.unwrap_or_default();
    let pacing = did.pacing.as_ref();
    let asked = case.rate() * seconds;
    let deviation_percent = (sent as f64 / asked - 1.0) * 100.0;
    Paced {
        kind: "pace",
        connections: case.connections,
        rate_each: case.rate_each,
        seconds,
        asked: asked.round() as u64,
        sent,
        received,
        took_seconds,
        deviation_percent,
        arrivals: args.arrivals.clone(),
        dispersion: pacing.and_then(|pacing| pacing.dispersion),
        dispersion_ideal: pacing.and_then(|pacing| pacing.dispersion_ideal),
        sent_per_ms_max: pacing.map(|pacing| pacing.sent_per_window_max),
        send_lag_p50_ns: lag.p50,
        send_lag_p99_ns: lag.p99,
        send_lag_p999_ns: lag.p999,
        send_lag_max_ns: lag.max,
        client_cpu_ns_per_message: did.resources.client.cpu_ns_per_message,
        others_ratio: None,
        ok: (sent as f64 - asked).abs() <= asked * tolerance
            && took_seconds <= seconds * (1.0 + tolerance),
    }
}

fn table(args: &PaceArgs, done: &[Paced]) -> Table {
    let on = args.cores.as_ref().map_or_else(String::new, |cores| format!(", client on {cores}"));
    let title = format!(
        "Pace: sent within {} % of asked, {} s each, {}{on}",
        args.tolerance, args.seconds, args.arrivals
    );
    let header = [
        "connections x rate",
        "asked",
        "sent",
        "deviation",
        "took",
        "verdict",
        "dispersion over 1 ms (ideal)",
        "most in 1 ms",
        "send lag p50",
        "p99",
        "p99.9",
        "max",
        "client CPU per message",
        "others' CPU",
    ];
    let mut table = Table::new(title, &header);
    let time = |nanoseconds| units::format_duration(Nanos(nanoseconds));
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    for paced in done {
        table.row([
            format!("{} x {}/s", units::format_grouped(paced.connections), paced.rate_each),
            units::format_grouped(paced.asked),
            units::format_grouped(paced.sent),
            format!("{:+.3} %", paced.deviation_percent),
            format!("{:.4} s", paced.took_seconds),
            if paced.ok { "kept" } else { "MISSED" }.to_owned(),
            format!("{} ({})", number(paced.dispersion), number(paced.dispersion_ideal)),
            paced.sent_per_ms_max.map_or_else(|| "-".to_owned(), units::format_grouped),
            time(paced.send_lag_p50_ns),
            time(paced.send_lag_p99_ns),
            time(paced.send_lag_p999_ns),
            time(paced.send_lag_max_ns),
            paced.client_cpu_ns_per_message.map_or_else(|| "-".to_owned(), time),
            paced.others_ratio.map_or_else(|| "-".to_owned(), |r| format!("{:.0} %", r * 100.0)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn too_few_too_many_and_too_late_miss_the_pace() {
        let case = Case { connections: 100, rate_each: 1_000.0 };
        let line = "c1000k-reference pace --program p --port 1 --case 100x1000 --seconds 10";
        let Command::Pace(args) = Cli::parse_from(line.split(' ')).command else { panic!() };
        let judged = |sent: u64, seconds: f64| {
            let result = serde_json::json!({
                "connections": { "opened": 100, "failed": 0, "lost": 0, "open_seconds": 0.1 },
                "messages": { "sent": sent, "received": sent, "seconds": seconds },
                "pacing": {
                    "sent_per_window_max": 104,
                    "dispersion": 0.1,
                    "dispersion_ideal": 0.0,
                },
                "stages": { "send_lag": { "p50": 1, "p99": 2, "p999": 3, "max": 4 } },
                "resources": { "client": { "cpu_seconds": 1.0, "cpu_ns_per_message": 7 } },
            });
            judge(&case, &args, &serde_json::from_value(result).expect("a result"))
        };
        let ok = |sent, seconds| judged(sent, seconds).ok;
        let paced = judged(1_000_000, 10.0);
        assert_eq!((paced.dispersion, paced.send_lag_p999_ns), (Some(0.1), 3));
        assert!(ok(1_000_000, 10.0) && ok(999_000, 10.009) && ok(1_001_000, 9.99));
        assert!(!ok(998_900, 10.0) && !ok(1_001_100, 10.0) && !ok(1_000_000, 10.02));
    }

    #[test]
    fn what_others_took_is_the_rest() {
        let at = |machine, server| Spent {
            machine: Nanos::from_millis(machine),
            server: Nanos::from_millis(server),
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let lasted = Nanos::from_secs(10);
        let share = others(at(1_000, 100), at(11_000, 3_100), Nanos::from_secs(6), lasted);
        assert!((share - 0.1 / cpus).abs() < 1e-9, "{share}");
        // Hundredths of a second are coarse.
        assert_eq!(others(at(0, 0), at(50, 60), Nanos::ZERO, lasted), 0.0);
    }
}
