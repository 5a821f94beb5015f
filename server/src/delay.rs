//! `Delayed`: the replies of one reactor that wait for `--delay` to pass.
//!
//! The delay is the same for all, so they fall due in the order in which they came: one queue, no
//! timers. A connection keeps no more than that replies wait for it ([`Core::add_pending`]):
//! reading from it goes on, and it is not closed before they have left.

use crate::session::Session;
use measure::{Failure, Nanos};
use reactor::{Core, FilePart, Key, Network};
use std::collections::VecDeque;

/// One reply, or our last word, that waits. Its bytes are the next ones in the common queue.
#[derive(Debug)]
struct Entry {
    due: Nanos,
    key: Key,
    length: usize,
    file: Option<FilePart>,
    last: bool,
}

/// What a read is answered with.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    /// To be sent; may be empty.
    pub bytes: &'a [u8],
    /// To be sent behind them.
    pub file: Option<FilePart>,
    /// Whether nothing follows.
    pub last: bool,
}

/// What became of a reply that was due.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Whose it was.
    pub key: Key,
    /// Whether it was our last word.
    pub last: bool,
    /// Whether the connection took it.
    pub result: Result<(), Failure>,
}

/// What was delayed, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Replies that had to wait: those of one read are one.
    pub replies: u64,
    /// Those whose connections were gone when they were due.
    pub stale: u64,
    /// Times that a connection was read from no more because half of the room was used up.
    pub paused: u64,
    /// Connections closed because there was no room at all.
    pub full: u64,
}

impl Counts {
    /// Each with its name.
    pub(crate) fn named(&self) -> [(&'static str, u64); 4] {
        let Self { replies, stale, paused, full } = *self;
        [
            ("delayed_replies", replies),
            ("delayed_stale", stale),
            ("delayed_pauses", paused),
            ("delayed_full", full),
        ]
    }
}

/// The replies that wait.
#[derive(Debug)]
pub(crate) struct Delayed {
    delay: Nanos,
    bytes_max: usize,
    entries: VecDeque<Entry>,
    bytes: VecDeque<u8>,
    counts: Counts,
}

impl Delayed {
    /// Nothing waits yet. `bytes_max` bounds what may, with what each reply takes besides.
    pub(crate) fn new(delay: Nanos, bytes_max: usize) -> Self {
        let (entries, bytes) = (VecDeque::new(), VecDeque::new());
        Self { delay, bytes_max, entries, bytes, counts: Counts::default() }
    }

    /// How long each waits.
    pub(crate) fn delay(&self) -> Nanos {
        self.delay
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// When the next one is due, if any waits.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.entries.front().map(|entry| entry.due)
    }

    /// Lets a reply wait from now on.
    ///
    /// # Errors
    /// If there is no room for it: the connection is to be closed.
    pub(crate) fn put<N: Network>(
        &mut self,
        core: &mut Core<N, Session>,
        key: Key,
        words: Words<'_>,
    ) -> Result<(), Failure> {
        let Words { bytes, file, last } = words;
        if bytes.is_empty() && file.is_none() && !last {
            return Ok(());
        }
        if self.bytes() + bytes.len() + size_of::<Entry>() > self.bytes_max {
            self.counts.full += 1;
            return Err(Failure::NoMemory);
        }
        core.add_pending(key);
        let (now, turn_started) = (core.now(), core.turn_started());
        if last && let Some(session) = core.session(key) {
            // The time that the peer has to close begins to count. By the turn's clock, as all such
            // times: one that lies behind the beginning of its turn would look like one of long
            // ago.
            session.since_ms = (turn_started.0 / 1_000_000) as u32;
        }
        let crowded = self.bytes() >= self.bytes_max / 2;
        if crowded {
            self.counts.paused += 1;
        }
        // Behind a file nothing may be sent before all of it has left.
        if crowded || file.is_some() {
            core.pause_reads(key);
        }
        self.counts.replies += 1;
        self.bytes.extend(bytes);
        let due = now + self.delay;
        self.entries.push_back(Entry { due, key, length: bytes.len(), file, last });
        Ok(())
    }

    /// Sends the next reply if it is due by `now`.
    pub(crate) fn send_next<N: Network>(
        &mut self,
        core: &mut Core<N, Session>,
        now: Nanos,
    ) -> Option<Sent> {
        self.next_due().filter(|due| *due <= now)?;
        let Entry { key, length, file, last, .. } = self.entries.pop_front()?;
        let (front, back) = self.bytes.as_slices();
        let front = &front[..length.min(front.len())];
        let back = &back[..length - front.len()];
        let result = if core.session(key).is_none() {
            self.counts.stale += 1;
            Ok(())
        } else {
            send(core, key, [front, back], file)
        };
        core.pending_sent(key);
        self.bytes.drain(..length);
        Some(Sent { key, last, result })
    }
}

/// Sends bytes that lie in two pieces, and a file behind them.
fn send<N: Network>(
    core: &mut Core<N, Session>,
    key: Key,
    [front, back]: [&[u8]; 2],
    file: Option<FilePart>,
) -> Result<(), Failure> {
    let (first, rest) = if back.is_empty() { (&[][..], front) } else { (front, back) };
    if !first.is_empty() {
        core.send(key, first)?;
    }
    match file {
        Some(part) => core.send_file(key, rest, part),
        None if rest.is_empty() => Ok(()),
        None => core.send(key, rest),
    }
}
