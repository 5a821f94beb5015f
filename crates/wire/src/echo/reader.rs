//! One connection's side: its messages counted as they are laid out, and its replies cut out of a
//! stream.

use super::Mismatch;
use super::partial::PartialPool;
use super::template::{Template, write_digits};
use crate::stamp::{STAMP_BYTES, Stamp};
use crate::unasked::OtherProtocol;

/// Bytes of a stream's start in which another protocol is looked for.
const NAMED_BYTES: usize = 16;

/// The longest greeting that may come when the first message has left already.
const GREETING_BYTES_MAX: usize = 1024;

/// One connection's side of the echo load: 16 bytes, since a million of them are held.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    connection: u32,
    /// The sequence number of the next message to send; wraps around.
    pub(super) sent: u32,
    /// The sequence number of the next reply that is due.
    pub(super) received: u32,
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
    /// The first [`Mismatch`]. What follows it in the stream cannot be trusted: the connection is
    /// to be given up, by way of [`Echo::forget`].
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

    /// These bytes of a stream do not begin with the reply that is due. Unless that is the last
    /// word, they are to be gone through one after the other.
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
    /// another protocol, which is named, or a reply that was cut. Returns what follows the stamp,
    /// or `None` if it is still not complete.
    ///
    /// What comes before anything was sent is a greeting whatever it is. One may also be on its way
    /// while the first message leaves: then it has to be text, and not long, so that a reply that
    /// was spoilt is not taken for one.
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

impl Template {
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
}
