//! `Protocol`: the seam between the load and what is spoken on a connection. The driver opens,
//! paces, counts and gives up; a protocol says what to write and what was read.
//!
//! The driver is compiled once for each protocol, so what one has no use for costs it nothing.

mod closes;
mod http;
mod order;
mod raw;
mod session;
mod websocket;

pub(crate) use closes::Closes;
pub(crate) use http::{Http, Setup as HttpSetup};
pub(crate) use raw::Raw;
pub(crate) use session::{Session, bytes_per_connection};
pub(crate) use websocket::{Reply, Upgrade, nonce};
pub(crate) use websocket::{Setup, WebSocket};

use measure::{Nanos, Stage};
use std::fmt;
use wire::Unasked;

/// Bytes of messages laid out at once.
pub(crate) const COMPOSE_BYTES: usize = 64 * 1024;

/// How many messages of `message_bytes` are laid out at once where `in_flight` may be on their way.
pub(crate) fn batch_max(message_bytes: usize, in_flight: u32) -> usize {
    (COMPOSE_BYTES / message_bytes).clamp(1, in_flight.max(1) as usize)
}

/// What is spoken on the connections of one reactor.
pub(crate) trait Protocol: fmt::Debug + Send + 'static {
    /// What is kept for each connection. A million of them are held: keep it small.
    type Session: fmt::Debug;

    /// Whether a connection has to be upgraded before it is usable, and is taken leave of at the
    /// end.
    const HANDSHAKES: bool;

    /// Whether a connection may come to an agreed end in the middle of a phase that opens others.
    /// Another one then takes its place.
    const ENDS_AGREED: bool = false;

    /// The stages that only this protocol has.
    const STAGES: &'static [Stage];

    /// A connection to this target that is about to be opened, and what was in its place before.
    fn session(&self, number: u32, target: u16, before: Before) -> Self::Session;

    /// What was in a connection's place before it.
    fn before(_: &Self::Session) -> Before {
        Before::Nothing
    }

    /// The number of a connection within the run.
    fn number(session: &Self::Session) -> u32;

    /// Where a connection stands, apart from TCP.
    fn state(session: &Self::Session) -> State;

    /// Messages that were sent on it and whose reply is not complete.
    fn in_flight(session: &Self::Session) -> u32;

    /// Replies that were complete and right.
    fn received(session: &Self::Session) -> u32;

    /// The most messages that [`Protocol::compose`] lays out at once.
    fn batch_max(&self) -> usize;

    /// Bytes that a message has on the wire, at the most.
    fn message_bytes(&self) -> usize;

    /// Lays out the next messages of a connection and counts them as sent: the bytes to write.
    fn compose(
        &mut self,
        session: &mut Self::Session,
        count: usize,
        intended: Nanos,
        sent: Nanos,
    ) -> &[u8];

    /// Takes bytes that have arrived, and calls `on_reply` for each reply that is complete with
    /// them.
    fn receive(
        &mut self,
        session: &mut Self::Session,
        bytes: &mut [u8],
        now: Nanos,
        on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received;

    /// The peer has closed the connection, which may be how a reply ends.
    fn peer_closed(
        &mut self,
        _: &mut Self::Session,
        _now: Nanos,
        _on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received {
        Received { end: Some(End::Closed), ..Received::default() }
    }

    /// Takes back the oldest message that will not be answered on this connection.
    fn take_back(&mut self, _: &mut Self::Session) -> Option<Owed> {
        None
    }

    /// Lays out a message that was taken back on another connection, which left there at `sent`.
    fn compose_owed(&mut self, session: &mut Self::Session, owed: Owed, sent: Nanos) -> &[u8] {
        self.compose(session, 1, owed.intended, sent)
    }

    /// Whether a connection is between two replies: not one byte is here of an answer to what is on
    /// its way. To be asked before it is told that the peer closed.
    fn is_between(&self, _: &Self::Session) -> bool {
        false
    }

    /// Whether a reply was completed on this very connection.
    fn has_served(_: &Self::Session) -> bool {
        false
    }

    /// Whether what is sent on it does no harm when it is sent twice.
    fn may_repeat(&self, _: &Self::Session) -> bool {
        false
    }

    /// Bytes that came behind the last reply of a connection and belong to nothing.
    fn surplus(&self) -> u64 {
        0
    }

    /// The bytes of the oldest message on its way, which was laid out before the connection stood.
    fn oldest(&mut self, _: &Self::Session) -> &[u8] {
        &[]
    }

    /// What [`Received::answers`] told of: to be sent at once.
    fn answers(&self) -> &[u8] {
        &[]
    }

    /// A connection is established and asks to be upgraded: the bytes to write.
    fn upgrade(&mut self, _: &mut Self::Session, _now: Nanos) -> &[u8] {
        &[]
    }

    /// Asks for a sign of life: the bytes to write.
    fn ping(&mut self, _: &mut Self::Session, _now: Nanos) -> &[u8] {
        &[]
    }

    /// Takes leave: the bytes to write. The peer's leave is awaited.
    fn farewell(&mut self, _: &mut Self::Session, _now: Nanos) -> &[u8] {
        &[]
    }

    /// When the handshake, ping or leave was sent that still waits for its answer, if one does.
    fn asked(_: &Self::Session) -> Option<Nanos> {
        None
    }

    /// Gives back what is kept for a connection elsewhere. To be called when it ends.
    fn forget(&mut self, session: &mut Self::Session);

    /// How often bounds of this protocol were reached, by name.
    fn limits_reached(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// How many replies had which status.
    fn statuses(&self) -> Vec<(u16, u64)> {
        Vec::new()
    }

    /// What came and was passed over, as it was not the reply to anything.
    fn unasked(&self) -> Unasked {
        Unasked::default()
    }

    /// How peers took leave that did so first.
    fn closes(&self) -> Closes {
        Closes::default()
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// On the way to being usable.
    Opening,
    /// Usable.
    Open,
    /// We have taken leave, the peer has not.
    Leaving,
    /// Both have, or it is broken: nothing more is said.
    Left,
}

/// What was in the place of a connection before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Before {
    /// It is the first one there.
    Nothing,
    /// One on which nothing was said.
    Silent,
    /// One on which something was.
    Spoken,
}

/// A message that its connection will not answer any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owed {
    /// When it was meant to leave.
    pub(crate) intended: Nanos,
    /// It was the first of its connection.
    pub(crate) first: bool,
    /// A connection has already ended under it without a word. That happens to a message once; the
    /// second time it is lost.
    pub(crate) repeated: bool,
}

/// When the message of a reply was meant to leave, and did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The first of its connection.
    pub(crate) first: bool,
    /// The planned time.
    pub(crate) intended: Nanos,
    /// The actual time.
    pub(crate) sent: Nanos,
}

/// What a reply was, where the protocol has more to say of it than that it was right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    /// When its first byte was read.
    pub(crate) begun: Nanos,
    /// Bytes of its body.
    pub(crate) bytes: u64,
    /// Whether it brought what was asked for; else it says why not.
    pub(crate) served: bool,
    /// The stage that it counts in apart, if it does in one.
    pub(crate) class: Option<Stage>,
}

/// What the bytes of one read meant.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Replies that were complete and right.
    pub(crate) replies: u32,
    /// The connection is usable now; its request left at this time.
    pub(crate) opened: Option<Nanos>,
    /// The answer to a ping came, which left at this time.
    pub(crate) pong: Option<Nanos>,
    /// The peer took leave as we had, at this time.
    pub(crate) left: Option<Nanos>,
    /// There is something to be sent, see [`Protocol::answers`].
    pub(crate) answers: bool,
    /// Nothing more is to be expected.
    pub(crate) end: Option<End>,
}

impl Received {
    /// Whether there is nothing but replies.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let Self { replies: _, opened, pong, left, answers, end } = self;
        opened.is_none() && pong.is_none() && left.is_none() && !answers && end.is_none()
    }
}

/// Why a connection came to its end by what was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// A reply was not what had been sent.
    Mismatch(wire::Mismatch),
    /// The peer broke this rule.
    Violation(String),
    /// The peer answered the handshake with this status; the sentence says what it meant by it.
    Status(u16, String),
    /// The peer took leave in the middle of the run.
    Closed,
    /// The peer took leave between two replies.
    Idle,
    /// As agreed: the last reply that this connection was to carry is here.
    Agreed,
    /// It had been taken leave of, and will not hear the peer's; the rule that the peer broke
    /// instead, if it did.
    NoLeave(Option<String>),
    /// We ran out of what it takes to go on; the peer did nothing wrong.
    NoMemory,
}
