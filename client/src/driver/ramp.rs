//! Opening connections: one after the other by the first four-tuple that nobody has, so many under way
//! at once, given up in time.

use super::{LoadDriver, Session, Table};
use crate::load::pace::Pace;
use crate::protocol::{Phase, Protocol};
use host::socket::ConnectStep;
use measure::{Failure, Nanos, Stage};
use reactor::{Key, Network, Opened};
use std::collections::VecDeque;
use std::io::ErrorKind;

/// Connects started before other work gets its turn.
const OPEN_BATCH: u64 = 16;
/// Connections in the making at the same time, per reactor. On loopback none waits; towards a far
/// target it is what is on the way, and the accept queue there has to take it.
pub(crate) const CONNECTING_MAX: usize = 256;
/// Upgrades under way at the same time where the target answers them quickly: enough to keep it busy.
/// With more, the times of upgrades would be those of a queue that we made ourselves.
const UPGRADING_NEAR: usize = 32;
/// When the oldest of them has waited for longer, the target is far away (or slow), and as many may be
/// under way as connects.
const FAR: Nanos = Nanos::from_millis(5);

/// Connections in the making.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Oldest first, and when they are given up. Some may be usable or gone by now.
    queue: VecDeque<(Key, Nanos)>,
    /// How many of them are neither.
    pub(super) count: usize,
    /// Those of them that wait for the reply to their request.
    pub(super) upgrading: usize,
}

impl<P: Protocol> LoadDriver<P> {
    /// Opens what is due. Returns when to go on.
    pub(super) fn ramp<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        self.give_up_opening(core);
        for _ in 0..OPEN_BATCH {
            if self.tried == self.share || core.turn_started() < self.opening_room_at() {
                break;
            }
            if let Some(rate) = self.load.connect_rate {
                let due = self.ramp_started + Pace::new(rate).due_at(self.places.of(self.tried));
                if due > core.now() {
                    return due.min(self.opening_deadline());
                }
            }
            self.open_next(core);
        }
        if self.tried == self.share {
            if self.opening.count == 0 {
                self.finish_step(core);
            }
            return self.opening_deadline();
        }
        let room_at = self.opening_room_at();
        if room_at <= core.turn_started() {
            Nanos::ZERO
        } else {
            room_at.min(self.opening_deadline())
        }
    }

    /// From when on one more may be opened, if none that is under way comes to its end before.
    fn opening_room_at(&self) -> Nanos {
        if self.opening.count >= CONNECTING_MAX {
            return Nanos::MAX;
        }
        if self.opening.upgrading < UPGRADING_NEAR {
            return Nanos::ZERO;
        }
        self.opening_deadline() - self.load.connect_timeout + FAR
    }

    /// Opens one connection, by the first four-tuple that nobody else has.
    fn open_next<N: Network>(&mut self, core: &mut Table<N, P>) {
        // Connection numbers interleave like four-tuples: reactor r has r, r + k, r + 2k …
        let number = self.index as u64 + self.tried * self.load.reactors;
        self.tried += 1;
        loop {
            let Some(route) = self.hand_out.next(&self.load.tuples) else {
                return self.failed(Failure::NoPorts);
            };
            let since = core.now();
            let spoken = self.protocol.session(number as u32, route.target);
            match core.open(&route, Session { spoken, since }) {
                Ok(Opened::AtOnce(key)) => return self.connected(core, key),
                Ok(Opened::Waiting(key)) => return self.note_opening(core, key, since),
                Err(error) => {
                    let kind = error.error.kind();
                    let taken = matches!(kind, ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
                        && error.step != ConnectStep::Socket;
                    if !taken {
                        return self.failed(Failure::from_io(&error.error));
                    }
                    self.totals.tuples_skipped += 1;
                }
            }
        }
    }

    fn note_opening<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, since: Nanos) {
        self.opening.count += 1;
        if self.opening.queue.len() >= 4 * CONNECTING_MAX {
            // One that is slow must not keep those behind it that have ended.
            self.opening.queue.retain(|(key, _)| is_opening(core, *key));
        }
        self.opening.queue.push_back((key, since + self.load.connect_timeout));
    }

    /// A connection is established: usable as it is, or to be upgraded.
    pub(super) fn connected<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let now = core.now();
        let Some(session) = core.session(key) else { return };
        let since = session.since;
        self.recorder.record(Stage::Connect, now - since);
        if !P::HANDSHAKES {
            return self.usable(core);
        }
        let request = self.protocol.greet(&mut session.spoken, now);
        if let Err(failure) = core.send(key, request) {
            self.reset(core, key);
            return self.failed(failure);
        }
        self.note_opening(core, key, since);
        self.opening.upgrading += 1;
    }

    /// The reply to the request that left at `asked` has come and is right.
    pub(super) fn upgraded<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        asked: Nanos,
        now: Nanos,
    ) {
        self.opening.count -= 1;
        self.opening.upgrading -= 1;
        let Some(session) = core.session(key) else { return };
        let since = session.since;
        self.recorder.record(Stage::Upgrade, now - asked);
        self.recorder.record(Stage::Handshake, now - since);
        self.usable(core);
    }

    fn usable<N: Network>(&mut self, core: &Table<N, P>) {
        self.totals.opened += 1;
        let open = core.connections() - self.opening.count - self.leaving.here();
        self.open_peak = self.open_peak.max(open as u64);
    }

    /// A connection could not be opened.
    pub(super) fn failed(&mut self, kind: Failure) {
        self.totals.failed += 1;
        self.totals.fail(kind);
    }

    /// When the oldest of those in the making is given up.
    fn opening_deadline(&self) -> Nanos {
        self.opening.queue.front().map_or(Nanos::MAX, |(_, deadline)| *deadline)
    }

    /// Drops what is still in the making, since the run is cut short: neither opened nor failed.
    pub(super) fn abandon_opening<N: Network>(&mut self, core: &mut Table<N, P>) {
        for (key, _) in std::mem::take(&mut self.opening.queue) {
            self.drop_opening(core, key);
        }
    }

    fn give_up_opening<N: Network>(&mut self, core: &mut Table<N, P>) {
        while let Some(&(key, deadline)) = self.opening.queue.front() {
            if is_opening(core, key) {
                if deadline > core.turn_started() {
                    return;
                }
                self.drop_opening(core, key);
                self.failed(Failure::TimedOut);
            }
            self.opening.queue.pop_front();
        }
    }

    /// Ends one that is in the making, if it still is.
    fn drop_opening<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        if is_opening(core, key) {
            self.opening.count -= 1;
            self.opening.upgrading -= usize::from(!core.is_connecting(key));
            self.reset(core, key);
        }
    }
}

/// Whether a connection is in the making.
fn is_opening<N: Network, P: Protocol>(core: &mut Table<N, P>, key: Key) -> bool {
    let shakes = |session: &mut Session<P>| P::phase(&session.spoken) == Phase::Opening;
    core.is_connecting(key) || (P::HANDSHAKES && core.session(key).is_some_and(shakes))
}
