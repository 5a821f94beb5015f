//! Replies that are only partly here.

use super::template::TEXT_STAMP_BYTES;
use crate::unasked::Unasked;

/// Where replies wait that were cut by a read: shared by all connections of a reactor, because
/// nearly all replies come whole. Grows to the most that were ever cut at once, and stays.
#[derive(Debug, Default)]
pub struct PartialPool {
    pub(super) entries: Vec<Partial>,
    free: Vec<u32>,
    pub(super) unasked: Unasked,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    pub(super) head: [u8; TEXT_STAMP_BYTES],
    /// Bytes of the message seen so far; those behind the head are compared and not kept.
    pub(super) seen: usize,
    /// Bytes of a greeting that came when a message had been sent already.
    pub(super) late: u16,
    /// It is not a reply, or was not so far: bytes of it have been passed over.
    pub(super) passed: bool,
    /// It is the one that is shown.
    shown: bool,
    /// It is a text where binary data was sent, or the other way round.
    pub(super) other_kind: bool,
    /// It came before anything was sent.
    pub(super) greets: bool,
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
    pub(super) fn pass(&mut self, unasked: &mut Unasked, bytes: &[u8]) {
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

    pub(super) fn take(&mut self) -> u32 {
        let fresh = Partial::NEW;
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = fresh;
            return index;
        }
        self.entries.push(fresh);
        // One entry per connection at the most, and connections are counted in 32 bits.
        (self.entries.len() - 1) as u32
    }

    pub(super) fn give_back(&mut self, index: u32) {
        self.free.push(index);
    }
}
