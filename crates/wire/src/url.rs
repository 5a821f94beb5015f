//! The URL form that names a service on both sides: `tcp://HOST:PORT`, `ws://…`, `http://…`.

use std::fmt;
use std::str::FromStr;

/// The protocols that a URL can name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Raw echo over TCP.
    Tcp,
}

impl Scheme {
    /// The name before `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
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
    #[error("'{0}://' is not known here: use tcp://")]
    UnknownScheme(String),
    /// A protocol that is planned.
    #[error("'{0}://' is not supported yet: use tcp://")]
    UnsupportedScheme(String),
    /// The host is missing or malformed.
    #[error("'{0}' names no host: write it like tcp://127.0.0.1:9000 or tcp://[::1]:9000")]
    NoHost(String),
    /// The port is missing.
    #[error("'{0}' names no port: write it like tcp://127.0.0.1:9000")]
    NoPort(String),
    /// The port is not a number from 0 to 65535.
    #[error("'{0}' has no port between 0 and 65535 behind its last colon")]
    BadPort(String),
    /// Something follows the port that this protocol has no use for.
    #[error("'{0}' has a path, and tcp:// has no paths: leave out what follows the port")]
    UselessPath(String),
}

/// A service: protocol, host, port. The host is a name or an address, without brackets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url {
    /// The protocol.
    pub scheme: Scheme,
    /// A host name, an IPv4 address or an IPv6 address (brackets taken off).
    pub host: String,
    /// The port; 0 lets a server choose.
    pub port: u16,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let whole = || text.to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::NoScheme(whole()))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "tcp" => Scheme::Tcp,
            other @ ("ws" | "http" | "wss" | "https" | "tls") => {
                return Err(UrlError::UnsupportedScheme(other.to_owned()));
            }
            other => return Err(UrlError::UnknownScheme(other.to_owned())),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(UrlError::UselessPath(whole()));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let end = bracketed.split_once(']').ok_or_else(|| UrlError::NoHost(whole()))?;
                let (host, after) = end;
                host.parse::<core::net::Ipv6Addr>().map_err(|_| UrlError::NoHost(whole()))?;
                (host, after.strip_prefix(':').ok_or_else(|| UrlError::NoPort(whole()))?)
            }
            None => authority.rsplit_once(':').ok_or_else(|| UrlError::NoPort(whole()))?,
        };
        let odd = |c: char| c.is_whitespace() || "@[]\\".contains(c);
        if host.is_empty()
            || host.contains(odd)
            || (host.contains(':') && !authority.starts_with('['))
        {
            return Err(UrlError::NoHost(whole()));
        }
        if port.is_empty() {
            return Err(UrlError::NoPort(whole()));
        }
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or_else(|| UrlError::BadPort(whole()))?;
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.scheme.name();
        if self.host.contains(':') {
            write!(f, "{name}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{name}://{}:{}", self.host, self.port)
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
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port), (host, port));
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(
            "TCP://localhost:1/".parse::<Url>().map(|u| u.to_string()),
            Ok("tcp://localhost:1".into())
        );
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        use UrlError as E;
        type Kind = fn(String) -> UrlError;
        let table: &[(&str, Kind)] = &[
            ("", E::NoScheme),
            ("127.0.0.1:9000", E::NoScheme),
            ("tcp://", E::NoPort),
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
            ("tcp://user@host:80", E::NoHost),
            ("tcp://a b:80", E::NoHost),
            ("tcp://host:80/path", E::UselessPath),
        ];
        for (text, kind) in table {
            assert_eq!(text.parse::<Url>(), Err(kind((*text).to_owned())), "{text}");
        }
        assert_eq!("udp://h:1".parse::<Url>(), Err(E::UnknownScheme("udp".into())));
        assert_eq!("wss://h:1".parse::<Url>(), Err(E::UnsupportedScheme("wss".into())));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(tcp://)?\\PC{0,30}") {
            if let Ok(url) = text.parse::<Url>() {
                prop_assert_eq!(url.to_string().parse::<Url>(), Ok(url));
            }
        }
    }
}
