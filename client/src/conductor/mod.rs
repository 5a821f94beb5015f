//! The coordinator: moves all reactors from phase to phase, merges what they report into a timeline
//! and a live view, and takes the readings of memory and CPU time that belong between the phases.

pub(crate) mod checkpoint;
pub(crate) mod crew;
#[cfg(test)]
pub(crate) mod crew_tests;
pub(crate) mod doctor;
pub(crate) mod probe;

use crate::books::totals::{Causes, Final, Recorder, Report, Second, Step, Totals};
use crate::conductor::checkpoint::{Checkpoints, Snapshot};
use crate::conductor::crew::{Crew, Event, Reading};
use crate::conductor::doctor::{Doctor, Look};
use crate::conductor::probe::{Probe, Probed};
use crate::driver::Command;
use crate::plan::Plan;
use control::live::{Progress, View};
use control::signals::Signal;
use host::doctor::Wall;
use measure::{Failure, IntervalHistogram, Nanos};
use report::{hist, schema};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Attempts without a single success after which a ramp is given up: nobody is there.
const HOPELESS_ATTEMPTS: u64 = 1_000;
/// First messages that go unanswered without a single reply, after which no more are sent.
const SILENT_ATTEMPTS: u64 = 64;
/// How long accepting may lag behind opening before the first readings are taken.
const SETTLE: Nanos = Nanos::from_millis(300);
/// How long the reactors have to report when the run is being abandoned.
const ABORT_PATIENCE: Nanos = Nanos::from_secs(2);
/// How long the peer has to answer.
const PEER_PATIENCE: Duration = Duration::from_secs(2);
/// Descriptors that are kept for readings and the result.
const SPARE_DESCRIPTORS: usize = 4;
/// Seconds whose histograms are kept open for reports that come late.
const LATE_SECONDS: u64 = 2;

/// How far a run is being cut short.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Halt {
    /// Not at all.
    None,
    /// It makes no sense to go on: no connection is open, and none will be.
    Hopeless,
    /// Somebody asked for its end.
    Drain,
    /// Somebody asked twice.
    Abort,
}

/// All that a run brought to light.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) halt_interrupted: bool,
    pub(crate) before: Reading,
    pub(crate) ramped: Reading,
    pub(crate) drive_from: Reading,
    pub(crate) drive_to: Reading,
    pub(crate) end: Reading,
    pub(crate) ramp: Nanos,
    pub(crate) first_echo: Option<Nanos>,
    /// Connections that the first-echo round had to cover.
    pub(crate) first_echo_planned: u64,
    pub(crate) open_at_end: u64,
    pub(crate) totals: Totals,
    pub(crate) causes: Causes,
    pub(crate) recorder: Recorder,
    pub(crate) finals: BTreeMap<usize, Box<Final>>,
    pub(crate) timeline: Vec<schema::Second>,
    pub(crate) notes: Vec<String>,
    /// What stood in the way.
    pub(crate) walls: Vec<Wall>,
    /// How late the machine woke threads that did nothing, during the traffic.
    pub(crate) probed: Probed,
}

pub(crate) struct Coordinator<'a, C> {
    plan: &'a Plan,
    crew: C,
    peer: Option<SocketAddr>,
    progress: Progress,
    /// Reactors that have closed their connections, and all of them.
    closed: (u64, u64),
    halt: Halt,
    /// The step that each reactor has come to the end of, and when the last of them did.
    done: Vec<Step>,
    done_at: Nanos,
    timeline: Timeline,
    finals: BTreeMap<usize, Box<Final>>,
    phase: &'static str,
    phase_started: Nanos,
    phase_length: Option<Nanos>,
    notes: Vec<String>,
    doctor: Doctor,
    checkpoints: Option<Checkpoints>,
    /// When the next one is due.
    checkpoint_due: Nanos,
    /// Why the first that could not be written was not.
    checkpoint_trouble: Option<String>,
    /// When the ramp began and ended, and when the traffic did and was to.
    opening: (Nanos, Option<Nanos>),
    traffic: Option<(Nanos, Nanos)>,
    /// Descriptors kept free while connections take what there is, so that the readings after the
    /// ramp and the result can still open their files.
    spare: Vec<File>,
}

impl<'a, C: Crew> Coordinator<'a, C> {
    pub(crate) fn new(
        plan: &'a Plan,
        crew: C,
        peer: Option<SocketAddr>,
        progress: Progress,
    ) -> Self {
        let reactors = crew.size();
        Self {
            plan,
            crew,
            peer,
            progress,
            closed: (0, 0),
            halt: Halt::None,
            done: vec![Step::Waiting; reactors],
            done_at: Nanos::ZERO,
            timeline: Timeline::new(reactors),
            finals: BTreeMap::new(),
            phase: "start",
            phase_started: Nanos::ZERO,
            phase_length: None,
            notes: Vec::new(),
            doctor: Doctor::new(plan),
            checkpoints: None,
            checkpoint_due: Nanos::ZERO,
            checkpoint_trouble: None,
            opening: (Nanos::ZERO, None),
            traffic: None,
            spare: (0..SPARE_DESCRIPTORS).flat_map(|_| File::open("/dev/null")).collect(),
        }
    }

    /// Has it hand over what is measured from time to time.
    pub(crate) fn with_checkpoints(self, checkpoints: Option<Checkpoints>) -> Self {
        Self { checkpoints, ..self }
    }

    /// Ends the checkpoints: where the last one lies, and what is to be said of them.
    pub(crate) fn end_checkpoints(&mut self) -> (Option<PathBuf>, Option<schema::Warning>) {
        let Some(checkpoints) = self.checkpoints.take() else { return (None, None) };
        self.look_for_trouble(&checkpoints);
        let trouble = self.checkpoint_trouble.as_deref().map(checkpoint::warning);
        (Some(checkpoints.end()), trouble)
    }

    /// Takes the run through its phases up to the end of the measurement; the connections are still
    /// open then, see [`Coordinator::close`].
    pub(crate) fn measure(&mut self) -> Measured {
        // The first one says what was planned, and whether the file can be written.
        self.checkpoint();
        let mut measured = Measured { before: self.read(), ..Measured::default() };
        self.ramp(&mut measured);
        self.settle(&mut measured);
        self.drive(&mut measured);
        self.hold();
        self.drain();
        measured.end = self.read();
        measured.halt_interrupted = self.halt >= Halt::Drain;
        measured.totals = self.timeline.total();
        measured.open_at_end = measured.totals.open();
        measured.notes = std::mem::take(&mut self.notes);
        measured.walls = self.doctor.found().to_vec();
        for last in self.finals.values() {
            measured.recorder.merge(&last.recorder);
            measured.causes.merge(&last.causes);
        }
        measured.finals = std::mem::take(&mut self.finals);
        measured.timeline = self.timeline.finish();
        measured
    }

    /// Whether the run was asked twice to end: then nothing more is waited for.
    pub(crate) fn is_aborted(&self) -> bool {
        self.halt == Halt::Abort
    }

    /// Whether the run was asked to end, be it while it was closing.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.halt >= Halt::Drain
    }

    fn ramp(&mut self, measured: &mut Measured) {
        self.enter("ramp", None);
        let started = self.crew.now();
        self.opening = (started, None);
        self.open_in_turns(started);
        self.spare.clear();
        let ended = if self.all_done(Step::Ramp) { self.done_at } else { self.crew.now() };
        measured.ramp = ended - started;
        self.opening.1 = Some(ended);
        let nobody = self.timeline.total().opened == 0 && !self.plan.load.churn;
        if nobody && self.all_done(Step::Ramp) {
            self.halt(Halt::Hopeless);
        }
    }

    fn settle(&mut self, measured: &mut Measured) {
        self.enter("settle", Some(SETTLE));
        self.wait(SETTLE);
        measured.ramped = self.read();
        if self.plan.load.first_echo && self.halt == Halt::None {
            self.enter("first echo", None);
            measured.first_echo_planned = self.timeline.total().open();
            let started = self.crew.now();
            // All at once, unlike the ramp: in turns the round takes half as long again, since the
            // reactors of the server wake for a few messages each. The times of this stage are hence
            // those of a closed loop at full load, and METHODOLOGY.md says so.
            self.tell_all(Command::FirstEcho);
            self.wait_until_done(Step::FirstEcho);
            let ended = if self.all_done(Step::FirstEcho) { self.done_at } else { self.crew.now() };
            measured.first_echo = Some(ended - started);
        }
    }

    fn drive(&mut self, measured: &mut Measured) {
        // Before the readings, so that what it costs is not among what the traffic does.
        let audited = !self.plan.load.audit.is_off();
        // Where that fails, the stamps that are missing are counted.
        let stamping = audited.then(|| host::receipt::keep_stamping().ok());
        self.audit(Command::AuditFrom, Step::AuditFrom);
        measured.drive_from = self.read();
        if self.plan.record.model != schema::Model::None && self.halt == Halt::None {
            self.enter("drive", Some(self.plan.load.duration));
            // Far enough ahead that every reactor has read it when the time comes.
            let start = self.crew.now() + Nanos::from_millis(20);
            self.phase_started = start;
            self.tell_all(Command::Drive(start));
            let until = start + self.plan.load.duration;
            self.traffic = Some((start, until));
            let probe = self.crew.probe(&self.plan.seats, start, until);
            self.wait_until_done(Step::Drive);
            measured.probed = probe.map(Probe::end).unwrap_or_default();
        }
        measured.drive_to = self.read();
        self.audit(Command::AuditTo, Step::AuditTo);
        drop(stamping);
    }

    /// A round of the audit, if there is one.
    fn audit(&mut self, command: Command, step: Step) {
        if !self.plan.load.audit.is_off() && self.halt == Halt::None {
            self.enter("audit", None);
            self.tell_all(command);
            self.wait_until_done(step);
        }
    }

    fn hold(&mut self) {
        if self.plan.hold > Nanos::ZERO && self.halt == Halt::None {
            self.enter("hold", Some(self.plan.hold));
            self.wait(self.plan.hold);
        }
    }

    fn drain(&mut self) {
        self.enter("drain", None);
        self.tell_all(Command::Drain);
        while self.finals.len() < self.crew.size() && self.halt < Halt::Abort {
            self.take(Nanos::from_millis(100));
        }
        if self.halt == Halt::Abort {
            self.tell_all(Command::Abort);
            let give_up = self.crew.now() + ABORT_PATIENCE;
            while self.finals.len() < self.crew.size() && self.crew.now() < give_up {
                self.take(Nanos::from_millis(20));
            }
        }
    }

    /// Closes all connections. The measurement is over, and its result is safe.
    pub(crate) fn close(&mut self) {
        self.enter("close", None);
        self.tell_all(Command::Close);
    }

    /// Shows how closing goes on, of which `finished` says how many reactors are at its end, until all are
    /// or somebody asks for the end.
    pub(crate) fn watch_closing(&mut self, finished: impl Fn() -> usize) {
        let all = self.crew.size() as u64;
        loop {
            self.closed = (finished() as u64, all);
            if self.closed.0 >= all || self.halt >= Halt::Abort {
                return;
            }
            self.show();
            self.take(Nanos::from_millis(50));
        }
    }

    /// Takes the panel away.
    pub(crate) fn clear_progress(&mut self) {
        self.progress.clear();
    }

    /// Has the reactors open in turns: in each lane one after the other.
    fn open_in_turns(&mut self, started: Nanos) {
        let lanes = &self.plan.load.lanes;
        let mut turns: Vec<usize> = lanes.first().collect();
        for reactor in &turns {
            self.crew.tell(*reactor, Command::Ramp(started));
        }
        while self.halt == Halt::None && !self.all_done(Step::Ramp) {
            self.take(Nanos::from_millis(100));
            for turn in &mut turns {
                if self.done[*turn] >= Step::Ramp
                    && let Some(next) = lanes.after(*turn)
                {
                    *turn = next;
                    self.crew.tell(next, Command::Ramp(started));
                }
            }
            let totals = self.timeline.total();
            self.look_into_stall(&totals);
            if totals.opened == totals.lost && totals.failed + totals.lost >= HOPELESS_ATTEMPTS {
                self.halt(Halt::Hopeless);
            }
        }
    }

    /// Names what stands in the way of a ramp that opens nothing more.
    fn look_into_stall(&mut self, totals: &Totals) {
        if !self.doctor.is_due(self.crew.now(), totals.opened) {
            return;
        }
        let known = self.doctor.found().len();
        let snapshot = self.ask_peer();
        self.examine(snapshot.as_ref(), true);
        if known == 0 && self.doctor.found().is_empty() {
            self.progress
                .message("warning: no new connection for a while, and no counter says why");
        }
    }

    /// Compares both ends with how they were at the start, and says what is new.
    fn examine(&mut self, snapshot: Option<&serde_json::Value>, stalled: bool) {
        let totals = self.timeline.total();
        for Wall { text, remedy, .. } in self.doctor.examine(Look::now(snapshot), &totals, stalled)
        {
            self.progress.message(&format!("warning: {text}\n         do: {remedy}"));
        }
    }

    // ---- Waiting ------------------------------------------------------------------------------

    fn all_done(&self, step: Step) -> bool {
        self.done.iter().all(|done| *done >= step)
    }

    fn wait_until_done(&mut self, step: Step) {
        while self.halt == Halt::None && !self.all_done(step) {
            self.take(Nanos::from_millis(100));
            let totals = self.timeline.total();
            // A server that let the first connections wait in vain does so with all: a million of
            // them, some at a time, would take an hour.
            let silent = step == Step::FirstEcho
                && totals.first_received == 0
                && totals.first_unanswered >= SILENT_ATTEMPTS;
            if self.nothing_is_left(&totals) || silent {
                self.halt(Halt::Hopeless);
            }
        }
    }

    fn wait(&mut self, span: Nanos) {
        let until = self.crew.now() + span;
        while self.halt == Halt::None && self.crew.now() < until {
            self.take((until - self.crew.now()).min(Nanos::from_millis(100)));
            if self.nothing_is_left(&self.timeline.total()) {
                self.halt(Halt::Hopeless);
            }
        }
    }

    /// Whether no connection is open, and none will be. Those that came to an agreed end are replaced.
    fn nothing_is_left(&self, totals: &Totals) -> bool {
        let gone = totals.failed + totals.lost;
        if self.plan.load.churn {
            return totals.opened == totals.lost && gone >= HOPELESS_ATTEMPTS;
        }
        gone >= self.plan.load.connections
    }

    fn halt(&mut self, halt: Halt) {
        self.halt = self.halt.max(halt);
    }

    /// Hands over what there is, if the time has come for it and the last one is written.
    fn checkpoint(&mut self) {
        let now = self.crew.now();
        if now < self.checkpoint_due {
            return;
        }
        let Some(checkpoints) = self.checkpoints.take() else { return };
        if !checkpoints.is_busy() {
            self.checkpoint_due = now + checkpoint::EVERY;
            let (began, ended) = self.opening;
            let traffic =
                self.traffic.map_or(Nanos::ZERO, |(from, to)| now.min(to) - from.min(now));
            checkpoints.hand_over(Snapshot {
                elapsed: now,
                opening: ended.unwrap_or(now) - began,
                traffic,
                ..self.timeline.snapshot()
            });
        }
        self.look_for_trouble(&checkpoints);
        self.checkpoints = Some(checkpoints);
    }

    /// Says once that a checkpoint could not be written.
    fn look_for_trouble(&mut self, checkpoints: &Checkpoints) {
        if let Some(error) = checkpoints.trouble()
            && self.checkpoint_trouble.is_none()
        {
            let text = checkpoint::warning(&error).text;
            self.progress.message(&format!("warning: {text}; the run goes on without"));
            self.checkpoint_trouble = Some(error);
        }
    }

    /// Takes what arrives within `patience`, and shows it.
    fn take(&mut self, patience: Nanos) {
        self.checkpoint();
        let give_up = self.crew.now() + patience;
        loop {
            match self.crew.next(give_up - self.crew.now()) {
                Event::Signal(signal) => {
                    self.halt(match signal {
                        Signal::Abort => Halt::Abort,
                        Signal::Drain => Halt::Drain,
                    });
                    return;
                }
                Event::Report(Report::Second(second)) => {
                    self.timeline.add(&second);
                    self.show();
                }
                Event::Report(Report::Done { reactor, step, at }) => {
                    self.done[reactor] = step;
                    self.done_at = self.done_at.max(at);
                    return;
                }
                Event::Report(Report::Final { reactor, last }) => {
                    self.timeline.settle(reactor, last.totals);
                    self.finals.insert(reactor, last);
                }
                Event::Nothing => {
                    self.show();
                    return;
                }
            }
        }
    }

    fn tell_all(&self, command: Command) {
        for reactor in 0..self.crew.size() {
            self.crew.tell(reactor, command);
        }
    }

    fn read(&mut self) -> Reading {
        let peer = self.ask_peer();
        self.examine(peer.as_ref(), false);
        Reading { peer, ..self.crew.reading() }
    }

    fn ask_peer(&mut self) -> Option<serde_json::Value> {
        let peer = self.peer?;
        let snapshot = control::peer::fetch_snapshot(peer, PEER_PATIENCE);
        snapshot
            .map_err(|error| {
                let note = format!("--peer {peer}: {error}");
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            })
            .ok()
    }

    // ---- What is shown ------------------------------------------------------------------------

    fn enter(&mut self, phase: &'static str, length: Option<Nanos>) {
        self.phase = phase;
        self.phase_started = self.crew.now();
        self.phase_length = length;
        self.show();
    }

    /// How far the phase is, where that can be counted.
    fn phase_done(&self, totals: &Totals) -> Option<(u64, u64)> {
        match self.phase {
            "first echo" => {
                let first = totals.first_received + totals.first_unanswered;
                Some((first, totals.open().max(first)))
            }
            "close" => Some(self.closed),
            _ => None,
        }
    }

    fn show(&mut self) {
        let now = self.crew.now();
        let totals = self.timeline.total();
        let last = self.timeline.last_whole_second();
        let phase_elapsed = now - self.phase_started;
        let load = &self.plan.load;
        let failures = Failure::ALL.into_iter().map(Failure::name).zip(totals.failures);
        self.progress.update(&View {
            phase: self.phase,
            elapsed: now,
            phase_elapsed,
            phase_done: self.phase_done(&totals),
            phase_left: self.phase_length.map(|length| length - phase_elapsed),
            planned: load.connections,
            opened: totals.opened,
            open: totals.open(),
            failed: totals.failed,
            lost: totals.lost,
            opened_per_second: last.opened as f64,
            sent_per_second: last.sent as f64,
            received_per_second: last.received as f64,
            rate_asked: self.plan.record.rate_per_second,
            received: totals.received + totals.first_received,
            in_flight: totals.in_flight(),
            response_p50: last.response.quantile(0.5).map(Nanos),
            response_p99: last.response.quantile(0.99).map(Nanos),
            response_max: last.response.max().map(Nanos),
            send_lag: last.send_lag.quantile(0.99).map(Nanos),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            note: match self.halt {
                Halt::None | Halt::Hopeless => None,
                Halt::Drain => Some("stopping: once more to leave at once".to_owned()),
                Halt::Abort => Some("leaving".to_owned()),
            },
        });
    }
}

/// What happened in one second, over all reactors.
#[derive(Debug, Default)]
struct Slice {
    opened: u64,
    failed: u64,
    lost: u64,
    ended: u64,
    sent: u64,
    received: u64,
    response: IntervalHistogram,
    service: IntervalHistogram,
    send_lag: IntervalHistogram,
}

impl Slice {
    /// As it goes into the result, behind the second before it.
    fn second(&self, second: u64, before: Option<&schema::Second>) -> schema::Second {
        let open = before.map_or(0, |before| before.open);
        schema::Second {
            second,
            opened: self.opened,
            open: (open + self.opened).saturating_sub(self.lost + self.ended),
            failed: self.failed + self.lost,
            sent: self.sent,
            received: self.received,
            response_p50_ns: self.response.quantile(0.5),
            response_p99_ns: self.response.quantile(0.99),
            response_max_ns: self.response.max(),
            response_hdr: hist::interval(&self.response),
            service_p50_ns: self.service.quantile(0.5),
            service_p99_ns: self.service.quantile(0.99),
            service_max_ns: self.service.max(),
        }
    }
}

/// The run second by second. Reactors report running totals; what a second holds is the difference.
#[derive(Debug)]
struct Timeline {
    /// The last totals of each reactor.
    totals: Vec<Totals>,
    sum: Totals,
    /// One past the last second that each reactor has reported.
    reported: Vec<u64>,
    /// Seconds that may still change.
    slices: BTreeMap<u64, Slice>,
    /// Seconds that do not.
    closed: Vec<schema::Second>,
    /// How many of those were handed over for a checkpoint.
    handed_over: usize,
    /// All seconds together.
    whole: Slice,
    empty: Slice,
}

impl Timeline {
    fn new(reactors: usize) -> Self {
        Self {
            totals: vec![Totals::default(); reactors],
            sum: Totals::default(),
            reported: vec![0; reactors],
            slices: BTreeMap::new(),
            closed: Vec::new(),
            handed_over: 0,
            whole: Slice::default(),
            empty: Slice::default(),
        }
    }

    fn total(&self) -> Totals {
        self.sum
    }

    fn add(&mut self, report: &Second) {
        let before = self.totals[report.reactor];
        let now = report.totals;
        // A report for a second that is closed already goes to the first that is open.
        let second = report.second.max(self.closed.len() as u64);
        let slice = self.slices.entry(second).or_default();
        slice.opened += now.opened - before.opened;
        slice.failed += now.failed - before.failed;
        slice.lost += now.lost - before.lost;
        slice.ended += now.ended - before.ended;
        slice.sent += now.sent + now.first_sent - before.sent - before.first_sent;
        slice.received +=
            now.received + now.first_received - before.received - before.first_received;
        slice.response.merge(&report.response);
        slice.service.merge(&report.service);
        slice.send_lag.merge(&report.send_lag);
        self.whole.response.merge(&report.response);
        self.whole.service.merge(&report.service);
        self.whole.send_lag.merge(&report.send_lag);
        self.settle(report.reactor, now);
        self.reported[report.reactor] = report.second + u64::from(report.whole);
        while (self.closed.len() as u64) + LATE_SECONDS < second {
            self.close_next();
        }
    }

    /// The totals of a reactor, as it reported them last.
    fn settle(&mut self, reactor: usize, totals: Totals) {
        self.totals[reactor] = totals;
        self.sum = Totals::default();
        for totals in &self.totals {
            self.sum.merge(totals);
        }
    }

    /// The latest second that every reactor has reported.
    fn last_whole_second(&self) -> &Slice {
        let whole = self.reported.iter().copied().min().unwrap_or(0);
        self.slices.range(..whole).next_back().map_or(&self.empty, |(_, slice)| slice)
    }

    fn close_next(&mut self) {
        let second = self.closed.len() as u64;
        let slice = self.slices.remove(&second).unwrap_or_default();
        self.closed.push(slice.second(second, self.closed.last()));
    }

    /// What is new since the last one, and what stands now.
    fn snapshot(&mut self) -> Snapshot {
        let closed = self.closed[self.handed_over..].to_vec();
        self.handed_over = self.closed.len();
        let mut open: Vec<schema::Second> = Vec::new();
        let last = self.slices.keys().next_back().map_or(0, |last| last + 1);
        for second in self.closed.len() as u64..last {
            let slice = self.slices.get(&second).unwrap_or(&self.empty);
            open.push(slice.second(second, open.last().or_else(|| self.closed.last())));
        }
        let Slice { response, service, send_lag, .. } = &self.whole;
        Snapshot {
            closed,
            open,
            totals: self.sum,
            response: response.clone(),
            service: service.clone(),
            send_lag: send_lag.clone(),
            ..Snapshot::default()
        }
    }

    fn finish(&mut self) -> Vec<schema::Second> {
        while !self.slices.is_empty() {
            self.close_next();
        }
        std::mem::take(&mut self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(reactor: usize, second: u64, opened: u64, received: u64, latency: u64) -> Second {
        let mut response = IntervalHistogram::new();
        response.record(latency);
        let totals = Totals { opened, received, sent: received, ..Totals::default() };
        let (service, send_lag) = (response.clone(), IntervalHistogram::new());
        Second { reactor, second, whole: true, totals, response, service, send_lag }
    }

    #[test]
    fn seconds_are_the_differences_of_totals_over_all_reactors() {
        let mut timeline = Timeline::new(2);
        timeline.add(&report(0, 0, 5, 0, 100));
        timeline.add(&report(1, 0, 6, 0, 200));
        timeline.add(&report(0, 1, 5, 10, 300));
        timeline.add(&report(1, 3, 6, 20, 400));
        let total = timeline.total();
        assert_eq!((total.opened, total.received), (11, 30));
        let seconds = timeline.finish();
        let column =
            |field: fn(&schema::Second) -> u64| seconds.iter().map(field).collect::<Vec<_>>();
        assert_eq!(column(|s| s.second), [0, 1, 2, 3]);
        assert_eq!(column(|s| s.opened), [11, 0, 0, 0]);
        assert_eq!(column(|s| s.open), [11, 11, 11, 11]);
        assert_eq!(column(|s| s.received), [0, 10, 0, 20]);
        assert_eq!(seconds[0].response_max_ns, Some(200));
        assert_eq!(seconds[0].service_max_ns, Some(200));
        assert_eq!(seconds[2].response_max_ns, None);
        let all = |second: usize| {
            seconds[second].response_hdr.as_ref().map(|hdr| hist::decode(hdr).map(|all| all.len()))
        };
        assert_eq!((all(0), all(2)), (Some(Ok(2)), None));
    }

    #[test]
    fn each_second_is_handed_over_once_when_it_is_closed_and_whatever_is_open_each_time() {
        let mut timeline = Timeline::new(1);
        let numbers = |seconds: &[schema::Second]| -> Vec<u64> {
            seconds.iter().map(|second| second.second).collect()
        };
        timeline.add(&report(0, 0, 5, 1, 100));
        timeline.add(&report(0, 1, 6, 2, 200));
        let first = timeline.snapshot();
        assert_eq!((numbers(&first.closed), numbers(&first.open)), (vec![], vec![0, 1]));
        assert_eq!((first.open[1].open, first.totals.opened, first.response.count()), (6, 6, 2));
        timeline.add(&report(0, 4, 6, 3, 300));
        let second = timeline.snapshot();
        assert_eq!((numbers(&second.closed), numbers(&second.open)), (vec![0, 1], vec![2, 3, 4]));
        assert_eq!((second.open[2].received, second.response.count()), (1, 3));
        timeline.add(&report(0, 5, 6, 4, 300));
        assert_eq!(numbers(&timeline.snapshot().closed), [2]);
        assert_eq!(numbers(&timeline.finish()), [0, 1, 2, 3, 4, 5], "the result lacks none");
    }

    #[test]
    fn a_late_report_loses_nothing() {
        let mut timeline = Timeline::new(2);
        timeline.add(&report(0, 9, 1, 1, 100));
        timeline.add(&report(1, 2, 1, 7, 200));
        let seconds = timeline.finish();
        assert_eq!(seconds.iter().map(|s| s.received).sum::<u64>(), 8);
        assert_eq!(seconds.len(), 10);
    }
}
