//! The plain echo load: laying messages out, and cutting the replies out of a byte stream.
//!
//! Every message has the same size: a [`Stamp`], then filler that is the same in all messages of a
//! run. A reply must be the message, byte for byte and in order; anything else is a [`Mismatch`].
//!
//! Where the run takes servers that speak of themselves ([`Template::passing_over`]), a message
//! without a stamp of this run is not a reply and is passed over; in a stream, which has no
//! borders, so is what comes before the first reply.

mod partial;
mod reader;
mod template;

pub use partial::PartialPool;
pub use reader::Echo;
pub use template::Template;

use crate::unasked::OtherProtocol;

/// What was wrong with a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// More came back than was sent.
    #[error("bytes arrived for which no message was sent")]
    Unasked,
    /// The first 32 bytes are not a stamp of this run: a foreign or damaged reply.
    #[error("the reply does not carry a stamp of this run")]
    Foreign,
    /// A stamp of this run, but of another connection.
    #[error("the reply belongs to connection {0}")]
    WrongConnection(u32),
    /// A stamp of this connection, but not of the message whose turn it was.
    #[error("the reply is number {got} where {expected} was due")]
    WrongSequence {
        /// The sequence number whose turn it was.
        expected: u32,
        /// The sequence number that came.
        got: u32,
    },
    /// The bytes behind the stamp are not those that were sent.
    #[error("the reply's body differs from what was sent")]
    WrongBody,
    /// A text where binary data was sent, or the other way round.
    #[error("the reply is text where binary data was sent, or binary data where text was")]
    WrongKind,
    /// The first bytes are those of another protocol.
    #[error("{0}")]
    OtherProtocol(OtherProtocol),
}

#[cfg(test)]
mod tests;
