//! The client's side of the opening handshake (RFC 6455 4.1).

use super::extension::{DeflatePolicy, Refused, check, offer};
use super::handshake::{KEY_BYTES, accept_value, key_value};
use super::server::Accepted;
use crate::http::HeadError;
use crate::http::fields::{
    has_element, has_strict_lines, is_token_text, is_value_text, lines, one,
};
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use std::mem::MaybeUninit;

/// What a request says.
#[derive(Clone, Debug, Default)]
pub struct RequestSpec {
    /// A host name, an IPv4 address or an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The port that goes without saying: 80, or 443 over TLS.
    pub default_port: u16,
    /// Path and query: `/chat?room=1`.
    pub target: String,
    /// The origin, if one is to be sent.
    pub origin: Option<String>,
    /// The subprotocols to ask for, the best first.
    pub subprotocols: Vec<String>,
    /// Further headers. A `Host` here takes the place of ours.
    pub headers: Vec<(String, String)>,
    /// How messages may be compressed, if that is to be offered.
    pub deflate: Option<DeflatePolicy>,
}

/// Why a request cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// A header's name or value that cannot be in a header.
    #[error("'{0}' cannot be sent as a header: write it like 'Name: value', in visible ASCII")]
    Header(String),
    /// A header that the handshake itself writes.
    #[error("the header '{0}' belongs to the handshake and cannot be set")]
    Reserved(String),
    /// A subprotocol that is no token, or is there twice.
    #[error("'{0}' cannot be a subprotocol: each must be a token, and be there once")]
    Subprotocol(String),
    /// A path and query that cannot be in a request line.
    #[error("'{0}' cannot be requested: a path begins with '/', and has no blanks and no '#'")]
    Target(String),
    /// More than a server of ours would take.
    #[error(
        "the request would be larger than {HTTP_HEAD_BYTES_MAX} bytes or {HTTP_HEADERS_MAX} headers"
    )]
    TooLarge,
}

/// A request, laid out once for all connections of a run: they differ in the key alone.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    key_at: usize,
    subprotocols: Vec<String>,
    deflate: Option<DeflatePolicy>,
}

impl Request {
    /// Lays the request out.
    ///
    /// # Errors
    /// What cannot be sent.
    pub fn new(spec: &RequestSpec) -> Result<Self, RequestError> {
        check_spec(spec)?;
        let mut text = format!("GET {} HTTP/1.1\r\n", spec.target);
        let mut add = |name: &str, value: &str| {
            for piece in [name, ": ", value, "\r\n"] {
                text.push_str(piece);
            }
        };
        if !spec.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Host")) {
            add("Host", &spec.authority());
        }
        add("Upgrade", "websocket");
        add("Connection", "Upgrade");
        add("Sec-WebSocket-Version", "13");
        if let Some(origin) = &spec.origin {
            add("Origin", origin);
        }
        if !spec.subprotocols.is_empty() {
            add("Sec-WebSocket-Protocol", &spec.subprotocols.join(", "));
        }
        if let Some(policy) = &spec.deflate {
            add("Sec-WebSocket-Extensions", &offer(policy));
        }
        for (name, value) in &spec.headers {
            add(name, value);
        }
        text.push_str("Sec-WebSocket-Key: ");
        let key_at = text.len();
        text.push_str(&"=".repeat(KEY_BYTES));
        text.push_str("\r\n\r\n");
        let lines = text.matches('\n').count() - 2;
        if text.len() > HTTP_HEAD_BYTES_MAX || lines > HTTP_HEADERS_MAX {
            return Err(RequestError::TooLarge);
        }
        Ok(Self {
            bytes: text.into_bytes(),
            key_at,
            subprotocols: spec.subprotocols.clone(),
            deflate: spec.deflate,
        })
    }

    /// Writes the request behind `out`. The nonce must be fresh and random for every connection.
    #[inline]
    pub fn write(&self, nonce: [u8; 16], out: &mut Vec<u8>) {
        let start = out.len() + self.key_at;
        out.extend_from_slice(&self.bytes);
        out[start..start + KEY_BYTES].copy_from_slice(&key_value(nonce));
    }

    /// Checks the reply to the request that was written with this nonce; `head` is its whole head.
    ///
    /// # Errors
    /// What was wrong with it: the connection is to be given up.
    pub fn check(&self, nonce: [u8; 16], head: &[u8]) -> Result<Accepted, HandshakeFailure> {
        use HandshakeFailure as F;
        let mut room = [const { MaybeUninit::uninit() }; HTTP_HEADERS_MAX];
        let mut reply = httparse::Response::new(&mut []);
        if !has_strict_lines(head) {
            return Err(F::Syntax);
        }
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut reply, head, &mut room) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(F::TooLarge),
            _ => return Err(F::Syntax),
        }
        let headers = &*reply.headers;
        match reply.code {
            Some(101) => {}
            Some(code @ 300..=399) if one(headers, "Location").is_some() => {
                let target = one(headers, "Location").unwrap_or_default();
                return Err(F::Redirect(code, target.escape_ascii().to_string()));
            }
            Some(code) => return Err(F::Status(code)),
            None => return Err(F::Syntax),
        }
        if reply.version != Some(1) {
            return Err(F::Syntax);
        }
        if !one(headers, "Upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket")) {
            return Err(F::Upgrade);
        }
        if !has_element(lines(headers, "Connection"), "upgrade") {
            return Err(F::Connection);
        }
        let accept = accept_value(&key_value(nonce));
        if one(headers, "Sec-WebSocket-Accept") != Some(&accept[..]) {
            return Err(F::Accept);
        }
        let deflate = check(lines(headers, "Sec-WebSocket-Extensions"), self.deflate.as_ref());
        let deflate = deflate.map_err(|refused| match refused {
            Refused::Unasked => F::ExtensionUnasked,
            Refused::Wrong => F::ExtensionWrong,
        })?;
        let subprotocol = if lines(headers, "Sec-WebSocket-Protocol").next().is_some() {
            // An empty one is none that was asked for either.
            let chosen = one(headers, "Sec-WebSocket-Protocol").ok_or(F::SubprotocolUnasked)?;
            let asked = self.subprotocols.iter().position(|p| p.as_bytes() == chosen);
            Some(asked.ok_or(F::SubprotocolUnasked)?)
        } else {
            None
        };
        Ok(Accepted { deflate, subprotocol })
    }
}

/// Whether this is the head of an interim reply, behind which the real one follows: status 1xx (RFC
/// 9110 15.2), but for 101, which is what was asked for.
#[must_use]
pub fn is_interim(head: &[u8]) -> bool {
    let Some((version, rest)) = head.split_at_checked(9) else { return false };
    let is_http = version.starts_with(b"HTTP/1.") && version.ends_with(b" ");
    let [b'1', tens, ones, end, ..] = *rest else { return false };
    is_http
        && tens.is_ascii_digit()
        && ones.is_ascii_digit()
        && b" \r\n".contains(&end)
        && [tens, ones] != *b"01"
}

impl RequestSpec {
    /// The value of `Host`: the port is left out where it goes without saying.
    fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.default_port { host } else { format!("{host}:{}", self.port) }
    }
}

fn check_spec(spec: &RequestSpec) -> Result<(), RequestError> {
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !spec.target.starts_with('/') || !visible(&spec.target) || spec.target.contains('#') {
        return Err(RequestError::Target(spec.target.clone()));
    }
    for (index, name) in spec.subprotocols.iter().enumerate() {
        if !is_token_text(name.as_bytes()) || spec.subprotocols[..index].contains(name) {
            return Err(RequestError::Subprotocol(name.clone()));
        }
    }
    let host = spec.authority();
    for value in spec.origin.iter().chain([&host]) {
        if value.is_empty() || !visible(value) {
            return Err(RequestError::Header(value.clone()));
        }
    }
    for (name, value) in &spec.headers {
        if !is_token_text(name.as_bytes()) || !is_value_text(value) {
            return Err(RequestError::Header(format!("{name}: {value}")));
        }
        let lower = name.to_ascii_lowercase();
        let reserved = ["upgrade", "connection", "content-length", "transfer-encoding", "origin"];
        if lower.starts_with("sec-websocket-") || reserved.contains(&lower.as_str()) {
            return Err(RequestError::Reserved(name.clone()));
        }
    }
    Ok(())
}

/// What was wrong with a server's reply.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeFailure {
    /// Not the hash of the key that was sent.
    #[error("the reply's Sec-WebSocket-Accept does not match the key (RFC 6455 4.1)")]
    Accept,
    /// `Connection` does not have the element `Upgrade`.
    #[error("the reply's Connection header does not contain 'Upgrade' (RFC 6455 4.1)")]
    Connection,
    /// An extension that was not offered.
    #[error("the reply names an extension that was not offered (RFC 6455 4.1)")]
    ExtensionUnasked,
    /// Compression was answered in a way that does not fit the offer.
    #[error("the reply's Sec-WebSocket-Extensions does not fit the offer (RFC 7692 7.1)")]
    ExtensionWrong,
    /// A redirect, which is not followed: the load belongs to the target that was named.
    #[error("the server answered {0}, a redirect to {1}")]
    Redirect(u16, String),
    /// Another status than 101.
    #[error("the server answered with status {0} instead of 101")]
    Status(u16),
    /// A subprotocol that was not asked for, or more than one.
    #[error("the reply names a subprotocol that was not asked for (RFC 6455 4.1)")]
    SubprotocolUnasked,
    /// It is no HTTP/1.1 reply.
    #[error("the reply is not HTTP/1.1")]
    Syntax,
    /// It is larger than is accepted, or has more headers.
    #[error("the reply's head is too large")]
    TooLarge,
    /// Not exactly one `Upgrade`, or not to `websocket`.
    #[error("the reply's Upgrade header is not 'websocket' (RFC 6455 4.1)")]
    Upgrade,
}

impl From<HeadError> for HandshakeFailure {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::NotHttp => Self::Syntax,
            HeadError::LineTooLarge(_) | HeadError::TooLarge(_) => Self::TooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_replies_are_all_of_1xx_but_101() {
        for head in
            ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n", "HTTP/1.0 199\r\n"]
        {
            assert!(is_interim(head.as_bytes()), "{head}");
        }
        for head in [
            "",
            "HTTP/1.1 1",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 1000\r\n",
            "HTTP/2.1 100 Continue\r\n",
            "HTTP/1.1 1x3 No\r\n",
        ] {
            assert!(!is_interim(head.as_bytes()), "{head}");
        }
    }
}
