//! The endpoint and the fetch of a peer's snapshot, against each other and against rude strangers,
//! over real sockets.

use c1000k_control::endpoint::{Endpoint, Page};
use c1000k_control::peer::{PeerError, fetch_snapshot};
use c1000k_control::prometheus::{Exposition, Kind};
use measure::{Clock, Nanos};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Far more than any answer takes, far less than a hang.
const PATIENCE: Duration = Duration::from_secs(10);

fn routes(path: &str) -> Option<Page> {
    match path {
        "/metrics" => {
            let mut page = Exposition::new();
            page.family("c1000k_open", Kind::Gauge, "Connections open.").sample(&[], 7_u64);
            Some(page.finish())
        }
        "/snapshot.json" => Some(Page::json(r#"{"connections":{"open":7}}"#)),
        "/healthz" => Some(Page::text("ok\n")),
        // More than the socket buffers of both ends take.
        "/large" => Some(Page::text(vec![b'x'; 64 << 20])),
        _ => None,
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn start() -> Endpoint {
    Endpoint::start(any_port(), Box::new(routes)).expect("endpoint")
}

fn connect(endpoint: &Endpoint) -> TcpStream {
    let stream = TcpStream::connect(endpoint.address()).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// Sends `request` and reads until the endpoint closes: the head and the body of the reply.
fn ask(endpoint: &Endpoint, request: &[u8]) -> (String, String) {
    let mut stream = connect(endpoint);
    stream.write_all(request).expect("send");
    read_reply(&mut stream)
}

fn read_reply(stream: &mut TcpStream) -> (String, String) {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply and its end, no reset");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole head");
    (format!("{head}\r\n"), body.to_owned())
}

fn get(endpoint: &Endpoint, path: &str) -> (String, String) {
    ask(endpoint, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

#[test]
fn pages_are_served_with_their_type_and_length() {
    let endpoint = start();
    let (head, body) = get(&endpoint, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(head.contains("Connection: close\r\n"), "{head}");
    assert!(body.ends_with("# TYPE c1000k_open gauge\nc1000k_open 7\n"), "{body}");
    assert_eq!(get(&endpoint, "/healthz").1, "ok\n");
    assert_eq!(get(&endpoint, "/healthz?verbose").1, "ok\n");
}

#[test]
fn head_is_get_without_the_body() {
    let endpoint = start();
    let (head, body) = ask(&endpoint, b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head, get(&endpoint, "/healthz").0);
    assert_eq!(body, "");
}

#[test]
fn what_is_not_served_gets_its_status() {
    let endpoint = start();
    let status = |request: &[u8]| {
        let (head, body) = ask(&endpoint, request);
        let status = head.lines().next().expect("a status line").replace("HTTP/1.1 ", "");
        assert_eq!(body.trim_end(), status, "the body says it too");
        (status, head)
    };
    assert_eq!(status(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n").0, "404 Not Found");
    let (refused, head) =
        status(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(refused, "405 Method Not Allowed");
    assert!(head.contains("Allow: GET, HEAD\r\n"), "{head}");
    assert_eq!(status(b"\x16\x03\x01 no HTTP at all").0, "400 Bad Request");
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert_eq!(status(long.as_bytes()).0, "431 Request Header Fields Too Large");
}

#[test]
fn the_end_within_a_head_is_a_bad_request() {
    let endpoint = start();
    let mut stream = connect(&endpoint);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").expect("send");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    assert!(read_reply(&mut stream).0.starts_with("HTTP/1.1 400 "));
}

#[test]
fn silent_clients_hold_nobody_up_and_are_told_when_their_time_is_over() {
    let endpoint = start();
    let mut silent: Vec<_> = (0..3).map(|_| connect(&endpoint)).collect();
    silent[0].write_all(b"GET /healthz").expect("send");
    let clock = Clock::start();
    for _ in 0..3 {
        assert_eq!(get(&endpoint, "/healthz").1, "ok\n");
    }
    // They have two seconds each: one after the other, that would be six.
    assert!(clock.now() < Nanos::from_millis(1_500), "{}", clock.now());
    for silent in &mut silent {
        assert!(read_reply(silent).0.starts_with("HTTP/1.1 408 "));
    }
    assert!(clock.now() < Nanos::from_secs(6), "{}", clock.now());
}

#[test]
fn of_too_many_silent_clients_the_oldest_go_and_nobody_waits() {
    let endpoint = start();
    let mut silent: Vec<_> = (0..100).map(|_| connect(&endpoint)).collect();
    let clock = Clock::start();
    assert_eq!(get(&endpoint, "/healthz").1, "ok\n");
    assert!(clock.now() < Nanos::from_millis(1_500), "{}", clock.now());
    let mut nothing = Vec::new();
    // Closed without a word, as there was no room for them.
    silent[0].read_to_end(&mut nothing).expect("its end");
    assert_eq!(nothing, b"");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let endpoint = start();
    let mut lazy = connect(&endpoint);
    lazy.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    let clock = Clock::start();
    assert_eq!(get(&endpoint, "/healthz").1, "ok\n");
    assert!(clock.now() < Nanos::from_millis(1_500), "nor holds it others up: {}", clock.now());
    let _ = crossbeam_channel::after(Duration::from_millis(2_500)).recv();
    let mut received = Vec::new();
    // What it had not read yet may be lost to a reset.
    let _ = lazy.read_to_end(&mut received);
    assert!(received.len() < 64 << 20, "{}", received.len());
}

#[test]
fn stopping_takes_no_time_and_frees_the_address() {
    let endpoint = start();
    let address = endpoint.address();
    assert_ne!(address.port(), 0);
    let taken = Endpoint::start(address, Box::new(routes)).expect_err("the address is taken");
    assert!(taken.to_string().contains(&address.to_string()), "{taken}");

    // Also while somebody is being waited for.
    let mut silent = connect(&endpoint);
    silent.write_all(b"GET /").expect("send");
    let clock = Clock::start();
    endpoint.stop();
    assert!(clock.now() < Nanos::from_secs(1), "{}", clock.now());
    let again = Endpoint::start(address, Box::new(routes)).expect("the address is free");
    assert_eq!(get(&again, "/healthz").1, "ok\n");
}

#[test]
fn a_snapshot_is_fetched() {
    let endpoint = start();
    let snapshot = fetch_snapshot(endpoint.address(), PATIENCE).expect("snapshot");
    assert_eq!(snapshot["connections"]["open"], 7);
}

#[test]
fn an_endpoint_without_a_snapshot_is_named() {
    let endpoint = Endpoint::start(any_port(), Box::new(|_: &str| None)).expect("endpoint");
    let error = fetch_snapshot(endpoint.address(), PATIENCE).expect_err("404");
    assert!(matches!(error, PeerError::Status(_, 404)), "{error}");
    let address = endpoint.address();
    endpoint.stop();
    let error = fetch_snapshot(address, PATIENCE).expect_err("nobody listens");
    assert!(matches!(error, PeerError::Io(..)), "{error}");
    assert!(error.to_string().contains("--metrics"), "{error}");
}

/// What `fetch_snapshot` makes of a server that answers any request with `reply`, then closes.
fn fetch_from(reply: &[u8]) -> Result<serde_json::Value, PeerError> {
    let (listener, address) = listener();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = [0; 1024];
            let count = stream.read(&mut request).expect("request");
            assert!(request[..count].starts_with(b"GET /snapshot.json HTTP/1.1\r\n"));
            // The fetch may leave in the middle of it.
            let _ = stream.write_all(reply);
        });
        fetch_snapshot(address, PATIENCE)
    })
}

fn listener() -> (TcpListener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    socket.bind(&any_port().into()).expect("bind");
    socket.listen(1).expect("listen");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("address");
    (listener, address)
}

#[test]
fn the_end_of_a_body_is_found() {
    assert_eq!(fetch_from(b"HTTP/1.1 200 OK\r\n\r\n[1]").expect("snapshot")[0], 1);
    let longer = b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n[2] and more";
    assert_eq!(fetch_from(longer).expect("snapshot")[0], 2);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[3]\r\n0\r\n\r\n";
    assert_eq!(fetch_from(chunked).expect("snapshot")[0], 3);
}

#[test]
fn replies_that_are_no_snapshot_are_told_apart() {
    let error = |reply: &[u8]| fetch_from(reply).expect_err("no snapshot");
    assert!(matches!(error(b"SSH-2.0-x\r\n"), PeerError::NotHttp(..)));
    assert!(matches!(error(b""), PeerError::NotHttp(_, "it ends within the head")));
    assert!(matches!(error(b"HTTP/1.1 500 No\r\n\r\n"), PeerError::Status(_, 500)));
    assert!(matches!(error(b"HTTP/1.1 200 OK\r\n\r\n<p>"), PeerError::NotJson(..)));
    let cut = error(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1]");
    assert!(matches!(cut, PeerError::CutOff(_, 3, 9)), "{cut}");
    let odd = error(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[1]");
    assert!(matches!(odd, PeerError::NotHttp(..)), "{odd}");
    let zipped = error(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n");
    assert!(matches!(zipped, PeerError::NotHttp(..)), "{zipped}");
    let cut = error(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[3");
    assert!(matches!(cut, PeerError::NotHttp(_, "it ends within the body")), "{cut}");
}

#[test]
fn a_reply_has_its_bounds() {
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(100_000));
    let error = fetch_from(long_head.as_bytes()).expect_err("long head");
    assert!(matches!(error, PeerError::NotHttp(_, "its head is longer than 8 KiB")), "{error}");
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n";
    assert!(matches!(fetch_from(announced), Err(PeerError::TooLarge(_))));
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(5 << 20, b' ');
    assert!(matches!(fetch_from(&endless), Err(PeerError::TooLarge(_))));
}

#[test]
fn a_server_that_says_nothing_is_left() {
    // The kernel completes the handshake; nobody ever accepts.
    let (_listener, address) = listener();
    let clock = Clock::start();
    let error = fetch_snapshot(address, Duration::from_millis(100)).expect_err("silence");
    assert!(matches!(error, PeerError::TimedOut(..)), "{error}");
    assert!(clock.now() < Nanos::from_secs(5), "{}", clock.now());
}
