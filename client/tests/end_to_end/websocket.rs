//! WebSocket against servers that are not ours: `tungstenite`, and servers by hand that get it
//! wrong, each in its own way.

use crate::common::{Ran, eventually, measure, peer, run};
use measure::Stage;
use report::ResultFile;
use report::schema::Outcome;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, Utf8Bytes, WebSocket, accept_hdr_with_config};
use wire::ws::{Policy, accept_value};

/// A server in the library's own words; `each` answers a message.
fn library(each: impl Fn(&mut WebSocket<TcpStream>, Message) + Clone + Send + 'static) -> String {
    upgraded(
        |_, _| {},
        move |socket| {
            while let Ok(message) = socket.read() {
                if message.is_text() || message.is_binary() {
                    each(socket, message);
                }
            }
        },
    )
}

/// A server that looks at the request, and then does something of its own with the connection.
fn upgraded(
    look: impl Fn(&Request, &mut Response) + Clone + Send + 'static,
    then: impl Fn(&mut WebSocket<TcpStream>) + Clone + Send + 'static,
) -> String {
    ws(&peer(move |stream| {
        let config = WebSocketConfig::default();
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let answer = |request: &Request, mut response: Response| {
            look(request, &mut response);
            Ok(response)
        };
        let accepted = accept_hdr_with_config(stream, answer, Some(config));
        if let Ok(mut socket) = accepted {
            then(&mut socket);
        }
    }))
}

fn echo_server() -> String {
    library(|socket, message| drop(socket.send(message)))
}

fn ws(url: &str) -> String {
    url.replace("tcp://", "ws://")
}

/// A server that upgrades, says `bytes` at the first message, and reads on. What it read behind its
/// handshake is kept.
fn saying(bytes: &'static [u8]) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let read = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&read);
    let url = by_hand(move |mut stream| {
        let mut first = [0; 4096];
        let _ = stream.read(&mut first);
        let _ = stream.write_all(bytes);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        kept.lock().expect("sound").push(rest);
    });
    (url, read)
}

/// A server that upgrades as it should, and then goes its own way.
fn by_hand(then: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    ws(&peer(move |mut stream| {
        let mut reply = Vec::new();
        Policy::default().answer(&head(&mut stream), &mut reply).expect("a good request");
        if stream.write_all(&reply).is_ok() {
            then(stream);
        }
    }))
}

/// A server that answers the request by this text, in which KEY stands for the right accept value.
fn answering(reply: &'static str) -> String {
    ws(&peer(move |mut stream| {
        let request = head(&mut stream);
        let _ = stream.write_all(filled(&request, reply).as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }))
}

fn filled(request: &[u8], reply: &str) -> String {
    let request = String::from_utf8_lossy(request);
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = accept_value(key.expect("a key").as_bytes());
    reply.replace("KEY", &String::from_utf8_lossy(&accept)).replace('\n', "\r\n")
}

fn head(stream: &mut TcpStream) -> Vec<u8> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    head
}

/// All that a run over WebSocket has to have reached.
fn reached(ran: &Ran, result: &ResultFile, connections: u64) {
    assert_eq!((ran.code, result.run.outcome), (Some(0), Outcome::Done), "{ran:?}");
    let count = |stage| result.stages.get(stage).map_or(0, |entry| entry.count);
    for stage in [Stage::Connect, Stage::Upgrade, Stage::Handshake, Stage::FirstEcho, Stage::Close]
    {
        assert_eq!(count(stage), connections, "{stage:?}");
    }
    assert_eq!((result.connections.opened, result.connections.lost), (connections, 0));
    assert_eq!((result.messages.lost, result.messages.mismatched), (0, 0));
    let handshake = result.stages.get(Stage::Handshake).expect("measured");
    let connect = result.stages.get(Stage::Connect).expect("measured");
    let upgrade = result.stages.get(Stage::Upgrade).expect("measured");
    assert!(handshake.max >= connect.min + upgrade.min);
    assert!(result.violations.is_empty() && result.http_statuses.is_empty());
}

#[test]
fn an_independent_server_echoes_binary_and_text_whole_and_in_fragments() {
    let url = echo_server();
    for more in [
        &[][..],
        &["--text"],
        &["--text", "-s", "1k", "--fragment", "100"],
        &["-s", "70k"],
        &["-s", "200", "--fragment", "7"],
        &["--deflate", "-s", "500"],
        &["--match", "order"],
    ] {
        let args = [&url, "-c", "20", "--closed", "--in-flight", "3", "-d", "200ms"];
        let (ran, result) = measure(&[&args[..], more].concat());
        reached(&ran, &result, 20);
        assert!(result.messages.received > 60, "{more:?}: {:?}", result.messages);
    }
    let (ran, result) = measure(&[&url, "-c", "30", "-r", "500", "-d", "300ms", "--reactors", "2"]);
    reached(&ran, &result, 30);
    assert_eq!(result.messages.received, 150);
}

#[test]
fn the_request_says_what_was_asked_for() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let look = move |request: &Request, response: &mut Response| {
        let of = |name| request.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        let said = ["Host", "Origin", "X-Token", "Sec-WebSocket-Protocol"].map(of);
        kept.lock().expect("sound").push((request.uri().to_string(), said));
        let chosen = "chat.v2".parse().expect("a header");
        response.headers_mut().insert("Sec-WebSocket-Protocol", chosen);
    };
    let url = upgraded(look, |socket| {
        while let Ok(message) = socket.read() {
            if message.is_binary() {
                let _ = socket.send(message);
            }
        }
    });
    let with_path = format!("{url}/chat?room=1");
    let args = ["--origin", "http://example.test", "--header", "X-Token: a b"];
    let protocols = ["--subprotocol", "chat.v3", "--subprotocol", "chat.v2"];
    let (ran, result) = measure(&[&[&with_path, "-c", "3"], &args[..], &protocols].concat());
    reached(&ran, &result, 3);
    let seen = seen.lock().expect("sound");
    let host = url.trim_start_matches("ws://").to_owned();
    let texts = [host, "http://example.test".into(), "a b".into(), "chat.v3, chat.v2".into()];
    assert_eq!(seen.len(), 3);
    for (uri, said) in seen.iter() {
        assert_eq!((uri.as_str(), said), ("/chat?room=1", &texts.clone().map(Some)));
    }
    let websocket = result.plan.websocket.as_ref().expect("recorded");
    assert_eq!(websocket.headers, ["X-Token: a b"]);
    assert_eq!(result.plan.targets, [with_path]);
}

#[test]
fn pings_go_both_ways() {
    let url = library(|socket, message| {
        let _ = socket.send(Message::Ping(b"there?".as_slice().into()));
        let _ = socket.send(message);
    });
    let args = [&url, "-c", "10", "-r", "200", "-d", "500ms", "--ping", "100ms"];
    let (ran, result) = measure(&args);
    reached(&ran, &result, 10);
    let pings = result.stages.get(Stage::Ping).expect("measured");
    assert!((10..=500).contains(&pings.count), "{pings:?}");
    assert!(ran.stdout.contains("\"ping_interval_ns\": 100000000"));
}

#[test]
fn fragmented_echoes_with_pings_between_are_put_together() {
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Data, OpCode};
    let url = library(|socket, message| {
        let data = message.into_data();
        let (first, rest) = data.split_at(data.len() / 3);
        let frame = |bytes: &[u8], opcode, last| {
            Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(opcode), last))
        };
        let _ = socket.send(frame(first, Data::Binary, false));
        let _ = socket.send(Message::Ping(b"there?".as_slice().into()));
        let _ = socket.send(frame(&[], Data::Continue, false));
        let _ = socket.send(frame(rest, Data::Continue, true));
    });
    let args = [&url, "-c", "10", "--closed", "-d", "200ms", "-s", "300"];
    let (ran, result) = measure(&args);
    reached(&ran, &result, 10);
}

#[test]
fn a_server_that_answers_something_else_is_matched_by_order_if_it_is_to_be() {
    let url = library(|socket, _| drop(socket.send(Message::text("thank you"))));
    let args = [&url, "-c", "5", "--closed", "--in-flight", "2", "-d", "200ms"];
    let (ran, result) = measure(&[&args[..], &["--match", "order"]].concat());
    reached(&ran, &result, 5);
    assert!(result.messages.received > 10);
    let (ran, result) = measure(&[&args[..], &["--strict"]].concat());
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!((result.messages.mismatched, result.failures.protocol), (5, 5));
    let warned = result.run.warnings.iter().any(|warning| warning.remedy.contains("--match order"));
    assert!(warned, "{:?}", result.run.warnings);
    // Else they may be pushes: then the messages have no answer, and what came instead is shown.
    let (ran, result) = measure(&[&args[..], &["--timeout", "300ms"]].concat());
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!((result.messages.mismatched, result.failures.timed_out), (0, 5));
    assert_eq!((result.messages.unasked, result.messages.unasked_bytes), (5, 45));
    let codes: Vec<_> = result.run.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert!(codes.contains(&"lost") && !codes.contains(&"silent"), "{codes:?}");
    let warning = result.run.warnings.iter().find(|warning| warning.code == "unasked");
    let warning = warning.expect("a warning");
    assert!(warning.text.contains("thank you"), "{warning:?}");
    assert!(warning.remedy.contains("--match order"), "{warning:?}");
}

#[test]
fn greetings_and_pushes_are_passed_over_and_shown() {
    let url = upgraded(
        |_, _| {},
        |socket| {
            let _ = socket.send(Message::text("welcome\u{1b}"));
            while let Ok(message) = socket.read() {
                if message.is_binary() {
                    let _ = socket.send(Message::binary(vec![b'n'; 100]));
                    let _ = socket.send(message);
                }
            }
        },
    );
    let args = [&url, "-c", "10", "-r", "100", "-d", "300ms"];
    let (ran, result) = measure(&args);
    reached(&ran, &result, 10);
    assert_eq!(result.messages.unasked, 10 + 10 + result.messages.sent);
    assert_eq!(result.messages.unasked_first.as_deref(), Some("welcome\\u{1b}"));
    assert!(result.run.warnings.iter().any(|warning| warning.code == "unasked"));
    let (ran, result) = measure(&[&args[..], &["--strict"]].concat());
    assert_eq!((ran.code, result.failures.protocol), (Some(6), 10), "{ran:?}");
}

#[test]
fn greetings_are_no_replies_where_only_the_order_counts_either() {
    let url = upgraded(
        |_, _| {},
        |socket| {
            let _ = socket.send(Message::text("welcome"));
            while let Ok(message) = socket.read() {
                if message.is_binary() {
                    let _ = socket.send(Message::text("yes"));
                }
            }
        },
    );
    // Nothing is sent before all have been greeted: the ramp takes its time.
    let args = [&url, "-c", "3", "--connect-rate", "10", "--no-first-echo", "--match", "order"];
    let (ran, result) =
        measure(&[&args[..], &["--hold", "300ms", "-r", "50", "-d", "200ms"]].concat());
    assert!(result.messages.mismatched <= 1, "{ran:?}");
    assert!(result.messages.unasked >= 2, "{ran:?}");
}

#[test]
fn pushes_while_nothing_is_on_its_way_are_no_replies_where_only_the_order_counts_either() {
    let url = upgraded(
        |_, _| {},
        |socket| {
            while let Ok(message) = socket.read() {
                if message.is_binary() {
                    let _ = socket.send(Message::text("yes"));
                    let _ = socket.send(Message::text("and more"));
                }
            }
        },
    );
    // A second and more between two messages of a connection.
    let args = [&url, "-c", "10", "-r", "8", "-d", "1s", "--match", "order"];
    let (ran, result) = measure(&args);
    assert_eq!((result.connections.lost, result.messages.mismatched), (0, 0), "{ran:?}");
    assert_eq!(result.messages.unasked, 10 + result.messages.sent);
    assert_eq!(result.messages.unasked_first.as_deref(), Some("and more"));
    let (ran, result) = measure(&[&args[..], &["--strict"]].concat());
    assert_eq!((ran.code, result.failures.protocol), (Some(6), 10), "{ran:?}");
}

#[test]
fn close_codes_and_their_reasons_are_told() {
    let url = upgraded(
        |_, _| {},
        |socket| {
            let reason = Utf8Bytes::from_static("login timeout");
            let _ = socket.close(Some(CloseFrame { code: CloseCode::from(4401), reason }));
            while socket.read().is_ok() {}
        },
    );
    let (ran, result) = measure(&[&url, "-c", "6", "-r", "100", "-d", "300ms"]);
    assert_eq!((ran.code, result.failures.closed), (Some(6), 6), "{ran:?}");
    let closed = &result.close_codes["4401"];
    assert_eq!((closed.count, closed.reason.as_str()), (6, "login timeout"));
    let told = |warning: &report::schema::Warning| {
        warning.text.contains("closed 4401 \"login timeout\" × 6")
    };
    assert!(result.run.warnings.iter().any(told), "{:?}", result.run.warnings);
    assert!(result.run.warnings.iter().all(|warning| warning.code != "silent"));
}

#[test]
fn interim_replies_are_passed_over_and_frames_behind_the_reply_are_read() {
    let url = ws(&peer(|mut stream| {
        let request = head(&mut stream);
        let interim = "HTTP/1.1 103 Early Hints\nLink: </style.css>\n\nHTTP/1.1 100 Continue\n\n";
        let reply = "HTTP/1.1 101 Switching Protocols\nupgrade: WebSocket\n\
                     connection: keep-alive, Upgrade\nSec-WebSocket-Accept: KEY\n\n";
        let both = filled(&request, &format!("{interim}{reply}"));
        // A ping right behind the reply.
        let _ = stream.write_all(&[both.as_bytes(), b"\x89\x02hi"].concat());
        let mut pong = [0; 8];
        if stream.read_exact(&mut pong).is_ok() {
            assert_eq!(pong[..2], [0x8a, 0x82], "a pong with a mask");
            let (mask, data) = pong[2..].split_at(4);
            assert_eq!([data[0] ^ mask[0], data[1] ^ mask[1]], *b"hi");
        }
        let _ = stream.read_to_end(&mut Vec::new());
    }));
    let args = [&url, "-c", "4", "--no-first-echo", "--timeout", "200ms"];
    let (ran, result) = measure(&args);
    assert_eq!((ran.code, result.connections.opened), (Some(0), 4), "{ran:?}");
    // It never answers the close: said, and no failure.
    assert!(result.run.warnings.iter().any(|warning| warning.code == "not_closed"));
}

#[test]
fn each_wrong_answer_to_the_handshake_is_counted_and_explained() {
    let good = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n";
    let accept = "Sec-WebSocket-Accept: KEY\n";
    let leak = |text: String| -> &'static str { text.leak() };
    for (reply, status, says) in [
        ("HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n", Some("403"), "status 403"),
        (
            "HTTP/1.1 301 Moved Permanently\nLocation: ws://elsewhere.test/ws\n\n",
            Some("301"),
            "ws://elsewhere.test/ws",
        ),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", Some("200"), "status 200"),
        (
            leak(format!("{good}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n")),
            None,
            "key",
        ),
        (leak(format!("{good}\n")), None, "Accept"),
        (leak(format!("{good}{accept}Sec-WebSocket-Extensions: x\n\n")), None, "extension"),
        (leak(format!("{good}{accept}Sec-WebSocket-Protocol: x\n\n")), None, "subprotocol"),
        ("HTTP/1.1 101 Fine\nConnection: Upgrade\nSec-WebSocket-Accept: KEY\n\n", None, "Upgrade"),
        (
            "HTTP/1.1 101 Fine\nUpgrade: websocket\nSec-WebSocket-Accept: KEY\n\n",
            None,
            "Connection",
        ),
        ("220 mail.test ready\n", None, "not HTTP"),
    ] {
        let (ran, result) = measure(&[&answering(reply), "-c", "6"]);
        assert_eq!((ran.code, result.connections.opened), (Some(1), 0), "{reply}: {ran:?}");
        assert_eq!((result.connections.failed, result.failures.protocol), (6, 6), "{reply}");
        let statuses: Vec<_> = result.http_statuses.iter().map(|(s, n)| (s.as_str(), *n)).collect();
        assert_eq!(statuses, status.map(|status| (status, 6)).as_slice(), "{reply}");
        let (rule, count) = result.violations.first_key_value().expect("a sentence");
        assert!(rule.contains(says) && *count == 6, "{reply}: {rule}");
        let warned = result.run.warnings.iter().any(|warning| warning.text.contains(says));
        assert!(warned, "{reply}: {:?}", result.run.warnings);
    }
}

#[test]
fn each_rule_that_a_server_breaks_fails_the_connection_and_is_named() {
    let cases: [(&'static [u8], &str, u16); 8] = [
        (&[0x82, 0x80, 1, 2, 3, 4], "with a mask", 1002),
        (&[0xc2, 0], "reserved bit", 1002),
        (&[0x92, 0], "reserved bit", 1002),
        (&[0x88, 2, 3, 236], "1004 must not be sent", 1002),
        (&[0x88, 3, 3, 232, 0xff], "close reason is not UTF-8", 1007),
        (&[0x8b, 0], "reserved opcode 0xb", 1002),
        (&[0x00, 0], "continuation frame", 1002),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], "top bit set", 1002),
    ];
    for (bytes, rule, code) in cases {
        let (url, read) = saying(bytes);
        let (ran, result) = measure(&[&url, "-c", "4"]);
        assert_eq!(ran.code, Some(6), "{rule}: {ran:?}");
        assert_eq!((result.connections.lost, result.failures.protocol), (4, 4), "{rule}");
        let (said, count) = result.violations.first_key_value().expect("a sentence");
        assert!(said.contains(rule) && *count == 4, "{said}");
        eventually("all have read to the end", || read.lock().expect("sound").len() == 4);
        for told in read.lock().expect("sound").iter() {
            assert_eq!(told[0], 0x88, "{rule}: a close frame");
            let its = [told[6] ^ told[2], told[7] ^ told[3]];
            assert_eq!(its, code.to_be_bytes(), "{rule}");
        }
    }
}

#[test]
fn text_that_is_no_utf8_breaks_a_rule_also_where_only_the_order_counts() {
    let (url, _) = saying(b"\x81\x02\xc3\x28");
    let (ran, result) = measure(&[&url, "-c", "4", "--match", "order"]);
    assert_eq!((ran.code, result.failures.protocol), (Some(6), 4), "{ran:?}");
    assert!(result.violations.keys().any(|rule| rule.contains("not UTF-8")));
}

#[test]
fn a_server_that_closes_early_and_one_that_is_silent() {
    let url = upgraded(
        |_, _| {},
        |socket| {
            let frame = CloseFrame { code: CloseCode::Away, reason: Utf8Bytes::from_static("bye") };
            let _ = socket.close(Some(frame));
            while socket.read().is_ok() {}
        },
    );
    let (ran, result) = measure(&[&url, "-c", "6", "-r", "100", "-d", "300ms"]);
    assert_eq!((ran.code, result.failures.closed), (Some(6), 6), "{ran:?}");
    assert!(result.violations.is_empty());

    let silent = ws(&peer(|mut stream| drop(stream.read_to_end(&mut Vec::new()))));
    let (ran, result) = measure(&[&silent, "-c", "6", "--connect-timeout", "200ms"]);
    assert_eq!((ran.code, result.failures.timed_out), (Some(1), 6), "{ran:?}");

    let gone = ws(&peer(|mut stream| drop(head(&mut stream))));
    let (ran, result) = measure(&[&gone, "-c", "6"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!((result.connections.failed, result.connections.lost), (6, 0));
}

#[test]
fn what_has_no_meaning_is_refused_in_one_sentence() {
    let tcp = "tcp://127.0.0.1:9";
    let url = "ws://127.0.0.1:9";
    for (bad, says) in [
        (&[tcp, "--text"][..], "--text"),
        (&[tcp, "--fragment", "5"], "--fragment"),
        (&[tcp, "--deflate"], "--deflate"),
        (&[tcp, "--ping", "1s"], "--ping"),
        (&[tcp, "--match", "order"], "--match"),
        (&[tcp, "--origin", "x"], "--origin"),
        (&[tcp, "--header", "X: y"], "--header"),
        (&[tcp, "--subprotocol", "x"], "--subprotocol"),
        (&[tcp, url], "another protocol"),
        (&["http://127.0.0.1:9/", "--strict"], "--strict"),
        (&[url, "--text", "-s", "63"], "at least 64"),
        (&[url, "--fragment", "0"], "--fragment"),
        (&[url, "--fragment", "1", "-s", "1m"], "--fragment"),
        (&[url, "--ping", "0"], "--ping"),
        (&[url, "--header", "Upgrade: h2c"], "Upgrade"),
        (&[url, "--header", "X: a\u{e4}"], "visible ASCII"),
        (&[url, "--subprotocol", "a b"], "token"),
        (&["ws://127.0.0.1:0"], "port 0"),
    ] {
        let ran = run(&[&["run"], bad].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{bad:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{bad:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{bad:?}: {}", ran.stderr);
    }
    let ran = run(&["echo", tcp]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("ws://"), "{}", ran.stderr);
}

#[test]
fn the_summary_shows_the_stages_and_the_statuses() {
    let ran = run(&["run", &echo_server(), "-c", "5", "--hold", "300ms", "--ping", "50ms"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for stage in ["  upgrade ", "  handshake ", "  ping ", "  close "] {
        assert!(ran.stdout.contains(stage), "{stage}: {}", ran.stdout);
    }
    let ran = run(&["run", &answering("HTTP/1.1 404 Not Found\n\n"), "-c", "5", "-q"]);
    assert!(ran.stdout.contains("statuses     404 5"), "{}", ran.stdout);
}

// ---- echo ---------------------------------------------------------------------------------------

/// A server that plays the client's part: says messages of both kinds, expects them back, closes.
fn pushing(stopped: &Arc<AtomicU64>) -> String {
    let stopped = Arc::clone(stopped);
    upgraded(
        |_, _| {},
        move |socket| {
            let mut messages = vec![
                Message::text(""),
                Message::text("h\u{e4}llo"),
                Message::binary(vec![7; 300_000]),
                Message::text("x".repeat(70_000)),
            ];
            messages.push(Message::Ping(b"there?".as_slice().into()));
            for message in messages {
                socket.send(message.clone()).expect("sent");
                let expected = match message {
                    Message::Ping(data) => Message::Pong(data),
                    other => other,
                };
                assert_eq!(socket.read().expect("an answer"), expected);
            }
            let code = CloseCode::Library(4001);
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static("enough") };
            socket.close(Some(frame)).expect("sent");
            let Ok(Message::Close(Some(echoed))) = socket.read() else { panic!("no close frame") };
            assert_eq!(echoed.code, code);
            while socket.read().is_ok() {}
            stopped.fetch_add(1, Ordering::Relaxed);
        },
    )
}

#[test]
fn echo_sends_everything_back_until_the_server_closes() {
    let stopped = Arc::default();
    let url = pushing(&stopped);
    let ran = run(&["echo", &url]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("4 messages"), "{}", ran.stdout);
    let ran = run(&["echo", &url, "-c", "100", "--deflate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    eventually("each server has seen all", || stopped.load(Ordering::Relaxed) == 101);
}

#[test]
fn echo_says_how_a_connection_ended_otherwise() {
    let (masked, read) = saying_at_once(&[0x82, 0x80, 1, 2, 3, 4]);
    let (large, _) = saying_at_once(&[0x82, 127, 0, 0, 0, 0, 2, 0, 0, 0]);
    let gone = by_hand(drop);
    for (url, says) in [
        (masked.as_str(), "with a mask"),
        (&large, "larger than is accepted"),
        (&gone, "without a close frame"),
        (&answering("HTTP/1.1 404 Not Found\n\n"), "status 404"),
        (&ws(&crate::common::nobody()), "refused"),
    ] {
        let ran = run(&["echo", url]);
        assert_eq!(ran.code, Some(1), "{says}: {ran:?}");
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    eventually("it has read to the end", || read.lock().expect("sound").len() == 1);
    let told = &read.lock().expect("sound")[0];
    assert_eq!((told[0], [told[6] ^ told[2], told[7] ^ told[3]]), (0x88, 1002_u16.to_be_bytes()));
}

fn saying_at_once(bytes: &'static [u8]) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let read = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&read);
    let url = by_hand(move |mut stream| {
        let _ = stream.write_all(bytes);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        kept.lock().expect("sound").push(rest);
    });
    (url, read)
}
