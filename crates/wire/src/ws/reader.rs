//! The machine that turns a stream of frames into messages: fragmentation, control frames between
//! fragments, limits. The other files of this folder serve it.

use super::close::Close;
use super::deflate::{Streams, inflate, inflate_bits, inflate_end};
use super::error::WsError;
use super::extension::Window;
use super::frame::{HEADER_BYTES_MAX, Header, Opcode, Role};
use super::mask::{advance, mask};
use super::utf8::Utf8;
use crate::limits::{
    WS_COMPRESSED_WORK, WS_CONTROL_BYTES_MAX, WS_FRAGMENTS_DEFAULT, WS_FRAME_WORK,
    WS_INFLATED_CHUNK_BYTES, WS_INFLATED_WORK, WS_MESSAGE_BYTES_DEFAULT,
};
use flate2::Decompress;

/// What a message is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Any bytes.
    Binary,
    /// UTF-8.
    Text,
}

impl Kind {
    /// The opcode of a message's first frame.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Binary => Opcode::Binary,
            Self::Text => Opcode::Text,
        }
    }
}

/// What has come. Payloads are unmasked and inflated, texts are checked.
#[derive(Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A message begins.
    Start {
        /// What it is made of.
        kind: Kind,
        /// Its size, where that is known: it comes as a single frame that is not compressed.
        length: Option<u64>,
    },
    /// More of the message that has begun. Not empty; of texts always whole characters.
    Chunk(&'a [u8]),
    /// The message is complete.
    End,
    /// To be answered by a pong with the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes. Nothing more comes.
    Close(Close<'a>),
}

/// What is let through. Beyond it the connection fails with 1009.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest payload of a frame, as it is on the wire, in bytes.
    pub frame_bytes_max: u64,
    /// The largest message, inflated, in bytes.
    pub message_bytes_max: u64,
    /// The most frames that a message may come in.
    pub fragments_max: u32,
}

impl Limits {
    /// Lets messages of so many bytes through. A frame may be larger by a bit for each byte: what
    /// does not deflate grows by that where a quick compressor takes the fixed codes for everything
    /// (RFC 1951 3.2.6).
    #[must_use]
    pub const fn for_messages(message_bytes_max: u64) -> Self {
        let growth = message_bytes_max / 8 + 1024;
        Self {
            frame_bytes_max: message_bytes_max.saturating_add(growth),
            message_bytes_max,
            fragments_max: WS_FRAGMENTS_DEFAULT,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_messages(WS_MESSAGE_BYTES_DEFAULT)
    }
}

/// One connection's incoming side.
///
/// ```text
///        ┌──────────── header ───────────┐          partial == NONE between two messages,
///        v                               │          and only there
///   [between frames] ──> [in a frame's payload]
///        │ Close or WsError, from both
///        v
///    [closed]: whatever else comes is passed over
/// ```
#[derive(Debug)]
pub struct Reader {
    /// Where the message or frame that is only partly here is kept, in the [`ReadPool`].
    partial: u32,
    /// The inflating stream: for a message, or for life if its window is dedicated.
    inflater: u32,
    /// The window of the peer's compressed messages, if it may compress.
    deflate: Option<Window>,
    role: Role,
    closed: bool,
}

const NONE: u32 = u32::MAX;

impl Reader {
    /// The incoming side of a connection that is just upgraded. `role` is ours; `deflate` is the
    /// window of what the peer sends, if compression was agreed upon.
    #[must_use]
    pub fn new(role: Role, deflate: Option<Window>) -> Self {
        Self { partial: NONE, inflater: NONE, deflate, role, closed: false }
    }

    /// Which end we are.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the connection is open and no frame or message is incomplete.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.partial == NONE && !self.closed
    }

    /// Whether nothing more will be read: the peer has closed, or broken a rule.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next bytes of the stream and calls `sink` with what they complete. Payloads are
    /// unmasked in place. All bytes are taken, unless the work on them was bounded by
    /// [`ReadPool::allow`]: [`ReadPool::unread`] says how many are to come again.
    ///
    /// # Errors
    /// The first rule that the peer broke: to be answered by a close frame with its
    /// [`WsError::close_code`]. The reader is closed then.
    pub fn read(
        &mut self,
        limits: &Limits,
        pool: &mut ReadPool,
        bytes: &mut [u8],
        sink: impl FnMut(Event<'_>),
    ) -> Result<(), WsError> {
        pool.unread = 0;
        if self.closed {
            return Ok(());
        }
        let mut partial = match self.partial {
            NONE => Partial::NEW,
            index => pool.partials.entries[index as usize],
        };
        let mut turn = Turn { reader: self, limits, pool, partial: &mut partial, sink };
        match turn.walk(bytes) {
            Ok(Flow::Goes) => {
                self.keep(&partial, pool);
                Ok(())
            }
            ended => {
                self.closed = true;
                self.forget(pool);
                ended.map(|_| ())
            }
        }
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut ReadPool) {
        if self.partial != NONE {
            pool.partials.give_back(self.partial);
            self.partial = NONE;
        }
        self.release_inflater(pool);
    }

    /// Remembers what is incomplete, if anything is.
    fn keep(&mut self, partial: &Partial, pool: &mut ReadPool) {
        match (partial.is_empty(), self.partial) {
            (true, NONE) => {}
            (true, index) => {
                pool.partials.give_back(index);
                self.partial = NONE;
            }
            (false, NONE) => self.partial = pool.partials.take(partial),
            (false, index) => pool.partials.entries[index as usize] = *partial,
        }
    }

    fn release_inflater(&mut self, pool: &mut ReadPool) {
        if self.inflater != NONE {
            pool.inflaters.give_back(self.inflater);
            self.inflater = NONE;
        }
    }
}

/// Whether reading goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    Goes,
    Closed,
}

/// What is kept of a message or frame that is not complete.
#[derive(Clone, Copy, Debug)]
struct Partial {
    /// The frame whose header has been read.
    frame: Option<Frame>,
    /// The message that is open.
    message: Option<Message>,
    /// The start of a header, or of a control frame's payload.
    held: [u8; WS_CONTROL_BYTES_MAX],
    held_length: u8,
}

const _: () = assert!(HEADER_BYTES_MAX <= WS_CONTROL_BYTES_MAX);

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// The mask as it applies to the next byte; zeros if there is none.
    mask: [u8; 4],
    /// Bytes of the payload that are still to come.
    left: u64,
}

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
struct Message {
    kind: Kind,
    compressed: bool,
    fragments: u32,
    /// Bytes so far: of payloads announced, or inflated.
    bytes: u64,
    utf8: Utf8,
}

impl Partial {
    const NEW: Self =
        Self { frame: None, message: None, held: [0; WS_CONTROL_BYTES_MAX], held_length: 0 };

    fn is_empty(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.held_length == 0
    }

    /// Keeps bytes behind those that are held.
    fn hold(&mut self, bytes: &[u8]) {
        let start = usize::from(self.held_length);
        self.held[start..start + bytes.len()].copy_from_slice(bytes);
        self.held_length += bytes.len() as u8;
    }
}

/// One call of [`Reader::read`].
struct Turn<'a, S> {
    reader: &'a mut Reader,
    limits: &'a Limits,
    pool: &'a mut ReadPool,
    partial: &'a mut Partial,
    sink: S,
}

impl<S: FnMut(Event<'_>)> Turn<'_, S> {
    fn walk(&mut self, mut bytes: &mut [u8]) -> Result<Flow, WsError> {
        loop {
            let mut frame = match self.partial.frame {
                Some(frame) => frame,
                None => {
                    if self.pool.work >= self.pool.work_allowed {
                        self.pool.unread = bytes.len();
                        return Ok(Flow::Goes);
                    }
                    let Some((header, used)) = self.header(bytes)? else { return Ok(Flow::Goes) };
                    bytes = &mut bytes[used..];
                    self.pool.work += WS_FRAME_WORK;
                    self.begin(&header)?
                }
            };
            let here = usize::try_from(frame.left).map_or(bytes.len(), |n| n.min(bytes.len()));
            let (payload, rest) = bytes.split_at_mut(here);
            bytes = rest;
            let mask_before = frame.mask;
            if self.reader.role == Role::Server {
                mask(payload, frame.mask);
                frame.mask = advance(frame.mask, here);
            }
            frame.left -= here as u64;
            let flow = if frame.opcode.is_control() {
                self.control(&frame, payload)?
            } else {
                self.data(&frame, payload)?
            };
            if flow == Flow::Closed {
                return Ok(Flow::Closed);
            }
            if self.pool.unread > 0 {
                // The end of the payload comes again, as it was.
                let used = here - self.pool.unread;
                if self.reader.role == Role::Server {
                    frame.mask = advance(mask_before, used);
                    mask(&mut payload[used..], frame.mask);
                }
                frame.left += self.pool.unread as u64;
                self.pool.unread += bytes.len();
                self.partial.frame = Some(frame);
                return Ok(Flow::Goes);
            }
            self.partial.frame = (frame.left > 0).then_some(frame);
            if bytes.is_empty() {
                return Ok(Flow::Goes);
            }
        }
    }

    /// The next header, and how many of `bytes` belong to it. An incomplete one is held.
    fn header(&mut self, bytes: &[u8]) -> Result<Option<(Header, usize)>, WsError> {
        let held = usize::from(self.partial.held_length);
        let deflate = self.reader.deflate.is_some();
        if held == 0 {
            let header = Header::decode(bytes, self.reader.role, deflate)?;
            if header.is_none() {
                self.partial.hold(bytes);
            }
            return Ok(header);
        }
        let more = bytes.len().min(HEADER_BYTES_MAX - held);
        self.partial.hold(&bytes[..more]);
        let whole = &self.partial.held[..held + more];
        let Some((header, size)) = Header::decode(whole, self.reader.role, deflate)? else {
            return Ok(None);
        };
        self.partial.held_length = 0;
        Ok(Some((header, size - held)))
    }

    /// Holds a header against the message that is open and against the limits.
    fn begin(&mut self, header: &Header) -> Result<Frame, WsError> {
        let Header { fin, compressed, opcode, mask, length } = *header;
        match (opcode, &mut self.partial.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
            (Opcode::Continuation, None) => return Err(WsError::ContinuationUnexpected),
            (Opcode::Continuation, Some(message)) => {
                message.fragments += 1;
                if message.fragments > self.limits.fragments_max {
                    return Err(WsError::TooManyFragments);
                }
                message.announce(length, self.limits)?;
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(WsError::MessageInterrupted),
            (Opcode::Text | Opcode::Binary, None) => {
                let kind = if opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
                let mut message =
                    Message { kind, compressed, fragments: 1, bytes: 0, utf8: Utf8::default() };
                message.announce(length, self.limits)?;
                if compressed {
                    self.borrow_inflater()?;
                    self.pool.work += WS_COMPRESSED_WORK;
                }
                self.partial.message = Some(message);
                let length = (fin && !compressed).then_some(length);
                (self.sink)(Event::Start { kind, length });
            }
        }
        Ok(Frame { opcode, fin, mask: mask.unwrap_or_default(), left: length })
    }

    /// The next part of a control frame.
    fn control(&mut self, frame: &Frame, payload: &[u8]) -> Result<Flow, WsError> {
        let payload = if frame.left == 0 && self.partial.held_length == 0 {
            payload
        } else {
            self.partial.hold(payload);
            if frame.left > 0 {
                return Ok(Flow::Goes);
            }
            let length = usize::from(std::mem::take(&mut self.partial.held_length));
            &self.partial.held[..length]
        };
        match frame.opcode {
            Opcode::Close => {
                (self.sink)(Event::Close(Close::decode(payload)?));
                return Ok(Flow::Closed);
            }
            Opcode::Ping => (self.sink)(Event::Ping(payload)),
            _ => (self.sink)(Event::Pong(payload)),
        }
        Ok(Flow::Goes)
    }

    /// The next part of a data frame.
    fn data(&mut self, frame: &Frame, payload: &[u8]) -> Result<Flow, WsError> {
        let Some(message) = &mut self.partial.message else {
            return Err(WsError::ContinuationUnexpected);
        };
        let ends = frame.left == 0 && frame.fin;
        if message.compressed {
            let ReadPool { inflaters, inflated, work, work_allowed, unread, .. } = &mut *self.pool;
            let stream = inflaters.get(self.reader.inflater).ok_or(WsError::NoInflater)?;
            let most = self.limits.message_bytes_max;
            let mut each = |piece: &[u8]| {
                *work += piece.len() as u64 * WS_INFLATED_WORK;
                message.inflated(piece, most, &mut self.sink)?;
                Ok(work < work_allowed)
            };
            let used = inflate(stream, payload, inflated, &mut each)?;
            if used < payload.len() {
                *unread = payload.len() - used;
                return Ok(Flow::Goes);
            }
            if ends {
                inflate_end(stream, inflated, each)?;
            }
        } else {
            message.deliver(payload, &mut self.sink)?;
        }
        if ends {
            if !message.utf8.is_complete() {
                return Err(WsError::TextNotUtf8);
            }
            self.partial.message = None;
            if self.reader.deflate.is_some_and(|window| !window.takeover) {
                self.reader.release_inflater(self.pool);
            }
            (self.sink)(Event::End);
        }
        Ok(Flow::Goes)
    }

    fn borrow_inflater(&mut self) -> Result<(), WsError> {
        if self.reader.inflater == NONE {
            let bits = self.reader.deflate.map(inflate_bits);
            let stream = bits.and_then(|bits| self.pool.inflaters.take(bits));
            self.reader.inflater = stream.ok_or(WsError::NoInflater)?;
        }
        Ok(())
    }
}

impl Message {
    /// Holds the length of a frame against the limits, before anything of it has come.
    fn announce(&mut self, length: u64, limits: &Limits) -> Result<(), WsError> {
        if length > limits.frame_bytes_max {
            return Err(WsError::FrameTooBig(length));
        }
        if !self.compressed {
            // Both are below 2^63.
            self.bytes += length;
            if self.bytes > limits.message_bytes_max {
                return Err(WsError::MessageTooBig);
            }
        }
        Ok(())
    }

    /// Hands on inflated bytes, up to the limit and no further.
    fn inflated(
        &mut self,
        piece: &[u8],
        most: u64,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), WsError> {
        let room = most - self.bytes;
        let fits = usize::try_from(room).map_or(piece.len(), |room| room.min(piece.len()));
        self.bytes += fits as u64;
        self.deliver(&piece[..fits], sink)?;
        if fits < piece.len() { Err(WsError::MessageTooBig) } else { Ok(()) }
    }

    fn deliver(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<(), WsError> {
        match self.kind {
            Kind::Text => {
                let each = |text: &str| sink(Event::Chunk(text.as_bytes()));
                self.utf8.push(bytes, each).map_err(|_| WsError::TextNotUtf8)
            }
            Kind::Binary => {
                if !bytes.is_empty() {
                    sink(Event::Chunk(bytes));
                }
                Ok(())
            }
        }
    }
}

/// Where messages and frames wait that were cut by a read, and the inflating streams: shared by all
/// connections of a reactor.
#[derive(Debug)]
pub struct ReadPool {
    partials: Partials,
    inflaters: Streams<Decompress>,
    /// What an inflating stream writes to.
    inflated: Box<[u8]>,
    /// What was done since [`ReadPool::allow`], in units of about a nanosecond.
    work: u64,
    /// The most that it may be.
    work_allowed: u64,
    /// Bytes at the end of the last read that were not taken, since that was used up.
    unread: usize,
}

impl ReadPool {
    /// An empty pool that has at most `inflaters_max` inflating streams in use.
    #[must_use]
    pub fn new(inflaters_max: usize) -> Self {
        Self {
            partials: Partials::default(),
            inflaters: Streams::new(inflaters_max),
            inflated: vec![0; WS_INFLATED_CHUNK_BYTES].into_boxed_slice(),
            work: 0,
            work_allowed: u64::MAX,
            unread: 0,
        }
    }

    /// Bounds the work of what is read from now on, in units of about a nanosecond: a frame costs
    /// [`WS_FRAME_WORK`], a compressed message [`WS_COMPRESSED_WORK`], an inflated byte
    /// [`WS_INFLATED_WORK`]. Reading stops behind the frame, or the piece of at most
    /// [`WS_INFLATED_CHUNK_BYTES`], with which it is used up. Without this there is no bound.
    #[inline]
    pub fn allow(&mut self, units: u64) {
        (self.work, self.work_allowed, self.unread) = (0, units, 0);
    }

    /// The work that was done since it was bounded, as frames and inflated bytes tell.
    #[must_use]
    #[inline]
    pub fn work_done(&self) -> u64 {
        self.work
    }

    /// How many bytes at the end of what was read last were not taken. They are to come again,
    /// before any others.
    #[must_use]
    #[inline]
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Frames that may still be read.
    #[inline]
    pub(super) fn frames_left(&self) -> u32 {
        let left = self.work_allowed.saturating_sub(self.work).div_ceil(WS_FRAME_WORK);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Notes frames that were read elsewhere.
    #[inline]
    pub(super) fn note_frames(&mut self, frames: u32) {
        self.work += u64::from(frames) * WS_FRAME_WORK;
    }

    /// Connections with something incomplete.
    #[must_use]
    pub fn partials_in_use(&self) -> usize {
        self.partials.entries.len() - self.partials.free.len()
    }

    /// Inflating streams in use.
    #[must_use]
    pub fn inflaters_in_use(&self) -> usize {
        self.inflaters.in_use()
    }

    /// How often an inflating stream was asked for in vain.
    #[must_use]
    pub fn inflaters_refused(&self) -> u64 {
        self.inflaters.refused()
    }
}

/// Grows to the most that were ever incomplete at once, one per connection at the most, and stays.
#[derive(Debug, Default)]
struct Partials {
    entries: Vec<Partial>,
    free: Vec<u32>,
}

impl Partials {
    fn take(&mut self, partial: &Partial) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = *partial;
            return index;
        }
        self.entries.push(*partial);
        (self.entries.len() - 1) as u32
    }

    fn give_back(&mut self, index: u32) {
        self.free.push(index);
    }
}
