//! `Network`: the seam between the loop and the world. [`crate::System`] is the kernel,
//! [`crate::sim`] a pair of pipes and a clock moved by hand.

use crate::file_part::FilePart;
use crate::layer::Layer;
use host::receipt::TcpHealth;
use host::socket::ConnectError;
use measure::{Nanos, Wall};
use std::io;
use std::net::SocketAddr;

/// What an event or a registration belongs to: 64 bits that the kernel carries for us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Token(pub u64);

impl Token {
    /// Somebody put a command into the mailbox.
    pub const WAKE: Self = Self(u64::MAX);
    /// The timer has run out.
    pub const TIMER: Self = Self(u64::MAX - 1);
    const LISTENER_FIRST: u64 = 0xffff_ffff_ffff_0000;
    /// Listeners that one reactor may have.
    pub const LISTENERS_MAX: usize = 0xff00;

    /// The token of the listener of that number.
    ///
    /// # Panics
    /// If there are more than [`Token::LISTENERS_MAX`].
    #[must_use]
    pub const fn listener(index: usize) -> Self {
        assert!(index < Self::LISTENERS_MAX);
        Self(Self::LISTENER_FIRST + index as u64)
    }

    /// The number of the listener that this token names, if it names one.
    #[must_use]
    pub const fn as_listener(self) -> Option<usize> {
        let last = Self::LISTENER_FIRST + Self::LISTENERS_MAX as u64;
        if self.0 >= Self::LISTENER_FIRST && self.0 < last {
            Some((self.0 - Self::LISTENER_FIRST) as usize)
        } else {
            None
        }
    }
}

/// What is to be watched for on a connection. Everything is edge-triggered: an event says that
/// something changed, and does not come again for what was left undone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Bytes to read, and the peer closing.
    Readable,
    /// The same, and room to write (or the outcome of connecting).
    ReadableAndWritable,
}

/// One readiness event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Whose.
    pub token: Token,
    /// There may be bytes to read.
    pub readable: bool,
    /// There may be room to write, or connecting has ended.
    pub writable: bool,
    /// The peer has closed or reset: read on until the end, a short read is not the last word.
    pub closed: bool,
}

/// From where to where a connection is to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Source address and port; `None` leaves both to the kernel, port 0 leaves the port.
    pub source: Option<SocketAddr>,
    /// The target.
    pub target: SocketAddr,
    /// Whether the source port may be in use towards other targets.
    pub share_port: bool,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// It has arrived on the listener of that number.
    Listener(usize),
    /// It is being opened by this route.
    Route(&'a Route),
}

/// One connection's socket. Dropping it closes it.
pub trait Stream {
    /// Takes bytes that have arrived; 0 is the end of the stream.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Has the kernel note when bytes arrive, from now on: for [`Stream::receive_stamped`].
    fn stamp_receipts(&self) -> io::Result<()>;
    /// The same as [`Stream::receive`], and the time of day at which the last packet arrived that
    /// any of the bytes were taken from, if it was noted.
    fn receive_stamped(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)>;
    /// What TCP knows of the connection, if it tells.
    fn health(&self) -> Option<TcpHealth>;
    /// Hands bytes to the kernel; it may take only some.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    /// The same for bytes that more will follow at once: the kernel may wait for it, and fill a
    /// packet.
    fn send_ahead(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Hands the next bytes of a file to the kernel, `max` at the most; it may take only some. 0
    /// says that the file ends before they do.
    fn send_file(&self, part: &FilePart, max: usize) -> io::Result<usize>;
    /// Whether connecting has succeeded.
    fn is_established(&self) -> bool;
    /// The error that the socket holds, which is cleared by this.
    fn take_error(&self) -> Option<io::Error>;
    /// Closes our side: the peer reads the end of the stream, and we may still read.
    fn finish_sending(&self);
    /// Makes closing a reset, which leaves no TIME_WAIT behind.
    fn reset_on_close(&self);
}

/// Sockets, readiness and time.
pub trait Network {
    /// A connection's socket.
    type Stream: Stream;
    /// What may lie between it and the driver.
    type Layer: Layer;

    /// The layer of a connection that comes from there; `None`: it has none.
    fn layer(&mut self, origin: Origin<'_>) -> Option<Self::Layer>;

    /// What the layers of all connections share.
    fn shared(&self) -> &<Self::Layer as Layer>::Shared;

    /// The same, for them to use.
    fn shared_mut(&mut self) -> &mut <Self::Layer as Layer>::Shared;

    /// The time, on the run's clock.
    fn now(&self) -> Nanos;

    /// The time, on the run's clock, of a stamp that was just read. `now` is about the time it is.
    fn receipt(&mut self, stamp: Wall, now: Nanos) -> Nanos;

    /// How often the time of day was found to have been set, so that stamps of that moment are
    /// wrong.
    fn wall_steps(&self) -> u64;

    /// Waits until something is ready or `deadline` has come (`None`: no deadline), and puts what
    /// is ready into `ready`, which it empties first. A deadline that has passed does not wait at
    /// all.
    fn wait(&mut self, ready: &mut Vec<Ready>, deadline: Option<Nanos>) -> io::Result<()>;

    /// Lets the thread stand still until then. A network whose clock is moved by hand comes back at
    /// once.
    fn stand_still(&mut self, until: Nanos);

    /// Starts watching a connection.
    fn watch(&mut self, stream: &Self::Stream, token: Token, interest: Interest) -> io::Result<()>;

    /// Also watches for room to write, from now on.
    fn watch_writable(&mut self, stream: &Self::Stream, token: Token) -> io::Result<()>;

    /// Takes the next connection from a listener; `WouldBlock` if there is none.
    fn accept(&mut self, listener: usize) -> io::Result<Self::Stream>;

    /// What the kernel has turned away of what came to a listener, if it tells.
    fn turned_away(&self, listener: usize) -> Option<u64> {
        let _ = listener;
        None
    }

    /// Starts to open a connection.
    ///
    /// # Errors
    /// Which step failed and why; being under way is not an error.
    fn connect(&mut self, route: &Route) -> Result<Self::Stream, ConnectError>;
}
