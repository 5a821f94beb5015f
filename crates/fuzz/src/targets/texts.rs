//! What people write: URLs, numbers with units, source addresses, CPU lists, thresholds.

use crate::Verdict;
use host::address::{MAX_SOURCES, SourceSpec, parse_sources};
use host::cpu::{format_cpu_list, parse_cpu_list};
use measure::units::{self, UnitError};
use report::ResultFile;
use report::verdict::Threshold;
use std::collections::HashSet;
use std::mem::discriminant;
use wire::ws::{Request, RequestError, RequestSpec};
use wire::{Protocol, Url};

pub(super) const URL_WORDS: &[&str] =
    &["tcp://", "ws://", "wss://", "[::1]", ":9000", "/", "?q=1", "#", "%20", "@", "65536"];

pub(super) const UNIT_WORDS: &[&str] =
    &["k", "m", "g", "KiB", "MiB", "GiB", "B", "ns", "us", "µs", "ms", "s", "min", "h", "/s", "."];

pub(super) const SOURCE_WORDS: &[&str] =
    &["auto", "lo", "127.0.0.", "-", "/", ",", "::1", "2001:db8::", "0.0.0.0", "224.0.0.1", "32"];

pub(super) const THRESHOLD_WORDS: &[&str] = &[
    ">",
    ">=",
    "<",
    "<=",
    "==",
    "!=",
    "response",
    ".p99",
    ".max",
    "connections.lost",
    "50ms",
    "1m",
    "failures.refused",
    "messages.rate_achieved",
    "resources.client.rss_bytes",
    "64KiB",
];

pub(super) fn urls(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let url = match text.parse::<Url>() {
        Ok(url) => url,
        Err(error) => return Verdict::of(discriminant(&error)),
    };
    let printed = url.to_string();
    let again = printed.parse::<Url>();
    assert_eq!(
        again.as_ref().map(ToString::to_string),
        Ok(printed.clone()),
        "it is not printed as it is read"
    );
    // What is printed tells no password.
    if !printed.contains("***") {
        assert_eq!(again, Ok(url.clone()), "it is not read as it is printed");
    }
    if url.protocol == Protocol::Ws && url.host.bytes().all(|byte| byte.is_ascii_graphic()) {
        // What was understood can be asked for.
        let spec = RequestSpec {
            host: url.host.clone(),
            port: url.port,
            default_port: 80,
            target: url.target.clone(),
            ..RequestSpec::default()
        };
        let request = Request::new(&spec);
        assert!(matches!(request, Ok(_) | Err(RequestError::TooLarge)), "{request:?}");
    }
    let target = url.target.len().min(3);
    Verdict::of((url.scheme(), url.host.contains(':'), url.port == 0, target))
}

pub(super) fn units(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let (count, size) = (units::parse_count(&text), units::parse_size(&text));
    let (span, rate) = (units::parse_duration(&text), units::parse_rate(&text));
    // What needs all its digits has them where floats have as many.
    let exact = |number: u64| number < 1 << 53;
    if let Ok(count) = count {
        assert!(!exact(count) || units::parse_count(&count.to_string()) == Ok(count));
        assert!(near(units::parse_count(&units::format_count(count)), count));
        assert!(rate.as_ref().is_ok_and(|rate| near(Ok::<_, ()>(*rate as u64), count)), "{count}");
    }
    if let Ok(size) = size {
        assert!(!exact(size) || units::parse_size(&format!("{size}B")) == Ok(size));
        // Three digits of a KiB need not be whole bytes.
        let printed = units::parse_size(&units::format_size(size));
        assert!(matches!(printed, Err(UnitError::NotWhole(..))) || near(printed, size));
    }
    if let Ok(span) = span {
        let again = units::parse_duration(&format!("{}ns", span.0));
        assert!(!exact(span.0) || again == Ok(span));
        // Longer spans are printed in two units, for people only.
        if span.0 < 119_000_000_000 {
            let printed = units::parse_duration(&units::format_duration(span));
            assert!(near(printed.map(|span| span.0), span.0));
        }
    }
    let kinds = [count.map(drop), size.map(drop), span.map(drop), rate.map(drop)];
    Verdict::of(kinds.map(|kind| kind.map_err(|error| discriminant(&error))))
}

/// Within half of the third digit, which is the last that is printed.
fn near<E>(read: Result<u64, E>, value: u64) -> bool {
    read.is_ok_and(|read| (read as f64 - value as f64).abs() <= value as f64 * 0.005 + 1.0)
}

pub(super) fn sources(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input).into_owned();
    let specs = match parse_sources(&[text], &[]) {
        Ok(specs) => specs,
        Err(error) => return Verdict::of(discriminant(&error)),
    };
    let (mut total, mut seen) = (0, HashSet::new());
    for spec in &specs {
        let SourceSpec::Range(range) = spec else {
            assert_eq!(specs.len(), 1, "auto is alone");
            return Verdict::of("auto");
        };
        total += range.len();
        assert!(total <= MAX_SOURCES);
        assert_eq!(range.nth(range.len()), None);
        // The ends prove enough; whole ranges would take their time.
        for index in (0..range.len()).filter(|index| *index < 4 || index + 4 >= range.len()) {
            let address = range.nth(index).expect("within the range");
            assert!(!address.is_unspecified() && !address.is_multicast(), "{address}");
            assert!(seen.insert(address), "{address} is there twice");
        }
    }
    Verdict::of((specs.len().min(4), total.checked_ilog2()))
}

pub(super) fn cpus(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    match parse_cpu_list(&text) {
        Ok(cpus) => {
            assert_eq!(cpus.iter().collect::<HashSet<_>>().len(), cpus.len(), "none twice");
            assert_eq!(parse_cpu_list(&format_cpu_list(&cpus)), Ok(cpus.clone()));
            Verdict::of(cpus.len().min(8))
        }
        Err(error) => Verdict::of(discriminant(&error)),
    }
}

pub(super) fn thresholds(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let threshold = match text.parse::<Threshold>() {
        Ok(threshold) => threshold,
        Err(error) => return Verdict::of(discriminant(&error)),
    };
    let result = ResultFile::default();
    let verdict = threshold.evaluate(&result);
    let again: Threshold = threshold.expression().parse().expect("its own expression");
    assert_eq!(again.evaluate(&result), verdict, "it is not read as it is printed");
    assert!(!(verdict.ok && verdict.value.is_none()), "what was not measured never passes");
    Verdict::of((verdict.unit, verdict.ok, verdict.value.is_some()))
}
