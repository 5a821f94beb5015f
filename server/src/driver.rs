//! The server's side of the loop: admits connections, echoes, sweeps out the idle, hands out
//! snapshots.

use crossbeam_channel::Sender;
use measure::Nanos;
use reactor::{Core, Counters, Driver, Ending, Key, Network, Sweep};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections that one turn of stopping closes.
const CLOSE_STEP: usize = 1024;

/// Connections that all reactors together may hold. An atomic counter, touched once when a connection
/// comes and once when it goes; no lock.
#[derive(Debug)]
pub struct Admission {
    open: AtomicU64,
    max: u64,
}

impl Admission {
    /// Room for `max` connections.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { open: AtomicU64::new(0), max }
    }

    fn enter(&self) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max {
            return true;
        }
        self.leave();
        false
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the control plane asks of a server's reactor.
#[derive(Debug)]
pub enum Command {
    /// Send a snapshot there.
    Snapshot(Sender<Snapshot>),
    /// Close everything and end.
    Stop,
}

/// What one reactor says of itself. Times are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Snapshot {
    /// The reactor's number.
    pub index: usize,
    /// The CPU it is pinned to.
    pub core: usize,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were accepted since the start.
    pub accepted: u64,
    /// Reads that were echoed. For single messages in flight that is the number of messages.
    pub messages: u64,
    /// Connections closed for their silence.
    pub idle_closed: u64,
    /// Connections that broke (reset and the like).
    pub broken: u64,
    /// Bytes that wait for their peers to take them.
    pub unsent_bytes: u64,
    /// CPU time of the reactor's thread.
    pub cpu_ns: u64,
    /// Time since the reactor started.
    pub uptime_ns: u64,
    /// CPU time over time.
    pub busy_ratio: f64,
    /// Every counter of the loop, by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// What is kept for each connection: when it last said something, in milliseconds of the run's clock,
/// modulo 2^32 (49 days).
#[derive(Clone, Copy, Debug)]
pub struct Session {
    heard_ms: u32,
}

const _: () = assert!(size_of::<Session>() == 4);

/// The server's driver. It lives on one reactor.
#[derive(Debug)]
pub struct EchoDriver {
    index: usize,
    core: usize,
    admission: Arc<Admission>,
    /// The time limit for silence, and the sweep that keeps it.
    idle: Option<(Nanos, Sweep)>,
    started: Nanos,
    idle_closed: u64,
    broken: u64,
    /// When stopping: the slot at which closing goes on.
    stopping_at: Option<usize>,
    finished: bool,
    last: Snapshot,
}

impl EchoDriver {
    /// The driver of reactor `index`, which runs on CPU `core` and started at `started`.
    #[must_use]
    pub fn new(
        index: usize,
        core: usize,
        admission: Arc<Admission>,
        idle_timeout: Option<Nanos>,
        started: Nanos,
    ) -> Self {
        Self {
            index,
            core,
            admission,
            idle: idle_timeout.map(|limit| (limit, Sweep::for_limit(limit))),
            started,
            idle_closed: 0,
            broken: 0,
            stopping_at: None,
            finished: false,
            last: Snapshot::default(),
        }
    }

    /// The last word of a reactor that has ended.
    #[must_use]
    pub fn last_snapshot(&self) -> &Snapshot {
        &self.last
    }

    fn heard_now<N: Network>(core: &Core<N, Session>) -> u32 {
        (core.turn_started().0 / 1_000_000) as u32
    }

    fn snapshot<N: Network>(&self, core: &Core<N, Session>) -> Snapshot {
        let Counters { accepted, reads, .. } = core.counters;
        let (cpu, uptime) = (host::usage::thread_cpu_time(), core.now() - self.started);
        Snapshot {
            index: self.index,
            core: self.core,
            connections: core.connections() as u64,
            accepted,
            messages: reads,
            idle_closed: self.idle_closed,
            broken: self.broken,
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
        }
    }

    fn drop_connection<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        if core.close(key).is_some() {
            self.admission.leave();
        }
    }

    /// Closes connections that have been silent for too long: between one and one and an eighth of
    /// the limit after their last word. Returns when to go on.
    fn close_idle<N: Network>(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        let (limit, mut sweep) = self.idle?;
        let now_ms = Self::heard_now(core);
        let limit_ms = limit.0.div_ceil(1_000_000);
        for index in sweep.step(core.turn_started(), core.high_water()).into_iter().flatten() {
            let Some(key) = core.key_at(index) else { continue };
            let heard = core.session(key).map(|session| session.heard_ms);
            if heard.is_some_and(|heard| u64::from(now_ms.wrapping_sub(heard)) >= limit_ms) {
                self.idle_closed += 1;
                self.drop_connection(core, key);
            }
        }
        self.idle = Some((limit, sweep));
        Some(sweep.deadline())
    }

    /// Closes the next connections of a server that stops, from slot `from`. Returns when to go on.
    fn close_next<N: Network>(&mut self, core: &mut Core<N, Session>, from: usize) -> Nanos {
        let to = (from + CLOSE_STEP).min(core.high_water());
        for index in from..to {
            if let Some(key) = core.key_at(index) {
                self.drop_connection(core, key);
            }
        }
        self.stopping_at = Some(to);
        if to == core.high_water() {
            self.last = self.snapshot(core);
            self.finished = true;
        }
        Nanos::ZERO
    }
}

impl<N: Network> Driver<N> for EchoDriver {
    type Session = Session;
    type Command = Command;

    /// Answers must not pile up: who does not take them is read from no more.
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, core: &mut Core<N, Session>, _listener: usize) -> Option<Session> {
        let room = self.stopping_at.is_none() && self.admission.enter();
        room.then(|| Session { heard_ms: Self::heard_now(core) })
    }

    fn on_open(&mut self, _core: &mut Core<N, Session>, _key: Key) {}

    #[inline]
    fn on_bytes(&mut self, core: &mut Core<N, Session>, key: Key, bytes: &mut [u8]) {
        if self.idle.is_some() {
            let heard_ms = Self::heard_now(core);
            if let Some(session) = core.session(key) {
                session.heard_ms = heard_ms;
            }
        }
        if core.send(key, bytes).is_err() {
            self.broken += 1;
            self.drop_connection(core, key);
        }
    }

    fn on_end(&mut self, _: &mut Core<N, Session>, _session: Session, ending: Ending) {
        self.admission.leave();
        if ending != Ending::Closed {
            self.broken += 1;
        }
    }

    fn on_command(&mut self, core: &mut Core<N, Session>, command: Command) {
        match command {
            // Whoever asked may have stopped waiting; then nobody needs the answer.
            Command::Snapshot(reply) => drop(reply.try_send(self.snapshot(core))),
            Command::Stop => self.stopping_at = Some(0),
        }
    }

    fn on_turn(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        match self.stopping_at {
            Some(from) => Some(self.close_next(core, from)),
            None => self.close_idle(core),
        }
    }

    fn is_finished(&self) -> bool {
        self.finished
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
