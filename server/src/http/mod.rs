//! HTTP at the server: requests in, answers out, for all connections of a reactor.
//!
//! No socket here: bytes and time limits that have passed come in, answers and parts of files go
//! out.
//!
//! ```text
//!          ┌── request complete: answered ──┐
//!          ▼                                │
//!  Open: idle ── first byte ──► receiving ──┤
//!                                           ├── WebSocket ──► see `websocket.rs`
//!                                           └── refused, time limit, last answer ──► Closing
//! ```

mod held;
mod site;

use crate::files::Answered;
use crate::limits::{
    ANSWER_KEPT_BYTES_MAX, HELD_BYTES_MAX, HELD_BYTES_PER_REACTOR_MIN, HTTP_ANSWERS_BYTES_MAX,
    LOOKUP_WORK, OPEN_FILES, PARTIAL_HEAD_BYTES_MAX, PARTIAL_HEAD_BYTES_PER_REACTOR_MIN,
    REQUEST_WORK,
};
use crate::service::{Full, Goodbye, Reply, Service, Then, TimeLimits, TimedOut, Turn};
use crate::snapshot::HttpSnapshot;
use held::{Held, NOTHING};
use measure::Nanos;
use reactor::FilePart;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::http::{
    CONTINUE, DateCache, DateText, HTTP_BODY_BYTES_DEFAULT, HeadLimits, Method, Persistence,
    Refusal, RequestEvent, RequestPool, Requests, Status, add_date, write_status,
};
use wire::ws::{HandshakeError, Policy};

pub use site::Site;

/// What is served, and what is asked of peers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder whose files are served; without one, the page with the server's counters.
    pub root: Option<PathBuf>,
    /// The largest request body that is read (and dropped), in bytes.
    pub body_bytes_max: u64,
    /// How large the head of a request may be.
    pub heads: HeadLimits,
    /// Bytes of requests that may be only partly here, per reactor. Of one with a body that is its
    /// head.
    pub partial_request_bytes_max: usize,
    /// Large files that may be open, those on their way included, per reactor.
    pub open_files_max: usize,
    /// Bytes of requests that may wait for the answers before them, per reactor.
    pub held_bytes_max: usize,
}

impl Config {
    /// What one of `reactors` reactors may spend of what the server spends on HTTP.
    #[must_use]
    pub fn new(root: Option<PathBuf>, body_bytes_max: u64, reactors: usize) -> Self {
        let share = |all: usize, least: usize| (all / reactors.max(1)).max(least);
        Self {
            root,
            body_bytes_max,
            heads: HeadLimits::default(),
            partial_request_bytes_max: share(
                PARTIAL_HEAD_BYTES_MAX,
                PARTIAL_HEAD_BYTES_PER_REACTOR_MIN,
            ),
            open_files_max: OPEN_FILES as usize,
            held_bytes_max: share(HELD_BYTES_MAX, HELD_BYTES_PER_REACTOR_MIN),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(None, HTTP_BODY_BYTES_DEFAULT, 1)
    }
}

/// Where a connection stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Requests are read.
    Open(Requests, Waiting),
    /// Our last word was said; what comes is passed over.
    Closing,
}

/// The number under which a connection's next requests are held.
#[derive(Debug)]
pub(crate) struct Waiting(u32);

impl Default for State {
    fn default() -> Self {
        Self::Open(Requests::default(), Waiting(NOTHING))
    }
}

impl State {
    /// Whether a request is only partly here.
    pub(crate) fn is_receiving(&self) -> bool {
        matches!(self, Self::Open(requests, _) if !requests.is_idle())
    }
}

/// The time of day, for a reactor that only reads the run's clock.
#[derive(Debug, Default)]
struct WallClock {
    /// Unix time at the zero of the run's clock.
    zero: Nanos,
    /// When that is looked at again: somebody may set the clock.
    look_at: Nanos,
}

impl WallClock {
    /// Unix time when the run's clock says `now`.
    #[inline]
    fn at(&mut self, now: Nanos) -> Nanos {
        if now >= self.look_at {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.zero = Nanos::from(unix) - now;
            self.look_at = now + Nanos::from_secs(1);
        }
        self.zero + now
    }
}

/// Codes from 0 up to, not including, this one are counted.
const CODES: usize = 600;

/// The HTTP connections of one reactor, but for what each one keeps in its [`State`].
#[derive(Debug)]
pub(crate) struct Http {
    config: Config,
    site: Site,
    /// What is granted to who asks for WebSocket.
    policy: Policy,
    pool: RequestPool,
    held: Held,
    out: Vec<u8>,
    clock: WallClock,
    date: DateCache,
    counts: HttpSnapshot,
    /// Answers by status.
    answers: Box<[u64; CODES]>,
}

impl Http {
    pub(crate) fn new(config: Config, site: Site, policy: Policy) -> Self {
        Self {
            held: Held::new(config.held_bytes_max),
            pool: RequestPool::new(config.heads),
            config,
            site,
            policy,
            out: Vec::new(),
            clock: WallClock::default(),
            date: DateCache::default(),
            counts: HttpSnapshot::default(),
            answers: Box::new([0; CODES]),
        }
    }

    /// Grants this from now on to who asks for WebSocket.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Serves this site from now on.
    pub(crate) fn set_site(&mut self, config: Config, site: Site) {
        *self = Self::new(config, site, std::mem::take(&mut self.policy));
    }

    /// What was done, and what is going on.
    pub(crate) fn snapshot(&self) -> HttpSnapshot {
        let answers = self.answers.iter().zip(0..).filter(|(count, _)| **count > 0);
        let (files_kept, cache_hits, cache_misses) = self.site.cache();
        HttpSnapshot {
            responses: answers.map(|(count, code)| (code, *count)).collect(),
            partial_requests: self.pool.in_use() as u64,
            held_bytes: self.held.bytes() as u64,
            files_kept,
            files_open: self.site.files_open(),
            files_refused: self.site.files_refused(),
            cache_hits,
            cache_misses,
            ..self.counts.clone()
        }
    }

    /// Requests that were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests
    }

    /// Closes all files, here on the reactor's own thread: its descriptors may be in a table of its
    /// own, and would name others elsewhere.
    pub(crate) fn close_files(&mut self) {
        self.site = Site::page();
    }

    /// What the page shows of the server from now on.
    pub(crate) fn show(&mut self, counters: &[u8], now: Nanos) {
        self.site.show(counters, self.clock.at(now));
    }

    /// The connection is ours no more, or takes no more requests.
    fn leave(&mut self, state: &mut State, then: Then) {
        self.forget(state);
        *state = State::Closing;
        self.counts.open -= 1;
        if then == Then::Last {
            self.counts.closing += 1;
        }
    }

    /// Takes out what was held.
    fn take_held(&mut self, state: &mut State) -> Vec<u8> {
        match state {
            State::Open(_, Waiting(index)) => self.held.take(std::mem::replace(index, NOTHING)),
            State::Closing => Vec::new(),
        }
    }

    /// The request did not come in time: our last word on the connection.
    fn refuse_late(&mut self, state: &mut State, now: Nanos) -> &[u8] {
        self.leave_receiving(state);
        let date = self.date.at(self.clock.at(now).0 / 1_000_000_000);
        self.out.clear();
        refuse(Refusal::TimedOut, Method::Get, date, &mut self.answers, &mut self.out);
        self.counts.response_bytes += self.out.len() as u64;
        &self.out
    }

    /// The connection takes no more requests, in the middle of one or not.
    fn leave_receiving(&mut self, state: &mut State) {
        self.counts.receiving -= u64::from(state.is_receiving());
        self.leave(state, Then::Last);
    }

    /// Gives back what the pools hold for a connection.
    fn forget(&mut self, state: &mut State) {
        drop(self.take_held(state));
        if let State::Open(requests, _) = state {
            requests.forget(&mut self.pool);
        }
    }
}

impl Service for Http {
    type State = State;

    const IN_TURN: bool = true;

    fn arrived(&mut self) -> State {
        self.counts.open += 1;
        State::default()
    }

    /// Answers all requests that the bytes complete, up to one whose body has to leave first, or
    /// with which so much work is done.
    #[inline]
    fn read<'a>(&'a mut self, state: &mut State, bytes: &'a mut [u8], turn: Turn<'_>) -> Reply<'a> {
        let (now, work_max) = (turn.now, turn.work_max);
        let was_receiving = state.is_receiving();
        if self.out.capacity() > ANSWER_KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        let Self { config, site, policy, pool, out, clock, date, counts, answers, .. } = self;
        out.clear();
        let State::Open(requests, _) = state else {
            return Reply::silent(bytes.len());
        };
        let unix = clock.at(now);
        let date = date.at(unix.0 / 1_000_000_000);
        let (before, mut file, mut upgrade) = (counts.requests, None, None);
        let lookups_before = site.lookups();
        let mut lookups = 0;
        pool.allow(work_max);
        let read = requests.read(config.body_bytes_max, pool, bytes, |event| {
            let RequestEvent::Request(request) = event else {
                out.extend_from_slice(CONTINUE);
                return ControlFlow::Continue(());
            };
            counts.requests += 1;
            if request.wants_websocket() {
                let begin = out.len();
                upgrade = Some(policy.answer(request.head(), out));
                if let Some(Err(_)) = upgrade {
                    add_date(begin, date, out);
                }
                return ControlFlow::Break(());
            }
            let Answered { status, part } = site.answer(&request, unix, date, out);
            answers[usize::from(status.0)] += 1;
            file = part;
            lookups = site.lookups() - lookups_before;
            let requests = counts.requests - before;
            let work = requests * REQUEST_WORK + lookups * LOOKUP_WORK + out.len() as u64;
            if file.is_some() || work >= work_max || out.len() >= HTTP_ANSWERS_BYTES_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let answered = (counts.requests - before) as u32;
        let renewed = !was_receiving || answered > 0;
        let (used, then) = match (read, upgrade) {
            (Err(refusal), _) => {
                refuse(refusal, pool.refused_method(), date, answers, out);
                (bytes.len(), Then::Last)
            }
            (Ok(used), Some(Ok(accepted))) => {
                answers[101] += 1;
                (used, Then::Upgrade(accepted))
            }
            (Ok(_), Some(Err(error))) => {
                answers[usize::from(HandshakeError::status(error))] += 1;
                (bytes.len(), Then::Last)
            }
            (Ok(_), None) if requests.is_over() => (bytes.len(), Then::Last),
            (Ok(_), None)
                if pool.bytes() > config.partial_request_bytes_max && !requests.is_idle() =>
            {
                let busy = Status::SERVICE_UNAVAILABLE;
                write_status(busy, Method::Get, Persistence::Close, date, out);
                answers[usize::from(busy.0)] += 1;
                (bytes.len(), Then::Last)
            }
            (Ok(used), None) => (used, Then::More),
        };
        let sent = out.len() as u64 + file.as_ref().map_or(0, FilePart::left);
        counts.response_bytes += sent;
        if then != Then::More {
            self.leave(state, then);
        }
        self.counts.receiving += u64::from(state.is_receiving());
        self.counts.receiving -= u64::from(was_receiving);
        let work =
            u64::from(answered) * REQUEST_WORK + lookups * LOOKUP_WORK + self.out.len() as u64;
        let work = work + self.pool.work_done();
        Reply { bytes: &self.out, file, used, then, renewed, work }
    }

    fn hold(&mut self, state: &mut State, rest: &[u8]) -> Result<(), Full> {
        if let State::Open(_, Waiting(index)) = state {
            let put = self.held.put(rest);
            *index = put.inspect_err(|_| self.counts.held_full += 1)?;
        }
        Ok(())
    }

    fn resume(&mut self, state: &mut State, blocked: bool) -> Option<Vec<u8>> {
        // As long as a peer takes its answer it is in nobody's way.
        Some(if blocked { Vec::new() } else { self.take_held(state) })
    }

    #[inline]
    fn limit(&self, state: &State, blocked: bool, limits: &TimeLimits) -> Option<Nanos> {
        match state {
            _ if blocked => limits.idle,
            State::Closing => Some(limits.closing),
            State::Open(..) if state.is_receiving() => limits.handshake,
            State::Open(..) => limits.idle,
        }
    }

    fn has_deadlines(&self, _: &TimeLimits) -> bool {
        self.counts.receiving + self.counts.closing > 0
    }

    fn time_out(&mut self, state: &mut State, blocked: bool, turn: Turn<'_>) -> TimedOut<'_> {
        let (goodbye, silence) = match state {
            _ if blocked => {
                // The peer took nothing of its answer for too long. One that ends early must not
                // look whole.
                self.counts.stalled_closed += 1;
                (Goodbye::Resets, true)
            }
            State::Closing => {
                // The peer did not close in time after our last word.
                self.counts.close_timed_out += 1;
                (Goodbye::Closes, false)
            }
            State::Open(..) if state.is_receiving() => {
                (Goodbye::Says(self.refuse_late(state, turn.now)), false)
            }
            State::Open(..) => {
                self.counts.idle_closed += 1;
                (Goodbye::Closes, true)
            }
        };
        TimedOut { goodbye, silence }
    }

    fn say_goodbye(&mut self, state: &mut State, blocked: bool) -> Goodbye<'_> {
        match state {
            State::Closing => Goodbye::NotNow,
            State::Open(..) if blocked => {
                // The answer that is on its way still arrives, and is the last one.
                self.leave_receiving(state);
                Goodbye::Says(&[])
            }
            State::Open(..) => Goodbye::Closes,
        }
    }

    fn ended(&mut self, mut state: State) {
        if state.is_receiving() {
            self.counts.receiving -= 1;
            self.counts.abandoned += 1;
        }
        match state {
            State::Open(..) => self.counts.open -= 1,
            State::Closing => self.counts.closing -= 1,
        }
        self.forget(&mut state);
    }
}

#[cold]
fn refuse(
    refusal: Refusal,
    method: Method,
    date: &DateText,
    answers: &mut [u64; CODES],
    out: &mut Vec<u8>,
) {
    answers[usize::from(refusal.status().0)] += 1;
    refusal.write(method, date, out);
}
