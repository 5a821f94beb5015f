//! Taking leave: waits for what is on its way, and says good-bye where the protocol does.

use super::{CLOSE_BATCH, Turn};
use crate::driver::{LoadDriver, Table};
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::Network;

/// Leave under way.
#[derive(Debug)]
pub(crate) struct Leave {
    /// How long is waited for what is on its way.
    until: Nanos,
    /// Where it goes on in the table.
    cursor: usize,
}

impl Leave {
    pub(super) fn new(until: Nanos) -> Self {
        Self { until, cursor: 0 }
    }

    pub(super) fn turn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        if driver.books.totals.in_flight() > 0 && core.turn_started() < self.until {
            return Turn::Again(self.until);
        }
        // Whoever takes leave sends nothing more, so this is not gone back from.
        self.until = Nanos::ZERO;
        if P::HANDSHAKES { self.take_leave(driver, core) } else { Turn::Done }
    }

    /// Takes leave on the next connections, some at a time; done if all have left, or none is going
    /// to.
    fn take_leave<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        for _ in 0..CLOSE_BATCH {
            if driver.connections.leaving.is_in_vain() {
                return Turn::Done;
            }
            if self.cursor >= core.high_water() {
                // A peer that has answered closes TCP (RFC 6455 7.1.1), as long as that takes no
                // longer than the drain may.
                let all_left = driver.connections.leaving.here() == 0;
                return if all_left { Turn::Done } else { Turn::Again(Nanos::MAX) };
            }
            if driver.connections.leaving.is_full() {
                return Turn::Again(Nanos::MAX);
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key {
                driver.say_farewell(core, key);
            }
        }
        Turn::Again(Nanos::ZERO)
    }
}
