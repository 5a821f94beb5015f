//! The server's driver on the simulated network: what it admits, whom it closes and when, what it
//! says of itself.

use super::*;
use crossbeam_channel::bounded;
use reactor::mailbox::{self, Outside};
use reactor::sim::{Faults, Sim, SimStream, World, carried};
use reactor::{Limits, Reactor, Stream};
use std::net::SocketAddr;

pub(super) struct Rig {
    pub(super) world: World,
    pub(super) reactors: Vec<Reactor<Sim, ServerDriver>>,
    outsides: Vec<Outside<Command>>,
}

/// The address of the listener with that number.
fn address(listener: u16) -> SocketAddr {
    ([127, 0, 0, 1], 9000 + listener).into()
}

impl Rig {
    fn new(reactors: usize, connections_max: u64, idle_timeout: Option<Nanos>) -> Self {
        let admission = Arc::new(Admission::new(connections_max));
        let drivers = (0..reactors).map(|index| {
            ServerDriver::new(index, index, Arc::clone(&admission), idle_timeout, Nanos::ZERO)
        });
        Self::of(drivers.collect(), 1, Limits::for_slots(5_000))
    }

    /// A reactor for each driver, with `listeners` listeners.
    pub(super) fn of(drivers: Vec<ServerDriver>, listeners: u16, limits: Limits) -> Self {
        let world = World::new(Faults::default());
        let addresses: Vec<SocketAddr> = (0..listeners).map(address).collect();
        let (mut reactors, mut outsides) = (Vec::new(), Vec::new());
        for driver in drivers {
            let (outside, inbox) = mailbox::open_unwatched();
            let net = world.network(&addresses);
            reactors.push(Reactor::new(net, driver, inbox, limits, addresses.len()));
            outsides.push(outside);
        }
        Self { world, reactors, outsides }
    }

    /// Tells all reactors to stop.
    pub(super) fn stop(&self) {
        for outside in &self.outsides {
            outside.send(Command::Stop).expect("room");
        }
    }

    /// Gives all reactors something to show.
    pub(super) fn show(&self, counters: &[u8]) {
        for outside in &self.outsides {
            outside.send(Command::Show(counters.into())).expect("room");
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.reactors.iter().all(|reactor| Driver::<Sim>::is_finished(reactor.driver()))
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..20 {
            for reactor in &mut self.reactors {
                if !Driver::<Sim>::is_finished(reactor.driver()) {
                    reactor.turn().expect("the simulator never fails to wait");
                }
            }
        }
    }

    pub(super) fn advance(&mut self, span: Nanos) {
        let end = self.world.now() + span;
        while self.world.now() < end {
            let step = Nanos::from_millis(5);
            self.world.advance_to((self.world.now() + step).min(end));
            self.settle();
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.reactors.iter().map(|reactor| reactor.core().connections()).sum()
    }

    fn connect(&mut self, count: usize) -> Vec<SimStream> {
        self.connect_to(0, count)
    }

    pub(super) fn connect_to(&mut self, listener: u16, count: usize) -> Vec<SimStream> {
        let to = address(listener);
        let peers = (0..count).map(|_| self.world.connect_by_hand(to)).collect();
        self.settle();
        peers
    }
}

/// Those of a reactor of 1,000 slots, with room for a mebibyte that one peer has not taken.
pub(super) fn limits() -> Limits {
    Limits { unsent_bytes_per_connection: 1 << 20, ..Limits::for_slots(1_000) }
}

/// All that has arrived.
pub(super) fn heard(peer: &SimStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = peer.receive(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

pub(super) fn is_closed(peer: &SimStream) -> bool {
    let mut buffer = [0; 64];
    match peer.receive(&mut buffer) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn all_of_these_hold_with_a_layer() {
    // Sockets have none.
    reactor::sim::again_with_layers("driver::", &["alloc_tests"]);
}

#[test]
fn silent_peers_are_closed_in_time_and_only_those() {
    let limit = Nanos::from_millis(800);
    let mut rig = Rig::new(2, 100, Some(limit));
    let peers = rig.connect(10);
    // Half of them say something every 200 ms.
    for _ in 0..3 {
        rig.advance(Nanos::from_millis(200));
        for peer in &peers[..5] {
            assert_eq!(peer.send(b"x").ok(), Some(1));
        }
        rig.settle();
        assert!(peers[..5].iter().all(|peer| peer.receive(&mut [0; 8]).ok() == Some(1)));
    }
    rig.advance(Nanos::from_millis(199));
    assert_eq!(rig.connections(), 10, "nobody is closed before the limit");
    rig.advance(Nanos::from_millis(101));
    assert_eq!(rig.connections(), 5, "an eighth after the limit all the silent are closed");
    assert!(peers[..5].iter().all(|peer| !is_closed(peer)));
    assert!(peers[5..].iter().all(is_closed));
    let idle_closed: u64 = rig.reactors.iter().map(|reactor| reactor.driver().idle_closed).sum();
    assert_eq!(idle_closed, 5);
}

#[test]
fn without_a_limit_silence_is_golden() {
    let mut rig = Rig::new(1, 100, None);
    let peers = rig.connect(3);
    rig.world.advance_to(Nanos::from_secs(86_400));
    rig.settle();
    assert_eq!(rig.connections(), 3);
    drop(peers);
}

#[test]
fn all_reactors_together_admit_no_more_than_the_plan_and_make_room_again() {
    let mut rig = Rig::new(3, 10, None);
    let mut peers = rig.connect(16);
    assert_eq!(rig.connections(), 10);
    let refused: Vec<bool> = peers.iter().map(is_closed).collect();
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 6);
    let counted: u64 = rig.reactors.iter().map(|r| r.core().counters.refused_full).sum();
    assert_eq!(counted, 6);
    // Two close, two reset: room for four.
    let open: Vec<usize> = (0..16).filter(|index| !refused[*index]).take(4).collect();
    for (n, index) in open.into_iter().rev().enumerate() {
        let peer = peers.remove(index);
        if n < 2 {
            peer.reset_on_close();
        }
    }
    rig.settle();
    assert_eq!(rig.connections(), 6);
    let of_driver = |count: fn(&ServerDriver) -> u64| -> u64 {
        rig.reactors.iter().map(|reactor| count(reactor.driver())).sum()
    };
    assert_eq!(of_driver(|driver| driver.failures[Failure::Reset as usize]), 2);
    assert_eq!(of_driver(|driver| driver.closed), 2);
    let more = rig.connect(5);
    assert_eq!((rig.connections(), more.iter().filter(|peer| is_closed(peer)).count()), (10, 1));
}

#[test]
fn a_snapshot_says_what_was_done() {
    let mut rig = Rig::new(1, 100, None);
    let peers = rig.connect(4);
    for peer in &peers {
        assert_eq!(peer.send(b"hello").ok(), Some(5));
    }
    rig.settle();
    rig.world.advance_to(Nanos::from_secs(3));
    let (reply, answers) = bounded(1);
    rig.outsides[0].send(Command::Snapshot(reply)).expect("room");
    rig.settle();
    let snapshot = answers.try_recv().expect("an answer");
    assert_eq!((snapshot.connections, snapshot.accepted, snapshot.messages), (4, 4, 4));
    assert_eq!((snapshot.uptime_ns, snapshot.unsent_bytes), (3_000_000_000, 0));
    assert_eq!(snapshot.counters["bytes_received"], 4 * carried(&[5]));
    assert_eq!(snapshot.counters["bytes_sent"], 4 * carried(&[5]));
    // Whoever asked may be gone before the answer comes.
    let (reply, answers) = bounded(1);
    drop(answers);
    rig.outsides[0].send(Command::Snapshot(reply)).expect("room");
    rig.settle();
    assert_eq!(rig.connections(), 4);
}

#[test]
fn stopping_closes_all_and_leaves_a_last_word() {
    let mut rig = Rig::new(2, 10_000, None);
    // More than one step of closing.
    let peers = rig.connect(3 * STOP_STEP);
    assert_eq!(rig.connections(), 3 * STOP_STEP);
    rig.stop();
    rig.settle();
    assert_eq!(rig.connections(), 0);
    assert!(peers.iter().all(is_closed));
    let accepted: u64 = rig.reactors.iter().map(|r| r.driver().last_snapshot().accepted).sum();
    assert_eq!(accepted, 3 * STOP_STEP as u64);
    assert!(rig.is_finished());
    assert!(rig.reactors.iter().all(|r| r.driver().last_snapshot().connections == 0));
}
