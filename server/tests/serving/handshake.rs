//! The opening handshake over real sockets: what is answered to right and wrong requests
//! (RFC 6455, section 4.2).

use crate::common::{Server, eventually};
use crate::ws::{ACCEPT, BINARY, Frame, KEY, Peer, frame, read_head, request};
use measure::{Clock, Nanos};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const WS: &[&str] = &["ws://127.0.0.1:0"];

/// The whole reply to a request that is refused: the connection is closed behind it.
fn reply(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).expect("taken");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply, and the end");
    reply
}

/// The head of the answer to a request that is accepted.
fn accepted(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).expect("taken");
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains(ACCEPT), "{head}");
    head
}

/// A good request with a text in it replaced by another.
fn with(from: &str, to: &str) -> Vec<u8> {
    let good = request("");
    assert!(good.contains(from), "{from}");
    good.replace(from, to).into_bytes()
}

#[test]
fn each_wrong_request_has_its_status() {
    let server = Server::on(WS, &["--origin", "https://good.example"]);
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let more = |lines: &str| request(lines).into_bytes();
    let long = "x".repeat(66_000);
    let table: Vec<(u16, Vec<u8>)> = vec![
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        (400, b"get / HTTP/1.1\r\n\r\n".to_vec()),
        (400, b"GET /\r\n\r\n".to_vec()),
        (400, b"GET / HTTP/1.1\n\n".to_vec()),
        (400, with("Host: localhost\r\n", "")),
        (400, with("Host: localhost\r\n", "Host: a\r\nHost: b\r\n")),
        (400, with("HTTP/1.1", "HTTP/1.0")),
        (400, with("GET /", "GET chat")),
        (400, with("Connection: Upgrade", "Connection: keep-alive")),
        (400, with(&key, "")),
        (400, with(&key, &key.repeat(2))),
        (400, with(KEY, "")),
        (400, with(KEY, "c2hvcnQ=")),
        (400, with(KEY, "dGhlIHNhbXBsZSBub25jZWVl")),
        (400, with(KEY, "!!hlIHNhbXBsZSBub25jZQ==")),
        (400, with("Version: 13\r\n", "Version: 13\r\nSec-WebSocket-Version: 8\r\n")),
        (400, more("Content-Length: 5\r\n")),
        (400, more("Transfer-Encoding: chunked\r\n")),
        (400, more("Sec-WebSocket-Extensions: ;\r\n")),
        (400, more("Sec-WebSocket-Protocol: a b\r\n")),
        (400, more("Sec-WebSocket-Protocol: a, a\r\n")),
        (400, more("Origin: https://good.example\r\nOrigin: https://good.example\r\n")),
        (400, more("no colon\r\n")),
        (400, more(" folded: line\r\n")),
        (403, more("Origin: https://evil.example\r\n")),
        (403, more("Origin: null\r\n")),
        (403, more("Origin: https://good.example.evil.example\r\n")),
        (405, with("GET", "POST")),
        (405, with("GET", "HEAD")),
        (405, with("GET", "OPTIONS")),
        (426, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        (426, with("Upgrade: websocket", "Upgrade: h2c")),
        (426, with("Version: 13", "Version: 8")),
        (426, with("Version: 13", "Version: 013")),
        (426, with("Sec-WebSocket-Version: 13\r\n", "")),
        (431, more(&format!("Cookie: {long}\r\n"))),
        (431, more(&"X: y\r\n".repeat(260))),
        (505, with("HTTP/1.1", "HTTP/2.0")),
    ];
    for (status, request) in &table {
        let said = request.escape_ascii().to_string();
        let reply = reply(&server, request);
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said}"));
        let line = head.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{line} to {said:.200}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("close") && lower.contains("\r\ndate: "), "{head}");
        if request.starts_with(b"HEAD") {
            assert_eq!(body, "");
        } else {
            assert!(lower.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
            assert!(body.ends_with('\n'), "{head}");
        }
        match status {
            405 => assert!(head.contains("\r\nAllow: GET\r\n"), "{head}"),
            426 => {
                assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{head}");
                assert!(lower.contains("\r\nupgrade: websocket\r\n"), "{head}");
            }
            _ => {}
        }
    }
    let ws = server.snapshot().websocket;
    for status in [400, 403, 405, 426, 431, 505] {
        let expected = table.iter().filter(|(of, _)| *of == status).count() as u64;
        assert_eq!(ws.refused[&status], expected, "{status}");
    }
    assert_eq!((ws.upgraded, ws.opening, ws.partial_requests), (0, 0, 0));
}

#[test]
fn right_requests_are_right_in_any_dress() {
    let server = Server::on(WS, &["--origin", "https://good.example", "--origin", "null"]);
    let more = |lines: &str| request(lines).into_bytes();
    let requests = [
        with("GET / ", "GET /chat?room=1&x=%20 "),
        with("GET / ", "GET http://localhost/chat "),
        with("Upgrade: websocket", "uPGRADE:   WebSocket\t"),
        with("Upgrade: websocket", "Upgrade: h2c, websocket"),
        with("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
        with("Connection: Upgrade", "connection: keep-alive , UPGRADE"),
        with("Connection: Upgrade", "Connection: keep-alive\r\nConnection: ,upgrade"),
        with("Sec-WebSocket-Key", "sec-websocket-KEY"),
        with("Host: localhost", "Host: [::1]:9001"),
        more("Content-Length: 0\r\n"),
        more("Origin: https://good.example\r\n"),
        more("Origin: HTTPS://Good.Example\r\n"),
        more("Origin: null\r\n"),
        more(&"X: y\r\n".repeat(50)),
        more(&format!("Cookie: {}\r\n", "x".repeat(15_000))),
    ];
    for request in &requests {
        let head = accepted(&server, request);
        let lower = head.to_ascii_lowercase();
        assert!(!lower.contains("sec-websocket-protocol"), "{head}");
        assert!(!lower.contains("sec-websocket-extensions"), "{head}");
    }
    assert_eq!(server.snapshot().websocket.upgraded, requests.len() as u64);
}

#[test]
fn the_subprotocol_that_we_prefer_is_chosen() {
    let server = Server::on(WS, &["--subprotocol", "v2.chat", "--subprotocol", "v1.chat"]);
    for (offer, chosen) in [
        ("Sec-WebSocket-Protocol: v1.chat, v2.chat\r\n", Some("v2.chat")),
        ("Sec-WebSocket-Protocol: v1.chat\r\nSec-WebSocket-Protocol: other\r\n", Some("v1.chat")),
        ("Sec-WebSocket-Protocol: V1.chat\r\n", None),
        ("Sec-WebSocket-Protocol: other\r\n", None),
        ("", None),
    ] {
        let head = accepted(&server, request(offer).as_bytes());
        let found = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(found, chosen, "{offer}");
    }
}

#[test]
fn a_head_full_of_subprotocols_holds_nobody_up() {
    let server = Server::on(WS, &["--reactors", "1", "--subprotocol", "none.of.them"]);
    let names = (0..3_000).map(|n| format!("{n:x}")).collect::<Vec<_>>().join(",");
    let request = request(&format!("Sec-WebSocket-Protocol: {names}\r\n"));
    let clock = Clock::start();
    for _ in 0..100 {
        accepted(&server, request.as_bytes());
    }
    // Each name held against each other one takes ten times as long.
    assert!(clock.now() < Nanos::from_secs(3), "{:?}", clock.now());
}

#[test]
fn frames_right_behind_the_request_are_answered() {
    let server = Server::on(WS, &[]);
    let behind = [frame(BINARY, b"early"), frame(BINARY, &[7; 3000])].concat();
    let all = [request("").as_bytes(), &behind].concat();
    // In one write, with the cut in a frame, and byte by byte.
    for first in [all.len(), all.len() - 2000, 0] {
        let mut stream = server.connect();
        let (at_once, rest) = all.split_at(first);
        stream.write_all(at_once).expect("taken");
        rest[..rest.len().min(300)].chunks(1).for_each(|b| stream.write_all(b).expect("taken"));
        stream.write_all(&rest[rest.len().min(300)..]).expect("taken");
        let mut peer = Peer::on(stream);
        assert_eq!(peer.next(), Some(Frame::new(BINARY, b"early")));
        assert_eq!(peer.next(), Some(Frame::new(BINARY, &[7; 3000])));
        peer.leave();
    }
}

#[test]
fn whoever_is_too_slow_is_told_and_closed() {
    let server = Server::on(WS, &["--handshake-timeout", "300ms", "--reactors", "1"]);
    let mut good = server.upgrade();
    let mut slow: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    slow[1].write_all(b"GET / HTTP/1.1\r\nHost: ").expect("taken");
    let mut replies = slow.iter_mut().map(|stream| {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply, and the end");
        reply
    });
    assert!(replies.all(|reply| reply.starts_with("HTTP/1.1 408 ")));
    good.echo(BINARY, b"who is open has all the time there is");
    drop(slow);
    eventually("they are gone", || server.snapshot().connections == 1);
    let ws = server.snapshot().websocket;
    assert_eq!((ws.refused[&408], ws.opening, ws.closing), (3, 0, 0));
}

#[test]
fn whoever_leaves_in_the_middle_of_a_request_is_counted() {
    let server = Server::on(WS, &[]);
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\n").expect("taken");
    stream.shutdown(Shutdown::Write).expect("open");
    assert_eq!(stream.read(&mut [0; 9]).expect("the end"), 0);
    eventually("it is counted", || server.snapshot().websocket.abandoned == 1);
    assert_eq!(server.snapshot().websocket.partial_requests, 0);
}
