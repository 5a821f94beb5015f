//! permessage-deflate over real sockets (RFC 7692): what is agreed upon, and what is sent under it.

use crate::common::Server;
use crate::ws::{
    BINARY, CLOSE, COMPRESSED, FIRST_TEXT, Frame, LAST, NEXT, PING, PONG, Peer, TEXT, frame,
};
use wire::ws::{Agreed, Event, Kind, Limits, Pools, Role, Window, Ws};

const WS: &[&str] = &["ws://127.0.0.1:0"];
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// "Hello", compressed (RFC 7692, section 7.2.3.1).
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

impl Peer {
    /// What was agreed upon, as the server says it.
    fn extensions(&self) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "))
    }
}

#[test]
fn nothing_is_agreed_upon_that_was_not_asked_for() {
    let server = Server::on(WS, &[]);
    let mut peer = server.upgrade_with(OFFER);
    assert_eq!(peer.extensions(), None);
    peer.say(&frame(TEXT | COMPRESSED, HELLO));
    assert_eq!(peer.rest()[0].close_code(), Some(1002));
    let server = Server::on(WS, &["--deflate"]);
    assert_eq!(server.upgrade().extensions(), None);
}

#[test]
fn each_offer_has_its_answer() {
    let shared = Server::on(WS, &["--deflate"]);
    let dedicated = Server::on(WS, &["--deflate=dedicated"]);
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (server, offer, answer) in [
        (&shared, "permessage-deflate", Some(none.to_owned())),
        (&shared, "permessage-deflate; client_max_window_bits", Some(none.to_owned())),
        (
            &shared,
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
            Some(format!("{none}; server_max_window_bits=10; client_max_window_bits=9")),
        ),
        (&dedicated, "permessage-deflate", Some("permessage-deflate".to_owned())),
        (
            &dedicated,
            "permessage-deflate; server_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover".to_owned()),
        ),
        (&shared, "x-other, permessage-deflate; bad, permessage-deflate", Some(none.to_owned())),
        (&shared, "permessage-deflate; server_max_window_bits=16", None),
        (&shared, "permessage-deflate; server_max_window_bits=07", None),
        (&shared, "permessage-deflate; client_no_context_takeover=1", None),
        (&shared, "permessage-deflate; unknown", None),
        (&shared, "x-webkit-deflate-frame", None),
    ] {
        let mut peer = server.upgrade_with(&format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        assert_eq!(peer.extensions(), answer.as_deref(), "{offer}");
        peer.echo(BINARY, b"plain messages are always allowed");
    }
}

/// A client of ours that compresses what it sends.
struct Deflating {
    peer: Peer,
    ws: Ws,
    pools: Pools,
}

impl Deflating {
    fn new(server: &Server, takeover: bool) -> Self {
        let window = Window { bits: 15, takeover };
        let agreed = Agreed { server: window, client: window };
        let ws = Ws::new(Role::Client, Some(agreed));
        Self { peer: server.upgrade_with(OFFER), ws, pools: Pools::default() }
    }

    /// Sends a message and returns what comes back, and how many bytes it was in compressed form.
    fn echo(&mut self, kind: Kind, message: &[u8]) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        self.ws.writer.message(&mut self.pools.write, kind, message, Some([5, 6, 7, 8]), &mut out);
        self.peer.say(&out);
        let Frame { first, payload } = self.peer.next().expect("an answer");
        assert_eq!(first, kind.opcode() as u8 | 0x80 | COMPRESSED, "compressed as the question");
        // Read as the single frame that its fragments were put together to.
        let mut bytes = frame(first, &payload);
        let mask = bytes.len() - payload.len() - 4;
        bytes.drain(mask..mask + 4);
        bytes[1] &= 0x7f;
        bytes.truncate(mask);
        bytes.extend_from_slice(&payload);
        let (mut got, limits) = (Vec::new(), Limits::default());
        let read = self.ws.reader.read(&limits, &mut self.pools.read, &mut bytes, |event| {
            if let Event::Chunk(chunk) = event {
                got.extend_from_slice(chunk);
            }
        });
        read.expect("a good message");
        (got, payload.len())
    }
}

/// Bytes that hardly deflate (SplitMix64, Steele, Lea, Flood 2014).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    });
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

#[test]
fn messages_of_all_kinds_come_back() {
    for (option, takeover) in [("--deflate", false), ("--deflate=dedicated", true)] {
        let server = Server::on(WS, &[option]);
        let mut client = Deflating::new(&server, takeover);
        let text = "a text that says the same again and again, ".repeat(1_000);
        let noise = noise(1_000_000);
        for (kind, message) in [
            (Kind::Text, &b""[..]),
            (Kind::Text, b"Hello"),
            (Kind::Text, text.as_bytes()),
            (Kind::Binary, &noise[..100]),
            (Kind::Binary, &noise),
            (Kind::Binary, &vec![0; 3_000_000]),
        ] {
            let (got, _) = client.echo(kind, message);
            assert!(got == message, "{} bytes, {option}", message.len());
        }
        // A window that is kept makes the second of two equal messages short.
        let first = client.echo(Kind::Binary, &noise[..1_000]).1;
        let second = client.echo(Kind::Binary, &noise[..1_000]).1;
        assert!(first > 900 && (second < 100) == takeover, "{first} and {second}, {option}");
        let ws = server.snapshot().websocket;
        let held = u64::from(takeover);
        assert_eq!((ws.inflaters, ws.deflaters, ws.partial_messages), (held, held, 0), "{option}");
    }
}

#[test]
fn the_largest_message_passes_even_if_it_does_not_deflate() {
    let server = Server::on(WS, &["--deflate", "--message-max", "1m"]);
    let mut client = Deflating::new(&server, false);
    let largest = noise(1 << 20);
    let (got, compressed) = client.echo(Kind::Binary, &largest);
    assert!(got == largest && compressed > largest.len(), "it has grown to {compressed} bytes");
}

#[test]
fn the_rules_of_compressed_messages() {
    let server = Server::on(WS, &["--deflate"]);
    let (a, b) = HELLO.split_at(3);
    let hello = |first: u8| Frame::new(first, HELLO);
    let good: &[(&str, Vec<u8>, Vec<Frame>)] = &[
        ("whole", frame(TEXT | COMPRESSED, HELLO), vec![hello(TEXT | COMPRESSED)]),
        (
            "in fragments, with a ping between",
            [frame(FIRST_TEXT | COMPRESSED, a), frame(PING, b"p"), frame(LAST, b)].concat(),
            vec![Frame::new(PONG, b"p"), hello(TEXT | COMPRESSED)],
        ),
        (
            "a block that says it is the last",
            frame(TEXT | COMPRESSED, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
            vec![hello(TEXT | COMPRESSED)],
        ),
        ("not compressed", frame(TEXT, b"Hello"), vec![Frame::new(TEXT, b"Hello")]),
    ];
    for (name, said, expected) in good {
        let mut peer = server.upgrade_with(OFFER);
        peer.say(said);
        let got: Vec<Frame> = expected.iter().map(|_| peer.next().expect("open")).collect();
        assert_eq!(got, *expected, "{name}");
        peer.leave();
    }
    let bad: &[(&str, Vec<u8>, u16)] = &[
        ("noise", frame(BINARY | COMPRESSED, &[0xff; 30]), 1007),
        (
            "compressed text that is not UTF-8",
            {
                // One stored block with a single byte.
                frame(TEXT | COMPRESSED, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00])
            },
            1007,
        ),
        ("a compressed ping", frame(PING | COMPRESSED, b""), 1002),
        ("a compressed close", frame(CLOSE | COMPRESSED, b""), 1002),
        (
            "the bit on a fragment behind the first",
            [frame(FIRST_TEXT | COMPRESSED, a), frame(NEXT | COMPRESSED, b)].concat(),
            1002,
        ),
        ("the other reserved bits", frame(TEXT | COMPRESSED | 0x20, HELLO), 1002),
    ];
    for (name, said, code) in bad {
        let mut peer = server.upgrade_with(OFFER);
        peer.say(said);
        let last = peer.rest().pop().expect("a last word");
        assert_eq!(last.close_code(), Some(*code), "{name}");
    }
}

#[test]
fn a_bomb_meets_the_limit_and_not_our_memory() {
    let server = Server::on(WS, &["--deflate", "--message-max", "1m", "--reactors", "1"]);
    let before = server.snapshot().rss_bytes.expect("told");
    let mut client = Deflating::new(&server, false);
    let mut out = Vec::new();
    let zeros = vec![0; 60_000_000];
    let write = &mut client.pools.write;
    client.ws.writer.message(write, Kind::Binary, &zeros, Some([0; 4]), &mut out);
    assert!(out.len() < 1_000_000, "a frame of {} bytes is no reason yet", out.len());
    client.peer.say(&out);
    let last = client.peer.rest().pop().expect("a last word");
    assert_eq!(last.close_code(), Some(1009));
    let snapshot = server.snapshot();
    assert!(snapshot.rss_bytes < Some(before + 20_000_000), "{:?} {before}", snapshot.rss_bytes);
    assert_eq!(snapshot.websocket.protocol_errors[&1009], 1);
}
