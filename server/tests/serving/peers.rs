//! Peers of every kind: many, greedy, deaf, silent, half-closed, too many.

use crate::common::{Server, echo, eventually, is_closed};
use crate::ws::{PING, frame, request};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

#[test]
fn bytes_come_back_in_order_over_either_kind_of_table() {
    for table in ["own", "shared"] {
        let server = Server::start(&["--reactors", "3", "--fd-table", table]);
        let mut peers: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        peers.iter_mut().for_each(echo);
        eventually("all are counted", || server.snapshot().messages == 100);
        let snapshot = server.snapshot();
        assert_eq!((snapshot.connections, snapshot.accepted), (100, 100));
        drop(peers);
        eventually("all are gone", || server.snapshot().connections == 0);
    }
}

#[test]
fn whoever_closes_one_half_gets_all_that_it_is_owed() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let message: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut sending = peer.try_clone().expect("a second handle");
    let to_send = message.clone();
    let sender = thread::spawn(move || {
        sending.write_all(&to_send).expect("taken");
        sending.shutdown(Shutdown::Write).expect("open");
    });
    let mut got = Vec::new();
    peer.read_to_end(&mut got).expect("all of it, and the end");
    sender.join().expect("sent");
    assert!(got == message, "{} of {} bytes", got.len(), message.len());
    eventually("it is closed on both sides", || server.snapshot().connections == 0);
}

/// Writes until the other side takes no more.
fn stuff(peer: &mut TcpStream) -> usize {
    peer.set_nonblocking(true).expect("option");
    let (block, mut sent) = ([7; 64 * 1024], 0);
    loop {
        match peer.write(&block) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn peers_that_never_read_cost_a_bounded_amount_and_harm_nobody() {
    let server = Server::start(&["--reactors", "1"]);
    let mut deaf: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    let mut good = server.connect();
    // Their socket buffers fill, then the server's, then it reads from them no more.
    eventually("they are stuck", || {
        let more: usize = deaf.iter_mut().map(stuff).sum();
        echo(&mut good);
        more == 0 && server.snapshot().unsent_bytes() > 0
    });
    for _ in 0..200 {
        echo(&mut good);
    }
    let snapshot = server.snapshot();
    // One read each at the most, see `reactor::Limits`.
    assert!(snapshot.unsent_bytes() <= 4 * 64 * 1024, "{}", snapshot.unsent_bytes());
    assert_eq!((snapshot.connections, snapshot.counters["unsent_full"]), (5, 0));
    drop(deaf);
    eventually("what they left is freed", || {
        let snapshot = server.snapshot();
        (snapshot.connections, snapshot.unsent_bytes()) == (1, 0)
    });
    echo(&mut good);
}

trait Unsent {
    fn unsent_bytes(&self) -> u64;
}

impl Unsent for c1000k_server::Summary {
    fn unsent_bytes(&self) -> u64 {
        self.reactors.iter().map(|reactor| reactor.unsent_bytes).sum()
    }
}

#[test]
fn silent_peers_are_closed_and_only_those() {
    let server = Server::start(&["--idle-timeout", "300ms", "--reactors", "2"]);
    let mut silent: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    let mut busy = server.connect();
    eventually("the silent are closed", || {
        echo(&mut busy);
        server.snapshot().connections == 1
    });
    assert!(silent.iter_mut().all(is_closed));
    echo(&mut busy);
    let closed: u64 = server.snapshot().reactors.iter().map(|r| r.idle_closed).sum();
    assert_eq!(closed, 10);
}

#[test]
fn more_than_the_plan_are_refused_until_there_is_room() {
    let server = Server::start(&["--connections-max", "5", "--reactors", "2"]);
    let mut peers: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
    peers.iter_mut().for_each(echo);
    assert!((0..3).all(|_| is_closed(&mut server.connect())));
    assert_eq!(server.snapshot().refused_full, 3);
    peers.truncate(3);
    eventually("two are gone", || server.snapshot().connections == 3);
    peers.extend((0..2).map(|_| server.connect()));
    peers.iter_mut().for_each(echo);
}

#[test]
fn when_descriptors_run_out_the_others_wait_until_there_are_some() {
    let server = Server::start(&["--reactors", "1"]);
    server.limit_descriptors(40);
    // The kernel takes them all; the server those that it has descriptors for.
    let mut peers: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    let has_run_out = || server.snapshot().counters["accept_no_fds"] > 0;
    eventually("the descriptors run out", has_run_out);
    let held = server.snapshot().connections;
    assert!((10..40).contains(&held), "{held}");
    // The first are served, while the others wait.
    echo(&mut peers[0]);
    let mut waiting = peers.split_off(40);
    drop(peers);
    waiting.iter_mut().for_each(echo);
    let snapshot = server.snapshot();
    assert_eq!((snapshot.connections, snapshot.accepted, snapshot.refused_full), (20, 60, 0));
}

#[test]
fn a_reset_is_counted_and_harms_nobody() {
    let server = Server::start(&["--reactors", "1"]);
    let (peer, mut good) = (server.connect(), server.connect());
    host::socket::reset_on_close(&peer).expect("option");
    drop(peer);
    eventually("it is gone", || server.snapshot().connections == 1);
    assert_eq!(server.snapshot().reactors[0].broken, 1);
    echo(&mut good);
}

/// Pongs that nobody reads are told from other answers, and from a machine without memory.
#[test]
fn who_pings_and_reads_no_pongs_is_named_so() {
    let args = ["--reactors", "1", "--unsent-max", "512k", "--message-max", "16k"];
    let server = Server::on(&["ws://127.0.0.1:0"], &args);
    let pings = frame(PING, &[7; 125]).repeat(1_000);
    let mut deaf = Vec::new();
    eventually("one of them had to go", || {
        let mut peer = server.connect();
        let upgraded = peer.write_all(request("").as_bytes());
        upgraded.expect("taken");
        peer.set_nonblocking(true).expect("option");
        // Until its buffers are full, and those of the server.
        let mut at = 0;
        for _ in 0..20 {
            while let Ok(count) = peer.write(&pings[at..]) {
                at = (at + count) % pings.len();
            }
            let _ = crossbeam_channel::after(Duration::from_millis(2)).recv();
        }
        deaf.push(peer);
        server.snapshot().failures.contains_key("unread_pongs")
    });
    let failures = server.snapshot().failures;
    assert!(
        !failures.contains_key("no_memory") && !failures.contains_key("unread"),
        "{failures:?}"
    );
}

/// Which of its listeners the kernel turned connections away at is known to the server itself.
#[test]
fn a_listener_whose_queue_is_full_is_known() {
    let urls = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"];
    let args = ["--reactors", "1", "--backlog", "1", "--stall", "900ms/1s"];
    let server = Server::on(&urls, &args);
    let mut peers = Vec::new();
    eventually("its queue overflows", || {
        let wait = Duration::from_millis(50);
        peers.extend((0..8).map(|_| TcpStream::connect_timeout(&server.address_of(0), wait)));
        server.snapshot().listeners[0].turned_away.is_some_and(|count| count > 0)
    });
    let listeners = server.snapshot().listeners;
    assert_eq!(listeners[1].turned_away, Some(0));
    assert_eq!(listeners[0].url, format!("tcp://{}", server.address_of(0)));
}
