//! A run from the command line to the exit code: plan, preflight, reactors, phases, result.

use crate::books::audited as audit;
use crate::books::totals::{Attempts, Report};
use crate::cli::{Cli, Command as CliCommand, RunArgs};
use crate::commands::check;
use crate::commands::echo;
use crate::commands::repeat;
use crate::conductor::checkpoint::Checkpoints;
use crate::conductor::crew::{Reading, Threads};
use crate::conductor::doctor::walls;
use crate::conductor::{Coordinator, Measured};
use crate::driver::{Command, LoadDriver};
use crate::plan::{Plan, Spoken};
use crate::protocol::{Http, Protocol, Raw, WebSocket};
use crate::result::pacing::pacing;
use crate::result::reactors as account;
use control::Error;
use control::console::{complain, say};
use control::group::{self, Parts, Running, Seat};
use control::live::{Mode, Progress};
use control::signals::{self, Signals};
use control::spawn::join_all;
use crossbeam_channel::{Sender, bounded};
use host::facts::Facts;
use host::preflight;
use measure::units::format_duration;
use measure::{Clock, Failure, Nanos, Stage};
use report::outcome::{outcome, warnings};
use report::part::Part;
use report::schema::{self, ResultFile, Warning, timestamp};
use report::{generator, hist, server, store, text, verdict};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use wire::without_password;

/// Reports of one reactor that may wait for the coordinator.
const REPORTS_PER_REACTOR: usize = 16;

type Reactor<P> = Running<LoadDriver<P>, Command, ()>;

/// Does what the command line says, and returns the exit code.
///
/// # Errors
/// What kept the run from taking place.
pub fn run(cli: &Cli) -> Result<u8, Error> {
    signals::survive_file_limits()
        .map_err(|error| Error::Failed(format!("catching signals: {error}")))?;
    host::table::raise_descriptor_limit()
        .map_err(|error| Error::Failed(format!("raising the descriptor limit: {error}")))?;
    let facts = Facts::read();
    match &cli.command {
        CliCommand::Check(args) => {
            let plan = Plan::new(&args.run, &facts)?;
            say(check::text(args, &plan, &facts)?.trim_end())?;
            Ok(if plan.is_refused() { 3 } else { 0 })
        }
        CliCommand::Run(args) => {
            let args = &to_stdout(args);
            match args.repeat {
                Some(count @ 2..) => repeat::run(args, count, facts),
                _ => run_alone(args, &facts),
            }
        }
        CliCommand::Echo(args) => echo::run(args, &facts),
    }
}

/// `-o -` is `--json`: the result, and nothing else, on stdout.
fn to_stdout(args: &RunArgs) -> RunArgs {
    let mut args = args.clone();
    if args.output.as_deref().is_some_and(store::is_stdout) {
        (args.output, args.json) = (None, true);
    }
    args
}

/// One run, which is all.
fn run_alone(args: &RunArgs, facts: &Facts) -> Result<u8, Error> {
    let plan = Plan::new(args, facts)?;
    check_refused(args, &plan)?;
    if let Some(path) = &args.output {
        try_output(path)?;
    }
    let signals = catch_signals()?;
    let Ran { result, written, ended, .. } =
        run_plan(args, &plan, facts, &signals, &Turn::default())?;
    ended?;
    let shown = show(args, &result, written.as_ref().ok().and_then(Option::as_deref));
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
pub(crate) fn check_refused(args: &RunArgs, plan: &Plan) -> Result<(), Error> {
    if plan.is_refused() && !args.force {
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
    args: &RunArgs,
    plan: &Plan,
    facts: &Facts,
    signals: &Signals,
    turn: &Turn,
) -> Result<Ran, Error> {
    let load = Arc::clone(&plan.load);
    match &plan.spoken {
        Spoken::Raw => run_planned(args, plan, facts, signals, turn, move |_| Raw::new(&load)),
        Spoken::WebSocket(setup) => {
            let setup = Arc::clone(setup);
            let protocol = move |index| WebSocket::new(Arc::clone(&setup), index);
            run_planned(args, plan, facts, signals, turn, protocol)
        }
        Spoken::Http(setup) => {
            let setup = Arc::clone(setup);
            let protocol = move |_| Http::new(Arc::clone(&setup));
            run_planned(args, plan, facts, signals, turn, protocol)
        }
    }
}

/// Runs it; `protocol` makes what the reactor of that number speaks.
fn run_planned<P: Protocol>(
    args: &RunArgs,
    plan: &Plan,
    facts: &Facts,
    signals: &Signals,
    turn: &Turn,
    protocol: impl Fn(usize) -> P + Clone + Send + 'static,
) -> Result<Ran, Error> {
    let mut progress = Progress::new(Mode::detect(args.quiet));
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
        args.output.as_deref(),
        plan,
        ResultFile {
            run: schema::Run { repeat: turn.repeat.clone(), ..run_of(args, plan, started) },
            ..frame(plan, facts)
        },
    );
    let crew = Threads { clock, outsides, reports: taken, signals: receiver };
    let mut coordinator =
        Coordinator::new(plan, crew, args.peer, progress).with_checkpoints(checkpoints);
    let measured = coordinator.measure();
    let (part, trouble) = coordinator.end_checkpoints();
    let mut result = result_of(args, plan, facts, &cpus, measured, started);
    result.run.repeat = turn.repeat.clone();
    result.run.warnings.extend(turn.warning.clone());
    result.run.warnings.extend(trouble);
    if let Some(seconds) = &mut result.resources.client.cpu_seconds {
        *seconds = (*seconds - cpu_before.as_secs_f64()).max(0.0);
    }
    // The result is safe before the connections are closed, which may take a while.
    let written = save(args, &mut result);
    // What could not be written where it should leaves what lies there.
    if let (Ok(_), Some(part)) = (&written, part)
        && let Err(error) = Part::remove(&part)
    {
        complain("c1000k-client", error);
    }
    if !coordinator.is_aborted() {
        coordinator.close();
        coordinator.watch_closing(|| {
            reactors.iter().filter(|reactor| reactor.thread.is_finished()).count()
        });
    }
    coordinator.clear_progress();
    let interrupted = coordinator.is_interrupted();
    let ended = if coordinator.is_aborted() { Ok(()) } else { finish(reactors) };
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
        let started = group::start(seat, move || {
            let driver = LoadDriver::new(index, load, protocol(index), reports, clock.now());
            Ok(Parts { driver, listeners: Vec::new(), report: () })
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
    args: &RunArgs,
    result: &ResultFile,
    written: Option<&Path>,
) -> Result<(), Error> {
    if args.json {
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

// ---- The file -----------------------------------------------------------------------------------

/// Whether the result can be written there: better known before a long run than after it.
pub(crate) fn try_output(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::Usage(format!(
            "--output {}: that is a folder: name a file in it, such as {}",
            path.display(),
            path.join("result.json").display()
        )));
    }
    if let Some(kind) = std::fs::metadata(path).ok().and_then(|found| no_place(path, &found)) {
        return Err(Error::Usage(format!(
            "--output {}: that is {kind}: name a file, or give - and read the result from stdout",
            path.display()
        )));
    }
    if path.exists() && !path.is_file() {
        // A device, or a pipe that the shell made and holds, takes what it gets.
        return Ok(());
    }
    // Of a symbolic link it is the target's folder that is written into.
    let target = target_of(path);
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let trial = folder.join(format!(".c1000k-{}.tmp", std::process::id()));
    let tried = std::fs::File::create(&trial).and_then(|_| std::fs::remove_file(&trial));
    tried.map_err(|error| {
        Error::Usage(format!(
            "--output {}: nothing can be written into {} ({error}): choose another folder",
            path.display(),
            folder.display()
        ))
    })
}

/// What it is, if no result is written there: opening a pipe by its name would wait for a reader, or take
/// its end for the end of the result, and a disk is no file.
fn no_place(path: &Path, found: &std::fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = found.file_type();
    // Those that a shell made for `>(...)` or a pipe of its own are open here already.
    let inherited = path.starts_with("/dev") || path.starts_with("/proc");
    match kind {
        _ if kind.is_fifo() && !inherited => Some("a pipe"),
        _ if kind.is_socket() => Some("a socket"),
        _ if kind.is_block_device() => Some("a disk"),
        _ => None,
    }
}

/// The file that is written: what a symbolic link leads to, be it not there yet.
fn target_of(path: &Path) -> PathBuf {
    if let Ok(target) = path.canonicalize() {
        return target;
    }
    match std::fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or_else(|| Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}

/// Judges the result and writes it where it was asked for.
fn save(args: &RunArgs, result: &mut ResultFile) -> Result<Option<PathBuf>, Error> {
    result.verdict = verdict::judge(result);
    keep(args.output.as_deref(), result)
}

/// Writes a result where it was asked for. If that fails it goes to the folder for temporary files: what
/// was measured is not lost.
pub(crate) fn keep(path: Option<&Path>, result: &ResultFile) -> Result<Option<PathBuf>, Error> {
    let Some(path) = path else { return Ok(None) };
    let Err(error) = store::write(path, result) else { return Ok(Some(path.to_owned())) };
    Err(rescue(&error.to_string(), result))
}

/// Writes a result into the folder for temporary files, as it could not be where it should, and says so.
fn rescue(error: &str, result: &ResultFile) -> Error {
    let refuge = std::env::temp_dir().join(format!("c1000k-{}.json", result.run.id));
    Error::Failed(match store::write(&refuge, result) {
        Ok(()) => format!("{error}; the result is in {} instead", refuge.display()),
        Err(other) => format!("{error}; and {other}: the result is lost but for what is above"),
    })
}

// ---- The result ---------------------------------------------------------------------------------

fn result_of(
    args: &RunArgs,
    plan: &Plan,
    facts: &Facts,
    cpus: &[usize],
    mut measured: Measured,
    started: SystemTime,
) -> ResultFile {
    let mut result = ResultFile {
        run: run_of(args, plan, started),
        plan: schema::Plan { addresses: addresses_of(plan, &measured), ..plan.record.clone() },
        peer: measured.end.peer.clone().or_else(|| measured.ramped.peer.clone()),
        connections: connections_of(plan, &measured),
        messages: messages_of(plan, &measured),
        pacing: pacing(plan, &measured, traffic_time(plan, &measured)),
        failures: measured.totals.failures.into(),
        http_statuses: statuses_of(&measured),
        violations: measured.causes.rules.clone(),
        close_codes: close_codes_of(&measured),
        resources: resources_of(plan, &measured),
        reactors: account::reactors(cpus, &measured),
        audit: audit_of(plan, &measured),
        limits_reached: limits_of(&measured),
        timeline: std::mem::take(&mut measured.timeline),
        ..frame(plan, facts)
    };
    fill_stages(&mut result, &mut measured);
    account::fill(&mut result, &measured);
    result.fill_derived();
    result.run.warnings = walls(&measured.walls);
    if result.resources.client.rss_bytes.is_none() {
        result.run.warnings.push(Warning {
            code: "no_proc".to_owned(),
            text: "this system shows nothing in /proc: memory, waits for cores and the kernel's counters \
                   were not measured, and are null"
                .to_owned(),
            remedy: "mount it (mount -t proc proc /proc), in a container with its usual mounts".to_owned(),
        });
    }
    if let (Some(duration), schema::Model::None) = (args.duration, result.plan.model) {
        result.run.warnings.push(Warning {
            code: "duration_unused".to_owned(),
            text: format!(
                "--duration {} says how long messages are to be sent, and none were",
                format_duration(duration)
            ),
            remedy:
                "say how many with --rate, or send as replies come with --closed; --hold keeps \
                     connections open without traffic"
                    .to_owned(),
        });
    }
    generator::fill(&mut result);
    server::fill(&mut result, account::silence(&measured));
    result.run.outcome = outcome(&result, measured.halt_interrupted);
    result.run.warnings.extend(warnings(&result));
    for note in &measured.notes {
        result.run.warnings.push(Warning {
            code: "peer".to_owned(),
            text: note.clone(),
            remedy: "give the address that the server's --metrics names".to_owned(),
        });
    }
    result
}

/// Which run it is.
fn run_of(args: &RunArgs, plan: &Plan, started: SystemTime) -> schema::Run {
    let seed = plan.load.seed;
    schema::Run {
        id: format!("{}-{seed:x}", timestamp(started).replace([':', '.'], "")),
        label: args.label.clone(),
        started: timestamp(started),
        ended: timestamp(SystemTime::now()),
        // Names of files need not be UTF-8, and `args` panics at those.
        command: std::env::args_os()
            .map(|word| without_password(&word.to_string_lossy()).into_owned())
            .collect(),
        seed,
        ..schema::Run::default()
    }
}

/// What is known of a result before its run.
fn frame(plan: &Plan, facts: &Facts) -> ResultFile {
    ResultFile {
        tool: schema::Tool {
            name: "c1000k-client".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("C1000K_COMMIT").map(str::to_owned),
        },
        // What became of the attempts is known at the end.
        plan: schema::Plan { addresses: Vec::new(), ..plan.record.clone() },
        host: serde_json::to_value(facts).unwrap_or_default(),
        connections: schema::Connections {
            planned: plan.load.connections,
            ..schema::Connections::default()
        },
        messages: schema::Messages {
            planned: messages_planned(plan),
            rate_planned: plan.record.rate_per_second,
            ..schema::Messages::default()
        },
        ..ResultFile::default()
    }
}

/// How many messages the open model is to send.
fn messages_planned(plan: &Plan) -> Option<u64> {
    let rate = plan.record.rate_per_second.filter(|_| plan.record.model == schema::Model::Open)?;
    Some(crate::load::pace::Pace::new(rate).count_before(plan.load.duration))
}

fn statuses_of(measured: &Measured) -> BTreeMap<String, u64> {
    let statuses = measured.causes.statuses.iter();
    statuses.map(|(status, count)| (status.to_string(), *count)).collect()
}

fn close_codes_of(measured: &Measured) -> BTreeMap<String, schema::CloseCode> {
    let closes = &measured.causes.closes;
    let entry =
        |count, reason: &str| schema::CloseCode { count, reason: wire::shown(reason.as_bytes()) };
    let known = closes.by_code.iter();
    let known = known.map(|(code, (count, reason))| (code.to_string(), entry(*count, reason)));
    let others = (closes.others > 0).then(|| ("other".to_owned(), entry(closes.others, "")));
    known.chain(others).collect()
}

/// The addresses with what became of the attempts at each.
fn addresses_of(plan: &Plan, measured: &Measured) -> Vec<schema::Address> {
    let mut sums = vec![Attempts::default(); plan.load.addresses.all().len()];
    for last in measured.finals.values() {
        for (sum, attempts) in sums.iter_mut().zip(&last.addresses) {
            sum.merge(attempts);
        }
    }
    let mut addresses = plan.record.addresses.clone();
    // Those that no source reaches are none of the load's.
    let used = addresses.iter_mut().filter(|address| address.sources > 0);
    for (address, Attempts { connected, failures }) in used.zip(sums) {
        address.connected = connected;
        let failures = Failure::ALL.into_iter().zip(failures).filter(|(_, count)| *count > 0);
        address.failures = failures.map(|(kind, count)| (kind.name().to_owned(), count)).collect();
    }
    addresses
}

fn connections_of(plan: &Plan, measured: &Measured) -> schema::Connections {
    let totals = &measured.totals;
    let opening = if plan.load.churn { traffic_time(plan, measured) } else { Some(measured.ramp) };
    schema::Connections {
        planned: plan.load.connections,
        open_at_end: measured.open_at_end,
        open_peak: measured.finals.values().map(|last| last.open_peak).sum(),
        open_seconds: opening.map_or(0.0, Nanos::as_secs_f64),
        ..totals.connections()
    }
}

/// How long messages were sent: the duration as planned, less if the run was cut short, more if the
/// generator was late. The closed model sends when replies come, so there it is the last of those.
fn traffic_time(plan: &Plan, measured: &Measured) -> Option<Nanos> {
    let open = plan.record.model == schema::Model::Open;
    let span = measured.finals.values().map(|last| {
        let on_the_way = if open { last.last_sent } else { last.last_reply };
        last.drive_time.min(plan.load.duration).max(on_the_way)
    });
    span.max()
}

fn messages_of(plan: &Plan, measured: &Measured) -> schema::Messages {
    let (totals, size) = (&measured.totals, plan.load.size as u64);
    let unasked = &measured.causes.unasked;
    let (http, time) = (plan.record.http.is_some(), traffic_time(plan, measured));
    let had_traffic = plan.record.model != schema::Model::None;
    schema::Messages {
        planned: messages_planned(plan),
        // Nothing is waited for any more.
        lost: totals.sent.saturating_sub(totals.received),
        unasked: unasked.messages,
        unasked_bytes: unasked.bytes,
        unasked_first: (unasked.messages > 0).then(|| wire::shown(&unasked.first)),
        seconds: time.map_or(0.0, Nanos::as_secs_f64),
        rate_planned: plan.record.rate_per_second,
        served: account::sum(measured, |backlog| backlog.served()),
        served_seconds: account::planned_seconds(plan.load.duration, measured),
        backlog_at_end: had_traffic.then(|| account::sum(measured, |backlog| backlog.at_end())),
        backlog: account::marks(measured, |backlog| &backlog.marks),
        waiting: account::marks(measured, |backlog| &backlog.waiting),
        backlog_step_seconds: match had_traffic {
            true => plan.load.duration.as_secs_f64() / crate::books::backlog::MARKS as f64,
            false => 0.0,
        },
        first_echo: measured.first_echo.map(|took| schema::FirstEcho {
            planned: measured.first_echo_planned,
            sent: totals.first_sent,
            received: totals.first_received,
            unserved: totals.first_unserved,
            seconds: took.as_secs_f64(),
            ..schema::FirstEcho::default()
        }),
        ..totals.messages(size, http)
    }
}

fn resources_of(plan: &Plan, measured: &Measured) -> schema::Resources {
    let Measured { before, ramped, drive_from, drive_to, end, .. } = measured;
    let seconds = |from: &Reading, to: &Reading| Some((to.cpu - from.cpu).as_secs_f64());
    let client = schema::Process {
        rss_bytes_before: before.rss_bytes,
        rss_bytes: ramped.rss_bytes,
        rss_bytes_after_traffic: drive_to.rss_bytes,
        cpu_seconds: Some(end.cpu.as_secs_f64()),
        cpu_seconds_opening: seconds(before, ramped),
        cpu_seconds_traffic: seconds(drive_from, drive_to),
        ..schema::Process::default()
    };
    let kernel = schema::Kernel {
        both_ends: plan.loopback,
        memfree_bytes_before: before.memfree_bytes,
        memfree_bytes: ramped.memfree_bytes,
        slab_bytes_before: before.slab_bytes,
        slab_bytes: ramped.slab_bytes,
        ..schema::Kernel::default()
    };
    let others = others(plan, measured);
    let predicted = schema::Footprint {
        memory_bytes: preflight::bytes_needed(&plan.demand),
        open_files: preflight::files_needed(&plan.demand),
    };
    schema::Resources {
        client,
        server: server_of(measured),
        kernel,
        predicted: Some(predicted),
        taken: taken(plan, measured),
        others_cpu_seconds: others.map(|(seconds, _)| seconds),
        others_cpu_ratio: others.map(|(_, share)| share),
    }
}

/// CPU time of this machine that went to others than the client and a server that runs here and tells,
/// in seconds and as a share of all there was: in the traffic, or over the whole run without any.
fn others(plan: &Plan, measured: &Measured) -> Option<(f64, f64)> {
    let Measured { before, drive_from, drive_to, end, .. } = measured;
    let (from, to) = match plan.record.model {
        schema::Model::None => (before, end),
        _ => (drive_from, drive_to),
    };
    let worked = host::schedule::worked_share(&from.cores, &to.cores)?;
    let cores = to.cores.keys().filter(|core| from.cores.contains_key(core)).count();
    let machine = (to.at - from.at).as_secs_f64() * cores as f64;
    let server = |reading: &Reading| reading.peer.as_ref()?.get("cpu_ns")?.as_u64();
    let server = match (plan.loopback, server(from).zip(server(to))) {
        (true, Some((from, to))) => Nanos(to.saturating_sub(from)),
        _ => Nanos::ZERO,
    };
    let own = ((to.cpu - from.cpu) + server).as_secs_f64();
    // The kernel counts the one in ticks and the other exactly: a little below nothing is nothing.
    let seconds = (worked * machine - own).max(0.0);
    Some((seconds, schema::ratio(seconds, machine)))
}

/// What the run had taken of this machine when all connections stood. The part of a server that runs
/// here too is known only if it tells (`--peer`).
fn taken(plan: &Plan, measured: &Measured) -> Option<schema::Footprint> {
    let Measured { before, ramped, .. } = measured;
    let slab = ramped.slab_bytes?.saturating_sub(before.slab_bytes?);
    let server = match plan.loopback {
        true => ramped.peer.as_ref()?.get("rss_bytes")?.as_u64()?,
        false => 0,
    };
    Some(schema::Footprint {
        memory_bytes: slab + ramped.rss_bytes? + server,
        open_files: ramped.open_files?.saturating_sub(before.open_files?),
    })
}

/// What the server says of itself, from its snapshots between the phases.
fn server_of(measured: &Measured) -> Option<schema::Process> {
    let number = |reading: &Reading, field: &str| reading.peer.as_ref()?.get(field)?.as_u64();
    let Measured { before, ramped, drive_from, drive_to, end, .. } = measured;
    end.peer.as_ref().or(ramped.peer.as_ref())?;
    let seconds = |from: &Reading, to: &Reading| {
        let spent = number(to, "cpu_ns")?.saturating_sub(number(from, "cpu_ns")?);
        Some(Nanos(spent).as_secs_f64())
    };
    Some(schema::Process {
        rss_bytes_before: number(before, "rss_bytes"),
        rss_bytes: number(ramped, "rss_bytes"),
        rss_bytes_after_traffic: number(drive_to, "rss_bytes"),
        cpu_seconds: seconds(before, end),
        cpu_seconds_opening: seconds(before, ramped),
        cpu_seconds_traffic: seconds(drive_from, drive_to),
        ..schema::Process::default()
    })
}

fn audit_of(plan: &Plan, measured: &Measured) -> Option<schema::Audit> {
    let reactors = measured.finals.values().filter_map(|last| last.audit.as_deref());
    audit::section(plan.load.audit, reactors, &measured.recorder)
}

fn limits_of(measured: &Measured) -> BTreeMap<String, u64> {
    let mut limits = BTreeMap::new();
    let mut add = |name: &str, count: u64| *limits.entry(name.to_owned()).or_insert(0) += count;
    for last in measured.finals.values() {
        let counters = &last.counters;
        add("blocked_writes", counters.blocked_writes);
        add("unsent_full", counters.unsent_full);
        add("reads_budget", counters.reads_budget_hits);
        add("events_budget", counters.events_budget_hits);
        add("watch_failed", counters.watch_failed);
        add("tuples_skipped", last.totals.tuples_skipped);
        add("pace_blocked", last.totals.pace_blocked);
        for (name, count) in &last.limits_reached {
            add(name, *count);
        }
    }
    limits
}

fn fill_stages(result: &mut ResultFile, measured: &mut Measured) {
    let recorder = &mut measured.recorder;
    if recorder.stage(Stage::Handshake).is_none() {
        // Without TLS and upgrade a connection is usable as soon as it is established.
        recorder.copy(Stage::Connect, Stage::Handshake);
    }
    if result.plan.model == schema::Model::Closed {
        // A closed model means to send exactly when it does.
        recorder.copy(Stage::Service, Stage::Response);
    }
    for stage in Stage::ALL {
        let entry = recorder.stage(stage).and_then(hist::entry);
        result.stages.set(stage, entry);
    }
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden_tests;
