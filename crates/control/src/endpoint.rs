//! The metrics endpoint: a small HTTP/1.1 server on a thread of its own, away from the reactors.
//! What a request says is read by `wire`, like any other.
//!
//! One request for each connection, all of it within two seconds. Up to `CONNECTIONS_MAX` are
//! served side by side, and where one more comes the oldest goes: whoever is silent, or does not
//! read, costs the others nothing. The thread waits in `poll` on all its sockets and on an eventfd,
//! so that it stops at once and never wakes for nothing.

use crate::deadline::Deadline;
use crate::spawn::{STACK_BYTES, spawn_named};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::Duration;
use wire::http::{
    ALLOWED, HeadLimits, Method, Request, RequestEvent, RequestPool, Requests, Status,
};

/// The largest request head that is read.
const HEAD_MAX: HeadLimits = HeadLimits { bytes: 8 * 1024, headers: 64 };
/// The largest body that is read before it is said that none was asked for.
const BODY_BYTES_MAX: u64 = 8 * 1024;
/// Bytes that are read in one go.
const READ_BYTES: usize = 8 * 1024;
/// What one connection may take, from its acceptance to its close.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(2);
/// How long of that the client may take to close after the reply.
const LINGER_TIME_MAX: Duration = Duration::from_millis(200);
/// Connections that are served at the same time.
const CONNECTIONS_MAX: usize = 64;
/// How long accepting rests when the process or the kernel has run out of something.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Scrapers that wait for their turn; more than a handful is a mistake.
const BACKLOG: i32 = 64;

/// What a path leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// The value of the `Content-Type` field.
    pub content_type: &'static str,
    /// The whole content.
    pub body: Vec<u8>,
}

impl Page {
    /// A page of plain text, such as the `ok` of `/healthz`.
    #[must_use]
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// A page of JSON.
    #[must_use]
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self { content_type: "application/json", body: body.into() }
    }
}

/// The page of a path, without query; `None` leads to a 404. Called on the endpoint's thread.
pub type Routes = Box<dyn Fn(&str) -> Option<Page> + Send>;

/// A running endpoint. Dropping it stops it.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Listens on `address` (port 0: any free one) and serves `routes`. Call it from a thread that
    /// is not pinned, since the new one inherits its CPUs.
    ///
    /// # Errors
    /// If the address cannot be listened on or the thread not be started; the message says which.
    pub fn start(address: SocketAddr, routes: Routes) -> io::Result<Self> {
        let listener = listen(address).map_err(|error| {
            let text = format!("cannot serve metrics on {address} ({error}): choose another one");
            io::Error::new(error.kind(), text)
        })?;
        let address = listener.local_addr()?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let thread =
            spawn_named("metrics", STACK_BYTES, move || serve(&listener, &stopped, &routes))?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the thread at once, also in the middle of a request, and frees the address.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The counter is at zero and this is its only writer: the write can neither block nor fail.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic has already been printed, and a drop has nobody to tell.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that starts again must not wait for the TIME_WAIT of its predecessor's scrapes.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The thread's loop, until the endpoint is stopped.
fn serve(listener: &TcpListener, stop: &OwnedFd, routes: &Routes) {
    // The oldest first.
    let mut exchanges: Vec<Exchange> = Vec::new();
    // Until when accepting rests.
    let mut rest: Option<Deadline> = None;
    loop {
        rest = rest.filter(|rest| rest.left().is_ok());
        let deadlines = exchanges.iter().map(|exchange| &exchange.deadline).chain(&rest);
        let timeout = deadlines.map(|deadline| deadline.left().unwrap_or_default()).min();
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let accepting = if rest.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(listener, accepting)];
        fds.extend(
            exchanges.iter().map(|exchange| PollFd::new(&exchange.stream, exchange.waits())),
        );
        // A signal, or too little memory: what is ready is found out below, by trying.
        let _ = poll(&mut fds, timeout.as_ref());
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            return;
        }
        let mut ready = ready[1..].iter();
        let somebody_came = ready.next().copied().unwrap_or(false);
        exchanges.retain_mut(|exchange| {
            let is_ready = ready.next().copied().unwrap_or(false);
            if is_ready { exchange.go_on(routes) } else { exchange.in_time() }
        });
        if !somebody_came {
            continue;
        }
        match listener.accept().and_then(|(stream, _)| Exchange::new(stream)) {
            Ok(exchange) => {
                if exchanges.len() == CONNECTIONS_MAX {
                    exchanges.remove(0);
                }
                exchanges.push(exchange);
            }
            Err(error) if passes(&error) => {}
            // Without descriptors or memory the listener stays readable: rest, do not spin.
            Err(_) => rest = Some(Deadline::after(REFUSED_PAUSE)),
        }
    }
}

/// Errors of `accept` that concern one connection only (`accept(2)`, error handling).
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::WouldBlock | Kind::ConnectionAborted | Kind::Interrupted)
}

/// What a request's head asks for.
#[derive(Debug, Eq, PartialEq)]
enum Asked {
    Page { path: String, method: Method },
    Refused(Status),
}

/// How far an exchange has come.
#[derive(Debug)]
enum Stage {
    /// A part of the request may be there.
    Request(Requests, Box<RequestPool>),
    /// The reply, and how much of it is sent.
    Reply(Vec<u8>, usize),
    /// The reply is sent; what the client still says is dropped until it closes. A close with
    /// unread bytes resets the connection, and it would lose what it has not read yet (RFC 9112,
    /// section 9.6).
    Linger,
}

/// One connection: a request, its reply, the close. Dropping it closes it.
struct Exchange {
    stream: TcpStream,
    deadline: Deadline,
    stage: Stage,
}

impl Exchange {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let deadline = Deadline::after(CONNECTION_TIME_MAX);
        let pool = Box::new(RequestPool::new(HEAD_MAX));
        Ok(Self { stream, deadline, stage: Stage::Request(Requests::default(), pool) })
    }

    /// What it waits for.
    fn waits(&self) -> PollFlags {
        match self.stage {
            Stage::Reply(..) => PollFlags::OUT,
            Stage::Request(..) | Stage::Linger => PollFlags::IN,
        }
    }

    /// Whether it goes on, though nothing has happened. Who has not asked in time is told so.
    fn in_time(&mut self) -> bool {
        if self.deadline.left().is_ok() {
            return true;
        }
        if let Stage::Request(..) = self.stage {
            let refused = refusal(Status::REQUEST_TIMEOUT, Method::Get);
            // Nobody waits for a peer that does not even take this.
            let _ = self.stream.write(&refused);
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        false
    }

    /// Does what can be done without waiting. Whether it goes on after that.
    fn go_on(&mut self, routes: &Routes) -> bool {
        loop {
            let done = match &mut self.stage {
                Stage::Request(requests, pool) => read_request(&mut self.stream, requests, pool)
                    .map(|asked| {
                        self.stage = Stage::Reply(answer(&asked, routes), 0);
                    }),
                Stage::Reply(bytes, sent) => match self.stream.write(&bytes[*sent..]) {
                    Ok(count) => {
                        *sent += count;
                        if *sent == bytes.len() {
                            self.deadline = self.deadline.no_later_than(LINGER_TIME_MAX);
                            self.stage = Stage::Linger;
                            self.stream.shutdown(std::net::Shutdown::Write)
                        } else {
                            Ok(())
                        }
                    }
                    Err(error) => Err(error),
                },
                // One read a turn: who goes on talking must not keep the others waiting.
                Stage::Linger => match self.stream.read(&mut [0; 4096]) {
                    Ok(0) => return false,
                    Ok(_) => return self.in_time(),
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.in_time(),
                // It is gone. Nobody needs to hear of it.
                Err(_) => return false,
            }
        }
    }
}

/// Reads on until a request is complete, or says why it never will be.
fn read_request(
    stream: &mut TcpStream,
    requests: &mut Requests,
    pool: &mut RequestPool,
) -> io::Result<Asked> {
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = stream.read(&mut bytes)?;
        match parse(requests, pool, &bytes[..count]) {
            Some(asked) => return Ok(asked),
            // The end within a request, or before any.
            None if count == 0 => return Ok(Asked::Refused(Status::BAD_REQUEST)),
            None => {}
        }
    }
}

/// What is asked for with the next bytes of a request; `None` while it is incomplete.
fn parse(requests: &mut Requests, pool: &mut RequestPool, bytes: &[u8]) -> Option<Asked> {
    let mut asked = None;
    let read = requests.read(BODY_BYTES_MAX, pool, bytes, |event| match event {
        RequestEvent::Request(request) => {
            asked = Some(Asked::of(&request));
            ControlFlow::Break(())
        }
        RequestEvent::Continue => ControlFlow::Continue(()),
    });
    read.err().map(|refusal| Asked::Refused(refusal.status())).or(asked)
}

impl Asked {
    fn of(request: &Request<'_>) -> Self {
        match request.method() {
            // The query goes: no page depends on one.
            method @ (Method::Get | Method::Head) => {
                Self::Page { path: String::from_utf8_lossy(request.path()).into_owned(), method }
            }
            _ => Self::Refused(Status::METHOD_NOT_ALLOWED),
        }
    }
}

fn answer(asked: &Asked, routes: &Routes) -> Vec<u8> {
    match asked {
        Asked::Refused(status) => refusal(*status, Method::Get),
        Asked::Page { path, method } => match routes(path) {
            Some(page) => reply(Status::OK, &page, *method),
            None => refusal(Status::NOT_FOUND, *method),
        },
    }
}

/// A reply that says no more than its status.
fn refusal(status: Status, method: Method) -> Vec<u8> {
    reply(status, &Page::text(format!("{} {}\n", status.0, status.reason())), method)
}

fn reply(status: Status, page: &Page, method: Method) -> Vec<u8> {
    let allow = if status == Status::METHOD_NOT_ALLOWED {
        format!("Allow: {ALLOWED}\r\n")
    } else {
        String::new()
    };
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        status.0,
        status.reason(),
        page.content_type,
        page.body.len(),
    )
    .into_bytes();
    if method != Method::Head {
        bytes.extend_from_slice(&page.body);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &[u8]) -> Option<Asked> {
        super::parse(&mut Requests::default(), &mut RequestPool::new(HEAD_MAX), head)
    }

    fn page(path: &str, method: Method) -> Option<Asked> {
        Some(Asked::Page { path: path.to_owned(), method })
    }

    #[test]
    fn a_request_asks_for_a_path_once_it_is_complete() {
        let get = |path| page(path, Method::Get);
        assert_eq!(parse(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"), get("/metrics"));
        let absolute = parse(b"HEAD http://a:1/b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(absolute, page("/b", Method::Head));
        assert_eq!(parse(b"GET http://a HTTP/1.0\r\n\r\n"), get("/"));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_status() {
        let refused = |head: &[u8]| match parse(head) {
            Some(Asked::Refused(status)) => status.0,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(refused(b"\x16\x03\x01\x02\x00"), 400);
        assert_eq!(refused(b"GET / HTTP/9\r\n\r\n"), 400);
        assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEAD_MAX.headers + 1));
        assert_eq!(refused(many.as_bytes()), 431);
    }
}
