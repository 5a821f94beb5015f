//! Closing everything: the measurement is over.

use super::CLOSE_BATCH;
use crate::driver::Table;
use crate::protocol::Protocol;
use reactor::Network;

/// Closing under way.
#[derive(Debug, Default)]
pub(crate) struct Close {
    /// Where it goes on in the table.
    cursor: usize,
}

impl Close {
    /// Closes the next connections. Whether those were the last.
    pub(super) fn turn<N: Network, P: Protocol>(&mut self, core: &mut Table<N, P>) -> bool {
        let to = (self.cursor + CLOSE_BATCH).min(core.high_water());
        for index in self.cursor..to {
            if let Some(key) = core.key_at(index) {
                core.reset(key);
            }
        }
        self.cursor = to;
        to == core.high_water()
    }
}
