//! Fuzz targets for the parsers of the house (of what peers send, of files, of what is typed), and
//! a driver for them that needs stable Rust only.
//!
//! A target is a function of bytes that must not panic, whatever they are. It asks for more than
//! survival: the same verdict however the bytes are cut into reads, the same as a naive parser's,
//! bounded output, and that what is written can be read back. Seeds lie in `seeds/`, a folder per
//! target; an input that failed once stays there.
//!
//! ```text
//!   cargo test -p c1000k-fuzz     every seed, and a fixed number of mutations     tests/short.rs
//!   scripts/fuzz.sh 600 frames    as long as you like, one target or all          driver.rs
//!   fuzz/                         the same functions under libFuzzer, with a nightly toolchain
//! ```
//!
//! Stable Rust cannot tell which code an input reached. What stands in for that is the [`Verdict`]:
//! an input that is judged as none was before is kept and mutated further.

#![forbid(unsafe_code)]

pub mod driver;
// What the HTTP and the WebSocket tests see a stream as: the same here as there.
#[path = "../../wire/tests/http/support.rs"]
mod http_support;
mod oracle;
mod random;
#[path = "../../wire/tests/ws/support.rs"]
mod support;
mod targets;

extern crate wire as c1000k_wire;

pub use random::Random;
pub use targets::TARGETS;

use std::hash::{DefaultHasher, Hash, Hasher};

/// What a target made of an input, drawn together to a number: the kinds of what was found, not the
/// bytes. Two inputs that differ in it took different ways through the parser.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Verdict(u64);

impl Verdict {
    /// The verdict whose essence is `kinds`.
    pub fn of(kinds: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        kinds.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Words of the language that it parses. Mutations put them in.
    pub words: &'static [&'static str],
    /// Parses any bytes and panics where something that must hold does not.
    pub run: fn(&[u8]) -> Verdict,
}

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs one target: the entry point of libFuzzer.
///
/// # Panics
/// If there is no such target, or something that must hold of the input does not.
pub fn run(name: &str, input: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("there is no fuzz target '{name}'"));
    (target.run)(input);
}
