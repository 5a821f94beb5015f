//! `Order`: when the messages of each connection left, first in, first out. Only for peers that answer
//! with something else than they got; everywhere else a message carries its own times.

use super::Times;
use measure::Nanos;

/// The times of the messages on their way, of all connections of a reactor: chains through one table
/// that grows to the most messages that were ever on their way, and stays.
#[derive(Debug)]
pub(crate) struct Order {
    /// A connection's place in `chains` is its number divided by this.
    reactors: u32,
    chains: Vec<Chain>,
    links: Vec<Link>,
    free: u32,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    times: Times,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Order {
    /// For one of so many reactors, whose connections are numbered in turn.
    pub(crate) fn new(reactors: u64) -> Self {
        Self { reactors: reactors as u32, chains: Vec::new(), links: Vec::new(), free: NONE }
    }

    fn chain(&mut self, connection: u32) -> &mut Chain {
        let at = (connection / self.reactors) as usize;
        if at >= self.chains.len() {
            self.chains.resize(at + 1, Chain { first: NONE, last: NONE });
        }
        &mut self.chains[at]
    }

    /// A message has left.
    pub(crate) fn push(&mut self, connection: u32, first: bool, intended: Nanos, sent: Nanos) {
        let link = Link { times: Times { first, intended, sent }, next: NONE };
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
        let chain = self.chain(connection);
        let before = std::mem::replace(&mut chain.last, at);
        match before {
            NONE => chain.first = at,
            before => self.links[before as usize].next = at,
        }
    }

    /// The times of the oldest message of a connection, whose reply has come.
    pub(crate) fn pop(&mut self, connection: u32) -> Option<Times> {
        let chain = self.chain(connection);
        let at = chain.first;
        if at == NONE {
            return None;
        }
        let Link { times, next } = self.links[at as usize];
        let chain = self.chain(connection);
        chain.first = next;
        if next == NONE {
            chain.last = NONE;
        }
        self.links[at as usize].next = self.free;
        self.free = at;
        Some(times)
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
                prop_assert_eq!(order.links.len(), most);
            }
        }
    }
}
