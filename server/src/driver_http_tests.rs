//! HTTP on the simulated network: the same answers however bytes arrive, files of any size, every
//! time limit, and what waits behind what.

use super::tests::{Rig, heard, is_closed, limits};
use super::*;
use crate::http;
use reactor::sim::{Faults, SimStream};
use reactor::{Limits, Stream};
use std::fs;
use tempfile::TempDir;

const GET: &[u8] = b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
const LAST: &[u8] = b"GET /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
/// A message with the mask 0, and its echo.
const MESSAGE: &[u8] = b"\x82\x85\0\0\0\0hello";
const ECHO: &[u8] = b"\x82\x05hello";

const LARGE: usize = 70_000;

/// A folder with a file of either kind.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("small"), b"small file").expect("a file");
    fs::write(folder.path().join("large"), large()).expect("a file");
    folder
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|number| (number % 251) as u8).collect()
}

fn rig_of(
    config: http::Config,
    limits: Limits,
    idle: Option<Nanos>,
    request: Option<Nanos>,
) -> Rig {
    let site = Site::open(&config).expect("a site");
    let driver = ServerDriver::new(0, 0, Arc::new(Admission::new(1_000)), idle, Nanos::ZERO)
        .serving(vec![Protocol::Http], Arc::new(Config::default()), request)
        .with_site(config, site);
    Rig::of(vec![driver], 1, limits)
}

fn rig(folder: &TempDir, idle: Option<Nanos>, request: Option<Nanos>) -> Rig {
    let config = http::Config { root: Some(folder.path().to_owned()), ..http::Config::default() };
    rig_of(config, limits(), idle, request)
}

fn counts(rig: &Rig) -> HttpSnapshot {
    rig.reactors[0].driver().services.http.snapshot()
}

fn ask(rig: &mut Rig, peer: &SimStream, request: &[u8]) -> String {
    assert_eq!(peer.send(request).ok(), Some(request.len()));
    rig.settle();
    String::from_utf8(heard(peer)).expect("text")
}

/// The bodies of answers of which each has a length.
fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        let (body, rest) = bytes[end..].split_at(length);
        bodies.push(body.to_vec());
        bytes = rest;
    }
    bodies
}

#[test]
fn answers_do_not_depend_on_how_bytes_arrive() {
    let folder = folder();
    let said = [GET, GET_LARGE, GET, GET, GET_LARGE, UPGRADE, MESSAGE].concat();
    let small = b"small file".to_vec();
    let expected =
        vec![small.clone(), large(), small.clone(), small, large(), Vec::new(), ECHO.to_vec()];
    let least = Limits {
        receive_buffer_bytes: 1,
        reads_per_turn: 1,
        accept_batch: 1,
        file_bytes_per_turn: 999,
        ..limits()
    };
    for (limits, faults) in [
        (limits(), Faults::default()),
        (least, Faults::default()),
        (limits(), Faults { pipe_bytes: 1_000, ..Faults::default() }),
        (limits(), Faults { read_max: 3, write_max: 500, ..Faults::default() }),
    ] {
        let config =
            http::Config { root: Some(folder.path().to_owned()), ..http::Config::default() };
        let mut rig = rig_of(config, limits, None, None);
        rig.world.set_faults(faults);
        let peer = rig.connect_to(0, 1).remove(0);
        let (mut sent, mut got) = (0, Vec::new());
        while !got.ends_with(ECHO) {
            sent += peer.send(&said[sent..]).unwrap_or(0);
            rig.settle();
            got.extend(heard(&peer));
        }
        let echo = got.split_off(got.len() - ECHO.len());
        let mut answers = bodies(&got);
        answers.push(echo);
        assert!(answers == expected, "{faults:?}");
        let http = counts(&rig);
        assert_eq!((http.requests, http.open, http.closing, http.held_bytes), (6, 0, 0, 0));
        assert_eq!((http.responses[&200], http.responses[&101]), (5, 1));
        assert_eq!(rig.reactors[0].driver().services.websockets.snapshot().open, 1);
        drop(peer);
        rig.settle();
        assert_eq!(rig.connections(), 0);
    }
}

#[test]
fn all_requests_of_a_read_are_answered_by_one_write() {
    let folder = folder();
    let mut rig = rig(&folder, None, None);
    let peer = rig.connect_to(0, 1).remove(0);
    peer.send(&GET.repeat(16)).expect("room");
    rig.settle();
    let mut buffer = vec![0; 64 * 1024];
    let count = peer.receive(&mut buffer).expect("answers");
    assert_eq!(bodies(&buffer[..count]), vec![b"small file".to_vec(); 16]);
    let http = counts(&rig);
    assert_eq!((http.requests, http.cache_misses, http.cache_hits), (16, 1, 15));
    assert_eq!(http.response_bytes, count as u64);
}

#[test]
fn answers_that_nobody_takes_do_not_pile_up() {
    let folder = folder();
    fs::write(folder.path().join("small"), vec![b'x'; 60_000]).expect("a file");
    let mut rig = rig(&folder, None, None);
    let peer = rig.connect_to(0, 1).remove(0);
    // Answers of 60 MB, of which two or three are made at a time.
    let said = GET.repeat(1_000);
    peer.send(&said).expect("room");
    rig.settle();
    let unsent = rig.reactors[0].core().unsent_bytes();
    assert!((60_000..200_000).contains(&unsent), "{unsent}");
    let http = counts(&rig);
    assert!(http.requests <= 4 && http.held_bytes > 30_000, "{http:?}");
    let mut got = 0;
    while counts(&rig).requests < 1_000 || rig.reactors[0].core().unsent_bytes() > 0 {
        got += heard(&peer).len();
        rig.settle();
        assert!(rig.reactors[0].core().unsent_bytes() < 200_000);
    }
    got += heard(&peer).len();
    let http = counts(&rig);
    assert_eq!((http.held_bytes, http.response_bytes), (0, got as u64));
}

#[test]
fn what_is_held_is_bounded() {
    let folder = folder();
    let root = Some(folder.path().to_owned());
    let config = http::Config { root, held_bytes_max: 100, ..http::Config::default() };
    let mut rig = rig_of(config, limits(), None, None);
    rig.world.set_faults(Faults { pipe_bytes: 1_000, ..Faults::default() });
    let peers = rig.connect_to(0, 2);
    peers[0].send(&[GET_LARGE, GET, GET].concat()).expect("room");
    rig.settle();
    peers[1].send(&[GET_LARGE, GET, GET].concat()).expect("room");
    rig.settle();
    let http = counts(&rig);
    assert_eq!((rig.connections(), http.held_full), (1, 1));
    assert_eq!(http.held_bytes, 2 * GET.len() as u64);
    drop(peers);
    rig.settle();
    assert_eq!(counts(&rig).held_bytes, 0);
}

#[test]
fn a_request_has_its_time_and_an_idle_connection_has_all() {
    let folder = folder();
    let mut rig = rig(&folder, None, Some(Nanos::from_secs(2)));
    let idle = rig.connect_to(0, 2);
    assert!(ask(&mut rig, &idle[0], GET).ends_with("small file"));
    assert_eq!(rig.reactors[0].deadline(), None, "nobody looks after an idle connection");
    let slow = rig.connect_to(0, 3);
    let starts: [&[u8]; 3] =
        [GET, b"POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n0123", b"\r\nGET"];
    for (peer, start) in slow.iter().zip(starts) {
        let (first, last) = start.split_at(start.len() - 1);
        assert_eq!(ask(&mut rig, peer, &first[..1]), "");
        rig.advance(Nanos::from_millis(300));
        // A byte now and then makes no difference.
        assert_eq!(ask(&mut rig, peer, &first[1..]), "");
        if last == b"3" {
            assert_eq!(ask(&mut rig, peer, last), "");
        }
    }
    assert_eq!(counts(&rig).receiving, 3);
    rig.advance(Nanos::from_millis(2_300));
    for peer in &slow {
        assert!(heard(peer).starts_with(b"HTTP/1.1 408 "));
        assert!(is_closed(peer));
    }
    let http = counts(&rig);
    assert_eq!((http.receiving, http.closing, http.responses[&408]), (0, 3, 3));
    assert_eq!(http.partial_requests, 0);
    // They do not close, and are closed.
    rig.advance(CLOSING_TIMEOUT + Nanos::from_secs(1));
    let http = counts(&rig);
    assert_eq!((http.closing, http.close_timed_out, rig.connections()), (0, 3, 2));
    for peer in &idle {
        assert!(ask(&mut rig, peer, GET).ends_with("small file"));
    }
}

#[test]
fn silence_between_requests_is_limited_and_slow_readers_are_not_silent() {
    let folder = folder();
    let mut rig = rig(&folder, Some(Nanos::from_secs(1)), None);
    rig.world.set_faults(Faults { pipe_bytes: 4_000, ..Faults::default() });
    let peers = rig.connect_to(0, 3);
    let (silent, slow, stalled) = (&peers[0], &peers[1], &peers[2]);
    assert!(ask(&mut rig, silent, GET).ends_with("small file"));
    for peer in [slow, stalled] {
        let last = b"GET /large HTTP/1.0\r\n\r\n";
        peer.send(last).expect("room");
    }
    let mut got = Vec::new();
    for _ in 0..30 {
        rig.advance(Nanos::from_millis(200));
        got.extend(heard(slow));
    }
    assert_eq!(bodies(&got), [large()]);
    assert!(is_closed(silent), "it was silent");
    let http = counts(&rig);
    assert_eq!((http.idle_closed, http.stalled_closed), (1, 1));
    let error = loop {
        match stalled.receive(&mut [0; 4096]) {
            Ok(count) => assert!(count > 0, "an end that looks like one"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.reactors[0].driver().idle_closed, 2);
}

#[test]
fn a_connection_ends_behind_its_last_answer() {
    let folder = folder();
    let mut rig = rig(&folder, None, None);
    let peers = rig.connect_to(0, 3);
    let answers = ask(&mut rig, &peers[0], &[GET, LAST, GET].concat());
    assert_eq!(bodies(answers.as_bytes()).len(), 2);
    assert!(is_closed(&peers[0]));
    let answers = ask(&mut rig, &peers[1], &[GET, b"nonsense\r\n\r\n", GET].concat());
    assert!(answers.contains("small fileHTTP/1.1 400 "), "{answers}");
    assert!(is_closed(&peers[1]));
    // Who closes first is still answered.
    peers[2].send(&[GET_LARGE, GET].concat()).expect("room");
    peers[2].finish_sending();
    let mut got = Vec::new();
    while rig.connections() > 2 {
        rig.settle();
        got.extend(heard(&peers[2]));
    }
    got.extend(heard(&peers[2]));
    assert_eq!(bodies(&got), [large(), b"small file".to_vec()]);
    let http = counts(&rig);
    assert_eq!((http.closing, http.open, http.responses[&400], http.requests), (2, 0, 1, 5));
    drop(peers);
    rig.settle();
    assert_eq!((counts(&rig).closing, rig.connections()), (0, 0));
}

#[test]
fn a_server_that_stops_lets_answers_arrive() {
    let folder = folder();
    let mut rig = rig(&folder, None, None);
    rig.world.set_faults(Faults { pipe_bytes: 4_000, ..Faults::default() });
    let peers = rig.connect_to(0, 3);
    peers[0].send(GET_LARGE).expect("room");
    peers[1].send(b"GET /sm").expect("room");
    rig.settle();
    rig.stop();
    rig.settle();
    assert!(is_closed(&peers[1]) && is_closed(&peers[2]));
    let mut got = Vec::new();
    while got.len() < LARGE {
        got.extend(heard(&peers[0]));
        rig.settle();
    }
    got.extend(heard(&peers[0]));
    assert_eq!(bodies(&got), [large()]);
    drop(peers);
    rig.settle();
    assert!(rig.is_finished());
    let last = &rig.reactors[0].driver().last_snapshot().http;
    assert_eq!((last.open, last.closing, last.abandoned, last.requests), (0, 0, 1, 1));
}

#[test]
fn the_page_and_its_counters() {
    let mut rig = rig_of(http::Config::default(), limits(), None, None);
    let peer = rig.connect_to(0, 1).remove(0);
    let counters = b"GET /counters.json HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(ask(&mut rig, &peer, counters).starts_with("HTTP/1.1 503 "));
    let page = ask(&mut rig, &peer, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(page.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert!(page.contains("</html>") && !page.contains("https://"), "nothing from elsewhere");
    rig.show(b"{\"connections\":1}");
    rig.settle();
    let shown = ask(&mut rig, &peer, counters);
    assert!(shown.contains("\r\nContent-Type: application/json\r\n"), "{shown}");
    assert!(shown.ends_with("{\"connections\":1}"), "{shown}");
    assert!(ask(&mut rig, &peer, GET).starts_with("HTTP/1.1 404 "));
    let post = ask(&mut rig, &peer, b"POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET, HEAD\r\n"));
}

#[test]
fn requests_that_are_partly_here_are_bounded() {
    let config = http::Config { partial_request_bytes_max: 1_000, ..http::Config::default() };
    let mut rig = rig_of(config, limits(), None, None);
    let short = rig.connect_to(0, 10);
    assert!(short.iter().all(|peer| ask(&mut rig, peer, &GET[..9]).is_empty()));
    drop(short);
    rig.settle();
    assert_eq!((counts(&rig).partial_requests, counts(&rig).abandoned), (0, 10));
    // A head that is partly here counts, and so does one whose body is.
    let long = format!("POST / HTTP/1.1\r\nHost: h\r\nX: {}\r\n", "a".repeat(300));
    let whole = format!("{long}Content-Length: 9\r\n\r\nhalf");
    let peers = rig.connect_to(0, 3);
    let answers: Vec<String> = [&whole, &long, &long]
        .into_iter()
        .zip(&peers)
        .map(|(text, peer)| ask(&mut rig, peer, text.as_bytes()))
        .collect();
    assert_eq!(&answers[..2], ["", ""]);
    assert!(answers[2].starts_with("HTTP/1.1 503 ") && is_closed(&peers[2]));
    let http = counts(&rig);
    assert_eq!((http.partial_requests, http.receiving, http.responses[&503]), (2, 2, 1));
    drop(peers);
    rig.settle();
    let http = counts(&rig);
    assert_eq!((http.partial_requests, http.receiving, http.abandoned), (0, 0, 12));
}
