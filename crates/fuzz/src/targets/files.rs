//! Files: what the kernel shows in `/proc`, and what the house itself has written.

use crate::Verdict;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use host::{kernel, memory, sysctl};
use report::{hist, store, text};
use std::io::Write as _;
use std::mem::discriminant;
use std::path::Path;

pub(super) const PROC_WORDS: &[&str] = &[
    "MemTotal:",
    "MemFree:",
    "MemAvailable:",
    "Slab:",
    " kB\n",
    "TCP: inuse ",
    "TCP6: inuse ",
    " orphan ",
    " tw ",
    " mem ",
    "18446744073709551615",
    "6.18.",
    "\t",
];

pub(super) const RESULT_WORDS: &[&str] = &[
    "\"schema\":\"c1000k.result/1\"",
    "\"",
    "{}",
    "[]",
    "null",
    "-1",
    "1e999",
    "18446744073709551615",
    "\\u0000",
    "1e-300",
    "0.1",
    "true",
    ",",
];

pub(super) fn proc(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let info = memory::parse_memory_info(&text);
    if let Some(info) = &info {
        let all = [info.total_bytes, info.free_bytes, info.available_bytes, info.slab_bytes];
        assert!(all.iter().all(|bytes| bytes % 1024 == 0), "the kernel counts in KiB: {info:?}");
    }
    let sockets = memory::parse_sockets(&text, &text);
    let numbers = sysctl::parse_numbers::<3>(&text);
    if let Some([a, b, c]) = numbers {
        assert_eq!(sysctl::parse_numbers(&format!("{a}\t{b} {c}\n")), numbers);
    }
    let release = kernel::parse_release(&text);
    if let Some((major, minor)) = release {
        assert_eq!(kernel::parse_release(&format!("{major}.{minor}")), release);
    }
    let sockets = [sockets.tcp_in_use, sockets.tcp_orphan, sockets.tcp_time_wait];
    Verdict::of((info.is_some(), numbers.is_some(), release.is_some(), sockets.map(|n| n > 0)))
}

pub(super) fn results(input: &[u8]) -> Verdict {
    let result = match store::parse(Path::new("result.json"), input) {
        Ok(result) => result,
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.contains('\n'), "more than one line: {sentence}");
            return Verdict::of(discriminant(&error));
        }
    };
    // Whatever is in a file can be shown, in any width, and written again.
    for width in [0, 40, 200] {
        assert!(!text::summary(&result, width).is_empty());
    }
    let written = serde_json::to_vec(&result).expect("a result is JSON");
    let again = store::parse(Path::new("again.json"), &written).expect("its own JSON");
    assert_eq!(again.connections, result.connections);
    Verdict::of((result.stages.iter().count(), result.timeline.len().min(3)))
}

/// A histogram as text; behind a first byte that is even, what is packed into one.
pub(super) fn histograms(input: &[u8]) -> Verdict {
    let text = match input {
        [first, plain @ ..] if first % 2 == 0 => packed(plain),
        _ => String::from_utf8_lossy(input).into_owned(),
    };
    match hist::decode(&text) {
        Ok(histogram) => {
            let again = hist::decode(&hist::encode(&histogram)).expect("its own text");
            assert_eq!(again.len(), histogram.len());
            assert_eq!(again.value_at_quantile(0.5), histogram.value_at_quantile(0.5));
            Verdict::of(histogram.len().checked_ilog2())
        }
        Err(error) => Verdict::of(discriminant(&error)),
    }
}

/// Deflated, with the header that says so and how long it is.
fn packed(plain: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("memory takes every byte");
    let deflated = encoder.finish().expect("memory takes every byte");
    let length = (deflated.len() as u32).to_be_bytes();
    STANDARD.encode([&0x1c84_9314_u32.to_be_bytes()[..], &length, &deflated].concat())
}
