//! `echo` on the simulated network, against a server whose every byte is a test's: by a clock that
//! is moved by hand.

use super::*;
use crossbeam_channel::Receiver;
use reactor::mailbox;
use reactor::sim::{Faults, Sim, SimStream, World};
use reactor::{Reactor, Stream};
use wire::ws::{Policy, RequestSpec};

/// Bytes that fit into a connection, each way.
const PIPE_BYTES: usize = 100;

struct Rig {
    world: World,
    client: Reactor<Sim, EchoDriver>,
    net: Sim,
    is_done: Receiver<Outcome>,
}

impl Rig {
    fn new(connections: usize) -> Self {
        Self::behind(&[], connections)
    }

    /// One whose target has these addresses before the one that is listened at.
    fn behind(dead: &[SocketAddr], connections: usize) -> Self {
        let target = SocketAddr::from(([127, 0, 0, 1], 9000));
        let addresses = [dead, &[target]].concat();
        let spec = RequestSpec { host: "a".into(), target: "/".into(), ..RequestSpec::default() };
        let requests = vec![(addresses, Request::new(&spec).expect("a request"))];
        let world = World::new(Faults::default());
        let net = world.network_by_hand(&[target]);
        let (done, is_done) = bounded(1);
        let (_, inbox) = mailbox::open_unwatched();
        let driver = EchoDriver::new(requests, connections, Nanos::from_secs(60), 1, done);
        let limits = Limits::for_slots(connections);
        let client = Reactor::new(world.network(&[]), driver, inbox, limits, 0);
        Self { world, client, net, is_done }
    }

    /// Two turns: with layers a connection opens in the one and is used in the other.
    fn turns(&mut self) {
        for _ in 0..2 {
            self.client.turn().expect("turn");
        }
    }

    /// Lets time pass, a tenth of a second in each turn.
    fn pass(&mut self, seconds: u64) {
        let end = self.world.now() + Nanos::from_secs(seconds);
        while self.world.now() < end {
            self.world.advance_to(self.world.now() + Nanos::from_millis(100));
            self.client.turn().expect("turn");
        }
    }

    fn upgrade(&mut self, peer: &SimStream) {
        let mut reply = Vec::new();
        Policy::default().answer(&read(peer, usize::MAX), &mut reply).expect("a good request");
        assert_eq!(peer.send(&reply).ok(), Some(reply.len()));
        self.client.turn().expect("turn");
    }

    /// A connection whose server has sent ten times as much as fits, and has closed.
    fn owed() -> (Self, SimStream) {
        let mut rig = Self::new(1);
        rig.turns();
        let peer = rig.net.accept_by_hand(0).expect("it has come");
        rig.upgrade(&peer);
        rig.world.set_faults(Faults { pipe_bytes: PIPE_BYTES, ..Faults::default() });
        let message = [&[0x82, PIPE_BYTES as u8 - 2][..], &[7; PIPE_BYTES - 2]].concat();
        for frame in [&message; 10].into_iter().map(|m| &m[..]).chain([&[0x88, 2, 3, 0xe8][..]]) {
            assert_eq!(peer.send(frame).ok(), Some(frame.len()));
            rig.client.turn().expect("turn");
        }
        (rig, peer)
    }

    fn judge(&self) -> Result<String, String> {
        let outcome = self.is_done.try_recv().expect("it is over");
        outcome.judge(1).map_err(|error| error.to_string())
    }
}

#[test]
fn all_of_these_hold_with_a_layer() {
    reactor::sim::again_with_layers("echo::", &[]);
}

fn read(peer: &SimStream, most: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < most {
        let mut buffer = vec![0; (most - all.len()).min(4096)];
        match peer.receive(&mut buffer) {
            Ok(count @ 1..) => all.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    all
}

#[test]
fn a_server_that_reads_its_answers_slowly_gets_them_all() {
    let (mut rig, peer) = Rig::owed();
    let mut taken = Vec::new();
    // Thirteen times four seconds: no pause is as long as the time limit, and all of them are
    // longer.
    for _ in 0..13 {
        rig.pass(4);
        taken.extend(read(&peer, PIPE_BYTES));
    }
    let (answers, last) = taken.split_at(taken.len() - 8);
    assert_eq!(answers.len(), 10 * (PIPE_BYTES + 4), "ten messages, masked");
    assert_eq!(last[..2], [0x88, 0x82], "and the close frame");
    rig.pass(2);
    assert_eq!(rig.judge(), Ok("1 connections closed, 10 messages echoed".to_owned()));
}

#[test]
fn answers_that_the_server_never_takes_are_an_error() {
    let (mut rig, _peer) = Rig::owed();
    rig.pass(4);
    assert!(rig.is_done.is_empty());
    rig.pass(2);
    let error = rig.judge().expect_err("they are lost");
    assert!(error.contains("did not take the answers"), "{error}");
}

#[test]
fn answers_that_a_reset_destroys_are_an_error() {
    let (mut rig, peer) = Rig::owed();
    peer.reset_on_close();
    drop(peer);
    rig.pass(1);
    let error = rig.judge().expect_err("they are lost");
    assert!(error.contains("it broke (reset)"), "{error}");
}

#[test]
fn a_server_that_never_closes_is_left_in_time() {
    let mut rig = Rig::new(1);
    rig.turns();
    let peer = rig.net.accept_by_hand(0).expect("it has come");
    rig.upgrade(&peer);
    assert_eq!(peer.send(&[0x88, 0]).ok(), Some(2));
    rig.pass(4);
    assert!(rig.is_done.is_empty());
    rig.pass(2);
    assert!(rig.judge().is_ok());
}

#[test]
fn a_slow_upgrade_does_not_keep_the_others() {
    let mut rig = Rig::new(3 * OPENING_MAX);
    let mut peers: Vec<SimStream> = Vec::new();
    for _ in 0..8 {
        rig.turns();
        let first = peers.len();
        peers.extend(std::iter::from_fn(|| rig.net.accept_by_hand(0).ok()));
        // The first of all is never answered.
        for peer in &peers[first.max(1)..] {
            rig.upgrade(peer);
        }
    }
    assert_eq!(peers.len(), 3 * OPENING_MAX);
}

#[test]
fn the_next_address_is_joined_where_one_refuses_or_is_silent() {
    let dead = [9007, 9008, 9009].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut rig = Rig::behind(&dead, 1);
    rig.world.cut_off(dead[1]);
    rig.world.silence(dead[2]);
    // A minute for four addresses: the silent one has half of what is left.
    rig.pass(29);
    assert!(rig.net.accept_by_hand(0).is_err());
    rig.pass(3);
    let peer = rig.net.accept_by_hand(0).expect("it has come");
    rig.upgrade(&peer);
    assert_eq!(peer.send(&[0x88, 0]).ok(), Some(2));
    // It takes our close frame, and closes.
    rig.pass(1);
    read(&peer, usize::MAX);
    drop(peer);
    rig.pass(1);
    assert!(rig.judge().is_ok());
}

#[test]
fn a_server_that_no_address_leads_to_is_not_joined() {
    let dead = [9007, 9008].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut rig = Rig::behind(&dead, 1);
    rig.world.silence(SocketAddr::from(([127, 0, 0, 1], 9000)));
    rig.pass(59);
    assert!(rig.is_done.is_empty());
    rig.pass(3);
    let error = rig.judge().expect_err("nobody is there");
    assert!(error.contains("it was not upgraded in time"), "{error}");
}
