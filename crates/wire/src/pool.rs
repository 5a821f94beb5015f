//! `Pool`: what connections share a reactor's room for, numbered, so that a connection keeps four
//! bytes of it.

/// What it takes to keep a few bytes of a connection, besides those: an entry, and what the
/// allocator adds.
pub(crate) const HELD_OVERHEAD_BYTES: usize = 64;

/// Things lent out by number. The room of those that were taken back is used again.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    entries: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Pool<T> {
    /// Entries in use.
    pub(crate) fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Keeps a thing, and says under which number.
    pub(crate) fn put(&mut self, thing: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = thing;
            return index;
        }
        self.entries.push(thing);
        // One entry per connection at the most, and connections are counted in 32 bits.
        (self.entries.len() - 1) as u32
    }

    /// The thing under a number that is in use.
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut T {
        &mut self.entries[index as usize]
    }

    /// Takes the thing back; its number is free.
    pub(crate) fn take(&mut self, index: u32) -> T {
        self.free.push(index);
        std::mem::take(&mut self.entries[index as usize])
    }
}
