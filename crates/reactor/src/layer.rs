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
//! to its driver than one that is still connecting. Each side then ends with a good-bye of its
//! layer: where the stream ends without one it was cut.
//!
//! Which layers there are is known at compile time. Where there are none ([`Plain`]) a slot has no
//! room for one, and no instruction asks.

use crate::core::{Core, Flags};
use crate::network::Network;
use crate::slots::Key;
use crate::unsent::NOTHING;
use measure::Failure;
use std::fmt;
use std::io;

/// Bytes that are sealed at once, and read from a file at once: what the shared buffers grow to.
const PIECE_BYTES: usize = 16 * 1024;

/// One connection's layer.
pub trait Layer: Sized {
    /// How a slot names its connection's layer: `u32`, or `()` where no connection has one.
    type Place: Place;

    /// What is said first, when the connection stands; nothing where the peer begins.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Opens what has come. All of it is taken: a record that is only partly here is kept until the
    /// rest of it comes. What the bytes mean is appended to `plain`, and what has to be said to
    /// them to `out`.
    fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Progress;

    /// Seals bytes that are to be sent. Never called before the layers have agreed, nor after
    /// [`Layer::goodbye`].
    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>);

    /// Says that nothing follows.
    fn goodbye(&mut self, out: &mut Vec<u8>);
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

/// The name of a layer in a slot.
pub trait Place: Copy + fmt::Debug {
    /// Names none.
    const NONE: Self;
    /// Names the layer of that number.
    fn of(number: u32) -> Self;
    /// The number, if a layer is named.
    fn number(self) -> Option<u32>;
}

impl Place for () {
    const NONE: Self = ();

    fn of(_: u32) -> Self {}

    #[inline]
    fn number(self) -> Option<u32> {
        None
    }
}

impl Place for u32 {
    const NONE: Self = Self::MAX;

    fn of(number: u32) -> Self {
        number
    }

    #[inline]
    fn number(self) -> Option<u32> {
        (self != Self::NONE).then_some(self)
    }
}

/// No layer: bytes travel as they are meant.
#[derive(Clone, Copy, Debug)]
pub enum Plain {}

impl Layer for Plain {
    type Place = ();

    fn begin(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    fn open(&mut self, _: &mut [u8], _: &mut Vec<u8>, _: &mut Vec<u8>) -> Progress {
        match *self {}
    }

    fn seal(&mut self, _: &[u8], _: &mut Vec<u8>) {
        match *self {}
    }

    fn goodbye(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }
}

/// The layers of a reactor's connections, and the buffers that they share.
pub(crate) struct Layers<L> {
    layers: Vec<Option<L>>,
    free: Vec<u32>,
    /// What was sealed, on its way to the socket.
    sealed: Vec<u8>,
    /// What was read of a file, on its way to be sealed.
    piece: Vec<u8>,
}

impl<L: Layer> Layers<L> {
    pub(crate) fn new() -> Self {
        Self { layers: Vec::new(), free: Vec::new(), sealed: Vec::new(), piece: Vec::new() }
    }

    /// Keeps a layer, if there is one; how it is named.
    pub(crate) fn put(&mut self, layer: Option<L>) -> L::Place {
        let Some(layer) = layer else { return L::Place::NONE };
        let number = self.free.pop().unwrap_or_else(|| {
            self.layers.push(None);
            // One for each connection at the most, and those are counted in 32 bits.
            (self.layers.len() - 1) as u32
        });
        self.layers[number as usize] = Some(layer);
        L::Place::of(number)
    }

    /// Drops a layer whose connection is gone.
    pub(crate) fn drop_one(&mut self, place: L::Place) {
        if let Some(number) = place.number() {
            self.layers[number as usize] = None;
            self.free.push(number);
        }
    }

    fn get(&mut self, number: u32) -> &mut L {
        self.layers[number as usize].as_mut().expect("it lives as long as its connection")
    }
}

impl<N: Network, S> Core<N, S> {
    /// The layers of this connection begin to agree.
    pub(crate) fn begin_layer(&mut self, key: Key, number: u32) -> Result<(), Failure> {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.set(Flags::AGREEING);
        }
        self.transmit_said(key, number, Layer::begin)
    }

    /// Opens what was read of a connection; the bytes are appended to `plain`.
    pub(crate) fn open_sealed(
        &mut self,
        key: Key,
        number: u32,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        let mut progress = Progress { agreed: false, end: None };
        self.transmit_said(key, number, |layer, out| progress = layer.open(wire, plain, out))?;
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
            self.transmit_said(key, number, |layer, out| layer.seal(piece, out))?;
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
        if let Ok(count @ 1..) = read {
            self.layers.get(number).seal(&piece[..count], &mut sealed);
        }
        let fits = self.make_room(key, sealed.len());
        if fits && let Ok(count) = read {
            self.unsent.replace_file(at, count, &sealed);
        }
        (self.layers.piece, self.layers.sealed) = (piece, sealed);
        if !fits {
            return Err(self.overfull(key));
        }
        read.map_err(|errno| Failure::from_io(&io::Error::from(errno)))
    }

    /// Says the layer's good-bye, once. Whether nothing of it waits.
    pub(crate) fn say_goodbye(&mut self, key: Key, number: u32) -> bool {
        let Some(connection) = self.slots.get_mut(key) else { return true };
        if !connection.flags.has(Flags::AGREEING | Flags::SAID_GOODBYE) {
            connection.flags.set(Flags::SAID_GOODBYE);
            // Whether the connection is broken is for reading from it to tell.
            let _ = self.transmit_said(key, number, Layer::goodbye);
        }
        self.slots.get_mut(key).is_none_or(|connection| connection.unsent == NOTHING)
    }

    /// The layers of a connection have agreed.
    pub(crate) fn agreed(&mut self, key: Key) {
        if let Some(connection) = self.slots.get_mut(key) {
            connection.flags.unset(Flags::AGREEING);
        }
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
        say: impl FnOnce(&mut N::Layer, &mut Vec<u8>),
    ) -> Result<(), Failure> {
        let mut sealed = std::mem::take(&mut self.layers.sealed);
        sealed.clear();
        say(self.layers.get(number), &mut sealed);
        let sent = if sealed.is_empty() { Ok(()) } else { self.transmit(key, &sealed) };
        self.layers.sealed = sealed;
        sent
    }
}
