//! The plain echo load: laying messages out, and cutting the replies out of a byte stream.
//!
//! Every message has the same size: a [`Stamp`], then filler that is the same in all messages of a
//! run. A reply must be the message, byte for byte and in order; anything else is a [`Mismatch`].

use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN};
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
}

/// What all messages of a run have in common, with room to lay out a batch of them.
#[derive(Debug)]
pub struct Template {
    size: usize,
    tag: u32,
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
        let mut state = seed;
        let mut next = || {
            // SplitMix64 (Steele, Lea, Flood 2014): any seed gives a good stream.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        let tag = next() as u32;
        let mut message = vec![0; size];
        for chunk in message[STAMP_BYTES..].chunks_mut(8) {
            chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
        }
        Self { size, tag, batch: message.repeat(batch) }
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
            message[..STAMP_BYTES].copy_from_slice(&stamp.to_bytes());
            echo.sent = echo.sent.wrapping_add(1);
        }
        bytes
    }

    fn filler(&self) -> &[u8] {
        &self.batch[STAMP_BYTES..self.size]
    }
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
            let (head, body) = message.split_first_chunk().ok_or(Mismatch::Foreign)?;
            let stamp = self.accept(template, head)?;
            if body != template.filler() {
                return Err(Mismatch::WrongBody);
            }
            self.received = self.received.wrapping_add(1);
            on_reply(&stamp);
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
        mut bytes: &'a [u8],
        on_reply: &mut impl FnMut(&Stamp),
    ) -> Result<Option<&'a [u8]>, Mismatch> {
        let partial = &mut pool.entries[self.partial as usize];
        if partial.seen < STAMP_BYTES {
            let (now, rest) = bytes.split_at(bytes.len().min(STAMP_BYTES - partial.seen));
            partial.head[partial.seen..partial.seen + now.len()].copy_from_slice(now);
            partial.seen += now.len();
            bytes = rest;
            if partial.seen < STAMP_BYTES {
                return Ok(None);
            }
            self.accept(template, &partial.head)?;
        }
        let at = partial.seen - STAMP_BYTES;
        let (now, rest) = bytes.split_at(bytes.len().min(template.size - partial.seen));
        if template.filler()[at..at + now.len()] != *now {
            return Err(Mismatch::WrongBody);
        }
        partial.seen += now.len();
        if partial.seen < template.size {
            return Ok(None);
        }
        let stamp = self.accept(template, &partial.head)?;
        self.forget(pool);
        self.received = self.received.wrapping_add(1);
        on_reply(&stamp);
        Ok(Some(rest))
    }

    /// Whether these are the first bytes of the reply that is due.
    #[inline]
    fn accept(&self, template: &Template, head: &[u8; STAMP_BYTES]) -> Result<Stamp, Mismatch> {
        if self.in_flight() == 0 {
            return Err(Mismatch::Unasked);
        }
        let stamp = Stamp::from_bytes(head).filter(|stamp| stamp.tag == template.tag);
        let stamp = stamp.ok_or(Mismatch::Foreign)?;
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
    head: [u8; STAMP_BYTES],
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
        let fresh = Partial { head: [0; STAMP_BYTES], seen: 0 };
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
