//! The server's side of the loop: admits connections, hands their bytes to the service they belong
//! to and sends its answers, at once or after a delay, keeps the time limits, stops.

use crate::delay::{Delayed, Sent, Words};
use crate::faults::Faults;
use crate::http::{self, Site};
use crate::limits::{CLOSING_TIMEOUT, DELAYED_PER_TURN, STOP_PATIENCE, STOP_STEP};
use crate::service::{Goodbye, Reply, Then, TimeLimits, TimedOut, Turn};
use crate::session::{Served, Services, State};
use crate::websocket::Config;
use crossbeam_channel::Sender;
use measure::{Failure, Nanos};
use reactor::{Core, Counters, Driver, Ending, Key, Marks, Network, Read, Stall, Sweep};
use std::sync::Arc;
use wire::Protocol;

pub use crate::admission::Admission;
pub use crate::session::Session;
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

/// Connections that ended because their peers took too little of what they had asked for, and room
/// ran out: no failure of the machine, but of those peers.
#[derive(Clone, Copy, Debug, Default)]
struct Unread {
    /// Pongs and nothing else waited for them.
    pongs: u64,
    /// Other answers.
    answers: u64,
}

impl Unread {
    /// Counts a connection in this state.
    #[cold]
    fn count(&mut self, state: &State) {
        if state.says_pongs() {
            self.pongs += 1;
        } else {
            self.answers += 1;
        }
    }

    /// The counts, with their names beside those of [`Failure`].
    fn named(self) -> [(&'static str, u64); 2] {
        [("unread", self.answers), ("unread_pongs", self.pongs)]
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
pub struct ServerDriver {
    index: usize,
    core: usize,
    admission: Arc<Admission>,
    /// What is spoken at each listener; plain TCP at those behind the last.
    listeners: Vec<Protocol>,
    services: Services,
    limits: TimeLimits,
    sweep: Sweep,
    started: Nanos,
    idle_closed: u64,
    closed: u64,
    failures: [u64; Failure::COUNT],
    unread: Unread,
    stopping: Option<Stopping>,
    last: Snapshot,
    stall: Option<Stall>,
    /// Where replies are to wait: what waits.
    delayed: Option<Box<Delayed>>,
    /// Whether connections may have TLS, whose handshakes have a time limit, too.
    shakes: bool,
}

impl ServerDriver {
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
        let limits = TimeLimits {
            idle: idle_timeout,
            handshake: None,
            message: None,
            closing: CLOSING_TIMEOUT,
        };
        Self {
            index,
            core,
            admission,
            listeners: Vec::new(),
            services: Services::default(),
            limits,
            sweep: sweep(&limits),
            started,
            idle_closed: 0,
            closed: 0,
            failures: [0; Failure::COUNT],
            unread: Unread::default(),
            stopping: None,
            last: Snapshot::default(),
            stall: None,
            delayed: None,
            shakes: false,
        }
    }

    /// The same driver, but with these faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        let Faults { stall, delay, delayed_bytes_max } = faults;
        self.stall = stall;
        self.delayed = delay.map(|delay| Box::new(Delayed::new(delay, delayed_bytes_max)));
        self.limits.closing = CLOSING_TIMEOUT + delay.unwrap_or_default();
        self.sweep = sweep(&self.limits);
        self
    }

    /// The same driver, but with a protocol for each of its listeners, in their order.
    #[must_use]
    pub fn serving(
        mut self,
        listeners: Vec<Protocol>,
        websocket: Arc<Config>,
        handshake_timeout: Option<Nanos>,
    ) -> Self {
        self.listeners = listeners;
        self.services.set_websocket(websocket);
        self.limits.handshake = handshake_timeout;
        self.sweep = sweep(&self.limits);
        self
    }

    /// The same driver, but some of its connections may have TLS.
    #[must_use]
    pub fn with_tls(mut self, any: bool) -> Self {
        self.shakes = any;
        self
    }

    /// The same driver, but with a time limit for WebSocket messages.
    #[must_use]
    pub fn with_message_timeout(mut self, limit: Option<Nanos>) -> Self {
        self.limits.message = limit;
        self.sweep = sweep(&self.limits);
        self
    }

    /// The same driver, but with this site on its HTTP listeners.
    #[must_use]
    pub fn with_site(mut self, config: http::Config, site: Site) -> Self {
        self.services.http.set_site(config, site);
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
        let failures = Failure::ALL.into_iter().map(Failure::name).zip(self.failures);
        let failures = failures.chain(self.unread.named()).filter(|(_, count)| *count > 0);
        let delayed = self.delayed.as_deref();
        let Served { messages, requests, websocket, http } = self.services.served();
        Snapshot {
            index: self.index,
            core: self.core,
            connections: core.connections() as u64,
            accepted,
            messages,
            requests,
            idle_closed: self.idle_closed,
            closed: self.closed,
            broken: failures.clone().map(|(_, count)| count).sum(),
            failures: failures.map(|(kind, count)| (kind.to_owned(), count)).collect(),
            unsent_bytes: core.unsent_bytes() as u64,
            cpu_ns: cpu.0,
            uptime_ns: uptime.0,
            busy_ratio: cpu.as_secs_f64() / uptime.as_secs_f64().max(1e-9),
            loop_delay: reactor::Spans::of(&core.times.delay).into(),
            turn: reactor::Spans::of(&core.times.turn).into(),
            stall_late: reactor::Spans::of(&core.times.stall_late).into(),
            stall_backlog: reactor::Spans::of(&core.times.stall_backlog).into(),
            counters: core
                .counters
                .named()
                .into_iter()
                .chain(delayed.map(|delayed| delayed.counts().named()).into_iter().flatten())
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            turned_away: (0..self.listeners.len()).map(|at| core.turned_away(at)).collect(),
            delayed_bytes: delayed.map_or(0, |delayed| delayed.bytes() as u64),
            tls: core.tls().filter(|_| self.shakes).cloned(),
            tls_agreeing: core.agreeing() as u64,
            tls_wait: reactor::Spans::of(&core.times.agreeing_wait).into(),
            websocket,
            http,
        }
    }

    /// The books of a connection that is gone.
    fn release(&mut self, session: Session) {
        self.admission.leave();
        self.services.ended(session.state);
    }

    fn drop_connection<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        if let Some(session) = core.close(key) {
            self.release(session);
        }
    }

    #[cold]
    fn fail<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, failure: Failure) {
        let overfull = failure == Failure::NoMemory && core.is_overfull(key);
        match core.session(key).filter(|_| overfull) {
            Some(session) => self.unread.count(&session.state),
            None => self.failures[failure as usize] += 1,
        }
        self.drop_connection(core, key);
    }

    /// Ends connections whose time is up: between one and one and an eighth of their limit after it
    /// began to count. Returns when to go on.
    fn keep_time<N: Network>(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        // Connections that may stay for ever cost nothing.
        let shakes = self.shakes && self.limits.handshake.is_some();
        if self.limits.idle.is_none() && !shakes && !self.services.have_deadlines(&self.limits) {
            return None;
        }
        let now_ms = now_ms(core);
        for index in self.sweep.step(core.turn_started(), core.high_water()).into_iter().flatten() {
            let Some(key) = core.key_at(index) else { continue };
            let blocked = core.is_blocked(key);
            let Some(session) = core.session(key) else { continue };
            let age_ms = u64::from(now_ms.wrapping_sub(session.since_ms));
            let mut limit = self.services.limit(&session.state, blocked, &self.limits);
            if shakes && core.is_connecting(key) {
                limit = self.limits.handshake;
            }
            if limit.is_some_and(|limit| age_ms >= limit.0.div_ceil(1_000_000)) {
                self.time_out(core, key);
            }
        }
        Some(self.sweep.deadline())
    }

    /// The time limit of this connection has passed.
    fn time_out<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        if core.is_connecting(key) {
            // Its TLS handshake has come to nothing.
            return self.fail(core, key, Failure::TimedOut);
        }
        let (blocked, turn) = (core.is_blocked(key), turn(core, &self.limits));
        let Some(session) = core.session(key) else { return };
        let TimedOut { goodbye, silence } =
            self.services.time_out(&mut session.state, blocked, turn);
        self.idle_closed += u64::from(silence);
        let ended = match goodbye {
            Goodbye::Says(bytes) => match say_last(&mut self.delayed, core, key, bytes) {
                Ok(()) => return,
                Err(failure) => return self.fail(core, key, failure),
            },
            Goodbye::Resets => core.reset(key),
            Goodbye::Closes | Goodbye::NotNow => core.close(key),
        };
        if let Some(session) = ended {
            self.release(session);
        }
    }

    /// Goes on with stopping. Returns when to be called again.
    fn stop<N: Network>(&mut self, core: &mut Core<N, Session>, stopping: Stopping) -> Nanos {
        let next = match stopping {
            Stopping::GoodBye(from) => {
                match step(core, from, |core, key| self.say_goodbye(core, key)) {
                    Some(to) => Stopping::GoodBye(to),
                    None => {
                        let delay = self.delayed.as_ref().map_or(Nanos::ZERO, |late| late.delay());
                        Stopping::Patience(core.turn_started() + STOP_PATIENCE + delay)
                    }
                }
            }
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
            // Files are closed by this thread: their numbers belong to its own table.
            self.services.http.close_files();
            self.delayed = None;
        }
        self.stopping = Some(next);
        Nanos::ZERO
    }

    /// The server stops: ends this connection, politely where its protocol has a word for that.
    fn say_goodbye<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        if core.is_connecting(key) {
            return self.drop_connection(core, key);
        }
        let blocked = core.is_blocked(key);
        let Some(session) = core.session(key) else { return };
        let ended = match self.services.say_goodbye(&mut session.state, blocked) {
            Goodbye::NotNow => return,
            Goodbye::Says(bytes) => {
                let said = say_last(&mut self.delayed, core, key, bytes);
                return said.unwrap_or_else(|failure| self.fail(core, key, failure));
            }
            Goodbye::Closes => core.close(key),
            Goodbye::Resets => core.reset(key),
        };
        if let Some(session) = ended {
            self.release(session);
        }
    }
}

/// What becomes of replies that have to wait.
impl ServerDriver {
    /// Sends those that are due. Returns when the next one is.
    fn send_due<N: Network>(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        self.delayed.as_ref()?.next_due()?;
        let now = core.now();
        for _ in 0..DELAYED_PER_TURN {
            let delayed = self.delayed.as_mut()?;
            let Some(Sent { key, last, result }) = delayed.send_next(core, now) else { break };
            if let Err(failure) = result {
                self.fail(core, key, failure);
            } else if last {
                finish(core, key);
            } else if core.unsent_bytes_of(key) > 0
                && core.session(key).is_some_and(|session| session.state.is_in_turn())
            {
                // The next answers wait for this one to leave, as they do without a delay.
                core.pause_reads(key);
            }
        }
        self.delayed.as_ref()?.next_due()
    }
}

/// Says our last word on a connection: behind what waits for it, if replies wait.
#[cold]
fn say_last<N: Network>(
    delayed: &mut Option<Box<Delayed>>,
    core: &mut Core<N, Session>,
    key: Key,
    bytes: &[u8],
) -> Result<(), Failure> {
    match delayed {
        Some(delayed) => delayed.put(core, key, Words { bytes, file: None, last: true }),
        None => {
            if !bytes.is_empty() {
                core.send(key, bytes)?;
            }
            finish(core, key);
            Ok(())
        }
    }
}

/// What was just sent is our last word on the connection.
#[cold]
fn finish<N: Network>(core: &mut Core<N, Session>, key: Key) {
    let now_ms = now_ms(core);
    if let Some(session) = core.session(key) {
        session.since_ms = now_ms;
    }
    core.finish(key);
}

/// What is read goes to the service of its connection, and the answer back.
impl ServerDriver {
    #[inline]
    fn take<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, bytes: &mut [u8]) {
        let (now_ms, turn) = (now_ms(core), turn(core, &self.limits));
        let Some(Session { since_ms, state }) = core.session(key) else { return };
        let reply = self.services.read(state, bytes, turn);
        let Reply { bytes: answer, file, used, then, renewed, work } = reply;
        if renewed {
            *since_ms = now_ms;
        }
        let in_turn = state.is_in_turn();
        let last = then == Then::Last;
        let sent = match (&mut self.delayed, file) {
            (Some(delayed), file) => delayed.put(core, key, Words { bytes: answer, file, last }),
            (None, Some(part)) => core.send_file(key, answer, part),
            (None, None) if answer.is_empty() => Ok(()),
            (None, None) => core.send(key, answer),
        };
        core.charge(work);
        if let Then::Upgrade(accepted) = then
            && let Some(session) = core.session(key)
        {
            self.services.upgrade(&mut session.state, accepted);
        }
        if let Err(failure) = sent {
            return self.fail(core, key, failure);
        }
        match then {
            Then::More if used < bytes.len() && in_turn => self.hold(core, key, &bytes[used..]),
            Then::More if used < bytes.len() => core.put_back(key, used, &bytes[used..]),
            // What waits for its time is not read behind: see `send_due`.
            Then::More if in_turn && self.delayed.is_none() => core.pause_reads(key),
            Then::Last if self.delayed.is_none() => finish(core, key),
            // Frames may have come right behind the request.
            Then::Upgrade(_) if used < bytes.len() => {
                return self.take(core, key, &mut bytes[used..]);
            }
            Then::More | Then::Last | Then::Upgrade(_) => {}
        }
        if self.stopping.is_some() {
            self.say_goodbye(core, key);
        }
    }

    /// Keeps requests until the answers before them have left, or the others had their turn.
    #[cold]
    fn hold<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, rest: &[u8]) {
        let Some(session) = core.session(key) else { return };
        if self.services.hold(&mut session.state, rest).is_err() {
            self.fail(core, key, Failure::NoMemory);
        } else if core.is_blocked(key) {
            core.pause_reads(key);
        } else {
            core.yield_turn(key);
        }
    }
}

/// A sweep that keeps all of these limits.
fn sweep(limits: &TimeLimits) -> Sweep {
    let TimeLimits { idle, handshake, message, closing } = *limits;
    let all = [idle, handshake, message, Some(closing)];
    Sweep::for_limit(all.into_iter().flatten().min().unwrap_or(closing))
}

/// What holds for a service that is called now.
#[inline]
fn turn<'t, N: Network>(core: &Core<N, Session>, limits: &'t TimeLimits) -> Turn<'t> {
    Turn { now: core.turn_started(), work_max: core.work_allowed(), limits }
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

impl<N: Network> Driver<N> for ServerDriver {
    type Session = Session;
    type Command = Command;

    /// Answers must not pile up: who does not take them is read from no more.
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn stall(&self) -> Option<Stall> {
        self.stall
    }

    fn admit(&mut self, core: &mut Core<N, Session>, listener: usize) -> Option<Session> {
        if self.stopping.is_some() || !self.admission.enter() {
            return None;
        }
        let protocol = self.listeners.get(listener).copied().unwrap_or(Protocol::Tcp);
        Some(Session { since_ms: now_ms(core), state: self.services.arrived(protocol) })
    }

    fn on_open(&mut self, core: &mut Core<N, Session>, key: Key) {
        // What TLS took is not the protocol's.
        let now_ms = now_ms(core);
        if let Some(session) = core.session(key) {
            session.since_ms = now_ms;
        }
    }

    #[inline]
    fn on_bytes(&mut self, core: &mut Core<N, Session>, key: Key, read: Read<'_>) {
        if self.delayed.is_some() {
            // Long turns must not make replies wait for longer than they should.
            self.send_due(core);
        }
        self.take(core, key, read.bytes);
    }

    fn on_progress(&mut self, core: &mut Core<N, Session>, key: Key) {
        let (now_ms, blocked) = (now_ms(core), core.is_blocked(key));
        let Some(Session { since_ms, state }) = core.session(key) else { return };
        let Some(mut held) = self.services.resume(state, blocked) else { return };
        *since_ms = now_ms;
        if !held.is_empty() {
            self.take(core, key, &mut held);
        }
    }

    fn on_end(&mut self, _: &mut Core<N, Session>, session: Session, ending: Ending, _: Marks) {
        match ending {
            Ending::Closed => self.closed += 1,
            Ending::NotOpened(failure, _) | Ending::Broken(failure) => {
                self.failures[failure as usize] += 1;
            }
            Ending::Evicted => self.unread.count(&session.state),
        }
        self.release(session);
    }

    fn on_command(&mut self, core: &mut Core<N, Session>, command: Command) {
        match command {
            // The asker may have stopped waiting; then nobody needs the answer.
            Command::Snapshot(reply) => drop(reply.try_send(self.snapshot(core))),
            Command::Show(counters) => self.services.http.show(&counters, core.turn_started()),
            Command::Stop => self.stopping = Some(Stopping::GoodBye(0)),
        }
    }

    fn on_turn(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        let due = self.send_due(core);
        let next = match self.stopping {
            Some(stopping) => Some(self.stop(core, stopping)),
            None => self.keep_time(core),
        };
        due.into_iter().chain(next).min()
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
#[path = "driver_faults_tests.rs"]
mod faults_tests;

#[cfg(test)]
#[path = "driver_alloc_tests.rs"]
mod alloc_tests;

#[cfg(test)]
#[path = "driver_fair_tests.rs"]
mod fair_tests;
