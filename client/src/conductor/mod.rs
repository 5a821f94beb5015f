//! The coordinator: moves all reactors from phase to phase, merges what they report into a timeline
//! and a live view, and takes the readings of memory and CPU time that belong between the phases.

pub(crate) mod checkpoint;
pub(crate) mod crew;
#[cfg(test)]
pub(crate) mod crew_tests;
pub(crate) mod doctor;
pub(crate) mod probe;
mod timeline;

use crate::books::causes::Causes;
use crate::books::recorder::Recorder;
use crate::books::totals::Totals;
use crate::orders::{Command, Final, Report, Step};
use crate::plan::Plan;
use checkpoint::{Checkpoints, Snapshot};
use control::live::{Progress, View};
use control::signals::Signal;
use crew::{Crew, Event, Reading};
use doctor::{Doctor, Look};
use host::doctor::Wall;
use measure::{Failure, Nanos};
use probe::{Probe, Probed};
use report::schema;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use timeline::Timeline;

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
    pub(crate) fn new(plan: &'a Plan, crew: C, progress: Progress) -> Self {
        let reactors = crew.size();
        Self {
            plan,
            crew,
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
        let peer = self.plan.peer?;
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
