//! HTTP: the program against servers written by hand, each with its own way to answer.

use crate::common::{measure, peer, read, run};
use measure::Stage;
use report::ResultFile;
use report::schema::Outcome;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// What a server does with a request: the bytes of its answer, and whether it closes behind it.
type Answer = (Vec<u8>, bool);

/// A server by hand. `answer` sees the whole request, and its number on its connection.
fn server(answer: impl Fn(&str, usize) -> Answer + Clone + Send + 'static) -> String {
    let url = peer(move |mut stream| {
        let mut number = 0;
        let mut kept = Vec::new();
        while let Some(request) = next_request(&mut stream, &mut kept) {
            let (bytes, close) = answer(&request, number);
            number += 1;
            if stream.write_all(&bytes).is_err() || close {
                return;
            }
        }
    });
    url.replace("tcp://", "http://")
}

/// The next request, with its body.
fn next_request(stream: &mut TcpStream, kept: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = kept.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&kept[..end + 4]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse().expect("a length"));
            if kept.len() >= whole {
                let request = kept.drain(..whole).collect();
                return Some(String::from_utf8(request).expect("text"));
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => kept.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

fn always(answer: &str) -> impl Fn(&str, usize) -> Answer + Clone + Send + 'static {
    let answer = answer.as_bytes().to_vec();
    move |_, _| (answer.clone(), false)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const SHORT: [&str; 8] = ["-c", "4", "-r", "200", "-d", "500ms", "--seed", "1"];

fn short(url: &str, more: &[&str]) -> (Option<i32>, ResultFile) {
    let (ran, result) = measure(&[&[url][..], &SHORT, more].concat());
    (ran.code, result)
}

fn served(answer: &str, more: &[&str]) {
    let (code, result) = short(&server(always(answer)), more);
    let messages = &result.messages;
    assert_eq!((code, messages.received, messages.lost), (Some(0), 100, 0), "{:?}", result.run);
    assert_eq!(result.http_statuses, [("200".to_owned(), 104)].into());
    assert_eq!(messages.first_echo.as_ref().map(|first| first.received), Some(4));
    assert!(result.stages.get(Stage::FirstByte).is_some());
}

#[test]
fn bodies_of_each_kind_are_counted() {
    served(OK, &[]);
    served(&format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"), &[]);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    served(&format!("{chunked}2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n"), &[]);
    served("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", &[]);
    served("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &["--method", "HEAD"]);
    let (_, result) = short(&server(always(OK)), &[]);
    assert_eq!((result.messages.bytes_received, result.messages.bytes_sent), (500, 0));
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    let (code, result) = short(&server(always(empty)), &["--body", "four"]);
    assert_eq!((code, result.messages.bytes_received), (Some(0), 0));
    assert_eq!((result.messages.bytes_sent, result.plan.size_bytes), (400, 4));
}

#[test]
fn connections_that_a_server_closes_behind_a_response_are_replaced() {
    let closing = OK.replace("Content-Length", "Connection: close\r\nContent-Length");
    for (answer, close) in [
        (closing.clone(), true),
        // It says so and leaves closing to us.
        (closing, false),
        ("HTTP/1.0 200 OK\r\n\r\nhello".to_owned(), true),
        ("HTTP/1.1 200 OK\r\n\r\nhello".to_owned(), true),
    ] {
        let (code, result) = short(
            &server(move |_, number| match number {
                2 => (answer.clone().into_bytes(), close),
                3.. => panic!("nothing is asked behind the last response"),
                _ => (OK.as_bytes().to_vec(), false),
            }),
            &[],
        );
        assert_eq!((code, result.messages.received), (Some(0), 100), "{:?}", result.run);
        let connections = &result.connections;
        assert!(connections.replaced >= 30, "{connections:?}");
        assert_eq!((connections.lost, connections.open_at_end), (0, 4));
    }
}

#[test]
fn connections_that_a_server_closes_or_resets_between_two_responses_are_replaced() {
    for reset in [false, true] {
        let answer = move |mut stream: TcpStream| {
            let mut kept = Vec::new();
            for _ in 0..3 {
                if next_request(&mut stream, &mut kept).is_none() {
                    return;
                }
                stream.write_all(OK.as_bytes()).expect("sent");
            }
            // What is unread when a socket is closed makes a reset of its end.
            if reset {
                let _ = stream.read(&mut [0; 1]);
            }
        };
        let url = peer(answer).replace("tcp://", "http://");
        for args in [&["-r", "200"][..], &["--closed"]] {
            let args = [&[url.as_str(), "-c", "4", "-d", "500ms", "--seed", "1"], args].concat();
            let (ran, result) = measure(&args);
            let (connections, messages) = (&result.connections, &result.messages);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!((messages.lost, connections.lost, connections.failed), (0, 0, 0));
            assert!(connections.ended_idle >= 30, "{connections:?}");
            assert_eq!(connections.open_at_end, 4);
            assert!(!reset || messages.resent > 0, "{messages:?}");
        }
    }
}

#[test]
fn a_server_that_closes_whatever_comes_is_told_and_not_asked_without_end() {
    let url = peer(drop).replace("tcp://", "http://");
    for args in [&["-r", "200"][..], &["--closed"], &["-r", "200", "--method", "POST"]] {
        let args = [&[url.as_str(), "-c", "4", "-d", "500ms"], args].concat();
        let (ran, result) = measure(&args);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        let connections = &result.connections;
        assert_eq!((connections.lost + connections.failed, connections.open_at_end), (4, 0));
        assert!(connections.opened <= 16, "{connections:?}");
    }
}

#[test]
fn bytes_behind_a_last_response_are_counted_and_dropped() {
    let closing = OK.replace("Content-Length", "Connection: close\r\nContent-Length");
    let (code, result) = short(&server(always(&format!("{closing}more"))), &[]);
    assert_eq!((code, result.messages.received), (Some(0), 100), "{:?}", result.run);
    assert_eq!((result.connections.lost, result.messages.bytes_surplus), (0, 4 * 104));
}

#[test]
fn pipelined_requests_behind_the_last_response_are_sent_again() {
    let closing = OK.replace("Content-Length", "Connection: close\r\nContent-Length");
    let url = server(move |_, number| match number {
        4 => (closing.clone().into_bytes(), true),
        _ => (OK.as_bytes().to_vec(), false),
    });
    let args = ["-c", "2", "--closed", "--pipeline", "8", "-d", "300ms"];
    let (ran, result) = measure(&[&[url.as_str()][..], &args].concat());
    let messages = &result.messages;
    // Closing with requests unread resets the connection, which can overtake the responses.
    assert!(messages.received > 0 && messages.resent > 0, "{ran:?} {messages:?}");
    assert_eq!(result.plan.http.map(|http| http.pipeline), Some(8));
}

#[test]
fn each_request_may_have_a_connection_of_its_own() {
    for model in [&["-r", "200"][..], &["--closed"]] {
        for answer in [OK, "HTTP/1.0 200 OK\r\n\r\nhello"] {
            let answer = answer.to_owned();
            let url = server(move |request, number| {
                assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
                assert_eq!(number, 0);
                (answer.clone().into_bytes(), true)
            });
            let args = [&[url.as_str(), "--close", "-c", "8", "-d", "500ms"], model].concat();
            let (ran, result) = measure(&args);
            let (connections, messages) = (&result.connections, &result.messages);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!((messages.lost, connections.lost, connections.failed), (0, 0, 0));
            assert_eq!(connections.opened, messages.received);
            assert!(connections.open_peak <= 8 && messages.received >= 50, "{connections:?}");
            assert!(messages.first_echo.is_none());
        }
    }
}

#[test]
fn what_serves_nothing_is_counted_by_its_status_and_is_no_success() {
    for (status, warning) in [("404", "http_status"), ("503", "http_status")] {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        let (code, result) = short(&server(always(&answer)), &[]);
        assert_eq!((code, result.run.outcome), (Some(6), Outcome::NotReached), "{status}");
        assert_eq!(result.http_statuses, [(status.to_owned(), 104)].into());
        assert_eq!((result.messages.received, result.messages.unserved), (100, 100));
        assert!(result.run.warnings.iter().any(|one| one.code == warning), "{:?}", result.run);
    }
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n";
    let (code, result) = short(&server(always(elsewhere)), &[]);
    assert_eq!((code, result.messages.unserved), (Some(0), 0));
    assert!(result.run.warnings.iter().any(|one| one.code == "redirected"));
    // One in a hundred of a large number is data; a threshold makes it a failure.
    let busy = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
    let url = server(move |_, number| {
        (if number == 7 { busy.as_bytes() } else { OK.as_bytes() }.to_vec(), false)
    });
    let args = [&url, "-c", "1", "-r", "500", "-d", "500ms"];
    assert_eq!(measure(&args).0.code, Some(0));
    for (expression, code) in [
        ("http.5xx>0", 4),
        ("http.non_2xx>1", 0),
        ("http.404>0", 0),
        ("http.503>0.1%", 4),
        ("http.503>1%", 0),
    ] {
        let (ran, _) = measure(&[&args[..], &["--fail-if", expression]].concat());
        assert_eq!(ran.code, Some(code), "{expression}");
    }
}

#[test]
fn what_is_expected_is_served_and_each_class_of_statuses_has_its_own_times() {
    // Every other answer refuses, and takes 20 ms to do so.
    let busy = "HTTP/1.1 429 Later\r\nContent-Length: 0\r\n\r\n";
    let url = server(move |_, number| {
        if number % 2 == 0 {
            return (OK.as_bytes().to_vec(), false);
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        (busy.as_bytes().to_vec(), false)
    });
    let (code, result) = short(&url, &[]);
    let unserved = result.messages.unserved;
    assert!(code == Some(6) && (40..=60).contains(&unserved), "{:?}", result.run);
    assert_eq!(result.plan.http.as_ref().expect("http").expect, ["2xx", "3xx"]);
    let count = |stage| result.stages.get(stage).map_or(0, |entry| entry.count);
    // The first echoes are no part of it.
    assert_eq!(Stage::BY_CLASS.map(count), [100 - unserved, 0, unserved, 0]);
    let least = |stage| result.stages.get(stage).expect("some").min;
    assert!(least(Stage::Response4xx) >= 20_000_000, "{}", least(Stage::Response4xx));
    assert!(least(Stage::Response2xx) < 20_000_000, "{}", least(Stage::Response2xx));

    let (code, result) =
        short(&url, &["--expect", "200,4xx", "--fail-if", "response_4xx.p50<10ms"]);
    assert_eq!((code, result.messages.unserved), (Some(0), 0), "{:?}", result.run);
    assert_eq!(result.plan.http.as_ref().expect("http").expect, ["200", "4xx"]);
    assert!(result.run.warnings.iter().all(|one| one.code != "http_status"), "{:?}", result.run);
    // What usually serves does not, where it is not expected.
    let (code, result) = short(&url, &["--expect", "429"]);
    let served = result.stages.get(Stage::Response4xx).map_or(0, |entry| entry.count);
    assert_eq!((code, result.messages.unserved), (Some(6), 100 - served), "{:?}", result.run);
    let http_status = result.run.warnings.iter().find(|one| one.code == "http_status");
    assert!(http_status.is_some_and(|one| one.text.contains("with status 200")));
    let ran = run(&[&["run", &url, "-q", "--expect", "429"], &SHORT[..]].concat());
    assert!(ran.stdout.contains("not 429"), "{}", ran.stdout);
}

#[test]
fn wrong_lengths_and_early_ends_are_failures_of_their_kind() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (answer, rule) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello".to_owned(),
            "before the body was complete",
        ),
        (format!("{chunked}5\r\nhello\r\n"), "before the body was complete"),
        (format!("{chunked}5\r\nhello!\r\n0\r\n\r\n"), "chunk is longer"),
        ("HTTP/1.1 200".to_owned(), "within the head"),
        ("220 mail.test ready\r\n".to_owned(), "malformed"),
    ] {
        let url = server(move |_, _| (answer.clone().into_bytes(), true));
        let (code, result) = short(&url, &["--no-first-echo"]);
        assert_eq!((code, result.failures.protocol), (Some(6), 4), "{rule}: {:?}", result.failures);
        let said = result.violations.keys().next().expect("a rule");
        assert!(said.contains(rule), "{said}");
    }
    let (code, result) = short(&server(|_, _| (Vec::new(), true)), &[]);
    assert_eq!((code, result.failures.closed), (Some(6), 4));
    let (code, result) = short(&server(|_, _| (Vec::new(), false)), &["--timeout", "300ms"]);
    assert_eq!((code, result.failures.timed_out), (Some(6), 4));
}

#[test]
fn requests_say_what_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a name").to_owned()
    };
    let paths = file("paths", "# two\n/a?x=1\n\n  /b\r\n");
    let body = file("body", "one=1&two=2");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let url = server(move |request, _| {
        seen.lock().expect("whole").push(request.to_owned());
        (OK.as_bytes().to_vec(), false)
    });
    let more = ["--paths", &paths, "--body-file", &body, "--header", "X-One: 1"];
    let (code, result) = short(&format!("{url}/ignored"), &more);
    assert_eq!(code, Some(0));
    let http = result.plan.http.expect("its options");
    assert_eq!(
        (http.method.as_str(), http.paths, http.headers),
        ("POST", 2, vec!["X-One: 1".into()])
    );
    let asked = asked.lock().expect("whole");
    assert_eq!(asked.len(), 104);
    let count = |path: &str| {
        asked.iter().filter(|one| one.starts_with(&format!("POST {path} HTTP/1.1\r\n"))).count()
    };
    let (first, second) = (count("/a?x=1"), count("/b"));
    // Each of the four connections takes turns; on a busy machine one may get a message more.
    assert!(first + second == 104 && first.abs_diff(second) <= 4, "{first}, {second}");
    for request in asked.iter() {
        assert!(request.ends_with("\r\n\r\none=1&two=2"), "{request}");
        assert!(request.contains("\r\nX-One: 1\r\n"), "{request}");
    }
}

/// What some server answers that is not ours: understood, or refused with the option that helps.
#[test]
fn heads_of_all_kinds_are_understood() {
    let with = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 5\r\n\r\nhello");
    served(&with("X: a\r\n b\r\n\tc\r\nY:\r\n d\r\n"), &[]);
    served(&with(&"X: y\r\n".repeat(250)), &[]);
    served(&with(&format!("X: {}\r\n", "y".repeat(60_000))), &[]);
    served(&with(&"X: y\r\n".repeat(300)), &["--headers-max", "301"]);
    served(&with(&format!("X: {}\r\n", "y".repeat(70_000))), &["--head-max", "128k"]);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    served(
        &format!("{chunked}00000000000000000000000005\r\nhello\r\n000000000000000000000\r\n\r\n"),
        &[],
    );
    for (lines, option) in [
        ("X: y\r\n".repeat(300), "--headers-max"),
        (format!("X: {}\r\n", "y".repeat(70_000)), "--head-max"),
    ] {
        let (code, result) = short(&server(always(&with(&lines))), &[]);
        assert_ne!(code, Some(0));
        assert!(
            result.violations.keys().any(|rule| rule.contains(option)),
            "{:?}",
            result.violations
        );
    }
}

#[test]
fn requests_carry_a_name_a_method_and_credentials() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let url = server(move |request, _| {
        seen.lock().expect("whole").push(request.to_owned());
        (OK.as_bytes().to_vec(), false)
    });
    let folder = tempfile::tempdir().expect("a folder");
    let paths = folder.path().join("paths");
    std::fs::write(&paths, format!("\u{feff}{url}/a?b\n")).expect("written");
    let paths = paths.to_str().expect("a name");
    let with = url.replace("http://", "http://user:p%40ss@");
    let more = ["--method", "PURGE", "--header", "Connection: keep-alive", "--paths", paths];
    let (code, result) = short(&with, &more);
    assert_eq!(code, Some(0), "{:?}", result.run);
    let asked = asked.lock().expect("whole");
    for request in asked.iter() {
        assert!(request.starts_with("PURGE /a?b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nUser-Agent: c1000k/"), "{request}");
        assert!(request.contains("\r\nAuthorization: Basic dXNlcjpwQHNz\r\n"), "{request}");
        assert_eq!(request.matches("Connection: ").count(), 1, "{request}");
    }
    let text = serde_json::to_string(&result).expect("JSON");
    assert!(text.contains("user:***@") && !text.contains("p%40ss"), "{text}");
    let http = result.plan.http.expect("its options");
    assert_eq!(
        (http.method.as_str(), http.head_max_bytes, http.headers_max),
        ("PURGE", 65_536, 256)
    );
}

#[test]
fn results_are_written_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("result.json");
    let url = server(always(OK));
    let file = path.to_str().expect("a name");
    let ran = run(&[&["run", &url, "-o", file][..], &SHORT].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("GET at 200/s") && ran.stdout.contains("200 104"), "{ran:?}");
    assert_eq!(read(&path).messages.received, 100);
}

#[test]
fn options_that_mean_nothing_here_are_refused_in_one_sentence() {
    const URL: &str = "http://127.0.0.1:9";
    for (bad, says) in [
        (&[URL, "-s", "100"][..], "--size"),
        (&[URL, "--text"], "--text"),
        (&[URL, "--origin", "x"], "--origin"),
        (&[URL, "--pipeline", "2"], "--pipeline"),
        (&[URL, "--closed", "--pipeline", "0"], "--pipeline"),
        (&[URL, "--closed", "--pipeline", "2", "--in-flight", "2"], "--in-flight"),
        (&[URL, "--close"], "--close"),
        (&[URL, "--close", "--closed", "--pipeline", "2"], "--close"),
        (&[URL, "--close", "--closed", "--hold", "1s"], "--hold"),
        (&[URL, "--close", "--closed", "--connect-rate", "1"], "--connect-rate"),
        (&[URL, "--paths", "/no/such/file"], "/no/such/file"),
        (&[URL, "--body-file", "/no/such/file"], "/no/such/file"),
        (&[URL, "--paths", "/dev/null"], "names no path"),
        (&[URL, "--header", "Content-Length: 1"], "Content-Length"),
        (&[URL, "--header", "Connection: close"], "--close"),
        (&["http://u:p@127.0.0.1:9", "--header", "authorization: x"], "u:***@127.0.0.1:9"),
        (&["tcp://127.0.0.1:9", "--head-max", "1k"], "--head-max"),
        (&["tcp://127.0.0.1:9", "--method", "GET"], "--method"),
        (&["tcp://127.0.0.1:9", "--header", "A: b"], "--header"),
        (&["ws://127.0.0.1:9", "--close"], "--close"),
        (&["ws://127.0.0.1:9", "--paths", "x"], "--paths"),
    ] {
        let ran = run(&[&["run"], bad].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{bad:?}: {ran:?}");
        assert!(ran.stderr.starts_with("c1000k-client: "), "{bad:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{bad:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{bad:?}: {}", ran.stderr);
    }
    for bad in
        [["--method", "CONNECT"], ["--method", "a b"], ["--head-max", "1"], ["--headers-max", "0"]]
    {
        let ran = run(&[&["run", URL], &bad[..]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(bad[0]), "{ran:?}");
    }
    let ran = run(&["run", URL, "--body", "a", "--body-file", "b"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
