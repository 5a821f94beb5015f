//! Which run it was, when, how it ended, and the reasons to doubt it.

use super::parts::{Kind, Placed};
use super::{ResultFile, Verdict};
use crate::words::time;
use measure::Nanos;
use measure::units::format_duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// A moment as result files write it: RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn timestamp(moment: SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}

/// The program that wrote a result.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Tool {
    /// Its name: `c1000k-client`.
    pub name: String,
    /// Its version, `major.minor.patch`.
    pub version: String,
    /// The commit it was built from; null where that is not known.
    pub commit: Option<String>,
}

/// Which run it was, when, and how it ended.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Run {
    /// Start and seed: tells this run from all others.
    pub id: String,
    /// What the user called it (`--label`); null if nothing.
    pub label: Option<String>,
    /// When it began, RFC 3339 in UTC, to the millisecond, by the clock of the client's machine.
    pub started: String,
    /// When it ended, likewise.
    pub ended: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// How it ended. Thresholds have no part in it: see `verdict`.
    pub outcome: Outcome,
    /// Reasons for doubt, each with its remedy.
    pub warnings: Vec<Warning>,
    /// The seed of all randomness; the same as in the plan.
    pub seed: u64,
    /// The runs that this result was merged from; absent if it is of one run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Which of several runs of one plan (`--repeat`) it was; absent if it was the only one, and in
    /// what was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// The place of a run among the repeats of its plan.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Repeat {
    /// Its number, from 1 on.
    pub number: u64,
    /// How many runs were asked for.
    pub of: u64,
    /// How long it was waited before this run, from the end of the one before; 0 for the first.
    pub cool_down_ns: u64,
}

/// One of the runs that a merged result was made of.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Part {
    /// The run's `id`.
    pub id: String,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// When it ended, RFC 3339 in UTC.
    pub ended: String,
    /// How much later than the first of the parts it began, by the clocks of their machines.
    pub skew_ns: u64,
}

/// How a run ended. Thresholds are not part of it: see the verdict.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All that was planned was done.
    Done,
    /// It broke off on an error. The state of a result until the run says otherwise.
    #[default]
    Failed,
    /// Somebody stopped it; what was measured until then is here.
    Interrupted,
    /// It came to its end with fewer connections or a lower rate than planned.
    NotReached,
}

impl Outcome {
    /// The name in result files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::NotReached => "not_reached",
        }
    }
}

/// A reason to doubt the numbers of a run.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Warning {
    /// A short name that stays the same between versions: `client_busy`.
    pub code: String,
    /// What is wrong, as one sentence with its numbers.
    pub text: String,
    /// What to do about it, as one sentence or command.
    pub remedy: String,
}

impl Warning {
    pub(crate) fn new(code: &str, text: impl Into<String>, remedy: &str) -> Self {
        Self { code: code.to_owned(), text: text.into(), remedy: remedy.to_owned() }
    }
}

/// Shards whose starts lie further apart than this are told of: their loads did not add up all
/// along.
const SKEW_TOLD: Duration = Duration::from_secs(1);

/// The run that all parts are together. A new field has to be thought of here.
pub(crate) fn merge(parts: &[Placed<'_>], kind: Kind, mut warnings: Vec<Warning>) -> Run {
    let (first, runs) = (&parts[0], || parts.iter().map(|part| &part.result.run));
    let skew = parts.iter().map(|part| part.after(first)).max().unwrap_or_default();
    if kind == Kind::Shards && skew > SKEW_TOLD {
        let text = format!("the parts began up to {} apart", format_duration(Nanos::from(skew)));
        let remedy = "start them closer together, and compare the clocks of their machines";
        warnings.push(Warning::new("start_skew", text, remedy));
    }
    let severity = |run: &&Run| match run.outcome {
        Outcome::Done => 0,
        Outcome::NotReached => 1,
        Outcome::Interrupted => 2,
        Outcome::Failed => 3,
    };
    let first_run = &first.result.run;
    let same_label = runs().all(|run| run.label == first_run.label);
    Run {
        id: format!("{}-merged-{}", first_run.id, parts.len()),
        label: first_run.label.clone().filter(|_| same_label),
        started: first_run.started.clone(),
        ended: runs().map(|run| &run.ended).max().cloned().unwrap_or_default(),
        command: first_run.command.clone(),
        outcome: runs().max_by_key(severity).map(|run| run.outcome).unwrap_or_default(),
        warnings,
        seed: first_run.seed,
        parts: parts.iter().flat_map(|part| named(part, first)).collect(),
        repeat: None,
    }
}

/// What a part is called: its own parts, if it was merged itself.
fn named(part: &Placed<'_>, first: &Placed<'_>) -> Vec<Part> {
    let run = &part.result.run;
    let skew = Nanos::from(part.after(first)).0;
    if run.parts.is_empty() {
        let (id, started, ended) = (run.id.clone(), run.started.clone(), run.ended.clone());
        return vec![Part { id, started, ended, skew_ns: skew }];
    }
    let later =
        |inner: &Part| Part { skew_ns: inner.skew_ns.saturating_add(skew), ..inner.clone() };
    run.parts.iter().map(later).collect()
}

/// The warnings of all parts, the same one once.
pub(crate) fn warnings(results: &[&ResultFile]) -> Vec<Warning> {
    let mut all: Vec<Warning> = Vec::new();
    for warning in results.iter().flat_map(|result| &result.run.warnings) {
        if !all.contains(warning) {
            all.push(warning.clone());
        }
    }
    all
}

/// How it ended, in words.
pub(crate) fn words(run: &Run, verdict: &Verdict) -> String {
    let meaning = match verdict.exit_code {
        4 => " (a threshold was missed)",
        6 => " (the plan was not reached)",
        _ => "",
    };
    let name = run.outcome.name().replace('_', " ");
    let mut text = format!("{name}, exit code {}{meaning}", verdict.exit_code);
    if let Some(lasted) = lasted(run) {
        let _ = write!(text, "\nbegan {}, took {}", run.started, time(lasted.0));
    }
    text
}

/// How long a run took, if both of its ends are dates.
pub(crate) fn lasted(run: &Run) -> Option<Nanos> {
    let started = humantime::parse_rfc3339(&run.started).ok()?;
    let ended = humantime::parse_rfc3339(&run.ended).ok()?;
    ended.duration_since(started).ok().map(Nanos::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_written_in_utc_to_the_millisecond() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(timestamp(moment), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn an_outcome_is_named_as_it_is_written() {
        use Outcome::{Done, Failed, Interrupted, NotReached};
        for outcome in [Done, Failed, Interrupted, NotReached] {
            assert_eq!(serde_json::to_value(outcome).expect("a text"), outcome.name());
        }
    }
}
