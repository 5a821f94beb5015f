//! Masking (RFC 6455 5.3), by words, in place. Masking and unmasking are the same.

/// Applies a mask whose first byte belongs to the first of `bytes`.
#[inline]
pub fn mask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = widen(mask);
    // A loop that LLVM turns into vector instructions.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (index, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
}

/// The mask as it is to be applied behind `bytes` more bytes of the payload.
#[must_use]
#[inline]
pub fn advance(mask: [u8; 4], bytes: usize) -> [u8; 4] {
    [0, 1, 2, 3].map(|index| mask[(bytes % 4 + index) % 4])
}

/// Unmasks `length` bytes from `from` on and writes them to `to` on, in one pass. The places may
/// overlap.
///
/// # Panics
/// If `to` is above `from` (what is written would be read again), or on a range outside of `bytes`.
#[inline]
pub(super) fn unmask_down(bytes: &mut [u8], from: usize, to: usize, length: usize, mask: [u8; 4]) {
    assert!(to <= from);
    let bytes = &mut bytes[to..from + length];
    let gap = from - to;
    let wide = widen(mask);
    let mut at = 0;
    // Each block is read whole before a part of it is written over.
    while at + 16 <= length {
        let block: [u8; 16] = array(&bytes[gap + at..]);
        let [low, high] = [array(&block), array(&block[8..])].map(u64::from_ne_bytes);
        bytes[at..at + 8].copy_from_slice(&(low ^ wide).to_ne_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&(high ^ wide).to_ne_bytes());
        at += 16;
    }
    while at < length {
        bytes[at] = bytes[gap + at] ^ mask[at % 4];
        at += 1;
    }
}

#[inline]
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// The mask twice.
#[inline]
fn widen(mask: [u8; 4]) -> u64 {
    let [a, b, c, d] = mask;
    u64::from_ne_bytes([a, b, c, d, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as the RFC states it: `transformed[i] = original[i] XOR mask[i MOD 4]`.
    fn naive(bytes: &[u8], mask: [u8; 4]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect()
    }

    proptest! {
        #[test]
        fn words_do_what_bytes_do(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            offset in 0..16usize,
            cut in 0..200usize,
        ) {
            let start = offset.min(bytes.len());
            let expected = naive(&bytes[start..], key);

            let mut whole = bytes.clone();
            mask(&mut whole[start..], key);
            prop_assert_eq!(&whole[start..], &expected);

            let mut cut_up = bytes.clone();
            let cut = cut.min(bytes.len() - start);
            let (left, right) = cut_up[start..].split_at_mut(cut);
            mask(left, key);
            mask(right, advance(key, cut));
            prop_assert_eq!(&cut_up[start..], &expected);
        }

        #[test]
        fn moving_down_does_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            from in 0..40usize,
            to in 0..40usize,
        ) {
            let from = from.min(bytes.len());
            let to = to.min(from);
            let length = bytes.len() - from;
            let mut moved = bytes.clone();
            unmask_down(&mut moved, from, to, length, key);
            prop_assert_eq!(&moved[to..to + length], &naive(&bytes[from..], key));
            prop_assert_eq!(&moved[..to], &bytes[..to]);
        }
    }
}
