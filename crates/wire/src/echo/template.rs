//! Messages: what all of a run have in common, and how a stamp is written into one and found in
//! one.

use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, TEXT_MESSAGE_BYTES_MIN};
use crate::random::SplitMix64;
use crate::stamp::{STAMP_BYTES, Stamp};

/// The stamp as text: two hexadecimal digits for each byte.
pub(super) const TEXT_STAMP_BYTES: usize = 2 * STAMP_BYTES;

/// The first bytes by which a message of this run is looked for in a stream.
const MARK_BYTES: usize = 4;

/// What all messages of a run have in common, with room to lay out a batch of them.
#[derive(Debug)]
pub struct Template {
    pub(super) size: usize,
    pub(super) tag: u32,
    /// Bytes that the stamp takes: more in a text than in binary data.
    pub(super) stamp_bytes: usize,
    /// The first bytes of each message on the wire: those of the tag.
    pub(super) mark: [u8; MARK_BYTES],
    /// Whether whatever is no reply is a mismatch.
    pub(super) strict: bool,
    /// `batch` messages end to end; their filler is written once and stays.
    pub(super) batch: Vec<u8>,
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

    /// The same for messages that are text: the stamp is written in hexadecimal digits, the filler
    /// is letters.
    ///
    /// # Panics
    /// If `size` is outside [`TEXT_MESSAGE_BYTES_MIN`]..=[`MESSAGE_BYTES_MAX`] or `batch` is zero:
    /// the plan has checked both.
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

    /// The same for servers that speak of themselves: what is not the reply to anything is passed
    /// over, and counted in the [`PartialPool`](super::PartialPool).
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

    #[inline]
    pub(super) fn filler(&self) -> &[u8] {
        &self.batch[self.stamp_bytes..self.size]
    }

    /// The stamp in the first bytes of a message, if it is one of this run.
    #[inline(always)]
    pub(super) fn stamp(&self, head: &[u8]) -> Option<Stamp> {
        let stamp = if self.stamp_bytes == STAMP_BYTES {
            Stamp::from_bytes(head.first_chunk()?)
        } else {
            Stamp::from_bytes(&read_digits(head.first_chunk()?)?)
        };
        stamp.filter(|stamp| stamp.tag == self.tag)
    }

    /// Where in these bytes a message of this run begins, or may begin: at their end if nowhere.
    pub(super) fn mark_at(&self, bytes: &[u8]) -> usize {
        let begins = |at: &usize| {
            let here = &bytes[*at..];
            here.starts_with(&self.mark) || self.mark.starts_with(here)
        };
        (0..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

/// Writes two digits for each byte to the start of `text`.
pub(super) fn write_digits(bytes: &[u8; STAMP_BYTES], text: &mut [u8]) {
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
