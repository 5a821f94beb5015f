//! What the HTTP tests and the fuzz targets share: events that can be compared, and streams fed in
//! chunks.

use c1000k_wire::http::{
    Method, Persistence, Refusal, Request, RequestEvent, RequestPool, Requests, Response,
    ResponseError, ResponseEvent, ResponsePool, Responses,
};
use std::ops::ControlFlow;

/// Bodies of requests may be this long here.
pub(crate) const BODY_MAX: u64 = 100;

/// A request without its head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) host: String,
    pub(crate) persistence: Persistence,
    pub(crate) websocket: bool,
    pub(crate) conditional: bool,
    pub(crate) body_bytes: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    Continue,
    Request(Asked),
    Refused(Refusal),
}

impl From<Request<'_>> for Asked {
    fn from(request: Request<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
        assert!(request.head().ends_with(b"\r\n\r\n"));
        Self {
            method: request.method(),
            path: text(request.path()),
            query: text(request.query()),
            host: text(request.host()),
            persistence: request.persistence(),
            websocket: request.wants_websocket(),
            conditional: request.is_conditional(),
            body_bytes: request.body_bytes(),
        }
    }
}

/// Cuts a stream into chunks of the given sizes; the rest is the last chunk.
pub(crate) fn chunks<'a>(stream: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    sizes.iter().copied().chain([usize::MAX]).map(move |size| {
        let (now, then) = rest.split_at(size.min(rest.len()));
        rest = then;
        now
    })
}

/// All that a server makes of a stream.
pub(crate) fn requests(stream: &[u8], sizes: &[usize]) -> Vec<Seen> {
    requests_with(&mut RequestPool::default(), stream, sizes)
}

/// The same, with a pool that others have used.
pub(crate) fn requests_with(pool: &mut RequestPool, stream: &[u8], sizes: &[usize]) -> Vec<Seen> {
    let (mut state, mut seen) = (Requests::default(), Vec::new());
    for chunk in chunks(stream, sizes) {
        let before = seen.len();
        let was_over = state.is_over();
        let verdict = state.read(BODY_MAX, pool, chunk, |event| {
            seen.push(match event {
                RequestEvent::Continue => Seen::Continue,
                RequestEvent::Request(request) => Seen::Request(request.into()),
            });
            ControlFlow::Continue(())
        });
        assert!(!was_over || (verdict == Ok(chunk.len()) && seen.len() == before), "silence");
        match verdict {
            Ok(taken) => assert_eq!(taken, chunk.len()),
            Err(refusal) => {
                assert!(state.is_over());
                seen.push(Seen::Refused(refusal));
            }
        }
        assert!(pool.in_use() <= 1);
        assert!(!(state.is_idle() || state.is_over()) || pool.in_use() == 0);
    }
    state.forget(pool);
    assert_eq!(pool.in_use(), 0);
    seen
}

/// A response with the chunks of its body put together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reply {
    Whole { status: u16, length: Option<u64>, keeps: bool, body: Vec<u8> },
    Cut { status: u16, body: Vec<u8> },
    Error(ResponseError),
}

/// All that a client makes of a stream, at whose end the connection ends.
pub(crate) fn replies(method: Method, stream: &[u8], sizes: &[usize]) -> Vec<Reply> {
    let mut pool = ResponsePool::default();
    replies_with(&mut pool, method, stream, sizes)
}

/// The same, with a pool that others have used.
pub(crate) fn replies_with(
    pool: &mut ResponsePool,
    method: Method,
    stream: &[u8],
    sizes: &[usize],
) -> Vec<Reply> {
    let (mut state, mut seen, mut open) = (Responses::default(), Vec::new(), None);
    let mut log = |event: ResponseEvent<'_>| match event {
        ResponseEvent::Start { status, length } => {
            assert!(open.is_none(), "a response within a response");
            open = Some((status, length, Vec::new()));
        }
        ResponseEvent::Chunk(chunk) => {
            assert!(!chunk.is_empty());
            open.as_mut().expect("a response is open").2.extend_from_slice(chunk);
        }
        ResponseEvent::End(Response { status, keeps, body_bytes }) => {
            let (first, length, body) = open.take().expect("a response is open");
            assert_eq!((first, body.len() as u64), (status, body_bytes));
            seen.push(Reply::Whole { status, length, keeps, body });
        }
    };
    let fed = chunks(stream, sizes).try_for_each(|chunk| state.read(method, pool, chunk, &mut log));
    let verdict = fed.and_then(|()| state.end(pool, &mut log));
    state.forget(pool);
    assert_eq!(pool.in_use(), 0);
    if let Some((status, _, body)) = open {
        seen.push(Reply::Cut { status, body });
    }
    seen.extend(verdict.err().map(Reply::Error));
    seen
}
