//! What is kept for each connection, and the services that a connection can belong to.

use crate::http;
use crate::websocket::Phase;
use wire::Protocol;
use wire::ws::Head;

/// One connection's session. A million of them are held: growing it by eight bytes costs 8 MB.
#[derive(Debug)]
pub struct Session {
    /// When the time limit of its state began to count, in milliseconds of the run's clock, modulo
    /// 2^32 (49 days): for a limit on silence the last word.
    pub(crate) since_ms: u32,
    pub(crate) state: State,
}

/// What a connection costs in the table, in bytes.
pub(crate) const SLOT_BYTES: usize = reactor::slot_bytes::<reactor::System, Session>();

const _: () = assert!(SLOT_BYTES == 40);

/// Which protocol is spoken, and where it stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Bytes go back as they come.
    Raw,
    /// WebSocket, from the request on.
    WebSocket(Phase),
    /// HTTP, until it ends or becomes a WebSocket.
    Http(http::Phase),
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// Echo of bytes.
    Tcp,
    /// Echo of WebSocket messages.
    Ws,
    /// Files, or the server's own page; and echo of WebSocket messages for those who ask for it.
    Http,
}

impl Service {
    /// The service that speaks this protocol.
    pub(crate) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Ws => Self::Ws,
            Protocol::Http => Self::Http,
        }
    }

    /// The state of a connection that has just come.
    pub(crate) fn greet(self) -> State {
        match self {
            Self::Tcp => State::Raw,
            Self::Ws => State::WebSocket(Phase::Opening(Head::default())),
            Self::Http => State::Http(http::Phase::default()),
        }
    }
}

/// What a service has to say to the bytes that have come.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Answer<'a> {
    /// To be sent; may be empty.
    pub bytes: &'a [u8],
    /// Whether these are our last words on the connection.
    pub last: bool,
    /// Whether the message that was open before is still open: its time goes on.
    pub stays: bool,
    /// The work that it was, besides reading the bytes, in units of about a nanosecond.
    pub work: u64,
    /// How many bytes at the end of the read are to come again, since the work allowed was used up.
    pub unread: usize,
}

impl<'a> Answer<'a> {
    /// More will follow.
    pub(crate) fn more(bytes: &'a [u8]) -> Self {
        Self { bytes, last: false, stays: false, work: 0, unread: 0 }
    }

    /// Nothing will follow.
    pub(crate) fn last(bytes: &'a [u8]) -> Self {
        Self { last: true, ..Self::more(bytes) }
    }
}
