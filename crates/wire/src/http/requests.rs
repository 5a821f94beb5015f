//! The server's side of a connection: requests out of a stream of bytes, in order, bodies dropped.

use super::body::{Body, BodyError};
use super::fields::{Lines, folds_framing, unfold};
use super::head::{Begin, Head, HeadLimits, HeadPool};
use super::memo::Memo;
use super::request::{Facts, Refusal, Request};
use super::status::Method;
use crate::limits::{HTTP_BODY_PIECE_BYTES, HTTP_FRAMING_WORK, HTTP_LINE_WORK};
use crate::pool::{HELD_OVERHEAD_BYTES, Pool};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// What comes out of a stream of requests.
#[derive(Clone, Copy, Debug)]
pub enum RequestEvent<'a> {
    /// The client waits to be invited before it sends its body, which is not too large:
    /// [`CONTINUE`](super::CONTINUE) is to be sent at once.
    Continue,
    /// A request is complete: to be answered now, after those before it.
    Request(Request<'a>),
}

/// What the requests of a reactor's connections share.
#[derive(Debug)]
pub struct RequestPool {
    heads: HeadPool,
    bodies: Pool<Pending>,
    body_bytes: usize,
    memo: Memo<Facts>,
    /// That of the last request that was refused.
    refused: Method,
    /// The work that was done since it was bounded, and the bound.
    work: u64,
    work_allowed: u64,
}

impl Default for RequestPool {
    fn default() -> Self {
        Self::new(HeadLimits::default())
    }
}

impl RequestPool {
    /// For requests whose heads are no larger than this.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            heads: HeadPool::new(limits, Begin::Token),
            bodies: Pool::default(),
            body_bytes: 0,
            memo: Memo::default(),
            refused: Method::default(),
            work: 0,
            work_allowed: u64::MAX,
        }
    }

    /// Bounds the work of what is read from now on, in units of about a nanosecond: a header line
    /// costs [`HTTP_LINE_WORK`], a byte of what frames a body [`HTTP_FRAMING_WORK`]. Reading stops
    /// behind the head, or the piece of a body, with which it is used up. Without this there is no
    /// bound.
    #[inline]
    pub fn allow(&mut self, units: u64) {
        (self.work, self.work_allowed) = (0, units);
    }

    /// The work that was done since it was bounded.
    #[must_use]
    #[inline]
    pub fn work_done(&self) -> u64 {
        self.work
    }

    /// Reads on in a body, a piece of it at the most. Sized bodies cost nothing but the reading.
    #[inline]
    fn read_body(&mut self, body: &mut Body, max: u64, bytes: &[u8]) -> Result<usize, BodyError> {
        let piece = &bytes[..bytes.len().min(HTTP_BODY_PIECE_BYTES)];
        let before = body.received();
        let used = body.read(max, piece, |_| ())?;
        self.work += (used as u64 - (body.received() - before)) * HTTP_FRAMING_WORK;
        Ok(used)
    }

    /// The method of the request that was refused last, as far as the answer depends on it: a
    /// refusal of HEAD has no body, either (RFC 9110 9.3.2).
    #[must_use]
    pub fn refused_method(&self) -> Method {
        self.refused
    }

    /// Bytes of requests that are only partly here, and what it takes to keep each. Of those whose
    /// body is on its way that is the head.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.heads.bytes() + self.body_bytes
    }

    fn keep(&mut self, pending: Pending) -> u32 {
        self.body_bytes += pending.bytes();
        self.bodies.put(pending)
    }

    fn take(&mut self, index: u32) -> Pending {
        let pending = self.bodies.take(index);
        self.body_bytes -= pending.bytes();
        pending
    }

    /// Requests that are only partly here.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.heads.in_use() + self.bodies.in_use()
    }
}

/// A request whose body is on its way.
#[derive(Debug, Default)]
struct Pending {
    head: Box<[u8]>,
    facts: Facts,
    body: Body,
}

impl Pending {
    /// What it takes to keep it.
    fn bytes(&self) -> usize {
        self.head.len() + size_of::<Self>() + HELD_OVERHEAD_BYTES
    }
}

/// One connection's requests: eight bytes. What is only partly here lies in the [`RequestPool`].
#[derive(Debug, Default)]
pub struct Requests {
    position: Position,
}

const _: () = assert!(size_of::<Requests>() == 8);

#[derive(Debug, Default)]
enum Position {
    /// Between two requests.
    #[default]
    Idle,
    /// The first half of an empty line that stands before a request.
    EmptyLine,
    /// An empty line was passed over; another one may not follow.
    Begin,
    /// A head is only partly here.
    Head(Head),
    /// A body is on its way: its place in the pool.
    Body(u32),
    /// The last request was read, or what came was refused.
    Over,
}

impl Requests {
    /// Takes the next bytes of the stream and hands on what they complete. Requests whose bodies
    /// would be longer than `body_bytes_max` are refused.
    ///
    /// `sink` can stop the reading with [`ControlFlow::Break`] behind a request, because another
    /// protocol begins there, or because its answer has to leave first; and the work may be bounded
    /// ([`RequestPool::allow`]). How many bytes were taken is returned; it is less than all of them
    /// only then. After a request that ends the connection, and after an error, all further bytes
    /// are taken and mean nothing.
    ///
    /// # Errors
    /// Why what came is no request: to be answered behind the answers to those before it, then the
    /// connection is to be closed.
    #[inline]
    pub fn read(
        &mut self,
        body_bytes_max: u64,
        pool: &mut RequestPool,
        bytes: &[u8],
        mut sink: impl FnMut(RequestEvent<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let step = self.step(body_bytes_max, pool, rest, &mut sink);
            let (used, flow) = step.inspect_err(|_| {
                self.forget(pool);
                self.position = Position::Over;
            })?;
            at += used;
            if flow.is_break() || pool.work >= pool.work_allowed {
                break;
            }
        }
        Ok(at)
    }

    /// Whether nothing of a request is here: silence is no fault.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.position, Position::Idle)
    }

    /// Whether no further request will be read: the connection is to be closed when all answers
    /// have left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.position, Position::Over)
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut RequestPool) {
        match &mut self.position {
            Position::Head(head) => head.forget(&mut pool.heads),
            Position::Body(index) => drop(pool.take(*index)),
            Position::Idle | Position::EmptyLine | Position::Begin | Position::Over => return,
        }
        self.position = Position::Idle;
    }

    /// Reads up to the end of a request at the most.
    #[inline]
    fn step(
        &mut self,
        max: u64,
        pool: &mut RequestPool,
        bytes: &[u8],
        sink: &mut impl FnMut(RequestEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Refusal> {
        match &mut self.position {
            Position::Idle | Position::Begin => {
                if let Some((facts, length)) = pool.memo.recall(bytes) {
                    let (head, rest) = bytes.split_at(length);
                    let (used, flow) = self.begin(max, pool, head, facts, rest, sink)?;
                    return Ok((length + used, flow));
                }
                if bytes[0] == b'\r' && matches!(self.position, Position::Idle) {
                    self.position = Position::EmptyLine;
                    return Ok((1, ControlFlow::Continue(())));
                }
                self.head(Head::default(), max, pool, bytes, sink)
            }
            // RFC 9112 2.2 asks for patience with one such line.
            Position::EmptyLine => {
                if bytes[0] != b'\n' {
                    pool.refused = Method::default();
                    return Err(Refusal::Syntax);
                }
                self.position = Position::Begin;
                Ok((1, ControlFlow::Continue(())))
            }
            Position::Head(head) => {
                let head = std::mem::take(head);
                self.head(head, max, pool, bytes, sink)
            }
            Position::Body(index) => {
                let pending = pool.bodies.get_mut(*index);
                pool.refused = pending.facts.method();
                let mut body = pending.body;
                let used = pool.read_body(&mut body, max, bytes)?;
                pool.bodies.get_mut(*index).body = body;
                if !body.is_done() {
                    return Ok((used, ControlFlow::Continue(())));
                }
                let Pending { head, facts, body } = pool.take(*index);
                Ok((used, self.finish(&head, &facts, &body, sink)))
            }
            Position::Over => Ok((bytes.len(), ControlFlow::Continue(()))),
        }
    }

    /// Reads a head, and what follows it.
    fn head(
        &mut self,
        mut state: Head,
        max: u64,
        pool: &mut RequestPool,
        bytes: &[u8],
        sink: &mut impl FnMut(RequestEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Refusal> {
        let complete = state.complete(&mut pool.heads, bytes);
        if complete.is_err() {
            let partial = state.partial(&mut pool.heads);
            pool.refused = method_of(if partial.is_empty() { bytes } else { partial });
        }
        self.position = Position::Head(state);
        let Some((head, length)) = complete? else {
            return Ok((bytes.len(), ControlFlow::Continue(())));
        };
        // A folded head does not look as it is read, so it is not worth remembering.
        let folded = Lines::of(&head) == Lines::Folded;
        if folded && folds_framing(&head) {
            pool.refused = method_of(&head);
            return Err(Refusal::Syntax);
        }
        let head = if folded { Cow::Owned(unfold(&head)) } else { head };
        pool.work += memchr::memchr_iter(b'\n', &head).count() as u64 * HTTP_LINE_WORK;
        let facts = Facts::parse(&head, pool.heads.limits.headers)
            .inspect_err(|_| pool.refused = method_of(&head))?;
        if !folded {
            pool.memo.keep(&head, facts);
        }
        let (used, flow) = self.begin(max, pool, &head, facts, &bytes[length..], sink)?;
        Ok((length + used, flow))
    }

    /// Begins a request whose head is complete; `rest` follows it.
    #[inline]
    fn begin(
        &mut self,
        max: u64,
        pool: &mut RequestPool,
        head: &[u8],
        facts: Facts,
        rest: &[u8],
        sink: &mut impl FnMut(RequestEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Refusal> {
        let Some(framing) = facts.framing else {
            return Ok((0, self.finish(head, &facts, &Body::default(), sink)));
        };
        // In case that it is refused.
        pool.refused = facts.method();
        let mut body = Body::new(framing, max)?;
        if facts.expects_continue() {
            let _ = sink(RequestEvent::Continue);
        }
        let used = pool.read_body(&mut body, max, rest)?;
        if body.is_done() {
            return Ok((used, self.finish(head, &facts, &body, sink)));
        }
        self.position = Position::Body(pool.keep(Pending { head: head.into(), facts, body }));
        Ok((used, ControlFlow::Continue(())))
    }

    /// Hands a complete request on.
    #[inline]
    fn finish(
        &mut self,
        head: &[u8],
        facts: &Facts,
        body: &Body,
        sink: &mut impl FnMut(RequestEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.position = if facts.persistence().keeps() { Position::Idle } else { Position::Over };
        sink(RequestEvent::Request(Request { head, facts, body_bytes: body.received() }))
    }
}

/// Whether a head that was not understood is one of HEAD.
#[cold]
fn method_of(head: &[u8]) -> Method {
    if head.starts_with(b"HEAD ") { Method::Head } else { Method::Get }
}
