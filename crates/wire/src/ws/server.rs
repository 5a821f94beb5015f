//! The server's side of the opening handshake (RFC 6455 4.2).

use super::extension::{Agreed, DeflatePolicy, answer};
use super::handshake::{accept_value, is_key};
use crate::http::HeadError;
use crate::http::fields::{
    elements, has_element, has_strict_lines, is_authority, is_token_text, lines, one,
};
use crate::http::request::{as_known_version, has_other_version};
use crate::limits::HTTP_HEADERS_MAX;
use std::mem::MaybeUninit;

/// What a server takes and gives.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The origins that pages may come from; empty: all. Requests without an `Origin` do not come
    /// from pages (RFC 6455 4.2.1) and are not held against it.
    pub origins: Vec<String>,
    /// The subprotocols that are spoken, the best first.
    pub subprotocols: Vec<String>,
    /// How messages may be compressed, if they may.
    pub deflate: Option<DeflatePolicy>,
}

/// A handshake that succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// What was agreed upon for compression.
    pub deflate: Option<Agreed>,
    /// The subprotocol: its place in the list that the offers were held against.
    pub subprotocol: Option<usize>,
}

/// Why a request was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// There is no room for one more request that is only partly here.
    #[error("too many handshakes are under way at once")]
    Busy,
    /// It announces a body, whose bytes would be taken for frames.
    #[error("a WebSocket request has no body")]
    Body,
    /// `Connection` does not have the element `Upgrade`.
    #[error("the Connection header does not contain 'Upgrade' (RFC 6455 4.2.1)")]
    Connection,
    /// An extension list that does not follow the grammar.
    #[error("the Sec-WebSocket-Extensions header is malformed (RFC 6455 9.1)")]
    Extensions,
    /// Not exactly one `Host`, or one that is none.
    #[error("the request needs exactly one valid Host header (RFC 9112 3.2)")]
    Host,
    /// HTTP/1.0.
    #[error("a WebSocket handshake needs HTTP/1.1 or later (RFC 6455 4.2.1)")]
    Http10,
    /// Another major version of HTTP.
    #[error("only HTTP/1.1 is spoken here")]
    HttpVersion,
    /// Not exactly one key, or one that is not 16 bytes in base64.
    #[error(
        "the request needs exactly one Sec-WebSocket-Key of 16 bytes in base64 (RFC 6455 4.2.1)"
    )]
    Key,
    /// Another method than GET.
    #[error("a WebSocket handshake is a GET request (RFC 6455 4.2.1)")]
    Method,
    /// An ordinary request.
    #[error("this is a WebSocket service: upgrade to 'websocket'")]
    NotUpgrade,
    /// The origin is not allowed.
    #[error("pages of this origin may not connect here")]
    Origin,
    /// More than one origin.
    #[error("the request has more than one Origin header")]
    OriginRepeated,
    /// A list of subprotocols that does not follow the grammar, or has one twice.
    #[error("the Sec-WebSocket-Protocol header must list distinct tokens (RFC 6455 4.1)")]
    Subprotocols,
    /// It is no HTTP request.
    #[error("the request is malformed (RFC 9112)")]
    Syntax,
    /// It did not come in time.
    #[error("the request was not complete in time")]
    TimedOut,
    /// It is larger than is accepted, or has more headers.
    #[error("the request's head is too large")]
    TooLarge,
    /// Not version 13 of the protocol.
    #[error("only version 13 of the WebSocket protocol is spoken here (RFC 6455 4.4)")]
    Version,
    /// More than one version.
    #[error("the request has more than one Sec-WebSocket-Version (RFC 6455 11.3.5)")]
    VersionRepeated,
}

impl From<HeadError> for HandshakeError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::NotHttp => Self::Syntax,
            HeadError::LineTooLarge(_) | HeadError::TooLarge(_) => Self::TooLarge,
        }
    }
}

impl HandshakeError {
    /// The status of the reply.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Body
            | Self::Connection
            | Self::Extensions
            | Self::Host
            // RFC 6455 4.2.1 names 400 for a handshake that is not as it should be, and 505 would
            // speak of the major version (RFC 9110 15.6.6).
            | Self::Http10
            | Self::Key
            | Self::OriginRepeated
            | Self::Subprotocols
            | Self::Syntax
            | Self::VersionRepeated => 400,
            Self::Origin => 403,
            Self::Method => 405,
            Self::TimedOut => 408,
            Self::NotUpgrade | Self::Version => 426,
            Self::TooLarge => 431,
            Self::Busy => 503,
            Self::HttpVersion => 505,
        }
    }

    /// Writes the whole reply behind `out`, but for its content if that is not asked for (RFC 9110
    /// 9.3.2: HEAD), and but for the date, which is the caller's to add
    /// ([`crate::http::add_date`]). The connection is to be closed after it.
    pub fn write(self, content: bool, out: &mut Vec<u8>) {
        let (reason, headers) = match self.status() {
            403 => ("Forbidden", ""),
            405 => ("Method Not Allowed", "Allow: GET\r\nConnection: close\r\n"),
            408 => ("Request Timeout", ""),
            426 => (
                "Upgrade Required",
                "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n",
            ),
            431 => ("Request Header Fields Too Large", ""),
            503 => ("Service Unavailable", ""),
            505 => ("HTTP Version Not Supported", ""),
            _ => ("Bad Request", ""),
        };
        let headers = if headers.is_empty() { "Connection: close\r\n" } else { headers };
        let body = format!("{self}\n");
        let reply = format!(
            "HTTP/1.1 {} {reason}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{}",
            self.status(),
            body.len(),
            if content { &body } else { "" },
        );
        out.extend_from_slice(reply.as_bytes());
    }
}

impl Policy {
    /// Answers a request, of which `head` is the whole head: writes the reply behind `out`,
    /// whatever it is.
    ///
    /// # Errors
    /// Why it was not accepted; the connection is to be closed after the reply.
    pub fn answer(&self, head: &[u8], out: &mut Vec<u8>) -> Result<Accepted, HandshakeError> {
        let accepted = self.try_answer(head, out);
        if let Err(error) = accepted {
            error.write(!head.starts_with(b"HEAD "), out);
        }
        accepted
    }

    fn try_answer(&self, head: &[u8], out: &mut Vec<u8>) -> Result<Accepted, HandshakeError> {
        use HandshakeError as E;
        let mut room = [const { MaybeUninit::uninit() }; HTTP_HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        if !has_strict_lines(head) {
            return Err(E::Syntax);
        }
        match request.parse_with_uninit_headers(head, &mut room) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(E::Syntax),
            Err(httparse::Error::TooManyHeaders) => return Err(E::TooLarge),
            Err(httparse::Error::Version) => {
                return match as_known_version(head) {
                    Some(known) => self.try_answer(&known, out),
                    None if has_other_version(head) => Err(E::HttpVersion),
                    None => Err(E::Syntax),
                };
            }
            Err(_) => return Err(E::Syntax),
        }
        let headers = &*request.headers;
        check_request_line(&request)?;
        check_framing(headers)?;
        check_upgrade(headers)?;
        self.check_origin(headers)?;
        let key = one(headers, "Sec-WebSocket-Key").filter(|key| is_key(key)).ok_or(E::Key)?;
        let subprotocol = self.choose_subprotocol(headers)?;
        let deflate = answer(lines(headers, "Sec-WebSocket-Extensions"), self.deflate.as_ref());
        let deflate = deflate.map_err(|_| E::Extensions)?;

        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&accept_value(key));
        if let Some(index) = subprotocol {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(self.subprotocols[index].as_bytes());
        }
        if let Some(answer) = &deflate {
            out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
            out.extend_from_slice(answer.header.as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
        Ok(Accepted { deflate: deflate.map(|answer| answer.agreed), subprotocol })
    }

    fn check_origin(&self, headers: &[httparse::Header<'_>]) -> Result<(), HandshakeError> {
        let mut origins = lines(headers, "Origin");
        let Some(origin) = origins.next() else { return Ok(()) };
        if origins.next().is_some() {
            return Err(HandshakeError::OriginRepeated);
        }
        // Schemes and hosts have no case (RFC 6454 4).
        let listed = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin);
        if self.origins.is_empty() || self.origins.iter().any(listed) {
            Ok(())
        } else {
            Err(HandshakeError::Origin)
        }
    }

    /// The first of our subprotocols that the client speaks, too.
    fn choose_subprotocol(
        &self,
        headers: &[httparse::Header<'_>],
    ) -> Result<Option<usize>, HandshakeError> {
        let lines = lines(headers, "Sec-WebSocket-Protocol");
        let offered = elements(lines.clone());
        // Sorted, because a head has room for thousands: each against each would take a good part
        // of a second.
        let mut sorted: Vec<&[u8]> = offered.clone().collect();
        sorted.sort_unstable();
        let repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        let nothing = sorted.is_empty() && lines.clone().next().is_some();
        if nothing || repeated || !sorted.into_iter().all(is_token_text) {
            return Err(HandshakeError::Subprotocols);
        }
        let spoken = |ours: &String| offered.clone().any(|theirs| theirs == ours.as_bytes());
        Ok(self.subprotocols.iter().position(spoken))
    }
}

fn check_request_line(request: &httparse::Request<'_, '_>) -> Result<(), HandshakeError> {
    if request.version == Some(0) {
        return Err(HandshakeError::Http10);
    }
    if request.method != Some("GET") {
        return Err(HandshakeError::Method);
    }
    if is_target(request.path.unwrap_or_default()) { Ok(()) } else { Err(HandshakeError::Syntax) }
}

/// Whether this is a path, or an absolute URL (RFC 6455 4.2.1). A fragment is no part of either.
fn is_target(target: &str) -> bool {
    let begins_with = |scheme: &str| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let is_local = target.starts_with('/');
    (is_local || ["http://", "https://", "ws://", "wss://"].into_iter().any(begins_with))
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// The headers that say where a request ends and whom it is for.
fn check_framing(headers: &[httparse::Header<'_>]) -> Result<(), HandshakeError> {
    if !one(headers, "Host").is_some_and(is_authority) {
        return Err(HandshakeError::Host);
    }
    let has_body = lines(headers, "Transfer-Encoding").next().is_some()
        || lines(headers, "Content-Length").any(|length| length != b"0");
    if has_body { Err(HandshakeError::Body) } else { Ok(()) }
}

/// The headers that ask for an upgrade, and to what.
fn check_upgrade(headers: &[httparse::Header<'_>]) -> Result<(), HandshakeError> {
    if !has_element(lines(headers, "Upgrade"), "websocket") {
        return Err(HandshakeError::NotUpgrade);
    }
    if !has_element(lines(headers, "Connection"), "upgrade") {
        return Err(HandshakeError::Connection);
    }
    let mut versions = lines(headers, "Sec-WebSocket-Version");
    match (versions.next(), versions.next()) {
        (Some(b"13"), None) => Ok(()),
        (Some(_), Some(_)) => Err(HandshakeError::VersionRepeated),
        _ => Err(HandshakeError::Version),
    }
}
