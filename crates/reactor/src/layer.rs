//! `Layer`: what may lie between a connection's socket and its driver, and change the bytes on
//! their way.
//!
//! ```text
//!  socket ◄── bytes as they travel ──► Core [ Layer ] ◄── bytes as they are meant ──► Driver
//! ```
//!
//! A connection has a layer or none: where it comes from decides ([`crate::Network::layer`]), so
//! that both kinds live in one reactor. What comes is opened into a buffer that all connections
//! share, what is sent is sealed when it is queued: everything in [`crate::unsent`] is sealed
//! already, and all bounds hold for bytes as they travel. Parts of files are read and sealed piece
//! by piece, as far as a turn lasts.
//!
//! The layers of two ends may have to agree first. Until they have, the connection is no more open
//! to its driver than one that is still connecting. That is much work compared to everything else,
//! so it comes last in a turn, and has a bound there ([`crate::Limits::agreeing_per_turn`]): who
//! has nothing left to agree upon does not wait for those who have. Each side then ends with a
//! good-bye of its layer: where the stream ends without one it was cut.
//!
//! Layers lie beside the table of connections. A reactor none of whose connections has one keeps
//! nothing for them, and asks one question more for each read and send.

use crate::core::{Core, Flags};
use crate::network::Network;
use crate::slots::Key;
use crate::unsent::NOTHING;
use measure::{Failure, Nanos};
use std::collections::{HashMap, VecDeque};
use std::io;

/// Bytes that are sealed at once, and read from a file at once: what the shared buffers grow to.
const PIECE_BYTES: usize = 16 * 1024;

/// One connection's layer.
pub trait Layer: Sized {
    /// What all layers of a reactor share.
    type Shared;

    /// What is said first, when the connection stands; nothing where the peer begins.
    fn begin(&mut self, shared: &mut Self::Shared, out: &mut Vec<u8>);

    /// Opens what has come. All of it is taken: a record that is only partly here is kept until the
    /// rest of it comes. What the bytes mean is appended to `plain`, and what has to be said to
    /// them to `out`.
    fn open(
        &mut self,
        shared: &mut Self::Shared,
        wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Progress;

    /// Seals bytes that are to be sent. Never called before the layers have agreed, nor after
    /// [`Layer::goodbye`].
    ///
    /// # Errors
    /// If nothing more can be sealed: the connection is to be ended.
    fn seal(
        &mut self,
        shared: &mut Self::Shared,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure>;

    /// Says that nothing follows.
    fn goodbye(&mut self, shared: &mut Self::Shared, out: &mut Vec<u8>);

    /// The stream has ended without the peer's good-bye although one was due.
    fn cut(&mut self, shared: &mut Self::Shared);

    /// The connection is gone.
    fn ended(self, shared: &mut Self::Shared);

    /// What became of layers, where they are TLS.
    fn tally(_: &Self::Shared) -> Option<&tls::Tally> {
        None
    }
}

/// How far a layer has come with what was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Both layers have agreed: bytes may be sealed.
    pub agreed: bool,
    /// Nothing more is to be opened.
    pub end: Option<End>,
}

/// Why nothing more is to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer said its good-bye.
    Goodbye,
    /// The peer broke a rule.
    Broken,
}

/// How the layers of a connection's two ends came to agree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Agreement {
    /// When the connection stood below them.
    pub since: Nanos,
    /// How long in all it has waited for its turn: our part of the time that agreeing took.
    pub waited: Nanos,
}

/// A connection whose layers have not agreed yet.
#[derive(Debug)]
struct Agreeing {
    agreement: Agreement,
    /// Its work has begun: it holds what a handshake needs.
    begun: bool,
}

/// Names no layer.
const NONE: u32 = u32::MAX;

/// The layers of a reactor's connections, and the buffers that they share.
pub(crate) struct Layers<L> {
    /// For each slot the number of its connection's layer. Empty until there is one.
    numbers: Vec<u32>,
    /// Reserved as a whole with the first: what lies here is never moved, since a copy left behind
    /// would outlive its connection.
    layers: Vec<Option<L>>,
    free: Vec<u32>,
    slots: usize,
    agreeing: HashMap<Key, Agreeing>,
    /// Of those the number whose work has begun.
    begun: usize,
    begun_max: usize,
    /// Those that have something to agree upon, and since when.
    due: VecDeque<(Key, Nanos)>,
    /// Those whose work may not begin yet, since it has for as many as may be.
    held: VecDeque<(Key, Nanos)>,
    /// What was sealed, on its way to the socket.
    sealed: Vec<u8>,
    /// What was read of a file, on its way to be sealed.
    piece: Vec<u8>,
}

impl<L: Layer> Layers<L> {
    pub(crate) fn new(slots: usize, begun_max: usize) -> Self {
        Self {
            numbers: Vec::new(),
            layers: Vec::new(),
            free: Vec::new(),
            slots,
            agreeing: HashMap::new(),
            begun: 0,
            begun_max,
            due: VecDeque::new(),
            held: VecDeque::new(),
            sealed: Vec::new(),
            piece: Vec::new(),
        }
    }

    /// Keeps the layer of the connection in that slot.
    pub(crate) fn put(&mut self, slot: usize, layer: L) {
        if self.layers.capacity() == 0 {
            self.numbers.reserve_exact(self.slots);
            self.layers.reserve_exact(self.slots);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.layers.push(None);
            // One for each connection at the most, and those are counted in 32 bits.
            (self.layers.len() - 1) as u32
        });
        self.layers[number as usize] = Some(layer);
        if self.numbers.len() <= slot {
            self.numbers.resize(slot + 1, NONE);
        }
        self.numbers[slot] = number;
    }

    /// The number of the layer of a connection, if it has one.
    #[inline]
    pub(crate) fn of(&self, key: Key) -> Option<u32> {
        let number = *self.numbers.get(key.index())?;
        (number != NONE).then_some(number)
    }

    /// Drops the layer of a connection that is gone.
    #[cold]
    pub(crate) fn drop_one(&mut self, key: Key, number: u32, shared: &mut L::Shared) {
        self.numbers[key.index()] = NONE;
        if let Some(layer) = self.layers[number as usize].take() {
            layer.ended(shared);
        }
        self.free.push(number);
        self.end_agreeing(key);
    }

    fn get(&mut self, number: u32) -> &mut L {
        self.layers[number as usize].as_mut().expect("it lives as long as its connection")
    }

    /// A connection has come to its end, or to agreement. Its place goes to one that is held.
    fn end_agreeing(&mut self, key: Key) -> Option<Agreement> {
        let Agreeing { agreement, begun } = self.agreeing.remove(&key)?;
        if begun {
            self.begun -= 1;
            // Some of those that are held may be gone.
            while let Some(next) = self.held.pop_front() {
                if self.agreeing.contains_key(&next.0) {
                    self.due.push_back(next);
                    break;
                }
            }
        }
        Some(agreement)
    }

    /// Puts off the work on a connection until there is room for it.
    #[cold]
    fn hold(&mut self, key: Key, since: Nanos) {
        // Those that are gone must not pile up.
        if self.held.len() > 2 * self.agreeing.len() + 64 {
            self.held.retain(|(key, _)| self.agreeing.contains_key(key));
        }
        self.held.push_back((key, since));
    }

    /// Whether work on an agreement is due.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }
}

impl<N: Network, S> Core<N, S> {
    /// The layers of this connection are to agree, from now on. They begin at once where we speak
    /// first, otherwise when something comes.
    pub(crate) fn begin_agreeing(&mut self, key: Key, speaks: bool) {
        let Some(connection) = self.slots.get_mut(key) else { return };
        connection.flags.set(Flags::AGREEING);
        let since = self.net.now();
        let agreement = Agreement { since, waited: Nanos::ZERO };
        self.layers.agreeing.insert(key, Agreeing { agreement, begun: false });
        if speaks {
            connection.flags.set(Flags::MARKED);
            self.layers.due.push_back((key, since));
        }
    }

    /// Work on an agreement of this connection has come up.
    pub(crate) fn agree_later(&mut self, key: Key) {
        self.layers.due.push_back((key, self.turn_started));
    }

    /// The next connection whose agreement is to be worked on. Its layer has said what comes first.
    /// If saying that failed: why.
    pub(crate) fn next_agreeing(&mut self, now: Nanos) -> Option<(Key, Result<(), Failure>)> {
        loop {
            let (key, since) = self.layers.due.pop_front()?;
            let Some(agreeing) = self.layers.agreeing.get_mut(&key) else { continue };
            if !agreeing.begun && self.layers.begun >= self.layers.begun_max {
                self.counters.handshakes_held += 1;
                self.layers.hold(key, since);
                continue;
            }
            agreeing.agreement.waited += now - since;
            if std::mem::replace(&mut agreeing.begun, true) {
                return Some((key, Ok(())));
            }
            self.layers.begun += 1;
            let Some(number) = self.layers.of(key) else { continue };
            let begun = self.transmit_said(key, number, |layer, shared, out| {
                layer.begin(shared, out);
                Ok(())
            });
            return Some((key, begun));
        }
    }

    /// How the layers of a connection came to agree, while its driver hears of that.
    #[must_use]
    pub fn agreement(&self, key: Key) -> Option<Agreement> {
        self.agreed.filter(|(agreed, _)| *agreed == key).map(|(_, agreement)| agreement)
    }

    /// Connections whose layers have not agreed yet.
    #[must_use]
    pub fn agreeing(&self) -> usize {
        self.layers.agreeing.len()
    }

    /// Those of them that wait for their turn here, and not for their peers.
    #[must_use]
    pub fn agreements_due(&self) -> usize {
        self.layers.due.len() + self.layers.held.len()
    }

    /// What became of handshakes and connections with TLS, where there may be some.
    #[must_use]
    pub fn tls(&self) -> Option<&tls::Tally> {
        N::Layer::tally(self.net.shared())
    }

    /// Opens what was read of a connection; the bytes are appended to `plain`.
    pub(crate) fn open_sealed(
        &mut self,
        key: Key,
        number: u32,
        wire: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        let mut progress = Progress { agreed: false, end: None };
        self.transmit_said(key, number, |layer, shared, out| {
            progress = layer.open(shared, wire, plain, out);
            Ok(())
        })?;
        Ok(progress)
    }

    /// Sends bytes on a connection with a layer.
    pub(crate) fn send_sealed(
        &mut self,
        key: Key,
        number: u32,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.transmit_said(key, number, |layer, shared, out| layer.seal(shared, piece, out))?;
        }
        Ok(())
    }

    /// Reads the next bytes of the file that this connection is sent, `most` at the most, and
    /// queues them sealed. How many those were; 0 says that the file ends before they do.
    pub(crate) fn seal_piece(
        &mut self,
        key: Key,
        number: u32,
        most: usize,
    ) -> Result<usize, Failure> {
        let Some(connection) = self.slots.get_mut(key) else { return Ok(0) };
        let at = connection.unsent;
        let Some(part) = self.unsent.file(at) else { return Ok(0) };
        let most = part.left().min(most.min(PIECE_BYTES) as u64) as usize;
        let mut piece = std::mem::take(&mut self.layers.piece);
        piece.resize(PIECE_BYTES, 0);
        let read = rustix::io::pread(part.file(), &mut piece[..most], part.at());
        let mut sealed = std::mem::take(&mut self.layers.sealed);
        sealed.clear();
        let mut done = Ok(());
        if let Ok(count @ 1..) = read {
            let shared = self.net.shared_mut();
            done = self.layers.get(number).seal(shared, &piece[..count], &mut sealed);
        }
        let fits = self.make_room(key, sealed.len());
        if fits && let (Ok(count), Ok(())) = (read, done) {
            self.unsent.replace_file(at, count, &sealed);
        }
        (self.layers.piece, self.layers.sealed) = (piece, sealed);
        if !fits {
            return Err(self.overfull(key));
        }
        done?;
        read.map_err(|errno| Failure::from_io(&io::Error::from(errno)))
    }

    /// Says the layer's good-bye, once. Whether nothing of it waits.
    pub(crate) fn say_goodbye(&mut self, key: Key, number: u32) -> bool {
        let Some(connection) = self.slots.get_mut(key) else { return true };
        if !connection.flags.has(Flags::AGREEING | Flags::SAID_GOODBYE) {
            connection.flags.set(Flags::SAID_GOODBYE);
            // Whether the connection is broken is for reading from it to tell.
            let _ = self.transmit_said(key, number, |layer, shared, out| {
                layer.goodbye(shared, out);
                Ok(())
            });
        }
        self.slots.get_mut(key).is_none_or(|connection| connection.unsent == NOTHING)
    }

    /// The layers of a connection have agreed.
    pub(crate) fn agreed(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.unset(Flags::AGREEING);
        }
        self.agreed = self.layers.end_agreeing(key).map(|agreement| (key, agreement));
        if let Some((_, agreement)) = self.agreed {
            self.times.agreeing_wait.record(agreement.waited.0);
        }
    }

    /// The stream of a connection has ended too early.
    pub(crate) fn cut(&mut self, number: u32) {
        self.layers.get(number).cut(self.net.shared_mut());
    }

    /// The peer's layer has said good-bye: nothing more is read but what was put back.
    pub(crate) fn heard_goodbye(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.set(Flags::HEARD_GOODBYE);
        }
    }

    /// Whether the layers of a connection have not agreed yet.
    #[inline]
    pub(crate) fn is_agreeing(&mut self, key: Key) -> bool {
        self.slots.get_mut(key).is_some_and(|connection| connection.flags.has(Flags::AGREEING))
    }

    /// Has a layer say something, and sends that.
    fn transmit_said(
        &mut self,
        key: Key,
        number: u32,
        say: impl FnOnce(
            &mut N::Layer,
            &mut <N::Layer as Layer>::Shared,
            &mut Vec<u8>,
        ) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut sealed = std::mem::take(&mut self.layers.sealed);
        sealed.clear();
        let said = say(self.layers.get(number), self.net.shared_mut(), &mut sealed);
        let sent = if sealed.is_empty() { Ok(()) } else { self.transmit(key, &sealed) };
        self.layers.sealed = sealed;
        said.and(sent)
    }
}
