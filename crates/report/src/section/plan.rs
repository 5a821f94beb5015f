//! Every option of a run as it was resolved.

use super::parts::{Kind, known};
use super::{Doubts, ResultFile};
use crate::figure::saturating;
use crate::words::{format_rate, size, time};
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Every option of a run as it was resolved, given or not: enough to run it again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Plan {
    /// The URLs, in the order in which the connections are spread over them.
    pub targets: Vec<String>,
    /// The addresses that the targets' names had, target by target in the order in which they are
    /// tried, and what became of the attempts at each. Empty in files of versions that did not say,
    /// and in what a killed run left (`.part`).
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Whether connections began with all addresses of a name in turn (`--spread-addresses`); else
    /// with the first.
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
    /// How long the connections are held without traffic afterwards.
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
    /// The share of the connections that was audited; null: none (`--audit off`), or there was no
    /// traffic.
    pub audit_ratio: Option<f64>,
    /// The seed of all randomness.
    pub seed: u64,
    /// Whether each connection sends one message when all stand, before the traffic begins.
    pub first_echo: bool,
    /// Whether what the server says unasked is a fault (`--strict`); with `http://` always false.
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
    /// The options of TLS; null where no target has it.
    #[serde(default)]
    pub tls: Option<PlanTls>,
}

impl Plan {
    /// Whether each request had a connection of its own (`--close`).
    pub(crate) fn has_churn(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.close)
    }
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
    /// How many connections it answered: TCP was established there. Their sum is
    /// `connections.opened`, over `ws://` with those whose upgrade failed.
    pub connected: u64,
    /// How many attempts it did not take, by kind; only what occurred. All of them together:
    /// `tried_again`, and the failed connections that were not answered.
    pub failures: BTreeMap<String, u64>,
}

impl Address {
    /// Whether connections were tried there, and it answered none.
    pub(crate) fn took_none(&self) -> bool {
        self.connected == 0 && !self.failures.is_empty()
    }
}

/// The options that only `http://` has. What is asked for stands in the targets, or in
/// `paths_file`.
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
    /// The statuses and classes that counted as served (`--expect`); empty in files of versions
    /// that went by 2xx and 3xx.
    pub expect: Vec<String>,
}

/// The options of TLS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct PlanTls {
    /// Whether servers had to prove who they are; false with `-k`.
    pub verified: bool,
    /// The file of the authorities that were trusted; null: the system's.
    pub authorities: Option<String>,
    /// Whether a certificate was shown to servers that asked for one.
    pub client_certificate: bool,
    /// The name that servers were asked for; null: the URL's host.
    pub servername: Option<String>,
    /// The protocols that ALPN could choose, the best first.
    pub alpn: Vec<String>,
    /// The versions that could be spoken.
    pub versions: Vec<String>,
    /// The cipher suites as they were named; empty: all.
    pub ciphers: Vec<String>,
    /// The groups for the key exchange as they were named; empty: the usual ones.
    pub groups: Vec<String>,
    /// The share of the connections that were to go on from an earlier session, 0 to 1.
    pub resume_ratio: f64,
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
    /// The limit from the start of `connect` to a usable connection, upgrade included; the
    /// addresses of a name share it.
    pub connect_ns: u64,
    /// The limit for the reply to one message.
    pub reply_ns: u64,
    /// The limit at the end, for replies still on their way.
    pub drain_ns: u64,
}

/// The plan that all parts are of: what shards share out is added.
pub(crate) fn merge(results: &[&ResultFile], kind: Kind) -> Plan {
    let mut plan = results[0].plan.clone();
    let others = || results[1..].iter().map(|result| &result.plan);
    for other in others() {
        let new = |have: &[String], more: &[String]| {
            more.iter().filter(|one| !have.contains(one)).cloned().collect::<Vec<_>>()
        };
        plan.sources.extend(new(&plan.sources, &other.sources));
        plan.targets.extend(new(&plan.targets, &other.targets));
        other.addresses.iter().for_each(|address| add_address(&mut plan.addresses, address));
    }
    if kind == Kind::Shards {
        let sum = |of: fn(&Plan) -> Option<f64>| results.iter().map(|r| of(&r.plan)).sum();
        plan.connect_rate_per_second = sum(|plan| plan.connect_rate_per_second);
        plan.rate_per_second = sum(|plan| plan.rate_per_second);
        plan.in_flight = known(results.iter().map(|result| result.plan.in_flight));
        plan.connections = saturating(results.iter().map(|result| result.plan.connections));
        plan.reactors = saturating(results.iter().map(|result| result.plan.reactors));
    }
    plan
}

/// Adds the attempts at an address to those of the others.
fn add_address(all: &mut Vec<Address>, more: &Address) {
    let same = |one: &&mut Address| one.target == more.target && one.address == more.address;
    let Some(one) = all.iter_mut().find(same) else { return all.push(more.clone()) };
    one.sources = one.sources.max(more.sources);
    one.connected = one.connected.saturating_add(more.connected);
    for (kind, count) in &more.failures {
        let sum = one.failures.entry(kind.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

/// Addresses that have a line each.
const ADDRESSES_SHOWN: usize = 8;

/// What was planned, in words.
pub(crate) fn words(plan: &Plan) -> String {
    let ramp = plan
        .connect_rate_per_second
        .map_or_else(String::new, |rate| format!(" at {}", format_rate(rate)));
    let duration = time(plan.duration_ns);
    let (message, echo) = match &plan.http {
        None => (size(plan.size_bytes), "echo of "),
        Some(http) => (requests(http, plan.size_bytes), ""),
    };
    let traffic = match plan.model {
        Model::Open => {
            let rate = format_rate(plan.rate_per_second.unwrap_or_default());
            let manner = match plan.arrivals {
                Arrivals::Uniform => "open",
                Arrivals::Poisson => "open, Poisson",
            };
            format!("{message} at {rate} for {duration} ({manner})")
        }
        Model::Closed => {
            let in_flight = format_grouped(plan.in_flight.unwrap_or_default());
            format!("{message}, {in_flight} in flight for {duration} (closed)")
        }
        Model::None if plan.first_echo => format!("one {echo}{message} each"),
        Model::None => "no messages".to_owned(),
    };
    let connections = format_grouped(plan.connections);
    let hold = match plan.hold_ns {
        0 => String::new(),
        hold => format!(", held {}", time(hold)),
    };
    let at_a_time = match plan.has_churn() {
        true => " at a time, one for each request",
        false => "",
    };
    format!("{connections} connections{at_a_time}{ramp}{hold}; {traffic}")
}

/// What to add to a plan that only opens connections and lets them go.
pub(crate) fn without_load(plan: &Plan) -> &'static str {
    match (plan.model, plan.hold_ns) {
        (Model::None, 0) => {
            "for more: --rate N or --closed sends messages, --hold TIME keeps the connections"
        }
        _ => "",
    }
}

/// What is asked for.
fn requests(http: &Http, body_bytes: u64) -> String {
    let mut text = http.method.clone();
    if http.paths > 1 {
        let _ = write!(text, " of {} paths", format_grouped(http.paths));
    }
    if body_bytes > 0 {
        let _ = write!(text, " with {}", size(body_bytes));
    }
    if http.pipeline > 1 {
        let _ = write!(text, ", {} pipelined", format_grouped(http.pipeline));
    }
    text
}

/// What each address took, a line each, where there is more than one.
pub(crate) fn addresses(plan: &Plan) -> String {
    if plan.addresses.len() < 2 {
        return String::new();
    }
    let mut text = String::new();
    for it in plan.addresses.iter().take(ADDRESSES_SHOWN) {
        let _ = match it.connected {
            _ if it.sources == 0 => write!(text, "{} cannot be reached from here", it.address),
            _ if it.took_none() => write!(text, "{} took none", it.address),
            0 => write!(text, "{} was not needed", it.address),
            count => write!(text, "{} took {}", it.address, format_grouped(count)),
        };
        for (kind, count) in &it.failures {
            let _ = write!(text, ", {} {}", format_grouped(*count), kind.replace('_', " "));
        }
        text.push('\n');
    }
    if plan.addresses.len() > ADDRESSES_SHOWN {
        let others = &plan.addresses[ADDRESSES_SHOWN..];
        let took = others.iter().map(|it| it.connected).fold(0, u64::saturating_add);
        let _ = write!(text, "{} others took {}", others.len(), format_grouped(took));
    }
    text
}

/// The doubt about addresses that were to have a share of the connections and took none.
pub(super) fn address_down(result: &ResultFile, doubts: &mut Doubts) {
    let plan = &result.plan;
    if !plan.spread_addresses || result.connections.opened == 0 {
        return;
    }
    let down: Vec<_> = plan.addresses.iter().filter(|it| it.took_none()).collect();
    if !down.is_empty() {
        let each = down.iter().map(|it| it.address.as_str()).collect::<Vec<_>>().join(" ");
        doubts.add(
            "address_down",
            format!("{each} took no connection; the shares went to the other addresses"),
            "look at the server there, or take the address out of the name",
        );
    }
}

/// The doubt about connect times where reactors of one core opened at the same time.
pub(super) fn crowded_ramp(result: &ResultFile, doubts: &mut Doubts) {
    let plan = &result.plan;
    let cores = plan.cores.len().max(1) as u64;
    let opening = plan.openers_per_core.min(plan.reactors.div_ceil(cores));
    if opening > 1 && result.connections.opened > 0 {
        doubts.add(
            "crowded_ramp",
            format!("{opening} reactors of one core opened connections at the same time"),
            "connect times contain the run queue; --openers-per-core 1 keeps them true",
        );
    }
}
