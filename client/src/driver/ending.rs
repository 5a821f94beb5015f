//! How connections come to their end: lost by themselves, given up, or taken leave of.

use super::sending::is_open;
use super::{LoadDriver, Session, Table};
use crate::protocol::{Before, End, Owed, Protocol, State};
use measure::{Failure, Nanos};
use reactor::{Ending, Key, Marks, Network, Receipt};
use std::collections::VecDeque;

/// Connections of one reactor that wait for their peer's leave at the same time.
const FAREWELL_WINDOW: usize = 64;
/// So many peers in a row that never answered it: then the others are not waited for. A million of
/// them, some at a time, would take hours.
const FAREWELLS_IN_VAIN: u32 = 64;
/// A connection that served nothing and was ended sooner was never kept: opening another one in its
/// place at once would only be a loop around a server that closes whatever comes.
const KEPT: Nanos = Nanos::from_millis(100);
/// How long opening rests behind a failure where each message has a connection of its own, in the
/// closed model: trying at once would only be a loop around a refusal.
pub(super) const REST: Nanos = Nanos::from_millis(10);

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
    /// Whether no more peers are taken leave of: so many have not answered that none will.
    pub(super) fn is_in_vain(&self) -> bool {
        self.in_vain >= FAREWELLS_IN_VAIN
    }

    /// Whether as many are waited for as may be.
    pub(super) fn is_full(&self) -> bool {
        self.awaited >= FAREWELL_WINDOW
    }

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
    /// A connection has come to its end by what was read on it. `told`: if there was anything to
    /// say to that, it is on its way.
    pub(super) fn end<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        end: End,
        told: bool,
    ) {
        let Some(phase) = core.session(key).map(|session| P::state(&session.spoken)) else {
            return;
        };
        let peer_leaves = matches!(end, End::Closed);
        let kind = match end {
            End::Agreed => {
                let marks = core.marks(key);
                if let Some(session) = core.reset(key) {
                    self.books.totals.ended += 1;
                    self.renew(core, session, marks);
                }
                return;
            }
            End::Idle => {
                let marks = core.marks(key);
                if let Some(session) = core.reset(key) {
                    self.ended_between(core, session, Failure::Closed, marks);
                }
                return;
            }
            End::Closed => Failure::Closed,
            End::NoMemory => Failure::NoMemory,
            End::Mismatch(mismatch) => {
                self.books.totals.mismatched += 1;
                self.books.causes.violated(&mismatch.to_string());
                Failure::Protocol
            }
            End::Violation(rule) => {
                self.books.causes.violated(&rule);
                Failure::Protocol
            }
            End::Status(status, meaning) => {
                self.books.causes.answered_with(status, 1);
                self.books.causes.violated(&meaning);
                Failure::Protocol
            }
            End::NoLeave(rule) => {
                self.connections.leaving.awaited -= 1;
                self.connections.leaving.count -= 1;
                if let Some(rule) = rule {
                    self.books.causes.violated(&rule);
                    self.lose(core, key, Failure::Protocol);
                } else {
                    // The run had let it go already.
                    self.reset(core, key);
                }
                return;
            }
        };
        match phase {
            State::Opening => {
                self.connections.opening.count -= 1;
                self.connections.opening.upgrading -= 1;
                self.reset(core, key);
                self.failed(kind);
            }
            State::Left if told => {
                if let Some(session) = core.session(key) {
                    self.count_lost(session, kind);
                }
                // What we had to say to that is to arrive: the peer reads it, and then the end,
                // unless it took leave by itself: then TCP is its to close.
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
        marks: Marks,
    ) {
        let kind = match ending {
            Ending::NotOpened(kind, key) => {
                self.connections.opening.count -= 1;
                let attempt = self.connections.end_attempt(key);
                let opened = self.try_next(core, attempt, session, kind);
                if opened.is_none() {
                    self.traffic.rest_until = core.turn_started() + REST;
                }
                return self.go_on_opening(core, opened);
            }
            Ending::Closed if P::ENDS_AGREED => {
                if self.protocol.is_between(&session.spoken) {
                    return self.ended_between(core, session, Failure::Closed, marks);
                }
                match self.peer_closed(core, &mut session, marks) {
                    Some(kind) => kind,
                    None => {
                        self.books.totals.ended += 1;
                        return self.renew(core, session, marks);
                    }
                }
            }
            Ending::Closed => Failure::Closed,
            Ending::Broken(kind) if P::ENDS_AGREED => {
                return self.broken(core, session, kind, marks);
            }
            Ending::Broken(kind) => kind,
            // A client is not asked to: it has no bound beyond which others go.
            Ending::Evicted => Failure::NoMemory,
        };
        if P::ENDS_AGREED {
            return self.count_lost(&mut session, kind);
        }
        self.protocol.forget(&mut session.spoken);
        match P::state(&session.spoken) {
            State::Opening => {
                self.connections.opening.count -= 1;
                self.connections.opening.upgrading -= 1;
                self.failed(kind);
            }
            State::Open => self.count_lost(&mut session, kind),
            State::Leaving => {
                self.connections.leaving.awaited -= 1;
                self.connections.leaving.count -= 1;
            }
            State::Left => self.connections.leaving.count -= 1,
        }
    }

    /// The peer has closed. `None`: as agreed, which may have completed a reply; else what it was.
    fn peer_closed<N: Network>(
        &mut self,
        core: &Table<N, P>,
        session: &mut Session<P>,
        marks: Marks,
    ) -> Option<Failure> {
        let now = core.now();
        // The end of a connection has no stamp, so a reply that ends with it has none either.
        let audited = self.connections.stamping && marks.audited;
        let receipt = if audited { Receipt::Missing } else { Receipt::NotAudited };
        let mut replies = self.books.replies(now, receipt, self.traffic.held_up());
        let received = self.protocol.peer_closed(&mut session.spoken, now, |times, content| {
            replies.enter(times, content);
        });
        replies.record_batch();
        if received.replies > 0 {
            self.books.answered(now);
        }
        match received.end {
            Some(End::Agreed) => None,
            Some(End::Violation(rule)) => {
                self.books.causes.violated(&rule);
                Some(Failure::Protocol)
            }
            _ => Some(Failure::Closed),
        }
    }

    /// The kernel has ended a connection, over a protocol whose connections may end between two
    /// replies.
    pub(super) fn broken<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        mut session: Session<P>,
        kind: Failure,
        marks: Marks,
    ) {
        // A reset is the peer's leave, spoken in another way; so is an end without TLS's good-bye
        // where every reply before it is whole by its own length (RFC 9112 9.8).
        let is_leave = matches!(kind, Failure::Reset | Failure::TlsTruncated);
        if is_leave && self.protocol.is_between(&session.spoken) {
            self.ended_between(core, session, kind, marks);
        } else {
            self.count_lost(&mut session, kind);
        }
    }

    /// The peer ended a connection between two replies, without having said so (RFC 9112 9.5): it
    /// may, of one that is kept. What was on its way there, and of whose answer not one byte came,
    /// is sent once more if that does no harm (RFC 9110 9.2.2).
    fn ended_between<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        mut session: Session<P>,
        kind: Failure,
        marks: Marks,
    ) {
        let waits = P::in_flight(&session.spoken) > 0;
        let kept = P::has_served(&session.spoken) || core.now() - session.since >= KEPT;
        let may_repeat = self.protocol.may_repeat(&session.spoken);
        let goes_on = if waits { may_repeat && self.running.expects.opening } else { kept };
        if !goes_on {
            return self.count_lost(&mut session, kind);
        }
        let (before, number) = place_of::<P>(&session.spoken);
        let mut lost = false;
        while let Some(owed) = self.protocol.take_back(&mut session.spoken) {
            if owed.repeated {
                lost = true;
                self.unanswered(owed);
            } else {
                self.traffic.owed.push_back(Owed { repeated: true, ..owed });
            }
        }
        if lost {
            return self.count_lost(&mut session, kind);
        }
        self.books.totals.ended += 1;
        self.books.totals.ended_idle += 1;
        self.take_place(core, session, (before, number), marks);
    }

    /// A connection has come to its agreed end: another one takes its place, and what it can answer
    /// no more is sent there, or on any other.
    fn renew<N: Network>(&mut self, core: &mut Table<N, P>, mut session: Session<P>, marks: Marks) {
        let (before, number) = place_of::<P>(&session.spoken);
        while let Some(owed) = self.protocol.take_back(&mut session.spoken) {
            self.traffic.owed.push_back(owed);
        }
        self.take_place(core, session, (before, number), marks);
    }

    /// Opens a connection in the place of one that has ended, as long as there is use for it.
    fn take_place<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        mut session: Session<P>,
        (before, number): (Before, u32),
        marks: Marks,
    ) {
        self.protocol.forget(&mut session.spoken);
        if !self.running.expects.opening {
            self.drop_owed();
        } else if !self.load.churn {
            self.replace(core, number, marks.audited, before);
        }
    }

    /// What was to be sent once more is not any more.
    pub(super) fn drop_owed(&mut self) {
        while let Some(owed) = self.traffic.owed.pop_front() {
            self.unanswered(owed);
        }
    }

    fn unanswered(&mut self, owed: Owed) {
        self.books.totals.unanswered += 1;
        self.books.totals.first_unanswered += u64::from(self.load.first_echo && owed.first);
    }

    /// Gives up a connection that was open.
    pub(super) fn lose<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, kind: Failure) {
        if let Some(mut session) = core.reset(key) {
            self.count_lost(&mut session, kind);
        }
    }

    /// The kernel refused to take bytes for an open connection.
    pub(super) fn unsendable<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        kind: Failure,
    ) {
        if !P::ENDS_AGREED {
            return self.lose(core, key, kind);
        }
        let marks = core.marks(key);
        if let Some(session) = core.reset(key) {
            self.broken(core, session, kind, marks);
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

    /// A connection is gone: what was on its way there will not be answered.
    pub(super) fn forgo_replies(&mut self, session: &mut Session<P>) {
        while let Some(owed) = self.protocol.take_back(&mut session.spoken) {
            self.unanswered(owed);
        }
        self.protocol.forget(&mut session.spoken);
        let unanswered = u64::from(P::in_flight(&session.spoken));
        self.books.totals.unanswered += unanswered;
        let first = self.load.first_echo && P::received(&session.spoken) == 0;
        self.books.totals.first_unanswered += u64::from(first).min(unanswered);
    }

    fn count_lost(&mut self, session: &mut Session<P>, kind: Failure) {
        self.forgo_replies(session);
        // What happens while everything is being closed is no loss.
        if !self.running.expects.ends {
            self.books.totals.lost += 1;
            self.books.totals.fail(kind);
        }
    }

    /// Gives up connections whose replies, or pongs, take too long. Returns when to look again.
    pub(super) fn give_up_waiting<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        if self.books.totals.in_flight() == 0 && self.load.ping.is_none() {
            return Nanos::MAX;
        }
        let (now, limit) = (core.turn_started(), self.load.reply_timeout);
        for index in self.connections.sweep.step(now, core.high_water()).into_iter().flatten() {
            let Some(key) = core.key_at(index) else { continue };
            if P::ENDS_AGREED && core.is_connecting(key) {
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
        self.connections.sweep.deadline()
    }

    // ---- Leave ----------------------------------------------------------------------------------

    pub(super) fn say_farewell<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let now = core.now();
        let Some(session) = core.session(key).filter(|session| is_open(session)) else { return };
        let bytes = self.protocol.farewell(&mut session.spoken, now);
        if let Err(failure) = core.send(key, bytes) {
            return self.lose(core, key, failure);
        }
        self.connections.leaving.awaited += 1;
        self.note_leaving(now, key);
    }

    fn note_leaving(&mut self, now: Nanos, key: Key) {
        self.connections.leaving.count += 1;
        self.connections.leaving.queue.push_back((key, now + self.load.drain_timeout));
    }

    /// When the oldest that is still leaving is given up.
    pub(super) fn leaving_deadline(&self) -> Nanos {
        self.connections.leaving.queue.front().map_or(Nanos::MAX, |(_, until)| *until)
    }

    /// Ends connections whose peers do not close them.
    pub(super) fn give_up_leaving<N: Network>(&mut self, core: &mut Table<N, P>) {
        let now = core.turn_started();
        while let Some(&(key, until)) = self.connections.leaving.queue.front() {
            if let Some(session) = core.session(key) {
                if until > now {
                    return;
                }
                if P::state(&session.spoken) == State::Leaving {
                    self.connections.leaving.awaited -= 1;
                    self.connections.leaving.in_vain += 1;
                }
                self.connections.leaving.count -= 1;
                self.reset(core, key);
            }
            self.connections.leaving.queue.pop_front();
        }
    }
}

/// What a connection leaves to the one that takes its place: what was said on it, and its number.
fn place_of<P: Protocol>(spoken: &P::Session) -> (Before, u32) {
    let said = P::received(spoken) > 0 || P::in_flight(spoken) > 0;
    (if said { Before::Spoken } else { Before::Silent }, P::number(spoken))
}
