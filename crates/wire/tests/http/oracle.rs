//! Requests as hyper reads them: whatever we accept, it must have understood the same way.

use crate::requests::{good, streams};
use crate::support::{Asked, Seen, requests};
use c1000k_wire::http::Method;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use proptest::prelude::*;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// The client's side of a connection: says its piece, then nothing more, and takes every answer.
struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.bytes.len().min(self.at + room.remaining());
        room.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A request, as far as the two readers can be compared: method, path and query, bytes of its body.
type Plain = (String, String, u64);

/// The requests that hyper finds complete.
fn theirs(stream: &[u8]) -> Vec<Plain> {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(|request: hyper::Request<Incoming>| async {
        // Of a method that we do not know no name is kept.
        let method = Method::named(request.method().as_str()).name().to_owned();
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        if let Ok(body) = request.into_body().collect().await {
            seen.borrow_mut().push((method, target, body.to_bytes().len() as u64));
        }
        Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
    });
    let script = Script { bytes: stream.to_vec(), at: 0 };
    let mut connection =
        pin!(http1::Builder::new().half_close(true).serve_connection(script, service));
    let mut context = Context::from_waker(Waker::noop());
    // Reading and writing never wait, so a connection is over after a few rounds.
    for _ in 0..1000 {
        if connection.as_mut().poll(&mut context).is_ready() {
            return seen.take();
        }
    }
    panic!("hyper waits for something: {}", stream.escape_ascii());
}

fn ours(stream: &[u8]) -> Vec<Plain> {
    let plain = |asked: Asked| {
        let mark = if asked.query.is_empty() { "" } else { "?" };
        let name = asked.method.name().to_owned();
        (name, format!("{}{mark}{}", asked.path, asked.query), asked.body_bytes)
    };
    let requests = requests(stream, &[]).into_iter();
    let asked = requests.filter_map(|seen| match seen {
        Seen::Request(asked) => Some(plain(asked)),
        Seen::Continue | Seen::Refused(_) => None,
    });
    asked.collect()
}

#[test]
fn the_oracle_understands_ordinary_requests() {
    let stream = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\n\
        Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\ny: z\r\n\r\n\
        POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.0\r\n\r\n";
    assert_eq!(ours(stream).len(), 4);
    assert_eq!(ours(stream), theirs(stream));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn good_requests_are_understood_alike(requests in prop::collection::vec(good(), 1..6)) {
        let stream = requests.concat();
        let ours = ours(stream.as_bytes());
        prop_assert_eq!(ours.len(), requests.len());
        prop_assert_eq!(ours, theirs(stream.as_bytes()));
    }

    #[test]
    fn whatever_is_accepted_is_understood_alike(stream in streams()) {
        // It refuses folds, which we take for blanks.
        prop_assume!(!stream.contains("\r\n ") && !stream.contains("\r\n\t"));
        let (ours, theirs) = (ours(stream.as_bytes()), theirs(stream.as_bytes()));
        // It accepts more than we do, and then goes on where we stop.
        prop_assert!(theirs.starts_with(&ours), "ours {:?}, theirs {:?}", ours, theirs);
    }
}
