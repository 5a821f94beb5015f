//! Faults on the simulated network, to the nanosecond: replies that wait, reactors that stand
//! still.

use super::tests::{Rig, heard, is_closed, limits};
use super::*;
use crate::faults::{Faults, parse_stall};
use reactor::Stream;
use reactor::sim::{self, SimStream, carried};
use std::fs;

const DELAY: Nanos = Nanos::from_millis(5);
const MS: Nanos = Nanos::from_millis(1);
const NS: Nanos = Nanos(1);

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// A message and a close frame with the mask 0, and what they are answered with.
const MESSAGE: &[u8] = b"\x82\x85\0\0\0\0hello";
const ECHO: &[u8] = b"\x82\x05hello";
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
const CLOSED: &[u8] = b"\x88\x02\x03\xe8";

fn faults(stall: Option<&str>, delay: Option<Nanos>) -> Faults {
    Faults::new(stall.map(|stall| parse_stall(stall).expect("a stall")), delay, 1)
}

fn driver(services: Vec<Protocol>, faults: Faults) -> ServerDriver {
    ServerDriver::new(0, 0, Arc::new(Admission::new(1_000)), None, Nanos::ZERO)
        .serving(services, Arc::new(Config::default()), None)
        .with_faults(faults)
}

fn rig(service: Protocol, faults: Faults) -> Rig {
    Rig::of(vec![driver(vec![service], faults)], 1, limits())
}

impl Rig {
    /// Moves the clock there, and lets the reactors do what they can.
    fn go_to(&mut self, time: Nanos) {
        self.world.advance_to(time);
        self.settle();
    }

    fn hand(&mut self, peer: &SimStream, bytes: &[u8]) {
        assert_eq!(peer.send(bytes).ok(), Some(bytes.len()));
        self.settle();
    }

    fn counter(&self, name: &str) -> u64 {
        let reactor = &self.reactors[0];
        let snapshot = reactor.driver().snapshot(reactor.core());
        snapshot.counters.get(name).copied().unwrap_or(0)
    }

    /// Nothing waits, and nothing is owed.
    fn is_empty(&self) -> bool {
        let reactor = &self.reactors[0];
        let snapshot = reactor.driver().snapshot(reactor.core());
        snapshot.delayed_bytes == 0 && snapshot.unsent_bytes == 0
    }
}

#[test]
fn each_reply_waits_exactly_as_long_as_it_should_and_nothing_else_does() {
    let mut rig = rig(Protocol::Tcp, faults(None, Some(DELAY)));
    let peers = rig.connect_to(0, 2);
    rig.hand(&peers[0], b"a");
    assert_eq!(rig.reactors[0].deadline(), Some(DELAY), "the timer is set to it");
    // What comes meanwhile is read, on the same connection too, and waits from then on.
    rig.go_to(MS);
    rig.hand(&peers[0], b"b");
    rig.go_to(MS + MS);
    rig.hand(&peers[1], b"c");
    assert_eq!(rig.counter("bytes_received"), carried(&[1, 1]) + carried(&[1]));
    for (due, peer, reply) in [(DELAY, 0, b"a"), (DELAY + MS, 0, b"b"), (DELAY + MS + MS, 1, b"c")]
    {
        rig.go_to(due - NS);
        assert!(peers.iter().all(|peer| heard(peer).is_empty()), "{due:?}");
        rig.go_to(due);
        assert_eq!(heard(&peers[peer]), reply);
    }
    assert!(rig.is_empty());
    assert_eq!((rig.counter("delayed_replies"), rig.counter("delayed_stale")), (3, 0));
}

#[test]
fn last_words_come_behind_what_waits() {
    // A peer that closes its side at once gets its replies all the same.
    let mut tcp = rig(Protocol::Tcp, faults(None, Some(DELAY)));
    let peer = tcp.connect_to(0, 1).remove(0);
    tcp.hand(&peer, b"first");
    tcp.go_to(MS);
    tcp.hand(&peer, b"second");
    peer.finish_sending();
    tcp.go_to(DELAY);
    assert_eq!((heard(&peer), tcp.connections()), (b"first".to_vec(), 1));
    tcp.go_to(DELAY + MS);
    assert_eq!((heard(&peer), tcp.connections()), (b"second".to_vec(), 0));
    assert!(is_closed(&peer));

    // The same for the closing handshake of WebSocket.
    let mut ws = rig(Protocol::Ws, faults(None, Some(DELAY)));
    let peer = ws.connect_to(0, 1).remove(0);
    ws.hand(&peer, UPGRADE);
    ws.go_to(DELAY - NS);
    assert!(heard(&peer).is_empty());
    ws.go_to(DELAY);
    assert!(heard(&peer).starts_with(b"HTTP/1.1 101 "));
    ws.hand(&peer, MESSAGE);
    ws.go_to(DELAY + MS);
    ws.hand(&peer, &[MESSAGE, CLOSE].concat());
    ws.go_to(DELAY + DELAY);
    assert_eq!(heard(&peer), ECHO);
    ws.go_to(DELAY + DELAY + MS);
    assert_eq!(heard(&peer), [ECHO, CLOSED].concat());
    assert!(is_closed(&peer));
    peer.finish_sending();
    ws.settle();
    assert_eq!(ws.connections(), 0);
    assert!(ws.is_empty());
}

#[test]
fn answers_over_http_keep_their_order_files_and_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let large: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(folder.path().join("small"), b"small").expect("a file");
    fs::write(folder.path().join("large"), &large).expect("a file");
    let get = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    let said: Vec<u8> = ["small", "large", "small", "large", "large", "small"]
        .iter()
        .flat_map(|p| get(p))
        .collect();
    let said = [&said[..], UPGRADE, MESSAGE, CLOSE].concat();
    for (pipe_bytes, read_max) in [(64 * 1024, usize::MAX), (1_000, usize::MAX), (64 * 1024, 7)] {
        let config =
            http::Config { root: Some(folder.path().to_owned()), ..http::Config::default() };
        let serve = |faults: Faults| {
            let site = Site::open(&config).expect("a site");
            let driver = driver(vec![Protocol::Http], faults).with_site(config.clone(), site);
            let mut rig = Rig::of(vec![driver], 1, limits());
            rig.world.set_faults(sim::Faults { pipe_bytes, read_max, ..sim::Faults::default() });
            let peer = rig.connect_to(0, 1).remove(0);
            let (mut sent, mut all, mut quiet) = (0, Vec::new(), 0);
            while quiet < 40 {
                sent += peer.send(&said[sent..]).unwrap_or(0);
                rig.settle();
                let more = heard(&peer);
                quiet = if more.is_empty() { quiet + 1 } else { 0 };
                all.extend(more);
                rig.go_to(rig.world.now() + MS);
            }
            assert_eq!(sent, said.len());
            peer.finish_sending();
            rig.advance(DELAY + MS);
            assert_eq!(rig.connections(), 0);
            assert!(rig.is_empty());
            (all, rig.counter("delayed_replies"))
        };
        let (at_once, none) = serve(Faults::default());
        let (late, some) = serve(faults(None, Some(DELAY)));
        assert!(none == 0 && some >= 4, "{none} {some}");
        // The date may be another one.
        let without_date = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let lines = bytes.split(|byte| *byte == b'\n');
            lines.filter(|line| !line.starts_with(b"Date: ")).map(<[u8]>::to_vec).collect()
        };
        assert_eq!(at_once.len(), late.len(), "{pipe_bytes} {read_max}");
        assert!(without_date(&at_once) == without_date(&late), "{pipe_bytes} {read_max}");
        assert!(late.ends_with(&[ECHO, CLOSED].concat()));
    }
}

#[test]
fn replies_of_connections_that_are_gone_are_dropped_and_counted() {
    let mut rig = rig(Protocol::Tcp, faults(None, Some(DELAY)));
    let mut peers = rig.connect_to(0, 2);
    rig.hand(&peers[0], b"a");
    rig.hand(&peers[1], b"b");
    let gone = peers.remove(0);
    gone.reset_on_close();
    drop(gone);
    rig.settle();
    assert_eq!(rig.connections(), 1);
    // Its slot may be another's by then.
    let next = rig.connect_to(0, 1).remove(0);
    rig.go_to(DELAY);
    assert_eq!((heard(&peers[0]), heard(&next)), (b"b".to_vec(), Vec::new()));
    assert_eq!(rig.counter("delayed_stale"), 1);
    assert!(rig.is_empty());
}

#[test]
fn who_is_owed_much_is_read_from_no_more_until_it_has_left() {
    let faults = Faults { delayed_bytes_max: 10_000, ..faults(None, Some(DELAY)) };
    let mut rig = rig(Protocol::Tcp, faults);
    let peers = rig.connect_to(0, 3);
    rig.hand(&peers[0], &[1; 6_000]);
    assert_eq!(rig.counter("delayed_pauses"), 0);
    rig.go_to(MS);
    rig.hand(&peers[1], &[2; 100]);
    rig.hand(&peers[1], &[3; 100]);
    let others = carried(&[100]) + carried(&[]);
    let read = |rig: &Rig| (rig.counter("delayed_pauses"), rig.counter("bytes_received"));
    assert_eq!(read(&rig), (1, carried(&[6_000]) + others));
    // The others are read from as before.
    rig.hand(&peers[0], &[4; 100]);
    assert_eq!(read(&rig), (2, carried(&[6_000, 100]) + others));
    rig.go_to(DELAY + MS);
    assert_eq!((heard(&peers[0]).len(), heard(&peers[1])), (6_100, vec![2; 100]));
    rig.go_to(DELAY + DELAY + MS);
    assert_eq!(heard(&peers[1]), [3; 100], "read when the first had left");
    assert!(rig.is_empty());
    // What does not fit at all ends its connection.
    rig.hand(&peers[2], &[5; 20_000]);
    assert_eq!((rig.counter("delayed_full"), rig.connections()), (1, 2));
    assert!(is_closed(&peers[2]));
}

#[test]
fn a_server_that_stops_says_what_it_owes_over_http() {
    let mut rig = rig(Protocol::Http, faults(None, Some(DELAY)));
    let peers = rig.connect_to(0, 2);
    rig.hand(&peers[0], b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.stop();
    rig.settle();
    assert!(heard(&peers[0]).is_empty() && is_closed(&peers[1]), "only idle ones are closed");
    rig.go_to(DELAY);
    assert!(heard(&peers[0]).starts_with(b"HTTP/1.1 200 "));
    assert!(is_closed(&peers[0]));
    drop(peers);
    rig.advance(MS + MS);
    assert!(rig.is_finished());
}

#[test]
fn while_it_stands_still_a_reactor_does_nothing() {
    let reactors = (0..2).map(|_| driver(vec![Protocol::Tcp], faults(Some("100ms/1s@2s"), None)));
    let mut rig = Rig::of(reactors.collect(), 1, limits());
    let peers = rig.connect_to(0, 4);
    let second = Nanos::from_secs(1);
    let length = Nanos::from_millis(100);
    for begins in [second + second, second + second + second, Nanos::from_secs(60)] {
        rig.go_to(begins - NS);
        for peer in &peers {
            rig.hand(peer, b"before");
            assert_eq!(heard(peer), b"before");
        }
        let stalls = rig.counter("stalls");
        rig.go_to(begins);
        let new = rig.world.connect_by_hand(([127, 0, 0, 1], 9000).into());
        let received = rig.counter("bytes_received");
        for now in [begins, begins + MS, begins + length - NS] {
            rig.go_to(now);
            for peer in &peers {
                rig.hand(peer, b"+");
                assert!(heard(peer).is_empty(), "at {now:?}");
            }
            assert_eq!(rig.connections(), 4, "nothing is accepted");
        }
        assert_eq!(rig.counter("bytes_received"), received, "nothing is read");
        rig.go_to(begins + length + MS);
        for peer in &peers {
            assert_eq!(heard(peer), b"+++");
        }
        let reactor = &rig.reactors[0];
        let snapshot = reactor.driver().snapshot(reactor.core());
        for spans in [snapshot.stall_late, snapshot.stall_backlog] {
            assert_eq!((spans.count, spans.max_ns), (stalls + 1, MS.0), "back a millisecond late");
        }
        assert_eq!(rig.connections(), 5);
        drop(new);
        rig.settle();
        assert_eq!(rig.counter("stalls"), stalls + 1);
    }
}

#[test]
fn a_stall_that_happens_once_takes_no_command_and_holds_up_what_is_due() {
    let mut rig = rig(Protocol::Tcp, faults(Some("1s@8s"), Some(DELAY)));
    let peer = rig.connect_to(0, 1).remove(0);
    rig.go_to(Nanos::from_secs(8) - MS);
    rig.hand(&peer, b"late");
    rig.go_to(Nanos::from_secs(9) - NS);
    assert!(heard(&peer).is_empty());
    rig.go_to(Nanos::from_secs(9));
    assert_eq!(heard(&peer), b"late", "it was due at 8.004 s");
    rig.go_to(Nanos::from_secs(8 + 3600));
    rig.hand(&peer, b"x");
    rig.go_to(Nanos::from_secs(8 + 3600) + DELAY);
    assert_eq!(heard(&peer), b"x", "never again");

    let mut rig = self::rig(Protocol::Tcp, faults(Some("1s@8s"), None));
    rig.go_to(Nanos::from_secs(8));
    rig.stop();
    rig.settle();
    assert!(!rig.is_finished());
    rig.go_to(Nanos::from_secs(9));
    rig.settle();
    assert!(rig.is_finished());
}
