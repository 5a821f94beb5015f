//! The frame header (RFC 6455 5.2): what it says, read from bytes and written to bytes.

use super::error::WsError;

/// The longest header, in bytes: two, a 64-bit length, a mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// We opened the connection: our frames are masked, the peer's are not.
    Client,
    /// The peer opened it: its frames are masked, ours are not.
    Server,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opcode {
    /// More of the message that is open.
    Continuation = 0x0,
    /// A text message begins.
    Text = 0x1,
    /// A binary message begins.
    Binary = 0x2,
    /// The close handshake.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// The answer to a ping, or a word out of the blue.
    Pong = 0xa,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a control frame.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

pub(super) const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
pub(super) const MASKED: u8 = 0x80;

/// The longest payload whose length stands in the header's second byte.
pub(super) const SHORT_BYTES_MAX: usize = 125;

/// A frame's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// RSV1: the message is compressed (RFC 7692 6). Only on a message's first frame.
    pub compressed: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The key that the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// The payload's length, in bytes, below 2^63.
    pub length: u64,
}

impl Header {
    /// The header at the start of `bytes` and its length, or `None` while it is not complete.
    /// `role` is ours, and `deflate` says whether compression was agreed upon.
    ///
    /// # Errors
    /// The first rule that is broken. All rules that a single header can break are checked here, in
    /// the order of the bytes, so more bytes never change the verdict.
    #[inline]
    pub fn decode(
        bytes: &[u8],
        role: Role,
        deflate: bool,
    ) -> Result<Option<(Self, usize)>, WsError> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let bits = first & 0x0f;
        let opcode = Opcode::from_bits(bits).ok_or(WsError::ReservedOpcode(bits))?;
        let (fin, compressed) = (first & FIN != 0, first & RSV1 != 0);
        let may_be_compressed = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RSV2_RSV3 != 0 || (compressed && !may_be_compressed) {
            return Err(WsError::ReservedBits);
        }
        let masked = second & MASKED != 0;
        match role {
            Role::Client if masked => return Err(WsError::MaskUnexpected),
            Role::Server if !masked => return Err(WsError::MaskMissing),
            _ => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() {
            if !fin {
                return Err(WsError::ControlFragmented);
            }
            if short > 125 {
                return Err(WsError::ControlTooLong);
            }
        }
        let Some((length, size)) = Self::decode_length(short, bytes)? else { return Ok(None) };
        let (mask, size) = if masked {
            let Some(mask) = bytes[size..].first_chunk() else { return Ok(None) };
            (Some(*mask), size + 4)
        } else {
            (None, size)
        };
        Ok(Some((Self { fin, compressed, opcode, mask, length }, size)))
    }

    /// The length, and where it ends.
    #[inline]
    fn decode_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, WsError> {
        let (length, least, size) = match short {
            126 => {
                let Some(long) = bytes[2..].first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*long)), 126, 4)
            }
            127 => {
                let Some(long) = bytes[2..].first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*long), 1 << 16, 10)
            }
            _ => (u64::from(short), 0, 2),
        };
        if length >> 63 != 0 {
            return Err(WsError::LengthTopBit);
        }
        if length < least {
            return Err(WsError::LengthNotShortest);
        }
        Ok(Some((length, size)))
    }

    /// Writes the header behind `out`, the length in its shortest form.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; HEADER_BYTES_MAX];
        let end = out.len() + self.encode_into(&mut bytes);
        // To copy a known number of bytes and cut is quicker than to copy as many as are needed.
        out.extend_from_slice(&bytes);
        out.truncate(end);
    }

    /// Writes the header to the front of `bytes` and says how long it is. To write a header in
    /// front of a payload that is already in place, ask [`Header::size`] first.
    #[inline]
    pub fn encode_into(&self, bytes: &mut [u8; HEADER_BYTES_MAX]) -> usize {
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        bytes[0] = self.opcode as u8
            | if self.fin { FIN } else { 0 }
            | if self.compressed { RSV1 } else { 0 };
        let mut size = match self.length {
            0..=125 => {
                bytes[1] = masked | self.length as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = masked | 126;
                bytes[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = masked | 127;
                bytes[2..10].copy_from_slice(&self.length.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            bytes[size..size + 4].copy_from_slice(&mask);
            size += 4;
        }
        size
    }

    /// The header's length on the wire, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        let length = match self.length {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        length + if self.mask.is_some() { 4 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = Header> {
        let data =
            prop_oneof![Just(Opcode::Text), Just(Opcode::Binary), Just(Opcode::Continuation)];
        let control = prop_oneof![Just(Opcode::Close), Just(Opcode::Ping), Just(Opcode::Pong)];
        let length = prop_oneof![0..300u64, 65_000..66_000u64, 0..1u64 << 63];
        let mask = any::<Option<[u8; 4]>>();
        (any::<bool>(), data, control, length, mask, any::<[bool; 2]>()).prop_map(
            |(is_control, data, control, length, mask, [fin, rsv1])| {
                if is_control {
                    let length = length % 126;
                    Header { fin: true, compressed: false, opcode: control, mask, length }
                } else {
                    let compressed = rsv1 && data != Opcode::Continuation;
                    Header { fin, compressed, opcode: data, mask, length }
                }
            },
        )
    }

    fn role_of_reader(header: &Header) -> Role {
        if header.mask.is_some() { Role::Server } else { Role::Client }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            header in any_header(),
            tail in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            let size = bytes.len();
            prop_assert_eq!(size, header.size());
            let role = role_of_reader(&header);
            for cut in 0..size {
                prop_assert_eq!(Header::decode(&bytes[..cut], role, true), Ok(None));
            }
            bytes.extend(tail);
            prop_assert_eq!(Header::decode(&bytes, role, true), Ok(Some((header, size))));
        }

        #[test]
        fn more_bytes_never_change_a_verdict(
            bytes in prop::collection::vec(any::<u8>(), 14),
            deflate: bool,
            server: bool,
        ) {
            let role = if server { Role::Server } else { Role::Client };
            let verdict = Header::decode(&bytes, role, deflate);
            prop_assert_ne!(verdict, Ok(None), "14 bytes are always enough");
            for cut in 0..bytes.len() {
                let early = Header::decode(&bytes[..cut], role, deflate);
                prop_assert!(early == Ok(None) || early == verdict);
            }
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        use WsError as E;
        let table: &[(&[u8], Role, bool, WsError)] = &[
            (&[0xa1, 0x00], Role::Client, true, E::ReservedBits),
            (&[0x91, 0x00], Role::Client, true, E::ReservedBits),
            (&[0xc1, 0x00], Role::Client, false, E::ReservedBits),
            (&[0xc9, 0x00], Role::Client, true, E::ReservedBits),
            (&[0xc0, 0x00], Role::Client, true, E::ReservedBits),
            (&[0x83, 0x00], Role::Client, false, E::ReservedOpcode(3)),
            (&[0x8f, 0x00], Role::Client, false, E::ReservedOpcode(15)),
            (&[0x82, 0x80], Role::Client, false, E::MaskUnexpected),
            (&[0x82, 0x00], Role::Server, false, E::MaskMissing),
            (&[0x09, 0x00], Role::Client, false, E::ControlFragmented),
            (&[0x89, 126], Role::Client, false, E::ControlTooLong),
            (&[0x82, 126, 0, 125], Role::Client, false, E::LengthNotShortest),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255], Role::Client, false, E::LengthNotShortest),
            (&[0x82, 127, 128, 0, 0, 0, 0, 1, 0, 0], Role::Client, false, E::LengthTopBit),
        ];
        for (bytes, role, deflate, error) in table {
            assert_eq!(Header::decode(bytes, *role, *deflate), Err(*error), "{bytes:x?}");
        }
    }
}
