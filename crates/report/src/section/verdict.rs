//! Thresholds: `response.p99>50ms` makes a run fail whose 99th percentile is above 50 ms.
//!
//! ```text
//! threshold = metric operator value
//! metric    = stage "." statistic | name of a number in the result file, such as connections.lost
//! operator  = ">" | ">=" | "<" | "<=" | "==" | "!="
//! value     = duration with its unit | size | rate | count | ratio, as in measure::units
//! ```
//!
//! Statuses may be held against a share of all responses: `http.429>5%`.
//!
//! What was not measured never passes: a latency threshold on a stage without samples is missed.

use super::metric::{Metric, UnknownMetric};
use super::{Outcome, ResultFile};
use crate::figure::Unit;
use crate::words::{in_unit, tight};
use measure::units::UnitError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What the thresholds said, and what the program returned.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Verdict {
    /// Each threshold in the order given.
    pub thresholds: Vec<ThresholdVerdict>,
    /// 0 done as planned, 1 failed, 4 a threshold was missed, 6 the plan was not reached,
    /// 130 interrupted.
    pub exit_code: u8,
}

/// What one threshold said.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct ThresholdVerdict {
    /// A `--fail-if` as given, in their order. The run fails if it is true.
    pub expression: String,
    /// What was measured, in `unit`; null if nothing was.
    pub value: Option<f64>,
    /// The unit of the value: `ns`, `seconds`, `bytes`, `per_second`, `ratio` or `count`.
    pub unit: String,
    /// Whether the run passes. Where nothing was measured it does not.
    pub ok: bool,
    /// Why it could not be decided; null where it was.
    pub note: Option<String>,
}

/// Why an expression is not a threshold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// There is no operator in it.
    #[error(
        "'{0}' compares nothing: write METRIC OP VALUE with one of > >= < <= == !=, like \
         response.p99>50ms"
    )]
    NoOperator(String),
    /// The operator is not one of the six.
    #[error("'{0}' has the operator '{1}': use one of > >= < <= == !=")]
    UnknownOperator(String, String),
    /// There is no such metric.
    #[error(transparent)]
    UnknownMetric(#[from] UnknownMetric),
    /// No share is that large.
    #[error("in '{0}': a share is 100% at the most, so it can be left out, or is a typing error")]
    ShareTooLarge(String),
    /// The value is not one of the metric's kind.
    #[error("in '{0}': {1}")]
    BadValue(String, UnitError),
    /// A latency without its unit could be seconds or milliseconds.
    #[error("in '{0}': say the unit of {1}, like {1}ms or {1}us")]
    NoUnit(String, String),
}

/// How a metric is compared with the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    NotEqual,
}

impl Operator {
    pub(crate) fn parse(text: &str) -> Option<Self> {
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

    /// Whether it asks which is greater, and not whether both are the same.
    pub(crate) fn is_an_order(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }

    /// What fails, in words that go before the limit.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::AtLeast => "at or above",
            Self::Below => "below",
            Self::AtMost => "at or below",
            Self::Equal => "at exactly",
            Self::NotEqual => "at anything but",
        }
    }

    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
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
    /// The value as it was given, a time or size apart from its unit by one space.
    limit: String,
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
        let metric = metric.share().filter(|_| value.ends_with('%')).unwrap_or(metric);
        let unit = metric.unit();
        let number = unit
            .parse(value)
            .map_err(|error| ThresholdError::BadValue(expression.clone(), error))?;
        if matches!(metric, Metric::Share(_)) && number > 1.0 {
            return Err(ThresholdError::ShareTooLarge(expression));
        }
        let bare = value.ends_with(|c: char| c.is_ascii_digit() || c == '.');
        if unit == Unit::Nanoseconds && bare && number != 0.0 {
            return Err(ThresholdError::NoUnit(expression, value.to_owned()));
        }
        let limit = match (unit, value.find(|c: char| c.is_ascii_alphabetic())) {
            (Unit::Nanoseconds | Unit::Seconds | Unit::Bytes, Some(at)) => {
                format!("{}\u{a0}{}", value[..at].trim_end(), &value[at..])
            }
            _ => value.replace(' ', "\u{a0}"),
        };
        Ok(Self { expression, metric, operator, value: number, limit })
    }
}

impl Threshold {
    /// The expression as given.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The phase of a run that it is about, if it is about one.
    #[must_use]
    pub fn phase(&self) -> Option<&str> {
        self.metric.phase()
    }

    /// When it fails, in words: `fails above 50 ms`. The limit is as it was given, never rounded.
    pub(crate) fn direction(&self) -> String {
        format!("fails {} {}", self.operator.words(), self.limit)
    }

    /// The name of what is measured.
    pub(crate) fn name(&self) -> String {
        self.metric.name()
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
            note: value.is_none().then(|| self.metric.note(result)),
        }
    }
}

/// What each threshold says of a result, in the order given. Wants the derived values filled in.
#[must_use]
pub fn evaluate(result: &ResultFile, thresholds: &[Threshold]) -> Vec<ThresholdVerdict> {
    thresholds.iter().map(|threshold| threshold.evaluate(result)).collect()
}

/// The exit code that goes with an outcome when the thresholds have spoken.
fn exit_code(outcome: Outcome, thresholds_ok: bool) -> u8 {
    match outcome {
        Outcome::Interrupted => 130,
        Outcome::Failed => 1,
        _ if !thresholds_ok => 4,
        Outcome::NotReached => 6,
        Outcome::Done => 0,
    }
}

/// Judges a result whose outcome is known, by the thresholds of its plan: a run's own and a merged
/// one's alike. Wants the derived values filled in.
#[must_use]
pub fn judge(result: &ResultFile) -> Verdict {
    let known = result.plan.thresholds.iter().filter_map(|text| text.parse::<Threshold>().ok());
    let thresholds = evaluate(result, &known.collect::<Vec<_>>());
    let ok = thresholds.iter().all(|one| one.ok);
    Verdict { thresholds, exit_code: exit_code(result.run.outcome, ok) }
}

/// Whether it passes, and why.
pub(crate) fn words(one: &ThresholdVerdict) -> String {
    format!("{}: {}", if one.ok { "ok" } else { "MISSED" }, threshold_words(one))
}

/// What was measured and when that fails: `response.p99 2.11 ms, fails above 50 ms`. An expression
/// of a later version, which is not understood here, stands as it was given.
pub(crate) fn threshold_words(one: &ThresholdVerdict) -> String {
    let measured = match (&one.note, one.value) {
        (Some(note), _) => format!("({note})"),
        // A limit in percent is met by one.
        (None, Some(value)) if one.unit == Unit::Ratio.name() && one.expression.ends_with('%') => {
            tight(&format!("{:.1} %", 100.0 * value))
        }
        (None, Some(value)) => in_unit(value, &one.unit),
        (None, None) => "(not measured)".to_owned(),
    };
    match one.expression.parse::<Threshold>() {
        Ok(known) => format!("{} {measured}, {}", known.name(), known.direction()),
        Err(_) => format!("{} {measured}, fails if that holds", one.expression),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Generator, Pacing, StageEntry};
    use measure::Stage;
    use proptest::prelude::*;

    fn result() -> ResultFile {
        let mut result = ResultFile::default();
        let response = StageEntry { count: 10, p99: 50_000_000, ..StageEntry::default() };
        result.stages.set(Stage::Response, Some(response));
        result.connections.lost = 3;
        result.failures.reset = 3;
        result.resources.client.bytes_per_connection = Some(96.0);
        result.generator =
            Some(Generator { limited: true, busy_max: 0.95, ..Generator::default() });
        result.pacing = Some(Pacing { rate_error: -0.002, ..Pacing::default() });
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
            ("generator.limited>0", false),
            ("generator.busy_max>90%", false),
            ("generator.busy_max > 0.96", true),
            ("pacing.rate_error<-0.1%", false),
            ("pacing.rate_error < -0.01", true),
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
        let share = |name: &str| {
            let threshold: Threshold = format!("http.{name} > 5 %").parse().expect(name);
            let verdict = threshold.evaluate(&result);
            (verdict.value, verdict.unit, verdict.ok)
        };
        let ratio = "ratio".to_owned();
        assert_eq!(share("302"), (Some(0.05), ratio.clone(), true));
        assert_eq!(share("non_2xx"), (Some(0.1), ratio.clone(), false));
        let nothing = ResultFile { http_statuses: [].into(), ..result.clone() };
        let verdict = "http.5xx>1%".parse::<Threshold>().expect("fine").evaluate(&nothing);
        assert_eq!((verdict.value, verdict.ok), (None, false), "a share of nothing");
        assert!(verdict.note.is_some());
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
        for expression in
            ["generator.wait_max>0", "generator.own_lag.p99>0", "balance.client.cpu.index>2"]
        {
            assert_eq!((verdict(expression).ok, verdict(expression).value), (false, None));
        }
        assert!(verdict("service.count>0").ok, "a count of nothing is 0");
    }

    #[test]
    fn a_mistake_is_told_with_what_exists() {
        for (expression, message) in [
            (
                "",
                "'' compares nothing: write METRIC OP VALUE with one of > >= < <= == !=, like \
                 response.p99>50ms",
            ),
            (
                "response.p99",
                "'response.p99' compares nothing: write METRIC OP VALUE with one of > >= < <= == \
                 !=, like response.p99>50ms",
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
                "there is no metric 'response.p98': response has p50, p75, p90, p95, p99, p999, \
                 p9999, min, max, mean, stdev, count",
            ),
            (
                "latency>5ms",
                "there is no metric 'latency': it begins with a stage (connect, tls, tls_wait, \
                 upgrade, \
                 handshake, first_echo, first_byte, response, response_2xx, response_3xx, \
                 response_4xx, response_5xx, service, send_lag, outside, receive_lag, ping, \
                 close) or with connections, messages, failures, http, resources, pacing, audit, \
                 generator, server, balance or phase",
            ),
            ("response.p99>50", "in 'response.p99>50': say the unit of 50, like 50ms or 50us"),
            (
                "response.p99>fast",
                "in 'response.p99>fast': 'fast' does not start with a number: write it like \
                 500us, 5ms, 30s, 5m or 1h",
            ),
            (
                "response.p99>",
                "in 'response.p99>': '' does not start with a number: write it like 500us, 5ms, \
                 30s, 5m or 1h",
            ),
            (
                "generator.busy_max>much",
                "in 'generator.busy_max>much': 'much' does not start with a number: write it like \
                 0.05, 5% or 1.2",
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

    proptest! {
        #[test]
        fn any_text_is_a_threshold_or_refused(
            text in "\\PC{0,30}",
            value in "[0-9.]{0,4}[a-z]{0,3}",
        ) {
            let _ = text.parse::<Threshold>();
            let _ = format!("response.p99>{value}").parse::<Threshold>();
        }
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        use Outcome::{Done, Failed, Interrupted, NotReached};
        let ok = [Done, Failed, Interrupted, NotReached].map(|outcome| exit_code(outcome, true));
        assert_eq!(ok, [0, 1, 130, 6]);
        let missed =
            [Done, Failed, Interrupted, NotReached].map(|outcome| exit_code(outcome, false));
        assert_eq!(missed, [4, 1, 130, 4]);
    }
}
