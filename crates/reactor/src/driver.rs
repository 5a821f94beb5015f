//! `Driver`: the one seam between the loop and what a program does with it.

use crate::audit::Receipt;
use crate::core::Core;
use crate::network::Network;
use crate::slots::Key;
use crate::stall::Stall;
use measure::{Failure, Nanos};

/// How a connection came to its end without the driver asking for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Connecting failed, or the layers of the two ends did not agree: it never was open. The key
    /// that [`Core::open`] had given for it names nothing any more; there is none for one that
    /// arrived on a listener and could not be kept.
    NotOpened(Failure, Option<Key>),
    /// The peer closed its side, and everything that was to be sent was sent.
    Closed,
    /// It broke. Of a connection with a layer: or its stream was cut, without the peer's good-bye.
    Broken(Failure),
    /// What waited for its peer had to make room for what others wait for: see
    /// [`crate::Limits::evicts_blocked`].
    Evicted,
}

/// What the driver had marked a connection with that has ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Marks {
    /// It was one to be audited: whoever takes its place goes on in its stead.
    pub audited: bool,
}

/// What one read gave.
#[derive(Debug)]
pub struct Read<'a> {
    /// The bytes. They are the driver's to change: an echo may be made in place.
    pub bytes: &'a mut [u8],
    /// When the kernel received them.
    pub receipt: Receipt,
}

/// What a program does with its connections. All calls come from the reactor's own thread.
pub trait Driver<N: Network>: Sized {
    /// What the driver keeps for each connection. A million of them are held: keep it small.
    type Session;
    /// What the control plane can ask for.
    type Command;

    /// Whether a connection whose peer does not take our bytes is read from no more until it does
    /// (or behind [`crate::Limits::unsent_bytes_to_pause`]):
    /// back-pressure for a server, which must not pile up answers. A client goes on reading, or two
    /// ends that wait for each other would stand still for ever.
    const PAUSE_READS_WHILE_BLOCKED: bool;

    /// When the reactor is to stand still; asked once, at the start. During a stall nothing is
    /// read, accepted or sent, and no command is taken.
    fn stall(&self) -> Option<Stall> {
        None
    }

    /// A connection has arrived on a listener: its session, or `None` to refuse it.
    fn admit(
        &mut self,
        core: &mut Core<N, Self::Session>,
        listener: usize,
    ) -> Option<Self::Session>;

    /// A connection is open: accepted, or connected after some waiting, and its layer, if it has
    /// one, has agreed with its peer's. (One that connects at once is reported by [`Core::open`]
    /// itself.)
    fn on_open(&mut self, core: &mut Core<N, Self::Session>, key: Key);

    /// Bytes have arrived.
    fn on_bytes(&mut self, core: &mut Core<N, Self::Session>, key: Key, read: Read<'_>);

    /// Bytes of this connection have left that were waiting, all of them if it is no more
    /// [`Core::is_blocked`]; or its turn has come again after [`Core::yield_turn`].
    fn on_progress(&mut self, core: &mut Core<N, Self::Session>, key: Key) {
        let _ = (core, key);
    }

    /// A connection has ended, and its slot is free: this is what was kept for it.
    fn on_end(
        &mut self,
        core: &mut Core<N, Self::Session>,
        session: Self::Session,
        ending: Ending,
        marks: Marks,
    );

    /// A command from the control plane.
    fn on_command(&mut self, core: &mut Core<N, Self::Session>, command: Self::Command);

    /// The end of each turn: work that is due by the clock. Returns when to be called again at the
    /// latest; a time that has passed means at once, `None` only when something happens.
    fn on_turn(&mut self, core: &mut Core<N, Self::Session>) -> Option<Nanos>;

    /// Whether the reactor may end.
    fn is_finished(&self) -> bool;
}
