//! The client's side of the loop: opens its share of the connections, sends what is due, verifies
//! and times what comes back.
//!
//! The steps of a reactor are `Waiting → Ramp → FirstEcho → Drive → Drain → Close`; the coordinator
//! starts each, the driver says when it is done. A connection is `connecting → open`, and while it is
//! open its echo state counts what is on its way; see `docs/LIFECYCLE.md`.

use crate::load::addresses::{HandOut, Tuples};
use crate::load::lanes::{Lanes, Places};
use crate::load::pace::Pace;
use crate::tally::{Final, Recorder, Report, Second, Step, Totals};
use crossbeam_channel::{Sender, TrySendError};
use host::socket::ConnectStep;
use measure::{Failure, IntervalHistogram, Nanos, Stage, share};
use reactor::{Core, Driver, Ending, Key, Network, Opened, Sweep};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use wire::{Echo, Mismatch, PartialPool, Template};

/// Connects started before other work gets its turn.
const OPEN_BATCH: u64 = 16;
/// Connections in the making at the same time, per reactor. On loopback none waits; towards a far
/// target it is what is on the way, and the accept queue there has to take it.
pub(crate) const CONNECTING_MAX: usize = 256;
/// Connections of one reactor that await their first echo at the same time.
const FIRST_ECHO_WINDOW: u64 = 64;
/// Bytes of one reactor that may wait for their peers, unless the closed model plans for more.
pub(crate) const UNSENT_BYTES: usize = 64 * 1024 * 1024;
/// How long sending rests when every peer is slow; a peer that has made room makes an event anyway.
const BLOCKED_REST: Nanos = Nanos::from_millis(1);
/// Messages sent before other work gets its turn.
const SEND_BATCH: u64 = 256;
/// The least time between two wake-ups for messages that are due. A wake-up costs about as much as a
/// message; above 20,000 messages per second and reactor, several leave with one, at most this late.
const PACE_REST: Nanos = Nanos::from_micros(50);
/// Slots looked at to find a connection that can take a message that is due.
const SEND_SEARCH: usize = 256;
/// Connections closed before other work gets its turn.
const CLOSE_BATCH: usize = 1024;
/// Bytes of messages laid out at once.
const COMPOSE_BYTES: usize = 64 * 1024;
const SECOND: u64 = 1_000_000_000;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// Not at all.
    Idle,
    /// At planned times: so many per second, all reactors together.
    Open(f64),
    /// So many on their way on each connection, always.
    Closed(u32),
}

/// What all reactors of a run have in common.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections in all.
    pub connections: u64,
    /// Reactors.
    pub reactors: u64,
    /// The four-tuples.
    pub tuples: Tuples,
    /// Who opens when.
    pub lanes: Lanes,
    /// Connections opened per second, all together; `None`: as fast as they open.
    pub connect_rate: Option<f64>,
    /// How long one connection may take to open.
    pub connect_timeout: Nanos,
    /// Whether every connection echoes once before the traffic.
    pub first_echo: bool,
    /// The traffic.
    pub model: Model,
    /// How long it lasts.
    pub duration: Nanos,
    /// Size of a message, in bytes.
    pub size: usize,
    /// How long a connection may wait for its next reply before it is given up.
    pub reply_timeout: Nanos,
    /// How long is waited for replies at the end.
    pub drain_timeout: Nanos,
    /// The seed of the run.
    pub seed: u64,
}

impl Load {
    /// Reactors that have connections. The messages are shared out over these alone: where there are
    /// fewer connections than reactors, the others could not send theirs.
    fn senders(&self) -> u64 {
        self.reactors.min(self.connections)
    }
}

/// Where the next message can go.
enum Sendable {
    /// Here.
    Now(Key),
    /// Only gaps were found so far.
    LookOn,
    /// Nowhere, until a peer takes what waits for it.
    Blocked,
}

/// How many connections of one reactor await their first echo at the same time: as many as their
/// messages have room if no peer takes any.
pub(crate) fn first_echo_window(size: usize) -> u64 {
    (UNSENT_BYTES / size).clamp(1, FIRST_ECHO_WINDOW as usize) as u64
}

/// What the coordinator tells a reactor.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// Open your connections; the run's ramp started at this time.
    Ramp(Nanos),
    /// Send one message over every connection.
    FirstEcho,
    /// Send traffic from this time on.
    Drive(Nanos),
    /// Start nothing new, wait for what is on its way, report.
    Drain,
    /// Close all connections and end.
    Close,
    /// End at once.
    Abort,
}

/// What is kept for each connection.
#[derive(Debug)]
pub struct Session {
    echo: Echo,
    /// When what it waits for began: connecting, or the wait for the next reply (since it was sent, or
    /// since the reply before it).
    since: Nanos,
}

// The slot is this and 16 bytes: 40 MB for a million connections.
const _: () = assert!(size_of::<Session>() == 24);

/// The client's driver. It lives on one reactor.
#[derive(Debug)]
pub struct LoadDriver {
    index: usize,
    load: Arc<Load>,
    reports: Sender<Report>,
    /// Reports that found the channel full; never many, see `flush_reports`.
    unsent_reports: VecDeque<Report>,

    step: Step,
    /// The last step that was reported as done.
    done: Step,
    finished: bool,

    // The ramp.
    ramp_started: Nanos,
    hand_out: HandOut,
    /// Connections of this reactor's share that have been tried, and that there are.
    tried: u64,
    share: u64,
    /// Their places in the order of all.
    places: Places,
    /// Those that are connecting, oldest first, and when they are given up. Some may have ended.
    connecting: VecDeque<(Key, Nanos)>,
    /// How many of them have not.
    connecting_count: usize,

    // Traffic.
    template: Template,
    pool: PartialPool,
    sweep: Sweep,
    /// Where the round over the slots goes on.
    cursor: usize,
    drive_started: Nanos,
    /// Messages of this reactor's part of the plan that were sent, and that there are.
    paced: u64,
    planned: u64,
    drain_until: Nanos,

    // What was counted and recorded.
    totals: Totals,
    recorder: Recorder,
    response: IntervalHistogram,
    send_lag: IntervalHistogram,
    open_peak: u64,
    next_second: u64,
    drive_cpu_started: Nanos,
    drive_cpu: Nanos,
    drive_time: Nanos,
    last_sent_at: Nanos,
    last_reply_at: Nanos,
    started: Nanos,
    final_reported: bool,
}

impl LoadDriver {
    /// The driver of reactor `index`, which reports into `reports`.
    #[must_use]
    pub(crate) fn new(
        index: usize,
        load: Arc<Load>,
        reports: Sender<Report>,
        started: Nanos,
    ) -> Self {
        let share = share(load.connections, load.reactors, index as u64);
        let batch = match load.model {
            Model::Closed(in_flight) => (COMPOSE_BYTES / load.size).clamp(1, in_flight as usize),
            Model::Idle | Model::Open(_) => 1,
        };
        let mut stages = vec![Stage::Connect, Stage::Service];
        if load.first_echo {
            stages.push(Stage::FirstEcho);
        }
        if matches!(load.model, Model::Open(_)) {
            stages.extend([Stage::Response, Stage::SendLag]);
        }
        let planned = match load.model {
            Model::Open(rate) => {
                let all = Pace::new(rate).count_before(load.duration);
                // Message n belongs to reactor n mod k.
                let senders = load.senders();
                if (index as u64) < senders {
                    measure::share(all, senders, index as u64)
                } else {
                    0
                }
            }
            Model::Idle | Model::Closed(_) => 0,
        };
        Self {
            index,
            reports,
            unsent_reports: VecDeque::new(),
            step: Step::Waiting,
            done: Step::Waiting,
            finished: false,
            ramp_started: Nanos::ZERO,
            hand_out: HandOut::new(index as u64, load.reactors),
            tried: 0,
            share,
            places: load.lanes.places(index, load.connections),
            connecting: VecDeque::new(),
            connecting_count: 0,
            template: Template::new(load.size, batch, load.seed),
            pool: PartialPool::new(),
            sweep: Sweep::for_limit(load.reply_timeout),
            cursor: 0,
            drive_started: Nanos::ZERO,
            paced: 0,
            planned,
            drain_until: Nanos::MAX,
            totals: Totals::default(),
            recorder: Recorder::for_stages(&stages),
            response: IntervalHistogram::new(),
            send_lag: IntervalHistogram::new(),
            open_peak: 0,
            next_second: 1,
            drive_cpu_started: Nanos::ZERO,
            drive_cpu: Nanos::ZERO,
            drive_time: Nanos::ZERO,
            last_sent_at: Nanos::ZERO,
            last_reply_at: Nanos::ZERO,
            started,
            final_reported: false,
            load,
        }
    }

    fn begin<N: Network>(&mut self, core: &mut Core<N, Session>, step: Step) {
        // The run may be cut short in the middle of a step.
        if self.step == Step::Drive && self.done < Step::Drive {
            self.note_drive_ended(core.now());
        }
        if step >= Step::Drain {
            self.abandon_connecting(core);
        }
        self.step = step;
        self.cursor = 0;
        if step == Step::Drive {
            self.drive_cpu_started = host::usage::thread_cpu_time();
        }
        if step == Step::Drain {
            self.drain_until = core.now() + self.load.drain_timeout;
        }
    }

    /// The step has come to its end: say so, once, behind the counts.
    fn finish_step<N: Network>(&mut self, core: &Core<N, Session>) {
        if self.done >= self.step {
            return;
        }
        self.done = self.step;
        let at = core.now();
        if self.step == Step::Drive {
            self.note_drive_ended(at);
        }
        self.report_second(at.0 / SECOND, false);
        if self.step == Step::Drain {
            self.report_final(core);
        }
        self.report(Report::Done { reactor: self.index, step: self.step, at });
    }

    fn note_drive_ended(&mut self, at: Nanos) {
        self.drive_cpu = host::usage::thread_cpu_time() - self.drive_cpu_started;
        self.drive_time = at - self.drive_started;
    }

    /// Hands over all that was counted and recorded, once.
    fn report_final<N: Network>(&mut self, core: &Core<N, Session>) {
        if std::mem::replace(&mut self.final_reported, true) {
            return;
        }
        // What is still on its way will not be waited for.
        self.totals.unanswered += self.totals.in_flight();
        let last = Final {
            totals: self.totals,
            recorder: std::mem::take(&mut self.recorder),
            counters: core.counters,
            open_peak: self.open_peak,
            cpu: host::usage::thread_cpu_time(),
            drive_cpu: self.drive_cpu,
            drive_time: self.drive_time,
            last_sent: self.last_sent_at - self.drive_started,
            last_reply: self.last_reply_at - self.drive_started,
            uptime: core.now() - self.started,
        };
        self.report(Report::Final { reactor: self.index, last: Box::new(last) });
    }

    // ---- Reports ------------------------------------------------------------------------------

    /// Never waits: what does not fit into the channel goes with the next turn.
    fn report(&mut self, report: Report) {
        self.unsent_reports.push_back(report);
        self.flush_reports();
    }

    fn flush_reports(&mut self) {
        while let Some(report) = self.unsent_reports.pop_front() {
            match self.reports.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => return self.unsent_reports.push_front(report),
                // Nobody listens any more: the run is being abandoned.
                Err(TrySendError::Disconnected(_)) => self.unsent_reports.clear(),
            }
        }
    }

    fn report_second(&mut self, second: u64, whole: bool) {
        if self.final_reported {
            // The last word is spoken: what comes now is no part of the result.
            return;
        }
        if self.unsent_reports.iter().any(|report| matches!(report, Report::Second(_))) {
            // One waits already. The counts are running totals and the histogram goes on filling,
            // so the next report covers this second too.
            return;
        }
        let second = Second {
            reactor: self.index,
            second,
            whole,
            totals: self.totals,
            response: self.response.clone(),
            send_lag: self.send_lag.clone(),
        };
        self.response.clear();
        self.send_lag.clear();
        self.report(Report::Second(Box::new(second)));
    }

    // ---- Ramp ---------------------------------------------------------------------------------

    /// Opens what is due. Returns when to go on.
    fn ramp<N: Network>(&mut self, core: &mut Core<N, Session>) -> Nanos {
        self.give_up_connecting(core);
        for _ in 0..OPEN_BATCH {
            if self.tried == self.share {
                break;
            }
            if self.connecting_count >= CONNECTING_MAX {
                break;
            }
            if let Some(rate) = self.load.connect_rate {
                let due = self.ramp_started + Pace::new(rate).due_at(self.places.of(self.tried));
                if due > core.now() {
                    return due.min(self.connecting_deadline());
                }
            }
            self.open_next(core);
        }
        if self.tried == self.share && self.connecting_count == 0 {
            self.finish_step(core);
        }
        let more = self.tried < self.share && self.connecting_count < CONNECTING_MAX;
        if more { Nanos::ZERO } else { self.connecting_deadline() }
    }

    /// Opens one connection, by the first four-tuple that nobody else has.
    fn open_next<N: Network>(&mut self, core: &mut Core<N, Session>) {
        // Connection numbers interleave like four-tuples: reactor r has r, r + k, r + 2k …
        let number = self.index as u64 + self.tried * self.load.reactors;
        self.tried += 1;
        loop {
            let Some(route) = self.hand_out.next(&self.load.tuples) else {
                self.totals.failed += 1;
                return self.totals.fail(Failure::NoPorts);
            };
            let since = core.now();
            let session = Session { echo: Echo::new(number as u32), since };
            match core.open(&route, session) {
                Ok(Opened::AtOnce(_)) => return self.opened(core, core.now() - since),
                Ok(Opened::Waiting(key)) => {
                    self.connecting_count += 1;
                    if self.connecting.len() >= 4 * CONNECTING_MAX {
                        // One that is slow must not keep those behind it that have ended.
                        self.connecting.retain(|(key, _)| core.is_connecting(*key));
                    }
                    return self.connecting.push_back((key, since + self.load.connect_timeout));
                }
                Err(error) => {
                    let kind = error.error.kind();
                    let taken = matches!(kind, ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
                        && error.step != ConnectStep::Socket;
                    if !taken {
                        self.totals.failed += 1;
                        return self.totals.fail(Failure::from_io(&error.error));
                    }
                    self.totals.tuples_skipped += 1;
                }
            }
        }
    }

    fn opened<N: Network>(&mut self, core: &Core<N, Session>, took: Nanos) {
        self.totals.opened += 1;
        self.recorder.record(Stage::Connect, took);
        self.open_peak = self.open_peak.max((core.connections() - self.connecting_count) as u64);
    }

    /// When the oldest of those that are connecting is given up.
    fn connecting_deadline(&self) -> Nanos {
        self.connecting.front().map_or(Nanos::MAX, |(_, deadline)| *deadline)
    }

    /// Drops what is still connecting, since the run is cut short: neither opened nor failed.
    fn abandon_connecting<N: Network>(&mut self, core: &mut Core<N, Session>) {
        for (key, _) in std::mem::take(&mut self.connecting) {
            if core.is_connecting(key) {
                core.reset(key);
                self.connecting_count -= 1;
            }
        }
    }

    fn give_up_connecting<N: Network>(&mut self, core: &mut Core<N, Session>) {
        while let Some(&(key, deadline)) = self.connecting.front() {
            if core.is_connecting(key) {
                if deadline > core.turn_started() {
                    return;
                }
                core.reset(key);
                self.connecting_count -= 1;
                self.totals.failed += 1;
                self.totals.fail(Failure::TimedOut);
            }
            self.connecting.pop_front();
        }
    }

    // ---- First echo ---------------------------------------------------------------------------

    /// Sends the first message over the next connections, some at a time.
    fn first_echo<N: Network>(&mut self, core: &mut Core<N, Session>) {
        let window = first_echo_window(self.load.size);
        while self.totals.in_flight() < window && self.cursor < core.high_water() {
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key {
                self.send(core, key, 1, None);
            }
        }
        if self.cursor >= core.high_water() && self.totals.in_flight() == 0 {
            self.finish_step(core);
        }
    }

    // ---- Drive --------------------------------------------------------------------------------

    /// Sends messages on one connection, and counts them. They were due at `due`, or are when they
    /// are sent. If the connection breaks, they count as sent all the same: its end finds them
    /// unanswered.
    fn send<N: Network>(
        &mut self,
        core: &mut Core<N, Session>,
        key: Key,
        count: u32,
        due: Option<Nanos>,
    ) {
        let mut left = count;
        while left > 0 {
            let now = core.now();
            let intended = due.unwrap_or(now);
            let Some(session) = core.session(key) else { return };
            if session.echo.in_flight() == 0 {
                session.since = now;
            }
            let part = left.min(self.template.batch_max() as u32);
            left -= part;
            match self.step {
                Step::FirstEcho => self.totals.first_sent += u64::from(part),
                _ => {
                    self.totals.sent += u64::from(part);
                    self.last_sent_at = now;
                    if due.is_some() {
                        self.recorder.record(Stage::SendLag, now - intended);
                        self.send_lag.record((now - intended).0);
                    }
                }
            }
            let bytes = self.template.compose(&mut session.echo, part as usize, intended.0, now.0);
            if let Err(failure) = core.send(key, bytes) {
                return self.lose(core, key, failure);
            }
        }
    }

    /// The closed model's start: fills every connection.
    fn fill<N: Network>(&mut self, core: &mut Core<N, Session>, in_flight: u32) -> Nanos {
        for _ in 0..SEND_BATCH {
            if self.cursor >= core.high_water() {
                return self.drive_started + self.load.duration;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key {
                self.send(core, key, in_flight, None);
            }
        }
        Nanos::ZERO
    }

    /// The open model: sends all that is due. Returns when the next is.
    fn pace<N: Network>(&mut self, core: &mut Core<N, Session>, rate: f64) -> Nanos {
        let pace = Pace::new(rate);
        for _ in 0..SEND_BATCH {
            if self.paced == self.planned {
                return Nanos::MAX;
            }
            let n = self.index as u64 + self.paced * self.load.senders();
            let due = self.drive_started + pace.due(n);
            let now = core.now();
            if due > now {
                return due.max(now + PACE_REST);
            }
            if self.totals.open() == 0 {
                // There is nothing to send on, and never will be.
                self.paced = self.planned;
                return Nanos::MAX;
            }
            // What cannot be sent now stays due, and the time it waits shows as send lag.
            match self.next_sendable(core) {
                Sendable::Now(key) => {
                    self.paced += 1;
                    self.send(core, key, 1, Some(due));
                }
                Sendable::LookOn => return Nanos::ZERO,
                Sendable::Blocked => {
                    self.totals.pace_blocked += 1;
                    return now + BLOCKED_REST;
                }
            }
        }
        Nanos::ZERO
    }

    /// The next connection in the round that can take a message.
    fn next_sendable<N: Network>(&mut self, core: &mut Core<N, Session>) -> Sendable {
        if core.unsent_room() < self.load.size {
            return Sendable::Blocked;
        }
        let mut blocked = false;
        for _ in 0..SEND_SEARCH.min(core.high_water()) {
            if self.cursor >= core.high_water() {
                self.cursor = 0;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            let Some(key) = key else { continue };
            if !core.is_blocked(key) {
                return Sendable::Now(key);
            }
            blocked = true;
        }
        if blocked { Sendable::Blocked } else { Sendable::LookOn }
    }

    fn drive<N: Network>(&mut self, core: &mut Core<N, Session>) -> Nanos {
        if self.done >= Step::Drive {
            return Nanos::MAX;
        }
        if core.turn_started() < self.drive_started {
            return self.drive_started;
        }
        let end = self.drive_started + self.load.duration;
        let over = core.turn_started() >= end;
        let next = match self.load.model {
            Model::Open(rate) => self.pace(core, rate),
            Model::Closed(in_flight) if !over => self.fill(core, in_flight),
            Model::Idle | Model::Closed(_) => Nanos::MAX,
        };
        // A late generator may catch up for as long as replies are waited for anyway.
        let sent_all = self.paced == self.planned;
        let give_up = end + self.load.drain_timeout;
        let quiet = self.totals.in_flight() == 0 && sent_all;
        if over && (quiet || core.turn_started() >= give_up) {
            self.finish_step(core);
            return Nanos::MAX;
        }
        next.min(if over { give_up } else { end })
    }

    // ---- Replies and endings ------------------------------------------------------------------

    /// A reply was wrong: nothing that follows on this connection can be trusted.
    #[cold]
    fn mismatch<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, _: Mismatch) {
        self.totals.mismatched += 1;
        self.lose(core, key, Failure::Protocol);
    }

    /// Gives up a connection that was open.
    fn lose<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, kind: Failure) {
        if let Some(session) = core.reset(key) {
            self.lost(session, kind);
        }
    }

    fn lost(&mut self, mut session: Session, kind: Failure) {
        session.echo.forget(&mut self.pool);
        let unanswered = u64::from(session.echo.in_flight());
        self.totals.unanswered += unanswered;
        let first = self.load.first_echo && session.echo.received() == 0;
        self.totals.first_unanswered += u64::from(first).min(unanswered);
        // What happens while everything is being closed is no loss.
        if self.step < Step::Close {
            self.totals.lost += 1;
            self.totals.fail(kind);
        }
    }

    /// Gives up connections whose replies take too long. Returns when to look again.
    fn give_up_waiting<N: Network>(&mut self, core: &mut Core<N, Session>) -> Nanos {
        if self.totals.in_flight() == 0 {
            return Nanos::MAX;
        }
        let now = core.turn_started();
        for index in self.sweep.step(now, core.high_water()).into_iter().flatten() {
            let Some(key) = core.key_at(index) else { continue };
            let Some(session) = core.session(key) else { continue };
            if session.echo.in_flight() > 0 && now - session.since > self.load.reply_timeout {
                self.lose(core, key, Failure::TimedOut);
            }
        }
        self.sweep.deadline()
    }

    /// Closes the next connections; ends the reactor after the last.
    fn close<N: Network>(&mut self, core: &mut Core<N, Session>) -> Nanos {
        let to = (self.cursor + CLOSE_BATCH).min(core.high_water());
        for index in self.cursor..to {
            if let Some(key) = core.key_at(index) {
                core.reset(key);
            }
        }
        self.cursor = to;
        self.finished = to == core.high_water();
        Nanos::ZERO
    }
}

impl<N: Network> Driver<N> for LoadDriver {
    type Session = Session;
    type Command = Command;

    /// Two ends that wait for each other to read would stand still for ever.
    const PAUSE_READS_WHILE_BLOCKED: bool = false;

    fn admit(&mut self, _: &mut Core<N, Session>, _: usize) -> Option<Session> {
        None
    }

    fn on_open(&mut self, core: &mut Core<N, Session>, key: Key) {
        let now = core.now();
        self.connecting_count -= 1;
        if let Some(since) = core.session(key).map(|session| session.since) {
            self.opened(core, now - since);
        }
    }

    #[inline]
    fn on_bytes(&mut self, core: &mut Core<N, Session>, key: Key, bytes: &mut [u8]) {
        let now = core.now();
        let Some(session) = core.session(key) else { return };
        let Self { template, pool, recorder, response, totals, load, .. } = self;
        let read = session.echo.read(template, pool, bytes, |stamp| {
            let service = now - Nanos(stamp.sent);
            if stamp.sequence == 0 && load.first_echo {
                recorder.record(Stage::FirstEcho, service);
                totals.first_received += 1;
                return;
            }
            let span = now - Nanos(stamp.intended);
            recorder.record(Stage::Response, span);
            recorder.record(Stage::Service, service);
            response.record(span.0);
            totals.received += 1;
        });
        let count = match read {
            Ok(count) => count,
            Err(mismatch) => return self.mismatch(core, key, mismatch),
        };
        if count == 0 {
            return;
        }
        session.since = now;
        self.last_reply_at = now;
        match (self.step, self.load.model) {
            (Step::Drive, Model::Closed(_)) if now < self.drive_started + self.load.duration => {
                self.send(core, key, count, None);
            }
            (Step::FirstEcho, _) => self.first_echo(core),
            _ => {}
        }
    }

    fn on_end(&mut self, _: &mut Core<N, Session>, session: Session, ending: Ending) {
        match ending {
            Ending::NotOpened(kind) => {
                self.connecting_count -= 1;
                self.totals.failed += 1;
                self.totals.fail(kind);
            }
            Ending::Closed => self.lost(session, Failure::Closed),
            Ending::Broken(kind) => self.lost(session, kind),
        }
    }

    fn on_command(&mut self, core: &mut Core<N, Session>, command: Command) {
        match command {
            Command::Ramp(started) => {
                self.ramp_started = started;
                self.begin(core, Step::Ramp);
            }
            Command::FirstEcho => self.begin(core, Step::FirstEcho),
            Command::Drive(start) => {
                self.drive_started = start;
                self.begin(core, Step::Drive);
            }
            Command::Drain => self.begin(core, Step::Drain),
            Command::Close => self.begin(core, Step::Close),
            Command::Abort => {
                self.report_final(core);
                self.finished = true;
            }
        }
    }

    fn on_turn(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        self.flush_reports();
        let due = match self.step {
            Step::Waiting => Nanos::MAX,
            Step::Ramp => self.ramp(core),
            Step::FirstEcho => {
                self.first_echo(core);
                Nanos::MAX
            }
            Step::Drive => self.drive(core),
            Step::Drain => {
                let over = core.turn_started() >= self.drain_until;
                if over || self.totals.in_flight() == 0 {
                    self.finish_step(core);
                }
                self.drain_until
            }
            Step::Close => return Some(self.close(core)),
        };
        let waiting = self.give_up_waiting(core);
        let now = core.turn_started();
        if now.0 >= self.next_second * SECOND {
            // Everything since the last report belongs to the second that has just ended.
            self.report_second(now.0 / SECOND - 1, true);
            self.next_second = now.0 / SECOND + 1;
        }
        let retry =
            if self.unsent_reports.is_empty() { Nanos::MAX } else { now + Nanos::from_millis(10) };
        let second = Nanos(self.next_second * SECOND);
        let drained = self.step == Step::Drain && self.done == Step::Drain;
        let due = if drained { Nanos::MAX } else { due };
        Some(due.min(waiting).min(second).min(retry))
    }

    fn is_finished(&self) -> bool {
        // Never with the last word unsaid.
        self.finished && self.unsent_reports.is_empty()
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "driver_alloc_tests.rs"]
mod alloc_tests;
