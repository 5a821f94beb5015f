//! The plain echo load: laying messages out, and cutting the replies out of a byte stream.
//!
//! Every message has the same size: a [`Stamp`], then filler that is the same in all messages of a
//! run. A reply must be the message, byte for byte and in order; anything else is a [`Mismatch`].
//!
//! Where the run takes servers that speak of themselves ([`Template::passing_over`]), a message without
//! a stamp of this run is not a reply and is passed over; in a stream, which has no borders, so is what
//! comes before the first reply.

use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, TEXT_MESSAGE_BYTES_MIN};
use crate::random::SplitMix64;
use crate::stamp::{STAMP_BYTES, Stamp};
use crate::unasked::{OtherProtocol, Unasked};

/// What was wrong with a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// More came back than was sent.
    #[error("bytes arrived for which no message was sent")]
    Unasked,
    /// The first 32 bytes are not a stamp of this run: a foreign or damaged reply.
    #[error("the reply does not carry a stamp of this run")]
    Foreign,
    /// A stamp of this run, but of another connection.
    #[error("the reply belongs to connection {0}")]
    WrongConnection(u32),
    /// A stamp of this connection, but not of the message whose turn it was.
    #[error("the reply is number {got} where {expected} was due")]
    WrongSequence {
        /// The sequence number whose turn it was.
        expected: u32,
        /// The sequence number that came.
        got: u32,
    },
    /// The bytes behind the stamp are not those that were sent.
    #[error("the reply's body differs from what was sent")]
    WrongBody,
    /// A text where binary data was sent, or the other way round.
    #[error("the reply is text where binary data was sent, or binary data where text was")]
    WrongKind,
    /// The first bytes are those of another protocol.
    #[error("{0}")]
    OtherProtocol(OtherProtocol),
}

/// The stamp as text: two hexadecimal digits for each byte.
const TEXT_STAMP_BYTES: usize = 2 * STAMP_BYTES;

/// The first bytes by which a message of this run is looked for in a stream.
const MARK_BYTES: usize = 4;

/// Bytes of a stream's start in which another protocol is looked for.
const NAMED_BYTES: usize = 16;

/// The longest greeting that may come when the first message has left already.
const GREETING_BYTES_MAX: usize = 1024;

/// What all messages of a run have in common, with room to lay out a batch of them.
#[derive(Debug)]
pub struct Template {
    size: usize,
    tag: u32,
    /// Bytes that the stamp takes: more in a text than in binary data.
    stamp_bytes: usize,
    /// The first bytes of each message on the wire: those of the tag.
    mark: [u8; MARK_BYTES],
    /// Whether whatever is no reply is a mismatch.
    strict: bool,
    /// `batch` messages end to end; their filler is written once and stays.
    batch: Vec<u8>,
}

impl Template {
    /// Messages of `size` bytes, at most `batch` of them laid out at once. The filler and the tag
    /// come from `seed`.
    ///
    /// # Panics
    /// If `size` is outside [`MESSAGE_BYTES_MIN`]..=[`MESSAGE_BYTES_MAX`] or `batch` is zero: the
    /// plan has checked both.
    #[must_use]
    pub fn new(size: usize, batch: usize, seed: u64) -> Self {
        assert!((MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&size) && batch > 0);
        let mut random = SplitMix64::new(seed);
        let tag = random.next() as u32;
        let mut message = vec![0; size];
        for chunk in message[STAMP_BYTES..].chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        let mark = tag.to_le_bytes();
        let batch = message.repeat(batch);
        Self { size, tag, stamp_bytes: STAMP_BYTES, mark, strict: true, batch }
    }

    /// The same for messages that are text: the stamp is written in hexadecimal digits, the filler is
    /// letters.
    ///
    /// # Panics
    /// If `size` is outside [`TEXT_MESSAGE_BYTES_MIN`]..=[`MESSAGE_BYTES_MAX`] or `batch` is zero: the
    /// plan has checked both.
    #[must_use]
    pub fn text(size: usize, batch: usize, seed: u64) -> Self {
        assert!((TEXT_MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&size) && batch > 0);
        let mut random = SplitMix64::new(seed);
        let tag = random.next() as u32;
        let mut message = vec![b'0'; size];
        for byte in &mut message[TEXT_STAMP_BYTES..] {
            *byte = b'a' + (random.next() % 26) as u8;
        }
        let mut digits = [0; TEXT_STAMP_BYTES];
        let stamp = Stamp { tag, connection: 0, sequence: 0, intended: 0, sent: 0 };
        write_digits(&stamp.to_bytes(), &mut digits);
        let mark = [digits[0], digits[1], digits[2], digits[3]];
        let batch = message.repeat(batch);
        Self { size, tag, stamp_bytes: TEXT_STAMP_BYTES, mark, strict: true, batch }
    }

    /// The same for servers that speak of themselves: what is not the reply to anything is passed over,
    /// and counted in the [`PartialPool`].
    #[must_use]
    pub fn passing_over(self) -> Self {
        Self { strict: false, ..self }
    }

    /// What tells this run's stamps from those of others.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// The size of a message, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many messages fit into one batch.
    #[must_use]
    pub fn batch_max(&self) -> usize {
        self.batch.len() / self.size
    }

    /// Lays out the next `count` messages of a connection and counts them as sent: the bytes to
    /// write. All carry the same times.
    ///
    /// # Panics
    /// If `count` is above [`Template::batch_max`].
    #[inline]
    pub fn compose(&mut self, echo: &mut Echo, count: usize, intended: u64, sent: u64) -> &[u8] {
        let bytes = &mut self.batch[..count * self.size];
        for message in bytes.chunks_exact_mut(self.size) {
            let stamp = Stamp {
                tag: self.tag,
                connection: echo.connection,
                sequence: echo.sent,
                intended,
                sent,
            };
            let bytes = stamp.to_bytes();
            if self.stamp_bytes == STAMP_BYTES {
                message[..STAMP_BYTES].copy_from_slice(&bytes);
            } else {
                write_digits(&bytes, message);
            }
            echo.sent = echo.sent.wrapping_add(1);
        }
        bytes
    }

    fn filler(&self) -> &[u8] {
        &self.batch[self.stamp_bytes..self.size]
    }

    /// The stamp in the first bytes of a message, if it is one of this run.
    #[inline(always)]
    fn stamp(&self, head: &[u8]) -> Option<Stamp> {
        let stamp = if self.stamp_bytes == STAMP_BYTES {
            Stamp::from_bytes(head.first_chunk()?)
        } else {
            Stamp::from_bytes(&read_digits(head.first_chunk()?)?)
        };
        stamp.filter(|stamp| stamp.tag == self.tag)
    }

    /// Where in these bytes a message of this run begins, or may begin: at their end if nowhere.
    fn mark_at(&self, bytes: &[u8]) -> usize {
        let begins = |at: &usize| {
            let here = &bytes[*at..];
            here.starts_with(&self.mark) || self.mark.starts_with(here)
        };
        (0..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

/// Writes two digits for each byte to the start of `text`.
fn write_digits(bytes: &[u8; STAMP_BYTES], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The bytes of the digits that [`write_digits`] wrote; `None` for any others, capitals among them.
fn read_digits(text: &[u8; TEXT_STAMP_BYTES]) -> Option<[u8; STAMP_BYTES]> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; STAMP_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// One connection's side of the echo load: 16 bytes, since a million of them are held.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    connection: u32,
    /// The sequence number of the next message to send; wraps around.
    sent: u32,
    /// The sequence number of the next reply that is due.
    received: u32,
    /// Where the reply that is only partly here is kept, in the reactor's [`PartialPool`].
    partial: u32,
}

const _: () = assert!(size_of::<Echo>() == 16);

const NO_PARTIAL: u32 = u32::MAX;

impl Echo {
    /// The echo state of a fresh connection.
    #[must_use]
    pub fn new(connection: u32) -> Self {
        Self { connection, sent: 0, received: 0, partial: NO_PARTIAL }
    }

    /// The connection's number within the run.
    #[must_use]
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// Messages that were sent and whose reply is not complete.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.sent.wrapping_sub(self.received)
    }

    /// Replies that were complete and right.
    #[must_use]
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Takes the next bytes of the stream, calls `on_reply` with the stamp of each reply that is
    /// complete with them, and says how many were.
    ///
    /// # Errors
    /// The first [`Mismatch`]. What follows it in the stream cannot be trusted: the connection is to
    /// be given up, by way of [`Echo::forget`].
    #[inline]
    pub fn read(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        mut bytes: &[u8],
        mut on_reply: impl FnMut(&Stamp),
    ) -> Result<u32, Mismatch> {
        let before = self.received;
        loop {
            if self.partial != NO_PARTIAL {
                match self.resume(template, pool, bytes, &mut on_reply) {
                    Ok(Some(rest)) => bytes = rest,
                    Ok(None) => break,
                    Err(mismatch) => {
                        // It is known what it was: nothing more is to be made of it.
                        self.forget(pool);
                        return Err(mismatch);
                    }
                }
            }
            let wrong = loop {
                let Some((message, rest)) = bytes.split_at_checked(template.size) else {
                    break None;
                };
                match self.read_message(template, message) {
                    Ok(stamp) => on_reply(&stamp),
                    Err(mismatch) => break Some(mismatch),
                }
                bytes = rest;
            };
            match wrong {
                None if bytes.is_empty() => break,
                None if self.in_flight() == 0 => self.astray(template, bytes, Mismatch::Unasked)?,
                None => {}
                Some(mismatch) => self.astray(template, bytes, mismatch)?,
            }
            self.partial = pool.take();
        }
        Ok(self.received.wrapping_sub(before))
    }

    /// These bytes of a stream do not begin with the reply that is due. Unless that is the last word,
    /// they are to be gone through one after the other.
    #[cold]
    fn astray(&self, template: &Template, bytes: &[u8], wrong: Mismatch) -> Result<(), Mismatch> {
        let first = self.received == 0;
        match (wrong, OtherProtocol::of(bytes)) {
            (Mismatch::Foreign | Mismatch::Unasked, _) if first && !template.strict => Ok(()),
            (Mismatch::Foreign, Some(other)) if first => Err(Mismatch::OtherProtocol(other)),
            _ => Err(wrong),
        }
    }

    /// Goes through the start of a stream up to the first stamp: a greeting, which is passed over,
    /// another protocol, which is named, or a reply that was cut. Returns what follows the stamp, or
    /// `None` if it is still not complete.
    ///
    /// What comes before anything was sent is a greeting whatever it is. One may also be on its way
    /// while the first message leaves: then it has to be text, and not long, so that a reply that was
    /// spoilt is not taken for one.
    fn first_bytes<'a>(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        mut bytes: &'a [u8],
    ) -> Result<Option<&'a [u8]>, Mismatch> {
        let PartialPool { entries, unasked, .. } = pool;
        let partial = &mut entries[self.partial as usize];
        let ours = |head: &[u8]| head.starts_with(&template.mark);
        if self.in_flight() == 0 {
            let seen = partial.seen;
            let now = &bytes[..bytes.len().min(NAMED_BYTES - seen)];
            partial.head[seen..seen + now.len()].copy_from_slice(now);
            partial.seen += now.len();
            if let Some(other) = OtherProtocol::of(&partial.head[..partial.seen]) {
                return Err(Mismatch::OtherProtocol(other));
            }
            partial.pass(unasked, bytes);
            partial.greets = true;
            return Ok(None);
        }
        if std::mem::take(&mut partial.greets) {
            // That was before the message left, so no reply begins in it.
            partial.seen = 0;
        }
        loop {
            let (now, rest) = bytes.split_at(bytes.len().min(template.stamp_bytes - partial.seen));
            partial.head[partial.seen..partial.seen + now.len()].copy_from_slice(now);
            partial.seen += now.len();
            bytes = rest;
            let head = &partial.head[..partial.seen];
            if !partial.passed
                && !ours(head)
                && let Some(other) = OtherProtocol::of(head)
            {
                return Err(Mismatch::OtherProtocol(other));
            }
            if partial.seen < template.stamp_bytes {
                return Ok(None);
            }
            let at = if template.strict { 0 } else { template.mark_at(head) };
            if at == 0 {
                self.accept(template, &partial.head)?;
                return Ok(Some(bytes));
            }
            let text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x80..);
            let greeting = head[..at].iter().all(text);
            if !greeting || usize::from(partial.late) + at > GREETING_BYTES_MAX {
                return Err(Mismatch::Foreign);
            }
            let gone = partial.head;
            partial.pass(unasked, &gone[..at]);
            partial.late += at as u16;
            partial.head.copy_within(at..partial.seen, 0);
            partial.seen -= at;
        }
    }

    /// Takes a reply that is whole, where the protocol says where messages begin and end.
    ///
    /// # Errors
    /// What is wrong with it, as for [`Echo::read`].
    // Once for each reply: as a call of its own it would hand its result over by memory.
    #[inline(always)]
    pub fn read_message(&mut self, template: &Template, message: &[u8]) -> Result<Stamp, Mismatch> {
        let stamp = self.accept(template, message)?;
        let body = &message[template.stamp_bytes..];
        // The least message has none, and to compare nothing is a call of a function all the same.
        if !body.is_empty() && body != template.filler() {
            return Err(Mismatch::WrongBody);
        }
        self.received = self.received.wrapping_add(1);
        Ok(stamp)
    }

    /// Passes a message over that [`Echo::read_message`] found `wrong`, if it is not the reply to
    /// anything.
    ///
    /// # Errors
    /// What is wrong with it, if it is a reply of this run, or everything has to be one.
    #[cold]
    pub fn pass_over(
        template: &Template,
        pool: &mut PartialPool,
        message: &[u8],
        wrong: Mismatch,
    ) -> Result<(), Mismatch> {
        if template.strict || template.stamp(message).is_some() {
            return Err(wrong);
        }
        pool.unasked.whole(message);
        Ok(())
    }

    /// Begins a message that comes in pieces, to be followed by [`Echo::piece`] and [`Echo::end`].
    /// `same_kind`: it is text where text was sent, or binary data where that was.
    ///
    /// # Errors
    /// If everything has to be a reply, and no such one is due.
    pub fn begin(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        same_kind: bool,
    ) -> Result<(), Mismatch> {
        if template.strict && self.in_flight() == 0 {
            return Err(Mismatch::Unasked);
        }
        if template.strict && !same_kind {
            return Err(Mismatch::WrongKind);
        }
        self.forget(pool);
        self.partial = pool.take();
        pool.entries[self.partial as usize].other_kind = !same_kind;
        Ok(())
    }

    /// Begins a message that is passed over whatever is in it.
    pub fn begin_unasked(&mut self, pool: &mut PartialPool) {
        self.forget(pool);
        self.partial = pool.take();
        let PartialPool { entries, unasked, .. } = pool;
        entries[self.partial as usize].pass(unasked, b"");
    }

    /// Whether a message has begun that is not complete.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.partial != NO_PARTIAL
    }

    /// Whether no message was sent yet.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.sent == 0 && self.received == 0
    }

    /// Whether the message that was begun is not the reply to anything, and these bytes of it are
    /// therefore passed over.
    fn passes(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        bytes: &[u8],
    ) -> Result<bool, Mismatch> {
        let PartialPool { entries, unasked, .. } = pool;
        let partial = &mut entries[self.partial as usize];
        if partial.passed {
            partial.pass(unasked, bytes);
            return Ok(true);
        }
        let (seen, whole) = (partial.seen, template.stamp_bytes);
        if seen >= whole || seen + bytes.len() < whole {
            // Known already, or not yet.
            return Ok(false);
        }
        let mut head = partial.head;
        head[seen..whole].copy_from_slice(&bytes[..whole - seen]);
        match template.stamp(&head) {
            Some(_) if partial.other_kind => Err(Mismatch::WrongKind),
            Some(_) => Ok(false),
            None => {
                partial.pass(unasked, &head[..seen]);
                partial.pass(unasked, bytes);
                Ok(true)
            }
        }
    }

    /// Takes the next piece of the reply that was begun.
    ///
    /// # Errors
    /// What is wrong with it, as for [`Echo::read`].
    pub fn piece(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        bytes: &[u8],
    ) -> Result<(), Mismatch> {
        if !template.strict && self.passes(template, pool, bytes)? {
            return Ok(());
        }
        let rest = self.take_part(template, pool, bytes)?;
        if rest.is_empty() { Ok(()) } else { Err(Mismatch::WrongBody) }
    }

    /// The message that was begun is complete. `None`: it was passed over.
    ///
    /// # Errors
    /// What is wrong with it, as for [`Echo::read`].
    pub fn end(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
    ) -> Result<Option<Stamp>, Mismatch> {
        let PartialPool { entries, unasked, .. } = &mut *pool;
        let partial = &mut entries[self.partial as usize];
        if !partial.passed && !template.strict && partial.seen < template.stamp_bytes {
            let head = partial.head;
            partial.pass(unasked, &head[..partial.seen]);
        }
        if partial.passed {
            self.forget(pool);
            return Ok(None);
        }
        self.finish(template, pool).map(Some)
    }

    /// The reply of which all bytes are here is complete.
    fn finish(&mut self, template: &Template, pool: &mut PartialPool) -> Result<Stamp, Mismatch> {
        let partial = &pool.entries[self.partial as usize];
        if partial.seen < template.stamp_bytes {
            return Err(Mismatch::Foreign);
        }
        if partial.seen < template.size {
            return Err(Mismatch::WrongBody);
        }
        let stamp = self.accept(template, &partial.head)?;
        self.forget(pool);
        self.received = self.received.wrapping_add(1);
        Ok(stamp)
    }

    /// Counts a reply whatever is in it, for peers that answer with something else than they got.
    ///
    /// # Errors
    /// If none is due.
    pub fn count_reply(&mut self) -> Result<(), Mismatch> {
        if self.in_flight() == 0 {
            return Err(Mismatch::Unasked);
        }
        self.received = self.received.wrapping_add(1);
        Ok(())
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut PartialPool) {
        if self.partial != NO_PARTIAL {
            pool.give_back(self.partial);
            self.partial = NO_PARTIAL;
        }
    }

    /// The same for a stream that comes to its end, or is given up: what has come and cannot be the
    /// start of a reply was an answer that nobody asked for, and is counted as such.
    pub fn give_up(&mut self, template: &Template, pool: &mut PartialPool) {
        if self.partial != NO_PARTIAL && self.received == 0 && !template.strict {
            let PartialPool { entries, unasked, .. } = &mut *pool;
            let partial = &mut entries[self.partial as usize];
            let head = partial.head;
            let head = &head[..partial.seen.min(template.stamp_bytes)];
            if !partial.greets && !head.is_empty() && template.mark_at(head) > 0 {
                partial.pass(unasked, head);
            }
        }
        self.forget(pool);
    }

    /// Goes on with a reply of which only a part has been seen. Returns what follows it, or `None`
    /// if it is still not complete.
    #[cold]
    fn resume<'a>(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        mut bytes: &'a [u8],
        on_reply: &mut impl FnMut(&Stamp),
    ) -> Result<Option<&'a [u8]>, Mismatch> {
        let seen = pool.entries[self.partial as usize].seen;
        if self.received == 0 && seen < template.stamp_bytes {
            let Some(rest) = self.first_bytes(template, pool, bytes)? else { return Ok(None) };
            bytes = rest;
        }
        let rest = self.take_part(template, pool, bytes)?;
        if pool.entries[self.partial as usize].seen < template.size {
            return Ok(None);
        }
        on_reply(&self.finish(template, pool)?);
        Ok(Some(rest))
    }

    /// Compares the next bytes of a reply, up to its end; returns what follows it.
    fn take_part<'a>(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        mut bytes: &'a [u8],
    ) -> Result<&'a [u8], Mismatch> {
        let partial = &mut pool.entries[self.partial as usize];
        if partial.seen < template.stamp_bytes {
            let (now, rest) = bytes.split_at(bytes.len().min(template.stamp_bytes - partial.seen));
            partial.head[partial.seen..partial.seen + now.len()].copy_from_slice(now);
            partial.seen += now.len();
            bytes = rest;
            if partial.seen < template.stamp_bytes {
                return Ok(bytes);
            }
            self.accept(template, &partial.head)?;
        }
        let at = partial.seen - template.stamp_bytes;
        let (now, rest) = bytes.split_at(bytes.len().min(template.size - partial.seen));
        if template.filler()[at..at + now.len()] != *now {
            return Err(Mismatch::WrongBody);
        }
        partial.seen += now.len();
        Ok(rest)
    }

    /// Whether these are the first bytes of the reply that is due.
    #[inline(always)]
    fn accept(&self, template: &Template, head: &[u8]) -> Result<Stamp, Mismatch> {
        if self.in_flight() == 0 {
            return Err(Mismatch::Unasked);
        }
        let stamp = template.stamp(head).ok_or(Mismatch::Foreign)?;
        if stamp.connection != self.connection {
            return Err(Mismatch::WrongConnection(stamp.connection));
        }
        if stamp.sequence != self.received {
            return Err(Mismatch::WrongSequence { expected: self.received, got: stamp.sequence });
        }
        Ok(stamp)
    }
}

/// Where replies wait that were cut by a read: shared by all connections of a reactor, because
/// nearly all replies come whole. Grows to the most that were ever cut at once, and stays.
#[derive(Debug, Default)]
pub struct PartialPool {
    entries: Vec<Partial>,
    free: Vec<u32>,
    unasked: Unasked,
}

#[derive(Debug, Clone, Copy)]
struct Partial {
    head: [u8; TEXT_STAMP_BYTES],
    /// Bytes of the message seen so far; those behind the head are compared and not kept.
    seen: usize,
    /// Bytes of a greeting that came when a message had been sent already.
    late: u16,
    /// It is not a reply, or was not so far: bytes of it have been passed over.
    passed: bool,
    /// It is the one that is shown.
    shown: bool,
    /// It is a text where binary data was sent, or the other way round.
    other_kind: bool,
    /// It came before anything was sent.
    greets: bool,
}

impl Partial {
    const NEW: Self = Self {
        head: [0; TEXT_STAMP_BYTES],
        seen: 0,
        late: 0,
        passed: false,
        shown: false,
        other_kind: false,
        greets: false,
    };

    /// These bytes of it are not the reply to anything.
    fn pass(&mut self, unasked: &mut Unasked, bytes: &[u8]) {
        if !std::mem::replace(&mut self.passed, true) {
            self.shown = unasked.begin();
        }
        unasked.more(bytes, self.shown);
    }
}

impl PartialPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// What came and was passed over, as it was not the reply to anything.
    #[must_use]
    pub fn unasked(&self) -> &Unasked {
        &self.unasked
    }

    /// Passes over a message that is whole, whatever is in it.
    #[cold]
    pub fn pass_over(&mut self, message: &[u8]) {
        self.unasked.whole(message);
    }

    fn take(&mut self) -> u32 {
        let fresh = Partial::NEW;
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = fresh;
            return index;
        }
        self.entries.push(fresh);
        // One entry per connection at the most, and connections are counted in 32 bits.
        (self.entries.len() - 1) as u32
    }

    fn give_back(&mut self, index: u32) {
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONNECTION: u32 = 77;

    /// A connection with `count` messages on their way, and the bytes of their replies.
    fn sent(template: &mut Template, count: usize) -> (Echo, Vec<u8>) {
        let mut echo = Echo::new(CONNECTION);
        let mut stream = Vec::new();
        for n in 0..count as u64 {
            stream.extend_from_slice(template.compose(&mut echo, 1, n * 10, n * 10 + 3));
        }
        (echo, stream)
    }

    /// Feeds the stream in the given chunk sizes; all replies, or the first mismatch.
    fn feed(
        template: &Template,
        echo: &mut Echo,
        stream: &[u8],
        chunks: &[usize],
    ) -> Result<Vec<Stamp>, Mismatch> {
        let (mut pool, mut stamps, mut at) = (PartialPool::new(), Vec::new(), 0);
        for chunk in chunks.iter().copied().chain([stream.len()]) {
            let end = (at + chunk).min(stream.len());
            let before = stamps.len();
            let count =
                echo.read(template, &mut pool, &stream[at..end], |stamp| stamps.push(*stamp))?;
            assert_eq!(count as usize, stamps.len() - before);
            at = end;
        }
        assert_eq!(pool.in_use(), usize::from(!stream.len().is_multiple_of(template.size())));
        echo.forget(&mut pool);
        assert_eq!(pool.in_use(), 0);
        Ok(stamps)
    }

    #[test]
    fn a_batch_is_messages_end_to_end() {
        let mut template = Template::new(100, 4, 1);
        let mut echo = Echo::new(CONNECTION);
        assert_eq!(template.compose(&mut echo, 4, 5, 6).len(), 400);
        assert_eq!(echo.in_flight(), 4);
        let stream = template.batch.clone();
        let stamps = feed(&template, &mut echo, &stream, &[]).expect("right");
        let sequences: Vec<u32> = stamps.iter().map(|stamp| stamp.sequence).collect();
        assert_eq!(sequences, [0, 1, 2, 3]);
        assert!(stamps.iter().all(|stamp| (stamp.intended, stamp.sent) == (5, 6)));
        assert_eq!(echo.in_flight(), 0);
    }

    #[test]
    fn each_kind_of_wrong_reply_is_told_apart() {
        let mut template = Template::new(64, 1, 1);
        let (echo, stream) = sent(&mut template, 3);
        let wrong = |stream: &[u8]| {
            // Cutting must not change the verdict.
            let whole = feed(&template, &mut echo.clone(), stream, &[]);
            let cut = feed(&template, &mut echo.clone(), stream, &vec![1; stream.len()]);
            assert_eq!(whole, cut);
            whole.expect_err("a mismatch")
        };
        assert_eq!(
            wrong(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n----------------------------"),
            Mismatch::OtherProtocol(OtherProtocol::Http1)
        );
        assert_eq!(wrong(&stream[64..]), Mismatch::WrongSequence { expected: 0, got: 1 });
        assert_eq!(wrong(&[&stream[..], b"?"].concat()), Mismatch::Unasked);
        assert_eq!(wrong(&stream[1..]), Mismatch::Foreign);
        let mut damaged = stream.clone();
        damaged[40] ^= 1;
        assert_eq!(wrong(&damaged), Mismatch::WrongBody);
        let (_, foreign) = sent(&mut Template::new(64, 1, 2), 1);
        assert_eq!(wrong(&foreign), Mismatch::Foreign);
        let mut other = Echo::new(CONNECTION + 1);
        let mut template = Template::new(64, 1, 1);
        let stray = template.compose(&mut other, 1, 0, 0).to_vec();
        let verdict = feed(&template, &mut echo.clone(), &stray, &[]);
        assert_eq!(verdict, Err(Mismatch::WrongConnection(CONNECTION + 1)));
    }

    /// Feeds one reply as a message of its own: whole, or cut into pieces.
    fn message(template: &Template, echo: &mut Echo, reply: &[u8], piece: usize) -> Verdict {
        if piece == 0 {
            return echo.read_message(template, reply);
        }
        let mut pool = PartialPool::new();
        let mut pieces = || {
            echo.begin(template, &mut pool, true)?;
            for piece in reply.chunks(piece) {
                echo.piece(template, &mut pool, piece)?;
            }
            Ok(echo.end(template, &mut pool)?.expect("nothing is passed over"))
        };
        let verdict = pieces();
        echo.forget(&mut pool);
        assert_eq!(pool.in_use(), 0);
        verdict
    }

    type Verdict = Result<Stamp, Mismatch>;

    #[test]
    fn messages_are_judged_alike_whole_or_in_pieces() {
        for mut template in [Template::new(90, 1, 1), Template::text(90, 1, 1)] {
            let (echo, stream) = sent(&mut template, 2);
            let (first, second) = stream.split_at(90);
            let verdict = |reply: &[u8]| {
                let whole = message(&template, &mut echo.clone(), reply, 0);
                for piece in [1, 7, 33, 89, 1000] {
                    assert_eq!(message(&template, &mut echo.clone(), reply, piece), whole);
                }
                whole
            };
            assert_eq!(verdict(first).map(|stamp| (stamp.intended, stamp.sent)), Ok((0, 3)));
            assert_eq!(verdict(second), Err(Mismatch::WrongSequence { expected: 0, got: 1 }));
            assert_eq!(verdict(b""), Err(Mismatch::Foreign));
            assert_eq!(verdict(b"Request served by a machine"), Err(Mismatch::Foreign));
            assert_eq!(verdict(&first[..89]), Err(Mismatch::WrongBody));
            assert_eq!(verdict(&stream), Err(Mismatch::WrongBody));
            assert!(verdict(&first.to_ascii_uppercase()).is_err());
        }
    }

    #[test]
    fn a_text_is_digits_and_letters() {
        let mut template = Template::text(200, 2, 5);
        let mut echo = Echo::new(CONNECTION);
        let bytes = template.compose(&mut echo, 2, u64::MAX, 1).to_vec();
        assert!(bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        for reply in bytes.chunks(200) {
            assert!(message(&template, &mut echo, reply, 0).is_ok());
        }
        assert_eq!(message(&template, &mut echo, &bytes[..200], 0), Err(Mismatch::Unasked));
        assert_eq!(message(&template, &mut echo, &bytes[..200], 9), Err(Mismatch::Unasked));
    }

    #[test]
    fn any_reply_counts_where_only_the_order_does() {
        let mut template = Template::new(32, 2, 1);
        let mut echo = Echo::new(CONNECTION);
        template.compose(&mut echo, 2, 0, 0);
        let counted = [(); 3].map(|()| echo.count_reply());
        assert_eq!(counted, [Ok(()), Ok(()), Err(Mismatch::Unasked)]);
    }

    #[test]
    fn sequence_numbers_wrap_around() {
        let mut template = Template::new(32, 2, 1);
        let mut echo = Echo { sent: u32::MAX, received: u32::MAX, ..Echo::new(CONNECTION) };
        let stream = template.compose(&mut echo, 2, 0, 0).to_vec();
        assert_eq!(echo.in_flight(), 2);
        assert_eq!(feed(&template, &mut echo, &stream, &[]).map(|stamps| stamps.len()), Ok(2));
        assert_eq!((echo.in_flight(), echo.received()), (0, 1));
    }

    /// What became of a stream whose first `early` bytes came before anything was sent.
    fn greeted(
        template: &mut Template,
        stream: &dyn Fn(&[u8]) -> Vec<u8>,
        early: usize,
        chunks: &[usize],
    ) -> (Result<usize, Mismatch>, Unasked) {
        let (mut echo, mut pool) = (Echo::new(CONNECTION), PartialPool::new());
        let (_, replies) = sent(template, 3);
        let stream = stream(&replies);
        let (mut at, mut replies) = (0, 0);
        let mut chunks = chunks.iter().copied();
        let verdict = loop {
            if at >= early.min(stream.len()) && echo.is_unused() {
                for n in 0..3 {
                    template.compose(&mut echo, 1, n * 10, n * 10 + 3);
                }
            }
            if at == stream.len() {
                break Ok(replies);
            }
            let until = if at < early { early.min(stream.len()) } else { stream.len() };
            let end = chunks.next().map_or(until, |size| until.min(at + size));
            match echo.read(template, &mut pool, &stream[at..end], |_| replies += 1) {
                Ok(_) => at = end,
                Err(mismatch) => break Err(mismatch),
            }
        };
        echo.give_up(template, &mut pool);
        assert_eq!(pool.in_use(), 0);
        (verdict, pool.unasked().clone())
    }

    #[test]
    fn a_greeting_is_passed_over_before_the_first_message_and_while_it_leaves() {
        let mut template = Template::new(40, 1, 9).passing_over();
        let banner = |replies: &[u8]| [b"220 hello\r\n", replies].concat();
        for early in [11, 5, 0] {
            let (verdict, unasked) = greeted(&mut template, &banner, early, &[]);
            assert_eq!(verdict, Ok(3), "{early} bytes before");
            assert_eq!((unasked.messages, unasked.bytes), (1, 11));
            assert_eq!(unasked.first, b"220 hello\r\n");
        }
        let binary = |replies: &[u8]| [&[0; 300], replies].concat();
        let (verdict, unasked) = greeted(&mut template, &binary, 300, &[7; 99]);
        assert_eq!((verdict, unasked.bytes, unasked.first.len()), (Ok(3), 300, 64));
        // While a message is on its way, bytes that are no text are a reply that was spoilt.
        let (verdict, unasked) = greeted(&mut template, &binary, 0, &[]);
        assert_eq!((verdict, unasked.messages), (Err(Mismatch::Foreign), 0));
        let endless = |_: &[u8]| vec![b'x'; 5000];
        assert_eq!(greeted(&mut template, &endless, 0, &[]).0, Err(Mismatch::Foreign));
        // A short answer that is none is not lost in silence.
        let (verdict, unasked) = greeted(&mut template, &|_| b"-ERR what?\r\n".to_vec(), 0, &[]);
        assert_eq!((verdict, unasked.messages, unasked.bytes), (Ok(0), 1, 12));
        let mut strict = Template::new(40, 1, 9);
        assert_eq!(greeted(&mut strict, &banner, 11, &[]).0, Err(Mismatch::Unasked));
        assert_eq!(greeted(&mut strict, &banner, 0, &[]).0, Err(Mismatch::Foreign));
    }

    #[test]
    fn behind_the_first_reply_a_stream_has_to_be_replies() {
        let mut template = Template::new(40, 1, 9).passing_over();
        let between = |replies: &[u8]| [&replies[..40], b"push", &replies[40..]].concat();
        assert_eq!(greeted(&mut template, &between, 0, &[]).0, Err(Mismatch::Foreign));
        let damaged = |replies: &[u8]| [&replies[..8], b"?", &replies[9..]].concat();
        let (verdict, unasked) = greeted(&mut template, &damaged, 0, &[]);
        assert_eq!((verdict, unasked.messages), (Err(Mismatch::Foreign), 0));
        let more = |replies: &[u8]| [replies, &replies[80..]].concat();
        assert_eq!(greeted(&mut template, &more, 0, &[]).0, Err(Mismatch::Unasked));
    }

    #[test]
    fn another_protocol_is_named_however_little_of_it_comes() {
        for (bytes, other) in [
            (&b"SSH-2.0-x\r\n"[..], OtherProtocol::Ssh),
            (&[0x15, 3, 3, 0, 2, 2, 10], OtherProtocol::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n", OtherProtocol::Http1),
            (&[0, 0, 0, 4, 0, 0, 0, 0, 0], OtherProtocol::Http2),
        ] {
            for early in [0, 100] {
                for chunks in [&[][..], &[1; 99]] {
                    let mut template = Template::new(40, 1, 9).passing_over();
                    let (verdict, _) = greeted(&mut template, &|_| bytes.to_vec(), early, chunks);
                    assert_eq!(verdict, Err(Mismatch::OtherProtocol(other)), "{early}");
                }
            }
        }
    }

    /// Takes one message, whole or in pieces of this size: whether it was a reply.
    fn judged(
        template: &Template,
        echo: &mut Echo,
        (message, same_kind): (&[u8], bool),
        piece: usize,
    ) -> (Result<bool, Mismatch>, Unasked) {
        let mut pool = PartialPool::new();
        let verdict = if piece == 0 {
            let read = match same_kind {
                true => echo.read_message(template, message),
                false => Err(Mismatch::WrongKind),
            };
            match read {
                Ok(_) => Ok(true),
                Err(wrong) => Echo::pass_over(template, &mut pool, message, wrong).map(|()| false),
            }
        } else {
            let mut pieces = || {
                echo.begin(template, &mut pool, same_kind)?;
                for piece in message.chunks(piece) {
                    echo.piece(template, &mut pool, piece)?;
                }
                Ok(echo.end(template, &mut pool)?.is_some())
            };
            pieces()
        };
        echo.forget(&mut pool);
        assert_eq!(pool.in_use(), 0);
        (verdict, pool.unasked().clone())
    }

    #[test]
    fn messages_without_a_stamp_are_passed_over_whole_or_in_pieces() {
        for template in [Template::new(90, 1, 1), Template::text(90, 1, 1)] {
            let mut template = template.passing_over();
            let (echo, stream) = sent(&mut template, 2);
            let (first, second) = stream.split_at(90);
            let fresh = Echo::new(CONNECTION);
            let verdict = |echo: &Echo, message: &[u8], same_kind| {
                let whole = judged(&template, &mut echo.clone(), (message, same_kind), 0);
                for piece in [1, 7, 33, 89, 1000] {
                    let cut = judged(&template, &mut echo.clone(), (message, same_kind), piece);
                    assert_eq!(cut, whole, "pieces of {piece}");
                }
                let Unasked { messages, bytes, first, .. } = whole.1;
                let passed = messages > 0;
                assert_eq!(
                    (messages, bytes),
                    if passed { (1, message.len() as u64) } else { (0, 0) }
                );
                assert!(!passed || first == message[..message.len().min(64)]);
                whole.0
            };
            let mut broken = first.to_vec();
            broken[20] ^= 1;
            for push in [&b""[..], b"welcome", &[b'{'; 500], &broken] {
                for same_kind in [true, false] {
                    assert_eq!(verdict(&echo, push, same_kind), Ok(false));
                    assert_eq!(verdict(&fresh, push, same_kind), Ok(false), "nothing sent yet");
                }
            }
            assert_eq!(verdict(&echo, first, true), Ok(true));
            assert_eq!(verdict(&echo, first, false), Err(Mismatch::WrongKind));
            assert_eq!(
                verdict(&echo, second, true),
                Err(Mismatch::WrongSequence { expected: 0, got: 1 })
            );
            assert_eq!(verdict(&echo, &first[..89], true), Err(Mismatch::WrongBody));
            assert_eq!(verdict(&fresh, first, true), Err(Mismatch::Unasked));
        }
    }

    proptest! {
        #[test]
        fn replies_do_not_depend_on_where_reads_fall(
            size in 32..200usize,
            count in 1..12usize,
            chunks in prop::collection::vec(1..300usize, 0..40),
            short in 0..32usize,
        ) {
            let mut template = Template::new(size, 1, 9);
            let (mut echo, stream) = sent(&mut template, count);
            let stream = &stream[..stream.len() - short.min(stream.len())];
            let whole = feed(&template, &mut echo.clone(), stream, &[]);
            let cut = feed(&template, &mut echo, stream, &chunks);
            prop_assert_eq!(&cut, &whole);
            let whole = whole.expect("nothing is wrong with it");
            prop_assert_eq!(whole.len(), stream.len() / size);
            prop_assert!(whole.iter().enumerate().all(|(n, s)| s.sequence == n as u32));
        }

        #[test]
        fn any_bytes_give_the_same_verdict_for_any_cut(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            good in 0..3usize,
            chunks in prop::collection::vec(1..50usize, 0..40),
        ) {
            let mut template = Template::new(40, 1, 9);
            let (mut echo, stream) = sent(&mut template, 3);
            let stream = [&stream[..good * 40], &noise].concat();
            let whole = feed(&template, &mut echo.clone(), &stream, &[]);
            prop_assert_eq!(feed(&template, &mut echo, &stream, &chunks), whole);
        }

        #[test]
        fn greetings_are_the_same_for_any_cut(
            noise in prop::collection::vec(
                prop_oneof![3 => b' '..=b'~', 1 => any::<u8>(), 1 => Just(b'S')], 0..120),
            early in 0..130usize,
            chunks in prop::collection::vec(1..50usize, 0..60),
        ) {
            let mut template = Template::new(40, 1, 9).passing_over();
            let stream = |replies: &[u8]| [&noise[..], replies].concat();
            let early = early.min(noise.len());
            let whole = greeted(&mut template, &stream, early, &[]);
            let cut = greeted(&mut template, &stream, early, &chunks);
            prop_assert_eq!(&cut, &whole);
            let text = noise[early..].iter().all(|byte| (b' '..=b'~').contains(byte));
            if early > 0 && text && whole.0.is_ok() {
                prop_assert_eq!((&whole.0, whole.1.bytes), (&Ok(3), noise.len() as u64));
            }
        }
    }
}
