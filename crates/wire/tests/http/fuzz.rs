//! A bounded fuzz run on stable Rust: every reader over committed seeds and their mutations.
//!
//! What is checked is that nothing panics, and what must hold for any bytes: the events do not depend
//! on where reads fall, and what is accepted is safe.

use crate::support::{replies, requests};
use c1000k_wire::http::{Method, SafePath};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::path::Path;

/// Mutations tried of each folder of seeds.
const CASES: u32 = 3000;

/// A mutated seed is never longer.
const BYTES_MAX: usize = 4096;

fn seeds(folder: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-seeds").join(folder);
    let mut seeds: Vec<_> = std::fs::read_dir(&path)
        .expect("the folder of seeds")
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a seed"))
        .collect();
    assert!(!seeds.is_empty(), "no seeds in {}", path.display());
    // The order of a folder is not the same everywhere.
    seeds.sort();
    seeds
}

/// A few changes to a seed: what, where, with which byte.
fn changes() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, u8)>> {
    prop::collection::vec((0..6u8, any::<prop::sample::Index>(), any::<u8>()), 0..5)
}

fn mutate(seed: &[u8], other: &[u8], changes: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (what, at, byte) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + usize::from(byte % 16)).min(bytes.len());
        match what {
            0 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
            1 if at < bytes.len() => bytes[at] = *byte,
            2 => drop(bytes.drain(at..end)),
            3 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            4 => bytes.splice(at.., other[at.min(other.len())..].to_vec()).for_each(drop),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn fuzz(folder: &str, check: impl Fn(&[u8], &[usize])) {
    let seeds = seeds(folder);
    for seed in &seeds {
        check(seed, &[1; 100]);
    }
    let sizes = prop::collection::vec(0..50usize, 0..60);
    let two = any::<[prop::sample::Index; 2]>();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) };
    let verdict =
        TestRunner::new(config).run(&(two, changes(), sizes), |([a, b], changes, sizes)| {
            check(
                &mutate(&seeds[a.index(seeds.len())], &seeds[b.index(seeds.len())], &changes),
                &sizes,
            );
            Ok(())
        });
    assert!(verdict.is_ok(), "{verdict:?}");
}

#[test]
fn http_requests() {
    fuzz("http-requests", |bytes, sizes| {
        assert_eq!(requests(bytes, sizes), requests(bytes, &[]));
    });
}

#[test]
fn http_replies() {
    fuzz("http-replies", |bytes, sizes| {
        for method in [Method::Get, Method::Head] {
            assert_eq!(replies(method, bytes, sizes), replies(method, bytes, &[]));
        }
    });
}

#[test]
fn http_paths() {
    fuzz("http-paths", |bytes, _| {
        let mut room = Vec::new();
        if let Ok(safe) = SafePath::decode(bytes, &mut room) {
            let path = Path::new(std::str::from_utf8(safe.as_bytes()).unwrap_or("x"));
            let plain = |part| matches!(part, std::path::Component::Normal(_));
            assert!(path.components().all(plain), "{path:?}");
        }
    });
}
