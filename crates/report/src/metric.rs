//! The numbers of a result by name: `response.p99`, `connections.lost`. Thresholds, comparisons and
//! exports name them alike.

use crate::schema::{Process, ResultFile, StageEntry};
use crate::statuses::Statuses;
use measure::units::{self, UnitError};
use measure::{Failure, Stage};

/// There is no metric of that name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no metric '{0}': {1}")]
pub struct UnknownMetric(String, String);

/// What kind of number a metric is: how its value is written, and in which unit it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Nanoseconds.
    Nanoseconds,
    /// Seconds, with a fraction.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things per second.
    PerSecond,
    /// One thing divided by another of its kind.
    Ratio,
}

impl Unit {
    /// The name in result files.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Nanoseconds => "ns",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::PerSecond => "per_second",
            Self::Ratio => "ratio",
        }
    }

    /// The unit of that name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        use Unit::{Bytes, Count, Nanoseconds, PerSecond, Ratio, Seconds};
        let all = [Count, Nanoseconds, Seconds, Bytes, PerSecond, Ratio];
        all.into_iter().find(|u| u.name() == name)
    }

    /// The value as people write it, in this unit.
    pub(crate) fn parse(self, text: &str) -> Result<f64, UnitError> {
        match self {
            Self::Count => units::parse_count(text).map(|count| count as f64),
            Self::Nanoseconds => units::parse_duration(text).map(|span| span.0 as f64),
            Self::Seconds => units::parse_duration(text).map(|span| span.as_secs_f64()),
            Self::Bytes => units::parse_size(text).map(|size| size as f64),
            Self::PerSecond => units::parse_rate(text),
            Self::Ratio => units::parse_ratio(text),
        }
    }
}

/// A number of the result file that is not a latency: its path in the file, unit, and where it is.
type Number = (&'static str, Unit, fn(&ResultFile) -> Option<f64>);

/// Every such number that can be named; the failures, by kind, come on top.
const NUMBERS: &[Number] = &[
    ("connections.planned", Unit::Count, |r| Some(r.connections.planned as f64)),
    ("connections.opened", Unit::Count, |r| Some(r.connections.opened as f64)),
    ("connections.failed", Unit::Count, |r| Some(r.connections.failed as f64)),
    ("connections.lost", Unit::Count, |r| Some(r.connections.lost as f64)),
    ("connections.ended", Unit::Count, |r| Some(r.connections.ended as f64)),
    ("connections.ended_idle", Unit::Count, |r| Some(r.connections.ended_idle as f64)),
    ("connections.replaced", Unit::Count, |r| Some(r.connections.replaced as f64)),
    ("connections.tried_again", Unit::Count, |r| Some(r.connections.tried_again as f64)),
    ("connections.not_tried", Unit::Count, |r| Some(r.connections.not_tried as f64)),
    ("connections.open_at_end", Unit::Count, |r| Some(r.connections.open_at_end as f64)),
    ("connections.open_peak", Unit::Count, |r| Some(r.connections.open_peak as f64)),
    ("connections.open_seconds", Unit::Seconds, |r| Some(r.connections.open_seconds)),
    ("connections.rate_per_second", Unit::PerSecond, |r| Some(r.connections.rate_per_second)),
    ("messages.planned", Unit::Count, |r| r.messages.planned.map(|n| n as f64)),
    ("messages.sent", Unit::Count, |r| Some(r.messages.sent as f64)),
    ("messages.received", Unit::Count, |r| Some(r.messages.received as f64)),
    ("messages.unserved", Unit::Count, |r| Some(r.messages.unserved as f64)),
    ("messages.resent", Unit::Count, |r| Some(r.messages.resent as f64)),
    ("messages.lost", Unit::Count, |r| Some(r.messages.lost as f64)),
    ("messages.mismatched", Unit::Count, |r| Some(r.messages.mismatched as f64)),
    ("messages.unasked", Unit::Count, |r| Some(r.messages.unasked as f64)),
    ("messages.unasked_bytes", Unit::Bytes, |r| Some(r.messages.unasked_bytes as f64)),
    ("messages.bytes_sent", Unit::Bytes, |r| Some(r.messages.bytes_sent as f64)),
    ("messages.bytes_received", Unit::Bytes, |r| Some(r.messages.bytes_received as f64)),
    ("messages.bytes_surplus", Unit::Bytes, |r| Some(r.messages.bytes_surplus as f64)),
    ("messages.rate_planned", Unit::PerSecond, |r| r.messages.rate_planned),
    ("messages.rate_achieved", Unit::PerSecond, |r| Some(r.messages.rate_achieved)),
    ("messages.rate_served", Unit::PerSecond, |r| r.messages.rate_served),
    ("messages.backlog_at_end", Unit::Count, |r| whole(r.messages.backlog_at_end)),
    ("messages.backlog_growth_per_second", Unit::PerSecond, |r| {
        r.messages.backlog_growth_per_second
    }),
    ("messages.in_flight_max", Unit::Count, |r| whole(r.messages.in_flight_max)),
    ("messages.first_echo.received", Unit::Count, |r| {
        r.messages.first_echo.as_ref().map(|round| round.received as f64)
    }),
    ("messages.first_echo.unserved", Unit::Count, |r| {
        r.messages.first_echo.as_ref().map(|round| round.unserved as f64)
    }),
    ("messages.first_echo.seconds", Unit::Seconds, |r| {
        r.messages.first_echo.as_ref().map(|round| round.seconds)
    }),
    ("messages.first_echo.rate_per_second", Unit::PerSecond, |r| {
        r.messages.first_echo.as_ref().map(|round| round.rate_per_second)
    }),
    ("resources.client.rss_bytes", Unit::Bytes, |r| whole(r.resources.client.rss_bytes)),
    ("resources.client.rss_bytes_after_traffic", Unit::Bytes, |r| {
        whole(r.resources.client.rss_bytes_after_traffic)
    }),
    ("resources.client.bytes_per_connection", Unit::Bytes, |r| {
        r.resources.client.bytes_per_connection
    }),
    ("resources.client.cpu_seconds", Unit::Seconds, |r| r.resources.client.cpu_seconds),
    ("resources.client.cpu_ns_per_connection", Unit::Nanoseconds, |r| {
        whole(r.resources.client.cpu_ns_per_connection)
    }),
    ("resources.client.cpu_ns_per_message", Unit::Nanoseconds, |r| {
        whole(r.resources.client.cpu_ns_per_message)
    }),
    ("resources.server.rss_bytes", Unit::Bytes, |r| whole(server(r)?.rss_bytes)),
    ("resources.server.rss_bytes_after_traffic", Unit::Bytes, |r| {
        whole(server(r)?.rss_bytes_after_traffic)
    }),
    ("resources.server.bytes_per_connection", Unit::Bytes, |r| server(r)?.bytes_per_connection),
    ("resources.server.cpu_seconds", Unit::Seconds, |r| server(r)?.cpu_seconds),
    ("resources.server.cpu_ns_per_connection", Unit::Nanoseconds, |r| {
        whole(server(r)?.cpu_ns_per_connection)
    }),
    ("resources.server.cpu_ns_per_message", Unit::Nanoseconds, |r| {
        whole(server(r)?.cpu_ns_per_message)
    }),
    ("resources.kernel.bytes_per_connection", Unit::Bytes, |r| {
        r.resources.kernel.bytes_per_connection
    }),
    ("resources.kernel.memfree_bytes_per_connection", Unit::Bytes, |r| {
        r.resources.kernel.memfree_bytes_per_connection
    }),
    ("resources.kernel.slab_bytes_per_connection", Unit::Bytes, |r| {
        r.resources.kernel.slab_bytes_per_connection
    }),
    ("pacing.sent_per_window_max", Unit::Count, |r| {
        Some(r.pacing.as_ref()?.sent_per_window_max as f64)
    }),
    ("pacing.dispersion", Unit::Ratio, |r| r.pacing.as_ref()?.dispersion),
    ("pacing.rate_error", Unit::Ratio, |r| Some(r.pacing.as_ref()?.rate_error)),
    ("audit.connections", Unit::Count, |r| Some(r.audit.as_ref()?.connections as f64)),
    ("audit.messages", Unit::Count, |r| Some(r.audit.as_ref()?.messages as f64)),
    ("audit.unstamped", Unit::Count, |r| Some(r.audit.as_ref()?.unstamped as f64)),
    ("audit.misfits", Unit::Count, |r| Some(r.audit.as_ref()?.misfits as f64)),
    ("audit.clock_steps", Unit::Count, |r| Some(r.audit.as_ref()?.clock_steps as f64)),
    ("generator.limited", Unit::Count, |r| Some(f64::from(r.generator.as_ref()?.limited))),
    ("generator.busy_max", Unit::Ratio, |r| Some(r.generator.as_ref()?.busy_max)),
    ("generator.wait_max", Unit::Ratio, |r| r.generator.as_ref()?.wait_max),
    ("generator.demand_max", Unit::Ratio, |r| Some(r.generator.as_ref()?.demand_max)),
    ("generator.steal_ratio", Unit::Ratio, |r| r.generator.as_ref()?.steal_ratio),
    ("generator.involuntary_switches", Unit::Count, |r| {
        whole(r.generator.as_ref()?.involuntary_switches)
    }),
    ("generator.loop_delay.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.loop_delay)),
    ("generator.turn.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.turn)),
    ("generator.own_lag.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.own_lag)),
    ("server.behind", Unit::Count, |r| Some(f64::from(r.server.as_ref()?.behind))),
    ("server.stalled.longest_silence_ns", Unit::Nanoseconds, |r| {
        Some(r.server.as_ref()?.stalled.map_or(0.0, |stall| stall.longest_silence_ns as f64))
    }),
    ("generator.noisy_host", Unit::Count, |r| Some(f64::from(r.generator.as_ref()?.noisy_host))),
    ("generator.host_probe.p99", Unit::Nanoseconds, |r| p99(&r.generator.as_ref()?.host_probe)),
    ("resources.others_cpu_ratio", Unit::Ratio, |r| r.resources.others_cpu_ratio),
    ("balance.client.connections.index", Unit::Ratio, |r| {
        Some(r.balance.client.as_ref()?.connections?.index)
    }),
    ("balance.client.messages.index", Unit::Ratio, |r| {
        Some(r.balance.client.as_ref()?.messages?.index)
    }),
    ("balance.client.cpu.index", Unit::Ratio, |r| Some(r.balance.client.as_ref()?.cpu?.index)),
    ("balance.server.connections.index", Unit::Ratio, |r| {
        Some(r.balance.server.as_ref()?.connections?.index)
    }),
    ("balance.server.messages.index", Unit::Ratio, |r| {
        Some(r.balance.server.as_ref()?.messages?.index)
    }),
    ("balance.server.cpu.index", Unit::Ratio, |r| Some(r.balance.server.as_ref()?.cpu?.index)),
    ("balance.server.busy_max", Unit::Ratio, |r| r.balance.server.as_ref()?.busy_max),
    ("balance.server.loop_delay_p99_ns", Unit::Nanoseconds, |r| {
        whole(r.balance.server.as_ref()?.loop_delay_p99_ns)
    }),
];

fn p99(entry: &Option<StageEntry>) -> Option<f64> {
    entry.as_ref().filter(|entry| entry.count > 0)?.statistic("p99")
}

fn whole(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn server(result: &ResultFile) -> Option<&Process> {
    result.resources.server.as_ref()
}

/// Where a number is in a result.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Metric {
    Stage(Stage, &'static str),
    Failures(Failure),
    Statuses(Statuses),
    /// The same, as a share of all responses.
    Share(Statuses),
    Number(&'static Number),
}

impl Metric {
    /// The metric of that name, as [`Self::name`] writes it.
    pub(crate) fn parse(name: &str) -> Result<Self, UnknownMetric> {
        if let Some(number) = NUMBERS.iter().find(|(path, ..)| *path == name) {
            return Ok(Self::Number(number));
        }
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        let found = if first == "http" {
            Statuses::parse(rest).map(Self::Statuses)
        } else if first == "failures" {
            Failure::ALL.into_iter().find(|kind| kind.name() == rest).map(Self::Failures)
        } else {
            Stage::from_name(first).and_then(|stage| {
                let statistic = StageEntry::STATISTICS.into_iter().find(|known| *known == rest);
                Some(Self::Stage(stage, statistic?))
            })
        };
        found.ok_or_else(|| UnknownMetric(name.to_owned(), what_exists(first)))
    }

    /// The same of all, where it is a part of something that can be counted: a share, like `5%`.
    pub(crate) fn share(self) -> Option<Self> {
        match self {
            Self::Statuses(which) => Some(Self::Share(which)),
            _ => None,
        }
    }

    /// Every number of the result that is neither a latency nor a kind of failure.
    pub(crate) fn numbers() -> impl Iterator<Item = Self> {
        NUMBERS.iter().map(Self::Number)
    }

    /// The name in thresholds, comparisons and exports: its path in the result file, but for the
    /// stages, which begin with their own name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Stage(stage, statistic) => format!("{}.{statistic}", stage.name()),
            Self::Failures(kind) => format!("failures.{}", kind.name()),
            Self::Statuses(which) | Self::Share(which) => format!("http.{which}"),
            Self::Number((path, ..)) => (*path).to_owned(),
        }
    }

    /// Whether more of it is better: more connections, messages and rates are, longer times, more
    /// memory, more failures and more of what is unevenly spread or used up are not.
    pub(crate) fn more_is_better(self) -> bool {
        let bad = [
            "failed",
            "lost",
            "mismatched",
            "unasked",
            "unasked_bytes",
            "not_tried",
            "unserved",
            "resent",
            "ended",
            "ended_idle",
            "replaced",
            "tried_again",
            "window_max",
            "unstamped",
            "misfits",
            "clock_steps",
            "limited",
            "switches",
            "behind",
            "backlog_at_end",
            "in_flight_max",
        ];
        match (self, self.unit()) {
            (Self::Statuses(which) | Self::Share(which), _) => which.has(200),
            (Self::Failures(_), _) | (_, Unit::Nanoseconds | Unit::Seconds | Unit::Ratio) => false,
            (Self::Number((path, ..)), Unit::Bytes) => {
                path.starts_with("messages.") && !path.ends_with("surplus")
            }
            (Self::Number((path, ..)), Unit::Count) => !bad.iter().any(|end| path.ends_with(end)),
            (Self::Number((path, ..)), Unit::PerSecond) => !path.ends_with("growth_per_second"),
            (Self::Stage(..), _) => true,
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Stage(_, "count") | Self::Failures(_) | Self::Statuses(_) => Unit::Count,
            Self::Stage(..) => Unit::Nanoseconds,
            Self::Share(_) => Unit::Ratio,
            Self::Number((_, unit, _)) => *unit,
        }
    }

    /// What was measured; `None` if nothing was.
    pub(crate) fn value(self, result: &ResultFile) -> Option<f64> {
        match self {
            // How many there were is known even if there were none.
            Self::Stage(stage, "count") => {
                Some(result.stages.get(stage).map_or(0.0, |entry| entry.count as f64))
            }
            Self::Stage(stage, statistic) => {
                result.stages.get(stage).filter(|e| e.count > 0)?.statistic(statistic)
            }
            Self::Failures(kind) => Some(result.failures.get(kind) as f64),
            Self::Statuses(which) => which.count(result),
            Self::Share(which) => which.share(result),
            Self::Number((_, _, read)) => read(result),
        }
    }

    /// Why there is no value.
    pub(crate) fn note(self) -> String {
        match self {
            Self::Stage(stage, _) => {
                format!("nothing was measured in stage '{}', which is not a pass", stage.name())
            }
            _ => "not measured in this run, which is not a pass".to_owned(),
        }
    }
}

/// What could have been meant by a metric that begins with `first`.
fn what_exists(first: &str) -> String {
    let stages = || Stage::ALL.map(Stage::name).join(", ");
    if Stage::from_name(first).is_some() {
        return format!("{first} has {}", StageEntry::STATISTICS.join(", "));
    }
    if first == "failures" {
        return format!("failures has {}", Failure::ALL.map(Failure::name).join(", "));
    }
    if first == "http" {
        return "http has 2xx, 3xx, 4xx, 5xx, non_2xx, and each status, like http.404".to_owned();
    }
    let prefix = format!("{first}.");
    let under: Vec<_> =
        NUMBERS.iter().filter_map(|(path, ..)| path.strip_prefix(&prefix)).collect();
    if under.is_empty() {
        format!(
            "it begins with a stage ({}) or with connections, messages, failures, http, resources, \
             pacing, audit, generator or balance",
            stages()
        )
    } else {
        format!("{first} has {}", under.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Audit, Balance, BalanceOf, Generator, Imbalance, Pacing, Server, Stall};

    #[test]
    fn every_number_is_the_one_at_its_path_and_its_unit_the_one_in_its_key() {
        let text = include_str!("../tests/fixtures/v1/million.json");
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
        let stalled = Some(Stall { longest_silence_ns: 45, ..Stall::default() });
        result.server = Some(Server { behind: true, stalled });
        result.pacing = Some(Pacing {
            sent_per_window_max: 21,
            dispersion: Some(0.22),
            rate_error: -0.23,
            ..Pacing::default()
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
        for (path, unit, read) in NUMBERS {
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
            StageEntry::STATISTICS.map(|statistic| Metric::Stage(stage, statistic))
        });
        let failures = Failure::ALL.into_iter().map(Metric::Failures);
        let statuses = [Statuses::Code(404), Statuses::Class(5), Statuses::Not2xx];
        let failures = failures.chain(statuses.map(Metric::Statuses));
        for metric in stages.chain(failures).chain(NUMBERS.iter().map(Metric::Number)) {
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
        ] {
            let metric = Metric::parse(name).expect("a metric");
            assert_eq!(metric.more_is_better(), more_is_better, "{name}");
        }
    }
}
