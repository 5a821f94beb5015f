//! Traffic: the round of first echoes, the open and the closed model, pings.

use super::close::REST;
use super::{LoadDriver, Session, Table};
use crate::load::Model;
use crate::load::bounds::{CONNECTING_MAX, first_echo_window};
use crate::load::schedule::Schedule;
use crate::orders::Step;
use crate::protocol::{Phase, Protocol};
use measure::{Nanos, Stage};
use reactor::{Key, Network};

/// How long sending rests when every peer is slow; a peer that has made room makes an event anyway.
const BLOCKED_REST: Nanos = Nanos::from_millis(1);
/// Messages sent before other work gets its turn.
const SEND_BATCH: u64 = 256;
/// The least time between two wake-ups for messages that are due. A wake-up costs about as much as a
/// message; above 20,000 messages per second and reactor, several leave with one, at most this late.
const PACE_REST: Nanos = Nanos::from_micros(50);
/// The closed model: connections that are read from before their next messages leave, all together.
/// A server that is faster than its client sleeps after each message, and waking it costs the sender
/// more than the message; of messages that leave in a row only the first finds it asleep.
pub(super) const NEXT_ROUND: usize = 32;
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

/// The round of pings over the table.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// When the next one is due; zero before the first.
    due: Nanos,
    cursor: usize,
}

impl<P: Protocol> LoadDriver<P> {
    /// Sends the first message over the next connections, some at a time.
    pub(super) fn first_echo<N: Network>(&mut self, core: &mut Table<N, P>) {
        let window = first_echo_window(self.protocol.message_bytes());
        while self.totals.in_flight() < window && self.cursor < core.high_water() {
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key.filter(|key| Self::is_fresh(core, *key)) {
                self.send(core, key, 1, None);
            }
        }
        let opening = P::RENEWS && self.opening.count > 0;
        if self.cursor >= core.high_water() && self.totals.in_flight() == 0 && !opening {
            self.finish_step(core);
        }
    }

    /// A connection stands that has taken another one's place in the round of first echoes: what that
    /// one owes is sent here, and so is its own first message, if the round has passed.
    pub(super) fn join_first_echo<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        if !self.again.is_empty() {
            self.send_again(core, key);
        } else if key.index() < self.cursor && Self::is_fresh(core, key) {
            self.send(core, key, 1, None);
        }
    }

    /// Whether nothing was said on a connection yet, nor on one whose place it has taken.
    fn is_fresh<N: Network>(core: &mut Table<N, P>, key: Key) -> bool {
        let silent = |session: &mut Session<P>| {
            P::received(&session.spoken) == 0 && P::in_flight(&session.spoken) == 0
        };
        !P::RENEWS || !core.is_connecting(key) && core.session(key).is_some_and(silent)
    }

    /// Sends a message once more whose connection came to its end before it was answered.
    pub(super) fn send_again<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let now = core.now();
        let Some(session) = core.session(key) else { return };
        let Some(owed) = self.again.pop_front() else { return };
        if P::in_flight(&session.spoken) == 0 {
            session.since = now;
        }
        self.totals.resent += 1;
        self.last_sent_at = now;
        let bytes = self.protocol.compose_owed(&mut session.spoken, owed, now);
        if let Err(failure) = core.send(key, bytes) {
            self.unsendable(core, key, failure);
        }
    }

    /// Sends messages on one connection, and counts them. They were due at `due`, or are when they
    /// are sent. If the connection breaks, they count as sent all the same: its end finds them
    /// unanswered.
    pub(super) fn send<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        count: u32,
        due: Option<Nanos>,
    ) {
        let mut left = count;
        while left > 0 {
            let now = core.now();
            let intended = due.unwrap_or(now);
            let Some(session) = core.session(key).filter(|session| is_open(session)) else {
                return;
            };
            if P::in_flight(&session.spoken) == 0 {
                session.since = now;
            }
            let part = left.min(self.protocol.batch_max() as u32);
            left -= part;
            match self.step {
                Step::FirstEcho => self.totals.first_sent += u64::from(part),
                _ => {
                    self.backlog.look(now, &self.totals, self.held_up.then_some(&self.schedule));
                    self.backlog.sent(now);
                    self.totals.sent += u64::from(part);
                    self.last_sent_at = now;
                    if due.is_some() {
                        self.note_lag(now - intended);
                        self.sends.count(now - self.drive_started, part);
                    }
                }
            }
            let bytes = self.protocol.compose(&mut session.spoken, part as usize, intended, now);
            if let Err(failure) = core.send(key, bytes) {
                return self.unsendable(core, key, failure);
            }
        }
    }

    /// A message leaves that was meant to do so this long ago.
    #[inline]
    pub(super) fn note_lag(&mut self, lag: Nanos) {
        self.recorder.record(Stage::SendLag, lag);
        self.send_lag.record(lag.0);
        self.own_lag.record(if self.held_up { 0 } else { lag.0 });
    }

    /// The closed model's start: fills every connection.
    fn fill<N: Network>(&mut self, core: &mut Table<N, P>, in_flight: u32) -> Nanos {
        for _ in 0..SEND_BATCH {
            if self.cursor >= core.high_water() {
                return self.drive_started + self.load.duration;
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key.filter(|key| !P::RENEWS || Self::is_ready(core, *key, 1)) {
                self.send(core, key, in_flight, None);
            }
        }
        Nanos::ZERO
    }

    /// The closed model: the next messages of all that were answered.
    pub(super) fn send_next_round<N: Network>(&mut self, core: &mut Table<N, P>) {
        let mut round = std::mem::take(&mut self.next_round);
        for (key, mut count) in round.drain(..) {
            while P::RENEWS && count > 0 && !self.again.is_empty() {
                self.send_again(core, key);
                count -= 1;
            }
            self.send(core, key, count, None);
        }
        // None is added by sending.
        self.next_round = round;
    }

    /// The open model: sends all that is due. Returns when the next is.
    fn pace<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        if let Some(next) = self.send_owed(core) {
            return next;
        }
        for _ in 0..SEND_BATCH {
            let Some(due) = self.schedule.due() else { return Nanos::MAX };
            let due = self.drive_started + due;
            let now = core.now();
            if due > now {
                self.held_up = false;
                return due.max(now + PACE_REST);
            }
            if self.totals.open() == 0 && self.opening.count == 0 {
                // There is nothing to send on, and never will be.
                self.schedule = Schedule::empty();
                return Nanos::MAX;
            }
            // What cannot be sent now stays due, and the time it waits shows as send lag.
            match self.next_sendable(core) {
                Sendable::Now(key) => {
                    self.schedule.advance();
                    self.send(core, key, 1, Some(due));
                }
                Sendable::LookOn => return Nanos::ZERO,
                Sendable::Blocked => {
                    self.totals.pace_blocked += 1;
                    self.held_up = true;
                    return now + BLOCKED_REST;
                }
            }
        }
        Nanos::ZERO
    }

    /// The next connection in the round that can take a message.
    fn next_sendable<N: Network>(&mut self, core: &mut Table<N, P>) -> Sendable {
        if core.unsent_room() < self.protocol.message_bytes() {
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
            if P::RENEWS && !Self::is_ready(core, key, self.load.in_flight_max) {
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
    fn send_owed<N: Network>(&mut self, core: &mut Table<N, P>) -> Option<Nanos> {
        for _ in 0..SEND_BATCH {
            // Connections in the making take it as soon as they stand.
            if self.again.is_empty() || self.opening.count > 0 {
                return None;
            }
            if self.totals.open() == 0 {
                self.drop_owed();
                return None;
            }
            match self.next_sendable(core) {
                Sendable::Now(key) => self.send_again(core, key),
                Sendable::LookOn => break,
                Sendable::Blocked => {
                    self.held_up = true;
                    return Some(core.now() + BLOCKED_REST);
                }
            }
        }
        Some(Nanos::ZERO)
    }

    /// Whether a connection stands and has fewer than `in_flight` messages on their way.
    fn is_ready<N: Network>(core: &mut Table<N, P>, key: Key, in_flight: u32) -> bool {
        let room = |session: &mut Session<P>| P::in_flight(&session.spoken) < in_flight;
        !core.is_connecting(key) && core.session(key).is_some_and(room)
    }

    /// A connection for each message: opens what is due, or as many as may be open at a time. Returns
    /// when to go on.
    fn churn<N: Network>(&mut self, core: &mut Table<N, P>, over: bool) -> Nanos {
        for _ in 0..SEND_BATCH {
            let now = core.now();
            let room =
                (core.connections() as u64) < self.share && self.opening.count < CONNECTING_MAX;
            if room && let Some(owed) = self.again.pop_front() {
                self.open_for_one(core, None, Some(owed));
                continue;
            }
            let due = match self.load.model {
                Model::Open(_) => match self.schedule.due() {
                    Some(due) => Some(self.drive_started + due),
                    None => return Nanos::MAX,
                },
                Model::Idle | Model::Closed(_) if over => return Nanos::MAX,
                Model::Idle | Model::Closed(_) => None,
            };
            let from = due.unwrap_or(self.rest_until);
            if from > now {
                self.held_up = false;
                return from.max(now + PACE_REST);
            }
            if !room {
                // The end of one brings this back.
                self.totals.pace_blocked += u64::from(due.is_some());
                self.held_up = true;
                return Nanos::MAX;
            }
            if due.is_some() {
                self.schedule.advance();
            }
            if !self.open_for_one(core, due, None) {
                self.rest_until = now + REST;
            }
        }
        Nanos::ZERO
    }

    pub(super) fn drive<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        if self.done >= Step::Drive {
            return Nanos::MAX;
        }
        if core.turn_started() < self.drive_started {
            return self.drive_started;
        }
        self.send_next_round(core);
        let end = self.drive_started + self.load.duration;
        let over = core.turn_started() >= end;
        if over {
            let time = core.turn_started() - self.drive_started;
            self.effort.end_sending(time, &core.times);
        }
        let next = match self.load.model {
            _ if self.load.churn => self.churn(core, over),
            Model::Open(_) => self.pace(core),
            Model::Closed(in_flight) if !over => self.fill(core, in_flight),
            Model::Closed(_) => self.send_owed(core).unwrap_or(Nanos::MAX),
            Model::Idle => Nanos::MAX,
        };
        // A late generator may catch up for as long as replies are waited for anyway.
        let sent_all = self.schedule.left() == 0;
        let give_up = end + self.load.drain_timeout;
        let quiet = self.totals.in_flight() == 0 && sent_all;
        if over && (quiet || core.turn_started() >= give_up) {
            self.finish_step(core);
            return Nanos::MAX;
        }
        next.min(if over { give_up } else { end })
    }

    /// Pings what is due: all connections once in each interval, evenly spread over it, from the end of
    /// the ramp until the drain. Returns when the next is due.
    pub(super) fn send_pings<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        let Some(interval) = self.load.ping else { return Nanos::MAX };
        if self.done < Step::Ramp || self.step >= Step::Drain || core.high_water() == 0 {
            return Nanos::MAX;
        }
        let gap = Nanos((interval.0 / core.high_water() as u64).max(1));
        if self.pings.due == Nanos::ZERO {
            self.pings.due = core.turn_started() + gap;
        }
        for _ in 0..SEND_BATCH {
            let now = core.now();
            if self.pings.due > now {
                return self.pings.due.max(now + PACE_REST);
            }
            self.pings.due += gap;
            let key = core.key_at(self.pings.cursor % core.high_water());
            self.pings.cursor = (self.pings.cursor + 1) % core.high_water();
            if let Some(key) = key {
                self.ping(core, key, now);
            }
        }
        Nanos::ZERO
    }

    /// Pings one connection, unless its last ping is still unanswered or its peer takes nothing.
    fn ping<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, now: Nanos) {
        if core.is_blocked(key) {
            return;
        }
        let idle =
            |session: &&mut Session<P>| is_open(session) && P::asked(&session.spoken).is_none();
        let Some(session) = core.session(key).filter(idle) else { return };
        let bytes = self.protocol.ping(&mut session.spoken, now);
        if let Err(failure) = core.send(key, bytes) {
            self.lose(core, key, failure);
        }
    }
}

/// Whether messages may be sent on it.
#[inline]
pub(super) fn is_open<P: Protocol>(session: &Session<P>) -> bool {
    P::phase(&session.spoken) == Phase::Open
}
