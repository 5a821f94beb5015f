//! The ciphers of records. A connection keeps its key; what a cipher makes of it before it can
//! begin is ten times as large and takes a tenth of a microsecond, so it is kept for the busy ones
//! only.

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

    /// Encrypts in place, and `more` behind it; the tag comes last. `None`: it could not, which
    /// does not happen with contents as long as records may have.
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
/// way. A key has two places where its cipher can lie.
pub struct Contexts {
    sets: Vec<[Option<Box<Place>>; 2]>,
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

impl Place {
    fn is_of(&self, aead: Aead, key: &Key) -> bool {
        self.key == *key && self.aead == aead
    }
}

/// What a cipher that is kept takes, in bytes.
pub const CONTEXT_BYTES: usize = size_of::<Place>();

impl Contexts {
    /// Room for so many, rounded up to a power of two, two at the least; one for each direction of
    /// a connection.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let sets = (places / 2).max(1).next_power_of_two();
        Self { sets: (0..sets).map(|_| [None, None]).collect(), hits: 0, misses: 0 }
    }

    /// How often a cipher was found ready, and was not.
    #[must_use]
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    fn set(&mut self, key: &Key) -> &mut [Option<Box<Place>>; 2] {
        // Keys are random: any bytes of them are as good as a hash.
        let [a, b, c, d, ..] = key.0;
        let mask = self.sets.len() - 1;
        &mut self.sets[u32::from_le_bytes([a, b, c, d]) as usize & mask]
    }

    /// Does something with the cipher of a key.
    #[inline]
    pub(crate) fn with<R>(&mut self, aead: Aead, key: &Key, does: impl FnOnce(&Context) -> R) -> R {
        let set = self.set(key);
        let found =
            set.iter().position(|place| place.as_ref().is_some_and(|place| place.is_of(aead, key)));
        match found.and_then(|at| set[at].as_mut()) {
            Some(place) => {
                place.used = true;
                let result = does(&place.context);
                self.hits += 1;
                result
            }
            None => {
                self.misses += 1;
                self.with_new(aead, key, does)
            }
        }
    }

    /// The same for one that is not here: it is kept if somebody gives way to it.
    fn with_new<R>(&mut self, aead: Aead, key: &Key, does: impl FnOnce(&Context) -> R) -> R {
        let set = self.set(key);
        let context = Context::new(aead, key);
        let result = does(&context);
        if let Some(empty) = set.iter_mut().find(|place| place.is_none()) {
            *empty = Some(Box::new(Place { key: *key, aead, context, used: false }));
        } else if let Some(place) = set.iter_mut().flatten().find(|place| !place.used) {
            **place = Place { key: *key, aead, context, used: false };
        } else {
            // Those that are in use stay once more: where many are used in turn, keeping the last
            // would help none.
            set.iter_mut().flatten().for_each(|place| place.used = false);
        }
        result
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.sets.iter().flatten().flatten().count()
    }

    /// A key is used no more.
    pub(crate) fn forget(&mut self, key: &Key) {
        for place in self.set(key) {
            if place.as_ref().is_some_and(|it| it.key == *key) {
                *place = None;
            }
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
        let Self { sets, hits, misses } = self;
        let places = 2 * sets.len();
        f.debug_struct("Contexts")
            .field("places", &places)
            .field("hits", hits)
            .field("misses", misses)
            .finish()
    }
}
