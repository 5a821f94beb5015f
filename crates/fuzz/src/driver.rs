//! The driver: mutates seeds, keeps what is judged anew, stops at the first failure and makes it
//! small.

use crate::{Random, Target, Verdict};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, io};

/// A mutated input is never longer, in bytes. Seeds may be.
pub const INPUT_BYTES_MAX: usize = 4096;

/// Inputs that are kept to be mutated further; beyond it a new one takes the place of an old one,
/// but never of a seed.
const KEPT_MAX: usize = 4096;

/// The longest that a target may take for an input: beyond it, it does not end.
pub const INPUT_TIME_MAX: Duration = Duration::from_secs(20);

/// Runs that are spent on making a failing input smaller.
const SHRINK_RUNS: usize = 20_000;

/// An input that fails.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The input, made as small as it came.
    pub input: Vec<u8>,
    /// What the target said.
    pub message: String,
}

/// The folder of a target's seeds.
#[must_use]
pub fn seed_folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

/// A target's seeds, in the same order everywhere.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub fn seeds(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let paths = fs::read_dir(seed_folder(target))?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// A run over one target.
#[derive(Debug)]
pub struct Driver {
    target: Target,
    random: Random,
    inputs: Vec<Vec<u8>>,
    seeds: usize,
    verdicts: HashSet<Verdict>,
    running: Running,
}

/// The input that is being parsed now, for who looks whether that ever ends.
pub type Running = Arc<Mutex<Vec<u8>>>;

impl Driver {
    /// A driver over the seeds, all of which hold.
    ///
    /// # Errors
    /// The first seed that does not hold, as it is.
    pub fn new(target: Target, seeds: Vec<Vec<u8>>, seed: u64) -> Result<Self, Failure> {
        let mut driver = Self {
            target,
            random: Random(seed),
            seeds: seeds.len(),
            inputs: Vec::new(),
            verdicts: HashSet::new(),
            running: Running::default(),
        };
        for input in seeds.into_iter().chain([Vec::new()]) {
            let verdict = driver.judge(&input);
            let verdict = verdict.map_err(|message| Failure { input: input.clone(), message })?;
            driver.verdicts.insert(verdict);
            driver.inputs.push(input);
        }
        Ok(driver)
    }

    /// Where the input is that is being parsed.
    #[must_use]
    pub fn running(&self) -> Running {
        Arc::clone(&self.running)
    }

    /// How many ways of being judged were seen.
    #[must_use]
    pub fn verdicts(&self) -> usize {
        self.verdicts.len()
    }

    /// Tries one mutated input.
    ///
    /// # Errors
    /// The input, made small, if it fails.
    pub fn step(&mut self) -> Result<(), Failure> {
        let Self { random, inputs, target, .. } = self;
        let (mut input, other) = (random.pick(inputs).clone(), random.pick(inputs));
        mutate(&mut input, other, target.words, random);
        match self.judge(&input) {
            Ok(verdict) => {
                if self.verdicts.insert(verdict) {
                    self.keep(input);
                }
                Ok(())
            }
            Err(message) => Err(self.shrink(Failure { input, message })),
        }
    }

    fn keep(&mut self, input: Vec<u8>) {
        if self.inputs.len() < self.seeds + KEPT_MAX {
            self.inputs.push(input);
        } else {
            let at = self.seeds + self.random.below(KEPT_MAX);
            self.inputs[at] = input;
        }
    }

    fn judge(&self, input: &[u8]) -> Result<Verdict, String> {
        if let Ok(mut running) = self.running.lock() {
            running.clear();
            running.extend_from_slice(input);
        }
        catch_unwind(AssertUnwindSafe(|| (self.target.run)(input))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            text.unwrap_or_else(|| "it panicked without a word".to_owned())
        })
    }

    /// Cuts pieces out of a failing input as long as what is left fails: halves first, then less.
    fn shrink(&self, mut failure: Failure) -> Failure {
        let (mut size, mut runs) = (failure.input.len().div_ceil(2), 0);
        while size > 0 {
            let (mut at, mut cut) = (0, false);
            while at < failure.input.len() && runs < SHRINK_RUNS {
                let mut smaller = failure.input.clone();
                smaller.drain(at..(at + size).min(smaller.len()));
                runs += 1;
                match self.judge(&smaller) {
                    Err(message) => (failure, cut) = (Failure { input: smaller, message }, true),
                    Ok(_) => at += size,
                }
            }
            if !cut || size > 1 {
                size /= 2;
            }
        }
        failure
    }
}

/// Numbers at the edges of lengths, signs and codes.
const EDGES: &[u8] = &[0, 1, 2, 7, 8, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x88, 0xc1, 0xfd, 0xfe, 0xff];

/// Changes the input in a few places: bits and bytes, pieces cut out, doubled or taken from another
/// input, words put in.
fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(16)).min(input.len());
        match random.below(10) {
            0 | 1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 if at < input.len() => input[at] = random.word() as u8,
            3 if at < input.len() => input[at] = *random.pick(EDGES),
            4 => drop(input.drain(at..end)),
            5 => {
                let piece = input[at..end].to_vec();
                let copies = 1 << random.below(4);
                input.splice(at..at, piece.repeat(copies)).for_each(drop);
            }
            6 => {
                let from = random.below(other.len() + 1);
                let to = (from + 1 + random.below(64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied()).for_each(drop);
            }
            7 => {
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            8 if !words.is_empty() => {
                let word = random.pick(words).bytes();
                input.splice(at..if random.below(2) == 0 { at } else { end }, word).for_each(drop);
            }
            _ => input.insert(at, random.word() as u8),
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}
