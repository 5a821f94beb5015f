//! The conductor: moves all reactors from phase to phase, merges what they report into a timeline
//! and a live view, and takes the readings of memory and CPU time that belong between the phases.

pub(crate) mod checkpoint;
pub(crate) mod crew;
#[cfg(test)]
pub(crate) mod crew_tests;
pub(crate) mod doctor;
pub(crate) mod probe;
#[cfg(test)]
mod storm_tests;
mod timeline;

use crate::books::causes::Causes;
use crate::books::recorder::Recorder;
use crate::books::totals::Totals;
use crate::load::phases::{Act, Edge, Landmark, Phase, Until};
use crate::orders::{Command, Final, Report};
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
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use timeline::Timeline;

/// Attempts without a single success after which a ramp is given up: nobody is there.
const HOPELESS_ATTEMPTS: u64 = 1_000;
/// First messages that go unanswered without a single reply, after which no more are sent.
const SILENT_ATTEMPTS: u64 = 64;
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

/// A phase that took place.
#[derive(Debug)]
pub(crate) struct PhaseRecord {
    pub(crate) number: u16,
    pub(crate) name: &'static str,
    pub(crate) act: Act,
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    /// What was counted in it. Reactors are not told of a rest: what they had not reported at its
    /// end counts to the phase behind it, and what they record in it to the one before.
    pub(crate) totals: Totals,
    /// The latencies that were recorded in it.
    pub(crate) recorder: Recorder,
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
    /// In their order.
    pub(crate) phases: Vec<PhaseRecord>,
    pub(crate) finals: BTreeMap<usize, Box<Final>>,
    pub(crate) timeline: Vec<schema::Second>,
    pub(crate) notes: Vec<String>,
    /// What stood in the way.
    pub(crate) walls: Vec<Wall>,
    /// How late the machine woke threads that did nothing, during the traffic.
    pub(crate) probed: Probed,
}

pub(crate) struct Conductor<'a, C> {
    plan: &'a Plan,
    crew: C,
    progress: Progress,
    /// Reactors that have closed their connections, and all of them.
    closed: (u64, u64),
    halt: Halt,
    /// The phase that each reactor has come to the end of, and when the last of them did.
    done: Vec<Option<u16>>,
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
    /// Keeps the kernel stamping receipts from the first survey to the last.
    stamping: Option<OwnedFd>,
    /// Descriptors kept free while connections take what there is, so that the readings after the
    /// ramp and the result can still open their files.
    spare: Vec<File>,
}

impl<'a, C: Crew> Conductor<'a, C> {
    pub(crate) fn new(plan: &'a Plan, crew: C, progress: Progress) -> Self {
        let reactors = crew.size();
        Self {
            plan,
            crew,
            progress,
            closed: (0, 0),
            halt: Halt::None,
            done: vec![None; reactors],
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
            stamping: None,
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
    /// open then, see [`Conductor::close`].
    pub(crate) fn measure(&mut self) -> Measured {
        // The first one says what was planned, and whether the file can be written.
        self.checkpoint();
        let mut measured = Measured { before: self.read(), ..Measured::default() };
        let plan = self.plan;
        let mut counted = Totals::default();
        for (number, phase) in (0..).zip(&plan.load.phases) {
            self.look_at(&phase.before, &mut measured);
            // A run that is cut short only takes leave.
            if self.halt == Halt::None || phase.act == Act::Leave {
                let (from, to) = self.go_through(number, phase, &mut measured);
                let total = self.timeline.total();
                measured.phases.push(PhaseRecord {
                    number,
                    name: phase.name,
                    act: phase.act,
                    from,
                    to,
                    totals: total.since(&counted),
                    recorder: Recorder::default(),
                });
                counted = total;
            }
            self.look_at(&phase.behind, &mut measured);
        }
        self.stamping = None;
        measured.end = self.read();
        measured.halt_interrupted = self.halt >= Halt::Drain;
        measured.totals = self.timeline.total();
        measured.open_at_end = measured.totals.open();
        measured.notes = std::mem::take(&mut self.notes);
        measured.walls = self.doctor.found().to_vec();
        for last in self.finals.values() {
            measured.recorder.merge(&last.recorder);
            measured.causes.merge(&last.causes);
            for (number, recorder) in &last.by_phase {
                let of = measured.phases.iter_mut().find(|phase| phase.number == *number);
                if let Some(phase) = of {
                    phase.recorder.merge(recorder);
                }
            }
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

    /// Goes through one phase, from entering it until it is over. When that was.
    fn go_through(
        &mut self,
        number: u16,
        phase: &'a Phase,
        measured: &mut Measured,
    ) -> (Nanos, Nanos) {
        let length = match (phase.act, phase.until) {
            (_, Until::For(span)) => Some(span),
            (Act::Traffic, Until::Done) => Some(self.plan.load.duration),
            (_, Until::Done) => None,
        };
        self.enter(phase.shown(), length);
        let mut from = self.crew.now();
        match phase.act {
            Act::Open => self.open(number, from),
            Act::FirstEcho => measured.first_echo_planned = self.timeline.total().open(),
            Act::Survey(Edge::Before) => {
                // Where that fails, the stamps that are missing are counted.
                self.stamping = host::receipt::keep_stamping().ok();
            }
            Act::Traffic => {
                // Far enough ahead that every reactor has read it when the time comes.
                from += Nanos::from_millis(20);
                self.phase_started = from;
            }
            _ => {}
        }
        match (phase.act, phase.until) {
            (_, Until::For(span)) => self.wait(span),
            (Act::Open, Until::Done) => {}
            (Act::Leave, Until::Done) => self.leave(number, from),
            (act, Until::Done) => {
                // All at once, unlike opening: in turns the round of first echoes takes half as
                // long again, since the reactors of the server wake for a few messages each. The
                // times of this stage are hence those of a closed loop at full load, and
                // METHODOLOGY.md says so.
                self.tell_all(Command::Begin { phase: number, at: from });
                let probe = (act == Act::Traffic).then(|| self.probe(from)).flatten();
                self.wait_until_done(number, act);
                if let Some(probe) = probe {
                    measured.probed = probe.end();
                }
            }
        }
        let by_reactors = phase.until == Until::Done && self.all_done(number);
        let to = if by_reactors { self.done_at } else { self.crew.now() };
        match phase.act {
            Act::Open => self.note_opened(from, to, number, measured),
            Act::FirstEcho => measured.first_echo = Some(to - from),
            Act::Survey(Edge::Behind) => self.stamping = None,
            _ => {}
        }
        (from, to)
    }

    /// Takes a reading, if it stands for anything.
    fn look_at(&mut self, landmarks: &[Landmark], measured: &mut Measured) {
        if landmarks.is_empty() {
            return;
        }
        let reading = self.read();
        for landmark in landmarks {
            let place = match landmark {
                Landmark::Opened => &mut measured.ramped,
                Landmark::TrafficFrom => &mut measured.drive_from,
                Landmark::TrafficTo => &mut measured.drive_to,
            };
            place.clone_from(&reading);
        }
    }

    /// Has the reactors open in turns: in each lane one after the other.
    fn open(&mut self, number: u16, started: Nanos) {
        self.opening = (started, None);
        let begin = Command::Begin { phase: number, at: started };
        let lanes = &self.plan.load.lanes;
        let mut turns: Vec<usize> = lanes.first().collect();
        for reactor in &turns {
            self.crew.tell(*reactor, begin);
        }
        while self.halt == Halt::None && !self.all_done(number) {
            self.take(Nanos::from_millis(100));
            for turn in &mut turns {
                if self.is_done(*turn, number)
                    && let Some(next) = lanes.after(*turn)
                {
                    *turn = next;
                    self.crew.tell(next, begin);
                }
            }
            let totals = self.timeline.total();
            self.look_into_stall(&totals);
            if totals.opened == totals.lost && totals.failed + totals.lost >= HOPELESS_ATTEMPTS {
                self.halt(Halt::Hopeless);
            }
        }
        self.spare.clear();
    }

    /// Connections were opened between these times.
    fn note_opened(&mut self, from: Nanos, to: Nanos, number: u16, measured: &mut Measured) {
        measured.ramp += to - from;
        self.opening.1 = Some(to);
        let nobody = self.timeline.total().opened == 0 && !self.plan.load.churn;
        if nobody && self.all_done(number) {
            self.halt(Halt::Hopeless);
        }
    }

    /// Begins to probe the machine, for as long as messages are to be sent.
    fn probe(&mut self, start: Nanos) -> Option<Probe> {
        let until = start + self.plan.load.duration;
        self.traffic = Some((start, until));
        self.crew.probe(&self.plan.seats, start, until)
    }

    /// Has all reactors take leave, and waits for their last word.
    fn leave(&mut self, number: u16, at: Nanos) {
        self.tell_all(Command::Begin { phase: number, at });
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

    /// Shows how closing goes on, of which `finished` says how many reactors are at its end, until
    /// all are or somebody asks for the end.
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

    /// Whether a reactor has come to the end of a phase.
    fn is_done(&self, reactor: usize, number: u16) -> bool {
        self.done[reactor].is_some_and(|done| done >= number)
    }

    fn all_done(&self, number: u16) -> bool {
        (0..self.done.len()).all(|reactor| self.is_done(reactor, number))
    }

    fn wait_until_done(&mut self, number: u16, act: Act) {
        while self.halt == Halt::None && !self.all_done(number) {
            self.take(Nanos::from_millis(100));
            let totals = self.timeline.total();
            // A server that let the first connections wait in vain does so with all: a million of
            // them, some at a time, would take an hour.
            let silent = act == Act::FirstEcho
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

    /// Whether no connection is open, and none will be. Those that came to an agreed end are
    /// replaced.
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
                Event::Report(Report::Done { reactor, phase, at }) => {
                    self.done[reactor] = Some(phase);
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
