//! Compression of single messages (RFC 7692 7.2) over streams that are borrowed: from a pool for
//! one message, or for a connection's life where its window was agreed to be dedicated.

use super::error::WsError;
use super::extension::Window;
use crate::limits::WS_IDLE_STREAMS_MAX;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends every flushed message and is not sent (RFC 7692 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// What an output buffer grows by when a message does not fit.
const GROW_BYTES: usize = 4096;

/// A compressing or decompressing stream.
pub(super) trait Stream {
    fn with_window(bits: u8) -> Self;
    fn reset(&mut self);
}

impl Stream for Decompress {
    fn with_window(bits: u8) -> Self {
        // zlib knows no window of 256 bytes; a larger one reads the same data.
        Self::new_with_window_bits(false, bits.max(9))
    }

    fn reset(&mut self) {
        Self::reset(self, false);
    }
}

impl Stream for Compress {
    fn with_window(bits: u8) -> Self {
        // Speed before size: a load test's bytes do not cost money, its cycles do.
        Self::new_with_window_bits(Compression::fast(), false, bits)
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}

/// The streams of one kind of a reactor: a bounded number in use, a few kept for the next message.
#[derive(Debug)]
pub(super) struct Streams<S> {
    taken: Vec<Option<(u8, S)>>,
    vacant: Vec<u32>,
    idle: Vec<(u8, S)>,
    max: usize,
    refused: u64,
}

impl<S: Stream> Streams<S> {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Vec::new(), vacant: Vec::new(), idle: Vec::new(), max, refused: 0 }
    }

    /// A fresh stream with that window, or `None` if as many are in use as may be.
    pub(super) fn take(&mut self, bits: u8) -> Option<u32> {
        if self.in_use() >= self.max {
            self.refused += 1;
            return None;
        }
        let idle = self.idle.iter().position(|(idle_bits, _)| *idle_bits == bits);
        let entry = match idle.map(|at| self.idle.swap_remove(at)) {
            Some((bits, mut stream)) => {
                stream.reset();
                (bits, stream)
            }
            None => (bits, S::with_window(bits)),
        };
        if let Some(index) = self.vacant.pop() {
            self.taken[index as usize] = Some(entry);
            return Some(index);
        }
        self.taken.push(Some(entry));
        Some((self.taken.len() - 1) as u32)
    }

    /// Takes back a stream, to be lent again.
    pub(super) fn give_back(&mut self, index: u32) {
        if let Some(entry) = self.free(index) {
            if self.idle.len() == WS_IDLE_STREAMS_MAX {
                // The one that was given back first makes room.
                self.idle.remove(0);
            }
            self.idle.push(entry);
        }
    }

    /// Takes back a stream that is not to be lent again: it is in the middle of a message.
    pub(super) fn discard(&mut self, index: u32) {
        self.free(index);
    }

    fn free(&mut self, index: u32) -> Option<(u8, S)> {
        let entry = self.taken[index as usize].take()?;
        self.vacant.push(index);
        Some(entry)
    }

    pub(super) fn get(&mut self, index: u32) -> Option<&mut S> {
        self.taken.get_mut(index as usize)?.as_mut().map(|(_, stream)| stream)
    }

    pub(super) fn in_use(&self) -> usize {
        self.taken.len() - self.vacant.len()
    }

    /// How often one was asked for in vain.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// The window of an inflating stream. A borrowed one serves every connection, so it is of the
/// largest size; a dedicated one costs no more than was agreed.
pub(super) fn inflate_bits(window: Window) -> u8 {
    if window.takeover { window.bits } else { 15 }
}

/// Inflates the next bytes of a message and hands on what they give, in pieces of the size of
/// `out`. `sink` says whether to go on. Returns how many of the bytes were read: all of them, if it
/// did.
///
/// # Errors
/// [`WsError::DeflateInvalid`], after everything in front of the error was handed on, or what
/// `sink` returned.
pub(super) fn inflate(
    stream: &mut Decompress,
    mut bytes: &[u8],
    out: &mut [u8],
    mut sink: impl FnMut(&[u8]) -> Result<bool, WsError>,
) -> Result<usize, WsError> {
    let length = bytes.len();
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(bytes, out, FlushDecompress::Sync);
        let read = (stream.total_in() - read) as usize;
        let written = (stream.total_out() - written) as usize;
        let goes_on = written == 0 || sink(&out[..written])?;
        bytes = &bytes[read..];
        match status {
            // A block with BFINAL ends the stream but not the message (RFC 7692 7.2.3.4). Whoever
            // writes one starts afresh, as we do.
            Ok(Status::StreamEnd) => Stream::reset(stream),
            Ok(_) if bytes.is_empty() && written < out.len() => return Ok(length),
            Ok(_) if read == 0 && written == 0 => return Err(WsError::DeflateInvalid),
            Ok(_) => {}
            Err(_) => return Err(WsError::DeflateInvalid),
        }
        // What was read already gives no more than the stream's window.
        if !goes_on && !bytes.is_empty() {
            return Ok(length - bytes.len());
        }
    }
}

/// Inflates what the sender of a message left out at its end.
pub(super) fn inflate_end(
    stream: &mut Decompress,
    out: &mut [u8],
    mut sink: impl FnMut(&[u8]) -> Result<bool, WsError>,
) -> Result<(), WsError> {
    inflate(stream, &TAIL, out, |piece| sink(piece).map(|_| true)).map(|_| ())
}

/// Deflates the next bytes of a message behind `out`. What comes out may be nothing, unless they
/// are the last.
pub(super) fn deflate(stream: &mut Compress, mut bytes: &[u8], last: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let flush = if last { FlushCompress::Sync } else { FlushCompress::None };
    loop {
        out.reserve(GROW_BYTES.max(bytes.len() / 2));
        let read = stream.total_in();
        // On a raw stream only a wrong call sequence is an error, and there is none here.
        let status = stream.compress_vec(bytes, out, flush);
        debug_assert!(status.is_ok());
        bytes = &bytes[(stream.total_in() - read) as usize..];
        // Room that was left shows that nothing more is to come.
        if status.is_err() || (bytes.is_empty() && out.len() < out.capacity()) {
            break;
        }
    }
    if last {
        if out[start..].ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        } else {
            // Nothing was left to flush: an empty block without its tail (RFC 7692 7.2.3.6).
            debug_assert_eq!(out.len(), start);
            out.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inflated message, fed in chunks of the given size, through a small buffer.
    fn inflated(stream: &mut Decompress, bytes: &[u8], chunk: usize) -> Result<Vec<u8>, WsError> {
        let (mut message, mut out) = (Vec::new(), [0; 7]);
        let mut sink = |piece: &[u8]| {
            message.extend_from_slice(piece);
            Ok(true)
        };
        for chunk in bytes.chunks(chunk) {
            inflate(stream, chunk, &mut out, &mut sink)?;
        }
        inflate_end(stream, &mut out, sink)?;
        Ok(message)
    }

    fn deflated(stream: &mut Compress, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        deflate(stream, bytes, true, &mut out);
        out
    }

    #[test]
    fn the_examples_of_rfc_7692_section_7_2_3_are_read() {
        let hello: &[&[u8]] = &[
            // 7.2.3.1: one block.
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            // 7.2.3.3: not compressed.
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            // 7.2.3.4: BFINAL is set.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            // 7.2.3.5: two blocks.
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for bytes in hello {
            for chunk in 1..=bytes.len() {
                for bits in 9..=15 {
                    let mut stream = Decompress::with_window(bits);
                    assert_eq!(inflated(&mut stream, bytes, chunk), Ok(b"Hello".to_vec()));
                }
            }
        }
        // 7.2.3.2: the second message refers to the first.
        let mut stream = Decompress::with_window(15);
        for bytes in [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &[0xf2, 0x00, 0x11, 0, 0]] {
            assert_eq!(inflated(&mut stream, bytes, 3), Ok(b"Hello".to_vec()));
        }
        // 7.2.3.6: nothing.
        assert_eq!(inflated(&mut stream, &[0x00], 1), Ok(Vec::new()));
    }

    #[test]
    fn what_is_deflated_is_inflated() {
        let text: Vec<u8> = (0..40_000u32).map(|n| (n * n / 7 % 61) as u8).collect();
        for bits in 9..=15 {
            let mut there = Compress::with_window(bits);
            let mut back = Decompress::with_window(bits);
            for round in 0..4 {
                for length in [0, 0, 1, 5, 300, 40_000] {
                    let bytes = deflated(&mut there, &text[..length]);
                    let message = inflated(&mut back, &bytes, 1000);
                    assert_eq!(message.as_deref(), Ok(&text[..length]), "{bits} bits, {round}");
                    assert!(!bytes.is_empty() && !bytes.ends_with(&TAIL));
                }
            }
            assert_eq!(deflated(&mut Compress::with_window(bits), b""), [0]);
        }
    }

    #[test]
    fn chunks_make_one_message() {
        let mut stream = Compress::with_window(15);
        let mut bytes = Vec::new();
        for (chunk, last) in [(&b"Hel"[..], false), (b"", false), (b"lo", false), (b"", true)] {
            deflate(&mut stream, chunk, last, &mut bytes);
        }
        assert_eq!(inflated(&mut Decompress::with_window(15), &bytes, 2), Ok(b"Hello".to_vec()));
    }

    #[test]
    fn noise_is_an_error() {
        let mut stream = Decompress::with_window(15);
        assert_eq!(inflated(&mut stream, &[0xff; 9], 1), Err(WsError::DeflateInvalid));
    }

    #[test]
    fn streams_are_bounded_and_come_back_fresh() {
        let mut streams = Streams::<Compress>::new(2);
        let first = streams.take(10).expect("one of two");
        let expected = deflated(streams.get(first).expect("taken"), b"Hello Hello");
        let second = streams.take(12).expect("two of two");
        assert_eq!((streams.take(10), streams.refused()), (None, 1));
        streams.give_back(first);
        let again = streams.take(10).expect("one is free again");
        assert_eq!(deflated(streams.get(again).expect("taken"), b"Hello Hello"), expected);
        streams.give_back(second);
        streams.give_back(again);
        assert_eq!((streams.in_use(), streams.idle.len()), (0, 2));
        for _ in 0..3 {
            let all = [9, 10, 11, 12, 13, 14, 15].map(|bits| {
                let index = streams.take(bits).expect("none is in use");
                streams.give_back(index);
            });
            assert_eq!((all.len(), streams.idle.len()), (7, WS_IDLE_STREAMS_MAX));
        }
    }
}
