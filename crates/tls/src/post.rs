//! Handshake messages behind the handshake: tickets, which are passed over, updates of keys, and
//! the beginning of a renegotiation. They may be cut across records, and several may share one.

use crate::alert::Alert;

/// Their types (RFC 8446 4, RFC 5246 7.4).
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// The longest ticket that is passed over: what `rustls` takes of any handshake message.
const TICKET_BYTES_MAX: u32 = 0xffff;

/// A message that is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    /// A ticket for a later connection.
    Ticket,
    /// The peer's next key takes over; it may ask for ours to do so too.
    KeyUpdate { asks: bool },
    /// The peer wants to shake hands anew, by TLS 1.2.
    Renegotiation,
}

/// How far a message has come.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Its type, its length, and the first byte of its body.
    head: [u8; 5],
    /// Bytes of those that are here.
    here: u8,
    /// Bytes behind them that are to be passed over.
    left: u32,
}

impl Messages {
    /// Whether a message is only partly here.
    pub(crate) fn is_partial(&self) -> bool {
        self.here > 0
    }

    /// Takes the next bytes: a message, if one ends in them, and how many of them belong to it.
    ///
    /// # Errors
    /// If such a message may not come: the alert to answer with.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(Option<Message>, usize), Alert> {
        let mut used = 0;
        while usize::from(self.here) < self.head_bytes() {
            let Some(byte) = bytes.get(used) else { return Ok((None, used)) };
            self.head[usize::from(self.here)] = *byte;
            self.here += 1;
            used += 1;
            if self.here == 4 {
                self.left = self.body_left()?;
            }
        }
        let passed = (bytes.len() - used).min(self.left as usize);
        self.left -= passed as u32;
        used += passed;
        if self.left > 0 {
            return Ok((None, used));
        }
        let message = match (self.head[0], self.head[4]) {
            (NEW_SESSION_TICKET, _) => Message::Ticket,
            (KEY_UPDATE, asks @ (0 | 1)) => Message::KeyUpdate { asks: asks == 1 },
            (KEY_UPDATE, _) => return Err(Alert::ILLEGAL_PARAMETER),
            _ => Message::Renegotiation,
        };
        *self = Self::default();
        Ok((Some(message), used))
    }

    /// Bytes that are kept of it.
    fn head_bytes(&self) -> usize {
        if self.here >= 4 && self.head[0] != KEY_UPDATE { 4 } else { 5 }
    }

    /// Bytes behind what is kept, by its type and length.
    fn body_left(&self) -> Result<u32, Alert> {
        let [kind, a, b, c, _] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        match kind {
            KEY_UPDATE if length == 1 => Ok(0),
            KEY_UPDATE => Err(Alert::DECODE_ERROR),
            HELLO_REQUEST if length == 0 => Ok(0),
            NEW_SESSION_TICKET | CLIENT_HELLO if length <= TICKET_BYTES_MAX => Ok(length),
            NEW_SESSION_TICKET | CLIENT_HELLO | HELLO_REQUEST => Err(Alert::DECODE_ERROR),
            _ => Err(Alert::UNEXPECTED_MESSAGE),
        }
    }
}
