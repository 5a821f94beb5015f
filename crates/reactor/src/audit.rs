//! Audited connections: those whose bytes come with the time at which the kernel received them.

use crate::core::{Core, Flags};
use crate::driver::Marks;
use crate::network::{Network, Stream};
use crate::slots::Key;
use host::receipt::TcpHealth;
use measure::{Nanos, Wall};

/// When the kernel received the bytes of the current read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Receipt {
    /// Nobody asked on this connection.
    #[default]
    NotAudited,
    /// The kernel did not note it: the bytes were there before it was asked, for one.
    Missing,
    /// At this time: that of the last packet which any of the bytes were taken from.
    At(Nanos),
}

impl<N: Network, S> Core<N, S> {
    /// Marks a connection as one to be audited. It costs nothing before [`Core::stamp`].
    pub fn set_audited(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.set(Flags::AUDITED);
        }
    }

    /// Whether a connection is marked so.
    #[inline]
    pub fn is_audited(&mut self, key: Key) -> bool {
        self.slots.get_mut(key).is_some_and(|connection| connection.flags.has(Flags::AUDITED))
    }

    /// What a connection is marked with; nothing, if it is gone.
    pub fn marks(&mut self, key: Key) -> Marks {
        Marks { audited: self.is_audited(key) }
    }

    /// Whether the kernel stamps what this connection receives.
    #[must_use]
    pub fn is_stamped(&mut self, key: Key) -> bool {
        self.slots.get_mut(key).is_some_and(|connection| connection.flags.has(Flags::STAMPED))
    }

    /// Has the kernel stamp what this connection receives from now on. Where it will not, its reads
    /// come with [`Receipt::Missing`].
    pub fn stamp(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.set(Flags::STAMPED);
            // That it failed shows in every read.
            let _ = connection.stream.stamp_receipts();
        }
    }

    /// What TCP knows of a connection; `None` if there is no such connection, or it does not tell.
    pub fn health(&mut self, key: Key) -> Option<TcpHealth> {
        self.slots.get_mut(key)?.stream.health()
    }

    /// How often the time of day, in which the kernel stamps, was found to have been set.
    pub fn wall_steps(&self) -> u64 {
        self.net.wall_steps()
    }

    /// What a stamp says of the read that it came with.
    pub(crate) fn receipt_of(&mut self, stamp: Option<Wall>) -> Receipt {
        match stamp {
            Some(wall) => Receipt::At(self.net.receipt(wall, self.turn_started)),
            None => Receipt::Missing,
        }
    }
}
