//! The head of an HTTP message as it arrives: everything up to the empty line, bounded.

use crate::limits::WS_HEAD_BYTES_MAX;

/// Why a head will never be complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeadError {
    /// It does not begin as HTTP does: another protocol speaks here.
    #[error("what came is not HTTP")]
    NotHttp,
    /// It is larger than [`WS_HEAD_BYTES_MAX`].
    #[error("the head is larger than {WS_HEAD_BYTES_MAX} bytes")]
    TooLarge,
}

/// One connection's head: four bytes, until it is complete.
#[derive(Debug)]
pub struct Head {
    /// Where a head that is only partly here is kept, in the [`HeadPool`].
    partial: u32,
}

const NONE: u32 = u32::MAX;

impl Default for Head {
    fn default() -> Self {
        Self { partial: NONE }
    }
}

impl Head {
    /// Takes the next bytes of the stream. When the head is complete with them, it is given to
    /// `then`; the result comes back with the number of `bytes` that belonged to the head. The bytes
    /// behind them are the first of what follows. `None`: all bytes were taken, more must come.
    ///
    /// # Errors
    /// See [`HeadError`]. A head that comes complete is held against the limit like any other.
    pub fn read<R>(
        &mut self,
        pool: &mut HeadPool,
        bytes: &[u8],
        then: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<(R, usize)>, HeadError> {
        if self.partial == NONE {
            if bytes.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
                return Err(HeadError::NotHttp);
            }
            if let Some(end) = end_of_head(bytes, 0) {
                return Ok(Some((then(&bytes[..end]), end)));
            }
            if bytes.len() >= WS_HEAD_BYTES_MAX {
                return Err(HeadError::TooLarge);
            }
            if !bytes.is_empty() {
                self.partial = pool.take(bytes);
            }
            return Ok(None);
        }
        let head = &mut pool.entries[self.partial as usize];
        let seen = head.len();
        let fits = bytes.len().min(WS_HEAD_BYTES_MAX - seen);
        head.extend_from_slice(&bytes[..fits]);
        if let Some(end) = end_of_head(head, seen) {
            let result = then(&head[..end]);
            self.forget(pool);
            return Ok(Some((result, end - seen)));
        }
        if head.len() >= WS_HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        Ok(None)
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut HeadPool) {
        if self.partial != NONE {
            pool.give_back(self.partial);
            self.partial = NONE;
        }
    }
}

/// Where the head ends, if that is not before the last few bytes that were seen already. A line may
/// end with a bare line feed here, so that nobody waits for more; the parser refuses it.
fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(WS_HEAD_BYTES_MAX)];
    // A head ends with "\n\r\n" or "\n\n": its first byte may have been among the last two.
    let mut at = seen.saturating_sub(2);
    while let Some(feed) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        at += feed + 1;
        match &bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Where heads wait that were cut by a read: shared by all connections of a reactor.
#[derive(Debug, Default)]
pub struct HeadPool {
    entries: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl HeadPool {
    /// Heads that are only partly here.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn take(&mut self, bytes: &[u8]) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = bytes.to_vec();
            return index;
        }
        self.entries.push(bytes.to_vec());
        // One entry per connection at the most, and connections are counted in 32 bits.
        (self.entries.len() - 1) as u32
    }

    fn give_back(&mut self, index: u32) {
        self.entries[index as usize] = Vec::new();
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Verdict = Result<Option<(Vec<u8>, usize)>, HeadError>;

    /// Feeds the chunks; the head and how many bytes of the whole stream it took.
    fn feed(stream: &[u8], sizes: &[usize]) -> Verdict {
        let (mut pool, mut head, mut at) = (HeadPool::default(), Head::default(), 0);
        for size in sizes.iter().copied().chain([stream.len()]) {
            let end = (at + size).min(stream.len());
            let verdict = head.read(&mut pool, &stream[at..end], <[u8]>::to_vec);
            match verdict {
                Ok(None) => at = end,
                Ok(Some((text, used))) => {
                    assert_eq!(pool.in_use(), 0);
                    return Ok(Some((text, at + used)));
                }
                Err(error) => {
                    head.forget(&mut pool);
                    assert_eq!(pool.in_use(), 0);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn what_follows_is_left() {
        for cut in 0..20 {
            let verdict = feed(b"GET / HTTP/1.1\r\n\r\nmore\r\n\r\n", &[cut]);
            assert_eq!(verdict, Ok(Some((b"GET / HTTP/1.1\r\n\r\n".to_vec(), 18))));
        }
        assert_eq!(feed(b"GET / HTTP/1.1\n\nmore", &[]).map(|h| h.map(|h| h.1)), Ok(Some(16)));
    }

    #[test]
    fn a_head_is_bounded() {
        let endless = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; WS_HEAD_BYTES_MAX]].concat();
        assert_eq!(feed(&endless, &[]), Err(HeadError::TooLarge));
        assert_eq!(feed(&endless, &[1; 17_000]), Err(HeadError::TooLarge));
        assert_eq!(feed(&endless[..WS_HEAD_BYTES_MAX - 1], &[9]), Ok(None));
        let mut largest = endless[..WS_HEAD_BYTES_MAX - 4].to_vec();
        largest.extend_from_slice(b"\r\n\r\n");
        assert_eq!(feed(&largest, &[7]).map(|h| h.map(|h| h.1)), Ok(Some(WS_HEAD_BYTES_MAX)));
        largest.insert(20, b'a');
        assert_eq!(feed(&largest, &[7]), Err(HeadError::TooLarge));
        assert_eq!(feed(b"\x16\x03\x01", &[]), Err(HeadError::NotHttp));
        assert_eq!(feed(b"", &[]), Ok(None));
    }

    proptest! {
        #[test]
        fn heads_do_not_depend_on_where_reads_fall(
            stream in "(GET / HTTP)?[a-c\r\n]{0,60}",
            sizes in prop::collection::vec(0..6usize, 0..30),
        ) {
            let whole = feed(stream.as_bytes(), &[]);
            prop_assert_eq!(feed(stream.as_bytes(), &sizes), whole);
        }
    }
}
