//! The look at the other side: fetches the snapshot that a server's metrics endpoint serves.

use crate::deadline::Deadline;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest head of a reply that is read.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The longest body that is read: a snapshot of a thousand reactors stays below 1 MiB.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const HEADERS_MAX: usize = 64;

/// Why there is no snapshot of the peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody answers there, or the connection broke.
    #[error("cannot get http://{0}/snapshot.json: {1}; is the server running with --metrics {0}?")]
    Io(SocketAddr, io::Error),
    /// The exchange took longer than it may.
    #[error(
        "http://{0}/snapshot.json did not come within {1:?}: the server is overloaded or no HTTP server"
    )]
    TimedOut(SocketAddr, Duration),
    /// What came back is not an HTTP/1 reply, or more of one than is read.
    #[error("http://{0}/snapshot.json is no HTTP/1 reply that can be read: {1}")]
    NotHttp(SocketAddr, &'static str),
    /// The server has no snapshot there.
    #[error(
        "http://{0}/snapshot.json answers with status {1}: is {0} the address given to --metrics?"
    )]
    Status(SocketAddr, u16),
    /// The body is longer than 4 MiB.
    #[error("http://{0}/snapshot.json is longer than {BODY_BYTES_MAX} bytes: no snapshot is")]
    TooLarge(SocketAddr),
    /// The connection closed before the announced length.
    #[error("http://{0}/snapshot.json was cut off after {1} of {2} bytes")]
    CutOff(SocketAddr, usize, usize),
    /// The body is not JSON.
    #[error("http://{0}/snapshot.json is not JSON: {1}")]
    NotJson(SocketAddr, serde_json::Error),
}

/// Gets `/snapshot.json` from the endpoint at `address`, all within `timeout`.
///
/// # Errors
/// `PeerError`, whose text is for the user.
pub fn fetch_snapshot(
    address: SocketAddr,
    timeout: Duration,
) -> Result<serde_json::Value, PeerError> {
    let body = fetch(address, &Deadline::after(timeout)).map_err(|error| match error {
        // An expired read timeout shows as EAGAIN (socket(7), SO_RCVTIMEO).
        PeerError::Io(_, error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            PeerError::TimedOut(address, timeout)
        }
        error => error,
    })?;
    serde_json::from_slice(&body).map_err(|error| PeerError::NotJson(address, error))
}

fn fetch(address: SocketAddr, deadline: &Deadline) -> Result<Vec<u8>, PeerError> {
    let io_error = |error| PeerError::Io(address, error);
    let mut stream = deadline
        .left()
        .and_then(|left| TcpStream::connect_timeout(&address, left))
        .map_err(io_error)?;
    // It fits the send buffer of a fresh socket: the write cannot block.
    let request =
        format!("GET /snapshot.json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(io_error)?;

    let mut received = Vec::new();
    let head = loop {
        if let Some(head) = Head::parse(&received, address)? {
            break head;
        }
        if received.len() >= HEAD_BYTES_MAX {
            return Err(PeerError::NotHttp(address, "its head is longer than 8 KiB"));
        }
        if read_some(&mut stream, &mut received, deadline).map_err(io_error)? == 0 {
            return Err(PeerError::NotHttp(address, "it ends within the head"));
        }
    };
    let mut body = received.split_off(head.bytes);
    let wanted = head.content_length.unwrap_or(usize::MAX);
    while body.len() < wanted {
        if body.len() > BODY_BYTES_MAX || head.content_length > Some(BODY_BYTES_MAX) {
            return Err(PeerError::TooLarge(address));
        }
        if read_some(&mut stream, &mut body, deadline).map_err(io_error)? == 0 {
            match head.content_length {
                // Without a length the body ends with the connection (RFC 9112, section 6.3).
                None => return Ok(body),
                Some(length) => return Err(PeerError::CutOff(address, body.len(), length)),
            }
        }
    }
    body.truncate(wanted);
    Ok(body)
}

/// Appends what one read brings; zero at the end of the stream.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>, deadline: &Deadline) -> io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => {
                let count = result?;
                into.extend_from_slice(&chunk[..count]);
                return Ok(count);
            }
        }
    }
}

/// What matters of a reply's head.
struct Head {
    bytes: usize,
    content_length: Option<usize>,
}

impl Head {
    /// The head at the start of `received`, `None` while it is incomplete.
    fn parse(received: &[u8], address: SocketAddr) -> Result<Option<Self>, PeerError> {
        let not_http = |why| PeerError::NotHttp(address, why);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut reply = httparse::Response::new(&mut headers);
        let bytes = match reply.parse(received) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(not_http("its head is malformed")),
        };
        match reply.code {
            Some(200) => {}
            code => return Err(PeerError::Status(address, code.unwrap_or(0))),
        }
        let mut content_length = None;
        for header in &*reply.headers {
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(not_http("it has a transfer encoding, which the endpoint never uses"));
            }
            if header.name.eq_ignore_ascii_case("content-length") {
                let text = str::from_utf8(header.value).unwrap_or("").trim();
                let length = text.parse().map_err(|_| not_http("its length is not a number"))?;
                content_length = Some(length);
            }
        }
        Ok(Some(Self { bytes, content_length }))
    }
}
