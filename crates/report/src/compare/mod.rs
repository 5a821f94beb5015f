//! Two sides of runs compared figure by figure: what differs, by how much, and how sure that is.
//!
//! With [`statistics::RUNS_MIN`] runs or more on both sides together the noise from run to run is
//! known, and a figure counts as better or worse only if its difference is more than chance makes
//! of noise, over all figures at once ([`statistics`]). With fewer the noise is unknown: then a
//! stated limit decides, and the comparison says so.

pub mod comparable;
pub mod condition;
pub mod show;
pub mod side;
pub mod statistics;

use crate::figure::Unit;
use crate::section::metric::Metric;
use crate::section::phases::{self, Asked};
use crate::section::{Number, Phase, ResultFile, noise, timestamp};
use condition::Condition;
use measure::{Failure, Stage};
use schemars::JsonSchema;
use serde::Serialize;
use side::Side;
use statistics::{Figure, NOISE_MIN, RESAMPLES, RUNS_MIN};
use std::collections::BTreeSet;
use std::time::SystemTime;

/// The name and version of what `--json` prints.
pub const SCHEMA: &str = "c1000k.comparison/1";

/// A difference below this share is called none, however sure it is: nobody would act on it.
pub const NEGLIGIBLE: f64 = 0.02;

/// The level of confidence that is asked for where nothing else is said: of fifty comparisons of
/// repeats of the same run, one raises a false alarm.
pub const LEVEL: f64 = 0.98;

/// How many values must lie above a percentile for it to be judged. With fewer it is in truth a
/// maximum, the luck of single messages.
const VALUES_ABOVE: f64 = 10.0;

/// The same while noise is unknown: one run says little of its own tail.
const VALUES_ABOVE_ALONE: f64 = 200.0;

/// Nor does it of what took less than this: a moment of other work on the machine is all of it.
const SECONDS_ALONE: f64 = 1.0;

/// The percentiles that are compared, each with the limit that decides while noise is unknown: the
/// further out, the more it varies from run to run.
const PERCENTILES: [(&str, f64, f64); 5] = [
    ("p50", 0.5, 0.5),
    ("p90", 0.9, 1.0),
    ("p95", 0.95, 1.5),
    ("p99", 0.99, 2.0),
    ("p999", 0.999, 4.0),
];

/// The limit for every other figure while noise is unknown.
const LIMIT: f64 = 0.5;

/// The figures that are compared beside the stages and the failures by kind.
const FIGURES: [&str; 15] = [
    "connections.rate_per_second",
    "messages.first_echo.rate_per_second",
    "messages.rate_achieved",
    "messages.rate_served",
    "connections.failed",
    "connections.lost",
    "messages.lost",
    "messages.mismatched",
    "resources.client.bytes_per_connection",
    "resources.server.bytes_per_connection",
    "resources.kernel.bytes_per_connection",
    "resources.client.cpu_ns_per_connection",
    "resources.client.cpu_ns_per_message",
    "resources.server.cpu_ns_per_connection",
    "resources.server.cpu_ns_per_message",
];

/// How much wider the intervals are, and the limits, where a run shared a noisy machine: as if the
/// spread from run to run were twice what these runs show.
pub const NOISY: f64 = 2.0;

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// The confidence that no figure at all is called different by chance, 0 to 1.
    pub level: f64,
    /// Goes on although the sides are not comparable.
    pub force: bool,
    /// What makes the comparison fail; if empty, any figure that is worse.
    pub fail_on: Vec<Condition>,
}

impl Default for Options {
    fn default() -> Self {
        Self { level: LEVEL, force: false, fail_on: Vec::new() }
    }
}

/// The sides are not comparable, and nobody said to go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "these runs are not comparable (--force compares them all the same):\n  {}",
    .0.join("\n  ")
)]
pub struct NotComparable(pub Vec<String>);

/// What became of a figure.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better by more than noise.
    Better,
    /// Worse by more than noise.
    Worse,
    /// No difference, or none that stands out of the noise.
    Same,
    /// Shown, and not judged: it was not measured in every run, or is the luck of single messages.
    NotJudged,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::NotJudged => "-",
        }
    }
}

/// One figure of both sides.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Row {
    /// Its name, as thresholds write it.
    pub metric: String,
    /// `ns`, `bytes`, `per_second`, `seconds`, `ratio` or `count`.
    pub unit: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The base side: the geometric mean of its runs; null where it was not measured.
    pub base: Option<f64>,
    /// The new side, likewise.
    pub new: Option<f64>,
    /// New minus base.
    pub difference: Option<f64>,
    /// New divided by base; null where base is 0.
    pub ratio: Option<f64>,
    /// The lower end of the confidence interval of the ratio; null where noise is unknown.
    pub ratio_low: Option<f64>,
    /// The upper end.
    pub ratio_high: Option<f64>,
    /// The spread from run to run, as a share (0.03: 3 %); null where it is unknown.
    pub noise: Option<f64>,
    /// The least difference that these runs could show, as a share; where noise is unknown, the
    /// limit that was used instead.
    pub noise_floor: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

/// How differences were judged.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Method {
    /// `bootstrap` or `limits`.
    pub name: &'static str,
    /// The same in words.
    pub text: String,
    /// The confidence that no figure at all is called different by chance; null with limits.
    pub level: Option<f64>,
    /// How often the runs were drawn; null with limits.
    pub resamples: Option<usize>,
    /// Differences below this share count as none.
    pub negligible: f64,
}

/// One side, by its files.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct SideSummary {
    /// What its runs are called (`--label`), if they all are called the same.
    pub label: Option<String>,
    /// Their files, in the order of the runs' starts.
    pub files: Vec<String>,
}

/// What a condition said.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct ConditionVerdict {
    /// The expression as given.
    pub expression: String,
    /// Whether the comparison passes.
    pub ok: bool,
    /// Whether it was measured on both sides; what was not does not pass.
    pub measured: bool,
    /// What was found.
    pub text: String,
}

/// Two sides compared.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Comparison {
    /// Name and version of this format: `c1000k.comparison/1`.
    pub schema: &'static str,
    /// When it was made, RFC 3339 in UTC.
    pub made: String,
    /// What is compared with.
    pub base: SideSummary,
    /// What is compared.
    pub new: SideSummary,
    /// How differences were judged.
    pub method: Method,
    /// Why the sides should not have been compared; not empty only where that was forced.
    pub obstacles: Vec<String>,
    /// Other reasons for caution, and files that were left out.
    pub notes: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// The conditions, in the order given.
    pub conditions: Vec<ConditionVerdict>,
    /// Whether this is a regression: a condition failed, or, if none was given, a figure is worse.
    pub regression: bool,
}

impl Comparison {
    /// How many figures have a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

/// Compares two sides.
///
/// # Errors
/// If they are not comparable, each reason named, and `options.force` is not set.
pub fn compare(base: &Side, new: &Side, options: &Options) -> Result<Comparison, NotComparable> {
    // By force all runs count.
    let cleaned = |name, side| match options.force {
        true => None,
        false => comparable::without_spoilt(name, side),
    };
    let (clean_base, clean_new) = (cleaned("base", base), cleaned("new", new));
    let left_out = [&clean_base, &clean_new].into_iter().flatten().map(|(_, note)| note.clone());
    let mut told: Vec<String> = left_out.collect();
    let base = clean_base.as_ref().map_or(base, |(side, _)| side);
    let new = clean_new.as_ref().map_or(new, |(side, _)| side);
    let obstacles = comparable::obstacles(base, new);
    if !obstacles.is_empty() && !options.force {
        return Err(NotComparable(obstacles));
    }
    let runs = base.runs.len() + new.runs.len();
    let noisy = noisy_note(base, new);
    let widening = if noisy.is_some() { NOISY } else { 1.0 };
    told.extend(noisy);
    told.extend(notes(base, new));
    let measured = figures(base, new, &options.fail_on);
    let mut rows: Vec<Row> = measured.iter().map(Measured::row).collect();
    if runs < RUNS_MIN {
        for (row, figure) in rows.iter_mut().zip(&measured) {
            figure.judge_by_limit(row, widening);
        }
    } else {
        judge_by_bootstrap(&mut rows, &measured, options.level, widening);
    }
    let conditions: Vec<_> =
        options.fail_on.iter().map(|one| condition_verdict(one, &rows)).collect();
    // What was 0 on both sides and is asked for by nobody says nothing.
    let asked = |row: &Row| options.fail_on.iter().any(|one| one.metric.name() == row.metric);
    rows.retain(|row| asked(row) || row.base != Some(0.0) || row.new != Some(0.0));
    let regression = match conditions.is_empty() {
        true => rows.iter().any(|row| row.verdict == Verdict::Worse),
        false => conditions.iter().any(|one| !one.ok),
    };
    Ok(Comparison {
        schema: SCHEMA,
        made: timestamp(SystemTime::now()),
        base: summary(base),
        new: summary(new),
        method: method(runs, options.level),
        obstacles,
        notes: told,
        rows,
        conditions,
        regression,
    })
}

fn summary(side: &Side) -> SideSummary {
    let first = &side.runs[0].result.run.label;
    let same = side.runs.iter().all(|run| run.result.run.label == *first);
    SideSummary {
        label: first.clone().filter(|_| same),
        files: side.runs.iter().map(|run| run.path.display().to_string()).collect(),
    }
}

fn method(runs: usize, level: f64) -> Method {
    let negligible = NEGLIGIBLE;
    if runs < RUNS_MIN {
        let [p50, p90, p95, p99, p999] = PERCENTILES.map(|(.., limit)| 100.0 * limit);
        let text = format!(
            "noise is unknown: {runs} runs in all do not show it. A figure counts as different \
             from \
             {:.0} % on, a percentile from {p50:.0} % (p50), {p90:.0} % (p90), {p95:.0} % (p95), \
             {p99:.0} % (p99) or {p999:.0} % (p99.9) on if {VALUES_ABOVE_ALONE:.0} values lie \
             above it; what took less than a \
             second is not judged. Repeat each side, \
             five times or more, to know",
            100.0 * LIMIT,
        );
        return Method { name: "limits", text, level: None, resamples: None, negligible };
    }
    let text = format!(
        "studentised bootstrap of the difference of mean logarithms, {RESAMPLES} resamples of \
         whole \
         runs; {:.4} % confidence for all figures together; differences below {:.0} % count as \
         none",
        100.0 * level,
        100.0 * NEGLIGIBLE,
    )
    .replace(".0000 %", " %");
    let (level, resamples) = (Some(level), Some(RESAMPLES));
    Method { name: "bootstrap", text, level, resamples, negligible }
}

/// What is said where runs shared a noisy machine.
fn noisy_note(base: &Side, new: &Side) -> Option<String> {
    let runs = || base.runs.iter().chain(&new.runs);
    let noisy = || runs().filter(|run| noise::is_noisy(&run.result));
    let again = comparable::run_again(noisy())?;
    Some(format!(
        "the machine was noisy in {} of {} runs: intervals and limits are {NOISY:.0} times as \
         wide; for \
         narrower ones {again}",
        noisy().count(),
        runs().count(),
    ))
}

/// Reasons for caution that do not forbid to compare.
fn notes(base: &Side, new: &Side) -> Vec<String> {
    let mut notes: Vec<String> =
        base.left_out.iter().chain(&new.left_out).map(|file| format!("left out: {file}")).collect();
    let times = |side: &Side, of: fn(&ResultFile) -> &String| {
        let times: Vec<_> = side.runs.iter().map(|run| of(&run.result).clone()).collect();
        (times.iter().min().cloned(), times.iter().max().cloned())
    };
    let (base_first, base_last) = times(base, |result| &result.run.started);
    let (new_first, new_last) = times(new, |result| &result.run.started);
    let several = base.runs.len() > 1 && new.runs.len() > 1;
    if several && (base_last < new_first || new_last < base_first) {
        notes.push(
            "one side was run after the other: what changed on the machine in between looks like a \
             difference; run them in turns"
                .to_owned(),
        );
    }
    let id =
        |side: &Side| side.runs.iter().map(|run| run.result.run.id.clone()).collect::<Vec<_>>();
    if id(new).iter().any(|one| id(base).contains(one)) {
        notes.push("a run is on both sides".to_owned());
    }
    for (name, side) in [("base", base), ("new", new)] {
        let merged = side.runs.iter().find(|run| !run.result.spread.is_empty());
        if let Some(run) = merged {
            notes.push(format!(
                "{name} '{}' is merged from {} runs and counts as one: give the folder of the \
                 single \
                 results instead, they tell the noise",
                run.path.display(),
                run.result.run.parts.len()
            ));
        }
    }
    notes
}

/// A figure as it was measured in the runs.
struct Measured {
    metric: Metric,
    base: Vec<Option<f64>>,
    new: Vec<Option<f64>>,
    /// The limit while noise is unknown.
    limit: f64,
    /// Whether enough values are behind it.
    judged: bool,
    /// For how long it was measured in each run, at least; no end where that plays no part.
    seconds: f64,
}

/// Every figure that was measured in any run, and those that conditions name.
fn figures(base: &Side, new: &Side, fail_on: &[Condition]) -> Vec<Measured> {
    let known = base.runs.len() + new.runs.len() >= RUNS_MIN;
    let least = if known { VALUES_ABOVE } else { VALUES_ABOVE_ALONE };
    let latency = |of: &dyn Fn(&'static str) -> Metric| {
        let count = of("count");
        let percentiles = PERCENTILES.map(|(name, quantile, limit)| {
            let enough = |side: &Side| {
                side.runs.iter().all(|run| values_above(&run.result, &count, quantile) >= least)
            };
            (of(name), limit, enough(base) && enough(new))
        });
        percentiles.into_iter().chain([(of("max"), LIMIT, false)])
    };
    let names = stage_names(base, new);
    let of_whole = names.iter().filter(|stage| !is_repeated(stage, base, new));
    let of_whole =
        of_whole.flat_map(|stage| latency(&|statistic| Metric::Stage(stage.clone(), statistic)));
    let named = FIGURES.iter().filter_map(|name| Metric::parse(name).ok());
    let failures = Failure::ALL.into_iter().map(Metric::Failures);
    let others = named.chain(failures).map(|metric| (metric, LIMIT, true));
    let by_phase = phase_stages(base, new);
    let by_phase = by_phase.iter().flat_map(|(phase, stage)| {
        latency(&|statistic| Metric::Phase(phase.clone(), Asked::Stage(stage.clone(), statistic)))
    });
    let mut all: Vec<Measured> = of_whole
        .chain(others)
        .chain(by_phase)
        .map(|(metric, limit, judged)| Measured::new(metric, base, new, limit, judged))
        .collect();
    for condition in fail_on {
        if all.iter().all(|figure| figure.metric.name() != condition.metric.name()) {
            all.push(Measured::new(condition.metric.clone(), base, new, LIMIT, true));
        }
    }
    let asked = |m: &Measured| fail_on.iter().any(|one| one.metric.name() == m.metric.name());
    all.retain(|figure| {
        asked(figure) || figure.base.iter().chain(&figure.new).any(Option::is_some)
    });
    all
}

/// The stages of all runs: those that are known, and behind them what else there is.
fn stage_names(base: &Side, new: &Side) -> Vec<String> {
    let mut names: Vec<String> = Stage::ALL.map(|stage| stage.name().to_owned()).into();
    let mut seen: BTreeSet<String> = names.iter().cloned().collect();
    let runs = base.runs.iter().chain(&new.runs);
    for (name, _) in runs.flat_map(|run| run.result.stages.iter()) {
        if seen.insert(name.to_owned()) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The phases that say something which the whole does not, each with the stages that are told of
/// it.
fn phase_stages(base: &Side, new: &Side) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let runs = base.runs.iter().chain(&new.runs);
    let all = runs.flat_map(|run| phases::told(&run.result)).flat_map(|phase| {
        let stages = phases::told_stages(phase);
        stages.map(|(stage, _)| (phase.name.clone(), stage.to_owned()))
    });
    all.filter(|of| seen.insert(of.clone())).collect()
}

/// The handshake of plain TCP is its connect, and the replies of one class of status are all
/// replies where there is no other: once is enough.
fn is_repeated(stage: &str, base: &Side, new: &Side) -> bool {
    let mut stages = base.runs.iter().chain(&new.runs).map(|run| &run.result.stages);
    match Stage::from_name(stage) {
        Some(Stage::Handshake) => {
            stages.all(|one| one.get(Stage::Handshake) == one.get(Stage::Connect))
        }
        Some(class) if Stage::BY_CLASS.contains(&class) => stages
            .all(|one| Stage::BY_CLASS.iter().filter(|of| one.get(**of).is_some()).count() < 2),
        _ => false,
    }
}

/// How many of so many values lie above a percentile.
fn values_above(result: &ResultFile, count: &Metric, quantile: f64) -> f64 {
    count.value(result).unwrap_or(0.0) * (1.0 - quantile)
}

/// For how long a figure was measured: what belongs to the opening of connections and to the first
/// echoes is soon over where there are few of them.
fn seconds(metric: &Metric, result: &ResultFile) -> f64 {
    let first_echo = result.messages.first_echo.as_ref().map_or(0.0, |round| round.seconds);
    let opening = result.connections.open_seconds;
    match metric {
        Metric::Stage(stage, _) => match Stage::from_name(stage) {
            Some(Stage::FirstEcho) => first_echo,
            Some(Stage::Connect | Stage::Tls | Stage::Upgrade | Stage::Handshake) => opening,
            _ => f64::INFINITY,
        },
        Metric::Phase(phase, _) => phases::named(result, phase).map_or(0.0, Phase::lasted),
        Metric::Number(number) if number.name.contains("first_echo") => first_echo,
        Metric::Number(Number { name, unit: Unit::PerSecond | Unit::Nanoseconds, .. })
            if name.contains("connection") =>
        {
            opening
        }
        _ => f64::INFINITY,
    }
}

impl Measured {
    fn new(metric: Metric, base: &Side, new: &Side, limit: f64, judged: bool) -> Self {
        let values = |side: &Side| side.runs.iter().map(|run| metric.value(&run.result)).collect();
        let runs = base.runs.iter().chain(&new.runs);
        let seconds = runs.map(|run| seconds(&metric, &run.result)).fold(f64::INFINITY, f64::min);
        let (base, new) = (values(base), values(new));
        Self { metric, base, new, limit, judged, seconds }
    }

    /// All values as logarithms, if it was measured in every run.
    fn figure(&self) -> Option<Figure> {
        let all = |values: &[Option<f64>]| {
            values.iter().map(|value| value.map(statistics::logarithm)).collect::<Option<Vec<_>>>()
        };
        Some(Figure { base: all(&self.base)?, new: all(&self.new)? })
    }

    fn row(&self) -> Row {
        let typical = |values: &[Option<f64>]| {
            let logarithms: Vec<f64> =
                values.iter().flatten().map(|&v| statistics::logarithm(v)).collect();
            let mean = statistics::from_logarithm(statistics::mean(&logarithms));
            (!logarithms.is_empty()).then(|| exact(values).unwrap_or(mean))
        };
        let (base, new) = (typical(&self.base), typical(&self.new));
        let both = base.zip(new);
        Row {
            metric: self.metric.name(),
            unit: self.metric.unit().name(),
            more_is_better: self.metric.more_is_better(),
            base,
            new,
            difference: both.map(|(base, new)| new - base),
            ratio: both.filter(|(base, _)| *base > 0.0).map(|(base, new)| new / base),
            ratio_low: None,
            ratio_high: None,
            noise: None,
            noise_floor: None,
            verdict: Verdict::NotJudged,
        }
    }

    /// Without knowledge of the noise: a difference from the limit on.
    fn judge_by_limit(&self, row: &mut Row, widening: f64) {
        let judged = self.judged && self.seconds >= SECONDS_ALONE;
        let Some(figure) = self.figure().filter(|_| judged) else { return };
        let difference = statistics::mean(&figure.new) - statistics::mean(&figure.base);
        let limit = self.limit * widening;
        row.noise_floor = Some(limit);
        row.verdict = self.verdict(difference, (1.0 + limit).ln());
    }

    /// The verdict on a difference of logarithms of which `margin` may be chance.
    fn verdict(&self, difference: f64, margin: f64) -> Verdict {
        if difference.abs() <= margin.max((1.0 + NEGLIGIBLE).ln()) {
            Verdict::Same
        } else if (difference > 0.0) == self.metric.more_is_better() {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

/// The value of all runs, where it is the same: shown as it is, without the detour by logarithms.
fn exact(values: &[Option<f64>]) -> Option<f64> {
    let mut values = values.iter().flatten();
    let first = values.next()?;
    values.all(|value| value == first).then_some(*first)
}

fn judge_by_bootstrap(rows: &mut [Row], measured: &[Measured], level: f64, widening: f64) {
    let complete: Vec<_> = (rows.iter_mut().zip(measured))
        .filter_map(|(row, measured)| {
            let figure = measured.figure().filter(|_| measured.judged)?;
            // Nothing on either side: there is nothing to judge.
            let any = figure.base.iter().chain(&figure.new).any(|value| *value > 0.0);
            any.then_some((row, measured, figure))
        })
        .collect();
    let figures: Vec<_> = complete.iter().map(|(_, _, figure)| figure.clone()).collect();
    let differences = statistics::differences(&figures, level);
    for ((row, measured, _), mut found) in complete.into_iter().zip(differences) {
        found.margin *= widening;
        let end = |offset: f64| (found.estimate + offset).exp();
        // The ratio of numbers near zero is not that of their logarithms, which have one added.
        if measured.metric.unit() != Unit::Count {
            (row.ratio_low, row.ratio_high) = (Some(end(-found.margin)), Some(end(found.margin)));
        }
        row.noise =
            Some(found.noise.exp_m1()).filter(|_| found.noise > NOISE_MIN).or(Some(NOISE_MIN));
        row.noise_floor = Some(found.margin.exp_m1().max(NEGLIGIBLE));
        row.verdict = measured.verdict(found.estimate, found.margin);
    }
}

/// Fails where the difference is the one named and is no chance, or where there is nothing to tell.
fn condition_verdict(condition: &Condition, rows: &[Row]) -> ConditionVerdict {
    let name = condition.metric.name();
    let row = rows.iter().find(|row| row.metric == name);
    let expression = condition.expression().to_owned();
    let values = row.and_then(|row| Some((row, row.base?, row.new?)));
    let Some((row, base, new)) = values else {
        let text = "not measured on both sides, which is not a pass".to_owned();
        return ConditionVerdict { expression, ok: false, measured: false, text };
    };
    let by_chance = row.noise.is_some() && row.verdict == Verdict::Same;
    let (holds, change) = (condition.holds(base, new), show::change(row));
    let text = match (holds, by_chance, row.noise) {
        (true, true, _) => format!("{change}, which may be chance"),
        (_, _, None) => format!("{change}; noise is unknown"),
        _ => change,
    };
    ConditionVerdict { expression, ok: !holds || by_chance, measured: true, text }
}
