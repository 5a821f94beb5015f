//! HTTP over real sockets: statuses, pipelining, ranges, conditions, what ends a connection, what
//! leads out of the root, files that are large or change, upgrades, limits.

use crate::common::{PATIENCE, Server, command, eventually, is_closed};
use crate::ws::{BINARY, Frame, Peer, frame, request};
use rustix::process::Signal;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const URL: &[&str] = &["http://127.0.0.1:0"];

/// A folder to serve, and a file beside it that must never be.
fn site() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("sub")).expect("a folder");
    for (path, text) in [
        ("index.html", "<p>index"),
        ("hello.txt", "hello, world"),
        ("sub/index.html", "<p>sub"),
        (".secret", "secret"),
        ("../outside", "secret"),
    ] {
        fs::write(root.join(path), text).expect("a file");
    }
    symlink("../outside", root.join("leak")).expect("a link");
    symlink("hello.txt", root.join("link")).expect("a link");
    folder
}

fn serve(folder: &TempDir, args: &[&str]) -> Server {
    let root = folder.path().join("root");
    let root = root.to_str().expect("text");
    Server::on(URL, &[&["--root", root], args].concat())
}

/// An answer: status, head, body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
    }
}

/// Reads one answer; to HEAD, and with 1xx, 204 and 304, there is no body.
fn read_answer(stream: &mut TcpStream, with_body: bool) -> Answer {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("more of a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let status = head[9..12].parse().expect("a status");
    let mut answer = Answer { status, head, body: Vec::new() };
    if with_body && !matches!(status, 100..=199 | 204 | 304) {
        let length = answer.header("Content-Length").expect("a length").parse().expect("a number");
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).expect("the body");
    }
    answer
}

fn ask(stream: &mut TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).expect("taken");
    read_answer(stream, !request.starts_with("HEAD"))
}

fn get(stream: &mut TcpStream, path: &str, more: &str) -> Answer {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n"))
}

#[test]
fn each_status_where_it_belongs() {
    let folder = site();
    let server = serve(&folder, &["--body-max", "10"]);
    let long = "a".repeat(9_000);
    let many = "X: y\r\n".repeat(256);
    let huge = format!("X: {}\r\n", "y".repeat(70_000));
    let with = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: h\r\n{more}\r\n");
    let stays = [
        (with("GET /hello.txt", ""), 200),
        (with("HEAD /hello.txt", ""), 200),
        (with("GET /link", ""), 200),
        (with("GET /", ""), 200),
        (with("GET http://elsewhere/hello.txt", ""), 200),
        (with("GET /hello.txt", "Range: bytes=0-0\r\n"), 206),
        (with("GET /sub", ""), 301),
        (with("GET /none", ""), 404),
        (with("GET /.secret", ""), 404),
        (with("GET /hello.txt/", ""), 404),
        (with("POST /hello.txt", "Content-Length: 3\r\n") + "abc", 405),
        (with("DELETE /hello.txt", ""), 405),
        (with("OPTIONS *", ""), 405),
        (with("GET /hello.txt", "Range: bytes=99-\r\n"), 416),
        (with("BREW /coffee", ""), 501),
        (with("get /hello.txt", ""), 501),
        (with("GET /hello.txt", "X: a\r\n b\r\nRange:\r\n bytes=0-0\r\n"), 206),
        (with("GET /hello.txt", &"X: y\r\n".repeat(255)), 200),
        (with("GET /hello.txt", &format!("X: {}\r\n", "y".repeat(60_000))), 200),
        (
            with("GET /hello.txt", "Transfer-Encoding: chunked\r\n")
                + "00000000000000000000003\r\nabc\r\n0\r\n\r\n",
            200,
        ),
        (with("GET /hello.txt", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n", 200),
    ];
    let mut stream = server.connect();
    for (request, status) in &stays {
        let answer = ask(&mut stream, request);
        assert_eq!(answer.status, *status, "{request}: {}", answer.head);
        assert!(answer.header("Date").is_some() && answer.header("Connection").is_none());
        assert_eq!(answer.header("Allow").is_some(), *status == 405);
    }
    let ends = [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (with("POST /", "Content-Length: 11\r\n"), 413),
        (with("POST /", "Transfer-Encoding: chunked\r\n") + "b\r\n", 413),
        (with(&format!("GET /{long}"), ""), 414),
        (with("POST /", "Content-Length: 1\r\nExpect: miracles\r\n"), 417),
        (with("POST /", "Content-Length: 1\r\nExpect: 100-continue, miracles\r\n"), 417),
        (with("GET /", &many), 431),
        (with("GET /", &huge), 431),
        (with("POST /", "Transfer-Encoding: gzip, chunked\r\n"), 501),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), 505),
    ];
    for (request, status) in &ends {
        let mut stream = server.connect();
        let answer = ask(&mut stream, request);
        assert_eq!(answer.status, *status, "{request}: {}", answer.head);
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(is_closed(&mut stream), "{request}");
    }
    let http = server.snapshot().http;
    assert_eq!((http.requests, http.responses[&200]), (stays.len() as u64, 9));
    assert_eq!((http.responses[&413], http.responses[&431], http.responses[&501]), (2, 2, 3));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let folder = site();
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(folder.path().join("root/large"), &large).expect("a file");
    let server = serve(&folder, &["--reactors", "1"]);
    let paths = ["/hello.txt", "/large", "/none", "/sub/", "/large", "/large", "/hello.txt"];
    let mut said = String::new();
    for path in paths {
        said += &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let mut stream = server.connect();
    stream.write_all(said.as_bytes()).expect("taken");
    stream.shutdown(Shutdown::Write).expect("ours");
    for path in paths {
        let answer = read_answer(&mut stream, true);
        let expected = match path {
            "/large" => &large[..],
            "/none" => b"404 Not Found\n",
            "/sub/" => b"<p>sub",
            _ => b"hello, world",
        };
        assert!(answer.body == expected, "{path}: {}", answer.head);
    }
    assert!(is_closed(&mut stream), "the peer had closed");
}

#[test]
fn conditions_ranges_and_heads() {
    let folder = site();
    let large: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(folder.path().join("root/large"), &large).expect("a file");
    let server = serve(&folder, &[]);
    let mut stream = server.connect();
    for (path, bytes) in [("/hello.txt", &b"hello, world"[..]), ("/large", &large)] {
        let whole = get(&mut stream, path, "");
        assert!(whole.body == bytes);
        let (tag, date) = (whole.header("ETag").expect("a tag"), whole.header("Last-Modified"));
        let date = date.expect("a date");
        for condition in [
            format!("If-None-Match: {tag}\r\n"),
            "If-None-Match: *\r\n".to_owned(),
            format!(
                "If-None-Match: \"other\", W/{tag}\r\n\
                 If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            ),
            format!("If-Modified-Since: {date}\r\n"),
        ] {
            let answer = get(&mut stream, path, &condition);
            assert_eq!((answer.status, answer.header("ETag")), (304, Some(tag)), "{condition}");
            assert_eq!(answer.header("Content-Length"), None);
        }
        let other = get(&mut stream, path, "If-None-Match: \"other\"\r\n");
        assert_eq!((other.status, other.body.len()), (200, bytes.len()));
        let length = bytes.len();
        for (range, first, end) in [
            ("bytes=0-4", 0, 5),
            ("bytes=5-", 5, length),
            ("bytes=-3", length - 3, length),
            ("bytes=2-99999999999999999999", 2, length),
        ] {
            let part = get(&mut stream, path, &format!("Range: {range}\r\nIf-Range: {tag}\r\n"));
            assert_eq!(part.status, 206, "{range}");
            assert!(part.body == bytes[first..end], "{range}");
            let said = format!("bytes {first}-{}/{length}", end - 1);
            assert_eq!(part.header("Content-Range"), Some(&said[..]));
        }
        let none = get(&mut stream, path, &format!("Range: bytes={length}-\r\n"));
        assert_eq!(
            (none.status, none.header("Content-Range")),
            (416, Some(&format!("bytes */{length}")[..]))
        );
        let head = ask(&mut stream, &format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(head.header("Content-Length"), Some(&length.to_string()[..]));
    }
    // Nothing of a HEAD's body came in between.
    assert_eq!(get(&mut stream, "/hello.txt", "").body, b"hello, world");
}

#[test]
fn who_wants_the_connection_to_end_and_who_does_not() {
    let folder = site();
    let server = serve(&folder, &[]);
    for (version, header, stays) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ] {
        let mut stream = server.connect();
        let request = format!("GET /hello.txt HTTP/{version}\r\nHost: h\r\n{header}\r\n");
        let answer = ask(&mut stream, &request);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello, world"[..]));
        if stays {
            let expected = (version == "1.0").then_some("keep-alive");
            assert_eq!(answer.header("Connection"), expected);
            assert_eq!(ask(&mut stream, &request).status, 200);
        } else {
            assert_eq!(answer.header("Connection"), Some("close"));
            assert!(is_closed(&mut stream), "{request}");
        }
    }
    let mut stream = server.connect();
    let invited = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(ask(&mut stream, invited).status, 100);
    assert_eq!(ask(&mut stream, "abc").status, 405);
    assert_eq!(get(&mut stream, "/hello.txt", "").status, 200);
}

#[test]
fn a_request_within_a_request_is_not_let_through() {
    let folder = site();
    let server = serve(&folder, &[]);
    let smuggled = "GET /hello.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n";
    for head in [
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: 50\r\n",
        "Content-Length: 50, 50\r\n",
        "Content-Length: +50\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x32\r\n",
        "Content-Length: 5 0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 50\r\n",
        " Content-Length: 50\r\n",
        "Content-Length: 50\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 50\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "Host: again\r\n",
    ] {
        let mut stream = server.connect();
        let said = format!("POST /none HTTP/1.1\r\nHost: h\r\n{head}\r\n0\r\n\r\n{smuggled}");
        stream.write_all(said.as_bytes()).expect("taken");
        let mut all = Vec::new();
        let end = stream.read_to_end(&mut all);
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        let all = String::from_utf8(all).expect("text");
        assert!(
            all.starts_with("HTTP/1.1 400 ") || all.starts_with("HTTP/1.1 501 "),
            "{head}: {all}"
        );
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{head}: {all}");
        assert!(all.contains("\r\nConnection: close\r\n"), "{head}: {all}");
    }
    // The same within chunks.
    for body in
        ["0\r\n\r\r\n", "1\r\naX\r\n0\r\n\r\n", "0 \r\n\r\n", "g\r\n", "1;\n\r\na\r\n0\r\n\r\n"]
    {
        let mut stream = server.connect();
        let chunked = "POST /none HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(format!("{chunked}{body}{smuggled}").as_bytes()).expect("taken");
        assert_eq!(read_answer(&mut stream, true).status, 400, "{body}");
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn nothing_outside_the_root_is_served() {
    let folder = site();
    fs::create_dir(folder.path().join("root/.git")).expect("a folder");
    fs::write(folder.path().join("root/.git/config"), "secret").expect("a file");
    let server = serve(&folder, &[]);
    let mut stream = server.connect();
    for path in [
        "/../outside",
        "/sub/../../outside",
        "/%2e%2e/outside",
        "/%2E%2e/outside",
        "/.%2e/outside",
        "/%2e%2e%2foutside",
        "/..%2foutside",
        "/..%5coutside",
        "/..\\outside",
        "/%252e%252e/outside",
        "/sub/..;/..;/outside",
        "/hello.txt%00.html",
        "/%00",
        "/%c0%ae%c0%ae/outside",
        "//outside",
        "///../outside",
        "/sub//../../outside",
        "/./hello.txt",
        "/leak",
        "/.secret",
        "/%2esecret",
        "/.git/config",
        "/proc/self/environ",
        "/%zz",
        "/%",
        "http://h/../outside",
    ] {
        let answer = get(&mut stream, path, "");
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.head);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{path}");
    }
    assert_eq!(get(&mut stream, "/hello.txt", "").status, 200, "the connection goes on");
}

#[test]
fn a_slow_reader_of_a_large_file_gets_all_of_it_and_holds_up_nobody() {
    let folder = site();
    let large: Vec<u8> = (0..30_000_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(folder.path().join("root/large"), &large).expect("a file");
    let server = serve(&folder, &["--reactors", "1"]);
    let mut slow = server.connect();
    let last = b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    slow.write_all(last).expect("taken");
    let mut got = vec![0; 1_000_000];
    let mut other = server.connect();
    for piece in got.chunks_mut(100_000) {
        slow.read_exact(piece).expect("more");
        assert_eq!(get(&mut other, "/hello.txt", "").body, b"hello, world");
    }
    assert!(server.snapshot().reactors[0].unsent_bytes < 100_000, "a file takes no memory");
    slow.read_to_end(&mut got).expect("all of it");
    let head = got.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(got[head..] == large);
}

/// Descriptors that files may take are announced, and one file more is refused until another has
/// left.
#[test]
fn large_files_on_their_way_are_bounded_and_announced() {
    let folder = site();
    for number in 0..3 {
        let file = fs::File::create(folder.path().join(format!("root/large-{number}")));
        file.expect("a file").set_len(30_000_000).expect("a length");
    }
    let server = serve(&folder, &["--reactors", "1", "--open-files", "2"]);
    assert_eq!(server.ready[0]["open_files_max"], 2);
    let mut unread: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for (number, peer) in unread.iter_mut().enumerate() {
        let request = format!("GET /large-{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        peer.write_all(request.as_bytes()).expect("taken");
        peer.read_exact(&mut [0; 1000]).expect("it begins");
    }
    let mut other = server.connect();
    assert_eq!(get(&mut other, "/large-2", "").status, 503);
    assert_eq!(get(&mut other, "/hello.txt", "").status, 200, "small ones hold nothing");
    let http = server.snapshot().http;
    assert_eq!((http.files_open, http.files_refused), (2, 1));
    drop(unread);
    eventually("they have left", || server.snapshot().connections == 1);
    let whole = get(&mut other, "/large-2", "");
    assert_eq!((whole.status, whole.body.len()), (200, 30_000_000));
    // Without files nothing of the kind is said.
    assert!(Server::on(URL, &[]).ready[0]["open_files_max"].is_null());
}

#[test]
fn a_file_that_changes_is_served_as_it_is() {
    let folder = site();
    let path = folder.path().join("root/file");
    fs::write(&path, "one").expect("a file");
    let server = serve(&folder, &[]);
    let mut stream = server.connect();
    assert_eq!(get(&mut stream, "/file", "").body, b"one");
    let renamed = folder.path().join("root/other");
    fs::write(&renamed, "three").expect("a file");
    fs::rename(&renamed, &path).expect("moved");
    eventually("the new one", || get(&mut stream, "/file", "").body == b"three");
    fs::remove_file(&path).expect("it was there");
    eventually("it is gone", || get(&mut stream, "/file", "").status == 404);
}

#[test]
fn a_file_that_shrinks_while_it_is_served_ends_its_connection() {
    let folder = site();
    let path = folder.path().join("root/large");
    let length = 64_000_000;
    fs::File::create(&path).and_then(|file| file.set_len(length)).expect("a file");
    let server = serve(&folder, &["--reactors", "1"]);
    let mut stream = server.connect();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").expect("taken");
    stream.read_exact(&mut [0; 1_000]).expect("the beginning");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(1_000))
        .expect("cut");
    let mut buffer = vec![0; 1_000_000];
    let error = loop {
        match stream.read(&mut buffer) {
            Ok(count) => assert!(count > 0, "an end that looks like one"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    eventually("it is counted", || server.snapshot().counters["files_cut"] == 1);
    // For up to a second it is still taken for what it was, and resets whoever asks.
    eventually("what it is now", || {
        let (mut stream, mut all) = (server.connect(), Vec::new());
        let last = b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(last).expect("taken");
        stream.read_to_end(&mut all).is_ok_and(|count| count < 2_000)
    });
}

#[test]
fn a_websocket_on_the_same_port() {
    let folder = site();
    let server = serve(&folder, &["--origin", "https://example.com", "--deflate"]);
    let mut stream = server.connect();
    assert_eq!(get(&mut stream, "/hello.txt", "").status, 200);
    let more = "Origin: https://example.com\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    stream.write_all(request(more).as_bytes()).expect("taken");
    stream.write_all(&frame(BINARY, b"right behind")).expect("taken");
    let mut peer = Peer::on(stream);
    assert!(peer.head.starts_with("HTTP/1.1 101 ") && peer.head.contains("permessage-deflate"));
    assert_eq!(peer.next(), Some(Frame::new(BINARY, b"right behind")));
    drop(peer);
    let mut stream = server.connect();
    let foreign = ask(&mut stream, &request("Origin: https://elsewhere.example\r\n"));
    assert_eq!(foreign.status, 403);
    assert!(is_closed(&mut stream));
    eventually("both are counted", || {
        let snapshot = server.snapshot();
        let (ws, http) = (&snapshot.websocket, &snapshot.http);
        (ws.upgraded, ws.open, http.responses[&101], http.responses[&403]) == (1, 0, 1, 1)
            && (http.open, http.closing) == (0, 0)
    });
    // The page of a server that has files is not there.
    assert_eq!(get(&mut server.connect(), "/counters.json", "").status, 404);
}

#[test]
fn the_page_shows_what_the_server_counts() {
    let server = Server::on(URL, &["--reactors", "2"]);
    let mut stream = server.connect();
    let page = get(&mut stream, "/", "");
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    let again = format!("If-None-Match: {}\r\n", page.header("ETag").expect("a tag"));
    assert_eq!(get(&mut stream, "/", &again).status, 304);
    eventually("the counters of both reactors", || {
        let answer = get(&mut stream, "/counters.json", "");
        let counters =
            serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        let number = |name: &str| counters[name].as_u64().unwrap_or(0);
        number("requests") > 3 && number("connections") == 1 && number("reactors") == 2
    });
}

#[test]
fn slow_senders_and_silent_peers_are_closed() {
    let folder = site();
    let server = serve(&folder, &["--handshake-timeout", "300ms", "--idle-timeout", "2s"]);
    let starts = ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"];
    for start in starts {
        let mut stream = server.connect();
        assert_eq!(ask(&mut stream, start).status, 408);
        assert!(is_closed(&mut stream));
    }
    let mut silent = [server.connect(), server.connect()];
    assert_eq!(get(&mut silent[0], "/hello.txt", "").status, 200);
    assert!(silent.iter_mut().all(is_closed));
    eventually("they are counted", || {
        let http = server.snapshot().http;
        (http.idle_closed, http.responses[&408], http.open) == (2, 2, 0)
    });
}

#[test]
fn counters_are_told_in_every_form() {
    let folder = site();
    let server = serve(&folder, &[]);
    let mut stream = server.connect();
    assert_eq!(get(&mut stream, "/hello.txt", "").status, 200);
    assert_eq!(get(&mut stream, "/none", "").status, 404);
    let mut metrics = TcpStream::connect(server.metrics()).expect("it listens");
    metrics.set_read_timeout(Some(Duration::from(PATIENCE))).expect("option");
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").expect("taken");
    let mut page = String::new();
    metrics.read_to_string(&mut page).expect("text");
    for line in [
        "c1000k_http_responses_total{status=\"404\"} 1",
        "c1000k_http_total{what=\"requests\"} 2",
        "c1000k_http{what=\"open\"} 1",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    server.signal(Signal::INT);
    let (code, _, said) = server.finish();
    assert_eq!(code, Some(0));
    assert!(said.contains("HTTP: answered 2 (200: 1, 404: 1)"), "{said}");
}

#[test]
fn limits_of_heads_are_options() {
    let folder = site();
    let server = serve(&folder, &["--head-max", "1k", "--headers-max", "3"]);
    for (more, status, says) in [
        ("X: y\r\nX: y\r\n".to_owned(), 200, ""),
        ("X: y\r\n".repeat(3), 431, "more than the 3 header lines accepted here (--headers-max)"),
        (
            format!("X: {}\r\n", "y".repeat(1000)),
            431,
            "larger than the 1024 bytes accepted here (--head-max)",
        ),
    ] {
        let answer = get(&mut server.connect(), "/link", &more);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(says), "{text}");
    }
    for bad in [["--head-max", "10"], ["--head-max", "1g"], ["--headers-max", "0"]] {
        let output = command(&[URL, &bad[..]].concat()).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(bad[0]) && said.contains("give a "), "{said}");
    }
}

#[test]
fn options_that_do_not_fit_are_refused_in_a_sentence() {
    let folder = site();
    let file = folder.path().join("root/hello.txt");
    let nowhere = folder.path().join("nowhere");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    for (url, root, sentence) in [
        ("tcp://127.0.0.1:0", text(folder.path()), "--root is for http://"),
        ("http://127.0.0.1:0", text(&nowhere), "there is no such folder"),
        ("http://127.0.0.1:0", text(&file), "this is no folder"),
    ] {
        let output = command(&[url, "--root", &root]).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence) && said.trim().lines().count() == 1, "{said}");
    }
}
