//! WebSocket on the simulated network: the same answers however bytes arrive, every time limit, and
//! how a server takes its leave.

use super::tests::{Rig, heard, is_closed};
use super::*;
use crate::limits::{STREAMS_PER_REACTOR_MIN, WORK_PER_PORTION, sharing};
use reactor::sim::{Faults, SimStream, carried};
use reactor::{Limits, Stream};
use wire::ws::{DeflatePolicy, Policy};

const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The answer to it, with the key's value from RFC 6455, section 1.3.
const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Longer than any of our limits.
const LONG: Nanos = Nanos::from_secs(60);

/// A client's frame of less than 126 bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A server's frame of less than 126 bytes.
fn reply(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

/// A close frame's payload.
fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

fn driver(config: Config, idle: Option<Nanos>, handshake: Option<Nanos>) -> ServerDriver {
    ServerDriver::new(0, 0, Arc::new(Admission::new(1_000)), idle, Nanos::ZERO).serving(
        vec![Protocol::Ws, Protocol::Tcp],
        Arc::new(config),
        handshake,
    )
}

fn rig_with(config: Config, idle: Option<Nanos>, handshake: Option<Nanos>) -> Rig {
    let limits = sharing(Limits::for_slots(1_000), 1);
    Rig::of(vec![driver(config, idle, handshake)], 2, limits)
}

fn rig() -> Rig {
    rig_with(Config::default(), None, None)
}

impl Rig {
    /// Sends what fits at once, and gives back what has come by then.
    fn say(&mut self, peer: &SimStream, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(peer.send(bytes).ok(), Some(bytes.len()));
        self.settle();
        heard(peer)
    }

    fn upgraded(&mut self, count: usize) -> Vec<SimStream> {
        let peers = self.connect_to(0, count);
        for peer in &peers {
            assert_eq!(self.say(peer, REQUEST), ACCEPTED);
        }
        peers
    }

    fn websockets(&self) -> WebSocketSnapshot {
        self.reactors[0].driver().services.websockets.snapshot()
    }
}

/// Everything that a peer may do, and the answers.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let said = [
        REQUEST,
        &frame(0x82, b"behind the request"),
        &frame(0x81, "text, \u{20ac}".as_bytes()),
        &frame(0x89, b"ping"),
        &frame(0x8a, b"an unasked pong"),
        &frame(0x82, b""),
        &frame(0x88, &close(1000, "done")),
        b"whatever comes behind",
    ];
    let answers = [
        ACCEPTED,
        &reply(0x82, b"behind the request"),
        &reply(0x81, "text, \u{20ac}".as_bytes()),
        &reply(0x8a, b"ping"),
        &reply(0x82, b""),
        &reply(0x88, &close(1000, "")),
    ];
    (said.concat(), answers.concat())
}

/// Puts the fragments of each message together: how an answer is cut follows how its question was.
fn joined(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames: Vec<(u8, Vec<u8>)> = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(usize::from(*length));
        match (first & 0x0f, frames.iter_mut().rev().find(|(first, _)| first & 0x80 == 0)) {
            (0, Some((open, whole))) => {
                *open |= first & 0x80;
                whole.extend_from_slice(payload);
            }
            _ => frames.push((*first, payload.to_vec())),
        }
        bytes = rest;
    }
    frames
}

#[test]
fn answers_do_not_depend_on_how_bytes_arrive() {
    let (said, expected) = conversation();
    let (_, expected) = expected.split_at(ACCEPTED.len());
    let whole = Limits::for_slots(10);
    // The worst that a loop can be: one byte, one read, one connection at a time.
    let least = Limits { receive_buffer_bytes: 1, reads_per_turn: 1, accept_batch: 1, ..whole };
    // And one frame at a time, however much was read.
    let portions = Limits { work_per_portion: 1, work_per_turn: 1, ..whole };
    let no_room = Limits { put_back_bytes: 0, ..portions };
    for (limits, faults) in [
        (whole, Faults::default()),
        (least, Faults::default()),
        (portions, Faults::default()),
        (portions, Faults { pipe_bytes: 9, ..Faults::default() }),
        (no_room, Faults::default()),
        (whole, Faults { read_max: 3, write_max: 2, pipe_bytes: 5, ..Faults::default() }),
    ] {
        let mut rig = Rig::of(vec![driver(Config::default(), None, None)], 2, limits);
        rig.world.set_faults(faults);
        let peers = rig.connect_to(0, 2);
        let (mut sent, mut got) = ([0; 2], [Vec::new(), Vec::new()]);
        while got.iter().any(|got| got.len() < ACCEPTED.len()) || rig.websockets().open > 0 {
            for (index, peer) in peers.iter().enumerate() {
                sent[index] += peer.send(&said[sent[index]..]).unwrap_or(0);
                rig.settle();
                got[index].extend(heard(peer));
            }
        }
        for (peer, mut got) in peers.iter().zip(got) {
            // Where little fits, the last of it comes a little later.
            for _ in 0..3 {
                rig.settle();
                got.extend(heard(peer));
            }
            let (accepted, frames) = got.split_at(ACCEPTED.len());
            assert_eq!(accepted, ACCEPTED);
            assert_eq!(joined(frames), joined(expected), "{faults:?}");
            assert!(is_closed(peer), "our side is closed behind the last word");
        }
        let ws = rig.websockets();
        assert_eq!((ws.upgraded, ws.messages, ws.closed, ws.closing), (2, 6, 2, 2));
        drop(peers);
        rig.settle();
        let ws = rig.websockets();
        assert_eq!((rig.connections(), ws.closing, ws.close_timed_out), (0, 0, 0));
        assert_eq!((ws.partial_requests, ws.partial_messages), (0, 0));
    }
}

#[test]
fn one_process_speaks_both_protocols() {
    let mut rig = rig();
    let ws = rig.upgraded(1).remove(0);
    let tcp = rig.connect_to(1, 1).remove(0);
    assert_eq!(rig.say(&tcp, REQUEST), REQUEST);
    let messages = [frame(0x82, b"one"), frame(0x82, b"two")].concat();
    let answers = [reply(0x82, b"one"), reply(0x82, b"two")].concat();
    assert_eq!(rig.say(&ws, &messages), answers);
    let snapshot = rig.reactors[0].driver().snapshot(rig.reactors[0].core());
    assert_eq!((snapshot.messages, snapshot.websocket.messages), (3, 2), "a read, two messages");
}

#[test]
fn a_request_has_its_time_however_busily_it_trickles_in() {
    let limit = Nanos::from_secs(2);
    let mut rig = rig_with(Config::default(), None, Some(limit));
    let good = rig.upgraded(1).remove(0);
    let slow = rig.connect_to(0, 3);
    for byte in REQUEST[..18].chunks(1) {
        assert_eq!(rig.say(&slow[0], byte), b"");
        rig.advance(Nanos::from_millis(100));
    }
    assert_eq!(rig.websockets().opening, 3);
    rig.advance(Nanos::from_millis(500));
    for peer in &slow {
        assert!(heard(peer).starts_with(b"HTTP/1.1 408 "));
        assert!(is_closed(peer));
    }
    let ws = rig.websockets();
    assert_eq!((ws.opening, ws.refused[&408], ws.partial_requests), (0, 3, 0));
    assert_eq!(rig.say(&good, &frame(0x82, b"x")), reply(0x82, b"x"));
    drop(slow);
    rig.settle();
    assert_eq!((rig.connections(), rig.websockets().closing), (1, 0));
}

#[test]
fn without_limits_silence_is_golden_and_costs_no_turn() {
    let mut rig = rig();
    let good = rig.upgraded(1).remove(0);
    assert_eq!(rig.reactors[0].deadline(), None, "nobody looks after an idle connection");
    rig.advance(LONG);
    assert_eq!(rig.say(&good, &frame(0x82, b"x")), reply(0x82, b"x"));
}

#[test]
fn a_peer_that_does_not_close_is_closed() {
    let mut rig = rig();
    let peers = rig.upgraded(2);
    for peer in &peers {
        // One says good-bye and one breaks a rule; both stay and go on talking.
        let word = if std::ptr::eq(peer, &peers[0]) { 0x88 } else { 0x83 };
        assert!(rig.say(peer, &frame(word, b"")).starts_with(&[0x88]));
        assert_eq!(rig.say(peer, &frame(0x82, b"x")), b"");
    }
    for _ in 0..9 {
        rig.advance(Nanos::from_millis(500));
        assert_eq!(rig.say(&peers[0], b"still here"), b"");
    }
    assert_eq!((rig.connections(), rig.websockets().closing), (2, 2));
    rig.advance(Nanos::from_millis(1_200));
    let ws = rig.websockets();
    assert_eq!((rig.connections(), ws.closing, ws.close_timed_out), (0, 0, 2));
    assert_eq!((ws.closed, ws.protocol_errors[&1002], ws.lost), (1, 1, 0));
}

#[test]
fn silent_peers_are_told_before_they_are_closed() {
    let mut rig = rig_with(Config::default(), Some(Nanos::from_secs(1)), None);
    let peers = rig.upgraded(3);
    let (lively, silent, cut) = (&peers[0], &peers[1], &peers[2]);
    // In the middle of an echoed frame a close frame would be taken for its payload.
    let half = &frame(0x82, b"cut off")[..9];
    assert_eq!(rig.say(cut, half), [&[0x82, 7][..], b"cut"].concat());
    for _ in 0..5 {
        rig.advance(Nanos::from_millis(300));
        assert_eq!(rig.say(lively, &frame(0x89, b"")), reply(0x8a, b""));
    }
    assert_eq!(heard(silent), reply(0x88, &close(1001, "nothing was said for too long")));
    assert_eq!(heard(cut), b"");
    assert!(is_closed(silent) && is_closed(cut) && !is_closed(lively));
    assert_eq!(rig.reactors[0].driver().idle_closed, 2);
    let ws = rig.websockets();
    assert_eq!((ws.gone_away, ws.lost, ws.open, ws.partial_messages), (1, 1, 1, 0));
}

#[test]
fn a_server_that_stops_takes_its_leave() {
    let mut rig = rig();
    let mut peers = rig.upgraded(4);
    let cut = peers.pop().expect("four");
    let whole = frame(0x82, b"cut off");
    assert_eq!(rig.say(&cut, &whole[..9]), [&[0x82, 7][..], b"cut"].concat());
    let opening = rig.connect_to(0, 1).remove(0);
    let tcp = rig.connect_to(1, 1).remove(0);
    rig.stop();
    rig.settle();
    assert!(is_closed(&opening) && is_closed(&tcp));
    let leave = reply(0x88, &close(1001, "the server stops"));
    for peer in &peers {
        assert_eq!(heard(peer), leave);
        assert!(is_closed(peer));
    }
    // A frame that is being sent is sent to its end first.
    assert_eq!(rig.say(&cut, &whole[9..]), [b" off", &leave[..]].concat());
    // Whoever closes in answer is gone; nobody waits for the others for longer than a second.
    let answer = frame(0x88, &close(1001, ""));
    assert_eq!(rig.say(&peers[0], &answer), b"");
    peers.remove(0);
    rig.settle();
    assert_eq!((rig.connections(), rig.is_finished()), (3, false));
    rig.advance(STOP_PATIENCE);
    assert_eq!((rig.connections(), rig.is_finished()), (0, true));
    let last = rig.reactors[0].driver().last_snapshot();
    assert_eq!((last.connections, last.websocket.gone_away, last.websocket.closing), (0, 4, 0));
}

#[test]
fn a_server_whose_peers_answer_stops_at_once() {
    let mut rig = rig();
    let peers = rig.upgraded(3);
    rig.stop();
    rig.settle();
    assert!(!rig.is_finished());
    drop(peers.into_iter().map(|peer| heard(&peer)).collect::<Vec<_>>());
    rig.settle();
    assert!(rig.is_finished());
}

#[test]
fn requests_that_are_partly_here_are_bounded() {
    // As bytes, not as a number: many short ones fit, or a few long ones.
    let config = Config { partial_head_bytes_max: 1_000, ..Config::default() };
    let mut rig = rig_with(config, None, None);
    let short = rig.connect_to(0, 10);
    assert!(short.iter().all(|peer| rig.say(peer, b"GET / HT").is_empty()));
    drop(short);
    rig.settle();
    assert_eq!((rig.websockets().partial_requests, rig.websockets().abandoned), (0, 10));
    let long = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'a'; 400]].concat();
    let peers = rig.connect_to(0, 3);
    let answers = peers.iter().map(|peer| rig.say(peer, &long)).collect::<Vec<_>>();
    assert!(answers[..2].iter().all(Vec::is_empty));
    assert!(answers[2].starts_with(b"HTTP/1.1 503 "));
    let ws = rig.websockets();
    assert_eq!((ws.partial_requests, ws.refused[&503]), (2, 1));
    drop(peers);
    rig.settle();
    let ws = rig.websockets();
    assert_eq!((ws.partial_requests, ws.opening, ws.abandoned), (0, 0, 12));
}

#[test]
fn inflating_streams_are_bounded() {
    let policy = Policy { deflate: Some(DeflatePolicy::default()), ..Policy::default() };
    let config = Config::new(policy, wire::ws::Limits::for_messages(1_000), usize::MAX);
    assert_eq!(config.inflaters_max, STREAMS_PER_REACTOR_MIN);
    let mut rig = rig_with(config, None, None);
    let peers = rig.connect_to(0, STREAMS_PER_REACTOR_MIN + 1);
    let (head, _) = REQUEST.split_at(REQUEST.len() - 2);
    let request = [head, b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"].concat();
    // The first fragment of "Hello", compressed (RFC 7692, section 7.2.3.1).
    let fragment = frame(0x41, &[0xf2, 0x48, 0xcd]);
    let mut last = Vec::new();
    for peer in &peers {
        let accepted = String::from_utf8(rig.say(peer, &request)).expect("text");
        assert!(accepted.contains("permessage-deflate; server_no_context_takeover"), "{accepted}");
        last = rig.say(peer, &fragment);
    }
    assert_eq!(&last[2..4], &1011_u16.to_be_bytes());
    let ws = rig.websockets();
    assert_eq!((ws.inflaters, ws.inflaters_refused), (STREAMS_PER_REACTOR_MIN as u64, 1));
    drop(peers);
    rig.settle();
    let ws = rig.websockets();
    assert_eq!((ws.inflaters, ws.deflaters, ws.partial_messages), (0, 0, 0));
}

#[test]
fn a_few_bytes_that_make_much_work_are_read_a_few_at_a_time() {
    let policy = Policy { deflate: Some(DeflatePolicy::default()), ..Policy::default() };
    let config = Config::new(policy, wire::ws::Limits::default(), 1);
    let mut rig = rig_with(config, None, None);
    rig.world.set_faults(Faults { pipe_bytes: 1 << 20, ..Faults::default() });
    let peers = rig.connect_to(0, 2);
    let (head, _) = REQUEST.split_at(REQUEST.len() - 2);
    let request = [head, b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"].concat();
    for peer in &peers {
        rig.say(peer, &request);
    }
    let window = wire::ws::Window { bits: 15, takeover: false };
    let agreed = wire::ws::Agreed { server: window, client: window };
    let mut client = wire::ws::Ws::new(wire::ws::Role::Client, Some(agreed));
    let mut pools = wire::ws::Pools::default();
    let mut bombs = |size: usize, count: usize| {
        let mut out = Vec::new();
        for _ in 0..count {
            let (writer, kind) = (&mut client.writer, wire::ws::Kind::Binary);
            writer.message(&mut pools.write, kind, &vec![0; size], Some([0; 4]), &mut out);
        }
        out
    };
    let mut counted = (0, 0);
    let mut spent = |rig: &mut Rig, peer: &SimStream, bytes: &[u8]| {
        assert!(bytes.is_empty() || peer.send(bytes).ok() == Some(bytes.len()));
        for _ in 0..20 {
            rig.settle();
            heard(peer);
        }
        let counters = rig.reactors[0].core().counters;
        let now = (counters.bytes_received, counters.work_budget_hits);
        let before = std::mem::replace(&mut counted, now);
        (now.0 - before.0, now.1 - before.1)
    };
    spent(&mut rig, &peers[0], b"");
    // Who sends ordinary messages is read from as ever.
    let ordinary = bombs(100, 12);
    let carried = |bytes: &[u8]| carried(&[bytes.len()]) - carried(&[]);
    assert_eq!(spent(&mut rig, &peers[0], &ordinary), (carried(&ordinary), 0));
    // A bomb is worked on a piece at a time, from the first on, and others have their turn between:
    // it gives 6 MiB, each byte counts for three, and no piece goes beyond its portion by more than
    // the 16 KiB that are inflated at once.
    let bomb = bombs(1 << 20, 6);
    assert!((2 * 1024..64 * 1024).contains(&bomb.len()), "{}", bomb.len());
    let (read, pieces) = spent(&mut rig, &peers[0], &bomb);
    let portions = 3 * 6 * (1 << 20) / (WORK_PER_PORTION + 3 * 16 * 1024);
    assert!(read == carried(&bomb) && pieces >= portions / 2, "{pieces} of {portions}");
    // It is forgiven when it is ordinary again: at last all is read at once.
    for _ in 0..12 {
        spent(&mut rig, &peers[0], &ordinary[..ordinary.len() / 12]);
    }
    assert_eq!(spent(&mut rig, &peers[1], &ordinary).1, 0);
    assert_eq!(rig.reactors[0].core().put_back_bytes(), 0);
    assert_eq!(rig.websockets().messages, 12 + 6 + 12 + 12);
}

/// Its answers wait, and it reads none before it has sent all: reading goes on behind each heavy
/// read, or both would wait for ever.
#[test]
fn whoever_makes_much_work_and_reads_nothing_yet_is_read_on() {
    // Their answers take more than there is room for.
    const BOMBS: u64 = 60;
    let policy = Policy { deflate: Some(DeflatePolicy::default()), ..Policy::default() };
    let config = Config::new(policy, wire::ws::Limits::default(), 1);
    let (most, usual) = (16 << 20, sharing(Limits::for_slots(100), 1));
    let limits = Limits {
        unsent_bytes_per_connection: 2 * most,
        unsent_bytes_to_pause: most,
        evicts_blocked: true,
        ..usual
    };
    let mut rig = Rig::of(vec![driver(config, None, None)], 2, limits);
    rig.world.set_faults(Faults { pipe_bytes: 64 * 1024, ..Faults::default() });
    let peer = rig.connect_to(0, 1).remove(0);
    let (head, _) = REQUEST.split_at(REQUEST.len() - 2);
    let request = [head, b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"].concat();
    rig.say(&peer, &request);
    let window = wire::ws::Window { bits: 15, takeover: false };
    let agreed = wire::ws::Agreed { server: window, client: window };
    let mut client = wire::ws::Ws::new(wire::ws::Role::Client, Some(agreed));
    let (mut pools, mut bombs) = (wire::ws::Pools::default(), Vec::new());
    let zeros = vec![0; 1 << 20];
    for _ in 0..BOMBS {
        let (writer, kind) = (&mut client.writer, wire::ws::Kind::Binary);
        writer.message(&mut pools.write, kind, &zeros, Some([0; 4]), &mut bombs);
    }
    let mut left = &bombs[..];
    for _ in 0..bombs.len() {
        if left.is_empty() {
            break;
        }
        left = &left[peer.send(left).unwrap_or(0)..];
        rig.settle();
    }
    // What was put back is worked on in its turns.
    for _ in 0..100 {
        rig.settle();
    }
    assert!(left.is_empty(), "{} of {} bytes were not taken", left.len(), bombs.len());
    assert_eq!(rig.websockets().messages, BOMBS);
    assert!(rig.reactors[0].core().counters.blocked_writes > 0);
    assert!(rig.reactors[0].core().counters.heavy_reads > 1);
}

/// However it trickles: a message has a time limit from its first byte on, and only a message.
#[test]
fn half_a_message_is_not_waited_for_for_ever() {
    let limit = Nanos::from_millis(800);
    let one = driver(Config::default(), None, None).with_message_timeout(Some(limit));
    let mut rig = Rig::of(vec![one], 2, sharing(Limits::for_slots(100), 1));
    let peers = rig.upgraded(5);
    let whole = frame(0x82, b"whole");
    // Nothing; whole messages; the half of a text, byte by byte; fragments without an end; half of
    // a binary message, whose answer has begun.
    let text = frame(0x81, &[b'a'; 100]);
    peers[2].send(&text[..10]).expect("room");
    peers[3].send(&frame(0x01, b"a")).expect("room");
    peers[4].send(&frame(0x82, &[7; 100])[..50]).expect("room");
    for step in 0..6 {
        rig.settle();
        assert_eq!(rig.websockets().open, 5, "step {step}");
        peers[1].send(&whole).expect("room");
        peers[2].send(&text[10 + step..11 + step]).expect("room");
        peers[3].send(&frame(0x00, b"a")).expect("room");
        rig.advance(Nanos::from_millis(100));
    }
    rig.advance(Nanos::from_millis(400));
    let ws = rig.websockets();
    assert_eq!((ws.open, ws.message_timed_out, ws.partial_messages), (2, 3, 0));
    let reason = close(1008, "the message was not complete in time");
    for peer in &peers[2..4] {
        assert!(heard(peer).ends_with(&reply(0x88, &reason)));
    }
    assert!(!heard(&peers[4]).ends_with(&reply(0x88, &reason)), "in the middle of a frame");
    // Who is between two messages may be silent for as long as it likes.
    rig.advance(LONG);
    assert_eq!(rig.websockets().open, 2);
    assert_eq!(rig.say(&peers[0], &whole), reply(0x82, b"whole"));
}

/// A connection whose answers wait until room runs out is no failure of the machine. Peers that
/// asked for pongs without reading them are counted apart from those that asked for messages.
#[test]
fn who_pings_and_reads_no_pongs_is_named_so() {
    let limits = Limits {
        unsent_bytes: 64 * 1024,
        unsent_bytes_per_connection: 64 * 1024,
        unsent_bytes_to_pause: 64 * 1024,
        evicts_blocked: true,
        ..sharing(Limits::for_slots(100), 1)
    };
    let ping = frame(0x89, &[7; 100]).repeat(300);
    let message = frame(0x82, &[7; 100]).repeat(300);
    for (flood, expected) in [
        (&ping, [("unread_pongs", true), ("unread", false)]),
        (&message, [("unread_pongs", false), ("unread", true)]),
        (&[&message[..106], &ping].concat(), [("unread_pongs", true), ("unread", false)]),
    ] {
        let mut rig = Rig::of(vec![driver(Config::default(), None, None)], 2, limits);
        let peers = rig.upgraded(60);
        rig.world.set_faults(Faults { pipe_bytes: 4 * 1024, ..Faults::default() });
        let mut left = vec![&flood[..]; peers.len()];
        for _ in 0..200 {
            for (peer, left) in peers.iter().zip(&mut left) {
                *left = &left[peer.send(left).unwrap_or(0)..];
            }
            rig.settle();
        }
        let driver = rig.reactors[0].driver();
        let snapshot = driver.snapshot(rig.reactors[0].core());
        let failed: u64 = snapshot.failures.values().sum();
        assert!(failed > 0 && failed == snapshot.broken, "{:?}", snapshot.failures);
        for (name, some) in expected {
            assert_eq!(snapshot.failures.contains_key(name), some, "{:?}", snapshot.failures);
        }
        assert!(!snapshot.failures.contains_key("no_memory"), "{:?}", snapshot.failures);
    }
}
