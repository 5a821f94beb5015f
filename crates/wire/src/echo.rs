//! The plain echo load: laying messages out, and cutting the replies out of a byte stream.
//!
//! Every message has the same size: a [`Stamp`], then filler that is the same in all messages of a
//! run. A reply must be the message, byte for byte and in order; anything else is a [`Mismatch`].

use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, TEXT_MESSAGE_BYTES_MIN};
use crate::random::SplitMix64;
use crate::stamp::{STAMP_BYTES, Stamp};

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
}

/// The stamp as text: two hexadecimal digits for each byte.
const TEXT_STAMP_BYTES: usize = 2 * STAMP_BYTES;

/// What all messages of a run have in common, with room to lay out a batch of them.
#[derive(Debug)]
pub struct Template {
    size: usize,
    tag: u32,
    /// Bytes that the stamp takes: more in a text than in binary data.
    stamp_bytes: usize,
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
        Self { size, tag, stamp_bytes: STAMP_BYTES, batch: message.repeat(batch) }
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
        Self { size, tag, stamp_bytes: TEXT_STAMP_BYTES, batch: message.repeat(batch) }
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
        if self.partial != NO_PARTIAL {
            let Some(rest) = self.resume(template, pool, bytes, &mut on_reply)? else {
                return Ok(0);
            };
            bytes = rest;
        }
        while let Some((message, rest)) = bytes.split_at_checked(template.size) {
            on_reply(&self.read_message(template, message)?);
            bytes = rest;
        }
        if !bytes.is_empty() {
            if self.in_flight() == 0 {
                return Err(Mismatch::Unasked);
            }
            self.partial = pool.take();
            self.resume(template, pool, bytes, &mut on_reply)?;
        }
        Ok(self.received.wrapping_sub(before))
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

    /// Begins a reply that comes in pieces, to be followed by [`Echo::piece`] and [`Echo::end`].
    ///
    /// # Errors
    /// If no reply is due.
    pub fn begin(&mut self, pool: &mut PartialPool) -> Result<(), Mismatch> {
        if self.in_flight() == 0 {
            return Err(Mismatch::Unasked);
        }
        self.forget(pool);
        self.partial = pool.take();
        Ok(())
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
        let rest = self.take_part(template, pool, bytes)?;
        if rest.is_empty() { Ok(()) } else { Err(Mismatch::WrongBody) }
    }

    /// The reply that was begun is complete.
    ///
    /// # Errors
    /// What is wrong with it, as for [`Echo::read`].
    pub fn end(&mut self, template: &Template, pool: &mut PartialPool) -> Result<Stamp, Mismatch> {
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

    /// Goes on with a reply of which only a part has been seen. Returns what follows it, or `None`
    /// if it is still not complete.
    #[cold]
    fn resume<'a>(
        &mut self,
        template: &Template,
        pool: &mut PartialPool,
        bytes: &'a [u8],
        on_reply: &mut impl FnMut(&Stamp),
    ) -> Result<Option<&'a [u8]>, Mismatch> {
        let rest = self.take_part(template, pool, bytes)?;
        if pool.entries[self.partial as usize].seen < template.size {
            return Ok(None);
        }
        on_reply(&self.end(template, pool)?);
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
}

#[derive(Debug, Clone, Copy)]
struct Partial {
    head: [u8; TEXT_STAMP_BYTES],
    /// Bytes of the message seen so far; those behind the head are compared and not kept.
    seen: usize,
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

    fn take(&mut self) -> u32 {
        let fresh = Partial { head: [0; TEXT_STAMP_BYTES], seen: 0 };
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
            Mismatch::Foreign
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
            echo.begin(&mut pool)?;
            for piece in reply.chunks(piece) {
                echo.piece(template, &mut pool, piece)?;
            }
            echo.end(template, &mut pool)
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
    }
}
