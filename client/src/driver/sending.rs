//! Sending on connections: messages, those that are sent once more, pings; and what is kept for
//! that ([`Traffic`]).

use super::{LoadDriver, Session, Table};
use crate::load::phases::Act;
use crate::load::schedule::Schedule;
use crate::load::{Load, Model};
use crate::protocol::{Owed, Protocol, State};
use measure::Nanos;
use reactor::{Key, Network};
use std::collections::VecDeque;

/// Messages sent before other work gets its turn.
pub(super) const SEND_BATCH: u64 = 256;
/// The least time between two wake-ups for messages that are due. A wake-up costs about as much as
/// a message; above 20,000 messages per second and reactor, several leave with one, at most this
/// late.
pub(super) const PACE_REST: Nanos = Nanos::from_micros(50);
/// The closed model: connections that are read from before their next messages leave, all together.
/// A server that is faster than its client sleeps after each message, and waking it costs the
/// sender more than the message; of messages that leave in a row only the first finds it asleep.
pub(super) const NEXT_ROUND: usize = 32;

/// What one reactor is to send, and sends.
#[derive(Debug)]
pub(super) struct Traffic {
    /// When it began; zero before.
    pub(super) started: Nanos,
    /// Messages of this reactor's part of the plan that are still to be sent.
    pub(super) schedule: Schedule,
    /// The closed model: connections that were answered, and how often. Each answer lets one
    /// message leave; see [`NEXT_ROUND`].
    pub(super) next_round: Vec<(Key, u32)>,
    /// Messages that are to be sent once more: their connection came to its end before they were
    /// answered. Never more than connections may have on their way.
    pub(super) owed: VecDeque<Owed>,
    /// Connections that have taken the places of others since the round of first echoes looked
    /// last.
    pub(super) newcomers: VecDeque<Key>,
    /// Messages are late because peers took none, and what they held up is not caught up with yet.
    pub(super) is_held_up: bool,
    /// With a connection for each message: until when opening rests.
    pub(super) rest_until: Nanos,
    pub(super) pings: Pings,
}

impl Traffic {
    /// None yet, with this to be sent.
    pub(super) fn new(schedule: Schedule) -> Self {
        Self {
            started: Nanos::ZERO,
            schedule,
            next_round: Vec::new(),
            owed: VecDeque::new(),
            newcomers: VecDeque::new(),
            is_held_up: false,
            rest_until: Nanos::ZERO,
            pings: Pings::default(),
        }
    }

    /// What is still to be sent, if peers hold it up.
    #[inline]
    pub(super) fn held_up(&self) -> Option<&Schedule> {
        self.is_held_up.then_some(&self.schedule)
    }
}

/// The round of pings over the table.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// They are sent.
    pub(super) on: bool,
    /// When the next one is due; zero before the first.
    due: Nanos,
    cursor: usize,
}

impl<P: Protocol> LoadDriver<P> {
    /// The traffic begins, at this time.
    pub(super) fn begin_traffic<N: Network>(&mut self, core: &mut Table<N, P>, at: Nanos) {
        let Load { model, duration, .. } = *self.load;
        self.traffic.started = at;
        self.traffic.schedule = self.load.schedule(self.index as u64);
        core.times.clear();
        self.books.begin_traffic(at, duration, matches!(model, Model::Open(_)));
    }

    /// It has come to its end, planned or not.
    pub(super) fn end_traffic<N: Network>(&mut self, core: &Table<N, P>) {
        let (now, started) = (core.now(), self.traffic.started);
        self.books.end_traffic(now, started, &core.times, self.traffic.held_up());
    }

    /// Whether nothing was said on a connection yet, nor on one whose place it has taken.
    pub(super) fn is_fresh<N: Network>(core: &mut Table<N, P>, key: Key) -> bool {
        let silent = |session: &mut Session<P>| {
            P::received(&session.spoken) == 0 && P::in_flight(&session.spoken) == 0
        };
        !P::ENDS_AGREED || !core.is_connecting(key) && core.session(key).is_some_and(silent)
    }

    /// Sends a message once more whose connection came to its end before it was answered.
    pub(super) fn send_again<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let now = core.now();
        let Some(session) = core.session(key) else { return };
        let Some(owed) = self.traffic.owed.pop_front() else { return };
        if P::in_flight(&session.spoken) == 0 {
            session.since = now;
        }
        self.books.totals.resent += 1;
        self.books.last_sent_at = now;
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
            match self.running.act {
                Act::FirstEcho => self.books.totals.first_sent += u64::from(part),
                _ => {
                    self.books.sending(now, self.traffic.held_up());
                    self.books.totals.sent += u64::from(part);
                    self.books.last_sent_at = now;
                    if due.is_some() {
                        self.note_lag(now - intended, now, part);
                    }
                }
            }
            let bytes = self.protocol.compose(&mut session.spoken, part as usize, intended, now);
            if let Err(failure) = core.send(key, bytes) {
                return self.unsendable(core, key, failure);
            }
        }
    }

    /// Messages of the open model leave at `now` that were meant to do so `lag` before.
    #[inline]
    pub(super) fn note_lag(&mut self, lag: Nanos, now: Nanos, messages: u32) {
        self.books.send_lag(lag, self.traffic.is_held_up);
        self.books.sends.count(now - self.traffic.started, messages);
    }

    /// The closed model: the next messages of all that were answered.
    pub(super) fn send_next_round<N: Network>(&mut self, core: &mut Table<N, P>) {
        let mut round = std::mem::take(&mut self.traffic.next_round);
        for (key, mut count) in round.drain(..) {
            while P::ENDS_AGREED && count > 0 && !self.traffic.owed.is_empty() {
                self.send_again(core, key);
                count -= 1;
            }
            self.send(core, key, count, None);
        }
        // None is added by sending.
        self.traffic.next_round = round;
    }

    /// Whether a connection stands and has fewer than `in_flight` messages on their way.
    pub(super) fn is_ready<N: Network>(core: &mut Table<N, P>, key: Key, in_flight: u32) -> bool {
        let room = |session: &mut Session<P>| P::in_flight(&session.spoken) < in_flight;
        !core.is_connecting(key) && core.session(key).is_some_and(room)
    }

    /// Pings what is due: all connections once in each interval, evenly spread over it, from the
    /// end of the ramp until the drain. Returns when the next is due.
    pub(super) fn send_pings<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        let Some(interval) = self.load.ping else { return Nanos::MAX };
        if !self.traffic.pings.on || core.high_water() == 0 {
            return Nanos::MAX;
        }
        let gap = Nanos((interval.0 / core.high_water() as u64).max(1));
        if self.traffic.pings.due == Nanos::ZERO {
            self.traffic.pings.due = core.turn_started() + gap;
        }
        for _ in 0..SEND_BATCH {
            let now = core.now();
            if self.traffic.pings.due > now {
                return self.traffic.pings.due.max(now + PACE_REST);
            }
            self.traffic.pings.due += gap;
            let key = core.key_at(self.traffic.pings.cursor % core.high_water());
            self.traffic.pings.cursor = (self.traffic.pings.cursor + 1) % core.high_water();
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
    P::state(&session.spoken) == State::Open
}
