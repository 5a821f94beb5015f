//! `Handshake`: rustls up to the end of the handshake, fed one whole record at a time, so that
//! nothing is left in it when our records take over.

use crate::cipher::{Aead, Key};
use crate::record::{CHANGE_CIPHER_SPEC, Direction, length};
use crate::schedule::Secret;
use crate::secured::{Secured, Version};
use rustls::{
    CipherSuite, Connection, ConnectionTrafficSecrets, Error, HandshakeKind, KeyLog, NamedGroup,
    ProtocolVersion,
};
use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use zeroize::Zeroize;

/// A handshake under way, or done and not handed over yet.
pub struct Handshake {
    /// None once it is handed over, or has failed.
    connection: Option<Box<Connection>>,
    /// A record that is only partly here.
    partial: Vec<u8>,
    captured: Captured,
    /// It is not to be handed over before a ticket has come, if one may.
    lingers: bool,
    /// What the peer shows is verified.
    verifies: bool,
    heard_goodbye: bool,
}

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// More has to come.
    More,
    /// It is done.
    Agreed,
}

/// What both ends have agreed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// The version.
    pub version: Version,
    /// The cipher suite as IANA names it: `TLS_AES_128_GCM_SHA256`.
    pub suite: &'static str,
    /// The group of the key exchange; none where a session of TLS 1.2 is resumed.
    pub group: Option<NamedGroup>,
    /// It went on from an earlier session.
    pub resumed: bool,
    /// The protocol that was chosen by ALPN, if one was.
    pub alpn: Option<Vec<u8>>,
}

/// Why a handshake failed. What the peer is to be told is written already.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failed {
    /// As rustls says.
    #[error(transparent)]
    Rustls(#[from] Error),
    /// What came is no record.
    #[error("what came is no TLS: it begins with {0:02x?}")]
    NoRecord([u8; 5]),
    /// Secrets cannot be taken over from a suite or version like that.
    #[error("the two ends agreed on something that cannot be taken over")]
    Unsupported,
}

impl Handshake {
    /// Begins one. The configuration behind it must have [`Capture`] as its key log, and let
    /// secrets be extracted.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self::of_setup(connection, false, false)
    }

    pub(crate) fn of_setup(connection: Connection, lingers: bool, verifies: bool) -> Self {
        Self {
            connection: Some(Box::new(connection)),
            partial: Vec::new(),
            captured: Captured::default(),
            lingers,
            verifies,
            heard_goodbye: false,
        }
    }

    /// Begins one. At the client something is said.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            write(connection, out);
        }
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_handshaking())
    }

    pub(crate) fn is_server(&self) -> bool {
        self.connection.as_ref().is_some_and(|it| matches!(**it, Connection::Server(_)))
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.verifies
    }

    /// Whether it still waits for a ticket, behind the handshake: TLS 1.2 sends it before the end.
    pub(crate) fn waits_for_ticket(&self) -> bool {
        let is_tls13 = |connection: &Connection| {
            connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
        };
        self.lingers
            && self.captured.tickets == 0
            && self.connection.as_ref().is_some_and(|it| is_tls13(it))
    }

    /// Whether the peer has said `close_notify` already.
    pub(crate) fn heard_goodbye(&self) -> bool {
        self.heard_goodbye
    }

    /// Takes bytes that have come, up to the record behind which it can be handed over. What has to
    /// be said to them is appended to `out`, what they carry besides the handshake to `plain`. How
    /// far it is, or why it failed, with the alert that says so in `out`; and how many of the bytes
    /// were taken.
    pub fn take(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (Result<Step, Failed>, usize) {
        let mut used = 0;
        let taken = self.take_records(wire, &mut used, plain, out);
        (taken, used)
    }

    fn take_records(
        &mut self,
        wire: &[u8],
        used: &mut usize,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Step, Failed> {
        while *used < wire.len() {
            let rest = &wire[*used..];
            if self.partial.is_empty()
                && let Some(length) = whole_with_next(rest)?
                && length <= rest.len()
            {
                *used += length;
                self.take_record(&rest[..length], plain, out)?;
            } else {
                // First the header, then what that says is missing.
                let want = whole(&self.partial)?.unwrap_or(crate::HEADER_BYTES);
                let some = &rest[..rest.len().min(want - self.partial.len())];
                *used += some.len();
                self.partial.extend_from_slice(some);
                if whole(&self.partial)? == Some(self.partial.len()) {
                    let record = std::mem::take(&mut self.partial);
                    self.take_record(&record, plain, out)?;
                }
            }
            if self.is_done() && self.partial.is_empty() && !self.waits_for_ticket() {
                return Ok(Step::Agreed);
            }
        }
        Ok(if self.is_done() { Step::Agreed } else { Step::More })
    }

    /// Takes one whole record.
    fn take_record(
        &mut self,
        mut record: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failed> {
        while !record.is_empty() {
            let connection = self.connection.as_mut().ok_or(Failed::Unsupported)?;
            // A slice is always readable; zero says that rustls wants no more, which it does not
            // say of whole records.
            if connection.read_tls(&mut record).unwrap_or(0) == 0 {
                return Err(Failed::Unsupported);
            }
            let processed = self.captured.capture(|| connection.process_new_packets());
            write(connection, out);
            let state = processed?;
            self.heard_goodbye |= state.peer_has_closed();
            let (ready, at) = (state.plaintext_bytes_to_read(), plain.len());
            plain.resize(at + ready, 0);
            connection.reader().read_exact(&mut plain[at..]).map_err(|_| Failed::Unsupported)?;
        }
        Ok(())
    }

    /// What both ends have agreed on, once it is done.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        let connection = self.connection.as_deref().filter(|it| !it.is_handshaking())?;
        Some(Facts {
            version: version(connection)?,
            suite: name_of(connection.negotiated_cipher_suite()?.suite())?,
            group: connection.negotiated_key_exchange_group().map(|group| group.name()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        })
    }

    /// Seals bytes before it is handed over.
    ///
    /// # Errors
    /// If rustls does not.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        let connection = self.connection.as_mut().ok_or(Failed::Unsupported)?;
        // rustls has room for what was not written yet, and that is nothing.
        for piece in plain.chunks(crate::CONTENT_BYTES_MAX) {
            connection.writer().write_all(piece).map_err(|_| Failed::Unsupported)?;
            write(connection, out);
        }
        Ok(())
    }

    /// Says `close_notify` before it is handed over.
    pub(crate) fn goodbye(&mut self, out: &mut Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            connection.send_close_notify();
            write(connection, out);
        }
    }

    /// Takes over from rustls.
    ///
    /// # Errors
    /// If it is not done, or what was agreed on cannot be taken over.
    pub fn hand_over(&mut self) -> Result<Secured, Failed> {
        let connection = *self.connection.take().ok_or(Failed::Unsupported)?;
        let version = version(&connection).ok_or(Failed::Unsupported)?;
        let Captured { client, server, .. } = self.captured;
        let (ours, theirs) = match &connection {
            Connection::Client(_) => (client, server),
            Connection::Server(_) => (server, client),
        };
        let extracted = connection.dangerous_extract_secrets()?;
        let (aead, write) = direction(version, extracted.tx, ours)?;
        let (_, read) = direction(version, extracted.rx, theirs)?;
        Ok(Secured::new(version, aead, read, write))
    }
}

/// The same of the record that follows as well, where the first only says that ciphers change: none
/// is the last of a handshake.
fn whole_with_next(bytes: &[u8]) -> Result<Option<usize>, Failed> {
    let first = whole(bytes)?;
    if let (Some(length), Some(&CHANGE_CIPHER_SPEC)) = (first, bytes.first())
        && let Some(rest) = bytes.get(length..)
        && let Some(next) = whole(rest)?
        && length + next <= bytes.len()
    {
        return Ok(Some(length + next));
    }
    Ok(first)
}

/// The name of a suite by IANA; rustls has its own for those of 1.3.
pub(crate) fn name_of(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        suite => suite.as_str(),
    }
}

fn version(connection: &Connection) -> Option<Version> {
    match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => Some(Version::Tls13),
        ProtocolVersion::TLSv1_2 => Some(Version::Tls12),
        _ => None,
    }
}

/// Writes what rustls wants to be written.
fn write(connection: &mut Connection, out: &mut Vec<u8>) {
    // Into a vector nothing fails, and something is written each time.
    while connection.wants_write() && connection.write_tls(out).is_ok_and(|bytes| bytes > 0) {}
}

/// The length of the record that `bytes` begin with, once that can be known.
fn whole(bytes: &[u8]) -> Result<Option<usize>, Failed> {
    length(bytes).map_err(|_| Failed::NoRecord(bytes.first_chunk().copied().unwrap_or_default()))
}

/// One direction, as it goes on.
fn direction(
    version: Version,
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
    secret: Option<Secret>,
) -> Result<(Aead, Direction), Failed> {
    let (aead, key, iv) = match &secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Aead::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Aead::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Aead::ChaCha20Poly1305, key, iv),
        _ => return Err(Failed::Unsupported),
    };
    let key = Key::of(key.as_ref()).ok_or(Failed::Unsupported)?;
    let iv = iv.as_ref().try_into().map_err(|_| Failed::Unsupported)?;
    let secret = match version {
        Version::Tls12 => Secret::NONE,
        // Without it, or with another connection's, no update of keys could be followed.
        Version::Tls13 => {
            let first = secret.ok_or(Failed::Unsupported)?;
            // While rustls kept it there may have been updates of keys.
            let mut all = std::iter::successors(Some(first), |it| Some(it.next(aead))).take(64);
            all.find(|it| it.iv(aead) == iv).ok_or(Failed::Unsupported)?
        }
    };
    Ok((aead, Direction::new(sequence, key, iv, secret)))
}

/// The traffic secrets of a connection, as far as rustls has told them, and tickets that came.
#[derive(Clone, Copy, Debug, Default)]
struct Captured {
    client: Option<Secret>,
    server: Option<Secret>,
    tickets: u32,
}

thread_local! {
    /// Where they are told, while a connection of this thread is at work.
    static CAPTURED: RefCell<Captured> =
        const { RefCell::new(Captured { client: None, server: None, tickets: 0 }) };
}

/// A ticket has come on the connection that is at work.
pub(crate) fn ticket_came() {
    CAPTURED.with_borrow_mut(|captured| captured.tickets += 1);
}

impl Captured {
    /// Adds what is told meanwhile.
    fn capture<R>(&mut self, does: impl FnOnce() -> R) -> R {
        CAPTURED.set(*self);
        let result = does();
        *self = CAPTURED.take();
        result
    }

    fn erase(&mut self) {
        self.client.zeroize();
        self.server.zeroize();
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.captured.erase();
        self.partial.zeroize();
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("partial", &self.partial.len()).finish_non_exhaustive()
    }
}

/// The key log that hands traffic secrets to [`Handshake`], and to another key log where one is
/// asked for.
#[derive(Debug, Default)]
pub struct Capture {
    also: Option<Arc<dyn KeyLog>>,
}

impl Capture {
    /// With another one beside it.
    #[must_use]
    pub fn with(also: Option<Arc<dyn KeyLog>>) -> Self {
        Self { also }
    }
}

impl KeyLog for Capture {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        CAPTURED.with_borrow_mut(|captured| match label {
            "CLIENT_TRAFFIC_SECRET_0" => captured.client = Secret::of(secret),
            "SERVER_TRAFFIC_SECRET_0" => captured.server = Secret::of(secret),
            _ => {}
        });
        if let Some(also) = &self.also {
            also.log(label, client_random, secret);
        }
    }
}
