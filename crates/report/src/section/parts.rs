//! What merging is made of: how the parts lie to each other, and how their numbers come together.

use super::ResultFile;
use crate::figure::saturating;
use crate::hist::{self, HistError, StageEntry};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The most results that are merged into one.
pub const PARTS_MAX: usize = 1_000;

/// Why results cannot be merged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// One alone, or none.
    #[error("there is nothing to merge: give two results or more")]
    TooFew,
    /// More than [`PARTS_MAX`].
    #[error("more than {PARTS_MAX} results: merge some of them first")]
    TooMany,
    /// The same run twice would count twice.
    #[error("run '{0}' is given twice, or is part of another one given: name each run once")]
    Twice(String),
    /// A run does not say when it was.
    #[error("run '{0}' has no start and end that are dates: it cannot be set beside the others")]
    NoTime(String),
    /// Some overlap in time and some do not.
    #[error(
        "some of these runs were at the same time and some were not: merge the shards of each \
         repeat first, then the repeats"
    )]
    Mixed,
    /// The plans are not parts of one.
    #[error("these runs are not parts of one plan: {0} differs")]
    Plans(String),
    /// A sum is beyond what a result can hold.
    #[error("the sum of {0} is beyond 2^64: one of these files is damaged, no run counts so many")]
    TooMuch(String),
    /// A histogram cannot be read.
    #[error("stage '{stage}' of run '{run}': {error}")]
    Histogram {
        /// The run's `id`.
        run: String,
        /// The stage.
        stage: String,
        /// What is wrong with it.
        error: HistError,
    },
}

/// How the parts lie to each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// At the same time: together they are the load.
    Shards,
    /// One after another: each is the load.
    Repeats,
}

impl Kind {
    /// The time that something took: of shards the longest, of repeats all together.
    pub(super) fn time(self, seconds: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Shards => seconds.fold(0.0, f64::max),
            Self::Repeats => seconds.sum(),
        }
    }

    /// What was on its way at a moment: of shards all together, of repeats the most. `None` if one
    /// part does not tell.
    pub(super) fn backlog(self, counts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
        let counts: Option<Vec<u64>> = counts.collect();
        let counts = counts?;
        Some(match self {
            Self::Shards => saturating(counts.into_iter()),
            Self::Repeats => counts.into_iter().max().unwrap_or(0),
        })
    }
}

/// A result and when it was.
pub(crate) struct Placed<'a> {
    pub(crate) result: &'a ResultFile,
    pub(crate) started: SystemTime,
    pub(crate) ended: SystemTime,
}

impl Placed<'_> {
    /// How much later than `first` it began.
    pub(super) fn after(&self, first: &Placed<'_>) -> Duration {
        self.started.duration_since(first.started).unwrap_or_default()
    }
}

/// The sum, if every value is known.
pub(crate) fn known(mut values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.try_fold(0u64, |sum, value| Some(sum.saturating_add(value?)))
}

/// Counts by name, added.
pub(crate) fn sums(
    results: &[&ResultFile],
    of: fn(&ResultFile) -> &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in results.iter().flat_map(|result| of(result)) {
        let sum: &mut u64 = sum.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
    sum
}

/// The histograms of some entries added, and the numbers beside them taken anew.
pub(crate) fn entry_of_all<'a>(
    stage: &str,
    parts: impl Iterator<Item = (&'a &'a ResultFile, &'a StageEntry)>,
) -> Result<Option<StageEntry>, MergeError> {
    let mut sum: Option<hist::Sum> = None;
    for (result, entry) in parts {
        sum.get_or_insert_default().add(entry).map_err(|error| MergeError::Histogram {
            run: result.run.id.clone(),
            stage: stage.to_owned(),
            error,
        })?;
    }
    Ok(sum.and_then(hist::Sum::entry))
}
