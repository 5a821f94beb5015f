//! `Recorder`: the latencies of one reactor, by stage.

use measure::{FineHistogram, Nanos, Stage};

/// The latencies of one reactor, by stage. A histogram exists only for a stage that occurs.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    stages: [Option<Box<FineHistogram>>; Stage::COUNT],
}

impl Recorder {
    /// Room for these stages; recording into others does nothing.
    pub(crate) fn for_stages(stages: &[Stage]) -> Self {
        let mut recorder = Self::default();
        for stage in stages {
            recorder.stages[*stage as usize] = Some(Box::default());
        }
        recorder
    }

    #[inline]
    pub(crate) fn record(&mut self, stage: Stage, span: Nanos) {
        self.record_many(stage, span, 1);
    }

    /// The same for so many that took equally long.
    #[inline]
    pub(crate) fn record_many(&mut self, stage: Stage, span: Nanos, times: u32) {
        if let Some(histogram) = &mut self.stages[stage as usize] {
            histogram.record_many(span.0, times);
        }
    }

    /// The histogram of a stage, if it has one.
    pub(crate) fn stage(&self, stage: Stage) -> Option<&FineHistogram> {
        self.stages[stage as usize].as_deref()
    }

    /// What was recorded for one stage also holds for another.
    pub(crate) fn copy(&mut self, from: Stage, to: Stage) {
        self.stages[to as usize] = self.stages[from as usize].clone();
    }

    /// What was recorded since this was asked last. Only where something was, a new histogram takes
    /// its place: phases that record little take little memory.
    pub(crate) fn take_recorded(&mut self) -> Self {
        let mut taken = Self::default();
        for (mine, theirs) in self.stages.iter_mut().zip(&mut taken.stages) {
            if mine.as_ref().is_some_and(|histogram| histogram.count() > 0) {
                *theirs = mine.replace(Box::default());
            }
        }
        taken
    }

    /// Adds all that another reactor recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        }
    }
}
