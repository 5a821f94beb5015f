//! Every protocol limit, with the unit in its name and the relations between them asserted.

use crate::stamp::STAMP_BYTES;

/// The smallest message of the echo load, in bytes: its stamp and nothing else.
pub const MESSAGE_BYTES_MIN: usize = STAMP_BYTES;

/// The smallest message of the echo load that is text, in bytes: two hexadecimal digits for each
/// byte of its stamp.
pub const TEXT_MESSAGE_BYTES_MIN: usize = 2 * STAMP_BYTES;

/// The largest message of the echo load, in bytes. A message is laid out whole in one buffer per
/// reactor, so this also bounds that buffer.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!(MESSAGE_BYTES_MIN <= MESSAGE_BYTES_MAX);
// Offsets into a message are kept in 32 bits.
const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize);

/// The largest head of an HTTP message, request or reply, in bytes, unless told otherwise: request
/// line or status line, headers, and the empty line.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most header lines that a head may have, unless told otherwise.
pub const HTTP_HEADERS_MAX: usize = 256;

/// The largest head that can be asked to be accepted, in bytes.
pub const HTTP_HEAD_BYTES_LIMIT: usize = 16 * 1024 * 1024;

/// The most header lines that can be asked to be accepted.
pub const HTTP_HEADERS_LIMIT: usize = 65_536;

/// The longest request target, in bytes; RFC 9112 3 recommends 8,000 at the least.
pub const HTTP_TARGET_BYTES_MAX: usize = 8 * 1024;

/// The largest request body that is read and dropped unless told otherwise, in bytes.
pub const HTTP_BODY_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Bytes that one chunked body may spend on chunk extensions and on its trailers, together. Without
/// a bound on their sum a body of a few bytes could go on for ever.
pub const HTTP_CHUNK_EXTRA_BYTES_MAX: u32 = 16 * 1024;

/// Informational replies that may come before a final one.
pub const HTTP_INFORMATIONAL_MAX: u8 = 32;

/// The longest path that is looked up, in bytes, percent-decoded (`PATH_MAX` of Linux is 4096).
pub const HTTP_PATH_BYTES_MAX: usize = 4095;

// Places within a head are kept in 32 bits.
const _: () = assert!(HTTP_HEAD_BYTES_LIMIT <= u32::MAX as usize);
const _: () = assert!(HTTP_HEAD_BYTES_MAX <= HTTP_HEAD_BYTES_LIMIT);
const _: () = assert!(HTTP_HEADERS_MAX <= HTTP_HEADERS_LIMIT);
const _: () = assert!(HTTP_TARGET_BYTES_MAX >= 8000 && HTTP_TARGET_BYTES_MAX < HTTP_HEAD_BYTES_MAX);

/// What a header line costs that was not read before, in units of about a nanosecond.
pub const HTTP_LINE_WORK: u64 = 150;

/// What a byte costs, in the same units, that frames a body and is no part of it: chunks may have
/// one byte of data each.
pub const HTTP_FRAMING_WORK: u64 = 16;

/// So much of a body is read before anybody asks what it cost, in bytes.
pub(crate) const HTTP_BODY_PIECE_BYTES: usize = 4 * 1024;

/// The largest WebSocket message that is let through unless told otherwise, in bytes, after
/// decompression.
pub const WS_MESSAGE_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// The most fragments that a WebSocket message may come in unless told otherwise. Fragments may be
/// empty, so the size of a message alone does not bound them.
pub const WS_FRAGMENTS_DEFAULT: u32 = 128 * 1024;

/// The largest payload of a WebSocket control frame, in bytes (RFC 6455 5.5).
pub const WS_CONTROL_BYTES_MAX: usize = 125;

/// Inflated bytes are handed on in chunks of at most this many bytes; one such buffer per reactor.
pub const WS_INFLATED_CHUNK_BYTES: usize = 16 * 1024;

/// What a frame costs, in units of about a nanosecond: its header, and perhaps an answer to it.
pub const WS_FRAME_WORK: u64 = 32;

/// What a compressed message costs besides its bytes, in the same units: two streams that begin
/// anew, one of them with tables of 200 KiB to be emptied.
pub const WS_COMPRESSED_WORK: u64 = 4_000;

/// What an inflated byte costs, in the same units: to inflate it, and to deflate it again.
pub const WS_INFLATED_WORK: u64 = 3;

/// Inflating streams that one reactor may have in use, unless told otherwise: dedicated ones, and
/// one for each compressed message that is only partly here. About 48 KiB each.
pub const WS_INFLATERS_DEFAULT: usize = 4096;

/// Deflating streams that one reactor may have in use, unless told otherwise. About 300 KiB each.
pub const WS_DEFLATERS_DEFAULT: usize = 1024;

/// Streams of each kind that a reactor keeps for the next message; others are freed when given
/// back.
pub(crate) const WS_IDLE_STREAMS_MAX: usize = 4;

const _: () = assert!(MESSAGE_BYTES_MAX as u64 <= WS_MESSAGE_BYTES_DEFAULT);
const _: () = assert!(WS_FRAGMENTS_DEFAULT >= 65_536);
// A message of one reactor must always find a stream where none is dedicated.
const _: () = assert!(WS_INFLATERS_DEFAULT > WS_IDLE_STREAMS_MAX);
