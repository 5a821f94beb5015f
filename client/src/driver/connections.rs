//! `Connections`: what one reactor knows of its connections beside their slots: its share of them
//! and of the four-tuples, who is in the making, who is leaving.

use super::ending::Leaving;
use super::opening::{Attempt, Opening};
use crate::load::Load;
use crate::load::addresses::Hands;
use crate::load::lanes::Places;
use measure::share;
use reactor::{Key, Sweep};
use std::collections::HashMap;

/// The connections of one reactor.
#[derive(Debug)]
pub(super) struct Connections {
    /// Connections of this reactor's share, and how many were begun so far.
    pub(super) share: u64,
    pub(super) begun: u64,
    /// Their places in the order of all.
    pub(super) places: Places,
    pub(super) hands: Hands,
    /// Four-tuples are handed out more than once.
    pub(super) tuples_again: bool,
    /// The attempt that each connection in the making is at; nothing where there is one address.
    pub(super) attempts: HashMap<Key, Attempt>,
    several_addresses: bool,
    pub(super) opening: Opening,
    pub(super) leaving: Leaving,
    /// Finds those that wait for a reply for too long.
    pub(super) sweep: Sweep,
    /// Audited connections are stamped as they open.
    pub(super) stamping: bool,
}

impl Connections {
    /// Those of reactor `index`. `renewed`: some will end by agreement and be replaced.
    pub(super) fn new(index: u64, load: &Load, renewed: bool) -> Self {
        Self {
            share: share(load.connections, load.reactors, index),
            begun: 0,
            places: load.lanes.places(index as usize, load.connections),
            hands: Hands::new(&load.addresses, index, load.reactors),
            tuples_again: renewed || load.opens_again(),
            attempts: HashMap::new(),
            several_addresses: load.addresses.all().len() > 1,
            opening: Opening::default(),
            leaving: Leaving::default(),
            sweep: Sweep::for_limit(load.reply_timeout),
            stamping: false,
        }
    }

    /// An attempt has begun.
    pub(super) fn begin_attempt(&mut self, key: Key, attempt: Attempt) {
        if self.several_addresses {
            self.attempts.insert(key, attempt);
        }
    }

    /// The attempt that a connection is at; the first at the only address where there is one.
    pub(super) fn attempt(&self, key: Key) -> Attempt {
        self.attempts.get(&key).copied().unwrap_or_default()
    }

    /// The attempt has come to its end that a connection was at.
    pub(super) fn end_attempt(&mut self, key: Option<Key>) -> Attempt {
        match key {
            Some(key) if self.several_addresses => self.attempts.remove(&key).unwrap_or_default(),
            _ => Attempt::default(),
        }
    }
}
