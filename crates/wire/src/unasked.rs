//! What comes from a server without having been asked for: greetings and pushes, which are passed
//! over and counted, and the first words of other protocols, which are named.

/// Bytes of the first unasked message that are kept to be shown.
pub const UNASKED_SHOWN_BYTES: usize = 64;

/// The messages of one reactor that were the reply to nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Unasked {
    /// How many there were. A stream has no borders: there, all that comes before the first reply
    /// of a connection is one.
    pub messages: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// The start of the first one.
    pub first: Vec<u8>,
    /// Whether a message has been chosen as the first.
    chosen: bool,
}

impl Unasked {
    /// One more begins. Whether it is the one that is shown.
    pub(crate) fn begin(&mut self) -> bool {
        self.messages += 1;
        !std::mem::replace(&mut self.chosen, true)
    }

    /// More of one that has begun.
    pub(crate) fn more(&mut self, bytes: &[u8], shown: bool) {
        self.bytes += bytes.len() as u64;
        if shown {
            let room = UNASKED_SHOWN_BYTES - self.first.len();
            self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// One that is whole.
    pub(crate) fn whole(&mut self, bytes: &[u8]) {
        let shown = self.begin();
        self.more(bytes, shown);
    }

    /// Adds what another reactor was sent.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        if !self.chosen {
            (self.first, self.chosen) = (other.first.clone(), other.chosen);
        }
    }
}

/// A peer's bytes as they can be shown: text as it is, but for what a terminal would take as an
/// order; everything else escaped.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(char::escape_debug));
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

/// Another protocol than was expected, known by its first bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OtherProtocol {
    /// A version line: `SSH-2.0-…`.
    #[error("the server speaks SSH: its first bytes are a version line ('SSH-…')")]
    Ssh,
    /// An alert or a handshake record: what came was no TLS to it.
    #[error("the server speaks TLS: its first bytes are an alert or a handshake record")]
    Tls,
    /// A response to something that was no request.
    #[error("the server speaks HTTP/1: its first bytes are a status line ('HTTP/1.…')")]
    Http1,
    /// The SETTINGS frame with which every HTTP/2 server begins, or a client's preface.
    #[error("the server speaks HTTP/2: its first bytes are a SETTINGS frame or a preface")]
    Http2,
}

impl OtherProtocol {
    /// The protocol that a stream with these first bytes speaks, if it is one that is known.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            // An alert has two bytes, a handshake record less than 16 KiB (RFC 8446 5.1).
            [0x15, 3, 0..=4, 0, 2, ..] | [0x16, 3, 0..=4, 0..=0x40, ..] => Some(Self::Tls),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', ..] => Some(Self::Http1),
            [b'P', b'R', b'I', b' ', b'*', b' ', b'H', b'T', b'T', b'P', b'/', b'2', ..]
            | [0, 0, _, 4, 0 | 1, 0, 0, 0, 0, ..] => Some(Self::Http2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_known_by_their_first_bytes() {
        use OtherProtocol as O;
        for (bytes, protocol) in [
            (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], Some(O::Ssh)),
            (&[0x15, 3, 3, 0, 2, 2, 10], Some(O::Tls)),
            (&[0x15, 3, 1, 0, 2, 2, 80], Some(O::Tls)),
            (&[0x16, 3, 3, 0, 122, 2, 0], Some(O::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(O::Http1)),
            (b"HTTP/1.0 400 Bad Request\r\n", Some(O::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(O::Http2)),
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3], Some(O::Http2)),
            (b"220 hello\r\n", None),
            (b"SSH", None),
            (b"", None),
            (&[0x17, 3, 3, 0, 2, 2, 10], None),
        ] {
            assert_eq!(O::of(bytes), protocol, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(shown("grüß\x1b[2J\r\n".as_bytes()), "grüß\\u{1b}[2J\\r\\n");
        assert_eq!(shown(b"\xff\x00a"), "\\xff\\0a");
    }

    #[test]
    fn the_first_is_kept_and_all_are_counted() {
        let (mut one, mut other) = (Unasked::default(), Unasked::default());
        other.whole(&[b'x'; 100]);
        other.whole(b"second");
        one.merge(&other);
        one.merge(&other);
        assert_eq!((one.messages, one.bytes), (4, 212));
        assert_eq!(one.first, [b'x'; UNASKED_SHOWN_BYTES]);
    }
}
