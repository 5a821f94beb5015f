//! A phase of a test's own: a part of the connections is reset at once. It is an arm of `Act`, one
//! of `Acting`, and what is here.

use super::acts::Turn;
use super::{LoadDriver, Table};
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::Network;

/// Slots looked at before other work gets its turn.
const DROP_BATCH: usize = 16;

/// Dropping under way.
#[derive(Debug)]
pub(super) struct Dropping {
    each: usize,
    /// Where it goes on in the table.
    cursor: usize,
}

impl Dropping {
    pub(super) fn new(each: usize) -> Self {
        Self { each, cursor: 0 }
    }

    pub(super) fn turn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        for _ in 0..DROP_BATCH {
            if self.cursor >= core.high_water() {
                return Turn::Done;
            }
            let key = core.key_at(self.cursor).filter(|_| self.cursor.is_multiple_of(self.each));
            self.cursor += 1;
            if let Some(mut session) = key.and_then(|key| core.reset(key)) {
                driver.forgo_replies(&mut session);
                // That is no loss: it was meant.
                driver.books.totals.ended += 1;
            }
        }
        Turn::Again(Nanos::ZERO)
    }
}
