//! The opening handshake: requests, replies, and the negotiation of compression.

use super::cuts;
use crate::support::chunks;
use crate::{Verdict, oracle};
use std::fmt::Debug;
use std::mem::discriminant;
use wire::http::HTTP_HEAD_BYTES_MAX;
use wire::ws::{
    Agreed, DeflatePolicy, Head, HeadPool, Policy, Request, RequestSpec, Window, accept_value,
};

pub(super) const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "Host: a\r\n",
    "Connection: Upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    "Sec-WebSocket-Protocol: chat\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    "Origin: https://example.test\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 1\r\n",
];

pub(super) const EXTENSION_WORDS: &[&str] = &[
    "permessage-deflate",
    "; server_no_context_takeover",
    "; client_no_context_takeover",
    "; server_max_window_bits=",
    "; client_max_window_bits",
    "=\"1\\0\"",
    "15",
    "8",
    ", ",
    "\n",
];

/// Feeds a head in every way; what `then` made of it, and how long it was.
fn head<R: Debug + PartialEq>(
    bytes: &[u8],
    mut then: impl FnMut(&[u8]) -> R,
) -> Option<(R, usize)> {
    let runs = cuts(bytes).map(|sizes| {
        let (mut head, mut pool, mut before) = (Head::default(), HeadPool::default(), 0);
        let verdict = chunks(bytes, &sizes).find_map(|chunk| {
            let verdict = head.read(&mut pool, chunk, &mut then);
            let found = verdict.map(|done| done.map(|(result, used)| (result, before + used)));
            before += chunk.len();
            found.transpose()
        });
        head.forget(&mut pool);
        assert_eq!(pool.in_use(), 0);
        verdict
    });
    let [whole, cut @ ..] = runs;
    for other in cut {
        assert_eq!(other, whole, "it depends on where reads fall");
    }
    let done = whole?.ok()?;
    assert!(done.1 <= HTTP_HEAD_BYTES_MAX);
    Some(done)
}

pub(super) fn requests(input: &[u8]) -> Verdict {
    let policy = Policy {
        origins: vec!["https://example.test".to_owned()],
        subprotocols: vec!["chat".to_owned(), "superchat".to_owned()],
        deflate: Some(DeflatePolicy { takeover: true, ..DeflatePolicy::default() }),
    };
    let done = head(input, |head| {
        let mut reply = Vec::new();
        let accepted = policy.answer(head, &mut reply);
        let status = accepted.map_or_else(|error| error.status(), |_| 101);
        assert!(reply.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        // A reply is a head, and the body that it announces.
        let text = String::from_utf8(reply.clone()).expect("replies are text");
        let (head, body) = text.split_once("\r\n\r\n").expect("replies have a head");
        let announced = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(announced.map_or(Ok(0), str::parse), Ok(body.len()));
        (accepted, reply)
    });
    let kind = done.map(|((accepted, _), _)| {
        accepted.map(|done| done.deflate.is_some()).map_err(|error| discriminant(&error))
    });
    Verdict::of(kind)
}

pub(super) fn replies(input: &[u8]) -> Verdict {
    const NONCE: [u8; 16] = *b"the sample nonce";
    let spec = RequestSpec {
        host: "127.0.0.1".to_owned(),
        port: 9000,
        default_port: 80,
        target: "/".to_owned(),
        subprotocols: vec!["chat".to_owned()],
        deflate: Some(DeflatePolicy { takeover: true, ..DeflatePolicy::default() }),
        ..RequestSpec::default()
    };
    let request = Request::new(&spec).expect("a good request");
    let done = head(input, |head| request.check(NONCE, head));
    if let Some((Ok(_), length)) = &done {
        let text = String::from_utf8_lossy(&input[..*length]);
        let accept = accept_value(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert!(text.starts_with("HTTP/1.1 101"), "{text}");
        assert!(text.contains(&*String::from_utf8_lossy(&accept)), "{text}");
    }
    let kind = done.map(|(checked, _)| {
        checked.map(|done| (done.deflate, done.subprotocol)).map_err(|error| discriminant(&error))
    });
    Verdict::of(format!("{kind:?}"))
}

/// A byte that says what the server is ready for, and then what clients offer, line by line.
pub(super) fn extensions(input: &[u8]) -> Verdict {
    let Some((&first, lines)) = input.split_first() else { return Verdict::of(()) };
    let policy = DeflatePolicy {
        takeover: first & 1 == 1,
        server_bits: 9 + (first >> 1) % 7,
        client_bits: 15 - (first >> 4) % 7,
    };
    let is_value = |byte: &u8| byte.is_ascii_graphic() || b" \t\n".contains(byte);
    let text: String = lines.iter().filter(|b| is_value(b)).map(|b| char::from(*b)).collect();
    let lines: Vec<&str> = text.lines().take(8).collect();
    let mut request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        .to_owned();
    for line in &lines {
        request.push_str(&format!("Sec-WebSocket-Extensions: {line}\r\n"));
    }
    request.push_str("\r\n");
    let server = Policy { deflate: Some(policy), ..Policy::default() };
    let mut reply = Vec::new();
    let accepted = server.answer(request.as_bytes(), &mut reply);
    let Some(offers) = oracle::extensions(&lines) else {
        let status = accepted.err().map(|error| error.status());
        assert_eq!(status, Some(400), "a broken list was taken: {lines:?}");
        return Verdict::of("broken");
    };
    let expected = offers.iter().find_map(|offer| agreement(offer, &policy));
    let agreed = accepted.map(|done| done.deflate);
    assert_eq!(agreed, Ok(expected), "{lines:?}");
    let reply = String::from_utf8(reply).expect("replies are text");
    let answer = reply.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    assert_eq!(answer.is_some(), expected.is_some(), "{reply}");
    if let Some((answer, agreed)) = answer.zip(expected) {
        says(answer, agreed);
    }
    Verdict::of((format!("{expected:?}"), offers.len().min(4)))
}

/// What is agreed upon if this offer is chosen (RFC 7692 7.1), or `None` if it has to be declined.
fn agreement((name, parameters): &oracle::Extension, policy: &DeflatePolicy) -> Option<Agreed> {
    let mut all = parameters.iter().map(|(name, _)| name).collect::<Vec<_>>();
    all.sort();
    if name != "permessage-deflate" || all.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let mut agreed = Agreed {
        server: Window { bits: policy.server_bits, takeover: policy.takeover },
        client: Window { bits: 15, takeover: policy.takeover },
    };
    let bits = |value: &str| (8..=15u8).find(|bits| bits.to_string() == value);
    for (name, value) in parameters {
        match (name.as_str(), value) {
            ("server_no_context_takeover", None) => agreed.server.takeover = false,
            ("client_no_context_takeover", None) => agreed.client.takeover = false,
            ("server_max_window_bits", Some(value)) => {
                // Windows of 256 bytes are beyond zlib.
                let bits = bits(value).filter(|bits| *bits > 8)?;
                agreed.server.bits = agreed.server.bits.min(bits);
            }
            ("client_max_window_bits", None) => agreed.client.bits = policy.client_bits,
            ("client_max_window_bits", Some(value)) => {
                agreed.client.bits = policy.client_bits.min(bits(value)?);
            }
            _ => return None,
        }
    }
    Some(agreed)
}

/// The reply says what was agreed upon, and nothing that a client could not know.
fn says(answer: &str, agreed: Agreed) {
    let list = oracle::extensions(&[answer]).expect("our own answer follows the grammar");
    let [(name, parameters)] = &list[..] else { panic!("not one extension: {answer}") };
    assert_eq!(name, "permessage-deflate");
    let has = |name: &str| parameters.contains(&(name.to_owned(), None));
    let bits = |name: &str| {
        let found = parameters.iter().find(|(found, _)| found == name);
        found.map_or(15, |(_, value)| value.as_ref().and_then(|v| v.parse().ok()).unwrap_or(0))
    };
    let said = Agreed {
        server: Window {
            bits: bits("server_max_window_bits"),
            takeover: !has("server_no_context_takeover"),
        },
        client: Window {
            bits: bits("client_max_window_bits"),
            takeover: !has("client_no_context_takeover"),
        },
    };
    assert_eq!(said, agreed, "{answer}");
}
