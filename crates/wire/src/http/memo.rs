//! The head before this one: nearly always the next head is the same, byte for byte.

/// The last head that was understood, and what it said. Neither a client that asks for the same
/// file again nor a server that answers twice within a second changes a byte: comparing is a tenth
/// of the work of parsing. Heads do not contain each other, so a stream that starts with it has
/// that head.
#[derive(Debug, Default)]
pub(crate) struct Memo<F> {
    head: Vec<u8>,
    facts: F,
}

/// Longer heads are not worth a copy: whoever sends them rarely repeats them.
const BYTES_MAX: usize = 1024;

impl<F: Copy> Memo<F> {
    /// What the head at the start of `bytes` says, and its length, if it is the one before.
    #[inline]
    pub(crate) fn recall(&self, bytes: &[u8]) -> Option<(F, usize)> {
        let known = !self.head.is_empty() && bytes.starts_with(&self.head);
        known.then_some((self.facts, self.head.len()))
    }

    #[inline]
    pub(crate) fn keep(&mut self, head: &[u8], facts: F) {
        if head.len() <= BYTES_MAX {
            self.head.clear();
            self.head.extend_from_slice(head);
            self.facts = facts;
        }
    }
}
