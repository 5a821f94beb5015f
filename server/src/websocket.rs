//! WebSocket at the server: from the request to the close, for all connections of a reactor.
//!
//! No socket here, and no clock but for the date of refusals: bytes and time limits that have
//! passed come in, answers go out.
//!
//! ```text
//!  Opening ── good request ──► Open ── close, broken rule, going away ──► Closing
//!     └─ bad request, time limit ────────────────────────────────────────────┘
//! ```

use crate::limits::{
    ANSWER_KEPT_BYTES_MAX, DEFLATER_BYTES, DEFLATERS_MAX, INFLATER_BYTES, INFLATERS_MAX,
    PARTIAL_HEAD_BYTES_MAX, PARTIAL_HEAD_BYTES_PER_REACTOR_MIN, STREAMS_MEMORY_SHARE,
    STREAMS_PER_REACTOR_MIN,
};
use crate::service::{Goodbye, Reply, Service, TimeLimits, TimedOut, Turn};
use crate::snapshot::WebSocketSnapshot;
use measure::Nanos;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::http::{add_date, date_text};
use wire::ws::{
    Accepted, CloseCode, Echoed, End, HandshakeError, Head, HeadPool, Limits, Policy, Pools,
    ReadPool, Role, WritePool, Writer, Ws, echo,
};

/// What is asked of peers and granted to them.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a handshake may ask for.
    pub policy: Policy,
    /// What messages may be like.
    pub limits: Limits,
    /// Bytes of requests that may be only partly here, per reactor.
    pub partial_head_bytes_max: usize,
    /// Inflating streams that may be in use, per reactor.
    pub inflaters_max: usize,
    /// Deflating streams that may be in use, per reactor.
    pub deflaters_max: usize,
}

impl Config {
    /// What one of `reactors` reactors may spend of what the server spends on WebSocket.
    #[must_use]
    pub fn new(policy: Policy, limits: Limits, reactors: usize) -> Self {
        let share = |all: usize, least: usize| (all / reactors.max(1)).max(least);
        Self {
            policy,
            limits,
            partial_head_bytes_max: share(
                PARTIAL_HEAD_BYTES_MAX,
                PARTIAL_HEAD_BYTES_PER_REACTOR_MIN,
            ),
            inflaters_max: share(INFLATERS_MAX, STREAMS_PER_REACTOR_MIN),
            deflaters_max: share(DEFLATERS_MAX, STREAMS_PER_REACTOR_MIN),
        }
    }
}

impl Config {
    /// The same, with no more streams on each of so many reactors than a quarter of this memory has
    /// room for; one of each kind in any case.
    #[must_use]
    pub fn within(self, memory_bytes: u64, reactors: usize) -> Self {
        let usual = INFLATERS_MAX as u64 * INFLATER_BYTES + DEFLATERS_MAX as u64 * DEFLATER_BYTES;
        let (room, reactors) = (memory_bytes / STREAMS_MEMORY_SHARE, reactors.max(1) as u64);
        let fit = |usual_count: usize, now: usize| {
            let share = u128::from(room) * usual_count as u128 / u128::from(usual * reactors);
            now.min(usize::try_from(share).unwrap_or(usize::MAX)).max(1)
        };
        Self {
            inflaters_max: fit(INFLATERS_MAX, self.inflaters_max),
            deflaters_max: fit(DEFLATERS_MAX, self.deflaters_max),
            ..self
        }
    }

    /// What the streams of `reactors` reactors may take, in bytes.
    #[must_use]
    pub fn stream_bytes(&self, reactors: usize) -> u64 {
        let each =
            self.inflaters_max as u64 * INFLATER_BYTES + self.deflaters_max as u64 * DEFLATER_BYTES;
        each.saturating_mul(reactors as u64)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(Policy::default(), Limits::default(), 1)
    }
}

/// Where a connection stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Its request is not complete.
    Opening(Head),
    /// Messages are echoed.
    Open(Ws),
    /// Our last word was said; what comes is passed over.
    Closing,
}

impl State {
    /// Whether a message or frame is only partly here.
    #[inline]
    pub(crate) fn is_receiving(&self) -> bool {
        matches!(self, Self::Open(ws) if !ws.reader.is_idle())
    }
}

/// The WebSocket connections of one reactor, but for what each one keeps in its [`State`].
#[derive(Debug)]
pub(crate) struct WebSockets {
    config: Arc<Config>,
    heads: HeadPool,
    pools: Pools,
    /// Answers that do not fit where the question was.
    out: Vec<u8>,
    counts: WebSocketSnapshot,
}

impl WebSockets {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let pools = Pools {
            read: ReadPool::new(config.inflaters_max),
            write: WritePool::new(config.deflaters_max),
        };
        let counts = WebSocketSnapshot::default();
        Self { config, heads: HeadPool::default(), pools, out: Vec::new(), counts }
    }

    /// What was done, and what is going on.
    pub(crate) fn snapshot(&self) -> WebSocketSnapshot {
        WebSocketSnapshot {
            partial_requests: self.heads.in_use() as u64,
            partial_messages: self.pools.read.partials_in_use() as u64,
            inflaters: self.pools.read.inflaters_in_use() as u64,
            inflaters_refused: self.pools.read.inflaters_refused(),
            deflaters: self.pools.write.deflaters_in_use() as u64,
            deflaters_refused: self.pools.write.deflaters_refused(),
            ..self.counts.clone()
        }
    }

    /// Messages that were echoed.
    pub(crate) fn messages(&self) -> u64 {
        self.counts.messages
    }

    /// A connection of another protocol has become one of WebSocket; the answer is written already.
    pub(crate) fn upgraded(&mut self, accepted: Accepted) -> State {
        self.counts.open += 1;
        self.counts.upgraded += 1;
        State::Open(Ws::new(Role::Server, accepted.deflate))
    }

    /// Takes the next bytes of the request. Nearly always it comes whole in one read and is
    /// answered from there.
    fn read_request<'a>(
        &'a mut self,
        state: &mut State,
        bytes: &'a mut [u8],
        turn: Turn<'_>,
    ) -> Reply<'a> {
        let Self { config, heads, out, .. } = self;
        let all = bytes.len();
        let State::Opening(head) = state else { return Reply::silent(all) };
        out.clear();
        let read = head.read(heads, bytes, |head| config.policy.answer(head, out));
        match read {
            Ok(None) if heads.bytes() <= config.partial_head_bytes_max => Reply::silent(all),
            Ok(None) => Reply::last(self.refuse(state, HandshakeError::Busy), all),
            Err(error) => Reply::last(self.refuse(state, error.into()), all),
            Ok(Some((Err(error), _))) => Reply::last(self.refused(state, error), all),
            Ok(Some((Ok(accepted), used))) => {
                self.counts.opening -= 1;
                *state = self.upgraded(accepted);
                self.read_behind(state, bytes, used, turn)
            }
        }
    }

    /// Answers the frames that came right behind the request, whose own answer is written and which
    /// took `used` bytes.
    fn read_behind<'a>(
        &'a mut self,
        state: &mut State,
        bytes: &mut [u8],
        used: usize,
        turn: Turn<'_>,
    ) -> Reply<'a> {
        if used == bytes.len() {
            return Reply { bytes: &self.out, renewed: true, ..Reply::silent(used) };
        }
        let mut out = std::mem::take(&mut self.out);
        let Reply { bytes, used: behind, then, renewed, work, .. } =
            self.read(state, &mut bytes[used..], turn);
        out.extend_from_slice(bytes);
        self.out = out;
        let used = used + behind;
        Reply { bytes: &self.out, file: None, used, then, renewed, work }
    }

    fn refuse(&mut self, state: &mut State, error: HandshakeError) -> &[u8] {
        self.out.clear();
        error.write(true, &mut self.out);
        self.refused(state, error)
    }

    /// The refusal is written already, but for its date.
    fn refused(&mut self, state: &mut State, error: HandshakeError) -> &[u8] {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        add_date(0, &date_text(unix.as_secs()), &mut self.out);
        *self.counts.refused.entry(error.status()).or_default() += 1;
        self.forget(state);
        close(state, &mut self.counts);
        &self.out
    }

    /// Ends an open connection by a close frame with the code 1001, if that is possible: see
    /// [`WebSockets::dismiss`].
    fn go_away(&mut self, state: &mut State, why: &str) -> Goodbye<'_> {
        let answered = self.dismiss(state, CloseCode::GOING_AWAY, why);
        self.counts.gone_away += u64::from(answered);
        if answered { Goodbye::Says(&self.out) } else { Goodbye::NotNow }
    }

    /// Writes a close frame. False if the connection is not open, or in the middle of a frame of
    /// ours: a close frame would be taken for a part of that.
    fn dismiss(&mut self, state: &mut State, code: CloseCode, why: &str) -> bool {
        match state {
            State::Open(ws) if !ws.writer.is_mid_frame() => {}
            _ => return false,
        }
        self.out.clear();
        Writer::close(Some(code), why, None, &mut self.out);
        self.forget(state);
        close(state, &mut self.counts);
        true
    }

    /// Gives back what the pools hold for a connection.
    fn forget(&mut self, state: &mut State) {
        match state {
            State::Opening(head) => head.forget(&mut self.heads),
            State::Open(ws) => ws.forget(&mut self.pools),
            State::Closing => {}
        }
    }
}

impl Service for WebSockets {
    type State = State;

    fn arrived(&mut self) -> State {
        self.counts.opening += 1;
        State::Opening(Head::default())
    }

    #[inline]
    fn read<'a>(&'a mut self, state: &mut State, bytes: &'a mut [u8], turn: Turn<'_>) -> Reply<'a> {
        if self.out.capacity() > ANSWER_KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        let all = bytes.len();
        match state {
            State::Open(ws) => {
                let Self { config, pools, out, counts, .. } = self;
                let was_receiving = !ws.reader.is_idle();
                pools.read.allow(turn.work_max);
                // A server's frames have no masks.
                let masks = || [0; 4];
                let echoed = echo(ws, &config.limits, pools, masks, bytes, out);
                let Echoed { reply, messages, end } = echoed;
                counts.messages += u64::from(messages);
                let work = pools.read.work_done();
                let Some(end) = end else {
                    // The time of a message counts from its first byte, however it trickles.
                    let goes_on = was_receiving && messages == 0 && !ws.reader.is_idle();
                    let renewed = !goes_on || turn.limits.message.is_none();
                    let used = all - pools.read.unread();
                    return Reply { bytes: reply, renewed, work, ..Reply::silent(used) };
                };
                count_end(counts, end);
                ws.forget(pools);
                close(state, counts);
                Reply { work, ..Reply::last(reply, all) }
            }
            State::Opening(_) => self.read_request(state, bytes, turn),
            State::Closing => Reply::silent(all),
        }
    }

    #[inline]
    fn limit(&self, state: &State, _blocked: bool, limits: &TimeLimits) -> Option<Nanos> {
        match state {
            State::Open(_) if limits.message.is_some() && state.is_receiving() => limits.message,
            State::Open(_) => limits.idle,
            State::Opening(_) => limits.handshake,
            State::Closing => Some(limits.closing),
        }
    }

    fn has_deadlines(&self, limits: &TimeLimits) -> bool {
        let messages = limits.message.is_some() && self.pools.read.partials_in_use() > 0;
        messages || self.counts.opening + self.counts.closing > 0
    }

    fn time_out(&mut self, state: &mut State, _blocked: bool, turn: Turn<'_>) -> TimedOut<'_> {
        let goodbye = match state {
            State::Opening(_) => Goodbye::Says(self.refuse(state, HandshakeError::TimedOut)),
            State::Closing => {
                // The peer did not close in time after our last word.
                self.counts.close_timed_out += 1;
                Goodbye::Closes
            }
            State::Open(_) if turn.limits.message.is_some() && state.is_receiving() => {
                self.counts.message_timed_out += 1;
                let why = "the message was not complete in time";
                if self.dismiss(state, CloseCode::POLICY_VIOLATION, why) {
                    Goodbye::Says(&self.out)
                } else {
                    Goodbye::NotNow
                }
            }
            State::Open(_) => {
                let goodbye = self.go_away(state, "nothing was said for too long");
                return TimedOut { goodbye, silence: true };
            }
        };
        TimedOut { goodbye, silence: false }
    }

    fn say_goodbye(&mut self, state: &mut State, _blocked: bool) -> Goodbye<'_> {
        match state {
            State::Opening(_) => Goodbye::Closes,
            // Who is in the middle of a frame is asked again after it.
            State::Open(_) | State::Closing => self.go_away(state, "the server stops"),
        }
    }

    fn ended(&mut self, mut state: State) {
        self.forget(&mut state);
        let counts = &mut self.counts;
        match state {
            State::Opening(_) => {
                counts.opening -= 1;
                counts.abandoned += 1;
            }
            State::Open(_) => {
                counts.open -= 1;
                counts.lost += 1;
            }
            State::Closing => counts.closing -= 1,
        }
    }

    fn says_pongs(state: &State) -> bool {
        matches!(state, State::Open(ws) if ws.writer.sends_pongs())
    }
}

/// Goes over to [`State::Closing`]. The pools have been given back what they hold.
fn close(state: &mut State, counts: &mut WebSocketSnapshot) {
    match state {
        State::Opening(_) => counts.opening -= 1,
        State::Open(_) => counts.open -= 1,
        State::Closing => return,
    }
    counts.closing += 1;
    *state = State::Closing;
}

#[cold]
fn count_end(counts: &mut WebSocketSnapshot, end: End) {
    match end {
        End::Closed(_) => counts.closed += 1,
        End::Broken(error) => {
            *counts.protocol_errors.entry(error.close_code().0).or_default() += 1;
        }
    }
}
