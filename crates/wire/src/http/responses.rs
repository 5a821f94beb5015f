//! The client's side of a connection: responses out of a stream of bytes, in order.

use super::body::{Body, BodyError, Framing};
use super::fields::{Lines, elements, unfold, with_room};
use super::head::{Begin, Head, HeadError, HeadLimits, HeadPool};
use super::memo::Memo;
use super::request::read_length;
use super::status::Method;
use crate::limits::HTTP_INFORMATIONAL_MAX;
use crate::pool::Pool;
use crate::unasked::OtherProtocol;
use std::mem::MaybeUninit;

/// What is wrong with what a server sent. The connection cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResponseError {
    /// Its body: see [`BodyError`].
    #[error("{0}")]
    Body(#[from] BodyError),
    /// The connection ended within a body.
    #[error("the connection ended before the body was complete (RFC 9112 8)")]
    CutBody,
    /// The connection ended within a head.
    #[error("the connection ended within the head of a response (RFC 9112 8)")]
    CutHead,
    /// The head is larger than so many bytes.
    #[error("a response's head is larger than {0} bytes: --head-max takes more")]
    HeadTooLarge(usize),
    /// The head has more header lines than so many.
    #[error("a response has more than {0} header lines: --headers-max takes more")]
    HeadersTooMany(usize),
    /// Interim replies without an end.
    #[error("more than {HTTP_INFORMATIONAL_MAX} informational replies came before a final one")]
    Informational,
    /// A `Content-Length` that is no number, or is there twice.
    #[error("the response's Content-Length must be there once and be a number (RFC 9112 6.3)")]
    Length,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("a response has Content-Length or Transfer-Encoding, not both (RFC 9112 6.3)")]
    LengthTwice,
    /// It is no HTTP response.
    #[error("the response is malformed (RFC 9112)")]
    Syntax,
    /// 101, which nobody asked for.
    #[error("the server switched to another protocol, which was not asked for (RFC 9110 15.2.2)")]
    Switched,
    /// A transfer coding other than `chunked` alone.
    #[error("the response has a transfer coding that was not asked for (RFC 9112 7.4)")]
    Transfer,
    /// `Transfer-Encoding` in a message of HTTP/1.0.
    #[error("HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)")]
    TransferOld,
    /// Another version of HTTP.
    #[error("the response is not of HTTP/1.1 or HTTP/1.0")]
    Version,
}

impl From<HeadError> for ResponseError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::LineTooLarge(max) | HeadError::TooLarge(max) => Self::HeadTooLarge(max),
            HeadError::NotHttp => Self::Syntax,
        }
    }
}

/// What comes out of a stream of responses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResponseEvent<'a> {
    /// A final response begins.
    Start {
        /// Its status: 200 to 999.
        status: u16,
        /// Its `Content-Length`, if it has one. To HEAD and with 304 that of a body which does not
        /// come.
        length: Option<u64>,
    },
    /// Bytes of its body; never none.
    Chunk(&'a [u8]),
    /// It is complete.
    End(Response),
}

/// A response that was complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Response {
    /// Its status: 200 to 999.
    pub status: u16,
    /// Whether the connection goes on.
    pub keeps: bool,
    /// Bytes of its body, without what frames it. It is as long as it said.
    pub body_bytes: u64,
}

/// What a head says.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    status: u16,
    keeps: bool,
    chunked: bool,
    length: Option<u64>,
}

impl Facts {
    /// Reads a whole head, with so many headers at the most. Folds are blanks (RFC 9112 5.2).
    fn parse(head: &[u8], headers_max: usize) -> Result<Self, ResponseError> {
        match Lines::of(head) {
            Lines::Strict => with_room(headers_max, |room| Self::parse_in(head, headers_max, room)),
            Lines::Folded => Self::parse(&unfold(head), headers_max),
            Lines::Bare => Err(ResponseError::Syntax),
        }
    }

    fn parse_in<'a>(
        head: &'a [u8],
        headers_max: usize,
        room: &mut [MaybeUninit<httparse::Header<'a>>],
    ) -> Result<Self, ResponseError> {
        use ResponseError as E;
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, head, room) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(E::Syntax),
            Err(httparse::Error::TooManyHeaders) => return Err(E::HeadersTooMany(headers_max)),
            // A later HTTP/1 is read as the one that is known (RFC 9110 2.5).
            Err(httparse::Error::Version) if matches!(head.get(7), Some(b'2'..=b'9')) => {
                let Some(rest) = head.strip_prefix(b"HTTP/1.") else { return Err(E::Version) };
                return Self::parse(&[b"HTTP/1.1", &rest[1..]].concat(), headers_max);
            }
            Err(httparse::Error::Version) if head.starts_with(b"HTTP/") => return Err(E::Version),
            Err(_) => return Err(E::Syntax),
        }
        let old = response.version == Some(0);
        let status = response.code.filter(|code| *code >= 100).ok_or(E::Syntax)?;
        let mut facts = Self { status, ..Self::default() };
        facts.read_headers(response.headers, old)?;
        Ok(facts)
    }

    fn read_headers(
        &mut self,
        headers: &[httparse::Header<'_>],
        old: bool,
    ) -> Result<(), ResponseError> {
        use ResponseError as E;
        let (mut close, mut keep) = (false, false);
        for header in headers {
            let (name, value) = (header.name, header.value);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                10 if is("Connection") => {
                    for option in elements([value].into_iter()) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if is("Content-Length") => {
                    let number = read_length(value).ok_or(E::Length)?;
                    if self.length.replace(number).is_some() {
                        return Err(E::Length);
                    }
                }
                17 if is("Transfer-Encoding") => {
                    if old {
                        return Err(E::TransferOld);
                    }
                    if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(E::Transfer);
                    }
                    self.chunked = true;
                }
                _ => {}
            }
        }
        if self.chunked && self.length.is_some() {
            return Err(E::LengthTwice);
        }
        self.keeps = !close && (keep || !old);
        Ok(())
    }

    /// How the body's end is found (RFC 9112 6.3).
    #[inline]
    fn framing(&self, method: Method) -> Framing {
        if method == Method::Head || matches!(self.status, 204 | 304) {
            return Framing::Sized(0);
        }
        match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Sized(length),
            None => Framing::ToClose,
        }
    }
}

/// What the responses of a reactor's connections share.
#[derive(Debug, Default)]
pub struct ResponsePool {
    heads: HeadPool,
    bodies: Pool<Pending>,
    memo: Memo<Facts>,
    surplus: u64,
}

impl ResponsePool {
    /// For responses whose heads are no larger than this.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self { heads: HeadPool::new(limits, Begin::Capital), ..Self::default() }
    }

    /// Bytes that came behind a response which was to be the last of its connection. They mean
    /// nothing (RFC 9112 9.6), so they are counted and dropped.
    #[must_use]
    pub fn surplus(&self) -> u64 {
        self.surplus
    }

    /// Responses that are only partly here.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.heads.in_use() + self.bodies.in_use()
    }
}

/// A response whose body is on its way.
#[derive(Debug, Default)]
struct Pending {
    facts: Facts,
    body: Body,
}

impl Pending {
    fn response(&self) -> Response {
        let keeps = self.facts.keeps && !self.body.ends_with_connection();
        Response { status: self.facts.status, keeps, body_bytes: self.body.received() }
    }
}

/// One connection's responses: twelve bytes. What is only partly here lies in the [`ResponsePool`].
#[derive(Debug, Default)]
pub struct Responses {
    position: Position,
    /// Interim replies since the last final one.
    informational: u8,
}

const _: () = assert!(size_of::<Responses>() == 12);

#[derive(Debug, Default)]
enum Position {
    /// Between two responses.
    #[default]
    Idle,
    /// A head is only partly here.
    Head(Head),
    /// A body is on its way: its place in the pool.
    Body(u32),
    /// The last response was read, or what came was refused.
    Over,
}

impl Responses {
    /// Takes the next bytes of the stream and hands on what they complete. `method` is that of all
    /// requests that were sent. Interim replies are passed over.
    ///
    /// Whether a response was due is for the caller to say, who knows what was asked.
    ///
    /// # Errors
    /// What is wrong with what came: the connection is to be given up.
    #[inline]
    pub fn read(
        &mut self,
        method: Method,
        pool: &mut ResponsePool,
        bytes: &[u8],
        mut sink: impl FnMut(ResponseEvent<'_>),
    ) -> Result<(), ResponseError> {
        let mut at = 0;
        while at < bytes.len() {
            let step = self.step(method, pool, &bytes[at..], &mut sink);
            at += step.inspect_err(|_| {
                self.forget(pool);
                self.position = Position::Over;
            })?;
        }
        Ok(())
    }

    /// The connection has ended: hands on the response whose end that is, if there is one.
    ///
    /// # Errors
    /// If it ended within a response.
    pub fn end(
        &mut self,
        pool: &mut ResponsePool,
        mut sink: impl FnMut(ResponseEvent<'_>),
    ) -> Result<(), ResponseError> {
        let verdict = match &self.position {
            Position::Idle | Position::Over if self.informational == 0 => Ok(()),
            Position::Body(index) => {
                let pending = pool.bodies.get_mut(*index);
                if pending.body.ends_with_connection() {
                    sink(ResponseEvent::End(pending.response()));
                    Ok(())
                } else {
                    Err(ResponseError::CutBody)
                }
            }
            Position::Head(_) | Position::Idle | Position::Over => Err(ResponseError::CutHead),
        };
        self.forget(pool);
        self.position = Position::Over;
        verdict
    }

    /// The other protocol whose first words these are, with what came before: to be asked before
    /// [`Responses::read`], where no response has come yet.
    #[must_use]
    pub fn other_protocol(&self, pool: &mut ResponsePool, bytes: &[u8]) -> Option<OtherProtocol> {
        match &self.position {
            Position::Head(head) => head.other_protocol(&mut pool.heads, bytes),
            Position::Idle => Head::default().other_protocol(&mut pool.heads, bytes),
            Position::Body(_) | Position::Over => None,
        }
    }

    /// Whether nothing of a response is here.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        matches!(self.position, Position::Idle) && self.informational == 0
    }

    /// Whether no further response will come on this connection.
    #[must_use]
    #[inline]
    pub fn is_over(&self) -> bool {
        matches!(self.position, Position::Over)
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut ResponsePool) {
        match &mut self.position {
            Position::Head(head) => head.forget(&mut pool.heads),
            Position::Body(index) => drop(pool.bodies.take(*index)),
            Position::Idle | Position::Over => {}
        }
        *self = Self::default();
    }

    /// Reads up to the end of a response at the most.
    #[inline]
    fn step(
        &mut self,
        method: Method,
        pool: &mut ResponsePool,
        bytes: &[u8],
        sink: &mut impl FnMut(ResponseEvent<'_>),
    ) -> Result<usize, ResponseError> {
        match &mut self.position {
            Position::Idle => {
                if let Some((facts, length)) = pool.memo.recall(bytes) {
                    return Ok(length + self.begin(method, pool, facts, &bytes[length..], sink)?);
                }
                self.head(Head::default(), method, pool, bytes, sink)
            }
            Position::Head(head) => {
                let head = std::mem::take(head);
                self.head(head, method, pool, bytes, sink)
            }
            Position::Body(index) => {
                let pending = pool.bodies.get_mut(*index);
                let chunk = |chunk: &[u8]| sink(ResponseEvent::Chunk(chunk));
                let used = pending.body.read(u64::MAX, bytes, chunk)?;
                if pending.body.is_done() {
                    let pending = pool.bodies.take(*index);
                    self.finish(&pending, sink);
                }
                Ok(used)
            }
            Position::Over => {
                pool.surplus += bytes.len() as u64;
                Ok(bytes.len())
            }
        }
    }

    /// Reads a head, and what follows it.
    fn head(
        &mut self,
        mut state: Head,
        method: Method,
        pool: &mut ResponsePool,
        bytes: &[u8],
        sink: &mut impl FnMut(ResponseEvent<'_>),
    ) -> Result<usize, ResponseError> {
        let complete = state.complete(&mut pool.heads, bytes);
        self.position = Position::Head(state);
        let Some((head, length)) = complete? else { return Ok(bytes.len()) };
        let facts = Facts::parse(&head, pool.heads.limits.headers)?;
        if facts.status < 200 {
            self.position = Position::Idle;
            self.informational += 1;
            return match facts.status {
                101 => Err(ResponseError::Switched),
                _ if self.informational > HTTP_INFORMATIONAL_MAX => {
                    Err(ResponseError::Informational)
                }
                _ => Ok(length),
            };
        }
        pool.memo.keep(&head, facts);
        Ok(length + self.begin(method, pool, facts, &bytes[length..], sink)?)
    }

    /// Begins a response whose head is complete; `rest` follows it.
    #[inline]
    fn begin(
        &mut self,
        method: Method,
        pool: &mut ResponsePool,
        facts: Facts,
        rest: &[u8],
        sink: &mut impl FnMut(ResponseEvent<'_>),
    ) -> Result<usize, ResponseError> {
        let body = Body::new(facts.framing(method), u64::MAX)?;
        let mut pending = Pending { facts, body };
        sink(ResponseEvent::Start { status: facts.status, length: facts.length });
        let chunk = |chunk: &[u8]| sink(ResponseEvent::Chunk(chunk));
        let used = pending.body.read(u64::MAX, rest, chunk)?;
        if pending.body.is_done() {
            self.finish(&pending, sink);
        } else {
            self.position = Position::Body(pool.bodies.put(pending));
        }
        Ok(used)
    }

    #[inline]
    fn finish(&mut self, pending: &Pending, sink: &mut impl FnMut(ResponseEvent<'_>)) {
        let response = pending.response();
        self.position = if response.keeps { Position::Idle } else { Position::Over };
        self.informational = 0;
        sink(ResponseEvent::End(response));
    }
}
