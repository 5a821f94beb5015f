//! What was asked for and how it ended: tool, run, plan, warnings, verdict.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

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
    /// Tells this run from all others.
    pub id: String,
    /// What the user called it (`--label`); null if nothing.
    pub label: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// When it ended, RFC 3339 in UTC.
    pub ended: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Reasons for doubt, each with its remedy.
    pub warnings: Vec<Warning>,
    /// The seed of all randomness; the same as in the plan.
    pub seed: u64,
    /// The runs that this result was merged from; absent if it is of one run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Which of several runs of one plan (`--repeat`) it was; absent if it was the only one, and in what
    /// was merged.
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

/// Every option of a run as it was resolved, given or not: enough to run it again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Plan {
    /// The URLs, in the order in which the connections are spread over them.
    pub targets: Vec<String>,
    /// The addresses that the targets' names had, target by target in the order in which they are tried,
    /// and what became of the attempts at each. Empty in files of versions that did not say.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Whether connections began with all addresses of a name in turn; else with the first.
    #[serde(default)]
    pub spread_addresses: bool,
    /// How many connections to open and hold.
    pub connections: u64,
    /// New connections per second, all reactors together; null: as fast as the target takes them.
    pub connect_rate_per_second: Option<f64>,
    /// How messages are sent once the connections stand.
    pub model: Model,
    /// Open model: messages per second, all connections together; else null.
    pub rate_per_second: Option<f64>,
    /// Open model: how messages are spread over time. Of no meaning in others.
    pub arrivals: Arrivals,
    /// Closed model: messages on their way at any time, all connections together; else null.
    pub in_flight: Option<u64>,
    /// How long messages are sent.
    pub duration_ns: u64,
    /// How long the connections are held without traffic.
    pub hold_ns: u64,
    /// Payload of one message; over HTTP the body of one request.
    pub size_bytes: u64,
    /// Source addresses as text; empty: the kernel chooses.
    pub sources: Vec<String>,
    /// Source ports that are handed out on each source address; null: the kernel chooses.
    pub source_ports: Option<PortRange>,
    /// How many reactors, a thread each.
    pub reactors: u64,
    /// The CPUs they are pinned to, in turn; empty: not pinned.
    pub cores: Vec<u32>,
    /// How many reactors of one core open connections at the same time.
    pub openers_per_core: u64,
    /// How many connections one reactor has in the making at the same time.
    pub connecting_max: u64,
    /// Whether reactors have descriptor tables of their own.
    pub fd_tables: FdTables,
    /// What is waited for, and how long.
    pub timeouts: Timeouts,
    /// The share of the connections that was audited, 0 to 1; null: none, or there was no traffic.
    pub audit_ratio: Option<f64>,
    /// The seed of all randomness.
    pub seed: u64,
    /// Whether each connection sends one message when all stand, before the traffic begins.
    pub first_echo: bool,
    /// Whether whatever a server says unasked breaks a rule.
    #[serde(default)]
    pub strict: bool,
    /// In that round: how many connections of one reactor await their reply at the same time.
    pub first_echo_window: u64,
    /// The `--fail-if` expressions as given.
    pub thresholds: Vec<String>,
    /// The options that only `ws://` has; null for other protocols.
    pub websocket: Option<WebSocket>,
    /// The options that only `http://` has; null for other protocols.
    pub http: Option<Http>,
}

/// An address of a target.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Address {
    /// The target's URL.
    pub target: String,
    /// The address and its port.
    pub address: String,
    /// How many of the source addresses reach it; 0: none does, so it is never tried.
    pub sources: u64,
    /// How many connections it answered: TCP was established there.
    pub connected: u64,
    /// How many attempts it did not take, by kind of failure; only what occurred.
    pub failures: BTreeMap<String, u64>,
}

impl Address {
    /// Whether connections were tried there, and it answered none.
    pub(crate) fn took_none(&self) -> bool {
        self.connected == 0 && !self.failures.is_empty()
    }
}

/// The options that only `http://` has. What is asked for stands in the targets, or in `paths_file`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Http {
    /// The method of all requests.
    pub method: String,
    /// Further headers that were sent, each as `Name: value`.
    pub headers: Vec<String>,
    /// The file that names the paths; null: the path of the URL.
    pub paths_file: Option<String>,
    /// How many paths were asked for in turn.
    pub paths: u64,
    /// The most requests that a connection had on their way.
    pub pipeline: u64,
    /// Whether each request had a connection of its own.
    pub close: bool,
    /// The largest head that a response could have; 0 in files of versions that did not say.
    pub head_max_bytes: u64,
    /// The most header lines that it could have; 0 likewise.
    pub headers_max: u64,
    /// The statuses and classes that counted as served; empty in files of versions that went by 2xx and 3xx.
    pub expect: Vec<String>,
}

/// The options that only `ws://` has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct WebSocket {
    /// Whether messages are text; else binary.
    pub text: bool,
    /// How messages are cut into frames: the most payload that one carries; null: not at all.
    pub fragment_bytes: Option<u64>,
    /// Whether permessage-deflate was offered.
    pub deflate: bool,
    /// How often each connection is pinged; null: never.
    pub ping_interval_ns: Option<u64>,
    /// How replies are matched with messages.
    pub matching: Matching,
    /// The origin that was sent; null if none.
    pub origin: Option<String>,
    /// The subprotocols that were asked for, the best first.
    pub subprotocols: Vec<String>,
    /// Further headers that were sent, each as `Name: value`.
    pub headers: Vec<String>,
}

/// How replies are matched with messages.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// A reply has to be the message, byte for byte.
    #[default]
    Content,
    /// Any reply belongs to the oldest message that has none.
    Order,
}

/// How messages are sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// At planned times, whether replies come or not.
    Open,
    /// The next one when a reply has come.
    Closed,
    /// Not at all: the connections are opened and held.
    #[default]
    None,
}

/// How the messages of the open model are spread over time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Evenly. So are those of files that do not say.
    #[default]
    Uniform,
    /// As independent users come: a Poisson process with as many messages as the rate gives.
    Poisson,
}

impl Arrivals {
    /// The name in result files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Poisson => "poisson",
        }
    }
}

/// Whose descriptor table a reactor uses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FdTables {
    /// Each reactor its own (`unshare(CLONE_FILES)`).
    Own,
    /// All that of the process.
    #[default]
    Shared,
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Timeouts {
    /// From the start of `connect` to a usable connection, upgrade included.
    pub connect_ns: u64,
    /// For the reply to one message.
    pub reply_ns: u64,
    /// At the end, for replies still on their way.
    pub drain_ns: u64,
}

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
    /// The expression as given. The run fails if it is true.
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
