//! Bytes that the kernel did not take: kept only while there are any, and never more than agreed. A
//! part of a file may follow them. And what is to be said only later, which lies elsewhere, is
//! counted here.

use crate::file_part::FilePart;

/// The unsent bytes of all connections of one reactor. A connection holds the number of its entry
/// only while something waits, so an idle one pays four bytes for the possibility.
#[derive(Debug)]
pub(crate) struct Unsent {
    entries: Vec<Entry>,
    free: Vec<u32>,
    bytes: usize,
    bytes_max: usize,
    bytes_per_entry_max: usize,
}

#[derive(Debug, Default)]
struct Entry {
    bytes: Vec<u8>,
    taken: usize,
    /// What follows the bytes. While it is here nothing may be appended.
    file: Option<FilePart>,
    /// Whether the connection is to be read from no more, however little waits.
    paused: bool,
    /// How often the connection will be sent something later: it is not done with while there is
    /// any.
    pending: u32,
}

/// What is to be sent next.
pub(crate) enum Next<'a> {
    Bytes(&'a [u8]),
    File(&'a FilePart),
    /// Nothing yet: all that is left is pending.
    Later,
}

/// Marks a connection with nothing unsent.
pub(crate) const NOTHING: u32 = u32::MAX;

/// Memory is not given back in smaller pieces than this.
const SHRINK_BYTES_MIN: usize = 4096;

/// There is no room for the bytes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Full;

impl Unsent {
    pub(crate) fn new(bytes_max: usize, bytes_per_entry_max: usize) -> Self {
        Self { entries: Vec::new(), free: Vec::new(), bytes: 0, bytes_max, bytes_per_entry_max }
    }

    /// Bytes that wait, over all connections.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends to entry `at`, or to a new one if that is [`NOTHING`]; returns its number.
    pub(crate) fn append(&mut self, at: u32, bytes: &[u8]) -> Result<u32, Full> {
        let waiting = if at == NOTHING { 0 } else { self.waiting(at).len() };
        let behind_a_file = at != NOTHING && self.entries[at as usize].file.is_some();
        if waiting + bytes.len() > self.bytes_per_entry_max
            || self.bytes + bytes.len() > self.bytes_max
            || behind_a_file
        {
            return Err(Full);
        }
        let at = if at == NOTHING { self.entry() } else { at };
        let entry = &mut self.entries[at as usize];
        // What was taken makes room when it is at least half: each byte is moved once or twice at
        // the most, and an entry that never empties does not grow.
        if entry.taken * 2 >= entry.bytes.len() {
            entry.bytes.drain(..entry.taken);
            entry.taken = 0;
        }
        entry.bytes.extend_from_slice(bytes);
        self.bytes += bytes.len();
        Ok(at)
    }

    /// Appends a part of a file to entry `at`, or to a new one if that is [`NOTHING`].
    pub(crate) fn append_file(&mut self, at: u32, part: FilePart) -> u32 {
        let at = if at == NOTHING { self.entry() } else { at };
        self.entries[at as usize].file = Some(part);
        at
    }

    /// Lets the connection of entry `at` be read from no more until the entry is given back.
    pub(crate) fn rest(&mut self, at: u32) {
        self.entries[at as usize].paused = true;
    }

    /// Whether a part of a file waits in entry `at`, which may be [`NOTHING`].
    #[inline]
    pub(crate) fn has_file(&self, at: u32) -> bool {
        at != NOTHING && self.entries[at as usize].file.is_some()
    }

    /// The part of a file that waits in entry `at`.
    pub(crate) fn file(&self, at: u32) -> Option<&FilePart> {
        if at == NOTHING { None } else { self.entries[at as usize].file.as_ref() }
    }

    /// Puts bytes in the place of the next `count` bytes of the file of entry `at`. There is room
    /// for them.
    pub(crate) fn replace_file(&mut self, at: u32, count: usize, bytes: &[u8]) {
        let entry = &mut self.entries[at as usize];
        let Some(part) = &mut entry.file else { return };
        part.advance(count);
        if part.left() == 0 {
            entry.file = None;
        }
        entry.bytes.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// What entry `at` is to send next.
    pub(crate) fn next(&self, at: u32) -> Next<'_> {
        match &self.entries[at as usize].file {
            Some(part) if self.waiting(at).is_empty() => Next::File(part),
            None if self.waiting(at).is_empty() => Next::Later,
            _ => Next::Bytes(self.waiting(at)),
        }
    }

    /// The kernel took `count` bytes of the file of entry `at`. True if nothing is left, as with
    /// [`Unsent::take`].
    pub(crate) fn take_file(&mut self, at: u32, count: usize) -> bool {
        let Some(part) = &mut self.entries[at as usize].file else { return false };
        part.advance(count);
        part.left() == 0 && self.is_done(at)
    }

    /// Of entry `at` all has left: gives it back, unless something is pending.
    fn is_done(&mut self, at: u32) -> bool {
        let Entry { pending, paused, .. } = self.entries[at as usize];
        if pending == 0 {
            self.release(at);
        } else {
            self.entries[at as usize] = Entry { pending, paused, ..Entry::default() };
        }
        pending == 0
    }

    /// Something will be sent later to the connection of entry `at`, or of a new one if that is
    /// [`NOTHING`].
    pub(crate) fn add_pending(&mut self, at: u32) -> u32 {
        let at = if at == NOTHING { self.entry() } else { at };
        self.entries[at as usize].pending += 1;
        at
    }

    /// What was pending has been sent, once. True if nothing is left, as with [`Unsent::take`].
    pub(crate) fn pending_sent(&mut self, at: u32) -> bool {
        let entry = &mut self.entries[at as usize];
        entry.pending = entry.pending.saturating_sub(1);
        let done = entry.pending == 0 && self.has_left(at);
        if done {
            self.release(at);
        }
        done
    }

    /// Whether nothing of a connection waits for its peer, although something may be pending.
    #[inline]
    pub(crate) fn has_left(&self, at: u32) -> bool {
        at == NOTHING || self.entries[at as usize].file.is_none() && self.waiting(at).is_empty()
    }

    /// Whether something is pending for the connection of entry `at`.
    pub(crate) fn has_pending(&self, at: u32) -> bool {
        at != NOTHING && self.entries[at as usize].pending > 0
    }

    /// Whether the connection of entry `at` is to be read from no more until that is given back.
    pub(crate) fn is_paused(&self, at: u32) -> bool {
        self.entries[at as usize].paused
    }

    fn entry(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            (self.entries.len() - 1) as u32
        })
    }

    /// Connections of which something waits.
    pub(crate) fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether enough waits in entry `at` for its connection to be read from no more: `to_pause`
    /// bytes, or anything at all once half of the room is used up.
    pub(crate) fn pauses(&self, at: u32, to_pause: usize) -> bool {
        if at == NOTHING {
            return false;
        }
        let entry = &self.entries[at as usize];
        let waiting = self.waiting(at).len();
        entry.paused
            || entry.file.is_some()
            || waiting > 0 && (waiting >= to_pause || self.bytes >= self.bytes_max / 2)
    }

    /// Bytes that would still fit, over all connections.
    pub(crate) fn room(&self) -> usize {
        self.bytes_max - self.bytes
    }

    /// What waits in entry `at`.
    pub(crate) fn waiting(&self, at: u32) -> &[u8] {
        let entry = &self.entries[at as usize];
        &entry.bytes[entry.taken..]
    }

    /// The kernel took `count` bytes of entry `at`. True if nothing is left: then the entry is
    /// given back, and its number must be forgotten.
    pub(crate) fn take(&mut self, at: u32, count: usize) -> bool {
        self.bytes -= count;
        let entry = &mut self.entries[at as usize];
        entry.taken += count;
        if entry.taken < entry.bytes.len() {
            // What is held stays below twice what waits, or a peer that takes all but one byte
            // would hold memory that is counted no more.
            if entry.taken >= SHRINK_BYTES_MIN && entry.taken * 2 >= entry.bytes.len() {
                entry.bytes.drain(..entry.taken);
                entry.bytes.shrink_to_fit();
                entry.taken = 0;
            }
            return false;
        }
        if entry.file.is_some() {
            (entry.bytes, entry.taken) = (Vec::new(), 0);
            return false;
        }
        self.is_done(at)
    }

    /// Drops all that waits in entry `at`.
    pub(crate) fn discard(&mut self, at: u32) {
        self.bytes -= self.waiting(at).len();
        self.release(at);
    }

    fn release(&mut self, at: u32) {
        // The memory goes back: a burst of slow readers must not be paid for ever after.
        self.entries[at as usize] = Entry::default();
        self.free.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_memory_goes_back() {
        let mut unsent = Unsent::new(100, 60);
        let a = unsent.append(NOTHING, b"hello ").expect("room");
        assert_eq!(unsent.append(a, b"world"), Ok(a));
        assert_eq!(unsent.waiting(a), b"hello world");
        assert!(!unsent.take(a, 6));
        assert_eq!((unsent.waiting(a), unsent.bytes()), (&b"world"[..], 5));
        assert!(unsent.take(a, 5));
        assert_eq!(unsent.bytes(), 0);
        assert_eq!(unsent.append(NOTHING, b"x"), Ok(a), "the entry is used again");
        unsent.discard(a);
        assert_eq!(unsent.bytes(), 0);
    }

    #[test]
    fn an_entry_that_never_empties_does_not_grow() {
        let mut unsent = Unsent::new(1_000, 1_000);
        let at = unsent.append(NOTHING, &[0; 60]).expect("room");
        let mut next = 60u8;
        for round in 0..1_000 {
            assert_eq!(unsent.append(at, &[next; 40]), Ok(at));
            assert!(!unsent.take(at, 40));
            assert_eq!(unsent.waiting(at).len(), 60, "round {round}");
            next = next.wrapping_add(1);
        }
        assert!(unsent.entries[at as usize].bytes.capacity() < 1_000);
        assert_eq!(unsent.waiting(at)[59], next.wrapping_sub(1), "in order");
    }

    #[test]
    fn reading_rests_behind_a_bound_that_falls_when_room_is_short() {
        let mut unsent = Unsent::new(100, 60);
        assert!(!unsent.pauses(NOTHING, 0));
        let a = unsent.append(NOTHING, &[0; 10]).expect("room");
        assert!(unsent.pauses(a, 0) && unsent.pauses(a, 10) && !unsent.pauses(a, 11));
        let b = unsent.append(NOTHING, &[0; 40]).expect("room");
        assert!(unsent.pauses(a, 60) && unsent.pauses(b, 60), "half is used up");
        assert!(!unsent.take(b, 1));
        assert!(!unsent.pauses(a, 60) && !unsent.pauses(b, 60));
    }

    #[test]
    fn memory_goes_back_as_bytes_are_taken() {
        let mut unsent = Unsent::new(1 << 20, 1 << 20);
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let at = unsent.append(NOTHING, &bytes).expect("room");
        let mut taken = 0;
        while unsent.waiting(at).len() > 777 {
            assert_eq!(unsent.waiting(at)[0], bytes[taken]);
            assert!(!unsent.take(at, 777));
            taken += 777;
            let (held, waiting) =
                (unsent.entries[at as usize].bytes.capacity(), unsent.waiting(at).len());
            assert!(held < 2 * waiting + SHRINK_BYTES_MIN + 777, "{held} for {waiting}");
        }
        assert_eq!(unsent.waiting(at), &bytes[taken..]);
    }

    #[test]
    fn an_entry_stays_as_long_as_something_is_owed() {
        let mut unsent = Unsent::new(100, 60);
        assert!(unsent.has_left(NOTHING) && !unsent.has_pending(NOTHING));
        let at = unsent.add_pending(NOTHING);
        assert_eq!(unsent.add_pending(at), at);
        assert!(unsent.has_pending(at) && unsent.has_left(at) && !unsent.pauses(at, 0));
        assert!(matches!(unsent.next(at), Next::Later));
        // Bytes come and go meanwhile.
        assert_eq!(unsent.append(at, b"bytes"), Ok(at));
        assert!(unsent.pauses(at, 0) && !unsent.has_left(at));
        assert!(!unsent.pending_sent(at) && !unsent.take(at, 5), "one is pending");
        assert!(unsent.has_left(at) && unsent.waiting(at).is_empty());
        // Paid, but not taken.
        assert_eq!(unsent.append(at, b"more"), Ok(at));
        assert!(!unsent.pending_sent(at) && !unsent.has_pending(at));
        assert!(unsent.take(at, 4));
        assert_eq!((unsent.in_use(), unsent.bytes()), (0, 0));
        let again = unsent.add_pending(NOTHING);
        unsent.rest(again);
        assert!(unsent.pauses(again, 60), "paused, although nothing waits");
        assert!(unsent.pending_sent(again));
        assert_eq!(unsent.in_use(), 0);
    }

    #[test]
    fn both_bounds_hold() {
        let mut unsent = Unsent::new(100, 60);
        let a = unsent.append(NOTHING, &[0; 60]).expect("room");
        assert_eq!(unsent.append(a, &[0]), Err(Full), "per connection");
        assert_eq!(unsent.append(NOTHING, &[0; 41]), Err(Full), "all together");
        assert_eq!(unsent.append(NOTHING, &[0; 40]), Ok(1));
        assert_eq!(unsent.bytes(), 100);
    }
}
