//! One run: reactors, phases, result.

use crate::cli::RunArgs;
use crate::conductor::Conductor;
use crate::conductor::checkpoint::Checkpoints;
use crate::conductor::crew::Threads;
use crate::driver::LoadDriver;
use crate::orders::{Command, Report};
use crate::plan::{Output, Plan, ProtocolPlan};
use crate::protocol::{Http, Protocol, Raw, WebSocket};
use crate::result::file::{rescue, save, try_output};
use crate::result::{frame, result_of, run_of};
use control::Error;
use control::console::{complain, say};
use control::group::{self, Parts, Running, Seat};
use control::live::{Mode, Progress};
use control::signals::Signals;
use control::spawn::join_all;
use crossbeam_channel::{Sender, bounded};
use host::facts::Facts;
use host::preflight;
use measure::{Clock, Nanos};
use report::part::Part;
use report::schema::{self, ResultFile, Warning};
use report::text;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Reports of one reactor that may wait for the conductor.
const REPORTS_PER_REACTOR: usize = 16;

type Reactor<P> = Running<LoadDriver<P>, Command, ()>;

/// One run, which is all.
pub(super) fn run_alone(args: &RunArgs, facts: &Facts) -> Result<u8, Error> {
    let plan = Plan::new(args, facts)?;
    check_refused(&plan)?;
    if let Some(path) = &plan.output.file {
        try_output(path)?;
    }
    let signals = catch_signals()?;
    let Ran { result, written, ended, .. } = run_plan(&plan, facts, &signals, &Turn::default())?;
    ended?;
    let shown = show(&plan.output, &result, written.as_ref().ok().and_then(Option::as_deref));
    written.and(shown).map(|()| result.verdict.exit_code)
}

/// Which of several runs it is.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Its number; `None` if it is the only one.
    pub(crate) repeat: Option<schema::Repeat>,
    /// What is to be said against it, before it began.
    pub(crate) warning: Option<Warning>,
}

/// A run that took place.
pub(crate) struct Ran {
    pub(crate) result: ResultFile,
    /// Where the result was written, if it was to be.
    pub(crate) written: Result<Option<PathBuf>, Error>,
    /// Whether all reactors came to their end.
    pub(crate) ended: Result<(), Error>,
    /// Whether somebody asked for its end, be it when the result was written already.
    pub(crate) interrupted: bool,
}

/// # Errors
/// If preflight found that the plan does not fit the machine, and nobody said to go on.
pub(crate) fn check_refused(plan: &Plan) -> Result<(), Error> {
    if plan.is_refused() && !plan.force {
        let table = preflight::table(&plan.findings);
        return Err(Error::Refused(format!(
            "this machine cannot hold the run as planned (--force tries all the same)\n{}",
            table.trim_end()
        )));
    }
    Ok(())
}

/// Once for the process.
pub(crate) fn catch_signals() -> Result<Signals, Error> {
    Signals::install().map_err(|error| Error::Failed(format!("catching signals: {error}")))
}

/// Runs a plan with the protocol that it speaks.
pub(crate) fn run_plan(
    plan: &Plan,
    facts: &Facts,
    signals: &Signals,
    turn: &Turn,
) -> Result<Ran, Error> {
    let load = Arc::clone(&plan.load);
    match &plan.protocol {
        ProtocolPlan::Tcp => run_planned(plan, facts, signals, turn, move |_| Raw::new(&load)),
        ProtocolPlan::WebSocket(setup) => {
            let setup = Arc::clone(setup);
            let protocol = move |index| WebSocket::new(Arc::clone(&setup), index);
            run_planned(plan, facts, signals, turn, protocol)
        }
        ProtocolPlan::Http(setup) => {
            let setup = Arc::clone(setup);
            let protocol = move |_| Http::new(Arc::clone(&setup));
            run_planned(plan, facts, signals, turn, protocol)
        }
    }
}

/// Runs it; `protocol` makes what the reactor of that number speaks.
fn run_planned<P: Protocol>(
    plan: &Plan,
    facts: &Facts,
    signals: &Signals,
    turn: &Turn,
    protocol: impl Fn(usize) -> P + Clone + Send + 'static,
) -> Result<Ran, Error> {
    let mut progress = Progress::new(Mode::detect(plan.output.quiet));
    if let Some(repeat) = &turn.repeat {
        progress = progress.titled(format!("run {} of {}", repeat.number, repeat.of));
    }
    let first = turn.repeat.as_ref().is_none_or(|repeat| repeat.number == 1);
    for line in plan.describe().iter().filter(|_| first) {
        progress.message(line);
    }
    // What earlier runs of this process took is not this one's.
    let cpu_before = if first { Nanos::ZERO } else { host::usage::process_cpu_time() };
    let started = SystemTime::now();
    let clock = Clock::start();
    let (reports, taken) = bounded(plan.seats.len() * REPORTS_PER_REACTOR);
    let reactors = start_reactors(plan, clock, &reports, &protocol)?;
    drop(reports);
    let outsides = reactors.iter().map(|reactor| reactor.outside.clone()).collect();
    let cpus: Vec<usize> = reactors.iter().map(|reactor| reactor.cpu).collect();
    let receiver = signals.receiver().clone();
    let checkpoints = Checkpoints::start(
        plan,
        ResultFile {
            run: schema::Run { repeat: turn.repeat.clone(), ..run_of(plan, started) },
            ..frame(plan, facts)
        },
    );
    let crew = Threads { clock, outsides, reports: taken, signals: receiver };
    let mut conductor = Conductor::new(plan, crew, progress).with_checkpoints(checkpoints);
    let measured = conductor.measure();
    let (part, trouble) = conductor.end_checkpoints();
    let mut result = result_of(plan, facts, &cpus, measured, started);
    result.run.repeat = turn.repeat.clone();
    result.run.warnings.extend(turn.warning.clone());
    result.run.warnings.extend(trouble);
    if let Some(seconds) = &mut result.resources.client.cpu_seconds {
        *seconds = (*seconds - cpu_before.as_secs_f64()).max(0.0);
    }
    // The result is safe before the connections are closed, which may take a while.
    let written = save(plan, &mut result);
    // What could not be written where it should leaves what lies there.
    if let (Ok(_), Some(part)) = (&written, part)
        && let Err(error) = Part::remove(&part)
    {
        complain("c1000k-client", error);
    }
    if !conductor.is_aborted() {
        conductor.close();
        conductor.watch_closing(|| {
            reactors.iter().filter(|reactor| reactor.thread.is_finished()).count()
        });
    }
    conductor.clear_progress();
    let interrupted = conductor.is_interrupted();
    let ended = if conductor.is_aborted() { Ok(()) } else { finish(reactors) };
    Ok(Ran { result, written, ended, interrupted })
}

fn start_reactors<P: Protocol>(
    plan: &Plan,
    clock: Clock,
    reports: &Sender<Report>,
    protocol: &(impl Fn(usize) -> P + Clone + Send + 'static),
) -> Result<Vec<Reactor<P>>, Error> {
    let mut reactors: Vec<Reactor<P>> = Vec::with_capacity(plan.seats.len());
    for (index, &cpu) in plan.seats.iter().enumerate() {
        let seat = Seat { index, cpu, own_table: plan.own_tables, clock, limits: plan.limits };
        let (load, reports, protocol) = (Arc::clone(&plan.load), reports.clone(), protocol.clone());
        let secured = plan.secured.clone();
        let started = group::start(seat, move || {
            let driver = LoadDriver::new(index, load, protocol(index), reports, clock.now());
            Ok(Parts { driver, listeners: Vec::new(), secured, report: () })
        });
        // Those that run already end with the process.
        reactors.push(
            started.map_err(|error| Error::Failed(format!("starting reactor {index}: {error}")))?,
        );
    }
    Ok(reactors)
}

fn finish<P: Protocol>(reactors: Vec<Reactor<P>>) -> Result<(), Error> {
    let ended = join_all(reactors.into_iter().map(|reactor| reactor.thread));
    ended.map(|_| ()).map_err(|panic| Error::Failed(panic.to_string()))
}

/// Prints a result, or its summary. A result that is nowhere else is not lost if that fails.
pub(crate) fn show(
    output: &Output,
    result: &ResultFile,
    written: Option<&Path>,
) -> Result<(), Error> {
    if output.json {
        let json = serde_json::to_string_pretty(result);
        let json = json.map_err(|error| Error::Failed(format!("the result as JSON: {error}")))?;
        return say(&json).map_err(|error| match written {
            Some(_) => error,
            None => rescue(&error.to_string(), result),
        });
    }
    let width = text::WIDTH;
    let mut summary = text::summary(result, width);
    if let Some(path) = written {
        summary.push_str(&text::file_line(path));
    }
    say(summary.trim_end())
}
