//! The stamp at the head of each message: what proves that a reply is the right one, and when its
//! message was meant to leave and did leave.

/// The length of a stamp, in bytes.
pub const STAMP_BYTES: usize = 32;

/// What a message says of itself. The peer sends it back untouched, so nothing about a message in
/// flight needs to be remembered here but its sequence number.
///
/// ```text
///  0        4            8           12      16              24          32
///  | tag    | connection | sequence  | check | intended (ns) | sent (ns) |   all little-endian
/// ```
///
/// The tag tells runs apart (it comes from the seed); the check is a hash of everything else, so a
/// damaged stamp cannot pass for a latency.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// Tells this run's messages from foreign ones.
    pub tag: u32,
    /// The connection's number within the run.
    pub connection: u32,
    /// The message's number on its connection; wraps around.
    pub sequence: u32,
    /// When the message was meant to be sent, on the client's clock, in nanoseconds.
    pub intended: u64,
    /// When it was handed to the kernel, on the same clock, in nanoseconds.
    pub sent: u64,
}

impl Stamp {
    /// The bytes on the wire.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; STAMP_BYTES] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let whose = pair(self.tag, self.connection);
        let words = [whose, pair(self.sequence, self.check()), self.intended, self.sent];
        let mut bytes = [0; STAMP_BYTES];
        // By words: what is written in small parts cannot be read at once as a large one.
        for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
            eight.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The stamp in these bytes, or `None` if they were not written by [`Stamp::to_bytes`].
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: &[u8; STAMP_BYTES]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let [whose, which, intended, sent] = [0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i]));
        let stamp = Self {
            tag: whose as u32,
            connection: (whose >> 32) as u32,
            sequence: which as u32,
            intended,
            sent,
        };
        ((which >> 32) as u32 == stamp.check()).then_some(stamp)
    }

    /// A 32-bit hash of the other fields: two products of 128 bits, each folded on itself (the
    /// mixing step of wyhash). About two nanoseconds, since it is paid twice for every message.
    #[inline]
    fn check(&self) -> u32 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        };
        let whose = u64::from(self.tag) << 32 | u64::from(self.connection);
        let hash = fold(whose ^ 0xa076_1d64_78bd_642f, self.intended ^ 0xe703_7ed1_a0b4_28db)
            ^ fold(
                u64::from(self.sequence) ^ 0x8ebc_6af0_9c88_c6e3,
                self.sent ^ 0x5899_65cc_7537_4cc3,
            );
        (hash ^ hash >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_stamp()(
            tag: u32,
            connection: u32,
            sequence: u32,
            intended: u64,
            sent: u64,
        ) -> Stamp {
            Stamp { tag, connection, sequence, intended, sent }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(stamp in any_stamp()) {
            prop_assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), Some(stamp));
        }

        #[test]
        fn one_flipped_bit_is_noticed(stamp in any_stamp(), bit in 0..STAMP_BYTES * 8) {
            let mut bytes = stamp.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Stamp::from_bytes(&bytes), None);
        }
    }
}
