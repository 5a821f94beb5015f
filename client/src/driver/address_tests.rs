//! Names with several addresses on the simulated network: which one is tried after which, how long
//! each may take, and what is counted.

use super::rig::failures;
use super::tests::{Rig, load};
use super::*;
use crate::load::addresses::Addresses;
use crate::load::phases::steps::*;
use measure::Failure;
use reactor::Limits;
use reactor::sim::{Faults, Sim};
use std::net::{IpAddr, SocketAddr};

/// Address number `n` of the name: IPv6 where it is odd.
fn address(n: u16) -> SocketAddr {
    let ip =
        if n % 2 == 1 { IpAddr::from([0, 0, 0, 0, 0, 0, 0, n]) } else { [127, 0, 1, 1].into() };
    SocketAddr::new(ip, 9000 + n)
}

/// A load to a name with so many addresses, begun with all of them in turn if that is `spread`.
fn many(connections: u64, reactors: u64, count: u16, spread: bool) -> Load {
    let all: Vec<_> = (0..count).map(address).collect();
    let sources = [IpAddr::from([127, 0, 0, 2]), IpAddr::from([0, 0, 0, 0, 0, 0, 1, 1])];
    Load {
        addresses: Addresses::new(&[all], &sources, (1024, 65_535), spread),
        first_echo: false,
        ..load(connections, reactors, Model::Idle)
    }
}

/// The load's clients, and listeners at some of the addresses.
fn rig(load: Load, listening: &[u16]) -> (Rig, Sim) {
    let rig = Rig::new(load, Faults::default(), 0, Limits::for_slots(512));
    let at: Vec<_> = listening.iter().copied().map(address).collect();
    let net = rig.world.network_by_hand(&at);
    (rig, net)
}

/// What each address answered, and how many attempts it did not take.
fn attempts(rig: &Rig) -> Vec<(u64, u64)> {
    let finals = rig.clients.iter().map(|client| client.driver().books.addresses.clone());
    let mut sums = vec![(0, 0); rig.clients[0].driver().books.addresses.len()];
    for addresses in finals {
        for (sum, one) in sums.iter_mut().zip(addresses) {
            *sum = (sum.0 + one.connected, sum.1 + one.failures.iter().sum::<u64>());
        }
    }
    sums
}

#[test]
fn with_one_address_nothing_is_kept_for_an_attempt() {
    let (mut rig, _net) = rig(many(9, 2, 1, false), &[0]);
    rig.ramp();
    assert_eq!(attempts(&rig), [(9, 0)]);
    assert!(rig.clients.iter().all(|client| client.driver().connections.attempts.capacity() == 0));
    assert_eq!(rig.finish().0.tried_again, 0);
}

#[test]
fn an_address_that_refuses_or_is_cut_off_is_followed_by_the_next() {
    for cut_off in [false, true] {
        let (mut rig, _net) = rig(many(9, 2, 4, false), &[2, 3]);
        if cut_off {
            rig.world.cut_off(address(0));
            rig.world.cut_off(address(1));
        }
        rig.ramp();
        assert_eq!(attempts(&rig), [(0, 9), (0, 9), (9, 0), (0, 0)]);
        let kind = if cut_off { Failure::Unreachable } else { Failure::Refused };
        let driver = rig.clients[0].driver();
        assert_eq!(
            driver.books.addresses[0].failures[kind as usize], 5,
            "the first reactor's share"
        );
        assert!(driver.connections.attempts.is_empty());
        let (sum, _) = rig.finish();
        assert_eq!((sum.opened, sum.failed, sum.tried_again), (9, 0, 18));
        assert_eq!(failures(&sum), [], "no connection failed");
    }
}

#[test]
fn a_connection_that_no_address_takes_has_failed_once_and_as_the_last_one_said() {
    let (mut rig, _net) = rig(many(9, 2, 3, false), &[]);
    rig.world.cut_off(address(1));
    rig.ramp();
    assert_eq!(attempts(&rig), [(0, 9), (0, 9), (0, 9)]);
    let (sum, _) = rig.finish();
    assert_eq!((sum.opened, sum.failed, sum.tried_again), (0, 9, 18));
    assert_eq!(failures(&sum), [(Failure::Refused, 9)]);
}

#[test]
fn a_silent_address_has_its_part_of_the_time_and_the_wait_counts_as_connecting() {
    let (mut rig, _net) = rig(many(600, 2, 2, false), &[0, 1]);
    rig.world.silence(address(0));
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.run_until(Nanos(Nanos::from_secs(5).0 - 1));
    assert_eq!(rig.totals().opened, 0);
    rig.run_until(Nanos::from_secs(5));
    assert_eq!(rig.totals().opened, 512, "all that were under way");
    rig.until_done(RAMP);
    assert_eq!(rig.world.now(), Nanos::from_secs(10), "the rest began at 5 s");
    assert_eq!(attempts(&rig), [(0, 600), (600, 0)]);
    let (sum, recorder) = rig.finish();
    assert_eq!((sum.opened, sum.failed, sum.tried_again), (600, 0, 600));
    let connect = recorder.stage(Stage::Connect).expect("recorded");
    let five = Nanos::from_secs(5).0;
    assert!(connect.min() == Some(five) && connect.max() == Some(five), "{connect:?}");
}

#[test]
fn where_all_are_silent_the_time_limit_is_that_of_the_connection() {
    let (mut rig, _net) = rig(many(4, 1, 4, true), &[]);
    (0..4).for_each(|n| rig.world.silence(address(n)));
    rig.ramp();
    assert_eq!(rig.world.now(), Nanos::from_secs(10));
    let (sum, _) = rig.finish();
    assert_eq!((failures(&sum), sum.tried_again), (vec![(Failure::TimedOut, 4)], 12));
}

#[test]
fn the_last_address_and_an_only_one_have_all_the_time_that_is_left() {
    let only = SocketAddr::from(([127, 0, 3, 3], 7000));
    let source = [IpAddr::from([127, 0, 0, 2])];
    let all: Vec<_> = [0, 2, 4, 6].map(address).to_vec();
    let targets = [all.clone(), vec![only]];
    let load = Load {
        addresses: Addresses::new(&targets, &source, (1024, 65_535), false),
        ..many(2, 1, 1, false)
    };
    let (mut rig, _net) = rig(load, &[]);
    // One connection to the name, whose first three refuse, and one to the other.
    rig.world.silence(only);
    rig.world.silence(address(6));
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.run_until(Nanos(Nanos::from_secs(10).0 - 1));
    assert_eq!((rig.totals().failed, rig.totals().tried_again), (0, 3));
    rig.until_done(RAMP);
    assert_eq!(rig.world.now(), Nanos::from_secs(10));
    assert_eq!(failures(&rig.finish().0), [(Failure::TimedOut, 2)]);
}

#[test]
fn connections_are_spread_evenly_and_a_share_that_is_not_taken_goes_to_the_next() {
    let (mut even, _net) = rig(many(12, 3, 4, true), &[0, 1, 2, 3]);
    even.ramp();
    assert_eq!(attempts(&even), [(3, 0); 4]);
    even.finish();
    let (mut rig, _net) = rig(many(12, 3, 4, true), &[0, 1, 3]);
    rig.ramp();
    assert_eq!(attempts(&rig), [(3, 0), (3, 0), (0, 3), (6, 0)]);
    let (sum, _) = rig.finish();
    assert_eq!((sum.opened, sum.failed, sum.tried_again), (12, 0, 3));
}

#[test]
fn a_run_that_is_cut_short_tries_no_further() {
    let (mut rig, _net) = rig(many(8, 2, 2, false), &[1]);
    rig.world.silence(address(0));
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.run_until(Nanos::from_secs(1));
    rig.tell(begin(DRAIN, Nanos::ZERO));
    rig.until_done(DRAIN);
    rig.run_until(Nanos::from_secs(30));
    let totals = rig.totals();
    assert_eq!((totals.opened, totals.failed, totals.tried_again), (0, 0, 0));
    assert!(rig.clients.iter().all(|client| client.driver().connections.attempts.is_empty()));
}
