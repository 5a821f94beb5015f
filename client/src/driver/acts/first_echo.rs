//! The round of first echoes: one message over every connection, some at a time. How far it is stays with
//! the driver, since connections that take others' places meanwhile are to know.

use super::Turn;
use crate::driver::{LoadDriver, Table};
use crate::load::bounds::first_echo_window;
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::{Key, Network};

impl<P: Protocol> LoadDriver<P> {
    /// Sends the first message over the next connections, some at a time.
    pub(in crate::driver) fn first_echo<N: Network>(&mut self, core: &mut Table<N, P>) -> Turn {
        let window = first_echo_window(self.protocol.message_bytes());
        while self.totals.in_flight() < window && self.greeted < core.high_water() {
            let key = core.key_at(self.greeted);
            self.greeted += 1;
            if let Some(key) = key.filter(|key| Self::is_fresh(core, *key)) {
                self.send(core, key, 1, None);
            }
        }
        let opening = P::ENDS_AGREED && self.opening.count > 0;
        let done = self.greeted >= core.high_water() && self.totals.in_flight() == 0 && !opening;
        if done { Turn::Done } else { Turn::Again(Nanos::MAX) }
    }

    /// A connection stands that has taken another one's place in the round of first echoes: what that
    /// one owes is sent here, and so is its own first message, if the round has passed.
    pub(in crate::driver) fn join_first_echo<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
    ) {
        if !self.again.is_empty() {
            self.send_again(core, key);
        } else if key.index() < self.greeted && Self::is_fresh(core, key) {
            self.send(core, key, 1, None);
        }
    }
}
