//! What a request's head says: the facts that a server of files and sockets acts upon.

use super::body::{BodyError, Framing};
use super::date::DateText;
use super::fields::{Lines, elements, is_authority, with_room};
use super::head::HeadError;
use super::status::{Method, Status};
use super::writer::{Persistence, write_text};
use crate::limits::HTTP_TARGET_BYTES_MAX;
use std::mem::MaybeUninit;

/// Why a request was not accepted. The connection cannot go on after any of these: where the
/// request ends is not known, or not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Its body: see [`BodyError`].
    #[error("{0}")]
    Body(#[from] BodyError),
    /// An expectation other than `100-continue`.
    #[error("only '100-continue' can be expected (RFC 9110 10.1.1)")]
    Expectation,
    /// The head is larger than so many bytes.
    #[error("the request's head is larger than the {0} bytes accepted here (--head-max)")]
    HeadTooLarge(usize),
    /// The head has more header lines than so many.
    #[error("the request has more than the {0} header lines accepted here (--headers-max)")]
    HeadersTooMany(usize),
    /// Not exactly one `Host`, or one that is none.
    #[error("the request needs exactly one valid Host header (RFC 9112 3.2)")]
    Host,
    /// A `Content-Length` that is no number, or is there twice.
    #[error("the request's Content-Length must be there once and be a number (RFC 9112 6.3)")]
    Length,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("a request has Content-Length or Transfer-Encoding, not both (RFC 9112 6.3)")]
    LengthTwice,
    /// It is no HTTP request.
    #[error("the request is malformed (RFC 9112)")]
    Syntax,
    /// A target that is of no form that goes with the method.
    #[error("the request's target has none of the forms of RFC 9112 3.2")]
    Target,
    /// A target that is too long.
    #[error("the request's target is longer than {HTTP_TARGET_BYTES_MAX} bytes")]
    TargetTooLong,
    /// It did not come in time.
    #[error("the request was not complete in time")]
    TimedOut,
    /// A transfer coding that does not say where the request ends.
    #[error("'chunked' must be the last transfer coding, and be there once (RFC 9112 6.3)")]
    Transfer,
    /// `Transfer-Encoding` in a message of HTTP/1.0.
    #[error("HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)")]
    TransferOld,
    /// A transfer coding before `chunked`.
    #[error("no transfer coding but 'chunked' is spoken here")]
    TransferUnknown,
    /// Another version of HTTP.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::LineTooLarge(_) => Self::TargetTooLong,
            HeadError::NotHttp => Self::Syntax,
            HeadError::TooLarge(max) => Self::HeadTooLarge(max),
        }
    }
}

impl Refusal {
    /// The status of the reply.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Body(BodyError::TooLarge) => Status::CONTENT_TOO_LARGE,
            Self::Expectation => Status::EXPECTATION_FAILED,
            Self::HeadTooLarge(_) | Self::HeadersTooMany(_) => Status::HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => Status::URI_TOO_LONG,
            Self::TimedOut => Status::REQUEST_TIMEOUT,
            Self::TransferUnknown => Status::NOT_IMPLEMENTED,
            Self::Version => Status::VERSION_NOT_SUPPORTED,
            Self::Body(_)
            | Self::Host
            | Self::Length
            | Self::LengthTwice
            | Self::Syntax
            | Self::Target
            | Self::Transfer
            | Self::TransferOld => Status::BAD_REQUEST,
        }
    }

    /// Writes the whole reply to a request of this method behind `out`. The connection is to be
    /// closed after it.
    pub fn write(self, method: Method, date: &DateText, out: &mut Vec<u8>) {
        let text = format!("{self}\n");
        write_text(self.status(), &[], &text, method, Persistence::Close, date, out);
    }
}

/// A piece of the head.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `piece`, which is a part of `head`, lies in it. Heads are shorter than 4 GiB.
    fn of(piece: &[u8], head: &[u8]) -> Self {
        let start = piece.as_ptr().addr() - head.as_ptr().addr();
        Self { start: start as u32, end: (start + piece.len()) as u32 }
    }

    #[inline]
    fn within(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

/// What the head says, without the head: places in it are numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    method: Method,
    path: Span,
    query: Span,
    host: Span,
    persistence: Persistence,
    flags: u8,
    pub(crate) framing: Option<Framing>,
}

/// `Expect: 100-continue`, and a body that it is about.
const EXPECTS: u8 = 1;
/// A header that makes the answer depend on what the client has, or asks for a part.
const CONDITIONAL: u8 = 1 << 1;
/// An upgrade to WebSocket is asked for.
const WEBSOCKET: u8 = 1 << 2;
/// The target is a whole URL.
const ABSOLUTE: u8 = 1 << 3;

impl Facts {
    pub(crate) fn expects_continue(&self) -> bool {
        self.flags & EXPECTS != 0
    }

    #[inline]
    pub(crate) fn method(&self) -> Method {
        self.method
    }

    #[inline]
    pub(crate) fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Reads a whole head, whose headers lie in one line each, with so many of them at the most.
    pub(crate) fn parse(head: &[u8], headers_max: usize) -> Result<Self, Refusal> {
        with_room(headers_max, |room| Self::parse_in(head, headers_max, room))
    }

    fn parse_in<'a>(
        head: &'a [u8],
        headers_max: usize,
        room: &mut [MaybeUninit<httparse::Header<'a>>],
    ) -> Result<Self, Refusal> {
        let mut request = httparse::Request::new(&mut []);
        if Lines::of(head) != Lines::Strict {
            return Err(Refusal::Syntax);
        }
        match request.parse_with_uninit_headers(head, room) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Refusal::Syntax),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal::HeadersTooMany(headers_max));
            }
            Err(httparse::Error::Version) => {
                // What it says lies at the same places in the copy.
                return match as_known_version(head) {
                    Some(known) => Self::parse(&known, headers_max),
                    None if has_other_version(head) => Err(Refusal::Version),
                    None => Err(Refusal::Syntax),
                };
            }
            Err(_) => return Err(Refusal::Syntax),
        }
        let old = request.version == Some(0);
        let method = Method::named(request.method.unwrap_or_default());
        let mut facts = Self { method, ..Self::default() };
        facts.read_target(request.path.unwrap_or_default().as_bytes(), head)?;
        facts.read_headers(request.headers, old, head)?;
        Ok(facts)
    }

    /// The four forms of a target (RFC 9112 3.2).
    fn read_target(&mut self, target: &[u8], head: &[u8]) -> Result<(), Refusal> {
        if target.len() > HTTP_TARGET_BYTES_MAX {
            return Err(Refusal::TargetTooLong);
        }
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(Refusal::Target);
        }
        let local = match (target.first(), self.method) {
            (Some(b'/'), _) => target,
            (_, Method::Connect) if is_authority(target) => &target[..0],
            (Some(b'*'), Method::Options) if target.len() == 1 => &target[..0],
            _ => {
                let (authority, local) = split_absolute(target).ok_or(Refusal::Target)?;
                if !is_authority(authority) {
                    return Err(Refusal::Host);
                }
                self.host = Span::of(authority, head);
                self.flags |= ABSOLUTE;
                local
            }
        };
        let end = memchr::memchr(b'?', local).unwrap_or(local.len());
        self.path = Span::of(&local[..end], head);
        self.query = Span::of(&local[local.len().min(end + 1)..], head);
        Ok(())
    }

    fn read_headers(
        &mut self,
        headers: &[httparse::Header<'_>],
        old: bool,
        head: &[u8],
    ) -> Result<(), Refusal> {
        use Refusal as R;
        let (mut hosts, mut length, mut transfer) = (0, None, None);
        let (mut close, mut keep, mut upgrade, mut websocket) = (false, false, false, false);
        for header in headers {
            let (name, value) = (header.name, header.value);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("Host") => {
                    hosts += 1;
                    if hosts > 1 || !is_authority(value) {
                        return Err(R::Host);
                    }
                    // An absolute target says it better (RFC 9112 3.2.2).
                    if self.flags & ABSOLUTE == 0 {
                        self.host = Span::of(value, head);
                    }
                }
                5 if is("Range") => self.flags |= CONDITIONAL,
                6 if is("Expect") && !old => {
                    // A list; each has to be met (RFC 9110 10.1.1).
                    for expectation in elements([value].into_iter()) {
                        if !expectation.eq_ignore_ascii_case(b"100-continue") {
                            return Err(R::Expectation);
                        }
                        self.flags |= EXPECTS;
                    }
                }
                7 if is("Upgrade") => {
                    websocket |= elements([value].into_iter())
                        .any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
                }
                8 if is("If-Match") || is("If-Range") => self.flags |= CONDITIONAL,
                10 if is("Connection") => {
                    for option in elements([value].into_iter()) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep |= option.eq_ignore_ascii_case(b"keep-alive");
                        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                13 if is("If-None-Match") => self.flags |= CONDITIONAL,
                14 if is("Content-Length") => {
                    let number = read_length(value).ok_or(R::Length)?;
                    if length.replace(number).is_some() {
                        return Err(R::Length);
                    }
                }
                17 if is("If-Modified-Since") => self.flags |= CONDITIONAL,
                19 if is("If-Unmodified-Since") => self.flags |= CONDITIONAL,
                17 if is("Transfer-Encoding") => {
                    let before = transfer.replace(value);
                    if before.is_some() {
                        return Err(R::Transfer);
                    }
                }
                _ => {}
            }
        }
        if hosts == 0 && !old {
            return Err(R::Host);
        }
        self.persistence = match (close, old, keep) {
            (true, ..) | (false, true, false) => Persistence::Close,
            (false, true, true) => Persistence::KeepOld,
            (false, false, _) => Persistence::Keep,
        };
        self.framing = match (length, transfer) {
            (_, Some(_)) if old => return Err(R::TransferOld),
            (Some(_), Some(_)) => return Err(R::LengthTwice),
            (None, Some(codings)) => Some(check_codings(codings)?),
            (None | Some(0), None) => None,
            (Some(length), None) => Some(Framing::Sized(length)),
        };
        if self.framing.is_none() {
            self.flags &= !EXPECTS;
        }
        if websocket && upgrade && !old && self.method == Method::Get {
            self.flags |= WEBSOCKET;
        }
        Ok(())
    }
}

/// The number that `Content-Length` is: digits, and nothing else (RFC 9110 8.6).
pub(crate) fn read_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit).then_some(value)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether these transfer codings are `chunked` alone (RFC 9112 6.3, rule 4).
fn check_codings(codings: &[u8]) -> Result<Framing, Refusal> {
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let all = elements([codings].into_iter());
    let (count, chunked) = (all.clone().count(), all.clone().filter(is_chunked).count());
    match (all.last().is_some_and(|last| is_chunked(&last)), chunked, count) {
        (true, 1, 1) => Ok(Framing::Chunked),
        (true, 1, _) => Err(Refusal::TransferUnknown),
        _ => Err(Refusal::Transfer),
    }
}

/// The authority of an absolute target, and what follows it.
fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = target.split_at(memchr::memchr(b':', target)?);
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"ws");
    let rest = rest.strip_prefix(b"://").filter(|_| known)?;
    Some(rest.split_at(rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len())))
}

/// The same request in HTTP/1.1, if it is one of a later HTTP/1: that is how it is to be read (RFC
/// 9110 2.5).
pub(crate) fn as_known_version(head: &[u8]) -> Option<Vec<u8>> {
    let end = memchr::memchr(b'\r', head)?;
    let (minor, before) = head[..end].split_last()?;
    if !has_other_version(head) || !before.ends_with(b" HTTP/1.") || *minor < b'2' {
        return None;
    }
    let mut known = head.to_vec();
    known[end - 1] = b'1';
    Some(known)
}

/// Whether the request line is one of another version that HTTP could have.
pub(crate) fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let version = words.next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
        && words.next().is_none()
}

/// A request that is complete; what came as its body was read and dropped.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) facts: &'a Facts,
    pub(crate) body_bytes: u64,
}

impl<'a> Request<'a> {
    /// The method.
    #[must_use]
    #[inline]
    pub fn method(&self) -> Method {
        self.facts.method
    }

    /// The target's path as it was sent, percent-encoded; `/` if an absolute target has none, empty
    /// for the targets of `OPTIONS *` and `CONNECT`.
    #[must_use]
    #[inline]
    pub fn path(&self) -> &'a [u8] {
        let path = self.facts.path.within(self.head);
        if path.is_empty() && self.facts.flags & ABSOLUTE != 0 { b"/" } else { path }
    }

    /// What follows the question mark of the target; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &'a [u8] {
        self.facts.query.within(self.head)
    }

    /// Host and port that were asked for; empty if an old client did not say.
    #[must_use]
    pub fn host(&self) -> &'a [u8] {
        self.facts.host.within(self.head)
    }

    /// Whether the connection goes on after the answer, and what the answer has to say about it.
    #[must_use]
    #[inline]
    pub fn persistence(&self) -> Persistence {
        self.facts.persistence
    }

    /// Whether the answer depends on what the client has, or only a part is asked for: see
    /// [`choose`](super::choose).
    #[must_use]
    #[inline]
    pub fn is_conditional(&self) -> bool {
        self.facts.flags & CONDITIONAL != 0
    }

    /// Whether an upgrade to WebSocket is asked for: to be answered by
    /// [`Policy::answer`](crate::ws::Policy::answer) with [`Request::head`].
    #[must_use]
    #[inline]
    pub fn wants_websocket(&self) -> bool {
        self.facts.flags & WEBSOCKET != 0
    }

    /// The bytes of its body.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// The whole head, with the empty line that ends it.
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The values of the header of this name, in any case, line by line.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        // The head was parsed: every line but the first has a colon, and ends with CR LF.
        self.head.split(|byte| *byte == b'\n').skip(1).filter_map(move |line| {
            let (found, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// The value of a header that is there exactly once.
    pub(crate) fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.header(name);
        values.next().filter(|_| values.next().is_none())
    }
}
