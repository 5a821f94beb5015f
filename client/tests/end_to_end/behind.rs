//! Servers that are not asked in vain, or are: one that falls behind, one that stands still for a
//! while.

use crate::common::{Server, measure as run_and_read, peer};
use measure::{Clock, Nanos};
use report::schema::Outcome;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An echo that serves one message of 32 bytes in each of these times, all connections together.
fn slow_echo(each: Duration) -> String {
    let (clock, free_at) = (Clock::start(), Arc::new(Mutex::new(Nanos::ZERO)));
    peer(move |mut stream| {
        let mut message = [0; 32];
        while stream.read_exact(&mut message).is_ok() {
            let wait = {
                let mut free_at = free_at.lock().expect("whole");
                *free_at = (*free_at).max(clock.now()) + Nanos::from(each);
                *free_at - clock.now()
            };
            // A time-out of its own kind: whoever wakes it earlier than that is not there.
            std::thread::park_timeout(Duration::from(wait));
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_server_that_falls_behind_is_said_to_have_fallen_behind() {
    // 100 messages a second are served, 300 are asked.
    let url = slow_echo(Duration::from_millis(10));
    let (ran, result) =
        run_and_read(&[&url, "-c", "5", "-r", "300", "-d", "2s", "--timeout", "30s"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let server = result.server.as_ref().expect("there was traffic");
    assert!(server.behind, "{:?}", result.messages);
    assert_eq!(result.run.outcome, Outcome::NotReached);
    let served = result.messages.rate_served.expect("counted");
    assert!(served < 110.0, "{served}");
    assert!(result.messages.backlog_at_end.expect("counted") > 300, "{:?}", result.messages);
    let told = result.run.warnings.iter().find(|warning| warning.code == "server_behind");
    assert!(told.is_some_and(|told| told.text.contains("the backlog grew by")), "{result:?}");
    let summary = report::text::summary(&result, 80);
    assert!(summary.starts_with("verdict      the server fell behind"), "{summary}");
}

#[test]
fn a_server_that_loses_all_connections_served_a_share_of_all_that_was_planned() {
    // Each of 5 connections gives the echo that proves it and three more, and is closed.
    let url = peer(|mut stream| {
        let mut message = [0; 32];
        for _ in 0..4 {
            let got = stream.read_exact(&mut message);
            if got.and_then(|()| stream.write_all(&message)).is_err() {
                return;
            }
        }
    });
    let (ran, result) = run_and_read(&[&url, "-c", "5", "-r", "50", "-d", "3s"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!((result.messages.served, result.messages.planned), (15, Some(150)));
    assert!((result.messages.served_seconds - 3.0).abs() < 1e-9, "{:?}", result.messages);
    let summary = report::text::summary(&result, 80);
    assert!(summary.contains("10.0 % of what was asked was served in time"), "{summary}");
}

/// An HTTP server that takes so long for each request: of all connections together, or of each by
/// itself.
fn slow_http(each: Duration, together: bool) -> String {
    let (clock, free_at) = (Clock::start(), Arc::new(Mutex::new(Nanos::ZERO)));
    let url = peer(move |mut stream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            let mut free_at = free_at.lock().expect("whole");
            let now = clock.now();
            let from = if together { (*free_at).max(now) } else { now };
            let until = from + Nanos::from(each);
            *free_at = until;
            drop(free_at);
            std::thread::park_timeout(Duration::from(until - now));
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    });
    url.replace("tcp://", "http://")
}

#[test]
fn a_server_whose_connections_are_all_busy_fell_behind_if_it_keeps_them_waiting() {
    let load = ["-c", "20", "-r", "300", "-d", "2s", "--timeout", "30s"];
    let url = slow_http(Duration::from_millis(10), true);
    let (ran, result) = run_and_read(&[&[&url[..]], &load[..]].concat());
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let (messages, codes) = (&result.messages, |code: &str| {
        result.run.warnings.iter().any(|warning| warning.code == code)
    });
    assert!(result.server.as_ref().expect("traffic").behind, "{messages:?}");
    assert!(codes("server_behind") && !codes("connections_busy"), "{:?}", result.run.warnings);
    // 100 a second are served of 300; all but 20 of what is owed waits at the client.
    assert!(messages.backlog_at_end.expect("counted") > 250, "{messages:?}");
    assert!(messages.waiting.last().expect("marks") > &200, "{messages:?}");
    assert!(messages.in_flight_max.expect("marks") <= 20, "{messages:?}");

    // A server that takes 100 ms for whatever it is asked cannot answer more on 20 connections.
    let url = slow_http(Duration::from_millis(100), false);
    let (_, result) = run_and_read(&[&[&url[..]], &load[..]].concat());
    assert!(!result.server.as_ref().expect("traffic").behind, "{:?}", result.messages);
    let busy = result.run.warnings.iter().find(|warning| warning.code == "connections_busy");
    assert!(busy.is_some_and(|busy| busy.remedy.contains("--connections")), "{result:?}");
}

#[test]
fn a_stall_that_is_caught_up_with_is_named_and_fails_nothing() {
    let server = Server::start(&["--stall", "400ms/2s", "tcp://127.0.0.1:0"]);
    let (ran, result) = run_and_read(&[
        server.url(),
        "-c",
        "5",
        "-r",
        "200",
        "-d",
        "4500ms",
        "--fail-if",
        "server.behind>0",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let verdict = result.server.as_ref().expect("there was traffic");
    assert!(!verdict.behind);
    let stall = verdict.stalled.expect("it stood still");
    assert!(stall.longest_silence_ns > 300_000_000, "{stall:?}");
    assert!(result.run.warnings.iter().any(|warning| warning.code == "stalled"));
}
