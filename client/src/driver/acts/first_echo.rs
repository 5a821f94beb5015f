//! The round of first echoes: one message over every connection, some at a time.

use super::Turn;
use crate::driver::{LoadDriver, Table};
use crate::load::bounds::first_echo_window;
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::{Key, Network};

/// The round under way.
#[derive(Debug)]
pub(crate) struct FirstEcho {
    /// Where it goes on in the table.
    cursor: usize,
}

impl FirstEcho {
    pub(super) fn new<P: Protocol>(driver: &mut LoadDriver<P>) -> Self {
        driver.traffic.newcomers.clear();
        Self { cursor: 0 }
    }

    /// Sends the first message over the next connections.
    pub(super) fn turn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        let window = first_echo_window(driver.protocol.message_bytes());
        loop {
            if let Some(key) = driver.traffic.newcomers.pop_front() {
                self.join(driver, core, key);
                continue;
            }
            let all_sent = self.cursor >= core.high_water();
            let on_their_way = driver.books.totals.in_flight();
            if all_sent || on_their_way >= window {
                let opening = P::ENDS_AGREED && driver.connections.opening.count > 0;
                let done = all_sent && on_their_way == 0 && !opening;
                return if done { Turn::Done } else { Turn::Again(Nanos::MAX) };
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key.filter(|key| LoadDriver::is_fresh(core, *key)) {
                driver.send(core, key, 1, None);
            }
        }
    }

    /// A connection stands that has taken another one's place: what that one owes is sent here, and
    /// so is its own first message, if the round has passed.
    fn join<N: Network, P: Protocol>(
        &self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
        key: Key,
    ) {
        if !driver.traffic.owed.is_empty() {
            driver.send_again(core, key);
        } else if key.index() < self.cursor && LoadDriver::is_fresh(core, key) {
            driver.send(core, key, 1, None);
        }
    }
}
