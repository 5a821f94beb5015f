//! Named source ports: which (address, port) each opening thread may use, counted up.
//!
//! Ports named by the program cost the same from the first to the last, while a kernel that has to
//! find one slows down by two orders of magnitude when half of its range is taken.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

/// The ports that need no privilege: 1,024 to 65,535.
const PORT_FIRST: u32 = 1_024;
const PORTS: u64 = 65_536 - PORT_FIRST as u64;

/// The part of one source address that belongs to one thread.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    address: Ipv4Addr,
    ports: Range<u32>,
}

impl Lane {
    /// The lane of thread `index` of `threads` over `sources` addresses 127.`octet`.x.y. Threads
    /// are dealt out to the addresses in turn; those on the same one split its ports.
    pub(crate) fn new(index: u64, threads: u64, sources: u64, octet: u8) -> Self {
        let (source, position) = (index % sources, index / sources);
        let beside = measure::share(threads, sources, source);
        let start = |part| PORT_FIRST + measure::share_start(PORTS, beside, part) as u32;
        // x.y counts from 0.1: 127.B.0.0 looks like a network's address.
        let [high, low] = (source as u16 + 1).to_be_bytes();
        Self {
            address: Ipv4Addr::new(127, octet, high, low),
            ports: start(position)..start(position + 1),
        }
    }

    /// How many ports are left.
    pub(crate) fn left(&self) -> u64 {
        self.ports.len() as u64
    }
}

impl Iterator for Lane {
    type Item = SocketAddrV4;

    fn next(&mut self) -> Option<SocketAddrV4> {
        self.ports.next().map(|port| SocketAddrV4::new(self.address, port as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn lanes_on_one_address_split_all_its_ports() {
        let mut seen = HashSet::new();
        for index in 0..7 {
            let lane = Lane::new(index, 7, 1, 9);
            assert_eq!(lane.left(), lane.clone().count() as u64);
            for address in lane {
                assert_eq!(*address.ip(), Ipv4Addr::new(127, 9, 0, 1));
                assert!(seen.insert(address.port()), "port {} twice", address.port());
            }
        }
        assert_eq!(seen.len() as u64, PORTS);
        assert!(seen.contains(&1_024) && seen.contains(&65_535));
    }

    #[test]
    fn threads_are_dealt_out_to_the_addresses() {
        let lanes: Vec<Lane> = (0..5).map(|index| Lane::new(index, 5, 2, 1)).collect();
        assert_eq!(lanes[0].address, lanes[2].address);
        assert_ne!(lanes[0].address, lanes[1].address);
        // Three threads share the first address, two the second.
        assert_eq!(lanes[0].left(), PORTS / 3);
        assert_eq!(lanes[1].left(), PORTS / 2);
        assert_eq!(Lane::new(255, 300, 300, 1).address, Ipv4Addr::new(127, 1, 1, 0));
    }
}
