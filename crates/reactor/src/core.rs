//! `Core`: what a driver has at hand. The connections, their unsent bytes, the clock, the counters.

use crate::counters::Counters;
use crate::driver::Marks;
use crate::file_part::FilePart;
use crate::layer::{Agreement, Layers};
use crate::limits::Limits;
use crate::network::{Interest, Network, Origin, Route, Stream, Token};
use crate::slots::{Key, Slot, Slots, Tenant};
use crate::times::LoopTimes;
use crate::unsent::{NOTHING, Next, Unsent};
use host::socket::{ConnectError, ConnectStep};
use measure::{Failure, Nanos};
use std::collections::{HashMap, VecDeque};
use std::io;

/// One connection, as the loop sees it.
pub(crate) struct Connection<N: Network, S> {
    pub(crate) stream: N::Stream,
    pub(crate) unsent: u32,
    pub(crate) flags: Flags,
    /// How much work its bytes made lately: 0 is little, 1 much, beyond that so much that the most
    /// that is read from it at a time was halved once less than this.
    pub(crate) heft: u8,
    generation: u32,
    pub(crate) session: S,
}

impl<N: Network, S> Tenant for Connection<N, S> {
    #[inline]
    fn generation(&self) -> u32 {
        self.generation
    }
}

/// What a connection of a driver with this session costs in the table, in bytes: a million of them
/// cost as many megabytes. Programs assert it, and predict their memory by it.
#[must_use]
pub const fn slot_bytes<N: Network, S>() -> usize {
    size_of::<Slot<Connection<N, S>>>()
}

/// Where a connection stands, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// Connecting has not ended.
    pub(crate) const CONNECTING: u16 = 1;
    /// The kernel tells us when there is room to write.
    pub(crate) const WRITABLE_WATCHED: u16 = 1 << 1;
    /// Something may be left to read: reading stopped before the kernel said that all was read.
    pub(crate) const READ_AGAIN: u16 = 1 << 2;
    /// The peer has said its last word: read to the end, not to the first short read.
    pub(crate) const PEER_CLOSED: u16 = 1 << 3;
    /// The peer's last word has been read: to be closed as soon as nothing is unsent.
    pub(crate) const PEER_FINISHED: u16 = 1 << 4;
    /// In the list of marks already.
    pub(crate) const MARKED: u16 = 1 << 5;
    /// Our last word was given: when it has left, our side of the connection closes.
    pub(crate) const FINISHING: u16 = 1 << 6;
    /// Its turn is over, although it could go on sending: a mark brings it back. It is read from no
    /// more before that.
    pub(crate) const YIELDED: u16 = 1 << 7;
    /// The driver wants to know when the kernel received what is read.
    pub(crate) const AUDITED: u16 = 1 << 8;
    /// The kernel was asked to note it.
    pub(crate) const STAMPED: u16 = 1 << 9;
    /// The rest of a read waits, in `Core::put_back`: it comes before what the kernel has.
    pub(crate) const PUT_BACK: u16 = 1 << 10;
    /// In the list of those that are blocked already.
    pub(crate) const LISTED: u16 = 1 << 11;
    /// More was to be sent than may wait for its peer.
    pub(crate) const OVERFULL: u16 = 1 << 12;
    /// Its layer and its peer's have not agreed yet: it is not open to the driver.
    pub(crate) const AGREEING: u16 = 1 << 13;
    /// Our layer has said good-bye.
    pub(crate) const SAID_GOODBYE: u16 = 1 << 14;
    /// The peer's has.
    pub(crate) const HEARD_GOODBYE: u16 = 1 << 15;

    pub(crate) fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u16) {
        self.0 |= flag;
    }

    pub(crate) fn unset(&mut self, flag: u16) {
        self.0 &= !flag;
    }
}

// A million slots times eight bytes is 8 MB: growing a slot is a decision. The session comes on
// top.
const _: () = assert!(slot_bytes::<crate::System, ()>() == 16);

/// What a read costs, and the write that answers it, besides what it is long, in units of about a
/// nanosecond.
pub(crate) const READ_WORK: u64 = 2_000;

/// How often what is read at a time, and the portion of the work, are halved for who is taken to
/// need little.
const LIGHT_SHIFT: u8 = 2;

/// However much work its bytes make, so many are read from a connection at a time.
const LEAST_READ_BYTES: usize = 64;

/// What became of a request to open a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opened {
    /// It is open already; `on_open` is not called for it.
    AtOnce(Key),
    /// It is under way; `on_open` or `on_end` follows.
    Waiting(Key),
}

/// How far what waited has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flushed {
    /// All of it.
    All,
    /// As far as the peer has room, or the connection's turn lasted.
    Partly,
}

/// A reactor's connections and means, for its driver to use.
pub struct Core<N: Network, S> {
    pub(crate) net: N,
    pub(crate) slots: Slots<Connection<N, S>>,
    pub(crate) layers: Layers<N::Layer>,
    /// The connection whose layers have agreed last.
    pub(crate) agreed: Option<(Key, Agreement)>,
    pub(crate) unsent: Unsent,
    /// Connections whose turn ended before their work did: mio tells of a change only once.
    pub(crate) marks: VecDeque<Key>,
    /// Of the few whose work had to wait: what was read of them.
    put_back: HashMap<Key, Vec<u8>>,
    put_back_bytes: usize,
    /// The work that is allowed for the connection whose turn it is.
    portion: u64,
    /// Connections in the order in which they became blocked. Some may not be any more.
    blocked: VecDeque<Key>,
    /// What was kept for connections that had to go for want of room; the loop reports their end.
    pub(crate) evicted: Vec<(S, Marks)>,
    pub(crate) limits: Limits,
    pub(crate) turn_started: Nanos,
    /// What happened so far. Drivers may only read it.
    pub counters: Counters,
    /// How punctual the loop is. Drivers may read it, and clear it where a phase begins.
    pub times: LoopTimes,
}

impl<N: Network, S> Core<N, S> {
    pub(crate) fn new(net: N, limits: Limits) -> Self {
        let turn_started = net.now();
        Self {
            net,
            slots: Slots::with_capacity(limits.slots),
            layers: Layers::new(limits.slots, limits.agreeing),
            agreed: None,
            unsent: Unsent::new(limits.unsent_bytes, limits.unsent_bytes_per_connection),
            marks: VecDeque::new(),
            put_back: HashMap::new(),
            put_back_bytes: 0,
            portion: limits.work_per_portion,
            blocked: VecDeque::new(),
            evicted: Vec::new(),
            limits,
            turn_started,
            counters: Counters::default(),
            times: LoopTimes::default(),
        }
    }

    /// The time now: for stamps.
    #[inline]
    pub fn now(&self) -> Nanos {
        self.net.now()
    }

    /// The time at which this turn's events were taken: for time limits, free of charge.
    pub fn turn_started(&self) -> Nanos {
        self.turn_started
    }

    /// What the kernel has turned away of what came to a listener, if it tells: its queue was full.
    pub fn turned_away(&self, listener: usize) -> Option<u64> {
        self.net.turned_away(listener)
    }

    /// Connections in the table, those that are still connecting among them.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// Connections that the table can take in all.
    pub fn capacity(&self) -> usize {
        self.limits.slots
    }

    /// Bytes that could be sent now even if no peer took any.
    pub fn unsent_room(&self) -> usize {
        self.unsent.room()
    }

    /// Bytes that wait for their peers to take them.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.bytes()
    }

    /// What the driver keeps for a connection; `None` once that is gone.
    #[inline]
    pub fn session(&mut self, key: Key) -> Option<&mut S> {
        self.slots.get_mut(key).map(|connection| &mut connection.session)
    }

    /// Whether bytes of this connection wait for its peer to take them, or something is pending for
    /// it.
    #[inline]
    pub fn is_blocked(&mut self, key: Key) -> bool {
        self.slots.get_mut(key).is_some_and(|connection| connection.unsent != NOTHING)
    }

    /// Whether sending to this connection failed because too much waits for its peer: else it is
    /// the kernel that has no memory.
    pub fn is_overfull(&mut self, key: Key) -> bool {
        self.slots.get_mut(key).is_some_and(|connection| connection.flags.has(Flags::OVERFULL))
    }

    /// Bytes of this connection that wait for its peer to take them.
    pub fn unsent_bytes_of(&mut self, key: Key) -> usize {
        let unsent = self.slots.get_mut(key).map_or(NOTHING, |connection| connection.unsent);
        if unsent == NOTHING { 0 } else { self.unsent.waiting(unsent).len() }
    }

    /// Whether a connection is still connecting, or its layer is not ready.
    pub fn is_connecting(&mut self, key: Key) -> bool {
        let not_open = Flags::CONNECTING | Flags::AGREEING;
        self.slots.get_mut(key).is_some_and(|c| c.flags.has(not_open))
    }

    /// The connection in slot `index`, if there is one: sweeps go through the table so.
    #[inline]
    pub fn key_at(&self, index: usize) -> Option<Key> {
        self.slots.key_at(index)
    }

    /// One past the highest slot that was ever in use.
    pub fn high_water(&self) -> usize {
        self.slots.high_water()
    }

    /// Starts to open a connection.
    ///
    /// On a loopback address the kernel has done the whole handshake when `connect` returns. Asking
    /// at once keeps the time of a connection its own: waiting for an event would add the time of
    /// all the connects that come first in this turn.
    ///
    /// # Errors
    /// Which step failed and why, and the session. A full table and a full event queue are errors
    /// of the first step.
    pub fn open(&mut self, route: &Route, session: S) -> Result<Opened, (ConnectError, S)> {
        let no_room = |error| ConnectError { step: ConnectStep::Socket, error };
        if self.slots.is_full() {
            return Err((no_room(io::Error::from(io::ErrorKind::OutOfMemory)), session));
        }
        let stream = match self.net.connect(route) {
            Ok(stream) => stream,
            Err(error) => return Err((error, session)),
        };
        let established = stream.is_established();
        let mut flags = Flags::default();
        let mut interest = Interest::Readable;
        if !established {
            flags.set(Flags::CONNECTING | Flags::WRITABLE_WATCHED);
            interest = Interest::ReadableAndWritable;
        }
        let layer = self.net.layer(Origin::Route(route));
        let has_layer = layer.is_some();
        let kept = self.keep(stream, (flags, interest), layer, session);
        let key = kept.map_err(|(error, session)| (no_room(error), session))?;
        if established && !has_layer {
            return Ok(Opened::AtOnce(key));
        }
        if established {
            self.begin_agreeing(key, true);
        }
        Ok(Opened::Waiting(key))
    }

    /// Puts a connection into the table and has it watched; gives the session back if it cannot be.
    pub(crate) fn keep(
        &mut self,
        stream: N::Stream,
        (flags, interest): (Flags, Interest),
        layer: Option<N::Layer>,
        session: S,
    ) -> Result<Key, (io::Error, S)> {
        if self.slots.is_full() {
            return Err((io::ErrorKind::OutOfMemory.into(), session));
        }
        // Who is new comes behind the others until it is known to need little.
        let heft = u8::from(self.shares_work());
        let inserted = self.slots.insert(|generation| Connection {
            stream,
            unsent: NOTHING,
            flags,
            heft,
            generation,
            session,
        });
        let key = inserted.expect("the table is not full");
        if let Some(layer) = layer {
            self.layers.put(key.index(), layer);
        }
        let watched = self.slots.get_mut(key).map_or(Ok(()), |connection| {
            self.net.watch(&connection.stream, Token(key.to_bits()), interest)
        });
        if let Err(error) = watched {
            self.counters.watch_failed += 1;
            let session = self.remove(key).expect("it was put there just now");
            return Err((error, session));
        }
        Ok(key)
    }

    /// Sends bytes, now or as soon as the peer makes room. A key of a connection that is gone is
    /// ignored, and so is what would follow our last word ([`Core::finish`]), or come before the
    /// layers of both ends have agreed.
    ///
    /// # Errors
    /// If the connection is broken, or too many bytes wait already (as [`Failure::NoMemory`]). It
    /// is still in the table: the driver is to [`Core::close`] it.
    #[inline]
    pub fn send(&mut self, key: Key, bytes: &[u8]) -> Result<(), Failure> {
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        if connection.flags.has(Flags::FINISHING | Flags::AGREEING) {
            return Ok(());
        }
        if let Some(number) = self.layers.of(key) {
            return self.send_sealed(key, number, bytes);
        }
        self.transmit(key, bytes)
    }

    /// Sends bytes as they are to travel.
    #[inline]
    pub(crate) fn transmit(&mut self, key: Key, bytes: &[u8]) -> Result<(), Failure> {
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        let mut taken = 0;
        if self.unsent.has_left(connection.unsent) {
            taken = match connection.stream.send(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(Failure::from_io(&error)),
            };
            self.counters.bytes_sent += taken as u64;
            if taken == bytes.len() {
                return Ok(());
            }
        }
        self.queue(key, &bytes[taken..])
    }

    /// Keeps what the kernel did not take, and arms the write: whoever queues bytes has to.
    #[cold]
    fn queue(&mut self, key: Key, rest: &[u8]) -> Result<(), Failure> {
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        self.counters.blocked_writes += 1;
        let unsent = connection.unsent;
        let newly = self.unsent.has_left(unsent);
        self.make_room(key, rest.len());
        let Ok(entry) = self.unsent.append(unsent, rest) else { return Err(self.overfull(key)) };
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        connection.unsent = entry;
        if newly && self.limits.evicts_blocked {
            self.note_blocked(key);
        }
        self.arm(key)
    }

    /// Closes others, if that is how room is made here, until so many bytes fit. Whether they do.
    pub(crate) fn make_room(&mut self, key: Key, bytes: usize) -> bool {
        while self.unsent.room() < bytes {
            if !self.evict(key) {
                return false;
            }
        }
        true
    }

    /// More was to be sent than may wait.
    pub(crate) fn overfull(&mut self, key: Key) -> Failure {
        self.counters.unsent_full += 1;
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.set(Flags::OVERFULL);
        }
        Failure::NoMemory
    }

    /// Has the kernel tell when there is room to write.
    fn arm(&mut self, key: Key) -> Result<(), Failure> {
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        if !connection.flags.has(Flags::WRITABLE_WATCHED) {
            // Registering anew also reports room that has come up in the meantime.
            let watched = self.net.watch_writable(&connection.stream, Token(key.to_bits()));
            watched.map_err(|error| Failure::from_io(&error))?;
            connection.flags.set(Flags::WRITABLE_WATCHED);
        }
        Ok(())
    }

    /// Sends bytes and, behind them, a part of a file that is not empty. The connection is read
    /// from no more until all of it has left, and nothing else may be sent on it before that:
    /// `send` would say that there is no room.
    ///
    /// # Errors
    /// As [`Core::send`]. A file that ends early breaks its connection, now or later: that is to be
    /// closed, and will be reset, so that the peer does not take the end for the whole.
    pub fn send_file(&mut self, key: Key, head: &[u8], part: FilePart) -> Result<(), Failure> {
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        let mut taken = 0;
        if connection.flags.has(Flags::FINISHING | Flags::AGREEING) {
            return Ok(());
        }
        if let Some(number) = self.layers.of(key) {
            self.send_sealed(key, number, head)?;
            taken = head.len();
        } else if self.unsent.has_left(connection.unsent) {
            taken = match connection.stream.send_ahead(head) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(Failure::from_io(&error)),
            };
            self.counters.bytes_sent += taken as u64;
        }
        if taken < head.len() {
            self.queue(key, &head[taken..])?;
        }
        let Some(connection) = self.slots.get_mut(key) else { return Ok(()) };
        let waits = !self.unsent.has_left(connection.unsent);
        connection.unsent = self.unsent.append_file(connection.unsent, part);
        if !waits {
            self.flush(key)?;
        }
        Ok(())
    }

    /// Notes that this connection will be sent something later: until [`Core::pending_sent`] has
    /// been called as often as this, it is not done with, although its peer may have closed.
    pub fn add_pending(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        connection.unsent = self.unsent.add_pending(connection.unsent);
    }

    /// What was pending has been sent, once.
    pub fn pending_sent(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        let at = connection.unsent;
        if !self.unsent.has_pending(at) {
            return;
        }
        let paused = self.unsent.is_paused(at);
        if self.unsent.pending_sent(at) {
            connection.unsent = NOTHING;
            let to_do = Flags::READ_AGAIN | Flags::PEER_FINISHED | Flags::FINISHING;
            if paused || connection.flags.has(to_do) {
                // What had to wait for this goes on in the next turn.
                connection.flags.set(Flags::YIELDED);
                self.mark(key);
            }
        }
    }

    /// Lets this connection be read from no more until all that waits for its peer has left,
    /// however little that is.
    pub fn pause_reads(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        if connection.unsent != NOTHING {
            self.unsent.rest(connection.unsent);
        }
    }

    /// Ends this connection's part in the turn, although there is more to do for it: nothing more
    /// is read from it before the next turn calls [`crate::Driver::on_progress`].
    pub fn yield_turn(&mut self, key: Key) {
        self.counters.sends_budget_hits += 1;
        self.end_turn(key);
    }

    fn end_turn(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        connection.flags.set(Flags::YIELDED);
        self.mark(key);
    }

    /// Adds to the work of this turn what the driver did besides reading, in units of about a
    /// nanosecond; each read counts for `READ_WORK` by itself, and each of its bytes for one.
    #[inline]
    pub fn charge(&mut self, units: u64) {
        self.counters.work += units;
    }

    /// How much work a driver may make of one read, in units. Beyond that the rest of the read is
    /// to be [put back](Core::put_back). No bound, if there is no room for what would be put back:
    /// so little is read at a time then that it does not matter.
    #[inline]
    pub fn work_allowed(&self) -> u64 {
        if self.has_put_back_room() { self.portion } else { u64::MAX }
    }

    #[inline]
    fn has_put_back_room(&self) -> bool {
        self.put_back_bytes <= self.limits.put_back_bytes
    }

    /// Ends this connection's part in the turn before the end of what was read: the rest comes
    /// again in a later turn, behind what others have to say. The connection is read from in
    /// smaller pieces from now on, until its bytes make less work.
    #[cold]
    pub fn put_back(&mut self, key: Key, used: usize, rest: &[u8]) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        if rest.is_empty() || connection.flags.has(Flags::PUT_BACK) {
            return;
        }
        let read_bytes = self.limits.receive_buffer_bytes;
        connection.heft = connection.heft.max(1);
        while read_bytes >> (connection.heft - 1) > used.max(LEAST_READ_BYTES) {
            connection.heft += 1;
        }
        connection.flags.set(Flags::PUT_BACK | Flags::READ_AGAIN);
        self.put_back_bytes += rest.len();
        self.put_back.insert(key, rest.to_vec());
        self.counters.heavy_reads += 1;
        self.end_turn(key);
    }

    /// What was put back, to be worked on now.
    #[cold]
    pub(crate) fn take_put_back(&mut self, key: Key) -> Vec<u8> {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.unset(Flags::PUT_BACK);
        }
        let rest = self.put_back.remove(&key).unwrap_or_default();
        self.put_back_bytes -= rest.len();
        rest
    }

    /// The most that is to be read at a time from a connection of this heft.
    #[inline]
    pub(crate) fn read_bytes_max(&self, heft: u8) -> usize {
        let bytes = self.limits.receive_buffer_bytes;
        let halvings = match heft {
            _ if !self.has_put_back_room() => u8::MAX,
            0 if self.shares_work() => LIGHT_SHIFT,
            _ => heft.saturating_sub(1),
        };
        if halvings == 0 {
            return bytes;
        }
        bytes.checked_shr(halvings.into()).unwrap_or(0).max(LEAST_READ_BYTES.min(bytes))
    }

    /// Whether the work for a connection is bounded at all.
    #[inline]
    fn shares_work(&self) -> bool {
        self.limits.work_per_portion < u64::MAX
    }

    /// Begins a portion of the work for a connection of this heft, and says how much that is. Who
    /// is taken to need little gets less: it comes before the others, and may turn out to need
    /// much.
    #[inline]
    pub(crate) fn begin_portion(&mut self, heft: u8) -> u64 {
        let shift = if heft == 0 && self.shares_work() { LIGHT_SHIFT } else { 0 };
        self.portion = (self.limits.work_per_portion >> shift).max(1);
        self.portion
    }

    /// Notes what the work of a read was, for what comes next from there.
    #[inline]
    pub(crate) fn weigh(&mut self, key: Key, work: u64) {
        let portion = self.limits.work_per_portion;
        let Some(connection) = self.slots.get_mut(key) else { return };
        let heft = connection.heft;
        if work > portion >> LIGHT_SHIFT {
            connection.heft = heft.max(1);
        } else if heft > 1 || (heft == 1 && work <= portion / 8) {
            connection.heft = heft - 1;
        }
    }

    /// Bytes that were read, and wait for the work on them.
    pub fn put_back_bytes(&self) -> usize {
        self.put_back_bytes
    }

    /// Leaves reading from this connection for later: for this turn's end, or the next.
    pub(crate) fn read_later(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.set(Flags::READ_AGAIN);
            self.mark(key);
        }
    }

    fn note_blocked(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        if connection.flags.has(Flags::LISTED) {
            return;
        }
        connection.flags.set(Flags::LISTED);
        self.blocked.push_back(key);
        // Those that are not blocked any more must not pile up.
        if self.blocked.len() > 2 * self.unsent.in_use() + 64 {
            let slots = &mut self.slots;
            self.blocked.retain(|key| {
                let Some(connection) = slots.get_mut(*key) else { return false };
                let stays = connection.unsent != NOTHING;
                if !stays {
                    connection.flags.unset(Flags::LISTED);
                }
                stays
            });
        }
    }

    fn holds_bytes(&mut self, key: Key) -> bool {
        let unsent = self.slots.get_mut(key).map_or(NOTHING, |connection| connection.unsent);
        unsent != NOTHING && !self.unsent.waiting(unsent).is_empty()
    }

    /// Closes the connection that has been blocked for longest, but for `asking`. False if there is
    /// none, or none is to be closed.
    fn evict(&mut self, asking: Key) -> bool {
        let mut asks = false;
        let found = loop {
            let Some(key) = self.blocked.pop_front() else { break None };
            if key == asking {
                asks = true;
            } else if self.holds_bytes(key) {
                break Some(key);
            } else if let Some(connection) = self.slots.get_mut(key) {
                // Who waits for the rest of a file holds no room.
                connection.flags.unset(Flags::LISTED);
            }
        };
        if asks {
            self.blocked.push_front(asking);
        }
        let Some(key) = found else { return false };
        self.counters.unsent_full += 1;
        let marks = self.marks(key);
        let session = self.reset(key);
        self.evicted.extend(session.map(|session| (session, marks)));
        true
    }

    /// Sends what waits, as far as the peer has room and the connection's turn lasts.
    ///
    /// # Errors
    /// If the connection is broken, or the file ends before what was promised of it.
    pub(crate) fn flush(&mut self, key: Key) -> Result<Flushed, Failure> {
        let mut file_bytes = self.limits.file_bytes_per_turn;
        loop {
            let Some(connection) = self.slots.get_mut(key) else { return Ok(Flushed::All) };
            if connection.unsent == NOTHING {
                return Ok(Flushed::All);
            }
            let (sent, is_file) = match self.unsent.next(connection.unsent) {
                Next::Bytes(bytes) => (connection.stream.send(bytes), false),
                Next::File(_) if file_bytes == 0 => {
                    self.yield_turn(key);
                    return Ok(Flushed::Partly);
                }
                Next::File(part) => match self.layers.of(key) {
                    None => (connection.stream.send_file(part, file_bytes), true),
                    Some(number) => match self.seal_piece(key, number, file_bytes)? {
                        0 => return Err(self.file_cut(key)),
                        count => {
                            file_bytes -= count;
                            continue;
                        }
                    },
                },
                Next::Later => return Ok(Flushed::Partly),
            };
            match sent {
                Ok(0) if is_file => return Err(self.file_cut(key)),
                Ok(count) => {
                    self.counters.bytes_sent += count as u64;
                    self.counters.work += count as u64;
                    let all = if is_file {
                        file_bytes -= count;
                        self.unsent.take_file(connection.unsent, count)
                    } else {
                        self.unsent.take(connection.unsent, count)
                    };
                    if all {
                        connection.unsent = NOTHING;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.arm(key)?;
                    return Ok(Flushed::Partly);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::from_io(&error)),
            }
        }
    }

    /// A file has ended before what was promised of it.
    #[cold]
    fn file_cut(&mut self, key: Key) -> Failure {
        self.counters.files_cut += 1;
        if let Some(connection) = self.slots.get_mut(key) {
            connection.stream.reset_on_close();
        }
        Failure::Other
    }

    /// Leaves a mark that brings reading from this connection back in the next turn.
    pub(crate) fn mark(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        if !connection.flags.has(Flags::MARKED) {
            connection.flags.set(Flags::MARKED);
            if connection.flags.has(Flags::AGREEING) {
                self.agree_later(key);
            } else {
                self.marks.push_back(key);
            }
        }
    }

    /// Says that nothing more will be sent: what waits still goes out, then our side closes
    /// (`shutdown(2)`), and the connection ends when the peer has closed its own. Closing at once
    /// would instead reset a connection whose peer is still sending, and destroy our last words on
    /// their way (RFC 1122, section 4.2.2.13). The driver sets the time limit for the wait.
    pub fn finish(&mut self, key: Key) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        if !connection.flags.has(Flags::FINISHING) {
            connection.flags.set(Flags::FINISHING);
            if connection.unsent == NOTHING {
                self.finish_sending(key);
            }
        }
    }

    /// Our last word has left: closes our side, behind the good-bye of the layer, if there is one.
    pub(crate) fn finish_sending(&mut self, key: Key) {
        let layer = self.layers.of(key);
        // A good-bye that has to wait brings this back when it has left.
        if layer.is_none_or(|number| self.say_goodbye(key, number))
            && let Some(connection) = self.slots.get_mut(key)
        {
            connection.stream.finish_sending();
        }
    }

    /// Closes a connection at once, in the ordinary way (FIN), and returns what was kept for it.
    /// Its layer says good-bye if nothing is in the way.
    pub fn close(&mut self, key: Key) -> Option<S> {
        let connection = self.slots.get_mut(key)?;
        if connection.unsent == NOTHING
            && let Some(number) = self.layers.of(key)
        {
            self.say_goodbye(key, number);
        }
        self.remove(key)
    }

    /// The same without a word.
    pub(crate) fn remove(&mut self, key: Key) -> Option<S> {
        let connection = self.slots.remove(key)?;
        if let Some(number) = self.layers.of(key) {
            self.layers.drop_one(key, number, self.net.shared_mut());
        }
        if connection.unsent != NOTHING {
            self.unsent.discard(connection.unsent);
        }
        if connection.flags.has(Flags::PUT_BACK) {
            self.take_put_back(key);
        }
        Some(connection.session)
    }

    /// Closes a connection at once with a reset (RST), which leaves no TIME_WAIT behind.
    pub fn reset(&mut self, key: Key) -> Option<S> {
        self.slots.get_mut(key)?.stream.reset_on_close();
        self.remove(key)
    }
}
