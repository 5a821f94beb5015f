//! Opening what is missing of the reactor's share, one connection after the other.

use super::Turn;
use crate::driver::{LoadDriver, Table};
use crate::load::pace::Pace;
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::Network;

/// Connects started before other work gets its turn.
const OPEN_BATCH: u64 = 16;

/// Opening under way.
#[derive(Debug)]
pub(crate) struct Open {
    /// When it began, at all reactors.
    started: Nanos,
    /// Connections that are to be tried, and that have been.
    planned: u64,
    tried: u64,
}

impl Open {
    pub(super) fn new<N: Network, P: Protocol>(
        started: Nanos,
        driver: &LoadDriver<P>,
        core: &Table<N, P>,
    ) -> Self {
        let missing = driver.connections.share.saturating_sub(core.connections() as u64);
        // With churn they are opened when there is something to say on them.
        Self { started, planned: if driver.load.churn { 0 } else { missing }, tried: 0 }
    }

    pub(super) fn turn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        for _ in 0..OPEN_BATCH {
            if self.tried == self.planned || core.turn_started() < driver.opening_room_at(core) {
                break;
            }
            if let Some(rate) = driver.load.connect_rate {
                let due =
                    self.started + Pace::new(rate).due_at(driver.connections.places.of(self.tried));
                if due > core.now() {
                    return Turn::Again(due);
                }
            }
            self.tried += 1;
            driver.open_next(core);
        }
        if self.tried == self.planned {
            return if driver.connections.opening.count == 0 {
                Turn::Done
            } else {
                Turn::Again(Nanos::MAX)
            };
        }
        let room_at = driver.opening_room_at(core);
        Turn::Again(if room_at <= core.turn_started() { Nanos::ZERO } else { room_at })
    }
}
