//! `Service`: the seam between the driver and a protocol. Bytes and time limits that have passed
//! come in, answers go out; a service sees no socket, no clock and no key.

use measure::Nanos;
use reactor::FilePart;
use wire::ws::Accepted;

/// What one protocol does with all connections of a reactor that speak it.
pub(crate) trait Service {
    /// Where a connection stands. A million of them are held: keep it small.
    type State;

    /// Whether answers leave one after the other: what comes behind a request waits until all of
    /// its answer has left.
    const IN_TURN: bool = false;

    /// A connection has come.
    fn arrived(&mut self) -> Self::State;

    /// Answers the next bytes of a connection. An echo may be made in place.
    fn read<'a>(
        &'a mut self,
        state: &mut Self::State,
        bytes: &'a mut [u8],
        turn: Turn<'_>,
    ) -> Reply<'a>;

    /// Keeps what [`Service::read`] did not take, if answers leave in turn.
    ///
    /// # Errors
    /// If there is no room for it: the connection is to be closed.
    fn hold(&mut self, _: &mut Self::State, _rest: &[u8]) -> Result<(), Full> {
        Ok(())
    }

    /// Some of what was said has left, all of it if nothing is `blocked` any more: what was held
    /// and is to be read now. `None`: no time limit counts from here.
    fn resume(&mut self, _: &mut Self::State, _blocked: bool) -> Option<Vec<u8>> {
        None
    }

    /// The time limit that holds for a connection, of which something waits to be sent or not.
    fn limit(&self, state: &Self::State, blocked: bool, limits: &TimeLimits) -> Option<Nanos>;

    /// Whether any connection has a time limit besides that for silence.
    fn has_deadlines(&self, _: &TimeLimits) -> bool {
        false
    }

    /// The time limit of a connection has passed.
    fn time_out(&mut self, state: &mut Self::State, blocked: bool, turn: Turn<'_>) -> TimedOut<'_>;

    /// The server stops: how this connection ends.
    fn say_goodbye(&mut self, state: &mut Self::State, blocked: bool) -> Goodbye<'_>;

    /// A connection has ended, in whatever state it is.
    fn ended(&mut self, state: Self::State);

    /// Whether nothing but answers to signs of life waits for a peer.
    fn says_pongs(_: &Self::State) -> bool {
        false
    }
}

/// There is no room for more.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Full;

/// What holds for one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'t> {
    /// The time at which the turn began.
    pub now: Nanos,
    /// The work that may be done, in units of about a nanosecond.
    pub work_max: u64,
    /// The time limits of connections.
    pub limits: &'t TimeLimits,
}

/// The time limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// For silence.
    pub idle: Option<Nanos>,
    /// For a handshake, and for any other request.
    pub handshake: Option<Nanos>,
    /// For a WebSocket message, from its first byte to its last.
    pub message: Option<Nanos>,
    /// For a peer's close after our last word, which may have to wait itself.
    pub closing: Nanos,
}

/// What the bytes that have come are answered with.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    /// To be sent; may be empty.
    pub bytes: &'a [u8],
    /// To be sent behind them.
    pub file: Option<FilePart>,
    /// How many of the bytes were taken. The others are to come again: in a later turn, or, if
    /// answers leave in turn, when this one has left.
    pub used: usize,
    /// What becomes of the connection.
    pub then: Then,
    /// Whether the time limit begins to count anew.
    pub renewed: bool,
    /// The work that it was, besides reading the bytes, in units of about a nanosecond.
    pub work: u64,
}

impl<'a> Reply<'a> {
    /// `used` bytes are taken, and nothing is answered.
    pub(crate) fn silent(used: usize) -> Self {
        let then = Then::More;
        Self { bytes: &[], file: None, used, then, renewed: false, work: 0 }
    }

    /// `used` bytes are taken, and answered with our last words.
    pub(crate) fn last(bytes: &'a [u8], used: usize) -> Self {
        Self { bytes, then: Then::Last, ..Self::silent(used) }
    }
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// It goes on.
    More,
    /// It ends.
    Last,
    /// It is one of WebSocket from here on.
    Upgrade(Accepted),
}

/// How a connection is ended by us.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Goodbye<'a> {
    /// Not now.
    NotNow,
    /// With these last words, which may be none besides what waits.
    Says(&'a [u8]),
    /// At once.
    Closes,
    /// At once, so that what has left does not look whole.
    Resets,
}

/// What becomes of a connection whose time limit has passed.
#[derive(Debug)]
pub(crate) struct TimedOut<'a> {
    /// How it ends. Who cannot be told anything now is closed.
    pub goodbye: Goodbye<'a>,
    /// Whether it was silence that ended it.
    pub silence: bool,
}
