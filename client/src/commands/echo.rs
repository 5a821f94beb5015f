//! `echo`: joins WebSocket servers and sends every message back until they close.

use crate::books::causes::Causes;
use crate::cli::EchoArgs;
use crate::plan::tls::secure;
use crate::plan::{fresh_seed, request, resolve};
use crate::protocol::{Reply, Upgrade, nonce};
use control::Error;
use control::console::say;
use control::group::{self, Parts, Seat};
use control::signals::{Signal, Signals};
use crossbeam_channel::{Sender, bounded, select};
use host::facts::Facts;
use measure::units::format_grouped;
use measure::{Clock, Failure, Nanos};
use reactor::{Core, Driver, Ending, Key, Limits, Marks, Network, Opened, Read, Route};
use std::collections::VecDeque;
use std::net::SocketAddr;
use wire::ws::{self, CloseCode, End, HeadPool, Pools, Request, Role, Writer, Ws};
use wire::{Protocol, SplitMix64};

/// Connections in the making at the same time.
const OPENING_MAX: usize = 64;
/// How long a server may take to close a connection when both ends have said so; counted from the
/// last byte of our answers that it took.
const LEAVE_TIMEOUT: Nanos = Nanos::from_secs(5);
/// Bytes of answers that may wait on one connection for a server that does not read them, and on
/// all.
const UNSENT_BYTES_PER_CONNECTION: usize = 64 * 1024 * 1024;
const UNSENT_BYTES: usize = 256 * 1024 * 1024;
/// A buffer that has grown beyond this for one answer is not kept.
const OUT_BYTES_KEPT: usize = 1024 * 1024;

/// Does it, and returns the exit code.
pub(crate) fn run(args: &EchoArgs, facts: &Facts) -> Result<u8, Error> {
    if let Some(url) = args.urls.iter().find(|url| url.protocol != Protocol::Ws) {
        return Err(Error::Usage(format!(
            "{url}: echo joins WebSocket servers: give ws:// or wss:// URLs"
        )));
    }
    let most = facts.descriptors_hard;
    if !(1..=most).contains(&args.connections) {
        return Err(Error::Usage(format!(
            "--connections {} cannot be held here: give a number from 1 to {}",
            format_grouped(args.connections),
            format_grouped(most)
        )));
    }
    let targets = resolve(&args.urls, false)?;
    let secured = secure(&args.tls, &args.urls, &targets)?;
    let requests = args.urls.iter().map(|url| request(url, &args.handshake));
    let requests = targets.into_iter().zip(requests.collect::<Result<Vec<_>, _>>()?).collect();
    let signals =
        Signals::install().map_err(|error| Error::Failed(format!("catching signals: {error}")))?;
    let (done, is_done) = bounded(1);
    let (seed, timeout) = (args.seed.unwrap_or_else(fresh_seed), args.connect_timeout);
    let connections = args.connections as usize;
    let seat = Seat {
        index: 0,
        cpu: facts.cpus_allowed.first().copied().unwrap_or_default(),
        own_table: false,
        clock: Clock::start(),
        limits: Limits {
            unsent_bytes_per_connection: UNSENT_BYTES_PER_CONNECTION,
            unsent_bytes: UNSENT_BYTES,
            ..Limits::for_slots(connections)
        },
    };
    let driver = EchoDriver::new(requests, connections, timeout, seed, done);
    let started = group::start(seat, move || {
        Ok(Parts { driver, listeners: Vec::new(), secured, report: () })
    });
    let started = started.map_err(|error| Error::Failed(format!("starting a reactor: {error}")))?;
    let mut interrupted = false;
    let outcome = loop {
        select! {
            recv(is_done) -> outcome => {
                break outcome.map_err(|_| Error::Failed("the reactor died".into()))?;
            }
            recv(signals.receiver()) -> signal => {
                if interrupted || signal == Ok(Signal::Abort) {
                    return Ok(130);
                }
                interrupted = true;
                // One that has ended has nothing to be told.
                let _ = started.outside.send(Leave);
            }
        }
    };
    if interrupted {
        return Ok(130);
    }
    say(outcome.judge(args.connections)?)?;
    Ok(0)
}

/// How it went.
#[derive(Debug, Default)]
struct Outcome {
    messages: u64,
    /// Connections that ended by a closing handshake.
    closed: u64,
    /// Why the others ended.
    causes: Causes,
}

impl Outcome {
    fn judge(&self, connections: u64) -> Result<String, Error> {
        let echoed = format!("{} messages echoed", format_grouped(self.messages));
        if self.closed == connections {
            return Ok(format!("{} connections closed, {echoed}", format_grouped(connections)));
        }
        let causes = self.causes.rules.iter();
        let causes: Vec<_> = causes
            .map(|(cause, count)| format!("{} times: {cause}", format_grouped(*count)))
            .collect();
        Err(Error::Failed(format!(
            "{} of {} connections did not end by a closing handshake ({echoed}): {}",
            format_grouped(connections - self.closed),
            format_grouped(connections),
            causes.join("; ")
        )))
    }
}

/// Somebody asked for the end: leave all servers.
#[derive(Clone, Copy, Debug)]
struct Leave;

/// Where a connection stands.
#[derive(Debug)]
enum State {
    Upgrading(Upgrade),
    Open(Ws),
    /// The server has closed, and our close frame waits behind answers that it has yet to take.
    Closing,
    /// Our last word has left, and it was judged: whatever else comes is of no interest.
    Left,
}

/// A connection on which nothing more is said.
#[derive(Debug)]
struct Leaving {
    key: Key,
    /// Bytes that wait for the server to take them, and since when it has taken none.
    unsent: usize,
    since: Nanos,
}

#[derive(Debug)]
struct Session {
    state: State,
    number: u32,
    /// Which address of its target it is at, counted from 0.
    address: usize,
    /// When it is given up.
    until: Nanos,
}

/// The driver: one reactor.
#[derive(Debug)]
struct EchoDriver {
    /// What is asked of each target, and its addresses in the order in which they are tried.
    requests: Vec<(Vec<SocketAddr>, Request)>,
    connections: usize,
    connect_timeout: Nanos,
    seed: u64,
    done: Sender<Outcome>,
    /// Connections that have been tried, and those that are over.
    tried: usize,
    over: usize,
    /// Time limits of attempts, or for the upgrade, oldest first. Some connections may be further
    /// on by now.
    opening: VecDeque<(Key, Nanos)>,
    leaving: Vec<Leaving>,
    heads: HeadPool,
    pools: Pools,
    masks: SplitMix64,
    out: Vec<u8>,
    outcome: Outcome,
}

impl EchoDriver {
    fn new(
        requests: Vec<(Vec<SocketAddr>, Request)>,
        connections: usize,
        connect_timeout: Nanos,
        seed: u64,
        done: Sender<Outcome>,
    ) -> Self {
        Self {
            requests,
            connections,
            connect_timeout,
            seed,
            done,
            tried: 0,
            over: 0,
            opening: VecDeque::new(),
            leaving: Vec::new(),
            heads: HeadPool::default(),
            pools: Pools::default(),
            masks: SplitMix64::new(!seed),
            out: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    fn failed(&mut self, cause: &str) {
        self.over += 1;
        self.outcome.causes.violated(cause);
    }

    fn open_next<N: Network>(&mut self, core: &mut Core<N, Session>) {
        let target = self.tried % self.requests.len();
        let number = self.tried as u32;
        self.tried += 1;
        let state = State::Upgrading(Upgrade::new(target as u16));
        let until = core.now() + self.connect_timeout;
        self.open(core, Session { state, number, address: 0, until });
    }

    /// Opens a connection at the address that it is at, or else the next one that takes it.
    fn open<N: Network>(&mut self, core: &mut Core<N, Session>, mut session: Session) {
        loop {
            let addresses = &self.requests[self.target_of(&session)].0;
            let target = addresses[session.address];
            let left = (addresses.len() - session.address) as u64;
            let until = core.now() + Nanos((session.until - core.now()).0 / left);
            match core.open(&Route { source: None, target, share_port: false }, session) {
                Ok(Opened::AtOnce(key)) => {
                    self.opening.push_back((key, until));
                    return self.send_upgrade(core, key);
                }
                Ok(Opened::Waiting(key)) => return self.opening.push_back((key, until)),
                Err((error, refused)) => {
                    session = refused;
                    if !self.goes_on(&mut session) {
                        let cause = format!("it could not be opened ({})", error.error);
                        return self.end(session, &cause);
                    }
                }
            }
        }
    }

    /// Which target a connection goes to.
    fn target_of(&self, session: &Session) -> usize {
        session.number as usize % self.requests.len()
    }

    /// Whether a connection that did not come to stand has another address to be tried at, which is
    /// then the one that it is at.
    fn goes_on(&self, session: &mut Session) -> bool {
        session.address += 1;
        session.address < self.requests[self.target_of(session)].0.len()
    }

    fn send_upgrade<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        let Some(session) = core.session(key) else { return };
        let State::Upgrading(upgrade) = &session.state else { return };
        self.out.clear();
        let nonce = nonce(self.seed, session.number);
        self.requests[usize::from(upgrade.target)].1.write(nonce, &mut self.out);
        self.send(core, key);
    }

    /// Sends what lies in `out`. False if the connection broke by that.
    fn send<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) -> bool {
        let sent = core.send(key, &self.out);
        if self.out.capacity() > OUT_BYTES_KEPT {
            self.out = Vec::new();
        }
        let Err(failure) = sent else { return true };
        if let Some(session) = core.close(key) {
            self.end(session, &broken(failure));
        }
        false
    }

    /// A connection is gone.
    fn end(&mut self, mut session: Session, cause: &str) {
        match &mut session.state {
            State::Upgrading(upgrade) => upgrade.forget(&mut self.heads),
            State::Open(ws) => ws.forget(&mut self.pools),
            State::Closing => {}
            State::Left => return self.over += 1,
        }
        self.failed(cause);
    }

    /// Our last word was given: the server closes the connection, or else we do.
    fn leave<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, state: State) {
        let Some(session) = core.session(key) else { return };
        if let State::Open(ws) = &mut session.state {
            ws.forget(&mut self.pools);
        }
        session.state = state;
        let (unsent, since) = (core.unsent_bytes_of(key), core.now());
        self.leaving.push(Leaving { key, unsent, since });
    }

    /// Follows those on which our last word was given, and ends what has had its time.
    fn close_leaving<N: Network>(&mut self, core: &mut Core<N, Session>) {
        let now = core.turn_started();
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain_mut(|Leaving { key, unsent, since }| {
            let waiting = core.unsent_bytes_of(*key);
            if std::mem::replace(unsent, waiting) != waiting {
                *since = now;
            }
            let Some(session) = core.session(*key) else { return false };
            if waiting == 0 && matches!(session.state, State::Closing) {
                session.state = State::Left;
                self.outcome.closed += 1;
            }
            if now < *since + LEAVE_TIMEOUT {
                return true;
            }
            if let Some(session) = core.close(*key) {
                self.end(session, "the server did not take the answers that it was owed");
            }
            false
        });
        self.leaving = leaving;
    }

    fn shake_hands<'a, N: Network>(
        &mut self,
        core: &mut Core<N, Session>,
        key: Key,
        bytes: &'a mut [u8],
    ) -> &'a mut [u8] {
        let Some(session) = core.session(key) else { return &mut [] };
        let State::Upgrading(upgrade) = &mut session.state else { return bytes };
        let request = &self.requests[usize::from(upgrade.target)].1;
        let nonce = nonce(self.seed, session.number);
        match upgrade.read(&mut self.heads, request, nonce, bytes) {
            Reply::Partial => &mut [],
            Reply::Accepted(accepted, used) => {
                session.state = State::Open(Ws::new(Role::Client, accepted.deflate));
                &mut bytes[used..]
            }
            Reply::Other(other) => {
                if let Some(session) = core.close(key) {
                    self.end(session, &other.to_string());
                }
                &mut []
            }
            Reply::Failed(failure) => {
                if let Some(session) = core.close(key) {
                    self.end(session, &failure.to_string());
                }
                &mut []
            }
        }
    }

    fn echo<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key, bytes: &mut [u8]) {
        let Some(session) = core.session(key) else { return };
        let State::Open(ws) = &mut session.state else { return };
        let masks = &mut self.masks;
        let mask = || (masks.next() as u32).to_le_bytes();
        let limits = ws::Limits::default();
        let echoed = ws::echo(ws, &limits, &mut self.pools, mask, bytes, &mut self.out);
        let ws::Echoed { messages, end, .. } = echoed;
        self.outcome.messages += u64::from(messages);
        if !self.send(core, key) {
            return;
        }
        match end {
            None => {}
            Some(End::Closed(_)) => self.leave(core, key, State::Closing),
            Some(End::Broken(error)) => {
                self.outcome.causes.violated(&error.to_string());
                core.finish(key);
                self.leave(core, key, State::Left);
            }
        }
    }

    /// The time is over of an attempt, which leaves that for the upgrade, or the next address.
    fn out_of_time<N: Network>(&mut self, core: &mut Core<N, Session>, key: Key) {
        let (now, connecting) = (core.turn_started(), core.is_connecting(key));
        let Some(until) = core.session(key).map(|session| session.until) else { return };
        if !connecting && until > now {
            return self.opening.push_back((key, until));
        }
        let Some(mut session) = core.close(key) else { return };
        if connecting && self.goes_on(&mut session) {
            self.open(core, session);
        } else {
            self.end(session, "it was not upgraded in time");
        }
    }

    /// Ends what was not upgraded in time.
    fn give_up<N: Network>(&mut self, core: &mut Core<N, Session>) {
        let now = core.turn_started();
        while let Some(&(key, until)) = self.opening.front() {
            let opens = |session: &&mut Session| matches!(session.state, State::Upgrading(_));
            if core.session(key).filter(opens).is_some() {
                if until > now {
                    break;
                }
                self.opening.pop_front();
                self.out_of_time(core, key);
            } else {
                self.opening.pop_front();
            }
        }
    }
}

/// The sentence for a connection that broke by itself.
fn broken(failure: Failure) -> String {
    format!("it broke ({})", failure.name())
}

impl<N: Network> Driver<N> for EchoDriver {
    type Session = Session;
    type Command = Leave;

    /// Two ends that wait for each other to read would stand still for ever.
    const PAUSE_READS_WHILE_BLOCKED: bool = false;

    fn admit(&mut self, _: &mut Core<N, Session>, _: usize) -> Option<Session> {
        None
    }

    fn on_open(&mut self, core: &mut Core<N, Session>, key: Key) {
        self.send_upgrade(core, key);
    }

    fn on_bytes(&mut self, core: &mut Core<N, Session>, key: Key, read: Read<'_>) {
        let bytes = self.shake_hands(core, key, read.bytes);
        if !bytes.is_empty() {
            self.echo(core, key, bytes);
        }
    }

    fn on_end(
        &mut self,
        core: &mut Core<N, Session>,
        mut session: Session,
        ending: Ending,
        _: Marks,
    ) {
        if matches!(ending, Ending::NotOpened(..)) && self.goes_on(&mut session) {
            return self.open(core, session);
        }
        if matches!((&session.state, ending), (State::Closing, Ending::Closed)) {
            // The server had said its last word before, and took all answers.
            session.state = State::Left;
            self.outcome.closed += 1;
        }
        let cause = match ending {
            Ending::NotOpened(failure, _) => format!("it could not be opened ({})", failure.name()),
            Ending::Closed => "the server closed it without a close frame".to_owned(),
            Ending::Broken(failure) => broken(failure),
            Ending::Evicted => broken(Failure::NoMemory),
        };
        self.end(session, &cause);
    }

    fn on_command(&mut self, core: &mut Core<N, Session>, _: Leave) {
        self.over += self.connections - self.tried;
        self.tried = self.connections;
        for index in 0..core.high_water() {
            let Some(key) = core.key_at(index) else { continue };
            let mask = Some((self.masks.next() as u32).to_le_bytes());
            self.out.clear();
            Writer::close(Some(CloseCode::GOING_AWAY), "", mask, &mut self.out);
            match core.session(key).map(|session| &session.state) {
                // One that breaks by it is gone, and leaves no more.
                Some(State::Open(ws)) if !ws.writer.is_mid_frame() => {
                    self.send(core, key);
                    self.leave(core, key, State::Left);
                }
                Some(State::Upgrading(_)) => {
                    if let Some(session) = core.close(key) {
                        self.end(session, "it was not upgraded in time");
                    }
                }
                _ => {}
            }
        }
    }

    fn on_turn(&mut self, core: &mut Core<N, Session>) -> Option<Nanos> {
        self.give_up(core);
        self.close_leaving(core);
        if self.opening.len() >= OPENING_MAX {
            // One that is slow must not keep those behind it that have been upgraded, or have
            // ended.
            let opens = |session: &mut Session| matches!(session.state, State::Upgrading(_));
            self.opening.retain(|(key, _)| core.session(*key).is_some_and(opens));
        }
        while self.tried < self.connections && self.opening.len() < OPENING_MAX {
            self.open_next(core);
        }
        if self.over == self.connections {
            // Whoever asked may have stopped waiting.
            let _ = self.done.try_send(std::mem::take(&mut self.outcome));
        }
        let opening = self.opening.front().map(|(_, until)| *until);
        opening.into_iter().chain(self.leaving.iter().map(|l| l.since + LEAVE_TIMEOUT)).min()
    }

    fn is_finished(&self) -> bool {
        self.over == self.connections
    }
}

#[cfg(test)]
#[path = "echo_tests.rs"]
mod tests;
