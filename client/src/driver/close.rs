//! How connections come to their end: lost by themselves, given up, or taken leave of.

use super::drive::is_open;
use super::{LoadDriver, Session, Table};
use crate::protocol::{End, Phase, Protocol};
use crate::tally::Step;
use measure::{Failure, Nanos};
use reactor::{Ending, Key, Network, Receipt};
use std::collections::VecDeque;

/// Connections closed before other work gets its turn.
const CLOSE_BATCH: usize = 1024;
/// How long opening rests behind a failure where each message has a connection of its own, in the closed
/// model: trying at once would only be a loop around a refusal.
pub(super) const REST: Nanos = Nanos::from_millis(10);
/// Connections of one reactor that wait for their peer's leave at the same time.
const FAREWELL_WINDOW: usize = 64;
/// So many peers in a row that never answered it: then the others are not waited for. A million of
/// them, some at a time, would take hours.
const FAREWELLS_IN_VAIN: u32 = 64;

/// Connections on which our last word was said.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Oldest first, and until when the peer may close. Some may be gone by now.
    queue: VecDeque<(Key, Nanos)>,
    /// How many are still there.
    count: usize,
    /// How many of those have not heard their peer's leave.
    awaited: usize,
    /// Peers in a row that never answered.
    in_vain: u32,
}

impl Leaving {
    /// How many are still in the table.
    pub(super) fn here(&self) -> usize {
        self.count
    }

    /// The peer has taken leave as well. It closes the connection (RFC 6455 7.1.1).
    pub(super) fn answered(&mut self) {
        self.awaited -= 1;
        self.in_vain = 0;
    }
}

impl<P: Protocol> LoadDriver<P> {
    /// A connection has come to its end by what was read on it. `told`: if there was anything to say to
    /// that, it is on its way.
    pub(super) fn end<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        end: End,
        told: bool,
    ) {
        let Some(phase) = core.session(key).map(|session| P::phase(&session.spoken)) else {
            return;
        };
        let peer_leaves = matches!(end, End::Closed);
        let kind = match end {
            End::Agreed => {
                if let Some(session) = core.reset(key) {
                    self.renew(core, session);
                }
                return;
            }
            End::Closed => Failure::Closed,
            End::NoMemory => Failure::NoMemory,
            End::Mismatch(mismatch) => {
                self.totals.mismatched += 1;
                self.causes.violated(&mismatch.to_string());
                Failure::Protocol
            }
            End::Violation(rule) => {
                self.causes.violated(&rule);
                Failure::Protocol
            }
            End::Status(status, meaning) => {
                self.causes.answered_with(status, 1);
                self.causes.violated(&meaning);
                Failure::Protocol
            }
            End::NoLeave(rule) => {
                self.leaving.awaited -= 1;
                self.leaving.count -= 1;
                if let Some(rule) = rule {
                    self.causes.violated(&rule);
                    self.lose(core, key, Failure::Protocol);
                } else {
                    // The run had let it go already.
                    self.reset(core, key);
                }
                return;
            }
        };
        match phase {
            Phase::Opening => {
                self.opening.count -= 1;
                self.opening.upgrading -= 1;
                self.reset(core, key);
                self.failed(kind);
            }
            Phase::Left if told => {
                if let Some(session) = core.session(key) {
                    self.count_lost(session, kind);
                }
                // What we had to say to that is to arrive: the peer reads it, and then the end, unless it
                // took leave by itself: then TCP is its to close.
                if !peer_leaves {
                    core.finish(key);
                }
                self.note_leaving(core.now(), key);
            }
            _ => self.lose(core, key, kind),
        }
    }

    /// A connection has ended by itself.
    pub(super) fn ended<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        mut session: Session<P>,
        ending: Ending,
    ) {
        let kind = match ending {
            Ending::NotOpened(kind) => {
                self.opening.count -= 1;
                self.protocol.forget(&mut session.spoken);
                self.totals.unanswered += u64::from(P::in_flight(&session.spoken));
                self.rest_until = core.turn_started() + REST;
                return self.failed(kind);
            }
            Ending::Closed if P::RENEWS => match self.peer_closed(core, &mut session) {
                Some(kind) => kind,
                None => return self.renew(core, session),
            },
            Ending::Closed => Failure::Closed,
            Ending::Broken(kind) => kind,
        };
        self.protocol.forget(&mut session.spoken);
        match P::phase(&session.spoken) {
            Phase::Opening => {
                self.opening.count -= 1;
                self.opening.upgrading -= 1;
                self.failed(kind);
            }
            Phase::Open => self.count_lost(&mut session, kind),
            Phase::Leaving => {
                self.leaving.awaited -= 1;
                self.leaving.count -= 1;
            }
            Phase::Left => self.leaving.count -= 1,
        }
    }

    /// The peer has closed. `None`: as agreed, which may have completed a reply; else what it was.
    fn peer_closed<N: Network>(
        &mut self,
        core: &Table<N, P>,
        session: &mut Session<P>,
    ) -> Option<Failure> {
        let now = core.now();
        // The end of a connection has no stamp, so a reply that ends with it has none either.
        let audited = self.auditing && core.closed_audited();
        let receipt = if audited { Receipt::Missing } else { Receipt::NotAudited };
        self.backlog.look(now, &self.totals);
        let (protocol, mut books) = self.books(now, receipt);
        let heard = protocol.peer_closed(&mut session.spoken, now, |times, content| {
            books.reply(times, content);
        });
        books.settle();
        if heard.replies > 0 {
            self.last_reply_at = now;
            self.backlog.answered(now, self.totals.in_flight());
        }
        match heard.end {
            Some(End::Agreed) => None,
            Some(End::Violation(rule)) => {
                self.causes.violated(&rule);
                Some(Failure::Protocol)
            }
            _ => Some(Failure::Closed),
        }
    }

    /// A connection has come to its agreed end: another one takes its place, and what it can answer no
    /// more is sent there, or on any other.
    fn renew<N: Network>(&mut self, core: &mut Table<N, P>, mut session: Session<P>) {
        self.totals.ended += 1;
        let audited = core.closed_audited();
        while let Some(intended) = self.protocol.take_back(&mut session.spoken) {
            self.again.push_back(intended);
        }
        self.protocol.forget(&mut session.spoken);
        if self.step >= Step::Drain {
            self.totals.unanswered += std::mem::take(&mut self.again).len() as u64;
            return;
        }
        if !self.load.churn {
            self.replace(core, &session.spoken, audited);
        }
    }

    /// Gives up a connection that was open.
    pub(super) fn lose<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, kind: Failure) {
        if let Some(mut session) = self.reset(core, key) {
            self.count_lost(&mut session, kind);
        }
    }

    /// Ends a connection at once, and returns what was kept for it.
    pub(super) fn reset<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
    ) -> Option<Session<P>> {
        let mut session = core.reset(key)?;
        self.protocol.forget(&mut session.spoken);
        Some(session)
    }

    fn count_lost(&mut self, session: &mut Session<P>, kind: Failure) {
        self.protocol.forget(&mut session.spoken);
        let unanswered = u64::from(P::in_flight(&session.spoken));
        self.totals.unanswered += unanswered;
        let first = self.load.first_echo && P::received(&session.spoken) == 0;
        self.totals.first_unanswered += u64::from(first).min(unanswered);
        // What happens while everything is being closed is no loss.
        if self.step < Step::Close {
            self.totals.lost += 1;
            self.totals.fail(kind);
        }
    }

    /// Gives up connections whose replies, or pongs, take too long. Returns when to look again.
    pub(super) fn give_up_waiting<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        if self.totals.in_flight() == 0 && self.load.ping.is_none() {
            return Nanos::MAX;
        }
        let (now, limit) = (core.turn_started(), self.load.reply_timeout);
        for index in self.sweep.step(now, core.high_water()).into_iter().flatten() {
            let Some(key) = core.key_at(index) else { continue };
            if P::RENEWS && core.is_connecting(key) {
                // That has a limit of its own.
                continue;
            }
            let Some(session) = core.session(key).filter(|session| is_open(session)) else {
                continue;
            };
            let waits = P::in_flight(&session.spoken) > 0 && now - session.since > limit;
            if waits || P::asked(&session.spoken).is_some_and(|asked| now - asked > limit) {
                self.lose(core, key, Failure::TimedOut);
            }
        }
        self.sweep.deadline()
    }

    // ---- Leave ----------------------------------------------------------------------------------

    /// Waits for what is on its way, then takes leave. Returns when to go on.
    pub(super) fn drain<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        if self.done >= Step::Drain {
            return Nanos::MAX;
        }
        if self.totals.in_flight() > 0 && core.turn_started() < self.drain_until {
            return self.drain_until;
        }
        // Whoever takes leave sends nothing more, so this is not gone back from.
        self.drain_until = Nanos::ZERO;
        if P::HANDSHAKES
            && let Some(next) = self.take_leave(core)
        {
            return next;
        }
        self.finish_step(core);
        Nanos::MAX
    }

    /// Takes leave on the next connections, some at a time. Returns when to go on; `None` if all have
    /// left, or none is going to.
    fn take_leave<N: Network>(&mut self, core: &mut Table<N, P>) -> Option<Nanos> {
        for _ in 0..CLOSE_BATCH {
            if self.leaving.in_vain >= FAREWELLS_IN_VAIN {
                return None;
            }
            if self.cursor >= core.high_water() {
                // A peer that has answered closes TCP (RFC 6455 7.1.1), as long as that takes no longer than
                // the drain may.
                return (self.leaving.count > 0).then_some(Nanos::MAX);
            }
            if self.leaving.awaited >= FAREWELL_WINDOW {
                return Some(Nanos::MAX);
            }
            let key = core.key_at(self.cursor);
            self.cursor += 1;
            if let Some(key) = key {
                self.say_farewell(core, key);
            }
        }
        Some(Nanos::ZERO)
    }

    fn say_farewell<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let now = core.now();
        let Some(session) = core.session(key).filter(|session| is_open(session)) else { return };
        let bytes = self.protocol.farewell(&mut session.spoken, now);
        if let Err(failure) = core.send(key, bytes) {
            return self.lose(core, key, failure);
        }
        self.leaving.awaited += 1;
        self.note_leaving(now, key);
    }

    fn note_leaving(&mut self, now: Nanos, key: Key) {
        self.leaving.count += 1;
        self.leaving.queue.push_back((key, now + self.load.drain_timeout));
    }

    /// When the oldest that is still leaving is given up.
    pub(super) fn leaving_deadline(&self) -> Nanos {
        self.leaving.queue.front().map_or(Nanos::MAX, |(_, until)| *until)
    }

    /// Ends connections whose peers do not close them.
    pub(super) fn give_up_leaving<N: Network>(&mut self, core: &mut Table<N, P>) {
        let now = core.turn_started();
        while let Some(&(key, until)) = self.leaving.queue.front() {
            if let Some(session) = core.session(key) {
                if until > now {
                    return;
                }
                if P::phase(&session.spoken) == Phase::Leaving {
                    self.leaving.awaited -= 1;
                    self.leaving.in_vain += 1;
                }
                self.leaving.count -= 1;
                self.reset(core, key);
            }
            self.leaving.queue.pop_front();
        }
    }

    /// Closes the next connections; ends the reactor after the last.
    pub(super) fn close<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        let to = (self.cursor + CLOSE_BATCH).min(core.high_water());
        for index in self.cursor..to {
            if let Some(key) = core.key_at(index) {
                core.reset(key);
            }
        }
        self.cursor = to;
        self.finished = to == core.high_water();
        Nanos::ZERO
    }
}
