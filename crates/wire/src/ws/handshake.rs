//! What both ends of the opening handshake share: the keys and their answers.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

/// What is put behind the key before hashing (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a `Sec-WebSocket-Key`.
pub(super) const KEY_BYTES: usize = 24;

/// The value of `Sec-WebSocket-Accept` for the value of a `Sec-WebSocket-Key` (RFC 6455 4.2.2).
#[must_use]
pub fn accept_value(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut value = [0; 28];
    // 20 bytes always make 28 characters.
    let written = STANDARD.encode_slice(digest, &mut value);
    debug_assert_eq!(written, Ok(28));
    value
}

/// The value of `Sec-WebSocket-Key` for a nonce.
pub(super) fn key_value(nonce: [u8; 16]) -> [u8; KEY_BYTES] {
    let mut value = [0; KEY_BYTES];
    let written = STANDARD.encode_slice(nonce, &mut value);
    debug_assert_eq!(written, Ok(KEY_BYTES));
    value
}

/// Reads base64 whose last character has bits that belong to no byte: the example of RFC 6455 4.1
/// is such a key, and RFC 4648 3.5 leaves it to us.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether this is a `Sec-WebSocket-Key`: the base64 form of 16 bytes.
pub(super) fn is_key(value: &[u8]) -> bool {
    let mut nonce = [0; 18];
    value.len() == KEY_BYTES && LENIENT.decode_slice(value, &mut nonce) == Ok(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_section_1_3() {
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key_value(*b"the sample nonce"), *b"dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        // As RFC 6455 4.1 writes the bytes from 1 to 16.
        assert!(is_key(b"AQIDBAUGBwgJCgsMDQ4PEC=="));
        for wrong in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25j",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZWU=",
            b"dGhlIHNhbXBsZSBub25jZWVl",
            b"dGhlIHNhbXBsZSBub25j!Q==",
        ] {
            assert!(!is_key(wrong), "{}", wrong.escape_ascii());
        }
    }
}
