//! Traffic: the messages of the load, in the open model, the closed one, or on a connection each.

use super::Turn;
use crate::driver::ending::REST;
use crate::driver::sending::{PACE_REST, SEND_BATCH, is_open};
use crate::driver::{LoadDriver, Table};
use crate::load::Model;
use crate::load::bounds::CONNECTING_MAX;
use crate::load::schedule::Schedule;
use crate::protocol::Protocol;
use measure::Nanos;
use reactor::{Key, Network};

/// How long sending rests when every peer is slow; a peer that has made room makes an event anyway.
const BLOCKED_REST: Nanos = Nanos::from_millis(1);
/// Slots looked at to find a connection that can take a message that is due.
const SEND_SEARCH: usize = 256;

/// Where the next message can go.
enum Sendable {
    /// Here.
    Now(Key),
    /// Only gaps were found so far.
    LookOn,
    /// Nowhere, until a peer takes what waits for it.
    Blocked,
}

/// The round over the connections that messages go to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Where it goes on in the table.
    cursor: usize,
}

impl Round {
    /// The closed model's start: fills every connection.
    fn fill<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
        in_flight: u32,
    ) -> Nanos {
        for _ in 0..SEND_BATCH {
            if self.cursor >= core.high_water() {
                return driver.traffic.started + driver.load.duration;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) =
                key.filter(|key| !P::ENDS_AGREED || LoadDriver::is_ready(core, *key, 1))
            {
                driver.send(core, key, in_flight, None);
            }
        }
        Nanos::ZERO
    }

    /// The open model: sends all that is due. Returns when the next is.
    fn pace<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Nanos {
        if let Some(next) = self.send_owed(driver, core) {
            return next;
        }
        for _ in 0..SEND_BATCH {
            let Some(due) = driver.traffic.schedule.due() else { return Nanos::MAX };
            let due = driver.traffic.started + due;
            let now = core.now();
            if due > now {
                driver.traffic.is_held_up = false;
                return due.max(now + PACE_REST);
            }
            if driver.books.totals.open() == 0 && driver.connections.opening.count == 0 {
                // There is nothing to send on, and never will be.
                driver.traffic.schedule = Schedule::empty();
                return Nanos::MAX;
            }
            // What cannot be sent now stays due, and the time it waits shows as send lag.
            match self.next_sendable(driver, core) {
                Sendable::Now(key) => {
                    driver.traffic.schedule.advance();
                    driver.send(core, key, 1, Some(due));
                }
                Sendable::LookOn => return Nanos::ZERO,
                Sendable::Blocked => {
                    driver.books.totals.pace_blocked += 1;
                    driver.traffic.is_held_up = true;
                    return now + BLOCKED_REST;
                }
            }
        }
        Nanos::ZERO
    }

    /// The next connection in the round that can take a message.
    fn next_sendable<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Sendable {
        if core.unsent_room() < driver.protocol.message_bytes() {
            return Sendable::Blocked;
        }
        let mut blocked = false;
        for _ in 0..SEND_SEARCH.min(core.high_water()) {
            if self.cursor >= core.high_water() {
                self.cursor = 0;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            let Some(key) = key else { continue };
            if P::ENDS_AGREED && !LoadDriver::is_ready(core, key, driver.load.in_flight_max) {
                blocked = true;
                continue;
            }
            if P::HANDSHAKES && !core.session(key).is_some_and(|session| is_open(session)) {
                continue;
            }
            if !core.is_blocked(key) {
                return Sendable::Now(key);
            }
            blocked = true;
        }
        if blocked { Sendable::Blocked } else { Sendable::LookOn }
    }

    /// Sends once more what was taken back. Returns when to go on; `None`: nothing is left of it.
    fn send_owed<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Option<Nanos> {
        for _ in 0..SEND_BATCH {
            // Connections in the making take it as soon as they stand.
            if driver.traffic.owed.is_empty() || driver.connections.opening.count > 0 {
                return None;
            }
            if driver.books.totals.open() == 0 {
                driver.drop_owed();
                return None;
            }
            match self.next_sendable(driver, core) {
                Sendable::Now(key) => driver.send_again(core, key),
                Sendable::LookOn => break,
                Sendable::Blocked => {
                    driver.traffic.is_held_up = true;
                    return Some(core.now() + BLOCKED_REST);
                }
            }
        }
        Some(Nanos::ZERO)
    }

    /// A connection for each message: opens what is due, or as many as may be open at a time.
    /// Returns when to go on.
    fn churn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
        over: bool,
    ) -> Nanos {
        for _ in 0..SEND_BATCH {
            let now = core.now();
            let room = (core.connections() as u64) < driver.connections.share
                && driver.connections.opening.count < CONNECTING_MAX;
            if room && let Some(owed) = driver.traffic.owed.pop_front() {
                driver.open_for_one(core, None, Some(owed));
                continue;
            }
            let due = match driver.load.model {
                Model::Open(_) => match driver.traffic.schedule.due() {
                    Some(due) => Some(driver.traffic.started + due),
                    None => return Nanos::MAX,
                },
                Model::Idle | Model::Closed(_) if over => return Nanos::MAX,
                Model::Idle | Model::Closed(_) => None,
            };
            let from = due.unwrap_or(driver.traffic.rest_until);
            if from > now {
                driver.traffic.is_held_up = false;
                return from.max(now + PACE_REST);
            }
            if !room {
                // The end of one brings this back.
                driver.books.totals.pace_blocked += u64::from(due.is_some());
                driver.traffic.is_held_up = true;
                return Nanos::MAX;
            }
            if due.is_some() {
                driver.traffic.schedule.advance();
            }
            if !driver.open_for_one(core, due, None) {
                driver.traffic.rest_until = now + REST;
            }
        }
        Nanos::ZERO
    }

    pub(super) fn turn<N: Network, P: Protocol>(
        &mut self,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Turn {
        if driver.running.done {
            return Turn::Again(Nanos::MAX);
        }
        if core.turn_started() < driver.traffic.started {
            return Turn::Again(driver.traffic.started);
        }
        driver.send_next_round(core);
        let end = driver.traffic.started + driver.load.duration;
        let over = core.turn_started() >= end;
        if over {
            let time = core.turn_started() - driver.traffic.started;
            driver.books.effort.end_sending(time, &core.times);
        }
        let next = match driver.load.model {
            _ if driver.load.churn => self.churn(driver, core, over),
            Model::Open(_) => self.pace(driver, core),
            Model::Closed(in_flight) if !over => self.fill(driver, core, in_flight),
            Model::Closed(_) => self.send_owed(driver, core).unwrap_or(Nanos::MAX),
            Model::Idle => Nanos::MAX,
        };
        // A late generator may catch up for as long as replies are waited for anyway.
        let sent_all = driver.traffic.schedule.left() == 0;
        let give_up = end + driver.load.drain_timeout;
        let quiet = driver.books.totals.in_flight() == 0 && sent_all;
        if over && (quiet || core.turn_started() >= give_up) {
            return Turn::Done;
        }
        Turn::Again(next.min(if over { give_up } else { end }))
    }
}
