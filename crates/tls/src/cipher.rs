//! The ciphers of records. A connection keeps its key; what a cipher makes of it before it can begin
//! is ten times as large and takes a tenth of a microsecond, so it is kept for the busy ones only.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use std::fmt;
use zeroize::Zeroize;

/// Bytes of the longest key.
pub(crate) const KEY_BYTES_MAX: usize = 32;
/// Bytes of every nonce, and of every IV that it is made of.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of every tag.
pub(crate) const TAG_BYTES: usize = 16;

/// An authenticated cipher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aead {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Aead {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    pub(crate) fn key_bytes(self) -> usize {
        self.algorithm().key_len()
    }

    /// Records that one key may seal (RFC 8446 5.5, and `rustls`'s reading of it).
    pub(crate) fn records_max(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 24,
            Self::ChaCha20Poly1305 => u64::MAX,
        }
    }
}

/// A key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Key(pub(crate) [u8; KEY_BYTES_MAX]);

impl Key {
    /// From the bytes of a key; a shorter one is followed by zeros.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let mut key = [0; KEY_BYTES_MAX];
        key.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(key))
    }
}

impl Zeroize for Key {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// Nothing of a key is ever shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A cipher that may begin.
pub(crate) struct Context(LessSafeKey);

impl Context {
    fn new(aead: Aead, key: &Key) -> Self {
        let bytes = &key.0[..aead.key_bytes()];
        let key = UnboundKey::new(aead.algorithm(), bytes).expect("the key has that length");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts in place, and `more` behind it; the tag comes last. `None`: it could not, which does
    /// not happen with contents as long as records may have.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        additional: &[u8],
        content: &mut [u8],
        more: &[u8],
        tag: &mut [u8],
    ) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let additional = Aad::from(additional);
        self.0.seal_in_place_scatter(nonce, additional, content, more, tag).ok()
    }

    /// Decrypts into `plain`, which is as long as `sealed`. `None`: somebody has changed something.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        additional: &[u8],
        (sealed, tag): (&[u8], &[u8]),
        plain: &mut [u8],
    ) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(additional), sealed, tag, plain).ok()
    }
}

/// The ciphers of connections that are busy, of one reactor: bounded, whoever is used least gives
/// way.
pub struct Contexts {
    places: Vec<Option<Place>>,
    /// How often a cipher was found here, and was not.
    hits: u64,
    misses: u64,
}

struct Place {
    key: Key,
    aead: Aead,
    context: Context,
    /// It was used since somebody else last wanted its place.
    used: bool,
}

impl Contexts {
    /// Room for so many, rounded up to a power of two; one for each direction of a connection.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let places = places.next_power_of_two();
        Self { places: (0..places).map(|_| None).collect(), hits: 0, misses: 0 }
    }

    /// How often a cipher was found ready, and was not.
    #[must_use]
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// Does something with the cipher of a key.
    #[inline]
    pub(crate) fn with<R>(&mut self, aead: Aead, key: &Key, does: impl FnOnce(&Context) -> R) -> R {
        // Keys are random: any bytes of them are as good as a hash.
        let [a, b, c, d, ..] = key.0;
        let mask = self.places.len() - 1;
        let place = &mut self.places[u32::from_le_bytes([a, b, c, d]) as usize & mask];
        match place {
            Some(it) if it.key == *key && it.aead == aead => {
                self.hits += 1;
                it.used = true;
                does(&it.context)
            }
            Some(it) if it.used => {
                // It stays once more: where many are used in turn, keeping the last would help none.
                self.misses += 1;
                it.used = false;
                does(&Context::new(aead, key))
            }
            empty => {
                self.misses += 1;
                let context = Context::new(aead, key);
                let it = empty.insert(Place { key: *key, aead, context, used: false });
                does(&it.context)
            }
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// A key is used no more.
    pub(crate) fn forget(&mut self, key: &Key) {
        let [a, b, c, d, ..] = key.0;
        let mask = self.places.len() - 1;
        let place = &mut self.places[u32::from_le_bytes([a, b, c, d]) as usize & mask];
        if place.as_ref().is_some_and(|it| it.key == *key) {
            *place = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { places, hits, misses } = self;
        let places = places.len();
        f.debug_struct("Contexts")
            .field("places", &places)
            .field("hits", hits)
            .field("misses", misses)
            .finish()
    }
}
