//! `Connection`: one end of a connection from its first byte to its last. It waits for its turn in
//! a few bytes, shakes hands with rustls, and goes on as `Secured`. What all connections of a
//! reactor have together is `Shared`.

use crate::cipher::Contexts;
use crate::handshake::{Failed, Handshake, Step};
use crate::record;
use crate::secured::{Broken, End, Secured};
use crate::setup::Setup;
use crate::tally::{Cause, Tally};
use crate::{Alert, HEADER_BYTES};
use std::fmt;

/// Ciphers that are kept for the connections of a reactor that are busy: those of 128.
pub const CONTEXTS: usize = 256;

/// Connections that rustls may keep behind their handshake, until a ticket has come for the next.
const LINGERING_MAX: usize = 64;

/// What the connections of a reactor have together.
pub struct Shared {
    setups: Vec<Setup>,
    contexts: Contexts,
    partials: Partials,
    lingering: usize,
    /// What came of them.
    pub tally: Tally,
}

impl Shared {
    /// For connections of these setups, which may have so many bytes of records waiting that are
    /// only partly here.
    #[must_use]
    pub fn new(setups: Vec<Setup>, partial_bytes_max: usize) -> Self {
        let contexts = Contexts::new(if setups.is_empty() { 0 } else { CONTEXTS });
        let partials = Partials { bytes_max: partial_bytes_max, ..Partials::default() };
        Self { setups, contexts, partials, lingering: 0, tally: Tally::default() }
    }

    /// Bytes of records that are only partly here, and connections that wait for a ticket.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.partials.bytes, self.lingering)
    }

    /// A connection of the setup of that number. It has said nothing yet.
    #[must_use]
    pub fn connection(&self, setup: usize) -> Option<Connection> {
        (setup < self.setups.len()).then_some(Connection(State::Fresh(setup as u32)))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("tally", &self.tally).finish_non_exhaustive()
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection(State);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all connections are of the largest")]
enum State {
    /// Nothing was said: the number of its setup.
    Fresh(u32),
    /// The handshake is under way, or rustls keeps it until a ticket has come.
    Shaking(Box<Handshake>),
    /// The handshake is done. Where a record lies that is only partly here.
    Secured(Secured, u32),
    /// It has failed.
    Failed,
}

// A million connections times eight bytes is 8 MB.
const _: () = assert!(size_of::<Connection>() == 224);

/// What became of bytes that have come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The handshake is done: bytes may be sealed.
    pub agreed: bool,
    /// Why nothing more is to be opened, if so.
    pub end: Option<End>,
}

impl Connection {
    /// Begins the handshake. The client says something.
    pub fn begin(&mut self, shared: &mut Shared, out: &mut Vec<u8>) {
        let State::Fresh(setup) = self.0 else { return };
        let may_linger = shared.lingering < LINGERING_MAX;
        let Ok(handshake) = shared.setups[setup as usize].connection(may_linger) else {
            // Setups are tried when they are made: this one has worked.
            self.0 = State::Failed;
            return shared.tally.failed(Cause::Unsupported);
        };
        shared.lingering += usize::from(handshake.lingers());
        let mut handshake = Box::new(handshake);
        handshake.begin(out);
        self.0 = State::Shaking(handshake);
    }

    /// Takes bytes that have come, all of them. What they carry is appended to `plain`, what has to
    /// be said to them to `out`.
    pub fn open(
        &mut self,
        shared: &mut Shared,
        mut wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Progress {
        if let State::Fresh(_) = self.0 {
            self.begin(shared, out);
        }
        if let State::Shaking(handshake) = &mut self.0 {
            let was_done = handshake.is_done();
            let (taken, used) = handshake.take(wire, plain, out);
            wire = &wire[used..];
            match taken {
                Ok(Step::More) => return Progress { agreed: false, end: None },
                Ok(Step::Agreed) => {
                    if let Some(facts) = handshake.facts().filter(|_| !was_done) {
                        shared.tally.agreed(&facts, handshake.is_verified());
                    }
                    if handshake.waits_for_ticket() || handshake.heard_goodbye() {
                        let end = handshake.heard_goodbye().then_some(End::Goodbye);
                        return Progress { agreed: true, end };
                    }
                    shared.lingering -= usize::from(handshake.lingers());
                    match handshake.hand_over() {
                        Ok(secured) => self.0 = State::Secured(secured, NOWHERE),
                        Err(failed) => return self.failed(shared, &failed, out),
                    }
                }
                Err(failed) => {
                    shared.lingering -= usize::from(handshake.lingers());
                    return self.failed(shared, &failed, out);
                }
            }
        }
        match &mut self.0 {
            State::Secured(secured, partial) => {
                let end = shared.open(secured, partial, wire, plain, out);
                Progress { agreed: true, end }
            }
            State::Fresh(_) | State::Shaking(_) | State::Failed => {
                let end = Some(End::Broken(Broken::Peer(Alert::INTERNAL_ERROR)));
                Progress { agreed: false, end }
            }
        }
    }

    #[cold]
    fn failed(&mut self, shared: &mut Shared, failed: &Failed, out: &mut Vec<u8>) -> Progress {
        let State::Shaking(handshake) = std::mem::replace(&mut self.0, State::Failed) else {
            return Progress { agreed: false, end: None };
        };
        let is_server = handshake.is_server();
        let broken = shared.tally.handshake_failed(failed, is_server, out);
        Progress { agreed: false, end: Some(End::Broken(broken)) }
    }

    /// Seals bytes that are to be sent.
    ///
    /// # Errors
    /// If nothing more can be sealed: the connection is to be ended.
    #[inline]
    pub fn seal(
        &mut self,
        shared: &mut Shared,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Exhausted> {
        match &mut self.0 {
            State::Secured(secured, _) => {
                let sealed = secured.seal(&mut shared.contexts, plain, out);
                sealed.map_err(|_| {
                    shared.tally.failed(Cause::KeyUsedUp);
                    Exhausted
                })
            }
            State::Shaking(handshake) => handshake.seal(plain, out).map_err(|_| Exhausted),
            State::Fresh(_) | State::Failed => Err(Exhausted),
        }
    }

    /// Seals a record of any kind, as a peer that breaks rules might: for tests. Nothing before the
    /// handshake is done.
    pub fn seal_as(&mut self, shared: &mut Shared, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        if let State::Secured(secured, _) = &mut self.0 {
            secured.say(&mut shared.contexts, kind, content, out);
        }
    }

    /// Says `close_notify`: nothing follows.
    pub fn goodbye(&mut self, shared: &mut Shared, out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Secured(secured, _) => secured.goodbye(&mut shared.contexts, out),
            State::Shaking(handshake) => handshake.goodbye(out),
            State::Fresh(_) | State::Failed => {}
        }
    }

    /// The stream has ended without the peer's `close_notify`.
    pub fn cut(&mut self, shared: &mut Shared) {
        shared.tally.truncated += 1;
    }

    /// The connection is gone: nothing of it is kept.
    pub fn ended(self, shared: &mut Shared) {
        match self.0 {
            State::Secured(secured, partial) => {
                shared.partials.discard(partial);
                secured.end(&mut shared.contexts);
            }
            State::Shaking(handshake) => {
                shared.lingering -= usize::from(handshake.lingers());
            }
            State::Fresh(_) | State::Failed => {}
        }
    }
}

/// Nothing more can be sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exhausted;

impl Shared {
    /// Opens what has come of a connection whose handshake is done. Why it was the last, if so.
    #[inline]
    fn open(
        &mut self,
        secured: &mut Secured,
        partial: &mut u32,
        mut wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<End> {
        if *partial != NOWHERE {
            let (used, end) = self.complete(secured, partial, wire, plain, out);
            if end.is_some() || *partial != NOWHERE {
                return end;
            }
            wire = &wire[used..];
        }
        let opened = secured.open(&mut self.contexts, wire, plain, out);
        if let Some(end) = opened.end {
            self.tally.ended(end);
            return opened.end;
        }
        let rest = &wire[opened.used..];
        if !rest.is_empty() && self.partials.keep(partial, rest).is_err() {
            self.tally.failed(Cause::NoRoom);
            return Some(End::Broken(Broken::Peer(Alert::INTERNAL_ERROR)));
        }
        None
    }

    /// Goes on with the record that was only partly here. How many of the bytes belong to it.
    fn complete(
        &mut self,
        secured: &mut Secured,
        partial: &mut u32,
        wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (usize, Option<End>) {
        let mut used = 0;
        loop {
            let here = self.partials.at(*partial);
            // First the header, then what that says is missing. A header that nobody may send is
            // for `Secured` to answer.
            let want = match record::length(here) {
                Ok(length) => length.unwrap_or(HEADER_BYTES),
                Err(_) => here.len(),
            };
            if want == here.len() {
                let opened = secured.open(&mut self.contexts, here, plain, out);
                self.partials.discard(std::mem::replace(partial, NOWHERE));
                if let Some(end) = opened.end {
                    self.tally.ended(end);
                }
                return (used, opened.end);
            }
            let some = &wire[used..][..(wire.len() - used).min(want - here.len())];
            if some.is_empty() {
                return (used, None);
            }
            used += some.len();
            if self.partials.keep(partial, some).is_err() {
                self.tally.failed(Cause::NoRoom);
                return (used, Some(End::Broken(Broken::Peer(Alert::INTERNAL_ERROR))));
            }
        }
    }
}

/// Names no partial record.
const NOWHERE: u32 = u32::MAX;

/// Records that are only partly here, of a reactor's connections. A connection holds the number of
/// its own only while it has one.
#[derive(Debug, Default)]
struct Partials {
    entries: Vec<Vec<u8>>,
    free: Vec<u32>,
    bytes: usize,
    bytes_max: usize,
}

/// There is no room for more.
#[derive(Debug)]
struct Full;

/// Memory is not given back in smaller pieces than this.
const SHRINK_BYTES_MIN: usize = 4096;

impl Partials {
    fn at(&self, at: u32) -> &[u8] {
        &self.entries[at as usize]
    }

    /// Appends to an entry, or to a new one.
    fn keep(&mut self, at: &mut u32, bytes: &[u8]) -> Result<(), Full> {
        if self.bytes + bytes.len() > self.bytes_max {
            return Err(Full);
        }
        if *at == NOWHERE {
            *at = self.free.pop().unwrap_or_else(|| {
                self.entries.push(Vec::new());
                // One for each connection at the most, and those are counted in 32 bits.
                (self.entries.len() - 1) as u32
            });
        }
        self.bytes += bytes.len();
        self.entries[*at as usize].extend_from_slice(bytes);
        Ok(())
    }

    /// An entry is done with, if there is one.
    fn discard(&mut self, at: u32) {
        let Some(entry) = self.entries.get_mut(at as usize) else { return };
        self.bytes -= entry.len();
        // It is sealed, all of it: nothing of it has to be erased.
        entry.clear();
        if entry.capacity() > SHRINK_BYTES_MIN {
            *entry = Vec::new();
        }
        self.free.push(at);
    }
}
