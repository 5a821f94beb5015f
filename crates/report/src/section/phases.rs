//! The run phase by phase: when each was, what was counted and what was measured in it.
//!
//! A run that opens, sends and closes once has nothing in its phases that the whole does not say:
//! then summaries are silent about them. Files and exports have them, and thresholds reach them, in
//! any case.

use super::parts::{Kind, MergeError, Placed};
use super::{Failures, ResultFile, Stages, failures, stages};
use crate::figure::Unit;
use crate::hist::StageEntry;
use crate::words::{non_zero, seconds};
use measure::{Failure, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A phase of the run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Phase {
    /// Its name within the run, as thresholds write it: `phase.NAME.response.p99`.
    pub name: String,
    /// What the client did in it, such as `open`, `traffic` or `rest`; others may be added.
    pub act: String,
    /// When it began, from the start of the run. Of merged shards the earliest, set beside each
    /// other by the clock; of merged repeats the earliest, each from its own start.
    pub from_seconds: f64,
    /// When it was over; of merged results the latest.
    pub to_seconds: f64,
    /// What was counted in it.
    pub totals: PhaseTotals,
    /// What was measured in it, as in the `stages` of the whole run.
    pub stages: Stages,
}

/// What was counted in one phase. The sums over all phases are those of the run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct PhaseTotals {
    /// Connections that became usable.
    pub opened: u64,
    /// Connections that never did.
    pub failed: u64,
    /// Connections that were lost.
    pub lost: u64,
    /// Connections that came to an end that was agreed on, or that the run itself ended.
    pub ended: u64,
    /// How many of those opened took the place of one that had ended so.
    pub replaced: u64,
    /// Messages sent, first echoes included.
    pub sent: u64,
    /// Replies received in it, first echoes included; those to messages of the phase before are
    /// among them.
    pub received: u64,
    /// How many of those did not bring what was asked for (HTTP).
    pub unserved: u64,
    /// Messages that were given up without a reply.
    pub unanswered: u64,
    /// Replies that were not what had been sent.
    pub mismatched: u64,
    /// Failed and lost connections by kind.
    pub failures: Failures,
}

impl PhaseTotals {
    /// Adds those of another part. Every field is named, so that none is lost in silence.
    fn add(&mut self, other: &Self) {
        let Self {
            opened,
            failed,
            lost,
            ended,
            replaced,
            sent,
            received,
            unserved,
            unanswered,
            mismatched,
            failures,
        } = other;
        for (sum, more) in [
            (&mut self.opened, opened),
            (&mut self.failed, failed),
            (&mut self.lost, lost),
            (&mut self.ended, ended),
            (&mut self.replaced, replaced),
            (&mut self.sent, sent),
            (&mut self.received, received),
            (&mut self.unserved, unserved),
            (&mut self.unanswered, unanswered),
            (&mut self.mismatched, mismatched),
        ] {
            *sum = sum.saturating_add(*more);
        }
        self.failures = failures::sum(&[self.failures, *failures]);
    }
}

/// A number that every phase has, beside its failures by kind and its stages.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Its name behind that of the phase.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) more_is_better: bool,
    pub(crate) read: fn(&Phase) -> f64,
}

const fn more(name: &'static str, read: fn(&Phase) -> f64) -> Figure {
    Figure { name, unit: Unit::Count, more_is_better: true, read }
}

const fn less(name: &'static str, read: fn(&Phase) -> f64) -> Figure {
    Figure { more_is_better: false, ..more(name, read) }
}

/// The numbers of this section that can be named, behind the name of a phase.
pub(crate) const FIGURES: [Figure; 11] = [
    Figure { unit: Unit::Seconds, ..less("seconds", Phase::lasted) },
    more("opened", |phase| phase.totals.opened as f64),
    less("failed", |phase| phase.totals.failed as f64),
    less("lost", |phase| phase.totals.lost as f64),
    less("ended", |phase| phase.totals.ended as f64),
    less("replaced", |phase| phase.totals.replaced as f64),
    more("sent", |phase| phase.totals.sent as f64),
    more("received", |phase| phase.totals.received as f64),
    less("unserved", |phase| phase.totals.unserved as f64),
    less("unanswered", |phase| phase.totals.unanswered as f64),
    less("mismatched", |phase| phase.totals.mismatched as f64),
];

/// What can be asked of a phase.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// A number of a stage, by the names of both.
    Stage(String, &'static str),
    Failures(Failure),
    Figure(&'static Figure),
}

impl Asked {
    /// What follows the name of the phase.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stage(stage, statistic) => stages::metric_name(stage, statistic),
            Self::Failures(kind) => format!("failures.{}", kind.name()),
            Self::Figure(figure) => figure.name.to_owned(),
        }
    }

    pub(crate) fn more_is_better(&self) -> bool {
        match self {
            Self::Stage(_, statistic) => *statistic == "count",
            Self::Failures(_) => false,
            Self::Figure(figure) => figure.more_is_better,
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        match self {
            Self::Stage(_, statistic) => stages::unit(statistic),
            Self::Failures(_) => Unit::Count,
            Self::Figure(figure) => figure.unit,
        }
    }

    /// What was measured; `None` if nothing was.
    pub(crate) fn value(&self, phase: &Phase) -> Option<f64> {
        match self {
            Self::Stage(stage, statistic) => phase.stages.statistic(stage, statistic),
            Self::Failures(kind) => Some(phase.totals.failures.get(*kind) as f64),
            Self::Figure(figure) => Some((figure.read)(phase)),
        }
    }
}

/// The name of a phase and what is asked of it, from `NAME.response.p99`, `NAME.failures.reset` or
/// `NAME.lost`; of stages that this version does not know from `NAME.stages.step.pay.p99`. The name
/// may have dots in it.
pub(crate) fn parse(text: &str) -> Option<(String, Asked)> {
    let any = || {
        let (name, stage) = text.split_once(&format!(".{}.", stages::PREFIX))?;
        Some((name, stages::parse(&format!("{}.{stage}", stages::PREFIX))?))
    };
    let (name, asked) = match any() {
        Some((name, (stage, statistic))) => (name, Asked::Stage(stage, statistic)),
        None => {
            let (before, last) = text.rsplit_once('.')?;
            if let Some(figure) = FIGURES.iter().find(|figure| figure.name == last) {
                (before, Asked::Figure(figure))
            } else {
                let (name, middle) = before.rsplit_once('.')?;
                let asked = if middle == "failures" {
                    Asked::Failures(Failure::ALL.into_iter().find(|kind| kind.name() == last)?)
                } else {
                    let (stage, statistic) = stages::parse(&text[name.len() + 1..])?;
                    Asked::Stage(stage, statistic)
                };
                (name, asked)
            }
        }
    };
    (!name.is_empty()).then(|| (name.to_owned(), asked))
}

impl Phase {
    /// How long it took.
    pub(crate) fn lasted(&self) -> f64 {
        (self.to_seconds - self.from_seconds).max(0.0)
    }
}

/// The phase of that name.
pub(crate) fn named<'a>(result: &'a ResultFile, name: &str) -> Option<&'a Phase> {
    result.phases.iter().find(|phase| phase.name == name)
}

/// Why there is nothing of a phase.
pub(crate) fn missing(result: &ResultFile, name: &str, asked: &Asked) -> String {
    if named(result, name).is_some() {
        let Asked::Stage(stage, _) = asked else { return "not measured".to_owned() };
        return format!("nothing was measured in stage '{stage}' of phase '{name}'");
    }
    let names: Vec<&str> = result.phases.iter().map(|phase| phase.name.as_str()).collect();
    match names.is_empty() {
        true => format!("phase '{name}' is not known: the result tells of no phases"),
        false => format!("there is no phase '{name}' in this run: it has {}", names.join(", ")),
    }
}

/// The phases of all parts, those of one name together: the counts are added, the histograms too.
/// None if one part tells of none: they would be of a part of the whole only.
pub(crate) fn merge(parts: &[Placed<'_>], kind: Kind) -> Result<Vec<Phase>, MergeError> {
    if parts.iter().any(|part| part.result.phases.is_empty()) {
        return Ok(Vec::new());
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut merged: Vec<(Phase, Vec<(&ResultFile, &Stages)>)> = Vec::new();
    for part in parts {
        let after = match kind {
            Kind::Shards => part.after(&parts[0]).as_secs_f64(),
            Kind::Repeats => 0.0,
        };
        for phase in &part.result.phases {
            let (from, to) = (phase.from_seconds + after, phase.to_seconds + after);
            let at = *places.entry(&phase.name).or_insert(merged.len());
            if at == merged.len() {
                let (name, act) = (phase.name.clone(), phase.act.clone());
                let (from_seconds, to_seconds) = (from, to);
                let first = Phase { name, act, from_seconds, to_seconds, ..Phase::default() };
                merged.push((first, Vec::new()));
            }
            let (sum, stages) = &mut merged[at];
            sum.from_seconds = sum.from_seconds.min(from);
            sum.to_seconds = sum.to_seconds.max(to);
            sum.totals.add(&phase.totals);
            stages.push((part.result, &phase.stages));
        }
    }
    // Parts have them in the same order: each begins no later than the next, and so do the
    // earliest.
    merged.sort_by(|(a, _), (b, _)| a.from_seconds.total_cmp(&b.from_seconds));
    let whole = |(mut phase, parts): (Phase, Vec<_>)| {
        phase.stages = stages::added(&format!("phase.{}.", phase.name), &parts)?;
        Ok(phase)
    };
    merged.into_iter().map(whole).collect()
}

/// Acts in which nothing is done that a phase of its own would tell of.
const QUIET: [&str; 2] = ["rest", "survey"];

/// The phases that a reader should see apart: those in which something was counted, if one act took
/// place more than once. Otherwise the whole run says the same.
pub(crate) fn told(result: &ResultFile) -> impl Iterator<Item = &Phase> {
    let mut seen = BTreeSet::new();
    let acts = result.phases.iter().map(|phase| phase.act.as_str());
    let again = acts.filter(|act| !QUIET.contains(act)).any(|act| !seen.insert(act));
    let counted = |phase: &&Phase| phase.totals != PhaseTotals::default();
    result.phases.iter().filter(counted).filter(move |_| again)
}

/// The stages of phases that a reader should see apart: what a connection and a message took, not
/// what that is made of. Others that this version does not know are a step's or a phase's own.
pub(crate) fn told_stages(phase: &Phase) -> impl Iterator<Item = (&str, &StageEntry)> {
    let opening = match phase.stages.get(Stage::Handshake) {
        Some(_) => Stage::Handshake,
        None => Stage::Connect,
    };
    let shown = [opening, Stage::FirstEcho, Stage::Response, Stage::Service];
    let is_shown = move |name: &str| Stage::from_name(name).is_none_or(|one| shown.contains(&one));
    phase.stages.iter().filter(move |(name, _)| is_shown(name))
}

/// The rows of phases in tables of latency: `storm: response`.
pub(crate) fn rows(result: &ResultFile) -> impl Iterator<Item = (String, &StageEntry)> {
    let of = |phase| {
        let stages = told_stages(phase);
        stages.map(|(stage, entry): (&str, _)| (format!("{}: {stage}", phase.name), entry))
    };
    told(result).flat_map(of)
}

/// What was counted in each, a line a phase.
pub(crate) fn words(result: &ResultFile) -> String {
    let line = |phase: &Phase| {
        let (lasted, counts) = (seconds(phase.lasted()), counted(phase));
        // A name that is text from elsewhere stays in its line.
        format!("{} ({}, {lasted}): {counts}", phase.name, phase.act).replace('\n', " ")
    };
    told(result).map(line).collect::<Vec<_>>().join("\n")
}

/// What was counted in a phase, as far as it is not zero.
fn counted(phase: &Phase) -> String {
    let counts = FIGURES.iter().filter(|figure| figure.unit == Unit::Count);
    non_zero(counts.map(|figure| (figure.name, (figure.read)(phase) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ThresholdVerdict;
    use crate::verdict::Threshold;
    use crate::{markdown, text};

    /// A run of phases with these names, acts and counts of replies.
    fn run(phases: &[(&str, &str, u64)]) -> ResultFile {
        let mut result = ResultFile::default();
        let entry = |count| Some(StageEntry { count, p99: 7_000_000, ..StageEntry::default() });
        for (name, act, received) in phases {
            let mut phase =
                Phase { name: (*name).to_owned(), act: (*act).to_owned(), ..Phase::default() };
            phase.totals = PhaseTotals { sent: *received, received: *received, ..phase.totals };
            phase.to_seconds = 2.5;
            phase.totals.failures.reset = 3;
            if *received > 0 {
                phase.stages.set(Stage::Response, entry(*received));
                phase.stages.set(Stage::SendLag, entry(*received));
                phase.stages.put("step.pay", entry(*received));
            }
            result.phases.push(phase);
        }
        result.stages.set(Stage::Response, entry(1));
        result
    }

    fn verdict(result: &ResultFile, expression: &str) -> ThresholdVerdict {
        expression.parse::<Threshold>().expect(expression).evaluate(result)
    }

    #[test]
    fn thresholds_reach_whatever_a_phase_has() {
        let result = run(&[("a.b \"c\"", "traffic", 9), ("calm", "rest", 0)]);
        for (expression, value, unit) in [
            ("phase.a.b \"c\".response.p99>5ms", 7e6, "ns"),
            ("phase.a.b \"c\".stages.step.pay.p99>5ms", 7e6, "ns"),
            ("phase.a.b \"c\".received<10", 9.0, "count"),
            ("phase.a.b \"c\".failures.reset>2", 3.0, "count"),
            ("phase.calm.seconds>2s", 2.5, "seconds"),
            ("phase.calm.response.count<1", 0.0, "count"),
        ] {
            let said = verdict(&result, expression);
            assert_eq!((said.value, said.unit.as_str(), said.ok), (Some(value), unit, false));
        }
    }

    #[test]
    fn a_phase_that_is_not_there_is_told_with_those_that_are() {
        let result = run(&[("calm", "traffic", 9), ("storm", "drop", 0)]);
        for (expression, note) in [
            (
                "phase.strom.response.p99>5ms",
                "there is no phase 'strom' in this run: it has calm, storm, which is not a pass",
            ),
            (
                "phase.storm.response.p99>5ms",
                "nothing was measured in stage 'response' of phase 'storm', which is not a pass",
            ),
        ] {
            let said = verdict(&result, expression);
            assert_eq!((said.value, said.ok), (None, false), "{expression}");
            assert_eq!(said.note.as_deref(), Some(note));
        }
        let said = verdict(&ResultFile::default(), "phase.storm.lost>0");
        let note = "phase 'storm' is not known: the result tells of no phases, which is not a pass";
        assert_eq!((said.ok, said.note.as_deref()), (false, Some(note)));
        for bad in
            ["phase", "phase.", "phase.storm", "phase..lost", "phase.storm.p99", "phase.lost"]
        {
            let error = format!("{bad}>0").parse::<Threshold>().expect_err(bad).to_string();
            let told = "phase goes on with the name of a phase, and has seconds, opened,";
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn summaries_tell_phases_apart_only_where_an_act_took_place_again() {
        let classic = [("ramp", "open", 0), ("settle", "rest", 0), ("drive", "traffic", 9)];
        let quiet = [&classic[..], &[("hold", "rest", 2), ("drain", "leave", 1)]].concat();
        let again = [&quiet[..], &[("after", "traffic", 5)]].concat();
        let whole = ResultFile { phases: Vec::new(), ..run(&quiet) };
        assert_eq!(text::summary(&run(&quiet), 80), text::summary(&whole, 80));
        assert_eq!(markdown::summary(&run(&quiet)), markdown::summary(&whole));
        let shown = text::summary(&run(&again), 80);
        let line = "drive (traffic, 2.5 s): sent 9, received 9\n";
        assert!(shown.contains(line) && shown.contains("after (traffic, 2.5 s): "), "{shown}");
        assert!(shown.contains("drive: response\n") && !shown.contains("send_lag"), "{shown}");
        let page = markdown::summary(&run(&again));
        assert!(page.contains("| drive: response | 9 |"), "{page}");
        assert!(page.contains("| after: step.pay | 5 |"), "{page}");
    }
}
