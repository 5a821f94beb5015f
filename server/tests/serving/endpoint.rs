//! What the server tells about itself over HTTP.

use crate::common::{Server, echo, eventually};
use crate::ws::{TEXT, frame};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Status line, head and body of a page.
fn get(server: &Server, path: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(server.metrics()).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let (status, head) = head.split_once("\r\n").expect("a status line");
    (status.to_owned(), head.to_ascii_lowercase(), body.to_owned())
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// The samples of a page in the text format of Prometheus (version 0.0.4), by name and labels.
/// Panics where the page breaks the format's rules.
fn parse(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with('\n'), "the last line has no end");
    let (mut samples, mut families, mut current) = (BTreeMap::new(), BTreeSet::new(), None);
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut next = || words.next().unwrap_or_else(|| panic!("cut off: {line}"));
            match (next(), next(), next()) {
                ("HELP", name, help) => {
                    assert!(is_name(name) && !help.is_empty(), "{line}");
                    assert!(families.insert(name), "the lines of a family stand together: {line}");
                    current = Some((name, false));
                }
                ("TYPE", name, kind) => {
                    assert_eq!(current, Some((name, false)), "{line}");
                    assert!(["counter", "gauge"].contains(&kind), "{line}");
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                    current = Some((name, true));
                }
                _ => panic!("neither HELP nor TYPE: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let name = series.split('{').next().unwrap_or_default();
        assert_eq!(current, Some((name, true)), "outside of its family: {line}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let inside = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
            for label in inside.unwrap_or_else(|| panic!("no braces: {line}")).split(',') {
                let (key, text) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(key) && text.len() >= 2, "{line}");
                assert!(text.starts_with('"') && text.ends_with('"'), "{line}");
            }
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn the_metrics_are_prometheus_text_and_true() {
    let server = Server::start(&["--reactors", "2", "--connections-max", "100"]);
    let mut peers: Vec<_> = (0..7).map(|_| server.connect()).collect();
    peers.iter_mut().for_each(echo);
    let (status, head, body) = get(&server, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples = parse(&body);
    assert_eq!(samples["c1000k_connections"], 7.0);
    assert_eq!(samples["c1000k_connections_max"], 100.0);
    assert_eq!(samples["c1000k_silent_reactors"], 0.0);
    let sum = |name: &str| -> f64 {
        let of = samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}{{")));
        of.map(|(_, value)| value).sum()
    };
    assert_eq!(sum("c1000k_reactor_connections"), 7.0);
    assert_eq!(sum("c1000k_reactor_accepted_total"), 7.0);
    assert_eq!(sum("c1000k_reactor_messages_total"), 7.0);
    assert_eq!(samples["c1000k_loop_total{counter=\"bytes_sent\"}"], 7.0 * 14.0);
    // Each reactor has turned, and no turn was longer than the longest.
    let of = |name: &str| -> Vec<f64> {
        let of = samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}{{")));
        of.map(|(_, value)| *value).collect()
    };
    let (p99, max) = (of("c1000k_reactor_turn_p99_seconds"), of("c1000k_reactor_turn_max_seconds"));
    assert_eq!((p99.len(), max.len()), (2, 2));
    assert!(p99.iter().zip(&max).all(|(p99, max)| 0.0 < *p99 && p99 <= max), "{p99:?} {max:?}");
    assert_eq!(of("c1000k_reactor_loop_delay_p99_seconds").len(), 2);
    assert_eq!(of("c1000k_reactor_loop_delay_max_seconds").len(), 2);
    assert!(samples["c1000k_resident_memory_bytes"] > 1e5);
}

#[test]
fn what_websocket_did_is_in_the_metrics() {
    let server = Server::on(&["ws://127.0.0.1:0"], &["--reactors", "2"]);
    let mut peers: Vec<_> = (0..3).map(|_| server.upgrade()).collect();
    peers.iter_mut().for_each(|peer| peer.echo(TEXT, b"hello"));
    let mut wrong = peers.pop().expect("three");
    wrong.say(&frame(0x83, b""));
    assert_eq!(wrong.rest()[0].close_code(), Some(1002));
    drop(wrong);
    let mut refused = server.connect();
    refused.write_all(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n").expect("taken");
    assert!(refused.read_to_end(&mut Vec::new()).is_ok());
    drop(refused);
    eventually("both are gone", || server.snapshot().connections == 2);
    let samples = parse(&get(&server, "/metrics").2);
    for (series, value) in [
        ("c1000k_websocket{what=\"open\"}", 2.0),
        ("c1000k_websocket{what=\"closing\"}", 0.0),
        ("c1000k_websocket_total{what=\"upgraded\"}", 3.0),
        ("c1000k_websocket_total{what=\"messages\"}", 3.0),
        ("c1000k_websocket_refused_total{status=\"405\"}", 1.0),
        ("c1000k_websocket_errors_total{code=\"1002\"}", 1.0),
    ] {
        assert_eq!(samples[series], value, "{series}");
    }
}

#[test]
fn every_count_of_a_protocol_in_the_snapshot_is_a_metric_too() {
    let server = Server::on(&["ws://127.0.0.1:0", "http://127.0.0.1:0"], &[]);
    let snapshot = serde_json::to_value(server.snapshot()).expect("JSON");
    let samples = parse(&get(&server, "/metrics").2);
    for protocol in ["websocket", "http"] {
        let counts = snapshot[protocol].as_object().expect("an object");
        for (name, _) in counts.iter().filter(|(_, value)| value.is_u64()) {
            let metric = |end: &str| format!("c1000k_{protocol}{end}{{what=\"{name}\"}}");
            let told = samples.contains_key(&metric("")) || samples.contains_key(&metric("_total"));
            assert!(told, "{protocol}.{name}");
        }
    }
}

#[test]
fn the_snapshot_has_every_field() {
    let server = Server::start(&["--reactors", "3", "--backlog", "77"]);
    let mut peer = server.connect();
    echo(&mut peer);
    // Reading it into the type that it was written from fails for a field that is missing.
    let snapshot = server.snapshot();
    assert_eq!(snapshot.schema, "c1000k.server/1");
    assert_eq!(snapshot.urls, [format!("tcp://{}", server.address())]);
    assert_eq!((snapshot.connections, snapshot.accepted, snapshot.messages), (1, 1, 1));
    assert_eq!((snapshot.backlog, snapshot.silent_reactors), (77, 0));
    assert_eq!(snapshot.reactors.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(snapshot.reactors.iter().all(|r| r.turn.count > 0 && r.turn.max_ns >= r.turn.p99_ns));
    assert!((snapshot.accept_skew - 3.0).abs() < 1e-9, "one reactor of three has all");
    assert!(snapshot.rss_bytes > Some(0) && snapshot.uptime_ns > 0 && snapshot.cpu_ns > 0);
    let (status, head, _) = get(&server, "/snapshot.json");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(head.contains("content-type: application/json"), "{head}");
}

#[test]
fn its_health_and_what_there_is_not() {
    let server = Server::start(&[]);
    let (status, _, body) = get(&server, "/healthz");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok\n"));
    let (status, _, _) = get(&server, "/nothing");
    assert_eq!(status, "HTTP/1.1 404 Not Found");
}
