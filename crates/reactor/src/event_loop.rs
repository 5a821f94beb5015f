//! `Reactor`: one turn of the loop after the other, until the driver is done.

use crate::audit::Receipt;
use crate::core::{Core, Flags, Flushed, READ_WORK};
use crate::driver::{Driver, Ending, Marks, Read};
use crate::layer::{End, Progress};
use crate::limits::Limits;
use crate::mailbox::Inbox;
use crate::network::{Interest, Network, Origin, Ready, Stream, Token};
use crate::slots::Key;
use crate::stall::Stall;
use crate::unsent::NOTHING;
use measure::{Failure, Nanos};
use std::io;

/// How long accepting rests after the kernel refused for want of descriptors or memory. No event
/// tells when there are some again.
const ACCEPT_REST: Nanos = Nanos::from_millis(20);

/// A listener's state between turns.
#[derive(Clone, Copy, Debug, Default)]
struct Accepting {
    /// Connections may be left in its queue.
    again: bool,
    /// Not before this time.
    rest_until: Nanos,
}

/// One reactor: a driver, its connections and its network.
pub struct Reactor<N: Network, D: Driver<N>> {
    core: Core<N, D::Session>,
    driver: D,
    inbox: Inbox<D::Command>,
    accepting: Vec<Accepting>,
    buffer: Vec<u8>,
    /// What was opened of it, on connections with a layer.
    plain: Vec<u8>,
    ready: Vec<Ready>,
    deadline: Option<Nanos>,
    /// What of it the driver asked for.
    due: Option<Nanos>,
    /// When it is to stand still.
    stall: Option<Stall>,
    /// When the stall ends that is on.
    stalled_until: Option<Nanos>,
    /// The end of the stall whose backlog is being answered.
    catching_up_since: Option<Nanos>,
}

impl<N: Network, D: Driver<N>> Reactor<N, D> {
    /// A reactor that has not turned yet. `listeners` is how many the network has.
    #[must_use]
    pub fn new(
        net: N,
        driver: D,
        inbox: Inbox<D::Command>,
        limits: Limits,
        listeners: usize,
    ) -> Self {
        // Connections may have arrived before the listener was watched.
        let first = Accepting { again: true, rest_until: Nanos::ZERO };
        let stall = driver.stall();
        Self {
            core: Core::new(net, limits),
            driver,
            inbox,
            accepting: vec![first; listeners],
            buffer: vec![0; limits.receive_buffer_bytes],
            plain: Vec::new(),
            ready: Vec::with_capacity(limits.events_per_wait),
            deadline: Some(Nanos::ZERO),
            due: None,
            stall,
            stalled_until: None,
            catching_up_since: None,
        }
    }

    /// Turns until the driver is finished, and gives it back.
    ///
    /// # Errors
    /// If the kernel refuses to wait, which it does only if the event queue is broken.
    pub fn run(mut self) -> io::Result<D> {
        while !self.driver.is_finished() {
            self.turn()?;
        }
        Ok(self.driver)
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// As [`Reactor::run`].
    pub fn turn(&mut self) -> io::Result<()> {
        if self.stands_still() {
            return Ok(());
        }
        self.wait()?;
        // What came while it stood still is looked at when that is over.
        self.stands_still();
        self.core.turn_started = self.core.net.now();
        self.core.counters.turns += 1;
        self.core.counters.events += self.ready.len() as u64;
        if self.ready.len() == self.core.limits.events_per_wait {
            self.core.counters.events_budget_hits += 1;
        }
        for index in 0..self.ready.len() {
            let ready = self.ready[index];
            self.dispatch(ready);
        }
        self.resume_marked();
        if self.core.layers.is_due() {
            self.agree_due();
        }
        self.report_evicted();
        self.accept_due();
        while let Some(command) = self.inbox.next() {
            self.driver.on_command(&mut self.core, command);
        }
        // The turn's events came first: what was due has waited for them, too.
        if let Some(due) = self.due {
            let now = self.core.net.now();
            self.core.times.came_to(due, now);
        }
        self.due = self.driver.on_turn(&mut self.core);
        self.deadline = self.next_deadline(self.due);
        let ended = self.core.net.now();
        self.core.times.turned(self.core.turn_started, ended);
        Ok(())
    }

    /// Waits for events until something is due, and notes when there was nothing left of a backlog.
    #[inline]
    fn wait(&mut self) -> io::Result<()> {
        if let Some(end) = self.catching_up_since {
            self.core.net.wait(&mut self.ready, Some(Nanos::ZERO))?;
            if !self.ready.is_empty() || !self.core.marks.is_empty() || self.core.layers.is_due() {
                return Ok(());
            }
            self.catching_up_since = None;
            let now = self.core.net.now();
            self.core.times.stall_backlog.record((now - end).0);
        }
        self.core.net.wait(&mut self.ready, self.deadline)
    }

    /// Stands still while a stall lasts. True if it still does: then the clock is moved by hand,
    /// and nothing may be done before it was.
    #[inline]
    fn stands_still(&mut self) -> bool {
        let Some(stall) = self.stall else { return false };
        let mut now = self.core.net.now();
        if let Some(end) = stall.end_at(now) {
            if self.stalled_until != Some(end) {
                self.stalled_until = Some(end);
                self.core.counters.stalls += 1;
            }
            self.core.net.stand_still(end);
            now = self.core.net.now();
            if now < end {
                return true;
            }
        }
        if let Some(end) = self.stalled_until.take() {
            self.core.times.stall_late.record((now - end).0);
            self.catching_up_since = Some(end);
        }
        false
    }

    /// When the next turn has to start, whatever happens; `None` if nothing is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }

    /// The driver, for tests that turn the reactor by hand.
    #[must_use]
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The connections and counters, likewise.
    #[must_use]
    pub fn core(&self) -> &Core<N, D::Session> {
        &self.core
    }

    fn next_deadline(&self, due: Option<Nanos>) -> Option<Nanos> {
        if !self.core.marks.is_empty() || self.core.layers.is_due() {
            return Some(Nanos::ZERO);
        }
        let resting = self.accepting.iter().filter(|listener| listener.again);
        resting.map(|listener| listener.rest_until).chain(due).min()
    }

    #[inline]
    fn dispatch(&mut self, ready: Ready) {
        let key = Key::from_bits(ready.token.0);
        let Some(connection) = self.core.slots.get_mut(key) else {
            return self.dispatch_other(ready.token);
        };
        if connection.flags.has(Flags::CONNECTING) {
            return self.connected(key, ready);
        }
        if ready.closed {
            connection.flags.set(Flags::PEER_CLOSED);
        }
        let sends_file = self.core.unsent.has_file(connection.unsent);
        let later = Flags::MARKED | Flags::AGREEING;
        if connection.heft > 0 || sends_file || connection.flags.has(later) {
            return self.defer(key, ready);
        }
        if ready.writable && connection.unsent != NOTHING {
            self.write_ready(key);
        }
        if ready.readable || ready.closed {
            self.read_ready(key);
        }
    }

    /// The same for a connection that is known to make much work, is being sent a file, or waits
    /// for its next turn already: it comes behind the others.
    #[cold]
    fn defer(&mut self, key: Key, ready: Ready) {
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        if ready.writable && connection.unsent != NOTHING {
            connection.flags.set(Flags::YIELDED);
        }
        if ready.readable || ready.closed {
            connection.flags.set(Flags::READ_AGAIN);
        }
        self.core.mark(key);
    }

    /// Events that belong to no connection in the table.
    #[cold]
    fn dispatch_other(&mut self, token: Token) {
        if let Some(listener) = token.as_listener() {
            if let Some(accepting) = self.accepting.get_mut(listener) {
                accepting.again = true;
            }
        } else if token != Token::WAKE && token != Token::TIMER {
            self.core.counters.stale_events += 1;
        }
    }

    /// Connecting has ended one way or the other: the socket's error, then the proof.
    fn connected(&mut self, key: Key, ready: Ready) {
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        if let Some(error) = connection.stream.take_error() {
            self.end(key, Ending::NotOpened(Failure::from_io(&error), Some(key)));
        } else if connection.stream.is_established() {
            connection.flags.unset(Flags::CONNECTING);
            if self.core.layers.of(key).is_none() {
                self.driver.on_open(&mut self.core, key);
            } else {
                self.core.begin_agreeing(key, true);
            }
            // What the peer said first, or that it has closed again, may have come with this event.
            if ready.readable || ready.closed {
                self.dispatch(Ready { writable: false, ..ready });
            }
        }
        // Otherwise the event came too early, and another one will.
    }

    /// Works on the agreements of layers that are due, oldest first, as long as a turn may.
    #[cold]
    fn agree_due(&mut self) {
        let (began, most) = (self.core.net.now(), self.core.limits.agreeing_per_turn);
        let mut now = began;
        while let Some((key, begun)) = self.core.next_agreeing(now) {
            match begun {
                Err(failure) => self.end(key, Ending::Broken(failure)),
                Ok(()) => self.resume_agreeing(key),
            }
            now = self.core.net.now();
            if now - began >= most && self.core.layers.is_due() {
                self.core.counters.handshake_budget_hits += 1;
                return;
            }
        }
    }

    /// Sends what waits, and goes on with the connection when all of it has left.
    fn write_ready(&mut self, key: Key) {
        let before = self.core.counters.bytes_sent;
        match self.core.flush(key) {
            Err(failure) => return self.end(key, Ending::Broken(failure)),
            // Nothing left; but what waits may be little enough to read on.
            Ok(Flushed::Partly) if self.core.counters.bytes_sent == before => {}
            Ok(_) if self.core.is_agreeing(key) => {}
            Ok(_) => self.driver.on_progress(&mut self.core, key),
        }
        // The driver may have had more to say.
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        if connection.flags.has(Flags::YIELDED) {
            return;
        }
        if connection.unsent != NOTHING {
            // Whether that keeps it from being read is for `read_ready` to say, which leaves the
            // mark where it does.
            if connection.flags.has(Flags::READ_AGAIN) {
                self.read_ready(key);
            }
            return;
        }
        if connection.flags.has(Flags::PEER_FINISHED) {
            return self.end(key, Ending::Closed);
        }
        let flags = connection.flags;
        if flags.has(Flags::FINISHING) {
            self.core.finish_sending(key);
        }
        if flags.has(Flags::READ_AGAIN) {
            self.read_ready(key);
        }
    }

    /// Reads until the kernel has no more, the connection is blocked, or its turn is over.
    #[inline]
    fn read_ready(&mut self, key: Key) {
        let work_before = self.core.counters.work;
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        let heft = connection.heft;
        let portion = self.core.begin_portion(heft);
        for _ in 0..self.core.limits.reads_per_turn {
            let Some(connection) = self.core.slots.get_mut(key) else { return };
            let to_pause = self.core.limits.unsent_bytes_to_pause;
            let pauses = D::PAUSE_READS_WHILE_BLOCKED
                && self.core.unsent.pauses(connection.unsent, to_pause);
            if pauses || connection.flags.has(Flags::YIELDED) {
                // Flushing, or its next turn, brings reading back.
                return connection.flags.set(Flags::READ_AGAIN);
            }
            connection.flags.unset(Flags::READ_AGAIN);
            let flags = connection.flags;
            if flags.has(Flags::PUT_BACK) {
                let mut rest = self.core.take_put_back(key);
                let read = Read { bytes: &mut rest, receipt: Receipt::NotAudited };
                self.driver.on_bytes(&mut self.core, key, read);
                if self.core.counters.work - work_before >= portion {
                    return self.portion_used(key);
                }
                continue;
            }
            if flags.has(Flags::HEARD_GOODBYE) {
                return self.peer_finished(key);
            }
            let most = self.core.read_bytes_max(heft);
            let Some(connection) = self.core.slots.get_mut(key) else { return };
            let room = &mut self.buffer[..most];
            let received = if flags.has(Flags::STAMPED) {
                connection.stream.receive_stamped(room)
            } else {
                connection.stream.receive(room).map(|count| (count, None))
            };
            match received {
                Ok((0, _)) => return self.stream_ended(key),
                Ok((count, stamp)) => {
                    let receipt = if flags.has(Flags::STAMPED) {
                        self.core.receipt_of(stamp)
                    } else {
                        Receipt::NotAudited
                    };
                    // A short read says that the kernel has no more, unless the peer has closed:
                    // then the end of the stream is still to be read, and no event tells of it.
                    let mut more = count == most || flags.has(Flags::PEER_CLOSED);
                    self.core.counters.reads += 1;
                    self.core.counters.bytes_received += count as u64;
                    let read_before = self.core.counters.work;
                    self.core.counters.work += READ_WORK + count as u64;
                    match self.core.layers.of(key) {
                        None => {
                            let read = Read { bytes: &mut self.buffer[..count], receipt };
                            self.driver.on_bytes(&mut self.core, key, read);
                        }
                        Some(number) => more |= self.read_sealed(key, number, count, receipt),
                    }
                    self.core.weigh(key, self.core.counters.work - read_before);
                    if !more {
                        return;
                    }
                    if self.core.counters.work - work_before >= portion {
                        return self.portion_used(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.end(key, Ending::Broken(Failure::from_io(&error))),
            }
        }
        self.core.counters.reads_budget_hits += 1;
        self.core.read_later(key);
    }

    /// The same for bytes that a layer has to open. Whether that has heard its peer's good-bye.
    fn read_sealed(&mut self, key: Key, number: u32, count: usize, receipt: Receipt) -> bool {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let wire = &self.buffer[..count];
        let opened = self.core.open_sealed(key, number, wire, &mut plain);
        let heard = match opened {
            Err(failure) => {
                self.end(key, Ending::Broken(failure));
                false
            }
            Ok(Progress { agreed, end }) => {
                if agreed && self.core.is_agreeing(key) {
                    self.core.agreed(key);
                    self.driver.on_open(&mut self.core, key);
                }
                if !plain.is_empty() && self.core.slots.get_mut(key).is_some() {
                    let read = Read { bytes: &mut plain, receipt };
                    self.driver.on_bytes(&mut self.core, key, read);
                }
                match end {
                    Some(End::Broken) => self.end(key, Ending::Broken(Failure::Tls)),
                    Some(End::Goodbye) => self.core.heard_goodbye(key),
                    None => {}
                }
                end == Some(End::Goodbye)
            }
        };
        self.plain = plain;
        heard
    }

    /// The stream has come to its end. On a connection with a layer that is as it should be only
    /// behind the peer's good-bye, or ours.
    #[cold]
    fn stream_ended(&mut self, key: Key) {
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        let as_due = Flags::HEARD_GOODBYE | Flags::FINISHING | Flags::AGREEING;
        match self.core.layers.of(key) {
            Some(number) if !connection.flags.has(as_due) => {
                self.core.cut(number);
                self.end(key, Ending::Broken(Failure::TlsTruncated));
            }
            _ => self.peer_finished(key),
        }
    }

    /// A connection has had its part of the turn's work, and more of it may be left.
    fn portion_used(&mut self, key: Key) {
        self.core.counters.work_budget_hits += 1;
        self.core.read_later(key);
    }

    /// The peer will send no more. What it is still owed goes out first.
    #[cold]
    fn peer_finished(&mut self, key: Key) {
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        if connection.unsent == NOTHING {
            self.end(key, Ending::Closed);
        } else {
            connection.flags.set(Flags::PEER_FINISHED);
        }
    }

    fn end(&mut self, key: Key, ending: Ending) {
        let marks = self.core.marks(key);
        let failure = match ending {
            Ending::Broken(failure) | Ending::NotOpened(failure, _) => Some(failure),
            Ending::Closed | Ending::Evicted => None,
        };
        let mut ending = ending;
        if self.core.is_agreeing(key) {
            // It never was open to the driver.
            ending = Ending::NotOpened(failure.unwrap_or(Failure::Closed), Some(key));
        }
        // After a failure there is no good-bye: what came before it must not look whole.
        let session = match failure {
            Some(_) => self.core.remove(key),
            None => self.core.close(key),
        };
        if let Some(session) = session {
            self.driver.on_end(&mut self.core, session, ending, marks);
        }
    }

    /// Goes on with the connections that have more to do, one portion each, until the turn's work
    /// for them is done, or as much as the turn's events were at the least: who needs little has
    /// come before them and comes before the rest of them.
    fn resume_marked(&mut self) {
        let work_before = self.core.counters.work;
        let work_max = self.core.limits.work_per_turn.max(self.ready.len() as u64 * READ_WORK);
        for _ in 0..self.core.marks.len() {
            if self.core.counters.work - work_before >= work_max {
                self.core.counters.turn_budget_hits += 1;
                return;
            }
            let Some(key) = self.core.marks.pop_front() else { return };
            self.resume(key);
        }
    }

    /// Goes on with a connection whose turn it is again.
    fn resume(&mut self, key: Key) {
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        let yielded = connection.flags.has(Flags::YIELDED);
        connection.flags.unset(Flags::MARKED | Flags::YIELDED);
        self.core.begin_portion(1);
        if yielded {
            self.write_ready(key);
        } else {
            self.read_ready(key);
        }
    }

    /// The same for one whose layers are to agree. What we said first has no answer yet, unless
    /// something has come.
    fn resume_agreeing(&mut self, key: Key) {
        let Some(connection) = self.core.slots.get_mut(key) else { return };
        if connection.flags.has(Flags::READ_AGAIN | Flags::YIELDED) {
            self.resume(key);
        } else {
            connection.flags.unset(Flags::MARKED);
        }
    }

    fn report_evicted(&mut self) {
        while let Some((session, marks)) = self.core.evicted.pop() {
            self.driver.on_end(&mut self.core, session, Ending::Evicted, marks);
        }
    }

    fn accept_due(&mut self) {
        for listener in 0..self.accepting.len() {
            let Accepting { again, rest_until } = self.accepting[listener];
            if again && rest_until <= self.core.turn_started {
                self.accepting[listener] = self.accept_batch(listener);
            }
        }
    }

    fn accept_batch(&mut self, listener: usize) -> Accepting {
        let mut left = self.core.limits.accept_batch;
        while left > 0 {
            left -= 1;
            match self.core.net.accept(listener) {
                Ok(stream) => self.take_in(stream, listener),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Accepting::default();
                }
                Err(error) => match Failure::from_io(&error) {
                    // The connection stays in the kernel's queue until there is room for it.
                    Failure::NoFds => {
                        self.core.counters.accept_no_fds += 1;
                        return self.rest();
                    }
                    Failure::NoMemory => {
                        self.core.counters.accept_no_memory += 1;
                        return self.rest();
                    }
                    // It was gone before we took it (accept(2) hands on the errors of the network).
                    _ => self.core.counters.accept_failed += 1,
                },
            }
        }
        self.core.counters.accept_budget_hits += 1;
        Accepting { again: true, rest_until: Nanos::ZERO }
    }

    fn rest(&self) -> Accepting {
        Accepting { again: true, rest_until: self.core.turn_started + ACCEPT_REST }
    }

    fn take_in(&mut self, stream: N::Stream, listener: usize) {
        let admitted = if self.core.slots.is_full() {
            None
        } else {
            self.driver.admit(&mut self.core, listener)
        };
        let Some(session) = admitted else {
            self.core.counters.refused_full += 1;
            stream.reset_on_close();
            return;
        };
        let layer = self.core.net.layer(Origin::Listener(listener));
        let how = (Flags::default(), Interest::Readable);
        match self.core.keep(stream, how, layer, session) {
            Ok(key) => {
                self.core.counters.accepted += 1;
                if self.core.layers.of(key).is_none() {
                    self.driver.on_open(&mut self.core, key);
                } else {
                    self.core.begin_agreeing(key, false);
                }
            }
            Err((error, session)) => {
                let ending = Ending::NotOpened(Failure::from_io(&error), None);
                self.driver.on_end(&mut self.core, session, ending, Marks::default());
            }
        }
    }
}
