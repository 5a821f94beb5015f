//! The head of an HTTP message as it arrives: everything up to the empty line, bounded.

use super::fields::is_token;
use crate::limits::{
    HTTP_HEAD_BYTES_LIMIT, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_LIMIT, HTTP_HEADERS_MAX,
};
use crate::pool::{HELD_OVERHEAD_BYTES, Pool};
use crate::unasked::OtherProtocol;
use std::borrow::Cow;

/// How large a head may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// Its bytes, with the empty line that ends it.
    pub bytes: usize,
    /// Its header lines.
    pub headers: usize,
}

impl HeadLimits {
    /// The fewest bytes that can be asked for: less has no room for a head.
    pub const BYTES_LEAST: usize = 256;

    /// So many bytes, if heads can be held to that.
    ///
    /// # Errors
    /// What can be asked for.
    pub fn checked_bytes(bytes: u64) -> Result<usize, String> {
        let most = HTTP_HEAD_BYTES_LIMIT;
        let bytes = usize::try_from(bytes).ok();
        let bytes = bytes.filter(|bytes| (Self::BYTES_LEAST..=most).contains(bytes));
        bytes.ok_or_else(|| format!("give a size from {} to {}m", Self::BYTES_LEAST, most >> 20))
    }

    /// So many header lines, if heads can be held to that.
    ///
    /// # Errors
    /// What can be asked for.
    pub fn checked_headers(headers: u64) -> Result<usize, String> {
        let headers = usize::try_from(headers).ok();
        let headers = headers.filter(|headers| (1..=HTTP_HEADERS_LIMIT).contains(headers));
        headers.ok_or_else(|| format!("give a number from 1 to {HTTP_HEADERS_LIMIT}"))
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: HTTP_HEAD_BYTES_MAX, headers: HTTP_HEADERS_MAX }
    }
}

/// Why a head will never be complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeadError {
    /// It does not begin as HTTP does: another protocol speaks here.
    #[error("what came is not HTTP")]
    NotHttp,
    /// Its first line alone is larger than so many bytes, which a head may have.
    #[error("the first line is larger than {0} bytes")]
    LineTooLarge(usize),
    /// It is larger than so many bytes.
    #[error("the head is larger than {0} bytes")]
    TooLarge(usize),
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
    /// `then`; the result comes back with the number of `bytes` that belonged to the head. The
    /// bytes behind them are the first of what follows. `None`: all bytes were taken, more must
    /// come.
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
        let may_begin =
            |byte: u8| byte.is_ascii_uppercase() || (pool.begin == Begin::Token && is_token(byte));
        if bytes.first().is_some_and(|byte| !may_begin(*byte)) {
            return Err(HeadError::NotHttp);
        }
        let max = pool.limits.bytes;
        if let Some(end) = end_of_head(bytes, 0, max) {
            return Ok(Some((Cow::Borrowed(&bytes[..end]), end)));
        }
        if bytes.len() >= max {
            return Err(too_large(bytes, max));
        }
        if !bytes.is_empty() {
            pool.bytes += bytes.len() + HELD_OVERHEAD_BYTES;
            self.partial = pool.heads.put(bytes.to_vec());
        }
        Ok(None)
    }

    fn go_on<'a>(
        &mut self,
        pool: &mut HeadPool,
        bytes: &'a [u8],
    ) -> Result<Option<Complete<'a>>, HeadError> {
        let max = pool.limits.bytes;
        let head = pool.heads.get_mut(self.partial);
        let seen = head.len();
        let fits = bytes.len().min(max - seen);
        head.extend_from_slice(&bytes[..fits]);
        pool.bytes += fits;
        if let Some(end) = end_of_head(head, seen, max) {
            let mut head = pool.take(self.partial);
            self.partial = NONE;
            head.truncate(end);
            return Ok(Some((Cow::Owned(head), end - seen)));
        }
        if head.len() >= max {
            return Err(too_large(head, max));
        }
        Ok(None)
    }

    /// The other protocol whose first words these are, with what came before: to be asked before
    /// [`Head::read`], by who expects HTTP, and that it be known at once.
    #[must_use]
    pub fn other_protocol(&self, pool: &mut HeadPool, bytes: &[u8]) -> Option<OtherProtocol> {
        let (mut start, seen) = ([0; 16], self.partial(pool));
        if seen.len() >= start.len() {
            return None;
        }
        let mut length = 0;
        for (to, from) in start.iter_mut().zip(seen.iter().chain(bytes)) {
            (*to, length) = (*from, length + 1);
        }
        OtherProtocol::of(&start[..length]).filter(|other| *other != OtherProtocol::Http1)
    }

    /// What is kept of a head that is only partly here.
    pub(crate) fn partial<'a>(&self, pool: &'a mut HeadPool) -> &'a [u8] {
        if self.partial == NONE { &[] } else { pool.heads.get_mut(self.partial) }
    }

    /// Gives back what the pool holds for this connection. To be called when it ends.
    pub fn forget(&mut self, pool: &mut HeadPool) {
        if self.partial != NONE {
            drop(pool.take(self.partial));
            self.partial = NONE;
        }
    }
}

/// Where the head ends, if that is not before the last few bytes that were seen already. A line may
/// end with a bare line feed here, so that nobody waits for more; the parser refuses it.
#[inline]
fn end_of_head(bytes: &[u8], seen: usize, max: usize) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(max)];
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
fn too_large(bytes: &[u8], max: usize) -> HeadError {
    match memchr::memchr(b'\n', &bytes[..max]) {
        Some(_) => HeadError::TooLarge(max),
        None => HeadError::LineTooLarge(max),
    }
}

/// What a head can begin with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Begin {
    /// An upper-case letter: `HTTP/…`, and the methods that there are.
    #[default]
    Capital,
    /// Any byte of a token, which any method is (RFC 9110 9.1).
    Token,
}

/// Where heads wait that were cut by a read: shared by all connections of a reactor.
#[derive(Debug, Default)]
pub struct HeadPool {
    heads: Pool<Vec<u8>>,
    bytes: usize,
    pub(crate) limits: HeadLimits,
    begin: Begin,
}

impl HeadPool {
    /// For heads of this size.
    pub(crate) fn new(limits: HeadLimits, begin: Begin) -> Self {
        Self { heads: Pool::default(), bytes: 0, limits, begin }
    }

    /// Bytes of heads that are only partly here, and what it takes to keep each.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn take(&mut self, index: u32) -> Vec<u8> {
        let head = self.heads.take(index);
        self.bytes -= head.len() + HELD_OVERHEAD_BYTES;
        head
    }

    /// Heads that are only partly here.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.heads.in_use()
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
                    assert_eq!((pool.in_use(), pool.bytes()), (0, 0));
                    return Ok(Some((text, at + used)));
                }
                Err(error) => {
                    head.forget(&mut pool);
                    assert_eq!((pool.in_use(), pool.bytes()), (0, 0));
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
        assert_eq!(feed(&endless, &[]), Err(HeadError::TooLarge(HTTP_HEAD_BYTES_MAX)));
        assert_eq!(feed(&endless, &[1; 66_000]), Err(HeadError::TooLarge(HTTP_HEAD_BYTES_MAX)));
        assert_eq!(feed(&endless[..HTTP_HEAD_BYTES_MAX - 1], &[9]), Ok(None));
        let mut largest = endless[..HTTP_HEAD_BYTES_MAX - 4].to_vec();
        largest.extend_from_slice(b"\r\n\r\n");
        assert_eq!(feed(&largest, &[7]).map(|h| h.map(|h| h.1)), Ok(Some(HTTP_HEAD_BYTES_MAX)));
        largest.insert(20, b'a');
        assert_eq!(feed(&largest, &[7]), Err(HeadError::TooLarge(HTTP_HEAD_BYTES_MAX)));
        let line = [b'A'; HTTP_HEAD_BYTES_MAX];
        assert_eq!(feed(&line, &[]), Err(HeadError::LineTooLarge(HTTP_HEAD_BYTES_MAX)));
        assert_eq!(feed(&line, &[1; 66_000]), Err(HeadError::LineTooLarge(HTTP_HEAD_BYTES_MAX)));
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
