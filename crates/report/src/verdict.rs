//! Thresholds: `response.p99>50ms` makes a run fail whose 99th percentile is above 50 ms.
//!
//! ```text
//! threshold = metric operator value
//! metric    = stage "." statistic | name of a number in the result file, such as connections.lost
//! operator  = ">" | ">=" | "<" | "<=" | "==" | "!="
//! value     = duration with its unit | size | rate | count, as in measure::units
//! ```
//!
//! What was not measured never passes: a latency threshold on a stage without samples is missed.

use crate::schema::{Process, ResultFile, StageEntry, ThresholdVerdict};
use measure::units::{self, UnitError};
use measure::{Failure, Stage};
use std::str::FromStr;

/// Why an expression is not a threshold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// There is no operator in it.
    #[error(
        "'{0}' compares nothing: write METRIC OP VALUE with one of > >= < <= == !=, like response.p99>50ms"
    )]
    NoOperator(String),
    /// The operator is not one of the six.
    #[error("'{0}' has the operator '{1}': use one of > >= < <= == !=")]
    UnknownOperator(String, String),
    /// There is no such metric.
    #[error("there is no metric '{0}': {1}")]
    UnknownMetric(String, String),
    /// The value is not one of the metric's kind.
    #[error("in '{0}': {1}")]
    BadValue(String, UnitError),
    /// A latency without its unit could be seconds or milliseconds.
    #[error("in '{0}': say the unit of {1}, like {1}ms or {1}us")]
    NoUnit(String, String),
}

/// What kind of number a metric is: how its value is written, and in which unit it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
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
}

impl Unit {
    /// The name in result files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Nanoseconds => "ns",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::PerSecond => "per_second",
        }
    }

    /// The unit of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        use Unit::{Bytes, Count, Nanoseconds, PerSecond, Seconds};
        [Count, Nanoseconds, Seconds, Bytes, PerSecond].into_iter().find(|u| u.name() == name)
    }

    /// The value as people write it, in this unit.
    fn parse(self, text: &str) -> Result<f64, UnitError> {
        match self {
            Self::Count => units::parse_count(text).map(|count| count as f64),
            Self::Nanoseconds => units::parse_duration(text).map(|span| span.0 as f64),
            Self::Seconds => units::parse_duration(text).map(|span| span.as_secs_f64()),
            Self::Bytes => units::parse_size(text).map(|size| size as f64),
            Self::PerSecond => units::parse_rate(text),
        }
    }
}

/// A number of the result file that is not a latency: its path in the file, unit, and where it is.
type Number = (&'static str, Unit, fn(&ResultFile) -> Option<f64>);

/// Every such number that a threshold can name; the failures, by kind, come on top.
const NUMBERS: &[Number] = &[
    ("connections.planned", Unit::Count, |r| Some(r.connections.planned as f64)),
    ("connections.opened", Unit::Count, |r| Some(r.connections.opened as f64)),
    ("connections.failed", Unit::Count, |r| Some(r.connections.failed as f64)),
    ("connections.lost", Unit::Count, |r| Some(r.connections.lost as f64)),
    ("connections.ended", Unit::Count, |r| Some(r.connections.ended as f64)),
    ("connections.replaced", Unit::Count, |r| Some(r.connections.replaced as f64)),
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
    ("messages.bytes_sent", Unit::Bytes, |r| Some(r.messages.bytes_sent as f64)),
    ("messages.bytes_received", Unit::Bytes, |r| Some(r.messages.bytes_received as f64)),
    ("messages.rate_planned", Unit::PerSecond, |r| r.messages.rate_planned),
    ("messages.rate_achieved", Unit::PerSecond, |r| Some(r.messages.rate_achieved)),
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
];

fn whole(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn server(result: &ResultFile) -> Option<&Process> {
    result.resources.server.as_ref()
}

/// Where a threshold's number is in a result.
#[derive(Clone, Copy, Debug)]
enum Metric {
    Stage(Stage, &'static str),
    Failures(Failure),
    Statuses(Statuses),
    Number(&'static Number),
}

impl Metric {
    fn parse(name: &str) -> Result<Self, ThresholdError> {
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
        found.ok_or_else(|| ThresholdError::UnknownMetric(name.to_owned(), what_exists(first)))
    }

    fn unit(self) -> Unit {
        match self {
            Self::Stage(_, "count") | Self::Failures(_) | Self::Statuses(_) => Unit::Count,
            Self::Stage(..) => Unit::Nanoseconds,
            Self::Number((_, unit, _)) => *unit,
        }
    }

    fn value(self, result: &ResultFile) -> Option<f64> {
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
            Self::Number((_, _, read)) => read(result),
        }
    }

    fn note(self) -> String {
        match self {
            Self::Stage(stage, _) => {
                format!("nothing was measured in stage '{}', which is not a pass", stage.name())
            }
            _ => "not measured in this run, which is not a pass".to_owned(),
        }
    }
}

/// Responses whose status is one of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Statuses {
    /// This one: `http.404`.
    Code(u16),
    /// Those with this first digit: `http.5xx`.
    Class(u16),
    /// All but 2xx: `http.non_2xx`.
    Not2xx,
}

impl Statuses {
    fn parse(name: &str) -> Option<Self> {
        if name == "non_2xx" {
            return Some(Self::Not2xx);
        }
        if let Some(class) = name.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (2..=5).contains(class)).map(Self::Class);
        }
        name.parse().ok().filter(|code| name.len() == 3 && *code >= 100).map(Self::Code)
    }

    fn has(self, status: u16) -> bool {
        match self {
            Self::Code(code) => status == code,
            Self::Class(class) => status / 100 == class,
            Self::Not2xx => status / 100 != 2,
        }
    }

    /// How many responses; nothing where no statuses are counted.
    fn count(self, result: &ResultFile) -> Option<f64> {
        let plan = &result.plan;
        plan.http.is_some().then(|| {
            let each = result.http_statuses.iter();
            let these = each.filter(|(status, _)| status.parse().is_ok_and(|code| self.has(code)));
            these.map(|(_, count)| *count).sum::<u64>() as f64
        })
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
            "it begins with a stage ({}) or with connections, messages, failures, http or resources",
            stages()
        )
    } else {
        format!("{first} has {}", under.join(", "))
    }
}

/// How a metric is compared with the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    NotEqual,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            ">" => Self::Above,
            ">=" => Self::AtLeast,
            "<" => Self::Below,
            "<=" => Self::AtMost,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            _ => return None,
        })
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Above => left > right,
            Self::AtLeast => left >= right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
            // Counts and nanoseconds are whole numbers, which compare exactly below 2^53.
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}

/// A condition under which a run fails.
#[derive(Clone, Debug)]
pub struct Threshold {
    expression: String,
    metric: Metric,
    operator: Operator,
    value: f64,
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    /// Reads `response.p99>50ms`, with or without spaces.
    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let is_operator = |c: char| "<>=!".contains(c);
        let start = text
            .find(is_operator)
            .ok_or_else(|| ThresholdError::NoOperator(text.trim().to_owned()))?;
        let (name, rest) = text.split_at(start);
        let end = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
        let (operator, value) = rest.split_at(end);
        let (expression, value) = (text.trim().to_owned(), value.trim());
        let metric = Metric::parse(name.trim())?;
        let operator = Operator::parse(operator).ok_or_else(|| {
            ThresholdError::UnknownOperator(expression.clone(), operator.to_owned())
        })?;
        let unit = metric.unit();
        let number = unit
            .parse(value)
            .map_err(|error| ThresholdError::BadValue(expression.clone(), error))?;
        let bare = value.ends_with(|c: char| c.is_ascii_digit() || c == '.');
        if unit == Unit::Nanoseconds && bare && number != 0.0 {
            return Err(ThresholdError::NoUnit(expression, value.to_owned()));
        }
        Ok(Self { expression, metric, operator, value: number })
    }
}

impl Threshold {
    /// The expression as given.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// What this threshold says of a result.
    #[must_use]
    pub fn evaluate(&self, result: &ResultFile) -> ThresholdVerdict {
        let value = self.metric.value(result);
        ThresholdVerdict {
            expression: self.expression.clone(),
            value,
            unit: self.metric.unit().name().to_owned(),
            ok: value.is_some_and(|value| !self.operator.holds(value, self.value)),
            note: value.is_none().then(|| self.metric.note()),
        }
    }
}

/// What each threshold says of a result, in the order given. Wants the derived values filled in.
#[must_use]
pub fn evaluate(result: &ResultFile, thresholds: &[Threshold]) -> Vec<ThresholdVerdict> {
    thresholds.iter().map(|threshold| threshold.evaluate(result)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result() -> ResultFile {
        let mut result = ResultFile::default();
        result.stages.response =
            Some(StageEntry { count: 10, p99: 50_000_000, ..StageEntry::default() });
        result.connections.lost = 3;
        result.failures.reset = 3;
        result.resources.client.bytes_per_connection = Some(96.0);
        result
    }

    fn verdict(expression: &str) -> ThresholdVerdict {
        expression.parse::<Threshold>().expect(expression).evaluate(&result())
    }

    fn error(expression: &str) -> String {
        expression.parse::<Threshold>().expect_err(expression).to_string()
    }

    #[test]
    fn a_run_fails_if_the_expression_is_true() {
        for (expression, ok) in [
            ("response.p99>50ms", true),
            ("response.p99 >= 50ms", false),
            (" response.p99>49.9ms ", false),
            ("response.p99 < 1 s", false),
            ("response.p99<=0", true),
            ("response.count==10", false),
            ("response.count != 10", true),
            ("response.count<1k", false),
            ("connections.lost>0", false),
            ("connections.failed>0", true),
            ("failures.reset>2", false),
            ("failures.no_ports>0", true),
            ("resources.client.bytes_per_connection>200", true),
            ("resources.client.bytes_per_connection > 64 B", false),
            ("connections.rate_per_second<30k/s", false),
            ("connections.open_seconds>45s", true),
        ] {
            let verdict = verdict(expression);
            assert_eq!(verdict.ok, ok, "{expression}");
            assert_eq!(verdict.expression, expression.trim());
            assert!(verdict.value.is_some() && verdict.note.is_none(), "{expression}");
        }
    }

    #[test]
    fn responses_are_counted_by_status_where_there_are_any() {
        let mut result = result();
        result.http_statuses = [("200", 90), ("302", 5), ("404", 2), ("503", 3)]
            .map(|(status, count)| (status.to_owned(), count))
            .into();
        let value = |result: &ResultFile, name: &str| {
            let threshold: Threshold = format!("http.{name}>0").parse().expect(name);
            threshold.evaluate(result).value
        };
        assert_eq!(value(&result, "2xx"), None);
        result.plan.http = Some(crate::schema::Http::default());
        let all = ["2xx", "3xx", "4xx", "5xx", "non_2xx", "404", "500"];
        let counts = all.map(|name| value(&result, name));
        assert_eq!(counts, [90.0, 5.0, 2.0, 3.0, 10.0, 2.0, 0.0].map(Some));
        for bad in ["", "1xx", "6xx", "xx", "99", "1000", "+20", "non_5xx"] {
            assert!(error(&format!("http.{bad}>0")).contains("http has 2xx"), "{bad}");
        }
    }

    #[test]
    fn nothing_measured_is_not_a_pass() {
        for expression in ["service.p99>50ms", "service.p99<50ms", "service.max!=0"] {
            let verdict = verdict(expression);
            assert_eq!((verdict.ok, verdict.value), (false, None), "{expression}");
            let note = "nothing was measured in stage 'service', which is not a pass";
            assert_eq!(verdict.note.as_deref(), Some(note));
        }
        let server = verdict("resources.server.rss_bytes>1g");
        assert_eq!((server.ok, server.value), (false, None));
        assert!(verdict("service.count>0").ok, "a count of nothing is 0");
    }

    #[test]
    fn a_mistake_is_told_with_what_exists() {
        for (expression, message) in [
            (
                "",
                "'' compares nothing: write METRIC OP VALUE with one of > >= < <= == !=, like response.p99>50ms",
            ),
            (
                "response.p99",
                "'response.p99' compares nothing: write METRIC OP VALUE with one of > >= < <= == !=, like response.p99>50ms",
            ),
            (
                "response.p99=>5ms",
                "'response.p99=>5ms' has the operator '=>': use one of > >= < <= == !=",
            ),
            (
                "response.p99=5ms",
                "'response.p99=5ms' has the operator '=': use one of > >= < <= == !=",
            ),
            (
                "response.p98>5ms",
                "there is no metric 'response.p98': response has p50, p75, p90, p99, p999, p9999, min, max, mean, stdev, count",
            ),
            (
                "latency>5ms",
                "there is no metric 'latency': it begins with a stage (connect, tls, upgrade, handshake, first_echo, first_byte, response, service, send_lag, receive_lag, ping, close) or with connections, messages, failures, http or resources",
            ),
            ("response.p99>50", "in 'response.p99>50': say the unit of 50, like 50ms or 50us"),
            (
                "response.p99>fast",
                "in 'response.p99>fast': 'fast' does not start with a number: write it like 500us, 5ms, 30s, 5m or 1h",
            ),
            (
                "response.p99>",
                "in 'response.p99>': '' does not start with a number: write it like 500us, 5ms, 30s, 5m or 1h",
            ),
            (
                "connections.lost>1.5",
                "in 'connections.lost>1.5': '1.5' is not a whole number of things",
            ),
        ] {
            assert_eq!(error(expression), message);
        }
        assert!(error("failures.lost>0").contains("failures has refused, reset"));
        assert!(error("connections>0").contains("connections has planned, opened, failed"));
        assert!(error("messages.first_echo>0").contains("first_echo.received"));
        assert!(error("resources.client>0").contains("client.rss_bytes"));
    }

    #[test]
    fn every_number_is_the_one_at_its_path_and_its_unit_the_one_in_its_key() {
        let text = include_str!("../tests/fixtures/v1/million.json");
        let result: ResultFile = serde_json::from_str(text).expect("a result");
        // As this version writes it: fields that are younger than the file are there as well.
        let raw = serde_json::to_value(&result).expect("JSON");
        for (path, unit, read) in NUMBERS {
            let pointer = format!("/{}", path.replace('.', "/"));
            let expected = raw.pointer(&pointer).and_then(serde_json::Value::as_f64);
            assert!(expected.is_some(), "{path} is in the fixture");
            assert_eq!(read(&result), expected, "{path}");
            let by_key = match path.rsplit('.').next().expect("a key") {
                key if key.contains("bytes") => Unit::Bytes,
                key if key.contains("_ns") => Unit::Nanoseconds,
                key if key.ends_with("seconds") => Unit::Seconds,
                key if key.contains("rate") => Unit::PerSecond,
                _ => Unit::Count,
            };
            assert_eq!(*unit, by_key, "{path}");
            assert_eq!(Unit::from_name(unit.name()), Some(*unit));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_threshold_or_refused(text in "\\PC{0,30}", value in "[0-9.]{0,4}[a-z]{0,3}") {
            let _ = text.parse::<Threshold>();
            let _ = format!("response.p99>{value}").parse::<Threshold>();
        }
    }
}
