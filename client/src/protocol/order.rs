//! `Clocks` and `Order`: when the messages of each connection left, first in, first out. Only for
//! peers that answer with something else than they got; everywhere else a message carries its own
//! times.

use super::Times;
use measure::Nanos;

/// The times of the messages on their way, of all connections of a reactor: chains through one
/// table that grows to the most messages that were ever on their way, and stays.
#[derive(Debug)]
pub(crate) struct Clocks {
    links: Vec<Link>,
    free: u32,
}

/// The messages of one connection: eight bytes, kept with the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    times: Times,
    /// When the first byte of its reply came; zero before.
    begun: Nanos,
    next: u32,
    /// See [`super::Owed`].
    repeated: bool,
}

const NONE: u32 = u32::MAX;

impl Default for Chain {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl Default for Clocks {
    fn default() -> Self {
        Self { links: Vec::new(), free: NONE }
    }
}

impl Clocks {
    /// A message has left.
    pub(crate) fn push(&mut self, chain: &mut Chain, times: Times, repeated: bool) {
        let link = Link { times, begun: Nanos::ZERO, next: NONE, repeated };
        let at = match self.free {
            NONE => {
                self.links.push(link);
                (self.links.len() - 1) as u32
            }
            free => {
                self.free = self.links[free as usize].next;
                self.links[free as usize] = link;
                free
            }
        };
        match std::mem::replace(&mut chain.last, at) {
            NONE => chain.first = at,
            before => self.links[before as usize].next = at,
        }
    }

    /// Bytes of the reply to the oldest message have come. The first of them count.
    pub(crate) fn begin(&mut self, chain: &Chain, now: Nanos) {
        if let Some(link) = self.links.get_mut(chain.first as usize)
            && link.begun == Nanos::ZERO
        {
            link.begun = now;
        }
    }

    /// Whether the oldest message was sent before, on a connection that ended without a word.
    pub(crate) fn is_repeated(&self, chain: &Chain) -> bool {
        self.links.get(chain.first as usize).is_some_and(|link| link.repeated)
    }

    /// The times of the oldest message, whose reply has come, and when that began.
    pub(crate) fn pop(&mut self, chain: &mut Chain) -> Option<(Times, Nanos)> {
        let at = chain.first;
        let link = self.links.get_mut(at as usize)?;
        let Link { times, begun, next, .. } = *link;
        link.next = std::mem::replace(&mut self.free, at);
        chain.first = next;
        if next == NONE {
            chain.last = NONE;
        }
        Some((times, begun))
    }
}

/// The same for connections that keep no chain of their own.
#[derive(Debug)]
pub(crate) struct Order {
    /// A connection's place in `chains` is its number divided by this.
    reactors: u32,
    chains: Vec<Chain>,
    clocks: Clocks,
}

impl Order {
    /// For one of so many reactors, whose connections are numbered in turn.
    pub(crate) fn new(reactors: u64) -> Self {
        Self { reactors: reactors as u32, chains: Vec::new(), clocks: Clocks::default() }
    }

    /// A message has left.
    pub(crate) fn push(&mut self, connection: u32, first: bool, intended: Nanos, sent: Nanos) {
        let at = (connection / self.reactors) as usize;
        if at >= self.chains.len() {
            self.chains.resize(at + 1, Chain::default());
        }
        self.clocks.push(&mut self.chains[at], Times { first, intended, sent }, false);
    }

    /// The times of the oldest message of a connection, whose reply has come.
    pub(crate) fn pop(&mut self, connection: u32) -> Option<Times> {
        let chain = self.chains.get_mut((connection / self.reactors) as usize)?;
        self.clocks.pop(chain).map(|(times, _)| times)
    }

    /// A connection has ended.
    pub(crate) fn forget(&mut self, connection: u32) {
        while self.pop(connection).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn each_connection_is_a_queue_and_links_are_used_again(
            steps in prop::collection::vec((0..5u32, 0..4u32), 0..200),
        ) {
            // Reactor 1 of 3 has connections 1, 4, 7 …
            let mut order = Order::new(3);
            let mut model: [VecDeque<u64>; 5] = Default::default();
            let mut most = 0;
            for (time, (connection, step)) in steps.into_iter().enumerate() {
                let (number, queue) = (1 + 3 * connection, &mut model[connection as usize]);
                match step {
                    0 | 1 => {
                        order.push(number, queue.is_empty(), Nanos(time as u64), Nanos(1));
                        queue.push_back(time as u64);
                    }
                    2 => {
                        let popped = order.pop(number).map(|times| times.intended.0);
                        prop_assert_eq!(popped, queue.pop_front());
                    }
                    _ => {
                        order.forget(number);
                        queue.clear();
                    }
                }
                most = most.max(model.iter().map(VecDeque::len).sum());
                prop_assert_eq!(order.clocks.links.len(), most);
            }
        }
    }
}
