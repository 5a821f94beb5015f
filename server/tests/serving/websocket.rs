//! WebSocket as a service: large messages, limits, slow readers, both protocols in one process,
//! what is counted, and how it ends.

use crate::common::{Server, echo, eventually, is_closed};
use crate::ws::{
    BINARY, CLOSE, FIRST_BINARY, Frame, LAST, NEXT, PING, PONG, Peer, TEXT, close, frame, header,
};
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;

const WS: &[&str] = &["ws://127.0.0.1:0"];
const MIB: usize = 1 << 20;

/// Sends bytes from a thread of its own, so that the answer can be read meanwhile.
fn say_aside(peer: &Peer, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = peer.stream.try_clone().expect("a second handle");
    thread::spawn(move || stream.write_all(&bytes).expect("taken"))
}

#[test]
fn one_process_serves_both_protocols() {
    let server = Server::on(&["tcp://127.0.0.1:0", "ws://127.0.0.1:0", "ws://127.0.0.2:0"], &[]);
    let announced = |url: usize| server.ready[url]["url"].as_str().expect("text").to_owned();
    assert!(announced(0).starts_with("tcp://") && announced(1).starts_with("ws://127.0.0.1:"));
    let mut tcp = server.connect();
    for url in [1, 2] {
        let mut stream = server.connect_to(url);
        stream.write_all(crate::ws::request("").as_bytes()).expect("taken");
        let mut peer = Peer::on(stream);
        peer.echo(TEXT, b"are you there?");
        echo(&mut tcp);
        peer.leave();
    }
    let snapshot = server.snapshot();
    assert_eq!(snapshot.urls, [announced(0), announced(1), announced(2)]);
    assert_eq!((snapshot.messages, snapshot.websocket.messages), (4, 2));
}

#[test]
fn sixteen_mebibytes_pass_in_any_form() {
    let server = Server::on(WS, &["--reactors", "1"]);
    let payload: Vec<u8> = (0..16 * MIB as u32).map(|n| (n % 251) as u8).collect();
    let mut fragments = frame(FIRST_BINARY, &payload[..256]);
    payload[256..].chunks(256).for_each(|part| fragments.extend(frame(NEXT, part)));
    // The last of 65,536 fragments says that it is the last.
    let last = fragments.len() - 256 - 8;
    fragments[last] |= LAST;
    let text: Vec<u8> = payload.iter().map(|byte| byte & 0x7f).collect();
    let before = server.snapshot().rss_bytes.expect("told");
    for (said, first, expected) in [
        (frame(BINARY, &payload), BINARY, &payload),
        (frame(TEXT, &text), TEXT, &text),
        (fragments, BINARY, &payload),
    ] {
        // Whoever reads at the same time as it sends, and whoever sends it all before it reads.
        for aside in [true, false] {
            let mut peer = server.upgrade();
            let saying = aside.then(|| say_aside(&peer, said.clone()));
            if !aside {
                peer.say(&said);
            }
            let answer = peer.next().expect("an answer");
            assert!(answer.first == first && answer.payload == *expected, "{first:#x} {aside}");
            if let Some(saying) = saying {
                saying.join().expect("sent");
            }
            peer.leave();
        }
    }
    let snapshot = server.snapshot();
    assert_eq!((snapshot.websocket.messages, snapshot.counters["unsent_full"]), (6, 0));
    // One message waited at a time, and the allocator may keep its room for the next.
    assert!(
        snapshot.rss_bytes < Some(before + 24 * MIB as u64),
        "{:?} {before}",
        snapshot.rss_bytes
    );
    assert_eq!(snapshot.reactors[0].unsent_bytes, 0);
}

#[test]
fn messages_beyond_the_limit_are_refused_before_they_come() {
    let server = Server::on(WS, &["--message-max", "1000"]);
    let mut good = server.upgrade();
    good.echo(BINARY, &[1; 1000]);
    good.echo(TEXT, &[b'x'; 1000]);
    let half = [&frame(FIRST_BINARY, &[1; 500])[..], &frame(NEXT, &[1; 500])].concat();
    let too_many = frame(NEXT, b"").repeat(128 * 1024);
    for (name, said) in [
        ("one byte", frame(BINARY, &[1; 1001])),
        ("a header alone", header(TEXT, 1001)),
        ("a fragment", [half, frame(LAST, b"x")].concat()),
        ("fragments without end", [frame(FIRST_BINARY, b""), too_many].concat()),
    ] {
        let mut peer = server.upgrade();
        let saying = say_aside(&peer, said);
        let last = peer.rest().pop().expect("a last word");
        assert_eq!(last.close_code(), Some(1009), "{name}");
        saying.join().expect("taken to the end");
    }
    good.echo(BINARY, b"still here");
    assert_eq!(server.snapshot().websocket.protocol_errors[&1009], 4);
}

#[test]
fn many_large_messages_at_once_stay_within_the_limit() {
    const PEERS: usize = 50;
    let server = Server::on(WS, &["--unsent-max", "8m", "--reactors", "1"]);
    let before = server.snapshot().rss_bytes.expect("told");
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| server.upgrade()).collect();
    // All of them send, and nobody reads: the first are read on from until half of the room is used
    // up, then as much stays here as one read of each gave.
    let block = [7; 64 * 1024];
    for peer in &mut peers {
        peer.say(&header(BINARY, 16 * MIB as u64));
        peer.stream.set_nonblocking(true).expect("option");
    }
    let mut sent = [0; PEERS];
    eventually("all are stuck", || {
        let mut more = 0;
        for (peer, sent) in peers.iter_mut().zip(&mut sent) {
            while *sent < 16 * MIB {
                match peer.stream.write(&block[..block.len().min(16 * MIB - *sent)]) {
                    Ok(count) => (*sent, more) = (*sent + count, more + count),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        more == 0 && server.snapshot().reactors[0].unsent_bytes > 0
    });
    let snapshot = server.snapshot();
    assert!(snapshot.reactors[0].unsent_bytes <= 8 << 20, "{}", snapshot.reactors[0].unsent_bytes);
    assert!(snapshot.rss_bytes < Some(before + (12 << 20)), "{:?} {before}", snapshot.rss_bytes);
    // And each of them gets its message back.
    for (mut peer, sent) in peers.into_iter().zip(sent) {
        peer.stream.set_nonblocking(false).expect("option");
        let rest = std::iter::repeat_n(7, 16 * MIB - sent).collect();
        let saying = say_aside(&peer, rest);
        let answer = peer.next().expect("an answer");
        saying.join().expect("sent");
        assert_eq!((answer.first, answer.payload.len()), (BINARY, 16 * MIB));
        peer.leave();
    }
    let snapshot = server.snapshot();
    assert_eq!((snapshot.counters["unsent_full"], snapshot.websocket.lost), (0, 0));
}

#[test]
fn a_stopping_server_says_good_bye_to_everyone() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::on(&["ws://127.0.0.1:0", "tcp://127.0.0.1:0"], &["--reactors", "2"]);
        let mut peers: Vec<Peer> = (0..20).map(|_| server.upgrade()).collect();
        peers.iter_mut().for_each(|peer| peer.echo(BINARY, b"hello"));
        let mut cut = server.upgrade();
        cut.say(&frame(BINARY, b"cut off")[..9]);
        let (mut opening, mut tcp) = (server.connect(), server.connect_to(1));
        echo(&mut tcp);
        let mut refused = server.connect();
        refused.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("taken");
        assert!(refused.read_to_end(&mut Vec::new()).expect("the end") > 0);
        server.signal(signal);
        for peer in &mut peers {
            let answer = peer.rest();
            assert_eq!(answer, [Frame::new(CLOSE, &close(1001, "the server stops"))]);
        }
        assert!(is_closed(&mut opening) && is_closed(&mut tcp));
        // The peers stay, and one is in the middle of a frame: it ends all the same.
        let (code, out, err) = server.finish();
        assert_eq!((code, out.as_str()), (Some(0), ""));
        assert!(err.contains("upgraded 21, refused 1 (400: 1), broken rules 0"), "{err}");
        assert!(err.contains("echoed 21 messages"), "{err}");
        assert_eq!(cut.stream.read(&mut [0; 64]).ok(), Some(2 + 3), "what it was owed");
    }
}

#[test]
fn whatever_happens_is_counted() {
    let server = Server::on(WS, &["--reactors", "1"]);
    let mut peer = server.upgrade();
    peer.echo(TEXT, b"one");
    peer.say(&frame(PING, b"no message"));
    assert_eq!(peer.next(), Some(Frame::new(PONG, b"no message")));
    let mut all = [frame(BINARY, b"two"), frame(BINARY, b"three")].concat();
    all.extend(frame(FIRST_BINARY, b"not complete"));
    peer.say(&all);
    assert!(peer.next().is_some() && peer.next().is_some());
    // Half-closed without a close frame.
    peer.stream.shutdown(Shutdown::Write).expect("open");
    assert!(peer.stream.read_to_end(&mut Vec::new()).is_ok());
    server.upgrade().leave();
    let mut wrong = server.upgrade();
    wrong.say(&frame(0x83, b""));
    assert_eq!(wrong.rest()[0].close_code(), Some(1002));
    drop(wrong);
    let reset = server.upgrade();
    host::socket::reset_on_close(&reset.stream).expect("option");
    drop(reset);
    eventually("all are gone", || server.snapshot().connections == 0);
    let snapshot = server.snapshot();
    let ws = &snapshot.websocket;
    assert_eq!((ws.upgraded, ws.messages, ws.closed, ws.lost), (4, 3, 1, 2));
    assert_eq!(ws.protocol_errors.iter().collect::<Vec<_>>(), [(&1002, &1)]);
    assert_eq!((ws.open, ws.closing, ws.partial_messages), (0, 0, 0));
    assert_eq!(snapshot.failures.iter().collect::<Vec<_>>(), [(&"reset".to_owned(), &1)]);
    assert_eq!((snapshot.reactors[0].closed, snapshot.reactors[0].broken), (3, 1));
}
