//! Good peers beside bad ones: whatever the bad ones send, the work between two answers to a good
//! one is bounded, however many they are. Work is counted, not timed, so this holds on any machine.

use super::tests::Rig;
use super::*;
use crate::limits::{WORK_PER_PORTION, WORK_PER_TURN, sharing};
use crate::websocket::Config;
use reactor::sim::{Faults, SimStream};
use reactor::{Limits, Stream};
use wire::ws::{Agreed, DeflatePolicy, Kind, Policy, Pools, Role, WS_COMPRESSED_WORK, Window, Ws};

/// How many are bad.
const BAD: usize = 40;

/// What fits into a connection, each way: an attacker never waits for room.
const PIPE_BYTES: usize = 1 << 20;

/// What one piece of work may go beyond its bound: a read, and its answer, which may be 128 KiB.
const SLACK: u64 = 4 * 64 * 1024;

fn upgrade(extensions: &str) -> Vec<u8> {
    format!(
        "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         {extensions}\r\n"
    )
    .into_bytes()
}

/// A client's frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// Compressed messages of a mebibyte of zeros.
fn bomb() -> Vec<u8> {
    let window = Window { bits: 15, takeover: false };
    let mut client = Ws::new(Role::Client, Some(Agreed { server: window, client: window }));
    let (mut pools, mut out) = (Pools::default(), Vec::new());
    let zeros = vec![0; 1 << 20];
    client.writer.message(&mut pools.write, Kind::Binary, &zeros, Some([0; 4]), &mut out);
    out
}

/// A request with `count` header lines.
fn lines(number: usize, count: usize) -> Vec<u8> {
    let each = (0..count).map(|line| format!("X-{line}: {number}\r\n"));
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", each.collect::<String>()).into_bytes()
}

/// A way to be bad: what is sent first, and what is sent without pause.
struct Attack {
    name: &'static str,
    /// Which listener: WebSocket, plain TCP, HTTP.
    listener: u16,
    first: Vec<u8>,
    then: Vec<u8>,
    /// Whether it takes its answers.
    reads: bool,
}

fn attacks() -> Vec<Attack> {
    let ws =
        |name, then: Vec<u8>, reads| Attack { name, listener: 0, first: upgrade(""), then, reads };
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let squeezed = |name, then: Vec<u8>, reads| Attack {
        name,
        listener: 0,
        first: upgrade(deflate),
        then,
        reads,
    };
    let http = |name, then: &[u8], reads| Attack {
        name,
        listener: 2,
        first: Vec::new(),
        then: then.to_vec(),
        reads,
    };
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\na\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n";
    let mut one_byte_chunks =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    one_byte_chunks.extend_from_slice(&b"1\r\na\r\n".repeat(40_000));
    one_byte_chunks.extend_from_slice(b"0\r\n\r\n");
    // No head is the one before: none is known again.
    let many_lines: Vec<u8> = (0..100).flat_map(|n| lines(n, 200)).collect();
    vec![
        ws("empty messages", frame(0x82, b""), true),
        ws("empty texts", frame(0x81, b""), true),
        ws("tiny messages", frame(0x82, b"x"), true),
        ws("tiny messages, unread", frame(0x82, b"x"), false),
        ws("pings", frame(0x89, b""), true),
        ws("pings, unread", frame(0x89, &[7; 125]), false),
        ws("pongs", frame(0x8a, b""), true),
        ws("fragments", [frame(0x02, b""), frame(0x00, b"a"), frame(0x80, b"")].concat(), true),
        ws("large messages", frame(0x82, &[7; 125]), true),
        squeezed("bombs", bomb(), true),
        squeezed("bombs, unread", bomb(), false),
        squeezed("empty compressed messages", frame(0xc2, b"\0"), true),
        squeezed("half of a compressed message", frame(0x42, b"\0"), true),
        Attack { name: "bytes", listener: 1, first: vec![7], then: vec![7; 1000], reads: true },
        http("pipelined requests", get, true),
        http("pipelined requests, unread", get, false),
        http("requests for nothing", b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n", true),
        http("bodies in small chunks", post, true),
        http("bodies in chunks of a byte", &one_byte_chunks, true),
        http("many header lines", &many_lines, true),
    ]
}

fn rig() -> Rig {
    let policy = Policy { deflate: Some(DeflatePolicy::default()), ..Policy::default() };
    let config = Config::new(policy, wire::ws::Limits::default(), 1);
    let driver = ServerDriver::new(0, 0, Arc::new(Admission::new(1_000)), None, Nanos::ZERO);
    let services = vec![Protocol::Ws, Protocol::Tcp, Protocol::Http];
    let driver = driver.serving(services, Arc::new(config), None);
    let unsent = 64 << 20;
    let usual = sharing(Limits::for_slots(1_000), 1);
    let limits = Limits {
        unsent_bytes: unsent,
        unsent_bytes_per_connection: unsent,
        unsent_bytes_to_pause: 1 << 20,
        evicts_blocked: true,
        ..usual
    };
    let rig = Rig::of(vec![driver], 3, limits);
    rig.world.set_faults(Faults { pipe_bytes: PIPE_BYTES, ..Faults::default() });
    rig
}

fn take(peer: &SimStream, buffer: &mut [u8]) -> usize {
    let mut sum = 0;
    while let Ok(count @ 1..) = peer.receive(buffer) {
        sum += count;
    }
    sum
}

#[test]
fn the_work_between_two_answers_to_a_good_peer_is_bounded_whatever_the_others_send() {
    let mut buffer = vec![0; 64 * 1024];
    for Attack { name, listener, first, then, reads } in attacks() {
        let mut rig = rig();
        let good = rig.connect_to(1, 1).remove(0);
        good.send(b"ping").expect("room");
        rig.settle();
        assert_eq!(take(&good, &mut buffer), 4);
        let bad = rig.connect_to(listener, BAD);
        for peer in &bad {
            assert!(first.is_empty() || peer.send(&first).ok() == Some(first.len()));
        }
        rig.settle();
        // Whole items only, so that no attack breaks a rule.
        let flood = then.repeat((256 * 1024 / then.len()).max(1));
        let mut at = vec![0; BAD];
        // All bad ones may have a small portion before they are known.
        let known = WORK_PER_TURN + WORK_PER_PORTION + SLACK;
        let unknown = known + BAD as u64 * (WORK_PER_PORTION + WS_COMPRESSED_WORK);
        for round in 0..60 {
            for (peer, at) in bad.iter().zip(&mut at) {
                if reads {
                    take(peer, &mut buffer);
                }
                *at = (*at + peer.send(&flood[*at..]).unwrap_or(0)) % flood.len();
            }
            assert_eq!(good.send(b"ping").ok(), Some(4));
            let before = rig.reactors[0].core().counters.work;
            rig.reactors[0].turn().expect("turn");
            let most = if round < 5 { unknown } else { known };
            let work = rig.reactors[0].core().counters.work - before;
            assert!(work <= most, "{name}: {work} in one turn, more than {most}");
            assert_eq!(
                take(&good, &mut buffer),
                4,
                "{name}: answered in the turn that it comes in"
            );
        }
        let counters = rig.reactors[0].core().counters;
        assert!(counters.work > 1_000_000, "{name}: {} is no attack", counters.work);
        assert!(rig.reactors[0].core().put_back_bytes() <= BAD * 64 * 1024, "{name}");
    }
}

/// Messages that one peer sends at once.
const AT_ONCE: usize = 100_000;

/// A peer that has sent more than a turn can answer; what it reads into.
fn with_much_to_answer() -> (Rig, SimStream, Vec<u8>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut rig = rig();
    let peer = rig.connect_to(0, 1).remove(0);
    peer.send(&upgrade("")).expect("room");
    rig.settle();
    take(&peer, &mut buffer);
    assert_eq!(peer.send(&frame(0x82, b"").repeat(AT_ONCE)).ok(), Some(6 * AT_ONCE));
    (rig, peer, buffer)
}

/// A bad peer is served all the same, and to the last byte.
#[test]
fn who_makes_much_work_is_answered_in_the_end() {
    let (mut rig, peer, mut buffer) = with_much_to_answer();
    let mut heard = 0;
    for _ in 0..2_000 {
        rig.reactors[0].turn().expect("turn");
        heard += take(&peer, &mut buffer);
    }
    assert_eq!(heard, 2 * AT_ONCE);
    let counters = rig.reactors[0].core().counters;
    assert!(counters.heavy_reads > 0 && counters.work_budget_hits > 0);
    assert_eq!(rig.reactors[0].core().put_back_bytes(), 0);
}

/// The rest of a read that was put back when the server stopped is not answered any more.
#[test]
fn a_server_that_stops_passes_over_what_it_put_back() {
    let (mut rig, peer, mut buffer) = with_much_to_answer();
    rig.reactors[0].turn().expect("turn");
    assert!(rig.reactors[0].core().put_back_bytes() > 0, "there is such a rest");
    rig.stop();
    let mut heard = Vec::new();
    for _ in 0..2_000 {
        rig.reactors[0].turn().expect("turn");
        while let Ok(count @ 1..) = peer.receive(&mut buffer) {
            heard.extend_from_slice(&buffer[..count]);
        }
    }
    let close = b"\x88\x12\x03\xe9the server stops";
    let answers = heard.strip_suffix(close).expect("the close frame comes last");
    assert!(answers.len() < 2 * AT_ONCE && answers == b"\x82\0".repeat(answers.len() / 2));
    assert_eq!(rig.reactors[0].core().put_back_bytes(), 0);
    drop(peer);
    rig.settle();
    assert_eq!(rig.connections(), 0);
}
