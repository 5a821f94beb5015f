//! Servers against each other: all alive, driven in turns in short slices, judged round by round.
//!
//! Each target has a child process that holds its connections (a descriptor table of its own, so
//! 15,000 connections to each of several servers fit under a limit of 20,000) and drives them when
//! it is told to. Only one child is at work at any time.
//!
//! ```text
//! compare                       child of one target (`drive`)
//!            <---- Ready ----   all connections open
//!   Order    ----------------->
//!            <---- Slice ----   driven, drained, quiet again
//!   (end of input) ----------->  resets its connections and ends
//! ```

use crate::cli::{CompareArgs, DriveArgs, LoadArgs};
use crate::load::{Load, Slice, from_seconds};
use crate::output::Table;
use crate::socket;
use crate::statistics::{Quartiles, null_holds, ratios};
use crate::values::Target;
use anyhow::{Context, Result, bail, ensure};
use measure::{Nanos, units};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The child says so when its connections are open.
#[derive(Deserialize, Serialize)]
struct Ready;

/// What a child is to do in its turn.
#[derive(Deserialize, Serialize)]
struct Order {
    warm_up_ns: u64,
    span_ns: u64,
}

/// The child's side: opens the connections of one target, then drives them once for each order.
pub(crate) fn drive(args: &DriveArgs) -> Result<()> {
    obey(args).with_context(|| format!("target {}", args.target))
}

fn obey(args: &DriveArgs) -> Result<()> {
    socket::pin(args.load.cpu)?;
    let mut load = Load::open(args.target.port, Some(args.target.pid), args.target.ws, &args.load)?;
    println!("{}", serde_json::to_string(&Ready)?);
    for line in io::stdin().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let slice = load.drive(Nanos(order.warm_up_ns), Nanos(order.span_ns))?;
        println!("{}", serde_json::to_string(&slice)?);
    }
    Ok(())
}

/// The parent's side of one child.
struct Driver {
    target: Target,
    child: Child,
    answers: BufReader<ChildStdout>,
    slices: Vec<Slice>,
}

impl Driver {
    fn start(target: &Target, load: &LoadArgs) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["drive", "--target", &target.to_string()]);
        command.args(["--connections", &load.connections.to_string()]);
        command.args(["--size", &load.size.to_string()]);
        command.args(["--depth", &load.depth.to_string()]);
        if let Some(cpu) = load.cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(child.stdout.take().context("a child has no output")?);
        let mut driver = Self { target: target.clone(), child, answers, slices: Vec::new() };
        let Ready = driver.answer()?;
        Ok(driver)
    }

    fn turn(&mut self, slice: Nanos) -> Result<Slice> {
        let order = Order { warm_up_ns: slice.0 / 4, span_ns: slice.0 };
        let orders = self.child.stdin.as_mut().context("a child has no input")?;
        writeln!(orders, "{}", serde_json::to_string(&order)?)
            .with_context(|| format!("the child of target {} is gone", self.target))?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the child of target {} ended early; its message is above", self.target);
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn rates(&self) -> Vec<f64> {
        self.slices.iter().map(Slice::rate).collect()
    }

    fn server_costs(&self) -> Vec<f64> {
        self.slices.iter().filter_map(Slice::server_ns_per_message).collect()
    }

    fn client_costs(&self) -> Vec<f64> {
        self.slices.iter().map(Slice::client_ns_per_message).collect()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Waiting closes its input first, which is its order to reset the connections and end.
        let _ = self.child.wait();
    }
}

/// One target's share of a comparison. Ratios are to the first target, above 1 is better.
#[derive(Debug, Serialize)]
struct Comparison {
    kind: &'static str,
    target: String,
    connections: u64,
    size: u64,
    depth: u64,
    rounds: u32,
    slice_seconds: f64,
    messages_per_second: f64,
    server_cpu_ns_per_message: f64,
    client_cpu_ns_per_message: f64,
    rate_ratio: Quartiles,
    server_cpu_ratio: Quartiles,
    /// Whether the null test held for this figure; absent without one.
    rate_counts: Option<bool>,
    server_cpu_counts: Option<bool>,
}

pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let null = null_position(args)?;
    let mut drivers = Vec::with_capacity(args.targets.len());
    for target in &args.targets {
        drivers.push(Driver::start(target, &args.load)?);
    }
    let slice = from_seconds(args.slice);
    // The first round is there to warm up.
    take_turns(&mut drivers, slice, false)?;
    drivers.iter_mut().for_each(|driver| driver.slices.clear());
    for round in 0..args.rounds {
        take_turns(&mut drivers, slice, round % 2 == 1)
            .with_context(|| format!("round {} of {}", round + 1, args.rounds))?;
    }
    let first = &drivers[0];
    let mut comparisons = drivers
        .iter()
        .map(|driver| against(first, driver, args))
        .collect::<Option<Vec<_>>>()
        .context("a server used no CPU time that could be measured: use a longer --slice")?;
    if let Some(null) = null {
        let rate = null_holds(comparisons[null].rate_ratio.median);
        let cpu = null_holds(comparisons[null].server_cpu_ratio.median);
        for comparison in &mut comparisons {
            (comparison.rate_counts, comparison.server_cpu_counts) = (Some(rate), Some(cpu));
        }
    }
    args.output.write(&comparisons, &table(args, &comparisons))
}

fn null_position(args: &CompareArgs) -> Result<Option<usize>> {
    let Some(tag) = &args.null else { return Ok(None) };
    let position = args.targets.iter().position(|target| target.tag == *tag);
    ensure!(position.is_some_and(|at| at > 0), "--null {tag} names no target after the first");
    Ok(position)
}

/// One slice each; every other round goes backwards, so that no target always follows the same one.
fn take_turns(drivers: &mut [Driver], slice: Nanos, backwards: bool) -> Result<()> {
    let count = drivers.len();
    for turn in 0..count {
        let driver = &mut drivers[if backwards { count - 1 - turn } else { turn }];
        let done = driver.turn(slice)?;
        driver.slices.push(done);
    }
    Ok(())
}

fn against(first: &Driver, driver: &Driver, args: &CompareArgs) -> Option<Comparison> {
    let (rates, costs) = (driver.rates(), driver.server_costs());
    let server_cpu_ratio = Quartiles::of(ratios(&first.server_costs(), &costs))?;
    server_cpu_ratio.median.is_finite().then_some(())?;
    Some(Comparison {
        kind: "servers",
        target: driver.target.tag.clone(),
        connections: args.load.connections,
        size: args.load.size,
        depth: args.load.depth,
        rounds: args.rounds,
        slice_seconds: args.slice,
        rate_ratio: Quartiles::of(ratios(&rates, &first.rates()))?,
        server_cpu_ratio,
        messages_per_second: Quartiles::of(rates)?.median,
        server_cpu_ns_per_message: Quartiles::of(costs)?.median,
        client_cpu_ns_per_message: Quartiles::of(driver.client_costs())?.median,
        rate_counts: None,
        server_cpu_counts: None,
    })
}

fn table(args: &CompareArgs, comparisons: &[Comparison]) -> Table {
    let LoadArgs { connections, size, depth, .. } = args.load;
    let title = format!(
        "Echo servers: {} connections, {size} B, depth {depth}, {} rounds of {} s",
        units::format_grouped(connections),
        args.rounds,
        args.slice
    );
    let header = [
        "server",
        "messages",
        "server CPU/msg",
        "client CPU/msg",
        "rate ratio [q1-q3]",
        "server CPU ratio [q1-q3]",
        "counts",
    ];
    let mut table = Table::new(title, &header);
    for comparison in comparisons {
        table.row([
            comparison.target.clone(),
            units::format_rate(comparison.messages_per_second),
            nanoseconds(comparison.server_cpu_ns_per_message),
            nanoseconds(comparison.client_cpu_ns_per_message),
            comparison.rate_ratio.to_string(),
            comparison.server_cpu_ratio.to_string(),
            counts(comparison.rate_counts, comparison.server_cpu_counts).to_owned(),
        ]);
    }
    table
}

fn nanoseconds(value: f64) -> String {
    units::format_duration(Nanos(value as u64))
}

/// What the null test leaves of the two ratios. CPU per message is the one that bars are set on.
fn counts(rate: Option<bool>, cpu: Option<bool>) -> &'static str {
    match (rate, cpu) {
        (Some(true), Some(true)) => "yes",
        (Some(false), Some(true)) => "CPU yes, rate does not count",
        (Some(true), Some(false)) => "rate yes, CPU does not count",
        (Some(false), Some(false)) => "does not count",
        _ => "no null test",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_test_decides_what_counts() {
        assert_eq!(counts(Some(true), Some(true)), "yes");
        assert_eq!(counts(Some(false), Some(false)), "does not count");
        assert_eq!(counts(None, None), "no null test");
    }
}
