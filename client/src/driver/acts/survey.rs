//! The audit's survey, before the traffic and behind it: has receipts stamped, and asks what TCP
//! knows of the audited connections.

use super::Turn;
use crate::books::audited::Audited;
use crate::driver::{LoadDriver, Table};
use crate::load::phases::Edge;
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::{Key, Network};

/// Slots looked at before other work gets its turn.
const LOOK_BATCH: usize = 4096;
/// Connections asked before other work gets its turn: two system calls each.
const ASK_BATCH: usize = 128;

/// A survey under way.
#[derive(Debug)]
pub(crate) struct Survey {
    edge: Edge,
    /// Where it goes on in the table.
    cursor: usize,
}

impl Survey {
    /// It begins: connections that open from now on are stamped as they do.
    pub(super) fn new<P: Protocol>(edge: Edge, driver: &mut LoadDriver<P>) -> Self {
        if let Some(audited) = &mut driver.books.audited {
            let look = match edge {
                Edge::Before => &mut audited.start,
                Edge::Behind => &mut audited.end,
            };
            // That there was nobody to ask is known, too.
            look.get_or_insert_default();
            driver.connections.stamping = true;
        }
        Self { edge, cursor: 0 }
    }

    pub(super) fn turn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        let mut left = ASK_BATCH;
        for _ in 0..LOOK_BATCH {
            if left == 0 {
                return Turn::Again(Nanos::ZERO);
            }
            if self.cursor >= core.high_water() {
                return Turn::Done;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            // Who is still connecting is stamped when that has succeeded.
            let audited = |key: &Key| core.is_audited(*key) && !core.is_connecting(*key);
            if let Some(key) = key.filter(audited) {
                left -= 1;
                self.ask(driver, core, key);
            }
        }
        Turn::Again(Nanos::ZERO)
    }

    fn ask<N: Network, P: Protocol>(
        &self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
        key: Key,
    ) {
        let Some(audited) = &mut driver.books.audited else { return };
        let Audited { connections, start, end, .. } = &mut **audited;
        let look = match self.edge {
            Edge::Before => {
                // One that was opened since the audit began is counted already.
                if !core.is_stamped(key) {
                    core.stamp(key);
                    *connections += 1;
                }
                start
            }
            Edge::Behind => end,
        };
        let look = look.get_or_insert_default();
        if let Some(health) = core.health(key) {
            look.add(health);
        }
    }
}
