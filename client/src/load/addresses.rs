//! `Addresses`: where the connections of a run go, which address of a name comes after which, and
//! the exact set of four-tuples (`Tuples`) that may be used for that, and how they are handed out.
//! Pure.
//!
//! The ports are named here and not picked by the kernel: its own search is quick until half of the
//! range is used and then falls from 29,000 to 160 connections per second.

use reactor::Route;
use std::net::{IpAddr, SocketAddr};

/// The addresses of a name in the order in which they are tried (RFC 8305 4): as they were found,
/// which is by preference (RFC 6724), but with the families in turn, so that one that does not work
/// at all costs one attempt. Each is there once.
#[must_use]
pub(crate) fn interleaved(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut once: Vec<SocketAddr> = Vec::with_capacity(found.len());
    for at in found {
        if !once.contains(&at) {
            once.push(at);
        }
    }
    let v4_first = once.first().is_some_and(SocketAddr::is_ipv4);
    let (first, other): (Vec<_>, Vec<_>) = once.iter().partition(|at| at.is_ipv4() == v4_first);
    let (mut first, mut other) = (first.into_iter(), other.into_iter());
    once.iter().flat_map(|_| [first.next(), other.next()]).flatten().collect()
}

/// One address of a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// Which target it is of.
    pub(crate) target: u16,
    /// The address.
    pub(crate) at: SocketAddr,
    /// The number of the one that is tried after it, in a circle.
    next: u32,
}

/// The addresses of all targets that can be reached, and the four-tuples to them. A connection
/// begins with the first address of its target, or with each in its turn, and goes on with the
/// next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Addresses {
    all: Vec<Address>,
    /// The most addresses that one target has.
    most: u32,
    /// The number of the address that each target of `first` is.
    numbers: Vec<u32>,
    /// The four-tuples with which connections begin.
    first: Tuples,
    /// Those to each address alone, with which they go on; none where each target has one address.
    further: Vec<Tuples>,
}

impl Addresses {
    /// The addresses of each target in their order, as far as one of the sources reaches them. With
    /// `spread` connections begin with all of them in turn, else with the first of each.
    #[must_use]
    pub(crate) fn new(
        targets: &[Vec<SocketAddr>],
        sources: &[IpAddr],
        (first_port, last_port): (u16, u16),
        spread: bool,
    ) -> Self {
        let to = |targets| Tuples::new(targets, sources, first_port, last_port);
        let every = to(targets.iter().flatten().copied().collect());
        let (mut all, mut numbers, mut most) = (Vec::new(), Vec::new(), 0);
        for (target, addresses) in (0..).zip(targets) {
            let reached = addresses.iter().filter(|at| !every.sources_for(at).is_empty());
            let begin = all.len() as u32;
            for (next, at) in (begin + 1..).zip(reached) {
                all.push(Address { target, at: *at, next });
            }
            let end = all.len() as u32;
            most = most.max(end - begin);
            if let Some(last) = all.last_mut().filter(|_| end > begin) {
                last.next = begin;
                numbers.extend(if spread { begin..end } else { begin..begin + 1 });
            }
        }
        // A port serves one address alone, unless several have to share the ports.
        let several = |v4| all.iter().filter(|address| address.at.is_ipv4() == v4).count() > 1;
        let shared = (several(true), several(false));
        let first = numbers.iter().map(|number| all[*number as usize].at).collect();
        let first = to(first).sharing(shared);
        let further = all.iter().filter(|_| most > 1);
        let further = further.map(|address| to(vec![address.at]).sharing(shared).backwards());
        Self { most: most.max(1), numbers, first, further: further.collect(), all }
    }

    /// All of them, target by target.
    #[must_use]
    pub(crate) fn all(&self) -> &[Address] {
        &self.all
    }

    /// The four-tuples with which connections begin.
    #[must_use]
    pub(crate) fn first(&self) -> &Tuples {
        &self.first
    }

    /// The most addresses that one target has: so often may a connection be tried.
    #[must_use]
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// The target that address number `at` is of.
    #[must_use]
    pub(crate) fn target(&self, at: u32) -> u16 {
        self.all[at as usize].target
    }

    /// The number of the address that is tried after `at`; in the end that is the one begun with.
    #[must_use]
    pub(crate) fn after(&self, at: u32) -> u32 {
        self.all[at as usize].next
    }
}

/// One reactor's part of the four-tuples.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    first: HandOut,
    further: Vec<HandOut>,
}

impl Hands {
    /// The part of reactor `index` of `reactors`.
    #[must_use]
    pub(crate) fn new(addresses: &Addresses, index: u64, reactors: u64) -> Self {
        let part = HandOut::new(index, reactors);
        Self { first: part, further: vec![part; addresses.further.len()] }
    }

    /// The next to begin with, and the number of its address.
    pub(crate) fn first(&mut self, addresses: &Addresses) -> Option<(u32, Route)> {
        let (target, route) = self.first.next(&addresses.first)?;
        Some((addresses.numbers[target], route))
    }

    /// The next to address number `at`.
    pub(crate) fn to(&mut self, addresses: &Addresses, at: u32) -> Option<Route> {
        let at = at as usize;
        self.further.get_mut(at)?.next(&addresses.further[at]).map(|(_, route)| route)
    }

    /// Begins again with the first to begin with.
    pub(crate) fn rewind_first(&mut self) {
        self.first.rewind();
    }

    /// Begins again with the first to address number `at`.
    pub(crate) fn rewind_to(&mut self, at: u32) {
        if let Some(part) = self.further.get_mut(at as usize) {
            part.rewind();
        }
    }
}

/// All four-tuples from some sources to some targets, in a fixed order: the target changes fastest,
/// then the source, then the port. Any stretch of it is hence spread evenly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tuples {
    targets: Vec<SocketAddr>,
    v4: Sources,
    v6: Sources,
    first_port: u16,
    ports: u64,
    /// Whether a port may be in use towards other addresses: IPv4, IPv6.
    shared: (bool, bool),
    /// Counted from the end: where the same tuples are handed out from the start as well, these two
    /// meet last.
    backwards: bool,
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
    pub(crate) fn new(targets: Vec<SocketAddr>, sources: &[IpAddr], first: u16, last: u16) -> Self {
        let of_family =
            |v4| Sources::new(sources.iter().copied().filter(move |s| s.is_ipv4() == v4));
        let ports = u64::from(last.saturating_sub(first)) + u64::from(first <= last);
        let several = targets.len() > 1;
        Self {
            targets,
            v4: of_family(true),
            v6: of_family(false),
            first_port: first,
            ports,
            shared: (several, several),
            backwards: false,
        }
    }

    /// The same, whose ports are shared so: with others of IPv4, and of IPv6.
    fn sharing(self, shared: (bool, bool)) -> Self {
        Self { shared, ..self }
    }

    /// The same in the opposite order.
    fn backwards(self) -> Self {
        Self { backwards: true, ..self }
    }

    /// The targets, in the order given.
    #[must_use]
    pub(crate) fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// The sources that reach a target.
    #[must_use]
    pub(crate) fn sources_for(&self, target: &SocketAddr) -> &[IpAddr] {
        let sources = if target.is_ipv4() { &self.v4 } else { &self.v6 };
        if target.ip().is_loopback() { &sources.all } else { &sources.far }
    }

    /// One past the highest number that [`Tuples::route`] may know.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        let rounds = self.targets.iter().map(|target| self.sources_for(target).len() as u64);
        rounds.max().unwrap_or(0) * self.ports * self.targets.len() as u64
    }

    /// How many tuples there are.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        let to = |target: &SocketAddr| {
            let sources = self.sources_for(target);
            let ports = u64::from(self.first_port)..u64::from(self.first_port) + self.ports;
            let itself = sources.contains(&target.ip()) && ports.contains(&target.port().into());
            sources.len() as u64 * self.ports - u64::from(itself)
        };
        self.targets.iter().map(to).sum()
    }

    /// Which target tuple number `n`, below the end, goes to.
    fn target_of(&self, n: u64) -> usize {
        (self.place(n) % self.targets.len() as u64) as usize
    }

    /// The place of tuple number `n`, below the end, in the order from the start.
    fn place(&self, n: u64) -> u64 {
        if self.backwards { self.end() - 1 - n } else { n }
    }

    /// Tuple number `n`; `None` where that target has no source left.
    #[must_use]
    pub(crate) fn route(&self, n: u64) -> Option<Route> {
        if self.backwards && n >= self.end() {
            return None;
        }
        let target = self.targets[self.target_of(n)];
        let (n, targets) = (self.place(n), self.targets.len() as u64);
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
        let share_port = if target.is_ipv4() { self.shared.0 } else { self.shared.1 };
        // A socket can connect to itself (RFC 9293 3.5, simultaneous open), which proves nothing.
        (source != target).then_some(Route { source: Some(source), target, share_port })
    }
}

/// One reactor's part of the tuples: every k-th. Two reactors never try the same one, and each has
/// spare ones for those that turn out to be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HandOut {
    first: u64,
    next: u64,
    step: u64,
}

impl HandOut {
    /// The part of reactor `index` of `reactors`.
    #[must_use]
    pub(crate) fn new(index: u64, reactors: u64) -> Self {
        Self { first: index, next: index, step: reactors }
    }

    /// Begins again with the first: those whose connections have ended can be used once more.
    pub(crate) fn rewind(&mut self) {
        self.next = self.first;
    }

    /// The next tuple of this part, and the number of its target; `None` when there is none left.
    pub(crate) fn next(&mut self, tuples: &Tuples) -> Option<(usize, Route)> {
        while self.next < tuples.end() {
            let n = self.next;
            self.next += self.step;
            if let Some(route) = tuples.route(n) {
                return Some((tuples.target_of(n), route));
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
        fn addresses_keep_their_order_within_a_family_and_families_take_turns(
            found in prop::collection::vec((0..6u16, any::<bool>()), 0..12),
        ) {
            let found: Vec<_> = found.into_iter().map(|(n, v6)| target(n, v6)).collect();
            let order = interleaved(found.clone());
            let once = |of: &[SocketAddr], v4| {
                let mut once = Vec::new();
                for at in of.iter().filter(|at| at.is_ipv4() == v4) {
                    if !once.contains(at) {
                        once.push(*at);
                    }
                }
                once
            };
            prop_assert_eq!(order.first(), found.first());
            for v4 in [false, true] {
                prop_assert_eq!(once(&order, v4), once(&found, v4));
            }
            prop_assert_eq!(order.len(), once(&found, true).len() + once(&found, false).len());
            let fewer = once(&found, true).len().min(once(&found, false).len());
            for pair in order[..2 * fewer].windows(2) {
                prop_assert_ne!(pair[0].is_ipv4(), pair[1].is_ipv4());
            }
        }

        #[test]
        fn connections_begin_with_the_first_or_evenly_and_go_round_all_that_are_reached(
            targets in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..5), 1..4),
            (has_v4, has_v6) in (any::<bool>(), any::<bool>()),
            spread in any::<bool>(), reactors in 1..5u64,
        ) {
            let mut port = 0..;
            let mut each = |v6: &bool| target(port.next().expect("many"), *v6);
            let targets: Vec<Vec<_>> =
                targets.iter().map(|families| families.iter().map(&mut each).collect()).collect();
            let families = [has_v4.then(|| source(1, false)), has_v6.then(|| source(1, true))];
            let sources: Vec<_> = families
                .into_iter().flatten().collect();
            let addresses = Addresses::new(&targets, &sources, (1000, 1099), spread);
            let reached = |at: &&SocketAddr| if at.is_ipv4() { has_v4 } else { has_v6 };
            let expected: Vec<_> = targets.iter().flatten().filter(reached).copied().collect();
            let all: Vec<_> = addresses.all().iter().map(|address| address.at).collect();
            prop_assert_eq!(&all, &expected);
            // Each is followed by the others of its target, and nothing else, in their order.
            for (number, address) in (0..).zip(addresses.all()) {
                let mut circle = vec![address.at];
                let mut at = addresses.after(number);
                while at != number {
                    prop_assert_eq!(addresses.target(at), address.target);
                    circle.push(all[at as usize]);
                    at = addresses.after(at);
                }
                let of: Vec<_> =
                    targets[usize::from(address.target)].iter().filter(reached).copied().collect();
                circle.sort_by_key(|at| of.iter().position(|one| one == at));
                prop_assert_eq!(circle, of);
            }
            // What is begun with, and how evenly.
            let mut begun = vec![0_u64; all.len()];
            let mut hands: Vec<_> =
                (0..reactors).map(|index| Hands::new(&addresses, index, reactors)).collect();
            let count = 12 * all.len().max(1);
            for n in 0..count {
                let hands = &mut hands[n % reactors as usize];
                let Some((at, route)) = hands.first(&addresses) else { break };
                prop_assert_eq!(route.target, all[at as usize]);
                begun[at as usize] += 1;
            }
            let begins = |at: usize| {
                let of = addresses.all()[at].target;
                spread || at == 0 || addresses.all()[at - 1].target != of
            };
            let those = (0..all.len()).filter(|at| begins(*at));
            let most = those.clone().map(|at| begun[at]).max();
            let least = those.map(|at| begun[at]).min();
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{begun:?}");
            prop_assert!((0..all.len()).all(|at| begins(at) || begun[at] == 0), "{begun:?}");
            // And what is gone on with.
            for at in 0..all.len() as u32 {
                let route = hands[0].to(&addresses, at);
                prop_assert_eq!(route.map(|route| route.target),
                    (addresses.most() > 1).then(|| all[at as usize]));
            }
        }

        #[test]
        fn reactors_hand_out_every_tuple_exactly_once(
            targets in prop::collection::vec(any::<bool>(), 1..5),
            v4 in 0..4u8,
            v6 in 0..4u8,
            ports in 1..30u16,
            reactors in 1..9u64,
            backwards in any::<bool>(),
        ) {
            let targets: Vec<_> = (0..).zip(&targets).map(|(i, v6)| target(i, *v6)).collect();
            let sources: Vec<_> =
                (0..v4).map(|n| source(n, false)).chain((0..v6).map(|n| source(n, true))).collect();
            let tuples = Tuples::new(targets.clone(), &sources, 1000, 1000 + ports - 1);
            let tuples = if backwards { tuples.backwards() } else { tuples };
            let mut seen = HashSet::new();
            for index in 0..reactors {
                let mut part = HandOut::new(index, reactors);
                let first = part.next(&tuples);
                while part.next(&tuples).is_some() {}
                part.rewind();
                prop_assert_eq!(part.next(&tuples), first);
                part.rewind();
                while let Some((number, route)) = part.next(&tuples) {
                    prop_assert_eq!(route.target, targets[number]);
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
