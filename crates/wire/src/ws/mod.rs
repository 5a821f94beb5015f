//! WebSocket as a pure machine, for both roles: RFC 6455, and RFC 7692 (permessage-deflate).
//!
//! ```text
//!             Head ──> Policy::answer (server)   Request::write, Request::check (client)
//!               │                   the opening handshake, and what it agreed upon
//!               v
//!   bytes ──> Reader ──> Event: Start, Chunk …, End; Ping, Pong, Close     or one WsError
//!             Writer <── messages whole or in pieces, control frames ──> bytes
//!               ^
//!             echo: the two of them short-circuited, whole frames answered in place
//! ```
//!
//! The contract:
//! - The events do not depend on how the stream was cut into reads, but for where one chunk of a
//!   message ends and the next begins.
//! - Nothing of a message is kept: its bytes are unmasked, checked and handed on as they come.
//! - A connection between two messages is [`Ws`] and nothing else: 20 bytes. Whatever is incomplete
//!   lies in a [`ReadPool`] or [`WritePool`], one per reactor, and so do deflating streams; only
//!   those whose window was agreed to be dedicated stay with a connection.
//! - Mask keys and nonces are arguments.

mod client;
mod close;
mod deflate;
mod echo;
mod error;
mod extension;
mod frame;
mod handshake;
mod mask;
mod reader;
mod server;
mod utf8;
mod whole;
mod writer;

pub use crate::http::{Head, HeadError, HeadPool};
pub use crate::limits::{
    WS_COMPRESSED_WORK, WS_CONTROL_BYTES_MAX, WS_DEFLATERS_DEFAULT, WS_FRAGMENTS_DEFAULT,
    WS_FRAME_WORK, WS_INFLATED_CHUNK_BYTES, WS_INFLATED_WORK, WS_INFLATERS_DEFAULT,
    WS_MESSAGE_BYTES_DEFAULT,
};
pub use client::{HandshakeFailure, Request, RequestError, RequestSpec, is_interim};
pub use close::{Close, CloseCode};
pub use echo::{Echoed, End, echo};
pub use error::WsError;
pub use extension::{Agreed, DeflatePolicy, Window};
pub use frame::{HEADER_BYTES_MAX, Header, Opcode, Role};
pub use handshake::accept_value;
pub use mask::{advance, mask};
pub use reader::{Event, Kind, Limits, ReadPool, Reader};
pub use server::{Accepted, HandshakeError, Policy};
pub use utf8::{NotUtf8, Utf8};
pub use whole::{Echoes, echo_in_place, read_whole};
pub use writer::{WritePool, Writer, write_frame};

/// An upgraded connection: 20 bytes, since a million of them are held.
#[derive(Debug)]
pub struct Ws {
    /// What comes in.
    pub reader: Reader,
    /// What goes out.
    pub writer: Writer,
}

const _: () = assert!(size_of::<Ws>() == 20);

/// What the connections of a reactor share.
#[derive(Debug)]
pub struct Pools {
    /// For what comes in.
    pub read: ReadPool,
    /// For what goes out.
    pub write: WritePool,
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            read: ReadPool::new(WS_INFLATERS_DEFAULT),
            write: WritePool::new(WS_DEFLATERS_DEFAULT),
        }
    }
}

impl Ws {
    /// A connection whose handshake has just succeeded. `role` is ours.
    #[must_use]
    pub fn new(role: Role, deflate: Option<Agreed>) -> Self {
        let (theirs, ours) = match role {
            Role::Client => (deflate.map(|d| d.server), deflate.map(|d| d.client)),
            Role::Server => (deflate.map(|d| d.client), deflate.map(|d| d.server)),
        };
        Self { reader: Reader::new(role, theirs), writer: Writer::new(ours) }
    }

    /// Gives back what the pools hold for this connection. To be called when it ends.
    pub fn forget(&mut self, pools: &mut Pools) {
        self.reader.forget(&mut pools.read);
        self.writer.forget(&mut pools.write);
    }
}
