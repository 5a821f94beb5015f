//! Responses: where each ends, what is refused, and any cut of either; and requests as we write
//! them.

use crate::support::{Reply, Seen, replies, replies_with, requests};
use c1000k_wire::http::{
    BodyError, Composer, HTTP_INFORMATIONAL_MAX, HeadLimits, Method, Persistence, RequestSpec,
    RequestSpecError, ResponseError, ResponsePool,
};
use proptest::prelude::*;

fn whole(status: u16, length: Option<u64>, keeps: bool, body: &str) -> Reply {
    Reply::Whole { status, length, keeps, body: body.as_bytes().to_vec() }
}

/// What a stream makes, read in several ways.
fn read(method: Method, stream: &str) -> Vec<Reply> {
    let seen = replies(method, stream.as_bytes(), &[]);
    for size in [1, 2, 7, 60] {
        assert_eq!(replies(method, stream.as_bytes(), &vec![size; stream.len()]), seen, "{stream}");
    }
    seen
}

#[test]
fn the_end_of_a_response_is_found() {
    let get = |stream: &str| read(Method::Get, stream);
    // RFC 9112 6.3, rule by rule.
    let one = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(get(&one.repeat(3)), vec![whole(200, Some(5), true, "hello"); 3]);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(read(Method::Head, &head.repeat(2)), vec![whole(200, Some(5), true, ""); 2]);
    let chunked =
        "HTTP/1.1 200 \r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n";
    assert_eq!(get(&chunked.repeat(2)), vec![whole(200, None, true, "abc"); 2]);
    let unsaid = "HTTP/1.1 200 OK\r\n\r\nto the end";
    assert_eq!(get(unsaid), [whole(200, None, false, "to the end")]);
    for status in [204, 304] {
        let empty = format!("HTTP/1.1 {status} x\r\nContent-Length: 9\r\n\r\n");
        assert_eq!(get(&empty.repeat(2)), vec![whole(status, Some(9), true, ""); 2]);
    }
    assert_eq!(get("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), [whole(200, Some(0), true, "")]);
    assert_eq!(get("HTTP/1.0 404 x\r\n\r\n"), [whole(404, None, false, "")]);
    // Interim replies are passed over.
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n";
    assert_eq!(get(&format!("{interim}{one}")), [whole(200, Some(5), true, "hello")]);
    assert_eq!(get(""), []);
}

#[test]
fn a_response_says_whether_the_connection_goes_on() {
    for (version, line, keeps) in [
        (1, "", true),
        (1, "Connection: close\r\n", false),
        (1, "Connection: x, Close\r\n", false),
        (1, "Connection: keep-alive\r\n", true),
        (0, "", false),
        (0, "Connection: keep-alive\r\n", true),
        (0, "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let stream = format!("HTTP/1.{version} 200 OK\r\n{line}Content-Length: 0\r\n\r\n");
        assert_eq!(read(Method::Get, &stream), [whole(200, Some(0), keeps, "")], "{stream}");
    }
}

#[test]
fn a_later_http_1_is_read_as_the_one_that_is_known() {
    for version in ["HTTP/1.1", "HTTP/1.2", "HTTP/1.9"] {
        let stream = format!("{version} 200 OK\r\nContent-Length: 2\r\n\r\nok").repeat(2);
        let answer = whole(200, Some(2), true, "ok");
        assert_eq!(read(Method::Get, &stream), [answer.clone(), answer], "{version}");
    }
}

#[test]
fn each_fault_has_its_rule() {
    use ResponseError as E;
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    let table: &[(String, ResponseError)] = &[
        (ok("Content-Length: 5\r\nContent-Length: 5\r\n"), E::Length),
        (ok("Content-Length: +5\r\n"), E::Length),
        (ok("Content-Length: 5, 5\r\n"), E::Length),
        (ok("Content-Length: 99999999999999999999\r\n"), E::Length),
        (ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), E::LengthTwice),
        (ok("Transfer-Encoding: gzip, chunked\r\n"), E::Transfer),
        (ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), E::Transfer),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), E::TransferOld),
        ("HTTP/1.1 101 Switching\r\n\r\n".to_owned(), E::Switched),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), E::Version),
        ("HTTP/1.x 200 OK\r\n\r\n".to_owned(), E::Version),
        ("HTTP/1.20 200 OK\r\n\r\n".to_owned(), E::Version),
        ("HTTX/1.1 200 OK\r\n\r\n".to_owned(), E::Syntax),
        ("HTTP/1.1 099 x\r\n\r\n".to_owned(), E::Syntax),
        ("HTTP/1.1 20 x\r\n\r\n".to_owned(), E::Syntax),
        ("HTTP/1.1 200 OK\nA: b\n\n".to_owned(), E::Syntax),
        (ok("A : b\r\n"), E::Syntax),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n".to_owned(), E::Syntax),
        (ok("Content-Length: 1\r\n 2\r\n"), E::Length),
        (ok("A: b\r\n c\n"), E::Syntax),
        (ok(&"A: b\r\n".repeat(257)), E::HeadersTooMany(256)),
        (ok(&"A".repeat(70_000)), E::HeadTooLarge(65_536)),
        ("SSH-2.0-OpenSSH_9\r\n\r\n".to_owned(), E::Syntax),
        ("\x15\x03\x01".to_owned(), E::Syntax),
    ];
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (bad, error) in table {
        let seen = read(Method::Get, &format!("{good}{bad}{good}"));
        assert_eq!(seen, [whole(200, Some(2), true, "ok"), Reply::Error(*error)], "{bad}");
    }
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cut = |body: &str| Reply::Cut { status: 200, body: body.as_bytes().to_vec() };
    for (stream, body, error) in [
        (format!("{chunked}2\r\nab\r\nx"), "ab", E::Body(BodyError::ChunkSize)),
        (format!("{chunked}2\r\nabc\r\n"), "ab", E::Body(BodyError::ChunkEnd)),
        (format!("{chunked}0\r\n x\r\n\r\n"), "", E::Body(BodyError::Trailer)),
        (format!("{chunked}2\r\nab\r\n0\r\n"), "ab", E::CutBody),
        (ok("Content-Length: 5\r\n") + "abc", "abc", E::CutBody),
    ] {
        assert_eq!(read(Method::Get, &stream), [cut(body), Reply::Error(error)], "{stream}");
    }
    for stream in ["HTTP/1.1 200 OK\r\n", "H", "HTTP/1.1 100 Continue\r\n\r\n"] {
        assert_eq!(read(Method::Get, stream), [Reply::Error(E::CutHead)], "{stream}");
    }
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    // What comes behind it means nothing.
    let expected = [whole(200, Some(0), false, "")];
    assert_eq!(read(Method::Get, &format!("{last}x")), expected);
    let interim = "HTTP/1.1 102 x\r\n\r\n".repeat(HTTP_INFORMATIONAL_MAX.into());
    assert_eq!(read(Method::Get, &format!("{interim}{good}")), [whole(200, Some(2), true, "ok")]);
    let seen = read(Method::Get, &format!("{interim}HTTP/1.1 102 x\r\n\r\n{good}"));
    assert_eq!(seen, [Reply::Error(E::Informational)]);
}

fn spec(method: Method) -> RequestSpec {
    named(method.name())
}

fn named(method: &str) -> RequestSpec {
    RequestSpec {
        host: "127.0.0.1".to_owned(),
        port: 8080,
        method: method.to_owned(),
        targets: vec!["/a?b".to_owned()],
        ..RequestSpec::default()
    }
}

#[test]
fn requests_are_written_as_they_are_read() {
    let written = |spec: &RequestSpec, count| {
        let (mut out, composer) = (Vec::new(), Composer::new(spec).expect("a good spec"));
        composer.write_many(0, count, &mut out);
        let length: usize = (0..count as u64).map(|number| composer.length(number)).sum();
        assert_eq!(out.len(), length);
        out
    };
    let get = written(&spec(Method::Get), 1);
    assert_eq!(get, b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n");
    let post = RequestSpec {
        host: "::1".to_owned(),
        port: 80,
        headers: vec![("X-A".to_owned(), "b c".to_owned())],
        body: b"hello".to_vec(),
        close: true,
        ..spec(Method::Post)
    };
    assert_eq!(
        String::from_utf8(written(&post, 1)).expect("ASCII"),
        "POST /a?b HTTP/1.1\r\nHost: [::1]\r\nX-A: b c\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\nhello"
    );
    // Several paths take turns, and our own server understands all of it.
    let targets = ["/1", "/2", "/3"].map(str::to_owned).to_vec();
    let headers = vec![("host".to_owned(), "other".to_owned())];
    let turns = RequestSpec { targets, headers, body: vec![b'x'; 10], ..spec(Method::Post) };
    let seen = requests(&written(&turns, 7), &[]);
    let paths: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Request(asked) => {
                assert_eq!((asked.body_bytes, asked.host.as_str()), (10, "other"));
                assert_eq!(asked.persistence, Persistence::Keep);
                asked.path.as_str()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/1", "/2", "/3", "/1"]);
    assert!(written(&spec(Method::Post), 1).ends_with(b"Content-Length: 0\r\n\r\n"));
}

#[test]
fn what_cannot_be_sent_is_said() {
    use RequestSpecError as E;
    let header = |name: &str, value: &str| RequestSpec {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..spec(Method::Get)
    };
    let target = |target: &str| RequestSpec {
        targets: vec!["/".to_owned(), target.to_owned()],
        ..spec(Method::Get)
    };
    let long = format!("/{}", "a".repeat(9000));
    let big = header("X", &"a".repeat(66_000));
    let mut twice = header("Host", "a");
    twice.headers.push(("HOST".to_owned(), "b".to_owned()));
    let host = |host: &str| RequestSpec { host: host.to_owned(), ..spec(Method::Get) };
    for (spec, error) in [
        (named("CONNECT"), E::Method("CONNECT".to_owned())),
        (named(""), E::Method(String::new())),
        (named("a b"), E::Method("a b".to_owned())),
        (RequestSpec { targets: vec![], ..spec(Method::Get) }, E::NoTarget),
        (target("a"), E::Target("a".to_owned())),
        (target("/a b"), E::Target("/a b".to_owned())),
        (target("/a#b"), E::Target("/a#b".to_owned())),
        (target(&long), E::Target(long.clone())),
        (header("a b", "c"), E::Header("a b: c".to_owned())),
        (header("a", "b\r\nc: d"), E::Header("a: b\r\nc: d".to_owned())),
        (header("Content-length", "5"), E::Reserved("Content-length".to_owned())),
        (header("Transfer-Encoding", "x"), E::Reserved("Transfer-Encoding".to_owned())),
        (header("Connection", "close"), E::Connection("close".to_owned())),
        (header("connection", "keep-alive, x"), E::Connection("keep-alive, x".to_owned())),
        (
            RequestSpec { close: true, ..header("Connection", "keep-alive") },
            E::Connection("keep-alive".to_owned()),
        ),
        (header("Expect", "100-continue"), E::Reserved("Expect".to_owned())),
        (header("Upgrade", "websocket"), E::Reserved("Upgrade".to_owned())),
        (twice, E::Reserved("Host".to_owned())),
        (host(""), E::Host(String::new())),
        (host("a b"), E::Host("a b".to_owned())),
        (big, E::TooLarge),
    ] {
        assert_eq!(Composer::new(&spec).map(|_| ()), Err(error));
    }
}

#[test]
fn any_method_and_a_name_of_our_own_can_be_sent() {
    let written = |spec: &RequestSpec, count| {
        let mut out = Vec::new();
        Composer::new(spec).expect("a good spec").write_many(0, count, &mut out);
        out
    };
    for method in ["DELETE", "PURGE", "get", "M-SEARCH", "!#$%&'*+-.^_`|~"] {
        let agent = RequestSpec { agent: "us/1".to_owned(), ..named(method) };
        let text = String::from_utf8(written(&agent, 1)).expect("ASCII");
        assert!(text.starts_with(&format!("{method} /")), "{text}");
        assert!(text.contains("\r\nUser-Agent: us/1\r\n"), "{text}");
        assert!(!text.contains("Content-Length"), "{text}");
        let headers = [("user-agent", "me"), ("Connection", "Keep-Alive")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let own = RequestSpec { headers, body: b"ab".to_vec(), ..agent };
        let text = String::from_utf8(written(&own, 1)).expect("ASCII");
        assert!(text.contains("\r\nuser-agent: me\r\nConnection: Keep-Alive\r\n"), "{text}");
        assert!(!text.contains("us/1") && text.ends_with("Content-Length: 2\r\n\r\nab"), "{text}");
    }
    for method in ["PUT", "PATCH"] {
        assert!(written(&named(method), 1).ends_with(b"Content-Length: 0\r\n\r\n"), "{method}");
    }
}

#[test]
fn folds_are_blanks() {
    let folded = "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\nContent-Length:\r\n  2\r\n\
        Connection: x,\r\n close\r\n \r\n\r\nok";
    for size in [1, 3, 1000] {
        let seen = replies(Method::Get, folded.as_bytes(), &vec![size; folded.len()]);
        assert_eq!(seen, [whole(200, Some(2), false, "ok")]);
    }
    let kept = "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(read(Method::Get, &kept.repeat(3)), vec![whole(200, Some(2), true, "ok"); 3]);
}

#[test]
fn limits_of_heads_can_be_moved() {
    let head = |lines: usize, bytes: usize| {
        let lines = "X: y\r\n".repeat(lines);
        let rest = "HTTP/1.1 204 No\r\n\r\n".len() + lines.len() + "Y: \r\n".len();
        format!("HTTP/1.1 204 No\r\n{lines}Y: {}\r\n\r\n", "z".repeat(bytes - rest))
    };
    use ResponseError as E;
    for (limits, lines, bytes, error) in [
        (HeadLimits::default(), 255, 65_536, None),
        (HeadLimits::default(), 256, 60_000, Some(E::HeadersTooMany(256))),
        (HeadLimits::default(), 2, 65_537, Some(E::HeadTooLarge(65_536))),
        (HeadLimits { bytes: 200_000, headers: 1000 }, 999, 200_000, None),
        (HeadLimits { bytes: 200_000, headers: 1000 }, 1000, 9000, Some(E::HeadersTooMany(1000))),
        (HeadLimits { bytes: 300, headers: 3 }, 2, 300, None),
        (HeadLimits { bytes: 300, headers: 3 }, 3, 200, Some(E::HeadersTooMany(3))),
        (HeadLimits { bytes: 300, headers: 3 }, 1, 301, Some(E::HeadTooLarge(300))),
    ] {
        let mut pool = ResponsePool::new(limits);
        let expected = error.map_or_else(|| whole(204, None, true, ""), Reply::Error);
        let stream = head(lines, bytes);
        for sizes in [&[][..], &[1000; 300]] {
            let seen = replies_with(&mut pool, Method::Get, stream.as_bytes(), sizes);
            assert_eq!(seen, std::slice::from_ref(&expected), "{limits:?}");
        }
    }
    let said = [E::HeadTooLarge(1), E::HeadersTooMany(1)].map(|error| error.to_string());
    assert!(said[0].contains("--head-max") && said[1].contains("--headers-max"), "{said:?}");
}

/// Streams of responses, good ones and others.
fn streams() -> impl Strategy<Value = String> {
    let good = prop_oneof![
        "[a-c\r\n]{0,20}".prop_map(|body| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }),
        "[a-c\r\n]{1,20}".prop_map(|data| {
            let chunk = format!("{:x};x\r\n{data}\r\n", data.len());
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")
        }),
    ];
    let odd = (
        "HTTP/1[.][01] (200|204|100|404|101) (OK)?\r\n",
        "((Content-Length: (0|3|[+]1)|Transfer-Encoding: chunked|Connection: \
         (close|keep-alive)|[a-c: ]{0,5})\r\n){0,2}",
        "\r\n(abc|3\r\nabc\r\n0\r\n\r\n|[0-2a\r\n]{0,6})?",
    );
    let odd = odd.prop_map(|(line, headers, body)| line + &headers + &body);
    let one = prop_oneof![4 => good, 1 => odd];
    prop::collection::vec(one, 1..6).prop_map(|responses| responses.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn responses_do_not_depend_on_where_reads_fall(
        stream in streams(),
        sizes in prop::collection::vec(0..40usize, 0..60),
        before in streams(),
        head in any::<bool>(),
    ) {
        let method = if head { Method::Head } else { Method::Get };
        let whole = replies(method, stream.as_bytes(), &[]);
        prop_assert_eq!(&replies(method, stream.as_bytes(), &sizes), &whole);
        // Nor on what others received: the head before is remembered.
        let mut pool = ResponsePool::default();
        replies_with(&mut pool, method, before.as_bytes(), &[]);
        prop_assert_eq!(&replies_with(&mut pool, method, stream.as_bytes(), &sizes), &whole);
    }
}
