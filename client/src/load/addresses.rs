//! `Tuples`: the exact set of four-tuples that a run may use, and how they are handed out. Pure.
//!
//! The ports are named here and not picked by the kernel: its own search is quick until half of the
//! range is used and then falls from 29,000 to 160 connections per second.

use reactor::Route;
use std::net::{IpAddr, SocketAddr};

/// All four-tuples from some sources to some targets, in a fixed order: the target changes fastest,
/// then the source, then the port. Any stretch of it is hence spread evenly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tuples {
    targets: Vec<SocketAddr>,
    v4: Sources,
    v6: Sources,
    first_port: u16,
    ports: u64,
}

/// Sources of one family. Those on loopback reach targets on loopback only, the others reach all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Sources {
    all: Vec<IpAddr>,
    far: Vec<IpAddr>,
}

impl Sources {
    fn new(all: impl Iterator<Item = IpAddr>) -> Self {
        let all: Vec<IpAddr> = all.collect();
        let far = all.iter().copied().filter(|source| !source.is_loopback()).collect();
        Self { all, far }
    }
}

impl Tuples {
    /// The tuples from each source, at each port of `first..=last`, to each target that it reaches.
    #[must_use]
    pub fn new(targets: Vec<SocketAddr>, sources: &[IpAddr], first: u16, last: u16) -> Self {
        let of_family =
            |v4| Sources::new(sources.iter().copied().filter(move |s| s.is_ipv4() == v4));
        let ports = u64::from(last.saturating_sub(first)) + u64::from(first <= last);
        Self { targets, v4: of_family(true), v6: of_family(false), first_port: first, ports }
    }

    /// The targets, in the order given.
    #[must_use]
    pub fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// The sources that reach a target.
    #[must_use]
    pub fn sources_for(&self, target: &SocketAddr) -> &[IpAddr] {
        let sources = if target.is_ipv4() { &self.v4 } else { &self.v6 };
        if target.ip().is_loopback() { &sources.all } else { &sources.far }
    }

    /// One past the highest number that [`Tuples::route`] may know.
    #[must_use]
    pub fn end(&self) -> u64 {
        let rounds = self.targets.iter().map(|target| self.sources_for(target).len() as u64);
        rounds.max().unwrap_or(0) * self.ports * self.targets.len() as u64
    }

    /// How many tuples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let to = |target: &SocketAddr| {
            let sources = self.sources_for(target);
            let ports = u64::from(self.first_port)..u64::from(self.first_port) + self.ports;
            let itself = sources.contains(&target.ip()) && ports.contains(&target.port().into());
            sources.len() as u64 * self.ports - u64::from(itself)
        };
        self.targets.iter().map(to).sum()
    }

    /// Tuple number `n`; `None` where that target has no source left.
    #[must_use]
    pub fn route(&self, n: u64) -> Option<Route> {
        let targets = self.targets.len() as u64;
        let target = self.targets[(n % targets) as usize];
        let sources = self.sources_for(&target);
        let (round, count) = (n / targets, sources.len() as u64);
        if count == 0 || round / count >= self.ports {
            return None;
        }
        let source = sources[(round % count) as usize];
        let mut source = SocketAddr::new(source, self.first_port + (round / count) as u16);
        if let (SocketAddr::V6(from), SocketAddr::V6(to)) = (&mut source, &target)
            && from.ip().is_unicast_link_local()
        {
            // It lies in its target's zone.
            from.set_scope_id(to.scope_id());
        }
        // A port serves one target alone, unless several targets have to share the ports.
        let share_port = targets > 1;
        // A socket can connect to itself (RFC 9293 3.5, simultaneous open), which proves nothing.
        (source != target).then_some(Route { source: Some(source), target, share_port })
    }
}

/// One reactor's part of the tuples: every k-th. Two reactors never try the same one, and each has
/// spare ones for those that turn out to be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HandOut {
    first: u64,
    next: u64,
    step: u64,
}

impl HandOut {
    /// The part of reactor `index` of `reactors`.
    #[must_use]
    pub fn new(index: u64, reactors: u64) -> Self {
        Self { first: index, next: index, step: reactors }
    }

    /// Begins again with the first: those whose connections have ended can be used once more.
    pub fn rewind(&mut self) {
        self.next = self.first;
    }

    /// The next tuple of this part; `None` when there is none left.
    pub fn next(&mut self, tuples: &Tuples) -> Option<Route> {
        while self.next < tuples.end() {
            let route = tuples.route(self.next);
            self.next += self.step;
            if route.is_some() {
                return route;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn target(number: u16, v6: bool) -> SocketAddr {
        let ip: IpAddr = if v6 { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() };
        SocketAddr::new(ip, 9000 + number)
    }

    fn source(number: u8, v6: bool) -> IpAddr {
        if v6 {
            [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into()
        } else {
            [127, 1, 0, number].into()
        }
    }

    #[test]
    fn one_source_and_one_target_count_the_ports_up() {
        let tuples = Tuples::new(vec![target(0, false)], &[source(1, false)], 5000, 5002);
        let ports: Vec<u16> =
            (0..5).filter_map(|n| tuples.route(n)?.source.map(|s| s.port())).collect();
        assert_eq!(ports, [5000, 5001, 5002]);
        assert_eq!((tuples.count(), tuples.end()), (3, 3));
        assert!(!tuples.route(0).expect("there").share_port);
    }

    #[test]
    fn nobody_connects_to_itself_and_loopback_reaches_loopback_only() {
        let near = target(0, false);
        let far = SocketAddr::from(([192, 0, 2, 1], 80));
        let tuples = Tuples::new(vec![near], &[near.ip()], 8999, 9001);
        assert_eq!(tuples.count(), 2);
        assert_eq!((0..tuples.end()).filter_map(|n| tuples.route(n)).count(), 2);
        let own = IpAddr::from([192, 0, 2, 9]);
        let tuples = Tuples::new(vec![near, far], &[source(1, false), own], 5000, 5000);
        assert_eq!(tuples.sources_for(&near), [source(1, false), own]);
        assert_eq!(tuples.sources_for(&far), [own]);
        assert_eq!(tuples.count(), 3);
        assert_eq!((0..tuples.end()).filter_map(|n| tuples.route(n)).count(), 3);
    }

    proptest! {
        #[test]
        fn reactors_hand_out_every_tuple_exactly_once(
            targets in prop::collection::vec(any::<bool>(), 1..5),
            v4 in 0..4u8, v6 in 0..4u8, ports in 1..30u16, reactors in 1..9u64,
        ) {
            let targets: Vec<_> = (0..).zip(&targets).map(|(i, v6)| target(i, *v6)).collect();
            let sources: Vec<_> =
                (0..v4).map(|n| source(n, false)).chain((0..v6).map(|n| source(n, true))).collect();
            let tuples = Tuples::new(targets.clone(), &sources, 1000, 1000 + ports - 1);
            let mut seen = HashSet::new();
            for index in 0..reactors {
                let mut part = HandOut::new(index, reactors);
                let first = part.next(&tuples);
                while part.next(&tuples).is_some() {}
                part.rewind();
                prop_assert_eq!(part.next(&tuples), first);
                part.rewind();
                while let Some(route) = part.next(&tuples) {
                    let source = route.source.expect("named");
                    prop_assert_eq!(source.is_ipv4(), route.target.is_ipv4());
                    prop_assert!((1000..1000 + ports).contains(&source.port()));
                    prop_assert!(sources.contains(&source.ip()) && targets.contains(&route.target));
                    prop_assert!(seen.insert((source, route.target)), "handed out twice");
                }
            }
            prop_assert_eq!(seen.len() as u64, tuples.count());
        }
    }
}
