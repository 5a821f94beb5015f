//! The opening handshake: each rule a row, for both ends.

use c1000k_wire::ws::{
    Accepted, Agreed, DeflatePolicy, HandshakeError, HandshakeFailure, Policy, Request,
    RequestError, RequestSpec, Window,
};
use proptest::prelude::*;

const NONCE: [u8; 16] = *b"the sample nonce";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A good request, with what `change` makes of its lines.
fn request(change: impl Fn(&str) -> Vec<String>) -> Vec<u8> {
    let lines = [
        "GET /chat HTTP/1.1",
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];
    let lines = lines.iter().flat_map(|line| change(line));
    (lines.fold(String::new(), |text, line| text + &line + "\r\n") + "\r\n").into_bytes()
}

/// A good request in which the line that starts with `start` is replaced by `lines`.
fn with(start: &str, lines: &[&str]) -> Vec<u8> {
    request(|line| {
        if line.starts_with(start) {
            lines.iter().map(|&line| line.to_owned()).collect()
        } else {
            vec![line.to_owned()]
        }
    })
}

/// A good request with further lines.
fn and(lines: &[&str]) -> Vec<u8> {
    with("Host", &[&["Host: server.example.com"], lines].concat())
}

fn answer(policy: &Policy, head: &[u8]) -> (Result<Accepted, HandshakeError>, String) {
    let mut out = Vec::new();
    let accepted = policy.answer(head, &mut out);
    (accepted, String::from_utf8(out).expect("text"))
}

#[test]
fn a_good_request_is_accepted() {
    let (accepted, reply) = answer(&Policy::default(), &request(|line| vec![line.to_owned()]));
    assert_eq!(accepted, Ok(Accepted { deflate: None, subprotocol: None }));
    assert_eq!(
        reply,
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
    );
}

#[test]
fn what_may_be_otherwise_is_accepted() {
    for head in [
        with("GET", &["GET http://server.example.com/chat?a=b HTTP/1.1"]),
        with("GET", &["GET WSS://server.example.com/ HTTP/1.1"]),
        with("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="]),
        with("Upgrade", &["upgrade: h2c, WebSocket"]),
        with("Upgrade", &["UPGRADE: h2c", "Upgrade:websocket"]),
        with("Connection", &["Connection: keep-alive, UPGRADE"]),
        with("Connection", &["connection: keep-alive", "connection:   upgrade  "]),
        // HTTP/1.1 or higher (RFC 6455 4.2.1).
        with("GET", &["GET /chat HTTP/1.2"]),
        with("Host", &["host: [::1]:9000"]),
        and(&["Origin: null", "Content-Length: 0", "Cookie: a=b; c=d"]),
        and(&["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: x-unknown; a=\"b\""]),
    ] {
        let (accepted, reply) = answer(&Policy::default(), &head);
        let nothing = Accepted { deflate: None, subprotocol: None };
        assert_eq!(accepted, Ok(nothing), "{}", head.escape_ascii());
        assert!(!reply.contains("Protocol:") && !reply.contains("Extensions"), "{reply}");
    }
}

#[test]
fn each_broken_rule_has_its_status() {
    use HandshakeError as E;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let many: Vec<String> = (0..260).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let table: &[(Vec<u8>, HandshakeError, u16)] = &[
        (with("GET", &["POST /chat HTTP/1.1"]), E::Method, 405),
        (with("GET", &["HEAD /chat HTTP/1.1"]), E::Method, 405),
        (with("GET", &["GET /chat HTTP/1.0"]), E::Http10, 400),
        (with("GET", &["GET /chat HTTP/2.0"]), E::HttpVersion, 505),
        (with("GET", &["GET  /chat HTTP/1.1"]), E::Syntax, 400),
        (with("GET", &["GET /chat"]), E::Syntax, 400),
        (with("GET", &["GET chat HTTP/1.1"]), E::Syntax, 400),
        (with("GET", &["GET * HTTP/1.1"]), E::Syntax, 400),
        (with("GET", &["GET /chat#top HTTP/1.1"]), E::Syntax, 400),
        (with("GET", &["GET /caf\u{e9} HTTP/1.1"]), E::Syntax, 400),
        (with("GET", &["GET x?://y HTTP/1.1"]), E::Syntax, 400),
        (with("GET", &["GET /chat http/1.1"]), E::Syntax, 400),
        (with("GET", &["GET /chat HTTP/3"]), E::Syntax, 400),
        (with("Host", &[]), E::Host, 400),
        (with("Host", &["Host: a", "Host: a"]), E::Host, 400),
        (with("Host", &["Host:"]), E::Host, 400),
        (with("Host", &["Host: a b"]), E::Host, 400),
        (with("Host", &["Host: a:b"]), E::Host, 400),
        (with("Upgrade", &[]), E::NotUpgrade, 426),
        (with("Upgrade", &["Upgrade: h2c"]), E::NotUpgrade, 426),
        (with("Connection", &[]), E::Connection, 400),
        (with("Connection", &["Connection: keep-alive"]), E::Connection, 400),
        (with("Sec-WebSocket-Key", &[]), E::Key, 400),
        (with("Sec-WebSocket-Key", &[key, key]), E::Key, 400),
        (with("Sec-WebSocket-Key", &["Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="]), E::Key, 400),
        (with("Sec-WebSocket-Key", &["Sec-WebSocket-Key: not base64 at all !!"]), E::Key, 400),
        (with("Sec-WebSocket-Version", &[]), E::Version, 426),
        (with("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]), E::Version, 426),
        (with("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 13, 8"]), E::Version, 426),
        (and(&["Sec-WebSocket-Version: 13"]), E::VersionRepeated, 400),
        (and(&["Origin: https://elsewhere.test"]), E::Origin, 403),
        (and(&["Origin: https://a.test", "Origin: https://a.test"]), E::OriginRepeated, 400),
        (and(&["Sec-WebSocket-Protocol: a b"]), E::Subprotocols, 400),
        (
            and(&["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"]),
            E::Subprotocols,
            400,
        ),
        (and(&["Sec-WebSocket-Protocol: "]), E::Subprotocols, 400),
        (and(&["Sec-WebSocket-Extensions: permessage-deflate;"]), E::Extensions, 400),
        (and(&["Content-Length: 5"]), E::Body, 400),
        (and(&["Content-Length: 0", "Content-Length: 7"]), E::Body, 400),
        (and(&["Transfer-Encoding: chunked"]), E::Body, 400),
        (and(&["X-Folded: a", " b"]), E::Syntax, 400),
        (and(&["X-Bare: a\rb"]), E::Syntax, 400),
        (and(&["X-Bare: a\nX-Other: b"]), E::Syntax, 400),
        (and(&["X-Nul: a\0b"]), E::Syntax, 400),
        (and(&["X Blank: a"]), E::Syntax, 400),
        (and(&["X-Blank : a"]), E::Syntax, 400),
        (and(&["no colon"]), E::Syntax, 400),
        (and(&many), E::TooLarge, 431),
    ];
    let policy = Policy {
        origins: vec!["https://a.test".to_owned(), "https://b.test".to_owned()],
        ..Policy::default()
    };
    for (head, error, status) in table {
        let text = head.escape_ascii();
        let (verdict, mut reply) = answer(&policy, head);
        assert_eq!((verdict, error.status()), (Err(*error), *status), "{text}");
        if head.starts_with(b"HEAD ") {
            // What a GET would get, but for the content (RFC 9110 9.3.2).
            assert!(reply.ends_with("\r\n\r\n"), "{reply}");
            reply += &format!("{error}\n");
        }
        check_reply(*error, &reply);
    }
    for error in [E::TimedOut, E::TooLarge] {
        let mut out = Vec::new();
        error.write(true, &mut out);
        check_reply(error, &String::from_utf8(out).expect("text"));
    }
}

/// A reply that says no: well-formed, whole, and with the headers that its status asks for.
fn check_reply(error: HandshakeError, reply: &str) {
    let mut room = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut room);
    let end = parsed.parse(reply.as_bytes()).expect("well-formed").unwrap();
    assert_eq!(parsed.code, Some(error.status()));
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|header| header.name == name);
        found.map(|header| std::str::from_utf8(header.value).expect("text"))
    };
    assert_eq!(header("Content-Length"), Some(&*(reply.len() - end).to_string()));
    assert!(header("Connection").is_some_and(|options| options.contains("close")));
    match error.status() {
        405 => assert_eq!(header("Allow"), Some("GET")),
        426 => {
            assert_eq!(header("Upgrade"), Some("websocket"));
            assert_eq!(header("Sec-WebSocket-Version"), Some("13"));
        }
        _ => {}
    }
}

#[test]
fn origins_on_the_list_pass() {
    let policy = Policy { origins: vec!["https://a.test".to_owned()], ..Policy::default() };
    for lines in [&["Origin: https://a.test"][..], &["origin: HTTPS://A.test"], &[]] {
        assert!(answer(&policy, &and(lines)).0.is_ok(), "{lines:?}");
    }
}

#[test]
fn subprotocols_go_by_our_preference() {
    let subprotocols = ["best", "good"].map(str::to_owned).to_vec();
    let policy = Policy { subprotocols, ..Policy::default() };
    let table: &[(&[&str], Option<usize>)] = &[
        (&["Sec-WebSocket-Protocol: good, best"], Some(0)),
        (&["Sec-WebSocket-Protocol: other", "sec-websocket-protocol: good"], Some(1)),
        (&["Sec-WebSocket-Protocol: BEST"], None),
        (&[], None),
    ];
    for (lines, expected) in table {
        let (accepted, reply) = answer(&policy, &and(lines));
        assert_eq!(accepted.map(|accepted| accepted.subprotocol), Ok(*expected), "{lines:?}");
        let line =
            expected.map(|index| format!("Sec-WebSocket-Protocol: {}", policy.subprotocols[index]));
        match line {
            Some(line) => assert!(reply.contains(&line), "{reply}"),
            None => assert!(!reply.contains("Sec-WebSocket-Protocol"), "{reply}"),
        }
    }
}

#[test]
fn compression_is_answered() {
    let policy = Policy { deflate: Some(DeflatePolicy::default()), ..Policy::default() };
    let (accepted, reply) = answer(
        &policy,
        &and(&["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]),
    );
    let window = Window { bits: 15, takeover: false };
    let agreed = Agreed { server: window, client: window };
    assert_eq!(accepted.map(|accepted| accepted.deflate), Ok(Some(agreed)));
    assert!(reply.contains(
        "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
         client_no_context_takeover\r\n"
    ));
}

fn spec() -> RequestSpec {
    RequestSpec {
        host: "server.example.com".to_owned(),
        port: 80,
        default_port: 80,
        target: "/chat?room=1".to_owned(),
        ..RequestSpec::default()
    }
}

fn written(spec: &RequestSpec) -> String {
    let mut out = Vec::new();
    Request::new(spec).expect("a good request").write(NONCE, &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn a_request_says_what_it_must() {
    assert_eq!(
        written(&spec()),
        "GET /chat?room=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let full = RequestSpec {
        host: "::1".to_owned(),
        port: 9000,
        origin: Some("https://a.test".to_owned()),
        subprotocols: vec!["chat".to_owned(), "superchat".to_owned()],
        headers: vec![("Cookie".to_owned(), "a=b".to_owned())],
        deflate: Some(DeflatePolicy::default()),
        ..spec()
    };
    let text = written(&full);
    for line in [
        "Host: [::1]:9000",
        "Origin: https://a.test",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Cookie: a=b",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
         client_no_context_takeover; client_max_window_bits, \
         permessage-deflate; client_max_window_bits",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is not in {text}");
    }
    let headers = vec![("host".to_owned(), "other".to_owned())];
    let text = written(&RequestSpec { headers, ..spec() });
    assert!(text.contains("\r\nhost: other\r\n") && !text.contains("Host:"));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    use RequestError as E;
    let refused = |spec: &RequestSpec| Request::new(spec).expect_err("it cannot be sent");
    for target in ["", "chat", "/a b", "/a\r\nX: y", "/a#b", "/é"] {
        let target = target.to_owned();
        assert_eq!(refused(&RequestSpec { target: target.clone(), ..spec() }), E::Target(target));
    }
    for subprotocols in [vec!["a b"], vec![""], vec!["a", "a"]] {
        let subprotocols: Vec<String> = subprotocols.into_iter().map(str::to_owned).collect();
        let error = refused(&RequestSpec { subprotocols, ..spec() });
        assert!(matches!(error, E::Subprotocol(_)));
    }
    let header = |name: &str, value: &str| {
        let headers = vec![(name.to_owned(), value.to_owned())];
        refused(&RequestSpec { headers, ..spec() })
    };
    for (name, value) in [("", "a"), ("A b", "c"), ("A", "b\r\nC: d"), ("A", " b"), ("A", "é")] {
        assert_eq!(header(name, value), E::Header(format!("{name}: {value}")));
    }
    for name in
        ["Upgrade", "connection", "Sec-WebSocket-Key", "Content-Length", "Transfer-Encoding"]
    {
        assert_eq!(header(name, "a"), E::Reserved(name.to_owned()));
    }
    assert_eq!(header("A", &"b".repeat(70_000)), E::TooLarge);
    let origin = Some("a\r\nb".to_owned());
    assert!(matches!(refused(&RequestSpec { origin, ..spec() }), E::Header(_)));
    assert!(matches!(refused(&RequestSpec { host: String::new(), ..spec() }), E::Header(_)));
}

#[test]
fn each_rule_of_the_reply_is_checked() {
    use HandshakeFailure as F;
    let good = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ];
    let reply = |start: &str, lines: &[&str]| {
        let lines = good
            .iter()
            .flat_map(|line| if line.starts_with(start) { lines.to_vec() } else { vec![*line] });
        (lines.fold(String::new(), |text, line| text + line + "\r\n") + "\r\n").into_bytes()
    };
    let request = |spec: RequestSpec| Request::new(&spec).expect("a good request");
    let plain = request(spec());
    let nothing = Accepted { deflate: None, subprotocol: None };
    for head in [
        reply("-", &[]),
        reply("HTTP", &["HTTP/1.1 101"]),
        reply("Upgrade", &["upgrade: WebSocket"]),
        reply("Connection", &["Connection: keep-alive", "connection: UPGRADE"]),
        reply("Upgrade", &["Upgrade: websocket", "Server: x", "X-Other: y"]),
    ] {
        assert_eq!(plain.check(NONCE, &head), Ok(nothing), "{}", head.escape_ascii());
    }
    let accept = good[3];
    let table: &[(&str, &[&str], HandshakeFailure)] = &[
        ("HTTP", &["HTTP/1.1 200 OK"], F::Status(200)),
        ("HTTP", &["HTTP/1.1 404 Not Found", "Location: /x"], F::Status(404)),
        ("HTTP", &["HTTP/1.1 302 Found", "Location: ws://b/"], F::Redirect(302, "ws://b/".into())),
        ("HTTP", &["HTTP/1.1 304 Not Modified"], F::Status(304)),
        ("HTTP", &["HTTP/1.0 101 Switching Protocols"], F::Syntax),
        ("HTTP", &["SSH-2.0-OpenSSH"], F::Syntax),
        ("Upgrade", &[], F::Upgrade),
        ("Upgrade", &["Upgrade: h2c"], F::Upgrade),
        ("Upgrade", &["Upgrade: websocket", "Upgrade: websocket"], F::Upgrade),
        ("Connection", &[], F::Connection),
        ("Connection", &["Connection: close"], F::Connection),
        ("Sec", &[], F::Accept),
        ("Sec", &["Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="], F::Accept),
        ("Sec", &[accept, accept], F::Accept),
        ("Sec", &[accept, "Sec-WebSocket-Extensions: permessage-deflate"], F::ExtensionUnasked),
        ("Sec", &[accept, "Sec-WebSocket-Extensions: ;"], F::ExtensionWrong),
        ("Sec", &[accept, "Sec-WebSocket-Protocol: chat"], F::SubprotocolUnasked),
        ("Sec", &[accept, "Sec-WebSocket-Protocol:"], F::SubprotocolUnasked),
        ("Sec", &[accept, "X-Bare: a\nb: c"], F::Syntax),
    ];
    for (start, lines, failure) in table {
        let head = reply(start, lines);
        assert_eq!(plain.check(NONCE, &head), Err(failure.clone()), "{}", head.escape_ascii());
    }
    assert_eq!(plain.check(*b"another nonce 16", &reply("-", &[])), Err(F::Accept));

    let subprotocols = vec!["chat".to_owned(), "superchat".to_owned()];
    let asking = request(RequestSpec { subprotocols, ..spec() });
    let one = reply("Sec", &[accept, "Sec-WebSocket-Protocol: superchat"]);
    assert_eq!(asking.check(NONCE, &one).map(|accepted| accepted.subprotocol), Ok(Some(1)));
    let two = reply("Sec", &[accept, "Sec-WebSocket-Protocol: chat, superchat"]);
    assert_eq!(asking.check(NONCE, &two), Err(F::SubprotocolUnasked));
    let none = reply("-", &[]);
    assert_eq!(asking.check(NONCE, &none), Ok(nothing));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_server_accepts_our_client(
        nonce: [u8; 16],
        port: u16,
        target in "/[!-\"$-~]{0,30}",
        asked in prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4),
        spoken in prop::sample::subsequence(vec!["d", "b", "x"], 0..=3),
        theirs in prop::option::of((any::<bool>(), 9..=15u8, 9..=15u8)),
        ours in prop::option::of((any::<bool>(), 9..=15u8, 9..=15u8)),
    ) {
        let policy = |(takeover, server_bits, client_bits)| DeflatePolicy {
            takeover,
            server_bits,
            client_bits,
        };
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let server = Policy {
            subprotocols: names(&spoken),
            deflate: ours.map(policy),
            ..Policy::default()
        };
        let subprotocols = names(&asked);
        let deflate = theirs.map(policy);
        let spec = RequestSpec { port, target, subprotocols, deflate, ..spec() };
        let request = Request::new(&spec).expect("a good request");
        let (mut head, mut reply) = (Vec::new(), Vec::new());
        request.write(nonce, &mut head);
        let accepted = server.answer(&head, &mut reply);
        let accepted = accepted.expect("a good request");
        let understood = request.check(nonce, &reply).expect("a good reply");
        prop_assert_eq!(understood.deflate, accepted.deflate);
        prop_assert_eq!(accepted.deflate.is_some(), ours.is_some() && theirs.is_some());
        let name = |list: &[&str], index: Option<usize>| index.map(|index| list[index].to_owned());
        let chosen = name(&spoken, accepted.subprotocol);
        prop_assert_eq!(name(&asked, understood.subprotocol), chosen.clone());
        prop_assert_eq!(chosen.is_some(), spoken.iter().any(|name| asked.contains(name)));
    }
}
