//! Frames and messages on their way out: whole or in pieces, plain or deflated.

use super::close::CloseCode;
use super::deflate::{Streams, deflate};
use super::extension::Window;
use super::frame::{FIN, HEADER_BYTES_MAX, Header, MASKED, Opcode, SHORT_BYTES_MAX};
use super::mask::{append_masked, copy_masked};
use super::reader::Kind;
use crate::limits::WS_CONTROL_BYTES_MAX;
use flate2::Compress;

/// The header of a short frame with a mask, in bytes.
const SHORT_HEADER_BYTES: usize = 6;

/// Writes one frame behind `out`. `header.length` is not looked at: the payload's length counts.
#[inline]
pub fn write_frame(header: Header, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES_MAX + payload.len());
    Header { length: payload.len() as u64, ..header }.encode(out);
    match header.mask {
        Some(key) => append_masked(payload, key, out),
        None => out.extend_from_slice(payload),
    }
}

/// One connection's outgoing side. Clients give a fresh mask for every frame, servers none.
#[derive(Debug)]
pub struct Writer {
    /// The deflating stream: for a message, or for life if its window is dedicated.
    deflater: u32,
    /// The window of our compressed messages, if we may compress.
    deflate: Option<Window>,
    state: State,
}

const NONE: u32 = u32::MAX;

/// `Unsent`: begun, but no frame is written yet. `Sent`: at least one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Idle,
    /// The same, after pongs.
    Pongs,
    PlainUnsent(Kind),
    PlainSent,
    DeflateUnsent(Kind),
    DeflateSent,
    /// In a frame whose header is written and whose payload the caller writes.
    Frame,
}

impl Writer {
    /// The outgoing side of a connection that is just upgraded. `deflate` is the window of what we
    /// send, if compression was agreed upon.
    #[must_use]
    pub fn new(deflate: Option<Window>) -> Self {
        // zlib cannot keep to a window of 256 bytes, which a server may impose on its clients. Not
        // to compress a message is always allowed (RFC 7692 6).
        Self { deflater: NONE, deflate: deflate.filter(|w| w.bits > 8), state: State::Idle }
    }

    /// A pong was written.
    pub(super) fn note_pong(&mut self) {
        if self.state == State::Idle {
            self.state = State::Pongs;
        }
    }

    /// Messages were answered without the writer, or among pongs.
    #[inline]
    pub(super) fn note_message(&mut self) {
        if self.state == State::Pongs {
            self.state = State::Idle;
        }
    }

    /// Whether the last answers of [`echo`](super::echo) were pongs and nothing else.
    #[must_use]
    pub fn sends_pongs(&self) -> bool {
        self.state == State::Pongs
    }

    /// Whether a message has begun and is not complete.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        !matches!(self.state, State::Idle | State::Pongs)
    }

    /// Whether a frame has begun and is not complete: no control frame may be written now.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.state == State::Frame
    }

    /// Writes a whole message as one frame behind `out`; compressed as [`Writer::start`] says.
    ///
    /// # Panics
    /// In the middle of another message.
    #[inline]
    pub fn message(
        &mut self,
        pool: &mut WritePool,
        kind: Kind,
        payload: &[u8],
        mask: Option<[u8; 4]>,
        out: &mut Vec<u8>,
    ) {
        if self.deflate.is_none() {
            assert!(!self.is_mid_message(), "a message within a message");
            let opcode = kind.opcode();
            let header = Header { fin: true, compressed: false, opcode, mask, length: 0 };
            return write_frame(header, payload, out);
        }
        self.start(pool, kind);
        self.piece(pool, payload, true, mask, out);
    }

    /// Writes whole messages that lie end to end, of `size` bytes each, as one frame each behind
    /// `out`, every one with a mask from `keys`; compressed as [`Writer::start`] says.
    ///
    /// # Panics
    /// In the middle of another message, or if `size` is zero.
    #[inline]
    pub fn messages(
        &mut self,
        pool: &mut WritePool,
        kind: Kind,
        (payloads, size): (&[u8], usize),
        mut keys: impl FnMut() -> [u8; 4],
        out: &mut Vec<u8>,
    ) {
        if self.deflate.is_some() || size > SHORT_BYTES_MAX {
            for payload in payloads.chunks_exact(size) {
                self.message(pool, kind, payload, Some(keys()), out);
            }
            return;
        }
        assert!(!self.is_mid_message(), "a message within a message");
        // Most of the load is made of short messages: all of them have the same header but for the
        // mask.
        let (first, second) = (FIN | kind.opcode() as u8, MASKED | size as u8);
        let (start, frame_bytes) = (out.len(), SHORT_HEADER_BYTES + size);
        out.resize(start + payloads.len() / size * frame_bytes, 0);
        let frames = out[start..].chunks_exact_mut(frame_bytes);
        for (frame, payload) in frames.zip(payloads.chunks_exact(size)) {
            let key @ [a, b, c, d] = keys();
            let (header, body) = frame.split_at_mut(SHORT_HEADER_BYTES);
            header.copy_from_slice(&[first, second, a, b, c, d]);
            copy_masked(payload, key, body);
        }
    }

    /// Writes a whole message behind `out` in frames that carry `most` bytes at the most, every one
    /// with a mask from `keys`; compressed as [`Writer::start`] says. Then what is cut is the
    /// compressed message, as it is what the frames carry (RFC 7692 6.1).
    ///
    /// # Panics
    /// In the middle of another message, or if `most` is zero.
    pub fn fragments(
        &mut self,
        pool: &mut WritePool,
        kind: Kind,
        (payload, most): (&[u8], usize),
        mut keys: impl FnMut() -> [u8; 4],
        out: &mut Vec<u8>,
    ) {
        self.start(pool, kind);
        let compressed = matches!(self.state, State::DeflateUnsent(_));
        let mut cut = |payload: &[u8]| {
            let mut header =
                Header { fin: false, compressed, opcode: kind.opcode(), mask: None, length: 0 };
            let mut pieces = payload.chunks(most).peekable();
            // A message of nothing is a frame of nothing.
            let mut piece = pieces.next().unwrap_or_default();
            loop {
                header = Header { fin: pieces.peek().is_none(), mask: Some(keys()), ..header };
                write_frame(header, piece, out);
                let Some(next) = pieces.next() else { break };
                header = Header { compressed: false, opcode: Opcode::Continuation, ..header };
                piece = next;
            }
        };
        if compressed {
            cut(self.deflated(pool, payload, true));
            self.end_compressed(pool);
        } else {
            cut(payload);
            self.state = State::Idle;
        }
    }

    /// Begins a message, to be written by pieces. It will be compressed if that was agreed upon and
    /// a stream is free; if none is, it goes plain, which is always allowed.
    ///
    /// # Panics
    /// In the middle of another message.
    #[inline]
    pub fn start(&mut self, pool: &mut WritePool, kind: Kind) {
        assert!(!self.is_mid_message(), "a message within a message");
        let compresses = self.deflate.is_some() && self.borrow_deflater(pool);
        self.state = if compresses { State::DeflateUnsent(kind) } else { State::PlainUnsent(kind) };
    }

    /// Writes the next piece of the message that was started behind `out`, as one frame. The stream
    /// of a compressed message may hold back a piece that is not the last: then no frame is
    /// written.
    ///
    /// # Panics
    /// If no message was started.
    #[inline]
    pub fn piece(
        &mut self,
        pool: &mut WritePool,
        payload: &[u8],
        last: bool,
        mask: Option<[u8; 4]>,
        out: &mut Vec<u8>,
    ) {
        let (compressed, opcode) = match self.state {
            State::PlainUnsent(kind) => (false, kind.opcode()),
            State::DeflateUnsent(kind) => (true, kind.opcode()),
            State::PlainSent | State::DeflateSent => (false, Opcode::Continuation),
            State::Idle | State::Pongs | State::Frame => panic!("a piece of no message"),
        };
        let header = Header { fin: last, compressed, opcode, mask, length: 0 };
        if matches!(self.state, State::DeflateUnsent(_) | State::DeflateSent) {
            self.compressed_piece(pool, header, payload, out);
        } else {
            write_frame(header, payload, out);
            self.state = if last { State::Idle } else { State::PlainSent };
        }
    }

    /// Makes the plain frame at `at` in `out` the last one of the message, as if it had been
    /// written as such, and says whether that was possible.
    pub(super) fn end_with(&mut self, at: usize, out: &mut [u8]) -> bool {
        let is_plain = self.state == State::PlainSent;
        if is_plain {
            out[at] |= FIN;
            self.state = State::Idle;
        }
        is_plain
    }

    /// Writes the header of a message that is a single plain frame without a mask. The caller
    /// writes its payload of `length` bytes behind it, over any time, and then calls
    /// [`Writer::end_frame`].
    ///
    /// # Panics
    /// In the middle of another message.
    pub fn start_frame(&mut self, kind: Kind, length: u64, out: &mut Vec<u8>) {
        assert!(!self.is_mid_message(), "a message within a message");
        let opcode = kind.opcode();
        Header { fin: true, compressed: false, opcode, mask: None, length }.encode(out);
        self.state = State::Frame;
    }

    /// The payload of the frame that [`Writer::start_frame`] began is written.
    pub fn end_frame(&mut self) {
        debug_assert!(self.is_mid_frame());
        self.state = State::Idle;
    }

    /// Writes a ping behind `out`; fit between the pieces of a message.
    ///
    /// # Panics
    /// If the payload is longer than 125 bytes.
    pub fn ping(payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        Self::control(Opcode::Ping, payload, mask, out);
    }

    /// Writes a pong behind `out`; fit between the pieces of a message.
    ///
    /// # Panics
    /// If the payload is longer than 125 bytes.
    pub fn pong(payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        Self::control(Opcode::Pong, payload, mask, out);
    }

    /// Writes a close frame behind `out`. After it nothing may be written.
    ///
    /// # Panics
    /// If the reason is longer than 123 bytes.
    pub fn close(code: Option<CloseCode>, reason: &str, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(2 + reason.len());
        if let Some(CloseCode(code)) = code {
            body.extend_from_slice(&code.to_be_bytes());
            body.extend_from_slice(reason.as_bytes());
        }
        Self::control(Opcode::Close, &body, mask, out);
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut WritePool) {
        if self.deflater != NONE {
            if self.is_mid_message() {
                // A reset does not undo all of it: with zlib-rs 0.6.8 a stream that is in the
                // middle of a block stays there, and its next message begins without the header of
                // a block.
                pool.deflaters.discard(self.deflater);
            } else {
                pool.deflaters.give_back(self.deflater);
            }
            self.deflater = NONE;
        }
        self.state = State::Idle;
    }

    fn control(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        assert!(payload.len() <= WS_CONTROL_BYTES_MAX, "a control frame of {}", payload.len());
        write_frame(Header { fin: true, compressed: false, opcode, mask, length: 0 }, payload, out);
    }

    fn borrow_deflater(&mut self, pool: &mut WritePool) -> bool {
        if self.deflater == NONE
            && let Some(index) = self.deflate.and_then(|window| pool.deflaters.take(window.bits))
        {
            self.deflater = index;
        }
        self.deflater != NONE
    }

    fn compressed_piece(
        &mut self,
        pool: &mut WritePool,
        header: Header,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let deflated = self.deflated(pool, payload, header.fin);
        if header.fin || !deflated.is_empty() {
            write_frame(header, deflated, out);
            self.state = State::DeflateSent;
        }
        if header.fin {
            self.end_compressed(pool);
        }
    }

    /// What the stream gives for the next bytes of a message.
    fn deflated<'a>(&self, pool: &'a mut WritePool, payload: &[u8], last: bool) -> &'a [u8] {
        let WritePool { deflaters, deflated } = pool;
        if deflated.capacity() > DEFLATED_KEPT_BYTES_MAX {
            *deflated = Vec::new();
        }
        deflated.clear();
        if let Some(stream) = deflaters.get(self.deflater) {
            deflate(stream, payload, last, deflated);
        }
        deflated
    }

    /// The last byte of a compressed message is written.
    fn end_compressed(&mut self, pool: &mut WritePool) {
        self.state = State::Idle;
        if self.deflate.is_some_and(|window| !window.takeover) {
            self.forget(pool);
        }
    }
}

/// A buffer for deflated bytes that has grown beyond this is not kept.
const DEFLATED_KEPT_BYTES_MAX: usize = 64 * 1024;

/// The deflating streams: shared by all connections of a reactor.
#[derive(Debug)]
pub struct WritePool {
    deflaters: Streams<Compress>,
    deflated: Vec<u8>,
}

impl WritePool {
    /// An empty pool that has at most `deflaters_max` deflating streams in use.
    #[must_use]
    pub fn new(deflaters_max: usize) -> Self {
        Self { deflaters: Streams::new(deflaters_max), deflated: Vec::new() }
    }

    /// Deflating streams in use.
    #[must_use]
    pub fn deflaters_in_use(&self) -> usize {
        self.deflaters.in_use()
    }

    /// How often a deflating stream was asked for in vain: as many messages went plain.
    #[must_use]
    pub fn deflaters_refused(&self) -> u64 {
        self.deflaters.refused()
    }
}
