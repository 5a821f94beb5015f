//! `WsError`: one variant per rule of the protocol that a peer broke, and what to answer.

use super::close::CloseCode;

/// The rule that a stream of frames broke. Each sentence names its section.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WsError {
    /// A close frame with one byte: half a code.
    #[error("the close frame's body is one byte, which is half a code (RFC 6455 5.5.1)")]
    CloseBodyTooShort,
    /// A close code that must not be on the wire.
    #[error("the close code {0} must not be sent (RFC 6455 7.4)")]
    CloseCodeInvalid(u16),
    /// A close reason that is not UTF-8.
    #[error("the close reason is not UTF-8 (RFC 6455 5.5.1)")]
    CloseReasonNotUtf8,
    /// A continuation frame where no message is open.
    #[error("a continuation frame came where no message was open (RFC 6455 5.4)")]
    ContinuationUnexpected,
    /// A control frame without the FIN bit.
    #[error("a control frame was fragmented (RFC 6455 5.5)")]
    ControlFragmented,
    /// A control frame with more than 125 bytes.
    #[error("a control frame had more than 125 bytes (RFC 6455 5.5)")]
    ControlTooLong,
    /// Compressed data that is no DEFLATE stream.
    #[error("a compressed message is not DEFLATE data (RFC 7692 7.2.2)")]
    DeflateInvalid,
    /// A frame longer than was allowed here.
    #[error("a frame of {0} bytes is larger than is accepted here (RFC 6455 10.4)")]
    FrameTooBig(u64),
    /// A length that would have fitted into a shorter form.
    #[error("a frame's length was not in its shortest form (RFC 6455 5.2)")]
    LengthNotShortest,
    /// A 64-bit length with its top bit set.
    #[error("a frame's 64-bit length had its top bit set (RFC 6455 5.2)")]
    LengthTopBit,
    /// A client's frame without a mask.
    #[error("a client sent a frame without a mask (RFC 6455 5.1)")]
    MaskMissing,
    /// A server's frame with a mask.
    #[error("a server sent a frame with a mask (RFC 6455 5.1)")]
    MaskUnexpected,
    /// A new message while another one is open.
    #[error("a message began before the one before it was complete (RFC 6455 5.4)")]
    MessageInterrupted,
    /// A message longer than was allowed here.
    #[error("a message is larger than is accepted here (RFC 6455 10.4)")]
    MessageTooBig,
    /// All inflating streams of the reactor are taken. The peer did nothing wrong.
    #[error("too many compressed messages are on their way at once")]
    NoInflater,
    /// RSV1, RSV2 or RSV3 without an extension that gives it a meaning there.
    #[error("a reserved bit was set that no extension gives a meaning (RFC 6455 5.2, RFC 7692 6)")]
    ReservedBits,
    /// An opcode that is not defined.
    #[error("a frame had the reserved opcode {0:#x} (RFC 6455 5.2)")]
    ReservedOpcode(u8),
    /// Text that is not UTF-8.
    #[error("a text message is not UTF-8 (RFC 6455 8.1)")]
    TextNotUtf8,
    /// A message in more fragments than were allowed here.
    #[error("a message came in more fragments than are accepted here (RFC 6455 10.4)")]
    TooManyFragments,
}

impl WsError {
    /// The close code that tells the peer (RFC 6455 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::CloseReasonNotUtf8 | Self::DeflateInvalid | Self::TextNotUtf8 => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::FrameTooBig(_) | Self::MessageTooBig | Self::TooManyFragments => {
                CloseCode::TOO_BIG
            }
            Self::NoInflater => CloseCode::INTERNAL_ERROR,
            Self::CloseBodyTooShort
            | Self::CloseCodeInvalid(_)
            | Self::ContinuationUnexpected
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotShortest
            | Self::LengthTopBit
            | Self::MaskMissing
            | Self::MaskUnexpected
            | Self::MessageInterrupted
            | Self::ReservedBits
            | Self::ReservedOpcode(_) => CloseCode::PROTOCOL_ERROR,
        }
    }
}
