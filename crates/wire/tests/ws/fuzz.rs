//! A bounded fuzz run on stable Rust: every parser over committed seeds and their mutations, the
//! same ones on every run.
//!
//! Seeds lie in `fuzz-seeds/`, a folder per parser. What is checked is that nothing panics, and what
//! must hold for any bytes: the verdict does not depend on where reads fall.

use crate::support::{Random, Seen, all_agreements, echoed, read};
use c1000k_wire::ws::{
    DeflatePolicy, Head, HeadPool, Limits, Policy, Request, RequestSpec, Role, echo_in_place,
};
use c1000k_wire::{Stamp, Url};
use std::path::Path;

/// Mutations tried of every seed. `FUZZ_ROUNDS` asks for another number.
const ROUNDS: usize = 300;

/// A mutated seed is never longer.
const BYTES_MAX: usize = 4096;

/// Calls `parse` with every seed of a folder and with mutations of it.
fn fuzz(folder: &str, mut parse: impl FnMut(&[u8], &mut Random)) {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-seeds").join(folder);
    let mut seeds: Vec<_> = std::fs::read_dir(&path)
        .expect("the folder of seeds")
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a seed"))
        .collect();
    assert!(!seeds.is_empty(), "no seeds in {}", path.display());
    // The order of a folder is not the same everywhere.
    seeds.sort();
    let mut random = Random(0x5eed);
    for seed in &seeds {
        parse(seed, &mut random);
        for _ in 0..rounds.unwrap_or(ROUNDS) {
            let mutated = mutate(seed, &seeds, &mut random);
            parse(&mutated, &mut random);
        }
    }
}

/// The seed with a few changes: flipped bits, bytes set, cut out, doubled, or taken from another.
fn mutate(seed: &[u8], seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(16)).min(bytes.len());
        match random.below(7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.next() as u8,
            3 => drop(bytes.drain(at..end)),
            4 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.insert(at, random.next() as u8),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn random_sizes(random: &mut Random) -> Vec<usize> {
    let most = [2, 10, 200][random.below(3)];
    (0..random.below(60)).map(|_| random.below(most)).collect()
}

#[test]
fn frames() {
    let agreements: Vec<_> = all_agreements().collect();
    let limits = Limits { message_bytes_max: 2000, frame_bytes_max: 1500, fragments_max: 20 };
    fuzz("frames", |bytes, random| {
        let role = [Role::Client, Role::Server][random.below(2)];
        let deflate = agreements[random.below(agreements.len())];
        let sizes = random_sizes(random);
        let whole = read(role, deflate, &limits, bytes, &[]);
        assert_eq!(read(role, deflate, &limits, bytes, &sizes), whole);
        let (reply, _, messages) = echoed(role, deflate, &limits, bytes, &sizes);
        let complete = |seen: &&Seen| matches!(seen, Seen::Message { complete: true, .. });
        assert_eq!(messages as usize, whole.iter().filter(complete).count());
        let peer = if role == Role::Client { Role::Server } else { Role::Client };
        let answers = read(peer, deflate, &Limits::default(), &reply, &[]);
        assert!(!answers.iter().any(|seen| matches!(seen, Seen::Error(_))), "{answers:?}");
        echo_in_place(&mut bytes.to_vec(), &limits);
    });
}

/// Feeds a head in two ways; what `then` made of it must be the same.
fn head<R: std::fmt::Debug + PartialEq>(
    bytes: &[u8],
    random: &mut Random,
    mut then: impl FnMut(&[u8]) -> R,
) {
    let sizes = random_sizes(random);
    let mut run = |sizes: &[usize]| {
        let (mut head, mut pool) = (Head::default(), HeadPool::default());
        let verdict = crate::support::chunks(bytes, sizes)
            .map(|chunk| head.read(&mut pool, chunk, &mut then))
            .find(|verdict| *verdict != Ok(None));
        head.forget(&mut pool);
        assert_eq!(pool.in_use(), 0);
        verdict.map(|verdict| verdict.map(|done| done.map(|(result, _)| result)))
    };
    let whole = run(&[]);
    assert_eq!(run(&sizes), whole);
}

#[test]
fn requests() {
    let policy = Policy {
        origins: vec!["https://example.test".to_owned()],
        subprotocols: vec!["chat".to_owned(), "superchat".to_owned()],
        deflate: Some(DeflatePolicy { takeover: true, ..DeflatePolicy::default() }),
    };
    fuzz("requests", |bytes, random| {
        head(bytes, random, |head| {
            let mut reply = Vec::new();
            let accepted = policy.answer(head, &mut reply);
            let status = accepted.map_or_else(|error| error.status(), |_| 101);
            assert!(reply.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
            (accepted, reply)
        });
    });
}

#[test]
fn replies() {
    let spec = RequestSpec {
        host: "127.0.0.1".to_owned(),
        port: 9000,
        default_port: 80,
        target: "/".to_owned(),
        subprotocols: vec!["chat".to_owned()],
        deflate: Some(DeflatePolicy { takeover: true, ..DeflatePolicy::default() }),
        ..RequestSpec::default()
    };
    let request = Request::new(&spec).expect("a good request");
    fuzz("replies", |bytes, random| {
        head(bytes, random, |head| request.check(*b"the sample nonce", head));
    });
}

#[test]
fn urls_and_stamps() {
    fuzz("urls", |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(url) = text.parse::<Url>() {
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        if let Some(stamp) = bytes.first_chunk().and_then(Stamp::from_bytes) {
            assert_eq!(bytes.first_chunk(), Some(&stamp.to_bytes()));
        }
    });
}
