//! `SendWindows`: how many messages of the open model left when, in windows of a millisecond.

use measure::Nanos;

/// The length of a window. They all count from the start of the traffic, which the reactors have in
/// common, so that their counts can be added.
pub(crate) const WINDOW: Nanos = Nanos::from_millis(1);
/// Windows that are looked at: the first minute of the traffic. A reactor keeps two bytes for each,
/// and touches those pages only on which messages fall.
const WINDOWS_MAX: u64 = 60_000;

/// Messages that one reactor sent in each window.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendWindows {
    /// No reactor sends 65 million messages a second: a count stays at the highest before it lies.
    counts: Vec<u16>,
}

impl SendWindows {
    /// Room for traffic that lasts so long, or for its beginning.
    pub(crate) fn for_span(span: Nanos) -> Self {
        Self { counts: vec![0; windows_in(span)] }
    }

    /// Counts messages sent that long after the start.
    #[inline]
    pub(crate) fn count(&mut self, at: Nanos, messages: u32) {
        if let Some(count) = self.counts.get_mut((at.0 / WINDOW.0) as usize) {
            *count = count.saturating_add(u16::try_from(messages).unwrap_or(u16::MAX));
        }
    }
}

/// What all reactors sent in each of the first `windows`.
pub(crate) fn added<'a>(all: impl Iterator<Item = &'a SendWindows>, windows: usize) -> Vec<u64> {
    let mut sum = vec![0; windows];
    for sends in all {
        for (sum, count) in sum.iter_mut().zip(&sends.counts) {
            *sum += u64::from(*count);
        }
    }
    sum
}

/// Whole windows in the beginning of a span.
pub(crate) fn windows_in(span: Nanos) -> usize {
    (span.0 / WINDOW.0).min(WINDOWS_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fall_into_their_windows_and_what_is_beyond_is_left_out() {
        let mut sends = SendWindows::for_span(Nanos::from_micros(3_900));
        for micros in [0, 999, 1_000, 2_999, 3_000, 3_900, 10_000] {
            sends.count(Nanos::from_micros(micros), 1);
        }
        sends.count(Nanos::ZERO, 5);
        assert_eq!(sends.counts, [7, 1, 1]);
        assert_eq!(SendWindows::for_span(Nanos::from_secs(3_600)).counts.len(), 60_000);
        sends.count(Nanos::ZERO, u32::from(u16::MAX));
        assert_eq!(sends.counts[0], u16::MAX);
    }
}
