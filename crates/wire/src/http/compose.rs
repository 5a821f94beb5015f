//! The client's requests: laid out once for all connections of a run, copied as they are due.

use super::fields::{is_authority, is_token_text, is_value_text};
use super::status::Method;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_TARGET_BYTES_MAX};

/// What the requests of a run say.
#[derive(Clone, Debug, Default)]
pub struct RequestSpec {
    /// A host name, an IPv4 address or an IPv6 address without brackets.
    pub host: String,
    /// The port; left out where it is 80, which goes without saying.
    pub port: u16,
    /// The method: any token but CONNECT. Names have a case.
    pub method: String,
    /// Paths and queries, asked for in turn: `/search?q=x`. At least one.
    pub targets: Vec<String>,
    /// What `User-Agent` says; empty: nothing.
    pub agent: String,
    /// Further headers. A `Host` or `User-Agent` here takes the place of ours.
    pub headers: Vec<(String, String)>,
    /// The body; none is sent unless there is one, but for methods that go with one.
    pub body: Vec<u8>,
    /// Whether the connection is to end after each response.
    pub close: bool,
}

/// Why requests cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestSpecError {
    /// A `Connection` other than `keep-alive`, or one that contradicts what is planned.
    #[error(
        "the header 'Connection: {0}' cannot be set: connections are kept, which keep-alive may \
         say \
         once more, unless the plan is to close them behind each response (--close)"
    )]
    Connection(String),
    /// A header's name or value that cannot be in a header.
    #[error("'{0}' cannot be sent as a header: write it like 'Name: value', in visible ASCII")]
    Header(String),
    /// A host that cannot be in a header.
    #[error("'{0}' cannot be sent as a Host: write a name or an address")]
    Host(String),
    /// What is no method, or CONNECT, behind which no HTTP is spoken.
    #[error(
        "requests cannot be sent with the method '{0}': give a word of letters, digits and \
         !#$%&'*+-.^_`|~ other than CONNECT, such as GET or PURGE"
    )]
    Method(String),
    /// Nothing to ask for.
    #[error("there is no path to ask for: give at least one")]
    NoTarget,
    /// A header that decides where a message ends, or a `Host` given twice.
    #[error("the header '{0}' is written by the client itself and cannot be set")]
    Reserved(String),
    /// A path and query that cannot be in a request line.
    #[error(
        "'{0}' cannot be requested: a path begins with '/', has no blanks and no '#', and is not \
         longer than {HTTP_TARGET_BYTES_MAX} bytes"
    )]
    Target(String),
    /// More than a server of ours would take.
    #[error(
        "a request would be larger than {HTTP_HEAD_BYTES_MAX} bytes or {HTTP_HEADERS_MAX} headers"
    )]
    TooLarge,
}

/// The requests of a run, ready to be copied.
#[derive(Clone, Debug)]
pub struct Composer {
    method: Method,
    /// Heads, and where each one ends.
    heads: Vec<u8>,
    ends: Vec<usize>,
    body: Vec<u8>,
}

impl Composer {
    /// Lays the requests out.
    ///
    /// # Errors
    /// What cannot be sent.
    pub fn new(spec: &RequestSpec) -> Result<Self, RequestSpecError> {
        let fields = lay_out_fields(spec)?;
        let (mut heads, mut ends) = (Vec::new(), Vec::new());
        if spec.targets.is_empty() {
            return Err(RequestSpecError::NoTarget);
        }
        for target in &spec.targets {
            let visible = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !target.starts_with('/') || !visible || target.len() > HTTP_TARGET_BYTES_MAX {
                return Err(RequestSpecError::Target(target.clone()));
            }
            let head = format!("{} {target} HTTP/1.1\r\n{fields}\r\n", spec.method);
            if head.len() > HTTP_HEAD_BYTES_MAX || fields.matches('\n').count() > HTTP_HEADERS_MAX {
                return Err(RequestSpecError::TooLarge);
            }
            heads.extend_from_slice(head.as_bytes());
            ends.push(heads.len());
        }
        Ok(Self { method: Method::named(&spec.method), heads, ends, body: spec.body.clone() })
    }

    /// The method of all requests: what [`Responses::read`](super::Responses::read) asks for.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The length of request number `number`, in bytes.
    #[must_use]
    pub fn length(&self, number: u64) -> usize {
        self.head(number).len() + self.body.len()
    }

    /// Writes request number `number` behind `out`: the targets take turns.
    #[inline]
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head(number));
        out.extend_from_slice(&self.body);
    }

    /// Writes `count` requests from number `number` on behind `out`, so that they leave at once.
    #[inline]
    pub fn write_many(&self, number: u64, count: usize, out: &mut Vec<u8>) {
        for index in 0..count as u64 {
            self.write(number.wrapping_add(index), out);
        }
    }

    #[inline]
    fn head(&self, number: u64) -> &[u8] {
        let index = if self.ends.len() == 1 { 0 } else { number % self.ends.len() as u64 } as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.heads[start..self.ends[index]]
    }
}

/// The header lines that all requests have.
fn lay_out_fields(spec: &RequestSpec) -> Result<String, RequestSpecError> {
    use RequestSpecError as E;
    let method = Method::named(&spec.method);
    if !is_token_text(spec.method.as_bytes()) || method == Method::Connect {
        return Err(E::Method(spec.method.clone()));
    }
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        for piece in [name, ": ", value, "\r\n"] {
            text.push_str(piece);
        }
    };
    let hosts = spec.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Host"));
    match hosts.count() {
        0 => add("Host", &authority(spec)?),
        1 => {}
        _ => return Err(E::Reserved("Host".to_owned())),
    }
    let named = spec.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("User-Agent"));
    if !named && !spec.agent.is_empty() {
        add("User-Agent", &spec.agent);
    }
    for (name, value) in &spec.headers {
        if !is_token_text(name.as_bytes()) || !is_value_text(value) {
            return Err(E::Header(format!("{name}: {value}")));
        }
        let lower = name.to_ascii_lowercase();
        let reserved = ["content-length", "expect", "te", "transfer-encoding"];
        if reserved.contains(&lower.as_str()) || lower == "upgrade" {
            return Err(E::Reserved(name.clone()));
        }
        let keep = |option: &str| option.trim().eq_ignore_ascii_case("keep-alive");
        if lower == "connection" && (spec.close || !value.split(',').all(keep)) {
            return Err(E::Connection(value.clone()));
        }
        add(name, value);
    }
    // The methods that say what a body means say so if there is none, too (RFC 9110 8.6).
    let goes_with_body = matches!(method, Method::Post | Method::Put | Method::Patch);
    if goes_with_body || !spec.body.is_empty() {
        add("Content-Length", &spec.body.len().to_string());
    }
    if spec.close {
        add("Connection", "close");
    }
    Ok(text)
}

/// The value of `Host`.
fn authority(spec: &RequestSpec) -> Result<String, RequestSpecError> {
    let host = if spec.host.contains(':') { format!("[{}]", spec.host) } else { spec.host.clone() };
    if !is_authority(host.as_bytes()) {
        return Err(RequestSpecError::Host(spec.host.clone()));
    }
    Ok(if spec.port == 80 { host } else { format!("{host}:{}", spec.port) })
}
