//! What a diagnosis rests on: what both ends counted before and after, and how connections failed.

use super::Counters;
use crate::preflight::descriptors_per_table;
use measure::Failure;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a server says of itself: the part of its snapshot that the doctor reads. Servers that are
/// not ours say nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Server {
    /// Connections that are open.
    pub connections: u64,
    /// Connections that it is to hold at the most.
    pub connections_max: u64,
    /// Connections that it turned away because that or a table was full.
    pub refused_full: u64,
    /// Descriptors that one table may hold.
    pub descriptors_limit: u64,
    /// The accept queue's length as asked for.
    pub backlog: u64,
    /// Each address that it listens on.
    pub listeners: Vec<Listener>,
    /// Counters of its event loops, by name.
    pub counters: BTreeMap<String, u64>,
    /// Its reactors.
    pub reactors: Vec<ServerReactor>,
    /// What its kernel has counted.
    pub kernel: Option<Counters>,
}

/// An address that the server listens on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Listener {
    /// Its URL.
    pub url: String,
    /// What its kernel has turned away there; `None` where it does not tell.
    pub turned_away: Option<u64>,
}

/// A reactor of that server: that it is there is all that is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct ServerReactor {
    /// Its number.
    pub index: u64,
}

impl Server {
    /// Whether it turned connections away for want of descriptors: it is to hold more than a table
    /// has room for, and does not hold as many.
    pub(super) fn lacks_descriptors(&self) -> bool {
        let room = descriptors_per_table(self.descriptors_limit, self.reactors.len() as u64);
        self.connections_max > room && self.connections < self.connections_max
    }
}

/// An end before and after what is asked about.
#[derive(Debug)]
pub struct Span<'a, T> {
    /// The earlier look.
    pub before: &'a T,
    /// The later one.
    pub after: &'a T,
}

// Derived, these would ask it of `T`.
impl<T> Copy for Span<'_, T> {}

impl<T> Clone for Span<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Span<'_, T> {
    /// How much a count has grown.
    pub(super) fn grown(&self, count: impl Fn(&T) -> u64) -> u64 {
        count(self.after).saturating_sub(count(self.before))
    }
}

/// All that a diagnosis rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What the client's kernel has counted.
    pub here: Span<'a, Counters>,
    /// What the server says, where it has been asked.
    pub server: Option<Span<'a, Server>>,
    /// Both ends are in one network namespace: what the kernel counts here is the server's too.
    pub same_host: bool,
    /// Connections opened.
    pub opened: u64,
    /// Connections that could not be.
    pub failed: u64,
    /// No connection has been opened for a while although some are under way.
    pub stalled: bool,
    /// Failures by kind, in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::COUNT],
    /// Descriptors of one table of the client.
    pub descriptors_limit: u64,
    /// The client's source addresses.
    pub sources: &'a [String],
    /// What it connects to: addresses with ports.
    pub targets: &'a [String],
}

impl<'a> Evidence<'a> {
    pub(super) fn failures(&self, kind: Failure) -> u64 {
        self.failures[kind as usize]
    }

    /// The kernel that the server's listeners live in, where it can be seen.
    pub(super) fn server_kernel(&self) -> Option<Span<'a, Counters>> {
        if self.same_host {
            return Some(self.here);
        }
        let Span { before, after } = self.server?;
        Some(Span { before: before.kernel.as_ref()?, after: after.kernel.as_ref()? })
    }

    /// Every kernel that can be seen, each once, with how to name its machine.
    pub(super) fn kernels(&self) -> impl Iterator<Item = (&'static str, Span<'a, Counters>)> {
        let far = if self.same_host { None } else { self.server_kernel() };
        [("this machine", self.here)]
            .into_iter()
            .chain(far.map(|far| ("the server's machine", far)))
    }

    /// A counter of the server's event loops.
    pub(super) fn server_loop(&self, name: &str) -> u64 {
        let count = |server: &Server| server.counters.get(name).copied().unwrap_or(0);
        self.server.map_or(0, |server| server.grown(count))
    }
}
