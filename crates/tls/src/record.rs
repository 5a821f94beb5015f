//! Records: how long they may be, and one direction of a connection, which seals or opens them one
//! after the other (RFC 8446 5, RFC 5246 6, RFC 5288, RFC 7905).

use crate::alert::Alert;
use crate::cipher::{Aead, Contexts, Key, NONCE_BYTES, TAG_BYTES};
use crate::schedule::Secret;
use crate::secured::Version;
use crate::{CONTENT_BYTES_MAX, HEADER_BYTES};
use zeroize::Zeroize;

/// What a record carries.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;

/// The part of a nonce that travels with a record of TLS 1.2 and GCM.
const EXPLICIT_BYTES: usize = 8;

/// The length of the record at the beginning of `bytes`, header included, once that is here.
///
/// # Errors
/// If no record may look like that: the alert to answer with.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, Alert> {
    let Some([kind, major, _, high, low]) = bytes.first_chunk().copied() else { return Ok(None) };
    if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind) || major != 3 {
        return Err(Alert::DECODE_ERROR);
    }
    let content = usize::from(u16::from_be_bytes([high, low]));
    // What TLS 1.3 allows is less: `Direction::open` sees to that.
    if content > CONTENT_BYTES_MAX + 2048 {
        return Err(Alert::RECORD_OVERFLOW);
    }
    Ok(Some(HEADER_BYTES + content))
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Direction {
    /// Records sealed or opened with this key, as the bytes that nonces have: a number would make
    /// every connection eight bytes larger.
    sequence: [u8; 8],
    key: Key,
    iv: [u8; NONCE_BYTES],
    /// What the next key is made of, by TLS 1.3.
    secret: Secret,
}

impl Direction {
    pub(crate) fn new(sequence: u64, key: Key, iv: [u8; NONCE_BYTES], secret: Secret) -> Self {
        Self { sequence: sequence.to_be_bytes(), key, iv, secret }
    }

    fn sequence(&self) -> u64 {
        u64::from_be_bytes(self.sequence)
    }

    fn count_record(&mut self) {
        self.sequence = (self.sequence() + 1).to_be_bytes();
    }

    /// Whether the next record is the last but one that this key may seal.
    pub(crate) fn is_used_up(&self, records_max: u64) -> bool {
        self.sequence() >= records_max.saturating_sub(2)
    }

    /// The next key takes over.
    pub(crate) fn update(&mut self, aead: Aead, contexts: &mut Contexts) {
        contexts.forget(&self.key);
        let next = self.secret.next(aead);
        self.erase();
        (self.key, self.iv) = next.key_and_iv(aead);
        self.secret = next;
    }

    fn erase(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
        self.secret.zeroize();
        self.sequence = [0; 8];
    }

    /// It is used no more.
    pub(crate) fn forget(&self, contexts: &mut Contexts) {
        contexts.forget(&self.key);
    }

    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence) {
            *byte ^= number;
        }
        nonce
    }

    /// Appends one record with this content, which is no longer than contents may be.
    pub(crate) fn seal(
        &mut self,
        (version, aead): (Version, Aead),
        contexts: &mut Contexts,
        (kind, content): (u8, &[u8]),
        out: &mut Vec<u8>,
    ) {
        debug_assert!(content.len() <= CONTENT_BYTES_MAX);
        let nonce = self.nonce();
        let (explicit, more) = match version {
            Version::Tls13 => (&[][..], &[kind][..]),
            Version::Tls12 => (explicit(aead, &nonce), &[][..]),
        };
        let length = explicit.len() + content.len() + more.len() + TAG_BYTES;
        let [high, low] = (length as u16).to_be_bytes();
        let outside = if version == Version::Tls13 { APPLICATION_DATA } else { kind };
        let header = [outside, 3, 3, high, low];
        out.extend(header);
        out.extend(explicit);
        let at = out.len();
        out.extend(content);
        out.resize(at + content.len() + more.len() + TAG_BYTES, 0);
        let additional = Additional::of(version, header, self.sequence, content.len());
        let (place, behind) = out[at..].split_at_mut(content.len());
        let sealed = contexts.with(aead, &self.key, |context| {
            context.seal(nonce, additional.bytes(), place, more, behind)
        });
        sealed.expect("contents are as long as ciphers can take");
        self.count_record();
    }

    /// Opens one whole record; its content is appended to `plain`. What it carries, and how much
    /// of that.
    ///
    /// # Errors
    /// If it breaks a rule: the alert to answer with. Then `plain` is as it was.
    pub(crate) fn open(
        &mut self,
        (version, aead): (Version, Aead),
        contexts: &mut Contexts,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(u8, usize), Alert> {
        let (header, sealed) =
            record.split_first_chunk::<HEADER_BYTES>().ok_or(Alert::DECODE_ERROR)?;
        let most = match version {
            // RFC 8446 5.2.
            Version::Tls13 => CONTENT_BYTES_MAX + 256,
            Version::Tls12 => CONTENT_BYTES_MAX + 2048,
        };
        if sealed.len() > most {
            return Err(Alert::RECORD_OVERFLOW);
        }
        if version == Version::Tls13 && header[0] != APPLICATION_DATA {
            // Everything is sealed by now, and looks like that.
            return Err(Alert::UNEXPECTED_MESSAGE);
        }
        let mut nonce = self.nonce();
        let mut sealed = sealed;
        if version == Version::Tls12 && aead != Aead::ChaCha20Poly1305 {
            let (explicit, rest) =
                sealed.split_first_chunk::<EXPLICIT_BYTES>().ok_or(Alert::DECODE_ERROR)?;
            nonce[4..].copy_from_slice(explicit);
            sealed = rest;
        }
        let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Alert::DECODE_ERROR)?;
        let additional = Additional::of(version, *header, self.sequence, sealed.len());
        let at = plain.len();
        plain.resize(at + sealed.len(), 0);
        let opened = contexts.with(aead, &self.key, |context| {
            context.open(nonce, additional.bytes(), (sealed, tag), &mut plain[at..])
        });
        let what = match opened {
            None => Err(Alert::BAD_RECORD_MAC),
            Some(()) if version == Version::Tls12 => Ok((header[0], plain.len() - at)),
            Some(()) => unpadded(&plain[at..]),
        };
        let Ok((kind, length)) = what.and_then(|(kind, length)| {
            if length > CONTENT_BYTES_MAX {
                Err(Alert::RECORD_OVERFLOW)
            } else {
                Ok((kind, length))
            }
        }) else {
            plain.truncate(at);
            return what.and(Err(Alert::RECORD_OVERFLOW));
        };
        plain.truncate(at + length);
        self.count_record();
        Ok((kind, length))
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.erase();
    }
}

/// The explicit part of a nonce, where a suite of TLS 1.2 has one.
fn explicit(aead: Aead, nonce: &[u8; NONCE_BYTES]) -> &[u8] {
    match aead {
        Aead::Aes128Gcm | Aead::Aes256Gcm => &nonce[4..],
        Aead::ChaCha20Poly1305 => &[],
    }
}

/// What an inner record of TLS 1.3 carries, and how long that is without its padding
/// (RFC 8446 5.4).
fn unpadded(inner: &[u8]) -> Result<(u8, usize), Alert> {
    let at = inner.iter().rposition(|byte| *byte != 0).ok_or(Alert::UNEXPECTED_MESSAGE)?;
    Ok((inner[at], at))
}

/// What is authenticated besides the content.
enum Additional {
    Tls13([u8; HEADER_BYTES]),
    Tls12([u8; 13]),
}

impl Additional {
    fn of(version: Version, header: [u8; HEADER_BYTES], sequence: [u8; 8], length: usize) -> Self {
        if version == Version::Tls13 {
            return Self::Tls13(header);
        }
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&sequence);
        bytes[8..11].copy_from_slice(&header[..3]);
        bytes[11..].copy_from_slice(&(length as u16).to_be_bytes());
        Self::Tls12(bytes)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Tls13(bytes) => bytes,
            Self::Tls12(bytes) => bytes,
        }
    }
}
