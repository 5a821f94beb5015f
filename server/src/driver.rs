//! The server's side of the loop: admits connections, hands their bytes to the service they belong to
//! and sends its answers, keeps the time limits, stops.

use crate::http::{self, Http, Reply, Site, Then};
use crate::limits::{CLOSING_TIMEOUT, STOP_PATIENCE, STOP_STEP};
use crate::websocket::{Config, Phase, WebSockets};
use crossbeam_channel::Sender;
use measure::{Failure, Nanos};
use reactor::{Core, Counters, Driver, Ending, Key, Network, Sweep};
use std::sync::Arc;

pub use crate::admission::Admission;
use crate::session::{Answer, State};
pub use crate::session::{Service, Session};
pub use crate::snapshot::{HttpSnapshot, Snapshot, WebSocketSnapshot};

/// What the control plane asks of a server's reactor.
#[derive(Debug)]
pub enum Command {
    /// Send a snapshot there.
    Snapshot(Sender<Snapshot>),
    /// What the page of the HTTP service is to show from now on, as JSON.
    Show(Arc<[u8]>),
    /// Close everything and end.
    Stop,
}

/// The time limits of connections.
#[derive(Clone, Copy, Debug)]
struct TimeLimits {
    /// For silence.
    idle: Option<Nanos>,
    /// For a handshake, and for any other request.
    handshake: Option<Nanos>,
}

impl TimeLimits {
    /// The one that holds for a connection in this state, of which something waits to be sent or not.
    fn of(&self, state: &State, blocked: bool) -> Option<Nanos> {
        match state {
            // As long as it takes its answer it is in nobody's way.
            State::Http(_) if blocked => self.idle,
            State::Http(phase) if phase.is_receiving() => self.handshake,
            State::Raw | State::WebSocket(Phase::Open(_)) | State::Http(http::Phase::Open(..)) => {
                self.idle
            }
            State::WebSocket(Phase::Opening(_)) => self.handshake,
            State::WebSocket(Phase::Closing) | State::Http(http::Phase::Closing) => {
                Some(CLOSING_TIMEOUT)
            }
        }
    }

    /// A sweep that keeps them all.
    fn sweep(&self) -> Sweep {
        let limits = [self.idle, self.handshake, Some(CLOSING_TIMEOUT)];
        Sweep::for_limit(limits.into_iter().flatten().min().unwrap_or(CLOSING_TIMEOUT))
    }
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug)]
enum Stopping {
    /// Says good-bye to those who understand it and closes the others, from this slot on.
    GoodBye(usize),
    /// Waits for the peers to close, until then.
    Patience(Nanos),
    /// Closes who is left, from this slot on.
    Closing(usize),
    /// Nobody is left.
    Done,
}

/// The server's driver. It lives on one reactor.
#[derive(Debug)]
pub struct EchoDriver {
    index: usize,
    core: usize,
    admission: Arc<Admission>,
    /// What each listener serves; those behind the last serve plain TCP.
    services: Vec<Service>,
    websockets: WebSockets,
    http: Http,
    limits: TimeLimits,
    sweep: Sweep,
    started: Nanos,
    /// Reads of plain TCP that were echoed.
    reads: u64,
    idle_closed: u64,
    closed: u64,
    failures: [u64; Failure::COUNT],
    stopping: Option<Stopping>,
    last: Snapshot,
}

impl EchoDriver {
    /// The driver of reactor `index`, which runs on CPU `core` and started at `started`. It serves
    /// plain TCP on all of its listeners.
    #[must_use]
    pub fn new(
        index: usize,
        core: usize,
        admission: Arc<Admission>,
        idle_timeout: Option<Nanos>,
        started: Nanos,
    ) -> Self {
        let limits = TimeLimits { idle: idle_timeout, handshake: None };
        Self {
            index,
            core,
            admission,
            services: Vec::new(),
            websockets: WebSockets::new(Arc::new(Config::default())),
            http: Http::new(http::Config::default(), Site::page()),
            limits,
            sweep: limits.sweep(),
            started,
            reads: 0,
            idle_closed: 0,
            closed: 0,
            failures: [0; Failure::COUNT],
            stopping: None,
            last: Snapshot::default(),
        }
    }

    /// The same driver, but with a service for each of its listeners, in their order.
    #[must_use]
    pub fn serving(
        mut self,
        services: Vec<Service>,
        websocket: Arc<Config>,
        handshake_timeout: Option<Nanos>,
    ) -> Self {
        self.services = services;
        self.websockets = WebSockets::new(websocket);
        self.limits.handshake = handshake_timeout;
        self.sweep = self.limits.sweep();
        self
    }

    /// The same driver, but with this site on its HTTP listeners.
    #[must_use]
    pub fn with_site(mut self, config: http::Config, site: Site) -> Self {
        self.http = Http::new(config, site);
        self
    }

    /// The last word of a reactor that has ended.
    #[must_use]
    pub fn last_snapshot(&self) -> &Snapshot {
        &self.last
    }

    fn snapshot<N: Network>(&self, core: &Core<N, Session>) -> Snapshot {
        let Counters { accepted, .. } = core.counters;
        let (cpu, uptime) = (host::usage::thread_cpu_time(), core.now() - self.started);
        let failures = Failure::ALL.into_iter().zip(self.failures);
        Snapshot {
            index: self.index,
            core: self.core,
            connections: core.connections() as u64,
            accepted,
            messages: self.reads + self.websockets.messages(),
            requests: self.http.requests(),
            idle_closed: self.idle_closed,
            closed: self.closed,
            broken: self.failures.iter().sum(),
            failures: failures
                .filter(|(_, count)| *count > 0)
                .map(|(kind, count)| (kind.name().to_owned(), count))
                .collect(),
            unsent_bytes: core.unsent_bytes() as u64,
            cpu_ns: cpu.0,
            uptime_ns: uptime.0,
            busy_ratio: cpu.as_secs_f64() / uptime.as_secs_f64().max(1e-9),
            counters: core
                .counters
                .named()
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            websocket: self.websockets.snapshot(),
            http: self.http.snapshot(),
        }
    }

    /// The books of a connection that is gone.
    fn settle(&mut self, session: Session) {
        self.admission.leave();
        match session.state {
            State::Raw => {}
            State::WebSocket(phase) => self.websockets.ended(phase),
            State::Http(phase) => self.http.ended(phase),
        }
    }

    fn drop_connection<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        if let Some(session) = core.close(key) {
            self.settle(session);
        }
    }

    #[cold]
    fn fail<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, failure: Failure) {
        self.failures[failure as usize] += 1;
        self.drop_connection(core, key);
    }

    /// The answer that was just given is our last one.
    #[cold]
    fn finish<N: Network>(core: &mut Core<N, Session>, key: Key) {
        let now_ms = now_ms(core);
        if let Some(session) = core.session(key) {
            session.since_ms = now_ms;
        }
        core.finish(key);
    }

    /// Ends connections whose time is up: between one and one and an eighth of their limit after it
    /// began to count. Returns when to go on.
    fn keep_time<N: Network>(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        // Connections that may stay for ever cost nothing.
        let has_deadlines = self.websockets.has_deadlines() || self.http.has_deadlines();
        if self.limits.idle.is_none() && !has_deadlines {
            return None;
        }
        let now_ms = now_ms(core);
        for index in self.sweep.step(core.turn_started(), core.high_water()).into_iter().flatten() {
            let Some(key) = core.key_at(index) else { continue };
            let blocked = core.is_blocked(key);
            let Some(session) = core.session(key) else { continue };
            let age_ms = u64::from(now_ms.wrapping_sub(session.since_ms));
            let limit = self.limits.of(&session.state, blocked);
            if limit.is_some_and(|limit| age_ms >= limit.0.div_ceil(1_000_000)) {
                self.time_out(core, key);
            }
        }
        Some(self.sweep.deadline())
    }

    /// The time limit of this connection has passed.
    fn time_out<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        let blocked = core.is_blocked(key);
        let now = core.turn_started();
        let Some(session) = core.session(key) else { return };
        let last_words = match &mut session.state {
            State::Http(_) if blocked => {
                self.idle_closed += 1;
                self.http.stalled();
                // An answer that ends early must not look whole.
                if let Some(session) = core.reset(key) {
                    self.settle(session);
                }
                return;
            }
            State::Http(http::Phase::Closing) => {
                self.http.give_up();
                None
            }
            State::Http(phase) if phase.is_receiving() => {
                Some(Answer::last(self.http.time_out(phase, now)))
            }
            State::Http(_) => {
                self.idle_closed += 1;
                self.http.idled();
                None
            }
            State::WebSocket(phase @ Phase::Opening(_)) => Some(self.websockets.time_out(phase)),
            State::WebSocket(Phase::Closing) => {
                self.websockets.give_up();
                None
            }
            State::WebSocket(phase @ Phase::Open(_)) => {
                self.idle_closed += 1;
                self.websockets.go_away(phase, "nothing was said for too long")
            }
            State::Raw => {
                self.idle_closed += 1;
                None
            }
        };
        let sent = last_words.map(|Answer { bytes, .. }| core.send(key, bytes));
        match sent {
            Some(Ok(())) => Self::finish(core, key),
            Some(Err(failure)) => self.fail(core, key, failure),
            None => self.drop_connection(core, key),
        }
    }

    /// Goes on with stopping. Returns when to be called again.
    fn stop<N: Network>(&mut self, core: &mut Core<N, Session>, stopping: Stopping) -> Nanos {
        let next = match stopping {
            Stopping::GoodBye(from) => match step(core, from, |core, key| self.part(core, key)) {
                Some(to) => Stopping::GoodBye(to),
                None => Stopping::Patience(core.turn_started() + STOP_PATIENCE),
            },
            Stopping::Patience(_) if core.connections() == 0 => Stopping::Done,
            Stopping::Patience(until) if core.turn_started() < until => return until,
            Stopping::Patience(_) => Stopping::Closing(0),
            Stopping::Closing(from) => {
                match step(core, from, |core, key| self.drop_connection(core, key)) {
                    Some(to) => Stopping::Closing(to),
                    None => Stopping::Done,
                }
            }
            Stopping::Done => Stopping::Done,
        };
        if matches!(next, Stopping::Done) {
            self.last = self.snapshot(core);
            self.http.close_files();
        }
        self.stopping = Some(next);
        Nanos::ZERO
    }

    /// The server stops: ends this connection, politely where its protocol has a word for that.
    fn part<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        let blocked = core.is_blocked(key);
        let Some(session) = core.session(key) else { return };
        let phase = match &mut session.state {
            State::Http(http::Phase::Closing) => return,
            // The answer that is on its way still arrives.
            State::Http(phase) if blocked => {
                self.http.part(phase);
                return Self::finish(core, key);
            }
            State::Raw | State::WebSocket(Phase::Opening(_)) | State::Http(_) => {
                return self.drop_connection(core, key);
            }
            State::WebSocket(phase) => phase,
        };
        // Who is in the middle of a frame is asked again after it, see `on_bytes`.
        let Some(answer) = self.websockets.go_away(phase, "the server stops") else { return };
        match core.send(key, answer.bytes) {
            Ok(()) => Self::finish(core, key),
            Err(failure) => self.fail(core, key, failure),
        }
    }
}

/// What HTTP does with its connections.
impl EchoDriver {
    /// Answers the next bytes of a connection.
    #[inline]
    fn answer<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, bytes: &mut [u8]) {
        let (now, now_ms) = (core.turn_started(), now_ms(core));
        let Some(Session { since_ms, state }) = core.session(key) else { return };
        let State::Http(phase) = state else { return };
        let reply = self.http.read(phase, bytes, self.websockets.policy(), now);
        let Reply { bytes: answers, file, used, then, renewed } = reply;
        if renewed {
            *since_ms = now_ms;
        }
        if let Then::Upgrade(accepted) = then {
            *state = State::WebSocket(self.websockets.upgraded(accepted));
        }
        let sent = match file {
            Some(part) => core.send_file(key, answers, part),
            None if answers.is_empty() => Ok(()),
            None => core.send(key, answers),
        };
        if let Err(failure) = sent {
            return self.fail(core, key, failure);
        }
        match then {
            Then::More if used == bytes.len() => core.pause_reads(key),
            Then::More => self.hold(core, key, &bytes[used..]),
            Then::Last => Self::finish(core, key),
            // Frames may have come right behind the request.
            Then::Upgrade(_) if used < bytes.len() => {
                return self.on_bytes(core, key, &mut bytes[used..]);
            }
            Then::Upgrade(_) => {}
        }
        if self.stopping.is_some() {
            self.part(core, key);
        }
    }

    /// Keeps requests until the answers before them have left, or the others had their turn.
    #[cold]
    fn hold<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, rest: &[u8]) {
        let Some(Session { state: State::Http(phase), .. }) = core.session(key) else { return };
        if self.http.hold(phase, rest).is_err() {
            self.fail(core, key, Failure::NoMemory);
        } else if core.is_blocked(key) {
            core.pause_reads(key);
        } else {
            core.yield_turn(key);
        }
    }
}

/// The time of this turn as sessions keep it.
#[inline]
fn now_ms<N: Network>(core: &Core<N, Session>) -> u32 {
    (core.turn_started().0 / 1_000_000) as u32
}

/// Calls `each` for the next connections from slot `from` on. Returns where to go on, if anywhere.
fn step<N: Network>(
    core: &mut Core<N, Session>,
    from: usize,
    mut each: impl FnMut(&mut Core<N, Session>, Key),
) -> Option<usize> {
    let to = (from + STOP_STEP).min(core.high_water());
    for index in from..to {
        if let Some(key) = core.key_at(index) {
            each(core, key);
        }
    }
    (to < core.high_water()).then_some(to)
}

impl<N: Network> Driver<N> for EchoDriver {
    type Session = Session;
    type Command = Command;

    /// Answers must not pile up: who does not take them is read from no more.
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, core: &mut Core<N, Session>, listener: usize) -> Option<Session> {
        if self.stopping.is_some() || !self.admission.enter() {
            return None;
        }
        let state = self.services.get(listener).copied().unwrap_or(Service::Tcp).greet();
        match state {
            State::Raw => {}
            State::WebSocket(_) => self.websockets.arrived(),
            State::Http(_) => self.http.arrived(),
        }
        Some(Session { since_ms: now_ms(core), state })
    }

    fn on_open(&mut self, _core: &mut Core<N, Session>, _key: Key) {}

    #[inline]
    fn on_bytes(&mut self, core: &mut Core<N, Session>, key: Key, bytes: &mut [u8]) {
        let now_ms = now_ms(core);
        let Some(Session { since_ms, state }) = core.session(key) else { return };
        let is_websocket = matches!(state, State::WebSocket(_));
        let Answer { bytes, last } = match state {
            State::Raw => {
                *since_ms = now_ms;
                self.reads += 1;
                Answer::more(bytes)
            }
            State::WebSocket(phase) => {
                let answer = self.websockets.read(phase, bytes);
                if matches!(phase, Phase::Open(_)) {
                    *since_ms = now_ms;
                }
                answer
            }
            State::Http(_) => return self.answer(core, key, bytes),
        };
        if !bytes.is_empty()
            && let Err(failure) = core.send(key, bytes)
        {
            self.fail(core, key, failure);
        } else if last {
            Self::finish(core, key);
        } else if self.stopping.is_some() {
            self.part(core, key);
        } else if is_websocket && self.websockets.was_heavy() {
            core.read_sparingly(key);
        }
    }

    fn on_progress(&mut self, core: &mut Core<N, Session>, key: Key) {
        let (now_ms, blocked) = (now_ms(core), core.is_blocked(key));
        let Some(Session { since_ms, state: State::Http(phase) }) = core.session(key) else {
            return;
        };
        *since_ms = now_ms;
        if !blocked {
            let mut held = self.http.take_held(phase);
            if !held.is_empty() {
                self.answer(core, key, &mut held);
            }
        }
    }

    fn on_end(&mut self, _: &mut Core<N, Session>, session: Session, ending: Ending) {
        match ending {
            Ending::Closed => self.closed += 1,
            Ending::NotOpened(failure) | Ending::Broken(failure) => {
                self.failures[failure as usize] += 1;
            }
        }
        self.settle(session);
    }

    fn on_command(&mut self, core: &mut Core<N, Session>, command: Command) {
        match command {
            // Whoever asked may have stopped waiting; then nobody needs the answer.
            Command::Snapshot(reply) => drop(reply.try_send(self.snapshot(core))),
            Command::Show(counters) => self.http.show(&counters, core.turn_started()),
            Command::Stop => self.stopping = Some(Stopping::GoodBye(0)),
        }
    }

    fn on_turn(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        match self.stopping {
            Some(stopping) => Some(self.stop(core, stopping)),
            None => self.keep_time(core),
        }
    }

    fn is_finished(&self) -> bool {
        matches!(self.stopping, Some(Stopping::Done))
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "driver_ws_tests.rs"]
mod ws_tests;

#[cfg(test)]
#[path = "driver_http_tests.rs"]
mod http_tests;

#[cfg(test)]
#[path = "driver_alloc_tests.rs"]
mod alloc_tests;
