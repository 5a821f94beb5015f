//! The head of an HTTP message as it arrives: everything up to the empty line, bounded.

use crate::limits::HTTP_HEAD_BYTES_MAX;
use crate::pool::Pool;
use std::borrow::Cow;

/// Why a head will never be complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeadError {
    /// It does not begin as HTTP does: another protocol speaks here.
    #[error("what came is not HTTP")]
    NotHttp,
    /// Its first line alone is larger than [`HTTP_HEAD_BYTES_MAX`].
    #[error("the first line is larger than {HTTP_HEAD_BYTES_MAX} bytes")]
    LineTooLarge,
    /// It is larger than [`HTTP_HEAD_BYTES_MAX`].
    #[error("the head is larger than {HTTP_HEAD_BYTES_MAX} bytes")]
    TooLarge,
}

/// One connection's head: four bytes, until it is complete.
#[derive(Debug)]
pub struct Head {
    /// Where a head that is only partly here is kept, in the [`HeadPool`].
    partial: u32,
}

const NONE: u32 = u32::MAX;

/// A whole head, where it lies in what was read or out of the pool, and how many bytes of what was
/// read it took.
type Complete<'a> = (Cow<'a, [u8]>, usize);

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
        let complete = self.complete(pool, bytes)?;
        Ok(complete.map(|(head, used)| (then(&head), used)))
    }

    /// The same, but the head itself comes back: where it lies in `bytes`, or taken from the pool.
    #[inline]
    pub(crate) fn complete<'a>(
        &mut self,
        pool: &mut HeadPool,
        bytes: &'a [u8],
    ) -> Result<Option<Complete<'a>>, HeadError> {
        if self.partial != NONE {
            return self.go_on(pool, bytes);
        }
        if bytes.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
            return Err(HeadError::NotHttp);
        }
        if let Some(end) = end_of_head(bytes, 0) {
            return Ok(Some((Cow::Borrowed(&bytes[..end]), end)));
        }
        if bytes.len() >= HTTP_HEAD_BYTES_MAX {
            return Err(too_large(bytes));
        }
        if !bytes.is_empty() {
            self.partial = pool.0.put(bytes.to_vec());
        }
        Ok(None)
    }

    fn go_on<'a>(
        &mut self,
        pool: &mut HeadPool,
        bytes: &'a [u8],
    ) -> Result<Option<Complete<'a>>, HeadError> {
        let head = pool.0.get_mut(self.partial);
        let seen = head.len();
        let fits = bytes.len().min(HTTP_HEAD_BYTES_MAX - seen);
        head.extend_from_slice(&bytes[..fits]);
        if let Some(end) = end_of_head(head, seen) {
            let mut head = pool.0.take(self.partial);
            self.partial = NONE;
            head.truncate(end);
            return Ok(Some((Cow::Owned(head), end - seen)));
        }
        if head.len() >= HTTP_HEAD_BYTES_MAX {
            return Err(too_large(head));
        }
        Ok(None)
    }

    /// What is kept of a head that is only partly here.
    pub(crate) fn partial<'a>(&self, pool: &'a mut HeadPool) -> &'a [u8] {
        if self.partial == NONE { &[] } else { pool.0.get_mut(self.partial) }
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut HeadPool) {
        if self.partial != NONE {
            pool.0.take(self.partial);
            self.partial = NONE;
        }
    }
}

/// Where the head ends, if that is not before the last few bytes that were seen already. A line may
/// end with a bare line feed here, so that nobody waits for more; the parser refuses it.
#[inline]
fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(HTTP_HEAD_BYTES_MAX)];
    // A head ends with "\n\r\n" or "\n\n": its first byte may have been among the last two.
    let from = seen.saturating_sub(2);
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|feed| {
        let next = from + feed + 1;
        match &bytes[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

/// What to say of a head that has no end where it should have one by now.
fn too_large(bytes: &[u8]) -> HeadError {
    match memchr::memchr(b'\n', &bytes[..HTTP_HEAD_BYTES_MAX]) {
        Some(_) => HeadError::TooLarge,
        None => HeadError::LineTooLarge,
    }
}

/// Where heads wait that were cut by a read: shared by all connections of a reactor.
#[derive(Debug, Default)]
pub struct HeadPool(Pool<Vec<u8>>);

impl HeadPool {
    /// Heads that are only partly here.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.in_use()
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
        let endless = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; HTTP_HEAD_BYTES_MAX]].concat();
        assert_eq!(feed(&endless, &[]), Err(HeadError::TooLarge));
        assert_eq!(feed(&endless, &[1; 17_000]), Err(HeadError::TooLarge));
        assert_eq!(feed(&endless[..HTTP_HEAD_BYTES_MAX - 1], &[9]), Ok(None));
        let mut largest = endless[..HTTP_HEAD_BYTES_MAX - 4].to_vec();
        largest.extend_from_slice(b"\r\n\r\n");
        assert_eq!(feed(&largest, &[7]).map(|h| h.map(|h| h.1)), Ok(Some(HTTP_HEAD_BYTES_MAX)));
        largest.insert(20, b'a');
        assert_eq!(feed(&largest, &[7]), Err(HeadError::TooLarge));
        let line = [b'A'; HTTP_HEAD_BYTES_MAX];
        assert_eq!(feed(&line, &[]), Err(HeadError::LineTooLarge));
        assert_eq!(feed(&line, &[1; 17_000]), Err(HeadError::LineTooLarge));
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
