//! The invariant that an echo allocates nothing, kept by counting: the server over real sockets,
//! the kernel's event queue and all, while its peer is turned by hand on the same thread.

use super::*;
use host::socket::{self, ListenOptions};
use measure::Clock;
use reactor::{Limits, Reactor, Secured, System, mailbox};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use wire::ws::{DeflatePolicy, Policy};

/// The server over a real socket, and its address.
fn serving(driver: ServerDriver, clock: Clock) -> (Reactor<System, ServerDriver>, SocketAddr) {
    let options = ListenOptions { backlog: 16, reuse_port: false };
    let listener = socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listener");
    let target = socket::local_address(&listener).expect("its address");
    let limits = Limits::for_slots(16);
    let (_, mut inbox) = mailbox::open().expect("mailbox");
    let net =
        System::new(&mut inbox, clock, limits.events_per_wait, vec![listener], &Secured::none());
    (Reactor::new(net.expect("network"), driver, inbox, limits, 1), target)
}

/// What a client sends again and again, and the length of the answer.
struct Case {
    what: &'static str,
    said: Vec<Vec<u8>>,
    answer_bytes: usize,
}

/// A client's frame whose mask is zero, so that its payload may be anything.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn cases() -> Vec<Case> {
    let text = "h\u{e9}llo".as_bytes();
    let large = frame(0x82, &[7; 40_000]);
    let (half, rest) = large.split_at(20_000);
    // "Hello" compressed (RFC 7692, section 7.2.3.1), and cut into two fragments.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    vec![
        Case { what: "short", said: vec![frame(0x82, &[1; 32])], answer_bytes: 34 },
        Case { what: "sixteen", said: vec![frame(0x82, &[1; 32]).repeat(16)], answer_bytes: 544 },
        Case { what: "text", said: vec![frame(0x81, text)], answer_bytes: 2 + text.len() },
        Case {
            what: "cut by a read",
            said: vec![half.to_vec(), rest.to_vec()],
            answer_bytes: 4 + 40_000,
        },
        Case {
            what: "fragments and a ping",
            said: vec![frame(0x02, b"ab"), frame(0x89, b"ping"), frame(0x80, b"c")],
            answer_bytes: 4 + 6 + 3,
        },
        Case { what: "compressed", said: vec![frame(0xc2, &hello)], answer_bytes: 2 + 7 },
        Case {
            what: "compressed fragments",
            said: vec![frame(0x42, &hello[..3]), frame(0x80, &hello[3..])],
            answer_bytes: 2 + 7,
        },
    ]
}

#[test]
fn an_echo_allocates_nothing() {
    let clock = Clock::start();
    let policy = Policy { deflate: Some(DeflatePolicy::default()), ..Policy::default() };
    let config = Config { policy, ..Config::default() };
    // With time limits, so that their bookkeeping is counted too.
    let limit = Some(Nanos::from_secs(60));
    let driver = ServerDriver::new(0, 0, Arc::new(Admission::new(16)), limit, clock.now()).serving(
        vec![Protocol::Ws],
        Arc::new(config),
        limit,
    );
    let (mut server, target) = serving(driver, clock);
    let mut peer = TcpStream::connect(target).expect("it listens");
    peer.set_nodelay(true).expect("option");
    peer.write_all(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    )
    .expect("taken");
    while server.driver().services.websockets.snapshot().open == 0 {
        server.turn().expect("turn");
    }
    let mut buffer = vec![0; 64 * 1024];
    assert!(peer.read(&mut buffer).expect("an answer") > 100);

    for Case { what, said, answer_bytes } in cases() {
        let mut round = || {
            let mut allocations = 0;
            for bytes in &said {
                peer.write_all(bytes).expect("taken");
                // Loopback has delivered all of it by now; the wait comes back at once.
                let turned = allocation_counter::measure(|| server.turn().expect("turn"));
                allocations += turned.count_total;
            }
            peer.read_exact(&mut buffer[..answer_bytes]).expect("an answer");
            allocations
        };
        let warm: u64 = (0..10).map(|_| round()).sum();
        let counted: u64 = (0..100).map(|_| round()).sum();
        assert_eq!(counted, 0, "{what}; {warm} while it was warming up");
    }
    assert_eq!(server.driver().services.websockets.messages(), 110 * (6 + 16));
}

#[test]
fn an_echo_that_has_to_wait_allocates_nothing() {
    let clock = Clock::start();
    let delay = Nanos::from_millis(1);
    let driver = ServerDriver::new(0, 0, Arc::new(Admission::new(16)), None, clock.now())
        .with_faults(Faults::new(None, Some(delay), 1));
    let (mut server, target) = serving(driver, clock);
    let mut peers: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(target).expect("it listens")).collect();
    let mut round = || {
        for peer in &mut peers {
            peer.write_all(b"hello").expect("taken");
        }
        let began = clock.now();
        let turned = allocation_counter::measure(|| {
            let wanted = server.core().counters.bytes_sent + 8 * 5;
            while server.core().counters.bytes_sent < wanted {
                server.turn().expect("turn");
            }
        });
        assert!(clock.now() - began >= delay);
        for peer in &mut peers {
            peer.read_exact(&mut [0; 5]).expect("an answer");
        }
        turned.count_total
    };
    let warm: u64 = (0..10).map(|_| round()).sum();
    let counted: u64 = (0..50).map(|_| round()).sum();
    assert_eq!(counted, 0, "{warm} while it was warming up");
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn an_answer_from_a_kept_file_allocates_nothing() {
    let clock = Clock::start();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("small"), [7; 1_000]).expect("a file");
    std::fs::write(folder.path().join("large"), vec![7; 100_000]).expect("a file");
    let root = Some(folder.path().to_owned());
    let config = http::Config { root, ..http::Config::default() };
    let site = Site::open(&config).expect("a site");
    let limit = Some(Nanos::from_secs(60));
    let driver = ServerDriver::new(0, 0, Arc::new(Admission::new(16)), limit, clock.now())
        .serving(vec![Protocol::Http], Arc::new(Config::default()), limit)
        .with_site(config, site);
    let (mut server, target) = serving(driver, clock);
    let mut peer = TcpStream::connect(target).expect("it listens");
    peer.set_nodelay(true).expect("option");
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n");
    let cases = [
        ("one", get("/small", "")),
        ("sixteen", get("/small", "").repeat(16)),
        ("by turns", (get("/small", "") + &get("/small", "X: y\r\n")).repeat(8)),
        ("old", get("/small", "Connection: keep-alive\r\n").replace("1.1", "1.0")),
        ("head alone", get("/small", "").replace("GET", "HEAD")),
    ];
    let mut buffer = vec![0; 64 * 1024];
    for (what, said) in cases {
        let mut round = || {
            peer.write_all(said.as_bytes()).expect("taken");
            // Loopback has delivered all of it by now; the wait comes back at once.
            let turned = allocation_counter::measure(|| {
                let asked = server.driver().services.http.requests();
                while server.driver().services.http.requests() == asked {
                    server.turn().expect("turn");
                }
            });
            assert!(peer.read(&mut buffer).expect("answers") > 100);
            turned.count_total
        };
        // A file that is looked at again, once a second, costs a few.
        let warm: u64 = (0..10).map(|_| round()).sum();
        let counted: Vec<u64> = (0..100).map(|_| round()).collect();
        let costly = counted.iter().filter(|count| **count > 0).count();
        assert!(costly <= 1, "{what}: {counted:?}; {warm} while it was warming up");
    }
}
