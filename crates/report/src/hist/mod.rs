//! From a histogram as it was recorded to a stage of the result file, and back.

mod entry;

pub use entry::{LatencyUnit, StageEntry};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use measure::{FineHistogram, IntervalHistogram};
use std::io::Read as _;

/// Decimal digits that are kept, the same as in [`FineHistogram`].
const DIGITS: u8 = 3;

/// The same for [`IntervalHistogram`].
const INTERVAL_DIGITS: u8 = 2;

/// What three digits take, see [`measure::Histogram`].
const FINE_BITS: u32 = 11;

/// The longest histogram that is read back, inflated. Ours take 300 KiB at the very most.
const INFLATED_MAX: u64 = 16 << 20;

/// The header of an HdrHistogram V2 in the clear: cookie, length of the payload and six values
/// more.
const HEADER: usize = 40;

/// The header of a deflated one: cookie and length.
const DEFLATED_HEADER: usize = 8;

/// Why the `hdr` of a stage cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HistError {
    /// Not base64, or cut in the middle.
    #[error("the histogram is not base64: the file was edited or cut")]
    NotBase64,
    /// Base64 of something else, or damaged.
    #[error("the histogram is not an HdrHistogram in V2 deflate form: {0}")]
    NotV2Deflate(String),
    /// More values than the format can write.
    #[error("the histograms have more than 2^63 values together: no run measures so many")]
    TooMany,
    /// Larger than 16 MiB when inflated.
    #[error("the histogram is larger than {INFLATED_MAX} bytes: no run writes such a one")]
    TooLarge,
}

/// The entry of a stage: exact extremes and mean, percentiles as recorded, and the whole histogram.
/// `None` if nothing was recorded: such a stage is not part of a result.
#[must_use]
pub fn entry<const BITS: u32>(recorded: &measure::Histogram<BITS>) -> Option<StageEntry> {
    let histogram = with_cells(recorded, if BITS < FINE_BITS { INTERVAL_DIGITS } else { DIGITS });
    let quantile = |q| recorded.quantile(q);
    Some(StageEntry {
        unit: LatencyUnit::Nanoseconds,
        count: recorded.count(),
        min: recorded.min()?,
        max: recorded.max()?,
        mean: recorded.mean()?,
        stdev: histogram.stdev(),
        p50: quantile(0.5)?,
        p75: quantile(0.75)?,
        p90: quantile(0.9)?,
        p95: recorded.quantile(0.95),
        p99: quantile(0.99)?,
        p999: quantile(0.999)?,
        p9999: quantile(0.9999)?,
        clipped: recorded.clipped(),
        hdr: encode(&histogram),
    })
}

/// The histogram of one second, as [`entry`] writes that of a stage. `None` if nothing was
/// recorded.
#[must_use]
pub fn interval(recorded: &IntervalHistogram) -> Option<String> {
    (recorded.count() > 0).then(|| encode(&with_cells(recorded, INTERVAL_DIGITS)))
}

/// The same counts in HdrHistogram's own type. Both have the same cells, so nothing is lost but the
/// exact extremes, which the entry carries.
///
/// # Panics
/// Never: the bounds are constants, and no cell lies outside them.
#[must_use]
pub fn to_hdr(recorded: &FineHistogram) -> Histogram<u64> {
    with_cells(recorded, DIGITS)
}

fn with_cells<const BITS: u32>(recorded: &measure::Histogram<BITS>, digits: u8) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, FineHistogram::HIGHEST, digits).expect("fixed bounds");
    for (value, count) in recorded.cells() {
        histogram.record_n(value, count).expect("no cell lies above the highest value");
    }
    histogram
}

/// Stages being added up into one, without loss.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    histogram: Option<Histogram<u64>>,
    count: u64,
    clipped: u64,
    min: Option<u64>,
    max: u64,
    /// The sum of all values: exact to the precision of the means that are added.
    total: f64,
}

impl Sum {
    /// Adds the values of a stage.
    ///
    /// # Errors
    /// If its histogram cannot be read, or does not hold as many values as it says.
    pub fn add(&mut self, entry: &StageEntry) -> Result<(), HistError> {
        let histogram = decode(&entry.hdr)?;
        if histogram.len() != entry.count {
            return Err(HistError::NotV2Deflate("its count is not that of the stage".to_owned()));
        }
        match &mut self.histogram {
            Some(sum) => add(sum, &histogram)?,
            None => self.histogram = Some(histogram),
        }
        self.count = self.count.saturating_add(entry.count);
        self.clipped = self.clipped.saturating_add(entry.clipped);
        self.min = Some(self.min.map_or(entry.min, |min| min.min(entry.min)));
        self.max = self.max.max(entry.max);
        self.total += entry.mean * entry.count as f64;
        Ok(())
    }

    /// The stage with all values that were added; `None` if there were none.
    #[must_use]
    pub fn entry(self) -> Option<StageEntry> {
        let histogram = self.histogram.filter(|histogram| !histogram.is_empty())?;
        let quantile = |q| histogram.value_at_quantile(q).min(self.max);
        Some(StageEntry {
            unit: LatencyUnit::Nanoseconds,
            count: self.count,
            min: self.min?,
            max: self.max,
            mean: self.total / self.count as f64,
            stdev: histogram.stdev(),
            p50: quantile(0.5),
            p75: quantile(0.75),
            p90: quantile(0.9),
            p95: Some(quantile(0.95)),
            p99: quantile(0.99),
            p999: quantile(0.999),
            p9999: quantile(0.9999),
            clipped: self.clipped,
            hdr: encode(&histogram),
        })
    }
}

/// Adds `more` to `sum`, as long as [`encode`] can write what comes of it.
///
/// # Errors
/// If they have more values together than the format can write in one cell.
pub fn add(sum: &mut Histogram<u64>, more: &Histogram<u64>) -> Result<(), HistError> {
    let together = sum.len().checked_add(more.len());
    together.filter(|count| i64::try_from(*count).is_ok()).ok_or(HistError::TooMany)?;
    sum.add(more).map_err(|error| HistError::NotV2Deflate(error.to_string()))
}

/// HdrHistogram V2, deflated, in base64.
///
/// # Panics
/// If a cell has more than 2^63 values, which neither a run nor [`add`] makes: writing into memory
/// does not fail, and 34,816 cells fit the format.
#[must_use]
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("memory takes every byte");
    BASE64.encode(bytes)
}

/// The histogram out of the `hdr` of a stage.
///
/// Its percentiles are the upper ends of cells; `min(value, entry.max)` is the stage's own number.
///
/// # Errors
/// If the text is damaged or foreign, or inflates to more than 16 MiB.
pub fn decode(hdr: &str) -> Result<Histogram<u64>, HistError> {
    let bytes = BASE64.decode(hdr.trim()).map_err(|_| HistError::NotBase64)?;
    let plain = inflate(&bytes)?;
    // The reader takes the payload's length from the header on trust and allocates that much.
    let claimed = plain.get(4..8).map_or(0, |l| u32::from_be_bytes([l[0], l[1], l[2], l[3]]));
    if plain.len() != HEADER + claimed as usize {
        return Err(HistError::NotV2Deflate("its length is not what its header says".to_owned()));
    }
    Deserializer::new()
        .deserialize(&mut plain.as_slice())
        .map_err(|error| HistError::NotV2Deflate(error.to_string()))
}

/// What lies behind the deflated header, up to [`INFLATED_MAX`].
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, HistError> {
    let deflated = bytes
        .get(DEFLATED_HEADER..)
        .ok_or_else(|| HistError::NotV2Deflate("it is too short".to_owned()))?;
    let mut plain = Vec::new();
    let read = ZlibDecoder::new(deflated).take(INFLATED_MAX + 1).read_to_end(&mut plain);
    let length = read.map_err(|error| HistError::NotV2Deflate(error.to_string()))?;
    if length as u64 > INFLATED_MAX { Err(HistError::TooLarge) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn recorded(values: &[u64]) -> FineHistogram {
        let mut histogram = FineHistogram::new();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    #[test]
    fn nothing_recorded_is_no_entry() {
        assert_eq!(entry(&FineHistogram::new()), None);
    }

    #[test]
    fn two_digits_are_read_back_as_well_as_three() {
        let mut recorded = IntervalHistogram::new();
        (0..1_000).for_each(|n| recorded.record(n * n * n));
        let entry = entry(&recorded).expect("filled");
        let decoded = decode(&entry.hdr).expect("our own");
        assert_eq!((decoded.len(), entry.max), (1_000, 997_002_999));
        let read_back = |q| Some(decoded.value_at_quantile(q).min(entry.max));
        assert_eq!([read_back(0.5), read_back(0.99)], [Some(entry.p50), Some(entry.p99)]);
        assert_eq!(
            [recorded.quantile(0.5), recorded.quantile(0.99)],
            [read_back(0.5), read_back(0.99)]
        );
    }

    #[test]
    fn extremes_and_mean_are_exact_and_clipped_values_counted() {
        let entry = entry(&recorded(&[0, 1_000_001, FineHistogram::HIGHEST + 7])).expect("filled");
        assert_eq!((entry.count, entry.clipped), (3, 1));
        assert_eq!((entry.min, entry.max), (0, FineHistogram::HIGHEST + 7));
        assert_eq!(entry.mean, (1_000_001 + FineHistogram::HIGHEST + 7) as f64 / 3.0);
        assert!(entry.hdr.starts_with("HISTF"), "{}", entry.hdr);
    }

    #[test]
    fn the_deviation_is_that_of_the_values() {
        let entry = entry(&recorded(&[1_000_000, 3_000_000])).expect("filled");
        assert!((entry.stdev - 1_000_000.0).abs() < 2_000.0, "{}", entry.stdev);
    }

    fn deflated(plain: &[u8]) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).expect("memory");
        let body = encoder.finish().expect("memory");
        let mut bytes = vec![0x1c, 0x84, 0x93, 0x14];
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        BASE64.encode(bytes)
    }

    #[test]
    fn a_histogram_that_claims_or_takes_too_much_memory_is_refused() {
        let mut header = vec![0x1c, 0x84, 0x93, 0x13];
        header.extend(u32::MAX.to_be_bytes());
        header.resize(HEADER, 0);
        assert!(matches!(decode(&deflated(&header)), Err(HistError::NotV2Deflate(_))));
        let bomb = vec![0; INFLATED_MAX as usize + 1];
        assert_eq!(decode(&deflated(&bomb)).err(), Some(HistError::TooLarge));
    }

    #[test]
    fn what_is_no_histogram_is_refused_with_a_reason() {
        assert_eq!(decode("not base64!").err(), Some(HistError::NotBase64));
        for text in ["", "AAAA", "HISTFAAAAAA=", &BASE64.encode([7; 100])] {
            assert!(matches!(decode(text), Err(HistError::NotV2Deflate(_))), "{text}");
        }
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let one = (0..44u32, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1));
        prop::collection::vec(one, 1..200)
    }

    proptest! {
        #[test]
        fn what_is_read_back_has_the_percentiles_that_were_recorded(
            values in values(),
            quantile in 0.000_1..=1.0f64,
        ) {
            let recorded = recorded(&values);
            let entry = entry(&recorded).expect("filled");
            let decoded = decode(&entry.hdr).expect("our own");
            prop_assert_eq!(&decoded, &to_hdr(&recorded));
            let read_back = |q| decoded.value_at_quantile(q).min(entry.max);
            prop_assert_eq!(Some(read_back(quantile)), recorded.quantile(quantile));
            for (name, q) in [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99),
                              ("p999", 0.999), ("p9999", 0.9999)] {
                prop_assert_eq!(Some(read_back(q) as f64), entry.statistic(name), "{}", name);
            }
        }

        #[test]
        fn damage_is_an_error_or_another_histogram_but_never_a_panic(
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let filled = entry(&recorded(&[1, 50, 7_000, 1 << 30])).expect("filled");
            let mut bytes = filled.hdr.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = decode(&String::from_utf8_lossy(&bytes));
        }
    }
}
