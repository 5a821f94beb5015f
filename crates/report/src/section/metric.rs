//! The numbers of a result by name: `response.p99`, `connections.lost`. Thresholds, comparisons and
//! exports name them alike.

use super::phases::Asked;
use super::statuses::Statuses;
use super::{NUMBERS, Number, ResultFile, phases, stages};
use crate::figure::Unit;
use crate::hist::StageEntry;
use measure::{Failure, Stage};

/// There is no metric of that name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no metric '{0}': {1}")]
pub struct UnknownMetric(String, String);

/// Where a number is in a result.
#[derive(Clone, Debug)]
pub(crate) enum Metric {
    /// A number of a stage, by the names of both.
    Stage(String, &'static str),
    Failures(Failure),
    /// A number of the phase of that name.
    Phase(String, Asked),
    Statuses(Statuses),
    /// The same, as a share of all responses.
    Share(Statuses),
    Number(&'static Number),
}

impl Metric {
    /// The metric of that name, as [`Self::name`] writes it.
    pub(crate) fn parse(name: &str) -> Result<Self, UnknownMetric> {
        if let Some(number) = all_numbers().find(|number| number.name == name) {
            return Ok(Self::Number(number));
        }
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        let found = if first == "http" {
            Statuses::parse(rest).map(Self::Statuses)
        } else if first == "failures" {
            Failure::ALL.into_iter().find(|kind| kind.name() == rest).map(Self::Failures)
        } else if first == PHASE {
            phases::parse(rest).map(|(phase, asked)| Self::Phase(phase, asked))
        } else {
            stages::parse(name).map(|(stage, statistic)| Self::Stage(stage, statistic))
        };
        found.ok_or_else(|| UnknownMetric(name.to_owned(), what_exists(first)))
    }

    /// The same of all, where it is a part of something that can be counted: a share, like `5%`.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Statuses(which) => Some(Self::Share(*which)),
            _ => None,
        }
    }

    /// Every number of the result that is neither a latency nor a kind of failure.
    pub(crate) fn numbers() -> impl Iterator<Item = Self> {
        all_numbers().map(Self::Number)
    }

    /// The name in thresholds, comparisons and exports: its path in the result file, but for the
    /// stages, which begin with their own name, and the phases, which are told by theirs.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stage(stage, statistic) => stages::metric_name(stage, statistic),
            Self::Phase(phase, asked) => format!("{PHASE}.{phase}.{}", asked.name()),
            Self::Failures(kind) => format!("failures.{}", kind.name()),
            Self::Statuses(which) | Self::Share(which) => format!("http.{which}"),
            Self::Number(number) => number.name.to_owned(),
        }
    }

    /// Whether more of it is better: of numbers their section says so; more messages are, longer
    /// times and more failures are not.
    pub(crate) fn more_is_better(&self) -> bool {
        match self {
            Self::Stage(_, statistic) => *statistic == "count",
            Self::Failures(_) => false,
            Self::Phase(_, asked) => asked.more_is_better(),
            Self::Statuses(which) | Self::Share(which) => which.has(200),
            Self::Number(number) => number.more_is_better,
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        match self {
            Self::Stage(_, statistic) => stages::unit(statistic),
            Self::Phase(_, asked) => asked.unit(),
            Self::Failures(_) | Self::Statuses(_) => Unit::Count,
            Self::Share(_) => Unit::Ratio,
            Self::Number(number) => number.unit,
        }
    }

    /// What was measured; `None` if nothing was.
    pub(crate) fn value(&self, result: &ResultFile) -> Option<f64> {
        match self {
            Self::Stage(stage, statistic) => result.stages.statistic(stage, statistic),
            Self::Phase(phase, asked) => asked.value(phases::named(result, phase)?),
            Self::Failures(kind) => Some(result.failures.get(*kind) as f64),
            Self::Statuses(which) => which.count(result),
            Self::Share(which) => which.share(result),
            Self::Number(number) => (number.read)(result),
        }
    }

    /// The phase that it is of, if it is of one.
    pub(crate) fn phase(&self) -> Option<&str> {
        match self {
            Self::Phase(phase, _) => Some(phase),
            _ => None,
        }
    }

    /// Why there is no value.
    pub(crate) fn note(&self, result: &ResultFile) -> String {
        match self {
            Self::Stage(stage, _) => {
                format!("nothing was measured in stage '{stage}', which is not a pass")
            }
            Self::Phase(phase, asked) => {
                format!("{}, which is not a pass", phases::missing(result, phase, asked))
            }
            _ => "not measured in this run, which is not a pass".to_owned(),
        }
    }
}

fn all_numbers() -> impl Iterator<Item = &'static Number> {
    NUMBERS.into_iter().flatten()
}

/// What the names of numbers of phases begin with: `phase.storm.response.p99`.
const PHASE: &str = "phase";

/// What could have been meant by a metric that begins with `first`.
fn what_exists(first: &str) -> String {
    let stages = || Stage::ALL.map(Stage::name).join(", ");
    if Stage::from_name(first).is_some() {
        // One section is named as its stage.
        let beside = all_numbers().filter_map(|number| number.name.strip_prefix(first));
        let beside = beside.filter_map(|rest| rest.strip_prefix('.'));
        let all: Vec<_> = StageEntry::STATISTICS.into_iter().chain(beside).collect();
        return format!("{first} has {}", all.join(", "));
    }
    if first == "failures" {
        return format!("failures has {}", Failure::ALL.map(Failure::name).join(", "));
    }
    if first == "http" {
        return "http has 2xx, 3xx, 4xx, 5xx, non_2xx, and each status, like http.404".to_owned();
    }
    if first == PHASE {
        let figures: Vec<_> = phases::FIGURES.iter().map(|figure| figure.name).collect();
        return format!(
            "{PHASE} goes on with the name of a phase, and has {}, failures.KIND, and each stage, \
             like \
             {PHASE}.NAME.response.p99",
            figures.join(", ")
        );
    }
    let prefix = format!("{first}.");
    let under: Vec<_> =
        all_numbers().filter_map(|number| number.name.strip_prefix(&prefix)).collect();
    if under.is_empty() {
        format!(
            "it begins with a stage ({}) or with connections, messages, failures, http, resources, \
             pacing, audit, generator, server, balance or phase",
            stages()
        )
    } else {
        format!("{first} has {}", under.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{
        Audit, Balance, BalanceOf, Generator, Imbalance, Pacing, Server, Stall, Tls,
    };

    #[test]
    fn every_number_is_the_one_at_its_path_and_its_unit_the_one_in_its_key() {
        let text = include_str!("../../tests/fixtures/v1/million.json");
        let mut result: ResultFile = serde_json::from_str(text).expect("a result");
        // What is younger than the file, a number of its own for each.
        let entry = |p99| Some(StageEntry { count: 1, p99, ..StageEntry::default() });
        let imbalance = |index| Some(Imbalance { index, ..Imbalance::default() });
        let of = |from: f64| BalanceOf {
            connections: imbalance(from),
            messages: imbalance(from + 0.1),
            cpu: imbalance(from + 0.2),
            busy_max: Some(from + 0.3),
            loop_delay_p99_ns: Some(from as u64),
            ..BalanceOf::default()
        };
        result.balance = Balance { client: Some(of(2.0)), server: Some(of(3.0)) };
        result.generator = Some(Generator {
            limited: true,
            busy_max: 0.11,
            wait_max: Some(0.12),
            demand_max: 0.13,
            steal_ratio: Some(0.14),
            involuntary_switches: Some(15),
            loop_delay: entry(16),
            turn: entry(17),
            own_lag: entry(18),
            host_probe: entry(19),
            ..Generator::default()
        });
        result.resources.others_cpu_ratio = Some(0.19);
        (result.messages.rate_served, result.messages.backlog_at_end) = (Some(41.0), Some(42));
        result.messages.backlog_growth_per_second = Some(43.0);
        result.messages.in_flight_max = Some(44);
        result.messages.bytes_read = Some(46);
        let stalled = Some(Stall { longest_silence_ns: 45, ..Stall::default() });
        result.server = Some(Server { behind: true, stalled });
        result.pacing = Some(Pacing {
            sent_per_window_max: 21,
            dispersion: Some(0.22),
            rate_error: -0.23,
            ..Pacing::default()
        });
        result.tls = Some(Tls {
            handshakes: 51,
            resumed: 52,
            verified: 53,
            failed: 54,
            truncated: 55,
            ..Tls::default()
        });
        result.audit = Some(Audit {
            connections: 31,
            messages: 32,
            unstamped: 33,
            misfits: 34,
            clock_steps: 35,
            ..Audit::default()
        });
        // As this version writes it: fields that are younger than the file are there as well.
        let raw = serde_json::to_value(&result).expect("JSON");
        let number =
            |value: &serde_json::Value| value.as_f64().or_else(|| value.as_bool().map(f64::from));
        for Number { name: path, unit, read, .. } in all_numbers() {
            let pointer = format!("/{}", path.replace('.', "/"));
            let expected = raw.pointer(&pointer).and_then(number);
            assert!(expected.is_some(), "{path} is in the fixture");
            assert_eq!(read(&result), expected, "{path}");
            let by_key = match path.rsplit('.').next().expect("a key") {
                key if key.contains("bytes") => Unit::Bytes,
                key if key.contains("_ns") || key == "p99" => Unit::Nanoseconds,
                key if key.ends_with("seconds") => Unit::Seconds,
                "sent_per_window_max" | "in_flight_max" => Unit::Count,
                "dispersion" | "rate_error" | "index" => Unit::Ratio,
                key if key.ends_with("_max") || key.ends_with("ratio") => Unit::Ratio,
                key if key.contains("rate") || key.ends_with("per_second") => Unit::PerSecond,
                _ => Unit::Count,
            };
            assert_eq!(*unit, by_key, "{path}");
            assert_eq!(Unit::from_name(unit.name()), Some(*unit));
        }
    }

    #[test]
    fn every_metric_is_found_by_its_name() {
        let stages = Stage::ALL.into_iter().flat_map(|stage| {
            StageEntry::STATISTICS
                .map(|statistic| Metric::Stage(stage.name().to_owned(), statistic))
        });
        let failures = Failure::ALL.into_iter().map(Metric::Failures);
        let statuses = [Statuses::Code(404), Statuses::Class(5), Statuses::Not2xx];
        let failures = failures.chain(statuses.map(Metric::Statuses));
        let other = Metric::Stage("step.pay".to_owned(), "p99");
        assert_eq!(other.name(), "stages.step.pay.p99");
        assert_eq!(Metric::parse("stages.response.p99").expect("one").name(), "response.p99");
        let of_phase = phases::FIGURES
            .iter()
            .map(Asked::Figure)
            .chain(Failure::ALL.into_iter().map(Asked::Failures))
            .chain(["response", "step.pay"].map(|stage| Asked::Stage(stage.to_owned(), "p99")))
            .map(|asked| Metric::Phase("storm.2".to_owned(), asked));
        for bad in ["stages.p99", "stages..p99", "step.pay.p99", "stages.step.pay.p98"] {
            assert!(Metric::parse(bad).is_err(), "{bad}");
        }
        for metric in [other]
            .into_iter()
            .chain(stages)
            .chain(failures)
            .chain(of_phase)
            .chain(all_numbers().map(Metric::Number))
        {
            let found = Metric::parse(&metric.name()).expect("its own name");
            assert_eq!((found.name(), found.unit()), (metric.name(), metric.unit()));
        }
    }

    #[test]
    fn what_is_better_follows_from_what_it_is() {
        for (name, more_is_better) in [
            ("response.p99", false),
            ("response.count", true),
            ("failures.reset", false),
            ("connections.lost", false),
            ("http.2xx", true),
            ("http.404", false),
            ("connections.opened", true),
            ("connections.open_seconds", false),
            ("connections.rate_per_second", true),
            ("messages.bytes_received", true),
            ("messages.mismatched", false),
            ("resources.kernel.bytes_per_connection", false),
            ("resources.server.cpu_ns_per_message", false),
            ("generator.limited", false),
            ("generator.busy_max", false),
            ("audit.messages", true),
            ("audit.misfits", false),
            ("balance.server.cpu.index", false),
            ("phase.storm.response.p99", false),
            ("phase.storm.response.count", true),
            ("phase.storm.opened", true),
            ("phase.storm.lost", false),
            ("phase.storm.failures.reset", false),
        ] {
            let metric = Metric::parse(name).expect("a metric");
            assert_eq!(metric.more_is_better(), more_is_better, "{name}");
        }
    }
}
