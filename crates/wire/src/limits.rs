//! Every protocol limit, with the unit in its name and the relations between them asserted.

use crate::stamp::STAMP_BYTES;

/// The smallest message of the echo load, in bytes: its stamp and nothing else.
pub const MESSAGE_BYTES_MIN: usize = STAMP_BYTES;

/// The largest message of the echo load, in bytes. A message is laid out whole in one buffer per
/// reactor, so this also bounds that buffer.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!(MESSAGE_BYTES_MIN <= MESSAGE_BYTES_MAX);
// Offsets into a message are kept in 32 bits.
const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize);
