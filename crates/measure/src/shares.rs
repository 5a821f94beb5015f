//! Shares: how a whole is split over reactors so that nothing is lost to rounding.

/// What part `index` of `parts` gets of `total`: the parts differ by at most one and add up.
///
/// # Panics
/// If `parts` is zero or `index` is not below it.
#[must_use]
pub fn share(total: u64, parts: u64, index: u64) -> u64 {
    assert!(index < parts, "part {index} of {parts}");
    total / parts + u64::from(index < total % parts)
}

/// Where part `index` starts when the parts are laid end to end; part `parts` is the total.
///
/// # Panics
/// If `parts` is zero or `index` is above it.
#[must_use]
pub fn share_start(total: u64, parts: u64, index: u64) -> u64 {
    assert!(index <= parts && parts > 0, "part {index} of {parts}");
    total / parts * index + (total % parts).min(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_and_lie_end_to_end(total in 0..=10_000_000u64, parts in 1..=512u64) {
            let mut sum = 0;
            for index in 0..parts {
                let part = share(total, parts, index);
                prop_assert!(part == total / parts || part == total / parts + 1);
                prop_assert_eq!(share_start(total, parts, index), sum);
                sum += part;
            }
            prop_assert_eq!(sum, total);
            prop_assert_eq!(share_start(total, parts, parts), total);
        }
    }
}
