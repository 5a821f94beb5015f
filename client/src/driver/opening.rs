//! Opening connections: by the first four-tuple that nobody has, at one address of the target after
//! the other, so many under way at once, given up in time.

use super::{LoadDriver, Session, Table};
use crate::load::Model;
use crate::load::bounds::CONNECTING_MAX;
use crate::load::phases::Act;
use crate::protocol::{Before, Owed, Protocol, State};
use host::socket::{ConnectError, ConnectStep};
use measure::{Failure, Nanos, Stage};
use reactor::{Key, Network, Opened};
use std::collections::VecDeque;
use std::io::ErrorKind;

/// Upgrades under way at the same time where the target answers them quickly: enough to keep it
/// busy. With more, the times of upgrades would be those of a queue that we made ourselves.
const UPGRADING_NEAR: usize = 32;
/// TLS handshakes, likewise: those that wait have rustls's memory.
const SHAKING_NEAR: usize = 16;
/// When the oldest of them has waited for longer, the target is far away (or slow), and as many may
/// be under way as connects.
const FAR: Nanos = Nanos::from_millis(5);

/// Connections in the making.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Oldest first, and when the attempt is given up. Some may be established or gone by now.
    connecting: VecDeque<(Key, Nanos)>,
    /// The same of those whose request has left: when the connection is given up.
    requested: VecDeque<(Key, Nanos)>,
    /// How many of both are neither usable nor gone.
    pub(super) count: usize,
    /// Those of them that wait for the reply to their request.
    pub(super) upgrading: usize,
}

/// An attempt to open a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// The number of the address that the connection began with, and of the one it has come to.
    began: u32,
    at: u32,
    /// The connection is audited.
    audited: bool,
}

impl<P: Protocol> LoadDriver<P> {
    /// From when on one more may be opened, if none that is under way comes to its end before.
    pub(super) fn opening_room_at<N: Network>(&self, core: &Table<N, P>) -> Nanos {
        // Handshakes that wait for our own turn would only wait longer.
        let is_late = core.agreements_due() >= SHAKING_NEAR;
        if is_late || self.connections.opening.count >= CONNECTING_MAX {
            return Nanos::MAX;
        }
        let Opening { connecting, count, upgrading, .. } = &self.connections.opening;
        if self.load.tls && count - upgrading >= SHAKING_NEAR {
            // A handshake is work at both ends: the same holds for those.
            let oldest = connecting.front().map_or(Nanos::MAX, |(_, deadline)| *deadline);
            let since = oldest.0.saturating_sub(self.attempt_timeout().0);
            return Nanos(since) + FAR;
        }
        if *upgrading < UPGRADING_NEAR {
            return Nanos::ZERO;
        }
        let oldest = self
            .connections
            .opening
            .requested
            .front()
            .map_or(Nanos::MAX, |(_, deadline)| *deadline);
        oldest - self.load.connect_timeout + FAR
    }

    /// The number of the next connection. They interleave like four-tuples: reactor r has r, r + k,
    /// r + 2k …
    fn next_number(&mut self) -> u32 {
        let number = self.index as u64 + self.connections.begun * self.load.reactors;
        self.connections.begun += 1;
        number as u32
    }

    /// Opens the next connection of this reactor's share.
    pub(super) fn open_next<N: Network>(&mut self, core: &mut Table<N, P>) {
        let number = self.next_number();
        let audited = self.load.audit.has(number, self.load.reactors);
        let opened = self.open(core, number, audited, Before::Nothing);
        self.go_on_opening(core, opened);
    }

    /// Opens a connection in the place of one that came to its end, and is audited if that was.
    pub(super) fn replace<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        number: u32,
        audited: bool,
        before: Before,
    ) {
        let opened = self.open(core, number, audited, before);
        self.go_on_opening(core, opened);
    }

    /// Opens a connection for one message, which was meant to leave at `due`, or is when this
    /// begins, or is `owed` since the connection that was opened for it ended. False if that failed
    /// at once.
    pub(super) fn open_for_one<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        due: Option<Nanos>,
        owed: Option<Owed>,
    ) -> bool {
        let number = self.next_number();
        // It counts as sent when its connection begins to open, so that its time has the connect in
        // it.
        let now = core.now();
        self.books.sending(now, self.traffic.held_up());
        match owed {
            Some(_) => self.books.totals.resent += 1,
            None => self.books.totals.sent += 1,
        }
        let audited = self.load.audit.has(number, self.load.reactors);
        let opened = self.open(core, number, audited, Before::Nothing);
        let key = opened.map(|(Opened::AtOnce(key) | Opened::Waiting(key))| key);
        let Some((key, session)) = key.and_then(|key| Some((key, core.session(key)?))) else {
            self.books.totals.unanswered += 1;
            return false;
        };
        let sent = session.since;
        let intended = owed.map_or_else(|| due.unwrap_or(sent), |owed| owed.intended);
        self.books.last_sent_at = sent;
        if due.is_some() {
            self.note_lag(sent - intended, sent, 1);
        }
        match owed {
            Some(owed) => self.protocol.compose_owed(&mut session.spoken, owed, sent),
            None => self.protocol.compose(&mut session.spoken, 1, intended, sent),
        };
        self.go_on_opening(core, opened);
        core.session(key).is_some()
    }

    /// Opens one connection, by the first four-tuple that nobody else has; if that address does not
    /// take it, at the next one of its name. `None`: it failed, and was counted.
    fn open<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        number: u32,
        audited: bool,
        before: Before,
    ) -> Option<Opened> {
        let mut rewound = !self.connections.tuples_again;
        loop {
            let Some((at, route)) = self.connections.hands.first(&self.load.addresses) else {
                if !std::mem::replace(&mut rewound, true) {
                    self.connections.hands.rewind_first();
                    continue;
                }
                self.failed(Failure::NoPorts);
                return None;
            };
            let since = core.now();
            let spoken = self.protocol.session(number, self.load.addresses.target(at), before);
            let attempt = Attempt { began: at, at, audited };
            match core.open(&route, Session { spoken, since }) {
                Ok(opened) => return Some(self.under_way(core, opened, attempt)),
                Err((error, _)) if is_taken(&error) => self.books.totals.tuples_skipped += 1,
                Err((error, session)) => {
                    return self.try_next(core, attempt, session, Failure::from_io(&error.error));
                }
            }
        }
    }

    /// An attempt failed: the connection is tried at the next address of its name, and so on.
    /// `None`: none was left to try, and it was counted as failed.
    pub(super) fn try_next<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        mut attempt: Attempt,
        mut session: Session<P>,
        mut failure: Failure,
    ) -> Option<Opened> {
        loop {
            self.books.addresses[attempt.at as usize].failures[failure as usize] += 1;
            let next = self.load.addresses.after(attempt.at);
            // What this machine lacks it lacks for the next one too.
            let own = matches!(failure, Failure::NoPorts | Failure::NoFds | Failure::NoMemory);
            if own || next == attempt.began || !self.running.expects.opening {
                self.protocol.forget(&mut session.spoken);
                self.books.totals.unanswered += u64::from(P::in_flight(&session.spoken));
                self.failed(failure);
                return None;
            }
            attempt.at = next;
            self.books.totals.tried_again += 1;
            (failure, session) = match self.open_at(core, next, session) {
                Ok(opened) => return Some(self.under_way(core, opened, attempt)),
                Err(failed) => failed,
            };
        }
    }

    /// Opens a connection to address number `at`, by the first four-tuple that nobody else has.
    fn open_at<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        at: u32,
        mut session: Session<P>,
    ) -> Result<Opened, (Failure, Session<P>)> {
        let mut rewound = !self.connections.tuples_again;
        loop {
            let Some(route) = self.connections.hands.to(&self.load.addresses, at) else {
                if !std::mem::replace(&mut rewound, true) {
                    self.connections.hands.rewind_to(at);
                    continue;
                }
                return Err((Failure::NoPorts, session));
            };
            session = match core.open(&route, session) {
                Ok(opened) => return Ok(opened),
                Err((error, session)) if is_taken(&error) => {
                    self.books.totals.tuples_skipped += 1;
                    session
                }
                Err((error, session)) => return Err((Failure::from_io(&error.error), session)),
            };
        }
    }

    /// An attempt has begun.
    fn under_way<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        opened: Opened,
        attempt: Attempt,
    ) -> Opened {
        let (Opened::AtOnce(key) | Opened::Waiting(key)) = opened;
        if attempt.audited {
            core.set_audited(key);
        }
        self.connections.begin_attempt(key, attempt);
        opened
    }

    pub(super) fn go_on_opening<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        opened: Option<Opened>,
    ) {
        match opened {
            Some(Opened::AtOnce(key)) => self.connected(core, key),
            Some(Opened::Waiting(key)) => {
                self.connections.opening.count += 1;
                let until = core.now() + self.attempt_timeout();
                let queue = &mut self.connections.opening.connecting;
                if queue.len() >= 4 * CONNECTING_MAX + 2 * self.connections.opening.count {
                    // One that is slow must not keep those behind it that have ended.
                    queue.retain(|(key, _)| core.is_connecting(*key));
                }
                queue.push_back((key, until));
            }
            None => {}
        }
    }

    /// How long an address may take before the next one is tried. The last has all that is left.
    fn attempt_timeout(&self) -> Nanos {
        Nanos(self.load.connect_timeout.0 / u64::from(self.load.addresses.most()))
    }

    /// The request of a connection has left, which began to open at `since`.
    fn note_upgrading<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, since: Nanos) {
        self.connections.opening.count += 1;
        self.connections.opening.upgrading += 1;
        let queue = &mut self.connections.opening.requested;
        if queue.len() >= 4 * CONNECTING_MAX + 2 * self.connections.opening.count {
            queue.retain(|(key, _)| is_upgrading(core, *key));
        }
        queue.push_back((key, since + self.load.connect_timeout));
    }

    /// A connection is established: usable as it is, or to be upgraded.
    pub(super) fn connected<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let now = core.now();
        let Some(since) = core.session(key).map(|session| session.since) else { return };
        let attempt = self.connections.end_attempt(Some(key));
        self.books.connected(attempt.at);
        // With TLS it stood before.
        let agreement = core.agreement(key);
        let stood = agreement.map_or(now, |agreement| agreement.since);
        self.books.recorder.record(Stage::Connect, stood - since);
        if let Some(agreement) = agreement {
            self.books.recorder.record(Stage::Tls, now - stood);
            self.books.recorder.record(Stage::TlsWait, agreement.waited);
            if !P::HANDSHAKES {
                self.books.recorder.record(Stage::Handshake, now - since);
            }
        }
        if self.connections.stamping {
            self.audit_late(core, key);
        }
        if !P::HANDSHAKES {
            let before = core.session(key).map_or(Before::Nothing, |s| P::before(&s.spoken));
            self.usable(core, before != Before::Nothing);
            if P::ENDS_AGREED {
                self.join_in(core, key, now);
            }
            return;
        }
        let Some(session) = core.session(key) else { return };
        let request = self.protocol.upgrade(&mut session.spoken, now);
        if let Err(failure) = core.send(key, request) {
            self.reset(core, key);
            return self.failed(failure);
        }
        self.note_upgrading(core, key, since);
    }

    /// The reply to the request that left at `asked` has come and is right.
    pub(super) fn upgraded<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        asked: Nanos,
        now: Nanos,
    ) {
        self.connections.opening.count -= 1;
        self.connections.opening.upgrading -= 1;
        let Some(session) = core.session(key) else { return };
        let since = session.since;
        self.books.recorder.record(Stage::Upgrade, now - asked);
        self.books.recorder.record(Stage::Handshake, now - since);
        self.usable(core, false);
    }

    /// A connection stands that was opened in the middle of the traffic, perhaps: it takes its
    /// part.
    fn join_in<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, now: Nanos) {
        if self.load.churn {
            let Some(session) = core.session(key) else { return };
            let request = self.protocol.oldest(&session.spoken);
            if let Err(failure) = core.send(key, request) {
                self.unsendable(core, key, failure);
            }
            return;
        }
        if self.running.act == Act::FirstEcho {
            return self.traffic.newcomers.push_back(key);
        }
        if self.running.act != Act::Traffic || now < self.traffic.started {
            return;
        }
        // What is owed is sent here first: of this connection it is known that it is not about to
        // end.
        let again = self.load.in_flight_max.min(self.traffic.owed.len() as u32);
        for _ in 0..again {
            self.send_again(core, key);
        }
        if let Model::Closed(in_flight) = self.load.model
            && now < self.traffic.started + self.load.duration
        {
            self.send(core, key, in_flight.saturating_sub(again), None);
        }
    }

    /// A connection was established in the middle of the audit.
    #[cold]
    pub(super) fn audit_late<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        if let Some(audited) = &mut self.books.audited
            && core.is_audited(key)
        {
            core.stamp(key);
            audited.connections += 1;
        }
    }

    fn usable<N: Network>(&mut self, core: &Table<N, P>, replaces: bool) {
        self.books.totals.opened += 1;
        self.books.totals.replaced += u64::from(replaces);
        let open =
            core.connections() - self.connections.opening.count - self.connections.leaving.here();
        self.books.open_peak = self.books.open_peak.max(open as u64);
    }

    /// A connection could not be opened.
    pub(super) fn failed(&mut self, kind: Failure) {
        self.books.totals.failed += 1;
        self.books.totals.fail(kind);
    }

    /// When the next of those in the making is given up.
    pub(super) fn opening_deadline(&self) -> Nanos {
        let Opening { connecting, requested, .. } = &self.connections.opening;
        let next = connecting.front().into_iter().chain(requested.front());
        next.map(|(_, deadline)| *deadline).min().unwrap_or(Nanos::MAX)
    }

    /// Drops what is still in the making, since the run is cut short: neither opened nor failed.
    pub(super) fn abandon_opening<N: Network>(&mut self, core: &mut Table<N, P>) {
        self.connections.attempts.clear();
        for (key, _) in std::mem::take(&mut self.connections.opening.connecting) {
            if core.is_connecting(key) {
                self.connections.opening.count -= 1;
                if let Some(session) = self.reset(core, key) {
                    self.books.totals.unanswered += u64::from(P::in_flight(&session.spoken));
                }
            }
        }
        for (key, _) in std::mem::take(&mut self.connections.opening.requested) {
            self.drop_upgrading(core, key);
        }
    }

    pub(super) fn give_up_opening<N: Network>(&mut self, core: &mut Table<N, P>) {
        while let Some(&(key, deadline)) = self.connections.opening.connecting.front() {
            let connecting = core.is_connecting(key);
            if connecting && deadline > core.turn_started() {
                break;
            }
            self.connections.opening.connecting.pop_front();
            if connecting {
                self.out_of_time(core, key);
            }
        }
        while let Some(&(key, deadline)) = self.connections.opening.requested.front() {
            if is_upgrading(core, key) {
                if deadline > core.turn_started() {
                    return;
                }
                self.drop_upgrading(core, key);
                self.failed(Failure::TimedOut);
            }
            self.connections.opening.requested.pop_front();
        }
    }

    /// An attempt has had its time.
    fn out_of_time<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        let Some(since) = core.session(key).map(|session| session.since) else { return };
        let (now, until) = (core.turn_started(), since + self.load.connect_timeout);
        let is_last = |it: Attempt| self.load.addresses.after(it.at) == it.began;
        if until > now && is_last(self.connections.attempt(key)) {
            // It is looked at again in equal steps: so the queue stays in order.
            let next = until.min(now + self.attempt_timeout());
            return self.connections.opening.connecting.push_back((key, next));
        }
        self.connections.opening.count -= 1;
        let attempt = self.connections.end_attempt(Some(key));
        let Some(session) = core.reset(key) else { return };
        let opened = self.try_next(core, attempt, session, Failure::TimedOut);
        self.go_on_opening(core, opened);
    }

    /// Ends one that is being upgraded, if it still is.
    fn drop_upgrading<N: Network>(&mut self, core: &mut Table<N, P>, key: Key) {
        if is_upgrading(core, key) {
            self.connections.opening.count -= 1;
            self.connections.opening.upgrading -= 1;
            self.reset(core, key);
        }
    }
}

/// Whether a four-tuple was not free.
fn is_taken(error: &ConnectError) -> bool {
    let taken = matches!(error.error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable);
    taken && error.step != ConnectStep::Socket
}

/// Whether a connection is established and not yet upgraded.
fn is_upgrading<N: Network, P: Protocol>(core: &mut Table<N, P>, key: Key) -> bool {
    let shakes = |session: &mut Session<P>| P::state(&session.spoken) == State::Opening;
    P::HANDSHAKES && !core.is_connecting(key) && core.session(key).is_some_and(shakes)
}
