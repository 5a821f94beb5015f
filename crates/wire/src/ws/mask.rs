//! Masking (RFC 6455 5.3), by words, in place. Masking and unmasking are the same.

use std::array;
use std::cell::Cell;

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

/// Writes `bytes` with a mask applied behind `out`.
#[inline]
pub(super) fn append_masked(bytes: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len(), 0);
    copy_masked(bytes, key, &mut out[start..]);
}

/// Writes `bytes` with a mask applied to `out`, which is as long.
#[inline]
pub(super) fn copy_masked(bytes: &[u8], key: [u8; 4], out: &mut [u8]) {
    let ((blocks, rest), (out, out_rest)) =
        (bytes.as_chunks::<BLOCK>(), out.as_chunks_mut::<BLOCK>());
    for (out, block) in out.iter_mut().zip(blocks) {
        *out = masked(*block, key);
    }
    for ((out, byte), index) in out_rest.iter_mut().zip(rest).zip(0..) {
        *out = byte ^ key[index % 4];
    }
}

#[inline]
fn masked(block: [u8; BLOCK], key: [u8; 4]) -> [u8; BLOCK] {
    array::from_fn(|index| block[index] ^ key[index % 4])
}

/// The mask as it is to be applied behind `bytes` more bytes of the payload.
#[must_use]
#[inline]
pub fn advance(mask: [u8; 4], bytes: usize) -> [u8; 4] {
    [0, 1, 2, 3].map(|index| mask[(bytes % 4 + index) % 4])
}

/// Whether these bytes, unmasked, are ASCII.
#[inline]
pub(super) fn hides_ascii(bytes: &[u8], mask: [u8; 4]) -> bool {
    let wide = widen(mask);
    let (words, rest) = bytes.as_chunks::<8>();
    let high = words.iter().fold(0, |high, word| high | (u64::from_ne_bytes(*word) ^ wide));
    let rest =
        rest.iter().zip(mask.iter().cycle()).fold(0, |high, (byte, key)| high | (byte ^ key));
    high & 0x8080_8080_8080_8080 == 0 && rest & 0x80 == 0
}

/// Unmasks `length` bytes from `from` on and writes them to `to` on, in one pass. The places may
/// overlap.
///
/// # Panics
/// If `to` is above `from` (what is written would be read again), or on a range outside of `bytes`.
#[inline]
pub(super) fn unmask_down(bytes: &mut [u8], from: usize, to: usize, length: usize, mask: [u8; 4]) {
    assert!(to <= from);
    // Cells, so that both places can be walked at once.
    let cells = Cell::from_mut(&mut bytes[to..from + length]).as_slice_of_cells();
    let (targets, sources) = (&cells[..length], &cells[from - to..]);
    let (target_blocks, targets) = targets.as_chunks::<BLOCK>();
    let (source_blocks, sources) = sources.as_chunks::<BLOCK>();
    for (target, source) in target_blocks.iter().zip(source_blocks) {
        // A block is read whole before a part of it is written over: one load, one store.
        let block: [u8; BLOCK] = array::from_fn(|index| source[index].get() ^ mask[index % 4]);
        for (target, byte) in target.iter().zip(block) {
            target.set(byte);
        }
    }
    for ((target, source), index) in targets.iter().zip(sources).zip(0..) {
        target.set(source.get() ^ mask[index % 4]);
    }
}

/// What is moved at once: a vector register that every machine has.
const BLOCK: usize = 16;

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
            bytes in prop::collection::vec(any::<u8>(), 0..512),
            key: [u8; 4],
            offset in 0..16usize,
            cut in 0..200usize,
        ) {
            let start = offset.min(bytes.len());
            let expected = naive(&bytes[start..], key);

            let mut whole = bytes.clone();
            mask(&mut whole[start..], key);
            prop_assert_eq!(&whole[start..], &expected);

            let mut appended = bytes[..start].to_vec();
            append_masked(&bytes[start..], key, &mut appended);
            prop_assert_eq!(&appended, &whole);

            let mut copied = vec![0; bytes.len() - start];
            copy_masked(&bytes[start..], key, &mut copied);
            prop_assert_eq!(&copied, &expected);

            let mut cut_up = bytes.clone();
            let cut = cut.min(bytes.len() - start);
            let (left, right) = cut_up[start..].split_at_mut(cut);
            mask(left, key);
            mask(right, advance(key, cut));
            prop_assert_eq!(&cut_up[start..], &expected);
        }

        #[test]
        fn hidden_ascii_is_seen(text in "[ -~é]{0,40}", key: [u8; 4]) {
            let mut bytes = text.clone().into_bytes();
            mask(&mut bytes, key);
            prop_assert_eq!(hides_ascii(&bytes, key), text.is_ascii());
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
