//! The URL form that names a service on both sides: `tcp://HOST:PORT`, `ws://…`, `http://…`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// What is spoken: the half of a scheme that says how bytes are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Raw echo over TCP.
    Tcp,
    /// HTTP/1.1 (RFC 9112).
    Http,
    /// WebSocket (RFC 6455).
    Ws,
}

/// What carries it: the half of a scheme that says how bytes travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// TCP as it is.
    Plain,
    /// TLS over TCP.
    Tls,
}

/// What stands before `://`, and the two things that it says.
const SCHEMES: [(&str, Protocol, Transport); 6] = [
    ("tcp", Protocol::Tcp, Transport::Plain),
    ("tls", Protocol::Tcp, Transport::Tls),
    ("http", Protocol::Http, Transport::Plain),
    ("https", Protocol::Http, Transport::Tls),
    ("ws", Protocol::Ws, Transport::Plain),
    ("wss", Protocol::Ws, Transport::Tls),
];

impl Protocol {
    /// The name before `://` where nothing else carries it than TCP.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.scheme(Transport::Plain)
    }

    /// The name before `://` where it is carried by this.
    #[must_use]
    pub fn scheme(self, transport: Transport) -> &'static str {
        let found = SCHEMES.iter().find(|(_, p, t)| (*p, *t) == (self, transport));
        found.expect("every pair has a scheme").0
    }

    /// The port that is meant where none is written; `None` if it has to be.
    #[must_use]
    pub const fn default_port(self, transport: Transport) -> Option<u16> {
        match (self, transport) {
            (Self::Tcp, _) => None,
            (Self::Http | Self::Ws, Transport::Plain) => Some(80),
            (Self::Http | Self::Ws, Transport::Tls) => Some(443),
        }
    }
}

/// Why a URL was not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// There is no `://`.
    #[error("'{0}' is not a URL: write it like tcp://127.0.0.1:9000")]
    NoScheme(String),
    /// A protocol that does not exist here.
    #[error(
        "'{0}://' is not known here: use tcp://, ws:// or http://, or over TLS tls://, wss:// or \
         https://"
    )]
    UnknownScheme(String),
    /// The host is missing or malformed.
    #[error("'{0}' names no host: write it like tcp://127.0.0.1:9000 or tcp://[::1]:9000")]
    NoHost(String),
    /// The port is missing.
    #[error("'{0}' names no port: write it like tcp://127.0.0.1:9000")]
    NoPort(String),
    /// The port is not a number from 0 to 65535.
    #[error("'{0}' has no port between 0 and 65535 behind its last colon")]
    BadPort(String),
    /// A user or a password for a protocol that knows none.
    #[error("'{0}' has a user, and tcp:// knows none: leave out what stands before the '@'")]
    UselessUser(String),
    /// Something follows the port that this protocol has no use for.
    #[error("'{0}' has a path, and tcp:// has no paths: leave out what follows the port")]
    UselessPath(String),
    /// What follows the port cannot stand in a request line.
    #[error(
        "'{0}' has a space, a control character or a letter beyond ASCII in its path: write \
         those percent-encoded"
    )]
    BadTarget(String),
    /// A fragment, which never leaves a browser (RFC 6455, section 3, forbids it).
    #[error("'{0}' has a fragment, which is not sent to servers: leave out what follows the '#'")]
    Fragment(String),
}

/// A service: protocol and transport, host, port, and what is asked for there. The host is a name
/// or an address, without brackets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url {
    /// What is spoken there.
    pub protocol: Protocol,
    /// What carries it.
    pub transport: Transport,
    /// A host name, an IPv4 address or an IPv6 address (brackets taken off), with its zone, if it
    /// has one, behind a `%`: `fe80::1%lo`.
    pub host: String,
    /// The port; 0 lets a server choose.
    pub port: u16,
    /// Path and query as they stand in a request line, `/` at the least; empty for `tcp://`.
    pub target: String,
    /// User and password as they stand before the `@`, percent-encoded. They are never shown.
    credentials: Option<String>,
}

impl Url {
    /// What stands before `://`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.protocol.scheme(self.transport)
    }

    /// The value of `Authorization` that user and password make (RFC 7617 2), if there are any.
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = split_credentials(self.credentials.as_deref()?);
        let mut plain = percent_decoded(user);
        plain.push(b':');
        plain.extend(percent_decoded(password.unwrap_or_default()));
        Some(format!("Basic {}", STANDARD.encode(plain)))
    }

    /// The host without its zone, which means nothing to the other end (RFC 6874 4).
    #[must_use]
    pub fn host_without_zone(&self) -> &str {
        self.zone().map_or(&self.host, |(host, _)| host)
    }

    /// An IPv6 address and its zone, if it has one.
    #[must_use]
    pub fn zone(&self) -> Option<(&str, &str)> {
        self.host.split_once('%').filter(|(host, _)| host.contains(':'))
    }

    /// Whether both name the same service, whatever is asked for there.
    #[must_use]
    pub fn is_same_service(&self, other: &Self) -> bool {
        (self.protocol, self.transport) == (other.protocol, other.transport)
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }
}

/// The user, and the password, if there is one.
fn split_credentials(credentials: &str) -> (&str, Option<&str>) {
    match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    }
}

/// The bytes that a percent-encoded text means; what is no code stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut rest, mut bytes) = (text.as_bytes(), Vec::with_capacity(text.len()));
    while let Some((first, more)) = rest.split_first() {
        let digit = |at: usize| (*more.get(at)? as char).to_digit(16);
        match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &more[2..];
            }
            (byte, ..) => {
                bytes.push(byte);
                rest = more;
            }
        }
    }
    bytes
}

/// The same text with three stars for a password before the host, if it is a URL that has one.
#[must_use]
pub fn without_password(text: &str) -> Cow<'_, str> {
    let Some(begin) = text.find("://").map(|at| at + 3) else { return text.into() };
    let authority = &text[begin..];
    let authority = &authority[..authority.find(['/', '?', '#']).unwrap_or(authority.len())];
    let Some((credentials, _)) = authority.rsplit_once('@') else { return text.into() };
    match split_credentials(credentials) {
        (_, None) => text.into(),
        (user, Some(_)) => {
            let rest = &text[begin + credentials.len()..];
            format!("{}{user}:***{rest}", &text[..begin]).into()
        }
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let whole = || without_password(text).into_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::NoScheme(whole()))?;
        let scheme = scheme.to_ascii_lowercase();
        let (protocol, transport) = match SCHEMES.iter().find(|(name, ..)| *name == scheme) {
            Some((_, protocol, transport)) => (*protocol, *transport),
            None => return Err(UrlError::UnknownScheme(scheme)),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = match protocol {
            Protocol::Tcp if matches!(target, "" | "/") => String::new(),
            Protocol::Tcp => return Err(UrlError::UselessPath(whole())),
            Protocol::Http | Protocol::Ws => request_target(target, text)?,
        };
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some(_) if protocol == Protocol::Tcp => return Err(UrlError::UselessUser(whole())),
            Some((credentials, authority)) => (Some(credentials.to_owned()), authority),
            None => (None, authority),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let end = bracketed.split_once(']').ok_or_else(|| UrlError::NoHost(whole()))?;
                let (host, after) = end;
                let (address, zone) =
                    host.split_once('%').map_or((host, None), |(address, zone)| {
                        // RFC 6874 2 has the '%' encoded; people write it as it is.
                        (address, Some(zone.strip_prefix("25").unwrap_or(zone)))
                    });
                address.parse::<core::net::Ipv6Addr>().map_err(|_| UrlError::NoHost(whole()))?;
                let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
                if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(known)) {
                    return Err(UrlError::NoHost(whole()));
                }
                let host =
                    zone.map_or_else(|| address.to_owned(), |zone| format!("{address}%{zone}"));
                let port = after.strip_prefix(':');
                if port.is_none() && !after.is_empty() {
                    return Err(UrlError::NoHost(whole()));
                }
                (host, port)
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (authority.to_owned(), None),
            },
        };
        let odd = |c: char| c.is_whitespace() || "@[]\\".contains(c);
        if host.is_empty()
            || host.contains(odd)
            || (host.contains(':') && !authority.starts_with('['))
        {
            return Err(UrlError::NoHost(whole()));
        }
        let port = match (port, protocol.default_port(transport)) {
            (None | Some(""), None) => return Err(UrlError::NoPort(whole())),
            (None | Some(""), Some(port)) => port,
            (Some(port), _) => {
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|_| digits);
                port.ok_or_else(|| UrlError::BadPort(whole()))?
            }
        };
        Ok(Self { protocol, transport, host, port, target, credentials })
    }
}

/// What stands in the request line for what follows the port of the URL `text`.
fn request_target(after_port: &str, text: &str) -> Result<String, UrlError> {
    if after_port.contains('#') {
        return Err(UrlError::Fragment(without_password(text).into_owned()));
    }
    if !after_port.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UrlError::BadTarget(without_password(text).into_owned()));
    }
    let slash = if after_port.starts_with('/') { "" } else { "/" };
    Ok(format!("{slash}{after_port}"))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.scheme();
        let target = if self.target == "/" { "" } else { &self.target };
        let user = match self.credentials.as_deref().map(split_credentials) {
            Some((user, Some(_))) => format!("{user}:***@"),
            Some((user, None)) => format!("{user}@"),
            None => String::new(),
        };
        if let Some((host, zone)) = self.zone() {
            write!(f, "{name}://{user}[{host}%25{zone}]:{}{target}", self.port)
        } else if self.host.contains(':') {
            write!(f, "{name}://{user}[{}]:{}{target}", self.host, self.port)
        } else {
            write!(f, "{name}://{user}{}:{}{target}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_lead_back_to_their_text() {
        for (text, host, port) in [
            ("tcp://127.0.0.1:9000", "127.0.0.1", 9000),
            ("tcp://[::1]:0", "::1", 0),
            ("tcp://example.test:65535", "example.test", 65535),
            ("ws://127.0.0.1:9000", "127.0.0.1", 9000),
            ("ws://[::1]:80/chat?room=1&x=%20", "::1", 80),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port), (host, port));
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(
            "TCP://localhost:1/".parse::<Url>().map(|u| u.to_string()),
            Ok("tcp://localhost:1".into())
        );
        for (text, port, target) in [
            ("ws://host", 80, "/"),
            ("ws://host:", 80, "/"),
            ("WS://host:81/", 81, "/"),
            ("ws://[::1]/a/b", 80, "/a/b"),
            ("http://host/a%20b?c", 80, "/a%20b?c"),
            ("HTTP://host:8080", 8080, "/"),
            ("ws://host?q=/", 80, "/?q=/"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.port, url.target.as_str()), (port, target), "{text}");
        }
    }

    #[test]
    fn a_scheme_is_a_protocol_and_what_carries_it() {
        for (name, protocol, transport) in SCHEMES {
            assert_eq!(protocol.scheme(transport), name);
            let port = protocol.default_port(transport);
            assert_eq!(port.is_none(), protocol == Protocol::Tcp, "{name}");
            assert_eq!(port == Some(443), port.is_some() && transport == Transport::Tls, "{name}");
        }
    }

    #[test]
    fn passwords_are_sent_and_not_shown() {
        for (text, shown, authorization) in [
            ("http://user:p%40ss@host/a", "http://user:***@host:80/a", "Basic dXNlcjpwQHNz"),
            ("http://u%3a@host", "http://u%3a@host:80", "Basic dTo6"),
            ("ws://u:p:q@[::1]:9", "ws://u:***@[::1]:9", "Basic dTpwOnE="),
            ("http://a@b:c@host", "http://a@b:***@host:80", "Basic YUBiOmM="),
            ("http://:%zz%@host", "http://:***@host:80", "Basic OiV6eiU="),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.authorization().as_deref(), Some(authorization), "{text}");
        }
        let url: Url = "http://host/a@b:c".parse().expect("fine");
        assert_eq!((url.authorization(), url.target.as_str()), (None, "/a@b:c"));
        for (text, shown) in [
            ("http://u:secret@host/x", "http://u:***@host/x"),
            ("--x=http://u:secret@host", "--x=http://u:***@host"),
            ("http://u@host", "http://u@host"),
            ("http://host/?a:b@c", "http://host/?a:b@c"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(without_password(text), shown);
        }
        let error = "http://u:secret@host:x".parse::<Url>().expect_err("no port").to_string();
        assert!(error.contains("u:***@host") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn zones_are_part_of_the_address_and_not_of_the_host() {
        for text in ["http://[fe80::1%25lo]:80/x", "http://[fe80::1%lo]:80/x"] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.host, "fe80::1%lo");
            assert_eq!(url.zone(), Some(("fe80::1", "lo")));
            assert_eq!(url.host_without_zone(), "fe80::1");
            assert_eq!(url.to_string(), "http://[fe80::1%25lo]:80/x");
        }
        let url: Url = "http://[::1]/".parse().expect("fine");
        assert_eq!((url.zone(), url.host_without_zone()), (None, "::1"));
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        use UrlError as E;
        type Kind = fn(String) -> UrlError;
        let table: &[(&str, Kind)] = &[
            ("", E::NoScheme),
            ("127.0.0.1:9000", E::NoScheme),
            ("tcp://", E::NoHost),
            ("tcp://:80", E::NoHost),
            ("tcp://host", E::NoPort),
            ("tcp://host:", E::NoPort),
            ("tcp://host:x", E::BadPort),
            ("tcp://host:+1", E::BadPort),
            ("tcp://host:65536", E::BadPort),
            ("tcp://host:-1", E::BadPort),
            ("tcp://::1:80", E::NoHost),
            ("tcp://[::1:80", E::NoHost),
            ("tcp://[::1]", E::NoPort),
            ("tcp://[nonsense]:80", E::NoHost),
            ("tcp://user@host:80", E::UselessUser),
            ("http://[::1%25]:80", E::NoHost),
            ("http://[::1%]:80", E::NoHost),
            ("http://[%25lo]:80", E::NoHost),
            ("http://[::1%a b]:80", E::NoHost),
            ("tcp://a b:80", E::NoHost),
            ("tcp://host:80/path", E::UselessPath),
            ("tcp://host:80?query", E::UselessPath),
            ("ws://", E::NoHost),
            ("ws:///path", E::NoHost),
            ("ws://host:x/path", E::BadPort),
            ("ws://[::1]x/path", E::NoHost),
            ("ws://host/a b", E::BadTarget),
            ("ws://host/\u{e4}", E::BadTarget),
            ("ws://host/path#part", E::Fragment),
            ("http://host/path#part", E::Fragment),
        ];
        for (text, kind) in table {
            assert_eq!(text.parse::<Url>(), Err(kind((*text).to_owned())), "{text}");
        }
        assert_eq!("udp://h:1".parse::<Url>(), Err(E::UnknownScheme("udp".into())));
        for (text, port) in [("tls://h:1", 1), ("https://h", 443), ("wss://h/x", 443)] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.port, url.transport), (port, Transport::Tls), "{text}");
        }
        assert_eq!("tls://h".parse::<Url>(), Err(E::NoPort("tls://h".into())));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "((tcp|ws|http|tls|wss|https)://)?\\PC{0,30}") {
            if let Ok(url) = text.parse::<Url>() {
                // What it shows of a password is not the password.
                let shown = Url { credentials: None, ..url };
                prop_assert_eq!(shown.to_string().parse::<Url>(), Ok(shown));
            }
        }
    }
}
