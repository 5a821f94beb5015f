//! The look at the other side: fetches the snapshot that a server's metrics endpoint serves. What
//! comes back is read by `wire`, like any other response.

use crate::deadline::Deadline;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use wire::http::{HeadLimits, Method, ResponseError, ResponseEvent, ResponsePool, Responses};

/// The largest head of a reply that is read.
const HEAD_MAX: HeadLimits = HeadLimits { bytes: 8 * 1024, headers: 64 };
/// The longest body that is read: a snapshot of a thousand reactors stays below 1 MiB.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why there is no snapshot of the peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody answers there, or the connection broke.
    #[error("cannot get http://{0}/snapshot.json: {1}; is the server running with --metrics {0}?")]
    Io(SocketAddr, io::Error),
    /// The exchange took longer than it may.
    #[error(
        "http://{0}/snapshot.json did not come within {1:?}: the server is overloaded or no HTTP \
         server"
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

    let (mut responses, mut pool) = (Responses::default(), ResponsePool::new(HEAD_MAX));
    let (mut reply, mut chunk) = (Reply::default(), [0; 16 * 1024]);
    loop {
        let count = read_some(&mut stream, &mut chunk, deadline).map_err(io_error)?;
        let log = |event: ResponseEvent<'_>| reply.log(event);
        let read = match count {
            0 => responses.end(&mut pool, log),
            _ => responses.read(Method::Get, &mut pool, &chunk[..count], log),
        };
        if let Some(status) = reply.status.filter(|status| *status != 200) {
            return Err(PeerError::Status(address, status));
        }
        let most = BODY_BYTES_MAX as u64;
        if reply.body.len() > BODY_BYTES_MAX || reply.length.is_some_and(|length| length > most) {
            return Err(PeerError::TooLarge(address));
        }
        match (read, reply.length) {
            (Ok(()), _) if reply.complete => return Ok(reply.body),
            (Ok(()), _) if count > 0 => {}
            (Err(ResponseError::CutBody), Some(length)) => {
                return Err(PeerError::CutOff(address, reply.body.len(), length as usize));
            }
            (read, _) => {
                let error = read.err().unwrap_or(ResponseError::CutHead);
                return Err(PeerError::NotHttp(address, why(error)));
            }
        }
    }
}

/// As much of the reply as is there.
#[derive(Debug, Default)]
struct Reply {
    status: Option<u16>,
    length: Option<u64>,
    body: Vec<u8>,
    complete: bool,
}

impl Reply {
    /// What comes behind the first reply means nothing.
    fn log(&mut self, event: ResponseEvent<'_>) {
        if self.complete {
            return;
        }
        match event {
            ResponseEvent::Start { status, length } => {
                (self.status, self.length) = (Some(status), length);
            }
            // One byte more than is read is enough to know.
            ResponseEvent::Chunk(chunk) => {
                let room = (BODY_BYTES_MAX + 1).saturating_sub(self.body.len());
                self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            ResponseEvent::End(_) => self.complete = true,
        }
    }
}

/// What is wrong with a reply, in a few words.
fn why(error: ResponseError) -> &'static str {
    match error {
        ResponseError::CutHead => "it ends within the head",
        ResponseError::CutBody => "it ends within the body",
        ResponseError::HeadTooLarge(_) => "its head is longer than 8 KiB",
        ResponseError::Body(_) => "its body is malformed",
        ResponseError::Length | ResponseError::LengthTwice => "its length is not a number",
        ResponseError::Transfer | ResponseError::TransferOld => {
            "it has a transfer encoding that was not asked for"
        }
        _ => "its head is malformed",
    }
}

/// What one read brings; zero at the end of the stream.
fn read_some(stream: &mut TcpStream, chunk: &mut [u8], deadline: &Deadline) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
