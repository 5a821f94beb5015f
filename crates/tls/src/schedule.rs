//! The key schedule of TLS 1.3, as far as it goes on after the handshake: keys of a traffic secret,
//! and the secret that comes next (RFC 8446 7.1 to 7.3).

use crate::cipher::{Aead, KEY_BYTES_MAX, Key, NONCE_BYTES};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use std::fmt;
use zeroize::Zeroize;

/// Bytes of the longest secret.
pub(crate) const SECRET_BYTES_MAX: usize = 48;

/// A traffic secret. All zeros where there is none: TLS 1.2 has no use for one.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Secret(pub(crate) [u8; SECRET_BYTES_MAX]);

impl Secret {
    pub(crate) const NONE: Self = Self([0; SECRET_BYTES_MAX]);

    /// From its bytes; a shorter one is followed by zeros.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self::NONE;
        secret.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(secret)
    }

    /// The key and IV that are made of it.
    pub(crate) fn key_and_iv(&self, aead: Aead) -> (Key, [u8; NONCE_BYTES]) {
        let (mut key, mut iv) = (Key([0; KEY_BYTES_MAX]), [0; NONCE_BYTES]);
        self.expand(aead, b"key", &mut key.0[..aead.key_bytes()]);
        self.expand(aead, b"iv", &mut iv);
        (key, iv)
    }

    /// The IV alone.
    pub(crate) fn iv(&self, aead: Aead) -> [u8; NONCE_BYTES] {
        let mut iv = [0; NONCE_BYTES];
        self.expand(aead, b"iv", &mut iv);
        iv
    }

    /// The secret that follows it.
    pub(crate) fn next(&self, aead: Aead) -> Self {
        let mut next = Self::NONE;
        self.expand(aead, b"traffic upd", &mut next.0[..hash_bytes(aead)]);
        next
    }

    /// `HKDF-Expand-Label(secret, label, "", out.len())`.
    fn expand(&self, aead: Aead, label: &[u8], out: &mut [u8]) {
        let (bytes, length) = (hash_bytes(aead), out.len());
        let prk = Prk::new_less_safe(hash(aead), &self.0[..bytes]);
        let head = [0, length as u8, (b"tls13 ".len() + label.len()) as u8];
        let info = [&head[..], b"tls13 ", label, &[0]];
        let okm = prk.expand(&info, Length(length)).expect("a short length");
        okm.fill(out).expect("that length");
    }
}

impl Zeroize for Secret {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// Nothing of a secret is ever shown.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The hash of the suites of TLS 1.3 with this cipher (RFC 8446 B.4).
fn hash(aead: Aead) -> hkdf::Algorithm {
    match aead {
        Aead::Aes128Gcm | Aead::ChaCha20Poly1305 => HKDF_SHA256,
        Aead::Aes256Gcm => HKDF_SHA384,
    }
}

/// Bytes of its output, and of a secret.
fn hash_bytes(aead: Aead) -> usize {
    match aead {
        Aead::Aes128Gcm | Aead::ChaCha20Poly1305 => 32,
        Aead::Aes256Gcm => 48,
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
        hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn keys_and_ivs_are_those_of_rfc_8448() {
        // Section 3, "derive write traffic keys for application data" at the server and the client.
        for (secret, key, iv) in [
            (
                "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
                "9f02283b6c9c07efc26bb9f2ac92e356",
                "cf782b88dd83549aadf1e984",
            ),
            (
                "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
                "17422dda596ed5d9acd890e3c63f5051",
                "5b78923dee08579033e523d9",
            ),
        ] {
            let secret = Secret::of(&bytes(secret)).expect("32 bytes");
            let (found_key, found_iv) = secret.key_and_iv(Aead::Aes128Gcm);
            assert_eq!(found_key.0[..16], bytes(key));
            assert_eq!(found_key.0[16..], [0; 16]);
            assert_eq!(found_iv[..], bytes(iv));
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secret = Secret::of(&[7; 32]).expect("32 bytes");
        let (key, _) = secret.key_and_iv(Aead::Aes256Gcm);
        assert_eq!(format!("{secret:?} {key:?}"), "Secret(..) Key(..)");
        assert!(Secret::of(&[0; 49]).is_none() && Key::of(&[0; 33]).is_none());
    }
}
