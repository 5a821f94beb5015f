//! `Secured`: a connection whose handshake is done, in about two hundred bytes. It opens and seals
//! records, follows the peer's updates of keys and makes its own, and ends with `close_notify`.

use crate::alert::Alert;
use crate::cipher::{Aead, Contexts};
use crate::post::{Message, Messages};
use crate::record::{ALERT, APPLICATION_DATA, Direction, HANDSHAKE, length};
use crate::{CONTENT_BYTES_MAX, HEADER_BYTES};

/// Updates of keys, empty records, or warnings that may come in a row without content between them:
/// as many as other libraries let through (`rustls` 32, OpenSSL 32, `rustls` 4).
const KEY_UPDATES_MAX: u8 = 32;
const EMPTY_MAX: u8 = 32;
const WARNINGS_MAX: u8 = 4;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// TLS 1.2 (RFC 5246), with authenticated ciphers only.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Secured {
    version: Version,
    aead: Aead,
    read: Direction,
    write: Direction,
    messages: Messages,
    /// How many came in a row.
    key_updates: u8,
    empty: u8,
    warnings: u8,
}

/// What became of bytes that have come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opened {
    /// How many of them were taken. The others are a record that is only partly here, or lie behind
    /// the end.
    pub used: usize,
    /// Why nothing more is to be opened, if so.
    pub end: Option<End>,
}

/// Why nothing more is to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer said `close_notify`.
    Goodbye,
    /// Something was wrong.
    Broken(Broken),
}

/// What was wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// With what the peer sent: it was told this.
    Peer(Alert),
    /// With what we sent, as the peer says.
    Us(Alert),
}

/// A key of TLS 1.2 has sealed all that it may, and that version has no way to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key has sealed as many records as it may, and TLS 1.2 cannot change it")]
pub struct UsedUp;

impl Secured {
    pub(crate) fn new(version: Version, aead: Aead, read: Direction, write: Direction) -> Self {
        let messages = Messages::default();
        Self { version, aead, read, write, messages, key_updates: 0, empty: 0, warnings: 0 }
    }

    /// The version of the protocol, and the cipher.
    #[must_use]
    pub fn suite(&self) -> (Version, Aead) {
        (self.version, self.aead)
    }

    /// Opens all records that are whole. What they carry is appended to `plain`, what has to be
    /// said to them to `out`.
    pub fn open(
        &mut self,
        contexts: &mut Contexts,
        wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Opened {
        let mut used = 0;
        loop {
            let rest = &wire[used..];
            let record = match length(rest) {
                Ok(Some(length)) if length <= rest.len() => &rest[..length],
                Ok(_) => return Opened { used, end: None },
                Err(alert) => return self.refuse(contexts, alert, used, out),
            };
            used += record.len();
            match self.open_one(contexts, record, plain, out) {
                Ok(None) => {}
                Ok(end) => return Opened { used, end },
                Err(alert) => return self.refuse(contexts, alert, used, out),
            }
        }
    }

    /// Tells the peer that it broke a rule.
    #[cold]
    fn refuse(
        &mut self,
        contexts: &mut Contexts,
        alert: Alert,
        used: usize,
        out: &mut Vec<u8>,
    ) -> Opened {
        self.say(contexts, ALERT, &[FATAL, alert.0], out);
        Opened { used, end: Some(End::Broken(Broken::Peer(alert))) }
    }

    /// Opens one whole record. Why it was the last, if it was.
    #[inline]
    fn open_one(
        &mut self,
        contexts: &mut Contexts,
        record: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Option<End>, Alert> {
        let (kind, length) = self.read.open(self.suite(), contexts, record, plain)?;
        if kind == APPLICATION_DATA && length > 0 && !self.messages.is_partial() {
            (self.key_updates, self.empty, self.warnings) = (0, 0, 0);
            return Ok(None);
        }
        let at = plain.len() - length;
        let content = &plain[at..];
        let end = match kind {
            // No record may come between the parts of a message (RFC 8446 5.1).
            _ if self.messages.is_partial() && kind != HANDSHAKE => Err(Alert::UNEXPECTED_MESSAGE),
            APPLICATION_DATA => count(&mut self.empty, EMPTY_MAX).map(|()| None),
            ALERT => self.alerted(content),
            HANDSHAKE => {
                let content = content.to_vec();
                self.spoken_to(contexts, &content, out).map(|()| None)
            }
            _ => Err(Alert::UNEXPECTED_MESSAGE),
        };
        plain.truncate(at);
        end
    }

    /// The peer sent an alert.
    fn alerted(&mut self, content: &[u8]) -> Result<Option<End>, Alert> {
        let &[level, number] = content else { return Err(Alert::DECODE_ERROR) };
        let alert = Alert(number);
        match alert {
            Alert::CLOSE_NOTIFY => Ok(Some(End::Goodbye)),
            // It is followed by `close_notify` (RFC 8446 6.1).
            Alert::USER_CANCELED => count(&mut self.warnings, WARNINGS_MAX).map(|()| None),
            // By TLS 1.3 every other one is fatal, whatever it says of itself.
            _ if self.version == Version::Tls12 && level == WARNING => {
                count(&mut self.warnings, WARNINGS_MAX).map(|()| None)
            }
            _ => Ok(Some(End::Broken(Broken::Us(alert)))),
        }
    }

    /// The peer sent messages of a handshake, or parts of some.
    #[cold]
    fn spoken_to(
        &mut self,
        contexts: &mut Contexts,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Alert> {
        if content.is_empty() {
            // RFC 8446 5.1.
            return Err(Alert::UNEXPECTED_MESSAGE);
        }
        let mut rest = content;
        while !rest.is_empty() {
            let (message, used) = self.messages.take(rest)?;
            rest = &rest[used..];
            match message {
                None => {}
                Some(Message::Ticket) => count(&mut self.empty, EMPTY_MAX)?,
                Some(Message::KeyUpdate { asks }) => {
                    // What follows is sealed with the next key, so nothing may in this record.
                    if self.version != Version::Tls13 || !rest.is_empty() {
                        return Err(Alert::UNEXPECTED_MESSAGE);
                    }
                    count(&mut self.key_updates, KEY_UPDATES_MAX)?;
                    self.read.update(self.aead, contexts);
                    if asks {
                        self.update_key(contexts, out);
                    }
                }
                Some(Message::Renegotiation) => {
                    if self.version != Version::Tls12 {
                        return Err(Alert::UNEXPECTED_MESSAGE);
                    }
                    // Refused without ending the connection (RFC 5246 7.2.2).
                    count(&mut self.warnings, WARNINGS_MAX)?;
                    self.say(contexts, ALERT, &[WARNING, Alert::NO_RENEGOTIATION.0], out);
                }
            }
        }
        Ok(())
    }

    /// Announces our next key, and takes it.
    fn update_key(&mut self, contexts: &mut Contexts, out: &mut Vec<u8>) {
        self.say(contexts, HANDSHAKE, &[24, 0, 0, 1, 0], out);
        self.write.update(self.aead, contexts);
    }

    pub(crate) fn say(
        &mut self,
        contexts: &mut Contexts,
        kind: u8,
        content: &[u8],
        out: &mut Vec<u8>,
    ) {
        let suite = self.suite();
        self.write.seal(suite, contexts, (kind, content), out);
    }

    /// Seals bytes that are to be sent, and appends the records to `out`.
    ///
    /// # Errors
    /// If the key is used up by TLS 1.2: the connection is to be ended.
    #[inline]
    pub fn seal(
        &mut self,
        contexts: &mut Contexts,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UsedUp> {
        self.seal_up_to(self.aead.records_max(), contexts, plain, out)
    }

    /// The same, with a key that may seal so many records.
    fn seal_up_to(
        &mut self,
        records_max: u64,
        contexts: &mut Contexts,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UsedUp> {
        for content in plain.chunks(CONTENT_BYTES_MAX) {
            if self.write.is_used_up(records_max) {
                match self.version {
                    Version::Tls13 => self.update_key(contexts, out),
                    Version::Tls12 => return Err(UsedUp),
                }
            }
            self.say(contexts, APPLICATION_DATA, content, out);
        }
        Ok(())
    }

    /// Bytes that so many take when they are sealed.
    #[must_use]
    pub fn sealed_bytes(&self, plain: usize) -> usize {
        let each = HEADER_BYTES + if self.version == Version::Tls13 { 17 } else { 24 };
        plain + plain.div_ceil(CONTENT_BYTES_MAX) * each
    }

    /// Says `close_notify`: nothing follows.
    pub fn goodbye(&mut self, contexts: &mut Contexts, out: &mut Vec<u8>) {
        self.say(contexts, ALERT, &[WARNING, Alert::CLOSE_NOTIFY.0], out);
    }

    /// The connection has ended: no cipher of it is kept. The keys are erased with it.
    pub fn end(self, contexts: &mut Contexts) {
        self.read.forget(contexts);
        self.write.forget(contexts);
    }
}

/// Counts one more in a row.
fn count(counter: &mut u8, most: u8) -> Result<(), Alert> {
    *counter += 1;
    if *counter > most { Err(Alert::UNEXPECTED_MESSAGE) } else { Ok(()) }
}

// A million connections times eight bytes is 8 MB.
const _: () = assert!(size_of::<Secured>() == 220);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ends::{Suite, pair};

    #[test]
    fn a_key_is_changed_before_it_is_used_up_and_by_tls_1_2_that_is_the_end() {
        for suite in Suite::ALL {
            let (mut client, mut server) = pair(suite, &[usize::MAX]);
            let mut refused = 0;
            for number in 0..100 {
                let mut wire = Vec::new();
                let sealed =
                    client.secured.seal_up_to(10, &mut client.contexts, &[number], &mut wire);
                refused += u32::from(sealed.is_err());
                let heard = server.open(&wire, &[usize::MAX]).expect("right").0;
                assert_eq!(heard, vec![number; usize::from(sealed.is_ok())]);
            }
            assert_eq!(refused > 0, suite.version() == Version::Tls12);
        }
    }
}
