//! Requests that wait until the answers before them have left.

use crate::service::Full;

/// What the connections of a reactor have waiting, numbered: a connection keeps four bytes of it.
#[derive(Debug)]
pub(crate) struct Held {
    entries: Vec<Vec<u8>>,
    free: Vec<u32>,
    bytes: usize,
    bytes_max: usize,
}

/// Marks a connection with nothing held.
pub(crate) const NOTHING: u32 = u32::MAX;

impl Held {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), free: Vec::new(), bytes: 0, bytes_max }
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps these bytes, and says under which number.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<u32, Full> {
        if self.bytes + bytes.len() > self.bytes_max {
            return Err(Full);
        }
        self.bytes += bytes.len();
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = bytes.to_vec();
            return Ok(index);
        }
        self.entries.push(bytes.to_vec());
        // One entry per connection at the most, and connections are counted in 32 bits.
        Ok((self.entries.len() - 1) as u32)
    }

    /// Takes out what is held under a number; nothing, where that is [`NOTHING`].
    pub(crate) fn take(&mut self, index: u32) -> Vec<u8> {
        if index == NOTHING {
            return Vec::new();
        }
        self.free.push(index);
        let bytes = std::mem::take(&mut self.entries[index as usize]);
        self.bytes -= bytes.len();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let mut held = Held::new(10);
        let first = held.put(b"123456").expect("room");
        assert_eq!(held.put(b"12345"), Err(Full));
        let second = held.put(b"1234").expect("room");
        assert_eq!((held.take(first), held.bytes()), (b"123456".to_vec(), 4));
        assert_eq!(held.put(b"123456"), Ok(first), "its number is used again");
        assert_eq!((held.take(second), held.take(first)), (b"1234".to_vec(), b"123456".to_vec()));
        assert_eq!((held.bytes(), held.take(NOTHING)), (0, Vec::new()));
    }
}
