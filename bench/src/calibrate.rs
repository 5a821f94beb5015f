//! Whether the project's client measures what is known: its percentiles against the analytic ones, with a
//! server that stands still and replies late on request.
//!
//! Each cell is a run of its own against a server of its own. The runs without a fault give the
//! distribution that all others build on; the closed model gives what the server can answer, and one run
//! with longer stalls how long it may take to get going again.

use crate::children;
use crate::cli::{CalibrateArgs, Part};
use crate::load::from_seconds;
use crate::output::Table;
use crate::truth::{Answers, Distribution, Fault, Stalls, luck};
use anyhow::{Context, Result, bail, ensure};
use measure::{Nanos, units};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The quantiles that are judged.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The fault that shows how long it takes to get going again after a stall.
const LONG_STALL: Nanos = Nanos::from_millis(300);
const PERIOD: Nanos = Nanos::from_secs(1);
const SHORT_STALL: Nanos = Nanos::from_millis(100);
const ONE_STALL: Nanos = Nanos::from_secs(1);
const DELAY: Nanos = Nanos::from_millis(5);

/// Connections of the closed model in the teaching table: a usual number for a usual tool.
const CLOSED_CONNECTIONS: u64 = 10;

/// How far the client may be off: a share, or that much where it is more.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    share: f64,
    nanos: f64,
}

impl Tolerance {
    const STRICT: Self = Self { share: 0.02, nanos: 200_000.0 };
    /// For a machine that does other things at the same time: it still tells a client that is wrong.
    const LENIENT: Self = Self { share: 0.1, nanos: 8_000_000.0 };

    fn of(self, analytic: f64) -> f64 {
        self.nanos.max(self.share * analytic)
    }
}

/// How one quantile came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Within the tolerance.
    Met,
    /// Off by more, but by no more than the pauses of the machine explain, which the runs without a fault
    /// have shown.
    Luck,
    /// Off by more than that.
    Missed,
}

/// One quantile. Times in nanoseconds.
#[derive(Debug, Serialize)]
struct Judged {
    quantile: &'static str,
    analytic: f64,
    measured: f64,
    /// What the machine's own pauses leave open, below and above the analytic value.
    luck: (f64, f64),
    verdict: Verdict,
}

impl Judged {
    fn is_missed(&self) -> bool {
        self.verdict == Verdict::Missed
    }

    fn new(
        quantile: &'static str,
        analytic: f64,
        measured: f64,
        luck: (f64, f64),
        tolerance: Tolerance,
    ) -> Self {
        let (error, allowed) = (measured - analytic, tolerance.of(analytic));
        let verdict = if error.abs() <= allowed {
            Verdict::Met
        } else if (luck.0 - allowed..=luck.1 + allowed).contains(&error) {
            Verdict::Luck
        } else {
            Verdict::Missed
        };
        Self { quantile, analytic, measured, luck, verdict }
    }

    fn cell(&self) -> String {
        let Self { analytic, measured, verdict, .. } = *self;
        let mark = match verdict {
            Verdict::Met => "",
            Verdict::Luck => " ~",
            Verdict::Missed => " MISSED",
        };
        let error = measured - analytic;
        let error = if error.abs() > 0.02 * analytic || analytic < 1e7 {
            format!("{:+.0} us", error / 1e3)
        } else {
            format!("{:+.1} %", error / analytic * 100.0)
        };
        format!("{} / {} ({error}){mark}", time(analytic), time(measured))
    }
}

/// One cell of the calibration: a number of connections, a rate, a fault.
#[derive(Debug, Serialize)]
struct Cell {
    kind: &'static str,
    connections: u64,
    rate: f64,
    fault: &'static str,
    load: f64,
    start_up_ns: f64,
    quantiles: Vec<Judged>,
}

impl Cell {
    fn in_words(&self) -> String {
        let cells = self.quantiles.iter().map(Judged::cell).collect::<Vec<_>>().join(", ");
        format!("{}, {}: {cells}", units::format_rate(self.rate), self.fault)
    }
}

/// A fault as it is named, given to the server, and known.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    fault: Fault,
    /// The server's option for it; none if nothing is wrong.
    option: Option<&'static str>,
    length: Nanos,
    when: When,
}

/// When a fault happens.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    EachPeriod,
    Once,
}

/// What a run measured.
#[derive(Debug)]
struct Run {
    response: Stage,
    service: Option<Stage>,
    rate: f64,
    all: Distribution,
    seconds: Vec<Vec<(u64, u64)>>,
    lanes: u32,
}

/// The part of the client's result that is needed here.
#[derive(Debug, Deserialize)]
struct Document {
    stages: DocumentStages,
    timeline: Vec<Second>,
    messages: DocumentMessages,
    connections: children::Connections,
}

#[derive(Debug, Deserialize)]
struct DocumentStages {
    response: Option<Stage>,
    service: Option<Stage>,
}

#[derive(Debug, Deserialize)]
struct DocumentMessages {
    rate_achieved: f64,
}

#[derive(Debug, Deserialize)]
struct Second {
    response_hdr: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    hdr: String,
}

impl Stage {
    /// In the order of [`SHARES`].
    fn quantiles(&self) -> [f64; 4] {
        [self.p50, self.p90, self.p99, self.p999].map(|value| value as f64)
    }
}

/// The model of the load.
#[derive(Clone, Copy, Debug)]
enum Load {
    Open(f64),
    /// So many messages in flight on each connection.
    Closed(u32),
}

pub(crate) fn run(args: &CalibrateArgs) -> Result<()> {
    let bench = Bench::new(args)?;
    if args.quick {
        return quick(&bench);
    }
    if args.part == Part::Teaching {
        println!("{}", bench.teach()?);
        return Ok(());
    }
    let mut cells = Vec::new();
    for &connections in &args.connections {
        cells.extend(bench.calibrate(connections)?);
    }
    args.output.write(&cells, &table(&cells))?;
    if args.part == Part::All {
        println!("{}", bench.teach()?);
    }
    let count = |verdict| verdicts(&cells).filter(|found| *found == verdict).count();
    let (met, lucky, missed) = (count(Verdict::Met), count(Verdict::Luck), count(Verdict::Missed));
    println!(
        "{met} of {} within 2 % or 200 us; {lucky} more within what the machine's own pauses leave \
         open (~); {missed} missed",
        met + lucky + missed
    );
    ensure!(missed == 0, "{missed} percentiles are not what they must be");
    Ok(())
}

fn verdicts(cells: &[Cell]) -> impl Iterator<Item = Verdict> + '_ {
    cells.iter().flat_map(|cell| &cell.quantiles).map(|judged| judged.verdict)
}

/// A short look that tells a client which is wrong from one that is right, on any machine.
fn quick(bench: &Bench<'_>) -> Result<()> {
    const ATTEMPTS: usize = 3;
    for attempt in 1..=ATTEMPTS {
        let cells =
            bench.cells(1_000, Bench::LOW, &[Bench::delay(), Bench::short_stalls()], None)?;
        println!("{}", table(&cells));
        // The last of a thousand is the machine's, in so short a run.
        let judged = cells.iter().flat_map(|cell| cell.quantiles.iter().take(3));
        if judged.into_iter().all(|judged| judged.verdict == Verdict::Met) {
            return Ok(());
        }
        eprintln!("calibrate: attempt {attempt} of {ATTEMPTS} was off");
    }
    bail!("the percentiles were off {ATTEMPTS} times")
}

/// Where everything runs and for how long.
#[derive(Debug)]
struct Bench<'a> {
    args: &'a CalibrateArgs,
    server_cpus: String,
    client_cpus: String,
    seconds: f64,
    tolerance: Tolerance,
}

impl<'a> Bench<'a> {
    /// Messages per second of the low rate.
    const LOW: f64 = 1_000.0;

    fn new(args: &'a CalibrateArgs) -> Result<Self> {
        let cpus = host::cpu::allowed_cpus();
        ensure!(
            cpus.len() >= 2,
            "the two ends need a CPU each: this process may use {}",
            cpus.len()
        );
        // Where they share one, the measured times are those of the scheduler.
        let (server, client) = cpus.split_at(cpus.len() / 2);
        Ok(Self {
            args,
            server_cpus: host::cpu::format_cpu_list(server),
            client_cpus: host::cpu::format_cpu_list(client),
            seconds: if args.quick { 3.0 } else { args.seconds },
            tolerance: if args.quick { Tolerance::LENIENT } else { Tolerance::STRICT },
        })
    }

    /// The rate at which no two periods of a run see the same phases: else all ten stalls would be one.
    fn rate(&self, about: f64) -> f64 {
        about + 1.0 / self.seconds
    }

    /// When a stall that happens once begins: some time after the connections stand.
    fn one_stall_at(connections: u64) -> Nanos {
        Nanos::from_millis(2_000 + connections / 40)
    }

    fn delay() -> Case {
        let (option, fault) = (Some("--delay"), Fault::Delay(DELAY.0 as f64));
        Case { name: "5 ms delay", fault, option, length: DELAY, when: When::Always }
    }

    fn stalls(name: &'static str, length: Nanos, every: f64, when: When) -> Case {
        let stalls = Stalls { length: length.0 as f64, every, load: 0.0, lanes: 1, start_up: 0.0 };
        Case { name, fault: Fault::Stalls(stalls), option: Some("--stall"), length, when }
    }

    fn short_stalls() -> Case {
        let (name, every) = ("100 ms stall each second", PERIOD.0 as f64);
        Self::stalls(name, SHORT_STALL, every, When::EachPeriod)
    }

    fn long_stalls() -> Case {
        let (name, every) = ("300 ms stall each second", PERIOD.0 as f64);
        Self::stalls(name, LONG_STALL, every, When::EachPeriod)
    }

    fn one_stall(&self) -> Case {
        Self::stalls("1 s stall once", ONE_STALL, self.seconds * 1e9, When::Once)
    }

    const NO_FAULT: Case = Case {
        name: "no fault",
        fault: Fault::None,
        option: None,
        length: Nanos::ZERO,
        when: When::Always,
    };

    /// All cells of so many connections.
    fn calibrate(&self, connections: u64) -> Result<Vec<Cell>> {
        let closed = self.measure(connections, Load::Closed(1), Self::NO_FAULT, 3.0)?;
        // One in twenty is busy enough to be seen, and leaves the machine itself in peace.
        let high = (closed.rate / 20.0 / 1_000.0).floor().max(2.0) * 1_000.0;
        // Only where several messages of a connection wait is it to be known what they cost together.
        let (depth, mut deep_rate) = (8, closed.rate);
        if high * ONE_STALL.as_secs_f64() > connections as f64 {
            deep_rate = self.measure(connections, Load::Closed(depth), Self::NO_FAULT, 3.0)?.rate;
        }
        let answers = Answers::of(connections, closed.rate, depth, deep_rate);
        eprintln!(
            "calibrate: {} connections: {} answered by the closed model; the high rate is {}",
            units::format_grouped(connections),
            units::format_rate(closed.rate),
            units::format_rate(high)
        );
        let cases = [Self::delay(), Self::short_stalls(), self.one_stall()];
        let mut cells = self.cells(connections, Self::LOW, &cases, Some(answers))?;
        cells.extend(self.cells(connections, high, &cases, Some(answers))?);
        Ok(cells)
    }

    /// The cells of one rate: without a fault, and with each of these. What is known of the server's speed
    /// belongs into the model of its stalls.
    fn cells(
        &self,
        connections: u64,
        about: f64,
        cases: &[Case],
        answers: Option<Answers>,
    ) -> Result<Vec<Cell>> {
        let rate = self.rate(about);
        let run = |case| self.measure(connections, Load::Open(rate), case, self.seconds);
        let (first, second) = (run(Self::NO_FAULT)?, run(Self::NO_FAULT)?);
        let cell =
            |case: Case, fault: Fault, rest: &Distribution, seconds: &[_], measured: &Run| {
                let quantiles = SHARES.iter().zip(measured.response.quantiles());
                let quantiles = quantiles.map(|(&(name, share), measured)| {
                    let at_once = fault.starting_after(0.0);
                    let analytic = at_once.quantile(rest, share);
                    let (low, high) =
                        luck(seconds, self.seconds as usize, |rest| at_once.quantile(rest, share));
                    // How long it takes to get going again is the machine's, and another each time.
                    let mut later = fault.quantile(rest, share) - analytic;
                    if let Fault::Delay(_) = fault {
                        // A reply that waits takes two wake-ups, and each may fall into a pause.
                        let twice = Fault::None.quantile(rest, 1.0 - (1.0 - share) / 2.0);
                        later += twice - Fault::None.quantile(rest, share);
                    }
                    Judged::new(name, analytic, measured, (low, high + later), self.tolerance)
                });
                let (load, start_up_ns) = match fault {
                    Fault::Stalls(Stalls { load, start_up, .. }) => (load, start_up),
                    _ => (0.0, 0.0),
                };
                Cell {
                    kind: "calibration",
                    connections,
                    rate,
                    fault: case.name,
                    load,
                    start_up_ns,
                    quantiles: quantiles.collect(),
                }
            };
        let calm = |run| cell(Self::NO_FAULT, Fault::None, &first.all, &first.seconds, run);
        let mut cells = vec![calm(&second)];
        if answers.is_some() && cells[0].quantiles.iter().any(Judged::is_missed) {
            eprintln!("calibrate: {}", cells[0].in_words());
            cells = vec![calm(&run(Self::NO_FAULT)?)];
        }
        // From here on both runs without a fault are the truth that the others build on.
        let stages = [&first.response, &second.response];
        let both =
            stages.into_iter().map(|stage| cells_of(&stage.hdr)).collect::<Result<Vec<_>>>()?;
        let rest = Distribution::of(both.into_iter().flatten());
        let seconds = [first.seconds, second.seconds].concat();
        let known = |fault, lanes, start_up| match fault {
            Fault::Stalls(stalls) => {
                let load = answers.map_or(0.0, |answers| answers.load(rate, stalls.length));
                Fault::Stalls(Stalls { load, lanes, start_up, ..stalls })
            }
            other => other,
        };
        let mut start_up = 0.0;
        if answers.is_some() {
            let long = self.measure(connections, Load::Open(rate), Self::long_stalls(), 4.0)?;
            if let Fault::Stalls(stalls) = known(Self::long_stalls().fault, long.lanes, 0.0) {
                start_up = stalls.explaining(long.all.mean() - rest.mean()).start_up;
            }
        }
        for &case in cases {
            let measured = run(case)?;
            let fault = known(case.fault, measured.lanes, start_up);
            if let Fault::Stalls(Stalls { length, every, .. }) = fault {
                let waited = 1.0 - measured.all.share(length / 2.0);
                ensure!(
                    waited > 0.8 * length / 2.0 / every,
                    "{}: the stall lay outside of the run; give more --seconds",
                    case.name
                );
            }
            let mut found = cell(case, fault, &rest, &seconds, &measured);
            eprintln!("calibrate: {}", found.in_words());
            if answers.is_some() && found.quantiles.iter().any(Judged::is_missed) {
                // A pause of the machine is not there twice; what is wrong is.
                found = cell(case, fault, &rest, &seconds, &run(case)?);
                eprintln!("calibrate: once more: {}", found.in_words());
            }
            cells.push(found);
        }
        Ok(cells)
    }

    /// Starts a server with that fault, and the client against it.
    fn measure(&self, connections: u64, load: Load, case: Case, seconds: f64) -> Result<Run> {
        let mut options = vec!["--cores".to_owned(), self.server_cpus.clone()];
        options.extend(["--connections-max".into(), (connections + 1_000).to_string()]);
        if let Some(option) = case.option {
            let first = Self::one_stall_at(connections);
            let ms = |time: Nanos| format!("{}ms", time.0 / 1_000_000);
            let value = match case.when {
                When::Always => ms(case.length),
                When::EachPeriod => format!("{}/{}", ms(case.length), ms(PERIOD)),
                When::Once => format!("{}@{}", ms(case.length), ms(first)),
            };
            options.extend([option.to_owned(), value]);
        }
        let server = Server::start(&self.args.server, &options)?;
        let mut arguments =
            ["run", "--json", "--quiet", "--connections"].map(str::to_owned).to_vec();
        arguments.extend([connections.to_string(), "--cores".into(), self.client_cpus.clone()]);
        arguments.extend(["--duration".into(), format!("{seconds}s")]);
        match load {
            Load::Open(rate) => arguments.extend(["--rate".into(), rate.to_string()]),
            Load::Closed(depth) => {
                arguments.extend(["--closed".into(), "--in-flight".into(), depth.to_string()]);
            }
        }
        arguments.push(server.url.clone());
        let limit = from_seconds(seconds) + Nanos::from_secs(60);
        let document: Document = children::run_json(&self.args.client, arguments, limit)?;
        let Document { stages, timeline, messages, connections: counted } = document;
        ensure!(
            counted.failed == 0 && counted.lost == 0,
            "{} connections failed and {} were lost: this run measures something else",
            counted.failed,
            counted.lost
        );
        let response = stages.response.context("the client measured nothing")?;
        let hdrs = timeline.iter().filter_map(|second| second.response_hdr.as_deref());
        Ok(Run {
            all: Distribution::of(cells_of(&response.hdr)?),
            service: stages.service,
            response,
            rate: messages.rate_achieved,
            seconds: hdrs.map(cells_of).collect::<Result<_>>()?,
            lanes: server.lanes,
        })
    }

    /// The same faults, known, seen by the open model and by the closed one.
    fn teach(&self) -> Result<Table> {
        let title = format!(
            "The same server, p50 / p90 / p99 / p99.9: known, open model (1,000 connections, {}/s), \
             closed model ({CLOSED_CONNECTIONS} connections)",
            Self::LOW
        );
        let header = ["fault", "known", "open: response", "open: service", "closed"];
        let mut table = Table::new(title, &header);
        let rate = self.rate(Self::LOW);
        let rest = self.measure(1_000, Load::Open(rate), Self::NO_FAULT, 4.0)?.all;
        for case in [Self::NO_FAULT, Self::delay(), Self::short_stalls(), self.one_stall()] {
            let open = self.measure(1_000, Load::Open(rate), case, self.seconds)?;
            let closed = self.measure(CLOSED_CONNECTIONS, Load::Closed(1), case, self.seconds)?;
            let known = SHARES.map(|(_, share)| case.fault.quantile(&rest, share));
            let service = open.service.as_ref().map_or([0.0; 4], Stage::quantiles);
            table.row([
                case.name.to_owned(),
                times(known),
                times(open.response.quantiles()),
                times(service),
                times(closed.response.quantiles()),
            ]);
        }
        Ok(table)
    }
}

/// The values of a histogram as results carry it, and how often each occurs.
fn cells_of(hdr: &str) -> Result<Vec<(u64, u64)>> {
    let histogram = report::hist::decode(hdr)?;
    let cells = histogram.iter_recorded();
    Ok(cells.map(|cell| (cell.value_iterated_to(), cell.count_at_value())).collect())
}

/// A server that ends with this.
#[derive(Debug)]
struct Server {
    child: Child,
    url: String,
    /// Reactors on the fullest core.
    lanes: u32,
}

/// What the server says when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    url: String,
    cores: Vec<usize>,
}

impl Server {
    fn start(program: &Path, options: &[String]) -> Result<Self> {
        let name = program.display();
        let mut child = Command::new(program)
            .args(["--json", "tcp://127.0.0.1:0"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let mut line = String::new();
        let read = child.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
        // From here on it ends with this.
        let mut server = Self { child, url: String::new(), lanes: 1 };
        ensure!(matches!(read, Some(Ok(1..))), "{name} did not start, see its message above");
        let Ready { url, cores } =
            serde_json::from_str(&line).with_context(|| format!("{name} said: {line}"))?;
        let on = |core| cores.iter().filter(|other| *other == core).count();
        server.lanes = cores.iter().map(on).max().unwrap_or(1) as u32;
        server.url = url;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn table(cells: &[Cell]) -> Table {
    let title = "Response times: analytic / measured by the open model (error)";
    let header = ["connections", "rate", "fault", "p50", "p90", "p99", "p99.9"];
    let mut table = Table::new(title, &header);
    for cell in cells {
        let [p50, p90, p99, p999] =
            [0, 1, 2, 3].map(|at| cell.quantiles.get(at).map(Judged::cell).unwrap_or_default());
        table.row([
            units::format_grouped(cell.connections),
            units::format_rate(cell.rate),
            cell.fault.to_owned(),
            p50,
            p90,
            p99,
            p999,
        ]);
    }
    table
}

fn time(nanos: f64) -> String {
    units::format_duration(Nanos(nanos.max(0.0).round() as u64))
}

fn times(quantiles: [f64; 4]) -> String {
    quantiles.map(time).join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_by_more_than_luck_is_missed() {
        let judge = |analytic: f64, measured: f64, luck| {
            Judged::new("p99", analytic, measured, luck, Tolerance::STRICT).verdict
        };
        // 200 us where 2 % is less, 2 % where that is more.
        assert_eq!(judge(1e6, 1.2e6, (0.0, 0.0)), Verdict::Met);
        assert_eq!(judge(1e6, 1.21e6, (0.0, 0.0)), Verdict::Missed);
        assert_eq!(judge(100e6, 98e6, (0.0, 0.0)), Verdict::Met);
        assert_eq!(judge(100e6, 97e6, (0.0, 0.0)), Verdict::Missed);
        // Luck has two sides.
        assert_eq!(judge(1e6, 2.0e6, (0.0, 0.9e6)), Verdict::Luck);
        assert_eq!(judge(1e6, 0.5e6, (0.0, 0.9e6)), Verdict::Missed);
        assert_eq!(judge(1e6, 0.5e6, (-0.4e6, 0.0)), Verdict::Luck);
    }

    #[test]
    fn cells_say_what_is_off() {
        let cell = |analytic, measured, luck| {
            Judged::new("p99", analytic, measured, luck, Tolerance::STRICT).cell()
        };
        assert_eq!(cell(100e6, 101e6, (0.0, 0.0)), "100 ms / 101 ms (+1.0 %)");
        assert_eq!(cell(1e6, 1.1e6, (0.0, 0.0)), "1 ms / 1.1 ms (+100 us)");
        assert_eq!(cell(1e6, 2e6, (0.0, 1e6)), "1 ms / 2 ms (+1000 us) ~");
        assert_eq!(cell(1e6, 9e6, (0.0, 1e6)), "1 ms / 9 ms (+8000 us) MISSED");
    }
}
