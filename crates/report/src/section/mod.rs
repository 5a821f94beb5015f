//! A result by section. A section is one file: what it holds, how parts of a run are merged into
//! it, its numbers with unit and direction, what it says in summaries, and the doubts that it
//! raises. The lists below put the sections in order; whoever adds one adds a field to
//! [`ResultFile`], which then does not compile before it is also merged, and a line to the lists it
//! has something for.
//!
//! Rules that keep old files readable and new ones safe to read:
//! - A field that is added is a minor change: it gets a default, and an older reader passes over
//!   it.
//! - A field that is renamed, removed or given another meaning, or a new value of an enumeration,
//!   is a major change: the number in [`SCHEMA`] goes up, older readers refuse, and the old structs
//!   stay beside the new ones to be read.
//! - The key carries the unit (`_ns`, `_bytes`, `_seconds`, `_per_second`). A value that was not
//!   measured is null, never 0.
//! - Floating-point values are finite: JSON has no other. [`ratio`](crate::figure::ratio) keeps
//!   them so.

pub(crate) mod audit;
pub mod balance;
pub(crate) mod close_codes;
pub(crate) mod connections;
pub(crate) mod failures;
pub(crate) mod first_echo;
pub mod generator;
pub(crate) mod host;
mod limits;
pub(crate) mod machines;
pub(crate) mod messages;
pub(crate) mod metric;
pub(crate) mod noise;
pub(crate) mod pacing;
pub(crate) mod parts;
pub(crate) mod phases;
pub(crate) mod plan;
pub(crate) mod reactors;
pub(crate) mod resources;
pub(crate) mod run;
pub mod server;
pub mod spread;
pub(crate) mod stages;
pub mod statuses;
pub(crate) mod timeline;
pub(crate) mod tls;
pub mod verdict;
mod violations;

pub use crate::hist::{LatencyUnit, StageEntry};
pub use audit::{Audit, AuditParts, TcpInfo, TcpLook};
pub use balance::{Balance, BalanceOf, Imbalance};
pub use close_codes::CloseCode;
pub use connections::Connections;
pub use failures::Failures;
pub use first_echo::FirstEcho;
pub use generator::Generator;
pub use machines::Machine;
pub use messages::Messages;
pub use pacing::Pacing;
pub use phases::{Phase, PhaseTotals};
pub use plan::{
    Address, Arrivals, FdTables, Http, Matching, Model, Plan, PlanTls, PortRange, Timeouts,
    WebSocket,
};
pub use reactors::{Reactor, Spans};
pub use resources::{Footprint, Kernel, Process, Resources};
pub use run::{Outcome, Part, Repeat, Run, Tool, Warning, timestamp};
pub use server::{Server, Stall};
pub use spread::Spread;
pub use stages::Stages;
pub use timeline::Second;
pub use tls::Tls;
pub use verdict::{ThresholdVerdict, Verdict};

use crate::figure::Unit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The numbers that can be named, in the order of exports.
pub(crate) const NUMBERS: [&[Number]; 11] = [
    connections::NUMBERS,
    tls::NUMBERS,
    messages::NUMBERS,
    first_echo::NUMBERS,
    resources::NUMBERS,
    pacing::NUMBERS,
    audit::NUMBERS,
    generator::NUMBERS,
    server::NUMBERS,
    noise::NUMBERS,
    balance::NUMBERS,
];

/// What sections say in summaries above the latencies, in order.
pub(crate) const ABOVE: &[Line] = &[
    Line("connections", connections::words, Shown::Everywhere),
    Line("tls", tls::words, Shown::Everywhere),
    Line("messages", messages::words, Shown::Terminal),
    Line("pacing", pacing::words, Shown::Everywhere),
    Line("first echo", first_echo::words, Shown::Everywhere),
    Line("phases", phases::words, Shown::Everywhere),
];

/// The same below them.
pub(crate) const BELOW: &[Line] = &[
    Line("memory", resources::memory, Shown::Everywhere),
    Line("cpu", resources::cpu, Shown::Everywhere),
    Line("reactors", reactors::words, Shown::Terminal),
    Line("generator", generator::words, Shown::Markdown),
    Line("balance", balance::words, Shown::Markdown),
    Line("machines", machines::words, Shown::Everywhere),
    Line("failures", failures::words, Shown::Everywhere),
    Line("statuses", statuses::words, Shown::Everywhere),
    Line("violations", violations::words, Shown::Everywhere),
    Line("closed", close_codes::words, Shown::Everywhere),
    Line("limits", limits::words, Shown::Terminal),
];

/// The doubts that a reader of the numbers should have, in the order in which they are told.
pub(crate) const DOUBTS: [fn(&ResultFile, &mut Doubts); 13] = [
    connections::lost,
    plan::address_down,
    tls::doubts,
    messages::silent,
    messages::unasked,
    close_codes::closed_by_server,
    messages::mismatched,
    statuses::doubts,
    violations::broken,
    close_codes::not_closed,
    messages::traffic,
    plan::crowded_ramp,
    stages::clipped,
];

/// A number of the result that is neither a latency nor counted by name.
#[derive(Debug)]
pub(crate) struct Number {
    /// Its path in the file.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) more_is_better: bool,
    /// Where it is; `None` if it was not measured.
    pub(crate) read: Read,
}

type Read = fn(&ResultFile) -> Option<f64>;

/// A number of which more is better.
const fn more(name: &'static str, unit: Unit, read: Read) -> Number {
    Number { name, unit, more_is_better: true, read }
}

/// A number of which less is better.
const fn less(name: &'static str, unit: Unit, read: Read) -> Number {
    Number { name, unit, more_is_better: false, read }
}

/// A heading of summaries, what stands there (nothing: it is left out), and in which of them.
pub(crate) struct Line(
    pub(crate) &'static str,
    pub(crate) fn(&ResultFile) -> String,
    pub(crate) Shown,
);

/// Which summaries have a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shown {
    Everywhere,
    Terminal,
    Markdown,
}

/// Doubts being collected.
#[derive(Debug, Default)]
pub(crate) struct Doubts(pub(crate) Vec<Warning>);

impl Doubts {
    fn add(&mut self, code: &str, text: impl Into<String>, remedy: &str) {
        self.0.push(Warning::new(code, text, remedy));
    }
}

/// The name and major version of what is written.
pub const SCHEMA: &str = "c1000k.result/1";

/// The result of one run of the client: all that is needed to judge it and to run it again.
///
/// Built from [`Default`] and filled as the run goes on; [`ResultFile::fill_derived`] comes last.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ResultFile {
    /// Name and major version of this format: `c1000k.result/1`.
    pub schema: String,
    /// The program that wrote the file.
    pub tool: Tool,
    /// Which run it was, when, and how it ended.
    pub run: Run,
    /// Every option of the run as it was resolved, given or not.
    pub plan: Plan,
    /// Facts of the machine that the client ran on: kernel, CPUs, memory, limits, sysctls, pins.
    #[serde(default)]
    pub host: Value,
    /// Each of the shards that it was merged from, with its machine: what the whole cannot say, as
    /// memory of machines that may have been one, stands here. Absent where no shards were merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
    /// The server's own snapshot at the end of the run; null where it has none to give.
    #[serde(default)]
    pub peer: Option<Value>,
    /// What became of the connections.
    pub connections: Connections,
    /// Latency histograms by stage. Only stages in which something was measured are present.
    pub stages: Stages,
    /// What became of the messages.
    pub messages: Messages,
    /// How the sending kept to the times that were planned; null but in the open model.
    #[serde(default)]
    pub pacing: Option<Pacing>,
    /// How many connections failed or were lost, by kind.
    pub failures: Failures,
    /// How many responses had which status: `{"200": 1000, "503": 12}`. With `http://` all of them,
    /// those of the first round included; with `ws://` the handshakes that were answered with
    /// another one than was asked for, which are among the failures of kind `protocol`.
    #[serde(default)]
    pub http_statuses: BTreeMap<String, u64>,
    /// How many connections broke which rule of the protocol, by the sentence that says it. They
    /// are the failures of kind `protocol`. What is beyond the first few rules counts as `other
    /// rules`.
    #[serde(default)]
    pub violations: BTreeMap<String, u64>,
    /// How servers took leave of WebSockets before the run did, by close code (1005: a close frame
    /// without one; `other`: codes beyond the first 64).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub close_codes: BTreeMap<String, CloseCode>,
    /// What became of TLS handshakes, and of connections with TLS; null without TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The run second by second.
    #[serde(default)]
    pub timeline: Vec<Second>,
    /// The run phase by phase, in their order; absent in files from before they were written, and
    /// in merged results of which one part has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// Memory and CPU time.
    #[serde(default)]
    pub resources: Resources,
    /// How the work was spread.
    #[serde(default)]
    pub reactors: Vec<Reactor>,
    /// Where the time of the audited messages went; null where nobody was audited.
    #[serde(default)]
    pub audit: Option<Audit>,
    /// Whether the client itself was the bottleneck; null in files from before that was judged.
    #[serde(default)]
    pub generator: Option<Generator>,
    /// Whether the server kept up with what was asked; null without traffic, and in files from
    /// before that was judged.
    #[serde(default)]
    pub server: Option<Server>,
    /// How evenly the work was spread over the reactors of both ends.
    #[serde(default)]
    pub balance: Balance,
    /// The thresholds that were asked for, and the exit code.
    #[serde(default)]
    pub verdict: Verdict,
    /// How often each queue, table, buffer and budget was found at its maximum, by its name.
    #[serde(default)]
    pub limits_reached: BTreeMap<String, u64>,
    /// How far the main figures of repeats lie apart from run to run; absent if it is not merged
    /// from repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
}

impl Default for ResultFile {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            tool: Tool::default(),
            run: Run::default(),
            plan: Plan::default(),
            host: Value::Null,
            machines: Vec::new(),
            peer: None,
            connections: Connections::default(),
            stages: Stages::default(),
            messages: Messages::default(),
            pacing: None,
            failures: Failures::default(),
            http_statuses: BTreeMap::new(),
            violations: BTreeMap::new(),
            close_codes: BTreeMap::new(),
            tls: None,
            timeline: Vec::new(),
            phases: Vec::new(),
            resources: Resources::default(),
            reactors: Vec::new(),
            audit: None,
            generator: None,
            server: None,
            balance: Balance::default(),
            verdict: Verdict::default(),
            limits_reached: BTreeMap::new(),
            spread: Vec::new(),
        }
    }
}

impl ResultFile {
    /// Fills in every value that follows from others: rates from counts and seconds, bytes and CPU
    /// time per connection and per message from totals. Call it once the measured values are in.
    pub fn fill_derived(&mut self) {
        self.connections.fill_derived();
        self.messages.fill_derived();
        // Where each request has a connection of its own, those that are open at a time say nothing
        // of how many there were, nor has any of them a size.
        let connections = if self.plan.has_churn() { 0 } else { self.connections.open_peak };
        let messages = self.messages.received;
        self.resources.fill_derived(connections, messages);
    }
}

fn p99(entry: &Option<StageEntry>) -> Option<f64> {
    entry.as_ref().filter(|entry| entry.count > 0)?.statistic("p99")
}

fn whole(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_values_follow_from_the_measured_ones() {
        let mut result = ResultFile::default();
        result.connections.opened = 1_000;
        result.connections.open_peak = 1_000;
        result.connections.open_seconds = 0.5;
        result.messages.received = 2_000;
        result.messages.seconds = 4.0;
        result.messages.first_echo =
            Some(FirstEcho { received: 1_000, seconds: 2.0, ..FirstEcho::default() });
        result.resources.client = Process {
            rss_bytes_before: Some(10_000_000),
            rss_bytes: Some(12_000_000),
            cpu_seconds_opening: Some(0.02),
            cpu_seconds_traffic: Some(0.01),
            ..Process::default()
        };
        result.resources.kernel = Kernel {
            memfree_bytes_before: Some(9_000_000),
            memfree_bytes: Some(500_000),
            ..Kernel::default()
        };
        result.fill_derived();
        assert_eq!(result.connections.rate_per_second, 2_000.0);
        assert_eq!(result.messages.rate_achieved, 500.0);
        assert_eq!(result.messages.first_echo.as_ref().map(|e| e.rate_per_second), Some(500.0));
        assert_eq!(result.resources.client.bytes_per_connection, Some(2_000.0));
        assert_eq!(result.resources.client.cpu_ns_per_connection, Some(20_000));
        assert_eq!(result.resources.client.cpu_ns_per_message, Some(5_000));
        assert_eq!(result.resources.kernel.bytes_per_connection, Some(8_500.0));
        result.resources.kernel.slab_bytes_before = Some(1);
        result.resources.kernel.slab_bytes = Some(8_000_001);
        result.fill_derived();
        assert_eq!(result.resources.kernel.bytes_per_connection, Some(8_000.0));
        // Somebody else gave back more than the run took: that is not 0 bytes a connection.
        result.resources.kernel.slab_bytes = Some(0);
        result.fill_derived();
        assert_eq!(result.resources.kernel.slab_bytes_per_connection, None);
        assert_eq!(result.resources.kernel.bytes_per_connection, Some(8_500.0));
        // With a connection for each request nothing is known of a single one, but of messages it
        // is.
        result.plan.http = Some(Http { close: true, ..Http::default() });
        result.fill_derived();
        assert_eq!(result.resources.client.bytes_per_connection, None);
        assert_eq!(result.resources.client.cpu_ns_per_connection, None);
        assert_eq!(result.resources.kernel.bytes_per_connection, None);
        assert_eq!(result.resources.client.cpu_ns_per_message, Some(5_000));
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_no_rates_and_no_bytes_per_connection() {
        let mut result = ResultFile::default();
        result.resources.client.rss_bytes_before = Some(1);
        result.resources.client.rss_bytes = Some(2);
        result.messages.first_echo = Some(FirstEcho::default());
        result.fill_derived();
        assert_eq!(result.connections.rate_per_second, 0.0);
        assert_eq!(result.messages.rate_achieved, 0.0);
        assert_eq!(result.resources.client.bytes_per_connection, None);
        assert_eq!(result.resources.client.cpu_ns_per_message, None);
    }
}
