//! HTTP/1.1 at either end: requests as the server reads them, responses as the client does, paths
//! on their way to a file.

use super::cuts;
use crate::http_support::{Reply, Seen, replies, replies_with, requests, requests_with};
use crate::{Verdict, oracle};
use std::mem::discriminant;
use std::path::{Component, Path};
use wire::http::{HTTP_CHUNK_EXTRA_BYTES_MAX, Method, RequestPool, ResponsePool, SafePath};

pub(super) const REQUEST_WORDS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /a?b HTTP/1.0\r\n",
    "POST http://h:80/x HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "CONNECT h:80 HTTP/1.2\r\n",
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    "Host: h\r\n",
    "Host: [::1]:80\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Connection: close\r\n",
    "Upgrade: websocket\r\n",
    "If-Range: x\r\n",
    "3;a=b\r\nabc\r\n",
    "0\r\na: b\r\n\r\n",
];

pub(super) const RESPONSE_WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 404 \r\n",
    "HTTP/1.2 304\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "3;a=b\r\nabc\r\n",
    "00000001\r\na\r\n",
    "0\r\na: b\r\n\r\n",
];

pub(super) const PATH_WORDS: &[&str] =
    &["/", "..", "/./", "%2e", "%2F", "%5c", "\\", "%00", "%7F", "%25", "?", "//", "é"];

/// Longer streams are not shown to the naive readers, which know no sizes of heads and of what
/// surrounds the chunks of a body.
const NAIVE_BYTES_MAX: usize = HTTP_CHUNK_EXTRA_BYTES_MAX as usize;

pub(super) fn server(input: &[u8]) -> Verdict {
    let [whole, cut @ ..] = cuts(input);
    let seen = requests(input, &whole);
    // One pool for the others: what it remembers of a connection may not show at the next.
    let mut pool = RequestPool::default();
    for sizes in &cut {
        assert_eq!(requests_with(&mut pool, input, sizes), seen, "cut into {sizes:?}");
    }
    if input.len() < NAIVE_BYTES_MAX {
        let (naive, broken) = oracle::http::requests(input);
        let refused = matches!(seen.last(), Some(Seen::Refused(_)));
        assert_eq!(seen[..seen.len() - usize::from(refused)], naive);
        assert_eq!(refused, broken.is_some(), "{seen:?}");
    }
    let kind = |seen: &Seen| match seen {
        Seen::Continue => Verdict::of(0),
        Seen::Request(asked) => Verdict::of((
            format!("{:?}{:?}", asked.method, asked.persistence),
            (asked.websocket, asked.conditional, asked.body_bytes > 0),
            (asked.query.is_empty(), asked.path == "/", asked.host.starts_with('[')),
        )),
        Seen::Refused(refusal) => Verdict::of((discriminant(refusal), refusal.status().0)),
    };
    Verdict::of(seen.iter().take(4).map(kind).collect::<Vec<_>>())
}

pub(super) fn client(input: &[u8]) -> Verdict {
    let kinds = [Method::Get, Method::Head].map(|method| {
        let [whole, cut @ ..] = cuts(input);
        let seen = replies(method, input, &whole);
        let mut pool = ResponsePool::default();
        for sizes in &cut {
            assert_eq!(replies_with(&mut pool, method, input, sizes), seen, "cut into {sizes:?}");
        }
        if input.len() < NAIVE_BYTES_MAX {
            let (naive, broken) = oracle::http::replies(method, input);
            let refused = matches!(seen.last(), Some(Reply::Error(_)));
            assert_eq!(seen[..seen.len() - usize::from(refused)], naive);
            assert_eq!(refused, broken.is_some(), "{seen:?}");
        }
        let kind = |seen: &Reply| match seen {
            Reply::Whole { status, length, keeps, body } => {
                Verdict::of((status / 100, length.is_some(), keeps, body.is_empty()))
            }
            Reply::Cut { status, body } => Verdict::of((status / 100, body.is_empty())),
            Reply::Error(error) => Verdict::of(discriminant(error)),
        };
        seen.iter().take(4).map(kind).collect::<Vec<_>>()
    });
    Verdict::of(kinds)
}

pub(super) fn paths(input: &[u8]) -> Verdict {
    let mut room = Vec::new();
    let safe = SafePath::decode(input, &mut room);
    let found = safe.map(|safe| (safe.as_bytes().to_vec(), safe.is_folder()));
    assert_eq!(found.clone().ok(), oracle::http::path(input));
    if let Ok((path, _)) = &found {
        // Also as the system reads it.
        let plain = |part| matches!(part, Component::Normal(_));
        let text = String::from_utf8_lossy(path);
        assert!(Path::new(&*text).components().all(plain), "{text:?}");
    }
    let kind = found.map(|(path, folder)| (path.is_empty(), folder, path.contains(&b'/')));
    Verdict::of(kind.map_err(|error| discriminant(&error)))
}
