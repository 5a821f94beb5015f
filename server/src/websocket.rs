//! WebSocket at the server: from the request to the close, for all connections of a reactor.
//!
//! No socket here, and no clock but for the date of refusals: bytes and time limits that have passed come in,
//! answers go out.
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
use crate::session::Answer;
use crate::snapshot::WebSocketSnapshot;
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
    /// The share of one reactor of so many in what the server spends on WebSocket.
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
    /// The same, with no more streams on each of so many reactors than a quarter of this memory has room
    /// for; one of each kind in any case.
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

    /// What the streams of so many reactors may take, in bytes.
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
pub(crate) enum Phase {
    /// Its request is not complete.
    Opening(Head),
    /// Messages are echoed.
    Open(Ws),
    /// Our last word was said; what comes is passed over.
    Closing,
}

impl Phase {
    /// Whether a message or frame is only partly here.
    #[inline]
    pub(crate) fn is_receiving(&self) -> bool {
        matches!(self, Self::Open(ws) if !ws.reader.is_idle())
    }
}

/// The WebSocket connections of one reactor, but for what each one keeps in its [`Phase`].
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

    /// Whether any connection is in a phase that has a time limit of its own.
    pub(crate) fn has_deadlines(&self) -> bool {
        self.counts.opening + self.counts.closing > 0
    }

    /// Whether a message of any connection is only partly here.
    pub(crate) fn has_partial_messages(&self) -> bool {
        self.pools.read.partials_in_use() > 0
    }

    /// What a handshake may ask for.
    pub(crate) fn policy(&self) -> &Policy {
        &self.config.policy
    }

    /// A connection of another protocol has become one of WebSocket; the answer is written already.
    pub(crate) fn upgraded(&mut self, accepted: Accepted) -> Phase {
        self.counts.open += 1;
        self.counts.upgraded += 1;
        Phase::Open(Ws::new(Role::Server, accepted.deflate))
    }

    /// A connection has come, in the phase [`Phase::Opening`].
    pub(crate) fn arrived(&mut self) {
        self.counts.opening += 1;
    }

    /// Answers the next bytes of a connection, with no more work than this.
    #[inline]
    pub(crate) fn read<'a>(
        &'a mut self,
        phase: &mut Phase,
        bytes: &'a mut [u8],
        work_max: u64,
    ) -> Answer<'a> {
        if self.out.capacity() > ANSWER_KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        match phase {
            Phase::Open(ws) => {
                let Self { config, pools, out, counts, .. } = self;
                let was_receiving = !ws.reader.is_idle();
                // A server's frames have no masks.
                let masks = || [0; 4];
                pools.read.allow(work_max);
                let echoed = echo(ws, &config.limits, pools, masks, bytes, out);
                let Echoed { reply, messages, end } = echoed;
                counts.messages += u64::from(messages);
                let (work, unread) = (pools.read.work_done(), pools.read.unread());
                match end {
                    None => {
                        let stays = was_receiving && messages == 0 && !ws.reader.is_idle();
                        Answer { bytes: reply, last: false, stays, work, unread }
                    }
                    Some(end) => {
                        count_end(counts, end);
                        ws.forget(pools);
                        close(phase, counts);
                        Answer { work, ..Answer::last(reply) }
                    }
                }
            }
            Phase::Opening(_) => self.read_request(phase, bytes, work_max),
            Phase::Closing => Answer::more(&[]),
        }
    }

    /// Takes the next bytes of the request. Nearly always it comes whole in one read and is answered
    /// from there.
    fn read_request<'a>(
        &'a mut self,
        phase: &mut Phase,
        bytes: &'a mut [u8],
        work_max: u64,
    ) -> Answer<'a> {
        let Self { config, heads, out, .. } = self;
        let Phase::Opening(head) = phase else { return Answer::more(&[]) };
        out.clear();
        let read = head.read(heads, bytes, |head| config.policy.answer(head, out));
        match read {
            Ok(None) if heads.bytes() <= config.partial_head_bytes_max => Answer::more(&[]),
            Ok(None) => self.refuse(phase, HandshakeError::Busy),
            Err(error) => self.refuse(phase, error.into()),
            Ok(Some((Err(error), _))) => self.refused(phase, error),
            Ok(Some((Ok(accepted), used))) => {
                self.counts.opening -= 1;
                *phase = self.upgraded(accepted);
                self.read_behind(phase, &mut bytes[used..], work_max)
            }
        }
    }

    /// Answers the frames that came right behind the request, behind the answer to that.
    fn read_behind<'a>(
        &'a mut self,
        phase: &mut Phase,
        bytes: &mut [u8],
        work_max: u64,
    ) -> Answer<'a> {
        if bytes.is_empty() {
            return Answer::more(&self.out);
        }
        let mut out = std::mem::take(&mut self.out);
        let Answer { bytes, last, stays, work, unread } = self.read(phase, bytes, work_max);
        out.extend_from_slice(bytes);
        self.out = out;
        Answer { bytes: &self.out, last, stays, work, unread }
    }

    /// The request did not come in time.
    pub(crate) fn time_out(&mut self, phase: &mut Phase) -> Answer<'_> {
        self.refuse(phase, HandshakeError::TimedOut)
    }

    fn refuse(&mut self, phase: &mut Phase, error: HandshakeError) -> Answer<'_> {
        self.out.clear();
        error.write(true, &mut self.out);
        self.refused(phase, error)
    }

    /// The refusal is written already, but for its date.
    fn refused(&mut self, phase: &mut Phase, error: HandshakeError) -> Answer<'_> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        add_date(0, &date_text(unix.as_secs()), &mut self.out);
        *self.counts.refused.entry(error.status()).or_default() += 1;
        self.forget(phase);
        close(phase, &mut self.counts);
        Answer::last(&self.out)
    }

    /// Ends an open connection by a close frame with the code 1001. `None` if it is not open, or in
    /// the middle of a frame of ours: a close frame would be taken for a part of that.
    pub(crate) fn go_away(&mut self, phase: &mut Phase, why: &str) -> Option<Answer<'_>> {
        let answered = self.dismiss(phase, CloseCode::GOING_AWAY, why);
        self.counts.gone_away += u64::from(answered);
        answered.then_some(Answer::last(&self.out))
    }

    /// A message was not complete in time: ends its connection by a close frame with the code 1008, or
    /// without one (`None`), as [`WebSockets::go_away`] does.
    pub(crate) fn time_out_message(&mut self, phase: &mut Phase) -> Option<Answer<'_>> {
        self.counts.message_timed_out += 1;
        let why = "the message was not complete in time";
        let answered = self.dismiss(phase, CloseCode::POLICY_VIOLATION, why);
        answered.then_some(Answer::last(&self.out))
    }

    /// Writes a close frame, if one may be sent now.
    fn dismiss(&mut self, phase: &mut Phase, code: CloseCode, why: &str) -> bool {
        match phase {
            Phase::Open(ws) if !ws.writer.is_mid_frame() => {}
            _ => return false,
        }
        self.out.clear();
        Writer::close(Some(code), why, None, &mut self.out);
        self.forget(phase);
        close(phase, &mut self.counts);
        true
    }

    /// The peer did not close in time after our last word.
    pub(crate) fn give_up(&mut self) {
        self.counts.close_timed_out += 1;
    }

    /// A connection has ended, in whatever phase it is.
    pub(crate) fn ended(&mut self, mut phase: Phase) {
        self.forget(&mut phase);
        let counts = &mut self.counts;
        match phase {
            Phase::Opening(_) => {
                counts.opening -= 1;
                counts.abandoned += 1;
            }
            Phase::Open(_) => {
                counts.open -= 1;
                counts.lost += 1;
            }
            Phase::Closing => counts.closing -= 1,
        }
    }

    /// Gives back what the pools hold for a connection.
    fn forget(&mut self, phase: &mut Phase) {
        match phase {
            Phase::Opening(head) => head.forget(&mut self.heads),
            Phase::Open(ws) => ws.forget(&mut self.pools),
            Phase::Closing => {}
        }
    }
}

/// Goes over to [`Phase::Closing`]. The pools have been given back what they hold.
fn close(phase: &mut Phase, counts: &mut WebSocketSnapshot) {
    match phase {
        Phase::Opening(_) => counts.opening -= 1,
        Phase::Open(_) => counts.open -= 1,
        Phase::Closing => return,
    }
    counts.closing += 1;
    *phase = Phase::Closing;
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
