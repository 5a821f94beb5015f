//! Bodies as they arrive, for both roles: sized, chunked (RFC 9112 7.1), or up to the end of the
//! connection.

use crate::limits::HTTP_CHUNK_EXTRA_BYTES_MAX;

/// Why a body will never be complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// A chunk's data is longer than it said.
    #[error("a chunk is longer than its size says (RFC 9112 7.1)")]
    ChunkEnd,
    /// Extensions and trailers beyond measure.
    #[error(
        "chunk extensions and trailers of more than {HTTP_CHUNK_EXTRA_BYTES_MAX} bytes are not \
         accepted"
    )]
    ChunkExtra,
    /// A chunk's size line that does not follow the grammar.
    #[error(
        "a chunk's size is not a number of up to 16 hexadecimal digits and a line end (RFC 9112 \
         7.1)"
    )]
    ChunkSize,
    /// It is longer than is accepted.
    #[error("the body is larger than is accepted here")]
    TooLarge,
    /// A trailer line that does not follow the grammar.
    #[error("a trailer behind the last chunk is malformed (RFC 9112 7.1.2)")]
    Trailer,
}

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Chunked,
    /// It has this many bytes.
    Sized(u64),
    /// It ends with the connection.
    ToClose,
}

/// A body on its way: 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Body {
    step: Step,
    /// Bytes of chunk extensions and trailers so far.
    extra: u32,
    /// What is left of the body or of the chunk, or the chunk's size as far as it was read.
    left: u64,
    received: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Step {
    /// The body is complete.
    #[default]
    Done,
    Sized,
    ToClose,
    /// A digit of a chunk's size, so many having been seen since the first that is not 0.
    Size(u8),
    /// The same, so many zeros having been seen and nothing else.
    Zeros(u8),
    /// Blanks behind the size; only an extension may follow (RFC 9112 7.1.1).
    Blank,
    Extension,
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    /// The first byte of a trailer, or of the empty line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerFeed,
    LastFeed,
}

const _: () = assert!(size_of::<Body>() == 24);

impl Body {
    /// A body of which nothing has come. One that says itself to be longer than `max` is refused.
    #[inline]
    pub(crate) fn new(framing: Framing, max: u64) -> Result<Self, BodyError> {
        let (step, left) = match framing {
            Framing::Chunked => (Step::Size(0), 0),
            Framing::Sized(0) => (Step::Done, 0),
            Framing::Sized(length) => (Step::Sized, length),
            Framing::ToClose => (Step::ToClose, 0),
        };
        let body = Self { step, left, ..Self::default() };
        body.announce(max)?;
        Ok(body)
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Whether the end of the connection is this body's end, too.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.step == Step::ToClose
    }

    /// Bytes of the body so far, without what frames it.
    #[inline]
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Reads on: gives the body's bytes to `sink`, and says how many of `bytes` belonged to it. No
    /// more than `max` bytes are taken in all.
    #[inline]
    pub(crate) fn read(
        &mut self,
        max: u64,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, BodyError> {
        let mut at = 0;
        while at < bytes.len() {
            match self.step {
                Step::Done => break,
                Step::Sized | Step::Data => at += self.data(&bytes[at..], &mut sink),
                Step::ToClose => {
                    let more = &bytes[at..];
                    self.left = more.len() as u64;
                    self.announce(max)?;
                    at += self.data(more, &mut sink);
                    self.step = Step::ToClose;
                }
                _ => {
                    self.frame(bytes[at], max)?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// Hands on what there is of `left` bytes.
    #[inline]
    fn data(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> usize {
        let length = self.left.min(bytes.len() as u64);
        sink(&bytes[..length as usize]);
        self.left -= length;
        self.received += length;
        if self.left == 0 {
            self.step = if self.step == Step::Data { Step::DataReturn } else { Step::Done };
        }
        length as usize
    }

    /// Refuses `left` further bytes if they are too many.
    fn announce(&self, max: u64) -> Result<(), BodyError> {
        let whole = self.received.checked_add(self.left);
        whole.filter(|whole| *whole <= max).map(|_| ()).ok_or(BodyError::TooLarge)
    }

    /// Takes one byte of what is around the chunks.
    fn frame(&mut self, byte: u8, max: u64) -> Result<(), BodyError> {
        use BodyError as E;
        let text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        self.step = match (self.step, byte) {
            (Step::Size(0), b'0') => Step::Zeros(1),
            // Any number may lead, but the more they are, the less they are a number.
            (Step::Zeros(zeros @ 0..16), b'0') => Step::Zeros(zeros + 1),
            (Step::Zeros(zeros), b'0') => self.extra(Step::Zeros(zeros))?,
            (Step::Zeros(_), _) if byte.is_ascii_hexdigit() => {
                self.left = (byte as char).to_digit(16).map_or(0, u64::from);
                Step::Size(1)
            }
            (Step::Size(digits @ 0..16), _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                self.left = self.left << 4 | digit;
                Step::Size(digits + 1)
            }
            (Step::Size(1..) | Step::Zeros(_) | Step::Extension, b'\r') => Step::SizeFeed,
            (Step::Size(1..) | Step::Zeros(_) | Step::Blank, b';') => {
                self.extra(Step::Extension)?
            }
            (Step::Size(1..) | Step::Zeros(_) | Step::Blank, b' ' | b'\t') => {
                self.extra(Step::Blank)?
            }
            (Step::Extension, _) if text => self.extra(Step::Extension)?,
            (Step::SizeFeed, b'\n') => {
                self.announce(max)?;
                if self.left == 0 { Step::Trailer } else { Step::Data }
            }
            (
                Step::Size(_) | Step::Zeros(_) | Step::Blank | Step::Extension | Step::SizeFeed,
                _,
            ) => return Err(E::ChunkSize),
            (Step::DataReturn, b'\r') => Step::DataFeed,
            (Step::DataFeed, b'\n') => Step::Size(0),
            (Step::DataReturn | Step::DataFeed, _) => return Err(E::ChunkEnd),
            (Step::Trailer, b'\r') => Step::LastFeed,
            (Step::LastFeed, b'\n') => Step::Done,
            (Step::TrailerName, b':') => self.extra(Step::TrailerValue)?,
            (Step::Trailer | Step::TrailerName, _) if super::fields::is_token(byte) => {
                self.extra(Step::TrailerName)?
            }
            (Step::TrailerValue, b'\r') => Step::TrailerFeed,
            (Step::TrailerValue, _) if text => self.extra(Step::TrailerValue)?,
            (Step::TrailerFeed, b'\n') => Step::Trailer,
            _ => return Err(E::Trailer),
        };
        Ok(())
    }

    /// Counts a byte that carries nothing.
    fn extra(&mut self, next: Step) -> Result<Step, BodyError> {
        self.extra += 1;
        if self.extra > HTTP_CHUNK_EXTRA_BYTES_MAX { Err(BodyError::ChunkExtra) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body's bytes and how many of the stream it took; or that more must come; or an error.
    fn read(
        max: u64,
        stream: &[u8],
        sizes: &[usize],
    ) -> Result<(Vec<u8>, Option<usize>), BodyError> {
        let (mut body, mut bytes, mut at) = (Body::new(Framing::Chunked, max)?, Vec::new(), 0);
        for size in sizes.iter().copied().chain([stream.len()]) {
            let end = (at + size).min(stream.len());
            at += body.read(max, &stream[at..end], |more| bytes.extend_from_slice(more))?;
        }
        assert_eq!(body.received(), bytes.len() as u64);
        Ok((bytes, body.is_done().then_some(at)))
    }

    #[test]
    fn chunks_extensions_and_trailers() {
        // The example of RFC 9112 7.1.3, as it is commonly drawn.
        let stream = b"4\r\nWiki\r\n5\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\n\r\nGET";
        let whole = b"Wikipedia in\r\n\r\nchunks.".to_vec();
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(read(99, stream, &[size; 60]), Ok((whole.clone(), Some(stream.len() - 3))));
        }
        for stream in [
            &b"2\r\nab\r\n0\r\n\r\n"[..],
            b"2;name=value;x=\"y;z\"\r\nab\r\n0;last\r\n\r\n",
            b"2 \t;x\r\nab\r\n0\r\n\r\n",
            b"0000000000000002\r\nab\r\n00\r\n\r\n",
            b"00000000000000000000000000000000000000000002;x\r\nab\r\n0000000000000000000000\r\n\
                \r\n",
            b"1\r\na\r\n1\r\nb\r\n0\r\nExpires: never\r\nx:\r\n\r\n",
        ] {
            assert_eq!(read(2, stream, &[]), Ok((b"ab".to_vec(), Some(stream.len()))));
        }
    }

    #[test]
    fn each_mistake_has_its_rule() {
        use BodyError as E;
        let table: &[(&[u8], BodyError)] = &[
            (b"\r\n", E::ChunkSize),
            (b";x\r\n", E::ChunkSize),
            (b"x\r\n", E::ChunkSize),
            (b"0x1\r\n", E::ChunkSize),
            (b"+1\r\n", E::ChunkSize),
            (b"-1\r\n", E::ChunkSize),
            (b" 1\r\n", E::ChunkSize),
            (b"1 \r\n", E::ChunkSize),
            (b"1 1\r\n", E::ChunkSize),
            (b"1,1\r\n", E::ChunkSize),
            (b"1\n", E::ChunkSize),
            (b"1\r\r\n", E::ChunkSize),
            (b"1;x\n", E::ChunkSize),
            (b"1;\0\r\n", E::ChunkSize),
            (b"00000000000000000000000x\r\n", E::ChunkSize),
            (b"fffffffffffffffff\r\n", E::ChunkSize),
            (b"0fffffffffffffffff\r\n", E::ChunkSize),
            (b"000000000000000000000000b\r\n", E::TooLarge),
            (b"ffffffffffffffff\r\n", E::TooLarge),
            (b"b\r\n", E::TooLarge),
            (b"6\r\nabcdef\r\n5\r\n", E::TooLarge),
            (b"1\r\nabc\r\n", E::ChunkEnd),
            (b"1\r\na\n", E::ChunkEnd),
            (b"1\r\na\r1", E::ChunkEnd),
            (b"0\r\nname\r\n", E::Trailer),
            (b"0\r\n folded: x\r\n", E::Trailer),
            (b"0\r\nname : x\r\n", E::Trailer),
            (b"0\r\nname: x\n", E::Trailer),
            (b"0\r\nname: \0\r\n", E::Trailer),
            (b"0\r\n\n", E::Trailer),
            (b"0\r\n\rx", E::Trailer),
        ];
        for (stream, error) in table {
            assert_eq!(read(10, stream, &[]), Err(*error), "{}", stream.escape_ascii());
            assert_eq!(read(10, stream, &[1; 40]), Err(*error), "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn what_carries_nothing_is_bounded() {
        let most = HTTP_CHUNK_EXTRA_BYTES_MAX as usize;
        let mut once = vec![b'x'; most - 1];
        once.splice(0..0, *b"1;");
        once.extend_from_slice(b"\r\na\r\n0\r\n");
        let fits = [&once[..], b"\r\n"].concat();
        assert_eq!(read(9, &fits, &[]), Ok((b"a".to_vec(), Some(fits.len()))));
        let again = [&once[..], b"x: y\r\n\r\n"].concat();
        assert_eq!(read(9, &again, &[]), Err(BodyError::ChunkExtra));
        assert_eq!(read(9, &b"1;x\r\na\r\n".repeat(most), &[3; 50]), Err(BodyError::TooLarge));
        let drizzle = b"1;xxxx\r\na\r\n".repeat(most);
        assert_eq!(read(u64::MAX, &drizzle, &[]), Err(BodyError::ChunkExtra));
        assert_eq!(read(9, &b"0".repeat(most + 16), &[]), Ok((Vec::new(), None)));
        assert_eq!(read(9, &b"0".repeat(most + 17), &[]), Err(BodyError::ChunkExtra));
        // Sizes of a fixed width, as some servers write them, cost nothing.
        let padded = b"00000001\r\na\r\n".repeat(most);
        assert_eq!(read(u64::MAX, &padded, &[]).map(|read| read.0.len()), Ok(most));
    }

    proptest! {
        #[test]
        fn chunked_bodies_do_not_depend_on_where_reads_fall(
            stream in "(([0-3a]|0)(;[a-z]{0,3})?\r\n[a-c]{0,3}\r\n|[0-3;: a\r\n]){0,8}(0\r\n\
                (a: b\r\n)?\r\n)?",
            sizes in prop::collection::vec(0..5usize, 0..40),
        ) {
            prop_assert_eq!(read(9, stream.as_bytes(), &sizes), read(9, stream.as_bytes(), &[]));
        }

        #[test]
        fn sizes_are_read_as_the_parser_of_heads_reads_them(line in "[0-9a-fA-F]{1,17}[; \
            ]?[a-z]{0,3}\r\n") {
            let mut body = Body::new(Framing::Chunked, u64::MAX).expect("nothing was announced");
            let ours = body.read(u64::MAX, line.as_bytes(), |_| ()).map(|_| body.left);
            // It takes blanks before a line's end for harmless.
            if let (Ok(httparse::Status::Complete((_, size))), Ok(left)) =
                (httparse::parse_chunk_size(line.as_bytes()), ours)
            {
                prop_assert_eq!(left, size);
            }
        }
    }
}
