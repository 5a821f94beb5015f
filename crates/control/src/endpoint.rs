//! The metrics endpoint: a small HTTP/1.1 server on a thread of its own, away from the reactors.
//!
//! One connection at a time, one request each, all of it within two seconds: a scraper comes every
//! few seconds, and a slow or silent client costs the others two seconds at most. The thread waits in
//! `poll` on its socket and on an eventfd, so that it stops at once and never wakes for nothing.

use crate::deadline::Deadline;
use crate::spawn::{STACK_BYTES, spawn_named};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest request head that is read.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// What one connection may take, from its acceptance to its close.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(2);
/// How long of that the client may take to close after the reply.
const LINGER_TIME_MAX: Duration = Duration::from_millis(200);
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
    /// Listens on `address` (port 0: any free one) and serves `routes`. Call it from a thread that is
    /// not pinned, since the new one inherits its CPUs.
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

/// Why a wait or an exchange ended early.
#[derive(Debug)]
enum Ended {
    /// The endpoint is to stop.
    Stopped,
    /// The client is gone, or its time is over. Nobody needs to hear of it.
    Lost(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// The thread's loop, until the endpoint is stopped.
fn serve(listener: &TcpListener, stop: &OwnedFd, routes: &Routes) {
    while wait(stop, Some((listener.as_fd(), PollFlags::IN)), None).is_ok() {
        let ended = match listener.accept() {
            Ok((stream, _)) => Exchange::new(stream, stop).and_then(|mut it| it.run(routes)),
            Err(error) if passes(&error) => continue,
            // Without descriptors or memory the listener stays readable: rest, do not spin.
            Err(_) => wait(stop, None, Some(&Deadline::after(REFUSED_PAUSE))),
        };
        if matches!(ended, Err(Ended::Stopped)) {
            return;
        }
    }
}

/// Errors of `accept` that concern one connection only (`accept(2)`, error handling).
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::WouldBlock | Kind::ConnectionAborted | Kind::Interrupted)
}

/// Waits for a socket to become ready, for the deadline, or for the stop.
fn wait(
    stop: &OwnedFd,
    socket: Option<(BorrowedFd<'_>, PollFlags)>,
    deadline: Option<&Deadline>,
) -> Result<(), Ended> {
    loop {
        let timeout = deadline.map(Deadline::left).transpose()?.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let stop = PollFd::new(stop, PollFlags::IN);
        let polled = match socket {
            Some((socket, flags)) => {
                let mut fds = [stop, PollFd::from_borrowed_fd(socket, flags)];
                poll(&mut fds, timeout.as_ref()).map(|_| fds.map(|fd| !fd.revents().is_empty()))
            }
            None => {
                let mut fds = [stop];
                poll(&mut fds, timeout.as_ref()).map(|_| [!fds[0].revents().is_empty(), false])
            }
        };
        match polled {
            Ok([true, _]) => return Err(Ended::Stopped),
            Ok([_, true]) => return Ok(()),
            // A signal, or the time is over: then there is none left.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Ended::Lost(error.into())),
        }
    }
}

/// What a request's head asks for.
#[derive(Debug, Eq, PartialEq)]
enum Asked {
    Page { path: String, with_body: bool },
    Refused(&'static str),
}

/// One connection: a request, its reply, the close.
struct Exchange<'a> {
    stream: TcpStream,
    stop: &'a OwnedFd,
    deadline: Deadline,
}

impl<'a> Exchange<'a> {
    fn new(stream: TcpStream, stop: &'a OwnedFd) -> Result<Self, Ended> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, stop, deadline: Deadline::after(CONNECTION_TIME_MAX) })
    }

    fn run(&mut self, routes: &Routes) -> Result<(), Ended> {
        let reply = match self.read_head()? {
            Asked::Refused(status) => reply(status, &refusal(status), true),
            Asked::Page { path, with_body } => match routes(&path) {
                Some(page) => reply("200 OK", &page, with_body),
                None => reply("404 Not Found", &refusal("404 Not Found"), with_body),
            },
        };
        self.write(&reply)?;
        self.linger()
    }

    fn read_head(&mut self) -> Result<Asked, Ended> {
        let mut head = [0; HEAD_BYTES_MAX];
        let mut length = 0;
        loop {
            let count = match self.read(&mut head[length..]) {
                Err(Ended::Lost(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    return Ok(Asked::Refused("408 Request Timeout"));
                }
                count => count?,
            };
            length += count;
            match parse(&head[..length]) {
                Some(asked) => return Ok(asked),
                // The end within a head, or before any.
                None if count == 0 => return Ok(Asked::Refused("400 Bad Request")),
                None if length == HEAD_BYTES_MAX => {
                    return Ok(Asked::Refused("431 Request Header Fields Too Large"));
                }
                None => {}
            }
        }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Ended> {
        loop {
            match self.stream.read(into) {
                Ok(count) => return Ok(count),
                Err(error) => self.wait_after(error, PollFlags::IN)?,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => self.wait_after(error, PollFlags::OUT)?,
            }
        }
        Ok(())
    }

    fn wait_after(&self, error: io::Error, flags: PollFlags) -> Result<(), Ended> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => {
                wait(self.stop, Some((self.stream.as_fd(), flags)), Some(&self.deadline))
            }
            _ => Err(Ended::Lost(error)),
        }
    }

    /// Closes so that the reply arrives: a close with unread bytes resets the connection, and the
    /// client would lose what it has not read yet (RFC 9112, section 9.6).
    fn linger(&mut self) -> Result<(), Ended> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        self.deadline = self.deadline.no_later_than(LINGER_TIME_MAX);
        let mut ignored = [0; 4096];
        while self.read(&mut ignored)? > 0 {
            self.deadline.left()?;
        }
        Ok(())
    }
}

/// What the head asks for; `None` while it is incomplete.
fn parse(head: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => Some(match request.method {
            Some(method @ ("GET" | "HEAD")) => Asked::Page {
                path: path_of(request.path.unwrap_or("/")).to_owned(),
                with_body: method == "GET",
            },
            _ => Asked::Refused("405 Method Not Allowed"),
        }),
        Err(httparse::Error::TooManyHeaders) => {
            Some(Asked::Refused("431 Request Header Fields Too Large"))
        }
        Err(_) => Some(Asked::Refused("400 Bad Request")),
    }
}

/// The path of a request target in origin form or, as proxies send it, in absolute form (RFC 9112,
/// section 3.2). The query goes: no page depends on one.
fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or(target);
    match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    }
}

fn refusal(status: &str) -> Page {
    Page::text(format!("{status}\n"))
}

fn reply(status: &str, page: &Page, with_body: bool) -> Vec<u8> {
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        page.content_type,
        page.body.len(),
    )
    .into_bytes();
    if with_body {
        bytes.extend_from_slice(&page.body);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(path: &str, with_body: bool) -> Option<Asked> {
        Some(Asked::Page { path: path.to_owned(), with_body })
    }

    #[test]
    fn a_head_asks_for_a_path_once_it_is_complete() {
        assert_eq!(parse(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"), page("/metrics", true));
        assert_eq!(parse(b"HEAD http://a:1/b HTTP/1.1\r\n\r\n"), page("/b", false));
        assert_eq!(parse(b"GET http://a HTTP/1.0\r\n\r\n"), page("/", true));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_status() {
        let refused = |head: &[u8]| match parse(head) {
            Some(Asked::Refused(status)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"POST / HTTP/1.1\r\n\r\n"), "405 Method Not Allowed");
        assert_eq!(refused(b"\x16\x03\x01\x02\x00"), "400 Bad Request");
        assert_eq!(refused(b"GET / HTTP/9\r\n\r\n"), "400 Bad Request");
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(refused(many.as_bytes()), "431 Request Header Fields Too Large");
    }

    proptest! {
        #[test]
        fn any_cut_of_a_head_leads_to_the_same(cut in 0..46_usize) {
            let head = b"GET /snapshot.json HTTP/1.1\r\nHost: a:80\r\n\r\nrest";
            let end = head.len() - 4;
            prop_assert_eq!(parse(&head[..cut]).is_some(), cut >= end);
            prop_assert_eq!(parse(head), page("/snapshot.json", true));
        }
    }
}
