//! What the server does wrong on request. A busy machine makes everything later, never earlier.

use crate::common::{Server, command, echo, eventually, is_closed};
use measure::{Clock, Nanos};
use std::io::{Read, Write};
use std::net::Shutdown;

#[test]
fn each_reply_waits_for_the_delay_whatever_is_spoken() {
    let delay = Nanos::from_millis(40);
    let urls = ["tcp://127.0.0.1:0", "http://127.0.0.1:0"];
    let server = Server::on(&urls, &["--delay", "40ms"]);
    assert_eq!(server.ready[0]["faults"]["delay_ns"].as_u64(), Some(delay.0));
    assert!(server.ready[0]["faults"]["stall"].is_null());
    let clock = Clock::start();
    let mut tcp = server.connect();
    echo(&mut tcp);
    assert!(clock.now() >= delay);
    // A peer that has said its last word still gets its reply, and then the end.
    tcp.write_all(b"bye").expect("taken");
    tcp.shutdown(Shutdown::Write).expect("half closed");
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"bye");
    let mut http = server.connect_to(1);
    let began = clock.now();
    http.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("taken");
    let mut answer = String::new();
    http.read_to_string(&mut answer).expect("text");
    assert!(clock.now() - began >= delay && answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(is_closed(&mut http));
    let snapshot = server.snapshot();
    assert_eq!(snapshot.faults.delay_ns, Some(delay.0));
    assert_eq!(snapshot.counters["delayed_replies"], 3);
    assert_eq!(snapshot.counters["delayed_full"] + snapshot.counters["delayed_stale"], 0);
    assert!(snapshot.reactors.iter().all(|reactor| reactor.delayed_bytes == 0));
}

#[test]
fn a_server_stands_still_when_it_was_told_to() {
    let server = Server::start(&["--stall", "200ms/300ms", "--reactors", "2"]);
    let stall = &server.ready[0]["faults"]["stall"];
    assert_eq!(stall["length_ns"].as_u64(), Some(200_000_000));
    assert_eq!(stall["period_ns"].as_u64(), Some(300_000_000));
    assert_eq!(stall["first_ns"].as_u64(), Some(0));
    let clock = Clock::start();
    let mut peer = server.connect();
    eventually("an echo that had to wait for the end of a stall", || {
        let began = clock.now();
        echo(&mut peer);
        clock.now() - began >= Nanos::from_millis(150)
    });
    assert!(server.snapshot().counters["stalls"] > 0);
    // One that lies far ahead is none so far.
    let server = Server::start(&["--stall", "1s@1h"]);
    (0..20).for_each(|_| echo(&mut server.connect()));
    let snapshot = server.snapshot();
    assert_eq!(snapshot.counters["stalls"], 0);
    assert_eq!(snapshot.faults.stall.map(|stall| stall.first_ns), Some(3_600_000_000_000));
}

#[test]
fn nonsense_is_one_sentence() {
    for (bad, says) in [
        (["--stall", "1s/1s"], "would never end"),
        (["--stall", "1s"], "say when"),
        (["--stall", "0/1s"], "above 0"),
        (["--stall", "2m/1h"], "at the most"),
        (["--delay", "0"], "above 0"),
        (["--delay", "1h"], "at the most"),
    ] {
        let output =
            command(&[&["tcp://127.0.0.1:0"], &bad[..]].concat()).output().expect("a child");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(said.contains(says), "{bad:?}: {said}");
    }
    let help = command(&["--help"]).output().expect("a child");
    let help = String::from_utf8(help.stdout).expect("text");
    assert!(help.contains("--stall <LENGTH[/PERIOD][@FIRST]>") && help.contains("--delay <TIME>"));
}
