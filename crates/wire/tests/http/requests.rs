//! Requests: what is understood, what is refused (the smuggling table), and any cut of either.

use crate::support::{Asked, BODY_MAX, Seen, requests, requests_with};
use c1000k_wire::http::{
    BodyError, DateCache, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_TARGET_BYTES_MAX, Method,
    Persistence, Refusal, RequestEvent, RequestPool, Requests,
};
use proptest::prelude::*;
use std::ops::ControlFlow;

/// What `GET / HTTP/1.1` for host `h` comes out as.
fn get(path: &str) -> Asked {
    Asked {
        method: Method::Get,
        path: path.to_owned(),
        query: String::new(),
        host: "h".to_owned(),
        persistence: Persistence::Keep,
        websocket: false,
        conditional: false,
        body_bytes: 0,
    }
}

/// The only request in a stream, which is read in several ways.
fn one(stream: &str) -> Asked {
    for size in [1, 2, 5, 1000] {
        let seen = requests(stream.as_bytes(), &vec![size; stream.len()]);
        assert!(matches!(seen.as_slice(), [Seen::Request(_)]), "{stream:?}: {seen:?}");
    }
    match requests(stream.as_bytes(), &[]).pop() {
        Some(Seen::Request(asked)) => asked,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_of_rfc_9112_section_3() {
    // Section 3.2.1, and section 3.2.2 for the same in absolute form.
    for stream in [
        "GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
        "GET http://www.example.org/where?q=now HTTP/1.1\r\nHost: ignored\r\n\r\n",
    ] {
        let asked = one(stream);
        let expected = Asked {
            query: "q=now".to_owned(),
            host: "www.example.org".to_owned(),
            ..get("/where")
        };
        assert_eq!(asked, expected);
    }
    let asterisk = one("OPTIONS * HTTP/1.1\r\nHost: www.example.org:8001\r\n\r\n");
    assert_eq!((asterisk.method, asterisk.path.as_str()), (Method::Options, ""));
    let authority = one("CONNECT www.example.com:80 HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    assert_eq!((authority.method, authority.path.as_str()), (Method::Connect, ""));
}

#[test]
fn what_a_request_can_say() {
    let change = |change: fn(&mut Asked)| {
        let mut asked = get("/");
        change(&mut asked);
        asked
    };
    let table: &[(&str, Asked)] = &[
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", get("/")),
        ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", get("/")),
        ("GET / HTTP/1.1\r\nhOST:h\t \r\n\r\n", get("/")),
        ("GET http://h HTTP/1.1\r\nHost: x\r\n\r\n", get("/")),
        ("GET HTTP://h?a?b HTTP/1.1\r\nHost: x\r\n\r\n", change(|a| a.query = "a?b".into())),
        ("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", change(|a| a.method = Method::Head)),
        ("PUT / HTTP/1.1\r\nHost: h\r\n\r\n", change(|a| a.method = Method::Put)),
        ("GETS / HTTP/1.1\r\nHost: h\r\n\r\n", change(|a| a.method = Method::Other)),
        ("GET / HTTP/1.1\r\nHost: h\r\nRange: x\r\n\r\n", change(|a| a.conditional = true)),
        ("GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n", change(|a| a.conditional = true)),
        ("GET / HTTP/1.1\r\nHost: h\r\nIf-Range: x\r\n\r\n", change(|a| a.conditional = true)),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: x\r\n\r\n",
            change(|a| a.conditional = true),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE\r\n\r\n",
            change(|a| a.persistence = Persistence::Close),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            change(|a| a.persistence = Persistence::Close),
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            change(|a| (a.persistence, a.host) = (Persistence::Close, String::new())),
        ),
        (
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n",
            change(|a| a.persistence = Persistence::KeepOld),
        ),
        (
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n",
            change(|a| a.persistence = Persistence::Close),
        ),
        // An old client cannot know of either (RFC 9110 10.1.1 and 7.8).
        (
            "GET / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nConnection: upgrade\r\n\
             Upgrade: websocket\r\nContent-Length: 2\r\n\r\nab",
            change(|a| (a.persistence, a.body_bytes) = (Persistence::Close, 2)),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n\r\n",
            change(|a| a.websocket = true),
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", get("/")),
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n", change(|a| a.method = Method::Other)),
        ("*! / HTTP/1.1\r\nHost: h\r\n\r\n", change(|a| a.method = Method::Other)),
        // Folds are blanks (RFC 9112 5.2).
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n \r\n\r\n", get("/")),
        ("GET / HTTP/1.1\r\nHost:\r\n h\r\n\r\n", get("/")),
        (
            "POST /?q HTTP/1.1\r\nX: a\r\n b\r\nTransfer-Encoding: chunked\r\nHost: h\r\n\r\n\
             0000000000000000000000003\r\nabc\r\n00000000000000000000\r\n\r\n",
            change(|a| (a.method, a.query, a.body_bytes) = (Method::Post, "q".into(), 3)),
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", get("/")),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 003\r\n\r\nabc",
            change(|a| a.body_bytes = 3),
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\
             a: b\r\n\r\n",
            change(|a| (a.method, a.body_bytes) = (Method::Post, 3)),
        ),
    ];
    for (stream, expected) in table {
        assert_eq!(one(stream), *expected, "{stream:?}");
    }
}

#[test]
fn methods_have_their_refusals() {
    for (name, status) in [
        ("GET", None),
        ("HEAD", None),
        ("POST", Some(405)),
        ("PUT", Some(405)),
        ("DELETE", Some(405)),
        ("OPTIONS", Some(405)),
        ("PATCH", Some(405)),
        ("TRACE", Some(405)),
        ("CONNECT", Some(405)),
        ("BREW", Some(501)),
        ("get", Some(501)),
        ("", Some(501)),
    ] {
        assert_eq!(Method::named(name).refusal().map(|status| status.0), status, "{name}");
    }
}

/// What could be read in two ways by two programs, and what is simply wrong: refused and closed.
#[test]
fn nothing_is_smuggled() {
    use Refusal as R;
    let host = |lines: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let sized = |length: &str| host(&format!("Content-Length:{length}\r\n"));
    let coded = |coding: &str| host(&format!("Transfer-Encoding:{coding}\r\n")) + "0\r\n\r\n";
    let body = |body: &str| host("Transfer-Encoding: chunked\r\n") + body;
    let chunk = |error| R::Body(error);
    let table: Vec<(String, Refusal)> = vec![
        // Two ways to find the end.
        (host("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), R::LengthTwice),
        (host("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), R::LengthTwice),
        (host("Content-Length: 5\r\nContent-Length: 5\r\n"), R::Length),
        (host("Content-Length: 5\r\nContent-Length: 6\r\n"), R::Length),
        (host("Content-Length: 0\r\ncontent-length: 0\r\n"), R::Length),
        (host("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), R::Transfer),
        (host("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), R::Transfer),
        // Lengths that are no numbers.
        (sized(""), R::Length),
        (sized(" +5"), R::Length),
        (sized(" -5"), R::Length),
        (sized(" 0x5"), R::Length),
        (sized(" 5 5"), R::Length),
        (sized(" 5, 5"), R::Length),
        (sized(" 5,"), R::Length),
        (sized(" 5.0"), R::Length),
        (sized(" 1e1"), R::Length),
        (sized(" \"5\""), R::Length),
        (sized(" 5;"), R::Length),
        (sized(" 5\u{b}"), R::Syntax),
        (sized(" \u{665}"), R::Length),
        (sized(" 18446744073709551616"), R::Length),
        (sized(" 99999999999999999999999"), R::Length),
        // Transfer codings.
        (coded(""), R::Transfer),
        (coded(" gzip"), R::Transfer),
        (coded(" xchunked"), R::Transfer),
        (coded(" chunkedx"), R::Transfer),
        (coded(" \"chunked\""), R::Transfer),
        (coded(" chunked;q=1"), R::Transfer),
        (coded(" chunked, identity"), R::Transfer),
        (coded(" chunked, chunked"), R::Transfer),
        (coded(" chunked, gzip, chunked"), R::Transfer),
        (coded(" gzip, chunked"), R::TransferUnknown),
        (coded(" \u{b}chunked"), R::Syntax),
        (
            "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            R::TransferOld,
        ),
        // Lines.
        (host("Content-Length: 1\r\n  2\r\n"), R::Syntax),
        (host("Transfer-Encoding: chunked,\r\n identity\r\n"), R::Syntax),
        (host("X: y\r\ntransfer-encoding:\r\n chunked\r\n"), R::Syntax),
        (host("X: a\r\n\tb\n"), R::Syntax),
        (host("Content-Length : 5\r\n"), R::Syntax),
        (host(" Content-Length: 5\r\n"), R::Host),
        (host("Content-Length\t: 5\r\n"), R::Syntax),
        (host("Content Length: 5\r\n"), R::Syntax),
        (host(": 5\r\n"), R::Syntax),
        (host("X\r\n"), R::Syntax),
        (host("X: a\nContent-Length: 5\r\n"), R::Syntax),
        (host("X: a\rContent-Length: 5\r\n"), R::Syntax),
        (host("X: a\r\r\n"), R::Syntax),
        (host("X: \0\r\n"), R::Syntax),
        (host("X\0: a\r\n"), R::Syntax),
        ("GET / HTTP/1.1\nHost: h\n\n".to_owned(), R::Syntax),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n".to_owned(), R::Syntax),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n".to_owned(), R::Syntax),
        ("GET / HTTP/1.1\rHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n".to_owned(), R::Syntax),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("get/ / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("{} / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        // Versions.
        ("GET /\r\n\r\n".to_owned(), R::Syntax),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), R::Version),
        ("GET / HTTP/0.9\r\nHost: h\r\n\r\n".to_owned(), R::Version),
        ("GET / HTTP/1.2\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.x\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET / HTTP/1.10\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET / http/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("GET / HTTP/11\r\nHost: h\r\n\r\n".to_owned(), R::Syntax),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), R::Version),
        // Hosts.
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), R::Host),
        ("GET http://a@b/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Host),
        ("GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Host),
        ("GET http://a/ HTTP/1.1\r\n\r\n".to_owned(), R::Host),
        // Targets.
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        ("GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        ("GET index.html HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        ("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        ("GET /\u{e4} HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        ("CONNECT h/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), R::Target),
        // Chunks.
        (body("\r\n"), chunk(BodyError::ChunkSize)),
        (body("0x1\r\na\r\n0\r\n\r\n"), chunk(BodyError::ChunkSize)),
        (body("1\na\r\n0\r\n\r\n"), chunk(BodyError::ChunkSize)),
        (body("1 \r\na\r\n0\r\n\r\n"), chunk(BodyError::ChunkSize)),
        (body("1;a\nb\r\na\r\n0\r\n\r\n"), chunk(BodyError::ChunkSize)),
        (body("-1\r\n"), chunk(BodyError::ChunkSize)),
        (body("10000000000000001\r\n"), chunk(BodyError::ChunkSize)),
        (body("ffffffffffffffff\r\n"), chunk(BodyError::TooLarge)),
        (body("1\r\nab\r\n0\r\n\r\n"), chunk(BodyError::ChunkEnd)),
        (body("0\r\nContent-Length : 5\r\n\r\n"), chunk(BodyError::Trailer)),
        (body("0\r\n\n"), chunk(BodyError::Trailer)),
        // Expectations.
        (host("Expect: 200-ok\r\n"), R::Expectation),
        (host("Expect: 100-continue, 200-ok\r\n"), R::Expectation),
        (host("Expect: 100-continue\r\nExpect: x\r\n"), R::Expectation),
    ];
    let good = "GET /good HTTP/1.1\r\nHost: h\r\n\r\n";
    for (bad, refusal) in &table {
        // Between two good ones: the one before is answered, the one behind never.
        let stream = format!("{good}{bad}{good}");
        let expected = [Seen::Request(get("/good")), Seen::Refused(*refusal)];
        for size in [1, 3, 40, 10_000] {
            let seen = requests(stream.as_bytes(), &vec![size; stream.len()]);
            assert_eq!(seen, expected, "{bad:?}");
        }
        let mut answer = Vec::new();
        refusal.write(Method::Get, DateCache::default().at(0), &mut answer);
        let answer = String::from_utf8(answer).expect("ASCII");
        let status = format!("HTTP/1.1 {} {}\r\n", refusal.status().0, refusal.status().reason());
        assert!(answer.starts_with(&status), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
}

#[test]
fn a_later_http_1_is_read_as_the_one_that_is_known() {
    let known = "GET /a?b HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\n";
    for minor in '2'..='9' {
        let later = known.replace("HTTP/1.1", &format!("HTTP/1.{minor}"));
        assert_eq!(requests(later.as_bytes(), &[]), requests(known.as_bytes(), &[]));
        // The same head again is known already.
        let twice = [later.as_bytes(), later.as_bytes()].concat();
        assert_eq!(requests(&twice, &[]).len(), 2);
    }
}

#[test]
fn a_refusal_of_head_has_no_body() {
    let too_large = format!("X: {}\r\n\r\n", "y".repeat(HTTP_HEAD_BYTES_MAX));
    for rest in [
        " / HTTP/1.1\r\n\r\n",
        " / HTTP/2.0\r\nHost: h\r\n\r\n",
        " / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",
        " / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        &format!(" / HTTP/1.1\r\n{too_large}"),
        &format!(" /{too_large}"),
    ] {
        for size in [1, 30, 100_000] {
            for (method, length) in [("HEAD", 0), ("GET", 1), ("HEADS", 1)] {
                let stream = [method, rest].concat();
                let (mut state, mut pool) = (Requests::default(), RequestPool::default());
                let refusal = stream.as_bytes().chunks(size).find_map(|chunk| {
                    let read =
                        state.read(BODY_MAX, &mut pool, chunk, |_| ControlFlow::Continue(()));
                    read.err()
                });
                let (refusal, mut answer) = (refusal.expect("a refusal"), Vec::new());
                refusal.write(pool.refused_method(), DateCache::default().at(0), &mut answer);
                let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
                assert_eq!((answer.len() - end - 4).min(1), length, "{method} {rest:.60}");
            }
        }
    }
}

#[test]
fn everything_has_its_bound_and_its_status() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(length));
    let headers =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let line =
        |length: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(length));
    let sized = |length: u64| {
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length as usize)
        )
    };
    let chunked = |length: u64| {
        let half = length / 2;
        let chunk = |length: u64| format!("{length:x}\r\n{}\r\n", "x".repeat(length as usize));
        let chunks = chunk(half) + &chunk(length - half);
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    let fits = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
    for (most, one_more, status) in [
        (target(HTTP_TARGET_BYTES_MAX - 1), target(HTTP_TARGET_BYTES_MAX), 414),
        (headers(HTTP_HEADERS_MAX), headers(HTTP_HEADERS_MAX + 1), 431),
        (line(HTTP_HEAD_BYTES_MAX - fits), line(HTTP_HEAD_BYTES_MAX - fits + 1), 431),
        (sized(BODY_MAX), sized(BODY_MAX + 1), 413),
        (chunked(BODY_MAX), chunked(BODY_MAX + 1), 413),
    ] {
        one(&most);
        for size in [7, 100_000] {
            let seen = requests(one_more.as_bytes(), &vec![size; one_more.len()]);
            let [Seen::Refused(refusal)] = seen.as_slice() else { panic!("{seen:?}") };
            assert_eq!(refusal.status().0, status);
        }
    }
    let endless = "GET /".to_owned() + &"a".repeat(HTTP_HEAD_BYTES_MAX);
    assert_eq!(requests(endless.as_bytes(), &[]), [Seen::Refused(Refusal::TargetTooLong)]);
    assert_eq!(Refusal::TimedOut.status().0, 408);
    assert_eq!(Refusal::Expectation.status().0, 417);
    assert_eq!(Refusal::TransferUnknown.status().0, 501);
    assert_eq!(Refusal::Version.status().0, 505);
}

#[test]
fn a_body_is_invited_before_the_answer() {
    let ask = |lines: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n{lines}\r\n{body}")
    };
    let stream = ask("Content-Length: 3\r\n", "abc");
    let lists =
        ["Expect: , 100-continue ,100-CONTINUE\r\n", "Expect:\r\n", "Expect: 100-continue\r\n"];
    for list in lists {
        let stream = ask(&format!("{list}Content-Length: 3\r\n"), "abc");
        let seen = requests(stream.as_bytes(), &[]);
        assert!(matches!(seen.as_slice(), [Seen::Continue, Seen::Request(_)]), "{list}: {seen:?}");
    }
    for size in [1, 9, 500] {
        let seen = requests(stream.as_bytes(), &vec![size; stream.len()]);
        let posted = Asked { method: Method::Post, body_bytes: 3, ..get("/") };
        assert_eq!(seen, [Seen::Continue, Seen::Request(posted)]);
    }
    // There is nothing to invite, or it is too much.
    one(&ask("", ""));
    let seen = requests(ask("Content-Length: 101\r\n", "").as_bytes(), &[]);
    assert_eq!(seen, [Seen::Refused(Refusal::Body(BodyError::TooLarge))]);
}

#[test]
fn all_requests_of_a_read_come_at_once_and_reading_can_stop_between() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let body = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
    let stream = [head, body, head, "rest"].concat();
    let (mut state, mut pool) = (Requests::default(), RequestPool::default());
    let (mut at, mut stops) = (0, Vec::new());
    for _ in 0..3 {
        let taken = state.read(BODY_MAX, &mut pool, &stream.as_bytes()[at..], |event| {
            assert!(matches!(event, RequestEvent::Request(_)));
            ControlFlow::Break(())
        });
        at += taken.expect("good requests");
        stops.push(at);
        assert!(state.is_idle());
    }
    assert_eq!(stops, [head.len(), head.len() + body.len(), stream.len() - 4]);
}

#[test]
fn nothing_is_read_behind_the_last_request() {
    let stream = b"GET / HTTP/1.0\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let last = Asked { persistence: Persistence::Close, ..get("/") };
    assert_eq!(requests(stream, &[]), [Seen::Request(last.clone())]);
    assert_eq!(requests(stream, &[1; 80]), [Seen::Request(last)]);
}

#[test]
fn header_lines_are_found_again() {
    let stream = b"GET / HTTP/1.1\r\nHost: h\r\nX-Y: 1\r\nx-y:\t2 3 \r\nX-Yz: 4\r\nZ:\r\n\r\n";
    let (mut state, mut pool) = (Requests::default(), RequestPool::default());
    let read = state.read(BODY_MAX, &mut pool, stream, |event| {
        let RequestEvent::Request(request) = event else { panic!("{event:?}") };
        let lines = |name| request.header(name).collect::<Vec<_>>();
        assert_eq!(lines("X-y"), [&b"1"[..], b"2 3"]);
        assert_eq!((lines("z"), lines("y")), (vec![&b""[..]], vec![]));
        ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(stream.len()));
}

/// A request that is as it should be.
pub(crate) fn good() -> impl Strategy<Value = String> {
    let chunk = ("[a-c\r\n]{1,20}", "(;[a-z=\"]{0,5})?");
    let chunk =
        chunk.prop_map(|(data, extension)| format!("{:x}{extension}\r\n{data}\r\n", data.len()));
    let body = prop_oneof![
        Just("\r\n".to_owned()),
        "[a-c\r\n]{0,20}".prop_map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        (prop::collection::vec(chunk, 0..4), "(y: z\r\n){0,2}").prop_map(|(chunks, trailers)| {
            format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n{trailers}\r\n", chunks.concat())
        }),
    ];
    let head = "(GET|POST|HEAD) (/|/a\\?b|http://h) HTTP/1[.]1\r\n(Accept: x\r\n)?Host: h\r\n";
    (head, body).prop_map(|(head, body)| head + &body)
}

/// A request that may be anything.
fn odd() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => Just("Host: h\r\n".to_owned()),
        2 => "Content-Length: (0|3|5|101|[+]1|3, 3)\r\n",
        2 => "Transfer-Encoding: (chunked|gzip|gzip, chunked)\r\n",
        1 => "Connection: (close|keep-alive|x)\r\n",
        1 => "Expect: (100-continue|x)\r\n",
        1 => "[a-c :\r\n]{0,6}\r\n",
    ];
    let request = (
        "(\r\n)?(GET|POST|G T) (/|/a\\?b|http://h|\\*) HTTP/1[.][01]\r\n",
        prop::collection::vec(line, 0..3),
        "\r\n(abc|3\r\nabc\r\n0\r\n\r\n|1;x\r\na\r\n2\r\nbc\r\n0\r\ny: z\r\n\r\n|[0-3a\r\n]{0,6})?",
    );
    request.prop_map(|(line, headers, body)| line + &headers.concat() + &body)
}

/// Streams of requests, good ones and others.
pub(crate) fn streams() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![4 => good(), 1 => odd()], 1..6)
        .prop_map(|requests| requests.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_do_not_depend_on_where_reads_fall(
        stream in streams(),
        sizes in prop::collection::vec(0..40usize, 0..60),
        before in streams(),
    ) {
        let whole = requests(stream.as_bytes(), &[]);
        prop_assert_eq!(&requests(stream.as_bytes(), &sizes), &whole);
        // Nor on what others sent: the head before is remembered.
        let mut pool = RequestPool::default();
        requests_with(&mut pool, before.as_bytes(), &[]);
        prop_assert_eq!(&requests_with(&mut pool, stream.as_bytes(), &sizes), &whole);
        prop_assert_eq!(&requests_with(&mut pool, stream.as_bytes(), &[]), &whole);
    }

    #[test]
    fn bare_line_ends_are_never_let_pass(
        at in 0..1000usize,
        byte in prop::sample::select(vec![b'\r', b'\n', 0, b'\x0b']),
    ) {
        let mut stream = b"GET /path HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n".to_vec();
        let at = 1 + at % (stream.len() - 4);
        stream[at] = byte;
        let unchanged = &stream[..] == b"GET /path HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n";
        let seen = requests(&stream, &[]);
        prop_assert!(unchanged || !matches!(seen.first(), Some(Seen::Request(_))), "{:?}", seen);
    }
}
